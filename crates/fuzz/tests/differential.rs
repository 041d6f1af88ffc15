//! The product against the slow model, which was written from the protocol's text and shares no code with it: the same octets,
//! the same verdicts, for each form, suite and tag length, on random and on damaged messages.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use ambit_adm::{Adm, AdmConfig, Kek};
use ambit_adm_api::{AdmClient, DoaReport, Outcome, Verdict};
use ambit_fuzz::{Input, nas};
use ambit_model::network::{Heard, Known, Network};
use ambit_model::{self as slow, Credentials, Keys, Place};
use ambit_protocol::area::Plmn;
use ambit_protocol::chain::{self, BeaconChain, Verification};
use ambit_protocol::{DeviceForm, DeviceType, RandN, RootKey, Snid, Suite, TagLen};
use ambit_provisioning::{CredentialKind, DeviceSpec};
use ambit_store::SqliteStore;
use fastrand::Rng;
use serde_json::Value;

/// The start of an epoch of 600 s.
const START_MS: i64 = 1_800_000_000_000;

fn snid() -> Snid {
    Snid::new(Plmn::new("001", "01").unwrap(), None)
}

fn octets(case: &Value, field: &str) -> Vec<u8> {
    hex::decode(case[field].as_str().unwrap()).unwrap()
}

/// The vectors were made by a third implementation.
#[test]
fn the_model_says_what_the_vectors_say() {
    let file = include_str!("../../vectors/vectors/report.json");
    let file: Value = serde_json::from_str(file).unwrap();
    let cases = file["cases"].as_array().unwrap();
    for case in cases {
        let device = Credentials {
            suite: case["suite"].as_u64().unwrap() as u8,
            key: octets(case, "key").try_into().unwrap(),
            tag_len: case["tag_len"].as_u64().unwrap() as usize,
        };
        let place = Place {
            rand_n: octets(case, "rand_n").try_into().unwrap(),
            area: octets(case, "area_id").try_into().unwrap(),
        };
        let names = ["beacon", "counter", "concealed", "recovery", "blind"];
        let name = case["form"].as_str().unwrap();
        let form = names.iter().position(|known| *known == name).unwrap() as u8;
        let nonce = match case["nonce"].as_u64() {
            Some(counter) => (counter as u32).to_be_bytes().to_vec(),
            None => octets(case, "nonce"),
        };
        let text = octets(case, "plaintext");
        let (report, exchange) = slow::report(&device, form, &place, &nonce, &text);
        assert_eq!(report, octets(case, "report"), "{case}");
        let k_aiotf = octets(case, "k_aiotf").try_into().unwrap();
        assert_eq!(exchange.keys, Keys::new(device.suite, &k_aiotf), "{case}");
        let p2 = octets(case, "accept_plaintext");
        let accept = slow::accept(&exchange, &p2);
        assert_eq!(accept, octets(case, "accept"), "{case}");
        assert_eq!(slow::read_accept(&exchange, &accept), Some(p2));
        let read = slow::read_report(&device, &place, &nonce, &report);
        assert_eq!(read, Some((text, exchange)), "{case}");
    }
    assert!(cases.len() >= 45, "{} cases", cases.len());
}

/// Each form with each suite and tag length, many times: report, ACCEPT, session, whole and damaged in every way. The target
/// compares; here the choices are even where a fuzzer's are not.
#[test]
fn protocol_and_model_agree_on_every_form_suite_and_tag_length() {
    let mut rng = Rng::with_seed(7);
    for form in 0..5 {
        for suite in 0..3 {
            for len in 0..3 {
                for damage in 0..7 {
                    for _ in 0..8 {
                        let mut input = vec![2, suite, len];
                        input.extend((0..16).map(|_| rng.u8(..)));
                        input.push(form);
                        input.extend((0..16 + 3 + 8 + 1).map(|_| rng.u8(..)));
                        let data = rng.u8(..100);
                        input.push(data);
                        input.extend((0..data).map(|_| rng.u8(..)));
                        input.push(damage);
                        input.extend((0..rng.usize(2..400)).map(|_| rng.u8(..)));
                        nas::run(&input);
                    }
                }
            }
        }
    }
    for _ in 0..2_000 {
        let mut input = vec![3];
        input.extend((0..18).map(|_| rng.u8(..)));
        input.extend([0x00, 0xF1, 0x10 + rng.u8(..2)]);
        input.extend(if rng.bool() {
            [0xF0, 0, 0, 0, 0, 0]
        } else {
            [7, 1, 2, 3, 4, rng.u8(..)]
        });
        input.extend((0..rng.usize(60..300)).map(|_| rng.u8(..)));
        nas::run(&input);
    }
}

