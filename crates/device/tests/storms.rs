//! Whole lives of a device, over thousands of seeds: loss, jamming, power cuts, failing memory, false readers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing)]

mod common;

use ambit_device::{DeviceForm, Event, PDU_OCTETS_MAX, PagingTarget, Profile, provision};
use ambit_protocol::wire::{AcceptStatus, REPORT_OCTETS_MAX};
use ambit_protocol::{AreaId, Cause, Form, RandN, Suite, TagLen};
use common::network::Network;
use common::nvm::Nvm;
use common::observer::Observer;
use common::{TestDevice, area, for_seeds, profile, start};

const FORMS: [DeviceForm; 4] = [
    DeviceForm::Beacon,
    DeviceForm::Concealed,
    DeviceForm::Counter,
    DeviceForm::Blind,
];

/// A device's world: true time, the air between it and the network, and those who mean it no good.
struct World {
    seed: u64,
    dice: fastrand::Rng,
    network: Network,
    observer: Observer,
    nvm: Nvm,
    profile: Profile,
    device: Option<TestDevice>,
    cycle: u32,
    now_ms: u64,
    /// True time at power-on less what the device calls it.
    clock_offset_ms: u64,
    heard: Option<(AreaId, RandN)>,
    issued_epoch: u32,
    air: Air,
}

/// Of 100.
#[derive(Clone, Copy)]
struct Air {
    lost_up: u8,
    lost_down: u8,
    false_beacons: u8,
    power_cuts: u8,
    junk_down: u8,
}

const CLEAR: Air = Air {
    lost_up: 0,
    lost_down: 0,
    false_beacons: 0,
    power_cuts: 0,
    junk_down: 0,
};

impl World {
    fn new(seed: u64, form: DeviceForm, suite: Suite, tag_len: TagLen, period_s: u32) -> Self {
        let mut profile = profile(form);
        profile.tag_len = tag_len;
        profile.period_s = period_s;
        profile.max_steps = 40;
        let mut world = Self {
            seed,
            dice: fastrand::Rng::with_seed(seed),
            network: Network::new(suite, tag_len, period_s, seed),
            observer: Observer::default(),
            nvm: Nvm::new(100, seed ^ 0xF00D),
            profile,
            device: None,
            cycle: 0,
            now_ms: 0,
            clock_offset_ms: 0,
            heard: None,
            issued_epoch: 0,
            air: CLEAR,
        };
        world.issue();
        world
    }

    fn power_on(&mut self) {
        self.device = None;
        self.nvm.revive();
        self.cycle += 1;
        self.heard = None;
        self.clock_offset_ms = self.dice.u64(..=self.now_ms);
        let seed = self.dice.u64(..);
        let now_ms = self.now_ms - self.clock_offset_ms;
        self.device = Some(start(
            self.profile,
            self.network.suite,
            &self.nvm,
            seed,
            now_ms,
        ));
    }

    /// The device, and what it calls now. Power lost during a write ends the cycle.
    fn with<T>(&mut self, act: impl FnOnce(&mut TestDevice, u64) -> T) -> T {
        let now_ms = self.now_ms - self.clock_offset_ms;
        let result = act(self.device.as_mut().unwrap(), now_ms);
        if self.nvm.is_dead() {
            self.power_on();
        }
        result
    }

    /// The network issues the epochs up to now; the previous ones are public.
    fn issue(&mut self) {
        let epoch = self.network.epoch(self.now_ms);
        for epoch in self.issued_epoch.max(60)..=epoch {
            let rand_n = self.network.at(epoch);
            self.observer.issued(&self.network, &rand_n);
        }
        self.issued_epoch = epoch + 1;
    }

    fn hear(&mut self, area_id: AreaId, rand_n: RandN) {
        self.heard = Some((area_id, rand_n));
        self.with(|device, now_ms| device.handle_beacon(now_ms, &area_id, &rand_n));
    }

    fn hear_true(&mut self) {
        self.issue();
        let rand_n = self.network.rand_n(self.now_ms);
        self.hear(area(1), rand_n);
    }

    /// Invented, repeated from an older epoch, or an old element under a new number.
    fn hear_false(&mut self) {
        self.issue();
        let now = self.network.epoch(self.now_ms);
        let old = self.network.at(self.dice.u32(95..=now));
        let rand_n = match self.dice.u8(..4) {
            0 => RandN::new(self.dice.u32(95..now + 60), [self.dice.u8(..); 12]),
            1 => RandN::new(now + self.dice.u32(..4), old.element()),
            2 => RandN::new(now, [self.dice.u8(..); 12]),
            _ => old,
        };
        let area_id = area(self.dice.u8(1..3));
        self.hear(area_id, rand_n);
    }

