//! An emulated AMF, as far as Ambient IoT has use for one (indirect connectivity, TS 23.369): it sets gNBs up and carries NGAP
//! between them and AIOTFs, without a look at what devices say.
//!
//! [`Amf`] is the function without I/O: N2 connections, PDUs and what AIOTFs ask go in, PDUs and what is to be told to AIOTFs
//! come out. [`server`] runs it on TCP. How AIOTFs are reached is its caller's affair.

pub mod server;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, VecDeque};

use ambit_ngap::{AiotfId, Cause, FromGnb, GnbId, MessageKind, Plmn, ToGnb};

/// A connection on N2, named by whoever runs the transport.
pub type ConnectionId = u64;

/// Sessions of one gNB at most; beyond, those that were named longest ago are forgotten.
const SESSIONS_MAX: usize = 4096;

/// How an AMF behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AmfConfig {
    /// Its name.
    pub name: String,
    /// The PLMN it serves.
    pub plmn: Plmn,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send one NGAP PDU to a gNB.
    Pdu(ConnectionId, Vec<u8>),
    /// Tell an AIOTF what a gNB said.
    Notify(ConnectionId, Notification),
    /// Close the connection: the same gNB came back on another one.
    Close(ConnectionId),
}

/// What a gNB said to an AIOTF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Where the AIOTF wants to be told.
    pub notif_uri: String,
    /// The PDU.
    pub ngap: Vec<u8>,
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AmfStats {
    /// gNBs set up.
    pub set_up: u64,
    /// gNBs refused.
    pub set_up_refused: u64,
    /// PDUs to gNBs.
    pub transfers: u64,
    /// PDUs to gNBs that are not connected.
    pub transfers_unknown: u64,
    /// PDUs to AIOTFs.
    pub notifications: u64,
    /// PDUs of gNBs for nobody that is known, or that are none.
    pub dropped: u64,
}

/// The gNB is not connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such gNB is connected")]
pub struct UnknownGnb;

/// An AMF.
#[derive(Debug)]
pub struct Amf {
    config: AmfConfig,
    /// The gNB of each connection, once it is set up.
    connections: BTreeMap<ConnectionId, Option<Gnb>>,
    outputs: VecDeque<Output>,
    stats: AmfStats,
    /// Counts what AIOTFs ask, to tell which sessions were named longest ago.
    next: u64,
}

#[derive(Debug)]
struct Gnb {
    id: GnbId,
    sessions: HashMap<(AiotfId, u16), Session>,
}

#[derive(Debug)]
struct Session {
    notif_uri: String,
    is_releasing: bool,
    named: u64,
}

impl Amf {
    /// An AMF without gNBs.
    pub const fn new(config: AmfConfig) -> Self {
        Self {
            config,
            connections: BTreeMap::new(),
            outputs: VecDeque::new(),
            stats: AmfStats {
                set_up: 0,
                set_up_refused: 0,
                transfers: 0,
                transfers_unknown: 0,
                notifications: 0,
                dropped: 0,
            },
            next: 0,
        }
    }

    /// A transport connection was made.
    pub fn handle_connected(&mut self, connection: ConnectionId) {
        self.connections.insert(connection, None);
    }

    /// A transport connection is gone, and with it its gNB's sessions. AIOTFs are not told: Namf_AIoT has no way to.
    pub fn handle_disconnected(&mut self, connection: ConnectionId) {
        self.connections.remove(&connection);
    }

    /// One NGAP PDU of a connection.
    pub fn handle_pdu(&mut self, connection: ConnectionId, octets: &[u8]) {
        let Some(gnb) = self.connections.get_mut(&connection) else {
            return;
        };
        let message = match FromGnb::decode(octets) {
            Ok(message) => message,
            Err(error) => {
                self.stats.dropped += 1;
                if let Some(cause) = error.to_cause() {
                    let indication = ToGnb::ErrorIndication { cause: Some(cause) };
                    self.send(connection, &indication);
                }
                return;
            }
        };
        if let FromGnb::NgSetupRequest { gnb_id, .. } = message {
            return self.ng_setup(connection, gnb_id);
        }
        let session = message.session();
        let (Some(gnb), Some(key)) = (gnb, session) else {
            self.stats.dropped += 1;
            return;
        };
        let Some(session) = gnb.sessions.get(&key) else {
            self.stats.dropped += 1;
            return;
        };
        let notif_uri = session.notif_uri.clone();
        // Another session of the same number may have been opened since the release.
        if message.kind() == MessageKind::SessionReleaseComplete && session.is_releasing {
            gnb.sessions.remove(&key);
        }
        self.stats.notifications += 1;
        let notification = Notification {
            notif_uri,
            ngap: octets.to_vec(),
        };
        self.outputs
            .push_back(Output::Notify(connection, notification));
    }

