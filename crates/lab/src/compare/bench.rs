//! One method on the bench: a scene, and the counts before and after an exchange.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ambit_adm::policy::CredentialKind;
use ambit_adm::{Adm, AdmConfig, Kek, SubscriberSpec};
use ambit_aiotf::{Aiotf, AiotfConfig};
use ambit_device::{LocalKey, Profile, Uicc, UiccCredential};
use ambit_protocol::area::Plmn;
use ambit_protocol::{Cause, DeviceType, Form, RootKey, Snid, Suite, TagLen, schedule};
use ambit_provisioning::DeviceSpec;
use ambit_ran::air::{AirConfig, Channel, Verdict};
use ambit_ran::fleet::{self, DeviceIndex, Fleet, FleetConfig, numbered_payload};
use ambit_ran::frame::{Direction, FrameKind, SiteReader};
use ambit_ran::gnb::GnbConfig;
use ambit_ran::site::Site;
use ambit_store::{RecordFilter, Store};
use ambit_uicc::card::SuciProfile;
use ambit_uicc::suci::{Imsi, PrivateKey, RoutingIndicator, Scheme};
use ambit_uicc::{Algorithm, Subscriber};

use super::methods::{Credential, Method};
use super::{Cost, Phase, Row};
use crate::reader::CardReader;
use crate::stage::Stage;
use crate::store::SharedStore;

/// The start of an epoch of 600 s.
const START_MS: i64 = 1_800_000_000_000;
const DEVICE_ID: &[u8] = b"device";
const K: [u8; 16] = [0x4B; 16];
const HOME_KEY: [u8; 32] = [7; 32];
const HOME_KEY_ID: u8 = 1;
const DEVICE: DeviceIndex = DeviceIndex(0);

/// Messages and octets that an ear has counted.
#[derive(Clone, Copy, Default)]
struct Heard {
    up: (u64, u64),
    down: (u64, u64),
}

struct Bench {
    stage: Stage,
    store: SharedStore,
    heard: Arc<Mutex<Heard>>,
    evaluations: Arc<AtomicU64>,
    reader: Option<CardReader>,
}

/// Both rows of a method.
pub(super) fn measure(method: &Method) -> Result<[Row; 2], String> {
    let mut bench = Bench::new(method)?;
    let row = |phase, form, cost| Row {
        method: method.name,
        phase,
        form,
        cost,
    };
    bench.stage.advance(500);
    let before = bench.cost();
    bench.stage.advance(30_000);
    if !bench.is_registered() {
        return Err("the device is not registered after half a minute".into());
    }
    let first = row(Phase::First, bench.last_form()?, bench.cost() - before);
    // Anchor and T-ID table settle in two epochs; the third is measured.
    let mut steady = None;
    for epoch in 1..=3 {
        bench.stage.advance(epoch * 600_000 + 60_000);
        let before = bench.cost();
        bench.submit()?;
        bench.stage.advance(epoch * 600_000 + 120_000);
        steady = Some(row(
            Phase::Steady,
            bench.last_form()?,
            bench.cost() - before,
        ));
    }
    let records = bench.store.record_count().map_err(text)?;
    match steady {
        Some(steady) if records == 4 => Ok([first, steady]),
        _ => Err(format!("{records} records of four items")),
    }
}

