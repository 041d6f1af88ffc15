//! `ambit ran amf`: an AMF between readers and a core.

use std::collections::HashMap;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ambit_ngap::AiotfId;
use ambit_ran::amf::server::{AmfServer, Notify, TransferError};
use ambit_ran::amf::{Amf, AmfConfig, ConnectionId, Notification};
use ambit_sbi::namf::SERVICES;
use ambit_sbi::namf::amf::{AmfAccess, Told, Untransferred, notifier, routes};
use ambit_sbi::namf::message::Transfer;
use ambit_sbi::nrf::client::NrfClient;
use ambit_sbi::runtime::Runtime;
use clap::Args;
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::sync::mpsc;

use crate::commands::printed;
use crate::config::Config;
use crate::failure::Failure;
use crate::sbi::Function;

/// Run an emulated AMF: gNBs connect to it (`ambit ran --n2`), AIOTFs reach them through it (Namf_AIoT).
///
/// When ready, prints one line of JSON with its addresses. SIGTERM or SIGINT ends it.
#[derive(Args)]
pub(crate) struct AmfCommand {
    /// Address for gNBs. Port 0 picks a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:38413")]
    n2: SocketAddr,
    /// Address of the service-based interface. Port 0 picks a free one [default: 127.0.0.1:29518].
    #[arg(long, value_name = "ADDR")]
    sbi: Option<SocketAddr>,
    /// The NRF: https://HOST:PORT.
    #[arg(long, value_name = "URI")]
    nrf: Option<String>,
    /// Directory with certificates and keys; `ambit pki issue DIR amf AMF` makes the AMF's.
    #[arg(long, value_name = "DIR")]
    pki: Option<PathBuf>,
    /// Configuration file: the network, and `[sbi]`.
    #[arg(long, value_name = "FILE", env = "AMBIT_CONFIG")]
    config: Option<PathBuf>,
}

impl AmfCommand {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut config = match &self.config {
            Some(path) => Config::read(path)?,
            None => Config::default(),
        };
        config.sbi.listen = self.sbi.or(config.sbi.listen);
        config.sbi.nrf = self.nrf.or(config.sbi.nrf);
        config.sbi.pki = self.pki.or(config.sbi.pki);
        let root = config.sbi.nrf.as_deref().ok_or_else(|| {
            Failure::input(
                "config_invalid",
                "sbi.nrf: must be set (or --nrf): AIOTFs find the AMF through it",
            )
        })?;
        let mut signals =
            Signals::new([SIGTERM, SIGINT]).map_err(|error| Failure::io("signals", &error))?;
        let runtime = Runtime::start().map_err(|error| Failure::io("sbi", &error))?;
        let runtime = Arc::new(runtime);
        let function = Function::open(&config, &runtime, "amf", "AMF")?;
        let nrf = function.nrf(root)?;
        let bind = |what: &str, address: SocketAddr| {
            TcpListener::bind(address)
                .map_err(|error| Failure::io(format!("{what}: cannot listen on {address}"), &error))
        };
        let n2 = bind("n2", self.n2)?;
        let sbi = SocketAddr::from(([127, 0, 0, 1], 29518));
        let listener = bind("sbi", config.sbi.listen.unwrap_or(sbi))?;
        let amf = Amf::new(AmfConfig {
            name: "ambit-amf".into(),
            plmn: *config.snid()?.plmn().octets(),
        });
        let server = Arc::new(OnceLock::new());
        let tellers = Tellers {
            runtime: runtime.handle().clone(),
            nrf: nrf.clone(),
            amf: Arc::new(Access(Arc::clone(&server))),
            of: Mutex::default(),
        };
        let (n2, started) = AmfServer::start(n2, amf, Box::new(tellers))
            .map_err(|error| Failure::io("n2", &error))?;
        let _ = server.set(started);
        let (sbi, _) = function.serve(listener, routes(Arc::new(Access(server))))?;
        function.register(&nrf, sbi, SERVICES, Vec::new());
        let ready = json!({ "n2": n2.to_string(), "sbi": sbi.to_string() });
        let mut out = std::io::stdout();
        printed(writeln!(out, "{ready}").and_then(|()| out.flush()))?;
        let _ = signals.forever().next();
        function.deregister(&nrf);
        Ok(())
    }
}

/// The AMF as its service sees it.
struct Access(Arc<OnceLock<AmfServer>>);

impl AmfAccess for Access {
    fn transfer(&self, transfer: Transfer) -> Result<(), Untransferred> {
        let server = self.0.get().ok_or(Untransferred::UnknownGnb)?;
        server
            .transfer(transfer.gnb_id, transfer.ngap, &transfer.notif_uri)
            .map_err(|error| match error {
                TransferError::UnknownGnb => Untransferred::UnknownGnb,
                TransferError::Busy => Untransferred::Busy,
            })
    }

    fn forget(&self, _: (AiotfId, u16), notif_uri: &str) {
        if let Some(server) = self.0.get() {
            server.forget(notif_uri);
        }
    }
}

/// The ways to AIOTFs, one for each gNB.
struct Tellers {
    runtime: tokio::runtime::Handle,
    nrf: NrfClient,
    amf: Arc<Access>,
    of: Mutex<HashMap<ConnectionId, mpsc::Sender<Told>>>,
}

impl Notify for Tellers {
    fn notify(&self, connection: ConnectionId, notification: Notification) {
        let sender = {
            let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
            of.entry(connection)
                .or_insert_with(|| {
                    let amf: Arc<dyn AmfAccess> = self.amf.clone();
                    notifier(&self.runtime, self.nrf.clone(), amf)
                })
                .clone()
        };
        let Notification { notif_uri, ngap } = notification;
        // Waits for room: the gNB is held back meanwhile.
        let _ = sender.blocking_send(Told { notif_uri, ngap });
    }

    fn closed(&self, connection: ConnectionId) {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        of.remove(&connection);
    }
}
