//! Where the database is and how to get in. The password is in no message.

use crate::StoreError;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

/// Where distributions keep the certificates of public authorities.
const SYSTEM_ROOTS: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// How long one attempt to connect to one host may take.
const CONNECT_WAIT: Duration = Duration::from_secs(2);

/// A database, named by a URL: `postgres://USER@HOST[:PORT][,HOST[:PORT]...]/DATABASE`.
///
/// Of several hosts the one that takes writes is used; a replica never is. Parameters are those of `libpq`, of which
/// `sslmode` and `sslrootcert` are read here: `sslmode` is `disable` or `verify-full` (`require` means that too, as what is
/// encrypted for nobody in particular protects nothing). Where it is absent, TLS is used unless all hosts are this one:
/// loopback addresses or Unix sockets. `sslrootcert` names a PEM file, by default the system's.
#[derive(Clone)]
pub struct PostgresUrl {
    pub(super) config: Config,
    pub(super) tls: Option<Arc<ClientConfig>>,
    place: String,
}

impl PostgresUrl {
    /// Whether a text names such a database at all.
    #[must_use]
    pub fn is_one(text: &str) -> bool {
        text.starts_with("postgres://") || text.starts_with("postgresql://")
    }

    /// Reads a URL. `password` goes before one in the URL.
    ///
    /// # Errors
    /// [`StoreError::Url`] naming the part and the rule, never the password.
    pub fn new(text: &str, password: Option<&str>) -> Result<Self, StoreError> {
        let bad = |rule: &dyn fmt::Display| StoreError::Url {
            rule: rule.to_string(),
        };
        if !Self::is_one(text) {
            return Err(bad(&"must begin with postgres://"));
        }
        let (base, ours) = split_parameters(text);
        let mut config: Config = base.parse().map_err(|error: tokio_postgres::Error| {
            // Its source names the parameter, and shows no value.
            let source = std::error::Error::source(&error).map(ToString::to_string);
            bad(&source.unwrap_or_else(|| error.to_string()))
        })?;
        if config.get_hosts().is_empty() {
            return Err(bad(&"must name a host"));
        }
        if config.get_dbname().is_none_or(str::is_empty) {
            return Err(bad(&"must name a database after the host"));
        }
        if let Some(password) = password {
            config.password(password);
        }
        let is_tls = match ours.mode.as_deref() {
            None => !config.get_hosts().iter().all(is_here),
            Some("disable") => false,
            Some("require" | "verify-ca" | "verify-full") => true,
            Some(_) => return Err(bad(&"sslmode must be disable or verify-full")),
        };
        let tls = match is_tls {
            true => Some(tls(ours.roots.as_deref())?),
            false => None,
        };
        config
            .ssl_mode(if is_tls {
                SslMode::Require
            } else {
                SslMode::Disable
            })
            .application_name("ambit")
            .connect_timeout(CONNECT_WAIT)
            .tcp_user_timeout(Duration::from_secs(10))
            .keepalives_idle(Duration::from_secs(10))
            .target_session_attrs(TargetSessionAttrs::ReadWrite);
        Ok(Self {
            place: place(&config),
            config,
            tls,
        })
    }
}

/// The hosts and the database: what may be shown.
impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresUrl({})", self.place)
    }
}

#[derive(Default)]
struct Ours {
    mode: Option<String>,
    roots: Option<PathBuf>,
}

/// The URL without the parameters that are read here, and those.
fn split_parameters(text: &str) -> (String, Ours) {
    let mut ours = Ours::default();
    let Some((base, parameters)) = text.split_once('?') else {
        return (text.to_owned(), ours);
    };
    let mut others = Vec::new();
    for parameter in parameters.split('&').filter(|p| !p.is_empty()) {
        match parameter.split_once('=') {
            Some(("sslmode", mode)) => ours.mode = Some(mode.to_owned()),
            Some(("sslrootcert", file)) => ours.roots = Some(file.into()),
            _ => others.push(parameter),
        }
    }
    let base = match others.is_empty() {
        true => base.to_owned(),
        false => format!("{base}?{}", others.join("&")),
    };
    (base, ours)
}

