//! `ambit bench`: what the network's work costs on this machine, beside its limit.

use std::io::Write;

use ambit_lab::bench::{self, BenchError, Figure, Sample};
use clap::{Args, Subcommand};

use super::{printed, spinner};
use crate::failure::Failure;

/// Measure the network's work, each figure beside its physical limit measured in the same run.
///
/// Figures are medians over short rounds, those of the limit in between; a tenth of the rounds was below the first value in
/// brackets, a tenth above the second. The ratio is what to compare between machines: single figures move with their load.
#[derive(Subcommand)]
pub(crate) enum Bench {
    Crypto(Crypto),
    Search(Search),
    Table(Table),
    Postgres(Postgres),
    Delivery(Delivery),
}

/// The crypto of one exchange, network side, in every suite, beside its bare AES.
#[derive(Args)]
pub(crate) struct Crypto {
    /// One JSON object a figure.
    #[arg(long)]
    json: bool,
}

/// Population search: keys a second by suite and instructions, and fleets of growing size.
#[derive(Args)]
pub(crate) struct Search {
    /// The largest fleet; those of 1000, 10 000 and so on up to it are measured.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = devices)]
    devices: usize,
    /// One JSON object a figure.
    #[arg(long)]
    json: bool,
}

/// The shared store on a PostgreSQL server of its own: durable acceptance beside a bare batched insert of the same row by the
/// same client, and how fast devices are imported and loaded.
///
/// Needs PostgreSQL installed; the server is made in a temporary directory and gone afterwards.
#[derive(Args)]
pub(crate) struct Postgres {
    /// One JSON object a figure.
    #[arg(long)]
    json: bool,
}

/// What delivery adds to an acceptance: durable acceptances a second with two subscriptions delivered and without, in alternating
/// rounds of one process.
#[derive(Args)]
pub(crate) struct Delivery {
    /// One JSON object a figure.
    #[arg(long)]
    json: bool,
}

/// T-ID tables and memory: fleets of growing size in an ADM on a store in the temporary directory.
///
/// Importing 1 000 000 devices takes seconds, 10 000 000 a minute or two and 3 GB of disk.
#[derive(Args)]
pub(crate) struct Table {
    /// The largest fleet; those of 1000, 10 000 and so on up to it are measured.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = devices)]
    devices: usize,
    /// One JSON object a figure.
    #[arg(long)]
    json: bool,
}

fn devices(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(devices @ 1_000..=10_000_000) => Ok(devices),
        _ => Err("must be 1000 to 10000000".into()),
    }
}

impl Bench {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Crypto(command) => print(command.json, |each| {
                bench::crypto(each);
                Ok(())
            }),
            Self::Search(command) => print(command.json, |each| {
                bench::search(command.devices, each);
                Ok(())
            }),
            Self::Postgres(command) => print(command.json, bench::postgres),
            Self::Delivery(command) => print(command.json, bench::delivery),
            Self::Table(command) => print(command.json, |each| bench::table(command.devices, each)),
        }
    }
}

/// Prints each figure as it comes.
fn print(
    json: bool,
    run: impl FnOnce(&mut dyn FnMut(Figure)) -> Result<(), BenchError>,
) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    let mut result = Ok(());
    let bar = spinner("measuring".into());
    let ran = run(&mut |figure| {
        let text = match json {
            true => serde_json::to_string(&figure).unwrap_or_default(),
            false => line(&figure),
        };
        if result.is_ok() {
            result = bar.suspend(|| writeln!(out, "{text}"));
        }
    });
    bar.finish_and_clear();
    ran.map_err(|error| Failure::resource("bench_failed", error))?;
    printed(result)
}

fn line(figure: &Figure) -> String {
    let what = match figure.devices {
        Some(devices) => format!("{}, {devices} devices", figure.what),
        None => figure.what.clone(),
    };
    let mut text = format!("{what:<72} {:>34}", value(figure.here, figure.unit));
    if let Some(limit) = &figure.limit {
        let shown = value(limit.value, figure.unit);
        text += &format!("  {:>5.2} of {shown}: {}", limit.ratio, limit.what);
    }
    text
}

/// Median, spread and unit.
fn value(sample: Sample, unit: &str) -> String {
    let (scale, unit) = match unit {
        "keys/s" => (1e6, "M keys/s"),
        unit => (1.0, unit),
    };
    let [median, low, high] = [sample.median, sample.low, sample.high].map(|value| {
        let value = value / scale;
        let digits = usize::from(value < 1000.0) + usize::from(value < 10.0);
        format!("{value:.digits$}")
    });
    match sample.rounds {
        1 => format!("{median} {unit}"),
        _ => format!("{median} ({low}-{high}) {unit}"),
    }
}
