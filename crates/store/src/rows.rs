//! What goes into the store and what comes out. Wrapped secrets never print: `Debug` gives their length only.

use crate::CredentialRow;
use std::fmt;

/// An acceptance record on its way in.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    /// Row id of the device.
    pub device: i64,
    /// Permanent ID of that device: the evidence binds the record to it, so that a row given another ID shows.
    pub device_id: &'a [u8],
    /// Epoch of the RAND_n the report was built for; the current one for the blind form; that of the challenge for a
    /// registration.
    pub epoch: u32,
    /// The report's tag: 4, 8 or 16 octets.
    pub tag1: &'a [u8],
    /// Report form: 0 beacon, 1 counter, 2 concealed, 3 recovery, 4 blind; 5 aka, which is no form of report: the item came
    /// with a UICC registration.
    pub form: u8,
    /// AreaID of the reader the report came through.
    pub area_id: [u8; 12],
    /// RAND_d, or the counter in 4 octets: at most 16 octets.
    pub nonce: &'a [u8],
    /// Why the device spoke, 0 to 15.
    pub cause: u8,
    /// The device's item number, 0 to 15.
    pub seq: u8,
    /// Application data, at most [`DATA_LEN_MAX`](crate::DATA_LEN_MAX) octets.
    pub data: &'a [u8],
    /// P2 of the ACCEPT, often empty; at most [`DATA_LEN_MAX`](crate::DATA_LEN_MAX) octets.
    pub accept: &'a [u8],
    /// When the report was accepted.
    pub time_ms: i64,
    /// The same item in a newly built report: evidence, but neither event nor charge.
    pub repeat: bool,
    /// The gNB the report came through.
    pub gnb_id: u32,
    /// The reader within that gNB.
    pub reader_index: u16,
    /// Counter forms only: the report's counter. Moves the device's last counter in the same transaction.
    pub counter: Option<u32>,
}

/// What became of one record of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Insert {
    /// It is new: one event, one charge (unless it is a repeat), one answer.
    New {
        /// Its place in insertion order, from 1.
        id: i64,
    },
    /// The identical record is present: the same answer again, nothing else. A counter record whose counter *is* the
    /// last one, with the identical tag, is one too, whatever its epoch: the blind form is bound to none.
    Duplicate {
        /// P2 of the ACCEPT that was stored with it.
        accept: Vec<u8>,
    },
    /// Its counter is not greater than the last one accepted and the tag is new: not inserted; two live devices may be
    /// sharing one key.
    StaleCounter {
        /// The last counter accepted from this device.
        last: u32,
    },
    /// The device was changed after the last change that this store's user has followed
    /// ([`Store::device_changes`](crate::Store::device_changes)): not inserted, as it may rest on an old key.
    DeviceChanged,
    /// Registrations only: the device has since answered a later challenge, whose K_AIOT is in force. Not inserted.
    StaleChallenge,
}

/// A device to be added.
#[derive(Clone, Copy)]
pub struct NewDevice<'a> {
    /// Permanent device ID, 1 to 128 octets, unique.
    pub device_id: &'a [u8],
    /// `1`, `2a`, `2b` or `2c`.
    pub device_type: &'a str,
    /// Cryptographic suite, 1 to 3.
    pub suite: u8,
    /// `beacon`, `concealed`, `counter`, `blind` or `dt` (device-terminated only).
    pub form: &'a str,
    /// Tag length, 4, 8 or 16 octets.
    pub tag_len: u8,
    /// Name of its fleet.
    pub fleet: &'a str,
    /// Where K is: `operator` or `uicc-aiot`; `uicc` for a subscriber, and only then.
    pub credential: &'a str,
    /// K, wrapped.
    pub wrapped_key: &'a [u8],
    /// When it was provisioned.
    pub created_ms: i64,
}

impl fmt::Debug for NewDevice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewDevice")
            .field("device_id", &self.device_id)
            .field("device_type", &self.device_type)
            .field("suite", &self.suite)
            .field("form", &self.form)
            .field("tag_len", &self.tag_len)
            .field("fleet", &self.fleet)
            .field("credential", &self.credential)
            .field("wrapped_key", &Wrapped(self.wrapped_key))
            .field("created_ms", &self.created_ms)
            .finish()
    }
}

