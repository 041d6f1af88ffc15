//! Fleets against a small core, on virtual time.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // Tests: a failure is a panic.

mod common;

use ambit_device::DeviceForm;
use ambit_protocol::Cause;
use ambit_ran::air::{AirConfig, Channel, FalseBeacon, Jam};
use ambit_ran::fleet::{DeviceIndex, Fate, PowerCycles, Schedule};
use ambit_ran::frame::{Direction, SiteReader};
use ambit_ran::gnb::GnbConfig;
use ambit_ran::site::Site;
use common::*;

const READER_1: SiteReader = SiteReader {
    gnb: 0,
    reader_index: 1,
};

fn site(seed: u64, channel: Channel, fleet: ambit_ran::fleet::Fleet) -> Site {
    let gnb = GnbConfig::new(1, snid(), 2);
    Site::new(AirConfig::symmetric(seed, channel), vec![gnb], fleet)
}

#[test]
fn a_thousand_devices_register_and_report_over_a_lossy_air() {
    let schedule = Schedule {
        first_ms: 20_000,
        interval_ms: 30_000,
        jitter_ms: 10_000,
        items_max: Some(3),
    };
    let fleet = fleet(1, 1_000, 5_000, DeviceForm::Beacon, Some(schedule));
    let air = Channel {
        duplication: 0.05,
        reordering: 0.05,
        reordering_delay_ms: 40,
        ..Channel::lossy(0.3)
    };
    let mut site = site(2, air, fleet);
    let mut core = Core::new(1_000);
    start(&mut site, &mut core);
    drive(&mut site, &mut core, 3_000_000, |site| {
        site.fleet_stats().accepted == 4_000
    });

    let stats = *site.fleet_stats();
    assert_eq!(stats.registered, 1_000, "{stats:?}");
    assert_eq!(stats.items, 4_000);
    assert_eq!((stats.accepted, stats.pending()), (4_000, 0), "{stats:?}");
    assert_ledger_matches(&site, &core);
    assert!(core.duplicates > 0, "the air duplicates");
    assert_eq!(
        core.records
            .iter()
            .filter(|r| r.cause == Cause::Periodic && r.event)
            .count(),
        3_000
    );
    let lost = site.air_stats().lost as f64;
    let sent = (site.air_stats().sent_up + site.air_stats().sent_down) as f64;
    assert!((lost / sent - 0.3).abs() < 0.02);
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_does_not() {
    let run = |seed| {
        let fleet = fleet(seed, 50, 3_000, DeviceForm::Beacon, None);
        let mut site = site(seed, Channel::lossy(0.4), fleet);
        let mut core = Core::new(50);
        start(&mut site, &mut core);
        drive(&mut site, &mut core, 300_000, |_| false);
        let tags: Vec<_> = core
            .records
            .into_iter()
            .map(|r| (r.device, r.tag1))
            .collect();
        (tags, *site.fleet_stats(), site.air_stats())
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5).0, run(6).0);
}

#[test]
fn a_window_rolls_while_devices_speak() {
    let schedule = Schedule {
        first_ms: 0,
        interval_ms: 2_000,
        jitter_ms: 1_000,
        items_max: Some(20),
    };
    let fleet = fleet(3, 100, 1_000, DeviceForm::Beacon, Some(schedule));
    let mut site = site(4, Channel::lossy(0.1), fleet);
    let mut core = Core::new(100);
    let mut window = start(&mut site, &mut core).remove(0);
    for (epoch, at_ms) in (EPOCH + 1..).zip([15_000, 30_000, 45_000]) {
        drive(&mut site, &mut core, at_ms, |_| false);
        let next = core.open_window(0, epoch);
        drive(&mut site, &mut core, at_ms + 5_000, |_| false);
        core.release_window(0, window);
        window = next;
    }
    drive(&mut site, &mut core, 300_000, |_| false);
    assert_eq!(site.gnbs()[0].sessions_open(), 1);
    assert_eq!(site.fleet_stats().pending(), 0, "{:?}", site.fleet_stats());
    assert_eq!(
        core.refused, 0,
        "each report went up under the window it answered"
    );
    let epochs: std::collections::BTreeSet<u32> = core.records.iter().map(|r| r.epoch).collect();
    assert_eq!(epochs.len(), 4);
    assert_ledger_matches(&site, &core);
}

