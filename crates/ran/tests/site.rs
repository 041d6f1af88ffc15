//! A whole site: device-terminated inventory and command, and an adversary on its air.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // Tests: a failure is a panic.

mod common;

use std::sync::{Arc, Mutex};

use ambit_device::{DeviceForm, DeviceType, Profile};
use ambit_ngap::{Cause as NgapCause, DeviceBits, FromGnb, InventoryRequest, Target, ToGnb};
use ambit_protocol::session::Session;
use ambit_protocol::wire::{Command, CommandResult, InventoryResponse, Response};
use ambit_protocol::{Cause, KAiotf, RandN, RootKey, Suite, TagLen, schedule};
use ambit_ran::air::{AirConfig, Channel, Verdict};
use ambit_ran::fleet::{DeviceIndex, DeviceSpec, Fleet, FleetConfig, numbered_payload};
use ambit_ran::frame::{AirFrame, Direction, FrameKind, RadioId, SiteReader, beacon_octets};
use ambit_ran::gnb::GnbConfig;
use ambit_ran::site::Site;
use common::*;

const RAND_N: RandN = RandN::new(9, [4; 12]);
const READER_1: SiteReader = SiteReader {
    gnb: 0,
    reader_index: 1,
};
const READER_2: SiteReader = SiteReader {
    gnb: 0,
    reader_index: 2,
};

fn site(fleet: Fleet) -> Site {
    let gnb = GnbConfig::new(1, snid(), 2);
    Site::new(AirConfig::symmetric(1, Channel::PERFECT), vec![gnb], fleet)
}

/// Answering devices `device-0` to `device-3`, the last one at reader 2.
fn answering_devices() -> Fleet {
    let mut fleet = Fleet::new(FleetConfig::new(1), numbered_payload());
    for number in 0..4u32 {
        fleet
            .add(DeviceSpec {
                device_id: format!("device-{number}").into_bytes(),
                key: RootKey::new(key_octets(number)),
                suite: Suite::AesCmac,
                profile: Profile::new(DeviceType::Type1, DeviceForm::Dt, snid()),
                anchor: None,
                counter: 0,
                reader: if number == 3 { READER_2 } else { READER_1 },
                schedule: None,
                power_cycles: None,
                power_on_ms: Some(0),
            })
            .unwrap();
    }
    fleet
}

/// What the gNB says up to `until_ms`.
fn heard(site: &mut Site, until_ms: u64) -> Vec<FromGnb<'static>> {
    site.advance(until_ms);
    std::iter::from_fn(|| site.poll_ngap())
        .map(|(_, octets)| FromGnb::decode(&octets.leak()[..]).unwrap())
        .collect()
}

fn inventory(
    site: &mut Site,
    correlation: u16,
    target: Target<'static>,
) -> Vec<(InventoryResponse, u32)> {
    let ToGnb::InventoryRequest(whole) = window_request(correlation, &RAND_N) else {
        unreachable!();
    };
    let request = ToGnb::InventoryRequest(InventoryRequest { target, ..whole });
    site.ngap_in(0, &request.encode().unwrap());
    let until_ms = site.now_ms() + 100;
    let mut found = Vec::new();
    for message in heard(site, until_ms) {
        if let FromGnb::InventoryReport { readers, .. } = message {
            for device in readers.iter().flat_map(|reader| &reader.devices) {
                let response = InventoryResponse::parse(&device.nas).unwrap();
                found.push((response, device.device_ngap_id.unwrap()));
            }
        }
    }
    found
}

/// Whose inventory response this is.
fn who(response: &InventoryResponse) -> Option<u32> {
    (0..4).find(|number| {
        let key = RootKey::new(key_octets(*number));
        let res = key.evaluate(Suite::AesCmac, &schedule::dt_res(&RAND_N, &response.rand_d));
        schedule::cut::<8>(&res) == response.res
    })
}