    /// Everything the device has to send now.
    fn exchange(&mut self) {
        for _ in 0..4 {
            let cycle = self.cycle;
            let mut out = [0; PDU_OCTETS_MAX];
            let len = self.with(|device, now_ms| device.poll_transmit(now_ms, &mut out));
            let Some(len) = len else { return };
            if cycle != self.cycle {
                // Power was lost while it was built: it was never sent.
                return;
            }
            let octets = &out[..len];
            if octets[0] >> 3 != 0b01_000 {
                continue; // An answer to a paging.
            }
            assert!(len <= REPORT_OCTETS_MAX);
            let rand_n = self.heard.map(|(_, rand_n)| rand_n);
            self.observer
                .sent(&self.network, self.cycle, self.now_ms, rand_n, octets);
            if self.dice.u8(..100) < self.air.lost_up {
                continue;
            }
            // A false reader may carry reports on as well as a true one.
            let area_id = self.heard.map_or(area(1), |(area_id, _)| area_id);
            let Some(accept) = self.network.report(self.now_ms, &area_id, octets) else {
                continue;
            };
            if self.dice.u8(..100) < self.air.junk_down {
                let mut forged = accept.clone();
                let bit = self.dice.usize(..forged.len() * 8);
                forged[bit / 8] ^= 1 << (bit % 8);
                let taken = self.with(|device, now_ms| device.handle_downlink(now_ms, &forged));
                assert!(taken.is_err());
            }
            if self.dice.u8(..100) >= self.air.lost_down {
                self.now_ms += self.dice.u64(..3) * 700;
                let _ = self.with(|device, now_ms| device.handle_downlink(now_ms, &accept));
            }
        }
    }

    /// Some time, in which anything may happen.
    fn live(&mut self, until_ms: u64, beacons: bool) {
        while self.now_ms < until_ms {
            let due_ms = self
                .device
                .as_ref()
                .unwrap()
                .poll_timeout()
                .map_or(u64::MAX, |at| at.saturating_add(self.clock_offset_ms));
            let next_ms = self.now_ms + self.dice.u64(1..20_000);
            self.now_ms = due_ms.clamp(self.now_ms + 1, next_ms).min(until_ms);
            if self.dice.u8(..100) < self.air.power_cuts {
                if self.dice.bool() {
                    self.power_on();
                } else {
                    let octets = self.dice.usize(..80);
                    self.nvm.0.borrow_mut().cut_after = Some(octets);
                }
            }
            if self.dice.u8(..100) < self.air.false_beacons {
                self.hear_false();
            } else if beacons && self.dice.bool() {
                self.hear_true();
            }
            if self.dice.u8(..100) < 5 {
                let data = self.seed.to_be_bytes();
                let data = &data[..self.dice.usize(..8)];
                let _ = self.with(|device, now_ms| device.submit(now_ms, Cause::Event, data));
            }
            if self.dice.u8(..100) < 2 {
                let rand_n = RandN::from_octets([self.dice.u8(..); 16]);
                self.with(|device, now_ms| {
                    device.handle_paging(now_ms, &rand_n, PagingTarget::All);
                });
            }
            self.exchange();
            let device = self.device.as_mut().unwrap();
            while device.poll_event().is_some() {}
        }
    }

    /// The link is back and a true reader is there: one built report at most until the next answer. Returns its form.
    fn accepted_within_one_exchange(&mut self) -> Option<Form> {
        self.air = CLEAR;
        self.network.status = AcceptStatus::Accepted;
        {
            let mut chip = self.nvm.0.borrow_mut();
            chip.fail_percent = 0;
            chip.cut_after = None;
        }
        self.hear_true();
        let device = self.device.as_mut().unwrap();
        while device.poll_event().is_some() {}
        let built = self.device.as_ref().unwrap().stats().reports_built;
        let cycle = self.cycle;
        for _ in 0..1_000 {
            // Nothing to say, or the item has just expired.
            let now_ms = self.now_ms - self.clock_offset_ms;
            let device = self.device.as_mut().unwrap();
            if device.items_waiting() == 0 {
                device.submit(now_ms, Cause::Event, b"").unwrap();
            }
            self.exchange();
            let device = self.device.as_mut().unwrap();
            let form = std::iter::from_fn(|| device.poll_event()).find_map(|event| match event {
                Event::Accepted { form, .. } => Some(form),
                _ => None,
            });
            let stats = device.stats();
            if let Some(form) = form {
                assert_eq!(cycle, self.cycle);
                return Some(form);
            }
            assert!(
                stats.reports_built - built <= 1,
                "more than one built report"
            );
            let due_ms = device
                .poll_timeout()
                .map_or(0, |at| at + self.clock_offset_ms);
            let epoch_end_ms = (self.now_ms / self.network.period_ms + 1) * self.network.period_ms;
            self.now_ms = due_ms.clamp(self.now_ms + 1, epoch_end_ms.max(self.now_ms + 1));
            self.hear_true();
        }
        None
    }
}

