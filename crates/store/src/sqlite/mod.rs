//! The embedded store: one SQLite file in WAL mode.

mod accept;
mod afs;
mod alarms;
mod chains;
mod commands;
mod delivery;
mod devices;
mod events;
mod evidence;
mod filter;
mod keys;
mod log;
mod open;
mod records;
mod subscribers;
mod sync;
#[cfg(test)]
mod tests;

use crate::checks;
use crate::{
    AfRow, AlarmRow, ChainRow, Challenge, CheckpointRow, CommandEnd, CommandEnded, CommandFilter,
    CommandRow, DeviceRow, EventFilter, EventRow, EvidenceFault, EvidenceHead, Insert, LastRecord,
    NewCommand, NewDevice, NewEvent, NewRecord, NewSubscriber, RecordFilter, RecordRow, Registered,
    Store, StoreError, SubscriberRow,
};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use std::ops::ControlFlow;
use std::path::Path;

/// The embedded store. Several processes may open one file; writers take turns, readers never wait.
///
/// Beside the file lie `-wal` and `-shm` while it is open. A copy of a store in use must be made with SQLite's means
/// (`VACUUM INTO`, `.backup`), as the newest records are in the `-wal` file.
#[derive(Debug)]
pub struct SqliteStore {
    /// Its thread must have closed its own connection when the one below closes the file.
    log: Option<log::Log>,
    connection: Connection,
    /// The minute of record times that is known to be noted durably, see table `minute`.
    minute_noted: Option<i64>,
    /// The last change to a device that was followed; `None` while nobody follows.
    followed: Option<i64>,
    keys: keys::Keys,
    written: Written,
}

/// What a store has written through one handle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Transactions that changed something.
    pub transactions: u64,
    /// Rows that they inserted or changed.
    pub rows: u64,
}

