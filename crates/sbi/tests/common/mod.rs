//! Functions on loopback with certificates of a throw-away PKI.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic
)]

pub mod contract;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ambit_sbi::client::{Answer, Client, Outgoing};
use ambit_sbi::nrf::client::NrfClient;
use ambit_sbi::nrf::{Nrf, NrfConfig};
use ambit_sbi::pki::PkiDir;
use ambit_sbi::router::{Route, Router};
use ambit_sbi::runtime::Runtime;
use ambit_sbi::server::{self, Limits, ServerConfig};
use ambit_sbi::tls::Credentials;
use ambit_sbi::token::{Issuer, Verifier};
use uuid::Uuid;

/// A PKI in a directory that goes away with it.
pub struct Pki {
    pub dir: PkiDir,
    path: PathBuf,
}

impl Pki {
    pub fn new() -> Self {
        let name = format!("ambit-sbi-{}-{}", std::process::id(), fastrand::u64(..));
        let path = std::env::temp_dir().join(name);
        let dir = PkiDir::new(&path);
        dir.init().unwrap();
        Self { dir, path }
    }

    /// Credentials of a new function.
    pub fn function(&self, name: &str, nf_type: &str) -> Credentials {
        self.dir.issue(name, nf_type, &[]).unwrap();
        let file = |ending: &str| self.dir.file(&format!("{name}.{ending}"));
        Credentials::read(&file("pem"), &file("key"), &self.dir.file("ca.pem")).unwrap()
    }

    pub fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.file(name)).unwrap()
    }

    pub fn issuer(&self) -> Issuer {
        Issuer::from_pem(&self.text("token.key")).unwrap()
    }

    pub fn verifier(&self, nf_type: &'static str, id: Uuid) -> Verifier {
        Verifier::from_pem(&self.text("token.pub"), None, nf_type, id).unwrap()
    }
}

impl Drop for Pki {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Serves routes on a free port of loopback.
pub fn serve(
    runtime: &Runtime,
    credentials: Option<Credentials>,
    router: Arc<Router>,
    limits: Limits,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    serve_on(runtime, listener, credentials, router, limits)
}

pub fn serve_on(
    runtime: &Runtime,
    listener: TcpListener,
    credentials: Option<Credentials>,
    router: Arc<Router>,
    limits: Limits,
) -> SocketAddr {
    let name = "TEST-1".to_owned();
    let config = ServerConfig {
        credentials,
        limits,
        name,
    };
    server::start(runtime.handle(), listener, router, config).unwrap()
}

pub fn id_of(credentials: &Credentials) -> Uuid {
    credentials.identity.nf_instance.unwrap()
}

/// A network with an NRF.
pub struct Network {
    pub runtime: Runtime,
    pub pki: Pki,
    pub nrf: Arc<Nrf>,
    pub nrf_root: String,
}

impl Network {
    pub fn new() -> Self {
        Self::with(NrfConfig::default())
    }

    pub fn with(config: NrfConfig) -> Self {
        let runtime = Runtime::start().unwrap();
        let pki = Pki::new();
        let credentials = pki.function("nrf", "NRF");
        let nrf = Nrf::new(config, pki.issuer());
        let verifier = pki.verifier("NRF", id_of(&credentials));
        let router = Arc::new(Router::new(nrf.routes(), Some(verifier)));
        let address = serve(&runtime, Some(credentials), router, Limits::default());
        Self {
            runtime,
            pki,
            nrf,
            nrf_root: format!("https://{address}"),
        }
    }

    /// A function with its way to the NRF.
    pub fn function(&self, name: &str, nf_type: &'static str) -> (Credentials, NrfClient) {
        let credentials = self.pki.function(name, nf_type);
        let client = Client::new(Some(credentials.clone()), None);
        let nrf = NrfClient::new(client, &self.nrf_root, id_of(&credentials), nf_type);
        (credentials, nrf)
    }

    /// Serves routes as a function, behind tokens for it.
    pub fn serve(
        &self,
        credentials: &Credentials,
        nf_type: &'static str,
        routes: Vec<Route>,
    ) -> String {
        let verifier = self.pki.verifier(nf_type, id_of(credentials));
        let router = Arc::new(Router::new(routes, Some(verifier)));
        let address = serve(
            &self.runtime,
            Some(credentials.clone()),
            router,
            Limits::default(),
        );
        format!("https://{address}")
    }

    pub fn run<F: Future>(&self, future: F) -> F::Output {
        self.runtime.handle().block_on(future)
    }

    pub fn send(&self, nrf: &NrfClient, outgoing: Outgoing) -> Answer {
        self.run(nrf.client().send(outgoing.wait(Duration::from_secs(10))))
            .unwrap()
    }
}
