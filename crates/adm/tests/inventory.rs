//! Device-terminated inventories at the ADM: which device gave which answer, and whose answers count for nothing.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use ambit_adm::AdmConfig;
use ambit_adm_api::{
    Answer, AuthenticationRequest, AuthenticationResponse, Nadm, NadmError, Outcome, Population,
};
use ambit_protocol::schedule::{self, cut};
use ambit_protocol::{DeviceForm, DeviceType, RandN, RootKey, Suite};
use ambit_provisioning::DeviceSpec;
use common::{Device, Net, area, config};

/// Dt devices of every suite, and one of every form that speaks first.
fn fleet() -> Vec<Device> {
    let forms = [
        DeviceForm::Beacon,
        DeviceForm::Concealed,
        DeviceForm::Counter,
        DeviceForm::Blind,
    ];
    let mut fleet: Vec<Device> = [Suite::AesCmac, Suite::HmacSha256, Suite::AsconXof128]
        .into_iter()
        .zip(["shelf-1", "shelf-2", "door-1"])
        .map(|(suite, name)| {
            let mut device = Device::new(name, DeviceForm::Dt);
            device.suite = suite;
            device
        })
        .collect();
    fleet.extend(forms.map(|form| Device::new(form.name(), form)));
    fleet
}

fn net(fleet: &[Device]) -> Net {
    let mut net = Net::new(config());
    net.import(&fleet.iter().collect::<Vec<_>>());
    net
}

fn key(device: &Device) -> RootKey {
    RootKey::new(device.key)
}

/// What the device says to a page.
fn answer(device: &Device, rand_n: &RandN, nonce: u8) -> Answer {
    let rand_d = [nonce; 16];
    let res = key(device).evaluate(device.suite, &schedule::dt_res(rand_n, &rand_d));
    Answer {
        rand_d,
        res: Some(cut(&res)),
    }
}

fn ask(
    net: &mut Net,
    population: Population<'_>,
    rand_n: RandN,
    answers: &[Answer],
) -> Result<AuthenticationResponse, NadmError> {
    let request = AuthenticationRequest {
        population,
        rand_n,
        area_id: Some(area(1)),
        answers,
    };
    net.adm.get_authentication(net.now_ms, &request)
}

/// The devices named, by answer.
fn named(response: &AuthenticationResponse) -> Vec<(usize, Vec<&[u8]>)> {
    let devices = |set: &'_ ambit_adm_api::AuthDataSet| set.auth_data.len();
    assert!(response.sets.iter().all(|set| devices(set) > 0));
    response
        .sets
        .iter()
        .map(|set| {
            let ids = set.auth_data.iter().map(|data| &*data.device_id).collect();
            (set.at, ids)
        })
        .collect()
}

#[test]
fn every_rand_n_is_fresh() {
    let mut net = net(&[]);
    let first = net.adm.get_rand(net.now_ms).unwrap();
    assert_ne!(first, net.adm.get_rand(net.now_ms).unwrap());
}

#[test]
fn the_search_names_the_device_of_each_answer_and_nobody_for_junk() {
    let fleet = fleet();
    let mut net = net(&fleet);
    let rand_n = net.adm.get_rand(net.now_ms).unwrap();
    let mut answers: Vec<Answer> = (1..)
        .zip(&fleet)
        .map(|(nonce, device)| answer(device, &rand_n, nonce))
        .collect();
    answers.push(Answer {
        rand_d: [99; 16],
        res: Some([99; 8]),
    });
    let found = ask(&mut net, Population::All, rand_n, &answers).unwrap();
    assert_eq!(found.taken, answers.len());
    let expected: Vec<_> = fleet
        .iter()
        .enumerate()
        .map(|(at, device)| (at, vec![device.id.as_slice()]))
        .collect();
    assert_eq!(named(&found), expected);
    assert_eq!(net.events("impersonation_attempt").len(), 1);
}

