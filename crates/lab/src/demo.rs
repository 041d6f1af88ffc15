//! The scene of `ambit demo`: a site with three areas, devices of every form and suite, a fake device and a fake network.

mod public;

use ambit_adm::policy::Deployment;
use ambit_adm::{Adm, AdmConfig, Kek, OpenError, ProvisionError, system_entropy};
use ambit_adm_api::{Outcome, Tally};
use ambit_aiotf::{Aiotf, AiotfConfig};
use ambit_device::{Profile, Timing};
use ambit_protocol::area::Plmn;
use ambit_protocol::{Cause, DeviceForm, DeviceType, Form, RootKey, Snid, Suite, TagLen};
use ambit_provisioning::{CredentialKind, DeviceSpec};
use ambit_ran::air::{AirConfig, Channel};
use ambit_ran::fleet::{self, Fleet, FleetCard, FleetConfig, PayloadSource, Schedule};
use ambit_ran::frame::SiteReader;
use ambit_ran::gnb::GnbConfig;
use ambit_ran::site::Site;
use ambit_store::{Store, StoreError};
use serde::Serialize;

pub use public::CardSummary;

use crate::intruder::{IntruderCounts, Intruders};
use crate::judge::{Judgement, judge};
use crate::measurements::temperatures_dc;
use crate::stage::Stage;

/// What the demonstration shows.
#[derive(Clone, Copy, Debug)]
pub struct DemoConfig {
    /// Devices, at least 1.
    pub devices: u32,
    /// How long devices report and intruders intrude, in seconds.
    pub seconds: u32,
    /// Seed of the air, the devices and the intruders. The keys of the network are not drawn from it.
    pub seed: u64,
    /// Share of frames that the air loses, each way.
    pub loss: f64,
    /// What kind of network: in a private one devices have keys, in a public one cards.
    pub deployment: Deployment,
}

/// Epochs of the demonstration are short, so that several pass while one looks on.
const EPOCH_S: u32 = 5;

/// Items of each device besides its registration.
const ITEMS: u32 = 4;

/// How often the intruders act, in milliseconds.
const INTRUDERS_MS: u64 = 50;

/// Why the demonstration cannot begin or be judged.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The core does not start.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The devices are refused.
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    /// The store cannot be read.
    #[error("store: {0}")]
    Store(#[from] StoreError),
    /// A card cannot be made or read.
    #[error("a card of the demonstration cannot be made")]
    Card,
    /// The scene was not built as it should be.
    #[error("the core is gone")]
    NoCore,
}

/// A running demonstration.
pub struct Demo {
    config: DemoConfig,
    stage: Stage,
    intruders: Intruders,
    next_intrusion_ms: u64,
    cards: Option<CardSummary>,
}

/// How it stands, or how it ended.
#[derive(Clone, Debug, Serialize)]
pub struct DemoSummary {
    /// The seed.
    pub seed: u64,
    /// `isolated-private` or `public`.
    pub deployment: &'static str,
    /// The cards, in a public network.
    pub cards: Option<CardSummary>,
    /// Time on the scene's clock, in seconds.
    pub elapsed_s: f64,
    /// Devices.
    pub devices: u64,
    /// Of these, registered.
    pub registered: u64,
    /// Epochs that were current so far.
    pub epochs: u32,
    /// Items that devices saw accepted, of those they had to report.
    pub items: u64,
    /// See `items`.
    pub accepted: u64,
    /// Reports by form: taken by the core as new, as repeats of an item, as copies of a report.
    pub forms: Vec<FormSummary>,
    /// Reports that the core met with silence, by reason.
    pub refused: Vec<(&'static str, u64)>,
    /// What the intruders did.
    pub intruders: IntruderCounts,
    /// False networks that devices noticed.
    pub sightings: u64,
    /// The verdict, at the end.
    pub judgement: Option<Judgement>,
}

/// Reports of one form.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct FormSummary {
    /// The form's name.
    pub form: &'static str,
    /// New records that stand for an event.
    pub accepted_new: u64,
    /// New records of an item that was accepted before.
    pub accepted_repeat: u64,
    /// Reports that were on record already.
    pub accepted_duplicate: u64,
}

