//! Command APDUs and status words (ETSI TS 102 221 clause 10).

/// SW1 SW2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub u16);

#[allow(missing_docs)] // The names are those of the tables of TS 102 221 clause 10.2.1 and TS 31.102 clause 7.3.
impl Status {
    pub const OK: Self = Self(0x9000);
    pub const MEMORY_PROBLEM: Self = Self(0x6581);
    pub const WRONG_LENGTH: Self = Self(0x6700);
    pub const CHANNEL_NOT_SUPPORTED: Self = Self(0x6881);
    pub const SECURE_MESSAGING_NOT_SUPPORTED: Self = Self(0x6882);
    pub const INCOMPATIBLE_FILE: Self = Self(0x6981);
    pub const SECURITY_NOT_SATISFIED: Self = Self(0x6982);
    pub const PIN_BLOCKED: Self = Self(0x6983);
    pub const REFERENCED_DATA_INVALIDATED: Self = Self(0x6984);
    pub const CONDITIONS_NOT_SATISFIED: Self = Self(0x6985);
    pub const NO_EF_SELECTED: Self = Self(0x6986);
    pub const INCORRECT_DATA: Self = Self(0x6A80);
    pub const FUNCTION_NOT_SUPPORTED: Self = Self(0x6A81);
    pub const FILE_NOT_FOUND: Self = Self(0x6A82);
    pub const RECORD_NOT_FOUND: Self = Self(0x6A83);
    pub const INCORRECT_PARAMETERS: Self = Self(0x6A86);
    pub const LC_INCONSISTENT: Self = Self(0x6A87);
    pub const REFERENCED_DATA_NOT_FOUND: Self = Self(0x6A88);
    pub const WRONG_PARAMETERS: Self = Self(0x6B00);
    pub const INSTRUCTION_NOT_SUPPORTED: Self = Self(0x6D00);
    pub const CLASS_NOT_SUPPORTED: Self = Self(0x6E00);
    pub const AUTHENTICATION_MAC: Self = Self(0x9862);
    pub const SECURITY_CONTEXT_NOT_SUPPORTED: Self = Self(0x9864);

    /// 63CX: verification failed, X tries left.
    pub const fn tries_left(tries: u8) -> Self {
        Self(0x63C0 | (tries & 15) as u16)
    }

    /// 61XX: XX octets wait for GET RESPONSE (0: 256 or more).
    pub(super) const fn waiting(octets: usize) -> Self {
        Self(0x6100 | low(octets))
    }

    /// 6CXX: send again with Le = XX.
    pub(super) const fn wrong_le(octets: usize) -> Self {
        Self(0x6C00 | low(octets))
    }

    /// SW1 and SW2.
    pub const fn octets(self) -> [u8; 2] {
        self.0.to_be_bytes()
    }
}

const fn low(octets: usize) -> u16 {
    if octets > 255 { 0 } else { octets as u16 }
}

/// A command APDU of short length, cases 1 to 4.
#[derive(Clone, Copy, Debug)]
pub(super) struct Command<'a> {
    pub(super) cla: u8,
    pub(super) ins: u8,
    pub(super) p1: u8,
    pub(super) p2: u8,
    pub(super) data: &'a [u8],
    /// Ne, 1 to 256; `None` without Le. Five octets are case 2 or, in T=0, case 1 with P3 = 0.
    pub(super) le: Option<usize>,
}

impl<'a> Command<'a> {
    pub(super) fn parse(apdu: &'a [u8]) -> Result<Self, Status> {
        let ([cla, ins, p1, p2], rest) =
            apdu.split_first_chunk::<4>().ok_or(Status::WRONG_LENGTH)?;
        let (data, le): (&[u8], _) = match rest {
            [] => (&[], None),
            [le] => (&[], Some(*le)),
            [0, ..] => return Err(Status::WRONG_LENGTH),
            [lc, rest @ ..] => {
                let (data, le) = rest
                    .split_at_checked(usize::from(*lc))
                    .ok_or(Status::WRONG_LENGTH)?;
                match le {
                    [] => (data, None),
                    [le] => (data, Some(*le)),
                    _ => return Err(Status::WRONG_LENGTH),
                }
            }
        };
        let (cla, ins, p1, p2) = (*cla, *ins, *p1, *p2);
        let le = le.map(|le| if le == 0 { 256 } else { usize::from(le) });
        Ok(Self {
            cla,
            ins,
            p1,
            p2,
            data,
            le,
        })
    }

    /// Offset or reference of two octets.
    pub(super) const fn p1_p2(&self) -> u16 {
        u16::from_be_bytes([self.p1, self.p2])
    }
}
