//! The service-based interface in the configuration, and a function that stands on it.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ambit_protocol::AreaId;
use ambit_sbi::client::{Client, is_usable_uri};
use ambit_sbi::clock::unix_ms;
use ambit_sbi::nrf::client::NrfClient;
use ambit_sbi::nrf::profile::OwnProfile;
use ambit_sbi::pki::random_uuid;
use ambit_sbi::router::{Route, Router};
use ambit_sbi::runtime::Runtime;
use ambit_sbi::server::{self, Limits, ServerConfig};
use ambit_sbi::tls::Credentials;
use ambit_sbi::token::{Issuer, Verifier};
use serde::Deserialize;
use uuid::Uuid;

use crate::config::Config;
use crate::failure::Failure;
use crate::online::Way;

/// `[sbi]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SbiConfig {
    /// Address of the function. With all of them in one process the NRF's; ADM and AIOTF take the two ports after it.
    pub(crate) listen: Option<SocketAddr>,
    /// The host that peers are told, instead of the address.
    pub(crate) host: Option<String>,
    /// Directory that `ambit pki` made: certificates, keys, the NRF's token key.
    pub(crate) pki: Option<PathBuf>,
    /// Files instead of those in the directory.
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    ca: Option<PathBuf>,
    /// The NRF's public token key; of an NRF of ours, the private one.
    token_key: Option<PathBuf>,
    /// NF instance ID that tokens name as issuer; that of Ambit's NRF by default.
    token_issuer: Option<Uuid>,
    /// An NRF elsewhere.
    pub(crate) nrf: Option<String>,
    /// An SCP through which all requests go.
    scp: Option<String>,
    /// HTTP/2 in clear, on loopback alone, for development.
    pub(crate) insecure_loopback: bool,
    /// Requests answered at once; further ones get 429.
    requests_max: Option<usize>,
}

impl SbiConfig {
    /// Whether anything of it is configured: a core that is all in one process needs none.
    pub(crate) const fn is_on(&self) -> bool {
        self.listen.is_some() || self.pki.is_some() || self.certificate.is_some()
    }

    fn file(&self, own: Option<&PathBuf>, field: &str, name: &str) -> Result<PathBuf, Failure> {
        match (own, &self.pki) {
            (Some(file), _) => Ok(file.clone()),
            (None, Some(dir)) => Ok(dir.join(name)),
            (None, None) => Err(invalid(
                field,
                "must be set, or sbi.pki, a directory that `ambit pki init` made",
            )),
        }
    }
}

/// A function on the SBI: who it is, whom it trusts, its way to others.
pub(crate) struct Function {
    config: SbiConfig,
    pub(crate) id: Uuid,
    nf_type: &'static str,
    credentials: Option<Credentials>,
    verifier: Verifier,
    client: Client,
    pub(crate) runtime: Arc<Runtime>,
}

impl Function {
    /// Reads certificates and keys. `name` is the function's in the PKI directory.
    pub(crate) fn open(
        config: &Config,
        runtime: &Arc<Runtime>,
        name: &str,
        nf_type: &'static str,
    ) -> Result<Self, Failure> {
        let sbi = &config.sbi;
        let credentials = match sbi.insecure_loopback {
            true => None,
            false => {
                let certificate = sbi.file(
                    sbi.certificate.as_ref(),
                    "sbi.certificate",
                    &format!("{name}.pem"),
                )?;
                let key = sbi.file(sbi.key.as_ref(), "sbi.key", &format!("{name}.key"))?;
                let ca = sbi.file(sbi.ca.as_ref(), "sbi.ca", "ca.pem")?;
                let read = Credentials::read(&certificate, &key, &ca);
                Some(read.map_err(|error| Failure::resource("credentials_unusable", error))?)
            }
        };
        let id = match &credentials {
            None => random_uuid().map_err(|error| Failure::resource("entropy_failed", error))?,
            Some(credentials) => credentials.identity.nf_instance.ok_or_else(|| {
                invalid("sbi.certificate", "must name the NF instance: a URI urn:uuid:... among its subject alternative names")
            })?,
        };
        let verifier = match nf_type {
            "NRF" => issuer(config)?.verifier("NRF", id),
            _ => {
                let file = sbi.file(sbi.token_key.as_ref(), "sbi.token_key", "token.pub")?;
                let issuer = sbi.token_issuer.map(|id| id.to_string());
                Verifier::from_pem(&read(&file)?, issuer.as_deref(), nf_type, id)
                    .map_err(|rule| invalid(&file.display().to_string(), rule))?
            }
        };
        if let Some(scp) = sbi.scp.as_deref().filter(|scp| !is_usable_uri(scp)) {
            return Err(invalid(
                &format!("sbi.scp {scp}"),
                "must be a URI, https://host:port",
            ));
        }
        let client = Client::new(credentials.clone(), sbi.scp.clone());
        let runtime = Arc::clone(runtime);
        Ok(Self {
            config: sbi.clone(),
            id,
            nf_type,
            credentials,
            verifier,
            client,
            runtime,
        })
    }

