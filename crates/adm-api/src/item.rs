//! What an accepted report said.

use ambit_protocol::Cause;

/// What a new report said, as it is on record: what an AIOTF tells those who subscribed. It holds no key.
#[derive(Clone, PartialEq, Eq)]
pub struct DoaItem {
    /// Permanent ID.
    pub device_id: Box<[u8]>,
    /// The device's fleet.
    pub fleet: Box<str>,
    /// The record's epoch.
    pub epoch: u32,
    /// TAG1. With device and epoch it names the record.
    pub tag1: Box<[u8]>,
    /// Why the device spoke.
    pub cause: Cause,
    /// The device's items modulo 16.
    pub seq: u8,
    /// Application data, 0 to 90 octets.
    pub data: Box<[u8]>,
}

// What a device said is for those who subscribed, not for logs.
impl std::fmt::Debug for DoaItem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DoaItem({} octets)", self.data.len())
    }
}
