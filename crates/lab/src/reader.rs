//! The emulated card of crate `uicc` in a card reader of the lab: APDUs really exchanged through the terminal, counted, and
//! spoiled on demand.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ambit_device::{Credential, Uicc};
use ambit_protocol::{RootKey, Suite, TagLen};
use ambit_uicc::card::{AiotProfile, CardMemory, MemoryError, Slot, VolatileMemory};
use ambit_uicc::suci::Imsi;
use ambit_uicc::terminal::{AiotSlot, Transport, TransportError, UsimSlot};
use ambit_uicc::{Card, Profile, Subscriber};

/// What becomes of an answer: it is given the command APDU and what the card answered.
pub type Fault = Box<dyn FnMut(&[u8], Vec<u8>) -> Result<Vec<u8>, TransportError> + Send>;

/// A reader with a card in it. Clones are handles to one and the same reader.
#[derive(Clone)]
pub struct CardReader(Arc<Mutex<Reader>>);

struct Reader {
    card: Option<Box<Card<CountedMemory>>>,
    /// The present connection. What connected before it finds the card removed.
    connection: u64,
    fault: Option<Fault>,
    work: CardWork,
    /// Ephemeral keys that the device drew for SUCIs.
    drawn: Arc<AtomicU64>,
    writes: Arc<AtomicU64>,
    /// Writes that are to fail.
    failing: Arc<AtomicU64>,
}

/// What passed between a device and its card, and what the card did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CardWork {
    /// Connections, each of which resets the card.
    pub resets: u64,
    /// Command APDUs.
    pub apdus: u64,
    /// Their octets.
    pub octets_in: u64,
    /// Octets of the answers.
    pub octets_out: u64,
    /// AUTHENTICATE commands among them.
    pub authenticates: u64,
    /// Durable writes of the card's memory.
    pub writes: u64,
    /// Ephemeral keys that the device drew to conceal the SUPI.
    pub ephemeral_keys: u64,
}

impl CardReader {
    /// A reader with a new card.
    pub fn new(profile: Profile) -> Self {
        let (writes, failing) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let memory = CountedMemory {
            memory: VolatileMemory::default(),
            writes: Arc::clone(&writes),
            failing: Arc::clone(&failing),
        };
        // For SUCIs that the card conceals: another source for each card, the same in each run.
        let seed = profile.iccid.bytes().fold(0u64, |seed, digit| {
            seed.wrapping_mul(31).wrapping_add(digit.into())
        });
        let mut random = fastrand::Rng::with_seed(seed);
        // A memory that is empty and in RAM gives nothing that could be wrong.
        let card = Card::with_memory(profile, memory).ok();
        let card = card.map(|card| Box::new(card.with_random(move |out| random.fill(out))));
        Self(Arc::new(Mutex::new(Reader {
            card,
            connection: 0,
            fault: None,
            work: CardWork::default(),
            drawn: Arc::default(),
            writes,
            failing,
        })))
    }

    /// A reader with a card whose AIoT application has this K (and a USIM of no network).
    ///
    /// # Errors
    /// The rule that an emulated card's IMSI breaks: none, as it is a constant.
    pub fn with_aiot(
        k: RootKey,
        suite: Suite,
        tag_len: TagLen,
        device_id: &[u8],
    ) -> Result<Self, ambit_uicc::SuciError> {
        let imsi = Imsi::from_digits("001010000000000", 2)?;
        let mut profile = Profile::new(
            "89001012345678901234",
            imsi,
            Subscriber::milenage(&[0; 16], &[0; 16]),
        );
        profile.aiot = Some(AiotProfile {
            k,
            suite,
            tag_len: u8::try_from(tag_len.octets()).unwrap_or_default(),
            device_id: device_id.to_vec(),
        });
        Ok(Self::new(profile))
    }

    /// The card's AIoT application as a device's credential.
    pub fn aiot(&self, suite: Suite, tag_len: TagLen) -> impl Credential + Send + use<> {
        let reader = self.clone();
        AiotSlot::new(move || reader.connect(), suite, tag_len)
    }

