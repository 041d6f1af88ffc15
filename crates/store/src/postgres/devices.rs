//! Devices.

use super::fault::Fault;
use super::link::{Link, Statements};
use crate::{CredentialRow, DeviceRow, NewDevice, StoreError};
use std::collections::HashSet;
use tokio_postgres::{Row, Transaction};

/// Devices that one statement takes in.
const CHUNK: usize = 10_000;

/// Devices of one page of a walk.
pub(super) const PAGE: usize = 8192;

/// What became of devices to be added.
pub(super) enum Inserted {
    /// They are in, once the transaction is.
    New(Vec<i64>),
    /// They were in: this very call, whose answer was lost.
    Before(Vec<i64>),
}

/// Adds devices. Ids come from one row, so they are dense and an import is one block; whoever imports at the same time waits.
pub(super) async fn insert(
    t: &Transaction<'_>,
    devices: &[NewDevice<'_>],
) -> Result<Inserted, Fault> {
    let count = i64::try_from(devices.len()).unwrap_or(i64::MAX);
    let first = super::allocate(t, "device", count).await?;
    let first_change = super::allocate(t, "change", count).await?;
    let ids: Vec<i64> = (first..first + count).collect();
    let mut inserted = 0;
    for (devices, ids) in devices.chunks(CHUNK).zip(ids.chunks(CHUNK)) {
        let changes: Vec<i64> = ids.iter().map(|id| id - first + first_change).collect();
        let device_ids: Vec<&[u8]> = devices.iter().map(|d| d.device_id).collect();
        let types: Vec<&str> = devices.iter().map(|d| d.device_type).collect();
        let suites: Vec<i16> = devices.iter().map(|d| d.suite.into()).collect();
        let forms: Vec<&str> = devices.iter().map(|d| d.form).collect();
        let tag_lens: Vec<i16> = devices.iter().map(|d| d.tag_len.into()).collect();
        let fleets: Vec<&str> = devices.iter().map(|d| d.fleet).collect();
        let keys: Vec<&[u8]> = devices.iter().map(|d| d.wrapped_key).collect();
        let created: Vec<i64> = devices.iter().map(|d| d.created_ms).collect();
        let credentials: Vec<&str> = devices.iter().map(|d| d.credential).collect();
        inserted += t
            .execute(
                "INSERT INTO device (id, device_id, device_type, suite, form, tag_len, fleet, wrapped_key, created_ms, credential, change) \
                 SELECT * FROM unnest($1::BIGINT[], $2::BYTEA[], $3::TEXT[], $4::SMALLINT[], $5::TEXT[], $6::SMALLINT[], \
                 $7::TEXT[], $8::BYTEA[], $9::BIGINT[], $10::TEXT[], $11::BIGINT[]) ON CONFLICT DO NOTHING",
                &[
                    &ids, &device_ids, &types, &suites, &forms, &tag_lens, &fleets, &keys, &created, &credentials, &changes,
                ],
            )
            .await?;
    }
    if inserted == devices.len() as u64 {
        return Ok(Inserted::New(ids));
    }
    before(t, devices, first).await
}

/// Some of the devices exist. All of them, with these very keys, which are wrapped under fresh nonces: then it was this call.
async fn before(
    t: &Transaction<'_>,
    devices: &[NewDevice<'_>],
    first_new: i64,
) -> Result<Inserted, Fault> {
    let wanted: Vec<&[u8]> = devices.iter().map(|d| d.device_id).collect();
    let rows = t
        .query(
            "SELECT device_id, id, wrapped_key FROM device WHERE device_id = ANY($1) AND id < $2",
            &[&wanted, &first_new],
        )
        .await?;
    let mut there = std::collections::HashMap::new();
    for row in &rows {
        there.insert(
            row.try_get::<_, &[u8]>(0)?,
            (row.try_get::<_, i64>(1)?, row.try_get::<_, &[u8]>(2)?),
        );
    }
    let same: Vec<i64> = devices
        .iter()
        .filter_map(|d| {
            there
                .get(d.device_id)
                .filter(|(_, key)| *key == d.wrapped_key && !key.is_empty())
                .map(|(id, _)| *id)
        })
        .collect();
    if same.len() == devices.len() {
        return Ok(Inserted::Before(same));
    }
    let mut seen = HashSet::new();
    let taken = devices
        .iter()
        .enumerate()
        .find(|(_, d)| !seen.insert(d.device_id) || there.contains_key(d.device_id));
    match taken {
        Some((index, d)) => Err(StoreError::DeviceExists {
            index,
            device_id: d.device_id.to_vec(),
        }
        .into()),
        // Taken by a transaction that came and went.
        None => Err(Fault::Taken),
    }
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

pub(super) async fn by_id(link: &mut Link, device_id: &[u8]) -> Result<Option<DeviceRow>, Fault> {
    let read = link.prepared(select!("WHERE d.device_id = $1")).await?;
    let row = link.client.query_opt(&read, &[&device_id]).await?;
    row.map(|row| from_row(&row)).transpose()
}

/// The next devices after one, by row id.
pub(super) async fn page(link: &mut Link, after: i64) -> Result<Vec<DeviceRow>, Fault> {
    let read = link
        .prepared(select!("WHERE d.id > $1 ORDER BY d.id LIMIT $2"))
        .await?;
    let limit = i64::try_from(PAGE).unwrap_or(i64::MAX);
    let rows = link.client.query(&read, &[&after, &limit]).await?;
    rows.iter().map(from_row).collect()
}

/// Devices are never removed, so the last number given out is how many there are.
pub(super) async fn count(link: &mut Link) -> Result<u64, Fault> {
    let read = link
        .prepared("SELECT last FROM allocation WHERE name = 'device'")
        .await?;
    let row = link.client.query_one(&read, &[]).await?;
    Ok(row.try_get::<_, i64>(0)?.unsigned_abs())
}

/// The number of the last change to any device.
pub(super) async fn last_change(link: &mut Link) -> Result<i64, Fault> {
    let read = link
        .prepared("SELECT last FROM allocation WHERE name = 'change'")
        .await?;
    Ok(link.client.query_one(&read, &[]).await?.try_get(0)?)
}

/// The next devices that changed after a change, in the order of their changes.
pub(super) async fn changed_page(link: &mut Link, after: i64) -> Result<Vec<DeviceRow>, Fault> {
    let read = link
        .prepared(select!("WHERE d.change > $1 ORDER BY d.change LIMIT $2"))
        .await?;
    let limit = i64::try_from(PAGE).unwrap_or(i64::MAX);
    let rows = link.client.query(&read, &[&after, &limit]).await?;
    rows.iter().map(from_row).collect()
}

/// Those of some devices that changed after a change.
pub(super) async fn changed_of(
    t: &Transaction<'_>,
    statements: &mut Statements,
    devices: &[i64],
    after: i64,
) -> Result<HashSet<i64>, Fault> {
    let read = statements
        .of(
            t,
            "SELECT id FROM device WHERE id = ANY($1) AND change > $2",
        )
        .await?;
    let rows = t.query(&read, &[&devices, &after]).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

pub(super) async fn set_disabled(
    link: &mut Link,
    device: i64,
    disabled: bool,
) -> Result<(), Fault> {
    let t = link.client.transaction().await?;
    switch_off(&t, device, disabled).await?;
    Ok(t.commit().await?)
}

pub(super) async fn switch_off(
    t: &Transaction<'_>,
    device: i64,
    disabled: bool,
) -> Result<(), Fault> {
    let change = super::allocate(t, "change", 1).await?;
    let changed = t
        .execute(
            "UPDATE device SET disabled = $2, change = $3 WHERE id = $1",
            &[&device, &disabled, &change],
        )
        .await?;
    match changed {
        0 => Err(StoreError::UnknownDevice { device }.into()),
        _ => Ok(()),
    }
}

/// Gives a device the next number of change, so that whoever follows looks at it again.
pub(super) async fn note_change(t: &Transaction<'_>, device: i64) -> Result<(), Fault> {
    let change = super::allocate(t, "change", 1).await?;
    let changed = t
        .execute(
            "UPDATE device SET change = $2 WHERE id = $1",
            &[&device, &change],
        )
        .await?;
    match changed {
        0 => Err(StoreError::UnknownDevice { device }.into()),
        _ => Ok(()),
    }
}

/// Replaces the key, unless it is in place already: this very call, whose answer was lost.
pub(super) async fn set_key(
    t: &Transaction<'_>,
    device: i64,
    wrapped_key: &[u8],
) -> Result<u32, Fault> {
    let row = t
        .query_opt(
            "SELECT wrapped_key, key_version FROM device WHERE id = $1 FOR UPDATE",
            &[&device],
        )
        .await?
        .ok_or(StoreError::UnknownDevice { device })?;
    let version = super::to_u32(row.try_get(1)?)?;
    if row.try_get::<_, &[u8]>(0)? == wrapped_key {
        return Ok(version);
    }
    // A new key has counters of its own: a device that gets it may begin again.
    t.execute("DELETE FROM counter WHERE device = $1", &[&device])
        .await?;
    let change = super::allocate(t, "change", 1).await?;
    t.execute(
        "UPDATE device SET wrapped_key = $2, key_version = key_version + 1, change = $3 WHERE id = $1",
        &[&device, &wrapped_key, &change],
    )
    .await?;
    Ok(version + 1)
}

fn from_row(row: &Row) -> Result<DeviceRow, Fault> {
    Ok(DeviceRow {
        id: row.try_get(0)?,
        device_id: row.try_get(1)?,
        device_type: row.try_get(2)?,
        suite: super::to_u8(row.try_get(3)?)?,
        form: row.try_get(4)?,
        tag_len: super::to_u8(row.try_get(5)?)?,
        fleet: row.try_get(6)?,
        wrapped_key: row.try_get(7)?,
        key_version: super::to_u32(row.try_get(8)?)?,
        disabled: row.try_get(9)?,
        counter_last: row
            .try_get::<_, Option<i64>>(10)?
            .map(super::to_u32)
            .transpose()?,
        created_ms: row.try_get(11)?,
        credential: match row.try_get(12)? {
            "uicc" => CredentialRow::Uicc {
                key_until_ms: row.try_get(13)?,
            },
            "uicc-aiot" => CredentialRow::UiccAiot,
            _ => CredentialRow::Operator,
        },
        change: row.try_get(14)?,
    })
}
