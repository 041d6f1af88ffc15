//! What the device has to say: a short queue of items, each sent until it is accepted or given up.

use ambit_protocol::wire::DATA_OCTETS_MAX;
use ambit_protocol::{Cause, Item};

/// Items that may wait, besides the one that is being sent.
pub const QUEUE_ITEMS_MAX: usize = 4;

/// An item with its data, held until it is accepted or given up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StoredItem {
    pub(crate) cause: Cause,
    pub(crate) seq: u8,
    len: u8,
    data: [u8; DATA_OCTETS_MAX],
}

impl StoredItem {
    /// The item as the wire has it.
    pub(crate) fn as_item(&self) -> Item<'_> {
        Item {
            cause: self.cause,
            seq: self.seq,
            data: self.data.get(..usize::from(self.len)).unwrap_or_default(),
        }
    }
}

/// The items waiting, oldest first, and the number of the next.
#[derive(Debug, Default)]
pub(crate) struct Items {
    waiting: [Option<StoredItem>; QUEUE_ITEMS_MAX],
    len: usize,
    next_seq: u8,
}

/// Why an item cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    TooLong,
    QueueFull,
}

impl Items {
    /// Takes an item and returns its seq: the number of items so far in this power cycle, modulo 16.
    pub(crate) fn push(&mut self, cause: Cause, octets: &[u8]) -> Result<u8, NotTaken> {
        let mut data = [0; DATA_OCTETS_MAX];
        let front = data.get_mut(..octets.len()).ok_or(NotTaken::TooLong)?;
        front.copy_from_slice(octets);
        let len = u8::try_from(octets.len()).map_err(|_| NotTaken::TooLong)?;
        let seq = self.next_seq;
        let free = self.waiting.get_mut(self.len).ok_or(NotTaken::QueueFull)?;
        *free = Some(StoredItem {
            cause,
            seq,
            len,
            data,
        });
        self.len += 1;
        self.next_seq = (seq + 1) & 15;
        Ok(seq)
    }

    pub(crate) fn pop(&mut self) -> Option<StoredItem> {
        let [first, ..] = &mut self.waiting;
        let item = first.take()?;
        self.waiting.rotate_left(1);
        self.len = self.len.saturating_sub(1);
        Some(item)
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }
}
