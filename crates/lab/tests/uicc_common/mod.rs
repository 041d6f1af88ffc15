//! A core with subscribers and a site with their devices, on one clock.
#![allow(dead_code, clippy::unwrap_used, clippy::panic, unreachable_pub)]

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use ambit_adm::{Adm, AdmConfig, Kek, SubscriberSpec, system_entropy};
use ambit_aiotf::{Aiotf, AiotfConfig};
use ambit_device::Profile;
use ambit_lab::card::LabCard;
use ambit_lab::judge::{Judgement, judge};
use ambit_lab::reader::Fault;
use ambit_lab::stage::Stage;
use ambit_protocol::area::Plmn;
use ambit_protocol::wire::{MessageType, peek};
use ambit_protocol::{Cause, DeviceForm, DeviceType, RootKey, Snid, Suite, TagLen};
use ambit_provisioning::{CredentialKind, DeviceSpec};
use ambit_ran::air::{AirConfig, Channel, Verdict};
use ambit_ran::fleet::{self, DeviceIndex, Fleet, FleetConfig, numbered_payload};
use ambit_ran::frame::{AirFrame, Direction, FrameKind, SiteReader};
use ambit_ran::gnb::GnbConfig;
use ambit_ran::site::Site;
use ambit_store::{EventFilter, EventRow, RecordFilter, RecordRow, SqliteStore, Store};
use ambit_uicc::Subscriber;
use ambit_uicc::suci::{Imsi, Protection};
use ambit_uicc::terminal::TransportError;

pub const START_MS: i64 = 1_800_000_000_000;
pub const READER: SiteReader = SiteReader {
    gnb: 0,
    reader_index: 1,
};

pub fn plmn() -> Plmn {
    Plmn::new("001", "01").unwrap()
}

pub fn snid() -> Snid {
    Snid::new(plmn(), None)
}

pub fn config() -> AdmConfig {
    AdmConfig {
        chain_epochs: 4096,
        ..AdmConfig::new(snid())
    }
}

pub fn imsi(n: u32) -> Imsi {
    Imsi::new(plmn(), &format!("{n:010}")).unwrap()
}

pub fn secrets(n: u32) -> Subscriber {
    let mut k = [0x5A; 16];
    k[..4].copy_from_slice(&n.to_be_bytes());
    Subscriber::milenage(&k, &[0xC3; 16])
}

pub fn card(n: u32) -> LabCard {
    LabCard::new(imsi(n), secrets(n), Protection::Null, n.into())
}

pub fn device_spec(n: u32, form: DeviceForm) -> DeviceSpec {
    DeviceSpec {
        line: 0,
        device_id: format!("device {n}").into_bytes(),
        device_type: DeviceType::Type2b,
        suite: Suite::AesCmac,
        form,
        key: None,
        tag_len: TagLen::T8,
        fleet: "default".into(),
        credential: CredentialKind::Operator,
    }
}

pub fn subscriber(n: u32, form: DeviceForm, sqn: u64) -> SubscriberSpec {
    SubscriberSpec {
        device: DeviceSpec {
            credential: CredentialKind::Uicc,
            ..device_spec(n, form)
        },
        supi: format!("imsi-00101{n:010}"),
        secrets: secrets(n),
        sqn,
    }
}

/// Frames that an ear has heard, in order: direction and octets.
pub type Heard = Arc<Mutex<Vec<(Direction, Vec<u8>)>>>;

/// A scene with UICC devices.
pub struct Scene {
    pub stage: Stage,
    pub cards: Vec<LabCard>,
    pub heard: Heard,
    path: PathBuf,
    _dir: tempfile::TempDir,
    config: AdmConfig,
}

