//! Windows over time: they roll with the epochs, are released after the grace, and asked for again when refused.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use ambit_adm_api::{Beacons, Outcome};
use ambit_ngap::{Cause, FromGnb, ToGnb};
use common::*;

const NAS: &[u8] = &[0x40, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13];

fn release(correlation: u16) -> ToGnb<'static> {
    ToGnb::SessionReleaseCommand {
        aiotf_id: AIOTF_ID,
        correlation,
        cause: Cause::NormalRelease,
    }
}

#[test]
fn a_new_epoch_opens_a_new_window_and_the_old_one_is_released_after_the_grace() {
    let (mut rig, mut old) = Rig::with_gnb();
    for epoch in 1001..1010 {
        rig.wait_ms(EPOCH_MS - (rig.now_ms - START_MS) % EPOCH_MS - 1);
        assert!(rig.seen().is_empty(), "nothing before the epoch ends");
        rig.wait_ms(1);
        let windows = rig.windows();
        assert_eq!(windows.len(), 1);
        let window = &windows[0].1;
        assert_eq!(window.rand_n, *rand_n(epoch).octets());
        assert!(window.correlation >= 0x8000 && window.correlation != old);
        assert_eq!(rig.aiotf.status().windows, 2);

        // In the grace a report belongs to the RAND_n of the window that it comes back in.
        rig.wait_ms(GRACE_MS - 1);
        rig.pdu(1, &report(old, gnb(1), 1, Some(7), NAS));
        rig.pdu(1, &report(window.correlation, gnb(1), 1, Some(8), NAS));
        assert_eq!(rig.seen().len(), 2);
        let heard = rig.adm.heard();
        let [.., a, b] = &heard[..] else { panic!() };
        assert_eq!((a.rand_n, b.rand_n), (rand_n(epoch - 1), rand_n(epoch)));

        rig.wait_ms(1);
        assert_eq!(rig.seen(), [Seen::Pdu(1, release(old))]);
        assert_eq!(rig.aiotf.status().windows, 1);
        rig.pdu(1, &report(old, gnb(1), 1, Some(7), NAS));
        assert!(rig.seen().is_empty(), "the old window is over");
        rig.pdu(
            1,
            &FromGnb::SessionReleaseComplete {
                aiotf_id: AIOTF_ID,
                correlation: old,
            },
        );
        old = window.correlation;
    }
    assert_eq!(rig.count("window_closed"), 9);
    assert_eq!(rig.aiotf.status().epoch, Some(1009));
}

#[test]
fn an_aiotf_that_slept_over_the_grace_releases_at_once() {
    let (mut rig, old) = Rig::with_gnb();
    rig.now_ms += EPOCH_MS + GRACE_MS;
    rig.aiotf.handle_timeout(rig.now_ms);
    let seen = rig.seen();
    let [
        Seen::Pdu(1, ToGnb::InventoryRequest(_)),
        Seen::Pdu(1, released),
    ] = &seen[..]
    else {
        panic!("{seen:?}")
    };
    assert_eq!(released, &release(old));
}

#[test]
fn a_refused_window_is_asked_for_again_after_a_while() {
    let (mut rig, first) = Rig::with_gnb();
    let mut refused = first;
    for n in 1..=5 {
        rig.pdu(1, &inventory_failure(refused));
        assert_eq!(rig.aiotf.status().windows, 0);
        rig.pdu(1, &report(refused, gnb(1), 1, Some(7), NAS));
        rig.wait_ms(9_999);
        assert!(rig.seen().is_empty());
        rig.wait_ms(1);
        let windows = rig.windows();
        assert_eq!(windows.len(), 1);
        let correlation = windows[0].1.correlation;
        assert_ne!(correlation, refused);
        assert_eq!(windows[0].1.rand_n, *rand_n(1000).octets());
        assert_eq!(rig.count("window_refused"), n);
        refused = correlation;
    }
    rig.pdu(1, &report(refused, gnb(1), 1, Some(7), NAS));
    assert_eq!(rig.seen().len(), 1);
    // A refusal of what is not there changes nothing.
    rig.pdu(1, &inventory_failure(first));
    rig.wait_ms(60_000);
    assert!(rig.seen().is_empty());
    assert_eq!(rig.aiotf.status().windows, 1);
}

