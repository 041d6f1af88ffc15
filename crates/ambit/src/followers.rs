//! What runs beside the engine and follows the records: charging. Each follower has a thread and a connection to the store of
//! its own, for reading; the engine waits for none of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ambit_adm::{Adm, Severity, Subject};
use ambit_aiotf::server::{Engine, unix_ms};
use ambit_nef::charging::{Charging, ChargingError};
use ambit_store::{SqliteStore, Store};
use serde_json::json;

use crate::config::Config;
use crate::data_dir::DataDir;
use crate::failure::Failure;

/// How long a follower that has seen all records waits for more.
const IDLE: Duration = Duration::from_millis(200);

/// How long one that failed waits before it tries again.
const PAUSE: Duration = Duration::from_secs(1);

/// The running followers.
pub(crate) struct Followers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Followers {
    /// Starts what the configuration asks for.
    pub(crate) fn start(
        config: &Config,
        dir: &DataDir,
        engine: &Engine<Adm>,
    ) -> Result<Self, Failure> {
        let mut followers = Self {
            stop: Arc::default(),
            threads: Vec::new(),
        };
        if let Some(config) = config.charging()? {
            let open = move || -> Result<Step, ChargingError> {
                let mut charging = Charging::open(config.clone())?;
                Ok(Box::new(move |store, now_ms| charging.step(store, now_ms)))
            };
            let names = ("charging_halted", "charging_resumed");
            followers.follow("charging", names, open, dir, engine)?;
        }
        Ok(followers)
    }

    /// Ends them, once they have seen every record there is, or cannot. The engine must have ended.
    pub(crate) fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            let _ = thread.join();
        }
    }

    fn follow(
        &mut self,
        name: &str,
        (halted, resumed): (&'static str, &'static str),
        mut open: impl FnMut() -> Result<Step, ChargingError> + Send + 'static,
        dir: &DataDir,
        engine: &Engine<Adm>,
    ) -> Result<(), Failure> {
        let (stop, dir, engine) = (Arc::clone(&self.stop), dir.clone(), engine.clone());
        let run = move || {
            let mut running: Option<(Step, SqliteStore)> = None;
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
type Step = Box<dyn FnMut(&mut dyn Store, i64) -> Result<usize, ChargingError> + Send>;

fn turn(
    running: &mut Option<(Step, SqliteStore)>,
    open: &mut impl FnMut() -> Result<Step, ChargingError>,
    dir: &DataDir,
) -> Result<usize, (&'static str, String)> {
    let fault = |error: ChargingError| (error.name(), error.to_string());
    let (step, store) = match running {
        Some(running) => running,
        None => {
            let store = dir
                .open_to_read()
                .map_err(|failure| ("store_failed", failure.message))?;
            running.insert((open().map_err(fault)?, store))
        }
    };
    step(store, unix_ms()).map_err(fault)
}

fn say(engine: &Engine<Adm>, kind: &'static str, severity: Severity, detail: String) {
    // An engine that has ended has nobody to tell.
    let _ = engine.call(move |aiotf| {
        aiotf
            .adm()
            .raise(kind, severity, Subject::default(), detail, unix_ms());
    });
}
