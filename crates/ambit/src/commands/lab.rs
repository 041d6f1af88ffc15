//! `ambit lab`: what is claimed of the protocol, tried.

mod attack;
mod compare;
mod models;

use clap::Subcommand;

use crate::failure::Failure;

/// Try what is claimed of the protocol and of this implementation.
#[derive(Subcommand)]
pub(crate) enum Lab {
    Attack(attack::Attack),
    Compare(compare::Compare),
    Models(models::Models),
}

impl Lab {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Attack(command) => command.run(),
            Self::Compare(command) => command.run(),
            Self::Models(command) => command.run(),
        }
    }
}
