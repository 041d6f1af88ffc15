//! `ambit serve`: all functions in one process, or one of them.

mod adm;
mod aiotf;
mod all;
mod nef;
mod nrf;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use ambit_aiotf::AiotfConfig;
use ambit_aiotf::server::Observer;
use ambit_protocol::AreaId;
use clap::{Args, ValueEnum};
use serde_json::Value;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::printed;
use crate::Place;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::failure::Failure;
use crate::pcap::Pcap;

/// Run a core: AIOTF, ADM and store in one process, or one function of it.
///
/// Makes the data directory and its key-encryption key when they are not there. When ready, prints one line of JSON with
/// its addresses on standard output. SIGTERM or SIGINT ends it cleanly; a core that was killed goes on where it stopped.
///
/// `serve adm`, `serve aiotf`, `serve nef` and `serve nrf` run one function each; they find each other through the NRF and talk HTTP/2
/// with mutual TLS and access tokens (`ambit pki` makes what that needs). Only the ADM has a data directory.
#[derive(Args)]
pub(crate) struct Serve {
    /// Run this function alone.
    #[arg(value_enum, value_name = "FUNCTION")]
    function: Option<FunctionName>,
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
    /// Address of the service-based interface. Port 0 picks a free one [default: 127.0.0.1 with port 29510 (NRF), 29369
    /// (ADM), 29569 (AIOTF), 29523 (NEF)].
    #[arg(long, value_name = "ADDR")]
    sbi: Option<SocketAddr>,
    /// Address for AFs. A core that is all in one has a NEF only with it. Port 0 picks a free one [default of `serve nef`:
    /// 127.0.0.1:29522].
    #[arg(long, value_name = "ADDR")]
    nef: Option<SocketAddr>,
    /// The NRF: https://HOST:PORT.
    #[arg(long, value_name = "URI")]
    nrf: Option<String>,
    /// Directory with certificates and keys that `ambit pki` made.
    #[arg(long, value_name = "DIR")]
    pki: Option<std::path::PathBuf>,
    /// A gNB that is reached through an AMF and not over --n2. May be given several times.
    #[arg(long, value_name = "N", value_delimiter = ',')]
    amf_gnb: Vec<u32>,
    /// The AMF: https://HOST:PORT [default: the NRF is asked].
    #[arg(long, value_name = "URI")]
    amf: Option<String>,
    #[command(flatten)]
    place: Place,
}

/// A function that can run alone.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum FunctionName {
    /// The ADM, with the data directory.
    Adm,
    /// An AIOTF; any number of them.
    Aiotf,
    /// The NEF, for AFs.
    Nef,
    /// The NRF.
    Nrf,
}

/// How long to wait for a data directory whose last core is just ending.
const LOCK_TRIES: u32 = 40;

impl Serve {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let mut config = self.place.config()?;
        config.n2.listen = self.n2.or(config.n2.listen);
        config.http.listen = self.http.or(config.http.listen);
        config.sbi.listen = self.sbi.or(config.sbi.listen);
        config.nef.listen = self.nef.or(config.nef.listen);
        config.sbi.nrf = self.nrf.or(config.sbi.nrf);
        config.sbi.pki = self.pki.or(config.sbi.pki);
        config.amf.gnbs.extend(self.amf_gnb);
        config.amf.uri = self.amf.or(config.amf.uri);
        // What cannot be is said before anything is served.
        config.charging()?;
        config.chf()?;
        config.expectation()?;
        config.nef.check(&config)?;
        config.subscription_rules()?;
        // Signals from here on end the core in order.
        let mut signals =
            Signals::new([SIGTERM, SIGINT]).map_err(|error| Failure::io("signals", &error))?;
        let observer = match &self.n2_capture {
            Some(path) => {
                let mut capture = Pcap::create("--n2-capture", path)?;
                let observer: Observer = Box::new(move |unix_ms, way, connection, pdu| {
                    capture.write(unix_ms, way, connection, pdu);
                });
                Some(observer)
            }
            None => None,
        };
        match self.function {
            None => all::run(&config, observer, &mut signals),
            Some(FunctionName::Adm) => adm::run(&config, &mut signals),
            Some(FunctionName::Aiotf) => aiotf::run(&config, observer, &mut signals),
            Some(FunctionName::Nef) => nef::run(&config, &mut signals),
            Some(FunctionName::Nrf) => nrf::run(&config, &mut signals),
        }
    }
}

/// Says that everything stands, and waits for the signal to end.
pub(super) fn serve_until(
    ready: &Value,
    signals: &mut signal_hook::iterator::Signals,
) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    printed(writeln!(out, "{ready}").and_then(|()| out.flush()))?;
    let _ = signals.forever().next();
    Ok(())
}

fn bind_http(config: &Config) -> Result<TcpListener, Failure> {
    bind("http", config.http.or_port(8080))
}

fn bind_sbi(config: &Config, port: u16) -> Result<TcpListener, Failure> {
    let loopback = SocketAddr::from(([127, 0, 0, 1], port));
    bind("sbi", config.sbi.listen.unwrap_or(loopback))
}

/// The NRF that a function by itself needs.
fn nrf_root(config: &Config) -> Result<&str, Failure> {
    config.sbi.nrf.as_deref().ok_or_else(|| {
        let rule =
            "sbi.nrf: must be set (or --nrf): a function by itself finds the others through it";
        Failure::input("config_invalid", rule)
    })
}

pub(super) fn bind(what: &str, address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address)
        .map_err(|error| Failure::io(format!("{what}: cannot listen on {address}"), &error))
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

/// The areas that an AIOTF tells the NRF: those of its readers by name; none, which means all, while a gNB that is not named
/// may bring others.
fn served_areas(config: &AiotfConfig) -> Vec<AreaId> {
    let codes = config.readers.values().flat_map(BTreeMap::values);
    let mut areas: Vec<AreaId> = codes.map(|code| config.snid.area(*code)).collect();
    areas.sort_unstable_by_key(|area| *area.octets());
    areas.dedup();
    areas
}
