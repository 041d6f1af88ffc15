//! Attacks through readers: T15, a flood, and T17, a gNB that lies.

use ambit_adm_api::{Outcome, Tally};
use ambit_device::DeviceForm;
use ambit_ngap::FromGnb;

use super::arena::{Actor, Arena as _, Recorder};
use super::real::Real;
use super::{Pair, Result, Run, scene, steps};
use crate::scenario::START_MS;

/// Honest reports of 40 devices in 2000 reports of junk, concealed and beacon form, at reader 1; half the devices stand at
/// reader 2. The control has no budget.
pub(super) fn t15(seed: u64) -> Result<Pair> {
    let budget = 20_000;
    let run = flood(seed, budget, budget)?;
    let control = flood(seed, u64::MAX / 4, budget)?;
    Ok(Pair {
        exception: None,
        run,
        control: Some(("no budget for searches", control)),
    })
}

fn flood(seed: u64, budget: u64, allowed: u64) -> Result<Run> {
    let mut rng = fastrand::Rng::with_seed(!seed);
    let forms: Vec<DeviceForm> = (0..40)
        .map(|n| match n % 2 {
            0 => DeviceForm::Beacon,
            _ => DeviceForm::Concealed,
        })
        .collect();
    let mut real = Real::configured(seed, &forms, &|config| {
        config.search_prf_per_s_max = budget;
    })?;
    let mut arena = Recorder::new(&mut real);
    // Anchors first: what is honest afterwards is in the beacon form.
    for device in (0..40).step_by(2) {
        arena.exchange(device, 1)?;
    }
    drop(arena);
    real.wait_until(START_MS + 60_000)?;
    let before = searched(real.aiotf().reports());
    let (mut beacon_ok, mut concealed_ok, mut junk) = (0u32, 0u32, 0u32);
    for device in 0..40 {
        for _ in 0..50 {
            let mut octets = vec![0; 30];
            rng.fill(&mut octets);
            if let Some(header) = octets.first_mut() {
                *header = 0b0100_0000 | if junk % 4 == 0 { 0 } else { 2 };
            }
            junk += 1;
            real.hear(1, &octets)?;
        }
        // Concealed ones at the reader that is not flooded; the flood takes half a millisecond a report.
        let reader = if device % 2 == 0 { 1 } else { 2 };
        let beacon = real.beacon(reader);
        let report = real
            .speak(device, &beacon)
            .ok_or_else(|| scene("nothing to send"))?;
        let is_accepted = real.hear(reader, &report)?.is_some();
        match device % 2 {
            0 => beacon_ok += u32::from(is_accepted),
            _ => concealed_ok += u32::from(is_accepted),
        }
    }
    let searches = searched(real.aiotf().reports()) - before;
    let tally = real.aiotf().reports();
    let counted = tally.of(Outcome::NoMatch) + tally.of(Outcome::SearchBudgetExhausted);
    // Each search tries the 40 devices. The run takes less than a second, beyond the bucket's first filling.
    let prfs = searches * 40;
    let mut run = Run::new(
        beacon_ok == 20 && concealed_ok == 20 && prfs <= 2 * allowed && counted == u64::from(junk),
        &[
            ("junk reports", junk.into()),
            (
                "honest beacon-form reports accepted, of 20",
                beacon_ok.into(),
            ),
            (
                "honest concealed reports at another reader accepted, of 20",
                concealed_ok.into(),
            ),
            ("PRFs spent on searches", prfs as f64),
            ("PRFs allowed in the time", (2 * allowed) as f64),
            ("junk counted by outcome", counted as f64),
        ],
    );
    run.steps = steps(&[
        (
            Actor::Adversary,
            Actor::Network,
            "50 REPORTs of junk by reader 1",
        ),
        (Actor::Network, Actor::Adversary, "silence"),
        (Actor::Device, Actor::Network, "REPORT beacon by reader 1"),
        (Actor::Network, Actor::Device, "Accept"),
        (
            Actor::Adversary,
            Actor::Network,
            "50 REPORTs of junk by reader 1",
        ),
        (
            Actor::Device,
            Actor::Network,
            "REPORT concealed by reader 2",
        ),
        (Actor::Network, Actor::Device, "Accept"),
    ]);
    Ok(run)
}

