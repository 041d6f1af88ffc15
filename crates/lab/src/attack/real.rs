//! The product's own code as an arena: devices of `ambit-device`, and over N2 an AIOTF with its ADM on a store.

use std::ops::ControlFlow;

use ambit_adm::{Adm, AdmConfig, Kek};
use ambit_aiotf::{Aiotf, AiotfConfig, Output};
use ambit_device::{
    ArrayMemory, Device, DeviceForm, LocalKey, Profile, Random, SLOTS_OCTETS, Timing,
};
use ambit_ngap::{Cause, DeviceReport, FromGnb, GnbId, ReaderReport, ToGnb};
use ambit_protocol::area::Plmn;
use ambit_protocol::{DeviceType, RandN, RootKey, Snid, Suite, TagLen};
use ambit_provisioning::{CredentialKind, DeviceSpec};
use ambit_store::{EventFilter, RecordFilter, Store};

use super::AttackError;
use super::arena::{Arena, Beacon, Books};
use crate::scenario::{START_MS, seeded_entropy};
use crate::store::SharedStore;

const AIOTF_ID: [u8; 16] = *b"ambit-lab-attack";

/// Octets that nobody can predict but the seed.
pub struct Dice(pub fastrand::Rng);

impl Random for Dice {
    fn fill(&mut self, out: &mut [u8]) {
        self.0.fill(out);
    }
}

type LabDevice = Device<LocalKey, ArrayMemory<SLOTS_OCTETS>, Dice>;

/// A core and devices.
pub struct Real {
    config: AdmConfig,
    seed: u64,
    lives: u64,
    store: SharedStore,
    copy: Option<SharedStore>,
    aiotf: Aiotf<Adm>,
    /// Correlation identifier and RAND_n of the window that is open.
    window: (u16, RandN),
    gnb_id: GnbId,
    next_device_ngap_id: u32,
    devices: Vec<Option<LabDevice>>,
    forms: Vec<DeviceForm>,
    /// Whose key each has: another's, for a clone.
    owners: Vec<u32>,
    /// Unix time.
    now_ms: i64,
}

impl Real {
    /// A core with these devices, a gNB with readers 1 and up, and everybody connected.
    ///
    /// # Errors
    /// [`AttackError`].
    pub fn new(seed: u64, forms: &[DeviceForm]) -> Result<Self, AttackError> {
        Self::configured(seed, forms, &|_| {})
    }

    /// The same, with a configuration of its own.
    ///
    /// # Errors
    /// [`AttackError`].
    pub fn configured(
        seed: u64,
        forms: &[DeviceForm],
        edit: &dyn Fn(&mut AdmConfig),
    ) -> Result<Self, AttackError> {
        let snid = Snid::new(Plmn::new("001", "01")?, None);
        let mut config = AdmConfig {
            chain_epochs: 64,
            blind_allowed: true,
            ..AdmConfig::new(snid)
        };
        edit(&mut config);
        Self::on(seed, SharedStore::new()?, config, forms)
    }

    /// The same on a store; an empty one is given the devices.
    ///
    /// # Errors
    /// [`AttackError`].
    pub fn on(
        seed: u64,
        store: SharedStore,
        config: AdmConfig,
        forms: &[DeviceForm],
    ) -> Result<Self, AttackError> {
        let snid = config.snid;
        let mut adm = open(&config, &store, seed, START_MS)?;
        if adm.device_count() == 0 {
            let specs = (0..).zip(forms).map(|(n, form)| spec(seed, n, *form));
            adm.import(&specs.collect::<Vec<_>>(), START_MS)?;
        }
        let gnb_id = GnbId {
            plmn: *snid.plmn().octets(),
            id: 1,
            bits: 24,
        };
        let mut real = Self {
            aiotf: Aiotf::new(AiotfConfig::new(snid, AIOTF_ID), adm, START_MS),
            config,
            seed,
            lives: 1,
            store,
            copy: None,
            window: (0, RandN::from_octets([0; 16])),
            gnb_id,
            next_device_ngap_id: 0,
            devices: forms.iter().map(|_| None).collect(),
            forms: forms.to_vec(),
            owners: (0..).zip(forms).map(|(n, _)| n).collect(),
            now_ms: START_MS,
        };
        real.connect()?;
        for n in 0..forms.len() {
            real.power_cycle(n)?;
        }
        Ok(real)
    }

