//! Attacks with a scene of their own: T09, T15, T17, T20 to T24.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ambit_adm::policy::Deployment;
use ambit_adm::{Adm, AdmConfig, Kek, OpenError, ProvisionError, SubscriberSpec};
use ambit_adm_api::{Outcome, Tally};
use ambit_device::{Authentication, DeviceForm, PagingTarget, Uicc as _};
use ambit_ngap::FromGnb;
use ambit_protocol::area::Plmn;
use ambit_protocol::session::Session;
use ambit_protocol::wire::{Command, InventoryResponse};
use ambit_protocol::{DeviceType, KAiotf, RandN, RootKey, Snid, Suite, TagLen, aka, schedule};
use ambit_provisioning::CredentialKind;
use ambit_store::Store as _;
use ambit_uicc::Subscriber;
use ambit_uicc::suci::{Imsi, Protection};

use super::arena::{Actor, Arena as _, Recorder, Step};
use super::real::{self, Real};
use super::{AttackError, Pair, Run};
use crate::card::LabCard;
use crate::scenario::{START_MS, seeded_entropy};
use crate::store::SharedStore;

type Result<T> = std::result::Result<T, AttackError>;

fn scene(text: impl ToString) -> AttackError {
    AttackError::Scene(text.to_string())
}

fn step(from: Actor, to: Actor, text: &str) -> Step {
    Step {
        from,
        to,
        text: text.to_owned(),
    }
}

/// PERMANENT DISABLE to a device that answers any page: made up, of another session, reflected, and a true one changed.
pub(super) fn t09(seed: u64) -> Result<Pair> {
    let mut rng = fastrand::Rng::with_seed(!seed);
    let mut real = Real::new(seed, &[DeviceForm::Dt])?;
    let key = RootKey::new(real.key(0));
    let mut disable = [0; 8];
    let text_len = Command::PermanentDisable
        .emit(&mut disable)
        .map_err(scene)?;
    let text = disable.get(..text_len).unwrap_or_default();
    let sealed_for = |answer: &[u8], rand_n: &RandN| -> Result<Vec<u8>> {
        let answer = InventoryResponse::parse(answer).map_err(scene)?;
        let input = schedule::dt_k_aiotf(rand_n, &answer.rand_d);
        let k_aiotf = KAiotf::new(key.evaluate(Suite::AesCmac, &input));
        let mut session = Session::new(Suite::AesCmac, &k_aiotf, TagLen::T8);
        let mut out = [0; 64];
        let len = session.seal_down(text, &mut out).map_err(scene)?;
        Ok(out.get(..len).unwrap_or_default().to_vec())
    };
    let page = |real: &mut Real, n: u32| -> Result<(Vec<u8>, RandN)> {
        let rand_n = RandN::new(n, [7; 12]);
        let device = real.device(0).ok_or_else(|| scene("no device"))?;
        device.handle_paging(0, &rand_n, PagingTarget::All);
        let mut out = [0; ambit_device::PDU_OCTETS_MAX];
        let len = device
            .poll_transmit(0, &mut out)
            .ok_or_else(|| scene("no answer"))?;
        Ok((out.get(..len).unwrap_or_default().to_vec(), rand_n))
    };
    // A command that the network made for an exchange now over.
    let (answer, rand_n) = page(&mut real, 1)?;
    let old = sealed_for(&answer, &rand_n)?;
    let (answer, rand_n) = page(&mut real, 2)?;
    let genuine = sealed_for(&answer, &rand_n)?;
    let mut tried = vec![old, answer.clone()];
    for bit in 0..genuine.len() * 8 {
        let mut changed = genuine.clone();
        if let Some(octet) = changed.get_mut(bit / 8) {
            *octet ^= 1 << (bit % 8);
        }
        tried.push(changed);
    }
    for _ in 0..10_000 {
        let mut octets = genuine.clone();
        rng.fill(octets.get_mut(2..).unwrap_or_default());
        tried.push(octets);
    }
    let device = real.device(0).ok_or_else(|| scene("no device"))?;
    let mut obeyed = 0u32;
    for octets in &tried {
        obeyed += u32::from(device.handle_downlink(0, octets).is_ok());
    }
    let is_unharmed = !device.is_disabled();
    // The control of the scene: the genuine one works.
    let works = device.handle_downlink(0, &genuine).is_ok() && device.is_disabled();
    let mut run = Run::new(
        obeyed == 0 && is_unharmed && works,
        &[
            ("false commands", tried.len() as f64),
            ("obeyed", obeyed.into()),
        ],
    );
    run.steps = vec![
        step(Actor::Adversary, Actor::Device, "page, RAND_n made up"),
        step(Actor::Device, Actor::Adversary, "INVENTORY RESPONSE"),
        step(
            Actor::Adversary,
            Actor::Device,
            "SESSION: PERMANENT DISABLE of another exchange",
        ),
        step(Actor::Device, Actor::Device, "ignored"),
        step(
            Actor::Adversary,
            Actor::Device,
            "SESSION: changed, made up (10 000)",
        ),
        step(Actor::Device, Actor::Device, "ignored"),
        step(
            Actor::Network,
            Actor::Device,
            "SESSION: PERMANENT DISABLE, genuine",
        ),
        step(Actor::Device, Actor::Device, "obeyed"),
    ];
    Ok(Pair { run, control: None })
}