impl Demo {
    /// Builds the scene on a store: provisions the devices and starts the core.
    ///
    /// # Errors
    /// [`DemoError`].
    pub fn start(
        config: DemoConfig,
        store: Box<dyn Store>,
        kek: Kek,
        now_ms: i64,
    ) -> Result<Self, DemoError> {
        let snid = Snid::new(Plmn::new("001", "01").map_err(|_| DemoError::NoCore)?, None);
        let adm_config = AdmConfig {
            period_s: EPOCH_S,
            grace_s: 2,
            chain_epochs: 4096,
            blind_allowed: config.deployment == Deployment::IsolatedPrivate,
            deployment: config.deployment,
            event_interval_s: 5,
            ..AdmConfig::new(snid)
        };
        let mut adm = Adm::open(adm_config, store, kek, system_entropy(), now_ms)?;
        let mut rng = fastrand::Rng::with_seed(config.seed);
        let (devices, cards) = match config.deployment {
            Deployment::IsolatedPrivate => {
                let specs: Vec<DeviceSpec> =
                    (0..config.devices).map(|n| spec(n, &mut rng)).collect();
                adm.import(&specs, now_ms)?;
                let devices = specs.into_iter().map(|spec| (spec, None)).collect();
                (devices, None)
            }
            Deployment::Public => {
                let (devices, cards) =
                    public::provision(&mut adm, config.devices, &mut rng, now_ms)?;
                let devices = devices.into_iter().map(|(spec, card)| (spec, Some(card)));
                (devices.collect(), Some(cards))
            }
        };
        let mut site = build_site(&config, snid, devices, &mut rng);
        let intruders = Intruders::join(&mut site, config.seed ^ 0x1d1d);
        let aiotf = Aiotf::new(AiotfConfig::new(snid, *b"ambit-demo-aiotf"), adm, now_ms);
        let mut stage = Stage::new(site, now_ms);
        stage.start_core(aiotf);
        Ok(Self {
            config,
            stage,
            intruders,
            next_intrusion_ms: 1000,
            cards,
        })
    }

    /// Lets the scene's time pass until `until_ms`.
    pub fn advance(&mut self, until_ms: u64) {
        let end_ms = u64::from(self.config.seconds) * 1000;
        while self.next_intrusion_ms <= until_ms.min(end_ms) {
            self.stage.advance(self.next_intrusion_ms);
            let site = self.stage.site_mut();
            self.intruders.fake_device(site, 3);
            // Now and then a false reader outshines the true one for half a second.
            if self.next_intrusion_ms.is_multiple_of(3000) {
                self.intruders.fake_network(site, 5, 500);
            }
            self.next_intrusion_ms += INTRUDERS_MS;
        }
        self.stage.advance(until_ms);
    }

    /// Whether the time is over and no device has anything left to say; or the patience is.
    pub fn is_over(&self) -> bool {
        let end_ms = u64::from(self.config.seconds) * 1000;
        let now_ms = self.stage.site().now_ms();
        let is_idle = self.stage.site().fleet_stats().pending() == 0;
        now_ms >= end_ms && (is_idle || now_ms >= end_ms + 60_000)
    }

    /// How it stands. With `judged`, devices and records are compared, which takes a walk over all of them.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn summary(&mut self, judged: bool) -> Result<DemoSummary, DemoError> {
        let now_ms = self.stage.site().now_ms();
        let core = self.stage.core().ok_or(DemoError::NoCore)?;
        let tally = core.reports().clone();
        let fleet = self.stage.site().fleet();
        let sightings = fleet
            .devices()
            .filter_map(|view| Some(u64::from(view.device()?.stats().sightings)))
            .sum();
        let stats = *fleet.stats();
        let judgement = match judged {
            true => Some(self.judge()?),
            false => None,
        };
        Ok(DemoSummary {
            seed: self.config.seed,
            deployment: self.config.deployment.name(),
            cards: self.cards,
            elapsed_s: now_ms as f64 / 1000.0,
            devices: stats.devices,
            registered: stats.registered,
            epochs: u32::try_from(now_ms / 1000 / u64::from(EPOCH_S)).unwrap_or(u32::MAX) + 1,
            items: stats.items,
            accepted: stats.accepted,
            forms: self
                .forms()
                .map(|form| form_summary(&tally, form))
                .collect(),
            refused: refused(&tally),
            intruders: *self.intruders.counts(),
            sightings,
            judgement,
        })
    }

    /// The forms that occur: UICC registrations in a public network only, blind reports never there.
    fn forms(&self) -> impl Iterator<Item = Form> + use<> {
        let is_public = self.config.deployment == Deployment::Public;
        let forms = Form::ALL.into_iter().chain([Form::Aka]);
        forms.filter(move |form| match form {
            Form::Aka => is_public,
            Form::Blind => !is_public,
            _ => true,
        })
    }

    fn judge(&mut self) -> Result<Judgement, DemoError> {
        // The fleet is read while the store, which stands behind the core, is walked: two parts of the same stage.
        let core = self.stage.kill_core().ok_or(DemoError::NoCore)?;
        let mut core = core;
        let judgement = judge(self.stage.site().fleet(), core.adm().store())?;
        core.adm().close(self.stage.unix_ms());
        Ok(judgement)
    }
}

