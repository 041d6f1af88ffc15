//! The AIOTF without I/O.
//!
//! Input: [`Aiotf::handle_connected`] or [`Aiotf::handle_gnb`], [`Aiotf::handle_pdu`], [`Aiotf::handle_disconnected`],
//! [`Aiotf::handle_timeout`].
//! Reports and answers gather until [`Aiotf::flush`] takes them to the ADM as one batch, or [`Aiotf::proceed`] without waiting for the disk. Commands: [`Aiotf::request`],
//! [`Aiotf::cancel`], [`Aiotf::watch`]. Output: [`Aiotf::poll_notification`], [`Aiotf::poll_accepted`] and [`Aiotf::poll_output`] until it is
//! empty, and [`Aiotf::poll_timeout`] for when to call [`Aiotf::handle_timeout`] next.

mod answers;
mod commands;
mod follow_on;
mod registration;
mod reports;
mod terminated;
mod windows;

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};

use ambit_adm_api::{AdmClient, Beacons, Outcome, Tally, Verdict, is_registration_request};
use ambit_ngap::{
    Cause, CommandRequests, FromGnb, GnbId, MessageKind, NgapError, ReaderReport, ToGnb,
};
use ambit_protocol::RandN;
use ambit_protocol::wire::{MessageType, peek};

use reports::Gathered;

use crate::AiotfConfig;
use crate::accepted::{Accepted, AcceptedReport};
use crate::gnb::{Connection, Connectivity, DO_A_FIRST, Gnb, Refused};
use crate::queue::{Nas, Pending, ReportQueue};
use crate::registrations::{Exchanges, Peer, Place};
use crate::terminated::Terminated;

/// A connection on N2, named by whoever runs the transport.
pub type ConnectionId = u64;

/// What the transport is to do.
#[derive(Debug)]
pub enum Output {
    /// Send one NGAP PDU.
    Pdu(ConnectionId, Vec<u8>),
    /// Close the connection: the same gNB came back on another one.
    Close(ConnectionId),
}

/// How the function stands, for `/health` and metrics.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// gNBs that completed NG SETUP.
    pub gnbs: usize,
    /// Windows open at them.
    pub windows: usize,
    /// Epoch of the current RAND_n; `None` while the ADM issues none.
    pub epoch: Option<u32>,
    /// Why the ADM issues none.
    pub adm_error: Option<String>,
}

/// The AIOTF over an ADM.
pub struct Aiotf<A> {
    config: AiotfConfig,
    adm: A,
    beacons: Option<Beacons>,
    adm_error: Option<String>,
    next_tick_ms: i64,
    connections: BTreeMap<ConnectionId, Connection>,
    queue: ReportQueue,
    /// Reports that the ADM has verified, or refused, and does not record yet.
    gathered: Gathered,
    /// Those that it is recording.
    recording: Option<Gathered>,
    exchanges: Exchanges,
    terminated: Terminated,
    accepted: Accepted,
    verdicts: Vec<Verdict>,
    outputs: VecDeque<Output>,
    command_requests: CommandRequests,
    reports: Tally,
    counts: BTreeMap<&'static str, u64>,
}

/// How often the ADM does its housekeeping.
const TICK_MS: i64 = 1000;

/// How long after a failure of the ADM beacons are asked for again.
const ADM_RETRY_MS: i64 = 1000;

impl<A: AdmClient> Aiotf<A> {
    /// An AIOTF without gNBs.
    pub fn new(config: AiotfConfig, adm: A, now_ms: i64) -> Self {
        let mut aiotf = Self {
            config,
            adm,
            beacons: None,
            adm_error: None,
            next_tick_ms: now_ms,
            connections: BTreeMap::new(),
            queue: ReportQueue::default(),
            gathered: Gathered::default(),
            recording: None,
            exchanges: Exchanges::default(),
            terminated: Terminated::default(),
            accepted: Accepted::default(),
            verdicts: Vec::new(),
            outputs: VecDeque::new(),
            command_requests: CommandRequests::default(),
            reports: Tally::default(),
            counts: BTreeMap::new(),
        };
        aiotf.handle_timeout(now_ms);
        aiotf
    }

    /// A transport connection was made; its NG SETUP REQUEST is awaited.
    pub fn handle_connected(&mut self, connection: ConnectionId) {
        self.connections
            .insert(connection, Connection::AwaitingSetup);
    }