impl SqliteStore {
    /// Opens the store at `path`, creates it if there is none, and brings an older schema up to date.
    ///
    /// The directory must exist. A new file is readable by its owner only.
    ///
    /// # Errors
    /// [`StoreError::CannotOpen`], [`StoreError::NotADatabase`], [`StoreError::ForeignFile`],
    /// [`StoreError::NewerVersion`]; in these cases the file is unchanged.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let mut connection = open::read_write(path)?;
        let log = log::Log::watch(&mut connection, path.to_owned())?;
        let mut store = Self::over(connection);
        store.log = Some(log);
        Ok(store)
    }

    /// Opens the store at `path` for reading; another process may be writing it. Whatever writes fails with
    /// [`StoreError::ReadOnly`].
    ///
    /// # Errors
    /// Those of [`SqliteStore::open`], and [`StoreError::OlderVersion`], as nothing is brought up to date.
    pub fn open_read_only(path: &Path) -> Result<Self, StoreError> {
        Ok(Self::over(open::read_only(path)?))
    }

    /// A store in memory, for tests and simulation: gone when dropped, and opened in less than a millisecond.
    ///
    /// # Errors
    /// [`StoreError::Engine`] if memory runs out.
    pub fn in_memory() -> Result<Self, StoreError> {
        Ok(Self::over(open::in_memory()?))
    }

    fn over(connection: Connection) -> Self {
        connection.set_prepared_statement_cache_capacity(64);
        Self {
            log: None,
            connection,
            minute_noted: None,
            followed: None,
            keys: keys::Keys::default(),
            written: Written::default(),
        }
    }

    /// How many records may be there whose keys are in memory alone: those that a process reads anew when it opens the store.
    /// 131 072 unless set. They are a block of the table of keys.
    pub fn set_unfolded_max(&mut self, records: usize) {
        self.keys.set_unfolded_max(records);
    }

    /// What was written through this handle so far, as the database counts it.
    pub const fn written(&self) -> Written {
        self.written
    }

    /// Runs `work` in one transaction, made durable if it succeeds and undone if it does not.
    fn write<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.settle()?;
        if let Some(log) = &self.log {
            log.check(&self.connection)?;
        }
        // The write lock is taken at once: what is read in the transaction is then still true when it commits.
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let rows_before = transaction.total_changes();
        let written = work(&transaction).and_then(|value| {
            transaction.commit()?;
            Ok(value)
        });
        if let Some(log) = &mut self.log {
            log.mind(&self.connection);
        }
        let rows = self.connection.total_changes().saturating_sub(rows_before);
        if written.is_ok() && rows > 0 {
            self.written.transactions += 1;
            self.written.rows += rows;
        }
        if matches!(written, Err(StoreError::DiskFull)) {
            // The log cannot grow, and it is not emptied before it has grown: as soon as there is a little room, this
            // brings it into the database and gives its place back. While there is none, it fails and changes nothing.
            let _ = self
                .connection
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()));
        }
        written
    }

    /// As [`Self::write`], for what inserts records: it may change what is known of them, which holds only if the transaction
    /// does.
    fn write_records<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>, &mut accept::Known) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut known = accept::Known {
            minute: self.minute_noted,
            followed: self.followed,
            keys: std::mem::take(&mut self.keys),
        };
        // Another process may hold the lock for too long: then nothing has been done that could be undone.
        let mut is_begun = false;
        let written = self.write(|t| {
            is_begun = true;
            work(t, &mut known)
        });
        if written.is_ok() {
            self.minute_noted = known.minute;
        } else if is_begun {
            known.keys.forget();
        }
        self.keys = known.keys;
        written
    }

    /// Runs `work` in one read transaction that asks for keys.
    fn read_keys<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>, &keys::Keys) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut keys = std::mem::take(&mut self.keys);
        let value = self.read(|t| {
            keys.follow(t)?;
            work(t, &keys)
        });
        if value.is_err() {
            keys.forget();
        }
        self.keys = keys;
        value
    }

    /// Runs `work` in one read transaction.
    fn read<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.settle()?;
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Deferred)?;
        let value = work(&transaction)?;
        transaction.commit()?;
        Ok(value)
    }

    /// A failed transaction is rolled back when it is dropped. Should that have failed as well, it is tried once more
    /// here, so that no call ever runs inside the remains of another.
    fn settle(&self) -> Result<(), StoreError> {
        if !self.connection.is_autocommit() && self.connection.execute_batch("ROLLBACK").is_err() {
            return Err(StoreError::Unusable);
        }
        Ok(())
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        if let Some(log) = &mut self.log {
            log.end(&self.connection);
        }
    }
}

