//! Device-terminated inventories and commands on N2, with a gNB and devices by hand.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use ambit_aiotf::service::{
    DeviceFailure, DevicePlace, Devices, FailureCause, Notification, Operation, RequestError,
    ServiceRequest, TransactionId,
};
use ambit_ngap::{Cause, DeviceReport, FromGnb, InventoryRequest, ReaderReport, Target, ToGnb};
use ambit_protocol::session::Session;
use ambit_protocol::wire::{Command, CommandResult, InventoryResponse, Response};
use ambit_protocol::{KAiotf, RandN, RootKey, Suite, TagLen, schedule};
use common::*;

/// A device that answers.
struct Tag {
    id: Vec<u8>,
    key: [u8; 16],
    session: Option<Session>,
}

impl Tag {
    fn new(name: &str) -> Self {
        Self {
            id: name.as_bytes().to_vec(),
            key: std::array::from_fn(|at| name.as_bytes()[at % name.len()] ^ at as u8),
            session: None,
        }
    }

    /// What it says to a page.
    fn answer(&mut self, rand_n: [u8; 16], nonce: u8) -> Vec<u8> {
        let (rand_n, rand_d) = (RandN::from_octets(rand_n), [nonce; 16]);
        let key = RootKey::new(self.key).prf_key(Suite::AesCmac);
        let k_aiotf = KAiotf::new(key.evaluate(&schedule::dt_k_aiotf(&rand_n, &rand_d)));
        self.session = Some(Session::new(Suite::AesCmac, &k_aiotf, TagLen::T8));
        let res = schedule::cut(&key.evaluate(&schedule::dt_res(&rand_n, &rand_d)));
        let mut out = [0; 25];
        InventoryResponse { rand_d, res }.emit(&mut out).unwrap();
        out.to_vec()
    }

    /// What it was told, if it is the network that told it.
    fn hear(&mut self, nas: &[u8]) -> Option<Vec<u8>> {
        let text = self.session.as_mut()?.open_down(nas).ok()?;
        Some(text.octets().to_vec())
    }

    fn say(&mut self, code: u8, result: CommandResult, data: &[u8]) -> Vec<u8> {
        let (mut text, mut out) = ([0; 125], [0; 125]);
        let response = Response { code, result, data };
        let len = response.emit(&mut text).unwrap();
        let session = self.session.as_mut().unwrap();
        let len = session.seal_up(&text[..len], &mut out).unwrap();
        out[..len].to_vec()
    }
}

fn tags<const N: usize>(rig: &Rig, names: [&str; N]) -> [Tag; N] {
    let tags = names.map(Tag::new);
    rig.adm.script(|script| {
        script.devices = tags.iter().map(|tag| (tag.id.clone(), tag.key)).collect();
    });
    tags
}

fn request(devices: Devices, operation: Operation) -> ServiceRequest {
    ServiceRequest {
        devices,
        operation,
        ..ServiceRequest::inventory()
    }
}

fn named(tag: &Tag) -> Devices {
    Devices::Named(vec![tag.id.clone()])
}

fn ask(rig: &mut Rig, request: ServiceRequest) -> TransactionId {
    rig.aiotf.request(request, rig.now_ms).unwrap()
}

/// The pages that have gone out.
fn pages(rig: &mut Rig) -> Vec<InventoryRequest<'static>> {
    rig.windows().into_iter().map(|(_, page)| page).collect()
}

fn page(rig: &mut Rig) -> InventoryRequest<'static> {
    let [page] = pages(rig).try_into().unwrap();
    page
}

fn answers(correlation: u16, nas: &[Vec<u8>], complete: bool) -> FromGnb<'static> {
    let devices = nas.iter().zip(1..).map(|(nas, number)| DeviceReport {
        nas: nas.clone().into(),
        device_ngap_id: Some(number),
    });
    FromGnb::InventoryReport {
        aiotf_id: AIOTF_ID,
        correlation,
        gnb_id: gnb(1),
        readers: match nas {
            [] => Vec::new(),
            _ => vec![ReaderReport {
                reader_index: 1,
                devices: devices.collect(),
            }],
        },
        complete,
    }
}

