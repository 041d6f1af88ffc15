//! The keys of acceptance records, which decide whether a record is new.
//!
//! Keys are random within an epoch, so an index on disk would dirty a page for nearly each record of a batch. Records are
//! written in the order in which they come, and their keys reach table `record_key` later: those of the newest records are in
//! memory, read from the records again when a store is opened, and folded into the table block after block, each in sorted
//! order, a slice with each batch: added at the table's end, however many keys an epoch has. A key is then looked for in each
//! block of its epoch, unless a filter in memory does not know it: then it is in none of them. Nothing is lost with them, as a
//! record's key is in the record.
//!
//! Several processes may share the file. What others have inserted is read in the same transaction that decides.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, Row, Transaction};

use super::filter::Filter;
use crate::{NewRecord, StoreError};

/// Records whose keys are in memory alone before folding begins: about 8 MB. Twice as many while it goes on.
const UNFOLDED_MAX: usize = 1 << 17;

/// Of so many records, the table is read with each batch for the keys of one, until all keys of its latest epoch are in the
/// filter.
const LEARNED_PART: usize = 32;

/// Keys that a batch folds beside as many as have come since the one before, so that folding ends before as many are there again.
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
    /// Of all keys, in memory and in the table.
    filter: Filter,
    learning: Learning,
    /// Those that are not being folded.
    recent: BTreeMap<Key, i64>,
    folding: Option<Folding>,
    /// The last record whose key was folded.
    folded: i64,
    /// Keys that have come since a slice was folded last.
    gained: usize,
    unfolded_max: usize,
}

/// How far the keys that were in the table before are in the filter.
#[derive(Debug)]
enum Learning {
    NotBegun,
    /// Up to this key of the latest epoch, in a filter that will take the place of the one in use.
    Upto {
        epoch: u32,
        block: i64,
        device: i64,
        tag1: Vec<u8>,
        filter: Filter,
    },
    Done,
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
            learning: Learning::NotBegun,
            recent: BTreeMap::new(),
            folding: None,
            folded: 0,
            gained: 0,
            unfolded_max: UNFOLDED_MAX,
        }
    }
}

impl Keys {
    /// Folds after so many records, at least 1, which are a block.
    pub(super) fn set_unfolded_max(&mut self, records: usize) {
        self.unfolded_max = records.max(1);
    }

    #[cfg(test)]
    pub(super) const fn folded(&self) -> i64 {
        self.folded
    }

    #[cfg(test)]
    pub(super) fn may_have(&self, device: i64, epoch: u32, tag1: &[u8]) -> bool {
        Key::new(device, epoch, tag1).is_none_or(|key| self.filter.may_have(&key))
    }