#[test]
fn a_device_terminated_inventory_finds_devices_and_a_command_reaches_one() {
    let mut site = site(answering_devices());
    site.connected(0);
    site.advance(10);
    let set_up = ToGnb::NgSetupResponse {
        aiotf_id: Some(AIOTF_ID),
        name: "core".into(),
        plmn: *snid().plmn().octets(),
    };
    site.ngap_in(0, &set_up.encode().unwrap());

    let names = |found: &[(InventoryResponse, u32)]| {
        let mut names: Vec<u32> = found.iter().map(|(r, _)| who(r).unwrap()).collect();
        names.sort_unstable();
        names
    };
    assert_eq!(
        names(&inventory(&mut site, 1, Target::AllDevices)),
        [0, 1, 2, 3]
    );
    let bits = |octets: &'static [u8]| DeviceBits::from_octets(octets).unwrap();
    assert_eq!(
        names(&inventory(&mut site, 2, Target::Group(bits(b"device")))),
        [0, 1, 2, 3]
    );
    assert_eq!(
        names(&inventory(&mut site, 3, Target::Group(bits(b"devil")))),
        [0u32; 0]
    );
    let concealed =
        RootKey::new(key_octets(2)).evaluate(Suite::AesCmac, &schedule::dt_paging_t_id(&RAND_N));
    let concealed = DeviceBits::from_octets(concealed.to_vec()).unwrap();
    assert_eq!(
        names(&inventory(&mut site, 4, Target::Single(concealed))),
        [2]
    );
    let found = inventory(&mut site, 5, Target::Single(bits(b"device-1")));
    assert_eq!(names(&found), [1]);

    // WRITE, then READ, in the session that the inventory opened.
    let (response, device_ngap_id) = &found[0];
    let key = RootKey::new(key_octets(1));
    let input = schedule::dt_k_aiotf(&RAND_N, &response.rand_d);
    let k_aiotf = KAiotf::new(key.evaluate(Suite::AesCmac, &input));
    let mut session = Session::new(Suite::AesCmac, &k_aiotf, TagLen::T8);
    for (text, expected) in [
        (
            Command::Write {
                offset: 3,
                data: b"cold",
            },
            &b""[..],
        ),
        (
            Command::Read {
                offset: 2,
                length: 6,
            },
            b"\xFFcold\xFF",
        ),
    ] {
        let (mut plain, mut nas) = ([0; 64], [0; 64]);
        let len = text.emit(&mut plain).unwrap();
        let len = session.seal_down(&plain[..len], &mut nas).unwrap();
        let request = command(5, *device_ngap_id, nas[..len].to_vec());
        site.ngap_in(0, &request.encode().unwrap());
        let until_ms = site.now_ms() + 50;
        let messages = heard(&mut site, until_ms);
        let [
            FromGnb::CommandResponse {
                nas,
                correlation: 5,
                ..
            },
        ] = &messages[..]
        else {
            panic!("COMMAND RESPONSE expected: {messages:?}");
        };
        let text = session.open_up(nas).unwrap();
        let response = Response::parse(text.octets()).unwrap();
        assert_eq!(
            (response.result, response.data),
            (CommandResult::Ok, expected)
        );
    }
    // Those by contention ended when nobody was left. The others end when their time is over; the session is released.
    let until_ms = site.now_ms() + 5_000;
    let complete = heard(&mut site, until_ms)
        .iter()
        .filter(|m| matches!(m, FromGnb::InventoryReport { complete: true, .. }))
        .count();
    assert_eq!(complete, 2);
    let release = ToGnb::SessionReleaseCommand {
        aiotf_id: AIOTF_ID,
        correlation: 5,
        cause: NgapCause::NormalRelease,
    };
    site.ngap_in(0, &release.encode().unwrap());
    assert_eq!(site.gnbs()[0].sessions_open(), 4);
}

/// A site may run on a thread of its own.
const _: fn() = || {
    const fn is_send<T: Send>() {}
    is_send::<Site>();
};

