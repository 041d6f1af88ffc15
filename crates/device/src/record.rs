//! What the device keeps in non-volatile memory: one record in two slots, written in turn.
//!
//! ```text
//! slot, 36 octets   version 01 ‖ flags ‖ 0000 ‖ sequence(4) ‖ counter(4) ‖ answered(4) ‖ anchor RAND_n(16) ‖ CRC-32(4)
//! memory            slot 0 ‖ slot 1 ‖ user memory of section 8
//! flags             bit 0: the anchor is there; bit 1: permanently disabled
//! ```
//! A write goes to the slot that is older or invalid, so a torn write never touches the newest record. It is read back
//! before it counts. At power-on the valid slot with the higher sequence is taken.
//!
//! A write that failed, or was cut, may have reached memory all the same. Whatever it held was not used on the air (a report
//! is built only after its counter is durable), so no value can be used twice; to be safe from a slot that rots later, the
//! device still skips one counter value after any such write. It skips one, not one per failure: the network only looks
//! 16 values ahead.

use ambit_protocol::RandN;

use crate::platform::Memory;

/// Octets of one slot.
const SLOT_OCTETS: usize = 36;

/// Octets at the start of the memory that the device keeps for itself. The user memory of section 8 follows.
pub const SLOTS_OCTETS: usize = 2 * SLOT_OCTETS;

const VERSION: u8 = 1;
const FLAG_ANCHOR: u8 = 1;
const FLAG_DISABLED: u8 = 2;

/// Answered reports that memory may not know of: half of the 8 that lead to recovery (section 6).
const ANSWERED_LAG_MAX: u32 = 4;

/// The durable state of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// The RAND_n that beacons are checked against (section 4).
    pub(crate) anchor: Option<RandN>,
    /// The last counter value taken (section 6).
    pub(crate) counter: u32,
    /// The last counter value known to be answered: how many were not decides about recovery, over power cycles too.
    pub(crate) answered: u32,
    /// PERMANENT DISABLE was obeyed (section 8).
    pub(crate) disabled: bool,
}

/// Formats a memory at provisioning: anchor (if the device is to have one) and the last counter value used (0 for none).
/// Whatever was there is gone, a disable included.
///
/// # Errors
/// The memory's own. A provisioning that was cut must be repeated.
pub fn provision<M: Memory>(
    memory: &mut M,
    anchor: Option<RandN>,
    counter: u32,
) -> Result<(), M::Error> {
    restore(memory, anchor, counter, false)
}

/// As [`provision`], for a device whose state is put back: also whether it was permanently disabled (section 8).
///
/// # Errors
/// As [`provision`].
pub fn restore<M: Memory>(
    memory: &mut M,
    anchor: Option<RandN>,
    counter: u32,
    disabled: bool,
) -> Result<(), M::Error> {
    let record = Record {
        anchor,
        counter,
        answered: counter,
        disabled,
    };
    memory.write(0, &encode(&record, 1))?;
    memory.write(SLOT_OCTETS, &encode(&record, 0))
}

/// Why there is no record to go on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoadError {
    Unreadable,
    /// Neither slot is valid, and neither is blank: this is not a new device, it has lost its record.
    Lost,
}

/// The write did not succeed, or did not read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoreFailed;

/// The two slots: which one is live, and what it holds.
#[derive(Debug)]
pub(crate) struct Slots {
    live: Slot,
    sequence: u32,
    record: Record,
    /// `record.answered` as it is in memory: an ACCEPT alone writes nothing.
    answered_durably: u32,
    /// The other slot may hold something newer than `record` that was never used.
    doubtful: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Zero,
    One,
}

impl Slot {
    const fn other(self) -> Self {
        match self {
            Self::Zero => Self::One,
            Self::One => Self::Zero,
        }
    }

    const fn offset(self) -> usize {
        match self {
            Self::Zero => 0,
            Self::One => SLOT_OCTETS,
        }
    }
}

enum Found {
    Blank,
    Garbage,
    Valid(Record, u32),
}

impl Slots {
    /// Reads both slots at power-on. Two blank slots, or a blank and a torn one, are a new device.
    pub(crate) fn load<M: Memory>(memory: &mut M) -> Result<Self, LoadError> {
        let zero = find(memory, Slot::Zero)?;
        let one = find(memory, Slot::One)?;
        let slots = |live, (record, sequence): (Record, u32), doubtful| Self {
            live,
            sequence,
            record,
            answered_durably: record.answered,
            doubtful,
        };
        Ok(match (zero, one) {
            (Found::Valid(r0, s0), Found::Valid(r1, s1)) => {
                // Sequence numbers are one apart, so the difference tells the newer one even where they wrap.
                if s1.wrapping_sub(s0) < 1 << 31 {
                    slots(Slot::One, (r1, s1), false)
                } else {
                    slots(Slot::Zero, (r0, s0), false)
                }
            }
            (Found::Valid(r, s), other) => {
                slots(Slot::Zero, (r, s), matches!(other, Found::Garbage))
            }
            (other, Found::Valid(r, s)) => {
                slots(Slot::One, (r, s), matches!(other, Found::Garbage))
            }
            (Found::Blank, Found::Blank) => slots(Slot::One, (Record::default(), 0), false),
            (Found::Garbage, Found::Blank) => slots(Slot::One, (Record::default(), 0), true),
            (Found::Blank, Found::Garbage) => slots(Slot::Zero, (Record::default(), 0), true),
            (Found::Garbage, Found::Garbage) => return Err(LoadError::Lost),
        })
    }

