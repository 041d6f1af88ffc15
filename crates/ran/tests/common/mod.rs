//! A small core out of `ambit-protocol` and `ambit-ngap`: opens windows, verifies each report, records it, answers ACCEPT.
//! It keeps the network rules 1 to 6 of section 5 for the beacon, concealed and counter forms, in memory.
#![allow(dead_code, unreachable_pub)] // Each test file uses its own part.

pub mod scripted;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use ambit_device::{DeviceForm, DeviceType, Profile};
use ambit_ngap::{Cause as NgapCause, FromGnb, InventoryRequest, Target, ToGnb};
use ambit_protocol::area::Plmn;
use ambit_protocol::chain::BeaconChain;
use ambit_protocol::schedule;
use ambit_protocol::wire::{AcceptStatus, ReportId, ReportView};
use ambit_protocol::{AreaId, Cause, Exchange, KAiotf, RandN, RootKey, Snid, Suite, TagLen};
use ambit_ran::fleet::{DeviceSpec, Fleet, FleetConfig, ScheduleId, numbered_payload};
use ambit_ran::frame::SiteReader;
use ambit_ran::site::Site;

pub const AIOTF_ID: [u8; 16] = [0xA1; 16];
pub const EPOCH: u32 = 100;

pub fn snid() -> Snid {
    Snid::new(Plmn::new("001", "01").unwrap(), None)
}

pub fn area(reader_index: u16) -> AreaId {
    let [high, low] = reader_index.to_be_bytes();
    snid().area([0, high, low])
}

pub fn chain() -> BeaconChain {
    BeaconChain::new(snid(), &[7; 12], 0, 4096)
}

pub fn key_octets(number: u32) -> [u8; 16] {
    let mut octets = [0x5A; 16];
    octets[..4].copy_from_slice(&number.to_be_bytes());
    octets
}

/// `devices` devices with anchors of the epoch before [`EPOCH`], all at reader 1 of gNB 0 unless `place` says otherwise.
pub fn fleet(
    seed: u64,
    devices: u32,
    power_on_within_ms: u64,
    form: DeviceForm,
    schedule: Option<ambit_ran::fleet::Schedule>,
) -> Fleet {
    let chain = chain();
    let anchor = (form == DeviceForm::Beacon).then(|| chain.rand_n(EPOCH - 1).unwrap());
    let mut fleet = Fleet::new(FleetConfig::new(seed), numbered_payload());
    let schedule: Option<ScheduleId> = schedule.map(|s| fleet.add_schedule(s).unwrap());
    let mut random = fastrand::Rng::with_seed(seed);
    for number in 0..devices {
        fleet
            .add(DeviceSpec {
                device_id: number.to_be_bytes().to_vec(),
                key: RootKey::new(key_octets(number)),
                suite: Suite::AesCmac,
                profile: Profile::new(DeviceType::Type2b, form, snid()),
                anchor,
                counter: 0,
                reader: SiteReader {
                    gnb: 0,
                    reader_index: 1,
                },
                schedule,
                power_cycles: None,
                power_on_ms: Some(random.u64(0..=power_on_within_ms)),
            })
            .unwrap();
    }
    fleet
}

/// What the core keeps of an accepted report.
#[derive(Clone, Debug)]
pub struct Record {
    pub device: u32,
    pub epoch: u32,
    pub tag1: Vec<u8>,
    pub cause: Cause,
    pub seq: u8,
    pub data: Vec<u8>,
    /// Whether it made an event: a repeat of the device's previous record does not.
    pub event: bool,
}

pub struct Core {
    pub chain: BeaconChain,
    pub records: Vec<Record>,
    pub refused: u64,
    pub duplicates: u64,
    pub ready: HashSet<usize>,
    pub reports: u64,
    pub command_failures: BTreeMap<&'static str, u64>,
    keys: Vec<ambit_protocol::suite::PrfKey>,
    by_t_id: HashMap<(u32, [u8; 4]), Vec<u32>>,
    windows: BTreeMap<u16, RandN>,
    by_tag1: HashMap<(u32, u32, Vec<u8>), usize>,
    previous: HashMap<u32, (u8, u8)>,
    counters: HashMap<u32, (u32, Vec<u8>)>,
    next_correlation: u16,
    out: VecDeque<(usize, Vec<u8>)>,
}

impl Core {
    pub fn new(devices: u32) -> Self {
        Self {
            chain: chain(),
            records: Vec::new(),
            refused: 0,
            duplicates: 0,
            ready: HashSet::new(),
            reports: 0,
            command_failures: BTreeMap::new(),
            keys: (0..devices)
                .map(|n| RootKey::new(key_octets(n)).prf_key(Suite::AesCmac))
                .collect(),
            by_t_id: HashMap::new(),
            windows: BTreeMap::new(),
            by_tag1: HashMap::new(),
            previous: HashMap::new(),
            counters: HashMap::new(),
            next_correlation: 0x8000,
            out: VecDeque::new(),
        }
    }

