//! The hot path: a batch of acceptance records, decided by the database.

use super::keys::{self, Key, Keys};
use crate::evidence::{Content, EvidenceHead};
use crate::{Insert, NewRecord, StoreError};
use rusqlite::{CachedStatement, OptionalExtension, Statement, Transaction};

/// What the process knows beside the file. What an insertion adds to it holds only if the transaction does.
pub(super) struct Known {
    /// The minute last noted, see table `minute`.
    pub(super) minute: Option<i64>,
    /// The last change to a device that was followed.
    pub(super) followed: Option<i64>,
    pub(super) keys: Keys,
}

/// Inserts what is new, unless its device has changed after the change that was followed.
pub(super) fn insert(
    t: &Transaction<'_>,
    batch: &[NewRecord<'_>],
    outcomes: &mut Vec<Insert>,
    known: &mut Known,
) -> Result<(), StoreError> {
    let Known {
        minute,
        followed,
        keys,
    } = known;
    // One look for the whole batch; only when something has changed is each device looked at.
    let last = super::devices::last_change(t)?;
    let changed_after = followed.filter(|followed| *followed < last);
    let head = super::evidence::head(t)?;
    keys::bound(t, head.record)?;
    keys.follow(t)?;
    keys.learn(t)?;
    let mut ways = Ways::prepare(t, head)?;
    for r in batch {
        if let Some(followed) = changed_after
            && super::devices::has_changed(t, r.device, followed)?
        {
            outcomes.push(Insert::DeviceChanged);
            continue;
        }
        let key = Key::of(r).ok_or_else(super::records::keys_disagree)?;
        let outcome = match (keys.find(t, &key)?, r.counter) {
            (Some(id), _) => Insert::Duplicate {
                accept: stored_accept(t, id, r)?,
            },
            (None, None) => ways.insert(r)?,
            (None, Some(counter)) => ways.insert_counted(t, r, counter)?,
        };
        if let Insert::New { id } = outcome {
            keys.note(key, id);
            note_minute(t, r.time_ms, id, minute)?;
        }
        outcomes.push(outcome);
    }
    keys.fold(t)
}

/// The statements that run for every record, looked up once a batch. There is one execution a record: several rows in
/// one statement, with RETURNING, measured slower (`bench/engines`).
struct Ways<'t> {
    insert: CachedStatement<'t>,
    insert_counted: CachedStatement<'t>,
    move_counter: CachedStatement<'t>,
    /// The last record, to which the next one is linked. It stays so: the write lock is held.
    head: EvidenceHead,
}

impl<'t> Ways<'t> {
    fn prepare(t: &'t Transaction<'_>, head: EvidenceHead) -> Result<Self, StoreError> {
        Ok(Self {
            head,
            insert: t.prepare_cached(INSERT)?,
            insert_counted: t.prepare_cached(INSERT_COUNTED)?,
            move_counter: t.prepare_cached(MOVE_COUNTER)?,
        })
    }

    fn insert(&mut self, r: &NewRecord<'_>) -> Result<Insert, StoreError> {
        insert_row(&mut self.insert, r, &mut self.head)?;
        Ok(Insert::New {
            id: self.head.record,
        })
    }

    fn insert_counted(
        &mut self,
        t: &Transaction<'_>,
        r: &NewRecord<'_>,
        counter: u32,
    ) -> Result<Insert, StoreError> {
        if insert_row(&mut self.insert_counted, r, &mut self.head)? {
            let id = self.head.record;
            self.move_counter.execute((r.device, counter, id))?;
            return Ok(Insert::New { id });
        }
        resent_or_stale(t, r, counter)
    }
}

macro_rules! insert_into_record {
    ($source:literal) => {
        concat!(
            "INSERT INTO record (id, device, epoch, tag1, form, area_id, nonce, cause, seq, data, accept, time_ms, repeat, ",
            "gnb_id, reader_index, counter, link) ",
            $source
        )
    };
}

const INSERT: &str = insert_into_record!(
    "VALUES (?17, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)"
);