    /// K of a device, for who has stolen it.
    pub fn key(&self, device: u32) -> [u8; 16] {
        key(self.seed, device)
    }

    /// One more device, with the key of another: a clone, or whoever has stolen the key. `with_memory`: with what its memory holds
    /// as well.
    ///
    /// # Errors
    /// There is no such device, or it does not start.
    pub fn add_clone(&mut self, of: usize, with_memory: bool) -> Result<usize, AttackError> {
        let no_device = || AttackError::Scene(format!("there is no device {of}"));
        let form = *self.forms.get(of).ok_or_else(no_device)?;
        let owner = *self.owners.get(of).ok_or_else(no_device)?;
        let clone = self.devices.len();
        self.forms.push(form);
        self.owners.push(owner);
        self.devices.push(None);
        if with_memory {
            let slot = self.devices.get_mut(of).ok_or_else(no_device)?;
            let (credential, memory, random) = slot.take().ok_or_else(no_device)?.power_off();
            let copy = memory.clone();
            self.start(of, credential, memory, random)?;
            let (credential, _, random) = self.blank(clone);
            self.start(clone, credential, copy, random)?;
        } else {
            self.power_cycle(clone)?;
        }
        Ok(clone)
    }

    /// A device that was never switched on.
    fn blank(&self, device: usize) -> (LocalKey, ArrayMemory<SLOTS_OCTETS>, Dice) {
        let n = u64::try_from(device).unwrap_or(u64::MAX);
        let owner = self.owners.get(device).copied().unwrap_or(u32::MAX);
        let dice = fastrand::Rng::with_seed(self.seed ^ (n << 40) ^ 0xd1ce);
        let key = RootKey::new(key(self.seed, owner));
        let credential = LocalKey::new(key, Suite::AesCmac);
        (credential, ArrayMemory::default(), Dice(dice))
    }

    fn start(
        &mut self,
        device: usize,
        credential: LocalKey,
        memory: ArrayMemory<SLOTS_OCTETS>,
        random: Dice,
    ) -> Result<(), AttackError> {
        let now_ms = self.device_ms();
        let no_device = || AttackError::Scene(format!("there is no device {device}"));
        let form = *self.forms.get(device).ok_or_else(no_device)?;
        let mut profile = Profile::new(DeviceType::Type2b, form, self.config.snid);
        profile.period_s = self.config.period_s;
        profile.timing = Timing {
            answer_timeout_ms: 1,
            backoff_first_ms: 1,
            backoff_max_ms: 2,
            ..profile.timing
        };
        let started = Device::power_on(profile, credential, memory, random, now_ms, b"");
        let started = started.map_err(|error| AttackError::Scene(error.to_string()))?;
        *self.devices.get_mut(device).ok_or_else(no_device)? = Some(started);
        Ok(())
    }

    /// A device's state machine.
    pub fn device(&mut self, device: usize) -> Option<&mut LabDevice> {
        self.devices.get_mut(device)?.as_mut()
    }

    /// The core.
    pub const fn aiotf(&mut self) -> &mut Aiotf<Adm> {
        &mut self.aiotf
    }

    /// The store.
    pub const fn store(&mut self) -> &mut SharedStore {
        &mut self.store
    }

    /// How its ADM is configured.
    pub const fn config(&self) -> &AdmConfig {
        &self.config
    }

    /// Unix time in ms.
    pub const fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// Correlation identifier of the open window.
    pub const fn correlation(&self) -> u16 {
        self.window.0
    }

    /// The gNB.
    pub const fn gnb_id(&self) -> GnbId {
        self.gnb_id
    }

    /// The time on devices' clocks.
    fn device_ms(&self) -> u64 {
        u64::try_from(self.now_ms - START_MS).unwrap_or(0)
    }

    fn connect(&mut self) -> Result<(), AttackError> {
        self.aiotf.handle_connected(self.lives);
        self.pdu(&FromGnb::NgSetupRequest {
            gnb_id: self.gnb_id,
            name: None,
            aiot_support: true,
        })?;
        self.drain().map(drop)
    }

