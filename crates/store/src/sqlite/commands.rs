//! Kept commands.

use super::devices;
use crate::{
    COMMANDS_OPEN_MAX, CommandEnd, CommandEnded, CommandFilter, CommandRow, CommandState,
    NewCommand, StoreError,
};
use rusqlite::{OptionalExtension, Row, Transaction};
use std::ops::ControlFlow;

/// Each counts as a change to its device, so that whoever follows the devices learns of it.
pub(super) fn keep(
    t: &Transaction<'_>,
    commands: &[NewCommand<'_>],
) -> Result<Vec<i64>, StoreError> {
    let mut ids = Vec::with_capacity(commands.len());
    for (index, c) in commands.iter().enumerate() {
        let open: i64 = t
            .prepare_cached(
                "SELECT count(*) FROM command WHERE device = ?1 AND state IN ('kept', 'given')",
            )?
            .query_row([c.device], |row| row.get(0))?;
        if open.unsigned_abs() >= COMMANDS_OPEN_MAX as u64 {
            return Err(StoreError::TooManyCommands { index });
        }
        devices::note_change(t, c.device)?;
        t.prepare_cached(
            "INSERT INTO command (device, kind, first_octet, length, data, made_ms, expires_ms) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute((
            c.device,
            c.kind,
            c.offset,
            c.length,
            c.data,
            c.made_ms,
            c.expires_ms,
        ))?;
        ids.push(t.last_insert_rowid());
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

pub(super) fn for_each(
    t: &Transaction<'_>,
    filter: &CommandFilter,
    f: &mut dyn FnMut(CommandRow) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    // Spelled out, so that each finds its index.
    let mut statement = t.prepare_cached(match (filter.device, filter.is_open) {
        (Some(_), true) => {
            select!("WHERE c.state IN ('kept', 'given') AND c.device = ?1 ORDER BY c.id")
        }
        (Some(_), false) => select!("WHERE c.device = ?1 ORDER BY c.id"),
        (None, true) => select!("WHERE c.state IN ('kept', 'given') ORDER BY c.id"),
        (None, false) => select!("ORDER BY c.id"),
    })?;
    let mut rows = match filter.device {
        Some(device) => statement.query([device])?,
        None => statement.query([])?,
    };
    while let Some(row) = rows.next()? {
        if f(from_row(row)?).is_break() {
            break;
        }
    }
    Ok(())
}

pub(super) fn give(
    t: &Transaction<'_>,
    id: i64,
    (epoch, tag1): (u32, &[u8]),
    now_ms: i64,
) -> Result<bool, StoreError> {
    let given = t
        .prepare_cached(
            "UPDATE command SET state = 'given', given_epoch = ?2, given_tag1 = ?3, given_ms = ?4, \
             times_given = times_given + 1 WHERE id = ?1 AND state IN ('kept', 'given') AND expires_ms > ?4",
        )?
        .execute((id, epoch, tag1, now_ms))?;
    Ok(given > 0)
}

pub(super) fn end(
    t: &Transaction<'_>,
    id: i64,
    end: &CommandEnd<'_>,
    now_ms: i64,
) -> Result<CommandEnded, StoreError> {
    let changed = match end {
        CommandEnd::Done { read } => t
            .prepare_cached(
                "UPDATE command SET state = 'done', read = ?2, failure = NULL, ended_ms = ?3 \
                 WHERE id = ?1 AND given_ms IS NOT NULL AND state NOT IN ('done', 'failed') \
                 AND length = coalesce(length(?2), 0)",
            )?
            .execute((id, read, now_ms))?,
        CommandEnd::Failed(failure) => t
            .prepare_cached(
                "UPDATE command SET state = 'failed', failure = ?2, ended_ms = ?3 \
                 WHERE id = ?1 AND state = 'given'",
            )?
            .execute((id, failure, now_ms))?,
        CommandEnd::Tried(failure) => t
            .prepare_cached("UPDATE command SET failure = ?2 WHERE id = ?1 AND state = 'given'")?
            .execute((id, failure))?,
        CommandEnd::Withdrawn => t
            .prepare_cached(
                "UPDATE command SET state = 'withdrawn', ended_ms = ?2 \
                 WHERE id = ?1 AND state IN ('kept', 'given')",
            )?
            .execute((id, now_ms))?,
        CommandEnd::Expired => t
            .prepare_cached(
                "UPDATE command SET state = 'expired', ended_ms = ?2 \
                 WHERE id = ?1 AND state IN ('kept', 'given') AND expires_ms <= ?2",
            )?
            .execute((id, now_ms))?,
    };
    let row = t
        .prepare_cached(select!("WHERE c.id = ?1"))?
        .query_row([id], |row| Ok(from_row(row)))
        .optional()?
        .transpose()?;
    let Some(row) = row else {
        return Ok(CommandEnded::Unknown);
    };
    if changed == 0 {
        return Ok(CommandEnded::Before(row));
    }
    if row.disables_now() {
        devices::set_disabled(t, row.device, true)?;
    }
    Ok(CommandEnded::Now(row))
}

fn from_row(row: &Row<'_>) -> Result<CommandRow, StoreError> {
    Ok(CommandRow {
        id: row.get(0)?,
        device: row.get(1)?,
        device_id: row.get(2)?,
        kind: row.get(3)?,
        offset: row.get(4)?,
        length: row.get(5)?,
        data: row.get(6)?,
        made_ms: row.get(7)?,
        expires_ms: row.get(8)?,
        state: CommandState::from_name(row.get_ref(9)?.as_str().map_err(rusqlite::Error::from)?)?,
        given_with: match (row.get(10)?, row.get(11)?) {
            (Some(epoch), Some(tag1)) => Some((epoch, tag1)),
            _ => None,
        },
        given_ms: row.get(12)?,
        times_given: row.get(13)?,
        failure: row.get(14)?,
        read: row.get(15)?,
        ended_ms: row.get(16)?,
    })
}
