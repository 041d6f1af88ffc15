//! What the tests share: an ADM that does as it is told, and messages of a gNB.
#![allow(dead_code, unreachable_pub)]

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use ambit_adm_api::*;
use ambit_aiotf::{Aiotf, AiotfConfig, ConnectionId, Output};
use ambit_ngap::{DeviceReport, FromGnb, GnbId, InventoryRequest, ReaderReport, ToGnb};
use ambit_protocol::area::Plmn;
use ambit_protocol::{
    AreaId, Cause, DeviceForm, DeviceType, KAiotf, RandN, RootKey, Snid, Suite, TagLen, schedule,
};

pub const AIOTF_ID: [u8; 16] = [0xa1; 16];
pub const EPOCH_MS: i64 = 600_000;
pub const GRACE_MS: i64 = 60_000;
/// The start of epoch 1000.
pub const START_MS: i64 = 1000 * EPOCH_MS;

/// The key of every exchange of the script.
pub const K_AIOTF: [u8; 16] = [0x4b; 16];

pub fn snid() -> Snid {
    Snid::new(Plmn::new("001", "01").unwrap(), None)
}

pub fn area(code: u16) -> AreaId {
    let [high, low] = code.to_be_bytes();
    snid().area([0, high, low])
}

pub fn gnb(id: u32) -> GnbId {
    GnbId {
        plmn: *snid().plmn().octets(),
        id,
        bits: 24,
    }
}

pub fn rand_n(epoch: u32) -> RandN {
    RandN::new(epoch, [epoch as u8; 12])
}

/// Four readers for gNB 1, the default for others.
pub fn config() -> AiotfConfig {
    let readers = BTreeMap::from([(1, [0, 0, 1]), (2, [0, 0, 2]), (3, [0, 0, 2])]);
    let mut config = AiotfConfig::new(snid(), AIOTF_ID);
    config.readers.insert(1, readers);
    config
}

/// An ADM by script: accepts every report, unless its last octet is 0.
#[derive(Clone)]
pub struct ScriptedAdm(Arc<Mutex<Script>>);

pub struct Script {
    /// Beacons asked for now fail.
    pub is_failing: bool,
    /// Instead of those by the clock.
    pub beacons: Option<Beacons>,
    pub beacons_asked: u32,
    pub ticks: u32,
    /// The batches that were taken to it.
    pub batches: Vec<Vec<Heard>>,
    /// Devices that answer pages: permanent ID and K.
    pub devices: Vec<(Vec<u8>, [u8; 16])>,
    /// RAND_ns given out.
    pub rands: u8,
    /// Searches fail for want of budget.
    pub is_busy: bool,
    /// Devices that acknowledged PERMANENT DISABLE.
    pub disabled: Vec<Vec<u8>>,
    /// Whether the AIOTF wants to know what was in a report.
    pub tells_items: bool,
    /// Every accepted report is followed by this, under [`K_AIOTF`].
    pub follow_on: Option<Option<KeptCommand>>,
    /// What it was told of kept commands.
    pub concluded: Vec<(i64, CommandOutcome)>,
    /// It cannot note it.
    pub is_full: bool,
    /// Runs at the start of every batch.
    pub on_batch: Option<Box<dyn FnMut() + Send>>,
    /// Whether it records beside.
    pub is_pipelined: bool,
    /// Whether what it records beside stays under way, unless it is waited for.
    pub is_slow: bool,
    gathered: Vec<Verdict>,
    recording: Option<Vec<Verdict>>,
    recorded: VecDeque<Vec<Verdict>>,
    /// Batches that were waited for.
    pub waits: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    pub nas: Vec<u8>,
    pub rand_n: RandN,
    pub area_id: AreaId,
    pub gnb_id: u32,
    pub reader_index: u16,
}