fn is_here(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => {
            name == "localhost"
                || name
                    .parse::<std::net::IpAddr>()
                    .is_ok_and(|ip| ip.is_loopback())
        }
        Host::Unix(_) => true,
    }
}

fn place(config: &Config) -> String {
    let ports = config.get_ports();
    let hosts: Vec<String> = config
        .get_hosts()
        .iter()
        .enumerate()
        .map(|(i, host)| {
            let name = match host {
                Host::Tcp(name) => name.clone(),
                Host::Unix(path) => path.display().to_string(),
            };
            match ports.get(i).or(ports.first()) {
                Some(port) => format!("{name}:{port}"),
                None => name,
            }
        })
        .collect();
    let database = config.get_dbname().unwrap_or_default();
    format!("postgres://{}/{database}", hosts.join(","))
}

fn tls(roots: Option<&Path>) -> Result<Arc<ClientConfig>, StoreError> {
    let bad = |rule: String| StoreError::Url { rule };
    let file = match roots {
        Some(file) => file.to_owned(),
        None => SYSTEM_ROOTS
            .iter()
            .map(PathBuf::from)
            .find(|file| file.exists())
            .ok_or_else(|| {
                bad("sslrootcert must name a file of certificates: the system has none".into())
            })?,
    };
    let unreadable =
        |error: &dyn fmt::Display| bad(format!("sslrootcert {}: {error}", file.display()));
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(&file).map_err(|error| unreadable(&error))? {
        let certificate = certificate.map_err(|error| unreadable(&error))?;
        store.add_parsable_certificates([certificate]);
    }
    if store.is_empty() {
        return Err(unreadable(&"holds no certificate"));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unreadable(&error))?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_in_no_text() {
        let url = PostgresUrl::new(
            "postgres://ambit:hush%20hush@localhost:5433,127.0.0.1/core?sslmode=disable",
            None,
        )
        .unwrap();
        assert_eq!(url.config.get_password(), Some(&b"hush hush"[..]));
        assert_eq!(
            url.to_string(),
            "postgres://localhost:5433,127.0.0.1:5432/core"
        );
        for text in [format!("{url:?}"), format!("{:?}", url.config)] {
            assert!(!text.contains("hush"), "{text}");
        }
        for bad in [
            "postgres://ambit:hush@h:port/core",
            "postgres://ambit:hush@h/",
            "postgres://ambit:hush@h/core?sslmode=prefer",
            "postgres://ambit:hush@h/core?nonsense=hush",
            "mysql://ambit:hush@h/core",
        ] {
            let error = PostgresUrl::new(bad, None).unwrap_err();
            assert!(!error.to_string().contains("hush"), "{error}");
            assert_eq!(error.name(), "store_url");
        }
    }

    #[test]
    fn tls_is_off_only_at_home_or_when_told_so() {
        let is_tls = |text| PostgresUrl::new(text, Some("p")).map(|url| url.tls.is_some());
        assert!(!is_tls("postgres://u@127.0.0.1/d").unwrap());
        assert!(!is_tls("postgres://u@%2Frun%2Fpostgresql/d").unwrap());
        assert!(!is_tls("postgres://u@db.example/d?sslmode=disable").unwrap());
        // Needs certificates, which a machine may lack; what it must not do is go without TLS.
        for text in [
            "postgres://u@db.example/d",
            "postgres://u@localhost,db.example/d",
            "postgres://u@localhost/d?sslmode=require",
        ] {
            assert!(is_tls(text).unwrap_or(true), "{text}");
        }
        let error = PostgresUrl::new("postgres://u@h/d?sslrootcert=/no/such.pem", None);
        assert!(error.unwrap_err().to_string().contains("/no/such.pem"));
    }
}
