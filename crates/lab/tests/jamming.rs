//! Jamming: attempts go unheard, or their ACCEPTs do, up to 10 000 of them. When the air is back, the next attempt of each
//! device is accepted: one transmission, at most one report built for it, no operator, nothing counted twice.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // Tests: a failure is a panic.

mod common;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use ambit_device::Timing;
use ambit_lab::scenario::{DeviceKind, FORMS, Scenario, Scene};
use ambit_lab::store::SharedStore;
use ambit_lab::witness::Witness;
use ambit_protocol::Cause;
use ambit_ran::air::{Jam, Verdict};
use ambit_ran::fleet::{DeviceIndex, Fate, LedgerItem, Schedule};
use ambit_ran::frame::{Direction, FrameKind};
use common::*;

/// What the jammer lets nobody hear.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Jammed {
    Up,
    /// ACCEPTs, while beacons are heard.
    Accepts,
    Both,
    /// Both directions with the beacons: devices that need one do not even try.
    Everything,
}

const JAMMED: [Jammed; 4] = [
    Jammed::Up,
    Jammed::Accepts,
    Jammed::Both,
    Jammed::Everything,
];

struct Jammer {
    is_on: Arc<AtomicBool>,
    jammed: Jammed,
}

impl Jammer {
    fn join(scene: &mut Scene, jammed: Jammed) -> Self {
        let is_on = Arc::new(AtomicBool::new(false));
        let on = Arc::clone(&is_on);
        scene
            .stage
            .site_mut()
            .air_mut()
            .add_ear(Box::new(move |frame| {
                let hit = match frame.direction {
                    Direction::Up => jammed != Jammed::Accepts,
                    Direction::Down => jammed != Jammed::Up,
                };
                match frame.kind {
                    FrameKind::Nas if hit && on.load(Relaxed) => Verdict::Drop,
                    _ => Verdict::Pass,
                }
            }));
        Self { is_on, jammed }
    }

    fn switch(&self, scene: &mut Scene, is_on: bool) {
        self.is_on.store(is_on, Relaxed);
        let site = scene.stage.site_mut();
        let now_ms = site.now_ms();
        if self.jammed == Jammed::Everything && is_on {
            site.air_mut().add_jam(Jam {
                from_ms: now_ms,
                until_ms: u64::MAX,
                direction: None,
                reader: None,
            });
        } else {
            site.air_mut().clear_jams(now_ms);
        }
    }
}

/// Transmissions of a device so far.
fn transmissions(scene: &Scene, device: u32) -> u64 {
    let view = scene
        .stage
        .site()
        .fleet()
        .device(DeviceIndex(device))
        .unwrap();
    view.ledger().map(|item| sent(item).0).sum()
}

/// Reports of an item: transmitted, and built.
fn sent(item: &LedgerItem) -> (u64, usize) {
    let transmitted = item
        .reports
        .iter()
        .map(|r| u64::from(r.transmissions))
        .sum();
    (transmitted, item.reports.len())
}

/// Every item of a device that waits, and its reports so far.
fn waiting(scene: &Scene, device: u32) -> HashMap<u32, (u64, usize)> {
    let view = scene
        .stage
        .site()
        .fleet()
        .device(DeviceIndex(device))
        .unwrap();
    let waiting = view.ledger().filter(|item| item.fate == Fate::Waiting);
    waiting.map(|item| (item.number, sent(item))).collect()
}

/// The first item that a device saw accepted at or after `since_ms`.
fn first_accepted(scene: &Scene, device: u32, since_ms: u64) -> Option<&LedgerItem> {
    let view = scene
        .stage
        .site()
        .fleet()
        .device(DeviceIndex(device))
        .unwrap();
    let mut items = view.ledger();
    items.find(|item| matches!(item.fate, Fate::Accepted { at_ms, .. } if at_ms >= since_ms))
}

/// Whether a report of this item was sent in the first millisecond of an epoch.
fn spoke_as_the_beacon_changed(scene: &Scene, witness: &Witness, item: &LedgerItem) -> bool {
    let period_ms = u64::from(scene.scenario().period_s) * 1000;
    let mut heard = witness.reports().into_iter();
    heard.any(|heard| {
        let is_of_item = item
            .reports
            .iter()
            .any(|report| heard.octets.ends_with(report.tag1()));
        is_of_item && heard.at_ms.is_multiple_of(period_ms)
    })
}

