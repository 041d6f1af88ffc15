//! Device-terminated inventories and commands end to end: real devices, an air that loses frames, NGAP, AIOTF, ADM, store.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // Tests: a failure is a panic.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use ambit_adm_api::{Nadm, NadmError, Outcome};
use ambit_aiotf::service::{
    DeviceFailure, DeviceResult, Devices, FailureCause, Notification, Operation, ServiceRequest,
};
use ambit_device::Profile;
use ambit_lab::scenario::{DeviceKind, Scenario, Scene};
use ambit_lab::store::SharedStore;
use ambit_protocol::{DeviceForm, DeviceType, RootKey, Suite};
use ambit_ran::air::{Channel, Verdict};
use ambit_ran::fleet::{DeviceIndex, DeviceSpec};
use ambit_ran::frame::{AirFrame, Direction, FrameKind, SiteReader};

const READER: SiteReader = SiteReader {
    gnb: 0,
    reader_index: 1,
};

fn id(n: usize) -> Vec<u8> {
    format!("urn:epc:id:giai:0614141.{n}").into_bytes()
}

fn named(n: usize) -> Devices {
    Devices::Named(vec![id(n)])
}

fn request(devices: Devices, operation: Operation) -> ServiceRequest {
    ServiceRequest {
        devices,
        operation,
        timeout_s: 600,
        ..ServiceRequest::inventory()
    }
}

/// Lets the core do it and returns what it said, which ends with its last word.
fn run(scene: &mut Scene, request: ServiceRequest) -> Vec<Notification> {
    let limit_ms = scene.stage.site().now_ms() + u64::from(request.timeout_s) * 1000 + 1000;
    let now_ms = scene.stage.unix_ms();
    scene
        .stage
        .core()
        .unwrap()
        .request(request, now_ms)
        .unwrap();
    let mut said: Vec<Notification> = Vec::new();
    while !said.last().is_some_and(|n| n.is_last) {
        let now_ms = scene.stage.site().now_ms();
        assert!(now_ms < limit_ms, "it goes on for too long: {said:?}");
        scene.stage.advance(now_ms + 100);
        let core = scene.stage.core().unwrap();
        said.extend(std::iter::from_fn(|| core.poll_notification()));
    }
    said
}

fn devices(said: &[Notification]) -> Vec<DeviceResult> {
    said.iter().flat_map(|n| n.devices.clone()).collect()
}

/// The one device that a request was for.
fn one(scene: &mut Scene, n: usize, operation: Operation) -> DeviceResult {
    let said = run(scene, request(named(n), operation));
    let [device] = devices(&said)
        .try_into()
        .unwrap_or_else(|_| panic!("{said:?}"));
    assert_eq!(&*device.device_id, id(n));
    device
}

fn dt(n: u32) -> DeviceKind {
    DeviceKind {
        suite: Suite::ALL[n as usize % 3],
        ..DeviceKind::new(DeviceForm::Dt)
    }
}

fn build(scenario: Scenario) -> (Scene, SharedStore) {
    let store = SharedStore::new().unwrap();
    let mut scene = scenario.build(Box::new(store.clone())).unwrap();
    scene.stage.advance(3_000);
    (scene, store)
}