/// Reports for which the population was searched.
fn searched(tally: &Tally) -> u64 {
    let is_search = |form| matches!(form, Some(ambit_protocol::Form::Concealed));
    let cells = tally.iter().filter(|(outcome, form, _)| {
        is_search(*form) && *outcome != Outcome::SearchBudgetExhausted
    });
    cells.map(|(.., count)| count).sum()
}

/// A gNB that is the adversary's: old windows, windows that are none, device numbers used twice, readers that are none,
/// reports twice and out of order, responses to nothing.
pub(super) fn t17(seed: u64) -> Result<Pair> {
    let mut rng = fastrand::Rng::with_seed(!seed);
    let mut real = Real::new(seed, &[DeviceForm::Beacon, DeviceForm::Counter])?;
    let mut honest = 0u64;
    for device in [0, 0, 1, 1] {
        Recorder::new(&mut real).exchange(device, 1)?;
        honest += 1;
    }
    let old_window = real.correlation();
    let beacon = real.beacon(1);
    let held = real
        .speak(0, &beacon)
        .ok_or_else(|| scene("nothing to send"))?;
    real.next_epoch()?;
    let beacon = real.beacon(1);
    let kept = real
        .speak(1, &beacon)
        .ok_or_else(|| scene("nothing to send"))?;
    let window = real.correlation();
    let mut answers = 0usize;
    let lies = [
        (old_window, 1, Some(1), &held),
        (window, 1, Some(1), &held),
        (window ^ 1, 1, Some(1), &kept),
        (0, 1, Some(1), &kept),
        (window, 2, Some(2), &kept),
        (window, u16::MAX, Some(3), &kept),
    ];
    for (correlation, reader, number, nas) in lies {
        answers += real.report(correlation, reader, number, nas)?.len();
    }
    for _ in 0..1_000 {
        let mut nas = kept.clone();
        let at = rng.usize(..nas.len());
        if let Some(octet) = nas.get_mut(at) {
            *octet ^= 1 << rng.u8(0..8);
        }
        answers += real.report(window, 1, Some(rng.u32(..)), &nas)?.len();
        real.pdu(&FromGnb::CommandResponse {
            aiotf_id: *b"ambit-lab-attack",
            correlation: window,
            device_ngap_id: rng.u32(..8),
            nas: nas.into(),
        })?;
        answers += real.drain()?.len();
    }
    let after_lies = real.books()?;
    // The true report, three times under one number and three: one record.
    for number in [1, 1, 1, 7, 8, 9] {
        real.report(window, 1, Some(number), &kept)?;
    }
    let books = real.books()?;
    let told: u64 = real.aiotf().counts().values().sum();
    let mut run = Run::new(
        answers == 0 && after_lies.records == honest && books.records == honest + 1 && told > 0,
        &[
            ("lies", 2_006.0),
            ("lies answered", answers as f64),
            ("records more", (after_lies.records - honest) as f64),
            (
                "records of one report sent six times",
                (books.records - honest) as f64,
            ),
            ("oddities counted at N2", told as f64),
        ],
    );
    run.steps = steps(&[
        (
            Actor::Device,
            Actor::Adversary,
            "REPORT, held back until the next epoch",
        ),
        (
            Actor::Adversary,
            Actor::Network,
            "INVENTORY REPORT in the window before",
        ),
        (Actor::Network, Actor::Adversary, "silence"),
        (
            Actor::Adversary,
            Actor::Network,
            "INVENTORY REPORT in a window that is none",
        ),
        (Actor::Network, Actor::Adversary, "silence"),
        (
            Actor::Adversary,
            Actor::Network,
            "INVENTORY REPORT by another reader",
        ),
        (Actor::Network, Actor::Adversary, "silence"),
        (Actor::Adversary, Actor::Network, "the true one, six times"),
        (Actor::Network, Actor::Network, "one record"),
    ]);
    Ok(Pair::new(run, None))
}
