//! Areas and names (section 3): PLMN, NID, SNID, AreaID, serving network name.

use core::fmt;
use core::str::FromStr;

/// A PLMN identity in the three octets of TS 24.501 (BCD, MNC digit 3 is F when the MNC has two digits).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Plmn([u8; 3]);

/// A network identifier of a stand-alone non-public network: 11 hexadecimal digits (44 bits).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Nid(u64);

/// SNID, 9 octets: PLMN ‖ NID. A network has one beacon chain per SNID.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Snid([u8; 9]);

/// AreaID, 12 octets: SNID ‖ AIoT area code (3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AreaId([u8; 12]);

/// What is wrong with the text or octets of an identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AreaError {
    /// MCC is not 3 decimal digits.
    #[error("mcc: must be 3 decimal digits")]
    Mcc,
    /// MNC is not 2 or 3 decimal digits.
    #[error("mnc: must be 2 or 3 decimal digits")]
    Mnc,
    /// NID is not 11 hexadecimal digits.
    #[error("nid: must be 11 hexadecimal digits")]
    Nid,
    /// The octets of a PLMN hold a nibble that is no digit.
    #[error("plmn: octets are not TS 24.501 BCD digits")]
    PlmnOctets,
    /// The octets of a NID start with a nibble other than 0, or with F and then not all zero.
    #[error("nid: octets must be 0 and 11 digits, or F0 and zeros")]
    NidOctets,
    /// An area code is not 6 hexadecimal digits.
    #[error("area code: must be 6 hexadecimal digits")]
    AreaCode,
}

const NO_NID: [u8; 6] = [0xF0, 0, 0, 0, 0, 0];

impl Plmn {
    /// From digits, e.g. `("001", "01")`.
    ///
    /// # Errors
    /// [`AreaError::Mcc`] or [`AreaError::Mnc`].
    pub fn new(mcc: &str, mnc: &str) -> Result<Self, AreaError> {
        let [m1, m2, m3] = digits(mcc.as_bytes()).ok_or(AreaError::Mcc)?;
        let [n1, n2, n3] = match mnc.len() {
            2 => {
                let [n1, n2] = digits(mnc.as_bytes()).ok_or(AreaError::Mnc)?;
                [n1, n2, 0xF]
            }
            _ => digits(mnc.as_bytes()).ok_or(AreaError::Mnc)?,
        };
        Ok(Self([(m2 << 4) | m1, (n3 << 4) | m3, (n2 << 4) | n1]))
    }

    /// From the three octets of TS 24.501.
    ///
    /// # Errors
    /// [`AreaError::PlmnOctets`] when a nibble is no digit.
    pub fn from_octets(octets: [u8; 3]) -> Result<Self, AreaError> {
        let [a, b, c] = octets;
        let digits_fit = [a & 15, a >> 4, b & 15, c & 15, c >> 4]
            .iter()
            .all(|d| *d < 10);
        if digits_fit && (b >> 4 < 10 || b >> 4 == 15) {
            Ok(Self(octets))
        } else {
            Err(AreaError::PlmnOctets)
        }
    }

    /// The three octets.
    pub const fn octets(&self) -> &[u8; 3] {
        &self.0
    }

    /// Mobile country code: three digits, as characters.
    pub fn mcc(&self) -> [char; 3] {
        let [a, b, _] = self.0;
        [digit(a & 15), digit(a >> 4), digit(b & 15)]
    }

    /// Mobile network code: two digits, and the third when there is one.
    pub fn mnc(&self) -> ([char; 2], Option<char>) {
        let [_, b, c] = self.0;
        let third = b >> 4;
        (
            [digit(c & 15), digit(c >> 4)],
            (third < 10).then(|| digit(third)),
        )
    }
}

impl Nid {
    /// The 44-bit number.
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl FromStr for Nid {
    type Err = AreaError;

    fn from_str(text: &str) -> Result<Self, AreaError> {
        // from_str_radix takes a sign, a NID does not.
        if text.len() == 11 && text.bytes().all(|c| c.is_ascii_hexdigit()) {
            u64::from_str_radix(text, 16)
                .map(Self)
                .map_err(|_| AreaError::Nid)
        } else {
            Err(AreaError::Nid)
        }
    }
}

impl Snid {
    /// PLMN and, in an SNPN, NID.
    pub fn new(plmn: Plmn, nid: Option<Nid>) -> Self {
        let [p0, p1, p2] = plmn.0;
        let [n0, n1, n2, n3, n4, n5] = match nid {
            None => NO_NID,
            Some(Nid(number)) => {
                let [_, _, n @ ..] = number.to_be_bytes();
                n
            }
        };
        Self([p0, p1, p2, n0, n1, n2, n3, n4, n5])
    }

