//! A store that outlives its core, as a file does, and copies of one: backups, and stores tampered with.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ambit_protocol::Snid;
use ambit_store::{
    AfRow, AlarmRow, ChainRow, Challenge, CheckpointRow, CommandEnd, CommandEnded, CommandFilter,
    CommandRow, DeviceRow, EventFilter, EventRow, EvidenceFault, EvidenceHead, Insert, LastRecord,
    NewCommand, NewDevice, NewEvent, NewRecord, NewSubscriber, RecordFilter, RecordRow, Registered,
    SqliteStore, Store, StoreError, SubscriberRow,
};

/// A store in memory that several hold: a core that may be killed, the one that comes after it, a judge.
#[derive(Clone, Debug)]
pub struct SharedStore(Arc<Mutex<SqliteStore>>);

impl SharedStore {
    /// An empty store.
    ///
    /// # Errors
    /// Memory runs out.
    pub fn new() -> Result<Self, StoreError> {
        Ok(Self(Arc::new(Mutex::new(SqliteStore::in_memory()?))))
    }

    /// A copy as it stands now: devices, records and the newest chain of one network. Events are left out.
    ///
    /// # Errors
    /// Either store's own.
    pub fn copy(from: &mut dyn Store, snid: &Snid) -> Result<Self, StoreError> {
        Self::copy_edited(from, snid, &mut |row| vec![row])
    }

    /// A copy in which every record was replaced by what `edit` made of it.
    ///
    /// # Errors
    /// Either store's own.
    pub fn copy_edited(
        from: &mut dyn Store,
        snid: &Snid,
        edit: &mut dyn FnMut(RecordRow) -> Vec<RecordRow>,
    ) -> Result<Self, StoreError> {
        let copy = Self::new()?;
        copy_edited_into(from, &mut *copy.lock(), edit)?;
        if let Some(chain) = from.chain(snid.octets())? {
            copy.lock().chain_insert(&chain)?;
        }
        Ok(copy)
    }

    /// Transactions and rows written so far.
    pub fn written(&self) -> (u64, u64) {
        let written = self.lock().written();
        (written.transactions, written.rows)
    }