#[test]
fn an_adversary_hears_replays_and_carries_reports_elsewhere() {
    let mut site = site(fleet(1, 10, 0, DeviceForm::Beacon, None));
    let heard: Arc<Mutex<Vec<AirFrame>>> = Arc::default();
    let ear = Arc::clone(&heard);
    site.air_mut().add_ear(Box::new(move |frame| {
        ear.lock().unwrap().push(frame.clone());
        Verdict::Pass
    }));
    let mut core = Core::new(10);
    start(&mut site, &mut core);
    drive(&mut site, &mut core, 5_000, |_| false);
    let heard = std::mem::take(&mut *heard.lock().unwrap());
    let of = |direction, kind| {
        heard
            .iter()
            .filter(move |f| f.direction == direction && f.kind == kind)
            .collect::<Vec<_>>()
    };
    let reports = of(Direction::Up, FrameKind::Nas);
    assert_eq!(reports.len(), 10);
    assert_eq!(of(Direction::Down, FrameKind::Nas).len(), 10);
    let beacons = of(Direction::Down, FrameKind::Beacon);
    let beacon = beacon_octets(&area(1), &chain().rand_n(EPOCH).unwrap());
    assert_eq!((beacons.len(), &beacons[0].octets), (2, &beacon));

    // Replayed at the same reader: the same ACCEPT again, no second record. At the other: nothing.
    for (number, report) in (0u32..).zip(&reports) {
        site.inject_up(READER_1, RadioId(number), 1, report.octets.clone());
        site.inject_up(READER_2, RadioId(number), 1, report.octets.clone());
    }
    drive(&mut site, &mut core, 10_000, |_| false);
    assert_eq!(
        (core.records.len(), core.duplicates, core.refused),
        (10, 10, 10)
    );
    assert_eq!(
        site.fleet_stats().downlinks_missed,
        10,
        "no device holds the adversary's contacts"
    );
    assert_ledger_matches(&site, &core);
}

#[test]
fn a_false_network_changes_nothing_in_a_device() {
    let mut site = site(fleet(2, 5, 0, DeviceForm::Beacon, None));
    let accepts: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let ear = Arc::clone(&accepts);
    site.air_mut().add_ear(Box::new(move |frame| {
        if frame.direction == Direction::Down && frame.kind == FrameKind::Nas {
            ear.lock().unwrap().push(frame.octets.clone());
        }
        Verdict::Pass
    }));
    let mut core = Core::new(5);
    start(&mut site, &mut core);
    drive(&mut site, &mut core, 5_000, |_| false);
    let before = *site.fleet_stats();
    // Recorded ACCEPTs to everybody, junk to one, an invented beacon to all.
    for accept in accepts.lock().unwrap().drain(..) {
        site.inject_down(READER_1, None, 1, FrameKind::Nas, accept);
    }
    site.inject_down(
        READER_1,
        Some(DeviceIndex(2)),
        1,
        FrameKind::Nas,
        vec![0x48; 9],
    );
    let invented = beacon_octets(&area(1), &RandN::new(EPOCH + 3, [6; 12]));
    site.inject_down(READER_1, None, 1, FrameKind::Beacon, invented);
    drive(&mut site, &mut core, 6_000, |_| false);
    let after = *site.fleet_stats();
    assert_eq!(
        after.downlinks_ignored - before.downlinks_ignored,
        5 * 5 + 1
    );
    assert_eq!(after.accepted, before.accepted);
    for view in site.fleet().devices() {
        assert_eq!(view.device().unwrap().stats().sightings, 1);
        assert_eq!(view.device().unwrap().anchor(), chain().rand_n(EPOCH));
    }
    // The next item goes the usual way, under the true beacon.
    let number = 1u32.to_be_bytes();
    site.fleet_mut()
        .submit(6_000, DeviceIndex(0), Cause::Event, &number)
        .unwrap()
        .unwrap();
    drive(&mut site, &mut core, 10_000, |_| false);
    assert_eq!(site.fleet_stats().accepted, before.accepted + 1);
    assert_ledger_matches(&site, &core);
}