fn notified(rig: &mut Rig) -> Vec<Notification> {
    rig.aiotf.flush(rig.now_ms);
    std::iter::from_fn(|| rig.aiotf.poll_notification()).collect()
}

/// The names of the devices in notifications.
fn names(notifications: &[Notification]) -> Vec<String> {
    let devices = notifications.iter().flat_map(|n| &n.devices);
    devices
        .map(|device| String::from_utf8(device.device_id.to_vec()).unwrap())
        .collect()
}

/// The one command that has gone out since the last look, and how many releases.
fn command(rig: &mut Rig) -> (u16, Vec<u8>) {
    let commands: Vec<_> = rig.seen().into_iter().filter_map(as_command).collect();
    let [command] = commands.try_into().unwrap();
    command
}

fn as_command(seen: Seen) -> Option<(u16, Vec<u8>)> {
    match seen {
        Seen::Pdu(
            _,
            ToGnb::CommandRequest {
                correlation, nas, ..
            },
        ) => Some((correlation, nas.into_owned())),
        _ => None,
    }
}

fn releases(rig: &mut Rig) -> usize {
    let is_release =
        |seen: &Seen| matches!(seen, Seen::Pdu(_, ToGnb::SessionReleaseCommand { .. }));
    rig.seen().iter().filter(|seen| is_release(seen)).count()
}

fn response(correlation: u16, device_ngap_id: u32, nas: Vec<u8>) -> FromGnb<'static> {
    FromGnb::CommandResponse {
        aiotf_id: AIOTF_ID,
        correlation,
        device_ngap_id,
        nas: nas.into(),
    }
}

fn unanswered(correlation: u16, cause: Cause) -> FromGnb<'static> {
    FromGnb::CommandFailure {
        aiotf_id: AIOTF_ID,
        correlation,
        device_ngap_id: 1,
        cause,
    }
}

/// With one tag that has been paged by name and answered; returns the correlation identifier.
fn reached(rig: &mut Rig, tag: &mut Tag, operation: Operation) -> u16 {
    ask(rig, request(named(tag), operation));
    let page = page(rig);
    let answer = tag.answer(page.rand_n, 1);
    rig.pdu(1, &answers(page.correlation, &[answer], true));
    page.correlation
}

#[test]
fn an_inventory_of_all_names_who_answered_and_ends() {
    let (mut rig, _) = Rig::with_gnb();
    let [mut one, mut two, _absent] = tags(&rig, ["one", "two", "absent"]);
    let id = ask(
        &mut rig,
        ServiceRequest {
            expected: Some(3),
            interval_s: Some(7),
            ..ServiceRequest::inventory()
        },
    );
    let page = page(&mut rig);
    assert!(page.correlation < 0x8000 && !page.follow_on_command);
    assert_eq!(page.target, Target::AllDevices);
    assert_eq!(
        (page.approximate_devices, page.time_interval),
        (Some(3), Some(7))
    );
    let nas = [one.answer(page.rand_n, 1), two.answer(page.rand_n, 2)];
    rig.pdu(1, &answers(page.correlation, &nas, true));
    let notified = notified(&mut rig);
    assert_eq!(names(&notified), ["one", "two"]);
    let last = notified.last().unwrap();
    assert!(last.is_last && last.failure.is_none() && last.transaction == id);
    let place = DevicePlace {
        area_id: area(1),
        gnb_id: 1,
        reader_index: 1,
    };
    assert_eq!(last.devices[0].place, Some(place));
    assert_eq!(releases(&mut rig), 1);
    assert_eq!(rig.aiotf.requests_open(), 0);
}

