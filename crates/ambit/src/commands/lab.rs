//! `ambit lab`: what is claimed of the protocol, tried.

mod models;

use clap::Subcommand;

use crate::failure::Failure;

/// Try what is claimed of the protocol and of this implementation.
#[derive(Subcommand)]
pub(crate) enum Lab {
    Models(models::Models),
}

impl Lab {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Models(command) => command.run(),
        }
    }
}
