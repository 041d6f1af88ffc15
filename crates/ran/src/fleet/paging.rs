//! Whom a page is for: a device's state machine holds no permanent identity, so its surroundings judge.

use ambit_device::PagingTarget;

use crate::frame::{Page, PageTarget};

/// Applies a page's identity for a device. 128 bits that are not its identity may be a concealed paging T-ID.
pub(super) fn paging_target(page: &Page, device_id: &[u8]) -> PagingTarget {
    match &page.target {
        PageTarget::All => PagingTarget::All,
        PageTarget::Single { octets, .. } if octets.as_slice() == device_id => {
            PagingTarget::Matches(true)
        }
        PageTarget::Single { octets, bits: 128 } => octets
            .as_slice()
            .try_into()
            .map_or(PagingTarget::Matches(false), PagingTarget::Concealed),
        PageTarget::Single { .. } => PagingTarget::Matches(false),
        PageTarget::Group { octets, bits } => {
            PagingTarget::Matches(is_prefix(octets, *bits, device_id))
        }
    }
}

/// Whether the first `bits` bits of `device_id` are those of `filter`: the filter that this emulation knows.
fn is_prefix(filter: &[u8], bits: u16, device_id: &[u8]) -> bool {
    let (whole, rest) = (usize::from(bits / 8), bits % 8);
    let (Some(filter_front), Some(front)) = (filter.get(..whole), device_id.get(..whole)) else {
        return false;
    };
    let mask = !(0xFFu8.checked_shr(rest.into()).unwrap_or(0));
    let last = |octets: &[u8]| octets.get(whole).map(|octet| octet & mask);
    filter_front == front && (rest == 0 || last(filter) == last(device_id))
}
