//! Subscribers: devices whose root secrets are in a UICC. The ADM holds the same secrets, wrapped, and opens them for one
//! challenge at a time.

use ambit_protocol::DeviceForm;
use ambit_provisioning::{DeviceSpec, format_device_id};
use ambit_store::{NewDevice, NewSubscriber, SQN_MAX, StoreError, SubscriberRow};
use ambit_uicc::{Algorithm, Subscriber};
use zeroize::Zeroizing;

use crate::events::Subject;
use crate::kek::Purpose;
use crate::policy::CredentialKind;
use crate::provision::policy_error;
use crate::{Adm, OpenError, ProvisionError};

/// A device with UICC credentials, to be imported.
#[derive(Debug)]
pub struct SubscriberSpec {
    /// The device. It brings no key: K_AIOT comes out of its registration.
    pub device: DeviceSpec,
    /// `imsi-` and 5 to 15 digits, or a network access identifier.
    pub supi: String,
    /// K and OPc or TOPc, and the algorithm.
    pub secrets: Subscriber,
    /// The last SQN that the card has seen, 0 for a new one. A wrong one costs the first registration a resynchronisation.
    pub sqn: u64,
}

impl Adm {
    /// Imports devices with UICC credentials, all or none.
    ///
    /// # Errors
    /// [`ProvisionError`]; nothing was imported then.
    pub fn import_subscribers(
        &mut self,
        subscribers: &[SubscriberSpec],
        now_ms: i64,
    ) -> Result<(), ProvisionError> {
        let mut secrets = Vec::with_capacity(subscribers.len());
        for (index, subscriber) in subscribers.iter().enumerate() {
            let device = &subscriber.device;
            self.config
                .allows(device.device_type, device.form, CredentialKind::Uicc)
                .map_err(|rule| policy_error(index, rule))?;
            check(index, subscriber)?;
            self.registry.fleet(&device.fleet, &self.config)?;
            secrets.push(self.wrap_secrets(&device.device_id, &subscriber.secrets)?);
        }
        let algorithms: Vec<String> = subscribers
            .iter()
            .map(|s| s.secrets.algorithm().to_string())
            .collect();
        let rows: Vec<NewDevice<'_>> = subscribers
            .iter()
            .map(|s| crate::provision::new_device(&s.device, &[], now_ms))
            .collect();
        let accounts: Vec<NewSubscriber<'_>> = subscribers
            .iter()
            .zip(&algorithms)
            .zip(&secrets)
            .map(|((s, algorithm), secret_wrapped)| NewSubscriber {
                supi: &s.supi,
                algorithm,
                secret_wrapped,
                sqn: s.sqn,
            })
            .collect();
        self.store
            .get()
            .subscribers_insert(&rows, &accounts)
            .map_err(|error| match error {
                StoreError::DeviceExists { index, device_id } => ProvisionError::DeviceExists {
                    index,
                    device_id: format_device_id(&device_id),
                },
                StoreError::SubscriberExists { index } => {
                    ProvisionError::SubscriberExists { index }
                }
                other => other.into(),
            })?;
        for device in subscribers.iter().map(|s| &s.device) {
            let row = self.device_row(&device.device_id)?;
            self.take_up(&row)?;
        }
        let detail = format!(
            "{{\"devices\":{},\"credential\":\"uicc\"}}",
            subscribers.len()
        );
        self.events
            .say("devices_imported", Subject::default(), detail, now_ms);
        self.events.flush(self.store.get(), now_ms);
        Ok(())
    }

    /// The secrets of a subscriber, opened.
    pub(crate) fn open_secrets(
        &self,
        device_id: &[u8],
        row: &SubscriberRow,
    ) -> Result<Subscriber, OpenError> {
        let unknown = || OpenError::Device {
            device_id: format_device_id(device_id),
            field: "algorithm",
            value: row.algorithm.clone(),
        };
        let algorithm: Algorithm = row.algorithm.parse().map_err(|_| unknown())?;
        let purpose = Purpose::SubscriberSecrets { device_id };
        let secrets = self.kek.unwrap_any(&purpose, &row.secret_wrapped)?;
        let at = secrets
            .len()
            .checked_sub(algorithm.opc_octets())
            .ok_or_else(unknown)?;
        let (k, opc) = secrets.split_at_checked(at).ok_or_else(unknown)?;
        Subscriber::new(algorithm, k, opc).map_err(|_| unknown())
    }

    fn wrap_secrets(
        &mut self,
        device_id: &[u8],
        secrets: &Subscriber,
    ) -> Result<Vec<u8>, OpenError> {
        let plain = Zeroizing::new([secrets.expose_k(), secrets.expose_opc()].concat());
        let purpose = Purpose::SubscriberSecrets { device_id };
        self.kek.wrap(&purpose, &plain, &mut self.entropy)
    }
}

fn check(index: usize, subscriber: &SubscriberSpec) -> Result<(), ProvisionError> {
    let broken = |field, rule: &str| {
        Err(ProvisionError::Policy {
            index,
            field,
            rule: rule.to_owned(),
        })
    };
    let is_imsi = |digits: &str| {
        (5..=15).contains(&digits.len()) && digits.bytes().all(|c| c.is_ascii_digit())
    };
    let is_supi = match subscriber.supi.strip_prefix("imsi-") {
        Some(digits) => is_imsi(digits),
        None => subscriber.supi.len() <= 256 && subscriber.supi.contains('@'),
    };
    if !is_supi {
        broken("supi", "must be imsi- and 5 to 15 digits, or user@realm")
    } else if subscriber.sqn > SQN_MAX {
        broken("sqn", "must be below 2^48")
    } else if subscriber.device.key.is_some() {
        broken(
            "key",
            "must be empty: a UICC device gets its key when it registers",
        )
    } else if subscriber.device.credential != CredentialKind::Uicc {
        broken("credential", "must be uicc")
    } else if subscriber.device.form == DeviceForm::Dt {
        broken("form", "must not be dt")
    } else {
        Ok(())
    }
}
