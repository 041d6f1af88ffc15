//! The messages of a UICC registration (section 7): REGISTRATION REQUEST, AUTHENTICATION REQUEST, AUTHENTICATION RESPONSE.

use super::{MessageType, PLAINTEXT_OCTETS_MAX, TagLen, WireError, expect, header, need, put};
use crate::seal::Tag;
use crate::wire::REPORT_OCTETS_MAX;

/// Octets of an AUTHENTICATION REQUEST: header, N_r, AUTN.
pub const AUTHENTICATION_REQUEST_OCTETS: usize = 33;

/// The longest SUCI that is carried, in octets: a REGISTRATION REQUEST is no longer than the longest REPORT. Profile B of
/// TS 33.501 annex C with an IMSI takes 54.
pub const SUCI_OCTETS_MAX: usize = REPORT_OCTETS_MAX - 9;

/// The longest AUTHENTICATION RESPONSE: 90 octets of data, 16 octets of tag.
pub const AUTHENTICATION_RESPONSE_OCTETS_MAX: usize = 1 + 8 + PLAINTEXT_OCTETS_MAX + 16;

/// Octets of AUTS (TS 33.102 clause 6.3.3).
const AUTS_OCTETS: usize = 14;

/// The header of an AUTHENTICATION RESPONSE of form 0: additional authenticated data of its seal, before RES8.
pub(crate) const AUTHENTICATION_RESPONSE_HEADER: u8 =
    header(MessageType::AuthenticationResponse, 0);

/// REGISTRATION REQUEST: `hdr(2,0) ‖ RAND_d(8) ‖ SUCI`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegistrationRequest<'a> {
    /// The device's nonce, fresh per built request.
    pub rand_d: [u8; 8],
    /// SUCI, 5GS mobile identity contents (TS 24.501 clause 9.11.3.4): 2 to [`SUCI_OCTETS_MAX`] octets.
    pub suci: &'a [u8],
}

impl<'a> RegistrationRequest<'a> {
    /// Checks header and length. The SUCI itself is judged by who reveals it.
    ///
    /// # Errors
    /// [`WireError`] naming what is wrong.
    pub fn parse(octets: &'a [u8]) -> Result<Self, WireError> {
        const MESSAGE: &str = "REGISTRATION REQUEST";
        only_form(MESSAGE, expect(octets, MessageType::RegistrationRequest)?)?;
        need(MESSAGE, octets, 1 + 8 + 2, 1 + 8 + SUCI_OCTETS_MAX)?;
        let truncated = truncated(MESSAGE, 1 + 8 + 2, octets);
        let (_, rest) = octets.split_first().ok_or(truncated)?;
        let (rand_d, suci) = rest.split_first_chunk().ok_or(truncated)?;
        Ok(Self {
            rand_d: *rand_d,
            suci,
        })
    }

    /// Octets that [`RegistrationRequest::emit`] writes.
    pub const fn buffer_len(&self) -> usize {
        1 + 8 + self.suci.len()
    }

    /// Writes it and returns its length.
    ///
    /// # Errors
    /// [`WireError::BadField`] when the SUCI is too short or too long, [`WireError::BufferTooSmall`].
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, WireError> {
        if !(2..=SUCI_OCTETS_MAX).contains(&self.suci.len()) {
            return Err(WireError::BadField {
                field: "SUCI",
                rule: "2 to 111 octets",
            });
        }
        let header = [header(MessageType::RegistrationRequest, 0)];
        put(out, &[&header, &self.rand_d, self.suci])
    }
}

/// AUTHENTICATION REQUEST: `hdr(3,0) ‖ N_r(16) ‖ AUTN(16)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthenticationRequest {
    /// The network's nonce: with RAND_d and the SN name it makes RAND ([`crate::aka::rand`]).
    pub n_r: [u8; 16],
    /// (SQN xor AK) ‖ AMF ‖ MAC-A, TS 33.102 clause 6.3.2.
    pub autn: [u8; 16],
}

impl AuthenticationRequest {
    /// Checks header and length.
    ///
    /// # Errors
    /// [`WireError`] naming what is wrong.
    pub fn parse(octets: &[u8]) -> Result<Self, WireError> {
        const MESSAGE: &str = "AUTHENTICATION REQUEST";
        only_form(MESSAGE, expect(octets, MessageType::AuthenticationRequest)?)?;
        let exact = AUTHENTICATION_REQUEST_OCTETS;
        need(MESSAGE, octets, exact, exact)?;
        let truncated = truncated(MESSAGE, exact, octets);
        let (_, rest) = octets.split_first().ok_or(truncated)?;
        let (n_r, rest) = rest.split_first_chunk().ok_or(truncated)?;
        let (autn, _) = rest.split_first_chunk().ok_or(truncated)?;
        Ok(Self {
            n_r: *n_r,
            autn: *autn,
        })
    }

