//! One command session (section 8): the commands that are still to be given to one device, and what it has said. The AIOTF
//! holds the K_AIOTF of this exchange, and nothing else of the device's.

use std::collections::VecDeque;

use ambit_adm_api::{AcceptPdu, FollowOn, KeptOperation, SessionKey};
use ambit_protocol::TagLen;
use ambit_protocol::session::Session;
use ambit_protocol::wire::{Command, CommandResult, Response};

use crate::service::{DeviceFailure, DevicePlace, Operation};

/// Octets that one READ or WRITE moves at most: what fits a D2R block of 125 octets with the longest tag, and a little less.
const PIECE_OCTETS: u8 = 96;

/// How often a command is given before the device is given up.
const TRIES_MAX: u8 = 3;

/// A SESSION PDU, at most.
const PDU_OCTETS_MAX: usize = 125;

/// A session with one device.
pub(crate) struct CommandSession {
    pub(crate) device_id: Box<[u8]>,
    pub(crate) place: DevicePlace,
    pub(crate) correlation: u16,
    /// When it is given up if nothing more is heard, Unix time in ms.
    pub(crate) until_ms: i64,
    session: Session,
    tag_len: TagLen,
    /// The command that is under way first.
    steps: VecDeque<Step>,
    tries: u8,
    read: Option<Vec<u8>>,
    is_disabling: bool,
    /// The operation has ended; at most a RELEASE is left.
    is_concluded: bool,
    /// The ACCEPT that it follows, if it follows one.
    accept: Option<AcceptPdu>,
    /// COMMAND REQUESTs that the gNB has not ended, in the order in which they went out; it ends them in that order.
    out: VecDeque<Sent>,
}

/// What a COMMAND REQUEST carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// The ACCEPT before the session. No answer is due to it.
    Accept,
    /// A command.
    Command,
}

/// One command.
enum Step {
    Read { offset: u16, length: u8 },
    Write { offset: u16, data: Vec<u8> },
    Disable,
    Release,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Hand this PDU to the device; its answer has at most so many octets.
    Send(Vec<u8>, u16),
    /// The operation is done or has failed. The session may have a RELEASE to give.
    Finished(Finished),
    /// Nothing: something else is awaited.
    Wait,
    /// The session is over.
    Over,
}

/// How the operation ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Finished {
    Done {
        data: Option<Vec<u8>>,
        has_disabled: bool,
    },
    Failed(DeviceFailure),
}

impl CommandSession {
    /// `None` for an operation that has no command.
    pub(crate) fn new(
        device_id: Box<[u8]>,
        place: DevicePlace,
        correlation: u16,
        key: &SessionKey,
        operation: &Operation,
    ) -> Option<Self> {
        let steps = steps(operation)?;
        Some(Self {
            device_id,
            place,
            correlation,
            until_ms: i64::MAX,
            session: Session::new(key.suite, &key.k_aiotf, key.tag_len),
            tag_len: key.tag_len,
            steps,
            tries: 0,
            read: matches!(operation, Operation::Read { .. }).then(Vec::new),
            is_disabling: *operation == Operation::PermanentDisable,
            is_concluded: false,
            accept: None,
            out: VecDeque::new(),
        })
    }

    /// The session that follows an ACCEPT with status 01. Its first command goes out when the gNB has ended the exchange of
    /// the ACCEPT.
    pub(crate) fn after_accept(
        accept: AcceptPdu,
        follow_on: FollowOn,
        place: DevicePlace,
        correlation: u16,
    ) -> Self {
        let FollowOn {
            device_id,
            key,
            command,
        } = follow_on;
        let operation = command.map(|command| command.operation);
        let is_read = matches!(operation, Some(KeptOperation::Read { .. }));
        let is_disabling = operation == Some(KeptOperation::PermanentDisable);
        let is_concluded = operation.is_none();
        Self {
            device_id,
            place,
            correlation,
            until_ms: i64::MAX,
            session: Session::new(key.suite, &key.k_aiotf, key.tag_len),
            tag_len: key.tag_len,
            steps: kept_steps(operation),
            tries: 0,
            read: is_read.then(Vec::new),
            is_disabling,
            is_concluded,
            accept: Some(accept),
            out: VecDeque::new(),
        }
    }

    /// Whether it follows this very ACCEPT, and so has the same keys.
    pub(crate) fn follows(&self, accept: &AcceptPdu) -> bool {
        let own = self.accept.as_ref();
        own.is_some_and(|own| own.as_slice() == accept.as_slice())
    }

    /// The ACCEPT is to go out, for the first time or once more. False when it is on its way already.
    pub(crate) fn note_accept(&mut self) -> bool {
        let is_new = !self.out.contains(&Sent::Accept);
        if is_new {
            self.out.push_back(Sent::Accept);
        }
        is_new
    }

    /// The gNB has ended the COMMAND REQUEST that went out first.
    pub(crate) fn end_first(&mut self) -> Sent {
        self.out.pop_front().unwrap_or(Sent::Command)
    }

    /// What to do when nothing that verifies came of what was sent.
    pub(crate) fn resume(&mut self, after: Sent) -> Next {
        match after {
            // The command behind it is under way.
            Sent::Accept if self.tries > 0 => Next::Wait,
            Sent::Accept | Sent::Command => self.send(),
        }
    }

