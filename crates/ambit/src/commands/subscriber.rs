//! `ambit subscriber ...`.

use std::path::{Path, PathBuf};

use ambit_provisioning::{TransportKeys, read_subscribers, write_subscribers};
use clap::{Args, Subcommand};
use serde_json::json;
use zeroize::Zeroizing;

use super::{one, print_rows, printed, read, spinner};
use crate::Place;
use crate::admin::{self, Request, Secret};
use crate::failure::Failure;

/// Subscribers: devices whose secrets are in a UICC. Import, list, show.
#[derive(Subcommand)]
pub(crate) enum Subscriber {
    Import(Import),
    List(List),
    Show(Show),
}

/// Import subscribers from a card maker's file, all or none.
///
/// Columns (a header line first, in any order and case; others are not looked at): DEVICE_ID, DEVICE_TYPE, SUITE, FORM,
/// TAG_LEN, FLEET as `ambit device import` has them; IMSI; ALGORITHM milenage or tuak-<iterations>-<octets of RES>; KI, and
/// OPC (milenage) or TOPC (tuak); CREDENTIAL uicc or uicc-aiot, the same on every line, and K_AIOT with the latter. With
/// --transport-keys the secrets are under a transport key each. `ambit uicc personalise` writes such a file. Cards that keep K
/// in their AIoT application become devices, which need no registration; the others become subscribers.
#[derive(Args)]
pub(crate) struct Import {
    /// CSV file; - is standard input.
    file: PathBuf,
    /// File of transport keys: a line COLUMN:KEY each. Without it the file's secrets are in clear.
    #[arg(long, value_name = "FILE")]
    transport_keys: Option<PathBuf>,
    /// Report as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// List all subscribers. No secret is shown.
#[derive(Args)]
pub(crate) struct List {
    /// One JSON object a line; octets in hexadecimal.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Show one subscriber. No secret is shown.
#[derive(Args)]
pub(crate) struct Show {
    /// IMSI, SUPI (imsi-...), or permanent device ID.
    name: String,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

const COLUMNS: &[(&str, usize)] = &[
    ("device_name", 36),
    ("supi", 20),
    ("algorithm", 10),
    ("device_type", 11),
    ("suite", 5),
    ("form", 9),
    ("fleet", 16),
    ("sqn", 12),
    ("disabled", 8),
    ("registered", 24),
    ("key_until", 24),
];

impl Subscriber {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Import(import) => import.run(),
            Self::List(list) => {
                print_rows(&list.place, &Request::SubscriberList, list.json, COLUMNS)
            }
            Self::Show(show) => {
                let request = Request::SubscriberShow { name: show.name };
                one(&show.place, &request, show.json)
            }
        }
    }
}

impl Import {
    fn run(self) -> Result<(), Failure> {
        let plmn = self.place.config()?.snid()?.plmn();
        let keys = match &self.transport_keys {
            Some(path) => Some(read_keys(path)?),
            None => None,
        };
        let text = Secret(read(&self.file)?);
        let entries = read_subscribers(text.0.as_bytes(), keys.as_ref(), plmn)?;
        drop((text, keys));
        let mut octets = Zeroizing::new(Vec::new());
        write_subscribers(&mut *octets, &entries).map_err(|error| Failure::io("import", &error))?;
        let csv = Secret(String::from_utf8_lossy(&octets).into_owned());
        let lines = entries.iter().map(|entry| entry.device.line).collect();
        let imported = entries.len();
        let bar = spinner(format!("importing {imported} subscribers"));
        let request = Request::SubscriberImport { csv, lines };
        let asked = admin::run(&self.place, &request, &mut |_| true);
        bar.finish_and_clear();
        asked?;
        let text = if self.json {
            json!({ "imported": imported }).to_string()
        } else {
            format!("{imported} subscribers imported")
        };
        use std::io::Write;
        printed(writeln!(std::io::stdout(), "{text}"))
    }
}

/// Reads a file of transport keys.
pub(super) fn read_keys(path: &Path) -> Result<TransportKeys, Failure> {
    let text = Zeroizing::new(read(path)?);
    TransportKeys::parse(&text).map_err(|error| {
        Failure::input(
            "transport_keys_invalid",
            format!("--transport-keys {}: {error}", path.display()),
        )
    })
}
