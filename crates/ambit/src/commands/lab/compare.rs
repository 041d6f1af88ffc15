//! `ambit lab compare`.

use std::io::Write;
use std::path::PathBuf;

use ambit_lab::compare::energy::{self, Energy};
use ambit_lab::compare::protocols::{Protocol, Source, protocols};
use ambit_lab::compare::{AXES, Row, compare, html, table};
use clap::Args;
use serde_json::{Map, Value, json};

use crate::commands::printed;
use crate::failure::Failure;
use crate::show::Rows;

/// Compare what the credential modes cost, and other protocols: messages, octets, operations, energy, durable writes.
///
/// Each mode runs with one device at one reader and the whole core behind it, and everything is counted while it runs, for
/// the first exchange (power-on to ACCEPT) and for a report in the steady state. 5G-AKA, LoRaWAN's join and EDHOC run beside
/// them, TLS, DTLS and EDHOC-PSK are cited. Takes some seconds.
#[derive(Args)]
pub(crate) struct Compare {
    /// One JSON object a method and exchange.
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// The page docs/reference/compare.md.
    #[arg(long)]
    markdown: bool,
    /// Write a page with charts, which loads nothing from anywhere.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// What operations cost in joule, in the form of crates/lab/energy.toml.
    #[arg(long, value_name = "FILE")]
    energy: Option<PathBuf>,
}

impl Compare {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let energy = self.energy()?;
        let failed = |error| Failure::negative("compare_failed", error);
        let rows = compare().map_err(failed)?;
        let others = protocols(&rows).map_err(failed)?;
        if let Some(path) = &self.html {
            std::fs::write(path, html::page(&others, &energy))
                .map_err(|error| Failure::io(path.display(), &error))?;
        }
        printed(self.print(&rows, &others, &energy))
    }

    fn energy(&self) -> Result<Energy, Failure> {
        let (name, text) = match &self.energy {
            None => ("energy.toml".to_owned(), energy::DEFAULT.to_owned()),
            Some(path) => {
                let name = path.display().to_string();
                let text =
                    std::fs::read_to_string(path).map_err(|error| Failure::io(&name, &error))?;
                (name, text)
            }
        };
        Energy::parse(&text).map_err(|error| Failure::input("energy", format!("{name}: {error}")))
    }

    fn print(&self, rows: &[Row], others: &[Protocol], energy: &Energy) -> std::io::Result<()> {
        if self.markdown {
            return write!(std::io::stdout(), "{}", table::page(rows, others, energy));
        }
        let mut columns = vec![("method", 37), ("phase", 6), ("form", 9)];
        columns.extend(AXES.iter().map(|axis| (axis.name, axis.name.len())));
        let mut table = Rows::new(self.json, &columns);
        for row in rows {
            table.print(&value(row))?;
        }
        table.finish()?;
        let mut table = Rows::new(self.json, OTHERS);
        for other in others {
            table.print(&protocol(other, energy))?;
        }
        table.finish()
    }
}

/// The columns of the second table. With --json properties are members as well.
const OTHERS: &[(&str, usize)] = &[
    ("protocol", 41),
    ("source", 8),
    ("messages_up", 11),
    ("octets_up", 9),
    ("messages_down", 13),
    ("octets_down", 11),
    ("aes_blocks", 10),
    ("sha256_blocks", 13),
    ("ec_multiplications", 18),
    ("durable_writes", 14),
    ("energy_uj", 9),
];

fn protocol(other: &Protocol, energy: &Energy) -> Value {
    let (source, figures_from) = match other.source {
        Source::Measured(from) => ("measured", from),
        Source::Cited(from) => ("cited", from),
    };
    let done = other.operations;
    let energy_uj = energy.microjoule(other).iter().sum::<f64>();
    let words = other.properties;
    json!({
        "protocol": other.name,
        "source": source,
        "figures_from": figures_from,
        "messages_up": other.messages_up,
        "octets_up": other.octets_up,
        "messages_down": other.messages_down,
        "octets_down": other.octets_down,
        "round_trips": other.round_trips,
        "aes_blocks": done.map(|done| done.aes_blocks),
        "sha256_blocks": done.map(|done| done.sha256_blocks),
        "ec_multiplications": done.map(|done| done.ec_multiplications),
        "durable_writes": done.map(|done| done.durable_writes),
        "energy_uj": done.map(|_| energy_uj.round()),
        "early_data": words.early_data,
        "mutual": words.mutual,
        "key_confirmation": words.key_confirmation,
        "identity_privacy": words.identity_privacy,
        "desynchronisation": words.desynchronisation,
        "network_state": words.network_state,
        "forward_secrecy": words.forward_secrecy,
    })
}

fn value(row: &Row) -> Value {
    let mut object = Map::new();
    object.insert("method".into(), row.method.into());
    object.insert("phase".into(), row.phase.name().into());
    object.insert("form".into(), row.form.into());
    for axis in AXES {
        object.insert(axis.name.into(), (axis.of)(&row.cost).into());
    }
    Value::Object(object)
}