#[test]
fn results_come_as_they_are_found_or_gathered_over_the_interval() {
    let (mut rig, _) = Rig::with_gnb();
    let [mut one, mut two] = tags(&rig, ["one", "two"]);
    ask(&mut rig, ServiceRequest::inventory());
    let first = page(&mut rig);
    rig.pdu(
        1,
        &answers(first.correlation, &[one.answer(first.rand_n, 1)], false),
    );
    let seen = notified(&mut rig);
    assert_eq!((names(&seen), seen[0].is_last), (vec!["one".into()], false));
    rig.pdu(
        1,
        &answers(first.correlation, &[two.answer(first.rand_n, 2)], true),
    );
    assert_eq!(names(&notified(&mut rig)), ["two"]);

    let gathered = ServiceRequest {
        interval_s: Some(5),
        ..ServiceRequest::inventory()
    };
    ask(&mut rig, gathered);
    let second = page(&mut rig);
    rig.pdu(
        1,
        &answers(second.correlation, &[one.answer(second.rand_n, 3)], false),
    );
    assert_eq!(notified(&mut rig), []);
    rig.wait_ms(5000);
    assert_eq!(names(&notified(&mut rig)), ["one"]);
}

#[test]
fn nobody_is_a_failure_and_strangers_are_another() {
    let (mut rig, _) = Rig::with_gnb();
    let [_one] = tags(&rig, ["one"]);
    ask(&mut rig, ServiceRequest::inventory());
    let silent = page(&mut rig);
    rig.pdu(1, &answers(silent.correlation, &[], true));
    let last = notified(&mut rig).pop().unwrap();
    assert_eq!(
        last.failure,
        Some(FailureCause::NoSuccessfulInventoryResponse)
    );

    ask(&mut rig, ServiceRequest::inventory());
    let strange = page(&mut rig);
    let stranger = Tag::new("stranger").answer(strange.rand_n, 1);
    rig.pdu(1, &answers(strange.correlation, &[stranger], true));
    let last = notified(&mut rig).pop().unwrap();
    assert_eq!(last.failure, Some(FailureCause::AuthenticationFailure));
    assert_eq!((last.progress.answers, last.progress.unverified), (1, 1));
}

#[test]
fn a_device_by_name_is_paged_clear_or_concealed_and_only_its_answer_counts() {
    for is_concealed in [false, true] {
        let (mut rig, _) = Rig::with_gnb();
        let [mut one, mut two] = tags(&rig, ["one", "two"]);
        ask(
            &mut rig,
            ServiceRequest {
                is_concealed,
                ..request(named(&one), Operation::Inventory)
            },
        );
        let page = page(&mut rig);
        let Target::Single(name) = &page.target else {
            panic!("{:?}", page.target);
        };
        let t_id = schedule::dt_paging_t_id(&RandN::from_octets(page.rand_n));
        let t_id = RootKey::new(one.key).evaluate(Suite::AesCmac, &t_id);
        let expected = if is_concealed { &t_id[..] } else { &one.id };
        assert_eq!(name.octets(), expected);
        // Another device, as itself, does not do.
        let nas = [two.answer(page.rand_n, 2)];
        rig.pdu(1, &answers(page.correlation, &nas, false));
        assert_eq!(notified(&mut rig), []);
        let nas = [one.answer(page.rand_n, 1)];
        rig.pdu(1, &answers(page.correlation, &nas, false));
        // Nobody else is waited for.
        let seen = notified(&mut rig);
        assert_eq!(names(&seen), ["one"]);
        assert!(seen[0].is_last && releases(&mut rig) == 1);
    }
}

#[test]
fn an_answer_counts_once_and_in_its_own_inventory() {
    let (mut rig, _) = Rig::with_gnb();
    let [mut one] = tags(&rig, ["one"]);
    ask(&mut rig, ServiceRequest::inventory());
    let first = page(&mut rig);
    let answer = one.answer(first.rand_n, 1);
    // The same RAND_d with another RES must not shut the true one out.
    let mut forged = answer.clone();
    forged[24] ^= 1;
    let nas = [
        forged,
        answer.clone(),
        answer.clone(),
        one.answer(first.rand_n, 2),
    ];
    rig.pdu(1, &answers(first.correlation, &nas, true));
    assert_eq!(names(&notified(&mut rig)), ["one"]);
    for (name, count) in [
        ("inventory_answer_unverified", 1),
        ("inventory_answer_repeated", 1),
        ("inventory_device_again", 1),
        ("inventory_device_found", 1),
    ] {
        assert_eq!(rig.count(name), count, "{name}");
    }
    ask(&mut rig, ServiceRequest::inventory());
    let second = page(&mut rig);
    rig.pdu(1, &answers(second.correlation, &[answer], true));
    let last = notified(&mut rig).pop().unwrap();
    assert_eq!(last.failure, Some(FailureCause::AuthenticationFailure));
}

