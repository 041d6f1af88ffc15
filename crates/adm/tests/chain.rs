//! The beacon chain in time: restarts, a changed period, a clock set back, a chain at its end (section 4).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use ambit_adm::{Adm, AdmConfig, Kek};
use ambit_adm_api::{AdmClient, Outcome};
use ambit_protocol::chain::{Verification, verify};
use ambit_protocol::{Cause, DeviceForm, RandN};
use ambit_store::Store;
use common::*;

fn follows(earlier: RandN, later: RandN) -> bool {
    verify(&earlier, &later, &snid(), 1024) == Verification::Verified
}

#[test]
fn an_epoch_is_the_count_of_periods_and_follows_from_the_ones_before() {
    let mut net = Net::new(config());
    let first = net.adm.beacons(START_MS).unwrap();
    assert_eq!(i64::from(first.current.epoch()), START_MS / EPOCH_MS);
    assert_eq!(first.current_until_ms, START_MS + EPOCH_MS);
    assert_eq!(first.previous, None, "there was none before the first");
    for n in 1..150 {
        net.wait_ms(EPOCH_MS);
        let beacons = net.adm.beacons(net.now_ms).unwrap();
        assert_eq!(beacons.current.epoch(), first.current.epoch() + n);
        assert!(follows(first.current, beacons.current));
        assert!(!follows(beacons.current, first.current));
        let (previous, until_ms) = beacons.previous.unwrap();
        assert_eq!(previous.epoch() + 1, beacons.current.epoch());
        assert!(follows(previous, beacons.current));
        assert!(follows(first.current, previous));
        assert_eq!(until_ms, net.now_ms + GRACE_MS);
    }
}

#[test]
fn within_an_epoch_nothing_changes_but_the_grace() {
    let mut net = Net::new(config());
    let first = net.rand_n();
    let start_ms = START_MS + EPOCH_MS;
    let second = net.adm.beacons(start_ms).unwrap();
    for (after_ms, has_previous) in [
        (0, true),
        (1, true),
        (GRACE_MS - 1, true),
        (GRACE_MS, false),
        (EPOCH_MS - 1, false),
    ] {
        let beacons = net.adm.beacons(start_ms + after_ms).unwrap();
        assert_eq!(beacons.current, second.current);
        assert_eq!(beacons.current_until_ms, start_ms + EPOCH_MS);
        let expected = has_previous.then_some((first, start_ms + GRACE_MS));
        assert_eq!(beacons.previous, expected, "{after_ms}");
    }
}

#[test]
fn a_restart_keeps_rand_n_and_the_grace() {
    let mut device = Device::new("a", DeviceForm::Beacon);
    let mut net = Net::with(config(), &[&device]);
    let old = net.rand_n();
    let sent = device.send(old, Cause::Event, 0);
    net.wait_ms(EPOCH_MS + 10_000);
    let current = net.rand_n();
    for _ in 0..3 {
        net.wait_ms(1000);
        net.restart();
        assert_eq!(net.rand_n(), current);
    }
    let verdict = net.hear_at(reader(1), old, &sent.nas);
    assert_eq!(verdict.outcome(), Outcome::AcceptedNew);
    net.wait_ms(EPOCH_MS);
    net.restart();
    assert!(follows(current, net.rand_n()));
}

#[test]
fn a_clock_set_back_never_issues_a_lower_epoch() {
    let mut net = Net::new(config());
    net.rand_n();
    net.wait_ms(20 * EPOCH_MS);
    let highest = net.rand_n();
    for back_ms in [1, EPOCH_MS, 10 * EPOCH_MS, START_MS, START_MS + 1, i64::MAX] {
        let now_ms = net.now_ms.saturating_sub(back_ms);
        let beacons = net.adm.beacons(now_ms).unwrap();
        assert_eq!(beacons.current, highest, "{back_ms}");
        assert!(beacons.current_until_ms > now_ms);
        if back_ms >= GRACE_MS {
            assert_eq!(
                beacons.previous, None,
                "a clock set back does not lengthen the grace"
            );
        }
        // Nor after a restart with the clock still wrong.
        let mut again = Net::on(net.store.clone(), config(), now_ms);
        assert_eq!(again.rand_n(), highest, "{back_ms}");
    }
    net.wait_ms(EPOCH_MS);
    assert_eq!(net.epoch(), highest.epoch() + 1);
}

