//! Devices.

use crate::{CredentialRow, DeviceRow, NewDevice, StoreError};
use rusqlite::{OptionalExtension, Row, Transaction};
use std::ops::ControlFlow;

pub(super) fn insert(
    t: &Transaction<'_>,
    devices: &[NewDevice<'_>],
) -> Result<Vec<i64>, StoreError> {
    let change = last_change(t)?;
    let mut statement = t.prepare_cached(
        "INSERT INTO device (device_id, device_type, suite, form, tag_len, fleet, wrapped_key, created_ms, credential, change) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT (device_id) DO NOTHING",
    )?;
    let mut ids = Vec::with_capacity(devices.len());
    // In a damaged file the last change may be any number.
    let changes = (1..).map(|n| change.saturating_add(n));
    for ((index, d), change) in devices.iter().enumerate().zip(changes) {
        let new = statement.execute((
            d.device_id,
            d.device_type,
            d.suite,
            d.form,
            d.tag_len,
            d.fleet,
            d.wrapped_key,
            d.created_ms,
            d.credential,
            change,
        ))?;
        if new == 0 {
            return Err(StoreError::DeviceExists {
                index,
                device_id: d.device_id.to_vec(),
            });
        }
        ids.push(t.last_insert_rowid());
    }
    Ok(ids)
}

macro_rules! next_change {
    () => {
        "(SELECT max(change) + 1 FROM device)"
    };
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT d.id, d.device_id, d.device_type, d.suite, d.form, d.tag_len, d.fleet, d.wrapped_key, d.key_version, ",
            "d.disabled, c.last, d.created_ms, d.credential, s.key_until_ms, d.change FROM device d ",
            "LEFT JOIN counter c ON c.device = d.id LEFT JOIN subscriber s ON s.device = d.id ",
            $rest
        )
    };
}

pub(super) fn by_id(
    t: &Transaction<'_>,
    device_id: &[u8],
) -> Result<Option<DeviceRow>, StoreError> {
    Ok(t.prepare_cached(select!("WHERE d.device_id = ?1"))?
        .query_row([device_id], from_row)
        .optional()?)
}

pub(super) fn for_each(
    t: &Transaction<'_>,
    f: &mut dyn FnMut(DeviceRow) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    let mut statement = t.prepare_cached(select!("ORDER BY d.id"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if f(from_row(row)?).is_break() {
            break;
        }
    }
    Ok(())
}

/// The devices changed after `after`, in the order of their changes; returns the number of the last one given.
pub(super) fn changed(
    t: &Transaction<'_>,
    after: i64,
    f: &mut dyn FnMut(DeviceRow) -> ControlFlow<()>,
) -> Result<i64, StoreError> {
    let mut statement = t.prepare_cached(select!("WHERE d.change > ?1 ORDER BY d.change"))?;
    let mut rows = statement.query([after])?;
    let mut last = after;
    while let Some(row) = rows.next()? {
        let row = from_row(row)?;
        last = row.change;
        if f(row).is_break() {
            break;
        }
    }
    Ok(last)
}

/// The number of the last change to any device: one look at the end of an index.
pub(super) fn last_change(t: &Transaction<'_>) -> Result<i64, StoreError> {
    Ok(
        t.prepare_cached("SELECT coalesce(max(change), 0) FROM device")?
            .query_row([], |row| row.get(0))?,
    )
}

/// Whether a device has changed after `known`.
pub(super) fn has_changed(
    t: &Transaction<'_>,
    device: i64,
    known: i64,
) -> Result<bool, StoreError> {
    Ok(
        t.prepare_cached("SELECT 1 FROM device WHERE id = ?1 AND change > ?2")?
            .exists((device, known))?,
    )
}

pub(super) fn set_disabled(
    t: &Transaction<'_>,
    device: i64,
    disabled: bool,
) -> Result<(), StoreError> {
    match t
        .prepare_cached(concat!(
            "UPDATE device SET disabled = ?2, change = ",
            next_change!(),
            " WHERE id = ?1"
        ))?
        .execute((device, disabled))?
    {
        0 => Err(StoreError::UnknownDevice { device }),
        _ => Ok(()),
    }
}

/// Gives a device the next number of change, so that whoever follows looks at it again.
pub(super) fn note_change(t: &Transaction<'_>, device: i64) -> Result<(), StoreError> {
    match t
        .prepare_cached(concat!(
            "UPDATE device SET change = ",
            next_change!(),
            " WHERE id = ?1"
        ))?
        .execute([device])?
    {
        0 => Err(StoreError::UnknownDevice { device }),
        _ => Ok(()),
    }
}

pub(super) fn set_key(
    t: &Transaction<'_>,
    device: i64,
    wrapped_key: &[u8],
) -> Result<u32, StoreError> {
    // A new key has counters of its own: a device that gets it may begin again.
    t.prepare_cached("DELETE FROM counter WHERE device = ?1")?
        .execute((device,))?;
    t.prepare_cached(concat!(
        "UPDATE device SET wrapped_key = ?2, key_version = key_version + 1, change = ",
        next_change!(),
        " WHERE id = ?1 RETURNING key_version"
    ))?
    .query_row((device, wrapped_key), |row| row.get(0))
    .optional()?
    .ok_or(StoreError::UnknownDevice { device })
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<DeviceRow> {
    Ok(DeviceRow {
        id: row.get(0)?,
        device_id: row.get(1)?,
        device_type: row.get(2)?,
        suite: row.get(3)?,
        form: row.get(4)?,
        tag_len: row.get(5)?,
        fleet: row.get(6)?,
        wrapped_key: row.get(7)?,
        key_version: row.get(8)?,
        disabled: row.get(9)?,
        counter_last: row.get(10)?,
        created_ms: row.get(11)?,
        credential: match row.get_ref(12)?.as_str()? {
            "uicc" => CredentialRow::Uicc {
                key_until_ms: row.get(13)?,
            },
            "uicc-aiot" => CredentialRow::UiccAiot,
            _ => CredentialRow::Operator,
        },
        change: row.get(14)?,
    })
}