/// Honest reports of 40 devices in 2000 reports of junk, concealed and beacon form, at reader 1; half the devices stand at
/// reader 2. The control has no budget.
pub(super) fn t15(seed: u64) -> Result<Pair> {
    let budget = 20_000;
    let run = flood(seed, budget, budget)?;
    let control = flood(seed, u64::MAX / 4, budget)?;
    Ok(Pair {
        run,
        control: Some(("no budget for searches", control)),
    })
}

fn flood(seed: u64, budget: u64, allowed: u64) -> Result<Run> {
    let mut rng = fastrand::Rng::with_seed(!seed);
    let forms: Vec<DeviceForm> = (0..40)
        .map(|n| match n % 2 {
            0 => DeviceForm::Beacon,
            _ => DeviceForm::Concealed,
        })
        .collect();
    let mut real = Real::configured(seed, &forms, &|config| {
        config.search_prf_per_s_max = budget;
    })?;
    let mut arena = Recorder::new(&mut real);
    // Anchors first: what is honest afterwards is in the beacon form.
    for device in (0..40).step_by(2) {
        arena.exchange(device, 1)?;
    }
    drop(arena);
    real.wait_until(START_MS + 60_000)?;
    let before = searched(real.aiotf().reports());
    let (mut beacon_ok, mut concealed_ok, mut junk) = (0u32, 0u32, 0u32);
    for device in 0..40 {
        for _ in 0..50 {
            let mut octets = vec![0; 30];
            rng.fill(&mut octets);
            if let Some(header) = octets.first_mut() {
                *header = 0b0100_0000 | if junk % 4 == 0 { 0 } else { 2 };
            }
            junk += 1;
            real.hear(1, &octets)?;
        }
        // Concealed ones at the reader that is not flooded; the flood takes half a millisecond a report.
        let reader = if device % 2 == 0 { 1 } else { 2 };
        let beacon = real.beacon(reader);
        let report = real
            .speak(device, &beacon)
            .ok_or_else(|| scene("nothing to send"))?;
        let is_accepted = real.hear(reader, &report)?.is_some();
        match device % 2 {
            0 => beacon_ok += u32::from(is_accepted),
            _ => concealed_ok += u32::from(is_accepted),
        }
    }
    let searches = searched(real.aiotf().reports()) - before;
    let tally = real.aiotf().reports();
    let counted = tally.of(Outcome::NoMatch) + tally.of(Outcome::SearchBudgetExhausted);
    // Each search tries the 40 devices. The run takes less than a second, beyond the bucket's first filling.
    let prfs = searches * 40;
    let mut run = Run::new(
        beacon_ok == 20 && concealed_ok == 20 && prfs <= 2 * allowed && counted == u64::from(junk),
        &[
            ("junk reports", junk.into()),
            (
                "honest beacon-form reports accepted, of 20",
                beacon_ok.into(),
            ),
            (
                "honest concealed reports at another reader accepted, of 20",
                concealed_ok.into(),
            ),
            ("PRFs spent on searches", prfs as f64),
            ("PRFs allowed in the time", (2 * allowed) as f64),
            ("junk counted by outcome", counted as f64),
        ],
    );
    run.steps = vec![
        step(
            Actor::Adversary,
            Actor::Network,
            "50 REPORTs of junk by reader 1",
        ),
        step(Actor::Network, Actor::Adversary, "silence"),
        step(Actor::Device, Actor::Network, "REPORT beacon by reader 1"),
        step(Actor::Network, Actor::Device, "Accept"),
        step(
            Actor::Adversary,
            Actor::Network,
            "50 REPORTs of junk by reader 1",
        ),
        step(
            Actor::Device,
            Actor::Network,
            "REPORT concealed by reader 2",
        ),
        step(Actor::Network, Actor::Device, "Accept"),
    ];
    Ok(run)
}

