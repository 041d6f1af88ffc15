//! Subscriptions, their positions and dead letters.

use crate::{
    DeadLetterRow, Delivered, DeliveryStore, EventRow, Lease, NewSubscription, SqliteStore,
    StoreError, SubscriptionRow,
};
use rusqlite::{OptionalExtension, Row, Transaction};

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, af, definition, created_ms, paused, position, lease_owner, lease_turn FROM subscription ",
            $rest
        )
    };
}

impl DeliveryStore for SqliteStore {
    fn record_heads(&mut self) -> Result<Vec<i64>, StoreError> {
        let head = self.read(|t| super::count(t, "SELECT coalesce(max(id), 0) FROM record"))?;
        Ok((head > 0)
            .then_some(head.cast_signed())
            .into_iter()
            .collect())
    }

    fn event_head(&mut self) -> Result<i64, StoreError> {
        let head = self.read(|t| super::count(t, "SELECT coalesce(max(id), 0) FROM event"))?;
        Ok(head.cast_signed())
    }

    fn events_after(&mut self, after: i64, limit: u32) -> Result<Vec<EventRow>, StoreError> {
        self.read(|t| super::events::after(t, after, limit))
    }

    fn fleet_is_known(&mut self, fleet: &str) -> Result<bool, StoreError> {
        self.read(|t| {
            let mut statement =
                t.prepare_cached("SELECT 1 FROM device WHERE fleet = ?1 LIMIT 1")?;
            Ok(statement.exists([fleet])?)
        })
    }

    fn subscription_insert(
        &mut self,
        subscription: &NewSubscription<'_>,
        quota: u32,
    ) -> Result<bool, StoreError> {
        self.write(|t| insert(t, subscription, quota))
    }

    fn subscriptions(&mut self) -> Result<Vec<SubscriptionRow>, StoreError> {
        self.read(|t| {
            let mut statement = t.prepare_cached(select!("ORDER BY id"))?;
            let mut rows = statement.query([])?;
            let mut all = Vec::new();
            while let Some(row) = rows.next()? {
                all.push(from_row(row)?);
            }
            Ok(all)
        })
    }

    fn subscription(&mut self, id: &str) -> Result<Option<SubscriptionRow>, StoreError> {
        self.read(|t| {
            t.prepare_cached(select!("WHERE id = ?1"))?
                .query_row([id], |row| Ok(from_row(row)))
                .optional()?
                .transpose()
        })
    }

    fn subscription_remove(&mut self, id: &str) -> Result<bool, StoreError> {
        self.write(|t| {
            t.prepare_cached("DELETE FROM dead_letter WHERE subscription = ?1")?
                .execute([id])?;
            let removed = t
                .prepare_cached("DELETE FROM subscription WHERE id = ?1")?
                .execute([id])?;
            Ok(removed > 0)
        })
    }

    fn subscription_set_paused(&mut self, id: &str, is_paused: bool) -> Result<bool, StoreError> {
        self.write(|t| {
            let changed = t
                .prepare_cached("UPDATE subscription SET paused = ?2 WHERE id = ?1")?
                .execute((id, is_paused))?;
            Ok(changed > 0)
        })
    }

    fn subscription_take(
        &mut self,
        id: &str,
        owner: &[u8; 16],
        seen: Option<Lease>,
    ) -> Result<bool, StoreError> {
        self.write(|t| {
            let taken = t
                .prepare_cached(
                    "UPDATE subscription SET lease_owner = ?2, lease_turn = lease_turn + 1 \
                     WHERE id = ?1 AND lease_owner IS ?3 AND (?3 IS NULL OR lease_turn = ?4)",
                )?
                .execute((
                    id,
                    owner,
                    seen.map(|seen| seen.owner),
                    seen.map(|seen| seen.turn),
                ))?;
            Ok(taken > 0)
        })
    }

    fn subscriptions_renew(&mut self, owner: &[u8; 16]) -> Result<(), StoreError> {
        self.write(|t| {
            t.prepare_cached(
                "UPDATE subscription SET lease_turn = lease_turn + 1 WHERE lease_owner = ?1",
            )?
            .execute([owner])?;
            Ok(())
        })
    }

    fn subscriptions_release(&mut self, owner: &[u8; 16]) -> Result<(), StoreError> {
        self.write(|t| {
            t.prepare_cached("UPDATE subscription SET lease_owner = NULL WHERE lease_owner = ?1")?
                .execute([owner])?;
            Ok(())
        })
    }

    fn delivery_commit(
        &mut self,
        owner: &[u8; 16],
        delivered: &[Delivered],
    ) -> Result<Vec<bool>, StoreError> {
        self.write(|t| delivered.iter().map(|one| commit(t, owner, one)).collect())
    }

