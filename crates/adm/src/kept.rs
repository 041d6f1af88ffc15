//! Kept commands: what an operator wants done with a device that cannot be paged now. It is given when the device reports next,
//! with an ACCEPT of status 01 (section 5), and goes on as a command session under the K_AIOTF of that report.
//!
//! The commands are in the store, so any ADM on it gives them. In memory is only which devices may have one; what is given and
//! what has ended is decided by the store each time.
//!
//! A command that was given and not concluded is given again with the next report: at least once. It belongs to the record whose
//! ACCEPT it goes with. The same report again gets the same command again and never another one: under one K_AIOTF there is one
//! command, so recorded answers of the device cannot pass for answers to a later command.

use std::collections::HashSet;
use std::ops::ControlFlow;

use ambit_adm_api::{CommandOutcome, KeptCommand, KeptOperation, NadmError};
use ambit_protocol::{DeviceForm, Form};
use ambit_provisioning::format_device_id;
use ambit_store::{
    CommandEnd, CommandEnded, CommandFilter, CommandRow, CommandState, NewCommand, Store,
    StoreError,
};

use crate::Adm;
use crate::events::{Severity, Subject};

/// How long a command may be kept, in seconds, at most: a year.
pub const LIFETIME_S_MAX: u32 = 366 * 86_400;

/// Devices that may have a command. More than have one: other ADMs give and end commands too.
pub(crate) struct KeptCommands {
    devices: HashSet<i64>,
    /// When the first command of all expires, Unix time in ms.
    expires_ms: i64,
}

/// Why a command is not kept, or cannot be withdrawn. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// No device has this ID.
    #[error("device: no device {0}")]
    UnknownDevice(String),
    /// The device would never be given it.
    #[error("device: {device}: {rule}")]
    Refused {
        /// The device, as text.
        device: String,
        /// Why.
        rule: &'static str,
    },
    /// A field breaks a rule.
    #[error("{field}: {rule}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// The rule.
        rule: &'static str,
    },
    /// Too many wait for this device already.
    #[error("device: {0}: 64 commands wait for it already")]
    TooMany(String),
    /// There is no such command.
    #[error("id: there is no command {0}")]
    UnknownCommand(i64),
    /// It has ended before.
    #[error("id: command {id} is {} already", .state.name())]
    Ended {
        /// The command.
        id: i64,
        /// How it ended.
        state: CommandState,
    },
    /// The store failed.
    #[error("store: {0}")]
    Store(#[from] StoreError),
}

impl KeepError {
    /// The stable name of the error.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::UnknownDevice(_) => "device_unknown",
            Self::Refused { .. } => "command_refused",
            Self::Invalid { .. } => "request_invalid",
            Self::TooMany(_) => "too_many_commands",
            Self::UnknownCommand(_) => "command_unknown",
            Self::Ended { .. } => "command_ended",
            Self::Store(_) => "store_failed",
        }
    }
}

impl KeptCommands {
    /// Reads which devices have commands.
    pub(crate) fn load(store: &mut dyn Store) -> Result<Self, StoreError> {
        let mut kept = Self {
            devices: HashSet::new(),
            expires_ms: i64::MAX,
        };
        let open = CommandFilter {
            device: None,
            is_open: true,
        };
        store.commands_for_each(&open, &mut |row| {
            kept.devices.insert(row.device);
            kept.expires_ms = kept.expires_ms.min(row.expires_ms);
            ControlFlow::Continue(())
        })?;
        Ok(kept)
    }
}

