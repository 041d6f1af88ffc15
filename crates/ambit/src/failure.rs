//! How a command fails: an exit code that scripts can tell apart and a message for people.

use std::fmt::Display;
use std::io;
use std::process::ExitCode;

use ambit_adm::{KeepError, OpenError, ProvisionError};
use ambit_provisioning::{BatchError, CsvErrors};
use ambit_store::StoreError;
use serde::{Deserialize, Serialize};

/// A failed command.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// Exit code: 1, 3 or 4.
    pub(crate) exit: u8,
    /// Stable name of the error.
    pub(crate) name: String,
    /// What happened, naming the field and the rule.
    pub(crate) message: String,
}

impl Failure {
    /// Exit 1: the command did its work, and the answer is no.
    pub(crate) fn negative(name: &str, message: impl Display) -> Self {
        Self::new(1, name, message)
    }

    /// Exit 3: the input was refused.
    pub(crate) fn input(name: &str, message: impl Display) -> Self {
        Self::new(3, name, message)
    }

    /// Exit 4: something needed cannot be used.
    pub(crate) fn resource(name: &str, message: impl Display) -> Self {
        Self::new(4, name, message)
    }

    /// Exit 4 for a failed operation on a named thing.
    pub(crate) fn io(what: impl Display, error: &io::Error) -> Self {
        Self::resource("io", format!("{what}: {error}"))
    }

    /// Whether what was asked for may have been done all the same: the core went away before it said so.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.name == "admin_socket"
    }

    fn new(exit: u8, name: &str, message: impl Display) -> Self {
        Self {
            exit,
            name: name.to_owned(),
            message: message.to_string(),
        }
    }

    /// Prints the message to standard error and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        for line in self.message.lines() {
            eprintln!("ambit: {line}");
        }
        ExitCode::from(self.exit)
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        match &error {
            OpenError::Config { .. } => Self::input(error.name(), &error),
            OpenError::Store(store) => Self::resource(store.name(), &error),
            _ => Self::resource(error.name(), &error),
        }
    }
}

impl From<ProvisionError> for Failure {
    fn from(error: ProvisionError) -> Self {
        match error {
            ProvisionError::Adm(error) => error.into(),
            error => Self::input(error.name(), &error),
        }
    }
}

impl From<KeepError> for Failure {
    fn from(error: KeepError) -> Self {
        match error {
            KeepError::Store(error) => error.into(),
            error => Self::input(error.name(), &error),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::resource(error.name(), format!("store: {error}"))
    }
}

impl From<CsvErrors> for Failure {
    fn from(errors: CsvErrors) -> Self {
        Self::input("csv_refused", format!("nothing was imported\n{errors}"))
    }
}

impl From<BatchError> for Failure {
    fn from(error: BatchError) -> Self {
        match error {
            BatchError::Csv(errors) => {
                Self::input("csv_refused", format!("nothing was made\n{errors}"))
            }
            error @ BatchError::Random(_) => Self::resource("entropy_failed", error),
        }
    }
}