impl ScriptedAdm {
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Script {
            is_failing: false,
            beacons: None,
            beacons_asked: 0,
            ticks: 0,
            batches: Vec::new(),
            devices: Vec::new(),
            rands: 0,
            is_busy: false,
            disabled: Vec::new(),
            tells_items: false,
            follow_on: None,
            concluded: Vec::new(),
            is_full: false,
            on_batch: None,
            is_pipelined: false,
            is_slow: false,
            gathered: Vec::new(),
            recording: None,
            recorded: VecDeque::new(),
            waits: 0,
        })))
    }

    /// One that records beside, and takes its time.
    pub fn slow() -> Self {
        let adm = Self::steady();
        adm.script(|script| (script.is_pipelined, script.is_slow) = (true, true));
        adm
    }

    /// One epoch without end.
    pub fn steady() -> Self {
        let adm = Self::new();
        adm.script(|script| {
            script.beacons = Some(Beacons {
                current: rand_n(1000),
                current_until_ms: i64::MAX / 2,
                previous: None,
            });
        });
        adm
    }

    pub fn script<R>(&self, f: impl FnOnce(&mut Script) -> R) -> R {
        f(&mut self.0.lock().unwrap())
    }

    pub fn heard(&self) -> Vec<Heard> {
        self.script(|script| script.batches.concat())
    }
}

/// The ACCEPT of a report, which any octets do for.
pub fn accept_of(nas: &[u8]) -> Vec<u8> {
    nas.iter().take(49).map(|octet| !octet).collect()
}

/// What a report of the script said: its octets, from the device that they begin with.
fn item_of(report: &DoaReport<'_>) -> Box<DoaItem> {
    Box::new(DoaItem {
        device_id: report.nas[..1].into(),
        fleet: "f".into(),
        epoch: report.rand_n.epoch(),
        tag1: report.nas.into(),
        cause: Cause::Event,
        seq: 0,
        data: report.nas.into(),
    })
}

impl AdmClient for ScriptedAdm {
    fn beacons(&mut self, now_ms: i64) -> Result<Beacons, AdmError> {
        self.script(|script| {
            script.beacons_asked += 1;
            if script.is_failing {
                return Err(AdmError::Store("no space left".into()));
            }
            let epoch = now_ms.div_euclid(EPOCH_MS);
            let start_ms = epoch * EPOCH_MS;
            let epoch = u32::try_from(epoch).unwrap();
            let grace_until_ms = start_ms + GRACE_MS;
            Ok(script.beacons.unwrap_or(Beacons {
                current: rand_n(epoch),
                current_until_ms: start_ms + EPOCH_MS,
                previous: (now_ms < grace_until_ms).then(|| (rand_n(epoch - 1), grace_until_ms)),
            }))
        })
    }

    fn tell_items(&mut self, on: bool) {
        self.script(|script| script.tells_items = on);
    }

    fn register(&mut self, _: i64, _: &DoaReport<'_>) -> RegistrationStep {
        RegistrationStep::silence(Outcome::SuciRefused)
    }

    fn respond(&mut self, _: i64, _: &ChallengeId, _: &DoaReport<'_>) -> RegistrationStep {
        RegistrationStep::silence(Outcome::ChallengeUnknown)
    }

