//! SUCI: a SUPI (IMSI) concealed for its home network (TS 33.501 annex C), as the contents of a 5GS mobile identity
//! (TS 24.501 clause 9.11.3.4).
//!
//! The card or device conceals with [`conceal`], the home network reveals with [`HomeNetwork::reveal`]. SUPIs that are network
//! access identifiers are not handled: Ambit's devices have IMSIs.

mod ecies;
mod identity;

pub use ecies::{PrivateKey, PublicKey};
pub use identity::{Imsi, RoutingIndicator, Scheme, Suci, SuciError};

use ambit_protocol::area::Plmn;

/// How a card conceals: the null scheme, or a profile with the home network's public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Scheme 0: the MSIN in clear.
    Null,
    /// Scheme 1 or 2, by the kind of the key.
    Profile {
        /// Home network public key identifier, 0 to 255.
        key_id: u8,
        /// The public key.
        key: PublicKey,
    },
}

/// Contents of the mobile identity that names `imsi` to its home network.
///
/// `random` fills a buffer with unpredictable octets; the null scheme does not call it.
///
/// # Errors
/// [`SuciError::Point`] when the home network's key is of low order, or the random source gives no valid scalar in 8 draws.
pub fn conceal(
    imsi: &Imsi,
    routing_indicator: RoutingIndicator,
    protection: &Protection,
    random: impl FnMut(&mut [u8]),
) -> Result<Vec<u8>, SuciError> {
    let msin = imsi.msin_bcd();
    let (scheme, key_id, output) = match protection {
        Protection::Null => (Scheme::Null, 0, msin),
        Protection::Profile { key_id, key } => {
            let output = ecies::conceal(key, &msin, random)?;
            (key.scheme(), *key_id, output)
        }
    };
    let suci = Suci {
        plmn: imsi.plmn(),
        routing_indicator,
        scheme,
        key_id,
        output: &output,
    };
    Ok(suci.to_octets())
}

/// A home network: its PLMN and its private keys. No key ever prints.
#[derive(Debug)]
pub struct HomeNetwork {
    plmn: Plmn,
    null_scheme_allowed: bool,
    keys: Vec<(u8, PrivateKey)>,
}

impl HomeNetwork {
    /// A home network without keys, which takes the null scheme or refuses it.
    pub const fn new(plmn: Plmn, null_scheme_allowed: bool) -> Self {
        Self {
            plmn,
            null_scheme_allowed,
            keys: Vec::new(),
        }
    }

    /// Adds a private key under its identifier. A key of the same identifier and profile is replaced.
    pub fn add_key(&mut self, key_id: u8, key: PrivateKey) {
        self.keys
            .retain(|(id, old)| *id != key_id || old.scheme() != key.scheme());
        self.keys.push((key_id, key));
    }

    /// The public keys, for cards, by identifier.
    pub fn public_keys(&self) -> Vec<(u8, PublicKey)> {
        let key = |(id, key): &(u8, PrivateKey)| Some((*id, key.public().ok()?));
        let mut keys: Vec<_> = self.keys.iter().filter_map(key).collect();
        keys.sort_unstable_by_key(|(id, _)| *id);
        keys
    }

    /// The IMSI that `identity`, contents of a 5GS mobile identity, stands for.
    ///
    /// # Errors
    /// [`SuciError`], one for each way in which a SUCI can be wrong. To a device all of them are silence.
    pub fn reveal(&self, identity: &[u8]) -> Result<Imsi, SuciError> {
        let suci = Suci::parse(identity)?;
        if suci.plmn != self.plmn {
            return Err(SuciError::WrongHomeNetwork(suci.plmn));
        }
        match suci.scheme {
            Scheme::Null if !self.null_scheme_allowed => Err(SuciError::NullScheme),
            Scheme::Null => Imsi::from_msin_bcd(self.plmn, suci.output),
            scheme => {
                let (_, key) = self
                    .keys
                    .iter()
                    .find(|(id, key)| *id == suci.key_id && key.scheme() == scheme)
                    .ok_or(SuciError::WrongKeyId(suci.key_id))?;
                let msin = ecies::reveal(key, suci.output)?;
                Imsi::from_msin_bcd(self.plmn, &msin)
            }
        }
    }
}

#[cfg(test)]
mod tests;
