//! The two key-value engines in Rust: get, then insert when absent, in one durable transaction.

use crate::{Engine, Record, Result, key, pack};
use redb::ReadableTable;
use std::collections::HashSet;
use std::path::Path;

pub(crate) struct Fjall {
    db: fjall::Database,
    records: fjall::Keyspace,
}

impl Fjall {
    pub(crate) fn open(dir: &Path) -> Result<Box<dyn Engine>> {
        let db = fjall::Database::builder(dir).cache_size(64 << 20).open()?;
        let records = db.keyspace("records", fjall::KeyspaceCreateOptions::default)?;
        Ok(Box::new(Self { db, records }))
    }
}

impl Engine for Fjall {
    /// A plain batch: the only writer is this thread, so looking first is safe. The batch does not see itself, hence the set.
    fn accept(&mut self, group: &[Record]) -> Result<usize> {
        let mut batch = self
            .db
            .batch()
            .durability(Some(fjall::PersistMode::SyncData));
        let mut seen = HashSet::with_capacity(group.len());
        for r in group {
            let key = key(r);
            if seen.insert(key) && !self.records.contains_key(key)? {
                batch.insert(&self.records, key, pack(r));
            }
        }
        let new = batch.len();
        batch.commit()?;
        Ok(new)
    }
}

const RECORDS: redb::TableDefinition<&[u8], &[u8]> = redb::TableDefinition::new("records");

pub(crate) struct Redb {
    db: redb::Database,
}

impl Redb {
    pub(crate) fn open(dir: &Path) -> Result<Box<dyn Engine>> {
        let db = redb::Database::builder()
            .set_cache_size(64 << 20)
            .create(dir.join("db"))?;
        Ok(Box::new(Self { db }))
    }
}

impl Engine for Redb {
    fn accept(&mut self, group: &[Record]) -> Result<usize> {
        let transaction = self.db.begin_write()?;
        let mut new = 0;
        {
            let mut table = transaction.open_table(RECORDS)?;
            for r in group {
                let key = key(r);
                if table.get(key.as_slice())?.is_none() {
                    table.insert(key.as_slice(), pack(r).as_slice())?;
                    new += 1;
                }
            }
        }
        transaction.commit()?;
        Ok(new)
    }
}
