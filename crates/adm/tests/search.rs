//! Devices found among many: population search over fleets of every kind, and tables built ahead of their epoch.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use ambit_adm_api::{AdmClient, Outcome};
use ambit_protocol::{Cause, DeviceForm, Form, Suite};
use common::{Device, EPOCH_MS, Net, area, config, fleets, in_area};

/// More than two pieces of the registry, kinds mixed at random, then long runs of one kind.
fn fleet(count: usize) -> Vec<Device> {
    let forms = [
        DeviceForm::Beacon,
        DeviceForm::Concealed,
        DeviceForm::Counter,
    ];
    let mut rng = fastrand::Rng::with_seed(1);
    (0..count)
        .map(|n| {
            let is_mixed = n < count / 2;
            let mut pick = |choices| if is_mixed { rng.usize(..choices) } else { 0 };
            let form = forms[pick(3)];
            let (suite, fleet) = (Suite::ALL[pick(3)], ["here", "there"][pick(2)]);
            let mut device = Device::new(&format!("device {n}"), form);
            (device.suite, device.fleet) = (suite, fleet.to_owned());
            device
        })
        .collect()
}

fn net(devices: &[Device]) -> Net {
    let config = ambit_adm::AdmConfig {
        fleet_areas: fleets(&[("here", &[1]), ("there", &[2])]),
        search_prf_per_s_max: u64::MAX,
        ..config()
    };
    Net::with(config, &devices.iter().collect::<Vec<_>>())
}

#[test]
fn among_ten_thousand_of_every_kind_each_is_found_in_its_area_alone() {
    let mut devices = fleet(10_000);
    let mut net = net(&devices);
    let rand_n = net.rand_n();
    // Several in one pass, of both populations, heard in one area, where half of them are out of scope.
    for batch in devices.chunks_mut(250) {
        let sample = batch.iter_mut().step_by(25);
        let (outcomes, reports): (Vec<_>, Vec<_>) = sample
            .map(|device| {
                device.area_id = area(1);
                let form = match device.form {
                    DeviceForm::Counter => Form::Recovery,
                    _ => Form::Concealed,
                };
                let outcome = match device.fleet.as_str() {
                    "here" => Outcome::AcceptedNew,
                    _ => Outcome::NoMatch,
                };
                (outcome, device.send_as(form, rand_n, Cause::Event, 1).nas)
            })
            .unzip();
        let reports: Vec<&[u8]> = reports.iter().map(Vec::as_slice).collect();
        let verdicts = net.hear_batch(rand_n, in_area(1), &reports);
        let found: Vec<Outcome> = verdicts.iter().map(|verdict| verdict.outcome()).collect();
        assert_eq!(found, outcomes);
    }
}

#[test]
fn the_result_does_not_depend_on_the_number_of_threads() {
    let mut devices = fleet(80_000);
    let mut outcomes = Vec::new();
    for threads in [1, 2, 3] {
        let config = ambit_adm::AdmConfig {
            search_threads_max: threads,
            search_prf_per_s_max: u64::MAX,
            ..config()
        };
        let mut net = Net::with(config, &devices.iter().collect::<Vec<_>>());
        // The import comes back from the store, 4096 changes at a time.
        (0..=devices.len() / 4096).for_each(|_| net.adm.tick(net.now_ms));
        let rand_n = net.rand_n();
        let found: Vec<Outcome> = [0, 1, 40_000, 79_999]
            .map(|at: usize| {
                let device = &mut devices[at];
                let form = match device.form {
                    DeviceForm::Counter => Form::Recovery,
                    _ => Form::Concealed,
                };
                let sent = device.send_as(form, rand_n, Cause::Event, 1);
                net.hear(&sent.nas)
            })
            .to_vec();
        assert_eq!(found, [Outcome::AcceptedNew; 4], "{threads} threads");
        outcomes.push(found);
    }
    assert!(outcomes.windows(2).all(|pair| pair[0] == pair[1]));
}

/// The next epoch's table is begun by a tick; devices then come and change before the epoch does.
#[test]
fn devices_that_come_and_change_while_the_next_table_is_built_are_found_in_it() {
    let mut devices = fleet(5000);
    for device in &mut devices {
        device.fleet = "everywhere".into();
    }
    let mut late = Device::new("late", DeviceForm::Beacon);
    late.fleet = "everywhere".into();
    let mut net = net(&devices);
    net.rand_n();
    for tick in 0..(EPOCH_MS / 1000) {
        net.wait_ms(1000 * i64::from(tick > 0));
        net.adm.tick(net.now_ms);
        if tick == 400 {
            net.import(&[&late]);
            for device in devices.iter_mut().step_by(500) {
                let key = net.adm.rotate_key(&device.id, net.now_ms).unwrap();
                device.key = *key.expose();
            }
        }
    }
    net.wait_ms(1000);
    let rand_n = net.rand_n();
    devices.push(late);
    let mut heard = 0;
    for device in devices.iter_mut().rev().step_by(50) {
        if device.form == DeviceForm::Beacon {
            let sent = device.send(rand_n, Cause::Event, 1);
            assert_eq!(net.hear(&sent.nas), Outcome::AcceptedNew, "{:?}", device.id);
            heard += 1;
        }
    }
    for device in devices.iter_mut().step_by(500) {
        let sent = device.send_as(device.usual(), rand_n, Cause::Event, 2);
        assert_eq!(net.hear(&sent.nas), Outcome::AcceptedNew, "{:?}", device.id);
    }
    assert!(heard > 50, "{heard}");
}