/// Reports for which the population was searched.
fn searched(tally: &Tally) -> u64 {
    let is_search = |form| matches!(form, Some(ambit_protocol::Form::Concealed));
    let cells = tally.iter().filter(|(outcome, form, _)| {
        is_search(*form) && *outcome != Outcome::SearchBudgetExhausted
    });
    cells.map(|(.., count)| count).sum()
}

/// A gNB that is the adversary's: old windows, windows that are none, device numbers used twice, readers that are none,
/// reports twice and out of order, responses to nothing.
pub(super) fn t17(seed: u64) -> Result<Pair> {
    let mut rng = fastrand::Rng::with_seed(!seed);
    let mut real = Real::new(seed, &[DeviceForm::Beacon, DeviceForm::Counter])?;
    let mut honest = 0u64;
    for device in [0, 0, 1, 1] {
        Recorder::new(&mut real).exchange(device, 1)?;
        honest += 1;
    }
    let old_window = real.correlation();
    let beacon = real.beacon(1);
    let held = real
        .speak(0, &beacon)
        .ok_or_else(|| scene("nothing to send"))?;
    real.next_epoch()?;
    let beacon = real.beacon(1);
    let kept = real
        .speak(1, &beacon)
        .ok_or_else(|| scene("nothing to send"))?;
    let window = real.correlation();
    let mut answers = 0usize;
    let lies = [
        (old_window, 1, Some(1), &held),
        (window, 1, Some(1), &held),
        (window ^ 1, 1, Some(1), &kept),
        (0, 1, Some(1), &kept),
        (window, 2, Some(2), &kept),
        (window, u16::MAX, Some(3), &kept),
    ];
    for (correlation, reader, number, nas) in lies {
        answers += real.report(correlation, reader, number, nas)?.len();
    }
    for _ in 0..1_000 {
        let mut nas = kept.clone();
        let at = rng.usize(..nas.len());
        if let Some(octet) = nas.get_mut(at) {
            *octet ^= 1 << rng.u8(0..8);
        }
        answers += real.report(window, 1, Some(rng.u32(..)), &nas)?.len();
        real.pdu(&FromGnb::CommandResponse {
            aiotf_id: *b"ambit-lab-attack",
            correlation: window,
            device_ngap_id: rng.u32(..8),
            nas: nas.into(),
        })?;
        answers += real.drain()?.len();
    }
    let after_lies = real.books()?;
    // The true report, three times under one number and three: one record.
    for number in [1, 1, 1, 7, 8, 9] {
        real.report(window, 1, Some(number), &kept)?;
    }
    let books = real.books()?;
    let told: u64 = real.aiotf().counts().values().sum();
    let mut run = Run::new(
        answers == 0 && after_lies.records == honest && books.records == honest + 1 && told > 0,
        &[
            ("lies", 2_006.0),
            ("lies answered", answers as f64),
            ("records more", (after_lies.records - honest) as f64),
            (
                "records of one report sent six times",
                (books.records - honest) as f64,
            ),
            ("oddities counted at N2", told as f64),
        ],
    );
    run.steps = vec![
        step(
            Actor::Device,
            Actor::Adversary,
            "REPORT, held back until the next epoch",
        ),
        step(
            Actor::Adversary,
            Actor::Network,
            "INVENTORY REPORT in the window before",
        ),
        step(Actor::Network, Actor::Adversary, "silence"),
        step(
            Actor::Adversary,
            Actor::Network,
            "INVENTORY REPORT in a window that is none",
        ),
        step(Actor::Network, Actor::Adversary, "silence"),
        step(
            Actor::Adversary,
            Actor::Network,
            "INVENTORY REPORT by another reader",
        ),
        step(Actor::Network, Actor::Adversary, "silence"),
        step(Actor::Adversary, Actor::Network, "the true one, six times"),
        step(Actor::Network, Actor::Network, "one record"),
    ];
    Ok(Pair { run, control: None })
}

