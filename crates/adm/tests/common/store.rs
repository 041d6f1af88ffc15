//! A store that outlives the ADM on it, and fails on demand.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex};

use ambit_store::*;

/// One store under several handles.
#[derive(Clone)]
pub struct TestStore(Arc<Mutex<Inner>>);

struct Inner {
    store: SqliteStore,
    failing: Failing,
    before_accept: Option<Box<dyn FnOnce() + Send>>,
    /// Whether it says what others have recorded, as a store does that several processes share.
    is_shared: bool,
    /// Whether the next batch finds that records were lost.
    went_back: bool,
}

/// What fails, as if the disk were full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failing {
    pub accept: bool,
    pub events: bool,
    pub chain: bool,
    pub devices: bool,
    pub commands: bool,
}

impl TestStore {
    pub fn in_memory() -> Self {
        Self::over(SqliteStore::in_memory().unwrap())
    }

    pub fn file(path: &Path) -> Self {
        Self::over(SqliteStore::open(path).unwrap())
    }

    fn over(store: SqliteStore) -> Self {
        let failing = Failing::default();
        Self(Arc::new(Mutex::new(Inner {
            store,
            failing,
            before_accept: None,
            is_shared: false,
            went_back: false,
        })))
    }

    pub fn share(&self) {
        self.0.lock().unwrap().is_shared = true;
    }

    pub fn go_back(&self) {
        self.0.lock().unwrap().went_back = true;
    }

    pub fn fail(&self, failing: Failing) {
        self.0.lock().unwrap().failing = failing;
    }

    /// Something that another process does just before the next batch is recorded.
    pub fn before_accept(&self, act: impl FnOnce() + Send + 'static) {
        self.0.lock().unwrap().before_accept = Some(Box::new(act));
    }

    fn call<R>(
        &self,
        fails: impl Fn(&Failing) -> bool,
        f: impl FnOnce(&mut SqliteStore) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        let mut inner = self.0.lock().unwrap();
        if fails(&inner.failing) {
            return Err(StoreError::DiskFull);
        }
        f(&mut inner.store)
    }
}

const NEVER: fn(&Failing) -> bool = |_| false;

