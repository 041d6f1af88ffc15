//! UICC registration at the ADM itself (section 7): two processes on one store, and SUCIs that open nothing.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "uicc_common/mod.rs"]
mod common;

use std::collections::HashSet;

use ambit_adm::{Adm, Kek, system_entropy};
use ambit_adm_api::{AdmClient, ChallengeId, DoaReport, Outcome, RegistrationStep, Verdict};
use ambit_device::Uicc;
use ambit_protocol::schedule::{self, cut};
use ambit_protocol::wire::{AuthenticationRequest, RegistrationRequest, ReportId};
use ambit_protocol::{
    Cause, DeviceForm, Exchange, Item, KAiotf, RandN, RootKey, Suite, TagLen, aka,
};
use ambit_store::SqliteStore;
use ambit_uicc::suci::{PrivateKey, Protection, RoutingIndicator, Scheme, conceal};
use common::*;

/// What two ADM processes on one file say to one device: no SQN twice, and the K_AIOT of the latest challenge stays, in
/// whatever order the answers come.
#[test]
fn two_adms_challenge_one_device() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let open = || {
        let store = SqliteStore::open(&path).unwrap();
        let kek = Kek::from_octets(&[0x4B; 32]);
        Adm::open(config(), Box::new(store), kek, system_entropy(), START_MS).unwrap()
    };
    let mut first = open();
    first
        .import_subscribers(&[subscriber(0, DeviceForm::Concealed, 0)], START_MS)
        .unwrap();
    let mut adms = [first, open()];
    let rand_n = adms[0].beacons(START_MS).unwrap().current;
    assert_eq!(adms[1].beacons(START_MS).unwrap().current, rand_n);

    let mut card = card(0);
    let mut suci = [0; 64];
    let len = card.suci(&mut suci).unwrap();
    let mut sqns = HashSet::new();
    let mut answers = Vec::new();
    for n in 0..100u8 {
        let rand_d = [n; 8];
        let request = RegistrationRequest {
            rand_d,
            suci: &suci[..len],
        };
        let mut nas = [0; 125];
        let len = request.emit(&mut nas).unwrap();
        let adm = &mut adms[usize::from(n % 2)];
        let step = adm.register(START_MS, &report(rand_n, &nas[..len]));
        let RegistrationStep::Challenge { nas: challenge, id } = step else {
            panic!("{step:?}");
        };
        // Asked again, it says the same again and takes no other number.
        let again = adm.register(START_MS, &report(rand_n, &nas[..len]));
        assert!(matches!(again, RegistrationStep::Challenge { nas, .. } if nas == challenge));

        let answer = answer(&challenge, &rand_d);
        assert!(sqns.insert(answer.sqn));
        answers.push((id, answer.exchange, answer.nas));
    }
    assert_eq!(sqns.len(), 100);

    // A response that is not quite right, then the right one, then the same again.
    let (id, exchange, nas) = &answers[99];
    for at in [1, 8, 9, nas.len() - 1] {
        let mut wrong = nas.clone();
        wrong[at] ^= 1;
        let step = adms[1].respond(START_MS, id, &report(rand_n, &wrong));
        assert_eq!(step.outcome(), Outcome::AuthenticationFailed);
    }
    let mut accepts = Vec::new();
    for expected in [Outcome::AcceptedNew, Outcome::AcceptedDuplicate] {
        let step = adms[1].respond(START_MS, id, &report(rand_n, nas));
        assert_eq!(step.outcome(), expected);
        let RegistrationStep::Done(Verdict::Accept { nas, .. }) = step else {
            panic!("{step:?}");
        };
        assert!(exchange.open_accept(nas.as_slice()).is_ok());
        accepts.push(nas.as_slice().to_vec());
    }
    assert_eq!(accepts[0], accepts[1]);
    // The answer to an earlier challenge, at the other ADM.
    let (id, _, nas) = &answers[98];
    let step = adms[0].respond(START_MS, id, &report(rand_n, nas));
    assert_eq!(step.outcome(), Outcome::ChallengeUnknown);
    assert_eq!(adms[0].store().record_count().unwrap(), 1);
    // One that made room for others long ago, and one of nobody's making.
    let (id, _, nas) = &answers[1];
    let step = adms[1].respond(START_MS, id, &report(rand_n, nas));
    assert_eq!(step.outcome(), Outcome::ChallengeUnknown);
    let step = adms[1].respond(START_MS, &ChallengeId([0; 16]), &report(rand_n, nas));
    assert_eq!(step.outcome(), Outcome::ChallengeUnknown);
}

