//! The one answer that waits to go on the air: an inventory response or a session response.

use crate::device::PDU_OCTETS_MAX;

/// At most one PDU. Half duplex: while it waits, nothing else is taken in that would need an answer.
#[derive(Debug)]
pub(crate) enum Outbox {
    Empty,
    Waiting {
        since_ms: u64,
        octets: [u8; PDU_OCTETS_MAX],
        len: usize,
    },
}

impl Outbox {
    pub(crate) const fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    pub(crate) const fn since_ms(&self) -> Option<u64> {
        match self {
            Self::Empty => None,
            Self::Waiting { since_ms, .. } => Some(*since_ms),
        }
    }

    /// Moves the PDU into `out`, which the caller has checked to be large enough, and returns its length.
    pub(crate) fn take_into(&mut self, out: &mut [u8]) -> Option<usize> {
        let Self::Waiting { octets, len, .. } = self else {
            return None;
        };
        let len = *len;
        out.get_mut(..len)?.copy_from_slice(octets.get(..len)?);
        *self = Self::Empty;
        Some(len)
    }
}
