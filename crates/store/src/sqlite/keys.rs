//! The keys of acceptance records, which decide whether a record is new.
//!
//! Keys are random within an epoch, so an index on disk would dirty a page for nearly each record of a batch. Records are
//! written in the order in which they come, and their keys reach table `record_key` later: those of the newest records are in
//! memory, read from the records again when a store is opened, and folded into the table in sorted order, a slice with each
//! batch. Nothing is lost with them, as a record's key is in the record.
//!
//! Several processes may share the file. What others have inserted is read in the same transaction that decides.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, Row, Transaction};

use super::filter::Filter;
use crate::{NewRecord, StoreError};

/// Records whose keys are in memory alone before folding begins: about 8 MB. Twice as many while it goes on.
const UNFOLDED_MAX: usize = 1 << 17;

/// Keys that a batch folds beside as many as it has records, so that folding ends before as many are there again.
const FOLDED_BESIDE: usize = 64;

/// What is unique among records, in the order of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    epoch: u32,
    device: i64,
    tag1: [u8; 16],
    tag1_len: u8,
}

impl Key {
    /// `None` for a tag that no record has.
    pub(super) fn new(device: i64, epoch: u32, octets: &[u8]) -> Option<Self> {
        let mut tag1 = [0; 16];
        tag1.get_mut(..octets.len())?.copy_from_slice(octets);
        Some(Self {
            epoch,
            device,
            tag1,
            tag1_len: octets.len() as u8,
        })
    }

    pub(super) fn of(record: &NewRecord<'_>) -> Option<Self> {
        Self::new(record.device, record.epoch, record.tag1)
    }

    pub(super) const fn epoch(&self) -> u32 {
        self.epoch
    }

    fn tag1(&self) -> &[u8] {
        let len = usize::from(self.tag1_len);
        self.tag1.get(..len).unwrap_or_default()
    }
}

/// The keys as this process knows them.
#[derive(Debug)]
pub(super) struct Keys {
    /// The last record whose key is known; `None` while the store has not been read.
    last: Option<i64>,
    /// Of the keys in the table.
    filter: Filter,
    /// Those that are not being folded.
    recent: BTreeMap<Key, i64>,
    folding: Option<Folding>,
    unfolded_max: usize,
}

/// Keys on their way to the table, and the last record among them.
#[derive(Debug)]
struct Folding {
    keys: BTreeMap<Key, i64>,
    last: i64,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            last: None,
            filter: Filter::default(),
            recent: BTreeMap::new(),
            folding: None,
            unfolded_max: UNFOLDED_MAX,
        }
    }
}

impl Keys {
    /// Folds after so many records.
    pub(super) const fn set_unfolded_max(&mut self, records: usize) {
        self.unfolded_max = records;
    }

    /// Knows nothing any more: the transaction that it has followed was undone.
    pub(super) fn forget(&mut self) {
        *self = Self {
            unfolded_max: self.unfolded_max,
            ..Self::default()
        };
    }

    /// Learns of the records that other processes have inserted, and at first of all whose keys are not in the table.
    pub(super) fn follow(&mut self, t: &Transaction<'_>) -> Result<(), StoreError> {
        let head: Option<i64> = t
            .prepare_cached("SELECT max(id) FROM record")?
            .query_row([], |row| row.get(0))?;
        let head = head.unwrap_or(0);
        let known = match self.last {
            Some(last) if last == head => return Ok(()),
            Some(last) if last < head => last,
            // The first time; or records are gone, and others may stand in their places.
            _ => {
                self.forget();
                let latest = t
                    .prepare_cached("SELECT max(epoch) FROM record_key")?
                    .query_row([], |row| row.get(0))?;
                self.filter = Filter::after(latest);
                keyed(t)?.min(head)
            }
        };
        let mut statement =
            t.prepare_cached("SELECT id, epoch, device, tag1 FROM record WHERE id > ?1")?;
        let mut rows = statement.query([known])?;
        while let Some(row) = rows.next()? {
            // What is no key in a damaged file is that of no report either.
            if let Ok((Some(key), id)) = read(row) {
                self.recent.entry(key).or_insert(id);
            }
        }
        self.last = Some(head);
        Ok(())
    }

