//! `ambit uicc personalise`.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ambit_provisioning::{CardSpec, SECRET_COLUMNS, TransportKeys, read_batch, write_cards};
use ambit_uicc::suci::{PublicKey, RoutingIndicator};
use clap::Args;
use serde_json::json;

use crate::admin::Secret;
use crate::card_dir::{self, SuciSetting};
use crate::commands::{printed, read, spinner, subscriber};
use crate::config::Config;
use crate::failure::Failure;

/// Make a batch of cards, all or none.
///
/// Reads a CSV (a header line first): device_id, device_type, imsi and iccid must be there; suite, form, tag_len, fleet as
/// `ambit device import` has them; algorithm milenage or tuak-<iterations>-<octets of RES>; ki, opc, topc, pin1, puk1, pin2,
/// puk2, adm1 are drawn where they are empty. With the credential uicc-aiot, the same on every line, the card has an AIoT
/// application that keeps k_aiot, drawn where it is empty, and computes with it. Writes into a new directory: cards.csv, what a card maker sends back, each
/// secret column under a transport key of its own, for `ambit subscriber import` and SIM tools; and cards/ICCID/, each an
/// emulated card for `ambit ran --cards` and `ambit uicc serve-pcsc`.
#[derive(Args)]
pub(crate) struct Personalise {
    /// CSV file; - is standard input.
    file: PathBuf,
    /// New directory for the cards (mode 0700).
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Transport keys to use: a line COLUMN:KEY each, for every secret column.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "transport_keys_out",
        required_unless_present = "transport_keys_out"
    )]
    transport_keys: Option<PathBuf>,
    /// New file (mode 0600) for generated transport keys. Send it another way than the cards.
    #[arg(long, value_name = "FILE")]
    transport_keys_out: Option<PathBuf>,
    /// A public key of the home network, as `ambit home-network-key` prints it; the first is preferred. Without any, cards
    /// say nothing of concealment and devices send the IMSI in clear.
    #[arg(long, value_name = "ID:KEY", value_parser = parse_suci_key)]
    suci_key: Vec<(u8, PublicKey)>,
    /// Let the card conceal, not the device.
    #[arg(long, requires = "suci_key")]
    suci_on_card: bool,
    /// Routing indicator, 1 to 4 digits.
    #[arg(long, value_name = "DIGITS", default_value = "0", value_parser = parse_routing_indicator)]
    routing_indicator: String,
    /// Configuration file: the home network (network.mcc, network.mnc).
    #[arg(long, value_name = "FILE", env = "AMBIT_CONFIG")]
    config: Option<PathBuf>,
    /// Report as JSON.
    #[arg(long)]
    json: bool,
}