    /// Sends a PDU as the gNB.
    ///
    /// # Errors
    /// It cannot be encoded.
    pub fn pdu(&mut self, message: &FromGnb<'_>) -> Result<(), AttackError> {
        let octets = message.encode()?;
        self.aiotf.handle_pdu(self.lives, &octets, self.now_ms);
        Ok(())
    }

    /// Sends any octets as the gNB.
    pub fn raw_pdu(&mut self, octets: &[u8]) {
        self.aiotf.handle_pdu(self.lives, octets, self.now_ms);
    }

    /// Sends a report as the gNB, by any of its readers, in any window.
    ///
    /// # Errors
    /// The core fails.
    pub fn report(
        &mut self,
        correlation: u16,
        reader: u16,
        device_ngap_id: Option<u32>,
        nas: &[u8],
    ) -> Result<Vec<(u32, Vec<u8>)>, AttackError> {
        let message = FromGnb::InventoryReport {
            aiotf_id: AIOTF_ID,
            correlation,
            gnb_id: self.gnb_id,
            readers: vec![ReaderReport {
                reader_index: reader,
                devices: vec![DeviceReport {
                    nas: nas.into(),
                    device_ngap_id,
                }],
            }],
            complete: false,
        };
        self.pdu(&message)?;
        self.drain()
    }

    /// Does what the core asks of the gNB; returns the NAS PDUs for devices.
    ///
    /// # Errors
    /// It says what is no NGAP.
    pub fn drain(&mut self) -> Result<Vec<(u32, Vec<u8>)>, AttackError> {
        let mut down = Vec::new();
        self.aiotf.flush(self.now_ms);
        while let Some(output) = self.aiotf.poll_output() {
            let Output::Pdu(_, octets) = output else {
                continue;
            };
            let answer = match ToGnb::decode(&octets)? {
                ToGnb::InventoryRequest(request) => {
                    self.window = (request.correlation, RandN::from_octets(request.rand_n));
                    FromGnb::InventoryResponse {
                        aiotf_id: AIOTF_ID,
                        correlation: request.correlation,
                    }
                }
                ToGnb::CommandRequest {
                    correlation,
                    device_ngap_id,
                    nas,
                    ..
                } => {
                    down.push((device_ngap_id, nas.into_owned()));
                    FromGnb::CommandFailure {
                        aiotf_id: AIOTF_ID,
                        correlation,
                        device_ngap_id,
                        cause: Cause::NoAiotNasResponse,
                    }
                }
                ToGnb::SessionReleaseCommand { correlation, .. } => {
                    FromGnb::SessionReleaseComplete {
                        aiotf_id: AIOTF_ID,
                        correlation,
                    }
                }
                _ => continue,
            };
            self.pdu(&answer)?;
            self.aiotf.flush(self.now_ms);
        }
        Ok(down)
    }

    /// Lets time pass.
    ///
    /// # Errors
    /// The core fails.
    pub fn wait_until(&mut self, until_ms: i64) -> Result<(), AttackError> {
        while self.aiotf.poll_timeout() <= until_ms {
            self.now_ms = self.now_ms.max(self.aiotf.poll_timeout());
            self.aiotf.handle_timeout(self.now_ms);
            self.drain()?;
        }
        self.now_ms = self.now_ms.max(until_ms);
        Ok(())
    }
}

impl Arena for Real {
    fn beacon(&mut self, reader: u16) -> Beacon {
        let [high, low] = reader.to_be_bytes();
        Beacon {
            area_id: self.config.snid.area([0, high, low]),
            rand_n: self.window.1,
        }
    }

    fn next_epoch(&mut self) -> Result<(), AttackError> {
        let period_ms = i64::from(self.config.period_s) * 1000;
        let next_ms = (self.now_ms.div_euclid(period_ms) + 1) * period_ms;
        self.wait_until(next_ms + i64::from(self.config.grace_s) * 1000 + 1)
    }

