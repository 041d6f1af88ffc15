//! An emulated gNB whose readers serve Ambient-IoT devices: NGAP on one side, radio contacts on the other. Sans-I/O.
//!
//! It holds nothing secret and judges no NAS PDU. It follows TS 38.413 V19.4 (procedures 82 to 86) and section 11 of the
//! protocol text:
//! - an INVENTORY REQUEST with a correlation identifier of 0x8000 or more opens a DO-A window; its readers broadcast the
//!   window's RAND_n until a newer window opens;
//! - what a device says goes up in an INVENTORY REPORT under the newest window that was open when the device spoke;
//! - other INVENTORY REQUESTs are pages: one device answers at once, several contend for access (TS 38.391);
//! - one COMMAND REQUEST at a time is under way to a contact, further ones wait; each is answered exactly once.
//!
//! Every table and queue is bounded by [`GnbConfig`]; nothing that the core or the air sends can make it panic.

mod config;
mod contacts;
mod contention;
mod paging;
mod procedures;
mod session;

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};

use ambit_ngap::{Cause, DeviceReport, FromGnb, NgapError, ToGnb};
use ambit_protocol::{AreaId, RandN};

pub use self::config::{GnbConfig, GnbStats, ReaderConfig};
use self::contacts::{Contacts, Heard};
use self::session::Session;
use crate::frame::{Access, AccessRound, Page, RadioId};

/// What a reader has heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uplink {
    /// The reader.
    pub reader_index: u16,
    /// Whom the reader believes it hears.
    pub radio_id: RadioId,
    /// When the device spoke, in milliseconds: the RAND_n broadcast then is the one it answers.
    pub spoke_ms: u64,
    /// How the device gained access.
    pub access: Access,
    /// The NAS PDU.
    pub nas: Vec<u8>,
}

/// What a reader is to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Downlink {
    /// A NAS PDU to one contact.
    Nas {
        /// The reader.
        reader_index: u16,
        /// The contact.
        radio_id: RadioId,
        /// The NAS PDU.
        nas: Vec<u8>,
    },
    /// From now on this beacon, or none.
    Beacon {
        /// The reader.
        reader_index: u16,
        /// AreaID and RAND_n.
        beacon: Option<(AreaId, RandN)>,
    },
    /// A page, once.
    Page {
        /// The reader.
        reader_index: u16,
        /// The page.
        page: Page,
    },
    /// A further round of access occasions.
    AccessTrigger {
        /// The reader.
        reader_index: u16,
        /// The round.
        round: AccessRound,
    },
    /// The echo of a Random ID.
    RandomIdResponse {
        /// The reader.
        reader_index: u16,
        /// The ID.
        radio_id: RadioId,
    },
    /// A device is to send its data again.
    Nack {
        /// The reader.
        reader_index: u16,
        /// Its Random ID.
        radio_id: RadioId,
    },
}

/// How far the gNB has come with its core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GnbState {
    /// No association.
    Disconnected,
    /// NG SETUP REQUEST is out.
    SettingUp,
    /// NG SETUP was refused; it is tried again at this time, in milliseconds.
    Refused {
        /// When.
        retry_ms: u64,
    },
    /// In service.
    Ready,
}

/// An emulated gNB.
#[derive(Debug)]
pub struct Gnb {
    config: GnbConfig,
    state: GnbState,
    /// In the order in which they were opened.
    sessions: Vec<Session>,
    contacts: Contacts,
    beacons: BTreeMap<u16, (AreaId, RandN)>,
    next_transaction: u16,
    ngap_out: VecDeque<Vec<u8>>,
    downlinks: VecDeque<Downlink>,
    stats: GnbStats,
}

impl Gnb {
    /// A gNB without an association.
    pub fn new(config: GnbConfig) -> Self {
        Self {
            contacts: Contacts::new(config.contacts_max, u64::from(config.contact_ttl_ms)),
            config,
            state: GnbState::Disconnected,
            sessions: Vec::new(),
            beacons: BTreeMap::new(),
            next_transaction: 0,
            ngap_out: VecDeque::new(),
            downlinks: VecDeque::new(),
            stats: GnbStats::default(),
        }
    }

    /// The association with the core is up: sends NG SETUP REQUEST with AIoT-Support.
    pub fn connected(&mut self) {
        self.forget_association();
        self.set_up();
    }