impl Personalise {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let config = match &self.config {
            Some(path) => Config::read(path)?,
            None => Config::default(),
        };
        let plmn = config.snid()?.plmn();
        if self.out.exists() {
            let message = format!("--out {}: is there already", self.out.display());
            return Err(Failure::input("out_exists", message));
        }
        let text = Secret(read(&self.file)?);
        let cards = read_batch(text.0.as_bytes(), plmn, &mut random)?;
        drop(text);
        let keys = self.keys()?;
        let has_k_aiot = cards.iter().any(|card| card.device.key.is_some());
        let is_needed = |column: &&&str| has_k_aiot || **column != "K_AIOT";
        let mut needed = SECRET_COLUMNS.iter().filter(is_needed);
        if let Some(column) = needed.find(|column| !keys.covers(column)) {
            let message = format!("--transport-keys: there is none for column {column}");
            return Err(Failure::input("transport_keys_invalid", message));
        }
        let key_file = match &self.transport_keys_out {
            Some(path) => Some(write_keys(path, &keys)?),
            None => None,
        };
        let bar = spinner(format!("making {} cards", cards.len()));
        let made = self.write(&cards, &keys);
        bar.finish_and_clear();
        if let Err(failure) = made {
            // Nothing is under these keys.
            if let Some(path) = key_file {
                let _ = fs::remove_file(path);
            }
            return Err(failure);
        }
        let text = if self.json {
            json!({ "cards": cards.len(), "out": self.out }).to_string()
        } else {
            format!("{} cards made in {}", cards.len(), self.out.display())
        };
        printed(writeln!(io::stdout(), "{text}"))
    }

    fn keys(&self) -> Result<TransportKeys, Failure> {
        match &self.transport_keys {
            Some(path) => subscriber::read_keys(path),
            None => TransportKeys::generate(&mut random)
                .map_err(|error| Failure::resource("entropy_failed", error)),
        }
    }

    /// Beside, then moved: the directory is there whole, or not at all.
    fn write(&self, cards: &[CardSpec], keys: &TransportKeys) -> Result<(), Failure> {
        let mut part = self.out.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let failed =
            |error: io::Error| Failure::io(format!("--out {}", self.out.display()), &error);
        DirBuilder::new()
            .mode(0o700)
            .create(&part)
            .map_err(|error| Failure::io(format!("--out: {}", part.display()), &error))?;
        let written = self.fill(&part, cards, keys).and_then(|()| {
            fs::rename(&part, &self.out)?;
            let parent = self.out.parent().filter(|dir| !dir.as_os_str().is_empty());
            File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
        });
        written.map_err(|error| {
            let _ = fs::remove_dir_all(&part);
            failed(error)
        })
    }

    fn fill(&self, dir: &Path, cards: &[CardSpec], keys: &TransportKeys) -> io::Result<()> {
        let suci = (!self.suci_key.is_empty()).then(|| SuciSetting {
            routing_indicator: self.routing_indicator.clone(),
            on_card: self.suci_on_card,
            keys: self.suci_key.clone(),
        });
        let file = private(&dir.join("cards.csv"))?;
        write_cards(&file, cards, keys)?;
        file.sync_all()?;
        let place = dir.join("cards");
        DirBuilder::new().mode(0o700).create(&place)?;
        for card in cards {
            card_dir::write(&place.join(&card.iccid), card, suci.as_ref())?;
        }
        File::open(&place)?.sync_all()?;
        File::open(dir)?.sync_all()
    }
}

/// Writes transport keys into a new file, durably, before anything is under them. One that is there is never overwritten: it
/// may hold the only copy of keys.
fn write_keys<'a>(path: &'a Path, keys: &TransportKeys) -> Result<&'a Path, Failure> {
    let failed =
        |error: io::Error| Failure::io(format!("--transport-keys-out {}", path.display()), &error);
    let mut file = private(path).map_err(failed)?;
    let written = file
        .write_all(keys.to_text().as_bytes())
        .and_then(|()| file.sync_all());
    written.map_err(|error| {
        let _ = fs::remove_file(path);
        failed(error)
    })?;
    Ok(path)
}

fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

fn random(out: &mut [u8]) -> io::Result<()> {
    getrandom::fill(out).map_err(io::Error::other)
}

/// Identifier and public key.
fn parse_suci_key(text: &str) -> Result<(u8, PublicKey), String> {
    let (key_id, key) = text
        .split_once(':')
        .ok_or("must be ID:KEY, as `ambit home-network-key list` prints it")?;
    let key_id = key_id.parse().map_err(|_| "ID must be 0 to 255")?;
    let octets = hex::decode(key).map_err(|_| "KEY must be hexadecimal digits")?;
    let key = PublicKey::from_octets(&octets).map_err(|_| {
        "KEY must be 32 octets of X25519 (Profile A) or a compressed point of P-256 (Profile B)"
    })?;
    Ok((key_id, key))
}

fn parse_routing_indicator(text: &str) -> Result<String, &'static str> {
    match text.parse::<RoutingIndicator>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("must be 1 to 4 digits"),
    }
}
