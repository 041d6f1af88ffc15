//! The TCP driver against a core that is not there, comes, dies and comes back.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // Tests: a failure is a panic.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use ambit_device::DeviceForm;
use ambit_ngap::framing::{FrameDecoder, frame_into};
use ambit_ran::air::{AirConfig, Channel};
use ambit_ran::fleet::Schedule;
use ambit_ran::gnb::GnbConfig;
use ambit_ran::net::{NetConfig, NetError, Stop, run};
use ambit_ran::site::Site;
use common::*;

const DEVICES: u32 = 50;

fn site(schedule: Option<Schedule>, gnbs: u32) -> Site {
    let mut fleet = fleet(1, DEVICES, 200, DeviceForm::Beacon, schedule);
    for number in 0..DEVICES {
        let reader = ambit_ran::frame::SiteReader {
            gnb: (number % gnbs) as u16,
            reader_index: 1,
        };
        fleet.move_to(0, ambit_ran::fleet::DeviceIndex(number), reader);
    }
    let gnbs = (1..=gnbs).map(|id| GnbConfig::new(id, snid(), 1)).collect();
    Site::new(AirConfig::symmetric(2, Channel::PERFECT), gnbs, fleet)
}

/// Serves one connection until it ends or `until` says that this life of the core is over.
fn serve(mut stream: TcpStream, core: &mut Core, until: impl Fn(&Core) -> bool) {
    stream
        .set_read_timeout(Some(Duration::from_millis(10)))
        .unwrap();
    let mut decoder = FrameDecoder::new();
    let mut chunk = [0; 4096];
    let mut was_ready = false;
    while !until(core) {
        match stream.read(&mut chunk) {
            Ok(0) => return,
            Ok(count) => decoder.push(&chunk[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
        while let Some(pdu) = decoder.next().unwrap() {
            core.handle(0, pdu);
        }
        if !was_ready && core.ready.contains(&0) {
            was_ready = true;
            core.open_window(0, EPOCH);
        }
        let mut out = Vec::new();
        while let Some((_, octets)) = core.poll() {
            frame_into(&octets, &mut out).unwrap();
        }
        if stream.write_all(&out).is_err() {
            return;
        }
    }
}

#[test]
fn a_core_that_dies_and_comes_back_is_found_again() {
    // A port that nobody listens at yet.
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    // Four items with the registration: a device can hold them all, however long the core is away.
    let schedule = Schedule {
        first_ms: 100,
        interval_ms: 200,
        jitter_ms: 100,
        items_max: Some(3),
    };
    let mut site = site(Some(schedule), 1);
    let stop = Stop::new();
    let mut config = NetConfig::new(address);
    config.backoff_first_ms = 20;
    config.backoff_max_ms = 200;
    config.duration_ms = Some(60_000);
    let all = u64::from(DEVICES) * 4;

    let (core_sender, cores) = mpsc::channel();
    let core_stop = stop.clone();
    let server = thread::spawn(move || {
        thread::sleep(Duration::from_millis(200));
        let mut core = Core::new(DEVICES);
        // First life: it dies in the middle.
        let listener = TcpListener::bind(address).unwrap();
        serve(listener.accept().unwrap().0, &mut core, |core| {
            core.records.len() >= 60
        });
        drop(listener);
        thread::sleep(Duration::from_millis(200));
        // Second life, with the records of the first.
        core.ready.clear();
        let listener = bind_again(address);
        serve(listener.accept().unwrap().0, &mut core, |_| {
            core_stop.is_stopped()
        });
        core_sender.send(core).unwrap();
    });
    let mut told = 0;
    let summary = run(&mut site, &config, &stop, |progress| {
        told += 1;
        assert_eq!((progress.devices, progress.gnbs), (DEVICES.into(), 1));
        if progress.accepted == all {
            stop.stop();
        }
    })
    .unwrap();
    stop.stop();
    server.join().unwrap();
    let core = cores.recv().unwrap();

    assert_eq!(summary.progress.accepted, all, "{summary:?}");
    assert_eq!(
        (summary.progress.reconnects, summary.progress.pending),
        (1, 0),
        "{summary:?}"
    );
    assert!(summary.progress.connect_failures >= 1, "{summary:?}");
    assert!(summary.last_error.is_some() && told > 1);
    assert_eq!(summary.gnbs[0].windows_opened, 2);
    assert_eq!(site.gnbs()[0].sessions_open(), 0, "disconnected in the end");
    assert_ledger_matches(&site, &core);
}

#[test]
fn it_ends_in_time_without_any_core() {
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut site = site(None, 2);
    let mut config = NetConfig::new(address);
    config.duration_ms = Some(300);
    let summary = run(&mut site, &config, &Stop::new(), |_| {}).unwrap();
    assert!(summary.progress.elapsed_ms >= 300);
    assert_eq!(
        (summary.progress.registered, summary.progress.gnbs_connected),
        (0, 0)
    );
    assert!(summary.progress.connect_failures >= 2, "each gNB tried");
    assert_eq!(summary.progress.powered, DEVICES.into());
    // And without an address not at all.
    config.n2.clear();
    let nowhere = run(&mut site, &config, &Stop::new(), |_| {});
    assert_eq!(nowhere.unwrap_err(), NetError::NoAddress);
}

#[test]
fn a_core_that_sends_junk_is_left_and_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            // A frame longer than any: the stream has no point to pick up from.
            let _ = stream.write_all(&[0xFF; 64]);
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    let mut site = site(None, 1);
    let stop = Stop::new();
    let mut config = NetConfig::new(address);
    config.backoff_first_ms = 10;
    config.duration_ms = Some(10_000);
    let summary = run(&mut site, &config, &stop, |progress| {
        if progress.reconnects >= 1 {
            stop.stop();
        }
    })
    .unwrap();
    server.join().unwrap();
    assert_eq!(summary.progress.reconnects, 1);
}

/// The old connection may hold the port for a moment.
fn bind_again(address: SocketAddr) -> TcpListener {
    loop {
        match TcpListener::bind(address) {
            Ok(listener) => return listener,
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}