    fn authenticate(&mut self, _: i64, reports: &[DoaReport<'_>], verdicts: &mut Vec<Verdict>) {
        let on_batch = self.script(|script| script.on_batch.take());
        if let Some(mut on_batch) = on_batch {
            on_batch();
            self.script(|script| script.on_batch = Some(on_batch));
        }
        verdicts.clear();
        let tells_items = self.script(|script| script.tells_items);
        for report in reports {
            verdicts.push(match report.nas.last() {
                None | Some(0) => Verdict::Silence(Outcome::NoMatch),
                Some(_) => Verdict::Accept {
                    nas: AcceptPdu::build(|out| {
                        let accept = accept_of(report.nas);
                        out[..accept.len()].copy_from_slice(&accept);
                        Ok(accept.len())
                    })
                    .unwrap(),
                    outcome: Outcome::AcceptedNew,
                    follow_on: self
                        .script(|script| script.follow_on.clone())
                        .map(|command| {
                            Box::new(FollowOn {
                                device_id: b"device".to_vec().into(),
                                key: SessionKey {
                                    k_aiotf: KAiotf::new(K_AIOTF),
                                    suite: Suite::AesCmac,
                                    tag_len: TagLen::T8,
                                },
                                command,
                            })
                        }),
                    item: tells_items.then(|| item_of(report)),
                },
            });
        }
        let heard = |report: &DoaReport<'_>| Heard {
            nas: report.nas.to_vec(),
            rand_n: report.rand_n,
            area_id: report.area_id,
            gnb_id: report.gnb_id,
            reader_index: report.reader_index,
        };
        let batch = reports.iter().map(heard).collect();
        self.script(|script| script.batches.push(batch));
    }

    fn conclude_command(
        &mut self,
        _: i64,
        id: i64,
        outcome: &CommandOutcome,
    ) -> Result<(), NadmError> {
        self.script(|script| {
            if script.is_full {
                return Err(NadmError::Failed("no space left".into()));
            }
            script.concluded.push((id, outcome.clone()));
            Ok(())
        })
    }

    fn tick(&mut self, _: i64) {
        self.script(|script| script.ticks += 1);
    }

    fn pipelined(&mut self) -> Option<&mut dyn Pipelined> {
        self.script(|script| script.is_pipelined).then_some(self)
    }
}

impl Pipelined for ScriptedAdm {
    fn gather(&mut self, now_ms: i64, reports: &[DoaReport<'_>]) {
        let mut verdicts = Vec::new();
        self.authenticate(now_ms, reports, &mut verdicts);
        self.script(|script| script.gathered.append(&mut verdicts));
    }

    fn is_recorded(&mut self, wait: bool) -> bool {
        self.script(|script| {
            script.waits += u32::from(wait);
            if script.is_slow && !wait {
                return false;
            }
            let recorded = script.recording.take();
            script.recorded.extend(recorded);
            true
        })
    }

    fn record(&mut self) {
        self.script(|script| {
            assert!(script.recording.is_none(), "one at a time");
            script.recording = Some(std::mem::take(&mut script.gathered));
        });
    }

    fn recorded(&mut self, wait: bool) -> Option<Vec<Verdict>> {
        if self.script(|script| script.recorded.is_empty()) {
            self.is_recorded(wait);
        }
        self.script(|script| script.recorded.pop_front())
    }

    fn wake_with(&mut self, _: Wake) {}
}

/// Devices of the script, all of suite 1 and tags of 8 octets.
impl Nadm for ScriptedAdm {
    fn get_rand(&mut self, _: i64) -> Result<RandN, NadmError> {
        Ok(self.script(|script| {
            script.rands += 1;
            RandN::from_octets([script.rands; 16])
        }))
    }

    fn get_authentication(
        &mut self,
        _: i64,
        request: &AuthenticationRequest<'_>,
    ) -> Result<AuthenticationResponse, NadmError> {
        if self.script(|script| script.is_busy) {
            let retry_after_ms = 500;
            return Err(NadmError::Busy { retry_after_ms });
        }
        let devices = self.script(|script| script.devices.clone());
        let is_asked = |id: &[u8]| match request.population {
            Population::Device(asked) => asked == id,
            Population::Filter(filter) => id.starts_with(filter),
            Population::All => true,
        };
        let mut sets = Vec::new();
        for (at, answer) in request.answers.iter().enumerate() {
            let input = schedule::dt_res(&request.rand_n, &answer.rand_d);
            let auth_data: Vec<AuthData> = devices
                .iter()
                .filter(|(id, _)| is_asked(id))
                .map(|(id, key)| AuthData {
                    xres: schedule::cut(&RootKey::new(*key).evaluate(Suite::AesCmac, &input)),
                    device_id: id.clone().into(),
                })
                .filter(|data| answer.res.is_none_or(|res| res == data.xres))
                .collect();
            if !auth_data.is_empty() {
                let rand_d = answer.rand_d;
                sets.push(AuthDataSet {
                    at,
                    rand_d,
                    auth_data,
                });
            }
        }
        let taken = request.answers.len();
        Ok(AuthenticationResponse { taken, sets })
    }