impl Bench {
    fn new(method: &Method) -> Result<Self, String> {
        let (reader, subscriber) = card(method)?;
        let evaluations = Arc::<AtomicU64>::default();
        let mut fleet = Fleet::new(FleetConfig::new(1), numbered_payload());
        let spec = fleet_spec(method)?;
        let local = LocalKey::new(RootKey::new(K), Suite::AesCmac);
        let added = match (&reader, method.credential) {
            (Some(reader), Credential::Uicc(..)) => {
                let credential = UiccCredential::new(reader.usim(1), Suite::AesCmac);
                fleet.add_with_credential(spec, Counted(credential, Arc::clone(&evaluations)))
            }
            (Some(reader), _) => {
                let credential = reader.aiot(Suite::AesCmac, TagLen::T8);
                fleet.add_with_credential(spec, Counted(credential, Arc::clone(&evaluations)))
            }
            (None, _) => fleet.add_with_credential(spec, Counted(local, Arc::clone(&evaluations))),
        };
        added.ok_or("the fleet takes no device")?;

        let config = AdmConfig {
            chain_epochs: 64,
            ..AdmConfig::new(snid()?)
        };
        let store = SharedStore::new().map_err(text)?;
        let kek = Kek::from_octets(&[1; 32]);
        let mut random = fastrand::Rng::with_seed(1);
        let entropy = Box::new(move |out: &mut [u8]| {
            random.fill(out);
            Ok(())
        });
        let boxed = Box::new(store.clone());
        let mut adm = Adm::open(config, boxed, kek, entropy, START_MS).map_err(text)?;
        provision(&mut adm, method, subscriber)?;
        let site = Site::new(
            AirConfig::symmetric(1, Channel::lossy(0.0)),
            vec![GnbConfig::new(1, snid()?, 1)],
            fleet,
        );
        let mut stage = Stage::new(site, START_MS);
        let heard = Arc::new(Mutex::new(Heard::default()));
        let ear = Arc::clone(&heard);
        stage.site_mut().air_mut().add_ear(Box::new(move |frame| {
            if frame.kind == FrameKind::Nas {
                let mut heard = ear.lock().unwrap_or_else(PoisonError::into_inner);
                let way = match frame.direction {
                    Direction::Up => &mut heard.up,
                    Direction::Down => &mut heard.down,
                };
                *way = (way.0 + 1, way.1 + frame.octets.len() as u64);
            }
            Verdict::Pass
        }));
        stage.start_core(Aiotf::new(
            AiotfConfig::new(snid()?, *b"ambit-labs-aiotf"),
            adm,
            START_MS,
        ));
        Ok(Self {
            stage,
            store,
            heard,
            evaluations,
            reader,
        })
    }

    fn submit(&mut self) -> Result<(), String> {
        let now_ms = self.stage.site().now_ms();
        let fleet = self.stage.site_mut().fleet_mut();
        match fleet.submit(now_ms, DEVICE, Cause::Periodic, b"21.5") {
            Some(Ok(_)) => Ok(()),
            _ => Err("the device takes no item".into()),
        }
    }

    fn is_registered(&self) -> bool {
        let device = self.stage.site().fleet().device(DEVICE);
        device.is_some_and(|device| device.is_registered())
    }

    /// The form of the newest record.
    fn last_form(&mut self) -> Result<&'static str, String> {
        let mut number = None;
        self.store
            .records_for_each(&RecordFilter::default(), &mut |row| {
                number = Some(row.form);
                ControlFlow::Continue(())
            })
            .map_err(text)?;
        let forms = Form::ALL.into_iter().chain([Form::Aka]);
        let form = forms.into_iter().find(|form| Some(form.number()) == number);
        form.map(Form::name).ok_or_else(|| "no record".into())
    }

    /// All counts so far.
    fn cost(&self) -> Cost {
        let heard = *self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let card = self
            .reader
            .as_ref()
            .map(CardReader::work)
            .unwrap_or_default();
        let fleet = self.stage.site().fleet();
        let device = fleet.device(DEVICE).and_then(|view| view.device());
        let (transactions, rows) = self.store.written();
        Cost {
            messages_up: heard.up.0,
            octets_up: heard.up.1,
            messages_down: heard.down.0,
            octets_down: heard.down.1,
            prf_evaluations: self.evaluations.load(Ordering::Relaxed),
            ephemeral_keys: card.ephemeral_keys,
            device_writes: device.map_or(0, |device| device.stats().memory_writes.into()),
            apdus: card.apdus,
            apdu_octets: card.octets_in + card.octets_out,
            authenticates: card.authenticates,
            card_writes: card.writes,
            store_transactions: transactions,
            store_rows: rows,
        }
    }
}

impl std::ops::Sub for Cost {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            messages_up: self.messages_up - before.messages_up,
            octets_up: self.octets_up - before.octets_up,
            messages_down: self.messages_down - before.messages_down,
            octets_down: self.octets_down - before.octets_down,
            prf_evaluations: self.prf_evaluations - before.prf_evaluations,
            ephemeral_keys: self.ephemeral_keys - before.ephemeral_keys,
            device_writes: self.device_writes - before.device_writes,
            apdus: self.apdus - before.apdus,
            apdu_octets: self.apdu_octets - before.apdu_octets,
            authenticates: self.authenticates - before.authenticates,
            card_writes: self.card_writes - before.card_writes,
            store_transactions: self.store_transactions - before.store_transactions,
            store_rows: self.store_rows - before.store_rows,
        }
    }
}