    /// Opens a window with the RAND_n of `epoch` at a gNB, for all its areas. Returns its correlation identifier.
    pub fn open_window(&mut self, gnb: usize, epoch: u32) -> u16 {
        let rand_n = self.chain.rand_n(epoch).unwrap();
        for (device, key) in (0u32..).zip(&self.keys) {
            let t_id = schedule::cut(&key.evaluate(&schedule::beacon_t_id(&rand_n)));
            let candidates = self.by_t_id.entry((epoch, t_id)).or_default();
            if !candidates.contains(&device) {
                candidates.push(device);
            }
        }
        let correlation = self.next_correlation;
        self.next_correlation += 1;
        self.windows.insert(correlation, rand_n);
        self.send(gnb, &window_request(correlation, &rand_n));
        correlation
    }

    pub fn release_window(&mut self, gnb: usize, correlation: u16) {
        self.windows.remove(&correlation);
        self.send(
            gnb,
            &ToGnb::SessionReleaseCommand {
                aiotf_id: AIOTF_ID,
                correlation,
                cause: NgapCause::NormalRelease,
            },
        );
    }

    pub fn handle(&mut self, gnb: usize, octets: &[u8]) {
        match FromGnb::decode(octets).unwrap() {
            FromGnb::NgSetupRequest { aiot_support, .. } => {
                assert!(aiot_support);
                self.ready.insert(gnb);
                let plmn = *snid().plmn().octets();
                self.send(
                    gnb,
                    &ToGnb::NgSetupResponse {
                        aiotf_id: Some(AIOTF_ID),
                        name: "core".into(),
                        plmn,
                    },
                );
            }
            FromGnb::InventoryReport {
                correlation,
                readers,
                ..
            } => {
                for reader in readers {
                    for device in reader.devices {
                        self.reports += 1;
                        let answer =
                            self.authenticate(correlation, reader.reader_index, &device.nas);
                        if let (Some(nas), Some(device_ngap_id)) = (answer, device.device_ngap_id) {
                            self.send(gnb, &command(correlation, device_ngap_id, nas));
                        }
                    }
                }
            }
            FromGnb::CommandFailure { cause, .. } => {
                *self.command_failures.entry(cause.name()).or_default() += 1;
            }
            FromGnb::ErrorIndication { cause } => panic!("error indication: {cause:?}"),
            _ => {}
        }
    }

    pub fn poll(&mut self) -> Option<(usize, Vec<u8>)> {
        self.out.pop_front()
    }

    pub fn events_of(&self, device: u32) -> impl Iterator<Item = &Record> {
        self.records
            .iter()
            .filter(move |record| record.device == device && record.event)
    }

    fn send(&mut self, gnb: usize, message: &ToGnb<'_>) {
        self.out.push_back((gnb, message.encode().unwrap()));
    }

    fn authenticate(&mut self, correlation: u16, reader_index: u16, nas: &[u8]) -> Option<Vec<u8>> {
        let verified = self.verify(correlation, reader_index, nas);
        if verified.is_none() {
            self.refused += 1;
        }
        verified
    }

    fn verify(&mut self, correlation: u16, reader_index: u16, nas: &[u8]) -> Option<Vec<u8>> {
        let rand_n = *self.windows.get(&correlation)?;
        let area_id = area(reader_index);
        let report = ReportView::parse(nas).ok()?;
        let epoch = rand_n.epoch();
        let mut candidates: Vec<(u32, schedule::Input, Option<u32>)> = Vec::new();
        match *report.id() {
            ReportId::Beacon { t_id, rand_d } => {
                for device in self.by_t_id.get(&(epoch, t_id))? {
                    let input = schedule::beacon_k_aiotf(&rand_n, &area_id, &rand_d);
                    candidates.push((*device, input, None));
                }
            }
            ReportId::Concealed { cid, rand_d } => {
                let name = schedule::concealed_id(&rand_n, &rand_d);
                for (device, key) in (0u32..).zip(&self.keys) {
                    if schedule::cut::<4>(&key.evaluate(&name)) == cid {
                        let input = schedule::concealed_k_aiotf(&rand_n, &area_id, &rand_d);
                        candidates.push((device, input, None));
                    }
                }
            }
            ReportId::Counter { t_id } => {
                for (device, key) in (0u32..).zip(&self.keys) {
                    let last = self.counters.get(&device).map_or(0, |(last, _)| *last);
                    for counter in last..=last + 16 {
                        let name = schedule::counter_t_id(counter);
                        if schedule::cut::<6>(&key.evaluate(&name)) == t_id {
                            let input = schedule::counter_k_aiotf(&rand_n, &area_id, counter);
                            candidates.push((device, input, Some(counter)));
                        }
                    }
                }
            }
            _ => return None,
        }
        for (device, input, counter) in candidates {
            let k_aiotf = KAiotf::new(self.keys[device as usize].evaluate(&input));
            let opened = Exchange::open_report(Suite::AesCmac, &k_aiotf, &report, TagLen::T8);
            let Ok((exchange, plaintext)) = opened else {
                continue;
            };
            let tag1 = exchange.tag1().as_slice().to_vec();
            if let Some(counter) = counter {
                let (last, last_tag1) = self.counters.entry(device).or_default();
                if counter < *last || (counter == *last && *last_tag1 != tag1) {
                    return None;
                }
                (*last, *last_tag1) = (counter, tag1.clone());
            }
            let key = (device, epoch, tag1.clone());
            if self.by_tag1.contains_key(&key) {
                self.duplicates += 1;
            } else {
                let item = plaintext.item().unwrap();
                let name = (item.cause.number(), item.seq);
                let repeats = self.previous.insert(device, name) == Some(name);
                self.by_tag1.insert(key, self.records.len());
                self.records.push(Record {
                    device,
                    epoch,
                    tag1,
                    cause: item.cause,
                    seq: item.seq,
                    data: item.data.to_vec(),
                    event: !repeats || item.cause == Cause::PowerOn,
                });
            }
            let mut p2 = [0; 3];
            let len = AcceptStatus::Accepted.emit(&mut p2).unwrap();
            let mut accept = [0; 64];
            let len = exchange.seal_accept(&p2[..len], &mut accept).unwrap();
            return Some(accept[..len].to_vec());
        }
        None
    }
}