    /// A new record over whatever is there, for devices that can do without what they lost.
    pub(crate) fn blank() -> Self {
        Self {
            live: Slot::One,
            sequence: 0,
            record: Record::default(),
            answered_durably: 0,
            doubtful: true,
        }
    }

    pub(crate) const fn record(&self) -> &Record {
        &self.record
    }

    /// The next counter value that was surely never used; `None` when the counter's life has ended (section 6).
    pub(crate) fn next_counter(&self) -> Option<u32> {
        let steps = if self.doubtful { 2 } else { 1 };
        let next = self.record.counter.checked_add(steps)?;
        (next < u32::MAX).then_some(next)
    }

    /// Writes `record` into the slot that is not live, reads it back, and goes live with it.
    pub(crate) fn store<M: Memory>(
        &mut self,
        memory: &mut M,
        record: Record,
    ) -> Result<(), StoreFailed> {
        let target = self.live.other();
        let sequence = self.sequence.wrapping_add(1);
        let octets = encode(&record, sequence);
        let mut back = [0; SLOT_OCTETS];
        let stored = memory.write(target.offset(), &octets).is_ok()
            && memory.read(target.offset(), &mut back).is_ok()
            && back == octets;
        if !stored {
            self.doubtful = true;
            return Err(StoreFailed);
        }
        *self = Self {
            live: target,
            sequence,
            record,
            answered_durably: record.answered,
            doubtful: false,
        };
        Ok(())
    }

    /// Notes an answered counter. It becomes durable with the next counter, at no write of its own.
    pub(crate) fn note_answered(&mut self, counter: u32) {
        self.record.answered = self.record.answered.max(counter);
    }

    /// Whether what was answered should be written now: a device that loses power after each report never writes a next
    /// counter, and would come to think that nobody answers it.
    pub(crate) const fn answered_lags(&self) -> bool {
        self.record.answered.saturating_sub(self.answered_durably) >= ANSWERED_LAG_MAX
    }
}

fn find<M: Memory>(memory: &mut M, slot: Slot) -> Result<Found, LoadError> {
    let mut octets = [0; SLOT_OCTETS];
    memory
        .read(slot.offset(), &mut octets)
        .map_err(|_| LoadError::Unreadable)?;
    if let Some((record, sequence)) = decode(&octets) {
        Ok(Found::Valid(record, sequence))
    } else if octets == [0xFF; SLOT_OCTETS] || octets == [0; SLOT_OCTETS] {
        Ok(Found::Blank)
    } else {
        Ok(Found::Garbage)
    }
}

fn encode(record: &Record, sequence: u32) -> [u8; SLOT_OCTETS] {
    let mut flags = 0;
    if record.anchor.is_some() {
        flags |= FLAG_ANCHOR;
    }
    if record.disabled {
        flags |= FLAG_DISABLED;
    }
    let anchor = record.anchor.map_or([0; 16], |anchor| *anchor.octets());
    let mut octets = [0; SLOT_OCTETS];
    let parts: [&[u8]; 5] = [
        &[VERSION, flags, 0, 0],
        &sequence.to_be_bytes(),
        &record.counter.to_be_bytes(),
        &record.answered.to_be_bytes(),
        &anchor,
    ];
    for (to, from) in octets.iter_mut().zip(parts.into_iter().flatten()) {
        *to = *from;
    }
    if let Some((body, crc)) = octets.split_last_chunk_mut::<4>() {
        *crc = crc32(body).to_be_bytes();
    }
    octets
}

fn decode(octets: &[u8; SLOT_OCTETS]) -> Option<(Record, u32)> {
    let (body, crc) = octets.split_last_chunk::<4>()?;
    if crc32(body) != u32::from_be_bytes(*crc) {
        return None;
    }
    let ([version, flags, _, _], body) = body.split_first_chunk::<4>()?;
    if *version != VERSION {
        return None;
    }
    let (sequence, body) = body.split_first_chunk()?;
    let (counter, body) = body.split_first_chunk()?;
    let (answered, body) = body.split_first_chunk()?;
    let (anchor, _) = body.split_first_chunk()?;
    let record = Record {
        anchor: (flags & FLAG_ANCHOR != 0).then_some(RandN::from_octets(*anchor)),
        counter: u32::from_be_bytes(*counter),
        answered: u32::from_be_bytes(*answered),
        disabled: flags & FLAG_DISABLED != 0,
    };
    Some((record, u32::from_be_bytes(*sequence)))
}

