//! Reading acceptance records.

use super::keys::{Key, Keys};
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
    keys: &Keys,
    device: i64,
    epoch: u32,
    tag1: &[u8],
) -> Result<Option<RecordRow>, StoreError> {
    let Some(key) = Key::new(device, epoch, tag1) else {
        return Ok(None);
    };
    let Some(id) = keys.find(t, &key)? else {
        return Ok(None);
    };
    match by_id(t, id)? {
        Some(row) if (row.device, row.epoch, &row.tag1[..]) == (device, epoch, tag1) => {
            Ok(Some(row))
        }
        _ => Err(keys_disagree()),
    }
}

fn by_id(t: &Transaction<'_>, id: i64) -> Result<Option<RecordRow>, StoreError> {
    t.prepare_cached(BY_ID)?
        .query_row([id], |row| Ok(from_row(row)))
        .optional()?
        .transpose()
}

/// A key leads to a record that is not there, or has another.
pub(super) fn keys_disagree() -> StoreError {
    StoreError::Corrupt {
        detail: "keys and table of the records disagree".into(),
    }
}

pub(super) const BY_ID: &str =
    select!("FROM record r LEFT JOIN device d ON d.id = r.device WHERE r.id = ?1");

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

/// All records from a place and a time on, in insertion order. Which device is not asked.
pub(super) fn for_each(
    t: &Transaction<'_>,
    filter: &RecordFilter<'_>,
    f: &mut dyn FnMut(RecordRow) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    let mut statement = t.prepare_cached(ALL)?;
    let since = filter.since_ms.unwrap_or(i64::MIN);
    let mut rows = statement.query((after(t, filter)?, since))?;
    while let Some(row) = rows.next()? {
        if f(from_row(row)?).is_break() {
            break;
        }
    }
    Ok(())
}

/// The same of one device.
pub(super) fn of_device(
    t: &Transaction<'_>,
    keys: &Keys,
    device_id: &[u8],
    filter: &RecordFilter<'_>,
    f: &mut dyn FnMut(RecordRow) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    let device: Option<i64> = t
        .prepare_cached("SELECT id FROM device WHERE device_id = ?1")?
        .query_row([device_id], |row| row.get(0))
        .optional()?;
    let Some(device) = device else { return Ok(()) };
    for id in keys.of_device(t, device, after(t, filter)?)? {
        let row = by_id(t, id)?.filter(|row| row.device == device);
        let row = row.ok_or_else(keys_disagree)?;
        if filter
            .since_ms
            .is_none_or(|since_ms| row.time_ms >= since_ms)
            && f(row).is_break()
        {
            break;
        }
    }
    Ok(())
}

fn after(t: &Transaction<'_>, filter: &RecordFilter<'_>) -> Result<i64, StoreError> {
    let before = before(t, filter.since_ms)?;
    Ok(filter.after_id.unwrap_or(0).max(before))
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