/// Device n: forms, suites, tag lengths and types mixed so that every pair of form and suite occurs.
fn spec(n: u32, rng: &mut fastrand::Rng) -> DeviceSpec {
    let form = match n % 20 {
        0..=9 => DeviceForm::Beacon,
        10..=12 => DeviceForm::Concealed,
        13..=17 => DeviceForm::Counter,
        _ => DeviceForm::Blind,
    };
    let suite = match (n / 20 + n) % 3 {
        0 => Suite::AesCmac,
        1 => Suite::HmacSha256,
        _ => Suite::AsconXof128,
    };
    let tag_len = match n % 7 {
        0 => TagLen::T16,
        1 => TagLen::T4,
        _ => TagLen::T8,
    };
    let device_type = match n % 3 {
        0 => DeviceType::Type2a,
        1 => DeviceType::Type2b,
        _ => DeviceType::Type2c,
    };
    let mut key = [0; 16];
    rng.fill(&mut key);
    DeviceSpec {
        line: 0,
        device_id: format!("urn:epc:id:giai:0614141.{n}").into_bytes(),
        device_type,
        suite,
        form,
        key: Some(RootKey::new(key)),
        tag_len,
        fleet: "demo".into(),
        credential: CredentialKind::Operator,
    }
}

fn build_site(
    config: &DemoConfig,
    snid: Snid,
    devices: Vec<(DeviceSpec, Option<FleetCard>)>,
    rng: &mut fastrand::Rng,
) -> Site {
    let seconds = u64::from(config.seconds.max(1));
    let mut fleet = Fleet::new(FleetConfig::new(config.seed), payload());
    // All items fall into the first three quarters, so that the last ones are not cut off.
    let interval_ms = seconds * 750 / u64::from(ITEMS);
    let schedule = fleet.add_schedule(Schedule {
        first_ms: interval_ms / 2,
        interval_ms,
        jitter_ms: interval_ms / 4,
        items_max: Some(ITEMS),
    });
    for (n, (spec, card)) in devices.into_iter().enumerate() {
        let mut profile = Profile::new(spec.device_type, spec.form, snid);
        profile.tag_len = spec.tag_len;
        profile.period_s = EPOCH_S;
        profile.timing = Timing {
            answer_timeout_ms: 200,
            repeats_max: 2,
            backoff_first_ms: 100,
            backoff_max_ms: 400,
            ..profile.timing
        };
        // Three areas: readers 1 and 2 of the first gNB, reader 3 of the second.
        let area = n % 3;
        let reader = SiteReader {
            gnb: u16::from(area == 2),
            reader_index: u16::try_from(area + 1).unwrap_or(1),
        };
        // A few counter devices have counted on where no network heard them: only recovery brings them back.
        let counter = if spec.form.has_counter() && n % 40 == 13 {
            1000
        } else {
            0
        };
        let device = fleet::DeviceSpec {
            device_id: spec.device_id.clone(),
            key: RootKey::new(*spec.key.as_ref().map_or(&[0; 16], RootKey::expose)),
            suite: spec.suite,
            profile,
            anchor: None,
            counter,
            reader,
            schedule,
            power_cycles: None,
            power_on_ms: Some(rng.u64(100..1500)),
        };
        match card {
            Some(card) => fleet.add_uicc(device, card),
            None => fleet.add(device),
        };
    }
    let channel = Channel {
        duplication: 0.02,
        delay_ms_min: 5,
        delay_ms_max: 30,
        ..Channel::lossy(config.loss)
    };
    let mut first = GnbConfig::new(1, snid, 2);
    let mut second = GnbConfig::new(2, snid, 3);
    second.readers.retain(|reader| reader.reader_index == 3);
    for gnb in [&mut first, &mut second] {
        gnb.answer_wait_ms = 60;
    }
    Site::new(
        AirConfig::symmetric(config.seed, channel),
        vec![first, second],
        fleet,
    )
}

/// Each device walks through the month from an hour of its own: tenths of a degree Celsius, two octets.
fn payload() -> PayloadSource {
    let temperatures = temperatures_dc();
    Box::new(move |request, data| {
        let hour = request.device.0 as usize * 31 + request.number as usize;
        let at = hour % temperatures.len().max(1);
        let value = temperatures.get(at).copied().unwrap_or(0);
        data.extend_from_slice(&value.to_be_bytes());
        match request.number % 4 {
            0 => Cause::Event,
            3 => Cause::DataOnly,
            _ => Cause::Periodic,
        }
    })
}

fn form_summary(tally: &Tally, form: Form) -> FormSummary {
    let count = |outcome| {
        let cells = tally
            .iter()
            .filter(|(o, f, _)| *o == outcome && *f == Some(form));
        cells.map(|(.., n)| n).sum()
    };
    FormSummary {
        form: form.name(),
        accepted_new: count(Outcome::AcceptedNew),
        accepted_repeat: count(Outcome::AcceptedRepeat),
        accepted_duplicate: count(Outcome::AcceptedDuplicate),
    }
}

fn refused(tally: &Tally) -> Vec<(&'static str, u64)> {
    let is_accepted = |outcome: &Outcome| outcome.name().starts_with("accepted");
    Outcome::ALL
        .iter()
        .filter(|outcome| !is_accepted(outcome))
        .map(|outcome| (outcome.name(), tally.of(*outcome)))
        .filter(|(_, count)| *count > 0)
        .collect()
}