    /// A gNB that is reached through an AMF (indirect connectivity), which has done its NG SETUP. The AIOTF is not told when it
    /// loses its sessions, so it asks from time to time.
    pub fn handle_gnb(&mut self, connection: ConnectionId, gnb_id: GnbId, now_ms: i64) {
        self.welcome(connection, Gnb::indirect(gnb_id, now_ms));
        self.roll(now_ms);
    }

    /// A transport connection is gone, and with it the gNB's windows.
    pub fn handle_disconnected(&mut self, connection: ConnectionId) {
        self.connections.remove(&connection);
        self.queue.forget(connection);
        self.exchanges.forget(connection);
        self.lose_pages(connection);
    }

    /// One NGAP PDU of a connection.
    pub fn handle_pdu(&mut self, connection: ConnectionId, octets: &[u8], now_ms: i64) {
        if !self.connections.contains_key(&connection) {
            // What was still on its way here when the connection was closed.
            return self.count("n2_connection_closed");
        }
        match FromGnb::decode(octets) {
            Ok(message) => self.handle_message(connection, message, now_ms),
            Err(error) => self.refuse_pdu(connection, &error),
        }
    }

    /// Time passed: rolls windows, releases old ones, housekeeping.
    pub fn handle_timeout(&mut self, now_ms: i64) {
        // Also when the clock was set back: else nothing would happen until it has caught up.
        let is_set_back = now_ms.saturating_add(TICK_MS) < self.next_tick_ms;
        if now_ms >= self.next_tick_ms || is_set_back {
            self.adm.tick(now_ms);
            self.tell_conclusions(now_ms);
            self.next_tick_ms = now_ms.saturating_add(TICK_MS);
        }
        self.roll(now_ms);
        let mut due = Vec::new();
        for (connection, state) in &mut self.connections {
            if let Connection::Ready(gnb) = state {
                let released = gnb.release_due(now_ms);
                due.extend(released.into_iter().map(|window| (*connection, window)));
            }
        }
        for (connection, correlation) in due {
            self.release(connection, correlation, Cause::NormalRelease);
        }
        self.drive(now_ms);
    }

    /// When [`Aiotf::handle_timeout`] is to be called next, Unix time in ms.
    pub fn poll_timeout(&self) -> i64 {
        let beacon = self.beacons.map(|beacons| beacons.current_until_ms);
        let gnbs = self.connections.values().filter_map(|state| match state {
            // Without beacons no window can be asked for, however long ago that was due.
            Connection::Ready(gnb) => gnb.timeout_ms(beacon.is_some()),
            Connection::AwaitingSetup => None,
        });
        let next = gnbs.chain(beacon).chain(self.terminated.timeout_ms());
        let next = next.min().unwrap_or(i64::MAX);
        next.min(self.next_tick_ms)
    }

    /// The next thing for the transport to do. To be called until `None` after each input and each flush.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Whether new reports are to be told of ([`Aiotf::poll_accepted`]) from now on.
    pub const fn watch(&mut self, is_wanted: bool) {
        self.accepted.is_wanted = is_wanted;
    }

    /// The next new report, in the order of acceptance. To be called until `None` after each input and each flush.
    pub fn poll_accepted(&mut self) -> Option<AcceptedReport> {
        self.accepted.pop()
    }

    /// Reports and answers that still wait for [`Aiotf::flush`]: while there are any, it is to be called again soon.
    pub fn pending_reports(&self) -> usize {
        self.queue.len() + self.terminated.answers_ready()
    }

    /// The ADM behind this AIOTF, for administration in the same process. It has nothing left to record.
    pub fn adm(&mut self) -> &mut A {
        self.settle();
        &mut self.adm
    }

    /// How the function stands.
    pub fn status(&self) -> Status {
        let ready = |state: &Connection| match state {
            Connection::Ready(gnb) => Some(gnb.window_count()),
            Connection::AwaitingSetup => None,
        };
        Status {
            gnbs: self.connections.values().filter_map(ready).count(),
            windows: self.connections.values().filter_map(ready).sum(),
            epoch: self.beacons.map(|beacons| beacons.current.epoch()),
            adm_error: self.adm_error.clone(),
        }
    }

    /// Reports by outcome and form.
    pub const fn reports(&self) -> &Tally {
        &self.reports
    }

