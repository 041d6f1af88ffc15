//! Administration of a data directory: one set of requests, run on the directory itself or by the core that runs on it.
//!
//! Over the core's admin socket (`admin.sock`, a Unix socket that only its owner reaches) a client writes one request as a
//! line of JSON and reads replies, one a line: any number of rows, then `done` or `failure`.

mod afs;
mod ask;
mod evidence;
mod execute;
mod kept;
mod presence;
mod server;
mod status;
mod subscribers;
mod subscriptions;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use ambit_aiotf::server::unix_ms;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Place;
use crate::data_dir::DataDir;
use crate::failure::Failure;

pub(crate) use ask::{Ask, AskDevices, AskOperation};
pub(crate) use evidence::parse_key;
pub(crate) use server::{AdmOwner, AdminServer};
pub(crate) use status::flat;
pub(crate) use subscriptions::SubscriptionRequest;

/// What can be asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub(crate) enum Request {
    /// Import devices from a CSV whose keys are all there; `lines` are where they stand in the operator's own file.
    DeviceImport {
        csv: Secret,
        lines: Vec<u64>,
    },
    DeviceList,
    DeviceShow {
        device_id: String,
    },
    DeviceSetDisabled {
        device_id: String,
        disabled: bool,
    },
    /// Give a device the next key; the answer holds it.
    DeviceRotateKey {
        device_id: String,
    },
    /// How core and store stand.
    Status,
    /// Import subscribers from what [`ambit_provisioning::write_subscribers`] writes; `lines` as above.
    SubscriberImport {
        csv: Secret,
        lines: Vec<u64>,
    },
    SubscriberList,
    /// By IMSI, SUPI or device ID.
    SubscriberShow {
        name: String,
    },
    /// Make a private key of the home network; profile `a` or `b`.
    HomeNetworkKeyAdd {
        key_id: Option<u8>,
        profile: char,
    },
    HomeNetworkKeyList,
    RecordList {
        device_id: Option<String>,
        since_ms: Option<i64>,
    },
    /// Walk records and checkpoints; `public_key` in place of the one that the store names.
    EvidenceVerify {
        public_key: Option<String>,
    },
    /// What shows a record, but for the proof of its tag.
    EvidenceShow {
        record: i64,
    },
    /// The proof of a record's tag, for which the device's key is needed.
    EvidenceTag {
        record: i64,
    },
    EvidenceCheckpoint,
    EvidenceExport,
    /// The links of these records, for each that is there.
    EvidenceLinks {
        records: Vec<i64>,
    },
    /// An inventory or a command, which only a running core can do.
    Ask(Ask),
    /// Keep a command for each of these devices, for so many seconds.
    CommandKeep {
        devices: Vec<String>,
        operation: AskOperation,
        lifetime_s: u32,
    },
    /// Kept commands that wait, or all.
    CommandList {
        device: Option<String>,
        all: bool,
    },
    CommandWithdraw {
        ids: Vec<i64>,
    },
    /// Where every device was heard last, or the history of one. What is expected is the asker's configuration.
    PresenceList {
        interval_s: HashMap<String, u32>,
        grace_s: u32,
        /// The history of this one only.
        device_id: Option<String>,
    },
    /// Subscriptions and their dead letters.
    Subscription(SubscriptionRequest),
    /// `rights` has the members of an AF's authorisation (JSON) that are not as by default.
    AfAdd {
        name: String,
        rights: Value,
    },
    AfList,
    AfShow {
        name: String,
    },
    /// `rights` has those that are to be other than they are.
    AfSet {
        name: String,
        rights: Value,
    },
    AfRemove {
        name: String,
    },
    AfNewSecret {
        name: String,
    },
    /// Open alarms, or all.
    AlarmList {
        all: bool,
    },
    AlarmAck {
        ids: Vec<i64>,
        by: String,
    },
    EventList {
        kind: Option<String>,
        since_ms: Option<i64>,
    },
}

impl Request {
    /// Whether it needs the ADM (and with it the lock), not only the store.
    const fn changes(&self) -> bool {
        if let Self::Subscription(asked) = self {
            return asked.changes();
        }
        matches!(
            self,
            Self::DeviceImport { .. }
                | Self::DeviceSetDisabled { .. }
                | Self::DeviceRotateKey { .. }
                | Self::EvidenceTag { .. }
                | Self::EvidenceCheckpoint
                | Self::AlarmAck { .. }
                | Self::AfAdd { .. }
                | Self::AfSet { .. }
                | Self::AfRemove { .. }
                | Self::AfNewSecret { .. }
                | Self::CommandKeep { .. }
                | Self::CommandWithdraw { .. }
                | Self::SubscriberImport { .. }
                | Self::HomeNetworkKeyAdd { .. }
                | Self::HomeNetworkKeyList
        )
    }
}

