//! Kept commands end to end: real devices over an air that loses frames, NGAP, AIOTF, ADM, store; cores that die in between.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // Tests: a failure is a panic.

mod common;

use std::ops::ControlFlow;

use ambit_adm_api::KeptOperation;
use ambit_lab::scenario::{DeviceKind, Scenario, Scene};
use ambit_lab::store::SharedStore;
use ambit_protocol::Cause;
use ambit_ran::air::Channel;
use ambit_ran::fleet::{DeviceIndex, Schedule};
use ambit_store::{CommandFilter, CommandRow, CommandState, Store};
use common::{for_seeds, verdict};

fn id(n: usize) -> Vec<u8> {
    format!("urn:epc:id:giai:0614141.{n}").into_bytes()
}

fn keep(scene: &mut Scene, devices: &[usize], operation: &KeptOperation) -> Vec<i64> {
    let ids: Vec<Vec<u8>> = devices.iter().map(|n| id(*n)).collect();
    let now_ms = scene.stage.unix_ms();
    let adm = scene.stage.core().unwrap().adm();
    let kept = adm.keep_commands(&ids, operation, 86_400, now_ms).unwrap();
    kept.iter().map(|row| row.id).collect()
}

fn all(store: &SharedStore) -> Vec<CommandRow> {
    let mut rows = Vec::new();
    let filter = CommandFilter::default();
    store
        .clone()
        .commands_for_each(&filter, &mut |row| {
            rows.push(row);
            ControlFlow::Continue(())
        })
        .unwrap();
    rows
}

/// Lets time pass until every command has ended.
fn run_until_ended(scene: &mut Scene, store: &SharedStore, patience_ms: u64) -> Vec<CommandRow> {
    let limit_ms = scene.stage.site().now_ms() + patience_ms;
    loop {
        let rows = all(store);
        if rows.iter().all(|row| !row.state.is_open()) {
            return rows;
        }
        let now_ms = scene.stage.site().now_ms();
        assert!(now_ms < limit_ms, "open for too long: {rows:?}");
        scene.stage.advance(now_ms + 500);
    }
}

fn reporting(seed: u64, devices: Vec<DeviceKind>) -> Scenario {
    Scenario {
        devices,
        schedule: Some(Schedule {
            first_ms: 2_000,
            interval_ms: 8_000,
            jitter_ms: 4_000,
            items_max: None,
        }),
        ..Scenario::new(seed)
    }
}

#[test]
fn devices_of_every_form_do_what_was_kept_for_them_over_a_bad_air() {
    for_seeds("devices_of_every_form_do_what_was_kept", 6, |seed| {
        let kinds: Vec<DeviceKind> = (0..8)
            .map(|n| DeviceKind::mixed(n + 4 * seed as u32 % 400))
            .collect();
        let store = SharedStore::new().unwrap();
        let mut scene = Scenario {
            up: Channel::lossy(0.3),
            down: Channel::lossy(0.3),
            ..reporting(seed, kinds)
        }
        .build(Box::new(store.clone()))
        .unwrap();
        scene.stage.advance(5_000);
        let everybody: Vec<usize> = (0..8).collect();
        let data: Vec<u8> = (0..30).map(|at| at ^ seed as u8).collect();
        let write = KeptOperation::Write {
            offset: 2,
            data: data.clone(),
        };
        keep(&mut scene, &everybody, &write);
        let read = KeptOperation::Read {
            offset: 2,
            length: 30,
        };
        let reads = keep(&mut scene, &everybody, &read);
        // There is no memory there.
        let beyond = KeptOperation::Read {
            offset: 60,
            length: 30,
        };
        let refused = keep(&mut scene, &[0], &beyond);
        // The core dies with what it has under way, more than once.
        for _ in 0..3 {
            let now_ms = scene.stage.site().now_ms();
            scene.stage.advance(now_ms + 7_300);
            scene.stage.kill_core();
            scene.start_core(Box::new(store.clone())).unwrap();
        }
        let rows = run_until_ended(&mut scene, &store, 3_600_000);
        for row in &rows {
            let expected = match row.kind.as_str() {
                _ if refused.contains(&row.id) => CommandState::Failed,
                _ => CommandState::Done,
            };
            assert_eq!(row.state, expected, "{row:?}");
            if reads.contains(&row.id) {
                assert_eq!(row.read.as_ref(), Some(&data), "{row:?}");
            }
        }
        // Reports went on all the while, each accepted once.
        let judged = verdict(&scene, &store);
        assert!(judged.is_safe(), "{judged:?}");
        scene.stage.site().now_ms()
    });
}

#[test]
fn a_device_told_to_be_silent_for_ever_is_so_over_power_cycles_and_restarts() {
    let store = SharedStore::new().unwrap();
    let kinds = (0..4).map(DeviceKind::mixed).collect();
    let mut scene = Scenario {
        up: Channel::lossy(0.2),
        down: Channel::lossy(0.2),
        ..reporting(11, kinds)
    }
    .build(Box::new(store.clone()))
    .unwrap();
    scene.stage.advance(5_000);
    keep(&mut scene, &[1], &KeptOperation::PermanentDisable);
    let rows = run_until_ended(&mut scene, &store, 3_600_000);
    assert_eq!(rows[0].state, CommandState::Done);
    assert!(store.clone().device(&id(1)).unwrap().unwrap().disabled);
    for _ in 0..3 {
        let now_ms = scene.stage.site().now_ms();
        let fleet = scene.stage.site_mut().fleet_mut();
        for device in 0..4 {
            fleet.schedule_power(DeviceIndex(device), now_ms + 100, false);
            fleet.schedule_power(DeviceIndex(device), now_ms + 200, true);
        }
        scene.stage.kill_core();
        scene.start_core(Box::new(store.clone())).unwrap();
        scene.stage.advance(now_ms + 60_000);
        let site = scene.stage.site();
        for n in 0..4 {
            let view = site.fleet().device(DeviceIndex(n)).unwrap();
            let device = view.device().unwrap();
            assert_eq!(device.is_disabled(), n == 1);
            // The others, for control, have reported.
            assert_eq!(device.stats().accepts > 0, n != 1);
            assert_eq!(device.stats().transmissions > 0, n != 1);
        }
        let fleet = scene.stage.site_mut().fleet_mut();
        let refused = fleet.submit(now_ms + 60_000, DeviceIndex(1), Cause::Event, b"");
        assert!(refused.unwrap().is_err());
    }
}
