//! The devices in memory: keys, profiles, scope, and what is needed to know a repeat again.

use std::collections::HashMap;
use std::ops::ControlFlow;

use ambit_protocol::schedule::Input;
use ambit_protocol::suite::PrfKey;
use ambit_protocol::{AreaId, Cause, DeviceForm, DeviceType, RootKey, Suite, TagLen};
use ambit_provisioning::format_device_id;
use ambit_store::{CredentialRow, DeviceRow, Store};

use crate::kek::{Kek, Purpose};
use crate::policy::CredentialKind;
use crate::{AdmConfig, OpenError};

/// A record's item is known again as a repeat for so long after the device's previous record.
const REPEAT_MS: i64 = 3_600_000;

/// Index of a device in the registry. Devices are never removed, so it stays good.
pub(crate) type Index = u32;

/// One device.
pub(crate) struct Device {
    /// Row id in the store.
    pub(crate) row: i64,
    pub(crate) device_id: Box<[u8]>,
    /// K, or the K_AIOT of the last UICC registration; `None` before the first.
    key: Option<RootKey>,
    pub(crate) credential: CredentialKind,
    /// Until when K_AIOT is good.
    pub(crate) key_until_ms: i64,
    pub(crate) suite: Suite,
    pub(crate) tag_len: TagLen,
    pub(crate) device_type: DeviceType,
    pub(crate) form: DeviceForm,
    pub(crate) disabled: bool,
    fleet: u16,
    pub(crate) counter_last: Option<u32>,
    pub(crate) recent: RecentItems,
}

impl Device {
    /// One PRF evaluation under K; `None` while there is no K.
    pub(crate) fn evaluate(&self, input: &Input) -> Option<[u8; 16]> {
        Some(self.key.as_ref()?.evaluate(self.suite, input))
    }

    /// K expanded for several evaluations; `None` while there is no K.
    pub(crate) fn prf_key(&self) -> Option<PrfKey> {
        Some(self.key.as_ref()?.prf_key(self.suite))
    }
}

/// All devices.
#[derive(Default)]
pub(crate) struct Registry {
    devices: Vec<Device>,
    by_row: HashMap<i64, Index>,
    fleets: Vec<Fleet>,
    fleet_by_name: HashMap<String, u16>,
    /// Devices that send beacon or concealed reports: the population of a concealed report.
    beacon_population: Vec<Index>,
    /// Devices with a counter: the population of a recovery report.
    counter_population: Vec<Index>,
}

struct Fleet {
    /// `None`: allowed everywhere.
    areas: Option<Vec<AreaId>>,
}