    /// From 9 octets.
    ///
    /// # Errors
    /// [`AreaError::PlmnOctets`] or [`AreaError::NidOctets`].
    pub fn from_octets(octets: [u8; 9]) -> Result<Self, AreaError> {
        let [p0, p1, p2, nid @ ..] = octets;
        Plmn::from_octets([p0, p1, p2])?;
        let [n0, ..] = nid;
        if n0 >> 4 == 0 || nid == NO_NID {
            Ok(Self(octets))
        } else {
            Err(AreaError::NidOctets)
        }
    }

    /// The 9 octets.
    pub const fn octets(&self) -> &[u8; 9] {
        &self.0
    }

    /// The PLMN.
    pub const fn plmn(&self) -> Plmn {
        let [p0, p1, p2, ..] = self.0;
        Plmn([p0, p1, p2])
    }

    /// The NID of an SNPN; `None` in a network without one.
    pub fn nid(&self) -> Option<Nid> {
        let [_, _, _, n0, n1, n2, n3, n4, n5] = self.0;
        (n0 >> 4 == 0).then(|| Nid(u64::from_be_bytes([0, 0, n0, n1, n2, n3, n4, n5])))
    }

    /// The area of this network with an AIoT area code.
    pub const fn area(&self, area_code: [u8; 3]) -> AreaId {
        let [a, b, c, d, e, f, g, h, i] = self.0;
        let [x, y, z] = area_code;
        AreaId([a, b, c, d, e, f, g, h, i, x, y, z])
    }

    /// The serving network name of section 7, e.g. `5G:mnc001.mcc001.3gppnetwork.org` and `:<NID>` in an SNPN.
    pub fn sn_name(&self) -> impl fmt::Display + use<> {
        SnName(*self)
    }
}

struct SnName(Snid);

impl fmt::Display for SnName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plmn = self.0.plmn();
        let [m1, m2, m3] = plmn.mcc();
        let (n, third) = plmn.mnc();
        f.write_str("5G:mnc")?;
        match (n, third) {
            ([n1, n2], None) => write!(f, "0{n1}{n2}")?,
            ([n1, n2], Some(n3)) => write!(f, "{n1}{n2}{n3}")?,
        }
        write!(f, ".mcc{m1}{m2}{m3}.3gppnetwork.org")?;
        match self.0.nid() {
            Some(nid) => write!(f, ":{nid}"),
            None => Ok(()),
        }
    }
}

impl AreaId {
    /// From 12 octets.
    ///
    /// # Errors
    /// [`AreaError::PlmnOctets`] or [`AreaError::NidOctets`].
    pub fn from_octets(octets: [u8; 12]) -> Result<Self, AreaError> {
        let [a, b, c, d, e, f, g, h, i, x, y, z] = octets;
        let snid = Snid::from_octets([a, b, c, d, e, f, g, h, i])?;
        Ok(snid.area([x, y, z]))
    }

    /// The 12 octets.
    pub const fn octets(&self) -> &[u8; 12] {
        &self.0
    }

    /// The network this area belongs to.
    pub const fn snid(&self) -> Snid {
        let [a, b, c, d, e, f, g, h, i, ..] = self.0;
        Snid([a, b, c, d, e, f, g, h, i])
    }

    /// The AIoT area code.
    pub const fn area_code(&self) -> [u8; 3] {
        let [.., x, y, z] = self.0;
        [x, y, z]
    }
}

/// An area code from 6 hexadecimal digits.
///
/// # Errors
/// [`AreaError::AreaCode`].
pub fn parse_area_code(text: &str) -> Result<[u8; 3], AreaError> {
    if text.len() == 6 && text.bytes().all(|c| c.is_ascii_hexdigit()) {
        let number = u32::from_str_radix(text, 16).map_err(|_| AreaError::AreaCode)?;
        let [_, code @ ..] = number.to_be_bytes();
        Ok(code)
    } else {
        Err(AreaError::AreaCode)
    }
}

fn digits<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let text: &[u8; N] = text.try_into().ok()?;
    text.iter()
        .all(u8::is_ascii_digit)
        .then(|| text.map(|c| c - b'0'))
}

fn digit(nibble: u8) -> char {
    char::from_digit(u32::from(nibble), 10).unwrap_or('?')
}

fn hex(octets: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    octets.iter().try_for_each(|o| write!(f, "{o:02x}"))
}

impl fmt::Display for Plmn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [m1, m2, m3] = self.mcc();
        let ([n1, n2], third) = self.mnc();
        write!(f, "{m1}{m2}{m3}/{n1}{n2}")?;
        third.map_or(Ok(()), |n3| write!(f, "{n3}"))
    }
}

impl fmt::Display for Nid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:011x}", self.0)
    }
}

macro_rules! display_as_hex {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                hex(&self.0, f)
            }
        }
    )*};
}
display_as_hex!(Snid, AreaId);

macro_rules! debug_as_display {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )*};
}
debug_as_display!(Plmn, Nid, Snid, AreaId);