/// What device and card make of a challenge.
struct Answer {
    sqn: [u8; 6],
    k_aiot: RootKey,
    exchange: Exchange,
    nas: Vec<u8>,
}

fn answer(challenge: &[u8], rand_d: &[u8; 8]) -> Answer {
    let challenge = AuthenticationRequest::parse(challenge).unwrap();
    let rand = aka::rand(&challenge.n_r, rand_d, &snid());
    let (vector, sqn, amf) = secrets(0).check_autn(&rand, &challenge.autn).unwrap();
    assert_eq!(amf, [0x80, 0]);
    let ck_ik = vector.ck_ik();
    let res_star = aka::res_star(&ck_ik, &snid(), &rand, vector.res.as_slice());
    let k_aiot = aka::k_aiot(&ck_ik, &snid(), rand_d, &challenge.sqn_xor_ak());
    let k_aiotf = aka::k_aiotf(Suite::AesCmac, &k_aiot, &rand, rand_d);
    let item = Item {
        cause: Cause::PowerOn,
        seq: 0,
        data: b"",
    };
    let (res8, tag) = (aka::res8(&res_star), TagLen::T8);
    let mut nas = [0; 125];
    let (exchange, len) =
        Exchange::seal_registration(Suite::AesCmac, &k_aiotf, &res8, &item, tag, &mut nas).unwrap();
    Answer {
        sqn,
        k_aiot,
        exchange,
        nas: nas[..len].to_vec(),
    }
}

/// A concealed report under a K_AIOT.
fn concealed(key: &RootKey, rand_n: RandN, seq: u8) -> Vec<u8> {
    let evaluate = |input| key.evaluate(Suite::AesCmac, &input);
    let rand_d = [seq; 8];
    let id = ReportId::Concealed {
        cid: cut(&evaluate(schedule::concealed_id(&rand_n, &rand_d))),
        rand_d,
    };
    let area_id = snid().area([0, 0, 1]);
    let k_aiotf = KAiotf::new(evaluate(schedule::concealed_k_aiotf(
        &rand_n, &area_id, &rand_d,
    )));
    let item = Item {
        cause: Cause::Event,
        seq,
        data: b"hot",
    };
    let mut nas = [0; 125];
    let (_, len) =
        Exchange::seal_report(Suite::AesCmac, &k_aiotf, &id, &item, TagLen::T8, &mut nas).unwrap();
    nas[..len].to_vec()
}

/// A device registers at one ADM and reports at the other, which learns K_AIOT from the store; then the other way round. What
/// is sealed under the K_AIOT of before is accepted by neither.
#[test]
fn registered_at_one_adm_a_device_reports_at_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let open = || {
        let store = SqliteStore::open(&path).unwrap();
        let kek = Kek::from_octets(&[0x4B; 32]);
        Adm::open(config(), Box::new(store), kek, system_entropy(), START_MS).unwrap()
    };
    let mut adms = [open(), open()];
    // Imported by one, registered at the other: it was not there when that one started.
    adms[0]
        .import_subscribers(&[subscriber(0, DeviceForm::Concealed, 0)], START_MS)
        .unwrap();
    let rand_n = adms[0].beacons(START_MS).unwrap().current;
    let mut suci = [0; 64];
    let suci_len = card(0).suci(&mut suci).unwrap();
    let outcome = |adm: &mut Adm, nas: &[u8]| {
        let mut verdicts = Vec::new();
        adm.authenticate(START_MS, &[report(rand_n, nas)], &mut verdicts);
        verdicts[0].outcome()
    };
    let mut before: Option<RootKey> = None;
    let mut sqns = HashSet::new();
    for n in 0..6u8 {
        let (here, there) = (usize::from(1 - n % 2), usize::from(n % 2));
        let rand_d = [n; 8];
        let request = RegistrationRequest {
            rand_d,
            suci: &suci[..suci_len],
        };
        let mut nas = [0; 125];
        let len = request.emit(&mut nas).unwrap();
        let step = adms[here].register(START_MS, &report(rand_n, &nas[..len]));
        let RegistrationStep::Challenge { nas: challenge, id } = step else {
            panic!("{step:?}");
        };
        let answer = answer(&challenge, &rand_d);
        assert!(sqns.insert(answer.sqn));
        let step = adms[here].respond(START_MS, &id, &report(rand_n, &answer.nas));
        assert_eq!(step.outcome(), Outcome::AcceptedNew);
        if let Some(old) = &before {
            let nas = concealed(old, rand_n, 2 * n);
            assert_eq!(outcome(&mut adms[there], &nas), Outcome::NoMatch);
            assert_eq!(outcome(&mut adms[here], &nas), Outcome::NoMatch);
        }
        let nas = concealed(&answer.k_aiot, rand_n, 2 * n + 1);
        assert_eq!(outcome(&mut adms[there], &nas), Outcome::AcceptedNew);
        assert_eq!(outcome(&mut adms[here], &nas), Outcome::AcceptedDuplicate);
        before = Some(answer.k_aiot);
    }
}

