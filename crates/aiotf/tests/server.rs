//! The AIOTF over real TCP: framing, connections, the end.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use ambit_aiotf::server::{Server, Stopped};
use ambit_aiotf::service::ServiceRequest;
use ambit_aiotf::{Aiotf, AiotfConfig, Watcher};
use ambit_ngap::framing::{FrameDecoder, PDU_OCTETS_MAX, frame_into};
use ambit_ngap::{FromGnb, GnbId, ToGnb};
use common::*;

const NAS: &[u8] = &[0x40, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13];

fn start(adm: &ScriptedAdm) -> Server<ScriptedAdm> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = AiotfConfig::new(snid(), AIOTF_ID);
    let now_ms = ambit_aiotf::server::unix_ms();
    Server::start(listener, Aiotf::new(config, adm.clone(), now_ms)).unwrap()
}

/// A gNB's end of a connection.
struct Client {
    stream: TcpStream,
    frames: FrameDecoder,
}

impl Client {
    fn connect(server: &Server<ScriptedAdm>) -> Self {
        let stream = TcpStream::connect(server.local_addr()).unwrap();
        // Only so that a failing test ends.
        let wait = Some(Duration::from_secs(30));
        stream.set_read_timeout(wait).unwrap();
        stream.set_nodelay(true).unwrap();
        let frames = FrameDecoder::new();
        Self { stream, frames }
    }

    /// Connects and completes NG SETUP; returns the correlation identifier of the window.
    fn set_up(server: &Server<ScriptedAdm>, gnb_id: GnbId) -> (Self, u16) {
        let mut client = Self::connect(server);
        client.send(&[ng_setup(gnb_id)]);
        let correlation = client.welcome();
        (client, correlation)
    }

    fn welcome(&mut self) -> u16 {
        let response = self.receive();
        assert!(
            matches!(response, Some(ToGnb::NgSetupResponse { .. })),
            "{response:?}"
        );
        match self.receive() {
            Some(ToGnb::InventoryRequest(request)) => request.correlation,
            other => panic!("{other:?}"),
        }
    }