#[test]
fn malformed_answers_and_readers_outside_the_area_are_dropped() {
    let (mut rig, _) = Rig::with_gnb();
    let [mut one] = tags(&rig, ["one"]);
    ask(
        &mut rig,
        ServiceRequest {
            areas: vec![area(2)],
            ..ServiceRequest::inventory()
        },
    );
    let page = page(&mut rig);
    assert_eq!(page.areas, [*area(2).octets()]);
    // Reader 1 stands in area 1.
    let nas = [one.answer(page.rand_n, 1), vec![0x68; 24], vec![0x68; 300]];
    rig.pdu(1, &answers(page.correlation, &nas, true));
    let last = notified(&mut rig).pop().unwrap();
    assert_eq!((last.progress.devices, last.progress.dropped), (0, 3));
    assert_eq!(rig.count("inventory_answer_elsewhere"), 1);
    assert_eq!(rig.count("inventory_answer_malformed"), 2);
}

#[test]
fn a_gnb_that_never_ends_or_floods_costs_no_more_than_the_time_asked_for() {
    let (mut rig, _) = Rig::with_gnb();
    let [mut one] = tags(&rig, ["one"]);
    ask(
        &mut rig,
        ServiceRequest {
            timeout_s: 10,
            ..ServiceRequest::inventory()
        },
    );
    let page = page(&mut rig);
    rig.adm.script(|script| script.is_busy = true);
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..70 {
        let junk: Vec<Vec<u8>> = (0..1000)
            .map(|_| {
                let mut nas = vec![0x68; 25];
                random.fill(&mut nas[1..]);
                nas
            })
            .collect();
        rig.pdu(1, &answers(page.correlation, &junk, false));
    }
    rig.pdu(
        1,
        &answers(page.correlation, &[one.answer(page.rand_n, 1)], false),
    );
    assert_eq!(rig.aiotf.pending_reports(), 65_536);
    rig.seen();
    // Without budget nobody spins.
    assert_eq!(rig.aiotf.pending_reports(), 0);
    rig.wait_ms(10_000);
    let last = notified(&mut rig).pop().unwrap();
    assert!(last.is_last && last.devices.is_empty());
    assert_eq!(last.progress.dropped, 70_001);
    assert_eq!((rig.aiotf.requests_open(), releases(&mut rig)), (0, 1));
}

#[test]
fn a_search_without_budget_goes_on_later() {
    let (mut rig, _) = Rig::with_gnb();
    let [mut one] = tags(&rig, ["one"]);
    ask(&mut rig, ServiceRequest::inventory());
    let page = page(&mut rig);
    rig.adm.script(|script| script.is_busy = true);
    rig.pdu(
        1,
        &answers(page.correlation, &[one.answer(page.rand_n, 1)], true),
    );
    assert_eq!(notified(&mut rig), []);
    rig.adm.script(|script| script.is_busy = false);
    rig.wait_ms(500);
    assert_eq!(names(&notified(&mut rig)), ["one"]);
}

