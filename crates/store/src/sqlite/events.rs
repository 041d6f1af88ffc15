//! Events.

use crate::{EventFilter, EventRow, NewEvent, StoreError};
use rusqlite::{Row, Transaction};
use std::ops::ControlFlow;

pub(super) fn insert(t: &Transaction<'_>, events: &[NewEvent<'_>]) -> Result<(), StoreError> {
    let mut statement = t.prepare_cached(
        "INSERT INTO event (time_ms, kind, severity, device_id, area_id, gnb_id, reader_index, count, detail) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    for (index, e) in events.iter().enumerate() {
        let count = i64::try_from(e.count).map_err(|_| StoreError::Invalid {
            index,
            field: "count",
        })?;
        statement.execute((
            e.time_ms,
            e.kind,
            e.severity,
            e.device_id,
            e.area_id,
            e.gnb_id,
            e.reader_index,
            count,
            e.detail,
        ))?;
        super::alarms::raise(t, e, count)?;
    }
    Ok(())
}

pub(super) fn for_each(
    t: &Transaction<'_>,
    filter: &EventFilter<'_>,
    f: &mut dyn FnMut(EventRow) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    // The index on the time gives the first id to look at; from there the rows come in order, without a sort.
    let mut statement = t.prepare_cached(
        "SELECT id, time_ms, kind, severity, device_id, area_id, gnb_id, reader_index, count, detail FROM event \
         WHERE id >= (SELECT min(id) FROM event INDEXED BY event_time WHERE time_ms >= ?1) \
         AND time_ms >= ?1 AND (?2 IS NULL OR kind = ?2) ORDER BY id",
    )?;
    let mut rows = statement.query((filter.since_ms.unwrap_or(i64::MIN), filter.kind))?;
    while let Some(row) = rows.next()? {
        if f(from_row(row)?).is_break() {
            break;
        }
    }
    Ok(())
}

/// The next events after one.
pub(super) fn after(
    t: &Transaction<'_>,
    after: i64,
    limit: u32,
) -> Result<Vec<EventRow>, StoreError> {
    let mut statement = t.prepare_cached(
        "SELECT id, time_ms, kind, severity, device_id, area_id, gnb_id, reader_index, count, detail FROM event \
         WHERE id > ?1 ORDER BY id LIMIT ?2",
    )?;
    let mut rows = statement.query((after, limit))?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push(from_row(row)?);
    }
    Ok(all)
}

fn from_row(row: &Row<'_>) -> Result<EventRow, StoreError> {
    Ok(EventRow {
        id: row.get(0)?,
        time_ms: row.get(1)?,
        kind: row.get(2)?,
        severity: row.get(3)?,
        device_id: row.get(4)?,
        area_id: row
            .get::<_, Option<Vec<u8>>>(5)?
            .map(super::area_id)
            .transpose()?,
        gnb_id: row.get(6)?,
        reader_index: row.get(7)?,
        count: row.get::<_, i64>(8)?.unsigned_abs(),
        detail: row.get(9)?,
    })
}