    /// The association is gone, and with it every session and contact. The readers fall silent.
    pub fn disconnected(&mut self) {
        self.forget_association();
        self.state = GnbState::Disconnected;
        self.refresh_beacons();
    }

    /// Takes one NGAP PDU of the core.
    pub fn handle_ngap(&mut self, now_ms: u64, octets: &[u8]) {
        match ToGnb::decode(octets) {
            Ok(message) => self.handle_message(now_ms, message),
            Err(error) => {
                self.stats.undecodable += 1;
                self.indicate_error(error.to_cause());
            }
        }
    }

    /// Takes what a reader has heard.
    pub fn handle_uplink(&mut self, now_ms: u64, uplink: Uplink) {
        self.stats.uplinks += 1;
        self.end_contacts(now_ms);
        let Some(at) = self.session_of(&uplink) else {
            self.stats.uplinks_without_session += 1;
            return;
        };
        let Some(session) = self.sessions.get_mut(at) else {
            return;
        };
        let Uplink {
            reader_index,
            radio_id,
            nas,
            ..
        } = uplink;
        match self
            .contacts
            .hear(now_ms, reader_index, radio_id, session.key, &nas)
        {
            Heard::Late => self.stats.late_answers += 1,
            Heard::Answer {
                device_ngap_id,
                session: (aiotf_id, correlation),
            } => {
                self.stats.answers += 1;
                self.send(&FromGnb::CommandResponse {
                    aiotf_id,
                    correlation,
                    device_ngap_id,
                    nas: Cow::Owned(nas),
                });
                self.send_next_command(now_ms, device_ngap_id);
            }
            Heard::Report { device_ngap_id } => {
                if !self.is_called(at, reader_index, radio_id) {
                    self.stats.answers_uncalled += 1;
                    return;
                }
                let Some(session) = self.sessions.get_mut(at) else {
                    return;
                };
                self.stats.reports += 1;
                let report = DeviceReport {
                    nas: Cow::Owned(nas),
                    device_ngap_id: session.follow_on_command.then_some(device_ngap_id),
                };
                let flush_ms = now_ms + u64::from(self.config.report_interval_ms);
                let held = session.add(reader_index, report, flush_ms);
                if held >= self.config.report_devices_max {
                    self.flush(at, false);
                }
                // A full table has made room.
                self.fail_abandoned(Cause::DeviceNotReachable);
            }
        }
    }

    /// Does what is due: sends reports that have waited long enough, gives up on answers, ends inventories.
    pub fn handle_timeout(&mut self, now_ms: u64) {
        if matches!(self.state, GnbState::Refused { retry_ms } if retry_ms <= now_ms) {
            self.set_up();
        }
        self.end_contacts(now_ms);
        self.go_on_paging(now_ms);
        for at in 0..self.sessions.len() {
            let Some(session) = self.sessions.get_mut(at) else {
                break;
            };
            let complete = session.complete(now_ms);
            if complete || session.flush_due(now_ms) {
                self.flush(at, complete);
            }
        }
    }

    /// The next NGAP PDU for the core.
    pub fn poll_ngap(&mut self) -> Option<Vec<u8>> {
        self.ngap_out.pop_front()
    }

    /// The next thing for a reader to send.
    pub fn poll_downlink(&mut self) -> Option<Downlink> {
        self.downlinks.pop_front()
    }

    /// When [`Gnb::handle_timeout`] has something to do, in milliseconds.
    pub fn poll_timeout(&self) -> Option<u64> {
        let retry_ms = match self.state {
            GnbState::Refused { retry_ms } => Some(retry_ms),
            _ => None,
        };
        self.sessions
            .iter()
            .filter_map(Session::timeout_ms)
            .chain(self.contacts.next_deadline_ms())
            .chain(retry_ms)
            .min()
    }

    /// What a reader broadcasts: AreaID and RAND_n of its newest open window.
    pub fn beacon(&self, reader_index: u16) -> Option<(AreaId, RandN)> {
        self.beacons.get(&reader_index).copied()
    }

    /// The AreaID of a reader.
    pub fn area_id(&self, reader_index: u16) -> Option<AreaId> {
        let reader = self
            .config
            .readers
            .iter()
            .find(|reader| reader.reader_index == reader_index)?;
        Some(self.config.snid.area(reader.area_code))
    }

