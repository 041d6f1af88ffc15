//! What runs beside the engine and follows the records: charging, presence and delivery. Each follower has a thread and a connection to the store of
//! its own, for reading; the engine waits for none of them.

use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ambit_adm::{Severity, Subject};
use ambit_aiotf::server::unix_ms;
use ambit_nef::charging::{Charging, ChargingError};
use ambit_nef::delivery::Delivery;
use ambit_nef::presence::{Change, Expectation, Follower, Seen};
use ambit_protocol::AreaId;
use ambit_store::{RecordFilter, Store, StoreError};
use serde_json::json;

use crate::admin::AdmOwner;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::delivery::{self, StreamSlot};
use crate::failure::Failure;
use crate::online::{self, Counts, Way};
use crate::show;

/// How long a follower that has seen all records waits for more.
const IDLE: Duration = Duration::from_millis(200);

/// How long one that failed waits before it tries again.
const PAUSE: Duration = Duration::from_secs(1);

/// The running followers.
pub(crate) struct Followers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    delivery: Delivery,
}

impl Followers {
    /// Starts what the configuration asks for.
    pub(crate) fn start(
        config: &Config,
        dir: &DataDir,
        engine: &impl AdmOwner,
        streams: &StreamSlot,
    ) -> Result<Self, Failure> {
        let delivery = delivery::start(config, dir, engine)?;
        // Set once: there is one delivery in a process.
        let _ = streams.set(delivery.streams());
        let mut followers = Self {
            stop: Arc::default(),
            threads: Vec::new(),
            delivery,
        };
        if let Some(config) = config.charging()? {
            let fault = |error: ChargingError| (error.name(), error.to_string());
            let open = move || -> Result<Step, Fault> {
                let mut charging = Charging::open(config.clone()).map_err(fault)?;
                Ok(Box::new(move |store, now_ms| {
                    charging.step(store, now_ms).map_err(fault)
                }))
            };
            let names = ("charging_halted", "charging_resumed");
            followers.follow("charging", names, open, dir, engine)?;
        }
        let (expectation, said) = (config.expectation()?, SaidThrough::new(dir));
        let (teller, place) = (engine.clone(), dir.clone());
        let open = move || -> Result<Step, Fault> {
            let elsewhere = Elsewhere::new(&place);
            Ok(presence(
                expectation.clone(),
                said.clone(),
                teller.clone(),
                elsewhere,
            ))
        };
        let names = ("presence_halted", "presence_resumed");
        followers.follow("presence", names, open, dir, engine)?;
        Ok(followers)
    }

    /// Starts sending events to the CHF that the configuration names.
    pub(crate) fn charge_online(
        &mut self,
        config: &Config,
        dir: &DataDir,
        engine: &impl AdmOwner,
        way: &Way,
        counts: &Arc<Counts>,
    ) -> Result<(), Failure> {
        if let Some(config) = config.chf()? {
            let threads = online::start(&config, dir, engine, way, counts, &self.stop)?;
            self.threads.extend(threads);
        }
        Ok(())
    }

    /// Ends them, once they have seen every record there is, or cannot. The engine must have ended.
    pub(crate) fn stop(self) {
        // What is not delivered yet is delivered at the next start.
        drop(self.delivery);
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            let _ = thread.join();
        }
    }

    fn follow(
        &mut self,
        name: &str,
        (halted, resumed): (&'static str, &'static str),
        mut open: impl FnMut() -> Result<Step, Fault> + Send + 'static,
        dir: &DataDir,
        engine: &impl AdmOwner,
    ) -> Result<(), Failure> {
        let (stop, dir, engine) = (Arc::clone(&self.stop), dir.clone(), engine.clone());
        let run = move || {
            let mut running: Option<(Step, Box<dyn Store>)> = None;
            let mut said = None;
            loop {
                // Read first: what is there when the engine has ended is still followed.
                let is_last = stop.load(Ordering::SeqCst);
                match turn(&mut running, &mut open, &dir) {
                    Ok(seen) => {
                        if said.take().is_some() {
                            say(&engine, resumed, Severity::Info, json!({}).to_string());
                        }
                        match seen {
                            0 if is_last => return,
                            0 => thread::sleep(IDLE),
                            _ => {}
                        }
                    }
                    Err((error, message)) => {
                        // What it held in memory may be ahead of what it wrote.
                        running = None;
                        if said != Some(error) {
                            let detail = json!({ "error": error, "message": message });
                            say(&engine, halted, Severity::Alarm, detail.to_string());
                            said = Some(error);
                        }
                        if is_last {
                            return;
                        }
                        thread::sleep(PAUSE);
                    }
                }
            }
        };
        let thread = thread::Builder::new()
            .name(name.into())
            .spawn(run)
            .map_err(|error| Failure::io(name, &error))?;
        self.threads.push(thread);
        Ok(())
    }
}

/// Follows the next records; returns how many there were.
type Step = Box<dyn FnMut(&mut dyn Store, i64) -> Result<usize, Fault> + Send>;

