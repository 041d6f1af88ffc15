//! PINs and ADM keys (ETSI TS 102 221 clauses 9.4, 9.5 and 11.1.9 to 11.1.13).

use core::fmt;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::apdu::{Command, Status};

const TRIES_MAX: u8 = 3;
const PUK_TRIES_MAX: u8 = 10;

/// A key reference (TS 102 221 table 9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyReference {
    Pin1 = 0x01,
    Pin2 = 0x81,
    Adm1 = 0x0A,
}

/// A PIN and what unblocks it, as the card maker sets them: ASCII digits, filled up with FF. Wiped on drop, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Pin {
    /// The PIN.
    pub value: [u8; 8],
    /// The unblocking key (PUK).
    pub puk: [u8; 8],
    /// Whether the card asks for it. Headless devices have it disabled.
    pub enabled: bool,
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pin(enabled: {}, ..)", self.enabled)
    }
}

#[derive(Clone, Zeroize, ZeroizeOnDrop)]
struct Entry {
    pin: Pin,
    tries: u8,
    puk_tries: u8,
    verified: bool,
}

/// PIN1, PIN2 and ADM1 with their counters. What is verified is so until the next reset.
#[derive(Clone)]
pub(super) struct Pins([Entry; 3]);

/// Octets of an entry in the stored record.
const ENTRY_LEN: usize = 19;

impl Pins {
    pub(super) fn new(pin1: &Pin, pin2: &Pin, adm1: &[u8; 8]) -> Self {
        let entry = |pin: &Pin| Entry {
            pin: pin.clone(),
            tries: TRIES_MAX,
            puk_tries: PUK_TRIES_MAX,
            verified: false,
        };
        let adm = Pin {
            value: *adm1,
            puk: [0; 8],
            enabled: true,
        };
        let mut adm = entry(&adm);
        adm.puk_tries = 0;
        Self([entry(pin1), entry(pin2), adm])
    }

    /// Whether what `key` guards is open.
    pub(super) fn satisfied(&self, key: KeyReference) -> bool {
        let entry = self.entry(key);
        entry.verified || !entry.pin.enabled
    }

    pub(super) fn enabled(&self, key: KeyReference) -> bool {
        self.entry(key).pin.enabled
    }

    pub(super) fn reset(&mut self) {
        for entry in &mut self.0 {
            entry.verified = false;
        }
    }

    /// VERIFY (INS 20), CHANGE (24), DISABLE (26), ENABLE (28) and UNBLOCK PIN (2C).
    ///
    /// Counters go through `store` before anything is compared, so that cutting the power does not give a try back.
    pub(super) fn command(
        &mut self,
        command: &Command<'_>,
        store: &mut dyn FnMut(&[u8]) -> Result<(), Status>,
    ) -> Result<(), Status> {
        if command.p1 != 0 {
            return Err(Status::INCORRECT_PARAMETERS);
        }
        let key = match command.p2 {
            0x01 => KeyReference::Pin1,
            0x81 => KeyReference::Pin2,
            0x0A => KeyReference::Adm1,
            _ => return Err(Status::REFERENCED_DATA_NOT_FOUND),
        };
        let by_puk = command.ins == 0x2C;
        if command.data.is_empty() && matches!(command.ins, 0x20 | 0x2C) {
            return self.query(key, by_puk);
        }
        let (given, new) = operands(command)?;
        let entry = self.entry(key);
        let may_be_changed = key != KeyReference::Adm1;
        match command.ins {
            0x20 | 0x24 | 0x26 if !entry.pin.enabled => {
                return Err(Status::REFERENCED_DATA_INVALIDATED);
            }
            0x28 if entry.pin.enabled => return Err(Status::REFERENCED_DATA_INVALIDATED),
            0x26 | 0x28 | 0x2C if !may_be_changed => return Err(Status::FUNCTION_NOT_SUPPORTED),
            _ => {}
        }
        let tries = if by_puk { entry.puk_tries } else { entry.tries };
        if tries == 0 {
            return Err(Status::PIN_BLOCKED);
        }
        if new.is_some_and(|new| may_be_changed && !is_pin(new)) {
            return Err(Status::INCORRECT_DATA);
        }

        // One try less, durably; then compare.
        let mut next = self.clone();
        *next.entry_mut(key).counter(by_puk) = tries - 1;
        store(&next.record())?;
        *self = next;
        let entry = self.entry(key);
        let expected = if by_puk {
            &entry.pin.puk
        } else {
            &entry.pin.value
        };
        if !bool::from(expected.ct_eq(given)) {
            self.entry_mut(key).verified = false;
            return Err(Status::tries_left(tries - 1));
        }

        let mut next = self.clone();
        let entry = next.entry_mut(key);
        *entry.counter(by_puk) = if by_puk { PUK_TRIES_MAX } else { TRIES_MAX };
        entry.verified = true;
        match command.ins {
            0x26 => entry.pin.enabled = false,
            0x28 => entry.pin.enabled = true,
            0x2C => {
                entry.tries = TRIES_MAX;
                entry.pin.enabled = true;
            }
            _ => {}
        }
        if let Some(new) = new {
            entry.pin.value = *new;
        }
        store(&next.record())?;
        *self = next;
        Ok(())
    }

