//! Columns: one value a device, in the order of their indexes.

use std::collections::HashMap;

use ambit_search::Key;
use zeroize::{Zeroize, Zeroizing};

use super::Index;
use crate::OpenError;

/// Keys in one piece. A search runs from piece to piece.
pub(super) const KEYS_PER_PIECE: usize = 4096;

/// The keys. In pieces that never move, so that no copy is left behind when the column grows.
#[derive(Default)]
pub(super) struct KeyColumn {
    pieces: Vec<Zeroizing<Vec<Key>>>,
}

impl KeyColumn {
    pub(super) fn push(&mut self, key: &Key) {
        match self.pieces.last_mut() {
            Some(piece) if piece.len() < KEYS_PER_PIECE => piece.push(*key),
            _ => {
                let mut piece = Vec::with_capacity(KEYS_PER_PIECE);
                piece.push(*key);
                self.pieces.push(Zeroizing::new(piece));
            }
        }
    }

    pub(super) fn get(&self, index: Index) -> Option<&Key> {
        let index = index as usize;
        self.pieces
            .get(index / KEYS_PER_PIECE)?
            .get(index % KEYS_PER_PIECE)
    }

    pub(super) fn set(&mut self, index: Index, key: &Key) {
        let index = index as usize;
        let piece = self.pieces.get_mut(index / KEYS_PER_PIECE);
        if let Some(slot) = piece.and_then(|piece| piece.get_mut(index % KEYS_PER_PIECE)) {
            slot.zeroize();
            *slot = *key;
        }
    }

    pub(super) fn octets(&self) -> usize {
        self.pieces.len() * (KEYS_PER_PIECE * size_of::<Key>() + size_of::<Vec<Key>>())
    }

    /// The keys from `first`, which begins a piece, to the end of that piece.
    pub(super) fn piece(&self, first: usize) -> &[Key] {
        self.pieces
            .get(first / KEYS_PER_PIECE)
            .map_or(&[], |piece| piece.as_slice())
    }
}

/// Values that are no secret. Grows by an eighth, not to double.
pub(super) struct Column<T>(Vec<T>);

impl<T> Default for Column<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy> Column<T> {
    pub(super) fn push(&mut self, value: T) {
        make_room(&mut self.0, 1);
        self.0.push(value);
    }

    pub(super) fn get(&self, index: Index) -> Option<T> {
        self.0.get(index as usize).copied()
    }

    pub(super) fn get_mut(&mut self, index: Index) -> Option<&mut T> {
        self.0.get_mut(index as usize)
    }

    pub(super) fn slice(&self, first: usize, count: usize) -> &[T] {
        self.0
            .get(first..)
            .unwrap_or_default()
            .get(..count)
            .unwrap_or_default()
    }

    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) const fn octets(&self) -> usize {
        self.0.capacity() * size_of::<T>()
    }

    pub(super) fn reserve(&mut self, count: usize) {
        self.0.reserve_exact(count);
    }
}

fn make_room<T>(values: &mut Vec<T>, count: usize) {
    if values.capacity() - values.len() < count {
        values.reserve_exact((values.len() / 8).max(count).max(64));
    }
}

/// Permanent IDs, one after the other.
#[derive(Default)]
pub(super) struct Ids {
    octets: Vec<u8>,
    /// Where each ends.
    ends: Column<u32>,
}

impl Ids {
    pub(super) fn push(&mut self, device_id: &[u8]) -> Result<(), OpenError> {
        let end = u32::try_from(self.octets.len() + device_id.len());
        let end = end.map_err(|_| OpenError::Config {
            field: "device_id",
            rule: "must together have fewer than 2^32 octets in one process",
        })?;
        make_room(&mut self.octets, device_id.len());
        self.octets.extend_from_slice(device_id);
        self.ends.push(end);
        Ok(())
    }

    pub(super) fn get(&self, index: Index) -> Option<&[u8]> {
        let end = self.ends.get(index)?;
        let before = index
            .checked_sub(1)
            .and_then(|before| self.ends.get(before));
        self.octets.get(before.unwrap_or(0) as usize..end as usize)
    }

    pub(super) const fn octets(&self) -> usize {
        self.octets.capacity() + self.ends.octets()
    }

    pub(super) fn reserve(&mut self, count: usize) {
        self.ends.reserve(count);
    }
}

/// Indexes by row id in the store. Rows mostly come in ascending order; then the column of rows is its own index.
#[derive(Default)]
pub(super) struct Rows {
    highest: Option<i64>,
    /// All rows, from when one came out of order.
    unordered: Option<HashMap<i64, Index>>,
}

impl Rows {
    /// Notes a new row before its device is added.
    pub(super) fn push(&mut self, row: i64, index: Index, row_of: impl Fn(Index) -> Option<i64>) {
        if self.unordered.is_none() && self.highest.is_some_and(|highest| row < highest) {
            let known = (0..index).filter_map(|index| Some((row_of(index)?, index)));
            self.unordered = Some(known.collect());
        }
        self.highest = self.highest.max(Some(row));
        if let Some(unordered) = &mut self.unordered {
            unordered.insert(row, index);
        }
    }

    /// With one octet of control and an eighth of room, as hash maps have.
    pub(super) fn octets(&self) -> usize {
        let unordered = self.unordered.as_ref().map_or(0, HashMap::capacity);
        unordered * (size_of::<(i64, Index)>() + 1) * 8 / 7
    }

    pub(super) fn index_of(
        &self,
        row: i64,
        row_of: impl Fn(Index) -> Option<i64>,
        count: usize,
    ) -> Option<Index> {
        if let Some(unordered) = &self.unordered {
            return unordered.get(&row).copied();
        }
        // New ones are asked for most, and are not there.
        if self.highest.is_none_or(|highest| row > highest) {
            return None;
        }
        let (mut low, mut high) = (0, Index::try_from(count).ok()?);
        while low < high {
            let middle = low + (high - low) / 2;
            match row_of(middle)?.cmp(&row) {
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }
}
