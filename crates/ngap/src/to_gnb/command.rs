//! COMMAND REQUESTs, of which a busy core sends one for each report.
//!
//! Two that go to one session and carry as many octets differ in the device's number and the NAS PDU alone, and these stand in
//! them as they are. So the codec encodes the first of a kind, and later ones are cast: that one with the new values put in.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;

use super::ToGnb;
use crate::NgapError;
use crate::identity::AiotfId;

/// Kinds that are kept at most. There is one for each session, length of a NAS PDU and length of a device's number.
const MOULDS_MAX: usize = 4096;

/// Encodes COMMAND REQUESTs, each as [`ToGnb::encode`] does.
#[derive(Debug, Default)]
pub struct CommandRequests {
    moulds: HashMap<Kind, Known>,
}

/// What is known of a kind.
#[derive(Debug)]
enum Known {
    /// There was one. A mould costs as much as two, so it is made for the next.
    Once,
    Mould(Mould),
    /// The codec does it.
    NoMould,
}

/// What the octets of a COMMAND REQUEST hang on beside the values that are put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Kind {
    aiotf_id: AiotfId,
    correlation: u16,
    expected_d2r_octets: u16,
    /// Octets of the device's number, which has as many as it needs.
    number_len: usize,
    nas_len: usize,
}

/// A COMMAND REQUEST, and where in it the values are.
#[derive(Debug)]
struct Mould {
    octets: Vec<u8>,
    numbers: [usize; 2],
    nas: usize,
}

impl CommandRequests {
    /// Encodes one PDU.
    ///
    /// # Errors
    /// Those of [`ToGnb::encode`].
    pub fn encode(
        &mut self,
        aiotf_id: AiotfId,
        correlation: u16,
        device_ngap_id: u32,
        nas: &[u8],
        expected_d2r_octets: u16,
    ) -> Result<Vec<u8>, NgapError> {
        let kind = Kind {
            aiotf_id,
            correlation,
            expected_d2r_octets,
            number_len: 4 - (device_ngap_id.max(1).leading_zeros() / 8) as usize,
            nas_len: nas.len(),
        };
        if self.moulds.len() >= MOULDS_MAX && !self.moulds.contains_key(&kind) {
            self.moulds.clear();
        }
        let known = match self.moulds.entry(kind) {
            Entry::Vacant(entry) => {
                entry.insert(Known::Once);
                return kind.encode(device_ngap_id, nas);
            }
            Entry::Occupied(entry) => entry.into_mut(),
        };
        if matches!(known, Known::Once) {
            *known = kind.mould().map_or(Known::NoMould, Known::Mould);
        }
        match known {
            Known::Mould(mould) => Ok(mould.cast(device_ngap_id, kind.number_len, nas)),
            Known::Once | Known::NoMould => kind.encode(device_ngap_id, nas),
        }
    }
}

impl Kind {
    fn encode(&self, device_ngap_id: u32, nas: &[u8]) -> Result<Vec<u8>, NgapError> {
        let message = ToGnb::CommandRequest {
            aiotf_id: self.aiotf_id,
            correlation: self.correlation,
            device_ngap_id,
            nas: Cow::Borrowed(nas),
            expected_d2r_octets: self.expected_d2r_octets,
        };
        message.encode()
    }

    /// `None` where values do not stand as they are, or none can be encoded.
    fn mould(&self) -> Option<Mould> {
        // Values that differ in every octet show where they are.
        let number = |octet: u8| u32::from_be_bytes([octet; 4]) >> (8 * (4 - self.number_len));
        let [a, b] =
            [0x11, 0x22].map(|octet| self.encode(number(octet), &vec![octet ^ 0x80; self.nas_len]));
        let (octets, other) = (a.ok()?, b.ok()?);
        let mut places = differing(&octets, &other)?.into_iter();
        let (first, second, nas) = (places.next()?, places.next()?, places.next());
        let nas = nas.unwrap_or(octets.len()..octets.len());
        let is_so = places.next().is_none()
            && [first.len(), second.len(), nas.len()]
                == [self.number_len, self.number_len, self.nas_len];
        let mould = Mould {
            octets,
            numbers: [first.start, second.start],
            nas: nas.start,
        };
        let cast = mould.cast(number(0x22), self.number_len, &vec![0xA2; self.nas_len]);
        (is_so && cast == other).then_some(mould)
    }
}

impl Mould {
    fn cast(&self, device_ngap_id: u32, number_len: usize, nas: &[u8]) -> Vec<u8> {
        let mut octets = self.octets.clone();
        let number = device_ngap_id.to_be_bytes();
        let number = number.get(4 - number_len..).unwrap_or_default();
        for (at, value) in [
            (self.numbers[0], number),
            (self.numbers[1], number),
            (self.nas, nas),
        ] {
            if let Some(place) = octets.get_mut(at..at + value.len()) {
                place.copy_from_slice(value);
            }
        }
        octets
    }
}

/// Where two texts of one length differ.
fn differing(a: &[u8], b: &[u8]) -> Option<Vec<Range<usize>>> {
    if a.len() != b.len() {
        return None;
    }
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for (at, (a, b)) in a.iter().zip(b).enumerate() {
        if a == b {
            continue;
        }
        match ranges.last_mut() {
            Some(range) if range.end == at => range.end += 1,
            _ => ranges.push(at..at + 1),
        }
    }
    Some(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_usual_kind_has_a_mould() {
        for (number_len, nas_len) in (1..=4).zip([1, 20, 64, 129]) {
            let kind = Kind {
                aiotf_id: [0x11; 16],
                correlation: 0x8001,
                expected_d2r_octets: 1,
                number_len,
                nas_len,
            };
            assert!(kind.mould().is_some(), "{kind:?}");
        }
        assert_eq!(differing(b"abcd", b"xbyz"), Some(vec![0..1, 2..4]));
        assert_eq!(differing(b"abcd", b"abc"), None);
    }
}
