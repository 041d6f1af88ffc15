//! What is on the air at the level of this emulation: whole NAS PDUs, beacons and pages, not MAC transport blocks.

use ambit_protocol::{AreaId, RandN};

/// Octets of a beacon: AreaID (12) ‖ RAND_n (16), section 4.
pub const BEACON_OCTETS: usize = 28;

/// Access occasions in a millisecond.
pub const OCCASIONS_PER_MS: u32 = 8;

/// A reader of a site: which gNB, and which of its readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SiteReader {
    /// The gNB's position in the site, from 0.
    pub gnb: u16,
    /// AIoT-ReaderIndex within the gNB, from 1.
    pub reader_index: u16,
}

/// What names a radio contact: the Random ID that a device draws when it gains access. It is fresh for every contact, so
/// that the air alone links nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RadioId(pub u32);

/// Which way a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// Device to reader (D2R).
    Up,
    /// Reader to device (R2D).
    Down,
}

/// How a device gained access for what it sends. A reader knows this from the access procedure, not from the PDU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Access {
    /// By itself (DO-A), or within a contact that it opened so.
    DeviceOriginated,
    /// In answer to the page with this transaction ID.
    Paged(u16),
}

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FrameKind {
    /// A NAS PDU of one contact, opaque to the reader.
    Nas,
    /// A broadcast AreaID ‖ RAND_n. On the air once when it changes, although devices hear it at any time.
    Beacon,
    /// A page (section 8).
    Page,
    /// The opening of a further round of access occasions after a page.
    AccessTrigger,
    /// A device's Random ID, said in an access occasion (Msg1). The ID is that of the frame's contact.
    RandomId,
    /// The echo of a Random ID (Msg2): its device hands over its data.
    RandomIdResponse,
    /// The data of a device did not come: it sends them again.
    Nack,
}

/// A frame as it is seen on the air.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AirFrame {
    /// Which way.
    pub direction: Direction,
    /// When it was sent, in milliseconds.
    pub sent_ms: u64,
    /// The reader that hears or sends it.
    pub reader: SiteReader,
    /// The contact; `None` in a broadcast.
    pub radio_id: Option<RadioId>,
    /// How the device gained access; meaningless in a broadcast.
    pub access: Access,
    /// What `octets` are.
    pub kind: FrameKind,
    /// The octets on the air.
    pub octets: Vec<u8>,
}

/// The octets of a beacon.
pub fn beacon_octets(area_id: &AreaId, rand_n: &RandN) -> Vec<u8> {
    let mut octets = Vec::with_capacity(BEACON_OCTETS);
    octets.extend_from_slice(area_id.octets());
    octets.extend_from_slice(rand_n.octets());
    octets
}

/// Reads a beacon; `None` unless it has 28 octets and names an area.
pub fn parse_beacon(octets: &[u8]) -> Option<(AreaId, RandN)> {
    let (area, rand_n) = octets.split_first_chunk::<12>()?;
    let rand_n: [u8; 16] = rand_n.try_into().ok()?;
    Some((AreaId::from_octets(*area).ok()?, RandN::from_octets(rand_n)))
}

/// A round of access occasions: transaction ID (2) ‖ round (2) ‖ exponent n of 2^n occasions (1). The true layout is that of
/// TS 38.391.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessRound {
    /// The page that it belongs to.
    pub transaction: u16,
    /// Which round, from 0, which the page itself opens.
    pub round: u16,
    /// n, 0 to 15.
    pub exponent: u8,
}

impl AccessRound {
    /// The octets on the air.
    pub fn octets(&self) -> Vec<u8> {
        let [t1, t0] = self.transaction.to_be_bytes();
        let [r1, r0] = self.round.to_be_bytes();
        vec![t1, t0, r1, r0, self.exponent]
    }

    /// Reads one; `None` when it is none.
    pub fn parse(octets: &[u8]) -> Option<Self> {
        let [t1, t0, r1, r0, exponent @ 0..=15] = octets else {
            return None;
        };
        Some(Self {
            transaction: u16::from_be_bytes([*t1, *t0]),
            round: u16::from_be_bytes([*r1, *r0]),
            exponent: *exponent,
        })
    }
}