#[test]
fn a_gnb_that_refuses_gives_up_or_goes_away_ends_its_part() {
    let (mut rig, _) = Rig::with_gnb();
    let [mut one] = tags(&rig, ["one"]);
    rig.set_up(2, gnb(2));

    // Refused by both.
    ask(&mut rig, ServiceRequest::inventory());
    let out = rig.windows();
    assert_eq!(out.len(), 2);
    for (connection, page) in &out {
        rig.pdu(*connection, &inventory_failure(page.correlation));
    }
    let last = notified(&mut rig).pop().unwrap();
    assert_eq!(
        last.failure,
        Some(FailureCause::NoSuccessfulInventoryResponse)
    );
    assert_eq!((last.progress.gnbs_lost, releases(&mut rig)), (2, 0));

    // One goes away in the middle, the other gives up; what was heard counts.
    ask(&mut rig, ServiceRequest::inventory());
    let out = rig.windows();
    let first = out[0].1.correlation;
    rig.pdu(1, &answers(first, &[one.answer(out[0].1.rand_n, 1)], false));
    rig.aiotf.handle_disconnected(1);
    rig.pdu(
        2,
        &FromGnb::SessionReleaseRequest {
            aiotf_id: AIOTF_ID,
            correlation: out[1].1.correlation,
            cause: Cause::RadioResourcesNotAvailable,
        },
    );
    let seen = notified(&mut rig);
    assert_eq!(names(&seen), ["one"]);
    assert!(seen.last().unwrap().is_last && releases(&mut rig) == 1);
    // Late words of a session that is over.
    rig.pdu(2, &answers(first, &[one.answer(out[0].1.rand_n, 2)], false));
    assert_eq!(rig.count("n2_unknown_correlation"), 1);
}

#[test]
fn a_gnb_has_one_page_out_at_a_time() {
    let (mut rig, _) = Rig::with_gnb();
    let [mut one] = tags(&rig, ["one"]);
    ask(&mut rig, ServiceRequest::inventory());
    let first = page(&mut rig);
    let second = ask(&mut rig, request(named(&one), Operation::Inventory));
    assert!(pages(&mut rig).is_empty());
    rig.pdu(1, &answers(first.correlation, &[], true));
    let next = page(&mut rig);
    assert_ne!(
        (next.correlation, next.rand_n),
        (first.correlation, first.rand_n)
    );
    rig.pdu(
        1,
        &answers(next.correlation, &[one.answer(next.rand_n, 1)], true),
    );
    assert_eq!(notified(&mut rig).pop().unwrap().transaction, second);
}

#[test]
fn a_read_comes_in_pieces_and_whole() {
    let (mut rig, _) = Rig::with_gnb();
    let [mut one] = tags(&rig, ["one"]);
    let memory: Vec<u8> = (0..=255).cycle().skip(16).take(200).collect();
    let read = Operation::Read {
        offset: 16,
        length: 200,
    };
    let correlation = reached(&mut rig, &mut one, read);
    for (offset, length) in [(16, 96), (112, 95), (207, 9)] {
        let (of, nas) = command(&mut rig);
        assert_eq!(of, correlation);
        let text = one.hear(&nas).unwrap();
        assert_eq!(Command::parse(&text), Ok(Command::Read { offset, length }));
        let data = &memory[usize::from(offset) - 16..][..usize::from(length)];
        let nas = one.say(1, CommandResult::Ok, data);
        rig.pdu(1, &response(correlation, 1, nas));
    }
    let (_, release) = command(&mut rig);
    assert_eq!(one.hear(&release), Some(vec![4]));
    let nas = one.say(4, CommandResult::Ok, &[]);
    rig.pdu(1, &response(correlation, 1, nas));
    let seen = notified(&mut rig);
    assert_eq!(seen[0].devices[0].data, Some(memory));
    assert!(seen.last().unwrap().is_last);
    assert_eq!(releases(&mut rig), 1);
}