impl Adm {
    /// Keeps one command for each of some devices, all or none, and returns them.
    ///
    /// # Errors
    /// [`KeepError`].
    pub fn keep_commands(
        &mut self,
        device_ids: &[Vec<u8>],
        operation: &KeptOperation,
        lifetime_s: u32,
        now_ms: i64,
    ) -> Result<Vec<CommandRow>, KeepError> {
        let invalid = |(field, rule)| KeepError::Invalid { field, rule };
        operation.check().map_err(invalid)?;
        if !(1..=LIFETIME_S_MAX).contains(&lifetime_s) {
            return Err(invalid(("lifetime_s", "must be 1 to 31622400")));
        }
        self.follow();
        let mut commands = Vec::with_capacity(device_ids.len());
        for device_id in device_ids {
            let device = self.may_be_told(device_id)?;
            let (kind, offset, length, data): (_, _, _, &[u8]) = match operation {
                KeptOperation::Read { offset, length } => ("read", *offset, *length, &[]),
                KeptOperation::Write { offset, data } => ("write", *offset, 0, data),
                KeptOperation::PermanentDisable => ("disable", 0, 0, &[]),
            };
            commands.push(NewCommand {
                device,
                kind,
                offset,
                length,
                data,
                made_ms: now_ms,
                expires_ms: now_ms.saturating_add(i64::from(lifetime_s) * 1000),
            });
        }
        let ids = self
            .store
            .get()
            .commands_keep(&commands)
            .map_err(|error| match error {
                StoreError::TooManyCommands { index } => {
                    let device = device_ids.get(index).map(|id| format_device_id(id));
                    KeepError::TooMany(device.unwrap_or_default())
                }
                other => other.into(),
            })?;
        self.recall_kept()?;
        let mut rows = Vec::with_capacity(ids.len());
        for command in &commands {
            let of_device = CommandFilter {
                device: Some(command.device),
                is_open: false,
            };
            self.store.get().commands_for_each(&of_device, &mut |row| {
                if ids.contains(&row.id) {
                    rows.push(row);
                }
                ControlFlow::Continue(())
            })?;
        }
        rows.sort_unstable_by_key(|row| row.id);
        rows.dedup_by_key(|row| row.id);
        for row in &rows {
            self.say_of_command("command_kept", Severity::Info, row, now_ms);
        }
        self.events.flush(self.store.get(), now_ms);
        Ok(rows)
    }

    /// Withdraws a command. A device that it was given to may be doing it all the same; what it has done is noted also then.
    ///
    /// # Errors
    /// [`KeepError::UnknownCommand`], [`KeepError::Ended`], [`KeepError::Store`].
    pub fn withdraw_command(&mut self, id: i64, now_ms: i64) -> Result<CommandRow, KeepError> {
        match self
            .store
            .get()
            .command_end(id, &CommandEnd::Withdrawn, now_ms)?
        {
            CommandEnded::Now(row) => {
                self.say_of_command("kept_command_withdrawn", Severity::Info, &row, now_ms);
                self.events.flush(self.store.get(), now_ms);
                Ok(row)
            }
            CommandEnded::Before(row) => Err(KeepError::Ended {
                id,
                state: row.state,
            }),
            CommandEnded::Unknown => Err(KeepError::UnknownCommand(id)),
        }
    }

    /// The row id of a device that may report.
    fn may_be_told(&mut self, device_id: &[u8]) -> Result<i64, KeepError> {
        let device = format_device_id(device_id);
        let Some(row) = self.store.get().device(device_id)? else {
            return Err(KeepError::UnknownDevice(device));
        };
        let rule = if row.disabled {
            "is disabled: the network does not answer it"
        } else if row.form == DeviceForm::Dt.name() {
            "only answers pages (form dt): it never reports"
        } else {
            return Ok(row.id);
        };
        Err(KeepError::Refused { device, rule })
    }

    /// Learns again which devices have commands.
    pub(crate) fn recall_kept(&mut self) -> Result<(), StoreError> {
        self.kept = KeptCommands::load(self.store.get())?;
        Ok(())
    }

    /// P2 of the ACCEPT of a new record of this device.
    pub(crate) fn p2_of(&mut self, device: i64, now_ms: i64) -> Vec<u8> {
        if !self.kept.devices.contains(&device) {
            return Vec::new();
        }
        match self.due_commands(device, now_ms) {
            // Status 01.
            Ok(due) if !due.is_empty() => vec![1],
            Ok(_) => {
                self.kept.devices.remove(&device);
                Vec::new()
            }
            // The command waits for another report.
            Err(_) => Vec::new(),
        }
    }

    /// Gives the device of a new record its first command. `None` when none is to be given any more.
    pub(crate) fn give_command(
        &mut self,
        device: i64,
        record: (u32, &[u8]),
        now_ms: i64,
    ) -> Option<KeptCommand> {
        for row in self.due_commands(device, now_ms).ok()? {
            // Another ADM, or an operator, may have been faster.
            if self.store.get().command_give(row.id, record, now_ms).ok()? {
                return to_give(&row);
            }
        }
        None
    }

    /// The command that went out with the ACCEPT of a record, if nothing final has come of it.
    pub(crate) fn command_of(
        &mut self,
        device: i64,
        form: Form,
        (epoch, tag1): (u32, &[u8]),
        now_ms: i64,
    ) -> Option<KeptCommand> {
        let due = self.due_commands(device, now_ms).ok()?;
        let row = due.iter().find(|row| {
            row.given_with.as_ref().is_some_and(|(of, tag)| {
                // The blind form is bound to no epoch.
                tag == tag1 && (*of == epoch || form == Form::Blind)
            })
        });
        row.and_then(to_give)
    }

