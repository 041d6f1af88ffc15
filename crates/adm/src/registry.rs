//! The devices in memory: keys, profiles, scope, and what is needed to know a repeat again. Laid out in columns, some 60
//! octets a device and its ID, so that ten million fit in one process and a search reads keys and nothing else.

mod columns;
mod packed;
mod recent;
mod search;

use std::collections::HashMap;
use std::ops::ControlFlow;

use ambit_protocol::schedule::Input;
use ambit_protocol::suite::PrfKey;
use ambit_protocol::wire::ReportView;
use ambit_protocol::{AreaId, Cause, DeviceForm, DeviceType, Suite, TagLen};
use ambit_provisioning::format_device_id;
use ambit_search::{Key, Sealed};
use ambit_store::{CredentialRow, DeviceRow, Store};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::kek::{Kek, Purpose};
use crate::policy::CredentialKind;
use crate::{AdmConfig, OpenError};

use columns::{Column, Ids, KeyColumn, Rows};
use packed::{Class, Packed};

pub(crate) use recent::{REPEAT_MS, RecentItems};
pub(crate) use search::{Population, REGISTRY_STEP, Wanted};

/// Index of a device in the registry. Devices are never removed, so it stays good.
pub(crate) type Index = u32;

/// One device, as it stands.
pub(crate) struct Device<'a> {
    /// Row id in the store.
    pub(crate) row: i64,
    pub(crate) device_id: &'a [u8],
    /// K, or the K_AIOT of the last UICC registration; `None` before the first.
    key: Option<&'a Key>,
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

impl<'d> Device<'d> {
    /// One PRF evaluation under K; `None` while there is no K.
    pub(crate) fn evaluate(&self, input: &Input) -> Option<[u8; 16]> {
        Some(self.prf_key()?.evaluate(input))
    }

    /// A report that may be from this device, ready to be opened; `None` while there is no K.
    pub(crate) fn sealed<'s>(&self, report: &ReportView<'s>, input: &'s Input) -> Option<Sealed<'s>>
    where
        'd: 's,
    {
        Some(Sealed {
            suite: self.suite,
            key: self.key?,
            tag_len: self.tag_len,
            report: *report,
            input,
        })
    }

    /// K expanded for several evaluations; `None` while there is no K.
    pub(crate) fn prf_key(&self) -> Option<PrfKey> {
        Some(PrfKey::new(self.suite, self.key?))
    }
}

/// All devices.
#[derive(Default)]
pub(crate) struct Registry {
    keys: KeyColumn,
    classes: Column<Class>,
    packed: Column<Packed>,
    ids: Ids,
    rows: Rows,
    fleets: Vec<Fleet>,
    fleet_by_name: HashMap<String, u16>,
    /// Devices by kind: class without fleet.
    kinds: HashMap<Class, usize>,
    /// The last change in the store that is known here.
    pub(crate) followed: i64,
}

