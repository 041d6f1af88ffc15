//! TLS 1.3 with certificates on both sides.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::pki::Identity;

/// Who a function is on the SBI, and whom it trusts.
#[derive(Clone)]
pub struct Credentials {
    /// For its server.
    pub server: Arc<ServerConfig>,
    /// For its client.
    pub client: Arc<ClientConfig>,
    /// What its certificate says.
    pub identity: Identity,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({:?}, ..)", self.identity)
    }
}

/// Why credentials cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {rule}")]
pub struct CredentialsError {
    /// The file.
    pub file: String,
    /// The rule that it breaks.
    pub rule: String,
}

impl Credentials {
    /// Reads certificate (chain), key and CA, all in PEM. Only peers with a certificate of that CA are talked to.
    ///
    /// # Errors
    /// [`CredentialsError`], naming the file.
    pub fn read(certificate: &Path, key: &Path, ca: &Path) -> Result<Self, CredentialsError> {
        let chain = certificates(certificate)?;
        let identity = chain
            .first()
            .map(|first| Identity::of(first))
            .unwrap_or_default();
        let private = PrivateKeyDer::from_pem_file(key).map_err(|error| bad(key, &error))?;
        let mut roots = RootCertStore::empty();
        for root in certificates(ca)? {
            roots.add(root).map_err(|error| bad(ca, &error))?;
        }
        let roots = Arc::new(roots);
        let provider = Arc::new(ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
                .build()
                .map_err(|error| bad(ca, &error))?;
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| bad(certificate, &error))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), private.clone_key())
            .map_err(|error| bad(key, &error))?;
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| bad(certificate, &error))?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, private)
            .map_err(|error| bad(key, &error))?;
        client.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self {
            server: Arc::new(server),
            client: Arc::new(client),
            identity,
        })
    }
}

impl Credentials {
    /// For a server whose clients have no certificates: AFs show who they are by their secrets. Its client trusts nobody.
    ///
    /// # Errors
    /// [`CredentialsError`], naming the file.
    pub fn server_only(certificate: &Path, key: &Path) -> Result<Self, CredentialsError> {
        let chain = certificates(certificate)?;
        let identity = chain.first().map(|first| Identity::of(first));
        let private = PrivateKeyDer::from_pem_file(key).map_err(|error| bad(key, &error))?;
        let provider = Arc::new(ring::default_provider());
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| bad(certificate, &error))?
            .with_no_client_auth()
            .with_single_cert(chain, private)
            .map_err(|error| bad(key, &error))?;
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            server: Arc::new(server),
            client: Arc::new(client(RootCertStore::empty(), certificate)?),
            identity: identity.unwrap_or_default(),
        })
    }
}

/// What connects, without a certificate of its own, to servers with a certificate of the CAs in a file (PEM).
///
/// # Errors
/// [`CredentialsError`], naming the file.
pub fn client_of(ca: &Path) -> Result<Arc<ClientConfig>, CredentialsError> {
    let mut roots = RootCertStore::empty();
    // Of a system's bundle some may be of a kind that is not understood: the others do.
    let (added, _) = roots.add_parsable_certificates(certificates(ca)?);
    if added == 0 {
        return Err(bad(ca, &"must hold a CA certificate (PEM)"));
    }
    client(roots, ca).map(Arc::new)
}

fn client(roots: RootCertStore, file: &Path) -> Result<ClientConfig, CredentialsError> {
    let provider = Arc::new(ring::default_provider());
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| bad(file, &error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(client)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let found = CertificateDer::pem_file_iter(file).map_err(|error| bad(file, &error))?;
    let found: Vec<_> = found
        .collect::<Result<_, _>>()
        .map_err(|error| bad(file, &error))?;
    if found.is_empty() {
        return Err(bad(file, &"must hold a certificate (PEM)"));
    }
    Ok(found)
}

fn bad(file: &Path, rule: &dyn std::fmt::Display) -> CredentialsError {
    CredentialsError {
        file: file.display().to_string(),
        rule: rule.to_string(),
    }
}
