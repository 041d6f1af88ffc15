//! The keys of acceptance records, which decide whether a record is new.
//!
//! Keys are random within an epoch, so an index on disk would dirty a page for nearly each record of a batch. Records are
//! written in the order in which they come, and their keys reach table `record_key` later: those of the newest records are in
//! memory, read from the records again when a store is opened, and folded into the table block after block, each in sorted
//! order, a slice with each batch: added at the table's end, however many keys an epoch has. A key is then looked for in each
//! block of its epoch; what a filter in memory says is in none of them is not. Nothing is lost with them, as a record's key is
//! in the record.
//!
//! Several processes may share the file. What others have inserted is read in the same transaction that decides.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, Row, Transaction};

use super::filter::Filter;
use crate::{NewRecord, StoreError};

/// Records whose keys are in memory alone before folding begins: about 8 MB. Twice as many while it goes on.
const UNFOLDED_MAX: usize = 1 << 17;

/// Keys of the table that are read at most to learn which there are, before the first record is accepted: 2 s.
const LEARNED_MAX: usize = 1 << 20;

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
    is_learned: bool,
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
            is_learned: false,
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
                self.filter = Filter::after(latest_epoch(t)?);
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

    /// Learns which keys of the newest epochs are in the table, as far as they are not too many. [`Keys::follow`] goes before.
    pub(super) fn learn(&mut self, t: &Transaction<'_>) -> Result<(), StoreError> {
        if self.is_learned {
            return Ok(());
        }
        self.is_learned = true;
        let Some(latest) = latest_epoch(t)? else {
            return Ok(());
        };
        for from in [latest.saturating_sub(1), latest] {
            let mut filter = Filter::after(from.checked_sub(1));
            let mut statement = t.prepare_cached(
                "SELECT record, epoch, device, tag1 FROM record_key WHERE epoch >= ?1",
            )?;
            let mut rows = statement.query([from])?;
            let mut count = 0;
            while count <= LEARNED_MAX
                && let Some(row) = rows.next()?
            {
                if let Ok((Some(key), _)) = read(row) {
                    filter.insert(&key);
                }
                count += 1;
            }
            if count <= LEARNED_MAX {
                self.filter = filter;
                break;
            }
        }
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
            "INSERT INTO record_key (epoch, block, device, tag1, record) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
        )?;
        let mut begun = None;
        for _ in 0..batch.saturating_add(FOLDED_BESIDE) {
            let Some((key, id)) = folding.keys.pop_first() else {
                t.prepare_cached("UPDATE keyed SET record = max(record, ?1)")?
                    .execute([folding.last])?;
                self.folding = None;
                return Ok(());
            };
            let block = id / self.unfolded_max as i64;
            if begun.replace((key.epoch, block)) != Some((key.epoch, block)) {
                t.prepare_cached(
                    "INSERT INTO key_block (epoch, block) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
                )?
                .execute((key.epoch, block))?;
            }
            insert.raw_bind_parameter(1, key.epoch)?;
            insert.raw_bind_parameter(2, block)?;
            insert.raw_bind_parameter(3, key.device)?;
            insert.raw_bind_parameter(4, key.tag1())?;
            insert.raw_bind_parameter(5, id)?;
            insert.raw_execute()?;
            self.filter.insert(&key);
        }
        Ok(())
    }
}

/// The records of one device in the table, asked for once in each block of each epoch there is: the cost grows with the age of
/// the store in epochs (52 560 a year) and with one 131 072th of its records.
pub(super) const OF_DEVICE: &str = "SELECT k.record FROM key_block b CROSS JOIN record_key k \
     WHERE k.epoch = b.epoch AND k.block = b.block AND k.device = ?2 AND k.record > ?1";

pub(super) const IN_TABLE: &str = "SELECT k.record FROM key_block b CROSS JOIN record_key k \
     WHERE b.epoch = ?1 AND k.epoch = ?1 AND k.block = b.block AND k.device = ?2 AND k.tag1 = ?3";

/// The key in the table alone.
pub(super) fn in_table(t: &Transaction<'_>, key: &Key) -> Result<Option<i64>, StoreError> {
    let mut statement = t.prepare_cached(IN_TABLE)?;
    let row = |row: &Row<'_>| row.get(0);
    Ok(statement
        .query_row((key.epoch, key.device, key.tag1()), row)
        .optional()?)
}

fn latest_epoch(t: &Transaction<'_>) -> Result<Option<u32>, StoreError> {
    Ok(t.prepare_cached("SELECT max(epoch) FROM key_block")?
        .query_row([], |row| row.get(0))?)
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