/// Jams until every device has made `attempts`, or as long as that takes for those that do not try; then the air returns.
fn run(seed: u64, kinds: Vec<DeviceKind>, jammed: Jammed, attempts: u64) -> u64 {
    let mut rng = fastrand::Rng::with_seed(seed);
    let scenario = Scenario {
        devices: kinds,
        // The chain must reach over the whole jam; the devices' 1024 steps need not.
        chain_epochs: 4096,
        timing: Timing {
            answer_timeout_ms: 200,
            backoff_first_ms: 100,
            backoff_max_ms: 1_000,
            ..Scenario::new(seed).timing
        },
        schedule: Some(Schedule {
            first_ms: 5_000,
            interval_ms: 100_000,
            jitter_ms: 100_000,
            items_max: None,
        }),
        ..Scenario::new(seed)
    };
    let store = SharedStore::new().unwrap();
    let mut scene = scenario.build(Box::new(store.clone())).unwrap();
    let jammer = Jammer::join(&mut scene, jammed);
    // Half of the time the jam begins before the devices have ever been heard.
    let devices = scene.scenario().devices.len() as u32;
    scene.stage.advance(if rng.bool() {
        0
    } else {
        rng.u64(2_000..40_000)
    });
    let before: Vec<u64> = (0..devices).map(|n| transmissions(&scene, n)).collect();
    jammer.switch(&mut scene, true);
    let jam_ms = scene.stage.site().now_ms();
    for device in 0..devices {
        let fleet = scene.stage.site_mut().fleet_mut();
        let _ = fleet.submit(jam_ms, DeviceIndex(device), Cause::Event, b"jammed");
    }
    let limit_ms = jam_ms + attempts * 1_000;
    loop {
        let now_ms = scene.stage.site().now_ms();
        let tried = |n: u32| transmissions(&scene, n) - before[n as usize];
        if (0..devices).all(|n| tried(n) >= attempts) || now_ms >= limit_ms {
            break;
        }
        scene.stage.advance(now_ms + attempts.min(1_000) * 50);
    }

    jammer.switch(&mut scene, false);
    let back_ms = scene.stage.site().now_ms();
    let witness = Witness::join(scene.stage.site_mut());
    let at_return: Vec<_> = (0..devices).map(|n| waiting(&scene, n)).collect();
    // Each has something to say by now or within a schedule's interval.
    scene.stage.advance(back_ms + 210_000);
    for n in 0..devices {
        let kind = &scene.scenario().devices[n as usize];
        let item = first_accepted(&scene, n, back_ms);
        let item = item.unwrap_or_else(|| panic!("{jammed:?} {kind:?}: not accepted"));
        let (transmitted, built) = sent(item);
        let before = at_return[n as usize].get(&item.number);
        let (transmitted_before, built_before) = before.copied().unwrap_or_default();
        // None at all where the ACCEPT of the last attempt was still on its way; one more where an attempt was made in the
        // very millisecond in which the beacon changed, so that its reader took it for one under the new beacon.
        let took = (transmitted - transmitted_before, built - built_before);
        let at_most = 1 + u64::from(spoke_as_the_beacon_changed(&scene, &witness, item));
        assert!(
            took.0 <= at_most && took.1 as u64 <= at_most,
            "{jammed:?} {kind:?} {item:?}"
        );
    }
    let orphans = orphans_when_good(&mut scene, 300_000);
    assert!(orphans.is_empty(), "orphans:{}", describe(&scene, &orphans));
    let judgement = verdict(&scene, &store);
    assert!(judgement.is_safe(), "{judgement:?}");
    scene.stage.site().now_ms()
}

#[test]
fn after_a_jam_one_exchange_is_enough() {
    for_seeds("after_a_jam_one_exchange_is_enough", 1_000, |seed| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let start = rng.u32(..1_000);
        let kinds = (start..start + 4).map(DeviceKind::mixed).collect();
        let jammed = *rng.choice(&JAMMED).unwrap();
        run(seed, kinds, jammed, rng.u64(1..120))
    });
}

/// Every form, every way to jam, 10 000 attempts of the device.
#[test]
fn ten_thousand_unheard_attempts_change_nothing() {
    for_seeds("ten_thousand_unheard_attempts_change_nothing", 16, |seed| {
        // Seeds are consecutive.
        let form = FORMS[seed as usize % 4];
        let jammed = JAMMED[seed as usize / 4 % 4];
        run(seed, vec![DeviceKind::new(form)], jammed, 10_000)
    });
}