    /// What an empty VERIFY or UNBLOCK asks: the tries left.
    fn query(&self, key: KeyReference, by_puk: bool) -> Result<(), Status> {
        let entry = self.entry(key);
        let tries = if by_puk { entry.puk_tries } else { entry.tries };
        match tries {
            0 => Err(Status::PIN_BLOCKED),
            tries => Err(Status::tries_left(tries)),
        }
    }

    pub(super) fn record(&self) -> Zeroizing<Vec<u8>> {
        let mut record = Zeroizing::new(Vec::with_capacity(3 * ENTRY_LEN));
        for entry in &self.0 {
            record.extend_from_slice(&entry.pin.value);
            record.extend_from_slice(&entry.pin.puk);
            record.extend_from_slice(&[u8::from(entry.pin.enabled), entry.tries, entry.puk_tries]);
        }
        record
    }

    /// Takes over a stored record; `false` when it is of another form.
    pub(super) fn restore(&mut self, record: &[u8]) -> bool {
        let (stored, rest) = record.as_chunks::<ENTRY_LEN>();
        if stored.len() != self.0.len() || !rest.is_empty() {
            return false;
        }
        for (entry, stored) in self.0.iter_mut().zip(stored) {
            let (value, stored) = stored.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
            let (puk, stored) = stored.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
            entry.pin.value = *value;
            entry.pin.puk = *puk;
            if let [enabled, tries, puk_tries] = stored {
                entry.pin.enabled = *enabled != 0;
                entry.tries = *tries;
                entry.puk_tries = *puk_tries;
            }
        }
        true
    }

    const fn entry(&self, key: KeyReference) -> &Entry {
        let [pin1, pin2, adm1] = &self.0;
        match key {
            KeyReference::Pin1 => pin1,
            KeyReference::Pin2 => pin2,
            KeyReference::Adm1 => adm1,
        }
    }

    const fn entry_mut(&mut self, key: KeyReference) -> &mut Entry {
        let [pin1, pin2, adm1] = &mut self.0;
        match key {
            KeyReference::Pin1 => pin1,
            KeyReference::Pin2 => pin2,
            KeyReference::Adm1 => adm1,
        }
    }
}

impl Entry {
    const fn counter(&mut self, by_puk: bool) -> &mut u8 {
        if by_puk {
            &mut self.puk_tries
        } else {
            &mut self.tries
        }
    }
}

/// The value to compare and, for CHANGE and UNBLOCK, the new PIN.
fn operands<'a>(command: &Command<'a>) -> Result<(&'a [u8; 8], Option<&'a [u8; 8]>), Status> {
    let (given, new) = command
        .data
        .split_first_chunk::<8>()
        .ok_or(Status::WRONG_LENGTH)?;
    let takes_two = matches!(command.ins, 0x24 | 0x2C);
    match (takes_two, new) {
        (false, []) => Ok((given, None)),
        (true, new) => Ok((
            given,
            Some(new.try_into().map_err(|_| Status::WRONG_LENGTH)?),
        )),
        _ => Err(Status::WRONG_LENGTH),
    }
}

/// 4 to 8 ASCII digits, filled up with FF (TS 102 221 clause 9.5.1).
fn is_pin(octets: &[u8; 8]) -> bool {
    let digits = octets.iter().take_while(|c| c.is_ascii_digit()).count();
    digits >= 4 && octets.iter().skip(digits).all(|c| *c == 0xFF)
}
