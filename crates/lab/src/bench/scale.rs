//! What the fleet's size does: to the cost of an exchange, to memory, to a core's start.

use std::time::{Duration, Instant};

use super::core::BenchAdm;
use super::{BenchError, Figure, Limit, Sample};

/// Records a commit, and records a round.
const GROUP: usize = 512;
const ROUND: usize = 16_384;

const BUDGET: Duration = Duration::from_secs(3);
const ROUNDS_MIN: usize = 7;

/// What 1 000 000 devices may take in an idle process.
const OCTETS_MAX: f64 = 250e6;

/// For fleets of 10^3 to `devices_max`.
///
/// # Errors
/// [`BenchError`] when the store or its directory fail.
pub fn scale(devices_max: usize, each: &mut dyn FnMut(Figure)) -> Result<(), BenchError> {
    let mut smallest = None;
    let sizes = (3..).map(|power| 10usize.pow(power));
    for devices in sizes.take_while(|devices| *devices <= devices_max) {
        let mut core = BenchAdm::new(devices, 0)?;
        let figure = |what: &str, unit, here, limit| Figure {
            bench: "scale",
            what: what.into(),
            devices: Some(devices),
            unit,
            here,
            limit,
        };
        let started = core.start_s();
        let rate = Sample::one(devices as f64 / started);
        each(figure(
            "start of a core: keys loaded, table built",
            "devices/s",
            rate,
            None,
        ));
        if let Some(octets) = resident_octets() {
            let (octets, asked_for) = (octets as f64, OCTETS_MAX * (devices as f64 / 1e6).max(1.0));
            let [here, asked_for] = [octets, asked_for].map(|octets| Sample::one(octets / 1e6));
            let limit = Some(Limit::new("asked for", here, asked_for));
            each(figure("memory of the idle process", "MB", here, limit));
        }
        let mut cost = Vec::new();
        let began = Instant::now();
        while cost.len() < ROUNDS_MIN || began.elapsed() < BUDGET {
            let reports = core.reports(ROUND)?;
            let began = Instant::now();
            core.accept(&reports, GROUP)?;
            cost.push(began.elapsed().as_nanos() as f64 / ROUND as f64);
        }
        let here = Sample::of(cost);
        let smallest = *smallest.get_or_insert(here);
        let limit =
            (devices > 1000).then(|| Limit::new("the same with 1000 devices", here, smallest));
        each(figure(
            "one exchange, durable, groups of 512",
            "ns",
            here,
            limit,
        ));
    }
    Ok(())
}

/// Memory of this process that is resident; `None` where the system does not tell.
fn resident_octets() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}