pub fn window_request(correlation: u16, rand_n: &RandN) -> ToGnb<'static> {
    ToGnb::InventoryRequest(InventoryRequest {
        aiotf_id: AIOTF_ID,
        correlation,
        target: Target::AllDevices,
        areas: vec![],
        readers: vec![],
        expected_d2r_octets: 125,
        approximate_devices: None,
        time_interval: None,
        follow_on_command: true,
        rand_n: *rand_n.octets(),
    })
}

pub fn command(correlation: u16, device_ngap_id: u32, nas: Vec<u8>) -> ToGnb<'static> {
    ToGnb::CommandRequest {
        aiotf_id: AIOTF_ID,
        correlation,
        device_ngap_id,
        nas: nas.into(),
        expected_d2r_octets: 125,
    }
}

/// Passes PDUs both ways until neither side has one, at the present.
pub fn exchange(site: &mut Site, core: &mut Core) {
    loop {
        let mut idle = true;
        while let Some((gnb, octets)) = site.poll_ngap() {
            core.handle(gnb, &octets);
            idle = false;
        }
        while let Some((gnb, octets)) = core.poll() {
            site.ngap_in(gnb, &octets);
            idle = false;
        }
        if idle {
            return;
        }
    }
}

/// Lets virtual time pass until `until_ms`, or until `done`.
pub fn drive(site: &mut Site, core: &mut Core, until_ms: u64, done: impl Fn(&Site) -> bool) {
    exchange(site, core);
    while let Some(next_ms) = site.poll_timeout().filter(|next_ms| *next_ms <= until_ms) {
        if done(site) {
            return;
        }
        site.advance(next_ms);
        exchange(site, core);
    }
    if !done(site) {
        site.advance(until_ms);
        exchange(site, core);
    }
}

/// Connects every gNB and opens the first window.
pub fn start(site: &mut Site, core: &mut Core) -> Vec<u16> {
    (0..site.gnbs().len())
        .map(|gnb| {
            site.connected(gnb);
            exchange(site, core);
            let correlation = core.open_window(gnb, EPOCH);
            exchange(site, core);
            correlation
        })
        .collect()
}

/// Every item that a device saw accepted is in the core exactly once, and every record is a report that its device built.
pub fn assert_ledger_matches(site: &Site, core: &Core) {
    let mut by_device: HashMap<u32, HashMap<&[u8], &Record>> = HashMap::new();
    for record in &core.records {
        let twice = by_device
            .entry(record.device)
            .or_default()
            .insert(&record.tag1, record);
        assert!(twice.is_none(), "TAG1 recorded twice: {record:?}");
    }
    let mut records_found = 0;
    for (device, view) in (0u32..).zip(site.fleet().devices()) {
        let records = by_device.get(&device);
        for item in view.ledger() {
            let found: Vec<&&Record> = item
                .reports
                .iter()
                .filter_map(|report| records?.get(report.tag1()))
                .collect();
            records_found += found.len();
            for record in &found {
                assert_eq!((record.cause, record.seq), (item.cause, item.seq));
                assert_eq!(record.data, item.number.to_be_bytes());
            }
            let events = found.iter().filter(|record| record.event).count();
            let accepted = matches!(item.fate, ambit_ran::fleet::Fate::Accepted { .. });
            match item.cause {
                // Each registration report counts by itself (network rule 3).
                Cause::PowerOn => assert!(!accepted || events >= 1, "{device}: {item:?}"),
                _ if accepted => assert_eq!(events, 1, "{device}: {item:?}"),
                _ => assert!(events <= 1, "{device}: {item:?}"),
            }
        }
    }
    assert_eq!(records_found, core.records.len(), "records nobody built");
}