    fn get_session_key(
        &mut self,
        _: i64,
        device_id: &[u8],
        rand_n: &RandN,
        rand_d: &RandD,
    ) -> Result<SessionKey, NadmError> {
        let key = self.key(device_id)?;
        let input = schedule::dt_k_aiotf(rand_n, rand_d);
        Ok(SessionKey {
            k_aiotf: KAiotf::new(key.evaluate(Suite::AesCmac, &input)),
            suite: Suite::AesCmac,
            tag_len: TagLen::T8,
        })
    }

    fn get_tid(&mut self, _: i64, device_id: &[u8], rand_n: &RandN) -> Result<[u8; 16], NadmError> {
        let key = self.key(device_id)?;
        Ok(key.evaluate(Suite::AesCmac, &schedule::dt_paging_t_id(rand_n)))
    }

    fn device_profile(&mut self, device_id: &[u8]) -> Result<DeviceProfile, NadmError> {
        self.key(device_id)?;
        Ok(DeviceProfile {
            device_id: device_id.into(),
            last_known_aiotf: None,
            device_type: DeviceType::Type1,
            form: DeviceForm::Dt,
            suite: Suite::AesCmac,
            tag_len: TagLen::T8,
            disabled: false,
            fleet: String::new(),
        })
    }

    fn note_aiotf(&mut self, _: &[u8], _: [u8; 16]) -> Result<(), NadmError> {
        Ok(())
    }

    fn afs(&mut self, _: Option<&str>) -> Result<Vec<AfAccount>, NadmError> {
        Ok(Vec::new())
    }

    fn af_authenticate(&mut self, _: &str, _: &str) -> Result<Option<AfAccount>, NadmError> {
        Ok(None)
    }

    fn note_af_refusals(&mut self, _: i64, _: &[AfRefusal]) -> Result<(), NadmError> {
        Ok(())
    }

    fn note_disabled(&mut self, _: i64, device_id: &[u8]) -> Result<(), NadmError> {
        self.script(|script| script.disabled.push(device_id.to_vec()));
        Ok(())
    }
}

impl ScriptedAdm {
    fn key(&self, device_id: &[u8]) -> Result<RootKey, NadmError> {
        self.script(|script| {
            let found = script.devices.iter().find(|(id, _)| id == device_id);
            found.map(|(_, key)| RootKey::new(*key))
        })
        .ok_or(NadmError::UnknownDevice)
    }
}

/// What the AIOTF wants of the transport.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    Pdu(ConnectionId, ToGnb<'static>),
    Close(ConnectionId),
}

/// An AIOTF on a scripted ADM, at a time of the test's choosing.
pub struct Rig {
    pub aiotf: Aiotf<ScriptedAdm>,
    pub adm: ScriptedAdm,
    pub now_ms: i64,
}

impl Rig {
    pub fn new(config: AiotfConfig) -> Self {
        Self::on(config, ScriptedAdm::new())
    }

    pub fn on(config: AiotfConfig, adm: ScriptedAdm) -> Self {
        let aiotf = Aiotf::new(config, adm.clone(), START_MS);
        let now_ms = START_MS;
        Self { aiotf, adm, now_ms }
    }

    /// With gNB 1 welcomed on connection 1; returns the correlation identifier of its window.
    pub fn with_gnb() -> (Self, u16) {
        let mut rig = Self::new(config());
        let correlation = rig.set_up(1, gnb(1));
        (rig, correlation)
    }

