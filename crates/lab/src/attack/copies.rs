//! Attacks with a device too many or one too few: T12, a cloned key, and T13, a device that was swapped.

use std::ops::ControlFlow;

use ambit_device::DeviceForm;
use ambit_nef::presence::{Change, Expectation, Follower, Tracker};
use ambit_store::{EventFilter, RecordFilter, Store as _};

use super::arena::{Actor, Arena as _, Recorder};
use super::real::{Real, spec};
use super::{Pair, Result, Run, scene, steps};
use crate::scenario::START_MS;

/// Three keys are cloned: of a beacon device, the clone in another area; of a counter device, with its memory; of a beacon
/// device, the clone beside it, where there is nothing to see. The control compares neither places nor counters.
pub(super) fn t12(seed: u64) -> Result<Pair> {
    let mut real = Real::new(
        seed,
        &[
            DeviceForm::Beacon,
            DeviceForm::Counter,
            DeviceForm::Beacon,
            DeviceForm::Concealed,
        ],
    )?;
    for device in [0, 0, 1, 1, 2, 2, 3, 3] {
        Recorder::new(&mut real).exchange(device, 1)?;
    }
    let began_ms = real.now_ms();
    // In another area: it says that it is switched on, and the true one reports from where it was.
    let elsewhere = real.add_clone(0, false)?;
    Recorder::new(&mut real).exchange(elsewhere, 2)?;
    Recorder::new(&mut real).exchange(0, 1)?;
    // With the memory, so that it counts on from where the true one is. It says the same, and only its area differs.
    let counting = real.add_clone(1, true)?;
    Recorder::new(&mut real).exchange(1, 1)?;
    let beacon = real.beacon(2);
    let report = real
        .speak(counting, &beacon)
        .ok_or_else(|| scene("nothing to send"))?;
    let is_refused = real.hear(2, &report)?.is_none();
    // Beside the true one, without a counter: a limit, and the control.
    for of in [2, 3] {
        let beside = real.add_clone(of, false)?;
        Recorder::new(&mut real).exchange(beside, 1)?;
        Recorder::new(&mut real).exchange(of, 1)?;
    }
    let took_ms = real.now_ms() - began_ms;
    real.wait_until(began_ms + 120_000)?;

    let by_place = suspects(&mut real, false)?;
    let by_counter = counter_alarms(&mut real)?;
    let of = |device: u32| spec(seed, device, DeviceForm::Beacon).device_id;
    let is_first = |suspect: &&Suspect| {
        suspect.device_id == of(0) && matches!((suspect.from, suspect.to), (1, 2) | (2, 1))
    };
    let found = by_place.iter().filter(is_first).count();
    let named_beside = by_place
        .iter()
        .filter(|suspect| [of(2), of(3)].contains(&suspect.device_id))
        .count();
    let epoch_ms = i64::from(real.config().period_s) * 1000;
    let names_counter = by_counter == [of(1)];
    let mut run = Run::new(
        found == 1 && by_place.len() == 1 && names_counter && is_refused && took_ms < epoch_ms,
        &[
            ("clones", 4.0),
            ("named with both places, in the same epoch", found as f64),
            (
                "named by a counter used twice, at once",
                by_counter.len() as f64,
            ),
            (
                "reports accepted of a counter used twice",
                if is_refused { 0.0 } else { 1.0 },
            ),
            (
                "named of two clones beside the true one, no counter (a limit)",
                named_beside as f64,
            ),
        ],
    );
    run.steps = steps(&[
        (Actor::Device, Actor::Network, "REPORT beacon in area 1"),
        (
            Actor::Adversary,
            Actor::Network,
            "REPORT of its clone in area 2",
        ),
        (Actor::Device, Actor::Network, "REPORT beacon in area 1"),
        (
            Actor::Network,
            Actor::Network,
            "clone_suspicion, both places",
        ),
        (Actor::Device, Actor::Network, "REPORT counter c"),
        (
            Actor::Adversary,
            Actor::Network,
            "REPORT counter c of its clone in area 2",
        ),
        (Actor::Network, Actor::Adversary, "silence; clone_suspicion"),
    ]);
    let blind = suspects(&mut real, true)?.len();
    let mut control = Run::new(blind > 0, &[("clones", 4.0), ("named", blind as f64)]);
    control.steps = steps(&[
        (Actor::Device, Actor::Network, "REPORT"),
        (Actor::Adversary, Actor::Network, "REPORT of its clone"),
        (Actor::Network, Actor::Adversary, "ACCEPT to both"),
    ]);
    Ok(Pair::with_control(
        run,
        "neither places nor counters are compared",
        control,
    ))
}

struct Suspect {
    device_id: Vec<u8>,
    from: u8,
    to: u8,
}