impl Store for SqliteStore {
    fn accept(
        &mut self,
        batch: &[NewRecord<'_>],
        outcomes: &mut Vec<Insert>,
    ) -> Result<(), StoreError> {
        outcomes.clear();
        if batch.is_empty() {
            return Ok(());
        }
        checks::records(batch)?;
        outcomes.reserve(batch.len());
        self.write_records(|t, known| accept::insert(t, batch, outcomes, known))
            .inspect_err(|_| outcomes.clear())
    }

    fn devices_insert(&mut self, devices: &[NewDevice<'_>]) -> Result<Vec<i64>, StoreError> {
        checks::devices(devices, &["operator", "uicc-aiot"])?;
        self.write(|t| devices::insert(t, devices))
    }

    fn device(&mut self, device_id: &[u8]) -> Result<Option<DeviceRow>, StoreError> {
        self.read(|t| devices::by_id(t, device_id))
    }

    fn devices_for_each(
        &mut self,
        f: &mut dyn FnMut(DeviceRow) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.read(|t| devices::for_each(t, f))
    }

    fn device_changes(
        &mut self,
        after: i64,
        f: &mut dyn FnMut(DeviceRow) -> ControlFlow<()>,
    ) -> Result<i64, StoreError> {
        let last = self.read(|t| match devices::last_change(t)? {
            last if last <= after => Ok(after),
            _ => devices::changed(t, after, f),
        })?;
        self.followed = Some(last);
        Ok(last)
    }

    fn device_count(&mut self) -> Result<u64, StoreError> {
        self.read(|t| count(t, "SELECT coalesce(max(id), 0) FROM device"))
    }

    fn device_set_disabled(&mut self, device: i64, disabled: bool) -> Result<(), StoreError> {
        self.write(|t| devices::set_disabled(t, device, disabled))
    }

    fn device_set_key(&mut self, device: i64, wrapped_key: &[u8]) -> Result<u32, StoreError> {
        self.write(|t| devices::set_key(t, device, wrapped_key))
    }

    fn subscribers_insert(
        &mut self,
        devices: &[NewDevice<'_>],
        subscribers: &[NewSubscriber<'_>],
    ) -> Result<Vec<i64>, StoreError> {
        checks::devices(devices, &["uicc"])?;
        checks::subscribers(devices, subscribers)?;
        self.write(|t| subscribers::insert(t, devices, subscribers))
    }

    fn subscriber(&mut self, supi: &str) -> Result<Option<SubscriberRow>, StoreError> {
        self.read(|t| subscribers::by_supi(t, supi))
    }

    fn subscribers_for_each(
        &mut self,
        f: &mut dyn FnMut(SubscriberRow) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.read(|t| subscribers::for_each(t, f))
    }

    fn sqn_allocate(&mut self, device: i64) -> Result<Challenge, StoreError> {
        self.write(|t| subscribers::allocate(t, device))
    }

    fn sqn_resync(&mut self, device: i64, sqn_ms: u64) -> Result<bool, StoreError> {
        self.write(|t| subscribers::resync(t, device, sqn_ms))
    }

    fn registration_commit(
        &mut self,
        record: &NewRecord<'_>,
        registered: &Registered<'_>,
    ) -> Result<Insert, StoreError> {
        checks::records(std::slice::from_ref(record))?;
        self.write_records(|t, known| subscribers::commit(t, record, registered, known))
    }

    fn last_records(
        &mut self,
        since_ms: i64,
        f: &mut dyn FnMut(LastRecord),
    ) -> Result<(), StoreError> {
        self.read(|t| records::last(t, since_ms, f))
    }

    fn record(
        &mut self,
        device: i64,
        epoch: u32,
        tag1: &[u8],
    ) -> Result<Option<RecordRow>, StoreError> {
        self.read_keys(|t, keys| records::by_key(t, keys, device, epoch, tag1))
    }

    fn records_for_each(
        &mut self,
        filter: &RecordFilter<'_>,
        f: &mut dyn FnMut(RecordRow) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        match filter.device_id {
            None => self.read(|t| records::for_each(t, filter, f)),
            Some(device_id) => {
                self.read_keys(|t, keys| records::of_device(t, keys, device_id, filter, f))
            }
        }
    }

    fn record_count(&mut self) -> Result<u64, StoreError> {
        self.read(|t| count(t, "SELECT coalesce(max(id), 0) FROM record"))
    }

    fn evidence_head(&mut self) -> Result<EvidenceHead, StoreError> {
        self.read(evidence::head)
    }

    fn checkpoint_insert(&mut self, checkpoint: &CheckpointRow) -> Result<(), StoreError> {
        self.write(|t| evidence::checkpoint_insert(t, checkpoint))
    }

    fn checkpoints_for_each(
        &mut self,
        record: i64,
        f: &mut dyn FnMut(CheckpointRow) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.read(|t| evidence::checkpoints_for_each(t, record, f))
    }

    fn evidence_verify(
        &mut self,
        is_signed: &mut dyn FnMut(&CheckpointRow) -> bool,
        fault: &mut dyn FnMut(EvidenceFault),
    ) -> Result<EvidenceHead, StoreError> {
        self.read(|t| evidence::verify(t, is_signed, fault))
    }

    fn events_insert(&mut self, events: &[NewEvent<'_>]) -> Result<(), StoreError> {
        if events.is_empty() {
            return Ok(());
        }
        self.write(|t| events::insert(t, events))
    }

    fn events_for_each(
        &mut self,
        filter: &EventFilter<'_>,
        f: &mut dyn FnMut(EventRow) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.read(|t| events::for_each(t, filter, f))
    }

    fn alarms_for_each(
        &mut self,
        with_acked: bool,
        f: &mut dyn FnMut(AlarmRow) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.read(|t| alarms::for_each(t, with_acked, f))
    }

    fn alarm_ack(
        &mut self,
        id: i64,
        by: &str,
        now_ms: i64,
    ) -> Result<Option<AlarmRow>, StoreError> {
        self.write(|t| alarms::ack(t, id, by, now_ms))
    }

    fn af_insert(&mut self, af: &AfRow) -> Result<(), StoreError> {
        checks::af(af)?;
        self.write(|t| afs::insert(t, af))
    }

    fn af_update(&mut self, af: &AfRow) -> Result<(), StoreError> {
        checks::af(af)?;
        self.write(|t| afs::update(t, af))
    }

    fn af_remove(&mut self, name: &str) -> Result<(), StoreError> {
        self.write(|t| afs::remove(t, name))
    }

    fn af(&mut self, name: &str) -> Result<Option<AfRow>, StoreError> {
        self.read(|t| afs::by_name(t, name))
    }

    fn af_by_client(&mut self, client_id: &str) -> Result<Option<AfRow>, StoreError> {
        self.read(|t| afs::by_client(t, client_id))
    }

    fn afs_for_each(
        &mut self,
        f: &mut dyn FnMut(AfRow) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.read(|t| afs::for_each(t, f))
    }

    fn commands_keep(&mut self, commands: &[NewCommand<'_>]) -> Result<Vec<i64>, StoreError> {
        checks::commands(commands)?;
        self.write(|t| commands::keep(t, commands))
    }

    fn commands_for_each(
        &mut self,
        filter: &CommandFilter,
        f: &mut dyn FnMut(CommandRow) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.read(|t| commands::for_each(t, filter, f))
    }

    fn command_give(
        &mut self,
        id: i64,
        record: (u32, &[u8]),
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        self.write(|t| commands::give(t, id, record, now_ms))
    }

    fn command_end(
        &mut self,
        id: i64,
        end: &CommandEnd<'_>,
        now_ms: i64,
    ) -> Result<CommandEnded, StoreError> {
        self.write(|t| commands::end(t, id, end, now_ms))
    }

    fn chain(&mut self, snid: &[u8; 9]) -> Result<Option<ChainRow>, StoreError> {
        self.read(|t| chains::newest(t, snid))
    }

    fn chain_insert(&mut self, chain: &ChainRow) -> Result<(), StoreError> {
        checks::chain(chain)?;
        self.write(|t| chains::insert(t, chain))
    }

    fn chain_set_epoch(&mut self, snid: &[u8; 9], epoch: u32) -> Result<(), StoreError> {
        self.write(|t| chains::set_epoch(t, snid, epoch))
    }

    fn meta(&mut self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|t| chains::meta(t, name))
    }

    fn meta_set(&mut self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        self.write(|t| chains::meta_set(t, name, value))
    }

    fn meta_init(&mut self, name: &str, value: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.write(|t| match chains::meta(t, name)? {
            Some(there) => Ok(there),
            None => chains::meta_set(t, name, value).map(|()| value.to_vec()),
        })
    }
}

/// Rows are never removed and ids never skipped (a refused insert takes none), so the highest id is the number of rows,
/// and no table need be walked for it.
fn count(t: &Transaction<'_>, sql: &str) -> Result<u64, StoreError> {
    let n: i64 = t.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    Ok(n.unsigned_abs())
}

/// A column of 12 octets; a file written by this crate holds no other length.
fn area_id(octets: Vec<u8>) -> Result<[u8; 12], StoreError> {
    octets.try_into().map_err(|_| StoreError::Corrupt {
        detail: "an AreaID is not 12 octets long".into(),
    })
}
