//! `ambit lab attack`.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use ambit_lab::attack::timing::{Measured, measure};
use ambit_lab::attack::{AttackError, Row, Verdict, report, select};
use clap::Args;
use indicatif::ProgressBar;
use serde_json::json;

use crate::commands::printed;
use crate::failure::Failure;

/// Run the attacks of the threat list against the product's own code, each beside its control.
///
/// A control is the same attack where the defence it is about is left out; it must succeed there, or the row proves nothing.
/// Rows that wait for parts still to come are listed as open. The same seed gives the same report. Exit code 1 when an attack
/// is not stopped or a control is.
#[derive(Args)]
pub(crate) struct Attack {
    /// Rows to run, T01 to T25 [default: all].
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Seed of keys, nonces and adversaries.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// One JSON object a row, with figures and messages.
    #[arg(long)]
    json: bool,
    /// Directory for attacks.html, with message sequence diagrams.
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Also measure how long refusals take (T25): figures of time, different each time.
    #[arg(long)]
    measure: bool,
}

/// Samples of each timing measurement.
const SAMPLES: usize = 200_000;

impl Attack {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let threats = select(&self.ids).map_err(failed)?;
        let bar = (!self.json && std::io::stderr().is_terminal())
            .then(|| ProgressBar::new(threats.len() as u64));
        let mut rows = Vec::new();
        for threat in threats {
            let row = threat.run(self.seed).map_err(failed)?;
            if let Some(bar) = &bar {
                bar.inc(1);
            }
            rows.push(row);
        }
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        printed(self.print(&rows))?;
        if let Some(dir) = &self.report {
            std::fs::create_dir_all(dir).map_err(|error| Failure::io(dir.display(), &error))?;
            let file = dir.join("attacks.html");
            std::fs::write(&file, report::page(&rows, self.seed))
                .map_err(|error| Failure::io(file.display(), &error))?;
        }
        if self.measure {
            let measured = measure(self.seed, SAMPLES).map_err(failed)?;
            printed(print_measured(&measured, self.json))?;
        }
        let is_wrong = |row: &&Row| {
            !matches!(
                row.verdict,
                Verdict::Holds | Verdict::HoldsExcept | Verdict::Open
            )
        };
        match rows.iter().filter(is_wrong).count() {
            0 => Ok(()),
            wrong => {
                let message = format!("{wrong} rows do not hold; replay with --seed {}", self.seed);
                Err(Failure::negative("attacks_failed", message))
            }
        }
    }

    fn print(&self, rows: &[Row]) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        if self.json {
            for row in rows {
                writeln!(out, "{}", serde_json::to_string(row).unwrap_or_default())?;
            }
            return Ok(());
        }
        for row in rows {
            writeln!(
                out,
                "{} {:<15}{}",
                row.id,
                report::name(row.verdict),
                row.attack
            )?;
            if let Some(why) = row.open {
                writeln!(out, "    open: {why}")?;
            }
            if let Some(exception) = row.exception {
                writeln!(out, "    exception: {exception}")?;
            }
            if let Some(run) = &row.run {
                writeln!(out, "    {}", figures(run))?;
            }
            if let (Some(lacks), Some(control)) = (row.control_lacks, &row.control) {
                let came = if control.stopped { "stopped" } else { "won" };
                writeln!(
                    out,
                    "    control ({lacks}), attack {came}: {}",
                    figures(control)
                )?;
            }
        }
        let count = |verdict| rows.iter().filter(|row| row.verdict == verdict).count();
        let wrong = count(Verdict::Broken) + count(Verdict::ProvesNothing);
        writeln!(
            out,
            "{} hold, {} hold with an exception, {} open, {wrong} do not hold",
            count(Verdict::Holds),
            count(Verdict::HoldsExcept),
            count(Verdict::Open),
        )
    }
}

fn figures(run: &ambit_lab::attack::Run) -> String {
    let figures = run.figures.iter();
    let figures = figures.map(|figure| format!("{}: {}", figure.name, figure.value));
    figures.collect::<Vec<_>>().join("; ")
}

fn print_measured(measured: &[Measured], json: bool) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for one in measured {
        if json {
            writeln!(out, "{}", json!({ "measured": one }))?;
        } else {
            let told = if one.distinguishable {
                "distinguishable"
            } else {
                "within noise"
            };
            writeln!(
                out,
                "time, {}: {:.2} ns apart, t {:.1} over {} samples each: {told}",
                one.name, one.difference_ns, one.t, one.samples
            )?;
        }
    }
    Ok(())
}

fn failed(error: AttackError) -> Failure {
    match error {
        AttackError::UnknownId(_) => Failure::input("threat_unknown", &error),
        AttackError::Store(error) => error.into(),
        error => Failure::resource("lab", error),
    }
}
