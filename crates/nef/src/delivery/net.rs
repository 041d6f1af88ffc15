//! Connections to sinks: to an address that the guard has passed, with TLS that verifies.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::sink::Failed;
use crate::subscription::{Guard, GuardError};

/// How long one step of a connection may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What messages are carried over.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

/// How sinks are connected to.
#[derive(Clone)]
pub(super) struct Network {
    guard: Guard,
    tls: TlsConnector,
}

impl Network {
    /// Trusts the certificates of a file, or the system's.
    pub(super) fn new(guard: Guard, ca_file: Option<&Path>) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        match ca_file {
            Some(path) => {
                let failed = |error: &dyn std::fmt::Display| {
                    io::Error::other(format!("{}: {error}", path.display()))
                };
                let found = CertificateDer::pem_file_iter(path).map_err(|error| failed(&error))?;
                for certificate in found {
                    let certificate = certificate.map_err(|error| failed(&error))?;
                    roots.add(certificate).map_err(|error| failed(&error))?;
                }
                if roots.is_empty() {
                    return Err(failed(&"holds no certificate"));
                }
            }
            // A system without certificates verifies nobody, which each connection then says.
            None => {
                let found = rustls_native_certs::load_native_certs();
                roots.add_parsable_certificates(found.certs);
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            guard,
            tls: TlsConnector::from(Arc::new(config)),
        })
    }

    /// Connects to a host, with TLS or in clear.
    pub(super) async fn connect(
        &self,
        host: &str,
        port: u16,
        is_tls: bool,
    ) -> Result<Box<dyn Stream>, Failed> {
        let tcp = self.tcp(host, port).await?;
        if !is_tls {
            return Ok(Box::new(tcp));
        }
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| Failed::new("sink_unresolved", format!("{host}: {error}")))?;
        match timeout(PATIENCE, self.tls.connect(name, tcp)).await {
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Ok(Err(error)) => Err(tls_failed(host, &error)),
            Err(_) => Err(Failed::new(
                "sink_unreachable",
                format!("{host}: TLS: no answer in time"),
            )),
        }
    }

    async fn tcp(&self, host: &str, port: u16) -> Result<TcpStream, Failed> {
        let found = timeout(PATIENCE, lookup_host((host, port))).await;
        let found = found.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let found = found.map_err(|error| GuardError::Unresolved {
            host: host.to_owned(),
            why: error.to_string(),
        });
        let refused = |error: GuardError| Failed::new(error.name(), error.to_string());
        let addresses = self
            .guard
            .pass(host, found.map_err(refused)?)
            .map_err(refused)?;
        let mut why = String::new();
        for address in addresses {
            // To the address that was checked, and not to the name.
            match timeout(PATIENCE, TcpStream::connect(address)).await {
                Ok(Ok(tcp)) => {
                    let _ = tcp.set_nodelay(true);
                    return Ok(tcp);
                }
                Ok(Err(error)) => why = format!("{address}: {error}"),
                Err(_) => why = format!("{address}: no answer in time"),
            }
        }
        Err(Failed::new("sink_unreachable", format!("{host}: {why}")))
    }
}

/// A certificate that is not good is another matter than a connection that fails.
fn tls_failed(host: &str, error: &io::Error) -> Failed {
    let inner = error
        .get_ref()
        .and_then(|e| e.downcast_ref::<rustls::Error>());
    let name = match inner {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            "sink_certificate"
        }
        _ => "sink_unreachable",
    };
    Failed::new(name, format!("{host}: TLS: {error}"))
}