/// Why a follower stands still: name and message.
type Fault = (&'static str, String);

/// Follows presence, and tells the ADM what an operator should know.
fn presence(
    expectation: Expectation,
    mut said: SaidThrough,
    engine: impl AdmOwner,
    mut elsewhere: Elsewhere,
) -> Step {
    let mut follower = Follower::new(expectation, unix_ms());
    Box::new(move |store, now_ms| {
        let fault = |error: StoreError| (error.name(), error.to_string());
        let silent_through = match said.read() {
            Some(record) => record,
            // A store whose presence nobody followed so far: what lies in the past is history.
            None => store.evidence_head().map_err(fault)?.record,
        };
        let mut events = Vec::new();
        let mut note = |seen: &Seen, change: Change, record: Option<i64>| {
            // Where several cores share the store, whoever heard a device last misses it.
            let is_elsewhere = matches!(change, Change::Missing) && elsewhere.has_heard(seen);
            if record.is_none_or(|record| record > silent_through) && !is_elsewhere {
                events.extend(event(seen, &change));
            }
        };
        let seen = follower.step(store, now_ms, &mut note).map_err(fault)?;
        if !events.is_empty() {
            // An engine that has ended has nobody to tell: the next start does.
            let told = engine.call(move |adm| adm.raise_all(events, unix_ms()));
            if told.is_err() {
                return Ok(0);
            }
        }
        if follower.seen() >= silent_through {
            said.write(follower.seen());
        }
        Ok(seen)
    })
}

/// What other cores on a shared store have heard.
struct Elsewhere {
    dir: DataDir,
    store: Option<Box<dyn Store>>,
}

impl Elsewhere {
    fn new(dir: &DataDir) -> Self {
        Self {
            dir: dir.clone(),
            store: None,
        }
    }

    /// Whether a device has been heard since by another core. Where that cannot be said: no, an alarm too many rather than none.
    fn has_heard(&mut self, seen: &Seen) -> bool {
        if !self.dir.is_shared() {
            return false;
        }
        if self.store.is_none() {
            self.store = self.dir.open_to_read().ok();
        }
        let filter = RecordFilter {
            device_id: Some(&seen.device_id),
            since_ms: Some(seen.last_ms.saturating_add(1)),
            ..RecordFilter::default()
        };
        let mut is_heard = false;
        if let Some(store) = &mut self.store {
            let _ = store.records_for_each(&filter, &mut |_| {
                is_heard = true;
                ControlFlow::Break(())
            });
        }
        is_heard
    }
}

type Event = (&'static str, Severity, Subject, String);

/// The event of a change, if it is worth one.
fn event(seen: &Seen, change: &Change) -> Option<Event> {
    let last = show::time(seen.last_ms);
    let (severity, detail) = match change {
        Change::Missing => (Severity::Alarm, json!({ "last_heard": last })),
        Change::Returned => (Severity::Info, json!({})),
        Change::CloneSuspicion { from } => (
            Severity::Alarm,
            json!({
                "other_area_id": hex::encode(from.area_id),
                "other_gnb_id": from.gnb_id,
                "other_reader_index": from.reader_index,
            }),
        ),
        Change::Appeared | Change::Moved { .. } | Change::WentSilent => return None,
    };
    let subject = Subject {
        device_id: Some(seen.device_id.clone()),
        area_id: AreaId::from_octets(seen.place.area_id).ok(),
        gnb_id: Some(seen.place.gnb_id),
        reader_index: Some(seen.place.reader_index),
        form: None,
    };
    Some((change.name(), severity, subject, detail.to_string()))
}

/// Through which record presence has told what it found, in a file of the data directory. Lost with a power cut at worst: then
/// something is told twice, which adds to the same alarm.
#[derive(Clone)]
struct SaidThrough {
    path: PathBuf,
    known: Option<i64>,
}

impl SaidThrough {
    fn new(dir: &DataDir) -> Self {
        Self {
            path: dir.path().join("presence"),
            known: None,
        }
    }

    fn read(&mut self) -> Option<i64> {
        if self.known.is_none() {
            let text = fs::read_to_string(&self.path).ok();
            self.known = text.and_then(|text| text.trim().parse().ok());
        }
        self.known
    }

    fn write(&mut self, record: i64) {
        if self.known == Some(record) {
            return;
        }
        self.known = Some(record);
        let part = self.path.with_extension("part");
        let _ =
            fs::write(&part, format!("{record}\n")).and_then(|()| fs::rename(&part, &self.path));
    }
}

fn turn(
    running: &mut Option<(Step, Box<dyn Store>)>,
    open: &mut impl FnMut() -> Result<Step, Fault>,
    dir: &DataDir,
) -> Result<usize, Fault> {
    let (step, store) = match running {
        Some(running) => running,
        None => {
            let store = dir
                .open_own_records()
                .map_err(|failure| ("store_failed", failure.message))?;
            running.insert((open()?, store))
        }
    };
    step(store.as_mut(), unix_ms())
}

fn say(engine: &impl AdmOwner, kind: &'static str, severity: Severity, detail: String) {
    // An engine that has ended has nobody to tell.
    let _ = engine.call(move |adm| {
        adm.raise(kind, severity, Subject::default(), detail, unix_ms());
    });
}