    fn speak(&mut self, device: usize, beacon: &Beacon) -> Option<Vec<u8>> {
        let now_ms = self.device_ms();
        let device = self.devices.get_mut(device)?.as_mut()?;
        if device.items_waiting() == 0 {
            device
                .submit(now_ms, ambit_protocol::Cause::Event, b"21.5 C")
                .ok()?;
        }
        device.handle_beacon(now_ms, &beacon.area_id, &beacon.rand_n);
        let due_ms = device.poll_timeout()?.max(now_ms);
        device.handle_beacon(due_ms, &beacon.area_id, &beacon.rand_n);
        let mut octets = [0; ambit_device::PDU_OCTETS_MAX];
        let sent = device.poll_transmit(due_ms, &mut octets);
        while device.poll_event().is_some() {}
        self.now_ms = START_MS + i64::try_from(due_ms).unwrap_or(0);
        octets.get(..sent?).map(<[u8]>::to_vec)
    }

    fn hear(&mut self, reader: u16, octets: &[u8]) -> Result<Option<Vec<u8>>, AttackError> {
        self.wait_until(self.now_ms)?;
        self.next_device_ngap_id += 1;
        let answers = self.report(
            self.window.0,
            reader,
            Some(self.next_device_ngap_id),
            octets,
        )?;
        Ok(answers.into_iter().next().map(|(_, nas)| nas))
    }

    fn answer(&mut self, device: usize, octets: &[u8]) -> bool {
        let now_ms = self.device_ms();
        let Some(device) = self.device(device) else {
            return false;
        };
        let before = device.stats().accepts;
        let _ = device.handle_downlink(now_ms, octets);
        device.stats().accepts > before
    }

    fn power_cycle(&mut self, device: usize) -> Result<(), AttackError> {
        let no_device = || AttackError::Scene(format!("there is no device {device}"));
        let slot = self.devices.get_mut(device).ok_or_else(no_device)?;
        let (credential, memory, random) = match slot.take() {
            Some(device) => device.power_off(),
            None => self.blank(device),
        };
        self.start(device, credential, memory, random)
    }

    fn sightings(&self, device: usize) -> u64 {
        let device = self.devices.get(device).and_then(Option::as_ref);
        device.map_or(0, |device| device.stats().sightings.into())
    }

    fn backup(&mut self) -> Result<(), AttackError> {
        self.copy = Some(SharedStore::copy(&mut self.store, &self.config.snid)?);
        Ok(())
    }

    fn restart(&mut self) -> Result<(), AttackError> {
        if let Some(copy) = self.copy.take() {
            self.store = copy;
        }
        self.lives += 1;
        let seed = self.seed ^ (self.lives << 48);
        let adm = open(&self.config, &self.store, seed, self.now_ms)?;
        let config = AiotfConfig::new(self.config.snid, AIOTF_ID);
        self.aiotf = Aiotf::new(config, adm, self.now_ms);
        self.connect()
    }

    fn books(&mut self) -> Result<Books, AttackError> {
        let mut books = Books::default();
        self.store
            .records_for_each(&RecordFilter::default(), &mut |row| {
                books.records += 1;
                books.events += u64::from(!row.repeat);
                ControlFlow::Continue(())
            })?;
        let filter = EventFilter {
            kind: Some("impersonation_attempt"),
            since_ms: None,
        };
        self.store.events_for_each(&filter, &mut |_| {
            books.alarms += 1;
            ControlFlow::Continue(())
        })?;
        Ok(books)
    }
}

fn open(
    config: &AdmConfig,
    store: &SharedStore,
    seed: u64,
    now_ms: i64,
) -> Result<Adm, AttackError> {
    let kek = Kek::from_octets(&[0x4b; 32]);
    let store = Box::new(store.clone());
    Ok(Adm::open(
        config.clone(),
        store,
        kek,
        seeded_entropy(seed),
        now_ms,
    )?)
}

/// A device as it is provisioned.
pub(super) fn spec(seed: u64, n: u32, form: DeviceForm) -> DeviceSpec {
    DeviceSpec {
        line: 0,
        device_id: format!("urn:epc:id:giai:0614141.{n}").into_bytes(),
        device_type: DeviceType::Type2b,
        suite: Suite::AesCmac,
        form,
        key: Some(RootKey::new(key(seed, n))),
        tag_len: TagLen::T8,
        fleet: "default".into(),
        credential: CredentialKind::Operator,
    }
}

fn key(seed: u64, n: u32) -> [u8; 16] {
    let mut key = [0; 16];
    fastrand::Rng::with_seed(seed ^ (u64::from(n) << 32) ^ 0x6b65_7973).fill(&mut key);
    key
}
