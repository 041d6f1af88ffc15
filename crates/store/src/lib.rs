//! What Ambit must not forget: devices, acceptance records, events and beacon chains.
//!
//! [`Store`] is the contract, [`SqliteStore`] the embedded store behind it: one SQLite file, [`FILE_NAME`], that can be
//! opened with any SQLite tool (the views `records`, `devices` and `events` are made for reading).
//!
//! The acceptance record is at once the replay guard, the event and the charge. It is inserted **before** anything is
//! answered, under the key (device, epoch, tag1), and the database alone decides whether it is new: several processes
//! on one file agree. [`Store::accept`] takes a batch and makes it durable as a whole, so that the cost of the disk is
//! shared; gathering the batch, and answering nothing until `accept` has returned, is the caller's part.
//!
//! The store never sees a key in clear: device keys and chain seeds arrive wrapped and leave wrapped.

mod af_rows;
mod checks;
mod command_rows;
mod delivery;
mod error;
pub mod evidence;
mod postgres;
mod rows;
mod sqlite;
mod subscriber_rows;

pub use af_rows::AfRow;
pub use command_rows::{
    COMMAND_DATA_LEN_MAX, COMMANDS_OPEN_MAX, CommandEnd, CommandEnded, CommandFilter, CommandRow,
    CommandState, NewCommand,
};
pub use delivery::{
    DeadLetterRow, Delivered, DeliveryStore, Lease, NewSubscription, SubscriptionRow,
};
pub use error::StoreError;
pub use evidence::{CheckpointRow, EvidenceFault, EvidenceFaultKind, EvidenceHead};
pub use postgres::{PostgresStore, PostgresUrl};
pub use rows::{
    AlarmRow, ChainRow, DeviceRow, EventFilter, EventRow, Insert, LastRecord, NewDevice, NewEvent,
    NewRecord, RecordFilter, RecordRow,
};
pub use sqlite::{SqliteStore, Written};
pub use subscriber_rows::{
    Challenge, CredentialRow, NewSubscriber, Registered, SEQ_DELTA_MAX, SQN_MAX, SubscriberRow,
};

use std::ops::ControlFlow;

/// The name of the store's file inside the data directory.
pub const FILE_NAME: &str = "ambit.sqlite3";

/// The most application data a report carries, in octets.
pub const DATA_LEN_MAX: usize = 90;