#[test]
fn another_period_starts_a_new_chain_with_higher_epochs() {
    let mut net = Net::new(config());
    net.wait_ms(7 * EPOCH_MS);
    let mut highest = net.rand_n();
    for period_s in [60, 600, 3600, 7, 600] {
        net.wait_ms(1000);
        net.restart_with(AdmConfig {
            period_s,
            grace_s: 3,
            ..config()
        });
        let beacons = net.adm.beacons(net.now_ms).unwrap();
        let rand_n = beacons.current;
        assert!(rand_n.epoch() > highest.epoch(), "{period_s}");
        assert!(!follows(highest, rand_n), "it is another chain");
        assert_eq!(beacons.previous, None);
        let period_ms = i64::from(period_s) * 1000;
        assert_eq!(
            beacons.current_until_ms,
            (net.now_ms / period_ms + 1) * period_ms
        );
        net.now_ms = beacons.current_until_ms;
        highest = net.rand_n();
        assert_eq!(highest.epoch(), rand_n.epoch() + 1);
        assert!(follows(rand_n, highest));
        // The same period keeps the chain.
        net.restart();
        assert_eq!(net.rand_n(), highest);
    }
}

#[test]
fn a_chain_at_its_end_is_followed_by_a_new_one() {
    let short = AdmConfig {
        chain_epochs: 3,
        ..config()
    };
    let mut device = Device::new("a", DeviceForm::Beacon);
    let mut net = Net::with(short, &[&device]);
    let mut before = net.rand_n();
    let mut chains = 1;
    for n in 0..12 {
        net.wait_ms(EPOCH_MS);
        let rand_n = net.rand_n();
        assert_eq!(rand_n.epoch(), before.epoch() + 1);
        chains += u32::from(!follows(before, rand_n));
        let sent = device.send(rand_n, Cause::Event, n);
        assert_eq!(net.hear(&sent.nas), Outcome::AcceptedNew);
        if n % 5 == 0 {
            net.restart();
            assert_eq!(net.rand_n(), rand_n);
        }
        before = rand_n;
    }
    assert_eq!(chains, 4, "of four epochs each");
    // Also when the network slept through the end.
    net.wait_ms(100 * EPOCH_MS);
    let rand_n = net.rand_n();
    assert_eq!(i64::from(rand_n.epoch()), net.now_ms / EPOCH_MS);
}

#[test]
fn two_networks_have_two_chains() {
    let mut net = Net::new(config());
    let snid = ambit_protocol::Snid::new(
        ambit_protocol::area::Plmn::new("001", "01").unwrap(),
        Some("0000000000a".parse().unwrap()),
    );
    let other = AdmConfig { snid, ..config() };
    let mut other = Net::on(net.store.clone(), other, START_MS);
    assert_eq!(net.epoch(), other.epoch());
    assert_ne!(net.rand_n(), other.rand_n());
}

#[test]
fn a_configuration_that_cannot_be_is_refused() {
    let refused = |config: AdmConfig| {
        let store = TestStore::in_memory();
        let error = open(&store, config, START_MS).err().expect("refused");
        assert_eq!(error.name(), "config_invalid");
        error.to_string()
    };
    let config = config();
    for (config, field) in [
        (
            AdmConfig {
                period_s: 0,
                ..config.clone()
            },
            "epoch_s",
        ),
        (
            AdmConfig {
                grace_s: 600,
                ..config.clone()
            },
            "grace_s",
        ),
        (
            AdmConfig {
                chain_epochs: 0,
                ..config.clone()
            },
            "chain_epochs",
        ),
        (
            AdmConfig {
                chain_epochs: u32::MAX,
                ..config.clone()
            },
            "chain_epochs",
        ),
        (
            AdmConfig {
                counter_window: 0,
                ..config.clone()
            },
            "counter_window",
        ),
        (
            AdmConfig {
                counter_window: 4097,
                ..config.clone()
            },
            "counter_window",
        ),
        (
            AdmConfig {
                search_reader_share_percent: 0,
                ..config.clone()
            },
            "search_reader_share_percent",
        ),
    ] {
        assert!(refused(config).starts_with(field), "{field}");
    }
    // A time with more periods since 1970 than there are epochs.
    let store = TestStore::in_memory();
    let error = open(&store, config, i64::MAX).err().expect("refused");
    assert_eq!(error.name(), "config_invalid");
}

#[test]
fn the_chain_seed_is_wrapped_for_its_chain() {
    let mut net = Net::new(config());
    let mut row = net.store.chain(snid().octets()).unwrap().unwrap();
    assert_eq!(row.seed_wrapped.len(), 12 + 12 + 16);
    // The seed of this chain under another last epoch: would make two chains of one seed.
    row.last_epoch += 1;
    row.first_epoch = row.epoch_issued + 1;
    row.epoch_issued = row.first_epoch;
    net.store.chain_insert(&row).unwrap();
    let error = open(&net.store, config(), START_MS).err().expect("refused");
    assert_eq!(error.name(), "kek_unwrap");
    let kek = Kek::from_octets(&[1; 32]);
    let store = Box::new(net.store.clone());
    let error = Adm::open(config(), store, kek, entropy(1), START_MS).err();
    assert_eq!(error.expect("refused").name(), "kek_mismatch");
}