/// CRC-32 (IEEE 802.3), bit by bit: a table would cost more flash than the time is worth.
fn crc32(octets: &[u8]) -> u32 {
    let mut crc = !0u32;
    for octet in octets {
        crc ^= u32::from(*octet);
        for _ in 0..8 {
            let polynomial = 0xEDB8_8320 & (crc & 1).wrapping_neg();
            crc = (crc >> 1) ^ polynomial;
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::ArrayMemory;

    type Chip = ArrayMemory<SLOTS_OCTETS>;

    fn record(counter: u32) -> Record {
        Record {
            anchor: Some(RandN::new(counter, [counter as u8; 12])),
            counter,
            answered: counter / 2,
            disabled: false,
        }
    }

    #[test]
    fn crc_check_value() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn what_is_stored_is_loaded_and_slots_take_turns() {
        let mut chip = Chip::default();
        let mut slots = Slots::load(&mut chip).unwrap();
        assert_eq!(
            (slots.record(), slots.next_counter()),
            (&Record::default(), Some(1))
        );
        for n in 1..20 {
            let before = chip.clone();
            slots.store(&mut chip, record(n)).unwrap();
            let (a, b) = chip.0.split_at(SLOT_OCTETS);
            let (old_a, old_b) = before.0.split_at(SLOT_OCTETS);
            assert_eq!((a == old_a, b == old_b), (n % 2 == 0, n % 2 == 1));
            assert_eq!(Slots::load(&mut chip).unwrap().record(), &record(n));
        }
    }

    #[test]
    fn the_newer_slot_is_taken_where_the_sequence_wraps() {
        for sequence in [u32::MAX - 2, (1 << 31) - 2, 0] {
            let mut chip = Chip::default();
            chip.write(0, &encode(&record(1), sequence)).unwrap();
            let mut slots = Slots::load(&mut chip).unwrap();
            for n in 2..8 {
                slots.store(&mut chip, record(n)).unwrap();
                slots = Slots::load(&mut chip).unwrap();
                assert_eq!(slots.record(), &record(n));
            }
        }
    }

    /// Every cut, with every garbage octet, of every one of a run of writes.
    #[test]
    fn a_torn_write_loses_nothing_but_itself() {
        let mut chip = Chip::default();
        for n in 1..6 {
            let mut after = chip.clone();
            let mut slots = Slots::load(&mut chip).unwrap();
            slots.store(&mut after, record(n)).unwrap();
            let before = Slots::load(&mut chip).map(|slots| *slots.record());
            for cut in 0..SLOT_OCTETS {
                for garbage in 0..=255 {
                    let target = slots.live.offset();
                    let mut torn = chip.clone();
                    let new = &after.0[target..];
                    torn.0[target..target + cut].copy_from_slice(&new[..cut]);
                    torn.0[target + cut] = garbage;
                    let whole = torn.0[target..target + SLOT_OCTETS] == new[..SLOT_OCTETS];
                    let mut found = Slots::load(&mut torn).unwrap();
                    let expected = if whole { record(n) } else { before.unwrap() };
                    assert_eq!(found.record(), &expected);
                    // The next write goes to the torn slot.
                    found.store(&mut torn, record(90)).unwrap();
                    assert_eq!(Slots::load(&mut torn).unwrap().record(), &record(90));
                }
            }
            chip = after;
        }
    }

    #[test]
    fn a_rotten_newest_slot_does_not_bring_a_counter_back() {
        let mut chip = Chip::default();
        provision(&mut chip, None, 10).unwrap();
        let mut slots = Slots::load(&mut chip).unwrap();
        for counter in 11..15 {
            let record = Record {
                counter,
                ..*slots.record()
            };
            slots.store(&mut chip, record).unwrap();
            let mut rotten = chip.clone();
            rotten.0[slots.live.offset() + 9] ^= 4;
            let found = Slots::load(&mut rotten).unwrap();
            assert_eq!(found.next_counter(), Some(counter + 1));
        }
    }

    #[test]
    fn a_write_that_does_not_read_back_has_failed() {
        struct Forgetful(Chip);
        impl Memory for Forgetful {
            type Error = ();
            fn capacity(&self) -> usize {
                SLOTS_OCTETS
            }
            fn read(&mut self, offset: usize, out: &mut [u8]) -> Result<(), ()> {
                self.0.read(offset, out).map_err(|_| ())
            }
            fn write(&mut self, _: usize, _: &[u8]) -> Result<(), ()> {
                Ok(())
            }
        }
        let mut memory = Forgetful(Chip::default());
        let mut slots = Slots::load(&mut memory).unwrap();
        assert_eq!(slots.store(&mut memory, record(1)), Err(StoreFailed));
        assert_eq!(slots.record(), &Record::default());
        assert_eq!(slots.next_counter(), Some(2), "one value is skipped");
    }

    #[test]
    fn garbage_in_both_slots_is_a_lost_record_and_blank_is_a_new_device() {
        for (fill, expected) in [(0x00, None), (0xFF, None), (0x5A, Some(LoadError::Lost))] {
            let mut chip = ArrayMemory([fill; SLOTS_OCTETS]);
            assert_eq!(Slots::load(&mut chip).err(), expected);
        }
    }
}