#[test]
fn counter_and_concealed_devices_register_too() {
    for form in [DeviceForm::Concealed, DeviceForm::Counter] {
        let fleet = fleet(7, 40, 1_000, form, None);
        let mut site = site(8, Channel::lossy(0.2), fleet);
        let mut core = Core::new(40);
        start(&mut site, &mut core);
        drive(&mut site, &mut core, 200_000, |_| false);
        assert_eq!(site.fleet_stats().registered, 40, "{form:?}");
        assert_ledger_matches(&site, &core);
    }
}

#[test]
fn power_comes_and_goes_and_every_cycle_registers() {
    let mut fleet = fleet(9, 0, 0, DeviceForm::Beacon, None);
    let cycles = fleet
        .add_power_cycles(PowerCycles {
            on_ms_min: 5_000,
            on_ms_max: 20_000,
            off_ms_min: 1_000,
            off_ms_max: 5_000,
        })
        .unwrap();
    for number in 0..100u32 {
        let mut spec = spec(number);
        spec.power_cycles = Some(cycles);
        fleet.add(spec).unwrap();
    }
    let mut site = site(10, Channel::lossy(0.1), fleet);
    let mut core = Core::new(100);
    start(&mut site, &mut core);
    drive(&mut site, &mut core, 300_000, |_| false);
    let stats = site.fleet_stats();
    assert!(stats.power_ons > 1_000, "{stats:?}");
    assert!(
        stats.accepted as f64 > stats.power_ons as f64 * 0.95,
        "{stats:?}"
    );
    assert_eq!(stats.items, stats.power_ons, "one registration each");
    assert_ledger_matches(&site, &core);
}

#[test]
fn scheduled_power_submitted_items_and_a_move() {
    let mut fleet = fleet(11, 0, 0, DeviceForm::Beacon, None);
    let mut spec = spec(0);
    spec.power_on_ms = None;
    let device = fleet.add(spec).unwrap();
    let mut site = site(12, Channel::PERFECT, fleet);
    let mut core = Core::new(1);
    start(&mut site, &mut core);
    site.fleet_mut().schedule_power(device, 1_000, true);
    site.fleet_mut().schedule_power(device, 60_000, false);
    assert!(
        site.fleet_mut()
            .submit(0, device, Cause::Event, &[])
            .is_none(),
        "no power"
    );
    drive(&mut site, &mut core, 2_000, |_| false);
    assert!(site.fleet().device(device).unwrap().is_registered());

    let number = 1u32.to_be_bytes();
    site.fleet_mut()
        .submit(2_000, device, Cause::Event, &number)
        .unwrap()
        .unwrap();
    drive(&mut site, &mut core, 3_000, |_| false);
    let reader_2 = SiteReader {
        reader_index: 2,
        ..READER_1
    };
    site.fleet_mut().move_to(3_000, device, reader_2);
    let number = 2u32.to_be_bytes();
    site.fleet_mut()
        .submit(3_000, device, Cause::Moved, &number)
        .unwrap()
        .unwrap();
    drive(&mut site, &mut core, 70_000, |_| false);

    let causes: Vec<Cause> = core.records.iter().map(|record| record.cause).collect();
    assert_eq!(causes, [Cause::PowerOn, Cause::Event, Cause::Moved]);
    assert!(!site.fleet().device(device).unwrap().is_powered());
    assert_eq!(site.fleet_stats().registered, 0);
    assert_ledger_matches(&site, &core);
}

#[test]
fn devices_wait_for_a_core_and_for_the_end_of_a_jam() {
    let fleet = fleet(13, 200, 1_000, DeviceForm::Beacon, None);
    let mut site = site(14, Channel::PERFECT, fleet);
    let mut core = Core::new(200);
    // No core: nobody hears a beacon, nobody speaks.
    drive(&mut site, &mut core, 600_000, |_| false);
    assert_eq!(site.air_stats().sent_up, 0);
    assert_eq!(site.poll_timeout(), None, "waiting costs nothing");
    // A jam on both directions, then the core comes.
    site.air_mut().add_jam(Jam {
        from_ms: 600_000,
        until_ms: 700_000,
        direction: None,
        reader: None,
    });
    start(&mut site, &mut core);
    drive(&mut site, &mut core, 699_999, |_| false);
    assert_eq!(site.air_stats().sent_up, 0);
    drive(&mut site, &mut core, 705_000, |_| false);
    assert_eq!(site.fleet_stats().registered, 200);
    assert_ledger_matches(&site, &core);
}

