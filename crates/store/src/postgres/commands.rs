//! Kept commands.

use super::devices;
use super::fault::Fault;
use super::link::Link;
use crate::{
    COMMANDS_OPEN_MAX, CommandEnd, CommandEnded, CommandFilter, CommandRow, CommandState,
    NewCommand, StoreError,
};
use tokio_postgres::{Row, Transaction};

/// Commands of one page of a walk.
pub(super) const PAGE: usize = 2048;

/// Each counts as a change to its device, so that whoever follows the devices learns of it.
pub(super) async fn keep(
    t: &Transaction<'_>,
    commands: &[NewCommand<'_>],
) -> Result<Vec<i64>, Fault> {
    let mut ids = Vec::with_capacity(commands.len());
    for (index, c) in commands.iter().enumerate() {
        // Whoever keeps a command holds this row, so that none is added between the look and the insert.
        let id = super::allocate(t, "command", 1).await?;
        let (offset, length) = (i32::from(c.offset), i32::from(c.length));
        // This very call, whose answer was lost.
        let before = t
            .query_opt(
                "SELECT id FROM command WHERE device = $1 AND kind = $2 AND first_octet = $3 AND length = $4 \
                 AND data = $5 AND made_ms = $6 AND expires_ms = $7 AND id < $8 AND id <> ALL($9)",
                &[&c.device, &c.kind, &offset, &length, &c.data, &c.made_ms, &c.expires_ms, &id, &ids],
            )
            .await?;
        if let Some(before) = before {
            ids.push(before.try_get(0)?);
            continue;
        }
        let open = t
            .query_one(
                "SELECT count(*) FROM command WHERE device = $1 AND state IN ('kept', 'given')",
                &[&c.device],
            )
            .await?;
        if open.try_get::<_, i64>(0)?.unsigned_abs() >= COMMANDS_OPEN_MAX as u64 {
            return Err(StoreError::TooManyCommands { index }.into());
        }
        devices::note_change(t, c.device).await?;
        t.execute(
            "INSERT INTO command (id, device, kind, first_octet, length, data, made_ms, expires_ms) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            &[&id, &c.device, &c.kind, &offset, &length, &c.data, &c.made_ms, &c.expires_ms],
        )
        .await?;
        ids.push(id);
    }
    Ok(ids)
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT c.id, c.device, d.device_id, c.kind, c.first_octet, c.length, c.data, c.made_ms, c.expires_ms, c.state, ",
            "c.given_epoch, c.given_tag1, c.given_ms, c.times_given, c.failure, c.read, c.ended_ms FROM command c ",
            "JOIN device d ON d.id = c.device ",
            $rest
        )
    };
}

/// The next commands after one.
pub(super) async fn page(
    link: &mut Link,
    filter: &CommandFilter,
    after: i64,
) -> Result<Vec<CommandRow>, Fault> {
    let read = link
        .prepared(match filter.is_open {
            true => select!(
                "WHERE c.state IN ('kept', 'given') AND c.id > $1 AND ($2::BIGINT IS NULL OR c.device = $2) \
                 ORDER BY c.id LIMIT $3"
            ),
            false => select!(
                "WHERE c.id > $1 AND ($2::BIGINT IS NULL OR c.device = $2) ORDER BY c.id LIMIT $3"
            ),
        })
        .await?;
    let limit = i64::try_from(PAGE).unwrap_or(i64::MAX);
    let rows = link
        .client
        .query(&read, &[&after, &filter.device, &limit])
        .await?;
    rows.iter().map(from_row).collect()
}

pub(super) async fn give(
    link: &mut Link,
    id: i64,
    (epoch, tag1): (u32, &[u8]),
    now_ms: i64,
) -> Result<bool, Fault> {
    let update = link
        .prepared(
            "UPDATE command SET state = 'given', given_epoch = $2, given_tag1 = $3, given_ms = $4, \
             times_given = times_given + 1 WHERE id = $1 AND state IN ('kept', 'given') AND expires_ms > $4",
        )
        .await?;
    let given = link
        .client
        .execute(&update, &[&id, &i64::from(epoch), &tag1, &now_ms])
        .await?;
    Ok(given > 0)
}

pub(super) async fn end(
    t: &Transaction<'_>,
    id: i64,
    end: &CommandEnd<'_>,
    now_ms: i64,
) -> Result<CommandEnded, Fault> {
    let changed = match end {
        CommandEnd::Done { read } => {
            t.execute(
                "UPDATE command SET state = 'done', read = $2::BYTEA, failure = NULL, ended_ms = $3 \
                 WHERE id = $1 AND given_ms IS NOT NULL AND state NOT IN ('done', 'failed') \
                 AND length = coalesce(octet_length($2::BYTEA), 0)",
                &[&id, read, &now_ms],
            )
            .await?
        }
        CommandEnd::Failed(failure) => {
            t.execute(
                "UPDATE command SET state = 'failed', failure = $2, ended_ms = $3 \
                 WHERE id = $1 AND state = 'given'",
                &[&id, failure, &now_ms],
            )
            .await?
        }
        CommandEnd::Tried(failure) => {
            t.execute(
                "UPDATE command SET failure = $2 WHERE id = $1 AND state = 'given'",
                &[&id, failure],
            )
            .await?
        }
        CommandEnd::Withdrawn => {
            t.execute(
                "UPDATE command SET state = 'withdrawn', ended_ms = $2 \
                 WHERE id = $1 AND state IN ('kept', 'given')",
                &[&id, &now_ms],
            )
            .await?
        }
        CommandEnd::Expired => {
            t.execute(
                "UPDATE command SET state = 'expired', ended_ms = $2 \
                 WHERE id = $1 AND state IN ('kept', 'given') AND expires_ms <= $2",
                &[&id, &now_ms],
            )
            .await?
        }
    };
    let row = t
        .query_opt(select!("WHERE c.id = $1"), &[&id])
        .await?
        .map(|row| from_row(&row))
        .transpose()?;
    let Some(row) = row else {
        return Ok(CommandEnded::Unknown);
    };
    if changed == 0 {
        return Ok(CommandEnded::Before(row));
    }
    if row.disables_now() {
        devices::switch_off(t, row.device, true).await?;
    }
    Ok(CommandEnded::Now(row))
}

fn from_row(row: &Row) -> Result<CommandRow, Fault> {
    let epoch = row.try_get::<_, Option<i64>>(10)?;
    let epoch = epoch.map(super::to_u32).transpose()?;
    Ok(CommandRow {
        id: row.try_get(0)?,
        device: row.try_get(1)?,
        device_id: row.try_get(2)?,
        kind: row.try_get(3)?,
        offset: super::to_u16(row.try_get(4)?)?,
        length: u8::try_from(row.try_get::<_, i32>(5)?).map_err(|_| super::corrupt("a length"))?,
        data: row.try_get(6)?,
        made_ms: row.try_get(7)?,
        expires_ms: row.try_get(8)?,
        state: CommandState::from_name(row.try_get(9)?)?,
        given_with: epoch.zip(row.try_get::<_, Option<Vec<u8>>>(11)?),
        given_ms: row.try_get(12)?,
        times_given: super::to_u32(row.try_get(13)?)?,
        failure: row.try_get(14)?,
        read: row.try_get(15)?,
        ended_ms: row.try_get(16)?,
    })
}