#[test]
fn an_inventory_of_ten_thousand_finds_all_who_are_there_and_nobody_else() {
    let is_present = |n: u32| n % 100 != 7;
    let (mut scene, _) = build(Scenario {
        devices: (0..10_000)
            .map(|n| DeviceKind {
                power_on_ms: is_present(n).then_some(0),
                suite: Suite::AesCmac,
                ..dt(n)
            })
            .collect(),
        up: Channel::lossy(0.02),
        down: Channel::lossy(0.02),
        period_s: 600,
        grace_s: 60,
        search_prf_per_s_max: 20_000_000,
        ..Scenario::new(1)
    });
    // Devices of somebody else, in the same area.
    let snid = *scene.snid();
    for n in 0..20u8 {
        let spec = DeviceSpec {
            device_id: vec![0xee, n],
            key: RootKey::new([n; 16]),
            suite: Suite::AesCmac,
            profile: Profile::new(DeviceType::Type1, DeviceForm::Dt, snid),
            anchor: None,
            counter: 0,
            reader: READER,
            schedule: None,
            power_cycles: None,
            power_on_ms: Some(0),
        };
        scene.stage.site_mut().fleet_mut().add(spec).unwrap();
    }
    let started_ms = scene.stage.site().now_ms();
    let all = ServiceRequest {
        expected: Some(5_000),
        areas: vec![snid.area([0, 0, 1])],
        ..request(Devices::All, Operation::Inventory)
    };
    let said = run(&mut scene, all);
    let took_ms = scene.stage.site().now_ms() - started_ms;
    let found = devices(&said);
    let names: BTreeSet<Vec<u8>> = found.iter().map(|d| d.device_id.to_vec()).collect();
    assert_eq!(names.len(), found.len(), "each once");
    let expected: BTreeSet<Vec<u8>> = (0..10_000)
        .filter(|n| is_present(*n))
        .map(|n| id(n as usize))
        .collect();
    let missed: Vec<_> = expected.difference(&names).collect();
    assert!(missed.is_empty(), "missed {}: {missed:?}", missed.len());
    assert_eq!(names, expected, "none invented");
    let progress = said.last().unwrap().progress;
    assert_eq!(progress.unverified, 20);
    assert!(said.len() > 10, "reported as they are found");
    let stats = scene.stage.site().gnbs()[0].stats();
    println!(
        "10 000 devices: {took_ms} ms on the air, {} rounds, {} Random IDs, {} NACKs",
        stats.access_rounds, stats.random_ids, stats.nacks
    );
}

#[test]
fn every_form_of_device_is_written_to_and_read_from_over_a_bad_air() {
    let mut kinds: Vec<DeviceKind> = (0..4).map(DeviceKind::mixed).collect();
    kinds.extend((0..6).map(dt));
    for kind in &mut kinds {
        kind.reader = READER;
    }
    let count = kinds.len();
    let (mut scene, _) = build(Scenario {
        devices: kinds,
        up: Channel::lossy(0.1),
        down: Channel::lossy(0.1),
        ..Scenario::new(2)
    });
    scene.stage.advance(30_000);
    for n in 0..count {
        let data: Vec<u8> = (0..40).map(|at| at ^ n as u8).collect();
        let write = Operation::Write {
            offset: 8,
            data: data.clone(),
        };
        let written = one(&mut scene, n, write);
        assert_eq!(written.failure, None, "device {n}");
        let read = Operation::Read {
            offset: 8,
            length: 40,
        };
        let read = one(&mut scene, n, read);
        assert_eq!((read.failure, read.data), (None, Some(data)), "device {n}");
    }
    // All of them with one request.
    let read = Operation::Read {
        offset: 8,
        length: 2,
    };
    let said = run(
        &mut scene,
        request(Devices::Filter(b"urn:epc:".to_vec()), read),
    );
    let found = devices(&said);
    assert_eq!(found.len(), count);
    assert!(
        found
            .iter()
            .all(|d| d.failure.is_none() && d.data.as_ref().unwrap().len() == 2)
    );
    // There is no memory there.
    let beyond = Operation::Read {
        offset: 50,
        length: 40,
    };
    let refused = one(&mut scene, count - 1, beyond);
    assert_eq!(refused.failure, Some(DeviceFailure::ParametersInvalid));
}

#[test]
fn a_device_paged_by_a_concealed_t_id_shows_its_name_to_nobody() {
    let (mut scene, _) = build(Scenario {
        devices: (0..10).map(dt).collect(),
        ..Scenario::new(3)
    });
    let heard: Arc<Mutex<Vec<AirFrame>>> = Arc::default();
    let ear = Arc::clone(&heard);
    scene
        .stage
        .site_mut()
        .air_mut()
        .add_ear(Box::new(move |frame| {
            ear.lock().unwrap().push(frame.clone());
            Verdict::Pass
        }));
    for is_concealed in [false, true] {
        heard.lock().unwrap().clear();
        let said = run(
            &mut scene,
            ServiceRequest {
                is_concealed,
                ..request(named(4), Operation::Inventory)
            },
        );
        assert_eq!(&*devices(&said)[0].device_id, id(4));
        let frames = heard.lock().unwrap();
        let shows = |frame: &AirFrame| frame.octets.windows(id(4).len()).any(|w| w == id(4));
        assert_eq!(frames.iter().any(shows), !is_concealed);
    }
}