/// The same, unless the device has been accepted with this counter or a later one.
const INSERT_COUNTED: &str = insert_into_record!(
    "SELECT ?17, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16 \
     WHERE NOT EXISTS (SELECT 1 FROM counter WHERE device = ?1 AND last >= ?15)"
);

const MOVE_COUNTER: &str = "INSERT INTO counter (device, last, record) VALUES (?1, ?2, ?3) \
     ON CONFLICT DO UPDATE SET last = excluded.last, record = excluded.record";

/// A resend may come under another epoch than the record has: the blind form is bound to none.
fn resent_or_stale(
    t: &Transaction<'_>,
    r: &NewRecord<'_>,
    counter: u32,
) -> Result<Insert, StoreError> {
    let found = t
        .prepare_cached(
            "SELECT c.last, CASE WHEN c.last = ?2 AND r.tag1 = ?3 THEN r.accept END \
             FROM counter c LEFT JOIN record r ON r.id = c.record WHERE c.device = ?1",
        )?
        .query_row((r.device, counter, r.tag1), |row| {
            Ok((row.get::<_, u32>(0)?, row.get::<_, Option<Vec<u8>>>(1)?))
        })
        .optional()?;
    match found {
        Some((_, Some(accept))) => Ok(Insert::Duplicate { accept }),
        Some((last, None)) => Ok(Insert::StaleCounter { last }),
        // It was refused by a row that is not there.
        None => Err(super::records::keys_disagree()),
    }
}

/// Returns whether the row went in. The parameters are bound by number, which saves a list of trait objects a record.
///
/// The record is linked to `head`, which becomes the record. Its id is the next one, given and not left to SQLite, as the
/// link covers it.
fn insert_row(
    statement: &mut Statement<'_>,
    r: &NewRecord<'_>,
    head: &mut EvidenceHead,
) -> Result<bool, StoreError> {
    let next = head.next(&Content::of_new(head.record.saturating_add(1), r));
    statement.raw_bind_parameter(1, r.device)?;
    statement.raw_bind_parameter(2, r.epoch)?;
    statement.raw_bind_parameter(3, r.tag1)?;
    statement.raw_bind_parameter(4, r.form)?;
    statement.raw_bind_parameter(5, r.area_id)?;
    statement.raw_bind_parameter(6, r.nonce)?;
    statement.raw_bind_parameter(7, r.cause)?;
    statement.raw_bind_parameter(8, r.seq)?;
    statement.raw_bind_parameter(9, r.data)?;
    statement.raw_bind_parameter(10, r.accept)?;
    statement.raw_bind_parameter(11, r.time_ms)?;
    statement.raw_bind_parameter(12, r.repeat)?;
    statement.raw_bind_parameter(13, r.gnb_id)?;
    statement.raw_bind_parameter(14, r.reader_index)?;
    statement.raw_bind_parameter(15, r.counter)?;
    statement.raw_bind_parameter(16, next.link)?;
    statement.raw_bind_parameter(17, next.record)?;
    let is_new = statement.raw_execute()? == 1;
    if is_new {
        *head = next;
    }
    Ok(is_new)
}

/// What the record of this key was answered.
fn stored_accept(t: &Transaction<'_>, id: i64, r: &NewRecord<'_>) -> Result<Vec<u8>, StoreError> {
    let mut statement = t.prepare_cached(
        "SELECT accept FROM record WHERE id = ?1 AND epoch = ?2 AND device = ?3 AND tag1 = ?4",
    )?;
    let accept = statement
        .query_row((id, r.epoch, r.device, r.tag1), |row| row.get(0))
        .optional()?;
    accept.ok_or_else(super::records::keys_disagree)
}

fn note_minute(
    t: &Transaction<'_>,
    time_ms: i64,
    id: i64,
    noted: &mut Option<i64>,
) -> Result<(), StoreError> {
    let minute = super::records::minute(time_ms);
    if *noted != Some(minute) {
        t.prepare_cached(
            "INSERT INTO minute (minute, record) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
        )?
        .execute((minute, id))?;
        *noted = Some(minute);
    }
    Ok(())
}