impl Scene {
    /// Devices 0.. of these forms, powered at 1 s. `sqn` is what the network believes of every card.
    pub fn new(config: AdmConfig, forms: &[DeviceForm], sqn: u64, channel: Channel) -> Self {
        let mut cards = Vec::new();
        let populate = |fleet: &mut Fleet| {
            for (n, form) in (0..).zip(forms) {
                let card = card(n);
                fleet
                    .add_uicc(fleet_spec(n, *form), Box::new(card.clone()))
                    .unwrap();
                cards.push(card);
            }
        };
        let specs: Vec<SubscriberSpec> = (0..)
            .zip(forms)
            .map(|(n, form)| subscriber(n, *form, sqn))
            .collect();
        let import = |adm: &mut Adm| adm.import_subscribers(&specs, START_MS).unwrap();
        let mut scene = Self::with(config, channel, populate, import);
        scene.cards = cards;
        scene
    }

    /// A scene with other devices. They are imported before the core starts.
    pub fn with(
        config: AdmConfig,
        channel: Channel,
        populate: impl FnOnce(&mut Fleet),
        import: impl FnOnce(&mut Adm),
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(ambit_store::FILE_NAME);
        let mut fleet = Fleet::new(FleetConfig::new(7), numbered_payload());
        populate(&mut fleet);
        let gnb = GnbConfig::new(1, snid(), 2);
        let site = Site::new(AirConfig::symmetric(11, channel), vec![gnb], fleet);
        let heard = Heard::default();
        let mut scene = Self {
            stage: Stage::new(site, START_MS),
            cards: Vec::new(),
            heard,
            path,
            _dir: dir,
            config,
        };
        let mut adm = scene.open_adm();
        import(&mut adm);
        scene.start(adm);
        scene
    }

    pub fn open_adm(&self) -> Adm {
        let store = SqliteStore::open(&self.path).unwrap();
        let kek = Kek::from_octets(&[0x4B; 32]);
        let now_ms = self.stage.unix_ms();
        let store = Box::new(store);
        Adm::open(self.config.clone(), store, kek, system_entropy(), now_ms).unwrap()
    }

    pub fn start(&mut self, adm: Adm) {
        let config = AiotfConfig::new(snid(), *b"ambit-labs-aiotf");
        let aiotf = Aiotf::new(config, adm, self.stage.unix_ms());
        self.stage.start_core(aiotf);
    }

    /// The configuration of the cores to come.
    pub fn set_config(&mut self, config: AdmConfig) {
        self.config = config;
    }

    /// Another core on the same store.
    pub fn restart(&mut self) {
        drop(self.stage.kill_core());
        let adm = self.open_adm();
        self.start(adm);
    }

    /// Listens; frames for which `drops` says so are lost.
    pub fn listen(&mut self, mut drops: impl FnMut(&AirFrame) -> bool + Send + 'static) {
        let heard = Arc::clone(&self.heard);
        let ear = move |frame: &AirFrame| {
            if frame.kind == FrameKind::Nas {
                let message = (frame.direction, frame.octets.clone());
                heard.lock().unwrap().push(message);
            }
            if drops(frame) {
                Verdict::Drop
            } else {
                Verdict::Pass
            }
        };
        self.stage.site_mut().air_mut().add_ear(Box::new(ear));
    }

    pub fn advance_s(&mut self, seconds: u64) {
        let now_ms = self.stage.site().now_ms();
        self.stage.advance(now_ms + seconds * 1000);
    }

    pub fn submit(&mut self, n: u32) {
        let now_ms = self.stage.site().now_ms();
        let fleet = self.stage.site_mut().fleet_mut();
        let taken = fleet.submit(now_ms, DeviceIndex(n), Cause::Event, b"hot");
        taken.unwrap().unwrap();
    }

    pub fn is_registered(&self, n: u32) -> bool {
        let view = self.stage.site().fleet().device(DeviceIndex(n)).unwrap();
        view.is_registered()
    }

    pub fn power(&mut self, n: u32, in_ms: u64, on: bool) {
        let at_ms = self.stage.site().now_ms() + in_ms;
        let fleet = self.stage.site_mut().fleet_mut();
        fleet.schedule_power(DeviceIndex(n), at_ms, on);
    }

