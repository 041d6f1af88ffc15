//! Online charging beside the engine: a thread for each writer whose records are charged for, with a connection to the store of
//! its own. The engine waits for none of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ambit_adm::{Severity, Subject};
use ambit_aiotf::server::unix_ms;
use ambit_nef::online::{ChfAnswer, Due, Online, OnlineConfig, OnlineError, Refusal, Round};
use ambit_sbi::chf::{ChfClient, ChfError};
use ambit_sbi::client::Client;
use ambit_sbi::nrf::client::NrfClient;
use ambit_sbi::runtime::Runtime;
use ambit_store::Store;
use serde_json::json;

use crate::admin::AdmOwner;
use crate::config::ChfConfig;
use crate::data_dir::{DataDir, instance_id};
use crate::failure::Failure;

/// How long a thread that has nothing to send waits for more.
const IDLE: Duration = Duration::from_millis(200);

/// How long one that failed by itself waits before it tries again.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a core that ends goes on sending; what is left is sent after its next start.
const DRAIN: Duration = Duration::from_secs(5);

/// How long a CHF may take to answer.
const WAIT: Duration = Duration::from_secs(5);

/// The way to functions on the service-based interface.
#[derive(Clone)]
pub(crate) struct Way {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) client: Client,
    pub(crate) nrf: Option<NrfClient>,
}

impl Way {
    /// To loopback in clear: where no service-based interface is configured.
    pub(crate) fn in_clear() -> Result<Self, Failure> {
        let runtime = Runtime::start().map_err(|error| Failure::io("charging.chf", &error))?;
        Ok(Self {
            runtime: Arc::new(runtime),
            client: Client::new(None, None),
            nrf: None,
        })
    }
}

/// What is counted, for `/metrics`.
#[derive(Default)]
pub(crate) struct Counts {
    requests: Mutex<BTreeMap<&'static str, u64>>,
    refused: AtomicU64,
    event: AtomicU64,
}

impl Counts {
    fn add(&self, outcome: &'static str) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry(outcome).or_default() += 1;
    }

    /// As it stands.
    pub(crate) fn take(&self) -> ChfSnapshot {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        ChfSnapshot {
            requests: requests.iter().map(|(name, n)| (*name, *n)).collect(),
            refused: self.refused.load(Ordering::Relaxed),
            event: self.event.load(Ordering::Relaxed),
        }
    }
}

/// How online charging stands.
pub(crate) struct ChfSnapshot {
    /// Requests by outcome.
    pub(crate) requests: Vec<(&'static str, u64)>,
    /// Events that were refused and wait.
    pub(crate) refused: u64,
    /// Number of the last event up to which all are dealt with.
    pub(crate) event: u64,
}

/// Starts a thread for this process's records, and one for those of each process that it has adopted.
pub(crate) fn start(
    config: &ChfConfig,
    dir: &DataDir,
    engine: &impl AdmOwner,
    way: &Way,
    counts: &Arc<Counts>,
    stop: &Arc<AtomicBool>,
) -> Result<Vec<JoinHandle<()>>, Failure> {
    let own = {
        let dir = dir.clone();
        let told = engine.call(move |adm| instance_id(&dir, adm));
        told.map_err(|stopped| Failure::resource("stopped", stopped))??
    };
    let mut threads = Vec::new();
    let adopted = config.adopt.iter().map(|id| (*id, true));
    for (id, is_adopted) in std::iter::once((own, false)).chain(adopted) {
        let mut online = config.online.clone();
        online.is_adopted = is_adopted;
        online.nf_name = uuid::Uuid::from_bytes(id).to_string();
        online.dir = match is_adopted {
            true => dir.path().join(format!("chf-{}", hex::encode(id))),
            false => dir.path().join("chf"),
        };
        let chf = ChfClient::new(way.client.clone(), way.nrf.clone(), &config.api_root, WAIT);
        let charging = Charging {
            config: online,
            records_of: is_adopted.then_some(id),
            dir: dir.clone(),
            engine: engine.clone(),
            runtime: Arc::clone(&way.runtime),
            chf: Arc::new(chf),
            counts: Arc::clone(counts),
            said: None,
        };
        let stop = Arc::clone(stop);
        let thread = thread::Builder::new()
            .name("online charging".into())
            .spawn(move || charging.run(&stop))
            .map_err(|error| Failure::io("charging.chf", &error))?;
        threads.push(thread);
    }
    Ok(threads)
}

struct Charging<E> {
    config: OnlineConfig,
    /// The process whose records these are, if it is another.
    records_of: Option<[u8; 16]>,
    dir: DataDir,
    engine: E,
    runtime: Arc<Runtime>,
    chf: Arc<ChfClient>,
    counts: Arc<Counts>,
    /// Why it was said to stand still.
    said: Option<&'static str>,
}

/// A request on its way.
type Request = tokio::task::JoinHandle<Result<(), ChfError>>;

type Running = (Online, Box<dyn Store>);

impl<E: AdmOwner> Charging<E> {
    fn run(mut self, stop: &AtomicBool) {
        let mut running: Option<Running> = None;
        let mut until: Option<Instant> = None;
        loop {
            // Read first: what is there when the engine has ended is still sent.
            let is_last = stop.load(Ordering::SeqCst);
            if is_last && *until.get_or_insert_with(|| Instant::now() + DRAIN) < Instant::now() {
                return;
            }
            match self.turn(&mut running) {
                Ok((sent, round)) => {
                    self.tell(&round);
                    let is_done = sent == 0 || round.halted.is_some();
                    if is_last && is_done {
                        return;
                    }
                    if sent == 0 {
                        thread::sleep(self.pause(running.as_ref()));
                    }
                }
                Err((error, message)) => {
                    // What it held in memory may be ahead of what it wrote.
                    running = None;
                    self.tell_halted(error, &message);
                    if is_last {
                        return;
                    }
                    thread::sleep(PAUSE);
                }
            }
        }
    }

