//! A device, to look at.

use ambit_device::PowerOnError;

use super::ledger::LedgerItem;
use super::slot::{Power, Slot};
use super::spec::FleetDevice;
use crate::frame::SiteReader;

/// A device of a fleet, to look at.
#[derive(Clone, Copy)]
pub struct DeviceView<'a>(pub(super) &'a Slot);

impl<'a> DeviceView<'a> {
    /// The permanent device ID.
    pub fn device_id(&self) -> &'a [u8] {
        &self.0.device_id
    }

    /// Where it stands.
    pub const fn reader(&self) -> SiteReader {
        self.0.reader
    }

    /// Whether it has power.
    pub const fn is_powered(&self) -> bool {
        matches!(self.0.power, Power::On(_))
    }

    /// Whether its registration of this power cycle was accepted.
    pub const fn is_registered(&self) -> bool {
        self.0.registered
    }

    /// Power cycles so far.
    pub const fn power_cycles(&self) -> u32 {
        self.0.cycles
    }

    /// Why it could not start.
    pub const fn failure(&self) -> Option<PowerOnError> {
        match &self.0.power {
            Power::Failed(error) => Some(*error),
            Power::On(_) | Power::Off(_) => None,
        }
    }

    /// Its state machine, while it has power.
    pub fn device(&self) -> Option<&'a FleetDevice> {
        self.0.device()
    }

    /// Its user memory (section 8); `None` when it could not start.
    pub fn user_memory(&self) -> Option<&'a [u8]> {
        Some(self.0.memory()?.user())
    }

    /// What it has said, oldest first.
    pub fn ledger(&self) -> impl Iterator<Item = &'a LedgerItem> + use<'a> {
        self.0.ledger.items()
    }
}
