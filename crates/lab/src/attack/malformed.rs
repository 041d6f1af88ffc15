//! T24: malformed input at every door.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ambit_device::{DeviceForm, PagingTarget};
use ambit_ngap::FromGnb;
use ambit_protocol::RandN;

use super::arena::{Actor, Arena as _, Recorder};
use super::real::Real;
use super::{Pair, Result, Run, steps};

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
    run.steps = steps(&[
        (Actor::Adversary, Actor::Network, "damaged NAS, NGAP, CSV"),
        (Actor::Network, Actor::Adversary, "silence"),
        (
            Actor::Adversary,
            Actor::Device,
            "damaged downlinks and pages",
        ),
        (Actor::Device, Actor::Device, "ignored"),
    ]);
    Ok(Pair::new(run, None))
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