    /// An AIOTF has a PDU for a gNB, and wants to be told of its session at a URI.
    ///
    /// # Errors
    /// [`UnknownGnb`].
    pub fn transfer(
        &mut self,
        gnb_id: GnbId,
        ngap: Vec<u8>,
        notif_uri: &str,
    ) -> Result<ConnectionId, UnknownGnb> {
        let mut connections = self.connections.iter_mut();
        let found = connections.find_map(|(connection, gnb)| {
            gnb.as_mut()
                .filter(|gnb| gnb.id == gnb_id)
                .map(|gnb| (*connection, gnb))
        });
        let Some((connection, gnb)) = found else {
            self.stats.transfers_unknown += 1;
            return Err(UnknownGnb);
        };
        if let Ok(message) = ToGnb::decode(&ngap)
            && let Some(key) = message.session()
        {
            self.next += 1;
            gnb.name(key, message.kind(), notif_uri, self.next);
        }
        self.stats.transfers += 1;
        self.outputs.push_back(Output::Pdu(connection, ngap));
        Ok(connection)
    }

    /// Nobody is at a URI (any more): what belongs there is told no more.
    pub fn forget(&mut self, notif_uri: &str) {
        for gnb in self.connections.values_mut().flatten() {
            gnb.sessions
                .retain(|_, session| session.notif_uri != notif_uri);
        }
    }

    /// The next thing to do. To be called until `None` after each input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// gNBs that are set up.
    pub fn gnb_count(&self) -> usize {
        self.connections.values().flatten().count()
    }

    /// Counts since the start.
    pub const fn stats(&self) -> AmfStats {
        self.stats
    }

    fn ng_setup(&mut self, connection: ConnectionId, id: GnbId) {
        if id.plmn != self.config.plmn {
            self.stats.set_up_refused += 1;
            let cause = Cause::UnknownPlmn;
            return self.send(connection, &ToGnb::NgSetupFailure { cause });
        }
        let is_same = |gnb: &Option<Gnb>| gnb.as_ref().is_some_and(|gnb| gnb.id == id);
        let stale: Vec<ConnectionId> = self
            .connections
            .iter()
            .filter(|(other, gnb)| **other != connection && is_same(gnb))
            .map(|(other, _)| *other)
            .collect();
        for other in stale {
            self.connections.remove(&other);
            self.outputs.push_back(Output::Close(other));
        }
        let sessions = HashMap::new();
        self.connections
            .insert(connection, Some(Gnb { id, sessions }));
        self.stats.set_up += 1;
        let response = ToGnb::NgSetupResponse {
            aiotf_id: None,
            name: Cow::Owned(self.config.name.clone()),
            plmn: self.config.plmn,
        };
        self.send(connection, &response);
    }

    fn send(&mut self, connection: ConnectionId, message: &ToGnb<'_>) {
        // A name that NGAP cannot carry is the one thing that does not encode.
        if let Ok(octets) = message.encode() {
            self.outputs.push_back(Output::Pdu(connection, octets));
        }
    }
}

impl Gnb {
    fn name(&mut self, key: (AiotfId, u16), kind: MessageKind, notif_uri: &str, named: u64) {
        if self.sessions.len() >= SESSIONS_MAX && !self.sessions.contains_key(&key) {
            let oldest = self.sessions.iter().min_by_key(|(_, s)| s.named);
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                self.sessions.remove(&oldest);
            }
        }
        let is_releasing = match kind {
            MessageKind::SessionReleaseCommand => true,
            MessageKind::InventoryRequest => false,
            _ => self.sessions.get(&key).is_some_and(|s| s.is_releasing),
        };
        let session = Session {
            notif_uri: notif_uri.to_owned(),
            is_releasing,
            named,
        };
        self.sessions.insert(key, session);
    }
}
