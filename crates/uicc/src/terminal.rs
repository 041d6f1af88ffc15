//! The terminal side of a UICC, over any transport of APDUs: what a device does with its card.
//!
//! A card is not trusted to answer well. Whatever it says - wrong lengths, wrong tags, endless 61XX - ends in a
//! [`CardError`], never in a panic, and within a bounded number of exchanges.

mod aiot;
mod aiot_slot;
mod in_process;
#[cfg(feature = "pcsc")]
mod pcsc;
mod timed;
mod usim;
mod usim_slot;

pub use aiot::AiotCredential;
pub use aiot_slot::AiotSlot;
pub use in_process::InProcess;
#[cfg(feature = "pcsc")]
pub use pcsc::Pcsc;
pub use timed::Timed;
pub use usim::UsimCard;
pub use usim_slot::UsimSlot;

use zeroize::Zeroizing;

use crate::algorithms::Res;
use crate::card::Status;
use crate::suci::Imsi;

/// The USIM's partial AID: any issuer's (TS 31.102 clause 4, ETSI TS 101 220 annex E).
const AID_USIM_START: [u8; 7] = [0xA0, 0x00, 0x00, 0x00, 0x87, 0x10, 0x02];

/// Responses that one command may take: itself, a corrected Le, and parts by GET RESPONSE.
const ROUNDS_MAX: usize = 8;
/// Octets of response data that one command may give.
const RESPONSE_OCTETS_MAX: usize = 1024;

/// A way to a card.
pub trait Transport {
    /// Sends a command APDU; replaces `response` by response data ‖ SW1 SW2.
    ///
    /// # Errors
    /// [`TransportError`]. An implementation that can wait must give up after a time of its own.
    fn transmit(&mut self, apdu: &[u8], response: &mut Vec<u8>) -> Result<(), TransportError>;

    /// Whether a command with data may carry Le too (T=1). In T=0, the default, it may not.
    fn takes_le_with_data(&self) -> bool {
        false
    }
}

/// A transport that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// No card, or it was removed or reset by someone else.
    #[error("card removed or reset")]
    Removed,
    /// No answer in time.
    #[error("card did not answer in time")]
    Timeout,
    /// Anything else, in the words of the reader's driver.
    #[error("reader: {0}")]
    Reader(String),
}

/// Why an operation on a card failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CardError {
    /// The transport.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The card refused, with this status word.
    #[error("card refused {command} with {:04X}", .status.0)]
    Refused {
        /// What was asked.
        command: &'static str,
        /// SW1 SW2.
        status: Status,
    },
    /// MAC-A in AUTN is wrong (9862): the challenge is not from the home network.
    #[error("card found a wrong MAC in AUTN")]
    Mac,
    /// The answer has not the form that the standard gives it.
    #[error("card answered {command} in no valid form")]
    Malformed {
        /// What was asked.
        command: &'static str,
    },
    /// The card is not that of the device.
    #[error("card does not fit the device: {field}")]
    Mismatch {
        /// What differs: `suite`, `tag_len` or `device_id`.
        field: &'static str,
    },
    /// More parts or octets than any answer has.
    #[error("card does not come to an end of its answer")]
    Endless,
}

/// What AUTHENTICATE gives.
#[derive(Debug)]
pub enum AkaAnswer {
    /// RES, CK ‖ IK.
    Success {
        /// RES, 4, 8 or 16 octets.
        res: Res,
        /// CK ‖ IK.
        ck_ik: Zeroizing<[u8; 32]>,
    },
    /// SQN out of range: AUTS.
    Synchronisation([u8; 14]),
}

/// A terminal on the basic channel of one card.
#[derive(Debug)]
pub struct Terminal<T> {
    transport: T,
}

impl<T: Transport> Terminal<T> {
    /// A terminal over `transport`.
    pub const fn new(transport: T) -> Self {
        Self { transport }
    }

    /// The transport back.
    pub fn into_transport(self) -> T {
        self.transport
    }

    /// Selects the application whose AID starts with `aid`; gives its FCP template.
    ///
    /// # Errors
    /// [`CardError`].
    pub fn select_application(&mut self, aid: &[u8]) -> Result<Vec<u8>, CardError> {
        let fcp = self.command("SELECT", [0x00, 0xA4, 0x04, 0x04], aid)?;
        Ok(fcp.to_vec())
    }

