//! Delivery: what subscriptions ask for, brought to their sinks.
//!
//! One thread has the store ([`keeper`]), another runs a task for each subscription whose lease this process has ([`worker`]).
//! A slow sink holds up its own task and nothing else; the core is asked for nothing. A subscription's position is durable
//! behind what its sink has taken, never before: after a kill the last messages go out again, with the same ids.

mod backoff;
mod callback;
pub mod feed;
mod file;
mod keeper;
pub mod message;
mod mqtt;
mod net;
mod sink;
mod stream;
mod tally;
mod worker;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ambit_store::{DeliveryStore, StoreError};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::subscription::{DeliveryKey, Entitlements, Guard, Sink, Subscription};
use feed::Heads;
use keeper::{Assigned, Job, Keeper};
use net::Network;
use sink::Channel;
use worker::{State, Worker};

pub use stream::{EventStream, StreamError, Streams};
pub use tally::Tally;

/// Opens the store: a connection for each call.
pub type OpenStore = Arc<dyn Fn() -> Result<Box<dyn DeliveryStore>, StoreError> + Send + Sync>;

/// Where is said what an operator should know. May wait a little; delivery reads and writes nothing meanwhile.
pub type Notify = Arc<dyn Fn(Notice) + Send + Sync>;

/// What delivery needs.
#[derive(Clone)]
pub struct DeliveryConfig {
    /// Opens the store for writing.
    pub open: OpenStore,
    /// Who this process is, in leases.
    pub owner: [u8; 16],
    /// Whether other processes may deliver from the same store. If not, every lease is a dead one's.
    pub is_shared: bool,
    /// What AFs may receive.
    pub entitlements: Arc<dyn Entitlements>,
    /// Which addresses messages may be sent to.
    pub guard: Guard,
    /// The key that secrets come from.
    pub key: DeliveryKey,
    /// The network as CloudEvents name it in `source`.
    pub source: String,
    /// Certificates that sinks are verified against, in place of the system's (PEM).
    pub ca_file: Option<PathBuf>,
    /// How long a message is tried that a sink answers with an error, in seconds. Then it is a dead letter.
    pub give_up_s: u32,
}

/// How grave a notice is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Good to know.
    Info,
    /// Somebody should look at it.
    Warning,
    /// Somebody must look at it.
    Alarm,
}

/// What an operator should know.
#[derive(Clone, Debug)]
pub struct Notice {
    /// The stable name.
    pub kind: &'static str,
    /// How grave it is.
    pub severity: Severity,
    /// The rest, a JSON object.
    pub detail: String,
}

impl Notice {
    fn new(kind: &'static str, severity: Severity, detail: String) -> Self {
        let detail = match detail.is_empty() {
            true => "{}".to_owned(),
            false => detail,
        };
        Self {
            kind,
            severity,
            detail,
        }
    }
}

/// The names of what [`Notify`] is told.
pub const NOTICES: [&str; 13] = [
    "delivery_halted",
    "delivery_resumed",
    "sink_unreachable",
    "sink_unresolved",
    "sink_certificate",
    "sink_failing",
    "sink_redirects",
    "sink_file",
    "sink_resumed",
    "address_refused",
    "broker_refused",
    "dead_letter",
    "delivery_key_unusable",
];

/// Running delivery. Ends when it is dropped, without waiting for sinks.
pub struct Delivery {
    jobs: Sender<Job>,
    streams: Streams,
    tally: Tally,
    keeper: Option<JoinHandle<()>>,
    end: Option<tokio::sync::oneshot::Sender<()>>,
    workers: Option<JoinHandle<()>>,
}

impl Delivery {
    /// Starts delivering.
    ///
    /// # Errors
    /// The certificates cannot be read, or the system gives no thread.
    pub fn start(config: DeliveryConfig, notify: Notify) -> io::Result<Self> {
        let network = Network::new(config.guard.clone(), config.ca_file.as_deref())?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (jobs, asked) = channel();
        let (heads, seen_heads) = watch::channel(Heads::default());
        let (assigned, seen_assigned) = watch::channel(Assigned::default());
        let keeper = Keeper::new(config.clone(), notify, asked, heads, assigned);
        let keeper = std::thread::Builder::new()
            .name("delivery-store".into())
            .spawn(move || keeper.run())?;
        let tally = Tally::default();
        let streams = Streams::new(&config, jobs.clone(), seen_heads.clone(), tally.clone());
        let supervisor = Supervisor {
            config,
            network,
            jobs: jobs.clone(),
            heads: seen_heads,
            assigned: seen_assigned,
            tally: tally.clone(),
            running: HashMap::new(),
        };
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let workers = std::thread::Builder::new()
            .name("delivery".into())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = supervisor.run() => {}
                        _ = ended => {}
                    }
                });
                // What waits for a disk is not waited for.
                runtime.shutdown_timeout(Duration::from_millis(500));
            })?;
        Ok(Self {
            jobs,
            streams,
            tally,
            keeper: Some(keeper),
            end: Some(end),
            workers: Some(workers),
        })
    }

    /// Server-sent events for those who come with a token.
    #[must_use]
    pub fn streams(&self) -> Streams {
        self.streams.clone()
    }

    /// What became of messages so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally.clone()
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(workers) = self.workers.take() {
            let _ = workers.join();
        }
        let _ = self.jobs.send(Job::Stop);
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }
}

/// Starts and ends workers, as subscriptions come and go.
struct Supervisor {
    config: DeliveryConfig,
    network: Network,
    jobs: Sender<Job>,
    heads: watch::Receiver<Heads>,
    assigned: watch::Receiver<Assigned>,
    tally: Tally,
    running: HashMap<String, AbortHandle>,
}

impl Supervisor {
    async fn run(mut self) {
        loop {
            let assigned = self.assigned.borrow_and_update().clone();
            let is_assigned = |id: &str| assigned.subscriptions.iter().any(|(of, _)| of.id == id);
            self.running.retain(|id, task| {
                let stays = is_assigned(id) && !task.is_finished();
                if !stays {
                    task.abort();
                }
                stays
            });
            for (subscription, _) in assigned.subscriptions {
                if self.running.contains_key(&subscription.id) {
                    continue;
                }
                let id = subscription.id.clone();
                if let Some(worker) = self.worker(subscription) {
                    let task = tokio::spawn(worker.run());
                    self.running.insert(id, task.abort_handle());
                }
            }
            if self.assigned.changed().await.is_err() {
                return;
            }
        }
    }

    fn worker(&self, subscription: Arc<Subscription>) -> Option<Worker> {
        let (network, key) = (self.network.clone(), self.config.key.clone());
        let channel = match &subscription.sink {
            Sink::Callback { .. } => {
                Channel::Callback(callback::Callback::new(&subscription, network, key)?)
            }
            Sink::Mqtt { .. } => Channel::Mqtt(mqtt::Mqtt::new(&subscription, network)?),
            Sink::File { path } => {
                Channel::File(file::FileSink::new(path.clone(), subscription.id.clone()))
            }
            Sink::Stream => return None,
        };
        Some(Worker {
            subscription,
            channel,
            jobs: self.jobs.clone(),
            heads: self.heads.clone(),
            assigned: self.assigned.clone(),
            entitlements: Arc::clone(&self.config.entitlements),
            source: self.config.source.as_str().into(),
            give_up: Duration::from_secs(self.config.give_up_s.into()),
            tally: self.tally.clone(),
            state: State::default(),
        })
    }
}

/// Unix time in ms: when a message was given up.
fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}