#[test]
fn a_second_answer_to_one_piece_does_not_pass_for_the_next() {
    let (mut rig, _) = Rig::with_gnb();
    let [mut one] = tags(&rig, ["one"]);
    let write = Operation::Write {
        offset: 0,
        data: vec![7; 100],
    };
    let correlation = reached(&mut rig, &mut one, write);
    let (_, first) = command(&mut rig);
    assert!(one.hear(&first).is_some());
    let answer = one.say(2, CommandResult::Ok, &[]);
    // Its answer is late: the piece is written again, and acknowledged twice.
    rig.pdu(1, &unanswered(correlation, Cause::NoAiotNasResponse));
    let (_, again) = command(&mut rig);
    assert!(one.hear(&again).is_some());
    let second = one.say(2, CommandResult::Ok, &[]);
    rig.pdu(1, &response(correlation, 1, answer));
    let (_, read) = command(&mut rig);
    assert_eq!(one.hear(&read), Some(vec![1, 0, 95, 1]));
    rig.pdu(1, &response(correlation, 1, second));
    assert_eq!(rig.count("session_code_mismatch"), 1);
    let (_, read) = command(&mut rig);
    assert_eq!(one.hear(&read), Some(vec![1, 0, 95, 1]));
    let nas = one.say(1, CommandResult::Ok, &[7]);
    rig.pdu(1, &response(correlation, 1, nas));
    let (_, rest) = command(&mut rig);
    assert_eq!(one.hear(&rest), Some(vec![2, 0, 96, 7, 7, 7, 7]));
    assert_eq!(notified(&mut rig), []);
    let nas = one.say(2, CommandResult::Ok, &[]);
    rig.pdu(1, &response(correlation, 1, nas));
    let seen = notified(&mut rig);
    assert_eq!(
        (seen[0].devices[0].failure, &seen[0].devices[0].data),
        (None, &None)
    );
}

#[test]
fn what_a_device_refuses_is_said_with_its_cause() {
    for (result, failure) in [
        (
            CommandResult::BadParameters,
            DeviceFailure::ParametersInvalid,
        ),
        (CommandResult::LowEnergy, DeviceFailure::LowEnergy),
        (CommandResult::NotSupported, DeviceFailure::NotImplemented),
    ] {
        let (mut rig, _) = Rig::with_gnb();
        let [mut one] = tags(&rig, ["one"]);
        let write = Operation::Write {
            offset: 9,
            data: vec![1, 2, 3],
        };
        let correlation = reached(&mut rig, &mut one, write);
        let (_, nas) = command(&mut rig);
        assert_eq!(one.hear(&nas), Some(vec![2, 0, 9, 1, 2, 3]));
        let nas = one.say(2, result, &[]);
        rig.pdu(1, &response(correlation, 1, nas));
        // The device is let go all the same.
        let (_, release) = command(&mut rig);
        assert_eq!(one.hear(&release), Some(vec![4]));
        rig.pdu(1, &unanswered(correlation, Cause::NoAiotNasResponse));
        let (_, again) = command(&mut rig);
        assert_eq!(one.hear(&again), Some(vec![4]));
        rig.pdu(1, &unanswered(correlation, Cause::DeviceNotReachable));
        let seen = notified(&mut rig);
        assert_eq!(seen[0].devices[0].failure, Some(failure));
        assert!(seen.last().unwrap().is_last && seen.last().unwrap().failure.is_none());
    }
}

#[test]
fn a_lost_command_is_given_again_under_the_next_count_and_then_given_up() {
    let (mut rig, _) = Rig::with_gnb();
    let [mut one] = tags(&rig, ["one"]);
    let correlation = reached(&mut rig, &mut one, Operation::PermanentDisable);
    let mut told = Vec::new();
    for _ in 0..3 {
        let (_, nas) = command(&mut rig);
        told.push(nas[1]);
        assert_eq!(one.hear(&nas), Some(vec![3]));
        rig.pdu(1, &unanswered(correlation, Cause::NoAiotNasResponse));
    }
    assert_eq!(told, [0, 1, 2]);
    let seen = notified(&mut rig);
    assert_eq!(seen[0].devices[0].failure, Some(DeviceFailure::NoAnswer));
    assert!(seen.last().unwrap().is_last);
    // Whether it obeyed is not known, so the network goes on knowing it.
    assert!(rig.adm.script(|script| script.disabled.is_empty()));
}

