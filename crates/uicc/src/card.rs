//! An emulated UICC without I/O: [`Card::process`] takes a command APDU and gives response data and status word.
//!
//! File system and commands are those of ETSI TS 102 221 (3GPP TS 31.101), the USIM is that of TS 31.102. Beside it stands an
//! AIoT application ([`AID_AIOT`]) that keeps K on the card: selected, it answers `00 88 00 90 Lc label x` with the 16 octets
//! of PRF(K, label, x), for the labels and lengths of sections 5, 6 and 8 of the protocol text only
//! ([`CONTEXT_AIOT`]). Keys under K_AIOTF (labels 01, 02, 41 to 44) are never computed on the card, so no other caller of
//! the card can make it seal for a device.

mod apdu;
mod authenticate;
mod commands;
mod files;
mod layout;
mod memory;
mod pins;
mod profile;
mod sqn;

pub use apdu::Status;
pub use authenticate::CONTEXT_AIOT;
pub use layout::{AID_AIOT, AID_USIM, EF_AIOT_DEVICE_ID, EF_AIOT_PARAMETERS};
pub use memory::{CardMemory, DirectoryMemory, MemoryError, Slot, VolatileMemory};
pub use pins::Pin;
pub use profile::{Adm, AiotProfile, Profile, SuciProfile};
pub use sqn::SqnPolicy;

use core::fmt;

use zeroize::{Zeroize, Zeroizing};

use apdu::Command;
use files::{Files, Node, ROOT};
use layout::Layout;
use pins::Pins;
use sqn::SqnArray;

/// Answer to reset: T=0, selection by full and partial AID and through EF_DIR, four logical channels, "Ambit".
pub const ATR: [u8; 19] = with_check([
    0x3B, 0x8D, 0x80, 0x1F, 0xC7, 0x80, 0x31, 0xE0, 0x73, 0xBE, 0x21, 0x13, 0x65, b'A', b'm', b'b',
    b'i', b't', 0,
]);

/// Logical channels: the basic one and three more.
const CHANNELS: usize = 4;

/// What a command gives when it does not end in an error.
type Answer = Result<Zeroizing<Vec<u8>>, Status>;
/// A source of unpredictable octets, for the ephemeral keys of a SUCI.
type Random = Box<dyn FnMut(&mut [u8]) + Send>;

/// An emulated card.
pub struct Card<M = VolatileMemory> {
    profile: Profile,
    files: Files,
    usim: Node,
    aiot: Option<Node>,
    pins: Pins,
    sqn: SqnArray,
    memory: M,
    random: Option<Random>,
    channels: [Option<Channel>; CHANNELS],
    /// Response data that GET RESPONSE fetches.
    waiting: Zeroizing<Vec<u8>>,
}

/// The state of a logical channel.
#[derive(Clone, Copy)]
struct Channel {
    directory: Node,
    file: Option<Node>,
    /// Record pointer; 0 is undefined.
    record: usize,
    application: Option<Node>,
}

const FRESH: Channel = Channel {
    directory: ROOT,
    file: None,
    record: 0,
    application: None,
};

impl Card {
    /// A card whose memory is gone with the process.
    pub fn new(profile: Profile) -> Self {
        let Layout { files, usim, aiot } = layout::build(&profile);
        Self::with_parts(profile, files, usim, aiot, VolatileMemory::default())
    }
}

impl<M: CardMemory> Card<M> {
    /// A card that goes on from what `memory` holds.
    ///
    /// # Errors
    /// [`MemoryError`] when the memory fails, or holds a record that does not fit the profile. An SQN array that cannot be
    /// read must not be taken for a new one: the card would accept old challenges.
    pub fn with_memory(profile: Profile, memory: M) -> Result<Self, MemoryError> {
        let Layout { files, usim, aiot } = layout::build(&profile);
        let mut card = Self::with_parts(profile, files, usim, aiot, memory);
        if let Some(record) = card.memory.load(Slot::Sqn)? {
            card.sqn = SqnArray::restored(card.profile.sqn, &record).ok_or(MemoryError)?;
        }
        if let Some(record) = card.memory.load(Slot::Pins)?.map(Zeroizing::new) {
            card.pins
                .restore(&record)
                .then_some(())
                .ok_or(MemoryError)?;
        }
        let slots: Vec<(Node, Slot)> = card
            .files
            .iter()
            .map(|(node, _)| (node, card.slot(node)))
            .collect();
        for (node, slot) in slots {
            if let Some(contents) = card.files.contents_mut(node)
                && let Some(record) = card.memory.load(slot)?
            {
                if record.len() != contents.len() {
                    return Err(MemoryError);
                }
                *contents = record;
            }
        }
        Ok(card)
    }

    fn with_parts(
        profile: Profile,
        files: Files,
        usim: Node,
        aiot: Option<Node>,
        memory: M,
    ) -> Self {
        Self {
            pins: Pins::new(&profile.pin1, &profile.pin2, &profile.adm1.0),
            sqn: SqnArray::new(profile.sqn),
            profile,
            files,
            usim,
            aiot,
            memory,
            random: None,
            channels: [Some(FRESH), None, None, None],
            waiting: Zeroizing::new(Vec::new()),
        }
    }

    /// Gives the card a random source, which concealing on the card needs.
    #[must_use]
    pub fn with_random(mut self, random: impl FnMut(&mut [u8]) + Send + 'static) -> Self {
        self.random = Some(Box::new(random));
        self
    }

