//! `ambit demo`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use ambit_adm::Kek;
use ambit_adm::policy::Deployment;
use ambit_aiotf::server::unix_ms;
use ambit_lab::demo::{Demo as Scene, DemoConfig, DemoError, DemoSummary};
use ambit_store::{FILE_NAME, SqliteStore};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::printed;
use crate::failure::Failure;

/// Show a whole site at work in one process: devices, readers, core, and two intruders.
///
/// With --deployment public every device has a card instead of a key: MILENAGE or TUAK, its IMSI in clear or concealed by
/// Profile A or B. It registers with its card at power-on and reports under the key that came of it.
///
/// Three areas, devices of every form and suite that report real temperatures, a fake device that forges, alters and replays
/// reports, and a fake network that invents and repeats beacons and sends false ACCEPTs. Exit code 0 only if every report of
/// an honest device was accepted exactly once and nothing else was.
#[derive(Args)]
pub(crate) struct Demo {
    /// Devices, 1 to 100000.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    devices: u32,
    /// How long devices report and intruders intrude; what is left over then is waited for.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    /// isolated-private: the operator's keys in the devices; public: cards.
    #[arg(long, value_name = "KIND", default_value = "isolated-private")]
    deployment: Deployment,
    /// Seed of devices, air and intruders [default: drawn].
    #[arg(long)]
    seed: Option<u64>,
    /// Directory for the store, to look at afterwards; it must not hold one yet [default: none is kept].
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// The result as JSON.
    #[arg(long)]
    json: bool,
}

/// How often the scene is brought up to the clock.
const STEP: Duration = Duration::from_millis(5);

impl Demo {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let temporary =
            tempfile::tempdir().map_err(|error| Failure::io("temporary directory", &error))?;
        let dir = match &self.keep {
            Some(dir) => dir.as_path(),
            None => temporary.path(),
        };
        std::fs::create_dir_all(dir).map_err(|error| Failure::io(dir.display(), &error))?;
        let file = dir.join(FILE_NAME);
        if file.exists() {
            let message = format!("--keep {}: holds a store already", dir.display());
            return Err(Failure::input("store_exists", message));
        }
        let store = Box::new(SqliteStore::open(&file)?);
        let mut kek = [0; 32];
        getrandom::fill(&mut kek).map_err(|error| Failure::resource("entropy_failed", error))?;
        let config = DemoConfig {
            devices: self.devices,
            seconds: self.seconds,
            seed: self.seed.unwrap_or_else(|| fastrand::u64(..1 << 32)),
            loss: 0.1,
            deployment: self.deployment,
        };
        let mut scene =
            Scene::start(config, store, Kek::from_octets(&kek), unix_ms()).map_err(failed)?;
        let bar = self.bar();
        let began = Instant::now();
        while !scene.is_over() {
            thread::sleep(STEP);
            let elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            scene.advance(elapsed_ms);
            if let Some(bar) = &bar {
                show_progress(bar, &scene.summary(false).map_err(failed)?);
            }
        }
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        let summary = scene.summary(true).map_err(failed)?;
        let text = if self.json {
            serde_json::to_string(&summary).unwrap_or_default()
        } else {
            table(&summary)
        };
        use std::io::Write;
        printed(writeln!(std::io::stdout(), "{text}"))?;
        if summary
            .judgement
            .as_ref()
            .is_some_and(|judgement| judgement.holds())
        {
            Ok(())
        } else {
            let message = format!(
                "not every report was accepted exactly once; replay with --deployment {} --seed {}",
                summary.deployment, summary.seed
            );
            Err(Failure::negative("demo_failed", message))
        }
    }

    fn bar(&self) -> Option<ProgressBar> {
        if self.json || !std::io::stderr().is_terminal() {
            return None;
        }
        let bar = ProgressBar::new(u64::from(self.seconds) * 1000);
        if let Ok(style) = ProgressStyle::with_template("{bar:24} {msg}") {
            bar.set_style(style);
        }
        Some(bar)
    }
}

fn show_progress(bar: &ProgressBar, summary: &DemoSummary) {
    bar.set_position((summary.elapsed_s * 1000.0) as u64);
    let refused: u64 = summary.refused.iter().map(|(_, n)| n).sum();
    bar.set_message(format!(
        "{:4.0} s  epoch {}  {}/{} registered  {} reports accepted  {} refused in silence  {} false networks noticed",
        summary.elapsed_s,
        summary.epochs,
        summary.registered,
        summary.devices,
        summary.accepted,
        refused,
        summary.sightings,
    ));
}

fn table(summary: &DemoSummary) -> String {
    let mut lines = vec![
        format!(
            "{} devices in 3 areas, {:.0} s, {} epochs, seed {}",
            summary.devices, summary.elapsed_s, summary.epochs, summary.seed
        ),
        String::new(),
        format!(
            "{:<12}{:>10}{:>20}{:>21}",
            "form", "accepted", "repeats of an item", "copies of a report"
        ),
    ];
    for form in &summary.forms {
        lines.push(format!(
            "{:<12}{:>10}{:>20}{:>21}",
            form.form, form.accepted_new, form.accepted_repeat, form.accepted_duplicate
        ));
    }
    let intruders = &summary.intruders;
    lines.push(String::new());
    if let Some(cards) = &summary.cards {
        lines.push(format!(
            "cards: {} MILENAGE, {} TUAK; IMSI in clear {}, Profile A {}, Profile B {} ({} concealed on the card)",
            cards.milenage,
            cards.tuak,
            cards.null_scheme,
            cards.profile_a,
            cards.profile_b,
            cards.on_card
        ));
    }
    lines.push(format!(
        "fake device: {} reports forged, {} altered, {} replayed",
        intruders.forged, intruders.altered, intruders.replayed
    ));
    lines.push(format!(
        "fake network: {} false beacons ({} times noticed by devices), {} false ACCEPTs",
        intruders.false_beacons, summary.sightings, intruders.false_accepts
    ));
    let refused: Vec<String> = summary
        .refused
        .iter()
        .map(|(name, n)| format!("{name} {n}"))
        .collect();
    lines.push(format!("met with silence: {}", refused.join(", ")));
    lines.push(String::new());
    if let Some(judgement) = &summary.judgement {
        lines.push(format!(
            "{} of {} items accepted exactly once; {} not accepted, {} believed falsely, {} counted twice, {} records of strangers",
            judgement.accepted_once,
            judgement.items,
            judgement.unaccepted,
            judgement.believed_falsely,
            judgement.counted_twice + judgement.counted_over_power_on + judgement.recorded_twice,
            judgement.foreign
        ));
        lines.extend(
            judgement
                .examples
                .iter()
                .map(|example| format!("  {example}")),
        );
    }
    lines.join("\n")
}

fn failed(error: DemoError) -> Failure {
    match error {
        DemoError::Open(error) => error.into(),
        DemoError::Provision(error) => error.into(),
        DemoError::Store(error) => error.into(),
        error => Failure::resource("demo", error),
    }
}