#[test]
fn chain_and_model_agree_on_what_follows_from_an_anchor() {
    let mut rng = Rng::with_seed(8);
    let snid = snid();
    let seed: [u8; 12] = std::array::from_fn(|_| rng.u8(..));
    let chain = BeaconChain::new(snid, &seed, 50, 90);
    let mut verified = 0;
    for _ in 0..3_000 {
        let pick = |rng: &mut Rng| chain.rand_n(rng.u32(50..=90)).unwrap();
        let (anchor, mut rand_n) = (pick(&mut rng), pick(&mut rng));
        match rng.u8(..4) {
            0 => {
                rand_n = RandN::new(
                    rand_n.epoch() + 1,
                    std::array::from_fn(|at| rand_n.octets()[4 + at]),
                )
            }
            1 => {
                let mut octets = *rand_n.octets();
                octets[rng.usize(..16)] ^= 1 << rng.u8(..8);
                rand_n = RandN::from_octets(octets);
            }
            _ => {}
        }
        let steps_max = rng.u32(..45);
        let fast = chain::verify(&anchor, &rand_n, &snid, steps_max);
        let fast = matches!(fast, Verification::Verified);
        let slow = slow::follows(anchor.octets(), rand_n.octets(), snid.octets(), steps_max);
        assert_eq!(fast, slow, "{anchor:?} {rand_n:?} {steps_max}");
        verified += u32::from(fast);
    }
    assert!((300..2700).contains(&verified), "{verified} verified");
}

/// A device of the differential run.
struct Sender {
    credentials: Credentials,
    forms: &'static [u8],
    counter: u32,
}

/// An ADM with devices, and the model with the same.
fn networks(rng: &mut Rng) -> (Adm, Network, Vec<Sender>) {
    let config = AdmConfig {
        chain_epochs: 64,
        blind_allowed: true,
        search_threads_max: 1,
        search_prf_per_s_max: u64::MAX / 1_000_000,
        ..AdmConfig::new(snid())
    };
    let mut dice = Rng::with_seed(rng.u64(..));
    let entropy = Box::new(move |out: &mut [u8]| {
        dice.fill(out);
        Ok(())
    });
    let store = Box::new(SqliteStore::in_memory().unwrap());
    let mut adm = Adm::open(config, store, Kek::from_octets(&[1; 32]), entropy, START_MS).unwrap();
    let mut senders = Vec::new();
    let (mut specs, mut known) = (Vec::new(), Vec::new());
    let kinds: [(DeviceForm, &[u8]); 4] = [
        (DeviceForm::Beacon, &[0, 2]),
        (DeviceForm::Concealed, &[2]),
        (DeviceForm::Counter, &[1, 3]),
        (DeviceForm::Blind, &[3, 4]),
    ];
    for n in 0..10_u8 {
        let (form, forms) = kinds[usize::from(n % 4)];
        let suite = Suite::ALL[rng.usize(..3)];
        // No tags of 4 octets: after 1024 failures the product refuses a T-ID, which the model leaves out.
        let tag_len = [TagLen::T8, TagLen::T16][rng.usize(..2)];
        let credentials = Credentials {
            suite: suite.number(),
            key: std::array::from_fn(|_| rng.u8(..)),
            tag_len: tag_len.octets(),
        };
        let device_id = vec![b'a' + n];
        specs.push(DeviceSpec {
            line: 0,
            device_id: device_id.clone(),
            device_type: DeviceType::Type2b,
            suite,
            form,
            key: Some(RootKey::new(credentials.key)),
            tag_len,
            fleet: "default".into(),
            credential: CredentialKind::Operator,
        });
        known.push(Known {
            id: device_id,
            credentials,
            forms,
        });
        senders.push(Sender {
            credentials,
            forms,
            counter: 0,
        });
    }
    adm.import(&specs, START_MS).unwrap();
    (adm, Network::new(known), senders)
}

