//! Subscribers: sequence numbers and the outcome of registrations (protocol section 7).

use super::{accept, devices};
use crate::{
    Challenge, Insert, NewDevice, NewRecord, NewSubscriber, Registered, SEQ_DELTA_MAX, SQN_MAX,
    StoreError, SubscriberRow,
};
use rusqlite::{OptionalExtension, Row, Transaction};
use std::ops::ControlFlow;

pub(super) fn insert(
    t: &Transaction<'_>,
    rows: &[NewDevice<'_>],
    subscribers: &[NewSubscriber<'_>],
) -> Result<Vec<i64>, StoreError> {
    let ids = devices::insert(t, rows)?;
    let mut statement = t.prepare_cached(
        "INSERT INTO subscriber (device, supi, algorithm, secret_wrapped, sqn) VALUES (?1, ?2, ?3, ?4, ?5) \
         ON CONFLICT (supi) DO NOTHING",
    )?;
    for (index, (id, s)) in ids.iter().zip(subscribers).enumerate() {
        let new = statement.execute((
            id,
            s.supi,
            s.algorithm,
            s.secret_wrapped,
            s.sqn.cast_signed(),
        ))?;
        if new == 0 {
            return Err(StoreError::SubscriberExists { index });
        }
    }
    Ok(ids)
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT device, supi, algorithm, secret_wrapped, sqn, registered_ms, key_until_ms FROM subscriber ",
            $rest
        )
    };
}

pub(super) fn by_supi(
    t: &Transaction<'_>,
    supi: &str,
) -> Result<Option<SubscriberRow>, StoreError> {
    Ok(t.prepare_cached(select!("WHERE supi = ?1"))?
        .query_row([supi], from_row)
        .optional()?)
}

pub(super) fn for_each(
    t: &Transaction<'_>,
    f: &mut dyn FnMut(SubscriberRow) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    let mut statement = t.prepare_cached(select!("ORDER BY device"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if f(from_row(row)?).is_break() {
            break;
        }
    }
    Ok(())
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<SubscriberRow> {
    Ok(SubscriberRow {
        device: row.get(0)?,
        supi: row.get(1)?,
        algorithm: row.get(2)?,
        secret_wrapped: row.get(3)?,
        sqn: unsigned(row, 4)?,
        registered_ms: row.get(5)?,
        key_until_ms: row.get(6)?,
    })
}

/// SEQ goes up by one, IND goes round; at the end of SEQ nothing is issued any more. One statement decides, under the write
/// lock: however many processes ask, no two get the same number.
const ALLOCATE: &str = "UPDATE subscriber SET challenge = challenge + 1, \
     sqn = ((sqn >> 5) + 1) << 5 | ((sqn + 1) & 31) \
     WHERE device = ?1 AND (sqn >> 5) < ?2 RETURNING sqn, challenge";

pub(super) fn allocate(t: &Transaction<'_>, device: i64) -> Result<Challenge, StoreError> {
    let allocated = t
        .prepare_cached(ALLOCATE)?
        .query_row((device, (SQN_MAX >> 5).cast_signed()), |row| {
            Ok(Challenge {
                sqn: unsigned(row, 0)?,
                number: unsigned(row, 1)?,
            })
        })
        .optional()?;
    match allocated {
        Some(challenge) => Ok(challenge),
        None => {
            known(t, device)?;
            Err(StoreError::SqnExhausted { device })
        }
    }
}

/// The next number (SEQ + 1) is good for the card if SEQ_MS < SEQ + 1 <= SEQ_MS + Δ; then nothing changes, since another
/// process may have resynchronised meanwhile. Otherwise SEQ becomes SEQ_MS. IND goes on in any case.
const RESYNC: &str = "UPDATE subscriber SET sqn = (?2 >> 5) << 5 | (sqn & 31) \
     WHERE device = ?1 AND NOT ((sqn >> 5) >= (?2 >> 5) AND (sqn >> 5) < (?2 >> 5) + ?3)";

pub(super) fn resync(t: &Transaction<'_>, device: i64, sqn_ms: u64) -> Result<bool, StoreError> {
    known(t, device)?;
    let changed = t.prepare_cached(RESYNC)?.execute((
        device,
        sqn_ms.cast_signed(),
        SEQ_DELTA_MAX.cast_signed(),
    ))?;
    Ok(changed > 0)
}

/// The acceptance record, and if it is new, K_AIOT; both or neither.
pub(super) fn commit(
    t: &Transaction<'_>,
    record: &NewRecord<'_>,
    registered: &Registered<'_>,
    known: &mut accept::Known,
) -> Result<Insert, StoreError> {
    let mut outcomes = Vec::with_capacity(1);
    let newer = t
        .prepare_cached("SELECT 1 FROM subscriber WHERE device = ?1 AND key_challenge > ?2")?
        .exists((record.device, registered.challenge.cast_signed()))?;
    if newer {
        return Ok(Insert::StaleChallenge);
    }
    accept::insert(t, std::slice::from_ref(record), &mut outcomes, known)?;
    let outcome = outcomes.pop().unwrap_or(Insert::StaleChallenge);
    if let Insert::New { .. } = outcome {
        let updated = t
            .prepare_cached(
                "UPDATE subscriber SET key_challenge = ?2, registered_ms = ?3, key_until_ms = ?4 WHERE device = ?1",
            )?
            .execute((
                record.device,
                registered.challenge.cast_signed(),
                record.time_ms,
                registered.key_until_ms,
            ))?;
        if updated == 0 {
            return Err(StoreError::UnknownDevice {
                device: record.device,
            });
        }
        devices::set_key(t, record.device, registered.wrapped_key)?;
    }
    Ok(outcome)
}

/// SQLite's integers have a sign; what is kept here stays below 2^63.
fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(i64::cast_unsigned)
}

fn known(t: &Transaction<'_>, device: i64) -> Result<(), StoreError> {
    let is_known = t
        .prepare_cached("SELECT 1 FROM subscriber WHERE device = ?1")?
        .exists([device])?;
    if is_known {
        Ok(())
    } else {
        Err(StoreError::UnknownDevice { device })
    }
}
