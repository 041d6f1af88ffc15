//! Subscriptions, their positions and dead letters.

use super::fault::Fault;
use super::link::{Link, PATIENCE, PATIENCE_BULK};
use super::records::heads;
use super::writer::place;
use super::{PostgresStore, allocate, array, events};
use crate::{
    DeadLetterRow, Delivered, DeliveryStore, EventRow, Lease, NewSubscription, StoreError,
    SubscriptionRow,
};
use tokio_postgres::{Row, Transaction};

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, af, definition, created_ms, paused, position, lease_owner, lease_turn FROM subscription ",
            $rest
        )
    };
}

impl DeliveryStore for PostgresStore {
    fn record_heads(&mut self) -> Result<Vec<i64>, StoreError> {
        let heads = self.read(heads)?;
        let heads = heads.into_iter().map(|(_, head)| head);
        Ok(heads.filter(|head| place(*head) > 0).collect())
    }

    fn event_head(&mut self) -> Result<i64, StoreError> {
        self.read(async |link: &mut Link| {
            let read = link
                .prepared("SELECT coalesce(max(id), 0) FROM event")
                .await?;
            Ok(link.client.query_one(&read, &[]).await?.try_get(0)?)
        })
    }

    fn events_after(&mut self, after: i64, limit: u32) -> Result<Vec<EventRow>, StoreError> {
        self.read(async |link| events::after(link, after, limit).await)
    }

    fn fleet_is_known(&mut self, fleet: &str) -> Result<bool, StoreError> {
        self.connector.run(PATIENCE_BULK, async |link: &mut Link| {
            let read = link
                .prepared("SELECT 1 FROM device WHERE fleet = $1 LIMIT 1")
                .await?;
            Ok(link.client.query_opt(&read, &[&fleet]).await?.is_some())
        })
    }

    fn subscription_insert(
        &mut self,
        subscription: &NewSubscription<'_>,
        quota: u32,
    ) -> Result<bool, StoreError> {
        self.write(PATIENCE, async |link| {
            let t = link.client.transaction().await?;
            let added = insert(&t, subscription, quota).await?;
            t.commit().await?;
            Ok(added)
        })
    }

    fn subscriptions(&mut self) -> Result<Vec<SubscriptionRow>, StoreError> {
        self.read(async |link: &mut Link| {
            let read = link.prepared(select!("ORDER BY id")).await?;
            let rows = link.client.query(&read, &[]).await?;
            rows.iter().map(from_row).collect()
        })
    }

    fn subscription(&mut self, id: &str) -> Result<Option<SubscriptionRow>, StoreError> {
        self.read(async |link: &mut Link| {
            let read = link.prepared(select!("WHERE id = $1")).await?;
            let row = link.client.query_opt(&read, &[&id]).await?;
            row.map(|row| from_row(&row)).transpose()
        })
    }

    fn subscription_remove(&mut self, id: &str) -> Result<bool, StoreError> {
        self.write(PATIENCE, async |link| {
            let t = link.client.transaction().await?;
            t.execute("DELETE FROM dead_letter WHERE subscription = $1", &[&id])
                .await?;
            let removed = t
                .execute("DELETE FROM subscription WHERE id = $1", &[&id])
                .await?;
            t.commit().await?;
            Ok(removed > 0)
        })
    }

    fn subscription_set_paused(&mut self, id: &str, is_paused: bool) -> Result<bool, StoreError> {
        self.write(PATIENCE, async |link| {
            let changed = link
                .client
                .execute(
                    "UPDATE subscription SET paused = $2 WHERE id = $1",
                    &[&id, &is_paused],
                )
                .await?;
            Ok(changed > 0)
        })
    }

    /// Should the answer be lost after all, the second try finds the lease changed: whoever asks looks again.
    fn subscription_take(
        &mut self,
        id: &str,
        owner: &[u8; 16],
        seen: Option<Lease>,
    ) -> Result<bool, StoreError> {
        self.write(PATIENCE, async |link| {
            let (of, turn) = (seen.map(|seen| seen.owner), seen.map(|seen| seen.turn));
            let of = of.as_ref().map(|of| &of[..]);
            let taken = link
                .client
                .execute(
                    "UPDATE subscription SET lease_owner = $2, lease_turn = lease_turn + 1 \
                     WHERE id = $1 AND lease_owner IS NOT DISTINCT FROM $3::BYTEA \
                     AND ($3::BYTEA IS NULL OR lease_turn = $4::BIGINT)",
                    &[&id, &&owner[..], &of, &turn],
                )
                .await?;
            Ok(taken > 0)
        })
    }

    fn subscriptions_renew(&mut self, owner: &[u8; 16]) -> Result<(), StoreError> {
        self.write(PATIENCE, async |link| {
            link.client
                .execute(
                    "UPDATE subscription SET lease_turn = lease_turn + 1 WHERE lease_owner = $1",
                    &[&&owner[..]],
                )
                .await?;
            Ok(())
        })
    }

    fn subscriptions_release(&mut self, owner: &[u8; 16]) -> Result<(), StoreError> {
        self.write(PATIENCE, async |link| {
            link.client
                .execute(
                    "UPDATE subscription SET lease_owner = NULL WHERE lease_owner = $1",
                    &[&&owner[..]],
                )
                .await?;
            Ok(())
        })
    }

    fn delivery_commit(
        &mut self,
        owner: &[u8; 16],
        delivered: &[Delivered],
    ) -> Result<Vec<bool>, StoreError> {
        self.write(PATIENCE, async |link| {
            let t = link.client.transaction().await?;
            let mut held = Vec::with_capacity(delivered.len());
            for one in delivered {
                held.push(commit(&t, owner, one).await?);
            }
            t.commit().await?;
            Ok(held)
        })
    }