    pub fn store(&self) -> SqliteStore {
        SqliteStore::open(&self.path).unwrap()
    }

    pub fn judge(&self) -> Judgement {
        judge(self.stage.site().fleet(), &mut self.store()).unwrap()
    }

    pub fn records(&self) -> Vec<RecordRow> {
        let mut rows = Vec::new();
        self.store()
            .records_for_each(&RecordFilter::default(), &mut |row| {
                rows.push(row);
                ControlFlow::Continue(())
            })
            .unwrap();
        rows
    }

    pub fn events(&self, kind: &str) -> Vec<EventRow> {
        let mut rows = Vec::new();
        let filter = EventFilter {
            kind: Some(kind),
            since_ms: None,
        };
        self.store()
            .events_for_each(&filter, &mut |row| {
                rows.push(row);
                ControlFlow::Continue(())
            })
            .unwrap();
        rows
    }
}

pub fn kind(frame: &AirFrame) -> Option<MessageType> {
    peek(&frame.octets).ok().map(|(kind, _)| kind)
}

pub fn fleet_spec(n: u32, form: DeviceForm) -> fleet::DeviceSpec {
    fleet::DeviceSpec {
        device_id: format!("device {n}").into_bytes(),
        key: RootKey::new([0; 16]),
        suite: Suite::AesCmac,
        profile: Profile::new(DeviceType::Type2b, form, snid()),
        anchor: None,
        counter: 0,
        reader: READER,
        schedule: None,
        power_cycles: None,
        power_on_ms: Some(1000 + u64::from(n) * 10),
    }
}

/// No card has accepted one SQN twice.
pub fn no_sqn_twice(scene: &Scene) {
    for card in &scene.cards {
        let accepted = card.log().accepted;
        let distinct: HashSet<u64> = accepted.iter().copied().collect();
        assert_eq!(distinct.len(), accepted.len(), "{accepted:?}");
    }
}

/// A way in which a card, its reader or the wire between fails, with its name.
pub type CardFailure = (&'static str, fn() -> Fault);

/// All of them.
pub fn card_failures() -> [CardFailure; 12] {
    [
        ("no answer", || {
            Box::new(|_, _| Err(TransportError::Timeout))
        }),
        ("removed", || Box::new(|_, _| Err(TransportError::Removed))),
        ("reader", || {
            Box::new(|_, _| Err(TransportError::Reader("cable".into())))
        }),
        ("nothing", || Box::new(|_, _| Ok(Vec::new()))),
        ("one octet", || Box::new(|_, _| Ok(vec![0x90]))),
        ("one octet less", || {
            Box::new(|_, mut answer| {
                if answer.len() > 2 {
                    answer.remove(0);
                }
                Ok(answer)
            })
        }),
        ("one octet more", || {
            Box::new(|_, mut answer| {
                if answer.len() > 2 {
                    answer.insert(0, 0);
                }
                Ok(answer)
            })
        }),
        ("says more is waiting", || {
            Box::new(|_, mut answer| {
                let status = answer.len() - 2;
                answer[status..].copy_from_slice(&[0x61, 0x10]);
                Ok(answer)
            })
        }),
        ("wrong length again and again", || {
            Box::new(|_, _| Ok(vec![0x6C, 0x10]))
        }),
        ("65 538 octets", || {
            Box::new(|_, _| {
                let mut long = vec![0; 65_536];
                long.extend([0x90, 0]);
                Ok(long)
            })
        }),
        ("success without data", || {
            Box::new(|_, _| Ok(vec![0x90, 0]))
        }),
        ("wrong values", || {
            Box::new(|apdu, mut answer| {
                if apdu[1] == 0xC0 || apdu[1] == 0x88 {
                    let data = answer.len() - 2;
                    answer[..data].iter_mut().for_each(|octet| *octet ^= 0x55);
                }
                Ok(answer)
            })
        }),
    ]
}