    /// A connection is made, the gNB welcomed, and its window asked for.
    pub fn set_up(&mut self, connection: ConnectionId, gnb_id: GnbId) -> u16 {
        self.aiotf.handle_connected(connection);
        self.pdu(connection, &ng_setup(gnb_id));
        let seen = self.seen();
        match &seen[seen.len() - 2..] {
            [
                Seen::Pdu(a, ToGnb::NgSetupResponse { .. }),
                Seen::Pdu(b, ToGnb::InventoryRequest(request)),
            ] if *a == connection && *b == connection => request.correlation,
            other => panic!("{other:?}"),
        }
    }

    pub fn pdu(&mut self, connection: ConnectionId, message: &FromGnb<'_>) {
        let octets = message.encode().unwrap();
        self.octets(connection, &octets);
    }

    pub fn octets(&mut self, connection: ConnectionId, octets: &[u8]) {
        self.aiotf.handle_pdu(connection, octets, self.now_ms);
    }

    /// Time passes, as the transport would have it: every timeout on the way is handled.
    pub fn wait_ms(&mut self, ms: i64) {
        let until_ms = self.now_ms + ms;
        while self.aiotf.poll_timeout() <= until_ms {
            let due_ms = self.aiotf.poll_timeout();
            self.now_ms = self.now_ms.max(due_ms);
            self.aiotf.handle_timeout(self.now_ms);
            let next_ms = self.aiotf.poll_timeout();
            assert!(next_ms > self.now_ms, "a timeout that is handled is over");
        }
        self.now_ms = until_ms;
    }

    /// What came out since the last look, flushing what is gathered.
    pub fn seen(&mut self) -> Vec<Seen> {
        self.aiotf.flush(self.now_ms);
        self.came_out()
    }

    /// The same, without waiting for what is being recorded.
    pub fn seen_meanwhile(&mut self) -> Vec<Seen> {
        self.aiotf.proceed(self.now_ms);
        self.came_out()
    }

    pub fn came_out(&mut self) -> Vec<Seen> {
        std::iter::from_fn(|| self.aiotf.poll_output())
            .map(|output| match output {
                // Leaked: a test is short.
                Output::Pdu(connection, octets) => {
                    Seen::Pdu(connection, ToGnb::decode(octets.leak()).unwrap())
                }
                Output::Close(connection) => Seen::Close(connection),
            })
            .collect()
    }

    /// Of what came out, the windows asked for.
    pub fn windows(&mut self) -> Vec<(ConnectionId, InventoryRequest<'static>)> {
        let window = |seen| match seen {
            Seen::Pdu(connection, ToGnb::InventoryRequest(request)) => Some((connection, request)),
            _ => None,
        };
        self.seen().into_iter().filter_map(window).collect()
    }

    pub fn count(&self, name: &str) -> u64 {
        self.aiotf.counts().get(name).copied().unwrap_or(0)
    }
}

pub fn ng_setup(gnb_id: GnbId) -> FromGnb<'static> {
    FromGnb::NgSetupRequest {
        gnb_id,
        name: None,
        aiot_support: true,
    }
}

/// A report of a device by way of a reader. Long enough to be one; silence if `nas` ends in 0.
pub fn report(
    correlation: u16,
    gnb_id: GnbId,
    reader_index: u16,
    device_ngap_id: Option<u32>,
    nas: &[u8],
) -> FromGnb<'static> {
    FromGnb::InventoryReport {
        aiotf_id: AIOTF_ID,
        correlation,
        gnb_id,
        readers: vec![ReaderReport {
            reader_index,
            devices: vec![DeviceReport {
                nas: nas.to_vec().into(),
                device_ngap_id,
            }],
        }],
        complete: false,
    }
}

pub fn inventory_failure(correlation: u16) -> FromGnb<'static> {
    FromGnb::InventoryFailure {
        aiotf_id: AIOTF_ID,
        correlation,
        cause: ambit_ngap::Cause::RadioResourcesNotAvailable,
    }
}
