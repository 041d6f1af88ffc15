//! gNBs behind an AMF: nobody says when they come, go, or lose what they had, and an AIOTF finds out by itself.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::net::TcpListener;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ambit_aiotf::Aiotf;
use ambit_aiotf::server::{NotTaken, Server, Stopped, unix_ms};
use ambit_aiotf::service::ServiceRequest;
use ambit_ngap::{Cause, FromGnb, ToGnb};
use common::*;

const NAS: &[u8] = &[0x40, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13];

/// The window of an epoch has the epoch's number.
const WINDOW: u16 = 0x8000 | 1000;

fn release(correlation: u16) -> Seen {
    let cause = Cause::NormalRelease;
    Seen::Pdu(
        1,
        ToGnb::SessionReleaseCommand {
            aiotf_id: AIOTF_ID,
            correlation,
            cause,
        },
    )
}

fn opened(correlation: u16) -> FromGnb<'static> {
    FromGnb::InventoryResponse {
        aiotf_id: AIOTF_ID,
        correlation,
    }
}

fn taken(correlation: u16) -> FromGnb<'static> {
    FromGnb::InventoryFailure {
        aiotf_id: AIOTF_ID,
        correlation,
        cause: Cause::MultipleAiotSessions,
    }
}

/// gNB 1 behind an AMF, its window asked for.
fn rig() -> Rig {
    let mut rig = Rig::new(config());
    rig.aiotf.handle_gnb(1, gnb(1), rig.now_ms);
    let seen = rig.seen();
    let [left_over, Seen::Pdu(1, ToGnb::InventoryRequest(window))] = &seen[..] else {
        panic!("{seen:?}")
    };
    assert_eq!(left_over, &release(WINDOW - 1), "of the epoch before");
    assert_eq!(window.correlation, WINDOW);
    assert_eq!(rig.aiotf.status().gnbs, 1);
    rig
}

/// How often a window was asked for since the last look.
fn asked(rig: &mut Rig, correlation: u16) -> usize {
    let windows = rig.windows();
    assert!(windows.iter().all(|(_, w)| w.correlation == correlation));
    windows.len()
}

#[test]
fn a_gnb_behind_an_amf_is_as_any() {
    let mut rig = rig();
    rig.pdu(1, &opened(WINDOW));
    rig.pdu(1, &report(WINDOW, gnb(1), 1, Some(7), NAS));
    let seen = rig.seen();
    let [Seen::Pdu(1, ToGnb::CommandRequest { device_ngap_id, .. })] = &seen[..] else {
        panic!("{seen:?}")
    };
    assert_eq!(*device_ngap_id, 7);
    // The next epoch, with the next number.
    rig.wait_ms(EPOCH_MS);
    assert_eq!(
        rig.windows().last().map(|(_, window)| window.correlation),
        Some(WINDOW + 1)
    );
    rig.pdu(1, &opened(WINDOW + 1));
    rig.wait_ms(GRACE_MS);
    assert!(rig.seen().contains(&release(WINDOW)));
    // What does not decode is counted; an ERROR INDICATION cannot be sent through an AMF.
    rig.octets(1, &[0, 1, 2]);
    rig.octets(1, &[0xff; 40]);
    assert!(rig.seen().is_empty());
}

#[test]
fn an_open_window_is_asked_after_and_left_alone() {
    let mut rig = rig();
    rig.pdu(1, &opened(WINDOW));
    for _ in 0..10 {
        rig.wait_ms(4_999);
        assert_eq!(asked(&mut rig, WINDOW), 0);
        rig.wait_ms(1);
        assert_eq!(asked(&mut rig, WINDOW), 1);
        rig.pdu(1, &taken(WINDOW));
        assert!(rig.seen().is_empty());
        assert_eq!(rig.aiotf.status().windows, 1);
    }
    assert_eq!(rig.count("window_still_open"), 10);
    // It still serves.
    rig.pdu(1, &report(WINDOW, gnb(1), 1, Some(7), NAS));
    assert_eq!(rig.seen().len(), 1);
}

/// A gNB that lost its association with the AMF, or an AMF that was restarted.
#[test]
fn a_gnb_that_lost_its_window_opens_it_again_and_all_else_there_is_over() {
    let mut rig = rig();
    rig.pdu(1, &opened(WINDOW));
    let id = rig.aiotf.request(ServiceRequest::inventory(), rig.now_ms);
    let id = id.unwrap();
    assert_eq!(rig.windows().len(), 1, "a page is out");
    assert!(rig.aiotf.progress(id).is_some());
    rig.wait_ms(5_000);
    assert_eq!(asked(&mut rig, WINDOW), 1);
    rig.pdu(1, &opened(WINDOW));
    rig.seen();
    assert_eq!(rig.count("window_opened_anew"), 1);
    assert!(rig.aiotf.progress(id).is_none(), "its page is lost");
    let last = std::iter::from_fn(|| rig.aiotf.poll_notification()).last();
    assert!(last.unwrap().is_last);
    rig.pdu(1, &report(WINDOW, gnb(1), 1, Some(7), NAS));
    assert_eq!(rig.seen().len(), 1, "the window serves");
    // On a connection of its own a gNB that opens twice is only strange.
    let (mut direct, correlation) = Rig::with_gnb();
    direct.pdu(1, &opened(correlation));
    direct.pdu(1, &opened(correlation));
    assert_eq!(direct.count("window_opened_anew"), 0);
}

