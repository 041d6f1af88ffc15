//! What a card keeps through a loss of power.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

/// The non-volatile memory of a card: a few named records, each replaced as a whole.
///
/// `store` returns only once the record is durable; the card answers after that. A record that could not be stored must leave
/// the old one in place.
pub trait CardMemory: Send {
    /// The record in `slot`, or `None` when it was never stored.
    ///
    /// # Errors
    /// [`MemoryError`] when the memory cannot tell.
    fn load(&mut self, slot: Slot) -> Result<Option<Vec<u8>>, MemoryError>;

    /// Replaces the record in `slot`, durably.
    ///
    /// # Errors
    /// [`MemoryError`]; the card then answers 6581 and goes on as if the command had not come.
    fn store(&mut self, slot: Slot, octets: &[u8]) -> Result<(), MemoryError>;
}

/// The records of a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// SEQ per IND (TS 33.102 annex C.2), 8 octets each.
    Sqn,
    /// PINs, their counters and whether they are enabled. Secret.
    Pins,
    /// Contents of an updated EF: file identifiers of its DF (an ADF has 7FF0, 7FF1) and of itself.
    File(u16, u16),
}

/// A memory that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("card memory failed")]
pub struct MemoryError;

/// Memory that is gone with the process.
#[derive(Clone, Debug, Default)]
pub struct VolatileMemory(BTreeMap<Slot, Vec<u8>>);

impl CardMemory for VolatileMemory {
    fn load(&mut self, slot: Slot) -> Result<Option<Vec<u8>>, MemoryError> {
        Ok(self.0.get(&slot).cloned())
    }

    fn store(&mut self, slot: Slot, octets: &[u8]) -> Result<(), MemoryError> {
        self.0.insert(slot, octets.to_vec());
        Ok(())
    }
}

impl<M: CardMemory + ?Sized> CardMemory for Box<M> {
    fn load(&mut self, slot: Slot) -> Result<Option<Vec<u8>>, MemoryError> {
        (**self).load(slot)
    }

    fn store(&mut self, slot: Slot, octets: &[u8]) -> Result<(), MemoryError> {
        (**self).store(slot, octets)
    }
}

/// Records as files of a directory: each is written beside, synchronised, and moved over the old one.
///
/// The files hold PINs. The directory is made with access for its owner only.
#[derive(Debug)]
pub struct DirectoryMemory(PathBuf);

impl DirectoryMemory {
    /// The memory in `directory`, which is made when it is missing.
    ///
    /// # Errors
    /// What making the directory gives.
    pub fn open(directory: impl Into<PathBuf>) -> io::Result<Self> {
        let directory = directory.into();
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.recursive(true).create(&directory)?;
        Ok(Self(directory))
    }

    fn path(&self, slot: Slot) -> PathBuf {
        self.0.join(match slot {
            Slot::Sqn => "sqn".to_owned(),
            Slot::Pins => "pins".to_owned(),
            Slot::File(directory, file) => format!("ef-{directory:04x}-{file:04x}"),
        })
    }

    fn replace(&self, slot: Slot, octets: &[u8]) -> io::Result<()> {
        let path = self.path(slot);
        let beside = path.with_extension("new");
        let mut file = fs::File::create(&beside)?;
        file.write_all(octets)?;
        file.sync_all()?;
        fs::rename(&beside, &path)?;
        fs::File::open(&self.0)?.sync_all()
    }
}

impl CardMemory for DirectoryMemory {
    fn load(&mut self, slot: Slot) -> Result<Option<Vec<u8>>, MemoryError> {
        match fs::read(self.path(slot)) {
            Ok(record) => Ok(Some(record)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(_) => Err(MemoryError),
        }
    }

    fn store(&mut self, slot: Slot, octets: &[u8]) -> Result<(), MemoryError> {
        self.replace(slot, octets).map_err(|_| MemoryError)
    }
}