    /// What happened on N2 by name: messages dropped, commands failed, windows opened.
    pub const fn counts(&self) -> &BTreeMap<&'static str, u64> {
        &self.counts
    }

    fn handle_message(&mut self, connection: ConnectionId, message: FromGnb<'_>, now_ms: i64) {
        if let FromGnb::NgSetupRequest {
            gnb_id,
            aiot_support,
            ..
        } = message
        {
            return self.ng_setup(connection, Gnb::new(gnb_id), aiot_support, now_ms);
        }
        let Some(Connection::Ready(gnb)) = self.connections.get_mut(&connection) else {
            self.count("n2_before_ng_setup");
            // Neither an answer nor another ERROR INDICATION is answered with one (clauses 10.4 and 10.5).
            let kind = message.kind();
            if kind.is_initiating() && kind != MessageKind::ErrorIndication {
                self.indicate(connection, Cause::MessageNotCompatible);
            }
            return;
        };
        if message
            .session()
            .is_some_and(|(aiotf_id, _)| aiotf_id != self.config.aiotf_id)
        {
            return self.count("n2_other_aiotf");
        }
        let gnb_id = gnb.id;
        let correlation = message.session().map(|(_, correlation)| correlation);
        if correlation.is_some_and(|correlation| correlation < DO_A_FIRST) {
            return self.handle_terminated(connection, gnb_id, message, now_ms);
        }
        let retry_at_ms = now_ms.saturating_add(i64::from(self.config.window_retry_s) * 1000);
        match message {
            FromGnb::InventoryReport {
                correlation,
                gnb_id,
                readers,
                ..
            } => {
                if gnb_id != gnb.id {
                    return self.count("n2_other_gnb");
                }
                let Some(window) = gnb.window(correlation) else {
                    return self.count("n2_unknown_correlation");
                };
                let (rand_n, gnb_id) = (window.rand_n, gnb_id.id);
                for reader in readers {
                    self.gather(connection, correlation, rand_n, gnb_id, &reader, now_ms);
                }
            }
            FromGnb::InventoryResponse { correlation, .. } => {
                let opened = gnb.confirm(correlation);
                self.window_opened(connection, opened);
            }
            FromGnb::InventoryFailure {
                correlation, cause, ..
            } => {
                let refused = gnb.refuse(correlation, cause);
                if refused == Refused::New {
                    gnb.retry_at_ms = Some(retry_at_ms);
                }
                self.window_refused(connection, correlation, refused);
            }
            FromGnb::SessionReleaseRequest {
                correlation, cause, ..
            } => {
                if gnb.close(correlation) {
                    // Not at once: a gNB that has no room would be asked and give up in turn without end.
                    gnb.retry_at_ms = Some(retry_at_ms);
                    self.lose_sessions(connection, Some(correlation));
                    self.count("window_released_by_gnb");
                    self.release(connection, correlation, cause);
                } else {
                    self.count("n2_unknown_correlation");
                }
            }
            FromGnb::CommandFailure {
                correlation,
                device_ngap_id,
                cause,
                ..
            } => {
                let peer = (connection, device_ngap_id);
                if !self.command_failure(peer, correlation, cause, now_ms) {
                    self.count(match cause {
                        Cause::NoAiotNasResponse => "exchange_ended",
                        _ => "command_failed",
                    });
                }
            }
            FromGnb::CommandResponse {
                correlation,
                device_ngap_id,
                nas,
                ..
            } => {
                let peer = (connection, device_ngap_id);
                let is_taken = self.command_response(peer, correlation, &nas, now_ms);
                // A device that has not heard the ACCEPT of its registration repeats its answer to the challenge.
                if !is_taken || is_challenge_answer(&nas) {
                    self.respond(connection, device_ngap_id, &nas, now_ms);
                }
            }
            FromGnb::SessionReleaseComplete { .. } => self.count("window_closed"),
            FromGnb::ErrorIndication { .. } => self.count("n2_error_indication"),
            FromGnb::NgSetupRequest { .. } => {}
        }
    }

    fn ng_setup(&mut self, connection: ConnectionId, gnb: Gnb, aiot_support: bool, now_ms: i64) {
        let plmn = *self.config.snid.plmn().octets();
        let refusal = if gnb.id.plmn != plmn {
            Some(("ng_setup_unknown_plmn", Cause::UnknownPlmn))
        } else if !aiot_support {
            Some(("ng_setup_no_aiot_support", Cause::Unspecified))
        } else {
            None
        };
        if let Some((name, cause)) = refusal {
            self.count(name);
            return self.send(connection, &ToGnb::NgSetupFailure { cause });
        }
        self.welcome(connection, gnb);
        self.count("ng_setup");
        let response = ToGnb::NgSetupResponse {
            aiotf_id: Some(self.config.aiotf_id),
            name: Cow::Owned(self.config.name.clone()),
            plmn,
        };
        self.send(connection, &response);
        self.roll(now_ms);
    }

    /// Takes a gNB in. Where it was before, it is no more.
    fn welcome(&mut self, connection: ConnectionId, gnb: Gnb) {
        let same_gnb =
            |state: &Connection| matches!(state, Connection::Ready(other) if other.id == gnb.id);
        let stale: Vec<ConnectionId> = self
            .connections
            .iter()
            .filter(|(other, state)| **other != connection && same_gnb(state))
            .map(|(other, _)| *other)
            .collect();
        for other in stale {
            self.handle_disconnected(other);
            self.count("gnb_reconnected");
            self.outputs.push_back(Output::Close(other));
        }
        self.connections.insert(connection, Connection::Ready(gnb));
    }

    /// Notes the reports of one reader for the next batch.
    fn gather(
        &mut self,
        connection: ConnectionId,
        correlation: u16,
        rand_n: RandN,
        gnb_id: u32,
        reader: &ReaderReport<'_>,
        now_ms: i64,
    ) {
        let reader_index = reader.reader_index;
        let Some(area_id) = self.config.area(gnb_id, reader_index) else {
            for _ in &reader.devices {
                self.reports.count(Outcome::AreaUnknown, None);
            }
            return;
        };
        for device in &reader.devices {
            let Some(device_ngap_id) = device.device_ngap_id else {
                // Nobody to answer: the device would only send it again.
                self.count("n2_no_device_ngap_id");
                continue;
            };
            if is_registration_request(&device.nas) {
                let place = Place {
                    correlation,
                    gnb_id,
                    reader_index,
                    area_id,
                    rand_n,
                };
                self.register((connection, device_ngap_id), place, &device.nas, now_ms);
                continue;
            }
            let Some(nas) = Nas::new(&device.nas) else {
                self.reports.count(Outcome::Malformed, None);
                continue;
            };
            let shed = self.queue.push(Pending {
                connection,
                correlation,
                device_ngap_id,
                gnb_id,
                reader_index,
                area_id,
                rand_n,
                nas,
            });
            if let Some(shed) = shed {
                self.reports
                    .count(Outcome::SearchBudgetExhausted, shed.nas.form());
            }
            if self.queue.lookups() >= self.config.batch_max {
                self.flush_reports(now_ms);
            }
        }
    }

    /// A PDU that is no message: counted, and answered with an ERROR INDICATION where clause 10 asks for one.
    fn refuse_pdu(&mut self, connection: ConnectionId, error: &NgapError) {
        self.count(error.name());
        if let Some(cause) = error.to_cause() {
            self.indicate(connection, cause);
        }
    }

    /// An ERROR INDICATION; through an AMF none can be sent (TS 29.518 has no AiotMessageType for it).
    fn indicate(&mut self, connection: ConnectionId, cause: Cause) {
        if let Some(Connection::Ready(gnb)) = self.connections.get(&connection)
            && gnb.connectivity == Connectivity::Indirect
        {
            return;
        }
        self.send(connection, &ToGnb::ErrorIndication { cause: Some(cause) });
    }

    fn send(&mut self, connection: ConnectionId, message: &ToGnb<'_>) {
        self.queue_pdu(connection, message.encode());
    }

    /// Hands a device a NAS PDU, with a COMMAND REQUEST.
    fn command(
        &mut self,
        (connection, device_ngap_id): Peer,
        correlation: u16,
        nas: &[u8],
        expected_d2r_octets: u16,
    ) {
        let encoded = self.command_requests.encode(
            self.config.aiotf_id,
            correlation,
            device_ngap_id,
            nas,
            expected_d2r_octets,
        );
        self.queue_pdu(connection, encoded);
    }

    fn queue_pdu(&mut self, connection: ConnectionId, encoded: Result<Vec<u8>, NgapError>) {
        match encoded {
            Ok(octets) => self.outputs.push_back(Output::Pdu(connection, octets)),
            // Our own message does not encode: a defect, counted rather than fatal.
            Err(_) => self.count("n2_encode_failed"),
        }
    }

    fn count(&mut self, name: &'static str) {
        *self.counts.entry(name).or_default() += 1;
    }
}

fn is_challenge_answer(nas: &[u8]) -> bool {
    matches!(peek(nas), Ok((MessageType::AuthenticationResponse, _)))
}