/// An AIOTF that was restarted: the gNB has not noticed.
#[test]
fn a_window_that_an_earlier_aiotf_left_is_released_and_opened_anew() {
    let mut rig = rig();
    rig.pdu(1, &taken(WINDOW));
    let seen = rig.seen();
    let [released, Seen::Pdu(1, ToGnb::InventoryRequest(window))] = &seen[..] else {
        panic!("{seen:?}")
    };
    assert_eq!((released, window.correlation), (&release(WINDOW), WINDOW));
    rig.pdu(
        1,
        &FromGnb::SessionReleaseComplete {
            aiotf_id: AIOTF_ID,
            correlation: WINDOW,
        },
    );
    rig.pdu(1, &opened(WINDOW));
    assert_eq!(rig.aiotf.status().windows, 1);
    rig.pdu(1, &report(WINDOW, gnb(1), 1, Some(7), NAS));
    assert_eq!(rig.seen().len(), 1);
}

#[test]
fn a_gnb_that_never_lets_go_is_not_asked_in_circles() {
    let mut rig = rig();
    for _ in 0..5 {
        rig.pdu(1, &taken(WINDOW));
        assert_eq!(rig.seen().len(), 2, "released, and asked for once more");
        rig.pdu(1, &taken(WINDOW));
        assert!(rig.seen().is_empty(), "then left alone for a while");
        rig.wait_ms(10_000);
        // Once more under the same number.
        assert!(rig.windows().iter().all(|(_, w)| w.correlation == WINDOW));
    }
    assert_eq!(rig.count("window_refused"), 5);
}

#[test]
fn an_unanswered_request_is_made_again() {
    let mut rig = rig();
    rig.wait_ms(20_000);
    assert_eq!(asked(&mut rig, WINDOW), 4);
    rig.pdu(1, &opened(WINDOW));
    assert_eq!(rig.count("window_opened"), 1);
    let mut config = config();
    config.window_check_s = 0;
    let mut never = Rig::new(config);
    never.aiotf.handle_gnb(1, gnb(1), never.now_ms);
    never.seen();
    never.wait_ms(60_000);
    assert!(never.seen().is_empty());
}

#[test]
fn a_gnb_that_comes_directly_displaces_itself_behind_an_amf() {
    let mut rig = rig();
    rig.pdu(1, &opened(WINDOW));
    rig.aiotf.handle_connected(2);
    rig.pdu(2, &ng_setup(gnb(1)));
    assert!(rig.seen().contains(&Seen::Close(1)));
    assert_eq!(rig.aiotf.status().gnbs, 1);
    rig.pdu(1, &report(WINDOW, gnb(1), 1, Some(7), NAS));
    assert_eq!(rig.count("n2_connection_closed"), 1);
}

#[test]
fn the_engine_carries_ngap_of_attached_gnbs_both_ways() {
    let adm = ScriptedAdm::steady();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = config();
    config.window_check_s = 0;
    let aiotf = Aiotf::new(config, adm, unix_ms());
    let server = Server::start(listener, aiotf).unwrap();
    let engine = server.engine();
    let (outlet, pdus) = mpsc::channel();
    let outlet = move |pdu: Vec<u8>| outlet.send(pdu).is_ok();
    let connection = engine.attach(gnb(1), Box::new(outlet)).unwrap();
    let next = || pdus.recv_timeout(Duration::from_secs(30)).unwrap();
    let kinds = [next(), next()].map(|pdu| ToGnb::decode(&pdu).unwrap().kind().name());
    assert_eq!(kinds, ["aiot_session_release_command", "inventory_request"]);
    let said = [opened(WINDOW), report(WINDOW, gnb(1), 1, Some(7), NAS)];
    for message in said {
        engine
            .attached_pdu(connection, message.encode().unwrap())
            .unwrap();
    }
    let accept = next();
    let accept = ToGnb::decode(&accept).unwrap();
    assert_eq!(accept.kind().name(), "command_request");
    // Detached, it is gone and so is its outlet.
    engine.detach(connection);
    let gone = pdus.recv_timeout(Duration::from_secs(30));
    assert_eq!(gone, Err(mpsc::RecvTimeoutError::Disconnected));
    assert_eq!(engine.call(|aiotf| aiotf.status().gnbs).unwrap(), 0);
    // One whose outlet takes nothing is detached by the engine.
    engine.attach(gnb(1), Box::new(|_| false)).unwrap();
    let started = Instant::now();
    while engine.call(|aiotf| aiotf.status().gnbs).unwrap() > 0 {
        assert!(started.elapsed() < Duration::from_secs(30));
    }
    let (outlet, pdus) = mpsc::channel();
    let outlet = move |pdu: Vec<u8>| outlet.send(pdu).is_ok();
    let connection = engine.attach(gnb(1), Box::new(outlet)).unwrap();
    server.stop().unwrap();
    while pdus.recv().is_ok() {}
    assert_eq!(
        engine.attached_pdu(connection, vec![0]),
        Err(NotTaken::Stopped)
    );
    let attached = engine.attach(gnb(1), Box::new(|_| true));
    assert_eq!(attached, Err(Stopped));
}
