//! The AIOTF's side: gNBs behind an AMF are attached to the engine, what is meant for them is handed to the AMF, and what
//! the AMF tells of them goes to the engine.
//!
//! An AMF that does not answer, or does not know the gNB, is as a broken N2 connection: the gNB is detached, and attached again
//! after a pause, at this AMF or another. What was on its way is lost, as on N2; devices and requests try again.

mod callback;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ambit_adm_api::AdmClient;
use ambit_aiotf::ConnectionId;
use ambit_aiotf::server::{Engine, NotTaken, Outlet};
use ambit_ngap::{GnbId, MessageKind, ToGnb};
use ambit_protocol::Snid;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::lane::{self, Order};
use super::message::{self, Transfer};
use super::{SERVICE, post};
use crate::client::ClientError;
use crate::nrf::client::NrfClient;
use crate::router::Route;

/// PDUs that wait for one gNB's AMF.
const WAITING_MAX: usize = 4096;

/// The pause before a gNB is attached again; it doubles until an AMF has taken something.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// An AIOTF that runs elsewhere in this process.
pub trait GnbAccess: Send + Sync + 'static {
    /// Attaches a gNB; `None` when the AIOTF has ended. May wait.
    fn attach(&self, gnb_id: GnbId, outlet: Outlet) -> Option<ConnectionId>;

    /// Takes a PDU of an attached gNB. Does not wait.
    ///
    /// # Errors
    /// [`NotTaken`].
    fn pdu(&self, connection: ConnectionId, pdu: Vec<u8>) -> Result<(), NotTaken>;

    /// Detaches a gNB. May wait.
    fn detach(&self, connection: ConnectionId);
}

impl<A: AdmClient + Send + 'static> GnbAccess for Engine<A> {
    fn attach(&self, gnb_id: GnbId, outlet: Outlet) -> Option<ConnectionId> {
        Self::attach(self, gnb_id, outlet).ok()
    }

    fn pdu(&self, connection: ConnectionId, pdu: Vec<u8>) -> Result<(), NotTaken> {
        self.attached_pdu(connection, pdu)
    }

    fn detach(&self, connection: ConnectionId) {
        Self::detach(self, connection);
    }
}

/// Which gNBs are behind AMFs, and how AMFs are found.
#[derive(Clone, Debug)]
pub struct LinksConfig {
    /// NF instance ID of the AIOTF.
    pub aiotf_id: Uuid,
    /// Its network.
    pub snid: Snid,
    /// The gNBs.
    pub gnbs: Vec<GnbId>,
    /// The AMF's API root; `None` asks the NRF.
    pub amf: Option<String>,
    /// The API root under which AMFs reach this AIOTF.
    pub notify_root: String,
    /// Whether what an AMF tells needs an access token.
    pub callback_token: bool,
}

/// The ways to gNBs behind AMFs. Clones are the same.
#[derive(Clone)]
pub struct Links(Arc<Shared>);

struct Shared {
    config: LinksConfig,
    access: Arc<dyn GnbAccess>,
    nrf: NrfClient,
    /// Begins what stands in notification URIs: what an AMF tells of sessions of an AIOTF before this one is not for this one.
    life: String,
    links: Vec<Link>,
    counts: Mutex<BTreeMap<&'static str, u64>>,
}

/// The way to one gNB.
struct Link {
    gnb_id: GnbId,
    state: Mutex<LinkState>,
}

#[derive(Default)]
struct LinkState {
    /// Its name in the engine, while it is attached.
    connection: Option<ConnectionId>,
    /// Correlation identifiers that an AMF was given a notification URI for, and whether the session is being released.
    correlations: HashMap<u16, bool>,
    /// The AMF that takes what is for it.
    amf: Option<String>,
    last_error: Option<String>,
}

/// How the way to a gNB stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkStatus {
    /// The gNB.
    pub gnb_id: GnbId,
    /// The API root of the AMF that takes what is for it.
    pub amf: Option<String>,
    /// Why there was none the last time.
    pub last_error: Option<String>,
}