    fn send(&mut self, messages: &[FromGnb<'_>]) {
        self.stream.write_all(&framed(messages)).unwrap();
    }

    /// The next message; `None` at the end of the connection.
    fn receive(&mut self) -> Option<ToGnb<'static>> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(pdu) = self.frames.next().unwrap() {
                return Some(ToGnb::decode(pdu.to_vec().leak()).unwrap());
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(n) => self.frames.push(&buffer[..n]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// The next message, which must be a page; its correlation identifier.
    fn page(&mut self) -> u16 {
        match self.receive() {
            Some(ToGnb::InventoryRequest(request)) => request.correlation,
            other => panic!("{other:?}"),
        }
    }

    /// The next message, which must release a session. It is confirmed.
    fn released(&mut self) -> u16 {
        match self.receive() {
            Some(ToGnb::SessionReleaseCommand { correlation, .. }) => {
                self.send(&[FromGnb::SessionReleaseComplete {
                    aiotf_id: AIOTF_ID,
                    correlation,
                }]);
                correlation
            }
            other => panic!("{other:?}"),
        }
    }

    /// The next message, which must be the ACCEPT of a report.
    fn receive_accept(&mut self, expected_device: u32) {
        match self.receive() {
            Some(ToGnb::CommandRequest {
                device_ngap_id,
                nas,
                ..
            }) => {
                assert_eq!(device_ngap_id, expected_device);
                assert_eq!(nas, accept_of(NAS));
            }
            other => panic!("{other:?}"),
        }
    }
}

fn framed(messages: &[FromGnb<'_>]) -> Vec<u8> {
    let mut octets = Vec::new();
    for message in messages {
        frame_into(&message.encode().unwrap(), &mut octets).unwrap();
    }
    octets
}

fn report_of(gnb_id: GnbId, correlation: u16, device: u32) -> FromGnb<'static> {
    report(correlation, gnb_id, 1, Some(device), NAS)
}

#[test]
fn frames_may_come_in_pieces_of_any_size() {
    let adm = ScriptedAdm::steady();
    let server = start(&adm);
    let mut client = Client::connect(&server);
    for octet in framed(&[ng_setup(gnb(1))]) {
        client.stream.write_all(&[octet]).unwrap();
    }
    let correlation = client.welcome();
    for piece in [1, 2, 3, 7, 50, 1000] {
        let reports: Vec<_> = (0..5).map(|n| report_of(gnb(1), correlation, n)).collect();
        for octets in framed(&reports).chunks(piece) {
            client.stream.write_all(octets).unwrap();
        }
        (0..5).for_each(|n| client.receive_accept(n));
    }
    server.stop().unwrap();
}

#[test]
fn broken_framing_closes_the_connection_and_no_other() {
    let adm = ScriptedAdm::steady();
    let server = start(&adm);
    let (mut bystander, correlation) = Client::set_up(&server, gnb(1));
    let too_long = (PDU_OCTETS_MAX as u32 + 1).to_be_bytes();
    for (n, broken) in [
        &[0; 4][..],
        &too_long,
        &[0xff; 64],
        b"GET / HTTP/1.1\r\n\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        let (mut client, other) = Client::set_up(&server, gnb(2));
        // What came whole before it is heard, in the same piece or not.
        let device = n as u32;
        client.send(&[report_of(gnb(2), other, device)]);
        client.receive_accept(device);
        client.stream.write_all(broken).unwrap();
        assert_eq!(client.receive(), None);
        bystander.send(&[report_of(gnb(1), correlation, 9)]);
        bystander.receive_accept(9);
    }
    // Octets in good frames that are no PDU are answered, and the connection lives.
    let mut octets = Vec::new();
    frame_into(&[0xff; 40], &mut octets).unwrap();
    bystander.stream.write_all(&octets).unwrap();
    let answer = bystander.receive();
    assert!(
        matches!(answer, Some(ToGnb::ErrorIndication { .. })),
        "{answer:?}"
    );
    bystander.send(&[report_of(gnb(1), correlation, 9)]);
    bystander.receive_accept(9);
    server.stop().unwrap();
}

#[test]
fn a_gnb_that_comes_back_is_served_again() {
    let adm = ScriptedAdm::steady();
    let server = start(&adm);
    for n in 0..20 {
        let (mut client, correlation) = Client::set_up(&server, gnb(1));
        client.send(&[report_of(gnb(1), correlation, n)]);
        client.receive_accept(n);
        if n % 2 == 0 {
            // In the middle of a frame.
            client.stream.write_all(&[0, 0]).unwrap();
        }
    }
    // Without having gone: the first connection is closed.
    let (mut first, _) = Client::set_up(&server, gnb(1));
    let (mut second, correlation) = Client::set_up(&server, gnb(1));
    assert_eq!(first.receive(), None);
    second.send(&[report_of(gnb(1), correlation, 99)]);
    second.receive_accept(99);
    let aiotf = server.stop().unwrap();
    assert!(aiotf.counts()["ng_setup"] >= 22);
}

#[test]
fn many_connections_at_once() {
    let adm = ScriptedAdm::steady();
    let server = start(&adm);
    let mut clients: Vec<_> = (1..=100)
        .map(|id| {
            let (client, correlation) = Client::set_up(&server, gnb(id));
            (id, client, correlation)
        })
        .collect();
    for round in 0..3 {
        for (id, client, correlation) in &mut clients {
            let reports: Vec<_> = (0..10)
                .map(|n| report_of(gnb(*id), *correlation, 1000 * *id + 10 * round + n))
                .collect();
            client.send(&reports);
        }
        for (id, client, _) in &mut clients {
            (0..10).for_each(|n| client.receive_accept(1000 * *id + 10 * round + n));
        }
    }
    let status = server.engine().call(|aiotf| aiotf.status()).unwrap();
    assert_eq!((status.gnbs, status.windows), (100, 100));
    assert_eq!(adm.heard().len(), 3000);
    server.stop().unwrap();
    for (_, mut client, _) in clients {
        assert_eq!(client.receive(), None);
    }
}

/// The ADM is slow; meanwhile the server is told to stop. What the ADM accepts is still answered, and all is written when
/// `stop` returns.
#[test]
fn stop_answers_what_was_under_way() {
    let adm = ScriptedAdm::steady();
    let server = start(&adm);
    let (mut client, correlation) = Client::set_up(&server, gnb(1));
    let (entered, is_entered) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel();
    adm.script(|script| {
        script.on_batch = Some(Box::new(move || {
            entered.send(()).unwrap();
            let _ = may_go_on.recv();
        }));
    });
    client.send(&[report_of(gnb(1), correlation, 1)]);
    is_entered.recv().unwrap();
    let engine = server.engine();
    let stopping = std::thread::spawn(move || server.stop().map(|_| ()));
    go_on.send(()).unwrap();
    drop(go_on);
    client.receive_accept(1);
    assert_eq!(client.receive(), None);
    assert_eq!(stopping.join().unwrap(), Ok(()));
    assert_eq!(engine.call(|_| ()), Err(Stopped));
}

/// The same of an ADM that records beside: nobody tells the engine of the end.
#[test]
fn stop_answers_what_was_being_recorded() {
    let adm = ScriptedAdm::slow();
    let server = start(&adm);
    let (mut client, correlation) = Client::set_up(&server, gnb(1));
    client.send(&[report_of(gnb(1), correlation, 1)]);
    while adm.heard().is_empty() {
        std::thread::yield_now();
    }
    let mut aiotf = server.stop().unwrap();
    client.receive_accept(1);
    assert_eq!(client.receive(), None);
    assert!(aiotf.poll_output().is_none());
}

#[test]
fn stop_does_not_wait_for_gnbs_that_say_nothing() {
    let adm = ScriptedAdm::steady();
    let server = start(&adm);
    let mut idle = Client::connect(&server);
    let (mut quiet, _) = Client::set_up(&server, gnb(1));
    assert!(server.is_running());
    let address = server.local_addr();
    server.stop().unwrap();
    assert_eq!(idle.receive(), None);
    assert_eq!(quiet.receive(), None);
    // The port is free again.
    assert!(TcpListener::bind(address).is_ok());
}

/// An engine that ended by itself is told of, and holds nobody up.
#[test]
fn an_engine_that_failed_shows() {
    let adm = ScriptedAdm::steady();
    let server = start(&adm);
    let (mut client, _) = Client::set_up(&server, gnb(1));
    let ended: Result<(), Stopped> = server
        .engine()
        .call(|_| std::panic::resume_unwind(Box::new("the ADM failed")));
    assert_eq!(ended, Err(Stopped));
    assert_eq!(client.receive(), None);
    assert!(server.stop().is_err());
}

#[test]
fn a_watcher_is_told_of_new_reports_while_it_wants_to_know() {
    let adm = ScriptedAdm::steady();
    let server = start(&adm);
    let (told, heard) = mpsc::channel();
    let is_wanted = Arc::new(AtomicBool::new(false));
    let watcher = Watcher {
        is_wanted: Arc::clone(&is_wanted),
        tell: Box::new(move |report| told.send(report.place.gnb_id).unwrap()),
    };
    server.engine().watch(watcher).unwrap();
    let (mut client, window) = Client::set_up(&server, gnb(1));
    client.send(&[report_of(gnb(1), window, 7)]);
    client.receive_accept(7);
    is_wanted.store(true, Ordering::SeqCst);
    client.send(&[report_of(gnb(1), window, 8)]);
    client.receive_accept(8);
    assert_eq!(heard.recv_timeout(Duration::from_secs(30)), Ok(1));
    server.stop().unwrap();
    // Of the first nothing was told.
    assert!(heard.try_recv().is_err());
}

/// The page goes on until somebody says that it is over; the requester does not wait for that.
#[test]
fn a_requester_that_goes_away_ends_its_request_and_leaves_nothing() {
    let adm = ScriptedAdm::steady();
    let server = start(&adm);
    let (mut client, _) = Client::set_up(&server, gnb(1));
    let request = ServiceRequest {
        timeout_s: 3600,
        ..ServiceRequest::inventory()
    };
    // For control: as long as it waits, nothing ends.
    let (kept_id, kept) = server.engine().request(request.clone()).unwrap().unwrap();
    let page = client.page();
    let open = || server.engine().call(|aiotf| aiotf.requests_open()).unwrap();
    assert!(kept.recv_timeout(Duration::from_secs(3)).is_err());
    assert_eq!(open(), 1);

    drop(kept);
    // The page ends at the gNB, without a device having answered.
    assert_eq!(client.released(), page);
    // Each in turn: the gNB is free again at once, also after a requester that went away while it waited for its turn.
    let (_, first) = server.engine().request(request.clone()).unwrap().unwrap();
    let page = client.page();
    let (_, second) = server.engine().request(request.clone()).unwrap().unwrap();
    drop(second);
    drop(first);
    assert_eq!(client.released(), page);
    let (last_id, last) = server.engine().request(request).unwrap().unwrap();
    assert!(last_id > kept_id);
    client.page();
    assert_eq!(open(), 1);
    let progress = move |aiotf: &mut Aiotf<ScriptedAdm>| aiotf.progress(kept_id).is_none();
    assert!(server.engine().call(progress).unwrap());
    // An engine that ends tells its requesters.
    server.stop().unwrap();
    let told = std::iter::from_fn(|| last.recv_timeout(Duration::from_secs(30)).ok());
    assert_eq!(told.count(), 0);
}
