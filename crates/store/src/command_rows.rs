//! Kept commands: what is to be done with a device when it reports next, and what came of it.

use crate::StoreError;

/// Commands of one device that are kept at once, at most.
pub const COMMANDS_OPEN_MAX: usize = 64;

/// Octets that a kept READ or WRITE moves, at most.
pub const COMMAND_DATA_LEN_MAX: usize = 96;

/// A command to be kept.
#[derive(Clone, Copy, Debug)]
pub struct NewCommand<'a> {
    /// Row id of the device.
    pub device: i64,
    /// `read`, `write` or `disable`.
    pub kind: &'a str,
    /// First octet of the device's memory; 0 for `disable`.
    pub offset: u16,
    /// Octets to read, 1 to [`COMMAND_DATA_LEN_MAX`]; 0 for the others.
    pub length: u8,
    /// What to write, 1 to [`COMMAND_DATA_LEN_MAX`] octets; empty for the others.
    pub data: &'a [u8],
    /// When it was made.
    pub made_ms: i64,
    /// From when on it is not given any more.
    pub expires_ms: i64,
}

/// A kept command as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandRow {
    /// Its number, from 1. A device's commands are given in the order of their numbers.
    pub id: i64,
    /// Row id of the device.
    pub device: i64,
    /// Permanent ID of the device.
    pub device_id: Vec<u8>,
    /// `read`, `write` or `disable`.
    pub kind: String,
    /// First octet of the device's memory.
    pub offset: u16,
    /// Octets to read.
    pub length: u8,
    /// What to write.
    pub data: Vec<u8>,
    /// When it was made.
    pub made_ms: i64,
    /// From when on it is not given any more.
    pub expires_ms: i64,
    /// How far it has come.
    pub state: CommandState,
    /// Epoch and TAG1 of the record whose ACCEPT it was last given with.
    pub given_with: Option<(u32, Vec<u8>)>,
    /// When it was last given.
    pub given_ms: Option<i64>,
    /// How often it was given.
    pub times_given: u32,
    /// Why it failed, or why the last try came to nothing.
    pub failure: Option<String>,
    /// What was read.
    pub read: Option<Vec<u8>>,
    /// When it ended.
    pub ended_ms: Option<i64>,
}

impl CommandRow {
    /// Whether it takes its device out of service: a `disable` that is done.
    pub(crate) fn disables_now(&self) -> bool {
        self.kind == "disable" && self.state == CommandState::Done
    }
}

/// How far a kept command has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandState {
    /// Not given yet.
    Kept,
    /// Given, and nothing final has come of it: it is given again with the next report.
    Given,
    /// The device has done it.
    Done,
    /// The device has refused it.
    Failed,
    /// An operator has withdrawn it.
    Withdrawn,
    /// Its time was over.
    Expired,
}

impl CommandState {
    /// All, in the order of their declaration.
    pub const ALL: [Self; 6] = [
        Self::Kept,
        Self::Given,
        Self::Done,
        Self::Failed,
        Self::Withdrawn,
        Self::Expired,
    ];

    /// Its name in the store and everywhere else.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Given => "given",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Withdrawn => "withdrawn",
            Self::Expired => "expired",
        }
    }

    /// Whether it may still be given.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Kept | Self::Given)
    }

    /// Whether the device has answered for good.
    pub const fn has_answer(self) -> bool {
        matches!(self, Self::Done | Self::Failed)
    }

    pub(crate) fn from_name(name: &str) -> Result<Self, StoreError> {
        let found = Self::ALL.into_iter().find(|state| state.name() == name);
        found.ok_or_else(|| StoreError::Corrupt {
            detail: "a command has a state that was never written".into(),
        })
    }
}

/// Which commands to walk; the default is all.
#[derive(Clone, Copy, Debug, Default)]
pub struct CommandFilter {
    /// Only those of the device with this row id.
    pub device: Option<i64>,
    /// Only those that may still be given.
    pub is_open: bool,
}

/// What is to be noted of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandEnd<'a> {
    /// The device has done it. Of a `disable`, in the same transaction, the device is disabled. What the device has done
    /// counts also when the command was withdrawn or has expired since; it must have been given, and what was read be as long as
    /// was asked for.
    Done {
        /// What was read.
        read: Option<&'a [u8]>,
    },
    /// The device has refused it; it must have been given.
    Failed(&'a str),
    /// A try came to nothing; it stays open.
    Tried(&'a str),
    /// An operator withdraws it.
    Withdrawn,
    /// Its time is over.
    Expired,
}

/// What became of that note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandEnded {
    /// It is noted. The command as it is now.
    Now(CommandRow),
    /// It changes nothing: the command has ended before, was not given, or its time is not over. The command as it is.
    Before(CommandRow),
    /// There is no such command.
    Unknown,
}
