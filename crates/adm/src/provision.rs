//! Changes to the devices: import, disable, enable, new key. Each is durable before it takes effect in memory.

use ambit_protocol::RootKey;
use ambit_provisioning::{DeviceSpec, format_device_id};
use ambit_store::{CredentialRow, DeviceRow, NewDevice, StoreError};
use zeroize::Zeroizing;

use crate::events::Subject;
use crate::kek::Purpose;
use crate::policy::{CredentialKind, PolicyRule};
use crate::{Adm, OpenError};

/// A key that the ADM generated, to be handed over once.
#[derive(Debug)]
pub struct GeneratedKey {
    /// Place in the list that was imported.
    pub index: usize,
    /// The key.
    pub key: RootKey,
}

/// Why a change to the devices was refused.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// No device has this ID.
    #[error("device_id: no device {0}")]
    UnknownDevice(String),
    /// A device with this ID is there already.
    #[error("device_id: {device_id} exists already")]
    DeviceExists {
        /// Place in the list that was imported.
        index: usize,
        /// The ID, as text.
        device_id: String,
    },
    /// A subscriber with this SUPI is there already.
    #[error("supi: exists already (place {index} of the list)")]
    SubscriberExists {
        /// Place in the list that was imported.
        index: usize,
    },
    /// The home network has a key of this identifier, or no identifier is left.
    #[error("key_id: {0} is in use; cards hold the public key under it")]
    HomeNetworkKeyExists(u8),
    /// No AF has this name.
    #[error("name: no AF {0}")]
    UnknownAf(String),
    /// An AF of this name is there already.
    #[error("name: AF {0} exists already")]
    AfExists(String),
    /// A member of an AF's account breaks a rule.
    #[error("{0}")]
    Af(String),
    /// The policy does not allow the device.
    #[error("{field}: {rule}")]
    Policy {
        /// Place in the list that was imported.
        index: usize,
        /// The field.
        field: &'static str,
        /// The rule.
        rule: String,
    },
    /// Anything else.
    #[error(transparent)]
    Adm(#[from] OpenError),
}

impl ProvisionError {
    /// The stable name of the error.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::UnknownDevice(_) => "device_unknown",
            Self::DeviceExists { .. } => "device_exists",
            Self::SubscriberExists { .. } => "subscriber_exists",
            Self::HomeNetworkKeyExists(_) => "home_network_key_exists",
            Self::UnknownAf(_) => "af_unknown",
            Self::AfExists(_) => "af_exists",
            Self::Af(_) => "af_invalid",
            Self::Policy { .. } => "policy_refused",
            Self::Adm(error) => error.name(),
        }
    }
}

impl From<StoreError> for ProvisionError {
    fn from(error: StoreError) -> Self {
        Self::Adm(error.into())
    }
}

impl Adm {
    /// Imports devices, all or none, and returns the keys it generated for those that came without one.
    ///
    /// # Errors
    /// [`ProvisionError`]; nothing was imported then.
    pub fn import(
        &mut self,
        devices: &[DeviceSpec],
        now_ms: i64,
    ) -> Result<Vec<GeneratedKey>, ProvisionError> {
        let mut generated = Vec::new();
        let mut wrapped = Vec::with_capacity(devices.len());
        for (index, device) in devices.iter().enumerate() {
            device
                .device_type
                .check(device.form)
                .map_err(|error| ProvisionError::Policy {
                    index,
                    field: "form",
                    rule: error.to_string(),
                })?;
            self.config
                .allows(device.device_type, device.form, device.credential)
                .map_err(|rule| policy_error(index, rule))?;
            if device.credential == CredentialKind::Uicc {
                return Err(ProvisionError::Policy {
                    index,
                    field: "credential",
                    rule: "must be operator or uicc-aiot; uicc stands for a subscriber".into(),
                });
            }
            // What memory has no room for must fail before anything is written.
            self.registry.fleet(&device.fleet, &self.config)?;
            let fresh = match device.key {
                Some(_) => None,
                None => Some(self.generate_key()?),
            };
            let key = fresh.as_ref().or(device.key.as_ref());
            wrapped.push(match key {
                Some(key) => self.wrap_key(&device.device_id, key)?,
                None => Vec::new(),
            });
            generated.extend(fresh.map(|key| GeneratedKey { index, key }));
        }
        let rows: Vec<NewDevice<'_>> = devices
            .iter()
            .zip(&wrapped)
            .map(|(device, wrapped_key)| new_device(device, wrapped_key, now_ms))
            .collect();
        let ids = self
            .store
            .get()
            .devices_insert(&rows)
            .map_err(|error| match error {
                StoreError::DeviceExists { index, device_id } => ProvisionError::DeviceExists {
                    index,
                    device_id: format_device_id(&device_id),
                },
                other => other.into(),
            })?;
        for ((row, id), device) in rows.iter().zip(ids).zip(devices) {
            let row = DeviceRow {
                id,
                device_id: row.device_id.to_vec(),
                device_type: row.device_type.to_owned(),
                suite: row.suite,
                form: row.form.to_owned(),
                tag_len: row.tag_len,
                fleet: row.fleet.to_owned(),
                wrapped_key: row.wrapped_key.to_vec(),
                key_version: 1,
                disabled: false,
                counter_last: None,
                created_ms: row.created_ms,
                // Given again, with its number, when the store is followed next.
                change: 0,
                credential: match device.credential {
                    CredentialKind::UiccAiot => CredentialRow::UiccAiot,
                    _ => CredentialRow::Operator,
                },
            };
            self.take_up(&row)?;
        }
        let detail = format!("{{\"devices\":{}}}", devices.len());
        self.events
            .say("devices_imported", Subject::default(), detail, now_ms);
        self.events.flush(self.store.get(), now_ms);
        Ok(generated)
    }

