//! Who and where: the identities that messages carry, and their form on the wire.

use crate::{MessageKind, NgapError};
use oxirush_ngap::Bits;
use oxirush_ngap::ngap::{AIoTAreaID, GNBID, GlobalGNBID, NID, PLMNIdentity};

/// A PLMN in the three octets of TS 24.501 clause 9.11.3.8 (`MCC2 MCC1`, `MNC3 MCC3`, `MNC2 MNC1`,
/// MNC3 = F for a two-digit MNC).
pub type Plmn = [u8; 3];

/// The identifier of an AIOTF: the NF instance identifier, a UUID, as its 16 octets.
pub type AiotfId = [u8; 16];

/// An AIoT area: [`Plmn`] (3) ‖ NID (6: high nibble 0 and 11 hex digits; F0 00 00 00 00 00 where there is
/// none) ‖ AIoT area code (3).
pub type AreaId = [u8; 12];

/// A gNB, in the network it belongs to (TS 38.413 clause 9.3.1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GnbId {
    /// Its PLMN.
    pub plmn: Plmn,
    /// Its number, less than 2^`bits`.
    pub id: u32,
    /// How many bits the number has, 22 to 32.
    pub bits: u8,
}

/// A reader of a gNB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReaderId {
    /// The gNB that houses it.
    pub gnb_id: GnbId,
    /// Its number there, from 1.
    pub reader_index: u16,
}

const NO_NID: [u8; 6] = [0xf0, 0, 0, 0, 0, 0];

impl GnbId {
    pub(crate) fn from_wire(message: MessageKind, wire: &GlobalGNBID) -> Result<Self, NgapError> {
        let GNBID::gNB_ID(bits) = &wire.gnb_id else {
            return Err(NgapError::bad(
                message,
                "gNB-ID",
                "a number",
                "another alternative",
            ));
        };
        let unfit = |_| NgapError::bad(message, "gNB-ID", "22 to 32 bits", bits.len());
        let id = u32::try_from(bits.value()).map_err(unfit)?;
        Ok(Self {
            plmn: plmn_from_wire(message, wire.plmn_identity)?,
            id,
            bits: bits.len() as u8,
        })
    }

    pub(crate) fn to_wire(self, message: MessageKind) -> Result<GlobalGNBID, NgapError> {
        let rule = "a number of 22 to 32 bits";
        let bad = || NgapError::bad(message, "gNB-ID", rule, format!("{self:?}"));
        if !(22..=32).contains(&self.bits) {
            return Err(bad());
        }
        let bits = Bits::new(self.id.into(), self.bits.into()).map_err(|_| bad())?;
        Ok(GlobalGNBID::new(
            plmn_to_wire(message, self.plmn)?,
            GNBID::gNB_ID(bits),
            None,
        ))
    }
}

pub(crate) fn area_from_wire(message: MessageKind, wire: &AIoTAreaID) -> Result<AreaId, NgapError> {
    let [p0, p1, p2] = plmn_from_wire(message, wire.plmn_identity)?;
    let [n0, n1, n2, n3, n4, n5] = match wire.nid {
        Some(NID(bits)) => {
            let [_, _, nid @ ..] = bits.value().to_be_bytes();
            nid
        }
        None => NO_NID,
    };
    let [c0, c1, c2] = wire.aiot_area_code;
    Ok([p0, p1, p2, n0, n1, n2, n3, n4, n5, c0, c1, c2])
}

pub(crate) fn area_to_wire(message: MessageKind, area: &AreaId) -> Result<AIoTAreaID, NgapError> {
    let [p0, p1, p2, nid @ .., c0, c1, c2] = *area;
    let plmn = plmn_to_wire(message, [p0, p1, p2])?;
    let [n0, n1, n2, n3, n4, n5] = nid;
    let nid = match nid == NO_NID {
        true => None,
        false => {
            let number = u64::from_be_bytes([0, 0, n0, n1, n2, n3, n4, n5]);
            let rule = "F0 and five zero octets, or a zero nibble and 11 hex digits";
            let bits = Bits::new(number, 44)
                .map_err(|_| NgapError::bad(message, "nID", rule, format!("{number:012x}")))?;
            Some(NID(bits))
        }
    };
    Ok(AIoTAreaID::new(plmn, nid, [c0, c1, c2], None))
}

/// NGAP has the digits of a three-digit MNC in another order than TS 24.501: MNC1 follows MCC3
/// (clause 9.3.3.5). A two-digit MNC has the same octets in both.
pub(crate) fn plmn_from_wire(
    message: MessageKind,
    PLMNIdentity([a, b, c]): PLMNIdentity,
) -> Result<Plmn, NgapError> {
    let plmn = match b >> 4 {
        0xf => [a, b, c],
        mnc1 => [a, (c & 0xf0) | (b & 0x0f), (c << 4) | mnc1],
    };
    checked_plmn(message, plmn)
}

pub(crate) fn plmn_to_wire(message: MessageKind, plmn: Plmn) -> Result<PLMNIdentity, NgapError> {
    let [a, b, c] = checked_plmn(message, plmn)?;
    Ok(PLMNIdentity(match b >> 4 {
        0xf => [a, b, c],
        mnc3 => [a, (c << 4) | (b & 0x0f), (mnc3 << 4) | (c >> 4)],
    }))
}

