//! T21, T22 and T23 of the threat list, each with its control.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "uicc_common/mod.rs"]
mod common;

use std::sync::{Arc, Mutex};

use ambit_adm::policy::Deployment;
use ambit_adm::{Adm, AdmConfig, Kek, ProvisionError, system_entropy};
use ambit_adm_api::{AdmClient, DoaReport, Outcome, RegistrationStep};
use ambit_device::{
    ArrayMemory, Authentication, Device, Profile, Random, SLOTS_OCTETS, Uicc, UiccCredential,
};
use ambit_protocol::area::Plmn;
use ambit_protocol::schedule::{self, cut};
use ambit_protocol::wire::{AuthenticationRequest, MessageType, ReportId, peek};
use ambit_protocol::{Cause, DeviceForm, DeviceType, Exchange, Item, KAiotf, RootKey, Snid, aka};
use ambit_provisioning::{CredentialKind, DeviceSpec};
use ambit_ran::air::{Channel, Verdict};
use ambit_ran::fleet::DeviceIndex;
use ambit_ran::frame::{Direction, FrameKind};
use ambit_store::SqliteStore;
use common::*;

const DEVICES: u32 = 6;

/// What each device answers to a challenge that was recorded from device 0: the kinds of message it sends.
fn answers_to_a_replay(scene: &mut Scene, recorded: &[u8]) -> Vec<Vec<(MessageType, u8)>> {
    // All are powered anew, and from now on the network is the adversary: nothing of the true one arrives.
    for n in 0..DEVICES {
        scene.power(n, 10, false);
        scene.power(n, 20, true);
    }
    let injected = Arc::new(Mutex::new(false));
    let down = Arc::clone(&injected);
    let ear = move |frame: &ambit_ran::frame::AirFrame| {
        let is_true_network = frame.direction == Direction::Down && frame.kind == FrameKind::Nas;
        if is_true_network && !*down.lock().unwrap() {
            Verdict::Drop
        } else {
            Verdict::Pass
        }
    };
    scene.stage.site_mut().air_mut().add_ear(Box::new(ear));
    let now_ms = scene.stage.site().now_ms();
    scene.stage.advance(now_ms + 1500);
    let mut all = Vec::new();
    for n in 0..DEVICES {
        scene.heard.lock().unwrap().clear();
        let site = scene.stage.site_mut();
        let octets = recorded.to_vec();
        site.inject_down(READER, Some(DeviceIndex(n)), 0, FrameKind::Nas, octets);
        let now_ms = scene.stage.site().now_ms();
        scene.stage.advance(now_ms + 5);
        let heard = scene.heard.lock().unwrap();
        let answers = heard.iter().filter(|(to, _)| *to == Direction::Up);
        let kinds = answers.filter_map(|(_, octets)| peek(octets).ok());
        all.push(
            kinds
                .filter(|(kind, _)| *kind == MessageType::AuthenticationResponse)
                .collect(),
        );
    }
    all
}

/// T21: an old challenge of one device, sent to many, is met with the same silence by all of them.
#[test]
fn t21_an_old_challenge_tells_no_device_from_another() {
    let forms = [DeviceForm::Concealed; DEVICES as usize];
    let mut scene = Scene::new(config(), &forms, 0, Channel::lossy(0.0));
    scene.listen(|_| false);
    scene.advance_s(30);
    // Device 0 is powered first, so the first challenge on the air is its own.
    let recorded = {
        let heard = scene.heard.lock().unwrap();
        let challenge = heard.iter().find(|(_, octets)| {
            peek(octets).is_ok_and(|(kind, _)| kind == MessageType::AuthenticationRequest)
        });
        challenge.unwrap().1.clone()
    };
    assert_eq!(scene.cards[0].log().accepted.len(), 1);
    let answers = answers_to_a_replay(&mut scene, &recorded);
    assert!(answers.iter().all(Vec::is_empty), "{answers:?}");
    for card in &scene.cards {
        let log = card.log();
        assert_eq!((log.mac_failures, log.sync_failures), (1, 0));
    }

    // Control: with plain 5G AKA the card is given the network's RAND as it is. The victim's sync failure shows.
    let challenge = AuthenticationRequest::parse(&recorded).unwrap();
    let plain = |n: u32| {
        let (rand, sqn) = (challenge.n_r, [0, 0, 0, 0, 0, 0x21]);
        let autn = secrets(0).autn(&rand, &sqn, &[0x80, 0]);
        let mut card = card(n);
        card.set_seq(5);
        card.authenticate(&rand, &autn).unwrap()
    };
    assert!(matches!(plain(0), Authentication::SyncFailure { .. }));
    for n in 1..DEVICES {
        assert!(matches!(plain(n), Authentication::MacFailure));
    }
}

