//! Section 8: pagings, command sessions, PERMANENT DISABLE; and sessions after an ACCEPT with status 01.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing)]

mod common;

use ambit_device::{
    DeviceForm, DeviceType, Event, Ignored, PDU_OCTETS_MAX, PagingTarget, SLOTS_OCTETS,
};
use ambit_protocol::session::Session;
use ambit_protocol::wire::{AcceptStatus, Command, CommandResult, InventoryResponse, Response};
use ambit_protocol::{Cause, KAiotf, RandN, Suite, TagLen, schedule};
use common::network::Network;
use common::nvm::Nvm;
use common::{TestDevice, area, profile, start};

struct Bench {
    network: Network,
    nvm: Nvm,
    device: TestDevice,
}

fn bench(form: DeviceForm) -> Bench {
    let nvm = Nvm::new(SLOTS_OCTETS + 200, 1);
    let mut p = profile(form);
    if form == DeviceForm::Dt {
        p.device_type = DeviceType::Type1;
    }
    Bench {
        network: Network::new(Suite::AesCmac, TagLen::T8, 600, 5),
        device: start(p, Suite::AesCmac, &nvm, 7, 0),
        nvm,
    }
}

const PAGED: RandN = RandN::from_octets([0x99; 16]);

impl Bench {
    fn transmit(&mut self, now_ms: u64) -> Option<Vec<u8>> {
        let mut out = [0; PDU_OCTETS_MAX];
        let len = self.device.poll_transmit(now_ms, &mut out)?;
        Some(out[..len].to_vec())
    }

    /// Pages the device and opens the network's end of the session.
    fn page(&mut self, now_ms: u64) -> Session {
        self.device.handle_paging(now_ms, &PAGED, PagingTarget::All);
        let answer = self.transmit(now_ms).expect("an answer");
        let answer = InventoryResponse::parse(&answer).unwrap();
        let res = self
            .network
            .cut::<8>(&schedule::dt_res(&PAGED, &answer.rand_d));
        assert_eq!(answer.res, res);
        let key = schedule::dt_k_aiotf(&PAGED, &answer.rand_d);
        let k_aiotf = KAiotf::new(self.network.evaluate(&key));
        Session::new(Suite::AesCmac, &k_aiotf, TagLen::T8)
    }

    fn send(&mut self, session: &mut Session, text: &[u8], now_ms: u64) -> Result<(), Ignored> {
        let mut out = [0; PDU_OCTETS_MAX];
        let len = session.seal_down(text, &mut out).unwrap();
        self.device.handle_downlink(now_ms, &out[..len])
    }

    fn command(
        &mut self,
        session: &mut Session,
        command: Command<'_>,
        now_ms: u64,
    ) -> (CommandResult, Vec<u8>) {
        let mut text = [0; 120];
        let len = command.emit(&mut text).unwrap();
        self.send(session, &text[..len], now_ms).unwrap();
        self.response(session, command.code(), now_ms)
    }

    fn response(
        &mut self,
        session: &mut Session,
        code: u8,
        now_ms: u64,
    ) -> (CommandResult, Vec<u8>) {
        let pdu = self.transmit(now_ms).expect("a response");
        let text = session.open_up(&pdu).unwrap();
        let response = Response::parse(text.octets()).unwrap();
        assert_eq!(response.code, code);
        (response.result, response.data.to_vec())
    }
}

#[test]
fn read_and_write_stay_in_the_user_memory() {
    for form in [DeviceForm::Dt, DeviceForm::Beacon, DeviceForm::Counter] {
        let mut b = bench(form);
        let mut s = b.page(0);
        let slots = b.nvm.octets()[..SLOTS_OCTETS].to_vec();
        let write = |offset, data| Command::Write { offset, data };
        let read = |offset, length| Command::Read { offset, length };
        let ok = (CommandResult::Ok, Vec::new());
        let bad = (CommandResult::BadParameters, Vec::new());
        assert_eq!(b.command(&mut s, write(0, b"abc"), 1), ok);
        assert_eq!(b.command(&mut s, write(197, b"xyz"), 1), ok);
        assert_eq!(b.command(&mut s, write(198, b"xyz"), 1), bad);
        assert_eq!(b.command(&mut s, write(65_535, b"xyz"), 1), bad);
        assert_eq!(
            b.command(&mut s, read(0, 3), 1),
            (CommandResult::Ok, b"abc".to_vec())
        );
        assert_eq!(
            b.command(&mut s, read(95, 105), 1).1,
            [&[0xFF; 102][..], b"xyz"].concat()
        );
        assert_eq!(
            b.command(&mut s, read(0, 106), 1),
            bad,
            "more than a PDU holds"
        );
        assert_eq!(b.command(&mut s, read(199, 2), 1), bad);
        assert_eq!(b.nvm.octets()[..SLOTS_OCTETS], slots);

        b.send(&mut s, &[9, 1, 2], 1).unwrap();
        assert_eq!(b.response(&mut s, 9, 1).0, CommandResult::NotSupported);
        b.send(&mut s, &[1, 1], 1).unwrap();
        assert_eq!(b.response(&mut s, 1, 1).0, CommandResult::BadParameters);
        b.nvm.0.borrow_mut().fail_percent = 100;
        assert_eq!(
            b.command(&mut s, write(0, b"abc"), 1).0,
            CommandResult::LowEnergy
        );

        assert_eq!(b.command(&mut s, Command::Release, 1), ok);
        assert!(b.send(&mut s, &[4], 1).is_err(), "the session is over");
    }
}