/// Why a gNB is not reached.
struct Down(String);

impl Links {
    /// Ways to gNBs, none of which is attached yet.
    ///
    /// # Errors
    /// The system gave no random octets.
    pub fn new(
        config: LinksConfig,
        access: Arc<dyn GnbAccess>,
        nrf: NrfClient,
    ) -> Result<Self, getrandom::Error> {
        let mut life = [0; 8];
        getrandom::fill(&mut life)?;
        let link = |gnb_id: &GnbId| Link {
            gnb_id: *gnb_id,
            state: Mutex::default(),
        };
        let links = config.gnbs.iter().map(link).collect();
        Ok(Self(Arc::new(Shared {
            config,
            access,
            nrf,
            life: hex::encode(life),
            links,
            counts: Mutex::default(),
        })))
    }

    /// Where AMFs tell what gNBs say.
    pub fn routes(&self) -> Vec<Route> {
        callback::routes(&self.0)
    }

    /// Attaches all gNBs, and keeps them attached until the runtime or the AIOTF ends.
    pub fn start(&self, runtime: &Handle) {
        for at in 0..self.0.links.len() {
            runtime.spawn(keep(Arc::clone(&self.0), at));
        }
    }

    /// How the ways stand.
    pub fn status(&self) -> Vec<LinkStatus> {
        let status = |link: &Link| {
            let state = link.lock();
            LinkStatus {
                gnb_id: link.gnb_id,
                amf: state.amf.clone(),
                last_error: state.last_error.clone(),
            }
        };
        self.0.links.iter().map(status).collect()
    }

    /// What happened, by name.
    pub fn counts(&self) -> Vec<(&'static str, u64)> {
        let counts = lock(&self.0.counts);
        counts.iter().map(|(name, n)| (*name, *n)).collect()
    }
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Links({:?})", self.0.config.gnbs)
    }
}