/// What the presence watch suspects; `is_blind`: one that sees no places.
fn suspects(real: &mut Real, is_blind: bool) -> Result<Vec<Suspect>> {
    let mut tracker = Tracker::new(START_MS);
    let mut found = Vec::new();
    let filter = RecordFilter::default();
    real.store().records_for_each(&filter, &mut |mut record| {
        if is_blind {
            record.area_id = [0; 12];
        }
        tracker.record(&record, None, &mut |seen, change| {
            if let Change::CloneSuspicion { from } = change {
                let [.., from] = from.area_id;
                let [.., to] = seen.place.area_id;
                let device_id = seen.device_id.to_vec();
                found.push(Suspect {
                    device_id,
                    from,
                    to,
                });
            }
        });
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

/// The devices that a counter used twice has named.
fn counter_alarms(real: &mut Real) -> Result<Vec<Vec<u8>>> {
    let mut named = Vec::new();
    let filter = EventFilter {
        kind: Some("clone_suspicion"),
        since_ms: None,
    };
    real.store().events_for_each(&filter, &mut |event| {
        named.extend(event.device_id);
        ControlFlow::Continue(())
    })?;
    named.dedup();
    Ok(named)
}

/// A device is taken away, and a fake stands in its place that knows its identity, all it ever sent, and what others send. In the
/// control the fake has the key.
pub(super) fn t13(seed: u64) -> Result<Pair> {
    Ok(Pair::with_control(
        swapped(seed, false)?,
        "the thief has the key as well",
        swapped(seed, true)?,
    ))
}

fn swapped(seed: u64, has_key: bool) -> Result<Run> {
    let mut rng = fastrand::Rng::with_seed(!seed);
    let mut real = Real::new(seed, &[DeviceForm::Beacon, DeviceForm::Beacon])?;
    let mut recorded = Vec::new();
    for _ in 0..3 {
        for device in [0, 1] {
            recorded.push(Recorder::new(&mut real).exchange(device, 1)?.0);
        }
        real.next_epoch()?;
    }
    // The last that was heard of the true one, an epoch ago.
    let taken_ms = real.now_ms();
    let identity = spec(seed, 0, DeviceForm::Beacon).device_id;
    let clone = match has_key {
        true => Some(real.add_clone(0, false)?),
        false => None,
    };
    let interval_s = real.config().period_s * 2;
    let expectation = Expectation {
        interval_s: [("default".to_owned(), interval_s)].into(),
        grace_s: 60,
    };
    let mut watch = Follower::new(expectation, START_MS);
    let mut missing = Vec::new();
    let (mut sent, mut accepted) = (0u32, 0u32);
    for _ in 0..4 {
        let heard = Recorder::new(&mut real).exchange(1, 1)?.0;
        recorded.push(heard.clone());
        for n in 0..500 {
            let octets = fake(&mut rng, &recorded, &heard, &identity, n);
            sent += 1;
            // The honest one's own report again, octet for octet, is answered as a duplicate and is no acceptance.
            let is_own = octets == heard;
            accepted += u32::from(real.hear(1, &octets)?.is_some() && !is_own);
        }
        if let Some(clone) = clone {
            Recorder::new(&mut real).exchange(clone, 1)?;
            sent += 1;
            accepted += 1;
        }
        real.next_epoch()?;
        let now_ms = real.now_ms();
        loop {
            let more = watch.step(real.store(), now_ms, &mut |seen, change, _| {
                if matches!(change, Change::Missing) {
                    missing.push((seen.device_id.to_vec(), seen.since_ms - seen.last_ms));
                }
            })?;
            if more == 0 {
                break;
            }
        }
    }
    let deadline_ms = (i64::from(interval_s) + 60) * 1000;
    let is_raised = missing == [(identity, deadline_ms)];
    let mut run = Run::new(
        accepted == 0 && is_raised && real.now_ms() > taken_ms,
        &[
            ("reports of the fake", sent.into()),
            ("accepted", accepted.into()),
            (
                "devices that are missing, of 1 taken away",
                missing.len() as f64,
            ),
            (
                "seconds from its last report to the alarm's deadline",
                deadline_ms as f64 / 1000.0,
            ),
        ],
    );
    let answer = if has_key { "Accept" } else { "silence" };
    let end = if has_key {
        "nothing is missing"
    } else {
        "missing, names the device"
    };
    run.steps = steps(&[
        (Actor::Device, Actor::Network, "REPORT beacon"),
        (Actor::Adversary, Actor::Device, "taken away"),
        (
            Actor::Adversary,
            Actor::Network,
            "REPORTs under its identity: recorded, changed, made up",
        ),
        (Actor::Network, Actor::Adversary, answer),
        (Actor::Network, Actor::Network, end),
    ]);
    Ok(run)
}

/// What a fake without a key can send: what was recorded, that with a bit changed, the identity in clear, a name that is on the
/// air with all else made up.
fn fake(
    rng: &mut fastrand::Rng,
    recorded: &[Vec<u8>],
    heard: &[u8],
    identity: &[u8],
    n: u32,
) -> Vec<u8> {
    let mut octets = rng.choice(recorded).cloned().unwrap_or_default();
    match n % 4 {
        0 => {}
        1 => {
            let at = rng.usize(..octets.len().max(1));
            if let Some(octet) = octets.get_mut(at) {
                *octet ^= 1 << rng.u8(..8);
            }
        }
        2 => {
            octets.truncate(1);
            octets.extend_from_slice(identity);
            octets.extend(std::iter::repeat_with(|| rng.u8(..)).take(16));
        }
        _ => {
            octets = heard.to_vec();
            rng.fill(octets.get_mut(9..).unwrap_or_default());
        }
    }
    octets
}