#[test]
fn a_paging_for_another_device_is_not_answered() {
    let mut b = bench(DeviceForm::Dt);
    let t_id = b.network.evaluate(&schedule::dt_paging_t_id(&PAGED));
    let mut wrong = t_id;
    wrong[15] ^= 1;
    for (target, answers) in [
        (PagingTarget::Concealed(wrong), false),
        (PagingTarget::Matches(false), false),
        (PagingTarget::Concealed(t_id), true),
        (PagingTarget::Matches(true), true),
        (PagingTarget::All, true),
    ] {
        b.device.handle_paging(3, &PAGED, target);
        assert_eq!(b.device.poll_timeout(), answers.then_some(3));
        assert_eq!(b.transmit(3).is_some(), answers, "{target:?}");
    }
}

#[test]
fn a_repeated_session_message_is_not_obeyed_again() {
    let mut b = bench(DeviceForm::Dt);
    let mut s = b.page(0);
    let mut out = [0; PDU_OCTETS_MAX];
    let len = s.seal_down(&[2, 0, 0, b'a'], &mut out).unwrap();
    let first = out[..len].to_vec();
    b.device.handle_downlink(1, &first).unwrap();
    assert_eq!(b.device.handle_downlink(1, &first), Err(Ignored::Busy));
    b.response(&mut s, 2, 1);
    b.command(
        &mut s,
        Command::Write {
            offset: 0,
            data: b"b",
        },
        1,
    );
    assert!(matches!(
        b.device.handle_downlink(1, &first),
        Err(Ignored::Session(_))
    ));
    assert_eq!(b.transmit(1), None);
    assert_eq!(b.nvm.octets()[SLOTS_OCTETS], b'b');
}

#[test]
fn a_false_paging_does_not_end_an_open_session() {
    let mut b = bench(DeviceForm::Dt);
    let mut s = b.page(0);
    let read = Command::Read {
        offset: 0,
        length: 1,
    };
    b.command(&mut s, read, 1);
    for n in 0..9 {
        let rand_n = RandN::new(n, [1; 12]);
        b.device.handle_paging(2, &rand_n, PagingTarget::All);
        assert!(b.transmit(2).is_some());
        assert_eq!(b.command(&mut s, read, 3).0, CommandResult::Ok);
    }
    // A true one does, with its first command.
    let mut next = b.page(4);
    assert_eq!(b.command(&mut s, read, 5).0, CommandResult::Ok);
    assert_eq!(b.command(&mut next, read, 5).0, CommandResult::Ok);
    assert!(b.send(&mut s, &[4], 5).is_err());
}

#[test]
fn disable_is_durable_before_it_is_acknowledged_and_for_ever() {
    for form in [
        DeviceForm::Dt,
        DeviceForm::Beacon,
        DeviceForm::Counter,
        DeviceForm::Blind,
    ] {
        let mut b = bench(form);
        let mut s = b.page(0);
        b.nvm.0.borrow_mut().fail_percent = 100;
        let failed = b.command(&mut s, Command::PermanentDisable, 1).0;
        assert_eq!(failed, CommandResult::LowEnergy);
        assert!(!b.device.is_disabled());
        b.nvm.0.borrow_mut().fail_percent = 0;
        assert_eq!(
            b.command(&mut s, Command::PermanentDisable, 1).0,
            CommandResult::Ok
        );
        for cycle in 0..4 {
            assert!(b.device.is_disabled());
            let told = std::iter::from_fn(|| b.device.poll_event()).any(|e| e == Event::Disabled);
            assert!(told, "cycle {cycle}");
            b.device.handle_beacon(2, &area(1), &b.network.at(100));
            b.device.handle_paging(2, &PAGED, PagingTarget::All);
            assert!(b.device.submit(2, Cause::Event, b"").is_err());
            assert!(b.send(&mut s, &[1, 0, 0, 1], 2).is_err());
            assert_eq!((b.transmit(2), b.device.poll_timeout()), (None, None));
            // One slot may rot, either one.
            if cycle > 1 {
                b.nvm.0.borrow_mut().octets[if cycle == 2 { 8 } else { 44 }] ^= 1;
            }
            b.device = start(*b.device.profile(), Suite::AesCmac, &b.nvm, 8, 0);
            if cycle > 1 {
                b.nvm.0.borrow_mut().octets[if cycle == 2 { 8 } else { 44 }] ^= 1;
            }
        }
    }
}