struct Fleet {
    name: Box<str>,
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
        let count = usize::try_from(store.device_count()?).unwrap_or(usize::MAX);
        registry.reserve(count.min(Index::MAX as usize));
        let mut failed = None;
        store.devices_for_each(&mut |row| match registry.add(&row, kek, config) {
            Ok(_) => {
                registry.followed = registry.followed.max(row.change);
                ControlFlow::Continue(())
            }
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        store.last_records(now_ms.saturating_sub(REPEAT_MS), &mut |record| {
            if let Some(index) = registry.index_of(record.device) {
                let cause = Cause::from_number(record.cause);
                registry.note_item(index, cause, record.seq, record.time_ms);
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
        let key: Option<Zeroizing<Key>> = match key_until_ms {
            None => None,
            Some(_) => Some(kek.unwrap(&purpose, &row.wrapped_key)?),
        };
        let unknown = |field, value: &str| OpenError::Device {
            device_id: format_device_id(&row.device_id),
            field,
            value: value.to_owned(),
        };
        let suite = Suite::from_number(row.suite)
            .ok_or_else(|| unknown("suite", &row.suite.to_string()))?;
        let tag_len = TagLen::from_octets(row.tag_len.into())
            .ok_or_else(|| unknown("tag_len", &row.tag_len.to_string()))?;
        let device_type = row
            .device_type
            .parse()
            .map_err(|_| unknown("device_type", &row.device_type))?;
        let form: DeviceForm = row.form.parse().map_err(|_| unknown("form", &row.form))?;
        let fleet = self.fleet(&row.fleet, config)?;
        let class = Class::new(suite, form, fleet, key.is_some());
        let mut packed = Packed::new(row.id, tag_len, device_type, credential);
        packed.set_key_until_ms(key_until_ms.unwrap_or(i64::MIN));
        packed.set_disabled(row.disabled);
        packed.set_counter_last(row.counter_last);

        let key = key.as_deref().unwrap_or(&[0; 16]);
        if let Some(index) = self.index_of(row.id) {
            if let (Some(old), Some(slot)) = (self.packed.get(index), self.packed.get_mut(index)) {
                packed.set_recent(&old.recent());
                *slot = packed;
            }
            if let Some(old) = self.classes.get_mut(index) {
                let old = std::mem::replace(old, class);
                self.kinds.entry(old.kind()).and_modify(|n| *n -= 1);
            }
            *self.kinds.entry(class.kind()).or_default() += 1;
            self.keys.set(index, key);
            return Ok(index);
        }
        let index = Index::try_from(self.len()).ok().filter(|n| *n < Index::MAX);
        let index = index.ok_or(OpenError::Config {
            field: "devices",
            rule: "must be fewer than 2^32 - 1 in one process",
        })?;
        self.ids.push(&row.device_id)?;
        *self.kinds.entry(class.kind()).or_default() += 1;
        self.rows
            .push(row.id, index, |index| Some(self.packed.get(index)?.row()));
        self.keys.push(key);
        self.classes.push(class);
        self.packed.push(packed);
        Ok(index)
    }

    /// Whether a device is known, with the key that it has in the store.
    pub(crate) fn has_key_of(&self, row: &DeviceRow, kek: &Kek) -> Result<bool, OpenError> {
        let Some((_, device)) = self.of_row(row.id) else {
            return Ok(false);
        };
        if row.wrapped_key.is_empty() {
            return Ok(device.key.is_none());
        }
        let purpose = Purpose::DeviceKey {
            device_id: &row.device_id,
        };
        let key: Zeroizing<Key> = kek.unwrap(&purpose, &row.wrapped_key)?;
        Ok(device
            .key
            .is_some_and(|known| bool::from(known.ct_eq(&*key))))
    }

    pub(crate) fn len(&self) -> usize {
        self.packed.len()
    }

    /// Octets that grow with the devices.
    pub(crate) fn octets(&self) -> usize {
        let columns = self.classes.octets() + self.packed.octets();
        self.keys.octets() + columns + self.ids.octets() + self.rows.octets()
    }

    pub(crate) fn get(&self, index: Index) -> Option<Device<'_>> {
        let packed = self.packed.get(index)?;
        let class = self.classes.get(index)?;
        Some(Device {
            row: packed.row(),
            device_id: self.ids.get(index)?,
            key: self.keys.get(index).filter(|_| class.is_keyed()),
            credential: packed.credential(),
            key_until_ms: packed.key_until_ms(),
            suite: class.suite(),
            tag_len: packed.tag_len(),
            device_type: packed.device_type(),
            form: class.form(),
            disabled: packed.is_disabled(),
            fleet: class.fleet(),
            counter_last: packed.counter_last(),
            recent: packed.recent(),
        })
    }

    /// Brings a device's values into the cache; what it gives says nothing of a key.
    pub(crate) fn touch(&self, index: Index) -> usize {
        if let Some(octet) = self.keys.get(index).and_then(|key| key.first()) {
            std::hint::black_box(*octet);
        }
        let id = self.ids.get(index).and_then(|id| id.first()).copied();
        let class = self.classes.get(index).map_or(0, Class::fleet);
        let flags = self
            .packed
            .get(index)
            .map_or(0, |packed| packed.row() as usize);
        usize::from(id.unwrap_or(0)) ^ usize::from(class) ^ flags
    }

    pub(crate) fn index_of(&self, row: i64) -> Option<Index> {
        self.rows
            .index_of(row, |index| Some(self.packed.get(index)?.row()), self.len())
    }

    pub(crate) fn of_row(&self, row: i64) -> Option<(Index, Device<'_>)> {
        let index = self.index_of(row)?;
        Some((index, self.get(index)?))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Index, Device<'_>)> {
        (0..).map_while(|index| Some((index, self.get(index)?)))
    }

    /// Returns whether that changed anything.
    pub(crate) fn set_disabled(&mut self, index: Index, disabled: bool) -> bool {
        let was = self.get(index).is_some_and(|device| device.disabled);
        if let Some(packed) = self.packed.get_mut(index) {
            packed.set_disabled(disabled);
        }
        was != disabled
    }

    pub(crate) fn set_counter_last(&mut self, index: Index, counter: u32) {
        if let Some(packed) = self.packed.get_mut(index) {
            packed.set_counter_last(Some(counter));
        }
    }

    /// Notes the item of a new record.
    pub(crate) fn note_item(&mut self, index: Index, cause: Cause, seq: u8, now_ms: i64) {
        if let Some(packed) = self.packed.get_mut(index) {
            let mut recent = packed.recent();
            recent.record(cause, seq, now_ms);
            packed.set_recent(&recent);
        }
    }

    /// Replaces what is known of a device's items by what is on record.
    pub(crate) fn set_items(&mut self, index: Index, items: &RecentItems) {
        if let Some(packed) = self.packed.get_mut(index) {
            packed.set_recent(items);
        }
    }

    /// Whether the device's fleet is allowed in the area: the device is in scope.
    pub(crate) fn in_scope(&self, device: &Device<'_>, area_id: &AreaId) -> bool {
        self.is_fleet_in_scope(device.fleet, area_id)
    }

    /// The name of a device's fleet.
    pub(crate) fn fleet_name(&self, device: &Device<'_>) -> &str {
        let fleet = self.fleets.get(usize::from(device.fleet));
        fleet.map_or("", |fleet| &fleet.name)
    }

    fn is_fleet_in_scope(&self, fleet: u16, area_id: &AreaId) -> bool {
        match self.fleets.get(usize::from(fleet)) {
            Some(Fleet {
                areas: Some(areas), ..
            }) => areas.contains(area_id),
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
            name: name.into(),
            areas: config.fleet_areas.get(name).cloned(),
        });
        self.fleet_by_name.insert(name.to_owned(), number);
        Ok(number)
    }

    fn reserve(&mut self, count: usize) {
        self.classes.reserve(count);
        self.packed.reserve(count);
        self.ids.reserve(count);
    }
}
