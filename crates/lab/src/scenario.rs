//! A stage from a short description, on virtual time: the same description and seed give the same run.
//!
//! ```
//! use ambit_lab::scenario::{DeviceKind, Scenario};
//! use ambit_lab::store::SharedStore;
//!
//! let scenario = Scenario {
//!     devices: (0..4).map(DeviceKind::mixed).collect(),
//!     ..Scenario::new(7)
//! };
//! let mut scene = scenario.build(Box::new(SharedStore::new()?))?;
//! scene.stage.advance(10_000);
//! assert_eq!(scene.stage.site().fleet_stats().registered, 4);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use ambit_adm::{Adm, AdmConfig, Entropy, Kek, OpenError, ProvisionError};
use ambit_adm_api::{AdmClient, AdmError};
use ambit_aiotf::{Aiotf, AiotfConfig};
use ambit_device::{Profile, Timing};
use ambit_protocol::area::{AreaError, Plmn};
use ambit_protocol::{Cause, DeviceForm, DeviceType, RootKey, Snid, Suite, TagLen};
use ambit_provisioning::{CredentialKind, DeviceSpec};
use ambit_ran::air::{AirConfig, Channel};
use ambit_ran::fleet::{self, Fleet, FleetConfig, PayloadSource, Schedule};
use ambit_ran::frame::SiteReader;
use ambit_ran::gnb::GnbConfig;
use ambit_ran::site::Site;
use ambit_store::Store;

use crate::stage::Stage;

/// Unix time in ms at which scenes begin: the start of an epoch of any common length.
pub const START_MS: i64 = 1_800_000_000_000;

/// What a scene is made of.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Seed of everything: keys, chain, air, devices.
    pub seed: u64,
    /// The devices, by position.
    pub devices: Vec<DeviceKind>,
    /// Device to reader.
    pub up: Channel,
    /// Reader to device.
    pub down: Channel,
    /// Length of an epoch in seconds.
    pub period_s: u32,
    /// How long the previous epoch is accepted, in seconds.
    pub grace_s: u32,
    /// Epochs of a chain. Few make a scene cheap to build; when they are over, the network lays a new chain.
    pub chain_epochs: u32,
    /// Times of all devices.
    pub timing: Timing,
    /// What devices say after their registration.
    pub schedule: Option<Schedule>,
    /// How far ahead of a device's last counter the network looks.
    pub counter_window: u32,
    /// PRF evaluations a second in the network's population search, at most.
    pub search_prf_per_s_max: u64,
}

/// A device of a scene.
#[derive(Clone, Copy, Debug)]
pub struct DeviceKind {
    /// How it names itself.
    pub form: DeviceForm,
    /// Suite.
    pub suite: Suite,
    /// Tag length.
    pub tag_len: TagLen,
    /// Whether it is provisioned with the anchor of the first epoch.
    pub anchored: bool,
    /// The last counter value it has used, which the network does not know.
    pub counter: u32,
    /// Where it stands: reader 1 or 2 of gNB 0, or reader 3 of gNB 1, each an area of its own.
    pub reader: SiteReader,
    /// When it first gets power, in milliseconds.
    pub power_on_ms: Option<u64>,
    /// The device whose key it shares, by position: a clone, or a mistake.
    pub key_of: Option<u32>,
}