#[test]
fn a_disable_whose_acknowledgement_is_lost_is_acknowledged_again_in_its_session_and_nothing_else_is()
 {
    for form in [DeviceForm::Dt, DeviceForm::Beacon] {
        let mut b = bench(form);
        let mut s = b.page(0);
        b.send(&mut s, &[3], 1).unwrap();
        // Lost on the air.
        b.transmit(1).unwrap();
        assert!(b.device.is_disabled());
        let written = b.device.stats().memory_writes;
        let again = b.command(&mut s, Command::PermanentDisable, 2).0;
        assert_eq!(again, CommandResult::Ok);
        assert_eq!(b.device.stats().memory_writes, written);
        for text in [&[1, 0, 0, 1][..], &[2, 0, 0, 7], &[9]] {
            assert_eq!(b.send(&mut s, text, 3), Err(Ignored::Silent));
            assert_eq!(b.transmit(3), None);
        }
        // Nobody else's word is.
        let strange = KAiotf::new([7; 16]);
        let mut strange = Session::new(Suite::AesCmac, &strange, TagLen::T8);
        assert!(b.send(&mut strange, &[3], 3).is_err());
        assert_eq!(b.transmit(3), None);
        // Its RELEASE ends it.
        assert_eq!(b.command(&mut s, Command::Release, 4).0, CommandResult::Ok);
        assert_eq!(b.send(&mut s, &[3], 5), Err(Ignored::Silent));
        assert_eq!(b.transmit(5), None);
    }
    // And so does time, and the end of the power cycle.
    for is_late in [true, false] {
        let mut b = bench(DeviceForm::Dt);
        let mut s = b.page(0);
        b.send(&mut s, &[3], 1).unwrap();
        b.transmit(1).unwrap();
        let mut now_ms = 2;
        if is_late {
            now_ms += u64::from(b.device.profile().timing.session_idle_ms);
        } else {
            b.device = start(*b.device.profile(), Suite::AesCmac, &b.nvm, 8, 0);
        }
        assert_eq!(b.send(&mut s, &[3], now_ms), Err(Ignored::Silent));
        assert_eq!(b.transmit(now_ms), None);
    }
}

#[test]
fn power_lost_anywhere_in_a_disable_is_disabled_or_not_acknowledged() {
    let total = 2 * SLOTS_OCTETS / 2;
    for cut in 0..=total {
        for garbage in 0..4 {
            let mut b = bench(DeviceForm::Dt);
            b.nvm.0.borrow_mut().dice.seed(garbage);
            let mut s = b.page(0);
            b.nvm.0.borrow_mut().cut_after = Some(cut);
            b.send(&mut s, &[3], 1).unwrap();
            // What is sent after power is lost is sent by nobody.
            let acknowledged = !b.nvm.is_dead() && b.transmit(1).is_some();
            b.nvm.revive();
            let device = start(*b.device.profile(), Suite::AesCmac, &b.nvm, 8, 0);
            assert!(device.is_disabled() || !acknowledged, "cut after {cut}");
            assert_eq!(acknowledged, cut == total);
        }
    }
}

#[test]
fn status_01_opens_a_session_under_the_same_keys_and_reports_wait_for_its_end() {
    for released in [true, false] {
        let mut b = bench(DeviceForm::Beacon);
        b.network.status = AcceptStatus::CommandFollows;
        b.device.handle_beacon(0, &area(1), &b.network.at(100));
        b.device.submit(0, Cause::Event, b"").unwrap();
        let report = b.transmit(0).unwrap();
        let accept = b.network.report(0, &area(1), &report).unwrap();
        b.device.handle_downlink(1, &accept).unwrap();
        let mut s = b.network.last.take().unwrap().into_session();
        assert_eq!(b.transmit(1), None, "reports wait");
        let read = Command::Read {
            offset: 0,
            length: 1,
        };
        assert_eq!(b.command(&mut s, read, 5_000).0, CommandResult::Ok);
        assert_eq!(b.device.poll_timeout(), Some(15_000));
        let mut resume_ms = 15_000;
        if released {
            b.command(&mut s, Command::Release, 6_000);
            resume_ms = 6_000;
        } else {
            assert_eq!(b.transmit(14_999), None);
            assert!(b.send(&mut s, &[1, 0, 0, 1], 15_000).is_err());
        }
        assert!(b.transmit(resume_ms).is_some());
    }
}

#[test]
fn a_session_ends_when_its_counts_are_used_up() {
    let mut b = bench(DeviceForm::Dt);
    let mut s = b.page(0);
    for _ in 0..256 {
        let read = Command::Read {
            offset: 0,
            length: 1,
        };
        assert_eq!(b.command(&mut s, read, 1).0, CommandResult::Ok);
    }
    let mut again = b.page(2);
    assert_eq!(
        b.command(&mut again, Command::Release, 2).0,
        CommandResult::Ok
    );
}
