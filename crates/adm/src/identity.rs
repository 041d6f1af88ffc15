//! From SUCI to SUPI: the home network's part of TS 33.501 annex C.

use ambit_store::Store;
use ambit_uicc::suci::{HomeNetwork, Imsi, PrivateKey, PublicKey, Scheme};
use zeroize::{Zeroize, Zeroizing};

use crate::events::Subject;
use crate::kek::{Kek, Purpose};
use crate::{Adm, AdmConfig, OpenError, ProvisionError};

/// Where the home network's private keys lie, wrapped together: key identifier, scheme, 32 octets, for each key.
const META: &str = "home_network_keys";

const ENTRY_OCTETS: usize = 34;

/// Home network keys at most: as many as there are key identifiers.
const KEYS_MAX: usize = 256;

/// Draws of a private key before the random source is given up.
const DRAWS_MAX: usize = 8;

impl Adm {
    /// Sets a private key of the home network (TS 33.501 annex C.3), in place of the one with the same identifier. Cards get
    /// the public key, under the same identifier.
    ///
    /// # Errors
    /// [`ProvisionError::Policy`] when it is no key of that scheme, or the store failed.
    pub fn set_home_network_key(
        &mut self,
        key_id: u8,
        scheme: Scheme,
        private_key: &[u8; 32],
        now_ms: i64,
    ) -> Result<(), ProvisionError> {
        let key = private(scheme, private_key).ok_or_else(no_key)?;
        let mut entries = load_entries(&self.config, self.store.get(), &self.kek)?;
        let mut kept = Zeroizing::new(Vec::with_capacity(entries.len() + ENTRY_OCTETS));
        for entry in entries.chunks_exact(ENTRY_OCTETS) {
            if entry.first() != Some(&key_id) {
                kept.extend_from_slice(entry);
            }
        }
        entries.zeroize();
        kept.extend_from_slice(&[key_id, number(scheme)]);
        kept.extend_from_slice(private_key);
        let purpose = Purpose::HomeNetworkKeys {
            snid: self.config.snid.octets(),
        };
        let wrapped = self.kek.wrap(&purpose, &kept, &mut self.entropy)?;
        self.store.get().meta_set(META, &wrapped)?;
        self.home_network.add_key(key_id, key);
        let detail = format!("{{\"key_id\":{key_id}}}");
        self.events
            .say("home_network_key_set", Subject::default(), detail, now_ms);
        self.events.flush(self.store.get(), now_ms);
        Ok(())
    }

    /// Makes a private key of the home network under an identifier that is free: the given one, or the lowest. Returns the
    /// identifier and the public key, for cards.
    ///
    /// # Errors
    /// [`ProvisionError::HomeNetworkKeyExists`], a scheme without keys, or the store failed.
    pub fn add_home_network_key(
        &mut self,
        key_id: Option<u8>,
        scheme: Scheme,
        now_ms: i64,
    ) -> Result<(u8, PublicKey), ProvisionError> {
        let keys = self.home_network_keys();
        let is_free = |wanted: &u8| keys.iter().all(|(id, _)| id != wanted);
        let key_id = match key_id {
            Some(key_id) if !is_free(&key_id) => {
                return Err(ProvisionError::HomeNetworkKeyExists(key_id));
            }
            Some(key_id) => key_id,
            None => (0..=u8::MAX)
                .find(is_free)
                .ok_or(ProvisionError::HomeNetworkKeyExists(u8::MAX))?,
        };
        let mut octets = Zeroizing::new([0; 32]);
        // All but one in 2^32 draws are scalars of P-256.
        for _ in 0..DRAWS_MAX {
            (self.entropy)(&mut *octets)?;
            if let Some(public) = private(scheme, &octets).and_then(|key| key.public().ok()) {
                self.set_home_network_key(key_id, scheme, &octets, now_ms)?;
                return Ok((key_id, public));
            }
        }
        Err(no_key())
    }

    /// The public keys of the home network, by identifier.
    pub fn home_network_keys(&self) -> Vec<(u8, PublicKey)> {
        self.home_network.public_keys()
    }

    /// The SUPI in a SUCI, `imsi-...`; `None` when it does not open or is another network's.
    pub(crate) fn reveal(&self, suci: &[u8]) -> Option<String> {
        self.home_network.reveal(suci).ok().map(|imsi| supi(&imsi))
    }
}

fn no_key() -> ProvisionError {
    ProvisionError::Policy {
        index: 0,
        field: "home_network_key",
        rule: "must be a private key of Profile A or B".into(),
    }
}

/// `imsi-` and the digits (TS 23.003 clause 2.2A).
pub(crate) fn supi(imsi: &Imsi) -> String {
    let plmn = imsi.plmn();
    let (mnc, third) = plmn.mnc();
    let mut supi = String::from("imsi-");
    supi.extend(plmn.mcc().into_iter().chain(mnc).chain(third));
    supi.push_str(imsi.msin());
    supi
}

/// The home network with the keys on record.
pub(crate) fn load(
    config: &AdmConfig,
    store: &mut dyn Store,
    kek: &Kek,
) -> Result<HomeNetwork, OpenError> {
    let mut network = HomeNetwork::new(config.snid.plmn(), config.null_scheme_allowed);
    let entries = load_entries(config, store, kek)?;
    for entry in entries.chunks_exact(ENTRY_OCTETS).take(KEYS_MAX) {
        if let ([key_id, scheme], octets) = entry.split_at(2)
            && let Ok(octets) = <&[u8; 32]>::try_from(octets)
            && let Some(scheme) = scheme_of(*scheme)
            && let Some(key) = private(scheme, octets)
        {
            network.add_key(*key_id, key);
        }
    }
    Ok(network)
}

fn load_entries(
    config: &AdmConfig,
    store: &mut dyn Store,
    kek: &Kek,
) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let purpose = Purpose::HomeNetworkKeys {
        snid: config.snid.octets(),
    };
    match store.meta(META)? {
        Some(wrapped) => Ok(kek.unwrap_any(&purpose, &wrapped)?),
        None => Ok(Zeroizing::default()),
    }
}

fn private(scheme: Scheme, octets: &[u8; 32]) -> Option<PrivateKey> {
    match scheme {
        Scheme::ProfileA => Some(PrivateKey::profile_a(*octets)),
        Scheme::ProfileB => PrivateKey::profile_b(octets).ok(),
        _ => None,
    }
}

const fn number(scheme: Scheme) -> u8 {
    match scheme {
        Scheme::ProfileA => 1,
        Scheme::ProfileB => 2,
        _ => 0,
    }
}

const fn scheme_of(number: u8) -> Option<Scheme> {
    match number {
        1 => Some(Scheme::ProfileA),
        2 => Some(Scheme::ProfileB),
        _ => None,
    }
}