    /// Selects the USIM.
    ///
    /// # Errors
    /// [`CardError`].
    pub fn select_usim(&mut self) -> Result<(), CardError> {
        self.select_application(&AID_USIM_START).map(drop)
    }

    /// ICCID, its digits.
    ///
    /// # Errors
    /// [`CardError`].
    pub fn iccid(&mut self) -> Result<String, CardError> {
        let contents = self.read_transparent(&[0x3F00, 0x2FE2], 10)?;
        // Ten octets, no more (ETSI TS 102 221 clause 13.2): at most twenty digits.
        if contents.len() != 10 {
            return Err(CardError::Malformed {
                command: "READ BINARY of EF_ICCID",
            });
        }
        let nibbles = contents.iter().flat_map(|octet| [octet & 15, octet >> 4]);
        let digits = nibbles.map_while(|nibble| char::from_digit(u32::from(nibble), 10));
        Ok(digits.collect())
    }

    /// IMSI of the selected USIM, split by the MNC length in EF_AD (TS 31.102 clauses 4.2.2 and 4.2.18).
    ///
    /// # Errors
    /// [`CardError`].
    pub fn imsi(&mut self) -> Result<Imsi, CardError> {
        let malformed = || CardError::Malformed {
            command: "READ BINARY of EF_IMSI",
        };
        let contents = self.read_transparent(&[0x7FFF, 0x6F07], 9)?;
        let (len, coded) = contents.split_first().ok_or_else(malformed)?;
        let coded = coded.get(..usize::from(*len)).ok_or_else(malformed)?;
        let nibbles = coded
            .iter()
            .flat_map(|octet| [octet & 15, octet >> 4])
            .skip(1);
        let digits: String = nibbles
            .map_while(|nibble| char::from_digit(u32::from(nibble), 10))
            .collect();
        let mnc_len = self.mnc_len()?;
        Imsi::from_digits(&digits, mnc_len).map_err(|_| malformed())
    }

    /// EF_AD of the selected USIM.
    ///
    /// # Errors
    /// [`CardError`].
    pub fn administrative_data(&mut self) -> Result<Vec<u8>, CardError> {
        self.read_transparent(&[0x7FFF, 0x6FAD], 0)
            .map(|contents| contents.to_vec())
    }

    /// VERIFY PIN1.
    ///
    /// # Errors
    /// [`CardError::Refused`] with 63CX: X tries left.
    pub fn verify_pin1(&mut self, pin: &[u8; 8]) -> Result<(), CardError> {
        self.command("VERIFY", [0x00, 0x20, 0x00, 0x01], pin)
            .map(drop)
    }

    /// AUTHENTICATE in 3G context in the selected USIM.
    ///
    /// # Errors
    /// [`CardError::Mac`] for a challenge that is not the home network's; else [`CardError`].
    pub fn authenticate(
        &mut self,
        rand: &[u8; 16],
        autn: &[u8; 16],
    ) -> Result<AkaAnswer, CardError> {
        const COMMAND: &str = "AUTHENTICATE";
        let data = [&[16][..], rand, &[16], autn].concat();
        let answer = match self.command(COMMAND, [0x00, 0x88, 0x00, 0x81], &data) {
            Err(CardError::Refused {
                status: Status::AUTHENTICATION_MAC,
                ..
            }) => return Err(CardError::Mac),
            answer => answer?,
        };
        aka_answer(&answer).ok_or(CardError::Malformed { command: COMMAND })
    }

    /// GET IDENTITY in the selected USIM: the SUCI, contents of a 5GS mobile identity.
    ///
    /// # Errors
    /// [`CardError`]; a card that does not conceal itself refuses.
    pub fn suci(&mut self) -> Result<Vec<u8>, CardError> {
        const COMMAND: &str = "GET IDENTITY";
        let answer = self.command(COMMAND, [0x80, 0x78, 0x00, 0x01], &[])?;
        let identity = match &**answer {
            [0xA1, 0x81, len, identity @ ..] if usize::from(*len) == identity.len() => {
                Some(identity)
            }
            [0xA1, len @ 0..=0x7F, identity @ ..] if usize::from(*len) == identity.len() => {
                Some(identity)
            }
            _ => None,
        };
        identity
            .map(<[u8]>::to_vec)
            .ok_or(CardError::Malformed { command: COMMAND })
    }