    fn lock(&self) -> MutexGuard<'_, SqliteStore> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Copies devices and records into an empty store.
pub(crate) fn copy_into(from: &mut dyn Store, to: &mut dyn Store) -> Result<(), StoreError> {
    copy_edited_into(from, to, &mut |row| vec![row])
}

fn copy_edited_into(
    from: &mut dyn Store,
    to: &mut dyn Store,
    edit: &mut dyn FnMut(RecordRow) -> Vec<RecordRow>,
) -> Result<(), StoreError> {
    let mut devices = Vec::new();
    from.devices_for_each(&mut |row| {
        devices.push(row);
        ControlFlow::Continue(())
    })?;
    let rows: Vec<NewDevice<'_>> = devices.iter().map(new_device).collect();
    to.devices_insert(&rows)?;
    let mut records = Vec::new();
    from.records_for_each(&RecordFilter::default(), &mut |row| {
        records.extend(edit(row));
        ControlFlow::Continue(())
    })?;
    let rows: Vec<NewRecord<'_>> = records.iter().map(new_record).collect();
    to.accept(&rows, &mut Vec::new())
}

impl Store for SharedStore {
    fn accept(
        &mut self,
        batch: &[NewRecord<'_>],
        outcomes: &mut Vec<Insert>,
    ) -> Result<(), StoreError> {
        self.lock().accept(batch, outcomes)
    }

    fn devices_insert(&mut self, devices: &[NewDevice<'_>]) -> Result<Vec<i64>, StoreError> {
        self.lock().devices_insert(devices)
    }

    fn device(&mut self, device_id: &[u8]) -> Result<Option<DeviceRow>, StoreError> {
        self.lock().device(device_id)
    }

    fn devices_for_each(
        &mut self,
        f: &mut dyn FnMut(DeviceRow) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.lock().devices_for_each(f)
    }

    fn device_changes(
        &mut self,
        after: i64,
        f: &mut dyn FnMut(DeviceRow) -> ControlFlow<()>,
    ) -> Result<i64, StoreError> {
        self.lock().device_changes(after, f)
    }

    fn device_count(&mut self) -> Result<u64, StoreError> {
        self.lock().device_count()
    }

    fn device_set_disabled(&mut self, device: i64, disabled: bool) -> Result<(), StoreError> {
        self.lock().device_set_disabled(device, disabled)
    }

    fn device_set_key(&mut self, device: i64, wrapped_key: &[u8]) -> Result<u32, StoreError> {
        self.lock().device_set_key(device, wrapped_key)
    }

    fn subscribers_insert(
        &mut self,
        devices: &[NewDevice<'_>],
        subscribers: &[NewSubscriber<'_>],
    ) -> Result<Vec<i64>, StoreError> {
        self.lock().subscribers_insert(devices, subscribers)
    }

    fn subscriber(&mut self, supi: &str) -> Result<Option<SubscriberRow>, StoreError> {
        self.lock().subscriber(supi)
    }

    fn subscribers_for_each(
        &mut self,
        f: &mut dyn FnMut(SubscriberRow) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.lock().subscribers_for_each(f)
    }

    fn sqn_allocate(&mut self, device: i64) -> Result<Challenge, StoreError> {
        self.lock().sqn_allocate(device)
    }

    fn sqn_resync(&mut self, device: i64, sqn_ms: u64) -> Result<bool, StoreError> {
        self.lock().sqn_resync(device, sqn_ms)
    }

    fn registration_commit(
        &mut self,
        record: &NewRecord<'_>,
        registered: &Registered<'_>,
    ) -> Result<Insert, StoreError> {
        self.lock().registration_commit(record, registered)
    }

    fn last_records(
        &mut self,
        since_ms: i64,
        f: &mut dyn FnMut(LastRecord),
    ) -> Result<(), StoreError> {
        self.lock().last_records(since_ms, f)
    }

    fn record(
        &mut self,
        device: i64,
        epoch: u32,
        tag1: &[u8],
    ) -> Result<Option<RecordRow>, StoreError> {
        self.lock().record(device, epoch, tag1)
    }

    fn records_for_each(
        &mut self,
        filter: &RecordFilter<'_>,
        f: &mut dyn FnMut(RecordRow) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.lock().records_for_each(filter, f)
    }

    fn record_count(&mut self) -> Result<u64, StoreError> {
        self.lock().record_count()
    }

    fn evidence_head(&mut self) -> Result<EvidenceHead, StoreError> {
        self.lock().evidence_head()
    }

    fn checkpoint_insert(&mut self, checkpoint: &CheckpointRow) -> Result<(), StoreError> {
        self.lock().checkpoint_insert(checkpoint)
    }

    fn checkpoints_for_each(
        &mut self,
        record: i64,
        f: &mut dyn FnMut(CheckpointRow) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.lock().checkpoints_for_each(record, f)
    }

    fn evidence_verify(
        &mut self,
        is_signed: &mut dyn FnMut(&CheckpointRow) -> bool,
        fault: &mut dyn FnMut(EvidenceFault),
    ) -> Result<EvidenceHead, StoreError> {
        self.lock().evidence_verify(is_signed, fault)
    }

    fn events_insert(&mut self, events: &[NewEvent<'_>]) -> Result<(), StoreError> {
        self.lock().events_insert(events)
    }

    fn events_for_each(
        &mut self,
        filter: &EventFilter<'_>,
        f: &mut dyn FnMut(EventRow) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.lock().events_for_each(filter, f)
    }

    fn alarms_for_each(
        &mut self,
        with_acked: bool,
        f: &mut dyn FnMut(AlarmRow) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.lock().alarms_for_each(with_acked, f)
    }

    fn alarm_ack(
        &mut self,
        id: i64,
        by: &str,
        now_ms: i64,
    ) -> Result<Option<AlarmRow>, StoreError> {
        self.lock().alarm_ack(id, by, now_ms)
    }

    fn commands_keep(&mut self, commands: &[NewCommand<'_>]) -> Result<Vec<i64>, StoreError> {
        self.lock().commands_keep(commands)
    }

    fn commands_for_each(
        &mut self,
        filter: &CommandFilter,
        f: &mut dyn FnMut(CommandRow) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.lock().commands_for_each(filter, f)
    }

    fn command_give(
        &mut self,
        id: i64,
        record: (u32, &[u8]),
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        self.lock().command_give(id, record, now_ms)
    }

    fn command_end(
        &mut self,
        id: i64,
        end: &CommandEnd<'_>,
        now_ms: i64,
    ) -> Result<CommandEnded, StoreError> {
        self.lock().command_end(id, end, now_ms)
    }

    fn chain(&mut self, snid: &[u8; 9]) -> Result<Option<ChainRow>, StoreError> {
        self.lock().chain(snid)
    }

    fn af_insert(&mut self, af: &AfRow) -> Result<(), StoreError> {
        self.lock().af_insert(af)
    }

    fn af_update(&mut self, af: &AfRow) -> Result<(), StoreError> {
        self.lock().af_update(af)
    }

    fn af_remove(&mut self, name: &str) -> Result<(), StoreError> {
        self.lock().af_remove(name)
    }

    fn af(&mut self, name: &str) -> Result<Option<AfRow>, StoreError> {
        self.lock().af(name)
    }

    fn af_by_client(&mut self, client_id: &str) -> Result<Option<AfRow>, StoreError> {
        self.lock().af_by_client(client_id)
    }

    fn afs_for_each(
        &mut self,
        f: &mut dyn FnMut(AfRow) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.lock().afs_for_each(f)
    }

    fn chain_insert(&mut self, chain: &ChainRow) -> Result<(), StoreError> {
        self.lock().chain_insert(chain)
    }

    fn chain_set_epoch(&mut self, snid: &[u8; 9], epoch: u32) -> Result<(), StoreError> {
        self.lock().chain_set_epoch(snid, epoch)
    }

    fn meta(&mut self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.lock().meta(name)
    }

    fn meta_set(&mut self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        self.lock().meta_set(name, value)
    }
}

fn new_device(row: &DeviceRow) -> NewDevice<'_> {
    NewDevice {
        device_id: &row.device_id,
        device_type: &row.device_type,
        suite: row.suite,
        form: &row.form,
        tag_len: row.tag_len,
        fleet: &row.fleet,
        credential: row.credential.name(),
        wrapped_key: &row.wrapped_key,
        created_ms: row.created_ms,
    }
}

fn new_record(row: &RecordRow) -> NewRecord<'_> {
    NewRecord {
        device: row.device,
        device_id: &row.device_id,
        epoch: row.epoch,
        tag1: &row.tag1,
        form: row.form,
        area_id: row.area_id,
        nonce: &row.nonce,
        cause: row.cause,
        seq: row.seq,
        data: &row.data,
        accept: &row.accept,
        time_ms: row.time_ms,
        repeat: row.repeat,
        gnb_id: row.gnb_id,
        reader_index: row.reader_index,
        counter: row.counter,
    }
}