    /// Disables or enables a device: the network ignores a disabled one, durably.
    ///
    /// # Errors
    /// [`ProvisionError::UnknownDevice`], or the store failed.
    pub fn set_disabled(
        &mut self,
        device_id: &[u8],
        disabled: bool,
        now_ms: i64,
    ) -> Result<(), ProvisionError> {
        if !self.switch_off(device_id, disabled)? {
            return Ok(());
        }
        let kind = if disabled {
            "device_was_disabled"
        } else {
            "device_was_enabled"
        };
        self.say_of_device(kind, device_id, now_ms);
        Ok(())
    }

    /// Disables or enables a device, durably and then in memory; whether that changed anything.
    pub(crate) fn switch_off(
        &mut self,
        device_id: &[u8],
        disabled: bool,
    ) -> Result<bool, ProvisionError> {
        self.rest();
        let row = self.device_row(device_id)?;
        let is_change = row.disabled != disabled;
        if is_change {
            self.store.get().device_set_disabled(row.id, disabled)?;
        }
        // Also when the store says so already: another process may have written it.
        if let Some(index) = self.registry.index_of(row.id) {
            self.registry.set_disabled(index, disabled);
        }
        Ok(is_change)
    }

    /// Gives a device a new generated key, which takes effect at once; the old one is gone.
    ///
    /// # Errors
    /// [`ProvisionError::UnknownDevice`], or the store failed.
    pub fn rotate_key(&mut self, device_id: &[u8], now_ms: i64) -> Result<RootKey, ProvisionError> {
        self.rest();
        let row = self.device_row(device_id)?;
        if let CredentialRow::Uicc { .. } = row.credential {
            return Err(ProvisionError::Policy {
                index: 0,
                field: "key",
                rule: "a UICC device gets its keys by registering".into(),
            });
        }
        let key = self.generate_key()?;
        let wrapped_key = self.wrap_key(device_id, &key)?;
        let key_version = self.store.get().device_set_key(row.id, &wrapped_key)?;
        self.take_up(&DeviceRow {
            wrapped_key,
            key_version,
            counter_last: None,
            ..row
        })?;
        self.say_of_device("device_key_rotated", device_id, now_ms);
        Ok(key)
    }

    /// The stored row of a device.
    ///
    /// # Errors
    /// [`ProvisionError::UnknownDevice`], or the store failed.
    pub fn device_row(&mut self, device_id: &[u8]) -> Result<DeviceRow, ProvisionError> {
        let row = self.store.get().device(device_id)?;
        row.ok_or_else(|| ProvisionError::UnknownDevice(format_device_id(device_id)))
    }

    /// Writes out what rate limiting still holds back, and signs the evidence. For a clean end.
    pub fn close(&mut self, now_ms: i64) {
        self.rest();
        self.events.release_all(now_ms);
        self.events.flush(self.store.get(), now_ms);
        // What cannot be signed now is signed at the next start.
        let _ = self.checkpoint(now_ms);
    }

    /// Makes a stored device known in memory: registry, tables of the epochs in force, counter index.
    pub(crate) fn take_up(&mut self, row: &DeviceRow) -> Result<(), OpenError> {
        if let Some((index, old)) = self.registry.of_row(row.id) {
            self.counters.remove(index, &old);
        }
        let index = self.registry.add(row, &self.kek, &self.config)?;
        if let Some(device) = self.registry.get(index) {
            for table in self.tables.iter_mut().chain(&mut self.next_table) {
                table.add(index, &device);
            }
            self.counters.add(index, &device);
        }
        Ok(())
    }

    fn generate_key(&mut self) -> Result<RootKey, OpenError> {
        let mut octets = Zeroizing::new([0; 16]);
        (self.entropy)(&mut *octets)?;
        Ok(RootKey::new(*octets))
    }

    pub(crate) fn wrap_key(
        &mut self,
        device_id: &[u8],
        key: &RootKey,
    ) -> Result<Vec<u8>, OpenError> {
        let purpose = Purpose::DeviceKey { device_id };
        self.kek.wrap(&purpose, key.expose(), &mut self.entropy)
    }

    pub(crate) fn say_of_device(&mut self, kind: &'static str, device_id: &[u8], now_ms: i64) {
        let subject = Subject {
            device_id: Some(device_id.into()),
            ..Subject::default()
        };
        self.events.say(kind, subject, "{}".into(), now_ms);
        self.events.flush(self.store.get(), now_ms);
    }
}

pub(crate) fn policy_error(index: usize, rule: PolicyRule) -> ProvisionError {
    ProvisionError::Policy {
        index,
        field: rule.field(),
        rule: rule.to_string(),
    }
}

pub(crate) fn new_device<'a>(
    device: &'a DeviceSpec,
    wrapped_key: &'a [u8],
    now_ms: i64,
) -> NewDevice<'a> {
    NewDevice {
        device_id: &device.device_id,
        device_type: device.device_type.name(),
        suite: device.suite.number(),
        form: device.form.name(),
        tag_len: u8::try_from(device.tag_len.octets()).unwrap_or_default(),
        fleet: &device.fleet,
        credential: device.credential.name(),
        wrapped_key,
        created_ms: now_ms,
    }
}
