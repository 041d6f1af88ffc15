//! What the simulations share: seeds, fleets, and the end of every run, when the air is good again.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub
)]

use ambit_device::DeviceForm;
use ambit_lab::judge::{Judgement, judge};
use ambit_lab::scenario::{DeviceKind, Scenario, Scene};
use ambit_lab::store::SharedStore;
use ambit_protocol::Cause;
use ambit_ran::air::Channel;
use ambit_ran::fleet::{DeviceIndex, Fate, Schedule};
use ambit_ran::frame::Direction;

/// Runs `run`, which returns the virtual time it covered in milliseconds, once for each seed. Each name has seeds of its own.
/// In the environment, `AMBIT_SEED=n` runs that seed only, and `AMBIT_SEEDS_TIMES=n` so many times as many.
pub fn for_seeds(name: &str, count: u64, mut run: impl FnMut(u64) -> u64) {
    let number = |variable| Some(std::env::var(variable).ok()?.parse::<u64>().unwrap());
    let hash = |hash: u64, octet| (hash * 31 + u64::from(octet)) % 90_001;
    let first = name.bytes().fold(0, hash) * 1_000_000;
    let seeds = match number("AMBIT_SEED") {
        Some(seed) => seed..seed + 1,
        None => first..first + count * number("AMBIT_SEEDS_TIMES").unwrap_or(1),
    };
    let (mut runs, mut virtual_ms) = (0u64, 0);
    for seed in seeds {
        let _named = Named { name, seed };
        virtual_ms += run(seed);
        runs += 1;
    }
    let hours = virtual_ms as f64 / 3_600_000.0;
    println!("{name}: {runs} seeds, {hours:.1} virtual hours");
}

/// Says which seed a panic belongs to.
struct Named<'a> {
    name: &'a str,
    seed: u64,
}

impl Drop for Named<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { name, seed } = self;
            println!(
                "seed {seed} failed; this seed alone: AMBIT_SEED={seed} cargo test -p ambit-lab --release {name}"
            );
        }
    }
}

/// A fleet of 4 to 8 devices that report often, each form at least once, each seed with other suites and tags.
pub fn mixed(seed: u64, rng: &mut fastrand::Rng) -> Scenario {
    let start = rng.u32(..1000) * 4;
    let devices = (start..start + rng.u32(4..=8)).map(|n| DeviceKind {
        power_on_ms: Some(rng.u64(..20_000)),
        counter: if rng.u8(..8) == 0 { rng.u32(..100) } else { 0 },
        ..DeviceKind::mixed(n)
    });
    Scenario {
        devices: devices.collect(),
        chain_epochs: if rng.u8(..4) == 0 { 5 } else { 64 },
        schedule: Some(Schedule {
            first_ms: 1_000,
            interval_ms: rng.u64(3_000..15_000),
            jitter_ms: 5_000,
            items_max: None,
        }),
        ..Scenario::new(seed)
    }
}

/// An air that loses up to 80 % of what is sent in a direction, delays, doubles and reorders it.
pub fn bad_channel(rng: &mut fastrand::Rng) -> Channel {
    let delay_ms_min = rng.u32(0..50);
    Channel {
        loss: rng.f64() * 0.8,
        duplication: rng.f64() * 0.3,
        reordering: rng.f64() * 0.3,
        // Both ways together, and the wait for an answer at the gNB, stay below the devices' answer timeout of 2 s.
        reordering_delay_ms: rng.u32(0..300),
        delay_ms_min,
        delay_ms_max: delay_ms_min + rng.u32(0..500),
    }
}

/// Power that comes and goes at random until `until_ms`, and stays then.
pub fn random_power(scene: &mut Scene, until_ms: u64, rng: &mut fastrand::Rng) {
    let fleet = scene.stage.site_mut().fleet_mut();
    let devices = u32::try_from(fleet.stats().devices).unwrap();
    for device in 0..devices {
        let mut at_ms = rng.u64(..until_ms / 2);
        while at_ms < until_ms {
            fleet.schedule_power(DeviceIndex(device), at_ms, false);
            at_ms += rng.u64(1..20_000);
            fleet.schedule_power(DeviceIndex(device), at_ms.min(until_ms), true);
            at_ms += rng.u64(1..60_000);
        }
    }
}

/// The air becomes perfect. Waits until nothing is left to say, lets each device say one thing more, and returns which
/// devices were not accepted then: orphans.
pub fn orphans_when_good(scene: &mut Scene, patience_ms: u64) -> Vec<usize> {
    let site = scene.stage.site_mut();
    let good_ms = site.now_ms();
    let air = site.air_mut();
    air.set_channel(Direction::Up, Channel::PERFECT);
    air.set_channel(Direction::Down, Channel::PERFECT);
    air.clear_jams(good_ms);
    air.clear_false_beacons(good_ms);
    // The scheduled items come and go meanwhile; it is the oldest that must not stand still.
    let mut asked = false;
    while scene.stage.site().now_ms() < good_ms + patience_ms {
        let now_ms = scene.stage.site().now_ms();
        scene.stage.advance(now_ms + 1_000);
        let registered = scene
            .stage
            .site()
            .fleet()
            .devices()
            .all(|d| d.is_registered());
        if registered && !asked {
            asked = true;
            ask_all(scene);
        }
        if asked && not_accepted_since(scene, good_ms).is_empty() {
            return Vec::new();
        }
    }
    not_accepted_since(scene, good_ms)
}

/// Submits one more item for each device that has room for it.
fn ask_all(scene: &mut Scene) {
    let site = scene.stage.site_mut();
    let now_ms = site.now_ms();
    let devices = u32::try_from(site.fleet_stats().devices).unwrap();
    for device in 0..devices {
        let fleet = site.fleet_mut();
        let _ = fleet.submit(now_ms, DeviceIndex(device), Cause::Moved, b"good");
    }
}

/// Devices without an accepted registration, or without an item that was submitted and accepted at or after `since_ms`.
pub fn not_accepted_since(scene: &Scene, since_ms: u64) -> Vec<usize> {
    let devices = scene.stage.site().fleet().devices().enumerate();
    let orphans = devices.filter(|(_, device)| {
        let accepted = device.ledger().any(|item| {
            item.submitted_ms >= since_ms && matches!(item.fate, Fate::Accepted { .. })
        });
        !device.is_registered() || !accepted
    });
    orphans.map(|(n, _)| n).collect()
}

/// Judges a scene against a store.
pub fn verdict(scene: &Scene, store: &SharedStore) -> Judgement {
    judge(scene.stage.site().fleet(), &mut store.clone()).unwrap()
}

/// What a device is, for a failure's message.
pub fn describe(scene: &Scene, devices: &[usize]) -> String {
    let fleet = scene.stage.site().fleet();
    let lines = devices.iter().map(|n| {
        let view = fleet.device(DeviceIndex(*n as u32)).unwrap();
        let form: Option<DeviceForm> = view.device().map(|d| d.profile().form);
        let kind = &scene.scenario().devices[*n];
        format!(
            "\n  device {n} {kind:?}: {form:?} power {} registered {} failure {:?} counter {:?} anchor {:?} stats {:?}",
            view.is_powered(),
            view.is_registered(),
            view.failure(),
            view.device().map(|d| d.counter()),
            view.device().and_then(|d| d.anchor()),
            view.device().map(|d| *d.stats()),
        )
    });
    lines.collect()
}