/// A Random ID on the air: transaction ID (2) ‖ round (2) ‖ occasion (2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RandomIdMessage {
    /// The page that the device answers.
    pub transaction: u16,
    /// The round.
    pub round: u16,
    /// The access occasion that it drew.
    pub occasion: u16,
}

impl RandomIdMessage {
    /// The octets on the air.
    pub fn octets(&self) -> Vec<u8> {
        let parts = [self.transaction, self.round, self.occasion];
        parts.into_iter().flat_map(u16::to_be_bytes).collect()
    }

    /// Reads one; `None` when it is none.
    pub fn parse(octets: &[u8]) -> Option<Self> {
        let [t1, t0, r1, r0, o1, o0] = octets else {
            return None;
        };
        Some(Self {
            transaction: u16::from_be_bytes([*t1, *t0]),
            round: u16::from_be_bytes([*r1, *r0]),
            occasion: u16::from_be_bytes([*o1, *o0]),
        })
    }
}

/// How devices answer a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageAccess {
    /// Each at once (contention-free: the page is for one).
    Free,
    /// In one of 2^n access occasions.
    Contention {
        /// n, 0 to 15.
        exponent: u8,
    },
}

/// A page as this emulation puts it on the air: kind (0 all, 1 single, 2 group) ‖ transaction ID (2) ‖ access (1: FF free, else n
/// of 2^n occasions) ‖ RAND_n (16) ‖ number of bits of the identity (2) ‖ identity. The true layout is that of TS 38.391.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Which access a device gains by answering.
    pub transaction: u16,
    /// How they answer.
    pub access: PageAccess,
    /// RAND_n, fresh for this page.
    pub rand_n: RandN,
    /// Whom it is for.
    pub target: PageTarget,
}

/// Whom a page is for. Identities are strings of 1 to 1024 bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageTarget {
    /// Every device.
    All,
    /// The device of this identity.
    Single {
        /// The identity, the unused bits of the last octet being zero.
        octets: Vec<u8>,
        /// Its length in bits.
        bits: u16,
    },
    /// The devices that match this filter.
    Group {
        /// The filter, the unused bits of the last octet being zero.
        octets: Vec<u8>,
        /// Its length in bits.
        bits: u16,
    },
}

impl Page {
    /// The octets on the air.
    pub fn octets(&self) -> Vec<u8> {
        let (kind, bits, identity): (u8, u16, &[u8]) = match &self.target {
            PageTarget::All => (0, 0, &[]),
            PageTarget::Single { octets, bits } => (1, *bits, octets),
            PageTarget::Group { octets, bits } => (2, *bits, octets),
        };
        let mut out = vec![kind];
        out.extend_from_slice(&self.transaction.to_be_bytes());
        out.push(match self.access {
            PageAccess::Free => 0xff,
            PageAccess::Contention { exponent } => exponent,
        });
        out.extend_from_slice(self.rand_n.octets());
        out.extend_from_slice(&bits.to_be_bytes());
        out.extend_from_slice(identity);
        out
    }

    /// Reads a page; `None` when it is none.
    pub fn parse(octets: &[u8]) -> Option<Self> {
        let (kind, rest) = octets.split_first()?;
        let (transaction, rest) = rest.split_first_chunk()?;
        let (access, rest) = rest.split_first()?;
        let access = match *access {
            0xff => PageAccess::Free,
            exponent @ 0..=15 => PageAccess::Contention { exponent },
            _ => return None,
        };
        let (rand_n, rest) = rest.split_first_chunk()?;
        let (bits, identity) = rest.split_first_chunk()?;
        let bits = u16::from_be_bytes(*bits);
        let fits = identity.len() == usize::from(bits).div_ceil(8);
        let octets = identity.to_vec();
        let target = match (*kind, bits) {
            (0, 0) => PageTarget::All,
            (1, 1..=1024) => PageTarget::Single { octets, bits },
            (2, 1..=1024) => PageTarget::Group { octets, bits },
            _ => return None,
        };
        fits.then(|| Self {
            transaction: u16::from_be_bytes(*transaction),
            access,
            rand_n: RandN::from_octets(*rand_n),
            target,
        })
    }
}
