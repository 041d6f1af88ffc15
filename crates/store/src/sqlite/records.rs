//! Reading acceptance records.

use crate::{LastRecord, RecordFilter, RecordRow, StoreError};
use rusqlite::{OptionalExtension, Row, Transaction};
use std::ops::ControlFlow;

macro_rules! select {
    ($from:literal) => {
        concat!(
            "SELECT r.id, r.device, coalesce(d.device_id, x''), r.epoch, r.tag1, r.form, r.area_id, r.nonce, r.cause, r.seq, ",
            "r.data, r.accept, r.time_ms, r.repeat, r.gnb_id, r.reader_index, r.counter, r.link ",
            $from
        )
    };
}

pub(super) fn by_key(
    t: &Transaction<'_>,
    device: i64,
    epoch: u32,
    tag1: &[u8],
) -> Result<Option<RecordRow>, StoreError> {
    t.prepare_cached(select!(
        "FROM record r LEFT JOIN device d ON d.id = r.device WHERE r.epoch = ?1 AND r.device = ?2 AND r.tag1 = ?3"
    ))?
    .query_row((epoch, device, tag1), |row| Ok(from_row(row)))
    .optional()?
    .transpose()
}

/// The place of `link` in what is selected.
pub(super) const LINK_COLUMN: usize = 17;

/// All records, from a place in insertion order.
pub(super) const ALL: &str = select!(
    "FROM record r LEFT JOIN device d ON d.id = r.device WHERE r.id > ?1 AND r.time_ms >= ?2 ORDER BY r.id"
);

/// The next records after one, as they were before there were links.
pub(super) const ALL_UNLINKED: &str = "SELECT r.id, r.device, coalesce(d.device_id, x''), r.epoch, r.tag1, r.form, \
     r.area_id, r.nonce, r.cause, r.seq, r.data, r.accept, r.time_ms, r.repeat, r.gnb_id, r.reader_index, r.counter, \
     zeroblob(32) FROM record r LEFT JOIN device d ON d.id = r.device WHERE r.id > ?1 ORDER BY r.id LIMIT 1024";

/// The records of one device: the unique index is asked once for each epoch there is, so that the cost grows with the
/// age of the store in epochs (52 560 a year) and not with its records. `e.epoch` ends as NULL, which joins nothing.
pub(super) const OF_DEVICE: &str = select!(
    "FROM (WITH RECURSIVE e (epoch) AS (SELECT min(epoch) FROM record UNION ALL \
       SELECT (SELECT min(epoch) FROM record WHERE epoch > e.epoch) FROM e WHERE e.epoch IS NOT NULL) \
     SELECT epoch FROM e) AS e CROSS JOIN record r CROSS JOIN device d \
     WHERE r.epoch = e.epoch AND r.device = ?3 AND d.id = ?3 AND r.id > ?1 AND r.time_ms >= ?2 ORDER BY r.id"
);

pub(super) fn for_each(
    t: &Transaction<'_>,
    filter: &RecordFilter<'_>,
    f: &mut dyn FnMut(RecordRow) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    let after = filter
        .after_id
        .unwrap_or(0)
        .max(before(t, filter.since_ms)?);
    let since = filter.since_ms.unwrap_or(i64::MIN);
    let mut statement;
    let mut rows = match filter.device_id {
        None => {
            statement = t.prepare_cached(ALL)?;
            statement.query((after, since))?
        }
        Some(device_id) => {
            let device: Option<i64> = t
                .prepare_cached("SELECT id FROM device WHERE device_id = ?1")?
                .query_row([device_id], |row| row.get(0))
                .optional()?;
            let Some(device) = device else { return Ok(()) };
            statement = t.prepare_cached(OF_DEVICE)?;
            statement.query((after, since, device))?
        }
    };
    while let Some(row) = rows.next()? {
        if f(from_row(row)?).is_break() {
            break;
        }
    }
    Ok(())
}

pub(super) const LAST: &str = "SELECT device, epoch, cause, seq, time_ms, tag1, area_id FROM record WHERE id > ?1 AND time_ms >= ?2 ORDER BY id";

pub(super) fn last(
    t: &Transaction<'_>,
    since_ms: i64,
    f: &mut dyn FnMut(LastRecord),
) -> Result<(), StoreError> {
    let mut statement = t.prepare_cached(LAST)?;
    let mut rows = statement.query((before(t, Some(since_ms))?, since_ms))?;
    while let Some(row) = rows.next()? {
        f(LastRecord {
            device: row.get(0)?,
            epoch: row.get(1)?,
            cause: row.get(2)?,
            seq: row.get(3)?,
            time_ms: row.get(4)?,
            tag1: row.get(5)?,
            area_id: super::area_id(row.get(6)?)?,
        });
    }
    Ok(())
}

/// The unit of table `minute`.
pub(super) fn minute(time_ms: i64) -> i64 {
    time_ms.div_euclid(60_000)
}

/// An id below those of all records at or after `since_ms`, as near as table `minute` says.
fn before(t: &Transaction<'_>, since_ms: Option<i64>) -> Result<i64, StoreError> {
    let Some(since_ms) = since_ms else {
        return Ok(0);
    };
    let first: Option<i64> = t
        .prepare_cached("SELECT min(record) FROM minute WHERE minute >= ?1")?
        .query_row([minute(since_ms)], |row| row.get(0))?;
    // In a damaged file it may be any number.
    Ok(first.map_or(i64::MAX, |id| id.saturating_sub(1)))
}

pub(super) fn from_row(row: &Row<'_>) -> Result<RecordRow, StoreError> {
    Ok(RecordRow {
        id: row.get(0)?,
        device: row.get(1)?,
        device_id: row.get(2)?,
        epoch: row.get(3)?,
        tag1: row.get(4)?,
        form: row.get(5)?,
        area_id: super::area_id(row.get(6)?)?,
        nonce: row.get(7)?,
        cause: row.get(8)?,
        seq: row.get(9)?,
        data: row.get(10)?,
        accept: row.get(11)?,
        time_ms: row.get(12)?,
        repeat: row.get(13)?,
        gnb_id: row.get(14)?,
        reader_index: row.get(15)?,
        counter: row.get(16)?,
        link: row.get(LINK_COLUMN)?,
    })
}
