//! The time of a refusal (T25). What the row asserts is that every wrong tag takes the same way through the core; how long it
//! takes is measured when asked for, since a figure of time is never the same twice.

use std::hint::black_box;
use std::time::Instant;

use ambit_adm_api::AdmClient as _;
use ambit_adm_api::{DoaReport, Outcome};
use ambit_device::DeviceForm;
use ambit_protocol::wire::{ReportId, ReportView};
use ambit_protocol::{Cause, Exchange, Item, KAiotf, Suite, TagLen};
use serde::Serialize;

use super::arena::{Actor, Arena as _, Recorder};
use super::real::Real;
use super::{AttackError, Pair, Run};

/// A genuine report with its tag made wrong at one octet, for each octet, and with a T-ID that is nobody's: one outcome, and
/// nothing else to be seen.
pub(super) fn t25(seed: u64) -> Result<Pair, AttackError> {
    let mut real = Real::new(seed, &[DeviceForm::Beacon])?;
    Recorder::new(&mut real).exchange(0, 1)?;
    let mut scene = Recorder::new(&mut real);
    let beacon = scene.arena().beacon(1);
    let report = scene.speak(0, &beacon)?;
    let mut wrong: Vec<Vec<u8>> = Vec::new();
    for at in (report.len() - 8..report.len()).chain([1]) {
        let mut changed = report.clone();
        if let Some(octet) = changed.get_mut(at) {
            *octet ^= 0x80;
        }
        wrong.push(changed);
    }
    for changed in &wrong {
        scene.send(1, changed, "REPORT, one octet of the tag wrong")?;
    }
    scene.note(
        Actor::Adversary,
        Actor::Adversary,
        "measures how long silence takes",
    );
    let steps = scene.into_steps();
    let tally = real.aiotf().reports();
    let refused = tally.of(Outcome::NoMatch);
    let others: u64 = tally.iter().map(|(.., count)| count).sum::<u64>() - refused;
    let run = Run {
        steps,
        ..Run::new(
            refused == wrong.len() as u64 && others == 1,
            &[
                ("wrong reports", wrong.len() as f64),
                ("with the one outcome", refused as f64),
            ],
        )
    };
    Ok(Pair::new(run, None))
}

/// Two kinds of input, and whether their times tell them apart.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// What was compared.
    pub name: &'static str,
    /// Samples of each kind that were kept.
    pub samples: usize,
    /// Difference of the means, in nanoseconds a call.
    pub difference_ns: f64,
    /// Welch's t over the kept samples.
    pub t: f64,
    /// Whether it is beyond noise: |t| over 10, as in dudect.
    pub distinguishable: bool,
}

/// Measures the comparison of tags, a comparison that ends early as its control, and the ADM's answer to a known T-ID and an
/// unknown one.
///
/// # Errors
/// The scene cannot be built.
pub fn measure(seed: u64, samples: usize) -> Result<Vec<Measured>, AttackError> {
    let mut measured = Vec::new();
    let id = ReportId::Beacon {
        t_id: [1; 4],
        rand_d: [2; 4],
    };
    let item = Item {
        cause: Cause::Event,
        seq: 1,
        data: b"21.5 C",
    };
    let k_aiotf = KAiotf::new([3; 16]);
    let mut octets = [0; 125];
    let (_, len) = Exchange::seal_report(
        Suite::AesCmac,
        &k_aiotf,
        &id,
        &item,
        TagLen::T8,
        &mut octets,
    )
    .map_err(|error| AttackError::Scene(error.to_string()))?;
    let wrong_at = |from_end: usize| {
        let mut wrong = octets.get(..len).unwrap_or_default().to_vec();
        if let Some(octet) = wrong.get_mut(len - from_end) {
            *octet ^= 1;
        }
        wrong
    };
    // The seal's IV is the tag: the two decrypt to different text, at the same cost.
    let (first, last) = (wrong_at(8), wrong_at(1));
    measured.push(compare(
        "tag wrong in its first octet or in its last",
        seed,
        samples,
        16,
        |is_first| {
            let octets = if is_first { &first } else { &last };
            let view = ReportView::parse(black_box(octets));
            let opened = view.map(|view| {
                Exchange::open_report(Suite::AesCmac, &k_aiotf, &view, TagLen::T8).is_ok()
            });
            black_box(opened).is_ok()
        },
    ));
    let genuine = [7u8; 64];
    let (mut early, mut late) = (genuine, genuine);
    early[0] ^= 1;
    late[63] ^= 1;
    measured.push(compare(
        "control: a comparison that ends at the first difference",
        seed,
        samples,
        16,
        |is_first| {
            let other = black_box(if is_first { &early } else { &late });
            let ends_early = other
                .iter()
                .zip(&genuine)
                .all(|(a, b)| black_box(a) == black_box(b));
            black_box(ends_early)
        },
    ));

    let mut real = Real::new(seed, &[DeviceForm::Beacon])?;
    Recorder::new(&mut real).exchange(0, 1)?;
    let beacon = real.beacon(1);
    let report = real
        .speak(0, &beacon)
        .ok_or_else(|| AttackError::Scene("nothing to send".into()))?;
    let (mut known, mut unknown) = (report.clone(), report);
    if let Some(octet) = known.last_mut() {
        *octet ^= 1;
    }
    if let Some(octet) = unknown.get_mut(1) {
        *octet ^= 1;
    }
    let now_ms = real.now_ms();
    let adm = real.aiotf().adm();
    let mut verdicts = Vec::new();
    measured.push(compare(
        "a T-ID that is somebody's or nobody's (public: T-IDs are on the air)",
        seed,
        samples / 4,
        4,
        |is_known| {
            let report = DoaReport {
                nas: if is_known { &known } else { &unknown },
                rand_n: beacon.rand_n,
                area_id: beacon.area_id,
                gnb_id: 1,
                reader_index: 1,
            };
            adm.authenticate(now_ms, &[report], &mut verdicts);
            verdicts.is_empty()
        },
    ));
    Ok(measured)
}

/// Times both kinds in random order, `calls` at a time, and compares what is left when the slowest tenth is dropped: what an
/// interrupt costs says nothing.
fn compare(
    name: &'static str,
    seed: u64,
    samples: usize,
    calls: u32,
    mut call: impl FnMut(bool) -> bool,
) -> Measured {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut kinds: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
    for _ in 0..samples {
        let is_first = rng.bool();
        let began = Instant::now();
        for _ in 0..calls {
            black_box(call(is_first));
        }
        let ns = began.elapsed().as_nanos() as f64 / f64::from(calls);
        let [first, second] = &mut kinds;
        if is_first { first } else { second }.push(ns);
    }
    let [first, second] = kinds.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times.truncate(times.len() * 9 / 10);
        let n = times.len().max(2) as f64;
        let mean = times.iter().sum::<f64>() / n;
        let variance = times.iter().map(|t| (t - mean).powi(2)).sum::<f64>() / (n - 1.0);
        (n, mean, variance)
    });
    let error = (first.2 / first.0 + second.2 / second.0).sqrt();
    let t = if error > 0.0 {
        (first.1 - second.1) / error
    } else {
        0.0
    };
    Measured {
        name,
        samples: (first.0 + second.0) as usize / 2,
        difference_ns: first.1 - second.1,
        t,
        distinguishable: t.abs() > 10.0,
    }
}