/// Only digits have the same meaning in both orders.
fn checked_plmn(message: MessageKind, plmn: Plmn) -> Result<Plmn, NgapError> {
    let [a, b, c] = plmn;
    let digits = [a & 0xf, a >> 4, b & 0xf, c & 0xf, c >> 4];
    match digits.iter().all(|digit| *digit <= 9) && matches!(b >> 4, 0..=9 | 0xf) {
        true => Ok(plmn),
        false => {
            let came = format!("{a:02x}{b:02x}{c:02x}");
            Err(NgapError::bad(
                message,
                "PLMNIdentity",
                "five or six decimal digits",
                came,
            ))
        }
    }
}

/// The identifier out of its 16 octets or its text of 36 characters: which of the two a peer sends is
/// not settled by TS 38.413, whose type has room for both.
pub(crate) fn aiotf_id_from_wire(
    message: MessageKind,
    octets: &[u8],
) -> Result<AiotfId, NgapError> {
    let id = match octets.len() {
        36 => uuid_of_text(octets),
        _ => octets.try_into().ok(),
    };
    id.ok_or_else(|| {
        let rule = "a UUID as 16 octets or 36 characters";
        let came = format!("{} octets that are none", octets.len());
        NgapError::bad(message, "AIOTFIdentifier", rule, came)
    })
}

fn uuid_of_text(text: &[u8]) -> Option<AiotfId> {
    let mut nibbles = 0..32;
    let mut id = [0; 16];
    for (at, character) in text.iter().enumerate() {
        match at {
            8 | 13 | 18 | 23 if *character == b'-' => {}
            8 | 13 | 18 | 23 => return None,
            _ => {
                let digit = char::from(*character).to_digit(16)? as u8;
                let octet = id.get_mut(nibbles.next()? / 2)?;
                *octet = (*octet << 4) | digit;
            }
        }
    }
    (nibbles.next().is_none()).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: MessageKind = MessageKind::InventoryRequest;

    #[test]
    fn a_three_digit_mnc_is_in_the_order_of_ngap_on_the_wire_only() {
        // 310-410: 13 00 14 in NAS, 13 40 01 in NGAP.
        let wire = plmn_to_wire(KIND, [0x13, 0x00, 0x14]).unwrap();
        assert_eq!(wire.0, [0x13, 0x40, 0x01]);
        assert_eq!(plmn_from_wire(KIND, wire).unwrap(), [0x13, 0x00, 0x14]);
        // 208-93: the same in both.
        assert_eq!(
            plmn_to_wire(KIND, [0x02, 0xf8, 0x39]).unwrap().0,
            [0x02, 0xf8, 0x39]
        );
    }

    #[test]
    fn every_plmn_of_digits_returns_and_no_other_is_taken() {
        for number in 0..100_000u32 {
            let digit = |at: u32| (number / 10u32.pow(at) % 10) as u8;
            for mnc3 in [0xf, (number % 10) as u8] {
                let plmn = [
                    digit(1) << 4 | digit(0),
                    mnc3 << 4 | digit(2),
                    digit(4) << 4 | digit(3),
                ];
                let wire = plmn_to_wire(KIND, plmn).unwrap();
                assert_eq!(plmn_from_wire(KIND, wire).unwrap(), plmn);
            }
        }
        for plmn in [
            [0xff; 3],
            [0x0a, 0xf0, 0x00],
            [0x00, 0xa0, 0x00],
            [0x00, 0xf0, 0xf0],
        ] {
            assert!(plmn_to_wire(KIND, plmn).is_err());
            assert!(plmn_from_wire(KIND, PLMNIdentity(plmn)).is_err());
        }
    }

    #[test]
    fn an_aiotf_identifier_is_read_as_octets_or_as_text() {
        let id = [
            0x12, 0x3e, 0x45, 0x67, 0xe8, 0x9b, 0x12, 0xd3, 0xa4, 0x56, 0x42, 0x66, 0x14, 0x17,
            0x40, 0x0f,
        ];
        assert_eq!(aiotf_id_from_wire(KIND, &id).unwrap(), id);
        let text = b"123e4567-E89b-12d3-a456-42661417400F";
        assert_eq!(aiotf_id_from_wire(KIND, text).unwrap(), id);
        for bad in [
            &b"123e4567-e89b-12d3-a456-42661417400"[..],
            b"123e4567+e89b-12d3-a456-42661417400f",
            b"123e4567-e89b-12d3-a456-42661417400g",
            b"123e4567-e89b-12d3-a456042661417-00f",
            b"",
            &[0; 17],
        ] {
            assert_eq!(aiotf_id_from_wire(KIND, bad).unwrap_err().name(), "bad_ie");
        }
    }

    #[test]
    fn an_area_has_a_nid_of_44_bits_or_none() {
        let mut area = [0x99, 0xf9, 0x99, 0x0a, 0xbc, 1, 2, 3, 4, 5, 6, 7];
        let wire = area_to_wire(KIND, &area).unwrap();
        assert_eq!(wire.nid.unwrap().0.value(), 0x0abc_0102_0304);
        assert_eq!(area_from_wire(KIND, &wire).unwrap(), area);
        area[3..9].copy_from_slice(&NO_NID);
        let wire = area_to_wire(KIND, &area).unwrap();
        assert!(wire.nid.is_none());
        assert_eq!(area_from_wire(KIND, &wire).unwrap(), area);
        area[8] = 1;
        assert_eq!(area_to_wire(KIND, &area).unwrap_err().name(), "bad_ie");
    }
}