    /// The card's USIM as a device's UICC. SUCIs that the device conceals come from a source of this seed.
    pub fn usim(&self, seed: u64) -> impl Uicc + Send + use<> {
        let (reader, drawn) = (self.clone(), Arc::clone(&self.lock().drawn));
        let mut seed = fastrand::Rng::with_seed(seed);
        let random = move || {
            let (mut random, drawn) = (seed.fork(), Arc::clone(&drawn));
            move |out: &mut [u8]| {
                drawn.fetch_add(1, Ordering::Relaxed);
                random.fill(out);
            }
        };
        UsimSlot::new(move || reader.connect(), random)
    }

    /// A connection to the card, which is reset.
    ///
    /// # Errors
    /// [`TransportError::Removed`].
    pub fn connect(&self) -> Result<Contact, TransportError> {
        let mut reader = self.lock();
        let card = reader.card.as_mut().ok_or(TransportError::Removed)?;
        card.reset();
        reader.connection += 1;
        reader.work.resets += 1;
        let connection = reader.connection;
        drop(reader);
        Ok(Contact {
            reader: self.clone(),
            connection,
        })
    }

    /// Exchanges the cards of two readers, as taking both out and putting them in does.
    pub fn swap(&self, other: &Self) {
        if Arc::ptr_eq(&self.0, &other.0) {
            return;
        }
        let taken = self.take();
        let other_card = other.take();
        self.put(other_card);
        other.put(taken);
    }

    /// Takes the card out; [`CardReader::put`] puts one in.
    pub fn take(&self) -> Option<Box<Card<CountedMemory>>> {
        let mut reader = self.lock();
        reader.connection += 1;
        reader.card.take()
    }

    /// Puts a card in.
    pub fn put(&self, card: Option<Box<Card<CountedMemory>>>) {
        self.lock().card = card;
    }

    /// Lets answers be spoiled from now on, or no longer.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.lock().fault = fault;
    }

    /// Lets the card's memory fail at its next so many writes: the card answers 6581 and goes on as if the command had not come.
    pub fn fail_writes(&self, count: u64) {
        self.lock().failing.store(count, Ordering::Relaxed);
    }

    /// What was done so far.
    pub fn work(&self) -> CardWork {
        let reader = self.lock();
        CardWork {
            writes: reader.writes.load(Ordering::Relaxed),
            ephemeral_keys: reader.drawn.load(Ordering::Relaxed),
            ..reader.work
        }
    }

    fn lock(&self) -> MutexGuard<'_, Reader> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection to the card of a reader.
pub struct Contact {
    reader: CardReader,
    connection: u64,
}

impl Transport for Contact {
    fn transmit(&mut self, apdu: &[u8], response: &mut Vec<u8>) -> Result<(), TransportError> {
        let mut reader = self.reader.lock();
        if reader.connection != self.connection {
            return Err(TransportError::Removed);
        }
        let card = reader.card.as_mut().ok_or(TransportError::Removed)?;
        let mut answer = card.process(apdu);
        reader.work.apdus += 1;
        reader.work.octets_in += apdu.len() as u64;
        reader.work.octets_out += answer.len() as u64;
        reader.work.authenticates += u64::from(apdu.get(1) == Some(&0x88));
        if let Some(fault) = &mut reader.fault {
            answer = fault(apdu, answer)?;
        }
        *response = answer;
        Ok(())
    }
}

/// A card's memory that counts what is written, and fails on demand.
#[derive(Debug)]
pub struct CountedMemory {
    memory: VolatileMemory,
    writes: Arc<AtomicU64>,
    failing: Arc<AtomicU64>,
}

impl CardMemory for CountedMemory {
    fn load(&mut self, slot: Slot) -> Result<Option<Vec<u8>>, MemoryError> {
        self.memory.load(slot)
    }

    fn store(&mut self, slot: Slot, octets: &[u8]) -> Result<(), MemoryError> {
        let failing = self.failing.load(Ordering::Relaxed);
        if let Some(left) = failing.checked_sub(1) {
            self.failing.store(left, Ordering::Relaxed);
            return Err(MemoryError);
        }
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.memory.store(slot, octets)
    }
}