#[test]
fn a_disabled_device_is_silent_after_power_cycles_too() {
    let (mut scene, store) = build(Scenario {
        devices: (0..3).map(dt).collect(),
        ..Scenario::new(4)
    });
    let disabled = one(&mut scene, 1, Operation::PermanentDisable);
    assert_eq!(disabled.failure, None);
    let core = |scene: &mut Scene| {
        let id = id(1);
        scene.stage.core().unwrap().adm().get_tid(
            0,
            &id,
            &ambit_protocol::RandN::from_octets([1; 16]),
        )
    };
    assert_eq!(
        core(&mut scene),
        Err(NadmError::Refused(Outcome::DeviceDisabled))
    );
    for cycle in 0..3u64 {
        let now_ms = scene.stage.site().now_ms();
        for device in 0..3 {
            let fleet = scene.stage.site_mut().fleet_mut();
            fleet.schedule_power(DeviceIndex(device), now_ms + 100, false);
            fleet.schedule_power(DeviceIndex(device), now_ms + 200 + cycle, true);
        }
        scene.stage.advance(now_ms + 1_000);
        let before = scene.stage.site().fleet_stats().random_ids_transmitted;
        let said = run(&mut scene, request(Devices::All, Operation::Inventory));
        let found: BTreeSet<Vec<u8>> = devices(&said)
            .iter()
            .map(|d| d.device_id.to_vec())
            .collect();
        // The others, for control, answer.
        assert_eq!(found, BTreeSet::from([id(0), id(2)]));
        assert!(scene.stage.site().fleet_stats().random_ids_transmitted > before);
        assert_eq!(
            said.last().unwrap().progress.unverified,
            0,
            "it said nothing at all"
        );
    }
    let view = scene.stage.site().fleet().device(DeviceIndex(1)).unwrap();
    assert!(view.device().unwrap().is_disabled());
    // The network goes on ignoring it after a restart, and does not page it.
    scene.stage.kill_core();
    scene.start_core(Box::new(store)).unwrap();
    scene.stage.advance(scene.stage.site().now_ms() + 1_000);
    assert_eq!(
        core(&mut scene),
        Err(NadmError::Refused(Outcome::DeviceDisabled))
    );
    let again = one(&mut scene, 1, Operation::Inventory);
    assert_eq!(again.failure, Some(DeviceFailure::NotServed));
}

