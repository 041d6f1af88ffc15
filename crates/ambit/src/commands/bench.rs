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
    All(All),
    Crypto(Crypto),
    Search(Search),
    Table(Table),
    Store(Store),
    Exchange(Exchange),
    N2(N2),
    Scale(Scale),
    Postgres(Postgres),
    Delivery(Delivery),
}

/// Everything below, one after the other; `postgres` is passed over where PostgreSQL is not installed. Takes some minutes.
#[derive(Args)]
pub(crate) struct All {
    /// The largest fleet of `search`, `table` and `scale`.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = devices)]
    devices: usize,
    /// One JSON object a figure.
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// A page with method and machine, as docs/reference/figures.md is.
    #[arg(long)]
    markdown: bool,
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

/// Durable acceptance in process, beside the engine's own bare insert of the same row and beside raw appends; beacon chain
/// and import.
#[derive(Args)]
pub(crate) struct Store {
    /// One JSON object a figure.
    #[arg(long)]
    json: bool,
}

/// The hot path in process, from the octets of INVENTORY REPORTs to those of ACCEPTs, and what the NGAP codec has of it.
#[derive(Args)]
pub(crate) struct Exchange {
    /// One JSON object a figure.
    #[arg(long)]
    json: bool,
}

/// Reports through NGAP over loopback: capacity, and latency at 50, 80 and 95 % of it and at 80 000 reports/s.
///
/// The load comes from the same machine: a gNB that seals its reports beforehand. A report is due at its own moment
/// whatever came of those before, and its latency counts from then.
#[derive(Args)]
pub(crate) struct N2 {
    /// One JSON object a figure.
    #[arg(long)]
    json: bool,
}

/// What the fleet's size does to the cost of an exchange, to memory and to a core's start.
///
/// Importing 1 000 000 devices takes seconds, 10 000 000 a minute or two and 3 GB of disk.
#[derive(Args)]
pub(crate) struct Scale {
    /// The largest fleet; those of 1000, 10 000 and so on up to it are measured.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = devices)]
    devices: usize,
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
            Self::All(command) => command.run(),
            Self::Crypto(command) => print(Shape::of(command.json), |each| {
                bench::crypto(each);
                Ok(())
            }),
            Self::Search(command) => print(Shape::of(command.json), |each| {
                bench::search(command.devices, each);
                Ok(())
            }),
            Self::Delivery(command) => print(Shape::of(command.json), bench::delivery),
            Self::Store(command) => print(Shape::of(command.json), bench::store),
            Self::Exchange(command) => print(Shape::of(command.json), bench::exchange),
            Self::N2(command) => print(Shape::of(command.json), bench::n2),
            Self::Scale(command) => print(Shape::of(command.json), |each| {
                bench::scale(command.devices, each)
            }),
            Self::Postgres(command) => print(Shape::of(command.json), bench::postgres),
            Self::Table(command) => print(Shape::of(command.json), |each| {
                bench::table(command.devices, each)
            }),
        }
    }
}

impl All {
    fn run(self) -> Result<(), Failure> {
        let shape = match self.markdown {
            true => Shape::Markdown,
            false => Shape::of(self.json),
        };
        if self.markdown {
            printed(std::io::stdout().write_all(head().as_bytes()))?;
        }
        print(shape, |each| {
            // Before the others: what they have had and given back stays with the process, whose memory is measured here.
            bench::scale(self.devices, each)?;
            bench::crypto(each);
            bench::search(self.devices, each);
            bench::table(self.devices, each)?;
            bench::store(each)?;
            bench::exchange(each)?;
            bench::n2(each)?;
            bench::delivery(each)?;
            match bench::postgres(each) {
                Err(BenchError::NoPostgres) => Ok(()),
                result => result,
            }
        })
    }
}

/// What stands above the figures on their page.
fn head() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == "model name").then(|| value.trim())
    });
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or("unknown");
    format!(
        "# Figures\n\nPrinted by `ambit bench all --markdown`. Rounds of the thing measured and of its limit alternate in one \
         run; a value is the median over rounds, in brackets what a tenth of them was below and a tenth above. Compare the \
         ratio: single figures move with the machine's load. What they mean is in [performance](../performance.md).\n\n\
         Machine: {}, {cores} core(s), load {load} when it began.\n\n\
         | bench | what | here | ratio | limit, same run |\n| --- | --- | --- | --- | --- |\n",
        model.unwrap_or("unknown")
    )
}

/// How figures are printed.
#[derive(Clone, Copy)]
enum Shape {
    Text,
    Json,
    Markdown,
}

impl Shape {
    const fn of(json: bool) -> Self {
        match json {
            true => Self::Json,
            false => Self::Text,
        }
    }
}

/// Prints each figure as it comes.
fn print(
    shape: Shape,
    run: impl FnOnce(&mut dyn FnMut(Figure)) -> Result<(), BenchError>,
) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    let mut result = Ok(());
    let bar = spinner("measuring".into());
    let ran = run(&mut |figure| {
        let text = match shape {
            Shape::Json => serde_json::to_string(&figure).unwrap_or_default(),
            Shape::Text => line(&figure),
            Shape::Markdown => row(&figure),
        };
        if result.is_ok() {
            result = bar.suspend(|| writeln!(out, "{text}"));
        }
    });
    bar.finish_and_clear();
    ran.map_err(|error| Failure::resource("bench_failed", error))?;
    printed(result)
}

fn row(figure: &Figure) -> String {
    let (ratio, limit) = figure
        .limit
        .as_ref()
        .map_or_else(Default::default, |limit| {
            let shown = value(limit.value, figure.unit);
            (
                format!("{:.2}", limit.ratio),
                format!("{shown}: {}", limit.what),
            )
        });
    let here = value(figure.here, figure.unit);
    format!(
        "| {} | {} | {here} | {ratio} | {limit} |",
        figure.bench,
        what(figure)
    )
}

fn what(figure: &Figure) -> String {
    match figure.devices {
        Some(devices) => format!("{}, {devices} devices", figure.what),
        None => figure.what.clone(),
    }
}

fn line(figure: &Figure) -> String {
    let what = what(figure);
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
        "records/s" => (1e3, "k records/s"),
        "reports/s" => (1e3, "k reports/s"),
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