    /// How far it has come with its core.
    pub const fn state(&self) -> GnbState {
        self.state
    }

    /// The configuration.
    pub const fn config(&self) -> &GnbConfig {
        &self.config
    }

    /// Counts since the start.
    pub const fn stats(&self) -> &GnbStats {
        &self.stats
    }

    /// Open DO-A windows and inventories.
    pub fn sessions_open(&self) -> usize {
        self.sessions.len()
    }

    /// Contacts with a device NGAP ID.
    pub fn contacts_open(&self) -> usize {
        self.contacts.len()
    }

    fn handle_message(&mut self, now_ms: u64, message: ToGnb<'_>) {
        match message {
            ToGnb::ErrorIndication { .. } => self.stats.error_indications += 1,
            ToGnb::NgSetupResponse { .. } if self.state == GnbState::SettingUp => {
                self.state = GnbState::Ready;
            }
            ToGnb::NgSetupFailure { .. } if self.state == GnbState::SettingUp => {
                let retry_ms = now_ms + u64::from(self.config.setup_retry_ms);
                self.state = GnbState::Refused { retry_ms };
            }
            ToGnb::InventoryRequest(request) if self.state == GnbState::Ready => {
                self.handle_inventory_request(now_ms, request);
            }
            ToGnb::CommandRequest {
                aiotf_id,
                correlation,
                device_ngap_id,
                nas,
                ..
            } if self.state == GnbState::Ready => {
                let session = (aiotf_id, correlation);
                self.handle_command(now_ms, session, device_ngap_id, nas.into_owned());
            }
            ToGnb::SessionReleaseCommand {
                aiotf_id,
                correlation,
                ..
            } if self.state == GnbState::Ready => self.handle_release((aiotf_id, correlation)),
            _ => self.indicate_error(Some(Cause::MessageNotCompatible)),
        }
    }

    fn indicate_error(&mut self, cause: Option<Cause>) {
        self.send(&FromGnb::ErrorIndication { cause });
    }

    fn set_up(&mut self) {
        self.state = GnbState::SettingUp;
        self.send(&FromGnb::NgSetupRequest {
            gnb_id: self.config.ngap_id(),
            name: Some(self.config.name.clone()),
            aiot_support: true,
        });
    }

    fn send(&mut self, message: &FromGnb<'_>) {
        match message.encode() {
            Ok(octets) if self.ngap_out.len() < self.config.ngap_out_max => {
                self.ngap_out.push_back(octets);
            }
            Ok(_) => self.stats.ngap_overflowed += 1,
            Err(error) => self.note_unencodable(&error),
        }
    }

    /// A configuration that NGAP cannot carry (a name of no characters, say) shows here and nowhere else.
    fn note_unencodable(&mut self, error: &NgapError) {
        self.stats.unencodable += 1;
        self.stats.unencodable_last = Some(error.to_string());
    }

    fn push_downlink(&mut self, downlink: Downlink) {
        if self.downlinks.len() < self.config.downlinks_max {
            self.downlinks.push_back(downlink);
        } else {
            self.stats.downlinks_overflowed += 1;
        }
    }

    fn forget_association(&mut self) {
        self.sessions.clear();
        self.contacts.clear();
        self.ngap_out.clear();
    }

    /// Brings every reader's beacon up to its newest open window, and tells of each change.
    fn refresh_beacons(&mut self) {
        for reader in &self.config.readers {
            let reader_index = reader.reader_index;
            let newest = self
                .sessions
                .iter()
                .rfind(|session| session.is_window() && session.readers.contains(&reader_index));
            let area_id = self.config.snid.area(reader.area_code);
            let beacon = newest.map(|session| (area_id, session.rand_n));
            if self.beacons.get(&reader_index).copied() == beacon {
                continue;
            }
            match beacon {
                Some(beacon) => self.beacons.insert(reader_index, beacon),
                None => self.beacons.remove(&reader_index),
            };
            if self.downlinks.len() >= self.config.downlinks_max {
                self.stats.downlinks_overflowed += 1;
                continue;
            }
            self.downlinks.push_back(Downlink::Beacon {
                reader_index,
                beacon,
            });
        }
    }
}