/// Not at once, or the two would go on for ever as fast as they can.
#[test]
fn a_window_that_the_gnb_gives_up_is_released_and_asked_for_again_after_a_while() {
    let (mut rig, correlation) = Rig::with_gnb();
    let request = FromGnb::SessionReleaseRequest {
        aiotf_id: AIOTF_ID,
        correlation,
        cause: Cause::RadioUnspecified,
    };
    rig.pdu(1, &request);
    let command = ToGnb::SessionReleaseCommand {
        aiotf_id: AIOTF_ID,
        correlation,
        cause: Cause::RadioUnspecified,
    };
    assert_eq!(rig.seen(), [Seen::Pdu(1, command)]);
    rig.pdu(1, &request);
    rig.wait_ms(9_999);
    assert!(rig.seen().is_empty());
    rig.wait_ms(1);
    assert_eq!(rig.windows().len(), 1);
}

/// The old window refused or given up in the grace: there is nothing to ask for again, and nothing to wake up for.
#[test]
fn an_old_window_that_is_given_up_leaves_the_new_one() {
    for is_failure in [true, false] {
        let (mut rig, old) = Rig::with_gnb();
        rig.wait_ms(EPOCH_MS);
        assert_eq!(rig.windows().len(), 1);
        rig.pdu(
            1,
            &match is_failure {
                true => inventory_failure(old),
                false => FromGnb::SessionReleaseRequest {
                    aiotf_id: AIOTF_ID,
                    correlation: old,
                    cause: Cause::RadioUnspecified,
                },
            },
        );
        rig.wait_ms(EPOCH_MS - 1);
        assert!(rig.windows().is_empty());
        assert_eq!(rig.aiotf.status().windows, 1);
    }
}

#[test]
fn while_the_adm_fails_there_is_no_new_window_and_then_there_is() {
    let mut rig = Rig::new(config());
    rig.set_up(1, gnb(1));
    rig.adm.script(|script| script.is_failing = true);
    rig.wait_ms(EPOCH_MS);
    assert!(rig.seen().is_empty());
    let status = rig.aiotf.status();
    assert_eq!(status.epoch, None);
    assert_eq!(status.adm_error.as_deref(), Some("store: no space left"));
    // A gNB that comes meanwhile is welcomed, without a window.
    rig.aiotf.handle_connected(2);
    rig.pdu(2, &ng_setup(gnb(2)));
    let seen = rig.seen();
    assert!(matches!(
        &seen[..],
        [Seen::Pdu(2, ToGnb::NgSetupResponse { .. })]
    ));
    // It is asked about once a second, also when a window waits to be asked for again.
    let asked = |rig: &Rig| rig.adm.script(|script| script.beacons_asked);
    rig.pdu(1, &inventory_failure(0x8000));
    let before = asked(&rig);
    rig.wait_ms(60_000);
    assert!((30..=61).contains(&(asked(&rig) - before)));
    assert!(rig.seen().is_empty());

    rig.adm.script(|script| script.is_failing = false);
    rig.wait_ms(1000);
    let windows = rig.windows();
    assert_eq!(windows.len(), 2);
    for (_, window) in windows {
        assert_eq!(window.rand_n, *rand_n(1001).octets());
    }
    assert_eq!(rig.aiotf.status().adm_error, None);
}

#[test]
fn an_adm_whose_epoch_is_over_already_is_not_asked_without_end() {
    let (mut rig, _) = Rig::with_gnb();
    rig.adm.script(|script| {
        script.beacons = Some(Beacons {
            current: rand_n(1001),
            current_until_ms: START_MS,
            previous: None,
        });
    });
    // `wait_ms` checks that no timeout is due again at once.
    rig.wait_ms(EPOCH_MS + 60_000);
    let asked = rig.adm.script(|script| script.beacons_asked);
    assert!((2..=70).contains(&asked), "{asked}");
}