impl Store for TestStore {
    fn accept(
        &mut self,
        batch: &[NewRecord<'_>],
        outcomes: &mut Vec<Insert>,
    ) -> Result<(), StoreError> {
        outcomes.clear();
        let act = self.0.lock().unwrap().before_accept.take();
        if let Some(act) = act {
            act();
        }
        if std::mem::take(&mut self.0.lock().unwrap().went_back) {
            return Err(StoreError::WentBack { first: 2 });
        }
        self.call(|f| f.accept, |s| s.accept(batch, outcomes))
    }

    fn records_by_others(
        &mut self,
        devices: &[i64],
        since_epoch: u32,
        since_ms: i64,
        f: &mut dyn FnMut(LastRecord),
    ) -> Result<(), StoreError> {
        if !self.0.lock().unwrap().is_shared {
            return Ok(());
        }
        self.call(NEVER, |s| {
            s.last_records(since_ms, &mut |record| {
                if devices.contains(&record.device) && record.epoch >= since_epoch {
                    f(record);
                }
            })
        })
    }

    fn devices_insert(&mut self, devices: &[NewDevice<'_>]) -> Result<Vec<i64>, StoreError> {
        self.call(|f| f.devices, |s| s.devices_insert(devices))
    }

    fn device_changes(
        &mut self,
        after: i64,
        f: &mut dyn FnMut(DeviceRow) -> ControlFlow<()>,
    ) -> Result<i64, StoreError> {
        self.call(NEVER, |s| s.device_changes(after, f))
    }

    fn device(&mut self, device_id: &[u8]) -> Result<Option<DeviceRow>, StoreError> {
        self.call(NEVER, |s| s.device(device_id))
    }

    fn devices_for_each(
        &mut self,
        f: &mut dyn FnMut(DeviceRow) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.call(NEVER, |s| s.devices_for_each(f))
    }

    fn device_count(&mut self) -> Result<u64, StoreError> {
        self.call(NEVER, |s| s.device_count())
    }

    fn device_set_disabled(&mut self, device: i64, disabled: bool) -> Result<(), StoreError> {
        self.call(|f| f.devices, |s| s.device_set_disabled(device, disabled))
    }

    fn device_set_key(&mut self, device: i64, wrapped_key: &[u8]) -> Result<u32, StoreError> {
        self.call(|f| f.devices, |s| s.device_set_key(device, wrapped_key))
    }

    fn subscribers_insert(
        &mut self,
        devices: &[NewDevice<'_>],
        subscribers: &[NewSubscriber<'_>],
    ) -> Result<Vec<i64>, StoreError> {
        self.call(
            |f| f.devices,
            |s| s.subscribers_insert(devices, subscribers),
        )
    }

    fn subscriber(&mut self, supi: &str) -> Result<Option<SubscriberRow>, StoreError> {
        self.call(NEVER, |s| s.subscriber(supi))
    }

    fn subscribers_for_each(
        &mut self,
        f: &mut dyn FnMut(SubscriberRow) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.call(NEVER, |s| s.subscribers_for_each(f))
    }

    fn sqn_allocate(&mut self, device: i64) -> Result<Challenge, StoreError> {
        self.call(|f| f.accept, |s| s.sqn_allocate(device))
    }

    fn sqn_resync(&mut self, device: i64, sqn_ms: u64) -> Result<bool, StoreError> {
        self.call(|f| f.accept, |s| s.sqn_resync(device, sqn_ms))
    }

    fn registration_commit(
        &mut self,
        record: &NewRecord<'_>,
        registered: &Registered<'_>,
    ) -> Result<Insert, StoreError> {
        self.call(|f| f.accept, |s| s.registration_commit(record, registered))
    }

    fn last_records(
        &mut self,
        since_ms: i64,
        f: &mut dyn FnMut(LastRecord),
    ) -> Result<(), StoreError> {
        self.call(NEVER, |s| s.last_records(since_ms, f))
    }

    fn record(
        &mut self,
        device: i64,
        epoch: u32,
        tag1: &[u8],
    ) -> Result<Option<RecordRow>, StoreError> {
        self.call(NEVER, |s| s.record(device, epoch, tag1))
    }

    fn records_for_each(
        &mut self,
        filter: &RecordFilter<'_>,
        f: &mut dyn FnMut(RecordRow) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.call(NEVER, |s| s.records_for_each(filter, f))
    }

    fn record_count(&mut self) -> Result<u64, StoreError> {
        self.call(NEVER, |s| s.record_count())
    }

    fn evidence_head(&mut self) -> Result<EvidenceHead, StoreError> {
        self.call(NEVER, |s| s.evidence_head())
    }

    fn checkpoint_insert(&mut self, checkpoint: &CheckpointRow) -> Result<(), StoreError> {
        self.call(NEVER, |s| s.checkpoint_insert(checkpoint))
    }

    fn checkpoints_for_each(
        &mut self,
        record: i64,
        f: &mut dyn FnMut(CheckpointRow) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.call(NEVER, |s| s.checkpoints_for_each(record, f))
    }

    fn evidence_verify(
        &mut self,
        is_signed: &mut dyn FnMut(&CheckpointRow) -> bool,
        fault: &mut dyn FnMut(EvidenceFault),
    ) -> Result<EvidenceHead, StoreError> {
        self.call(NEVER, |s| s.evidence_verify(is_signed, fault))
    }

    fn events_insert(&mut self, events: &[NewEvent<'_>]) -> Result<(), StoreError> {
        self.call(|f| f.events, |s| s.events_insert(events))
    }

    fn events_for_each(
        &mut self,
        filter: &EventFilter<'_>,
        f: &mut dyn FnMut(EventRow) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.call(NEVER, |s| s.events_for_each(filter, f))
    }

    fn alarms_for_each(
        &mut self,
        with_acked: bool,
        f: &mut dyn FnMut(AlarmRow) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.call(NEVER, |s| s.alarms_for_each(with_acked, f))
    }

    fn alarm_ack(
        &mut self,
        id: i64,
        by: &str,
        now_ms: i64,
    ) -> Result<Option<AlarmRow>, StoreError> {
        self.call(NEVER, |s| s.alarm_ack(id, by, now_ms))
    }

    fn commands_keep(&mut self, commands: &[NewCommand<'_>]) -> Result<Vec<i64>, StoreError> {
        self.call(|f| f.commands, |s| s.commands_keep(commands))
    }

    fn commands_for_each(
        &mut self,
        filter: &CommandFilter,
        f: &mut dyn FnMut(CommandRow) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.call(NEVER, |s| s.commands_for_each(filter, f))
    }

    fn command_give(
        &mut self,
        id: i64,
        record: (u32, &[u8]),
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        self.call(|f| f.commands, |s| s.command_give(id, record, now_ms))
    }

    fn command_end(
        &mut self,
        id: i64,
        end: &CommandEnd<'_>,
        now_ms: i64,
    ) -> Result<CommandEnded, StoreError> {
        self.call(|f| f.commands, |s| s.command_end(id, end, now_ms))
    }

    fn chain(&mut self, snid: &[u8; 9]) -> Result<Option<ChainRow>, StoreError> {
        self.call(NEVER, |s| s.chain(snid))
    }

    fn af_insert(&mut self, af: &AfRow) -> Result<(), StoreError> {
        self.call(NEVER, |s| s.af_insert(af))
    }

    fn af_update(&mut self, af: &AfRow) -> Result<(), StoreError> {
        self.call(NEVER, |s| s.af_update(af))
    }

    fn af_remove(&mut self, name: &str) -> Result<(), StoreError> {
        self.call(NEVER, |s| s.af_remove(name))
    }

    fn af(&mut self, name: &str) -> Result<Option<AfRow>, StoreError> {
        self.call(NEVER, |s| s.af(name))
    }

    fn af_by_client(&mut self, client_id: &str) -> Result<Option<AfRow>, StoreError> {
        self.call(NEVER, |s| s.af_by_client(client_id))
    }

    fn afs_for_each(
        &mut self,
        f: &mut dyn FnMut(AfRow) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.call(NEVER, |s| s.afs_for_each(f))
    }

    fn chain_insert(&mut self, chain: &ChainRow) -> Result<(), StoreError> {
        self.call(|f| f.chain, |s| s.chain_insert(chain))
    }

    fn chain_set_epoch(&mut self, snid: &[u8; 9], epoch: u32) -> Result<(), StoreError> {
        self.call(|f| f.chain, |s| s.chain_set_epoch(snid, epoch))
    }

    fn meta(&mut self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.call(NEVER, |s| s.meta(name))
    }

    fn meta_set(&mut self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        self.call(NEVER, |s| s.meta_set(name, value))
    }
}