    fn dead_letters(
        &mut self,
        subscription: &str,
        after: &str,
        limit: u32,
    ) -> Result<Vec<DeadLetterRow>, StoreError> {
        self.read(async |link: &mut Link| {
            let read = link
                .prepared(
                    "SELECT message, failed_ms, tries, error, retry FROM dead_letter \
                     WHERE subscription = $1 AND message COLLATE \"C\" > $2 ORDER BY message COLLATE \"C\" LIMIT $3",
                )
                .await?;
            let rows = link
                .client
                .query(&read, &[&subscription, &after, &i64::from(limit)])
                .await?;
            rows.iter()
                .map(|row| {
                    Ok(DeadLetterRow {
                        message: row.try_get(0)?,
                        failed_ms: row.try_get(1)?,
                        tries: super::to_u32(row.try_get(2)?)?,
                        error: row.try_get(3)?,
                        is_retried: row.try_get(4)?,
                    })
                })
                .collect()
        })
    }

    fn dead_letter_count(&mut self, subscription: &str) -> Result<(u64, u64), StoreError> {
        self.read(async |link: &mut Link| {
            let read = link
                .prepared(
                    "SELECT count(*), count(*) FILTER (WHERE retry) FROM dead_letter WHERE subscription = $1",
                )
                .await?;
            let row = link.client.query_one(&read, &[&subscription]).await?;
            let (all, retried): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
            Ok((all.unsigned_abs(), retried.unsigned_abs()))
        })
    }

    fn dead_letters_retry(
        &mut self,
        subscription: &str,
        message: Option<&str>,
    ) -> Result<u64, StoreError> {
        self.write(PATIENCE, async |link| {
            Ok(link
                .client
                .execute(
                    "UPDATE dead_letter SET retry = true WHERE subscription = $1 AND ($2::TEXT IS NULL OR message = $2)",
                    &[&subscription, &message],
                )
                .await?)
        })
    }

    fn dead_letters_drop(
        &mut self,
        subscription: &str,
        message: Option<&str>,
    ) -> Result<u64, StoreError> {
        self.write(PATIENCE, async |link| {
            Ok(link
                .client
                .execute(
                    "DELETE FROM dead_letter WHERE subscription = $1 AND ($2::TEXT IS NULL OR message = $2)",
                    &[&subscription, &message],
                )
                .await?)
        })
    }
}

/// Adds it. One that was added by a try whose answer was lost is not added again.
async fn insert(t: &Transaction<'_>, new: &NewSubscription<'_>, quota: u32) -> Result<bool, Fault> {
    // Whoever comes second waits here.
    allocate(t, "subscription", 1).await?;
    let same = t
        .query_opt(
            "SELECT definition = $2 AND created_ms = $3 FROM subscription WHERE id = $1",
            &[&new.id, &new.definition, &new.created_ms],
        )
        .await?;
    if let Some(same) = same {
        let error = StoreError::Invalid {
            index: 0,
            field: "id",
        };
        return match same.try_get(0)? {
            true => Ok(true),
            false => Err(error.into()),
        };
    }
    let row = t
        .query_one(
            "SELECT count(*) FROM subscription WHERE af IS NOT DISTINCT FROM $1::TEXT",
            &[&new.af],
        )
        .await?;
    if row.try_get::<_, i64>(0)? >= i64::from(quota) {
        return Ok(false);
    }
    t.execute(
        "INSERT INTO subscription (id, af, definition, created_ms, position) VALUES ($1, $2, $3, $4, $5)",
        &[
            &new.id,
            &new.af,
            &new.definition,
            &new.created_ms,
            &new.position,
        ],
    )
    .await?;
    Ok(true)
}

async fn commit(t: &Transaction<'_>, owner: &[u8; 16], one: &Delivered) -> Result<bool, Fault> {
    let held = t
        .execute(
            "UPDATE subscription SET position = coalesce($3::TEXT, position) WHERE id = $1 AND lease_owner = $2",
            &[&one.subscription, &&owner[..], &one.position],
        )
        .await?;
    if held == 0 {
        return Ok(false);
    }
    for letter in &one.refused {
        t.execute(
            "INSERT INTO dead_letter (subscription, message, failed_ms, tries, error) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (subscription, message) DO UPDATE SET failed_ms = excluded.failed_ms, \
             tries = excluded.tries, error = excluded.error, retry = false",
            &[
                &one.subscription,
                &letter.message,
                &letter.failed_ms,
                &i64::from(letter.tries),
                &letter.error,
            ],
        )
        .await?;
    }
    for message in &one.taken {
        t.execute(
            "DELETE FROM dead_letter WHERE subscription = $1 AND message = $2",
            &[&one.subscription, message],
        )
        .await?;
    }
    Ok(true)
}

fn from_row(row: &Row) -> Result<SubscriptionRow, Fault> {
    let owner: Option<&[u8]> = row.try_get(6)?;
    let turn = row.try_get(7)?;
    let lease = |owner| array(owner, "a lease").map(|owner| Lease { owner, turn });
    Ok(SubscriptionRow {
        id: row.try_get(0)?,
        af: row.try_get(1)?,
        definition: row.try_get(2)?,
        created_ms: row.try_get(3)?,
        is_paused: row.try_get(4)?,
        position: row.try_get(5)?,
        lease: owner.map(lease).transpose()?,
    })
}