/// T22: a network that claims another's name gets another RAND, RES* and K_AIOT: its challenges are refused by the card, and
/// what it learned from the home network for its own name opens nothing.
#[test]
fn t22_another_networks_name_gives_other_keys() {
    let home = snid();
    let visited = Snid::new(Plmn::new("262", "42").unwrap(), None);
    let (n_r, rand_d) = ([7; 16], [9; 8]);
    let (sqn, amf) = ([0, 0, 0, 0, 0, 0x21], [0x80, 0]);
    let secrets = secrets(0);
    let run = |snid: &Snid, rand: [u8; 16]| {
        let vector = secrets.vector(&rand, &sqn, &amf);
        let ck_ik = vector.ck_ik();
        let res_star = aka::res_star(&ck_ik, snid, &rand, vector.res.as_slice());
        let k_aiot = aka::k_aiot(&ck_ik, snid, &rand_d, &vector.sqn_xor_ak(&sqn));
        (res_star, *k_aiot.expose())
    };
    // The device computes with the name it hears, the vector was made for another.
    let (rand_home, rand_visited) = (
        aka::rand(&n_r, &rand_d, &home),
        aka::rand(&n_r, &rand_d, &visited),
    );
    let autn = secrets.autn(&rand_visited, &sqn, &amf);
    let answer = card(0).authenticate(&rand_home, &autn).unwrap();
    assert!(matches!(answer, Authentication::MacFailure));
    // Even where RAND is the same, RES* and K_AIOT are bound to the name.
    let (of_home, of_visited) = (run(&home, rand_home), run(&visited, rand_home));
    assert_ne!(of_home.0, of_visited.0);
    assert_ne!(of_home.1, of_visited.1);

    // Control: what has no name in it is the same for both, and the card accepts it from either.
    let autn = secrets.autn(&n_r, &sqn, &amf);
    let answer = card(0).authenticate(&n_r, &autn).unwrap();
    assert!(matches!(answer, Authentication::Success(_)));
}

/// T22 with the true ADM and device: the challenge that a network was given under its own name, passed on to a device that
/// was told another's.
#[test]
fn t22_a_relayed_challenge_is_refused_and_one_under_the_true_name_is_not() {
    let nid = "00000000001".parse().unwrap();
    for (network, is_true) in [(Snid::new(plmn(), Some(nid)), false), (snid(), true)] {
        let of_network = AdmConfig {
            snid: network,
            ..config()
        };
        let mut adm = open(of_network, SqliteStore::in_memory().unwrap());
        adm.import_subscribers(&[subscriber(0, DeviceForm::Concealed, 0)], START_MS)
            .unwrap();
        let rand_n = adm.beacons(START_MS).unwrap().current;

        let profile = Profile::new(DeviceType::Type2b, DeviceForm::Concealed, snid());
        let credential = UiccCredential::new(card(0), ambit_protocol::Suite::AesCmac);
        let memory = ArrayMemory::<SLOTS_OCTETS>::default();
        let mut device = Device::power_on(profile, credential, memory, Dice, 0, b"").unwrap();
        device.handle_beacon(0, &snid().area([0, 0, 1]), &rand_n);
        let mut octets = [0; 125];
        let len = device.poll_transmit(0, &mut octets).unwrap();
        let request = DoaReport {
            nas: &octets[..len],
            rand_n,
            area_id: network.area([0, 0, 1]),
            gnb_id: 1,
            reader_index: 1,
        };
        let step = adm.register(START_MS, &request);
        let RegistrationStep::Challenge { nas, .. } = step else {
            panic!("{step:?}");
        };
        let taken = device.handle_downlink(10, &nas);
        assert_eq!(taken.is_ok(), is_true);
        assert_eq!(device.poll_transmit(10, &mut octets).is_some(), is_true);
    }
}

struct Dice;

impl Random for Dice {
    fn fill(&mut self, out: &mut [u8]) {
        fastrand::fill(out);
    }
}

fn open(config: AdmConfig, store: SqliteStore) -> Adm {
    let kek = Kek::from_octets(&[0x4B; 32]);
    Adm::open(config, Box::new(store), kek, system_entropy(), START_MS).unwrap()
}

fn public() -> AdmConfig {
    AdmConfig {
        deployment: Deployment::Public,
        blind_allowed: true,
        ..config()
    }
}

fn rule(result: Result<Vec<ambit_adm::GeneratedKey>, ProvisionError>) -> String {
    match result.unwrap_err() {
        error @ ProvisionError::Policy { .. } => error.to_string(),
        other => panic!("{other:?}"),
    }
}