    fn block(&self, record: i64) -> i64 {
        record / i64::try_from(self.unfolded_max).unwrap_or(i64::MAX)
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
                self.folded = keyed(t)?.min(head);
                self.folded
            }
        };
        let mut statement =
            t.prepare_cached("SELECT id, epoch, device, tag1 FROM record WHERE id > ?1")?;
        let mut rows = statement.query([known])?;
        while let Some(row) = rows.next()? {
            // What is no key in a damaged file is that of no report either.
            if let Ok((Some(key), id)) = read(row) {
                self.put_in_filter(&key);
                self.recent.entry(key).or_insert(id);
                self.gained += 1;
            }
        }
        self.last = Some(head);
        Ok(())
    }

    /// Reads some keys of the table's latest epoch into the filter, if they are not all there. [`Keys::follow`] goes before.
    pub(super) fn learn(&mut self, t: &Transaction<'_>) -> Result<(), StoreError> {
        if let Learning::NotBegun = self.learning {
            self.learning = match latest_epoch(t)? {
                None => Learning::Done,
                Some(epoch) => {
                    let mut filter = Filter::after(epoch.checked_sub(1));
                    let folding = self.folding.iter().flat_map(|folding| &folding.keys);
                    for (key, _) in self.recent.iter().chain(folding) {
                        filter.insert(key);
                    }
                    Learning::Upto {
                        epoch,
                        block: i64::MIN,
                        device: i64::MIN,
                        tag1: Vec::new(),
                        filter,
                    }
                }
            };
        }
        let Learning::Upto {
            epoch,
            block,
            device,
            tag1,
            filter,
        } = &mut self.learning
        else {
            return Ok(());
        };
        let most = i64::try_from(self.unfolded_max.div_ceil(LEARNED_PART)).unwrap_or(i64::MAX);
        let mut statement = t.prepare_cached(LEARN)?;
        let mut rows = statement.query((*epoch, *block, *device, &*tag1, most))?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            (*block, *device, *tag1) = (row.get(0)?, row.get(1)?, row.get(2)?);
            if let Some(key) = Key::new(*device, *epoch, tag1) {
                filter.insert(&key);
            }
            count += 1;
        }
        if count < most {
            self.filter = std::mem::take(filter);
            self.learning = Learning::Done;
        }
        Ok(())
    }

    /// The record that has this key. [`Keys::follow`] goes before, in the same transaction.
    pub(super) fn find(&self, t: &Transaction<'_>, key: &Key) -> Result<Option<i64>, StoreError> {
        if !self.filter.may_have(key) {
            return Ok(None);
        }
        let folding = self.folding.as_ref();
        let in_memory = self
            .recent
            .get(key)
            .or_else(|| folding.and_then(|folding| folding.keys.get(key)));
        match in_memory {
            Some(id) => Ok(Some(*id)),
            None => in_table(t, key),
        }
    }

    fn put_in_filter(&mut self, key: &Key) {
        self.filter.insert(key);
        if let Learning::Upto { filter, .. } = &mut self.learning {
            filter.insert(key);
        }
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
        self.put_in_filter(&key);
        self.recent.insert(key, id);
        self.gained += 1;
        self.last = Some(id);
    }

    /// Takes keys into the table, when there is a block of them in memory: some more than have come since it was called last.
    pub(super) fn fold(&mut self, t: &Transaction<'_>) -> Result<(), StoreError> {
        let gained = std::mem::take(&mut self.gained);
        let last = self.last.unwrap_or(0);
        if self.folding.is_none() && self.block(last) == self.block(self.folded) {
            return Ok(());
        }
        let keys = &mut self.recent;
        let mut folding = self.folding.take().unwrap_or_else(|| Folding {
            keys: std::mem::take(keys),
            last,
        });
        // Another process may have been here before.
        let mut insert = t.prepare_cached(
            "INSERT INTO record_key (epoch, block, device, tag1, record) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
        )?;
        let mut blocks = Vec::new();
        for _ in 0..gained.saturating_add(FOLDED_BESIDE) {
            let Some((key, id)) = folding.keys.pop_first() else {
                t.prepare_cached("UPDATE keyed SET record = max(record, ?1)")?
                    .execute([folding.last])?;
                self.folded = folding.last;
                return Ok(());
            };
            let block = (key.epoch, self.block(id));
            if !blocks.contains(&block) {
                t.prepare_cached(
                    "INSERT INTO key_block (epoch, block) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
                )?
                .execute(block)?;
                blocks.push(block);
            }
            insert.raw_bind_parameter(1, key.epoch)?;
            insert.raw_bind_parameter(2, block.1)?;
            insert.raw_bind_parameter(3, key.device)?;
            insert.raw_bind_parameter(4, key.tag1())?;
            insert.raw_bind_parameter(5, id)?;
            insert.raw_execute()?;
        }
        self.folding = Some(folding);
        Ok(())
    }
}

/// Keys of the table in an epoch, after one.
pub(super) const LEARN: &str = "SELECT block, device, tag1 FROM record_key \
     WHERE epoch = ?1 AND (block, device, tag1) > (?2, ?3, ?4) ORDER BY block, device, tag1 LIMIT ?5";

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

/// The key in the table, where it is that of this record: one look, where [`in_table`] takes one in each block of the epoch.
pub(super) fn is_in_its_block(
    t: &Transaction<'_>,
    key: &Key,
    record: i64,
) -> Result<bool, StoreError> {
    let mut statement = t.prepare_cached(
        "SELECT record FROM record_key WHERE epoch = ?1 AND block = ?2 AND device = ?3 AND tag1 = ?4",
    )?;
    let block = record / UNFOLDED_MAX as i64;
    let row = |row: &Row<'_>| row.get(0);
    let found: Option<i64> = statement
        .query_row((key.epoch, block, key.device, key.tag1()), row)
        .optional()?;
    Ok(found == Some(record))
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