/// Why a scene cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum SceneError {
    /// The core does not start.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The devices are refused.
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    /// No RAND_n can be issued.
    #[error(transparent)]
    Beacons(#[from] AdmError),
    /// The network has no name.
    #[error(transparent)]
    Area(#[from] AreaError),
}

/// A scene, and what it takes to start its core again.
pub struct Scene {
    /// Core and site.
    pub stage: Stage,
    snid: Snid,
    scenario: Scenario,
    adm_config: AdmConfig,
    /// Cores so far.
    lives: u64,
}

impl DeviceKind {
    /// A device of a form with the defaults of the protocol, at the first reader, powered at once.
    pub const fn new(form: DeviceForm) -> Self {
        Self {
            form,
            suite: Suite::AesCmac,
            tag_len: TagLen::T8,
            anchored: false,
            counter: 0,
            reader: SiteReader {
                gnb: 0,
                reader_index: 1,
            },
            power_on_ms: Some(0),
            key_of: None,
        }
    }

    /// Device n of a mixed fleet: forms, suites, tag lengths, anchors and readers in all combinations.
    pub const fn mixed(n: u32) -> Self {
        let form = match n % 4 {
            0 => DeviceForm::Beacon,
            1 => DeviceForm::Concealed,
            2 => DeviceForm::Counter,
            _ => DeviceForm::Blind,
        };
        let m = n / 4;
        Self {
            suite: match m % 3 {
                0 => Suite::AesCmac,
                1 => Suite::HmacSha256,
                _ => Suite::AsconXof128,
            },
            tag_len: match (m / 3) % 3 {
                0 => TagLen::T8,
                1 => TagLen::T4,
                _ => TagLen::T16,
            },
            anchored: (m / 9).is_multiple_of(2),
            reader: match n % 3 {
                0 => SiteReader {
                    gnb: 0,
                    reader_index: 1,
                },
                1 => SiteReader {
                    gnb: 0,
                    reader_index: 2,
                },
                _ => SiteReader {
                    gnb: 1,
                    reader_index: 3,
                },
            },
            ..Self::new(form)
        }
    }
}

/// The forms of devices that speak first.
pub const FORMS: [DeviceForm; 4] = [
    DeviceForm::Beacon,
    DeviceForm::Concealed,
    DeviceForm::Counter,
    DeviceForm::Blind,
];

impl Scenario {
    /// No devices yet, a perfect air, epochs of 20 s, devices that repeat themselves within seconds.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            devices: Vec::new(),
            up: Channel::PERFECT,
            down: Channel::PERFECT,
            period_s: 20,
            grace_s: 4,
            chain_epochs: 64,
            timing: Timing {
                answer_timeout_ms: 2_000,
                repeats_max: 2,
                backoff_first_ms: 500,
                backoff_max_ms: 4_000,
                ..Timing::default()
            },
            schedule: None,
            counter_window: 16,
            search_prf_per_s_max: 1_500_000,
        }
    }

    /// Opens a core on the store, provisions the devices on both sides, and connects everything.
    ///
    /// # Errors
    /// [`SceneError`].
    pub fn build(self, store: Box<dyn Store>) -> Result<Scene, SceneError> {
        let snid = Snid::new(Plmn::new("001", "01")?, None);
        let adm_config = AdmConfig {
            period_s: self.period_s,
            grace_s: self.grace_s,
            chain_epochs: self.chain_epochs,
            counter_window: self.counter_window,
            search_prf_per_s_max: self.search_prf_per_s_max,
            blind_allowed: true,
            ..AdmConfig::new(snid)
        };
        let mut adm = self.open(&adm_config, store, 1, START_MS)?;
        let stage = Stage::new(self.site(snid, &mut adm)?, START_MS);
        let mut scene = Scene {
            stage,
            snid,
            scenario: self,
            adm_config,
            lives: 1,
        };
        scene.connect(adm);
        Ok(scene)
    }

    /// Opens the ADM of a core's `life` on a store, and provisions the devices if there are none.
    fn open(
        &self,
        config: &AdmConfig,
        store: Box<dyn Store>,
        life: u64,
        now_ms: i64,
    ) -> Result<Adm, SceneError> {
        let kek = Kek::from_octets(&[0x4b; 32]);
        let entropy = seeded_entropy(self.seed ^ (life << 48));
        let mut adm = Adm::open(config.clone(), store, kek, entropy, now_ms)?;
        if adm.device_count() == 0 {
            adm.import(&self.specs(), now_ms)?;
        }
        Ok(adm)
    }

    fn site(&self, snid: Snid, adm: &mut Adm) -> Result<Site, SceneError> {
        let config = FleetConfig {
            // Records are held against it: nothing may be forgotten.
            ledger_items_max: usize::MAX,
            ..FleetConfig::new(self.seed)
        };
        let mut fleet = Fleet::new(config, payload());
        let schedule = self
            .schedule
            .and_then(|schedule| fleet.add_schedule(schedule));
        let first = adm.beacons(START_MS)?.current;
        for (spec, kind) in self.specs().into_iter().zip(&self.devices) {
            let mut profile = Profile::new(spec.device_type, spec.form, snid);
            profile.tag_len = spec.tag_len;
            profile.period_s = self.period_s;
            profile.timing = self.timing;
            fleet.add(fleet::DeviceSpec {
                device_id: spec.device_id,
                key: spec.key.unwrap_or(RootKey::new([0; 16])),
                suite: spec.suite,
                profile,
                anchor: kind.anchored.then_some(first),
                counter: kind.counter,
                reader: kind.reader,
                schedule,
                power_cycles: None,
                power_on_ms: kind.power_on_ms,
            });
        }
        let mut first = GnbConfig::new(1, snid, 2);
        let mut second = GnbConfig::new(2, snid, 3);
        second.readers.retain(|reader| reader.reader_index == 3);
        for gnb in [&mut first, &mut second] {
            gnb.answer_wait_ms = 60;
        }
        let air = AirConfig {
            up: self.up,
            down: self.down,
            ..AirConfig::symmetric(self.seed, Channel::PERFECT)
        };
        Ok(Site::new(air, vec![first, second], fleet))
    }

    /// The devices as they are provisioned in a core: the same each time.
    fn specs(&self) -> Vec<DeviceSpec> {
        let spec = |(n, kind): (u32, &DeviceKind)| DeviceSpec {
            line: 0,
            device_id: format!("urn:epc:id:giai:0614141.{n}").into_bytes(),
            device_type: DeviceType::Type2b,
            suite: kind.suite,
            form: kind.form,
            key: Some(RootKey::new(self.key(kind.key_of.unwrap_or(n)))),
            tag_len: kind.tag_len,
            fleet: "default".into(),
            credential: CredentialKind::Operator,
        };
        (0u32..).zip(&self.devices).map(spec).collect()
    }

    /// K of a device, for adversaries that have stolen it.
    pub fn key(&self, n: u32) -> [u8; 16] {
        let mut key = [0; 16];
        fastrand::Rng::with_seed(self.seed ^ (u64::from(n) << 32) ^ 0x6b65_7973).fill(&mut key);
        key
    }
}