#[test]
fn an_acknowledged_disable_is_on_record_before_it_is_told() {
    let (mut rig, _) = Rig::with_gnb();
    let [mut one] = tags(&rig, ["one"]);
    let correlation = reached(&mut rig, &mut one, Operation::PermanentDisable);
    let (_, nas) = command(&mut rig);
    assert_eq!(one.hear(&nas), Some(vec![3]));
    let nas = one.say(3, CommandResult::Ok, &[]);
    rig.pdu(1, &response(correlation, 1, nas));
    assert_eq!(rig.adm.script(|script| script.disabled.clone()), [b"one"]);
    let seen = notified(&mut rig);
    assert_eq!(seen[0].devices[0].failure, None);
    assert!(seen.last().unwrap().is_last);
}

#[test]
fn false_responses_change_nothing() {
    let (mut rig, _) = Rig::with_gnb();
    let [mut one, mut two] = tags(&rig, ["one", "two"]);
    let read = Operation::Read {
        offset: 0,
        length: 4,
    };
    let correlation = reached(&mut rig, &mut one, read);
    let (_, nas) = command(&mut rig);
    let text = one.hear(&nas).unwrap();
    assert_eq!(text, [1, 0, 0, 4]);
    two.answer([9; 16], 1);

    // For a device and for sessions that are not there.
    let honest = one.say(1, CommandResult::Ok, b"data");
    for (correlation, number) in [(correlation, 7), (correlation + 1, 1), (0x7fff, 1)] {
        rig.pdu(1, &response(correlation, number, honest.clone()));
    }
    assert_eq!(rig.count("n2_unexpected_command_response"), 1);
    assert_eq!(rig.count("n2_unknown_correlation"), 2);
    assert_eq!(notified(&mut rig), []);

    // Of another device; the command itself, reflected. The command is given again each time, and the third time is the last.
    let forged = two.say(1, CommandResult::Ok, b"evil");
    rig.pdu(1, &response(correlation, 1, forged));
    let (_, again) = command(&mut rig);
    assert_eq!(one.hear(&again).unwrap(), text);
    rig.pdu(1, &response(correlation, 1, nas));
    let (_, again) = command(&mut rig);
    assert_eq!(one.hear(&again).unwrap(), text);
    // The honest answer to the first one does as well: it is the device's, and says what was asked.
    rig.pdu(1, &response(correlation, 1, honest.clone()));
    let seen = notified(&mut rig);
    assert_eq!(seen[0].devices[0].data.as_deref(), Some(&b"data"[..]));
    // Replayed to the RELEASE, it is refused by its COUNT.
    rig.pdu(1, &response(correlation, 1, honest));
    assert_eq!(rig.count("session_count_replayed"), 1);
}

#[test]
fn answers_of_the_wrong_code_or_length_are_not_taken() {
    let (mut rig, _) = Rig::with_gnb();
    let [mut one] = tags(&rig, ["one"]);
    let read = Operation::Read {
        offset: 0,
        length: 4,
    };
    let correlation = reached(&mut rig, &mut one, read);
    let (_, nas) = command(&mut rig);
    one.hear(&nas).unwrap();
    let wrong = one.say(2, CommandResult::Ok, b"data");
    rig.pdu(1, &response(correlation, 1, wrong));
    let long = one.say(1, CommandResult::Ok, b"more data");
    rig.pdu(1, &response(correlation, 1, long));
    assert_eq!(rig.count("session_code_mismatch"), 1);
    assert_eq!(rig.count("session_length_mismatch"), 1);
    assert_eq!(notified(&mut rig), []);
}

#[test]
fn a_gnb_lost_with_commands_under_way_fails_them() {
    let (mut rig, _) = Rig::with_gnb();
    let [mut one] = tags(&rig, ["one"]);
    reached(&mut rig, &mut one, Operation::PermanentDisable);
    assert_eq!(notified(&mut rig), []);
    rig.aiotf.handle_disconnected(1);
    let seen = notified(&mut rig);
    assert_eq!(seen[0].devices[0].failure, Some(DeviceFailure::NoAnswer));
    assert!(seen.last().unwrap().is_last);
}

