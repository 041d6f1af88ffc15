//! `ambit home-network-key ...`.

use clap::{Args, Subcommand, ValueEnum};

use super::{one, print_rows};
use crate::Place;
use crate::admin::Request;
use crate::failure::Failure;

/// Keys of the home network, for which cards conceal IMSIs (TS 33.501 annex C): add, list.
///
/// The private key is made in the core and kept wrapped in its store; it is shown nowhere. The public key goes on cards:
/// `ambit uicc personalise --suci-key ID:KEY`.
#[derive(Subcommand)]
pub(crate) enum HomeNetworkKey {
    Add(Add),
    List(List),
}

/// Make a key and print its public half. An identifier that is in use is refused: cards hold keys under it.
#[derive(Args)]
pub(crate) struct Add {
    /// a: X25519; b: P-256.
    #[arg(long, value_enum, ignore_case = true)]
    profile: Profile,
    /// Home network public key identifier, 0 to 255 [default: the lowest that is free].
    #[arg(long, value_name = "ID")]
    key_id: Option<u8>,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Clone, Copy, ValueEnum)]
enum Profile {
    A,
    B,
}

/// List public keys.
#[derive(Args)]
pub(crate) struct List {
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

const COLUMNS: &[(&str, usize)] = &[("key_id", 6), ("profile", 7), ("suci_key", 70)];

impl HomeNetworkKey {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Add(add) => {
                let profile = match add.profile {
                    Profile::A => 'a',
                    Profile::B => 'b',
                };
                let request = Request::HomeNetworkKeyAdd {
                    key_id: add.key_id,
                    profile,
                };
                one(&add.place, &request, add.json)
            }
            Self::List(list) => print_rows(
                &list.place,
                &Request::HomeNetworkKeyList,
                list.json,
                COLUMNS,
            ),
        }
    }
}