    /// Serves operations on a listener.
    pub(crate) fn serve(
        &self,
        listener: TcpListener,
        routes: Vec<Route>,
    ) -> Result<(SocketAddr, Arc<Router>), Failure> {
        let router = Arc::new(Router::new(routes, Some(self.verifier.clone())));
        let limits = Limits::default();
        let limits = Limits {
            requests_max: self.config.requests_max.unwrap_or(limits.requests_max),
            ..limits
        };
        let config = ServerConfig {
            credentials: self.credentials.clone(),
            limits,
            name: format!("{}-{}", self.nf_type, self.id),
        };
        let address = server::start(self.runtime.handle(), listener, Arc::clone(&router), config)
            .map_err(|error| Failure::io("sbi", &error))?;
        Ok((address, router))
    }

    /// Where peers reach what it serves on a listener.
    pub(crate) fn root(&self, listener: &TcpListener) -> Result<String, Failure> {
        let address = listener
            .local_addr()
            .map_err(|error| Failure::io("sbi", &error))?;
        let scheme = self.scheme();
        Ok(match &self.config.host {
            Some(host) => format!("{scheme}://{host}:{}", address.port()),
            None => format!("{scheme}://{address}"),
        })
    }

    /// The scheme that it serves.
    pub(crate) const fn scheme(&self) -> &'static str {
        if self.credentials.is_some() {
            "https"
        } else {
            "http"
        }
    }

    /// Where peers reach its services; `None` when neither the address nor the configuration names a host.
    pub(crate) fn api_root(&self, address: SocketAddr) -> Option<String> {
        let scheme = self.scheme();
        match &self.config.host {
            Some(host) => Some(format!("{scheme}://{host}:{}", address.port())),
            None if address.ip().is_unspecified() => None,
            None => Some(format!("{scheme}://{address}")),
        }
    }

    /// Its HTTP client.
    pub(crate) const fn client(&self) -> &Client {
        &self.client
    }

    /// Its way to others, with tokens of an NRF.
    pub(crate) fn way(&self, nrf: &NrfClient) -> Way {
        Way {
            runtime: Arc::clone(&self.runtime),
            client: self.client.clone(),
            nrf: Some(nrf.clone()),
        }
    }

    /// Its way to an NRF.
    pub(crate) fn nrf(&self, api_root: &str) -> Result<NrfClient, Failure> {
        if !is_usable_uri(api_root) {
            return Err(invalid(
                &format!("sbi.nrf {api_root}"),
                "must be a URI, https://host:port",
            ));
        }
        Ok(NrfClient::new(
            self.client.clone(),
            api_root,
            self.id,
            self.nf_type,
        ))
    }

    /// Registers, and stays registered.
    pub(crate) fn register(
        &self,
        nrf: &NrfClient,
        address: SocketAddr,
        services: &'static [(&'static str, &'static str)],
        areas: Vec<AreaId>,
    ) {
        let profile = OwnProfile {
            id: self.id,
            nf_type: self.nf_type,
            address,
            host: self.config.host.clone(),
            is_tls: self.credentials.is_some(),
            started_ms: unix_ms(),
            services,
            areas,
        };
        self.runtime.handle().spawn(nrf.clone().maintain(profile));
    }

    /// Says good-bye to the NRF, which need not hear it.
    pub(crate) fn deregister(&self, nrf: &NrfClient) {
        let wait = Duration::from_secs(1);
        let _ = self
            .runtime
            .handle()
            .block_on(async { tokio::time::timeout(wait, nrf.deregister()).await });
    }
}

/// The token key of an NRF of ours.
pub(crate) fn issuer(config: &Config) -> Result<Issuer, Failure> {
    let file = config
        .sbi
        .file(config.sbi.token_key.as_ref(), "sbi.token_key", "token.key")?;
    Issuer::from_pem(&read(&file)?).map_err(|rule| invalid(&file.display().to_string(), rule))
}

/// The address of a function of a core that is all in one: so many ports after the first.
pub(crate) fn nth_address(first: SocketAddr, n: u16) -> Result<SocketAddr, Failure> {
    let port = match first.port() {
        0 => 0,
        port => port
            .checked_add(n)
            .ok_or_else(|| invalid("sbi.listen", "must leave two ports after its own"))?,
    };
    Ok(SocketAddr::new(first.ip(), port))
}

fn read(file: &Path) -> Result<String, Failure> {
    fs::read_to_string(file).map_err(|error| Failure::io(file.display(), &error))
}

fn invalid(field: &str, rule: impl std::fmt::Display) -> Failure {
    Failure::input("config_invalid", format!("{field}: {rule}"))
}
