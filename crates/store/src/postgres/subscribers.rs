//! Subscribers: sequence numbers and the outcome of registrations (protocol section 7).

use super::devices;
use super::fault::Fault;
use super::link::Link;
use crate::{
    Challenge, NewDevice, NewRecord, NewSubscriber, Registered, SEQ_DELTA_MAX, SQN_MAX, StoreError,
    SubscriberRow,
};
use tokio_postgres::{Row, Transaction};

/// Subscribers of one page of a walk.
pub(super) const PAGE: usize = 8192;

pub(super) async fn insert(
    link: &mut Link,
    rows: &[NewDevice<'_>],
    subscribers: &[NewSubscriber<'_>],
) -> Result<Vec<i64>, Fault> {
    let t = link.client.transaction().await?;
    let ids = match devices::insert(&t, rows).await? {
        devices::Inserted::New(ids) => ids,
        // The commit was carried out though its answer was lost: the subscribers are there too.
        devices::Inserted::Before(ids) => return Ok(ids),
    };
    let supis: Vec<&str> = subscribers.iter().map(|s| s.supi).collect();
    let algorithms: Vec<&str> = subscribers.iter().map(|s| s.algorithm).collect();
    let secrets: Vec<&[u8]> = subscribers.iter().map(|s| s.secret_wrapped).collect();
    let sqns: Vec<i64> = subscribers.iter().map(|s| s.sqn.cast_signed()).collect();
    let count = t
        .execute(
            "INSERT INTO subscriber (device, supi, algorithm, secret_wrapped, sqn) \
             SELECT * FROM unnest($1::BIGINT[], $2::TEXT[], $3::TEXT[], $4::BYTEA[], $5::BIGINT[]) ON CONFLICT DO NOTHING",
            &[&ids, &supis, &algorithms, &secrets, &sqns],
        )
        .await?;
    if count != ids.len() as u64 {
        return Err(first_taken(t, &supis).await?.into());
    }
    t.commit().await?;
    Ok(ids)
}

/// The first SUPI that stands twice. What this transaction put in is taken back first.
async fn first_taken(t: Transaction<'_>, supis: &[&str]) -> Result<StoreError, Fault> {
    t.execute(
        "DELETE FROM subscriber WHERE supi = ANY($1) AND device > \
               (SELECT last FROM allocation WHERE name = 'device') - $2",
        &[&supis, &i64::try_from(supis.len()).unwrap_or(i64::MAX)],
    )
    .await?;
    let rows = t
        .query(
            "SELECT supi FROM subscriber WHERE supi = ANY($1)",
            &[&supis],
        )
        .await?;
    let taken: Vec<String> = rows
        .iter()
        .map(|row| row.try_get(0))
        .collect::<Result<_, _>>()?;
    let is_taken = |(i, supi): (usize, &&str)| {
        taken.iter().any(|t| t == supi) || supis.iter().take(i).any(|s| s == supi)
    };
    let index = supis.iter().enumerate().position(is_taken).unwrap_or(0);
    Ok(StoreError::SubscriberExists { index })
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT device, supi, algorithm, secret_wrapped, sqn, registered_ms, key_until_ms FROM subscriber ",
            $rest
        )
    };
}

pub(super) async fn by_supi(link: &mut Link, supi: &str) -> Result<Option<SubscriberRow>, Fault> {
    let read = link.prepared(select!("WHERE supi = $1")).await?;
    let row = link.client.query_opt(&read, &[&supi]).await?;
    row.map(|row| from_row(&row)).transpose()
}

/// The next subscribers after one, by row id of their devices.
pub(super) async fn page(link: &mut Link, after: i64) -> Result<Vec<SubscriberRow>, Fault> {
    let read = link
        .prepared(select!("WHERE device > $1 ORDER BY device LIMIT $2"))
        .await?;
    let limit = i64::try_from(PAGE).unwrap_or(i64::MAX);
    let rows = link.client.query(&read, &[&after, &limit]).await?;
    rows.iter().map(from_row).collect()
}

