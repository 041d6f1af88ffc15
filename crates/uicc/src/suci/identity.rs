//! IMSI and the octets of a SUCI (TS 24.501 clause 9.11.3.4, TS 23.003 clauses 2.2 and 2.2B).

use core::fmt;
use core::str::FromStr;

use ambit_protocol::area::Plmn;

/// An IMSI: PLMN and MSIN of 1 to 10 digits, 15 digits at most in all.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Imsi {
    plmn: Plmn,
    /// ASCII digits.
    msin: String,
}

/// A routing indicator of 1 to 4 digits, in the two octets of TS 24.501 (unused digits are F).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoutingIndicator(pub [u8; 2]);

impl Default for RoutingIndicator {
    /// "0", for home networks that use none (TS 23.003 clause 2.2B).
    fn default() -> Self {
        Self([0xF0, 0xFF])
    }
}

/// Protection schemes of TS 33.501 annex C.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// No concealment.
    Null = 0,
    /// ECIES on Curve25519.
    ProfileA = 1,
    /// ECIES on P-256 with point compression.
    ProfileB = 2,
}

/// Why a SUCI is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SuciError {
    /// Too short, or octets that TS 24.501 clause 9.11.3.4 does not allow.
    #[error("suci: malformed")]
    Malformed,
    /// A mobile identity of another type (octet given), or a SUPI that is no IMSI.
    #[error("suci: mobile identity {0:#04x} is not a SUCI of an IMSI")]
    NotAnImsi(u8),
    /// A protection scheme other than null, Profile A and Profile B.
    #[error("suci: unknown protection scheme {0}")]
    UnknownScheme(u8),
    /// Concealed for another home network.
    #[error("suci: home network {0} is not this one")]
    WrongHomeNetwork(Plmn),
    /// No key of that identifier for that scheme; or the null scheme with an identifier other than 0.
    #[error("suci: no home network key with identifier {0} for the scheme")]
    WrongKeyId(u8),
    /// The null scheme, where the home network does not allow it.
    #[error("suci: the null scheme is not allowed")]
    NullScheme,
    /// A point that is not on the curve, not in the form the profile asks for, or of low order.
    #[error("suci: invalid or low-order point")]
    Point,
    /// The MAC tag is wrong: altered, or concealed under another key.
    #[error("suci: bad MAC tag")]
    BadMac,
    /// The revealed octets are no MSIN.
    #[error("suci: scheme input is not an MSIN")]
    Msin,
}

/// The parts of a SUCI of an IMSI. `output` is the scheme output as it was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suci<'a> {
    /// Home network.
    pub plmn: Plmn,
    /// Routing indicator.
    pub routing_indicator: RoutingIndicator,
    /// Protection scheme.
    pub scheme: Scheme,
    /// Home network public key identifier; 0 with the null scheme.
    pub key_id: u8,
    /// Scheme output.
    pub output: &'a [u8],
}

/// SUPI format IMSI, type of identity SUCI.
const SUCI_OF_AN_IMSI: u8 = 0x01;
/// The bits of octet 1 that say so; the others are spare.
const FORMAT_AND_TYPE: u8 = 0x77;

impl<'a> Suci<'a> {
    /// Takes the contents of a 5GS mobile identity apart. Spare bits are ignored, as TS 24.501 asks of a receiver.
    ///
    /// # Errors
    /// [`SuciError::Malformed`], [`SuciError::NotAnImsi`], [`SuciError::UnknownScheme`] or, for the null scheme with a key
    /// identifier other than 0, [`SuciError::WrongKeyId`].
    pub fn parse(identity: &'a [u8]) -> Result<Self, SuciError> {
        let first = *identity.first().ok_or(SuciError::Malformed)?;
        if first & FORMAT_AND_TYPE != SUCI_OF_AN_IMSI {
            return Err(SuciError::NotAnImsi(first));
        }
        let ([_, p0, p1, p2, r0, r1, scheme, key_id], output) = identity
            .split_first_chunk::<8>()
            .ok_or(SuciError::Malformed)?;
        let plmn = Plmn::from_octets([*p0, *p1, *p2]).map_err(|_| SuciError::Malformed)?;
        let scheme = match scheme & 0x0F {
            0 => Scheme::Null,
            1 => Scheme::ProfileA,
            2 => Scheme::ProfileB,
            other => return Err(SuciError::UnknownScheme(other)),
        };
        if scheme == Scheme::Null && *key_id != 0 {
            return Err(SuciError::WrongKeyId(*key_id));
        }
        Ok(Self {
            plmn,
            routing_indicator: RoutingIndicator([*r0, *r1]),
            scheme,
            key_id: *key_id,
            output,
        })
    }