    /// The command under way, sealed under the next COUNT. A device obeys a COUNT once: a command that is given again after its
    /// answer was lost is obeyed again, which does no harm to any of them.
    pub(crate) fn send(&mut self) -> Next {
        let Some(step) = self.steps.front() else {
            return Next::Over;
        };
        if self.tries >= TRIES_MAX {
            return self.give_up(DeviceFailure::NoAnswer);
        }
        self.tries += 1;
        let (mut text, mut octets) = ([0; PDU_OCTETS_MAX], [0; PDU_OCTETS_MAX]);
        let answer = match step {
            Step::Read { length, .. } => u16::from(*length),
            Step::Write { .. } | Step::Disable | Step::Release => 0,
        };
        let sealed = step.command().emit(&mut text).ok().and_then(|len| {
            let text = text.get(..len)?;
            self.session.seal_down(text, &mut octets).ok()
        });
        match sealed.and_then(|len| octets.get(..len)) {
            // Header, COUNT, code, result, data, tag.
            Some(octets) => {
                self.out.push_back(Sent::Command);
                Next::Send(octets.to_vec(), 4 + answer + self.tag_len.octets() as u16)
            }
            // All COUNTs are used.
            None => self.give_up(DeviceFailure::NoAnswer),
        }
    }

    /// The device's answer. `Err` names one that does not verify or does not belong to the command; the command is then given
    /// again.
    pub(crate) fn take(&mut self, nas: &[u8]) -> Result<Next, &'static str> {
        let text = self.session.open_up(nas).map_err(|error| error.name())?;
        let response = Response::parse(text.octets()).map_err(|error| error.name())?;
        let Some(step) = self.steps.front() else {
            return Ok(Next::Over);
        };
        if response.code != step.command().code() {
            return Err("session_code_mismatch");
        }
        let is_release = matches!(step, Step::Release);
        match (response.result, step) {
            (CommandResult::Ok, Step::Read { length, .. })
                if response.data.len() != usize::from(*length) =>
            {
                return Err("session_length_mismatch");
            }
            (CommandResult::Ok, _) => {}
            (_, Step::Release) => return Ok(Next::Over),
            (result, _) => return Ok(self.give_up(failure(result))),
        }
        if let Some(read) = &mut self.read
            && !is_release
        {
            read.extend_from_slice(response.data);
        }
        self.steps.pop_front();
        self.tries = 0;
        Ok(match self.steps.front() {
            None if is_release => Next::Over,
            None | Some(Step::Release) => {
                self.is_concluded = true;
                Next::Finished(Finished::Done {
                    data: self.read.take(),
                    has_disabled: self.is_disabling,
                })
            }
            Some(_) => self.send(),
        })
    }

    /// The device cannot be reached any more.
    pub(crate) fn abandon(&mut self) -> Next {
        self.give_up(DeviceFailure::NoAnswer)
    }

    /// Ends the operation. A device that does not answer is not told to release either.
    fn give_up(&mut self, failure: DeviceFailure) -> Next {
        self.steps.clear();
        if self.is_concluded {
            return Next::Over;
        }
        self.is_concluded = true;
        if failure != DeviceFailure::NoAnswer {
            self.steps.push_back(Step::Release);
            self.tries = 0;
        }
        Next::Finished(Finished::Failed(failure))
    }
}

impl Step {
    fn command(&self) -> Command<'_> {
        match self {
            Self::Read { offset, length } => Command::Read {
                offset: *offset,
                length: *length,
            },
            Self::Write { offset, data } => Command::Write {
                offset: *offset,
                data,
            },
            Self::Disable => Command::PermanentDisable,
            Self::Release => Command::Release,
        }
    }
}

/// The commands of an operation.
///
/// A device's answer says which kind of command it answers, not which one. Where a command was given again, the device may have
/// answered twice, and the second answer must not pass for that to the next command: so no two pieces of a READ that follow each
/// other are equally long, and a READ stands between two pieces of a WRITE. What comes later than that is refused by its COUNT.
fn steps(operation: &Operation) -> Option<VecDeque<Step>> {
    let mut steps = VecDeque::new();
    match operation {
        Operation::Inventory => return None,
        Operation::PermanentDisable => {
            // A disabled device hears no RELEASE.
            return Some(VecDeque::from([Step::Disable]));
        }
        Operation::Read { offset, length } => {
            let (mut at, mut left, mut before) = (*offset, *length, 0);
            while left > 0 {
                let mut piece = left.min(PIECE_OCTETS.into());
                if piece == before {
                    piece -= 1;
                }
                steps.push_back(Step::Read {
                    offset: at,
                    length: u8::try_from(piece).unwrap_or(PIECE_OCTETS),
                });
                at = at.saturating_add(piece);
                left -= piece;
                before = piece;
            }
        }
        Operation::Write { offset, data } => {
            let mut at = *offset;
            for piece in data.chunks(PIECE_OCTETS.into()) {
                if !steps.is_empty() {
                    let (offset, length) = (at.saturating_sub(1), 1);
                    steps.push_back(Step::Read { offset, length });
                }
                steps.push_back(Step::Write {
                    offset: at,
                    data: piece.to_vec(),
                });
                at = at.saturating_add(PIECE_OCTETS.into());
            }
        }
    }
    steps.push_back(Step::Release);
    Some(steps)
}

/// The commands of a session that follows an ACCEPT.
fn kept_steps(operation: Option<KeptOperation>) -> VecDeque<Step> {
    let first = match operation {
        None => None,
        // A disabled device hears no RELEASE.
        Some(KeptOperation::PermanentDisable) => return VecDeque::from([Step::Disable]),
        Some(KeptOperation::Read { offset, length }) => Some(Step::Read { offset, length }),
        Some(KeptOperation::Write { offset, data }) => Some(Step::Write { offset, data }),
    };
    first.into_iter().chain([Step::Release]).collect()
}

const fn failure(result: CommandResult) -> DeviceFailure {
    match result {
        CommandResult::BadParameters => DeviceFailure::ParametersInvalid,
        CommandResult::LowEnergy => DeviceFailure::LowEnergy,
        CommandResult::NotSupported | CommandResult::Ok => DeviceFailure::NotImplemented,
    }
}