    /// Octets that [`AuthenticationRequest::emit`] writes.
    pub const fn buffer_len(&self) -> usize {
        AUTHENTICATION_REQUEST_OCTETS
    }

    /// Writes it and returns its length.
    ///
    /// # Errors
    /// [`WireError::BufferTooSmall`].
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, WireError> {
        let header = [header(MessageType::AuthenticationRequest, 0)];
        put(out, &[&header, &self.n_r, &self.autn])
    }

    /// SQN xor AK, the first six octets of AUTN: what goes into K_AIOT ([`crate::aka::k_aiot`]).
    pub const fn sqn_xor_ak(&self) -> [u8; 6] {
        let [a, b, c, d, e, f, ..] = self.autn;
        [a, b, c, d, e, f]
    }
}

/// AUTHENTICATION RESPONSE checked for shape, borrowing from the PDU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthenticationResponseView<'a> {
    /// Form 0: `RES8 ‖ C ‖ TAG1`.
    Result(ResultView<'a>),
    /// Form 1: the SQN is out of range, AUTS(14) says where the card stands (TS 33.102 clause 6.3.3).
    SyncFailure {
        /// (SQN_MS xor AK*) ‖ MAC-S.
        auts: [u8; AUTS_OCTETS],
    },
}

/// The result of an authentication: RES8 and the sealed item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResultView<'a> {
    /// The first 8 octets of RES*.
    pub res8: [u8; 8],
    sealed: &'a [u8],
}

impl<'a> ResultView<'a> {
    /// Ciphertext (1 to 91 octets) and tag for a sender with tag length `len`; `None` when the length does not fit.
    pub fn sealed(&self, len: TagLen) -> Option<(&'a [u8], Tag)> {
        let at = self.sealed.len().checked_sub(len.octets())?;
        let (ciphertext, tag) = self.sealed.split_at_checked(at)?;
        if (1..=PLAINTEXT_OCTETS_MAX).contains(&ciphertext.len()) {
            Some((ciphertext, Tag::from_slice(tag)?))
        } else {
            None
        }
    }
}

impl<'a> AuthenticationResponseView<'a> {
    /// Checks header and lengths.
    ///
    /// # Errors
    /// [`WireError`] naming what is wrong.
    pub fn parse(octets: &'a [u8]) -> Result<Self, WireError> {
        const MESSAGE: &str = "AUTHENTICATION RESPONSE";
        let form = expect(octets, MessageType::AuthenticationResponse)?;
        let rest = |octets: &'a [u8]| octets.split_first().map_or(&[][..], |(_, rest)| rest);
        match form {
            0 => {
                let min = 1 + 8 + 1 + TagLen::T4.octets();
                need(MESSAGE, octets, min, AUTHENTICATION_RESPONSE_OCTETS_MAX)?;
                let (res8, sealed) = rest(octets)
                    .split_first_chunk()
                    .ok_or(truncated(MESSAGE, min, octets))?;
                let res8 = *res8;
                Ok(Self::Result(ResultView { res8, sealed }))
            }
            1 => {
                let exact = 1 + AUTS_OCTETS;
                need(MESSAGE, octets, exact, exact)?;
                let (auts, _) = rest(octets)
                    .split_first_chunk()
                    .ok_or(truncated(MESSAGE, exact, octets))?;
                Ok(Self::SyncFailure { auts: *auts })
            }
            found => Err(WireError::UnknownForm {
                message: MESSAGE,
                found,
            }),
        }
    }
}

/// Writes an AUTHENTICATION RESPONSE of form 1 and returns its length.
///
/// # Errors
/// [`WireError::BufferTooSmall`].
pub fn emit_sync_failure(auts: &[u8; AUTS_OCTETS], out: &mut [u8]) -> Result<usize, WireError> {
    let header = [header(MessageType::AuthenticationResponse, 1)];
    put(out, &[&header, auts])
}

fn only_form(message: &'static str, found: u8) -> Result<(), WireError> {
    if found == 0 {
        Ok(())
    } else {
        Err(WireError::UnknownForm { message, found })
    }
}

const fn truncated(message: &'static str, min: usize, octets: &[u8]) -> WireError {
    WireError::Truncated {
        message,
        min,
        found: octets.len(),
    }
}