/// Durable state. Every method is one transaction: after an error nothing of it is kept, and after `Ok` it survives a
/// power cut.
///
/// A device is named by its row id (`device`, dense from 1) everywhere but at the edges, where the permanent device ID
/// (1 to 128 octets) is looked up. Times are Unix times, in milliseconds where the name ends in `_ms`.
///
/// The callbacks of the `*_for_each` methods run inside a read transaction: they see one state of the store, and while
/// they run the file cannot be tidied, so they should not wait for anything.
pub trait Store: Send {
    /// Inserts a batch of acceptance records in one durable transaction; `outcomes[i]` belongs to `batch[i]`.
    ///
    /// `outcomes` is cleared first, and is empty after an error. A record whose (device, epoch, tag1) is present is a
    /// [`Insert::Duplicate`] and changes nothing, also when the first one is in the same batch. A record with a
    /// `counter` is inserted only if that counter is greater than the last one accepted from the device, and then
    /// moves it; see [`Insert::StaleCounter`].
    ///
    /// # Errors
    /// [`StoreError::Invalid`] if a field breaks a size limit (nothing is written), [`StoreError::DiskFull`],
    /// [`StoreError::Io`], [`StoreError::Busy`]. The store stays usable: the caller may offer the same batch again.
    fn accept(
        &mut self,
        batch: &[NewRecord<'_>],
        outcomes: &mut Vec<Insert>,
    ) -> Result<(), StoreError>;

    /// Adds devices, all or none, and returns their row ids in order. Key versions start at 1.
    ///
    /// # Errors
    /// [`StoreError::DeviceExists`] for the first device whose ID is taken (in the store or earlier in `devices`),
    /// [`StoreError::Invalid`] if a field has a value outside its set.
    fn devices_insert(&mut self, devices: &[NewDevice<'_>]) -> Result<Vec<i64>, StoreError>;

    /// The device with this permanent ID.
    fn device(&mut self, device_id: &[u8]) -> Result<Option<DeviceRow>, StoreError>;

    /// Walks all devices by row id, until `f` breaks.
    fn devices_for_each(
        &mut self,
        f: &mut dyn FnMut(DeviceRow) -> ControlFlow<()>,
    ) -> Result<(), StoreError>;

    /// Gives the devices that were added, disabled, enabled or got a new key after change number `after`, by whatever process,
    /// in the order of those changes, until `f` breaks; returns the number to go on from. A device that changed twice is
    /// given once, as it is now; one may be given again that was given before.
    ///
    /// With this, several processes on one store follow each other. What this handle takes from then on is tied to it: an
    /// acceptance record or registration of a device that has changed after the returned number is not inserted
    /// ([`Insert::DeviceChanged`]), whoever changed it and however short ago. Before the first call nothing is checked.
    fn device_changes(
        &mut self,
        after: i64,
        f: &mut dyn FnMut(DeviceRow) -> ControlFlow<()>,
    ) -> Result<i64, StoreError>;

    /// The number of devices, disabled ones included.
    fn device_count(&mut self) -> Result<u64, StoreError>;

    /// Disables or enables a device.
    ///
    /// # Errors
    /// [`StoreError::UnknownDevice`].
    fn device_set_disabled(&mut self, device: i64, disabled: bool) -> Result<(), StoreError>;

    /// Replaces a device's wrapped key and returns the new key version (the old one plus 1). Its counter starts afresh.
    ///
    /// # Errors
    /// [`StoreError::UnknownDevice`].
    fn device_set_key(&mut self, device: i64, wrapped_key: &[u8]) -> Result<u32, StoreError>;

    /// Adds devices with UICC credentials, all or none, and returns their row ids; `subscribers[i]` belongs to `devices[i]`.
    ///
    /// # Errors
    /// Those of [`Store::devices_insert`], and [`StoreError::SubscriberExists`].
    fn subscribers_insert(
        &mut self,
        devices: &[NewDevice<'_>],
        subscribers: &[NewSubscriber<'_>],
    ) -> Result<Vec<i64>, StoreError>;

    /// The subscriber with this SUPI.
    fn subscriber(&mut self, supi: &str) -> Result<Option<SubscriberRow>, StoreError>;

    /// Walks all subscribers by row id of their devices, until `f` breaks.
    fn subscribers_for_each(
        &mut self,
        f: &mut dyn FnMut(SubscriberRow) -> ControlFlow<()>,
    ) -> Result<(), StoreError>;

    /// Takes the next sequence number of a subscriber. It is on disk when this returns, and no other call, in whatever
    /// process, returns it too.
    ///
    /// # Errors
    /// [`StoreError::UnknownDevice`], [`StoreError::SqnExhausted`].
    fn sqn_allocate(&mut self, device: i64) -> Result<Challenge, StoreError>;

    /// Takes over the SQN_MS of a verified AUTS, unless the next number is good for the card as it is (TS 33.102 clause
    /// 6.3.5). Returns whether anything changed.
    ///
    /// # Errors
    /// [`StoreError::UnknownDevice`].
    fn sqn_resync(&mut self, device: i64, sqn_ms: u64) -> Result<bool, StoreError>;

    /// Makes a registration durable: its acceptance record and, if that is new, K_AIOT in place of the device's key. The
    /// device's counter starts afresh. A challenge older than the one the present K_AIOT came out of is refused.
    ///
    /// # Errors
    /// Those of [`Store::accept`], and [`StoreError::UnknownDevice`].
    fn registration_commit(
        &mut self,
        record: &NewRecord<'_>,
        registered: &Registered<'_>,
    ) -> Result<Insert, StoreError>;

    /// Every record with `time_ms >= since_ms`, in insertion order: what the ADM needs to know a repeat again.
    fn last_records(
        &mut self,
        since_ms: i64,
        f: &mut dyn FnMut(LastRecord),
    ) -> Result<(), StoreError>;

    /// Every record of some devices with `epoch >= since_epoch` and `time_ms >= since_ms`, in the order of time, if there may
    /// be any that this process has not been told of: accepted by another process, or in a commit whose answer was lost.
    /// Nothing in a store that one process has for itself.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`].
    fn records_by_others(
        &mut self,
        devices: &[i64],
        since_epoch: u32,
        since_ms: i64,
        f: &mut dyn FnMut(LastRecord),
    ) -> Result<(), StoreError> {
        let _ = (devices, since_epoch, since_ms, f);
        Ok(())
    }

    /// One record by its key.
    fn record(
        &mut self,
        device: i64,
        epoch: u32,
        tag1: &[u8],
    ) -> Result<Option<RecordRow>, StoreError>;

    /// Walks the records that pass `filter` in insertion order (ascending id), until `f` breaks. Where several writers share
    /// the store, each one's are in that order and all together by time.
    fn records_for_each(
        &mut self,
        filter: &RecordFilter<'_>,
        f: &mut dyn FnMut(RecordRow) -> ControlFlow<()>,
    ) -> Result<(), StoreError>;

    /// The number of records ever accepted.
    fn record_count(&mut self) -> Result<u64, StoreError>;

    /// The last record and its link; of this process, where several share the store.
    fn evidence_head(&mut self) -> Result<EvidenceHead, StoreError>;

    /// Adds a signed checkpoint.
    fn checkpoint_insert(&mut self, checkpoint: &CheckpointRow) -> Result<(), StoreError>;

    /// Walks the checkpoints of `record` and later ones, by record, until `f` breaks.
    fn checkpoints_for_each(
        &mut self,
        record: i64,
        f: &mut dyn FnMut(CheckpointRow) -> ControlFlow<()>,
    ) -> Result<(), StoreError>;

    /// Walks all records and checkpoints, hands every fault to `fault`, and returns the head of the chain. `is_signed` says
    /// whether a checkpoint's signature is good.
    fn evidence_verify(
        &mut self,
        is_signed: &mut dyn FnMut(&CheckpointRow) -> bool,
        fault: &mut dyn FnMut(EvidenceFault),
    ) -> Result<EvidenceHead, StoreError>;

    /// Adds events, all or none. One that is graver than `info` raises an alarm, or adds to the one that is open for its kind
    /// and its device, or its place if it names no device.
    fn events_insert(&mut self, events: &[NewEvent<'_>]) -> Result<(), StoreError>;

    /// Walks the events that pass `filter` in insertion order, until `f` breaks.
    fn events_for_each(
        &mut self,
        filter: &EventFilter<'_>,
        f: &mut dyn FnMut(EventRow) -> ControlFlow<()>,
    ) -> Result<(), StoreError>;

    /// Walks the alarms by id, until `f` breaks: those that wait for an operator, `with_acked` all.
    fn alarms_for_each(
        &mut self,
        with_acked: bool,
        f: &mut dyn FnMut(AlarmRow) -> ControlFlow<()>,
    ) -> Result<(), StoreError>;

    /// Acknowledges an alarm and returns it; `None` if there is none of this id. One that was acknowledged before stays as
    /// it is.
    fn alarm_ack(&mut self, id: i64, by: &str, now_ms: i64)
    -> Result<Option<AlarmRow>, StoreError>;

    /// Adds an AF.
    ///
    /// # Errors
    /// [`StoreError::AfExists`] if its name or its client identifier is taken.
    fn af_insert(&mut self, af: &AfRow) -> Result<(), StoreError>;

    /// Replaces everything of the AF of this name but the time when it was made.
    ///
    /// # Errors
    /// [`StoreError::UnknownAf`].
    fn af_update(&mut self, af: &AfRow) -> Result<(), StoreError>;

    /// Removes an AF, and its subscriptions with what they have of dead letters: one of the same name later is another.
    ///
    /// # Errors
    /// [`StoreError::UnknownAf`].
    fn af_remove(&mut self, name: &str) -> Result<(), StoreError>;

    /// The AF of this name.
    fn af(&mut self, name: &str) -> Result<Option<AfRow>, StoreError>;

    /// The AF with this client identifier.
    fn af_by_client(&mut self, client_id: &str) -> Result<Option<AfRow>, StoreError>;

    /// Walks all AFs by name, until `f` breaks.
    fn afs_for_each(
        &mut self,
        f: &mut dyn FnMut(AfRow) -> ControlFlow<()>,
    ) -> Result<(), StoreError>;

    /// Keeps commands for devices, all or none, and returns their numbers. To those who follow the devices
    /// ([`Store::device_changes`]) each is a change to its device.
    ///
    /// # Errors
    /// [`StoreError::Invalid`], [`StoreError::UnknownDevice`], [`StoreError::TooManyCommands`].
    fn commands_keep(&mut self, commands: &[NewCommand<'_>]) -> Result<Vec<i64>, StoreError>;

    /// Walks the commands that pass `filter` by their numbers, until `f` breaks.
    fn commands_for_each(
        &mut self,
        filter: &CommandFilter,
        f: &mut dyn FnMut(CommandRow) -> ControlFlow<()>,
    ) -> Result<(), StoreError>;

    /// Notes that a command goes out with the ACCEPT of its device's record of this epoch and TAG1. False, and nothing is
    /// noted, when the command is not open any more.
    fn command_give(
        &mut self,
        id: i64,
        record: (u32, &[u8]),
        now_ms: i64,
    ) -> Result<bool, StoreError>;

    /// Notes what came of a command.
    fn command_end(
        &mut self,
        id: i64,
        end: &CommandEnd<'_>,
        now_ms: i64,
    ) -> Result<CommandEnded, StoreError>;

    /// The newest beacon chain of this SNID.
    fn chain(&mut self, snid: &[u8; 9]) -> Result<Option<ChainRow>, StoreError>;

    /// Adds a chain, which becomes the newest of its SNID. Earlier ones are kept. One that begins no later than the last epoch
    /// issued of the newest is left out: another process has laid its chain first, and epochs never go back. So what counts
    /// afterwards is what [`Store::chain`] says.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] if its first epoch is after its last, or its period is 0.
    fn chain_insert(&mut self, chain: &ChainRow) -> Result<(), StoreError>;

    /// Raises the high-water mark of issued epochs of the SNID's newest chain. A lower `epoch` changes nothing.
    ///
    /// # Errors
    /// [`StoreError::UnknownChain`].
    fn chain_set_epoch(&mut self, snid: &[u8; 9], epoch: u32) -> Result<(), StoreError>;

    /// A named value, absent until set.
    fn meta(&mut self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Sets a named value.
    fn meta_set(&mut self, name: &str, value: &[u8]) -> Result<(), StoreError>;

    /// Sets a named value unless it is set, and returns the one that is: several processes that start at once agree.
    fn meta_init(&mut self, name: &str, value: &[u8]) -> Result<Vec<u8>, StoreError> {
        if let Some(there) = self.meta(name)? {
            return Ok(there);
        }
        self.meta_set(name, value)?;
        Ok(value.to_vec())
    }
}
