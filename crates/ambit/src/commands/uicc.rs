//! `ambit uicc ...`.

mod personalise;
mod serve_pcsc;

use clap::Subcommand;

use crate::failure::Failure;

/// Cards: personalise a batch, offer an emulated one to the system's PC/SC service.
#[derive(Subcommand)]
pub(crate) enum Uicc {
    Personalise(personalise::Personalise),
    #[command(name = "serve-pcsc")]
    ServePcsc(serve_pcsc::ServePcsc),
}

impl Uicc {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Personalise(command) => command.run(),
            Self::ServePcsc(command) => command.run(),
        }
    }
}
