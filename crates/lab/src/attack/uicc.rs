//! Attacks on registrations with a UICC: T21 and T22.

use ambit_device::{Authentication, Uicc as _};
use ambit_protocol::area::Plmn;
use ambit_protocol::{Snid, aka};
use ambit_uicc::Subscriber;
use ambit_uicc::suci::{Imsi, Protection};

use super::arena::Actor;
use super::{Pair, Result, Run, scene, steps};
use crate::card::LabCard;

pub(super) fn secrets(n: u32) -> Subscriber {
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
        run.steps = steps(&[
            (
                Actor::Network,
                Actor::Adversary,
                "AUTHENTICATION REQUEST for device 0, recorded",
            ),
            (Actor::Adversary, Actor::Device, "the same to each device"),
            (
                Actor::Device,
                Actor::Adversary,
                if alike == 64 {
                    "silence from all"
                } else {
                    "AUTS from one, silence from the others"
                },
            ),
        ]);
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
        exception: None,
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
        run.steps = steps(&[
            (
                Actor::Network,
                Actor::Adversary,
                "challenge for network 262/42",
            ),
            (
                Actor::Adversary,
                Actor::Device,
                "the same, as network 001/01",
            ),
            (Actor::Device, Actor::Adversary, text),
        ]);
        Ok(run)
    };
    let (of_home, of_visited) = (keys(&home), keys(&visited));
    let differ = of_home.0 != of_visited.0 && of_home.1 != of_visited.1;
    let (rand_home, rand_visited) = (
        aka::rand(&n_r, &rand_d, &home),
        aka::rand(&n_r, &rand_d, &visited),
    );
    Ok(Pair {
        exception: None,
        run: ask(rand_visited, rand_home, differ, "silence")?,
        // Without the name both sides have the same RAND, and the same keys.
        control: Some((
            "the name left out",
            ask(n_r, n_r, false, "AUTHENTICATION RESPONSE")?,
        )),
    })
}
