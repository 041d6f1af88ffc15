//! Where attacks take place: a network and its devices, as an adversary meets them. The product's own code is one
//! ([`super::real`]), the reference with or without a defence another ([`super::reference`]); the same script runs in both.

use ambit_protocol::wire::{MessageType, peek};
use ambit_protocol::{AreaId, Form, RandN};
use serde::Serialize;

use super::AttackError;

/// A reader's broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beacon {
    /// Where.
    pub area_id: AreaId,
    /// RAND_n.
    pub rand_n: RandN,
}

/// What the network has on record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Books {
    /// Acceptance records.
    pub records: u64,
    /// Of these, events: each is one charge.
    pub events: u64,
    /// Alarms of impersonation written.
    pub alarms: u64,
}

/// A network and its devices.
pub trait Arena {
    /// What a reader broadcasts now.
    fn beacon(&mut self, reader: u16) -> Beacon;

    /// The next epoch begins, and the grace of the one before is over.
    ///
    /// # Errors
    /// The core fails.
    fn next_epoch(&mut self) -> Result<(), AttackError>;

    /// A device hears a beacon and says what it has to say: again what was not accepted, else something new.
    fn speak(&mut self, device: usize, beacon: &Beacon) -> Option<Vec<u8>>;

    /// Octets reach the network by a reader; what it answers.
    ///
    /// # Errors
    /// The core fails.
    fn hear(&mut self, reader: u16, octets: &[u8]) -> Result<Option<Vec<u8>>, AttackError>;

    /// Octets reach a device; whether it believes to have been accepted.
    fn answer(&mut self, device: usize, octets: &[u8]) -> bool;

    /// A device loses its power and gets it back.
    ///
    /// # Errors
    /// It does not start.
    fn power_cycle(&mut self, device: usize) -> Result<(), AttackError>;

    /// False beacons that a device has noticed.
    fn sightings(&self, device: usize) -> u64;

    /// The store is copied.
    ///
    /// # Errors
    /// The store's own.
    fn backup(&mut self) -> Result<(), AttackError>;

    /// The core is killed, and another starts: on the copy if there is one, else on the store as it is.
    ///
    /// # Errors
    /// It does not start.
    fn restart(&mut self) -> Result<(), AttackError>;

    /// What is on record.
    ///
    /// # Errors
    /// The store's own.
    fn books(&mut self) -> Result<Books, AttackError>;
}

/// A message of a sequence diagram.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Who sends.
    pub from: Actor,
    /// Who receives.
    pub to: Actor,
    /// What.
    pub text: String,
}

/// Who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// A device.
    Device,
    /// The adversary.
    Adversary,
    /// Readers and core.
    Network,
}

/// Messages that a diagram shows at most.
const STEPS_MAX: usize = 20;

/// An arena whose messages are written down.
pub struct Recorder<'a> {
    arena: &'a mut dyn Arena,
    steps: Vec<Step>,
    is_quiet: bool,
}

impl<'a> Recorder<'a> {
    /// Nothing written down yet.
    pub const fn new(arena: &'a mut dyn Arena) -> Self {
        Self {
            arena,
            steps: Vec::new(),
            is_quiet: false,
        }
    }

    /// Whether what follows is left out of the diagram: the same again.
    pub const fn quiet(&mut self, is_quiet: bool) {
        self.is_quiet = is_quiet;
    }

    /// The arena, for what needs no writing down.
    pub fn arena(&mut self) -> &mut dyn Arena {
        self.arena
    }

    /// What was written down.
    pub fn into_steps(self) -> Vec<Step> {
        self.steps
    }

    /// A device speaks, and the adversary hears it.
    ///
    /// # Errors
    /// It has nothing to send.
    pub fn speak(&mut self, device: usize, beacon: &Beacon) -> Result<Vec<u8>, AttackError> {
        let octets = self
            .arena
            .speak(device, beacon)
            .ok_or_else(|| AttackError::Scene(format!("device {device} has nothing to send")))?;
        self.note(Actor::Device, Actor::Adversary, &describe(&octets));
        Ok(octets)
    }

    /// The adversary sends something to the network.
    ///
    /// # Errors
    /// The core fails.
    pub fn send(
        &mut self,
        reader: u16,
        octets: &[u8],
        text: &str,
    ) -> Result<Option<Vec<u8>>, AttackError> {
        let answer = self.arena.hear(reader, octets)?;
        self.note(Actor::Adversary, Actor::Network, text);
        match &answer {
            Some(octets) => self.note(Actor::Network, Actor::Adversary, &describe(octets)),
            None => self.note(Actor::Network, Actor::Adversary, "silence"),
        }
        Ok(answer)
    }

    /// The adversary sends something to a device; whether it believes it.
    pub fn give(&mut self, device: usize, octets: &[u8], text: &str) -> bool {
        let believed = self.arena.answer(device, octets);
        self.note(Actor::Adversary, Actor::Device, text);
        let text = if believed { "believed" } else { "ignored" };
        self.note(Actor::Device, Actor::Device, text);
        believed
    }

    /// A report and its ACCEPT, undisturbed; returns both.
    ///
    /// # Errors
    /// It is not accepted.
    pub fn exchange(
        &mut self,
        device: usize,
        reader: u16,
    ) -> Result<(Vec<u8>, Vec<u8>), AttackError> {
        let beacon = self.arena.beacon(reader);
        let report = self.arena.speak(device, &beacon);
        let report = report.ok_or_else(|| AttackError::Scene("nothing to send".into()))?;
        let accept = self.arena.hear(reader, &report)?;
        let accept =
            accept.ok_or_else(|| AttackError::Scene("an honest report is refused".into()))?;
        let text = format!("{}, and its ACCEPT", describe(&report));
        self.note(Actor::Device, Actor::Network, &text);
        match self.arena.answer(device, &accept) {
            true => Ok((report, accept)),
            false => Err(AttackError::Scene("an honest ACCEPT is refused".into())),
        }
    }

    /// Writes a message down, while there is room.
    pub fn note(&mut self, from: Actor, to: Actor, text: &str) {
        if !self.is_quiet && self.steps.len() < STEPS_MAX {
            self.steps.push(Step {
                from,
                to,
                text: text.to_owned(),
            });
        }
    }
}

/// What octets are, for a diagram.
pub fn describe(octets: &[u8]) -> String {
    let name = match peek(octets) {
        Ok((MessageType::Report, form)) => match Form::from_number(form) {
            Some(form) => format!("REPORT {}", form.name()),
            None => "REPORT".into(),
        },
        Ok((MessageType::Accept, _)) => "ACCEPT".into(),
        Ok((MessageType::InventoryResponse, _)) => "INVENTORY RESPONSE".into(),
        Ok((kind, _)) => format!("{kind:?}"),
        Err(_) => "octets".into(),
    };
    format!("{name}, {} octets", octets.len())
}