#[test]
fn a_jammed_downlink_is_made_up_for_without_a_second_event() {
    let schedule = Schedule {
        first_ms: 10_000,
        interval_ms: 1_000,
        jitter_ms: 0,
        items_max: Some(1),
    };
    let fleet = fleet(15, 20, 0, DeviceForm::Beacon, Some(schedule));
    let mut site = site(16, Channel::PERFECT, fleet);
    let mut core = Core::new(20);
    start(&mut site, &mut core);
    drive(&mut site, &mut core, 9_000, |_| false);
    assert_eq!(site.fleet_stats().registered, 20);
    // ACCEPTs are lost, reports are not.
    site.air_mut()
        .add_ear(Box::new(|frame| match frame.direction {
            Direction::Down if (9_000..60_000).contains(&frame.sent_ms) => {
                ambit_ran::air::Verdict::Drop
            }
            _ => ambit_ran::air::Verdict::Pass,
        }));
    drive(&mut site, &mut core, 300_000, |_| false);
    assert_eq!(site.fleet_stats().pending(), 0);
    assert!(
        site.fleet_stats().reports_built > 40,
        "{:?}",
        site.fleet_stats()
    );
    assert_ledger_matches(&site, &core);
}

#[test]
fn a_false_beacon_is_seen_through_and_answered_concealed() {
    let mut fleet = fleet(17, 0, 0, DeviceForm::Beacon, None);
    let mut late = spec(0);
    late.power_on_ms = Some(1_000);
    let device = fleet.add(late).unwrap();
    let mut site = site(18, Channel::PERFECT, fleet);
    let mut core = Core::new(1);
    start(&mut site, &mut core);
    site.air_mut().add_false_beacon(FalseBeacon {
        reader: READER_1,
        from_ms: 0,
        until_ms: 10_000,
        area_id: area(1),
        rand_n: ambit_protocol::RandN::new(EPOCH + 5, [9; 12]),
    });
    drive(&mut site, &mut core, 9_000, |_| false);
    assert_eq!(site.fleet_stats().registered, 0);
    let view = site.fleet().device(device).unwrap();
    assert_eq!(view.device().unwrap().stats().sightings, 1);
    drive(&mut site, &mut core, 60_000, |_| false);
    let view = site.fleet().device(device).unwrap();
    let forms: Vec<_> = view
        .ledger()
        .flat_map(|item| &item.reports)
        .map(|r| r.form)
        .collect();
    assert_eq!(
        forms,
        [
            ambit_protocol::Form::Concealed,
            ambit_protocol::Form::Beacon
        ]
    );
    assert!(view.is_registered());
}

#[test]
fn the_ledger_is_bounded_and_counts_what_it_forgets() {
    let schedule = Schedule {
        first_ms: 0,
        interval_ms: 1_000,
        jitter_ms: 0,
        items_max: Some(200),
    };
    let fleet = fleet(19, 3, 0, DeviceForm::Beacon, Some(schedule));
    let mut site = site(20, Channel::PERFECT, fleet);
    let mut core = Core::new(3);
    start(&mut site, &mut core);
    drive(&mut site, &mut core, 250_000, |_| false);
    let stats = site.fleet_stats();
    assert_eq!(
        (stats.accepted, stats.ledger_forgotten),
        (603, 603 - 3 * 64)
    );
    for view in site.fleet().devices() {
        assert_eq!(view.ledger().count(), 64);
        assert!(
            view.ledger()
                .all(|item| matches!(item.fate, Fate::Accepted { .. }))
        );
    }
    assert!(site.fleet().device(DeviceIndex(3)).is_none());
}

fn spec(number: u32) -> ambit_ran::fleet::DeviceSpec {
    ambit_ran::fleet::DeviceSpec {
        device_id: number.to_be_bytes().to_vec(),
        key: ambit_protocol::RootKey::new(key_octets(number)),
        suite: ambit_protocol::Suite::AesCmac,
        profile: ambit_device::Profile::new(
            ambit_device::DeviceType::Type2b,
            DeviceForm::Beacon,
            snid(),
        ),
        anchor: chain().rand_n(EPOCH - 1),
        counter: 0,
        reader: READER_1,
        schedule: None,
        power_cycles: None,
        power_on_ms: Some(0),
    }
}