#[test]
fn a_device_that_falls_silent_is_given_up_when_the_time_is_over() {
    let (mut rig, _) = Rig::with_gnb();
    let [mut one] = tags(&rig, ["one"]);
    reached(&mut rig, &mut one, Operation::PermanentDisable);
    let (_, nas) = command(&mut rig);
    assert_eq!(one.hear(&nas), Some(vec![3]));
    rig.wait_ms(10_000);
    let seen = notified(&mut rig);
    assert_eq!(seen[0].devices[0].failure, Some(DeviceFailure::NoAnswer));
    assert_eq!(rig.aiotf.requests_open(), 0);
}

#[test]
fn cancelling_ends_a_request_with_what_it_has() {
    let (mut rig, _) = Rig::with_gnb();
    let [_one] = tags(&rig, ["one"]);
    let id = ask(&mut rig, ServiceRequest::inventory());
    assert_eq!(pages(&mut rig).len(), 1);
    rig.aiotf.cancel(id, rig.now_ms);
    rig.aiotf.cancel(TransactionId(99), rig.now_ms);
    assert!(notified(&mut rig).pop().unwrap().is_last);
    assert_eq!(releases(&mut rig), 1);
}

#[test]
fn requests_over_a_limit_are_refused_and_leave_nothing() {
    let (mut rig, _) = Rig::with_gnb();
    let [one] = tags(&rig, ["one"]);
    let inventory = ServiceRequest::inventory;
    let read = |offset, length| request(named(&one), Operation::Read { offset, length });
    let foreign =
        ambit_protocol::AreaId::from_octets([0x99, 0xf9, 0x99, 0xf0, 0, 0, 0, 0, 0, 0, 0, 1]);
    let cases: Vec<(&str, ServiceRequest)> = vec![
        (
            "area",
            ServiceRequest {
                areas: vec![area(1); 257],
                ..inventory()
            },
        ),
        (
            "area",
            ServiceRequest {
                areas: vec![foreign.unwrap()],
                ..inventory()
            },
        ),
        (
            "expected",
            ServiceRequest {
                expected: Some(0),
                ..inventory()
            },
        ),
        (
            "interval_s",
            ServiceRequest {
                interval_s: Some(257),
                ..inventory()
            },
        ),
        (
            "timeout_s",
            ServiceRequest {
                timeout_s: 0,
                ..inventory()
            },
        ),
        (
            "timeout_s",
            ServiceRequest {
                timeout_s: 3601,
                ..inventory()
            },
        ),
        (
            "device",
            request(Devices::Named(vec![]), Operation::Inventory),
        ),
        (
            "device",
            request(Devices::Named(vec![vec![1]; 1025]), Operation::Inventory),
        ),
        (
            "device",
            request(Devices::Named(vec![vec![1; 129]]), Operation::Inventory),
        ),
        (
            "filter",
            request(Devices::Filter(vec![]), Operation::Inventory),
        ),
        (
            "filter",
            request(Devices::Filter(vec![1; 129]), Operation::Inventory),
        ),
        ("length", read(0, 0)),
        ("length", read(0, 4097)),
        ("offset", read(65_535, 2)),
    ];
    for (expected, request) in cases {
        let refused = rig.aiotf.request(request, rig.now_ms);
        assert!(
            matches!(refused, Err(RequestError::Invalid { field, .. }) if field == expected),
            "{expected}: {refused:?}"
        );
    }
    let unknown = Devices::Named(vec![one.id.clone(), b"nobody".to_vec()]);
    let refused = rig
        .aiotf
        .request(request(unknown, Operation::Inventory), rig.now_ms);
    assert_eq!(refused, Err(RequestError::UnknownDevice { at: 1 }));
    let elsewhere = ServiceRequest {
        areas: vec![area(77)],
        ..inventory()
    };
    let refused = rig.aiotf.request(elsewhere, rig.now_ms);
    assert_eq!(refused, Err(RequestError::AreaNotServed));
    assert_eq!((rig.aiotf.requests_open(), pages(&mut rig).len()), (0, 0));

    for _ in 0..64 {
        ask(&mut rig, inventory());
    }
    let refused = rig.aiotf.request(inventory(), rig.now_ms);
    assert_eq!(refused, Err(RequestError::TooMany));
}