/// A device as stored.
#[derive(Clone, PartialEq, Eq)]
pub struct DeviceRow {
    /// Row id: what records refer to.
    pub id: i64,
    /// Permanent device ID, 1 to 128 octets.
    pub device_id: Vec<u8>,
    /// `1`, `2a`, `2b` or `2c`.
    pub device_type: String,
    /// Cryptographic suite, 1 to 3.
    pub suite: u8,
    /// `beacon`, `concealed`, `counter`, `blind` or `dt`.
    pub form: String,
    /// Tag length in octets.
    pub tag_len: u8,
    /// Name of its fleet.
    pub fleet: String,
    /// K, wrapped.
    pub wrapped_key: Vec<u8>,
    /// From 1, one more for every new key.
    pub key_version: u32,
    /// Whether the network ignores it.
    pub disabled: bool,
    /// The last counter accepted from it, if it ever sent one.
    pub counter_last: Option<u32>,
    /// When it was provisioned.
    pub created_ms: i64,
    /// Where its key comes from. `wrapped_key` is empty while a UICC device has not registered.
    pub credential: CredentialRow,
    /// The number of its last change: see [`Store::device_changes`](crate::Store::device_changes).
    pub change: i64,
}

impl fmt::Debug for DeviceRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceRow")
            .field("id", &self.id)
            .field("device_id", &self.device_id)
            .field("device_type", &self.device_type)
            .field("suite", &self.suite)
            .field("form", &self.form)
            .field("tag_len", &self.tag_len)
            .field("fleet", &self.fleet)
            .field("wrapped_key", &Wrapped(&self.wrapped_key))
            .field("key_version", &self.key_version)
            .field("disabled", &self.disabled)
            .field("counter_last", &self.counter_last)
            .field("created_ms", &self.created_ms)
            .field("credential", &self.credential)
            .field("change", &self.change)
            .finish()
    }
}

/// The part of a record by which a repeat is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastRecord {
    /// Row id of the device.
    pub device: i64,
    /// Epoch of the record.
    pub epoch: u32,
    /// Why the device spoke.
    pub cause: u8,
    /// The device's item number.
    pub seq: u8,
    /// When the report was accepted.
    pub time_ms: i64,
    /// The report's tag.
    pub tag1: Vec<u8>,
    /// Where it was heard.
    pub area_id: [u8; 12],
}

/// An acceptance record as stored; the fields are those of [`NewRecord`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordRow {
    /// Its place in insertion order: a cursor that never goes back.
    pub id: i64,
    /// Row id of the device.
    pub device: i64,
    /// Permanent ID of the device.
    pub device_id: Vec<u8>,
    /// Epoch of the RAND_n the report was built for.
    pub epoch: u32,
    /// The report's tag.
    pub tag1: Vec<u8>,
    /// Report form: 0 beacon, 1 counter, 2 concealed, 3 recovery, 4 blind; 5 aka, which is no form of report: the item came
    /// with a UICC registration.
    pub form: u8,
    /// AreaID of the reader the report came through.
    pub area_id: [u8; 12],
    /// RAND_d, or the counter.
    pub nonce: Vec<u8>,
    /// Why the device spoke.
    pub cause: u8,
    /// The device's item number.
    pub seq: u8,
    /// Application data.
    pub data: Vec<u8>,
    /// P2 of the ACCEPT.
    pub accept: Vec<u8>,
    /// When the report was accepted.
    pub time_ms: i64,
    /// Neither event nor charge.
    pub repeat: bool,
    /// The gNB the report came through.
    pub gnb_id: u32,
    /// The reader within that gNB.
    pub reader_index: u16,
    /// Counter forms only.
    pub counter: Option<u32>,
    /// Its link of the evidence chain.
    pub link: [u8; 32],
}

/// Which records to walk; the default is all.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecordFilter<'a> {
    /// Only those of the device with this permanent ID.
    pub device_id: Option<&'a [u8]>,
    /// Only those with `time_ms` at or after this.
    pub since_ms: Option<i64>,
    /// Only those inserted after the record with this id, by the same writer: each has an order of its own.
    pub after_id: Option<i64>,
}