fn report(rand_n: RandN, nas: &[u8]) -> DoaReport<'_> {
    DoaReport {
        nas,
        rand_n,
        area_id: snid().area([0, 0, 1]),
        gnb_id: 1,
        reader_index: 1,
    }
}

/// SUCIs that open nothing: silence, counted, an event a minute, nothing durable besides.
#[test]
fn a_bad_suci_is_met_with_silence() {
    let store = SqliteStore::in_memory().unwrap();
    let kek = Kek::from_octets(&[0x4B; 32]);
    let mut adm = Adm::open(config(), Box::new(store), kek, system_entropy(), START_MS).unwrap();
    adm.import_subscribers(&[subscriber(0, DeviceForm::Concealed, 0)], START_MS)
        .unwrap();
    let octets = [7; 32];
    adm.set_home_network_key(1, Scheme::ProfileA, &octets, START_MS)
        .unwrap();
    let rand_n = adm.beacons(START_MS).unwrap().current;
    let mut outcome = |suci: &[u8]| {
        let request = RegistrationRequest {
            rand_d: [1; 8],
            suci,
        };
        let mut nas = [0; 125];
        let len = request.emit(&mut nas).unwrap();
        adm.register(START_MS, &report(rand_n, &nas[..len]))
            .outcome()
    };
    let key = PrivateKey::profile_a(octets).public().unwrap();
    let by_profile_a = |n, key_id| {
        let key = key.clone();
        let protection = Protection::Profile { key_id, key };
        let random = |out: &mut [u8]| fastrand::fill(out);
        conceal(
            &imsi(n),
            RoutingIndicator([0xF0, 0xFF]),
            &protection,
            random,
        )
        .unwrap()
    };
    assert_eq!(outcome(&by_profile_a(0, 1)), Outcome::Challenged);
    let mut flipped = by_profile_a(0, 1);
    *flipped.last_mut().unwrap() ^= 1;
    let mut low_order = by_profile_a(0, 1);
    low_order[8..40].fill(0);
    let mut elsewhere = by_profile_a(0, 1);
    elsewhere[2] ^= 0x11;
    let mut unknown_scheme = by_profile_a(0, 1);
    unknown_scheme[6] = 3;
    let mut other_scheme = by_profile_a(0, 1);
    other_scheme[6] = 2;
    let bad = [
        unknown_scheme,
        other_scheme,
        by_profile_a(0, 2),
        by_profile_a(77, 1),
        flipped,
        low_order,
        elsewhere,
        vec![1, 2],
        vec![0xFF; 111],
    ];
    for suci in &bad {
        assert_eq!(outcome(suci), Outcome::SuciRefused);
    }
    assert_eq!(adm.tally().of(Outcome::SuciRefused), bad.len() as u64);
    let mut events = 0;
    let filter = ambit_store::EventFilter {
        kind: Some("suci_refused"),
        since_ms: None,
    };
    let mut count = |_| {
        events += 1;
        std::ops::ControlFlow::Continue(())
    };
    adm.store().events_for_each(&filter, &mut count).unwrap();
    assert_eq!(events, 1);
}