    /// One round: how many requests there were, and what came of them.
    fn turn(&self, running: &mut Option<Running>) -> Result<(usize, Round), Fault> {
        let fault = |error: OnlineError| (error.name(), error.to_string());
        let (online, store) = match running {
            Some(running) => running,
            None => {
                let store = match self.records_of {
                    Some(id) => self.dir.open_records_of(id),
                    None => self.dir.open_own_records(),
                };
                let store = store.map_err(|failure| ("store_failed", failure.message))?;
                let online = Online::open(self.config.clone()).map_err(fault)?;
                running.insert((online, store))
            }
        };
        let due = online.poll(store.as_mut(), unix_ms()).map_err(fault)?;
        let sent = due.len();
        let answers = self.send(due);
        let round = online.answers(answers, unix_ms()).map_err(fault)?;
        if self.records_of.is_none() {
            let refused = online.refused() as u64;
            self.counts.refused.store(refused, Ordering::Relaxed);
            self.counts
                .event
                .store(online.through().event, Ordering::Relaxed);
        }
        Ok((sent, round))
    }

    /// Sends requests side by side and waits for all answers.
    fn send(&self, due: Vec<Due>) -> Vec<(u64, ChfAnswer)> {
        let handle = self.runtime.handle();
        let tasks: Vec<_> = due
            .into_iter()
            .map(|due| {
                let chf = Arc::clone(&self.chf);
                let task = handle.spawn(async move { chf.create(&due.body).await });
                (due.event, task)
            })
            .collect();
        let wait = |(event, task): (u64, Request)| {
            let answer = match handle.block_on(task) {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(error),
                Err(ended) => Err(ChfError::Unreachable(ended.to_string())),
            };
            let outcome = answer.as_ref().err().map_or("taken", ChfError::name);
            self.counts.add(outcome);
            (event, answer_of(answer))
        };
        tasks.into_iter().map(wait).collect()
    }

    fn pause(&self, running: Option<&Running>) -> Duration {
        let not_before_ms = running.map_or(0, |(online, _)| online.not_before_ms());
        let until_ms = not_before_ms.saturating_sub(unix_ms());
        match u64::try_from(until_ms) {
            Ok(ms) if ms > 0 => Duration::from_millis(ms).min(IDLE),
            _ => IDLE,
        }
    }

    fn tell(&mut self, round: &Round) {
        for Refusal { mark, reason } in &round.refused {
            let detail = json!({
                "event": mark.event,
                "record": mark.record,
                "reason": reason,
            });
            let kind = "charging_event_refused";
            self.say(kind, Severity::Warning, detail.to_string());
        }
        match &round.halted {
            Some((error, message)) => self.tell_halted(error, message),
            None if round.taken > 0 && self.said.take().is_some() => {
                self.say("online_charging_resumed", Severity::Info, "{}".into());
            }
            None => {}
        }
    }

    fn tell_halted(&mut self, error: &'static str, message: &str) {
        if self.said == Some(error) {
            return;
        }
        self.said = Some(error);
        let detail = json!({ "error": error, "message": message });
        let kind = "online_charging_halted";
        self.say(kind, Severity::Alarm, detail.to_string());
    }

    fn say(&self, kind: &'static str, severity: Severity, detail: String) {
        // An engine that has ended has nobody to tell.
        let _ = self.engine.call(move |adm| {
            adm.raise(kind, severity, Subject::default(), detail, unix_ms());
        });
    }
}

/// Why it stands still: name and message.
type Fault = (&'static str, String);

fn answer_of(answer: Result<(), ChfError>) -> ChfAnswer {
    match answer {
        Ok(()) => ChfAnswer::Taken,
        Err(error @ ChfError::EventRefused { .. }) => ChfAnswer::Refused {
            reason: error.to_string(),
        },
        Err(error) => ChfAnswer::Failed {
            name: error.name(),
            message: error.to_string(),
            retry_after: error.retry_after(),
        },
    }
}