/// The thief has the store. Without the KEK nothing opens; with it (the control) the thief's own core knows every device.
pub(super) fn t20(seed: u64) -> Result<Pair> {
    let mut real = Real::new(seed, &[DeviceForm::Beacon; 8])?;
    Recorder::new(&mut real).exchange(0, 1)?;
    let mut wrapped = Vec::new();
    real.store().devices_for_each(&mut |row| {
        wrapped.push(row.wrapped_key);
        std::ops::ControlFlow::Continue(())
    })?;
    let keys: Vec<[u8; 16]> = (0..8).map(|n| real.key(n)).collect();
    let is_in =
        |key: &[u8; 16], octets: &[u8]| octets.windows(8).any(|w| key.windows(8).any(|k| k == w));
    let readable = wrapped
        .iter()
        .filter(|row| keys.iter().any(|key| is_in(key, row)))
        .count();
    let config = real.config().clone();
    let mut thief = |kek: &[u8; 32]| -> Result<Run> {
        let copy = SharedStore::copy(real.store(), &config.snid)?;
        let opened = Adm::open(
            config.clone(),
            Box::new(copy),
            Kek::from_octets(kek),
            seeded_entropy(seed),
            START_MS,
        );
        let known = match &opened {
            Ok(adm) => adm.device_count(),
            Err(OpenError::Store(_)) => return Err(scene("the copy does not open")),
            Err(_) => 0,
        };
        let mut run = Run::new(
            readable == 0 && known == 0,
            &[
                ("keys in the store", wrapped.len() as f64),
                ("with 8 octets of a key in clear", readable as f64),
                ("devices known to the thief's core", known as f64),
            ],
        );
        run.steps = vec![
            step(Actor::Network, Actor::Adversary, "the store, copied"),
            step(
                Actor::Adversary,
                Actor::Adversary,
                "opens it in a core of its own",
            ),
        ];
        Ok(run)
    };
    Ok(Pair {
        run: thief(&[0; 32])?,
        control: Some(("the KEK lies beside the store", thief(&[0x4b; 32])?)),
    })
}

fn secrets(n: u32) -> Subscriber {
    let mut k = [0x5a; 16];
    for (to, from) in k.iter_mut().zip(n.to_be_bytes()) {
        *to = from;
    }
    Subscriber::milenage(&k, &[0xc3; 16])
}

fn card(n: u32) -> Result<LabCard> {
    let imsi = Imsi::new(Plmn::new("001", "01")?, &format!("{n:010}")).map_err(scene)?;
    Ok(LabCard::new(imsi, secrets(n), Protection::Null, n.into()))
}