#[test]
fn a_filter_and_an_area_narrow_the_search() {
    let fleet = fleet();
    let mut config = config();
    config.fleet_areas.insert("far".into(), vec![area(2)]);
    let mut net = Net::new(config);
    let mut far = Device::new("shelf-far", DeviceForm::Dt);
    far.fleet = "far".into();
    net.import(&fleet.iter().chain([&far]).collect::<Vec<_>>());
    let rand_n = net.adm.get_rand(net.now_ms).unwrap();
    let answers = [
        answer(&fleet[0], &rand_n, 1),
        answer(&fleet[2], &rand_n, 2),
        answer(&far, &rand_n, 3),
    ];
    let found = ask(&mut net, Population::Filter(b"shelf-"), rand_n, &answers).unwrap();
    assert_eq!(named(&found), [(0, vec![&b"shelf-1"[..]])]);
}

#[test]
fn an_answer_of_another_inventory_names_nobody() {
    let fleet = fleet();
    let mut net = net(&fleet);
    let rand_n = net.adm.get_rand(net.now_ms).unwrap();
    let replayed = [answer(&fleet[0], &rand_n, 1)];
    let next = net.adm.get_rand(net.now_ms).unwrap();
    let all = ask(&mut net, Population::All, next, &replayed).unwrap();
    let one = ask(&mut net, Population::Device(&fleet[0].id), next, &replayed).unwrap();
    assert!(all.sets.is_empty() && one.sets.is_empty());
    // The control: in its own inventory it names the device.
    let own = ask(&mut net, Population::All, rand_n, &replayed).unwrap();
    assert_eq!(own.sets.len(), 1);
}

#[test]
fn without_res_every_device_in_question_is_named_with_its_xres() {
    let fleet = fleet();
    let mut net = net(&fleet);
    let rand_n = net.adm.get_rand(net.now_ms).unwrap();
    let claimed = answer(&fleet[1], &rand_n, 5);
    let plain = [Answer {
        res: None,
        ..claimed
    }];
    let all = ask(&mut net, Population::All, rand_n, &plain).unwrap();
    assert_eq!(all.sets[0].auth_data.len(), fleet.len());
    let matching = all.sets[0]
        .auth_data
        .iter()
        .filter(|data| Some(data.xres) == claimed.res);
    assert_eq!(
        matching.map(|data| &*data.device_id).collect::<Vec<_>>(),
        [&fleet[1].id[..]]
    );
    let one = ask(&mut net, Population::Device(&fleet[0].id), rand_n, &plain).unwrap();
    assert_eq!(one.sets[0].auth_data.len(), 1);
}

#[test]
fn a_session_key_and_a_t_id_are_the_devices_own() {
    let fleet = fleet();
    let mut net = net(&fleet);
    let rand_n = net.adm.get_rand(net.now_ms).unwrap();
    for device in &fleet {
        let session = net
            .adm
            .get_session_key(net.now_ms, &device.id, &rand_n, &[7; 16])
            .unwrap();
        let input = schedule::dt_k_aiotf(&rand_n, &[7; 16]);
        assert_eq!(
            session.k_aiotf.expose(),
            &key(device).evaluate(device.suite, &input)
        );
        assert_eq!((session.suite, session.tag_len), (device.suite, device.len));
        let t_id = net.adm.get_tid(net.now_ms, &device.id, &rand_n).unwrap();
        assert_eq!(
            t_id,
            key(device).evaluate(device.suite, &schedule::dt_paging_t_id(&rand_n))
        );
    }
}

#[test]
fn a_disabled_device_is_not_served_and_stays_so_over_a_restart() {
    let fleet = fleet();
    let mut net = net(&fleet);
    let rand_n = net.adm.get_rand(net.now_ms).unwrap();
    let id = fleet[0].id.clone();
    net.adm.note_disabled(net.now_ms, &id).unwrap();
    net.adm.note_disabled(net.now_ms, &id).unwrap();
    assert_eq!(net.events("device_permanently_disabled").len(), 1);
    net.restart();
    let refused = NadmError::Refused(Outcome::DeviceDisabled);
    assert!(net.adm.device_profile(&id).unwrap().disabled);
    assert_eq!(
        net.adm.get_tid(net.now_ms, &id, &rand_n),
        Err(refused.clone())
    );
    let answers = [answer(&fleet[0], &rand_n, 1)];
    assert_eq!(
        ask(&mut net, Population::Device(&id), rand_n, &answers),
        Err(refused)
    );
    let all = ask(&mut net, Population::All, rand_n, &answers).unwrap();
    assert!(all.sets.is_empty());
    assert_eq!(net.events("device_disabled").len(), 1);
}

