//! T20: the store is stolen.

use ambit_adm::{Adm, Kek, OpenError};
use ambit_device::DeviceForm;
use ambit_store::Store as _;

use super::arena::{Actor, Recorder};
use super::real::Real;
use super::{Pair, Result, Run, scene, steps};
use crate::scenario::{START_MS, seeded_entropy};
use crate::store::SharedStore;

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
        run.steps = steps(&[
            (Actor::Network, Actor::Adversary, "the store, copied"),
            (
                Actor::Adversary,
                Actor::Adversary,
                "opens it in a core of its own",
            ),
        ]);
        Ok(run)
    };
    Ok(Pair {
        exception: None,
        run: thief(&[0; 32])?,
        control: Some(("the KEK lies beside the store", thief(&[0x4b; 32])?)),
    })
}