/// One challenge of card 0, to 64 cards: the product's RAND depends on what each device has drawn, the control's does not.
pub(super) fn t21(seed: u64) -> Result<Pair> {
    let snid = Snid::new(Plmn::new("001", "01")?, None);
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut nonce = || {
        let mut octets = [0; 16];
        rng.fill(&mut octets);
        octets
    };
    let (n_r, rand_d) = (nonce(), nonce());
    let rand_d: [u8; 8] = std::array::from_fn(|at| rand_d.get(at).copied().unwrap_or_default());
    let sqn = [0, 0, 0, 0, 0, 0x21];
    let run_with = |rand_of: &mut dyn FnMut() -> [u8; 16], rand: [u8; 16]| -> Result<Run> {
        let autn = secrets(0).autn(&rand, &sqn, &[0x80, 0]);
        let mut alike = 0u32;
        let mut first = None;
        for n in 0..64 {
            let mut card = card(n)?;
            card.set_seq(5);
            let answer = card
                .authenticate(&rand_of(), &autn)
                .map_err(|_| scene("the card fails"))?;
            let kind = match answer {
                Authentication::Success(_) => 0,
                Authentication::SyncFailure { .. } => 1,
                Authentication::MacFailure => 2,
            };
            alike += u32::from(*first.get_or_insert(kind) == kind);
        }
        let mut run = Run::new(
            alike == 64,
            &[
                ("cards", 64.0),
                ("that answer as the first does", alike.into()),
            ],
        );
        run.steps = vec![
            step(
                Actor::Network,
                Actor::Adversary,
                "AUTHENTICATION REQUEST for device 0, recorded",
            ),
            step(Actor::Adversary, Actor::Device, "the same to each device"),
            step(
                Actor::Device,
                Actor::Adversary,
                if alike == 64 {
                    "silence from all"
                } else {
                    "AUTS from one, silence from the others"
                },
            ),
        ];
        Ok(run)
    };
    let recorded = aka::rand(&n_r, &rand_d, &snid);
    let mut fresh = fastrand::Rng::with_seed(!seed);
    let mut own_rand = || {
        let mut own = [0; 8];
        fresh.fill(&mut own);
        aka::rand(&n_r, &own, &snid)
    };
    let run = run_with(&mut own_rand, recorded)?;
    let control = run_with(&mut || n_r, n_r)?;
    Ok(Pair {
        run,
        control: Some(("plain AKA: RAND is the network's alone", control)),
    })
}

/// A challenge that a visited network was given under its own name, put to a card that was told another's.
pub(super) fn t22(seed: u64) -> Result<Pair> {
    let home = Snid::new(Plmn::new("001", "01")?, None);
    let visited = Snid::new(Plmn::new("262", "42")?, None);
    let mut rng = fastrand::Rng::with_seed(seed);
    let (mut n_r, mut rand_d) = ([0; 16], [0; 8]);
    rng.fill(&mut n_r);
    rng.fill(&mut rand_d);
    let (sqn, amf) = ([0, 0, 0, 0, 0, 0x21], [0x80, 0]);
    let keys = |snid: &Snid| {
        let rand = aka::rand(&n_r, &rand_d, &home);
        let vector = secrets(0).vector(&rand, &sqn, &amf);
        let ck_ik = vector.ck_ik();
        let res_star = aka::res_star(&ck_ik, snid, &rand, vector.res.as_slice());
        let k_aiot = aka::k_aiot(&ck_ik, snid, &rand_d, &vector.sqn_xor_ak(&sqn));
        (res_star, *k_aiot.expose())
    };
    let ask = |made_for: [u8; 16], heard: [u8; 16], differ: bool, text| -> Result<Run> {
        let autn = secrets(0).autn(&made_for, &sqn, &amf);
        let answer = card(0)?
            .authenticate(&heard, &autn)
            .map_err(|_| scene("the card fails"))?;
        let is_refused = matches!(answer, Authentication::MacFailure);
        let mut run = Run::new(
            is_refused && differ,
            &[
                (
                    "challenges taken by the card",
                    f64::from(u8::from(!is_refused)),
                ),
                (
                    "keys that differ by the name, of 2",
                    if differ { 2.0 } else { 0.0 },
                ),
            ],
        );
        run.steps = vec![
            step(
                Actor::Network,
                Actor::Adversary,
                "challenge for network 262/42",
            ),
            step(
                Actor::Adversary,
                Actor::Device,
                "the same, as network 001/01",
            ),
            step(Actor::Device, Actor::Adversary, text),
        ];
        Ok(run)
    };
    let (of_home, of_visited) = (keys(&home), keys(&visited));
    let differ = of_home.0 != of_visited.0 && of_home.1 != of_visited.1;
    let (rand_home, rand_visited) = (
        aka::rand(&n_r, &rand_d, &home),
        aka::rand(&n_r, &rand_d, &visited),
    );
    Ok(Pair {
        run: ask(rand_visited, rand_home, differ, "silence")?,
        // Without the name both sides have the same RAND, and the same keys.
        control: Some((
            "the name left out",
            ask(n_r, n_r, false, "AUTHENTICATION RESPONSE")?,
        )),
    })
}

