//! The NEF in the configuration: how AFs reach it, and what they call areas.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ambit_nef::exposure::{
    AreaNames, Callbacks, Exposure, ExposureConfig, InventoryAccess, OPENAPI,
};
use ambit_nef::subscription::Guard;
use ambit_nef::subscription::service::SubscriptionAccess;
use ambit_protocol::area::parse_area_code;
use ambit_sbi::adm::SharedAdm;
use ambit_sbi::pki::random_uuid;
use ambit_sbi::router::Router;
use ambit_sbi::runtime::Runtime;
use ambit_sbi::server::{self, Limits, ServerConfig};
use ambit_sbi::tls::{self, Credentials};
use ambit_sbi::token::Issuer;
use serde::Deserialize;
use uuid::Uuid;

use crate::config::Config;
use crate::failure::Failure;

/// Where a system keeps the CAs that it trusts.
const SYSTEM_CAS: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// `[nef]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct NefConfig {
    /// Address for AFs; a core that is all in one has no NEF without it.
    pub(crate) listen: Option<SocketAddr>,
    /// The server's certificate chain and key; `nef.pem` and `nef.key` of `sbi.pki` by default.
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    /// HTTP in clear, on loopback alone.
    insecure_loopback: bool,
    /// Private key (P-256, PEM) that signs tokens; one that is made at each start by default.
    token_key: Option<PathBuf>,
    token_lifetime_s: u32,
    /// CAs of the servers that AFs are notified at; the system's by default.
    callback_ca: Option<PathBuf>,
    /// External area names.
    area: Vec<ExternalArea>,
    /// Requests answered at once; further ones get 429.
    requests_max: Option<usize>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExternalArea {
    name: String,
    areas: Vec<String>,
}

impl Default for NefConfig {
    fn default() -> Self {
        Self {
            listen: None,
            certificate: None,
            key: None,
            insecure_loopback: false,
            token_key: None,
            token_lifetime_s: 600,
            callback_ca: None,
            area: Vec::new(),
            requests_max: None,
        }
    }
}

/// A NEF that is being served.
pub(crate) struct Nef {
    pub(crate) address: SocketAddr,
    pub(crate) router: Arc<Router>,
    pub(crate) exposure: Arc<Exposure>,
}

impl Nef {
    /// Starts it. `id` is its NF instance ID, if it has one.
    pub(crate) fn start(
        config: &Config,
        runtime: &Runtime,
        id: Option<Uuid>,
        adm: &SharedAdm,
        aiotf: Arc<dyn InventoryAccess>,
        subscriptions: Arc<dyn SubscriptionAccess>,
    ) -> Result<Self, Failure> {
        let nef = &config.nef;
        let listener = nef.bind()?;
        let credentials = nef.credentials(config)?;
        let exposure = ExposureConfig {
            id: match id {
                Some(id) => id,
                None => {
                    random_uuid().map_err(|error| Failure::resource("entropy_failed", error))?
                }
            },
            areas: nef.areas(config)?,
            token_lifetime_s: nef.token_lifetime_s,
            issuer: nef.issuer()?,
            callbacks: nef.callbacks(config)?,
            subscriptions: Some(subscriptions),
        };
        let exposure = {
            let _in_runtime = runtime.handle().enter();
            Exposure::new(exposure, adm, aiotf)
        };
        let router = Arc::new(Router::describing(OPENAPI, exposure.routes(), None));
        let limits = Limits::default();
        let server = ServerConfig {
            credentials,
            limits: Limits {
                requests_max: nef.requests_max.unwrap_or(limits.requests_max),
                ..limits
            },
            name: "NEF".into(),
        };
        let address = server::start(runtime.handle(), listener, Arc::clone(&router), server)
            .map_err(|error| Failure::io("nef", &error))?;
        Ok(Self {
            address,
            router,
            exposure,
        })
    }
}

impl NefConfig {
    /// Checks what can be checked before anything is started.
    pub(crate) fn check(&self, config: &Config) -> Result<(), Failure> {
        self.areas(config)?;
        if !(1..=86_400).contains(&self.token_lifetime_s) {
            return Err(invalid("token_lifetime_s", &"must be from 1 to 86400"));
        }
        Ok(())
    }

    fn bind(&self) -> Result<std::net::TcpListener, Failure> {
        let address = self
            .listen
            .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 29522)));
        std::net::TcpListener::bind(address)
            .map_err(|error| Failure::io(format!("nef: cannot listen on {address}"), &error))
    }

    fn credentials(&self, config: &Config) -> Result<Option<Credentials>, Failure> {
        if self.insecure_loopback {
            return Ok(None);
        }
        let file = |own: &Option<PathBuf>, field: &str, name: &str| match (own, &config.sbi.pki) {
            (Some(file), _) => Ok(file.clone()),
            (None, Some(dir)) => Ok(dir.join(name)),
            (None, None) => Err(invalid(
                field,
                &"must be set, or sbi.pki, a directory that `ambit pki init` made",
            )),
        };
        let certificate = file(&self.certificate, "certificate", "nef.pem")?;
        let key = file(&self.key, "key", "nef.key")?;
        Credentials::server_only(&certificate, &key)
            .map(Some)
            .map_err(|error| Failure::resource("credentials_unusable", error))
    }

    fn issuer(&self) -> Result<Issuer, Failure> {
        let Some(file) = &self.token_key else {
            return Issuer::generate().map_err(|error| Failure::resource("entropy_failed", error));
        };
        let text = std::fs::read_to_string(file)
            .map_err(|error| Failure::io(format!("nef.token_key {}", file.display()), &error))?;
        let text = zeroize::Zeroizing::new(text);
        Issuer::from_pem(&text)
            .map_err(|rule| invalid("token_key", &format!("{}: {rule}", file.display())))
    }

    fn areas(&self, config: &Config) -> Result<AreaNames, Failure> {
        let snid = config.snid()?;
        let mut names = AreaNames::default();
        for area in &self.area {
            let field = format!("area {}", area.name);
            let codes = area.areas.iter().map(|code| {
                let code = parse_area_code(code).map_err(|error| invalid(&field, &error))?;
                Ok(snid.area(code))
            });
            let codes = codes.collect::<Result<Vec<_>, Failure>>()?;
            names
                .add(&area.name, codes)
                .map_err(|error| invalid(&field, &error))?;
        }
        Ok(names)
    }

    /// Without a CA only what is allowed in clear can be notified.
    fn callbacks(&self, config: &Config) -> Result<Callbacks, Failure> {
        let system = || SYSTEM_CAS.iter().map(Path::new).find(|file| file.is_file());
        let file = self.callback_ca.as_deref().or_else(system);
        let tls = file.map(tls::client_of).transpose();
        let tls = tls.map_err(|error| Failure::resource("credentials_unusable", error))?;
        Ok(Callbacks::new(self.guard(config)?, tls))
    }

    fn guard(&self, config: &Config) -> Result<Guard, Failure> {
        Ok(config.subscription_rules()?.guard)
    }
}

fn invalid(field: &str, rule: &dyn std::fmt::Display) -> Failure {
    Failure::input("config_invalid", format!("nef.{field}: {rule}"))
}