/// An event on its way in.
#[derive(Clone, Copy, Debug)]
pub struct NewEvent<'a> {
    /// When it happened.
    pub time_ms: i64,
    /// What happened: a stable snake_case name.
    pub kind: &'a str,
    /// How grave it is.
    pub severity: &'a str,
    /// Permanent ID of the device it is about, if that is known.
    pub device_id: Option<&'a [u8]>,
    /// Where it happened.
    pub area_id: Option<[u8; 12]>,
    /// The gNB it was seen through.
    pub gnb_id: Option<u32>,
    /// The reader within that gNB.
    pub reader_index: Option<u16>,
    /// How many occurrences this event stands for (rate limiting), at most `i64::MAX`.
    pub count: u64,
    /// The rest, as a JSON object.
    pub detail: &'a str,
}

impl NewEvent<'_> {
    /// What its alarm is about, as one value to compare by: the device, else the place.
    pub(crate) fn subject(&self) -> Vec<u8> {
        match self.device_id {
            Some(device_id) => [&[1], device_id].concat(),
            None => [
                &[0][..],
                &self.area_id.unwrap_or_default(),
                &self.gnb_id.unwrap_or_default().to_be_bytes(),
                &self.reader_index.unwrap_or_default().to_be_bytes(),
            ]
            .concat(),
        }
    }
}

/// An event as stored; the fields are those of [`NewEvent`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRow {
    /// Its place in insertion order.
    pub id: i64,
    /// When it happened.
    pub time_ms: i64,
    /// What happened.
    pub kind: String,
    /// How grave it is.
    pub severity: String,
    /// Permanent ID of the device it is about.
    pub device_id: Option<Vec<u8>>,
    /// Where it happened.
    pub area_id: Option<[u8; 12]>,
    /// The gNB it was seen through.
    pub gnb_id: Option<u32>,
    /// The reader within that gNB.
    pub reader_index: Option<u16>,
    /// How many occurrences it stands for.
    pub count: u64,
    /// The rest, as a JSON object.
    pub detail: String,
}

/// An alarm: what the events of one kind about one subject come to, until an operator acknowledges it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlarmRow {
    /// Its number, from 1.
    pub id: i64,
    /// The kind of its events.
    pub kind: String,
    /// `warning` or `alarm`, of the last event.
    pub severity: String,
    /// Permanent ID of the device it is about.
    pub device_id: Option<Vec<u8>>,
    /// Where it happened last.
    pub area_id: Option<[u8; 12]>,
    /// The gNB it was seen through last.
    pub gnb_id: Option<u32>,
    /// The reader within that gNB.
    pub reader_index: Option<u16>,
    /// When its first event was written.
    pub first_ms: i64,
    /// When its last event was written.
    pub last_ms: i64,
    /// How many occurrences it stands for.
    pub count: u64,
    /// `detail` of its last event, a JSON object.
    pub detail: String,
    /// When an operator acknowledged it, and who.
    pub acked: Option<(i64, String)>,
}

/// Which events to walk; the default is all.
#[derive(Clone, Copy, Debug, Default)]
pub struct EventFilter<'a> {
    /// Only those of this kind.
    pub kind: Option<&'a str>,
    /// Only those with `time_ms` at or after this.
    pub since_ms: Option<i64>,
}

/// A beacon chain.
#[derive(Clone, PartialEq, Eq)]
pub struct ChainRow {
    /// PLMN and NID.
    pub snid: [u8; 9],
    /// X of the last epoch, wrapped.
    pub seed_wrapped: Vec<u8>,
    /// The first epoch the chain serves.
    pub first_epoch: u32,
    /// The epoch whose X is the seed.
    pub last_epoch: u32,
    /// Length of an epoch in seconds, not 0.
    pub period_s: u32,
    /// The moment at which `first_epoch` begins, Unix time in seconds.
    pub origin_unix_s: i64,
    /// High-water mark of the epochs whose RAND_n has been given out.
    pub epoch_issued: u32,
}

impl fmt::Debug for ChainRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChainRow")
            .field("snid", &self.snid)
            .field("seed_wrapped", &Wrapped(&self.seed_wrapped))
            .field("first_epoch", &self.first_epoch)
            .field("last_epoch", &self.last_epoch)
            .field("period_s", &self.period_s)
            .field("origin_unix_s", &self.origin_unix_s)
            .field("epoch_issued", &self.epoch_issued)
            .finish()
    }
}

/// A wrapped secret in a debug print.
struct Wrapped<'a>(&'a [u8]);

impl fmt::Debug for Wrapped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wrapped({} octets)", self.0.len())
    }
}