    /// The commands of a device that may be given now, in the order in which they are.
    fn due_commands(&mut self, device: i64, now_ms: i64) -> Result<Vec<CommandRow>, StoreError> {
        let mut due = Vec::new();
        let open = CommandFilter {
            device: Some(device),
            is_open: true,
        };
        self.store.get().commands_for_each(&open, &mut |row| {
            if row.expires_ms > now_ms {
                due.push(row);
            }
            ControlFlow::Continue(())
        })?;
        Ok(due)
    }

    /// Notes what came of a command, durably.
    pub(crate) fn conclude_kept(
        &mut self,
        now_ms: i64,
        id: i64,
        outcome: &CommandOutcome,
    ) -> Result<(), NadmError> {
        let end = match outcome {
            Ok(read) => CommandEnd::Done {
                read: read.as_deref(),
            },
            Err(failure) if failure.is_final() => CommandEnd::Failed(failure.name()),
            Err(failure) => CommandEnd::Tried(failure.name()),
        };
        let ended = self
            .store
            .get()
            .command_end(id, &end, now_ms)
            .map_err(|error| NadmError::Failed(error.to_string()))?;
        let invalid = |field, rule| Err(NadmError::Invalid { field, rule });
        match ended {
            CommandEnded::Unknown => invalid("id", "must be a command that was given"),
            CommandEnded::Before(row) if row.given_ms.is_none() => {
                invalid("id", "must be a command that was given")
            }
            CommandEnded::Before(row) if outcome.is_ok() && !row.state.has_answer() => {
                invalid("data", "must have the length that was to be read")
            }
            // Said before, or withdrawn meanwhile.
            CommandEnded::Before(_) => Ok(()),
            CommandEnded::Now(row) => {
                self.take_end(&row, now_ms);
                Ok(())
            }
        }
    }

    /// What has ended takes effect in memory and is told.
    fn take_end(&mut self, row: &CommandRow, now_ms: i64) {
        match row.state {
            CommandState::Done => {
                self.say_of_command("kept_command_done", Severity::Info, row, now_ms);
                if row.kind == "disable" {
                    if let Some(index) = self.registry.index_of(row.device) {
                        self.registry.set_disabled(index, true);
                    }
                    self.say_of_device("device_permanently_disabled", &row.device_id, now_ms);
                }
            }
            CommandState::Failed => {
                self.say_of_command("kept_command_failed", Severity::Warning, row, now_ms);
            }
            CommandState::Expired => {
                self.say_of_command("kept_command_expired", Severity::Warning, row, now_ms);
            }
            CommandState::Kept | CommandState::Given | CommandState::Withdrawn => {}
        }
        self.events.flush(self.store.get(), now_ms);
    }

    /// Ends the commands whose time is over. Of several ADMs that do so at once, one says it.
    pub(crate) fn expire_commands(&mut self, now_ms: i64) -> Result<(), StoreError> {
        if now_ms < self.kept.expires_ms {
            return Ok(());
        }
        let mut over = Vec::new();
        let open = CommandFilter {
            device: None,
            is_open: true,
        };
        self.store.get().commands_for_each(&open, &mut |row| {
            if row.expires_ms <= now_ms {
                over.push(row.id);
            }
            ControlFlow::Continue(())
        })?;
        for id in over {
            if let CommandEnded::Now(row) =
                self.store
                    .get()
                    .command_end(id, &CommandEnd::Expired, now_ms)?
            {
                self.take_end(&row, now_ms);
            }
        }
        self.recall_kept()
    }

    fn say_of_command(
        &mut self,
        kind: &'static str,
        severity: Severity,
        row: &CommandRow,
        now_ms: i64,
    ) {
        let subject = Subject {
            device_id: Some(row.device_id.clone().into()),
            ..Subject::default()
        };
        // Names only: nothing in them needs escaping.
        let failure = row
            .failure
            .as_ref()
            .map_or_else(String::new, |failure| format!(",\"failure\":\"{failure}\""));
        let detail = format!(
            "{{\"command\":{},\"kind\":\"{}\"{failure}}}",
            row.id, row.kind
        );
        self.events.raise(kind, severity, subject, detail, now_ms);
    }
}

/// A stored command as an AIOTF gives it.
fn to_give(row: &CommandRow) -> Option<KeptCommand> {
    let operation = match row.kind.as_str() {
        "read" => KeptOperation::Read {
            offset: row.offset,
            length: row.length,
        },
        "write" => KeptOperation::Write {
            offset: row.offset,
            data: row.data.clone(),
        },
        "disable" => KeptOperation::PermanentDisable,
        _ => return None,
    };
    Some(KeptCommand {
        id: row.id,
        operation,
    })
}
