//! The inputs of every PRF evaluation under the root key K.
//!
//! A credential (a key in memory, a card) only ever sees an [`Input`]: a label and at most 36 octets. So a card can evaluate
//! the same schedule without knowing the forms, and no caller can mix up the order of the parts.

use crate::area::AreaId;
use crate::chain::RandN;

/// The label octet that separates the uses of one key (section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label(pub u8);

#[allow(missing_docs)] // The table of section 2 is the documentation; names follow it.
impl Label {
    pub const INTEGRITY_KEY: Self = Self(0x01);
    pub const ENCRYPTION_KEY: Self = Self(0x02);
    pub const BEACON_T_ID: Self = Self(0x10);
    pub const BEACON_K_AIOTF: Self = Self(0x11);
    pub const COUNTER_T_ID: Self = Self(0x12);
    pub const COUNTER_K_AIOTF: Self = Self(0x13);
    pub const CONCEALED_ID: Self = Self(0x14);
    pub const CONCEALED_K_AIOTF: Self = Self(0x15);
    pub const AKA_K_AIOTF: Self = Self(0x16);
    pub const DT_RES: Self = Self(0x30);
    pub const DT_K_AIOTF: Self = Self(0x31);
    pub const DT_PAGING_T_ID: Self = Self(0x32);
    pub const REPORT: Self = Self(0x41);
    pub const ACCEPT: Self = Self(0x42);
    pub const SESSION_UP: Self = Self(0x43);
    pub const SESSION_DOWN: Self = Self(0x44);
    pub const CHAIN_STEP: Self = Self(0x50);
    pub(crate) const KEYSTREAM: Self = Self(0xF0);
}

/// The longest `x` of an [`Input`]: RAND_n (16) ‖ AreaID (12) ‖ RAND_d (8).
pub const X_OCTETS_MAX: usize = 36;

/// One PRF evaluation under K: label and `x`. `x` holds nothing secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    label: Label,
    x: [u8; X_OCTETS_MAX],
    len: u8,
}

impl Input {
    /// The label.
    pub const fn label(&self) -> Label {
        self.label
    }

    /// `x`, 4 to 36 octets.
    pub fn x(&self) -> &[u8] {
        self.x.get(..usize::from(self.len)).unwrap_or_default()
    }

    #[inline(always)]
    fn of(label: Label, parts: &[&[u8]]) -> Self {
        let mut x = [0u8; X_OCTETS_MAX];
        let mut len = 0;
        for part in parts {
            if let Some(slot) = x.get_mut(len..len + part.len()) {
                slot.copy_from_slice(part);
                len += part.len();
            }
        }
        Self {
            label,
            x,
            len: len as u8,
        }
    }
}

/// T-ID, beacon form: the first 4 octets of the result.
pub fn beacon_t_id(rand_n: &RandN) -> Input {
    Input::of(Label::BEACON_T_ID, &[rand_n.octets()])
}

/// K_AIOTF, beacon form.
pub fn beacon_k_aiotf(rand_n: &RandN, area_id: &AreaId, rand_d: &[u8; 4]) -> Input {
    Input::of(
        Label::BEACON_K_AIOTF,
        &[rand_n.octets(), area_id.octets(), rand_d],
    )
}

/// T-ID, counter forms: the first 6 octets of the result.
pub fn counter_t_id(counter: u32) -> Input {
    Input::of(Label::COUNTER_T_ID, &[&counter.to_be_bytes()])
}

/// K_AIOTF, counter and recovery forms.
pub fn counter_k_aiotf(rand_n: &RandN, area_id: &AreaId, counter: u32) -> Input {
    Input::of(
        Label::COUNTER_K_AIOTF,
        &[rand_n.octets(), area_id.octets(), &counter.to_be_bytes()],
    )
}

/// K_AIOTF, blind form: as the counter form with RAND_n and AreaID all zero.
pub fn blind_k_aiotf(counter: u32) -> Input {
    Input::of(
        Label::COUNTER_K_AIOTF,
        &[&[0; 16], &[0; 12], &counter.to_be_bytes()],
    )
}

/// Concealed ID (CID): the first 4 octets of the result.
pub fn concealed_id(rand_n: &RandN, rand_d: &[u8; 8]) -> Input {
    Input::of(Label::CONCEALED_ID, &[rand_n.octets(), rand_d])
}

/// K_AIOTF, concealed form.
pub fn concealed_k_aiotf(rand_n: &RandN, area_id: &AreaId, rand_d: &[u8; 8]) -> Input {
    Input::of(
        Label::CONCEALED_K_AIOTF,
        &[rand_n.octets(), area_id.octets(), rand_d],
    )
}

/// RES of an inventory response: the first 8 octets of the result (section 8).
pub fn dt_res(rand_n: &RandN, rand_d: &[u8; 16]) -> Input {
    Input::of(Label::DT_RES, &[rand_n.octets(), rand_d])
}

/// K_AIOTF after an inventory response (section 8).
pub fn dt_k_aiotf(rand_n: &RandN, rand_d: &[u8; 16]) -> Input {
    Input::of(Label::DT_K_AIOTF, &[rand_n.octets(), rand_d])
}

/// Concealed paging T-ID, 16 octets (section 8).
pub fn dt_paging_t_id(rand_n: &RandN) -> Input {
    Input::of(Label::DT_PAGING_T_ID, &[rand_n.octets()])
}

/// The first N octets of a PRF result: T-ID, CID and RES are cut from the front.
pub fn cut<const N: usize>(prf: &[u8; 16]) -> [u8; N] {
    let mut out = [0; N];
    for (to, from) in out.iter_mut().zip(prf) {
        *to = *from;
    }
    out
}