    fn dead_letters(
        &mut self,
        subscription: &str,
        after: &str,
        limit: u32,
    ) -> Result<Vec<DeadLetterRow>, StoreError> {
        self.read(|t| {
            let mut statement = t.prepare_cached(
                "SELECT message, failed_ms, tries, error, retry FROM dead_letter \
                 WHERE subscription = ?1 AND message > ?2 ORDER BY message LIMIT ?3",
            )?;
            let rows = statement.query_map((subscription, after, limit), |row| {
                Ok(DeadLetterRow {
                    message: row.get(0)?,
                    failed_ms: row.get(1)?,
                    tries: row.get(2)?,
                    error: row.get(3)?,
                    is_retried: row.get(4)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    fn dead_letter_count(&mut self, subscription: &str) -> Result<(u64, u64), StoreError> {
        self.read(|t| {
            let counted: (i64, i64) = t
                .prepare_cached("SELECT count(*), coalesce(sum(retry), 0) FROM dead_letter WHERE subscription = ?1")?
                .query_row([subscription], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok((counted.0.unsigned_abs(), counted.1.unsigned_abs()))
        })
    }

    fn dead_letters_retry(
        &mut self,
        subscription: &str,
        message: Option<&str>,
    ) -> Result<u64, StoreError> {
        self.write(|t| {
            let changed = t
                .prepare_cached(
                    "UPDATE dead_letter SET retry = 1 WHERE subscription = ?1 AND (?2 IS NULL OR message = ?2)",
                )?
                .execute((subscription, message))?;
            Ok(changed as u64)
        })
    }

    fn dead_letters_drop(
        &mut self,
        subscription: &str,
        message: Option<&str>,
    ) -> Result<u64, StoreError> {
        self.write(|t| {
            let changed = t
                .prepare_cached(
                    "DELETE FROM dead_letter WHERE subscription = ?1 AND (?2 IS NULL OR message = ?2)",
                )?
                .execute((subscription, message))?;
            Ok(changed as u64)
        })
    }
}

fn insert(t: &Transaction<'_>, new: &NewSubscription<'_>, quota: u32) -> Result<bool, StoreError> {
    let there: i64 = t
        .prepare_cached("SELECT count(*) FROM subscription WHERE af IS ?1")?
        .query_row([new.af], |row| row.get(0))?;
    if there >= i64::from(quota) {
        return Ok(false);
    }
    let added = t
        .prepare_cached(
            "INSERT INTO subscription (id, af, definition, created_ms, position) VALUES (?1, ?2, ?3, ?4, ?5) \
             ON CONFLICT DO NOTHING",
        )?
        .execute((new.id, new.af, new.definition, new.created_ms, new.position))?;
    match added {
        0 => Err(StoreError::Invalid {
            index: 0,
            field: "id",
        }),
        _ => Ok(true),
    }
}

fn commit(t: &Transaction<'_>, owner: &[u8; 16], one: &Delivered) -> Result<bool, StoreError> {
    let held = t
        .prepare_cached(
            "UPDATE subscription SET position = coalesce(?3, position) WHERE id = ?1 AND lease_owner = ?2",
        )?
        .execute((&one.subscription, owner, &one.position))?;
    if held == 0 {
        return Ok(false);
    }
    for letter in &one.refused {
        t.prepare_cached(
            "INSERT INTO dead_letter (subscription, message, failed_ms, tries, error) VALUES (?1, ?2, ?3, ?4, ?5) \
             ON CONFLICT DO UPDATE SET failed_ms = excluded.failed_ms, tries = excluded.tries, \
             error = excluded.error, retry = 0",
        )?
        .execute((
            &one.subscription,
            &letter.message,
            letter.failed_ms,
            letter.tries,
            &letter.error,
        ))?;
    }
    for message in &one.taken {
        t.prepare_cached("DELETE FROM dead_letter WHERE subscription = ?1 AND message = ?2")?
            .execute((&one.subscription, message))?;
    }
    Ok(true)
}

fn from_row(row: &Row<'_>) -> Result<SubscriptionRow, StoreError> {
    let owner: Option<[u8; 16]> = row.get(6)?;
    let turn = row.get(7)?;
    Ok(SubscriptionRow {
        id: row.get(0)?,
        af: row.get(1)?,
        definition: row.get(2)?,
        created_ms: row.get(3)?,
        is_paused: row.get(4)?,
        position: row.get(5)?,
        lease: owner.map(|owner| Lease { owner, turn }),
    })
}