    /// Power-on or reset: nothing selected but the MF, no PIN verified. Gives the ATR.
    pub fn reset(&mut self) -> &'static [u8] {
        self.channels = [Some(FRESH), None, None, None];
        self.pins.reset();
        self.waiting.zeroize();
        &ATR
    }

    /// Handles one command APDU; gives response data ‖ SW1 SW2.
    ///
    /// Without Le, response data waits for GET RESPONSE (61XX, T=0); with Le it comes at once (T=1, or a transport that
    /// fetches it). Any octets may be given.
    pub fn process(&mut self, apdu: &[u8]) -> Vec<u8> {
        let reply = Command::parse(apdu).and_then(|command| {
            let is_get_response = command.ins == 0xC0;
            let mut left = std::mem::replace(&mut self.waiting, Zeroizing::new(Vec::new()));
            let data = if is_get_response {
                commands::get_response(&command, &mut left)?
            } else {
                self.dispatch(&command)?
            };
            self.deliver(&command, data, is_get_response)
        });
        match reply {
            Ok((mut data, status)) => {
                data.extend_from_slice(&status.octets());
                std::mem::take(&mut *data)
            }
            Err(status) => status.octets().to_vec(),
        }
    }

    /// Splits response data between this response and GET RESPONSE.
    fn deliver(
        &mut self,
        command: &Command<'_>,
        mut data: Zeroizing<Vec<u8>>,
        is_get_response: bool,
    ) -> Result<(Zeroizing<Vec<u8>>, Status), Status> {
        let may_wait = is_get_response || !command.data.is_empty();
        match command.le {
            _ if data.is_empty() => Ok((data, Status::OK)),
            None if may_wait => {
                self.waiting = data;
                Ok((
                    Zeroizing::new(Vec::new()),
                    Status::waiting(self.waiting.len()),
                ))
            }
            None => Err(Status::wrong_le(data.len())),
            Some(le) if le >= data.len() && (may_wait || le == 256 || le == data.len()) => {
                Ok((data, Status::OK))
            }
            Some(le) if le < data.len() && may_wait => {
                let rest = data.split_off(le);
                self.waiting = Zeroizing::new(rest);
                Ok((data, Status::waiting(self.waiting.len())))
            }
            Some(_) => Err(Status::wrong_le(data.len())),
        }
    }

    fn dispatch(&mut self, command: &Command<'_>) -> Answer {
        let channel = self.channel_of(command.cla)?;
        // The high nibble of CLA: 0 for ISO commands, 8 for those of ETSI and 3GPP (TS 102 221 table 10.5).
        let is_proprietary = command.cla & 0xF0 == 0x80;
        match (is_proprietary, command.ins) {
            (false, 0xA4) => self.select(command, channel),
            (true, 0xF2) => self.status(command, channel),
            (false, 0xB0) => self.read_binary(command, channel),
            (false, 0xD6) => self.update_binary(command, channel),
            (false, 0xB2) => self.read_record(command, channel),
            (false, 0xDC) => self.update_record(command, channel),
            (false, 0x20 | 0x24 | 0x26 | 0x28 | 0x2C) => self.pin(command),
            (false, 0x70) => self.manage_channel(command, channel),
            (false, 0x88) => self.authenticate(command, channel),
            (true, 0x78) => self.get_identity(command, channel),
            // TERMINAL PROFILE and TERMINAL CAPABILITY: taken, and of no consequence here.
            (true, 0x10 | 0xAA) => Ok(Zeroizing::new(Vec::new())),
            (
                _,
                0xA4 | 0xF2 | 0xB0 | 0xD6 | 0xB2 | 0xDC | 0x20 | 0x24 | 0x26 | 0x28 | 0x2C | 0x70
                | 0x88 | 0x78 | 0x10 | 0xAA,
            ) => Err(Status::CLASS_NOT_SUPPORTED),
            _ => Err(Status::INSTRUCTION_NOT_SUPPORTED),
        }
    }

    /// The channel that CLA names (TS 102 221 clause 10.1.1), which must be open.
    fn channel_of(&self, cla: u8) -> Result<usize, Status> {
        match cla {
            0x00..=0x03 | 0x80..=0x83 => {}
            // Channels 4 to 19.
            0x40..=0x7F | 0xC0..=0xFE => return Err(Status::CHANNEL_NOT_SUPPORTED),
            0x04..=0x0F | 0x84..=0x8F => return Err(Status::SECURE_MESSAGING_NOT_SUPPORTED),
            _ => return Err(Status::CLASS_NOT_SUPPORTED),
        }
        let number = usize::from(cla & 3);
        match self.channels.get(number) {
            Some(Some(_)) => Ok(number),
            _ => Err(Status::CHANNEL_NOT_SUPPORTED),
        }
    }

    fn channel(&mut self, number: usize) -> Result<&mut Channel, Status> {
        let channel = self.channels.get_mut(number).and_then(Option::as_mut);
        channel.ok_or(Status::CHANNEL_NOT_SUPPORTED)
    }

    /// Where an EF is kept in the card's memory.
    fn slot(&self, node: Node) -> Slot {
        let fid = |node| self.files.get(node).map_or(0, |file| file.fid);
        let parent = self.files.get(node).map_or(ROOT, |file| file.parent);
        Slot::File(fid(parent), fid(node))
    }
}

impl<M> fmt::Debug for Card<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Card({}, ..)", self.profile.iccid)
    }
}

/// Sets the last octet, TCK: the xor of all from T0 on comes to 0.
#[allow(clippy::indexing_slicing)] // Evaluated when compiled.
const fn with_check(mut atr: [u8; 19]) -> [u8; 19] {
    let mut check = 0;
    let mut at = 1;
    while at < 18 {
        check ^= atr[at];
        at += 1;
    }
    atr[18] = check;
    atr
}

#[cfg(test)]
mod tests;