/// T23 at provisioning: each refusal names its rule.
#[test]
fn t23_policy_at_provisioning() {
    let operator = |n, form| DeviceSpec {
        key: Some(RootKey::new([n; 16])),
        ..device_spec(n.into(), form)
    };
    let type1 = |n| DeviceSpec {
        device_type: DeviceType::Type1,
        ..operator(n, DeviceForm::Dt)
    };
    let store = || SqliteStore::in_memory().unwrap();
    let mut adm = open(public(), store());
    let refused = rule(adm.import(&[operator(1, DeviceForm::Beacon)], START_MS));
    assert!(refused.starts_with("credential: a public network takes UICC credentials only"));
    let refused = rule(adm.import(&[type1(2)], START_MS));
    assert!(refused.starts_with("device_type: type 1 belongs to isolated private networks"));
    let blind = adm.import_subscribers(&[subscriber(3, DeviceForm::Blind, 0)], START_MS);
    let refused = rule(blind.map(|()| Vec::new()));
    assert!(refused.starts_with("form: a public network does not take the blind form"));
    let on_card = |n, form| DeviceSpec {
        credential: CredentialKind::UiccAiot,
        ..operator(n, form)
    };
    let refused = rule(adm.import(&[on_card(5, DeviceForm::Blind)], START_MS));
    assert!(refused.starts_with("form: a public network does not take the blind form"));
    let on_type1 = DeviceSpec {
        credential: CredentialKind::UiccAiot,
        ..type1(5)
    };
    let refused = rule(adm.import(&[on_type1], START_MS));
    assert!(refused.starts_with("device_type: type 1 belongs to isolated private networks"));
    let no_subscriber = DeviceSpec {
        credential: CredentialKind::Uicc,
        ..device_spec(5, DeviceForm::Beacon)
    };
    let refused = rule(adm.import(&[no_subscriber], START_MS));
    assert!(refused.starts_with("credential: must be operator or uicc-aiot"));
    let dt = adm.import_subscribers(&[subscriber(3, DeviceForm::Dt, 0)], START_MS);
    assert!(rule(dt.map(|()| Vec::new())).starts_with("form: a device with UICC credentials"));
    assert_eq!(adm.device_count(), 0);
    adm.import_subscribers(&[subscriber(4, DeviceForm::Beacon, 0)], START_MS)
        .unwrap();
    adm.import(&[on_card(6, DeviceForm::Counter)], START_MS)
        .unwrap();

    // The override is explicit, and said at the start.
    let studied = AdmConfig {
        allow_type1_in_public: true,
        ..public()
    };
    let mut adm = open(studied, store());
    adm.import(&[type1(2)], START_MS).unwrap();
    rule(adm.import(&[operator(1, DeviceForm::Beacon)], START_MS));
    let mut said = 0;
    let filter = ambit_store::EventFilter {
        kind: Some("type1_allowed_in_public"),
        since_ms: None,
    };
    let mut count = |_| {
        said += 1;
        std::ops::ControlFlow::Continue(())
    };
    adm.store().events_for_each(&filter, &mut count).unwrap();
    assert_eq!(said, 1);

    // Control: an isolated private network takes all of it.
    let mut adm = open(config(), store());
    adm.import(&[operator(1, DeviceForm::Blind), type1(2)], START_MS)
        .unwrap();
    adm.import_subscribers(&[subscriber(4, DeviceForm::Beacon, 0)], START_MS)
        .unwrap();
}

/// T23 at run time: a store that was provisioned privately, opened by a public network.
#[test]
fn t23_policy_at_run_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let open_file = |config| open(config, SqliteStore::open(&path).unwrap());
    let key = RootKey::new([3; 16]);
    let device = DeviceSpec {
        key: Some(RootKey::new([3; 16])),
        ..device_spec(1, DeviceForm::Concealed)
    };
    open_file(config()).import(&[device], START_MS).unwrap();

    let report = |adm: &mut Adm, seq| {
        let rand_n = adm.beacons(START_MS).unwrap().current;
        let area_id = snid().area([0, 0, 1]);
        let rand_d = [seq; 8];
        let evaluate = |input| key.evaluate(ambit_protocol::Suite::AesCmac, &input);
        let id = ReportId::Concealed {
            cid: cut(&evaluate(schedule::concealed_id(&rand_n, &rand_d))),
            rand_d,
        };
        let k_aiotf = evaluate(schedule::concealed_k_aiotf(&rand_n, &area_id, &rand_d));
        let item = Item {
            cause: Cause::Event,
            seq,
            data: b"",
        };
        let mut nas = [0; 125];
        let (suite, len) = (ambit_protocol::Suite::AesCmac, ambit_protocol::TagLen::T8);
        let k_aiotf = KAiotf::new(k_aiotf);
        let (_, len) = Exchange::seal_report(suite, &k_aiotf, &id, &item, len, &mut nas).unwrap();
        let report = DoaReport {
            nas: &nas[..len],
            rand_n,
            area_id,
            gnb_id: 1,
            reader_index: 1,
        };
        let mut verdicts = Vec::new();
        adm.authenticate(START_MS, &[report], &mut verdicts);
        verdicts[0].outcome()
    };
    let mut adm = open_file(public());
    assert_eq!(report(&mut adm, 1), Outcome::PolicyRefused);
    assert_eq!(adm.store().record_count().unwrap(), 0);
    let mut events = 0;
    let filter = ambit_store::EventFilter {
        kind: Some("policy_refused"),
        since_ms: None,
    };
    let mut count = |event: ambit_store::EventRow| {
        assert_eq!(event.device_id.as_deref(), Some(&b"device 1"[..]));
        events += 1;
        std::ops::ControlFlow::Continue(())
    };
    adm.store().events_for_each(&filter, &mut count).unwrap();
    assert_eq!(events, 1);
    drop(adm);

    // Control: the same report in the network that it was provisioned for.
    let mut adm = open_file(config());
    assert_eq!(report(&mut adm, 2), Outcome::AcceptedNew);
    assert_eq!(adm.tally().of(Outcome::AcceptedNew), 1);
}