    /// The contents of a 5GS mobile identity.
    pub fn to_octets(&self) -> Vec<u8> {
        let mut octets = vec![SUCI_OF_AN_IMSI];
        octets.extend_from_slice(self.plmn.octets());
        octets.extend_from_slice(&self.routing_indicator.0);
        octets.push(self.scheme as u8);
        octets.push(self.key_id);
        octets.extend_from_slice(self.output);
        octets
    }
}

impl Imsi {
    /// From the PLMN and the MSIN's digits.
    ///
    /// # Errors
    /// [`SuciError::Msin`] unless `msin` is 1 to 10 digits and the IMSI has 15 at most.
    pub fn new(plmn: Plmn, msin: &str) -> Result<Self, SuciError> {
        let msin_len_max = if plmn.mnc().1.is_some() { 9 } else { 10 };
        let fits = (1..=msin_len_max).contains(&msin.len());
        if fits && msin.bytes().all(|c| c.is_ascii_digit()) {
            Ok(Self {
                plmn,
                msin: msin.to_owned(),
            })
        } else {
            Err(SuciError::Msin)
        }
    }

    /// From all digits, of which `mnc_len` (2 or 3) behind the first three are the MNC.
    ///
    /// # Errors
    /// [`SuciError::Msin`] when the digits do not make an IMSI.
    pub fn from_digits(digits: &str, mnc_len: usize) -> Result<Self, SuciError> {
        let part = |range: core::ops::Range<usize>| digits.get(range).ok_or(SuciError::Msin);
        let msin_at = 3 + mnc_len.min(3);
        let plmn = Plmn::new(part(0..3)?, part(3..msin_at)?).map_err(|_| SuciError::Msin)?;
        Self::new(plmn, part(msin_at..digits.len())?)
    }

    /// From the scheme input: digits in BCD, first digit in the low nibble, F behind the last when their number is odd.
    pub(super) fn from_msin_bcd(plmn: Plmn, octets: &[u8]) -> Result<Self, SuciError> {
        let nibbles = || octets.iter().flat_map(|octet| [octet & 15, octet >> 4]);
        let filled = octets.last().is_some_and(|octet| octet >> 4 == 15);
        let count = octets.len() * 2 - usize::from(filled);
        let msin: Option<String> = nibbles()
            .take(count)
            .map(|nibble| char::from_digit(u32::from(nibble), 10))
            .collect();
        Self::new(plmn, &msin.ok_or(SuciError::Msin)?)
    }

    /// The home network.
    pub const fn plmn(&self) -> Plmn {
        self.plmn
    }

    /// The MSIN's digits.
    pub fn msin(&self) -> &str {
        &self.msin
    }

    /// The MSIN in BCD: what the schemes conceal.
    pub(super) fn msin_bcd(&self) -> Vec<u8> {
        let digits: Vec<u8> = self.msin.bytes().map(|c| c & 15).collect();
        digits
            .chunks(2)
            .map(|pair| match *pair {
                [low, high] => high << 4 | low,
                [low] => 0xF0 | low,
                _ => 0xFF,
            })
            .collect()
    }
}

impl FromStr for RoutingIndicator {
    type Err = SuciError;

    /// 1 to 4 digits.
    fn from_str(text: &str) -> Result<Self, SuciError> {
        if text.is_empty() || text.len() > 4 || !text.bytes().all(|c| c.is_ascii_digit()) {
            return Err(SuciError::Malformed);
        }
        let mut digits = text.bytes().map(|c| c & 15).chain([15; 3]);
        let mut next = || digits.next().unwrap_or(15);
        let [d1, d2, d3, d4] = [next(), next(), next(), next()];
        Ok(Self([d2 << 4 | d1, d4 << 4 | d3]))
    }
}

/// The digits, MCC first.
impl fmt::Display for Imsi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [m1, m2, m3] = self.plmn.mcc();
        let ([n1, n2], third) = self.plmn.mnc();
        write!(f, "{m1}{m2}{m3}{n1}{n2}")?;
        third.map_or(Ok(()), |n3| write!(f, "{n3}"))?;
        f.write_str(&self.msin)
    }
}

impl fmt::Debug for Imsi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
