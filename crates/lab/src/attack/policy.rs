//! T23: what a public network may not have.

use ambit_adm::policy::Deployment;
use ambit_adm::{Adm, AdmConfig, Kek, ProvisionError, SubscriberSpec};
use ambit_device::DeviceForm;
use ambit_protocol::area::Plmn;
use ambit_protocol::{DeviceType, Snid};
use ambit_provisioning::CredentialKind;

use super::arena::{Actor, Arena as _};
use super::real::{self, Real};
use super::uicc::secrets;
use super::{Pair, Result, Run, scene, steps};
use crate::scenario::{START_MS, seeded_entropy};
use crate::store::SharedStore;

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
        run.steps = steps(&[
            (
                Actor::Adversary,
                Actor::Network,
                "operator keys, type 1, blind: provisioning",
            ),
            (
                Actor::Network,
                Actor::Adversary,
                if refused > 0 {
                    "refused, the rule named"
                } else {
                    "taken"
                },
            ),
            (Actor::Device, Actor::Network, "REPORT concealed"),
            (
                Actor::Network,
                Actor::Device,
                if answered == 0 { "silence" } else { "Accept" },
            ),
        ]);
        Ok(run)
    };
    Ok(Pair {
        exception: None,
        run: run_in(Deployment::Public)?,
        control: Some((
            "an isolated private network",
            run_in(Deployment::IsolatedPrivate)?,
        )),
    })
}