/// A credential that counts what it is asked.
struct Counted<C>(C, Arc<AtomicU64>);

impl<C: ambit_device::Credential> ambit_device::Credential for Counted<C> {
    type Error = C::Error;

    fn evaluate(&mut self, input: &schedule::Input) -> Result<[u8; 16], C::Error> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.evaluate(input)
    }

    fn suite(&self) -> Suite {
        self.0.suite()
    }

    fn card(&mut self) -> Option<&mut dyn Uicc> {
        self.0.card()
    }

    fn needs_registration(&self) -> bool {
        self.0.needs_registration()
    }

    fn adopt(&mut self, k_aiot: Option<RootKey>) {
        self.0.adopt(k_aiot);
    }
}

fn snid() -> Result<Snid, String> {
    Ok(Snid::new(Plmn::new("001", "01").map_err(text)?, None))
}

fn fleet_spec(method: &Method) -> Result<fleet::DeviceSpec, String> {
    Ok(fleet::DeviceSpec {
        device_id: DEVICE_ID.to_vec(),
        key: RootKey::new(K),
        suite: Suite::AesCmac,
        profile: Profile::new(DeviceType::Type2b, method.form, snid()?),
        anchor: None,
        counter: 0,
        reader: SiteReader {
            gnb: 0,
            reader_index: 1,
        },
        schedule: None,
        power_cycles: None,
        power_on_ms: Some(1000),
    })
}

/// The card that the method needs, and what the network has to know of it.
fn card(method: &Method) -> Result<(Option<CardReader>, Option<Subscriber>), String> {
    match method.credential {
        Credential::Operator => Ok((None, None)),
        Credential::UiccAiot => {
            let key = RootKey::new(K);
            let reader = CardReader::with_aiot(key, Suite::AesCmac, TagLen::T8, DEVICE_ID);
            Ok((Some(reader.map_err(text)?), None))
        }
        Credential::Uicc(algorithm, scheme) => {
            let imsi = Imsi::from_digits("001010000000001", 2).map_err(text)?;
            let secrets = || subscriber(algorithm);
            let mut profile = ambit_uicc::Profile::new("89001012345678901234", imsi, secrets()?);
            let key = match scheme {
                Scheme::Null => None,
                Scheme::ProfileA => Some(PrivateKey::profile_a(HOME_KEY)),
                Scheme::ProfileB => Some(PrivateKey::profile_b(&HOME_KEY).map_err(text)?),
            };
            if let Some(key) = key {
                profile.suci = Some(SuciProfile {
                    routing_indicator: RoutingIndicator::default(),
                    keys: vec![(HOME_KEY_ID, key.public().map_err(text)?)],
                    on_card: false,
                });
            }
            Ok((Some(CardReader::new(profile)), Some(secrets()?)))
        }
    }
}

fn subscriber(algorithm: Algorithm) -> Result<Subscriber, String> {
    let opc: &[u8] = match algorithm {
        Algorithm::Milenage => &[0xC3; 16],
        Algorithm::Tuak { .. } => &[0xC3; 32],
    };
    Subscriber::new(algorithm, &K, opc).map_err(text)
}

fn provision(adm: &mut Adm, method: &Method, subscriber: Option<Subscriber>) -> Result<(), String> {
    let device = |credential, key| DeviceSpec {
        line: 0,
        device_id: DEVICE_ID.to_vec(),
        device_type: DeviceType::Type2b,
        suite: Suite::AesCmac,
        form: method.form,
        key,
        tag_len: TagLen::T8,
        fleet: "default".into(),
        credential,
    };
    let key = Some(RootKey::new(K));
    match (method.credential, subscriber) {
        (Credential::Uicc(_, scheme), Some(secrets)) => {
            if scheme != Scheme::Null {
                adm.set_home_network_key(HOME_KEY_ID, scheme, &HOME_KEY, START_MS)
                    .map_err(text)?;
            }
            let spec = SubscriberSpec {
                device: device(CredentialKind::Uicc, None),
                supi: "imsi-001010000000001".into(),
                secrets,
                sqn: 0,
            };
            adm.import_subscribers(&[spec], START_MS).map_err(text)
        }
        (Credential::UiccAiot, _) => adm
            .import(&[device(CredentialKind::UiccAiot, key)], START_MS)
            .map(drop)
            .map_err(text),
        _ => adm
            .import(&[device(CredentialKind::Operator, key)], START_MS)
            .map(drop)
            .map_err(text),
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