/// Keeps one gNB attached.
async fn keep(shared: Arc<Shared>, at: usize) {
    let Some(link) = shared.links.get(at) else {
        return;
    };
    let mut pause = PAUSE;
    loop {
        let (sender, mut pdus) = mpsc::channel::<Vec<u8>>(WAITING_MAX);
        let outlet: Outlet = Box::new(move |pdu| sender.try_send(pdu).is_ok());
        let (access, gnb_id) = (Arc::clone(&shared.access), link.gnb_id);
        let attached = tokio::task::spawn_blocking(move || access.attach(gnb_id, outlet)).await;
        let Ok(Some(connection)) = attached else {
            return;
        };
        link.lock().connection = Some(connection);
        let ended = carry(&shared, at, &mut pdus).await;
        let was_taken = {
            let mut state = link.lock();
            state.connection = None;
            state.correlations.clear();
            if let Err(Down(reason)) = ended {
                state.last_error = Some(reason);
            }
            state.amf.take().is_some()
        };
        shared.count("amf_down");
        shared.nrf.doubt_discovery();
        let access = Arc::clone(&shared.access);
        let _ = tokio::task::spawn_blocking(move || access.detach(connection)).await;
        if was_taken {
            pause = PAUSE;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Hands what the engine has for a gNB to an AMF, until one of the two ends it.
async fn carry(
    shared: &Arc<Shared>,
    at: usize,
    pdus: &mut mpsc::Receiver<Vec<u8>>,
) -> Result<(), Down> {
    let Some(first) = pdus.recv().await else {
        return Ok(());
    };
    let amf = find_amf(shared, at, first).await?;
    shared.count("amf_up");
    let order = |pdu: &Vec<u8>| ToGnb::decode(pdu).map_or(Order::Alone, |m| Order::of_to_gnb(&m));
    let send = |pdu: Vec<u8>| {
        let (shared, amf) = (Arc::clone(shared), amf.clone());
        async move { transfer(&shared, at, &amf, pdu).await }
    };
    lane::run(pdus, order, send).await
}

/// The API root of an AMF that takes a PDU for a gNB.
async fn find_amf(shared: &Arc<Shared>, at: usize, pdu: Vec<u8>) -> Result<String, Down> {
    let roots = match &shared.config.amf {
        Some(root) => vec![root.trim_end_matches('/').to_owned()],
        None => {
            let found = shared.nrf.discover("AMF", SERVICE, "").await;
            let found = found.map_err(|error| Down(error.to_string()))?;
            found.into_iter().map(|amf| amf.api_root).collect()
        }
    };
    let mut down = Down("the NRF knows no AMF that offers Namf_AIoT".into());
    for root in roots {
        match transfer(shared, at, &root, pdu.clone()).await {
            Ok(()) => {
                if let Some(link) = shared.links.get(at) {
                    link.lock().amf = Some(root.clone());
                }
                return Ok(root);
            }
            Err(error) => down = error,
        }
    }
    Err(down)
}

/// Hands one PDU to an AMF. One that it does not take for its own sake is lost; the others with it are not.
async fn transfer(shared: &Shared, at: usize, amf: &str, pdu: Vec<u8>) -> Result<(), Down> {
    let (Some(link), Ok(message)) = (shared.links.get(at), ToGnb::decode(&pdu)) else {
        return Ok(());
    };
    let Some((aiotf_id, correlation)) = message.session() else {
        return Ok(());
    };
    let Some(connection) = link.lock().connection else {
        return Ok(());
    };
    let transfer = Transfer {
        gnb_id: link.gnb_id,
        session: (aiotf_id, correlation),
        notif_uri: shared.notif_uri(link.gnb_id, connection, correlation),
        ngap: pdu.clone(),
    };
    let Some(body) = message::request(shared.config.snid, &transfer, &message) else {
        return Ok(());
    };
    // Before it is sent: the answer may be here before the AMF's own.
    link.lock().note(correlation, message.kind());
    let uri = format!("{amf}/namf-aiot/v1/transfer");
    match post(&shared.nrf, "AMF", &uri, &body.media_type, &body.octets).await {
        Ok(_) => Ok(()),
        Err(ClientError::Refused {
            status: 400 | 411 | 413 | 415 | 429,
            ..
        }) => {
            shared.count("amf_message_lost");
            Ok(())
        }
        Err(error) => Err(Down(error.to_string())),
    }
}

impl Shared {
    fn notif_uri(&self, gnb_id: GnbId, connection: ConnectionId, correlation: u16) -> String {
        let root = self.config.notify_root.trim_end_matches('/');
        let (path, life) = (callback::PATH, self.life_of(connection));
        format!("{root}{path}/{life}/{}/{correlation}", gnb_id.id)
    }

    /// What stands in notification URIs while a gNB is attached under this name, and never again.
    fn life_of(&self, connection: ConnectionId) -> String {
        format!("{}-{connection:x}", self.life)
    }

    fn count(&self, name: &'static str) {
        *lock(&self.counts).entry(name).or_default() += 1;
    }
}

impl LinkState {
    /// A message goes to the gNB.
    fn note(&mut self, correlation: u16, kind: MessageKind) {
        match kind {
            MessageKind::InventoryRequest => {
                self.correlations.insert(correlation, false);
            }
            MessageKind::SessionReleaseCommand => {
                self.correlations.insert(correlation, true);
            }
            _ => {
                self.correlations.entry(correlation).or_insert(false);
            }
        }
    }

    /// A session is over, unless another of its number was opened since.
    fn released(&mut self, correlation: u16) {
        if self.correlations.get(&correlation) == Some(&true) {
            self.correlations.remove(&correlation);
        }
    }
}

impl Link {
    fn lock(&self) -> MutexGuard<'_, LinkState> {
        lock(&self.state)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
