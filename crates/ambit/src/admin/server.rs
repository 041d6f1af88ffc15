//! The admin socket of a running core.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::Duration;

use ambit_adm::Adm;
use ambit_aiotf::server::{Engine, Stopped, unix_ms};
use ambit_nef::subscription::Rules;
use ambit_sbi::adm::engine::AdmHandle;
use serde_json::Value;

use super::status::Running;
use super::{Reply, Request, Secret, ask, execute, subscriptions};
use crate::data_dir::DataDir;
use crate::failure::Failure;

/// A request is at most this long: an import of some millions of devices.
const REQUEST_OCTETS_MAX: u64 = 512 << 20;

/// How long a client may take to send its request or take a piece of the answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whoever runs an ADM in this process.
pub(crate) trait AdmOwner: Clone + Send + 'static {
    /// Runs `f` on the ADM, between two other things, and returns what it returns.
    fn call<R: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Adm) -> R + Send + 'static,
    ) -> Result<R, Stopped>;

    /// How it stands.
    fn standing(&self) -> Result<Running, Stopped>;

    /// The AIOTF beside it, if there is one.
    fn aiotf(&self) -> Option<&Engine<Adm>>;
}

impl AdmOwner for Engine<Adm> {
    fn call<R: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Adm) -> R + Send + 'static,
    ) -> Result<R, Stopped> {
        Self::call(self, move |aiotf| f(aiotf.adm()))
    }

    fn standing(&self) -> Result<Running, Stopped> {
        Self::call(self, Running::take)
    }

    fn aiotf(&self) -> Option<&Engine<Adm>> {
        Some(self)
    }
}

impl AdmOwner for AdmHandle<Adm> {
    fn call<R: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Adm) -> R + Send + 'static,
    ) -> Result<R, Stopped> {
        Self::call(self, f).map_err(|_| Stopped)
    }

    fn standing(&self) -> Result<Running, Stopped> {
        Self::call(self, Running::of_adm).map_err(|_| Stopped)
    }

    fn aiotf(&self) -> Option<&Engine<Adm>> {
        None
    }
}

/// The listening socket. Dropping it removes the socket's name; connections end by themselves.
pub(crate) struct AdminServer {
    dir: DataDir,
}

impl AdminServer {
    /// Listens in the data directory, whose lock the caller holds: a socket left there belongs to a dead core.
    pub(crate) fn start(
        dir: &DataDir,
        engine: impl AdmOwner,
        rules: Rules,
    ) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::io("admin socket", &error);
        let (_open, path) = dir.socket()?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed(error));
            }
            _ => {}
        }
        let listener = UnixListener::bind(&path).map_err(failed)?;
        // The directory is its owner's alone; so is the socket, should somebody open the directory up.
        fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(failed)?;
        let at = dir.clone();
        thread::Builder::new()
            .name("admin".into())
            .spawn(move || {
                for stream in listener.incoming() {
                    let (at, engine, rules) = (at.clone(), engine.clone(), rules.clone());
                    let Ok(stream) = stream else {
                        thread::sleep(Duration::from_millis(100));
                        continue;
                    };
                    let _ = thread::Builder::new()
                        .name("admin-client".into())
                        .spawn(move || serve(stream, &at, &engine, &rules));
                }
            })
            .map_err(failed)?;
        Ok(Self { dir: dir.clone() })
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        if let Ok((_open, path)) = self.dir.socket() {
            let _ = fs::remove_file(path);
        }
    }
}

/// Reads one request, writes its answer. A client that goes away is no error.
fn serve(mut stream: UnixStream, dir: &DataDir, engine: &impl AdmOwner, rules: &Rules) {
    let _ = stream.set_read_timeout(Some(PATIENCE));
    let _ = stream.set_write_timeout(Some(PATIENCE));
    let Ok(reading) = stream.try_clone() else {
        return;
    };
    let mut line = Secret(String::new());
    if BufReader::new(reading.take(REQUEST_OCTETS_MAX))
        .read_line(&mut line.0)
        .is_err()
    {
        return;
    }
    let last = match serde_json::from_str::<Request>(&line.0) {
        Err(error) => Reply::Failure(Failure::input(
            "request_invalid",
            format!("request: {error}"),
        )),
        Ok(request) => match answer(&mut stream, request, dir, engine, rules) {
            Ok(()) => Reply::Done,
            Err(failure) => Reply::Failure(failure),
        },
    };
    let _ = write(&mut stream, &last);
}

fn answer(
    stream: &mut UnixStream,
    request: Request,
    dir: &DataDir,
    engine: &impl AdmOwner,
    rules: &Rules,
) -> Result<(), Failure> {
    if let Request::Subscription(asked) = &request {
        // Beside the engine: what is looked up may take its time.
        let mut of_engine = subscriptions::OfEngine(engine);
        let mut store = dir.open_deliveries()?;
        return subscriptions::change(store.as_mut(), rules, &mut of_engine, asked, &mut |row| {
            write(stream, &Reply::Row(row)).is_ok()
        });
    }
    if matches!(request, Request::Status) {
        // The store is walked here, beside the engine.
        let running = engine.standing();
        let running = running.map_err(|stopped| Failure::resource("stopped", stopped))?;
        let mut store = dir.open_to_read()?;
        let row = running.status(store.as_mut())?;
        let _ = write(stream, &Reply::Row(row));
        return Ok(());
    }
    if let Request::Ask(ask) = &request {
        let Some(engine) = engine.aiotf() else {
            let message =
                "this is an ADM by itself; ask an AIOTF for inventories and commands (Naiotf_AIoT)";
            return Err(Failure::input("no_aiotf", message));
        };
        return ask::run(engine, ask, &mut |row| {
            write(stream, &Reply::Row(row)).is_ok()
        });
    }
    if !request.changes() {
        let mut store = dir.open_to_read()?;
        return execute::read(store.as_mut(), &request, &mut |row| {
            write(stream, &Reply::Row(row)).is_ok()
        });
    }
    let done = engine.call(move |adm| {
        let mut rows: Vec<Value> = Vec::new();
        let mut keep = |row| {
            rows.push(row);
            true
        };
        let done = execute::change(adm, &request, unix_ms(), &mut keep);
        done.map(|()| rows)
    });
    let rows = done.map_err(|stopped| Failure::resource("stopped", stopped))??;
    for row in rows {
        let _ = write(stream, &Reply::Row(row));
    }
    Ok(())
}

fn write(stream: &mut UnixStream, reply: &Reply) -> std::io::Result<()> {
    let mut line = Secret(serde_json::to_string(reply)?);
    line.0.push('\n');
    stream.write_all(line.0.as_bytes())
}
