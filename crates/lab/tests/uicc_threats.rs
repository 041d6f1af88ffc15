//! T21, T22 and T23 of the threat list, each with its control.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "uicc_common/mod.rs"]
mod common;

use ambit_adm::policy::Deployment;
use ambit_adm::{Adm, AdmConfig, Kek, ProvisionError, system_entropy};
use ambit_adm_api::{
    AdmClient, Answer, AuthenticationRequest as NadmRequest, DoaReport, Nadm, NadmError, Outcome,
    Population, RegistrationStep,
};
use ambit_device::{
    ArrayMemory, Authentication, CardFailed, Device, Profile, Random, SLOTS_OCTETS, Uicc,
    UiccCredential,
};
use ambit_lab::card::LabCard;
use ambit_protocol::area::Plmn;
use ambit_protocol::schedule::{self, cut};
use ambit_protocol::wire::{
    AUTHENTICATION_REQUEST_OCTETS, AuthenticationRequest, MessageType, ReportId, peek,
};
use ambit_protocol::{Cause, DeviceForm, DeviceType, Exchange, Item, KAiotf, RootKey, Snid, aka};
use ambit_provisioning::{CredentialKind, DeviceSpec};
use ambit_ran::air::{Channel, Verdict};
use ambit_ran::fleet::{DeviceIndex, Fleet};
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
    // What is injected is heard by the device alone and passes no ear.
    let ear = |frame: &ambit_ran::frame::AirFrame| {
        let is_true_network = frame.direction == Direction::Down && frame.kind == FrameKind::Nas;
        if is_true_network {
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
}

/// The control of T21: with plain 5G AKA the card is given the network's RAND as it is. The victim's sync failure shows on
/// the air, and nobody else's.
#[test]
fn t21_control_plain_aka_tells_the_victim_by_its_sync_failure() {
    let n_r = [7; 16];
    let old = [0, 0, 0, 0, 0, 0x21];
    let autn = secrets(0).autn(&n_r, &old, &[0x80, 0]);
    let mut recorded = [0; AUTHENTICATION_REQUEST_OCTETS];
    AuthenticationRequest { n_r, autn }
        .emit(&mut recorded)
        .unwrap();
    let populate = |fleet: &mut Fleet| {
        for n in 0..DEVICES {
            let card = card(n);
            card.set_seq(5);
            let spec = fleet_spec(n, DeviceForm::Concealed);
            fleet
                .add_uicc(spec, Box::new(PlainAka { card, n_r }))
                .unwrap();
        }
    };
    let mut scene = Scene::with(config(), Channel::lossy(0.0), populate, |_| {});
    scene.listen(|_| false);
    scene.advance_s(30);
    let answers = answers_to_a_replay(&mut scene, &recorded);
    let sync_failure = (MessageType::AuthenticationResponse, 1);
    assert_eq!(answers[0], [sync_failure]);
    assert!(answers[1..].iter().all(Vec::is_empty), "{answers:?}");
}

/// A card whose device leaves its own nonce out of RAND.
struct PlainAka {
    card: LabCard,
    n_r: [u8; 16],
}

impl Uicc for PlainAka {
    fn suci(&mut self, out: &mut [u8]) -> Result<usize, CardFailed> {
        self.card.suci(out)
    }

    fn authenticate(
        &mut self,
        _: &[u8; 16],
        autn: &[u8; 16],
    ) -> Result<Authentication, CardFailed> {
        self.card.authenticate(&self.n_r, autn)
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

/// T23 at run time: stores that were provisioned privately, opened by a public network: a key of the operator's, and the blind
/// form. The control is the same report, octet for octet, in the network that the device was provisioned for.
#[test]
fn t23_policy_at_run_time() {
    let key = RootKey::new([3; 16]);
    let device = |form, credential| DeviceSpec {
        key: Some(RootKey::new([3; 16])),
        credential,
        ..device_spec(1, form)
    };
    let private = AdmConfig {
        blind_allowed: true,
        ..config()
    };
    let suite = ambit_protocol::Suite::AesCmac;
    for (form, credential) in [
        (DeviceForm::Concealed, CredentialKind::Operator),
        (DeviceForm::Blind, CredentialKind::UiccAiot),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let open_file = |config| open(config, SqliteStore::open(&path).unwrap());
        let mut adm = open_file(private.clone());
        adm.import(&[device(form, credential)], START_MS).unwrap();
        let rand_n = adm.beacons(START_MS).unwrap().current;
        drop(adm);

        let area_id = snid().area([0, 0, 1]);
        let rand_d = [9; 8];
        let evaluate = |input| key.evaluate(suite, &input);
        let (id, k_aiotf) = if form == DeviceForm::Blind {
            let t_id = cut(&evaluate(schedule::counter_t_id(1)));
            (ReportId::Blind { t_id }, schedule::blind_k_aiotf(1))
        } else {
            let cid = cut(&evaluate(schedule::concealed_id(&rand_n, &rand_d)));
            let input = schedule::concealed_k_aiotf(&rand_n, &area_id, &rand_d);
            (ReportId::Concealed { cid, rand_d }, input)
        };
        let item = Item {
            cause: Cause::Event,
            seq: 1,
            data: b"",
        };
        let (mut nas, len) = ([0; 125], ambit_protocol::TagLen::T8);
        let k_aiotf = KAiotf::new(evaluate(k_aiotf));
        let (_, len) = Exchange::seal_report(suite, &k_aiotf, &id, &item, len, &mut nas).unwrap();
        let report = |adm: &mut Adm| {
            assert_eq!(adm.beacons(START_MS).unwrap().current, rand_n);
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
        assert_eq!(report(&mut adm), Outcome::PolicyRefused, "{form:?}");
        assert_eq!(adm.store().record_count().unwrap(), 0);
        let mut events = 0;
        let filter = ambit_store::EventFilter {
            kind: Some("policy_refused"),
            since_ms: None,
        };
        let mut count = |_| {
            events += 1;
            std::ops::ControlFlow::Continue(())
        };
        adm.store().events_for_each(&filter, &mut count).unwrap();
        assert_eq!(events, 1, "{form:?}");
        drop(adm);

        let mut adm = open_file(private.clone());
        assert_eq!(report(&mut adm), Outcome::AcceptedNew, "{form:?}");
    }
}

/// T23 at run time for type 1, which only answers: its answers open nothing in a public network, unless its operator says so.
#[test]
fn t23_type_1_at_run_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let open_file = |config| open(config, SqliteStore::open(&path).unwrap());
    let device = DeviceSpec {
        key: Some(RootKey::new([3; 16])),
        device_type: DeviceType::Type1,
        ..device_spec(1, DeviceForm::Dt)
    };
    open_file(config()).import(&[device], START_MS).unwrap();
    let studied = AdmConfig {
        allow_type1_in_public: true,
        ..public()
    };
    for (config, is_served) in [(public(), false), (studied, true), (config(), true)] {
        let mut adm = open_file(config);
        let rand_n = adm.get_rand(START_MS).unwrap();
        let answers = [Answer {
            rand_d: [5; 16],
            res: None,
        }];
        let request = NadmRequest {
            population: Population::Device(b"device 1"),
            rand_n,
            area_id: None,
            answers: &answers,
        };
        let found = adm.get_authentication(START_MS, &request);
        let key = adm.get_session_key(START_MS, b"device 1", &rand_n, &[5; 16]);
        if is_served {
            assert_eq!(found.unwrap().sets.len(), 1);
            assert!(key.is_ok());
        } else {
            let refused = NadmError::Refused(Outcome::PolicyRefused);
            assert_eq!(found.unwrap_err(), refused);
            assert_eq!(key.unwrap_err(), refused);
        }
    }
}