/// Each device that a public network may not have, offered to one; and a store of a private network opened as a public one.
/// The control is a private network, which takes them all.
pub(super) fn t23(seed: u64) -> Result<Pair> {
    let run_in = |deployment: Deployment| -> Result<Run> {
        let snid = Snid::new(Plmn::new("001", "01")?, None);
        let config = |deployment| AdmConfig {
            deployment,
            blind_allowed: true,
            chain_epochs: 64,
            ..AdmConfig::new(snid)
        };
        let open = |deployment, store: SharedStore| {
            let kek = Kek::from_octets(&[0x4b; 32]);
            let entropy = seeded_entropy(seed);
            Adm::open(config(deployment), Box::new(store), kek, entropy, START_MS)
        };
        let operator = |n, form| real::spec(seed, n, form);
        let type1 = |n| {
            let mut spec = operator(n, DeviceForm::Dt);
            spec.device_type = DeviceType::Type1;
            spec
        };
        let mut adm = open(deployment, SharedStore::new()?)?;
        let (mut offered, mut refused) = (0u32, 0u32);
        let mut take = |result: std::result::Result<(), ProvisionError>| {
            offered += 1;
            refused += u32::from(matches!(result, Err(ProvisionError::Policy { .. })));
        };
        for spec in [
            operator(1, DeviceForm::Beacon),
            operator(2, DeviceForm::Blind),
            type1(3),
        ] {
            take(adm.import(&[spec], START_MS).map(drop));
        }
        let mut blind = operator(4, DeviceForm::Blind);
        (blind.key, blind.credential) = (None, CredentialKind::Uicc);
        take(adm.import_subscribers(
            &[SubscriberSpec {
                device: blind,
                supi: "imsi-001010000000004".into(),
                secrets: secrets(4),
                sqn: 0,
            }],
            START_MS,
        ));
        // At run time.
        let mut real = Real::new(seed, &[DeviceForm::Concealed])?;
        let store = real.store().clone();
        let mut later = Real::on(seed, store, config(deployment), &[DeviceForm::Concealed])?;
        let beacon = later.beacon(1);
        let report = later
            .speak(0, &beacon)
            .ok_or_else(|| scene("nothing to send"))?;
        let answered = u32::from(later.hear(1, &report)?.is_some());
        let mut run = Run::new(
            refused == offered && answered == 0,
            &[
                ("offered", offered.into()),
                ("refused by rule", refused.into()),
                ("reports accepted at run time, of 1", answered.into()),
            ],
        );
        run.steps = vec![
            step(
                Actor::Adversary,
                Actor::Network,
                "operator keys, type 1, blind: provisioning",
            ),
            step(
                Actor::Network,
                Actor::Adversary,
                if refused > 0 {
                    "refused, the rule named"
                } else {
                    "taken"
                },
            ),
            step(Actor::Device, Actor::Network, "REPORT concealed"),
            step(
                Actor::Network,
                Actor::Device,
                if answered == 0 { "silence" } else { "Accept" },
            ),
        ];
        Ok(run)
    };
    Ok(Pair {
        run: run_in(Deployment::Public)?,
        control: Some((
            "an isolated private network",
            run_in(Deployment::IsolatedPrivate)?,
        )),
    })
}