    /// The record that has this key. [`Keys::follow`] goes before, in the same transaction.
    pub(super) fn find(&self, t: &Transaction<'_>, key: &Key) -> Result<Option<i64>, StoreError> {
        let folding = self.folding.as_ref();
        let in_memory = self
            .recent
            .get(key)
            .or_else(|| folding.and_then(|folding| folding.keys.get(key)));
        if in_memory.is_some() || !self.filter.may_have(key) {
            return Ok(in_memory.copied());
        }
        in_table(t, key)
    }

    /// The records of one device, by [`Keys::follow`] and the table: those after `after`, in their order.
    pub(super) fn of_device(
        &self,
        t: &Transaction<'_>,
        device: i64,
        after: i64,
    ) -> Result<Vec<i64>, StoreError> {
        let mut statement = t.prepare_cached(OF_DEVICE)?;
        let rows = statement.query_map((after, device), |row| row.get(0))?;
        let mut ids = rows.collect::<Result<Vec<i64>, _>>()?;
        let folding = self.folding.iter().flat_map(|folding| &folding.keys);
        let in_memory = self.recent.iter().chain(folding);
        ids.extend(
            in_memory
                .filter(|(key, id)| key.device == device && **id > after)
                .map(|(_, id)| *id),
        );
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    /// Notes a record that was inserted in this transaction.
    pub(super) fn note(&mut self, key: Key, id: i64) {
        self.recent.insert(key, id);
        self.last = Some(id);
    }

    /// Takes keys into the table, when there are enough in memory: some more than a batch of this size brings.
    pub(super) fn fold(&mut self, t: &Transaction<'_>, batch: usize) -> Result<(), StoreError> {
        if self.folding.is_none() && self.recent.len() < self.unfolded_max {
            return Ok(());
        }
        let folding = self.folding.get_or_insert_with(|| Folding {
            keys: std::mem::take(&mut self.recent),
            last: self.last.unwrap_or(0),
        });
        // Another process may have been here before.
        let mut insert = t.prepare_cached(
            "INSERT INTO record_key (epoch, device, tag1, record) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
        )?;
        for _ in 0..batch.saturating_add(FOLDED_BESIDE) {
            let Some((key, id)) = folding.keys.pop_first() else {
                t.prepare_cached("UPDATE keyed SET record = max(record, ?1)")?
                    .execute([folding.last])?;
                self.folding = None;
                return Ok(());
            };
            insert.raw_bind_parameter(1, key.epoch)?;
            insert.raw_bind_parameter(2, key.device)?;
            insert.raw_bind_parameter(3, key.tag1())?;
            insert.raw_bind_parameter(4, id)?;
            insert.raw_execute()?;
            self.filter.insert(&key);
        }
        Ok(())
    }
}

/// The records of one device in the table: its primary key is asked once for each epoch there is, so that the cost grows with
/// the age of the store in epochs (52 560 a year) and not with its records. `e.epoch` ends as NULL, which joins nothing.
pub(super) const OF_DEVICE: &str = "SELECT k.record FROM (WITH RECURSIVE e (epoch) AS (SELECT min(epoch) FROM record_key \
     UNION ALL SELECT (SELECT min(epoch) FROM record_key WHERE epoch > e.epoch) FROM e WHERE e.epoch IS NOT NULL) \
     SELECT epoch FROM e) AS e CROSS JOIN record_key k \
     WHERE k.epoch = e.epoch AND k.device = ?2 AND k.record > ?1";

/// The key in the table alone.
pub(super) fn in_table(t: &Transaction<'_>, key: &Key) -> Result<Option<i64>, StoreError> {
    let mut statement = t.prepare_cached(
        "SELECT record FROM record_key WHERE epoch = ?1 AND device = ?2 AND tag1 = ?3",
    )?;
    let row = |row: &Row<'_>| row.get(0);
    Ok(statement
        .query_row((key.epoch, key.device, key.tag1()), row)
        .optional()?)
}

/// The record up to which all keys are in the table.
pub(super) fn keyed(t: &Transaction<'_>) -> Result<i64, StoreError> {
    let keyed = t
        .prepare_cached("SELECT record FROM keyed")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(keyed.unwrap_or(0))
}

/// Records after the last one are new, whatever was taken out: their keys are not in the table.
pub(super) fn bound(t: &Transaction<'_>, head: i64) -> Result<(), StoreError> {
    if keyed(t)? > head {
        t.prepare_cached("UPDATE keyed SET record = ?1")?
            .execute([head])?;
    }
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<(Option<Key>, i64)> {
    let key = Key::new(row.get(2)?, row.get(1)?, row.get_ref(3)?.as_blob()?);
    Ok((key, row.get(0)?))
}
