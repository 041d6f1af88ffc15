//! `ambit evidence`: proof that the acceptance records are what they were.

mod check;

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::printed;
use crate::Place;
use crate::admin::{self, Request};
use crate::failure::Failure;

/// Proof that no acceptance record was altered, removed or inserted.
///
/// Each record is linked to the one before it by SHA-256, and the core signs from time to time how far the chain has come
/// (Ed25519). Keep what `export` prints elsewhere: then not even the owner of the store and its keys can rewrite the past.
#[derive(Subcommand)]
pub(crate) enum Evidence {
    Verify(Verify),
    Show(Show),
    Check(Check),
    Checkpoint(Checkpoint),
    Export(Export),
}

/// Walk all records and checkpoints. Exit code 1 when anything is not as it was; each fault names the record.
#[derive(Args)]
pub(crate) struct Verify {
    /// The public key that you know to be the core's, 64 hexadecimal digits; without it, the store's own word is taken.
    #[arg(long, value_name = "HEX")]
    key: Option<String>,
    /// Checkpoints that `ambit evidence export` wrote earlier: the store must still have these records.
    #[arg(long, value_name = "FILE")]
    exported: Option<PathBuf>,
    /// One JSON object a line: each fault, then the summary.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Print what convinces an auditor of one record: its octets, the way to the next checkpoint, and a proof of its tag that
/// shows no key of use for anything else. `ambit evidence check` is the auditor's side.
#[derive(Args)]
pub(crate) struct Show {
    /// The record's id, as `ambit record list` prints it.
    record: i64,
    /// One JSON object: what `ambit evidence check` reads.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Check what `ambit evidence show --json` printed, without a store. Exit code 1 when it does not hold.
#[derive(Args)]
pub(crate) struct Check {
    /// The file.
    file: PathBuf,
    /// The public key that you know to be the core's, 64 hexadecimal digits; without it, the file's own word is taken.
    #[arg(long, value_name = "HEX")]
    key: Option<String>,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// Sign now how far the chain has come. The core does so by itself every minute in which records came, and when it ends.
#[derive(Args)]
pub(crate) struct Checkpoint {
    /// One JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Print the public key and all checkpoints, one JSON object a line. To be kept where the core's operator cannot write.
#[derive(Args)]
pub(crate) struct Export {
    #[command(flatten)]
    place: Place,
}

impl Evidence {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Verify(command) => command.run(),
            Self::Show(command) => command.run(),
            Self::Check(command) => command.run(),
            Self::Checkpoint(command) => command.run(),
            Self::Export(command) => command.run(),
        }
    }
}

impl Verify {
    fn run(self) -> Result<(), Failure> {
        let exported = self.exported.as_deref().map(check::exported).transpose()?;
        let key = match (&self.key, &exported) {
            (None, Some(exported)) => exported.public_key.clone(),
            (key, _) => key.clone(),
        };
        let mut rows = ask(&self.place, &Request::EvidenceVerify { public_key: key })?;
        let mut summary = rows.pop().unwrap_or_default();
        if let Some(exported) = exported {
            let faults = exported.compare(&self.place, &summary)?;
            let known = summary.get("faults").and_then(Value::as_u64).unwrap_or(0);
            let all = known + faults.len() as u64;
            if let Some(summary) = summary.as_object_mut() {
                summary.insert("faults".into(), all.into());
                summary.insert("verified".into(), (all == 0).into());
            }
            rows.extend(faults);
        }
        let is_verified = summary.get("verified") == Some(&Value::Bool(true));
        let text = |row: &Value| match row.get("fault") {
            Some(fault) => format!("record {}: {}", cell(row, "record"), plain(fault)),
            None => format!(
                "{} records, {} checkpoints, signed through record {}: {}",
                cell(row, "records"),
                cell(row, "checkpoints"),
                cell(row, "signed_through"),
                if is_verified {
                    "nothing was altered"
                } else {
                    "NOT as recorded"
                }
            ),
        };
        rows.push(summary);
        print(&rows, self.json, text)?;
        match is_verified {
            true => Ok(()),
            false => Err(Failure::negative(
                "evidence_broken",
                "the evidence does not hold",
            )),
        }
    }
}

impl Show {
    fn run(self) -> Result<(), Failure> {
        let record = self.record;
        let mut shown = one(ask(&self.place, &Request::EvidenceShow { record })?);
        let tag = one(ask(&self.place, &Request::EvidenceTag { record })?);
        if let Some(shown) = shown.as_object_mut() {
            shown.insert("tag_proof".into(), tag);
        }
        print(&[shown], self.json, check::text)
    }
}

impl Check {
    fn run(self) -> Result<(), Failure> {
        let name = self.file.display();
        let text = fs::read_to_string(&self.file).map_err(|error| Failure::io(name, &error))?;
        let shown: Value = serde_json::from_str(&text).map_err(|error| {
            let name = self.file.display();
            Failure::input("evidence_invalid", format!("{name}: {error}"))
        })?;
        let key = self.key.as_deref().map(admin::parse_key).transpose()?;
        let checked = check::check(&shown, key)?;
        let result = json!({
            "record": checked.record,
            "linked": checked.linked,
            "signed": checked.signed,
            "tag": checked.tag,
        });
        print(&[result], self.json, |_| checked.text())?;
        match checked.holds() {
            true => Ok(()),
            false => Err(Failure::negative("evidence_broken", "it does not hold")),
        }
    }
}

impl Checkpoint {
    fn run(self) -> Result<(), Failure> {
        let rows = ask(&self.place, &Request::EvidenceCheckpoint)?;
        if rows.is_empty() && !self.json {
            let line = writeln!(std::io::stdout(), "no record since the last checkpoint");
            return printed(line);
        }
        print(&rows, self.json, |row| {
            format!(
                "record {}, link {}, signed {}",
                cell(row, "record"),
                cell(row, "link"),
                cell(row, "time")
            )
        })
    }
}

impl Export {
    fn run(self) -> Result<(), Failure> {
        let rows = ask(&self.place, &Request::EvidenceExport)?;
        print(&rows, true, |_| String::new())
    }
}

fn ask(place: &Place, request: &Request) -> Result<Vec<Value>, Failure> {
    let mut rows = Vec::new();
    admin::run(place, request, &mut |row| {
        rows.push(row);
        true
    })?;
    Ok(rows)
}

fn one(rows: Vec<Value>) -> Value {
    rows.into_iter().next().unwrap_or_default()
}

fn print(rows: &[Value], json: bool, text: impl Fn(&Value) -> String) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    for row in rows {
        let line = if json { row.to_string() } else { text(row) };
        if let Err(error) = writeln!(out, "{line}") {
            return printed(Err(error));
        }
    }
    Ok(())
}

fn cell(row: &Value, name: &str) -> String {
    row.get(name).map_or_else(|| "-".into(), plain)
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".into(),
        other => other.to_string(),
    }
}