/// Genuine messages damaged at random, and noise, at every door that the lab can reach: NAS and NGAP into the core, downlinks,
/// beacons and pages into devices, CSV.
pub(super) fn t24(seed: u64) -> Result<Pair> {
    let mut rng = fastrand::Rng::with_seed(!seed);
    let mut real = Real::new(seed, &[DeviceForm::Beacon, DeviceForm::Counter])?;
    let mut samples: Vec<Vec<u8>> = Vec::new();
    for device in [0, 0, 1] {
        let (report, accept) = Recorder::new(&mut real).exchange(device, 1)?;
        samples.extend([report, accept]);
    }
    let books = real.books()?;
    let message = FromGnb::InventoryReport {
        aiotf_id: *b"ambit-lab-attack",
        correlation: real.correlation(),
        gnb_id: real.gnb_id(),
        readers: Vec::new(),
        complete: false,
    };
    samples.push(message.encode()?);
    samples.push(
        b"device_id,device_type,key\nurn:epc:id:giai:1.2,2b,00112233445566778899aabbccddeeff\n"
            .to_vec(),
    );
    let rounds = 20_000u32;
    let mut panics = 0u32;
    let mut believed = 0u32;
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    for _ in 0..rounds {
        let octets = damage(&samples, &mut rng);
        let outcome = catch_unwind(AssertUnwindSafe(|| -> Result<bool> {
            real.hear(1, &octets)?;
            real.raw_pdu(&octets);
            real.drain()?;
            let is_believed = real.answer(0, &octets);
            if let Some(device) = real.device(1) {
                let mut rand_n = [0; 16];
                for (to, from) in rand_n.iter_mut().zip(&octets) {
                    *to = *from;
                }
                device.handle_paging(0, &RandN::from_octets(rand_n), PagingTarget::All);
                let _ = device.handle_downlink(0, &octets);
            }
            let _ = ambit_provisioning::read_csv(octets.as_slice());
            Ok(is_believed)
        }));
        match outcome {
            Ok(result) => believed += u32::from(result?),
            Err(_) => panics += 1,
        }
    }
    std::panic::set_hook(hook);
    let more = real.books()?.records - books.records;
    let mut run = Run::new(
        panics == 0 && more == 0 && believed == 0,
        &[
            ("inputs, each at six doors", rounds.into()),
            ("panics", panics.into()),
            ("records", more as f64),
            ("believed by a device", believed.into()),
        ],
    );
    run.steps = vec![
        step(Actor::Adversary, Actor::Network, "damaged NAS, NGAP, CSV"),
        step(Actor::Network, Actor::Adversary, "silence"),
        step(
            Actor::Adversary,
            Actor::Device,
            "damaged downlinks and pages",
        ),
        step(Actor::Device, Actor::Device, "ignored"),
    ];
    Ok(Pair { run, control: None })
}

/// A sample with a few octets changed, cut, doubled or exchanged; now and then noise alone.
fn damage(samples: &[Vec<u8>], rng: &mut fastrand::Rng) -> Vec<u8> {
    let mut octets = match rng.u8(..8) {
        0 => vec![0; rng.usize(..140)],
        _ => rng.choice(samples).cloned().unwrap_or_default(),
    };
    for _ in 0..rng.u32(1..6) {
        let len = octets.len();
        match rng.u8(..4) {
            0 if len > 0 => octets.truncate(rng.usize(..len)),
            1 => octets.extend_from_slice(rng.choice(samples).map_or(&[][..], Vec::as_slice)),
            _ => {
                let at = rng.usize(..len.max(1));
                if let Some(octet) = octets.get_mut(at) {
                    *octet = rng.u8(..);
                }
            }
        }
    }
    octets
}