fn from_row(row: &Row) -> Result<SubscriberRow, Fault> {
    Ok(SubscriberRow {
        device: row.try_get(0)?,
        supi: row.try_get(1)?,
        algorithm: row.try_get(2)?,
        secret_wrapped: row.try_get(3)?,
        sqn: row.try_get::<_, i64>(4)?.cast_unsigned(),
        registered_ms: row.try_get(5)?,
        key_until_ms: row.try_get(6)?,
    })
}

/// SEQ goes up by one, IND goes round; at the end of SEQ nothing is issued any more. One statement decides, under the lock of
/// the row: however many processes ask, no two get the same number. Should the answer be lost, a number is passed over.
pub(super) async fn allocate(link: &mut Link, device: i64) -> Result<Challenge, Fault> {
    let update = link
        .prepared(
            "UPDATE subscriber SET challenge = challenge + 1, sqn = (((sqn >> 5) + 1) << 5) | ((sqn + 1) & 31) \
             WHERE device = $1 AND (sqn >> 5) < $2 RETURNING sqn, challenge",
        )
        .await?;
    let seq_max = (SQN_MAX >> 5).cast_signed();
    match link.client.query_opt(&update, &[&device, &seq_max]).await? {
        Some(row) => Ok(Challenge {
            sqn: row.try_get::<_, i64>(0)?.cast_unsigned(),
            number: row.try_get::<_, i64>(1)?.cast_unsigned(),
        }),
        None => {
            known(link, device).await?;
            Err(StoreError::SqnExhausted { device }.into())
        }
    }
}

/// The next number (SEQ + 1) is good for the card if SEQ_MS < SEQ + 1 <= SEQ_MS + Δ; then nothing changes, since another
/// process may have resynchronised meanwhile. Otherwise SEQ becomes SEQ_MS. IND goes on in any case.
pub(super) async fn resync(link: &mut Link, device: i64, sqn_ms: u64) -> Result<bool, Fault> {
    known(link, device).await?;
    let changed = link
        .client
        .execute(
            "UPDATE subscriber SET sqn = (($2::BIGINT >> 5) << 5) | (sqn & 31) WHERE device = $1 \
             AND NOT ((sqn >> 5) >= ($2::BIGINT >> 5) AND (sqn >> 5) < ($2::BIGINT >> 5) + $3::BIGINT)",
            &[&device, &sqn_ms.cast_signed(), &SEQ_DELTA_MAX.cast_signed()],
        )
        .await?;
    Ok(changed > 0)
}

/// Whether the device has answered a later challenge. Its row is locked until the end of the transaction.
pub(super) async fn is_stale(
    t: &Transaction<'_>,
    batch: &[NewRecord<'_>],
    registered: &Registered<'_>,
) -> Result<bool, Fault> {
    let device = batch.first().map_or(0, |record| record.device);
    let row = t
        .query_opt(
            "SELECT key_challenge FROM subscriber WHERE device = $1 FOR UPDATE",
            &[&device],
        )
        .await?;
    match row {
        Some(row) => Ok(row.try_get::<_, i64>(0)? > registered.challenge.cast_signed()),
        None => Ok(false),
    }
}

/// K_AIOT in place of the device's key, in the transaction of its record.
pub(super) async fn registered(
    t: &Transaction<'_>,
    record: &NewRecord<'_>,
    registered: &Registered<'_>,
) -> Result<(), Fault> {
    let device = record.device;
    let updated = t
        .execute(
            "UPDATE subscriber SET key_challenge = $2, registered_ms = $3, key_until_ms = $4 WHERE device = $1",
            &[
                &device,
                &registered.challenge.cast_signed(),
                &record.time_ms,
                &registered.key_until_ms,
            ],
        )
        .await?;
    if updated == 0 {
        return Err(StoreError::UnknownDevice { device }.into());
    }
    devices::set_key(t, device, registered.wrapped_key).await?;
    Ok(())
}

async fn known(link: &mut Link, device: i64) -> Result<(), Fault> {
    let read = link
        .prepared("SELECT 1 FROM subscriber WHERE device = $1")
        .await?;
    match link.client.query_opt(&read, &[&device]).await? {
        Some(_) => Ok(()),
        None => Err(StoreError::UnknownDevice { device }.into()),
    }
}
