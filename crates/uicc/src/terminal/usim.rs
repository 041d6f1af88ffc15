//! The USIM of a card as a device's UICC.

use ambit_device::{AkaKeys, Authentication, CardFailed, Uicc};

use super::{AkaAnswer, CardError, Terminal, Transport};
use crate::suci::{Imsi, Protection, PublicKey, RoutingIndicator, Scheme, conceal};

/// EF_UST (TS 31.102 clause 4.2.8).
const EF_UST: u16 = 0x6F38;
const DF_5GS: u16 = 0x5FC0;
const EF_SUCI_CALC_INFO: u16 = 0x4F07;
const EF_ROUTING_INDICATOR: u16 = 0x4F0A;
/// Concealment of the SUPI; and by the card, not the device.
const SERVICE_SUCI: u16 = 124;
const SERVICE_SUCI_ON_CARD: u16 = 125;

/// A source of unpredictable octets, for the ephemeral keys of SUCIs.
type Random = Box<dyn FnMut(&mut [u8]) + Send>;

/// The USIM of a card as a device's UICC (protocol section 7): what stands between a device and any card.
pub struct UsimCard<T> {
    terminal: Terminal<T>,
    imsi: Imsi,
    concealment: Concealment,
    random: Random,
}

/// Who conceals the SUPI, and how (TS 31.102 clause 5.3.48).
#[derive(Debug)]
enum Concealment {
    OnCard,
    InDevice(RoutingIndicator, Protection),
}

impl<T: Transport> UsimCard<T> {
    /// Selects the USIM and reads IMSI and what it says of concealment. A card that says nothing gets the null scheme, as
    /// TS 33.501 clause 6.12.2 has it. `random` is for SUCIs that the device conceals.
    ///
    /// # Errors
    /// [`CardError`], also for a card whose keys or schemes make no sense: the SUPI must not go out in clear by mistake.
    pub fn open(
        mut terminal: Terminal<T>,
        random: impl FnMut(&mut [u8]) + Send + 'static,
    ) -> Result<Self, CardError> {
        terminal.select_usim()?;
        let imsi = terminal.imsi()?;
        let services = terminal.read_transparent(&[0x7FFF, EF_UST], 0)?;
        let concealment = if !offers(&services, SERVICE_SUCI) {
            Concealment::InDevice(RoutingIndicator::default(), Protection::Null)
        } else if offers(&services, SERVICE_SUCI_ON_CARD) {
            Concealment::OnCard
        } else {
            let info = terminal.read_transparent(&[0x7FFF, DF_5GS, EF_SUCI_CALC_INFO], 2)?;
            let protection = protection(&info).ok_or(CardError::Malformed {
                command: "READ BINARY of EF_SUCI_Calc_Info",
            })?;
            let routing = terminal.read_transparent(&[0x7FFF, DF_5GS, EF_ROUTING_INDICATOR], 2)?;
            let routing = routing.first_chunk().copied().unwrap_or([0xFF; 2]);
            Concealment::InDevice(RoutingIndicator(routing), protection)
        };
        Ok(Self {
            terminal,
            imsi,
            concealment,
            random: Box::new(random),
        })
    }

    /// IMSI.
    pub const fn imsi(&self) -> &Imsi {
        &self.imsi
    }

    /// The scheme that the SUPI is concealed with, as far as the device knows: `None` when the card conceals.
    pub const fn scheme(&self) -> Option<Scheme> {
        match &self.concealment {
            Concealment::OnCard => None,
            Concealment::InDevice(_, Protection::Null) => Some(Scheme::Null),
            Concealment::InDevice(_, Protection::Profile { key, .. }) => Some(key.scheme()),
        }
    }

    /// The terminal back.
    pub fn into_terminal(self) -> Terminal<T> {
        self.terminal
    }
}

impl<T> core::fmt::Debug for UsimCard<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "UsimCard({}, ..)", self.imsi)
    }
}

impl<T: Transport> Uicc for UsimCard<T> {
    fn suci(&mut self, out: &mut [u8]) -> Result<usize, CardFailed> {
        let suci = match &self.concealment {
            Concealment::OnCard => self.terminal.suci().map_err(|_| CardFailed)?,
            Concealment::InDevice(routing, protection) => {
                conceal(&self.imsi, *routing, protection, &mut self.random)
                    .map_err(|_| CardFailed)?
            }
        };
        let place = out.get_mut(..suci.len()).ok_or(CardFailed)?;
        place.copy_from_slice(&suci);
        Ok(suci.len())
    }

    fn authenticate(
        &mut self,
        rand: &[u8; 16],
        autn: &[u8; 16],
    ) -> Result<Authentication, CardFailed> {
        match self.terminal.authenticate(rand, autn) {
            Ok(AkaAnswer::Success { res, ck_ik }) => {
                let (halves, _) = ck_ik.as_chunks::<16>();
                let [ck, ik] = halves else {
                    return Err(CardFailed);
                };
                let keys = AkaKeys::new(res.as_slice(), ck, ik);
                keys.map(Authentication::Success).ok_or(CardFailed)
            }
            Ok(AkaAnswer::Synchronisation(auts)) => Ok(Authentication::SyncFailure { auts }),
            Err(CardError::Mac) => Ok(Authentication::MacFailure),
            Err(_) => Err(CardFailed),
        }
    }
}

/// Bit n-1 of the service table.
fn offers(table: &[u8], service: u16) -> bool {
    let (octet, bit) = (usize::from((service - 1) / 8), (service - 1) % 8);
    table.get(octet).is_some_and(|octet| octet >> bit & 1 == 1)
}

/// The preferred scheme of EF_SUCI_Calc_Info with its key (TS 31.102 clause 4.4.11.8).
fn protection(info: &[u8]) -> Option<Protection> {
    let (tag, priorities, rest) = tlv(info)?;
    if tag != 0xA0 {
        return None;
    }
    let [scheme, index, ..] = priorities else {
        return None;
    };
    if *scheme == Scheme::Null as u8 {
        return Some(Protection::Null);
    }
    let (0xA1, mut keys, _) = tlv(rest)? else {
        return None;
    };
    for at in 1..=*index {
        let (0x80, [key_id], rest) = tlv(keys)? else {
            return None;
        };
        let (0x81, octets, rest) = tlv(rest)? else {
            return None;
        };
        keys = rest;
        if at == *index {
            let key = PublicKey::from_octets(octets).ok()?;
            let fits = key.scheme() as u8 == *scheme;
            return fits.then_some(Protection::Profile {
                key_id: *key_id,
                key,
            });
        }
    }
    None
}

/// The first tag and value, and what comes behind.
fn tlv(octets: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (len, rest) = match octets {
        [_, 0x81, len, rest @ ..] => (len, rest),
        [_, len @ 0..=0x7F, rest @ ..] => (len, rest),
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(usize::from(*len))?;
    Some((*octets.first()?, value, rest))
}