/// Text with keys in it: not printed, wiped when dropped.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Secret(pub(crate) String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}

/// One line of an answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reply {
    Row(Value),
    Done,
    Failure(Failure),
}

/// How long to wait for a lock that another command holds, or for a core that is starting.
const WAIT: Duration = Duration::from_secs(10);

/// Runs a request at a place and hands each row of the answer to `row`, which says whether it wants more.
///
/// # Errors
/// [`Failure`]: of the request, or because neither the directory nor the core on it can be reached.
pub(crate) fn run(
    place: &Place,
    request: &Request,
    row: &mut dyn FnMut(Value) -> bool,
) -> Result<(), Failure> {
    let config = place.config()?;
    let dir = DataDir::new(&config)?;
    if matches!(request, Request::Status) {
        // Of the core there is, under its own configuration; else of the store, under this one.
        if let Some(stream) = connect(&dir) {
            return ask(stream, request, row);
        }
        let mut store = dir.open_to_read()?;
        row(status::of_store(store.as_mut(), &config.adm()?)?);
        return Ok(());
    }
    if !request.changes() {
        // Reading goes on beside a writer, core or command.
        if let Request::Subscription(asked) = request {
            return subscriptions::read(dir.open_deliveries_to_read()?.as_mut(), asked, row);
        }
        let mut store = dir.open_to_read()?;
        return execute::read(store.as_mut(), request, row);
    }
    if matches!(request, Request::HomeNetworkKeyList) {
        // Looking makes no store.
        dir.open_to_read()?;
    }
    let started = Instant::now();
    loop {
        if let Some(stream) = connect(&dir) {
            return ask(stream, request, row);
        }
        if let Some(lock) = dir.lock()? {
            let now_ms = unix_ms();
            let mut adm = dir.open_adm(config.adm()?, &lock, now_ms)?;
            let done = match request {
                Request::Subscription(asked) => {
                    let mut of_adm = subscriptions::OfAdm(&mut adm);
                    subscriptions::change(
                        dir.open_deliveries()?.as_mut(),
                        &config.subscription_rules()?,
                        &mut of_adm,
                        asked,
                        row,
                    )
                }
                _ => execute::change(&mut adm, request, now_ms, row),
            };
            adm.close(unix_ms());
            return done;
        }
        if started.elapsed() > WAIT {
            let message = format!(
                "data directory {}: in use by another process",
                dir.path().display()
            );
            return Err(Failure::resource("data_dir_locked", message));
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Runs a request that only a running core can serve.
///
/// # Errors
/// [`Failure`]: of the request, or because no core runs on the directory.
pub(crate) fn run_live(
    place: &Place,
    request: &Request,
    row: &mut dyn FnMut(Value) -> bool,
) -> Result<(), Failure> {
    let dir = DataDir::new(&place.config()?)?;
    match connect(&dir) {
        Some(stream) => ask(stream, request, row),
        None => {
            let path = dir.path().display();
            let message = format!("data directory {path}: no core runs on it; start ambit serve");
            Err(Failure::resource("no_core", message))
        }
    }
}

fn connect(dir: &DataDir) -> Option<UnixStream> {
    let (_dir, socket) = dir.socket().ok()?;
    UnixStream::connect(socket).ok()
}

fn ask(
    mut stream: UnixStream,
    request: &Request,
    row: &mut dyn FnMut(Value) -> bool,
) -> Result<(), Failure> {
    let lost = |error: &dyn std::fmt::Display| {
        Failure::resource(
            "admin_socket",
            format!(
                "the core on this directory went away before it answered ({error}); look whether it was done, generated keys are kept"
            ),
        )
    };
    let line = serde_json::to_string(request)
        .map(Secret)
        .map_err(|error| lost(&error))?;
    stream
        .write_all(line.0.as_bytes())
        .map_err(|error| lost(&error))?;
    stream.write_all(b"\n").map_err(|error| lost(&error))?;
    for line in BufReader::new(stream).lines() {
        let line = Secret(line.map_err(|error| lost(&error))?);
        match serde_json::from_str(&line.0).map_err(|error| lost(&error))? {
            Reply::Row(value) => {
                if !row(value) {
                    return Ok(());
                }
            }
            Reply::Done => return Ok(()),
            Reply::Failure(failure) => return Err(failure),
        }
    }
    Err(lost(&"it gave no answer"))
}
