//! An older copy of the store is put back (threat T03): reports of the time between are not accepted again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use std::path::Path;

use ambit_adm_api::Outcome;
use ambit_protocol::{Cause, Form, RandN};
use common::*;

/// A report, the RAND_n it was sent under, and its form.
type Held = (Form, RandN, Vec<u8>);

fn net_on(path: &Path, now_ms: i64) -> Net {
    Net::on(TestStore::file(path), blind_config(), now_ms)
}

/// One report of each form, accepted, and kept by somebody who listens.
fn report(net: &mut Net, devices: &mut [(Form, Device)], seq: u8) -> Vec<Held> {
    let rand_n = net.rand_n();
    let send = |(form, device): &mut (Form, Device)| {
        let sent = device.send_as(*form, rand_n, Cause::Event, seq);
        let outcome = net.hear_at(reader(1), rand_n, &sent.nas).outcome();
        assert_eq!(outcome, Outcome::AcceptedNew, "{form:?}");
        (*form, rand_n, sent.nas)
    };
    devices.iter_mut().map(send).collect()
}

/// Epochs 0 (then a copy is made, and more comes), 1 and 2; the copy is put back `restored_ms` after the start.
fn replay_after(restored_ms: i64, name: &str) -> (Vec<(Form, u32, Outcome)>, u32) {
    let directory = directory(name);
    let (live, copy) = (directory.join("live"), directory.join("copy"));
    let mut devices = all_forms();
    let mut net = net_on(&live, START_MS);
    let first = net.epoch();
    net.import(&devices.iter().map(|(_, device)| device).collect::<Vec<_>>());
    report(&mut net, &mut devices, 0);
    drop(net);
    std::fs::copy(&live, &copy).unwrap();

    let mut net = net_on(&live, START_MS + 1000);
    let mut held = report(&mut net, &mut devices, 1);
    for seq in [2, 3] {
        net.wait_ms(EPOCH_MS);
        held.extend(report(&mut net, &mut devices, seq));
    }
    drop(net);

    let mut net = net_on(&copy, START_MS + restored_ms);
    let current = net.rand_n();
    let mut outcomes = Vec::new();
    for (form, rand_n, nas) in &held {
        for claimed in [*rand_n, current] {
            let outcome = net.hear_at(reader(1), claimed, nas).outcome();
            outcomes.push((*form, rand_n.epoch() - first, outcome));
        }
    }
    // The control: the network works, and true devices are accepted (a counter one found by recovery).
    for (form, device) in &mut devices {
        let form = match form {
            Form::Counter | Form::Blind => Form::Recovery,
            other => *other,
        };
        let sent = device.send_as(form, current, Cause::Event, 9);
        assert_eq!(net.hear(&sent.nas), Outcome::AcceptedNew, "{form:?}");
    }
    (outcomes, current.epoch() - first)
}

#[test]
fn after_a_restore_nothing_of_the_time_between_is_accepted() {
    // At the first moment after the epochs of the reports, within the grace, at its end, and later.
    for (n, after_ms) in [0, 1, GRACE_MS - 1, GRACE_MS, EPOCH_MS, 50 * EPOCH_MS]
        .into_iter()
        .enumerate()
    {
        let restored_ms = 3 * EPOCH_MS + after_ms;
        let (outcomes, _) = replay_after(restored_ms, &format!("restore-{n}"));
        for (form, epoch, outcome) in outcomes {
            if form != Form::Blind {
                assert!(
                    matches!(outcome, Outcome::StaleEpoch | Outcome::NoMatch),
                    "{form:?} of epoch {epoch}: {outcome:?} {after_ms} ms into the next"
                );
            }
        }
    }
}

/// The copy was made in epoch 0 and put back in epoch 1: neither what came in epoch 0 after the copy is taken under the
/// grace, nor what came in epoch 1 before the restore.
#[test]
fn neither_grace_nor_epoch_reach_over_a_restore() {
    let (outcomes, epoch) = replay_after(EPOCH_MS + 1, "restore-grace");
    assert_eq!(epoch, 2, "begins early");
    for (form, of_epoch, outcome) in outcomes {
        if form != Form::Blind && of_epoch < 2 {
            assert!(
                matches!(outcome, Outcome::StaleEpoch | Outcome::NoMatch),
                "{form:?}: {outcome:?}"
            );
        }
    }
}

/// Why the blind form is refused unless set.
#[test]
fn a_blind_report_is_accepted_again_after_a_restore() {
    let (outcomes, _) = replay_after(10 * EPOCH_MS, "restore-blind");
    let blind = (Form::Blind, 2, Outcome::AcceptedNew);
    assert!(outcomes.contains(&blind), "{outcomes:?}");
}
