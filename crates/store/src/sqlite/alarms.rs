//! Alarms: what the graver events come to, one for each kind and subject until somebody has acknowledged it.

use crate::{AlarmRow, NewEvent, StoreError};
use rusqlite::{OptionalExtension, Row, Transaction};
use std::ops::ControlFlow;

const RAISE: &str = "INSERT INTO alarm (kind, subject, severity, device_id, area_id, gnb_id, reader_index, first_ms, \
     last_ms, count, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9, ?10) \
     ON CONFLICT (kind, subject) WHERE acked_ms IS NULL DO UPDATE SET severity = excluded.severity, \
     area_id = excluded.area_id, gnb_id = excluded.gnb_id, reader_index = excluded.reader_index, \
     last_ms = excluded.last_ms, count = min(count, 9223372036854775807 - excluded.count) + excluded.count, \
     detail = excluded.detail";

/// Raises the alarm of an event, or adds to it.
pub(super) fn raise(t: &Transaction<'_>, e: &NewEvent<'_>, count: i64) -> Result<(), StoreError> {
    if e.severity == "info" {
        return Ok(());
    }
    t.prepare_cached(RAISE)?.execute((
        e.kind,
        e.subject(),
        e.severity,
        e.device_id,
        e.area_id,
        e.gnb_id,
        e.reader_index,
        e.time_ms,
        count,
        e.detail,
    ))?;
    Ok(())
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, kind, severity, device_id, area_id, gnb_id, reader_index, first_ms, last_ms, count, detail, ",
            "acked_ms, acked_by FROM alarm ",
            $rest
        )
    };
}

pub(super) fn for_each(
    t: &Transaction<'_>,
    with_acked: bool,
    f: &mut dyn FnMut(AlarmRow) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    let mut statement = t.prepare_cached(select!("WHERE ?1 OR acked_ms IS NULL ORDER BY id"))?;
    let mut rows = statement.query([with_acked])?;
    while let Some(row) = rows.next()? {
        if f(from_row(row)?).is_break() {
            break;
        }
    }
    Ok(())
}

pub(super) fn ack(
    t: &Transaction<'_>,
    id: i64,
    by: &str,
    now_ms: i64,
) -> Result<Option<AlarmRow>, StoreError> {
    t.prepare_cached(
        "UPDATE alarm SET acked_ms = ?2, acked_by = ?3 WHERE id = ?1 AND acked_ms IS NULL",
    )?
    .execute((id, now_ms, by))?;
    t.prepare_cached(select!("WHERE id = ?1"))?
        .query_row([id], |row| Ok(from_row(row)))
        .optional()?
        .transpose()
}

fn from_row(row: &Row<'_>) -> Result<AlarmRow, StoreError> {
    Ok(AlarmRow {
        id: row.get(0)?,
        kind: row.get(1)?,
        severity: row.get(2)?,
        device_id: row.get(3)?,
        area_id: row
            .get::<_, Option<Vec<u8>>>(4)?
            .map(super::area_id)
            .transpose()?,
        gnb_id: row.get(5)?,
        reader_index: row.get(6)?,
        first_ms: row.get(7)?,
        last_ms: row.get(8)?,
        count: row.get::<_, i64>(9)?.unsigned_abs(),
        detail: row.get(10)?,
        acked: match (row.get(11)?, row.get(12)?) {
            (Some(time_ms), Some(by)) => Some((time_ms, by)),
            _ => None,
        },
    })
}