/// T08 and T09: commands that were recorded, carried to another device, to another session, or invented.
#[test]
fn false_commands_do_nothing() {
    let (mut scene, _) = build(Scenario {
        devices: (0..2).map(|_| DeviceKind::new(DeviceForm::Dt)).collect(),
        ..Scenario::new(5)
    });
    let heard: Arc<Mutex<Vec<AirFrame>>> = Arc::default();
    let ear = Arc::clone(&heard);
    scene
        .stage
        .site_mut()
        .air_mut()
        .add_ear(Box::new(move |frame| {
            ear.lock().unwrap().push(frame.clone());
            Verdict::Pass
        }));
    let write = |text: &[u8]| Operation::Write {
        offset: 0,
        data: text.to_vec(),
    };
    let read = || Operation::Read {
        offset: 0,
        length: 4,
    };
    assert_eq!(one(&mut scene, 0, write(b"evil")).failure, None);
    assert_eq!(one(&mut scene, 0, write(b"good")).failure, None);
    assert_eq!(one(&mut scene, 1, write(b"true")).failure, None);
    let recorded: Vec<Vec<u8>> = {
        let frames = heard.lock().unwrap();
        let nas = frames.iter().filter(|f| f.kind == FrameKind::Nas);
        nas.map(|frame| frame.octets.clone()).collect()
    };
    assert!(
        recorded.len() >= 12,
        "answers, commands, responses, releases"
    );
    let mut random = fastrand::Rng::with_seed(6);
    let mut injected = recorded.clone();
    // Reflected upwards as downwards and the reverse; changed; invented.
    for nas in &recorded {
        let mut changed = nas.clone();
        changed[0] ^= 1;
        injected.push(changed);
        let mut changed = nas.clone();
        let at = random.usize(..changed.len());
        changed[at] ^= 1 << random.u8(..8);
        injected.push(changed);
    }
    for count in 0..=255u8 {
        for text in [&[3u8][..], &[2, 0, 0, 0x65]] {
            let mut nas = vec![0x71, count];
            nas.extend_from_slice(text);
            nas.extend((0..8).map(|_| random.u8(..)));
            injected.push(nas);
        }
    }
    for device in [0, 1] {
        let page = request(Devices::All, Operation::Inventory);
        // A session is in the offing: the device has answered a page, and the network has said nothing yet.
        assert_eq!(devices(&run(&mut scene, page)).len(), 2);
        for nas in &injected {
            let site = scene.stage.site_mut();
            site.inject_down(
                READER,
                Some(DeviceIndex(device)),
                1,
                FrameKind::Nas,
                nas.clone(),
            );
        }
        scene.stage.advance(scene.stage.site().now_ms() + 5_000);
        let view = scene
            .stage
            .site()
            .fleet()
            .device(DeviceIndex(device))
            .unwrap();
        let stats = view.device().unwrap().stats();
        assert!(stats.ignored_downlinks >= injected.len() as u32);
        assert!(!view.device().unwrap().is_disabled());
    }
    for (n, expected) in [(0, b"good"), (1, b"true")] {
        let read = one(&mut scene, n, read());
        assert_eq!(read.data.as_deref(), Some(&expected[..]));
    }
    // The control: the network's own command works.
    assert_eq!(
        one(&mut scene, 1, Operation::PermanentDisable).failure,
        None
    );
    let view = scene.stage.site().fleet().device(DeviceIndex(1)).unwrap();
    assert!(view.device().unwrap().is_disabled());
    assert!(
        heard
            .lock()
            .unwrap()
            .iter()
            .any(|f| f.direction == Direction::Up)
    );
}

#[test]
fn nobody_there_is_said_in_time() {
    let (mut scene, _) = build(Scenario {
        devices: (0..2)
            .map(|n| DeviceKind {
                power_on_ms: None,
                ..dt(n)
            })
            .collect(),
        ..Scenario::new(7)
    });
    for devices in [Devices::All, named(0), Devices::Filter(b"urn:".to_vec())] {
        let said = run(&mut scene, request(devices, Operation::Inventory));
        let last = said.last().unwrap();
        assert_eq!(
            last.failure,
            Some(FailureCause::NoSuccessfulInventoryResponse)
        );
        assert_eq!(last.progress.answers, 0);
    }
}

#[test]
fn an_inventory_goes_on_with_the_gnb_that_is_left() {
    let far = SiteReader {
        gnb: 1,
        reader_index: 3,
    };
    let (mut scene, _) = build(Scenario {
        devices: (0..20)
            .map(|n| DeviceKind {
                reader: if n < 10 { READER } else { far },
                ..dt(n)
            })
            .collect(),
        ..Scenario::new(8)
    });
    let now_ms = scene.stage.unix_ms();
    let all = request(Devices::All, Operation::Inventory);
    scene.stage.core().unwrap().request(all, now_ms).unwrap();
    // The page is out; nobody has been read yet.
    scene.stage.advance(scene.stage.site().now_ms() + 10);
    scene.stage.cut(0);
    scene.stage.advance(scene.stage.site().now_ms() + 10_000);
    let core = scene.stage.core().unwrap();
    let said: Vec<Notification> = std::iter::from_fn(|| core.poll_notification()).collect();
    let found = devices(&said);
    assert_eq!(found.len(), 10);
    assert!(found.iter().all(|d| d.place.unwrap().gnb_id == 2));
    let last = said.last().unwrap();
    assert!(last.is_last && last.progress.gnbs_lost == 1);
}