#[test]
fn two_devices_with_one_key_are_ambiguous() {
    let one = Device::new("one", DeviceForm::Dt);
    let mut two = Device::new("two", DeviceForm::Dt);
    two.key = one.key;
    let mut net = Net::with(config(), &[&one, &two]);
    let rand_n = net.adm.get_rand(net.now_ms).unwrap();
    let answers = [answer(&one, &rand_n, 1)];
    let all = ask(&mut net, Population::All, rand_n, &answers).unwrap();
    assert!(all.sets.is_empty());
    assert_eq!(net.events("ambiguous_match").len(), 1);
}

#[test]
fn what_cannot_be_asked_is_named() {
    let fleet = fleet();
    let mut net = net(&fleet);
    let rand_n = net.adm.get_rand(net.now_ms).unwrap();
    let junk = Answer {
        rand_d: [0; 16],
        res: Some([0; 8]),
    };
    for answers in [vec![], vec![junk; 1025]] {
        let refused = ask(&mut net, Population::All, rand_n, &answers);
        assert!(matches!(refused, Err(NadmError::Invalid { field, .. }) if field == "rand_d"));
    }
    let nobody = ask(&mut net, Population::Device(b"nobody"), rand_n, &[junk]);
    assert_eq!(nobody, Err(NadmError::UnknownDevice));
    assert_eq!(
        net.adm.device_profile(b"nobody"),
        Err(NadmError::UnknownDevice)
    );
    assert_eq!(
        net.adm.note_aiotf(b"nobody", [1; 16]),
        Err(NadmError::UnknownDevice)
    );
}

#[test]
fn a_search_has_a_budget_and_a_single_device_needs_none() {
    let fleet = fleet();
    let config = AdmConfig {
        search_prf_per_s_max: 20,
        ..config()
    };
    let mut net = Net::new(config);
    net.import(&fleet.iter().collect::<Vec<_>>());
    let rand_n = net.adm.get_rand(net.now_ms).unwrap();
    let answers = [answer(&fleet[0], &rand_n, 1)];
    let exhausted = (0..100)
        .map(|_| ask(&mut net, Population::All, rand_n, &answers))
        .find_map(Result::err);
    let Some(NadmError::Busy { retry_after_ms }) = exhausted else {
        panic!("{exhausted:?}");
    };
    let id = &fleet[0].id;
    let one = ask(&mut net, Population::Device(id), rand_n, &answers).unwrap();
    assert_eq!(one.sets.len(), 1);
    net.wait_ms(i64::from(retry_after_ms));
    let all = ask(&mut net, Population::All, rand_n, &answers).unwrap();
    assert_eq!(all.sets.len(), 1);
}

#[test]
fn the_aiotf_that_reached_a_device_is_remembered() {
    let fleet = fleet();
    let mut net = net(&fleet);
    let id = &fleet[0].id;
    assert_eq!(net.adm.device_profile(id).unwrap().last_known_aiotf, None);
    net.adm.note_aiotf(id, [9; 16]).unwrap();
    let profile = net.adm.device_profile(id).unwrap();
    assert_eq!(profile.last_known_aiotf, Some([9; 16]));
    assert_eq!(
        (profile.form, profile.suite),
        (fleet[0].form, fleet[0].suite)
    );
}

#[test]
fn a_type_1_device_is_found_too() {
    let spec = DeviceSpec {
        device_type: DeviceType::Type1,
        ..Device::new("tag", DeviceForm::Dt).spec()
    };
    let mut net = net(&[]);
    net.adm.import(&[spec], net.now_ms).unwrap();
    let rand_n = net.adm.get_rand(net.now_ms).unwrap();
    let answers = [answer(&Device::new("tag", DeviceForm::Dt), &rand_n, 1)];
    let all = ask(&mut net, Population::All, rand_n, &answers).unwrap();
    assert_eq!(named(&all), [(0, vec![&b"tag"[..]])]);
}
