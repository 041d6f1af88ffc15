//! T09: a false network's commands.

use ambit_device::{DeviceForm, PagingTarget};
use ambit_protocol::session::Session;
use ambit_protocol::wire::{Command, InventoryResponse};
use ambit_protocol::{KAiotf, RandN, RootKey, Suite, TagLen, schedule};

use super::arena::Actor;
use super::real::Real;
use super::{Pair, Result, Run, scene, steps};

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
    run.steps = steps(&[
        (Actor::Adversary, Actor::Device, "page, RAND_n made up"),
        (Actor::Device, Actor::Adversary, "INVENTORY RESPONSE"),
        (
            Actor::Adversary,
            Actor::Device,
            "SESSION: PERMANENT DISABLE of another exchange",
        ),
        (Actor::Device, Actor::Device, "ignored"),
        (
            Actor::Adversary,
            Actor::Device,
            "SESSION: changed, made up (10 000)",
        ),
        (Actor::Device, Actor::Device, "ignored"),
        (
            Actor::Network,
            Actor::Device,
            "SESSION: PERMANENT DISABLE, genuine",
        ),
        (Actor::Device, Actor::Device, "obeyed"),
    ]);
    Ok(Pair::new(run, None))
}