#[test]
fn storms_of_every_kind() {
    for_seeds("storms_of_every_kind", 3_000, |seed| {
        let mut dice = fastrand::Rng::with_seed(seed.wrapping_mul(0x9E37_79B9));
        let form = FORMS[dice.usize(..4)];
        let suite = Suite::ALL[dice.usize(..3)];
        let tag_len = TagLen::ALL[dice.usize(..3)];
        let mut world = World::new(seed, form, suite, tag_len, [60, 120, 600][dice.usize(..3)]);
        world.profile.timing.backoff_max_ms = [5_000, 30_000, 120_000][dice.usize(..3)];
        world.profile.timing.item_lifetime_s = [100, 3_000][dice.usize(..2)];
        if dice.bool() {
            let anchor = world.network.at(dice.u32(60..101));
            provision(&mut world.nvm, Some(anchor), 0).unwrap();
        }
        world.power_on();
        for _ in 0..dice.usize(1..5) {
            let level = |dice: &mut fastrand::Rng, of: [u8; 4]| of[dice.usize(..4)];
            world.air = Air {
                lost_up: level(&mut dice, [0, 20, 50, 80]),
                lost_down: level(&mut dice, [0, 20, 50, 80]),
                false_beacons: level(&mut dice, [0, 0, 10, 50]),
                power_cuts: level(&mut dice, [0, 0, 2, 20]),
                junk_down: 30,
            };
            world.nvm.0.borrow_mut().fail_percent = level(&mut dice, [0, 0, 10, 60]);
            world.network.status = match dice.u8(..4) {
                0 => AcceptStatus::CommandFollows,
                1 => AcceptStatus::SilentFor {
                    seconds: dice.u16(..100),
                },
                _ => AcceptStatus::Accepted,
            };
            let until_ms = world.now_ms + dice.u64(1..1_200_000);
            let beacons = dice.u8(..10) > 0;
            world.live(until_ms, beacons);
        }
        let accepted = world.accepted_within_one_exchange();
        let device = world.device.as_ref().unwrap();
        assert!(
            accepted.is_some(),
            "{form:?} counter {} of {}, due {:?}, {:?}",
            device.counter(),
            world.network.counter_last,
            device.poll_timeout(),
            device.stats()
        );
    });
}

#[test]
fn ten_thousand_unanswered_attempts() {
    for form in FORMS {
        for (seed, lost) in [(1, (100, 0)), (2, (0, 100))] {
            let mut world = World::new(seed, form, Suite::AesCmac, TagLen::T8, 600);
            world.power_on();
            world.accepted_within_one_exchange().unwrap();
            (world.air.lost_up, world.air.lost_down) = lost;
            // Blind devices hear nothing; the others hear the true network and are heard by nobody, or not answered.
            let beacons = form != DeviceForm::Blind;
            while world.device.as_ref().unwrap().stats().transmissions < 10_000 {
                let until_ms = world.now_ms + 100_000;
                world.live(until_ms, beacons);
            }
            assert!(world.accepted_within_one_exchange().is_some());
        }
    }
}

#[test]
fn power_cut_at_every_octet_of_every_write() {
    for form in [DeviceForm::Beacon, DeviceForm::Counter, DeviceForm::Blind] {
        for seed in 0..2 {
            let whole = life_with_cut(form, seed, None);
            assert!(whole > 5 * 36, "{form:?} writes {whole} octets");
            for cut in 0..whole {
                life_with_cut(form, seed, Some(cut));
            }
        }
    }
}

/// A short life on a clear link: 3 power cycles of 3 epochs with an item each, all answered or none. Power is lost after
/// `cut` octets written. Returns how many octets were written.
fn life_with_cut(form: DeviceForm, seed: u64, cut: Option<usize>) -> usize {
    let mut world = World::new(seed, form, Suite::AesCmac, TagLen::T8, 60);
    if seed > 0 {
        let anchor = world.network.at(99);
        provision(&mut world.nvm, Some(anchor), 0).unwrap();
        world.nvm.0.borrow_mut().written = 0;
    }
    world.power_on();
    world.nvm.0.borrow_mut().cut_after = cut;
    let answered = seed == 0;
    for _ in 0..3 {
        for _ in 0..3 {
            let cycle = world.cycle;
            if !answered {
                world.air.lost_down = 100;
            }
            let until_ms = world.now_ms + 60_000;
            world.with(|device, now_ms| {
                let _ = device.submit(now_ms, Cause::Event, b"");
            });
            while world.now_ms < until_ms {
                world.hear_true();
                world.exchange();
                world.now_ms += 500;
            }
            if cycle != world.cycle {
                // The cut has just happened.
                world.accepted_within_one_exchange().expect("accepted");
            }
        }
        let cut_after = world.nvm.0.borrow().cut_after;
        world.power_on();
        world.nvm.0.borrow_mut().cut_after = cut_after;
    }
    world.accepted_within_one_exchange().expect("accepted");
    world.nvm.0.borrow().written
}

#[test]
fn a_steady_device_is_found_at_once() {
    // The control of all of the above: with a clear link nearly every report is in the cheap form.
    let mut world = World::new(3, DeviceForm::Beacon, Suite::AesCmac, TagLen::T8, 600);
    world.power_on();
    world.live(40 * 600_000, true);
    let observer = &world.observer;
    assert!(observer.beacon_reports > 100, "{}", observer.beacon_reports);
    assert!(observer.concealed_reports <= 1);
}
