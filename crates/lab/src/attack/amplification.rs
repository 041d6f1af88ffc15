//! T16: octets out for octets in.

use ambit_adm::SubscriberSpec;
use ambit_device::DeviceForm;
use ambit_protocol::area::Plmn;
use ambit_protocol::wire::{RegistrationRequest, ReportId};
use ambit_provisioning::CredentialKind;
use ambit_uicc::suci::{Imsi, PrivateKey, Protection, RoutingIndicator, Scheme, conceal};

use super::arena::{Actor, Arena as _, Recorder};
use super::real::{self, Real};
use super::uicc::secrets;
use super::{Pair, Result, Run, scene, steps};

/// What the row says although it holds.
const EXCEPTION: &str = "while the null scheme is allowed (policy.refuse_null_scheme is off by default), a registration by it \
                         gets 33 octets for 22: the control";

/// Messages of each kind.
const TIMES: u32 = 100;

/// Everything that can be sent without a key, and what comes back, octet by octet. Where the null scheme is refused, nothing
/// gets more than it brings. The control allows it.
pub(super) fn t16(seed: u64) -> Result<Pair> {
    let mut pair = Pair::with_control(
        amplify(seed, false)?,
        "the null scheme is allowed",
        amplify(seed, true)?,
    );
    pair.exception = Some(EXCEPTION);
    Ok(pair)
}

#[derive(Default)]
struct Count {
    octets_in: usize,
    octets_out: usize,
}

fn amplify(seed: u64, null_scheme_allowed: bool) -> Result<Run> {
    let mut rng = fastrand::Rng::with_seed(!seed);
    let mut real = Real::configured(
        seed,
        &[DeviceForm::Beacon, DeviceForm::Counter],
        &|config| config.null_scheme_allowed = null_scheme_allowed,
    )?;
    let now_ms = real.now_ms();
    let private = [0x5c; 32];
    let adm = real.aiotf().adm();
    adm.set_home_network_key(1, Scheme::ProfileA, &private, now_ms)?;
    let plmn = Plmn::new("001", "01")?;
    let imsi = |n: u32| Imsi::new(plmn, &format!("{n:010}")).map_err(scene);
    let mut device = real::spec(seed, 9, DeviceForm::Beacon);
    (device.key, device.credential) = (None, CredentialKind::Uicc);
    let subscriber = SubscriberSpec {
        device,
        supi: "imsi-001010000000004".into(),
        secrets: secrets(4),
        sqn: 0,
    };
    adm.import_subscribers(&[subscriber], now_ms)?;
    let (recorded, _) = Recorder::new(&mut real).exchange(0, 1)?;
    let public = PrivateKey::profile_a(private).public().map_err(scene)?;
    let profile_a = Protection::Profile {
        key_id: 1,
        key: public,
    };

    let before = real.store().written().0;
    let (mut made_up, mut replayed, mut unknown) = <(Count, Count, Count)>::default();
    let (mut concealed, mut null) = <(Count, Count)>::default();
    for n in 0..TIMES {
        send(&mut real, &shortest(&mut rng, n)?, &mut made_up)?;
        send(&mut real, &recorded, &mut replayed)?;
        for (subscriber, protection, count) in [
            (5, &Protection::Null, &mut unknown),
            (4, &profile_a, &mut concealed),
            (4, &Protection::Null, &mut null),
        ] {
            let suci = conceal(
                &imsi(subscriber)?,
                RoutingIndicator([0xF0, 0xFF]),
                protection,
                |octets| rng.fill(octets),
            );
            let mut rand_d = [0; 8];
            rng.fill(&mut rand_d);
            let suci = suci.map_err(scene)?;
            let request = RegistrationRequest {
                rand_d,
                suci: &suci,
            };
            let mut octets = vec![0; request.buffer_len()];
            request.emit(&mut octets).map_err(scene)?;
            send(&mut real, &octets, count)?;
        }
    }
    let durable = real.store().written().0 - before;
    let kinds = [&made_up, &replayed, &unknown, &concealed, &null];
    let is_damped = kinds
        .iter()
        .all(|count| count.octets_out <= count.octets_in);
    let each = |octets: usize| octets as f64 / f64::from(TIMES);
    let mean = |count: &Count| (each(count.octets_in), each(count.octets_out));
    let (made_up, replayed, unknown) = (mean(&made_up), mean(&replayed), mean(&unknown));
    let (concealed, null) = (mean(&concealed), mean(&null));
    let mut run = Run::new(
        is_damped,
        &[
            ("made-up report, mean: octets in", made_up.0),
            ("made-up report: octets out", made_up.1),
            ("recorded report: octets in", replayed.0),
            ("recorded report: octets out", replayed.1),
            ("registration of nobody: octets in", unknown.0),
            ("registration of nobody: octets out", unknown.1),
            ("registration by profile A: octets in", concealed.0),
            ("registration by profile A: octets out", concealed.1),
            ("registration by the null scheme: octets in", null.0),
            ("registration by the null scheme: octets out", null.1),
            ("durable writes, of all messages", durable as f64),
            ("messages", f64::from(TIMES * 5)),
        ],
    );
    let answer = if null_scheme_allowed {
        "AUTHENTICATION REQUEST, 33 octets"
    } else {
        "silence"
    };
    run.steps = steps(&[
        (Actor::Adversary, Actor::Network, "REPORT, made up"),
        (Actor::Network, Actor::Adversary, "silence"),
        (Actor::Adversary, Actor::Network, "REPORT, recorded"),
        (Actor::Network, Actor::Adversary, "ACCEPT, 9 octets"),
        (
            Actor::Adversary,
            Actor::Network,
            "REGISTRATION REQUEST, profile A",
        ),
        (
            Actor::Network,
            Actor::Adversary,
            "AUTHENTICATION REQUEST, 33 octets",
        ),
        (
            Actor::Adversary,
            Actor::Network,
            "REGISTRATION REQUEST, null scheme, 22 octets",
        ),
        (Actor::Network, Actor::Adversary, answer),
    ]);
    Ok(run)
}

fn send(real: &mut Real, octets: &[u8], count: &mut Count) -> Result<()> {
    count.octets_in += octets.len();
    count.octets_out += real.hear(1, octets)?.map_or(0, |answer| answer.len());
    Ok(())
}

/// The shortest report of each form, all of it made up.
fn shortest(rng: &mut fastrand::Rng, n: u32) -> Result<Vec<u8>> {
    let id = match n % 5 {
        0 => ReportId::Beacon {
            t_id: [rng.u8(..); 4],
            rand_d: [rng.u8(..); 4],
        },
        1 => ReportId::Counter {
            t_id: [rng.u8(..); 6],
        },
        2 => ReportId::Concealed {
            cid: [rng.u8(..); 4],
            rand_d: [rng.u8(..); 8],
        },
        3 => ReportId::Recovery {
            counter: rng.u32(..),
            t_id: [rng.u8(..); 6],
        },
        _ => ReportId::Blind {
            t_id: [rng.u8(..); 6],
        },
    };
    let mut octets = vec![0; 64];
    let head = id.emit(&mut octets).map_err(scene)?;
    octets.truncate(head + 1 + 4);
    rng.fill(octets.get_mut(head..).unwrap_or_default());
    Ok(octets)
}