impl Registry {
    /// Loads and unwraps all devices, and the last hour's items.
    pub(crate) fn load(
        store: &mut dyn Store,
        kek: &Kek,
        config: &AdmConfig,
        now_ms: i64,
    ) -> Result<Self, OpenError> {
        let mut registry = Self::default();
        let mut failed = None;
        store.devices_for_each(&mut |row| match registry.add(&row, kek, config) {
            Ok(_) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        store.last_records(now_ms.saturating_sub(REPEAT_MS), &mut |record| {
            if let Some(device) = registry.by_row(record.device) {
                let cause = Cause::from_number(record.cause);
                device.recent.record(cause, record.seq, record.time_ms);
            }
        })?;
        Ok(registry)
    }

    /// Adds a device, or replaces the one with the same row (a new key).
    pub(crate) fn add(
        &mut self,
        row: &DeviceRow,
        kek: &Kek,
        config: &AdmConfig,
    ) -> Result<Index, OpenError> {
        let purpose = Purpose::DeviceKey {
            device_id: &row.device_id,
        };
        let (credential, key_until_ms) = match row.credential {
            CredentialRow::Operator => (CredentialKind::Operator, Some(i64::MAX)),
            CredentialRow::UiccAiot => (CredentialKind::UiccAiot, Some(i64::MAX)),
            CredentialRow::Uicc { key_until_ms } => (CredentialKind::Uicc, key_until_ms),
        };
        let key = match key_until_ms {
            None => None,
            Some(_) => Some(RootKey::new(*kek.unwrap(&purpose, &row.wrapped_key)?)),
        };
        let unknown = |field, value: &str| OpenError::Device {
            device_id: format_device_id(&row.device_id),
            field,
            value: value.to_owned(),
        };
        let form: DeviceForm = row.form.parse().map_err(|_| unknown("form", &row.form))?;
        let device = Device {
            row: row.id,
            device_id: row.device_id.clone().into(),
            key,
            credential,
            key_until_ms: key_until_ms.unwrap_or(i64::MIN),
            suite: Suite::from_number(row.suite)
                .ok_or_else(|| unknown("suite", &row.suite.to_string()))?,
            tag_len: TagLen::from_octets(row.tag_len.into())
                .ok_or_else(|| unknown("tag_len", &row.tag_len.to_string()))?,
            device_type: row
                .device_type
                .parse()
                .map_err(|_| unknown("device_type", &row.device_type))?,
            form,
            disabled: row.disabled,
            fleet: self.fleet(&row.fleet, config)?,
            counter_last: row.counter_last,
            recent: RecentItems::default(),
        };
        if let Some(index) = self.by_row.get(&row.id).copied() {
            if let Some(slot) = self.devices.get_mut(index as usize) {
                let recent = std::mem::take(&mut slot.recent);
                *slot = Device { recent, ..device };
            }
            return Ok(index);
        }
        let index = Index::try_from(self.devices.len()).map_err(|_| OpenError::Config {
            field: "devices",
            rule: "must be fewer than 2^32 in one process",
        })?;
        match form {
            DeviceForm::Beacon | DeviceForm::Concealed => self.beacon_population.push(index),
            DeviceForm::Counter | DeviceForm::Blind => self.counter_population.push(index),
            DeviceForm::Dt => {}
        }
        self.by_row.insert(row.id, index);
        self.devices.push(device);
        Ok(index)
    }

    pub(crate) fn len(&self) -> usize {
        self.devices.len()
    }

    pub(crate) fn get(&self, index: Index) -> Option<&Device> {
        self.devices.get(index as usize)
    }

    pub(crate) fn get_mut(&mut self, index: Index) -> Option<&mut Device> {
        self.devices.get_mut(index as usize)
    }

    pub(crate) fn by_row(&mut self, row: i64) -> Option<&mut Device> {
        let index = *self.by_row.get(&row)?;
        self.devices.get_mut(index as usize)
    }

    pub(crate) fn of_row(&self, row: i64) -> Option<(Index, &Device)> {
        let index = *self.by_row.get(&row)?;
        Some((index, self.devices.get(index as usize)?))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Index, &Device)> {
        (0..).zip(&self.devices)
    }

    pub(crate) fn beacon_population(&self) -> &[Index] {
        &self.beacon_population
    }

    pub(crate) fn counter_population(&self) -> &[Index] {
        &self.counter_population
    }

    /// Whether the device's fleet is allowed in the area: the device is in scope.
    pub(crate) fn in_scope(&self, device: &Device, area_id: &AreaId) -> bool {
        match self.fleets.get(usize::from(device.fleet)) {
            Some(Fleet { areas: Some(areas) }) => areas.contains(area_id),
            _ => true,
        }
    }

    /// The number of a fleet, given on first sight.
    pub(crate) fn fleet(&mut self, name: &str, config: &AdmConfig) -> Result<u16, OpenError> {
        if let Some(number) = self.fleet_by_name.get(name) {
            return Ok(*number);
        }
        let number = u16::try_from(self.fleets.len()).map_err(|_| OpenError::Config {
            field: "fleet",
            rule: "must be one of at most 65536",
        })?;
        self.fleets.push(Fleet {
            areas: config.fleet_areas.get(name).cloned(),
        });
        self.fleet_by_name.insert(name.to_owned(), number);
        Ok(number)
    }
}

/// The causes of a device's last eight items by seq, by which network rule 3 knows a repeat.
///
/// The rule names the previous record. Looking back over eight seqs covers a reader that holds a report back until the
/// device has gone on: its item would otherwise be charged twice. A power-on starts afresh, since seq does.
#[derive(Clone, Copy)]
pub(crate) struct RecentItems {
    last_ms: i64,
    /// Cause by seq, [`NO_CAUSE`] where none.
    causes: [u8; 16],
}

/// No 4-bit cause: 0 is one that a device may send.
const NO_CAUSE: u8 = 16;

impl Default for RecentItems {
    fn default() -> Self {
        Self {
            last_ms: 0,
            causes: [NO_CAUSE; 16],
        }
    }
}

impl RecentItems {
    /// Whether a new record of this item is a repeat.
    pub(crate) fn is_repeat(&self, cause: Cause, seq: u8, now_ms: i64) -> bool {
        let known = self.causes.get(usize::from(seq)) == Some(&cause.number());
        cause != Cause::PowerOn && known && now_ms.saturating_sub(self.last_ms) < REPEAT_MS
    }

    /// Notes a new record.
    pub(crate) fn record(&mut self, cause: Cause, seq: u8, now_ms: i64) {
        if cause == Cause::PowerOn {
            self.causes = [NO_CAUSE; 16];
        } else if !self.is_repeat(cause, seq, now_ms) {
            // A new item: the seqs that come next belong to an earlier round.
            for ahead in 1..=8 {
                if let Some(old) = self.causes.get_mut(usize::from((seq + ahead) % 16)) {
                    *old = NO_CAUSE;
                }
            }
        }
        if let Some(slot) = self.causes.get_mut(usize::from(seq)) {
            // Cause 1 never matches a later record.
            *slot = if cause == Cause::PowerOn {
                NO_CAUSE
            } else {
                cause.number()
            };
        }
        self.last_ms = now_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeat_is_the_same_item_within_the_hour() {
        let mut recent = RecentItems::default();
        recent.record(Cause::Periodic, 3, 1000);
        assert!(recent.is_repeat(Cause::Periodic, 3, 2000));
        assert!(!recent.is_repeat(Cause::Event, 3, 2000));
        assert!(!recent.is_repeat(Cause::Periodic, 4, 2000));
        assert!(recent.is_repeat(Cause::Periodic, 3, 1000 + REPEAT_MS - 1));
        assert!(!recent.is_repeat(Cause::Periodic, 3, 1000 + REPEAT_MS));
    }

    #[test]
    fn an_item_held_back_behind_the_next_is_a_repeat_and_a_full_round_is_not() {
        let mut recent = RecentItems::default();
        recent.record(Cause::Periodic, 3, 0);
        recent.record(Cause::Periodic, 4, 10);
        assert!(recent.is_repeat(Cause::Periodic, 3, 20));
        recent.record(Cause::Periodic, 3, 20);
        assert!(recent.is_repeat(Cause::Periodic, 4, 30));
        for item in 5..64u8 {
            assert!(!recent.is_repeat(Cause::Periodic, item % 16, 40), "{item}");
            recent.record(Cause::Periodic, item % 16, 40);
        }
    }

    #[test]
    fn power_on_starts_afresh_and_is_never_a_repeat() {
        let mut recent = RecentItems::default();
        recent.record(Cause::PowerOn, 0, 0);
        assert!(!recent.is_repeat(Cause::PowerOn, 0, 10));
        recent.record(Cause::Event, 1, 10);
        recent.record(Cause::PowerOn, 0, 20);
        assert!(!recent.is_repeat(Cause::Event, 1, 30));
    }
}