#[test]
fn the_adm_is_ticked_about_once_a_second() {
    let (mut rig, _) = Rig::with_gnb();
    let before = rig.adm.script(|script| script.ticks);
    rig.wait_ms(100_000);
    let ticks = rig.adm.script(|script| script.ticks) - before;
    assert!((99..=101).contains(&ticks), "{ticks}");
    // Also when the clock was set back by a day.
    rig.now_ms -= 86_400_000;
    rig.aiotf.handle_timeout(rig.now_ms);
    rig.wait_ms(100_000);
    let ticks = rig.adm.script(|script| script.ticks) - before - ticks;
    assert!((99..=102).contains(&ticks), "{ticks}");
}

/// Correlation identifiers of windows wrap to 0x8000, and never meet a window that is still open.
#[test]
fn correlation_identifiers_wrap_over_those_in_use() {
    let mut rig = Rig::new(config());
    let held = rig.set_up(1, gnb(1));
    // The first window stays in its grace throughout.
    rig.adm.script(|script| {
        script.beacons = Some(Beacons {
            current: rand_n(1001),
            current_until_ms: i64::MAX / 2,
            previous: Some((rand_n(1000), i64::MAX / 4)),
        });
    });
    rig.wait_ms(EPOCH_MS);
    let mut correlation = rig.windows()[0].1.correlation;
    let mut wraps = 0;
    for _ in 0..33_000 {
        rig.pdu(1, &inventory_failure(correlation));
        rig.wait_ms(10_000);
        let next = rig.windows()[0].1.correlation;
        assert!(next >= 0x8000);
        assert_ne!(next, held);
        wraps += u32::from(next < correlation);
        correlation = next;
    }
    assert_eq!(wraps, 1);
    rig.pdu(1, &report(held, gnb(1), 1, Some(7), NAS));
    rig.seen();
    assert_eq!(rig.adm.heard()[0].rand_n, rand_n(1000));
}

/// Whatever gNBs send, no timeout stays due, the windows are few, and nothing panics.
#[test]
fn random_messages_of_gnbs() {
    let mut rng = fastrand::Rng::with_seed(8);
    let mut rig = Rig::new(config());
    for _ in 0..30_000 {
        let connection = rng.u64(1..6);
        let correlation = 0x8000 + rng.u16(0..8);
        let aiotf_id = if rng.u8(..) < 5 { [0; 16] } else { AIOTF_ID };
        let number = if rng.u8(..) < 20 { 5 } else { connection };
        let gnb_id = gnb(u32::try_from(number).unwrap());
        match rng.u8(0..60) {
            0 => rig.aiotf.handle_connected(connection),
            1 => rig.aiotf.handle_disconnected(connection),
            2 | 8..12 => rig.pdu(connection, &ng_setup(gnb_id)),
            3 => rig.pdu(connection, &inventory_failure(correlation)),
            4 => rig.pdu(
                connection,
                &FromGnb::SessionReleaseRequest {
                    aiotf_id,
                    correlation,
                    cause: Cause::RadioUnspecified,
                },
            ),
            5 => rig.wait_ms(rng.i64(0..EPOCH_MS / 2)),
            6 => {
                let mut octets = ng_setup(gnb_id).encode().unwrap();
                let at = rng.usize(..octets.len());
                octets[at] ^= 1 << rng.u8(0..8);
                rig.octets(connection, &octets);
            }
            7 => {
                let is_failing = rng.u8(0..4) == 0;
                rig.adm.script(|script| script.is_failing = is_failing);
            }
            _ => {
                let nas = &NAS[..rng.usize(..NAS.len())];
                let device = rng.bool().then(|| rng.u32(..));
                let reader = rng.u16(1..6);
                rig.pdu(
                    connection,
                    &report(correlation, gnb_id, reader, device, nas),
                );
            }
        }
        rig.wait_ms(rng.i64(0..2000));
        rig.seen();
        let status = rig.aiotf.status();
        assert!(status.windows <= 2 * status.gnbs, "{status:?}");
    }
    assert!(rig.aiotf.reports().of(Outcome::AcceptedNew) > 100);
}