    fn mnc_len(&mut self) -> Result<usize, CardError> {
        let ad = self.administrative_data()?;
        match ad.get(3).map(|octet| octet & 15) {
            Some(3) => Ok(3),
            // Cards from before Release 99 end after three octets: the MNC has two digits almost everywhere.
            Some(2) | None => Ok(2),
            Some(_) => Err(CardError::Malformed {
                command: "READ BINARY of EF_AD",
            }),
        }
    }

    /// Selects an EF step by step and reads it from its start; at least `len_min` octets.
    fn read_transparent(
        &mut self,
        path: &[u16],
        len_min: usize,
    ) -> Result<Zeroizing<Vec<u8>>, CardError> {
        for fid in path {
            self.command("SELECT", [0x00, 0xA4, 0x00, 0x0C], &fid.to_be_bytes())?;
        }
        let contents = self.command("READ BINARY", [0x00, 0xB0, 0x00, 0x00], &[])?;
        if contents.len() < len_min {
            return Err(CardError::Malformed {
                command: "READ BINARY",
            });
        }
        Ok(contents)
    }

    /// One command, its parts put together.
    fn command(
        &mut self,
        name: &'static str,
        header: [u8; 4],
        data: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, CardError> {
        let [cla, ..] = header;
        let mut apdu = Zeroizing::new(header.to_vec());
        match u8::try_from(data.len()) {
            Ok(0) => apdu.push(0),
            Ok(lc) => {
                apdu.push(lc);
                apdu.extend_from_slice(data);
                if self.transport.takes_le_with_data() {
                    apdu.push(0);
                }
            }
            Err(_) => return Err(CardError::Malformed { command: name }),
        }
        let mut answer = Zeroizing::new(Vec::new());
        let mut response = Zeroizing::new(Vec::new());
        for _ in 0..ROUNDS_MAX {
            response.clear();
            self.transport.transmit(&apdu, &mut response)?;
            let (part, status) = response
                .split_last_chunk::<2>()
                .ok_or(CardError::Malformed { command: name })?;
            answer.extend_from_slice(part);
            if answer.len() > RESPONSE_OCTETS_MAX {
                return Err(CardError::Endless);
            }
            match *status {
                [0x90, 0x00] => return Ok(answer),
                [0x61, waiting] => *apdu = vec![cla, 0xC0, 0x00, 0x00, waiting],
                [0x6C, le] => {
                    let header_octets = if data.is_empty() { 4 } else { 5 + data.len() };
                    // A GET RESPONSE of another length is asked for anew; else the command itself.
                    let kept = if apdu.get(1) == Some(&0xC0) {
                        4
                    } else {
                        header_octets
                    };
                    apdu.truncate(kept);
                    apdu.push(le);
                }
                status => {
                    let status = Status(u16::from_be_bytes(status));
                    return Err(CardError::Refused {
                        command: name,
                        status,
                    });
                }
            }
        }
        Err(CardError::Endless)
    }
}

/// DB with RES, CK and IK behind their lengths (a Kc may follow), or DC with AUTS.
fn aka_answer(answer: &[u8]) -> Option<AkaAnswer> {
    let part = |octets: &[u8]| -> Option<(usize, usize)> {
        let len = usize::from(*octets.first()?);
        (octets.len() > len).then_some((1, 1 + len))
    };
    let (tag, rest) = answer.split_first()?;
    match tag {
        0xDC => {
            let (start, end) = part(rest)?;
            Some(AkaAnswer::Synchronisation(
                rest.get(start..end)?.try_into().ok()?,
            ))
        }
        0xDB => {
            let (start, end) = part(rest)?;
            let (res, rest) = (rest.get(start..end)?, rest.get(end..)?);
            let ([16], rest) = rest.split_first_chunk::<1>()? else {
                return None;
            };
            let (ck, rest) = rest.split_first_chunk::<16>()?;
            let ([16], rest) = rest.split_first_chunk::<1>()? else {
                return None;
            };
            let (ik, _) = rest.split_first_chunk::<16>()?;
            let mut ck_ik = Zeroizing::new([0; 32]);
            for (to, from) in ck_ik.iter_mut().zip(ck.iter().chain(ik)) {
                *to = *from;
            }
            let res = Res::from_card(res)?;
            Some(AkaAnswer::Success { res, ck_ik })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
