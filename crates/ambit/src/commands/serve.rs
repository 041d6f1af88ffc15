//! `ambit serve`: AIOTF, ADM and store in one process.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use ambit_adm::Adm;
use ambit_aiotf::Aiotf;
use ambit_aiotf::server::{Observer, Server, unix_ms};
use ambit_ngap::capture::Capture;
use clap::Args;
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::printed;
use crate::Place;
use crate::admin::AdminServer;
use crate::data_dir::DataDir;
use crate::failure::Failure;
use crate::followers::Followers;
use crate::http;

/// Run a core: AIOTF, ADM and store in one process.
///
/// Makes the data directory and its key-encryption key when they are not there. When ready, prints one line of JSON with
/// its addresses on standard output. SIGTERM or SIGINT ends it cleanly; a core that was killed goes on where it stopped.
#[derive(Args)]
pub(crate) struct Serve {
    /// Address for gNBs: NGAP over TCP, each PDU preceded by its length. Port 0 picks a free one [default:
    /// 127.0.0.1:38412].
    #[arg(long, value_name = "ADDR")]
    n2: Option<SocketAddr>,
    /// Address for /health and /metrics. Port 0 picks a free one [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDR")]
    http: Option<SocketAddr>,
    /// Write every N2 message to this new file, as a packet capture (pcap) that Wireshark and tshark read: NGAP on SCTP.
    #[arg(long, value_name = "FILE")]
    n2_capture: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

/// How long to wait for a data directory whose last core is just ending.
const LOCK_TRIES: u32 = 40;

impl Serve {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let config = self.place.config()?;
        // What cannot be is said before anything is served.
        config.charging()?;
        config.expectation()?;
        // Signals from here on end the core in order.
        let mut signals =
            Signals::new([SIGTERM, SIGINT]).map_err(|error| Failure::io("signals", &error))?;

        let n2 = bind("n2", self.n2.unwrap_or_else(|| config.n2.or_port(38412)))?;
        let http = bind(
            "http",
            self.http.unwrap_or_else(|| config.http.or_port(8080)),
        )?;
        let dir = DataDir::new(&config)?;
        let lock = wait_for_lock(&dir)?;
        let now_ms = unix_ms();
        let mut adm = dir.open_adm(config.adm()?, &lock, now_ms)?;
        let aiotf_config = config.aiotf(instance_id(&mut adm)?)?;
        let aiotf = Aiotf::new(aiotf_config, adm, now_ms);
        let observer = self.n2_capture.as_deref().map(capture).transpose()?;
        let server = Server::start_observed(n2, aiotf, observer)
            .map_err(|error| Failure::io("n2", &error))?;
        let http = http::start(http, server.engine())?;
        let admin = AdminServer::start(&dir, server.engine())?;
        let followers = Followers::start(&config, &dir, &server.engine())?;

        let ready = json!({ "n2": server.local_addr().to_string(), "http": http.to_string() });
        let mut out = std::io::stdout();
        printed(writeln!(out, "{ready}").and_then(|()| out.flush()))?;

        let _ = signals.forever().next();
        drop(admin);
        let stopped = server.stop();
        let mut aiotf = stopped.map_err(|stopped| Failure::resource("stopped", stopped))?;
        aiotf.adm().close(unix_ms());
        followers.stop();
        drop(lock);
        Ok(())
    }
}

fn bind(what: &str, address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address)
        .map_err(|error| Failure::io(format!("{what}: cannot listen on {address}"), &error))
}

/// Writes what is seen to a new file. A file that cannot be written any more ends the capture, not the core.
fn capture(path: &Path) -> Result<Observer, Failure> {
    let failed = |error| Failure::io(format!("--n2-capture: {}", path.display()), &error);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(path).map_err(failed)?;
    file.write_all(&Capture::header()).map_err(failed)?;
    let mut capture = Capture::default();
    let mut file = Some(file);
    let name = path.display().to_string();
    Ok(Box::new(move |unix_ms, way, connection, pdu| {
        let Some(out) = &mut file else {
            return;
        };
        if let Err(error) = out.write_all(&capture.records(unix_ms, way, connection, pdu)) {
            eprintln!("ambit: --n2-capture: {name}: {error}; nothing more is captured");
            file = None;
        }
    }))
}

fn wait_for_lock(dir: &DataDir) -> Result<crate::data_dir::WriteLock, Failure> {
    for _ in 0..LOCK_TRIES {
        if let Some(lock) = dir.lock()? {
            return Ok(lock);
        }
        thread::sleep(Duration::from_millis(50));
    }
    let message = format!(
        "data directory {}: in use by another process",
        dir.path().display()
    );
    Err(Failure::resource("data_dir_locked", message))
}

/// The NF instance ID, made once per store (UUID version 4).
fn instance_id(adm: &mut Adm) -> Result<[u8; 16], Failure> {
    const NAME: &str = "aiotf_id";
    if let Some(id) = adm.store().meta(NAME)?
        && let Ok(id) = id.try_into()
    {
        return Ok(id);
    }
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| Failure::resource("entropy_failed", error))?;
    let [_, _, _, _, _, _, version, _, variant, ..] = &mut id;
    *version = (*version & 0x0f) | 0x40;
    *variant = (*variant & 0x3f) | 0x80;
    adm.store().meta_set(NAME, &id)?;
    Ok(id)
}