/// Reports of devices that the product never saw being built, genuine, repeated, damaged, carried to another area, under the
/// RAND_n before: ADM and model accept the same ones with the same answer.
#[test]
fn adm_and_model_accept_the_same_reports() {
    let mut rng = Rng::with_seed(9);
    let mut heard = [0_u32; 4];
    for _ in 0..24 {
        let (mut adm, mut model, mut senders) = networks(&mut rng);
        let mut now_ms = START_MS;
        let mut sent: Vec<(Place, Vec<u8>)> = Vec::new();
        for _ in 0..150 {
            now_ms += match rng.u8(..30) {
                0 => 600_000,
                1 => 3_600_000,
                _ => rng.i64(0..5_000),
            };
            let beacons = adm.beacons(now_ms).unwrap();
            let previous = beacons.previous.filter(|_| rng.u8(..3) == 0);
            let rand_n = previous.map_or(beacons.current, |(rand_n, _)| rand_n);
            let place = Place {
                rand_n: *rand_n.octets(),
                area: *snid().area([0, 0, rng.u8(1..3)]).octets(),
            };
            let nas = match rng.u8(..10) {
                0 | 1 if !sent.is_empty() => sent[rng.usize(..sent.len())].1.clone(),
                2 if !sent.is_empty() => {
                    let original = &sent[rng.usize(..sent.len())].1;
                    let choices: Vec<u8> = (0..40).map(|_| rng.u8(..)).collect();
                    Input(&choices).damage(original)
                }
                _ => {
                    let at = rng.usize(..senders.len());
                    let sender = &mut senders[at];
                    sender.counter += if rng.u8(..20) == 0 { 12 } else { 1 };
                    let form = sender.forms[rng.usize(..sender.forms.len())];
                    let nonce = match form {
                        0 => rng.u32(..).to_be_bytes().to_vec(),
                        2 => rng.u64(..).to_be_bytes().to_vec(),
                        // Sometimes a value that was used.
                        _ if rng.u8(..8) == 0 => rng.u32(..=sender.counter).to_be_bytes().to_vec(),
                        _ => sender.counter.to_be_bytes().to_vec(),
                    };
                    let text = [&[rng.u8(1..4) << 4 | rng.u8(..3)][..], b"21.5"].concat();
                    slow::report(&sender.credentials, form, &place, &nonce, &text).0
                }
            };
            sent.push((place, nas.clone()));
            let report = DoaReport {
                nas: &nas,
                rand_n,
                area_id: ambit_protocol::AreaId::from_octets(place.area).unwrap(),
                gnb_id: 1,
                reader_index: 1,
            };
            let mut verdicts = Vec::new();
            adm.authenticate(now_ms, &[report], &mut verdicts);
            let fast = match &verdicts[0] {
                Verdict::Silence(_) => Heard::Silence,
                Verdict::Accept { nas, outcome, .. } => {
                    let nas = nas.as_slice().to_vec();
                    match outcome {
                        Outcome::AcceptedNew => Heard::New(nas),
                        Outcome::AcceptedRepeat => Heard::Repeat(nas),
                        _ => Heard::Duplicate(nas),
                    }
                }
            };
            let slow = model.hear(now_ms, beacons.current.epoch(), &place, &nas);
            match (&fast, &slow) {
                (Heard::New(fast) | Heard::Repeat(fast), Heard::Open(slow)) => {
                    assert_eq!(fast, slow);
                }
                _ => assert_eq!(fast, slow, "{:?} {}", verdicts[0], hex::encode(&nas)),
            }
            heard[match slow {
                Heard::New(_) | Heard::Open(_) => 0,
                Heard::Repeat(_) => 1,
                Heard::Duplicate(_) => 2,
                Heard::Silence => 3,
            }] += 1;
        }
        let records = adm.store().record_count().unwrap();
        assert_eq!(records, model.record_count() as u64);
    }
    // All four kinds of verdict were compared, none of them rarely.
    assert!(heard.iter().all(|count| *count > 40), "{heard:?}");
}