impl Scene {
    /// Starts a core on a store, in place of one that was killed. An empty store gets a new chain and the same devices.
    ///
    /// # Errors
    /// [`SceneError`].
    pub fn start_core(&mut self, store: Box<dyn Store>) -> Result<(), SceneError> {
        self.lives += 1;
        let now_ms = self.stage.unix_ms();
        let adm = self
            .scenario
            .open(&self.adm_config, store, self.lives, now_ms)?;
        self.connect(adm);
        Ok(())
    }

    /// What it was built from.
    pub const fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// The network.
    pub const fn snid(&self) -> &Snid {
        &self.snid
    }

    /// How the next core's ADM is configured.
    pub const fn adm_config_mut(&mut self) -> &mut AdmConfig {
        &mut self.adm_config
    }

    fn connect(&mut self, adm: Adm) {
        let config = AiotfConfig::new(self.snid, *b"ambit-lab-aiotf.");
        let aiotf = Aiotf::new(config, adm, self.stage.unix_ms());
        self.stage.start_core(aiotf);
    }
}

/// Random octets that repeat: a scene's chain is the same each time.
pub(crate) fn seeded_entropy(seed: u64) -> Entropy {
    let mut rng = fastrand::Rng::with_seed(seed);
    Box::new(move |out| {
        rng.fill(out);
        Ok(())
    })
}

/// The item's number, and every cause in turn that an item may have.
fn payload() -> PayloadSource {
    Box::new(|request, data| {
        data.extend_from_slice(&request.number.to_be_bytes());
        match request.number % 3 {
            0 => Cause::Event,
            1 => Cause::Periodic,
            _ => Cause::DataOnly,
        }
    })
}
