//! A memory that fails, is cut, and rots as the `Memory` trait allows, and outlives its device.

use std::cell::RefCell;
use std::rc::Rc;

use ambit_device::Memory;

#[derive(Clone)]
pub struct Nvm(pub Rc<RefCell<Chip>>);

pub struct Chip {
    pub octets: Vec<u8>,
    /// Octets that may still be written before power is lost.
    pub cut_after: Option<usize>,
    /// Power is lost: nothing works until `revive`.
    pub dead: bool,
    /// Of 100 writes, this many fail in one of the ways a write can fail.
    pub fail_percent: u8,
    /// All reads fail.
    pub unreadable: bool,
    pub written: usize,
    pub dice: fastrand::Rng,
}

#[derive(Debug)]
pub struct Broken;

impl Nvm {
    pub fn new(capacity: usize, seed: u64) -> Self {
        Self(Rc::new(RefCell::new(Chip {
            octets: vec![0xFF; capacity],
            cut_after: None,
            dead: false,
            fail_percent: 0,
            unreadable: false,
            written: 0,
            dice: fastrand::Rng::with_seed(seed),
        })))
    }

    pub fn is_dead(&self) -> bool {
        self.0.borrow().dead
    }

    pub fn revive(&self) {
        let mut chip = self.0.borrow_mut();
        chip.dead = false;
        chip.cut_after = None;
    }

    pub fn octets(&self) -> Vec<u8> {
        self.0.borrow().octets.clone()
    }
}

impl Chip {
    /// `done` octets of the new, one of garbage, then the old.
    fn tear(&mut self, offset: usize, octets: &[u8], done: usize) {
        self.octets[offset..offset + done].copy_from_slice(&octets[..done]);
        if done < octets.len() {
            self.octets[offset + done] = self.dice.u8(..);
        }
    }
}

impl Memory for Nvm {
    type Error = Broken;

    fn capacity(&self) -> usize {
        self.0.borrow().octets.len()
    }

    fn read(&mut self, offset: usize, out: &mut [u8]) -> Result<(), Broken> {
        let chip = self.0.borrow();
        if chip.dead || chip.unreadable {
            return Err(Broken);
        }
        out.copy_from_slice(chip.octets.get(offset..offset + out.len()).ok_or(Broken)?);
        Ok(())
    }

    fn write(&mut self, offset: usize, octets: &[u8]) -> Result<(), Broken> {
        let mut chip = self.0.borrow_mut();
        if chip.dead || offset + octets.len() > chip.octets.len() {
            return Err(Broken);
        }
        if let Some(left) = chip.cut_after {
            if left < octets.len() {
                chip.tear(offset, octets, left);
                chip.dead = true;
                return Err(Broken);
            }
            chip.cut_after = Some(left - octets.len());
        }
        let fail_percent = chip.fail_percent;
        if chip.dice.u8(..100) < fail_percent {
            // Torn anywhere, or carried out in full and reported as failed.
            let done = chip.dice.usize(..=octets.len());
            chip.tear(offset, octets, done);
            return Err(Broken);
        }
        chip.written += octets.len();
        let whole = octets.len();
        chip.tear(offset, octets, whole);
        Ok(())
    }
}
