//! Certificates: what a peer's says of it, and a small private PKI for networks and tests that have none.

use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use uuid::Uuid;
use x509_cert::Certificate;
use x509_cert::der::asn1::Ia5StringRef;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::token;

/// id-pe-nftypes (RFC 9310): the NF types that a certificate is for.
const NF_TYPES_OID: &str = "1.3.6.1.5.5.7.1.34";

/// What a certificate says of its holder (TS 33.310 clause 6.1.3c).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// NF instance ID: a URI subject alternative name `urn:uuid:...`.
    pub nf_instance: Option<Uuid>,
    /// NF types (RFC 9310).
    pub nf_types: Vec<String>,
}

impl Identity {
    /// Whether the certificate is for a function of this type.
    pub fn is(&self, nf_type: &str) -> bool {
        self.nf_types.iter().any(|found| found == nf_type)
    }

    /// Reads a certificate that was verified before. What cannot be read is left out.
    pub fn of(der: &[u8]) -> Self {
        let mut identity = Self::default();
        let Ok(certificate) = Certificate::from_der(der) else {
            return identity;
        };
        let Some(extensions) = certificate.tbs_certificate().extensions() else {
            return identity;
        };
        for extension in extensions {
            let value = extension.extn_value.as_bytes();
            if extension.extn_id.to_string() == NF_TYPES_OID {
                let types = Vec::<Ia5StringRef<'_>>::from_der(value).unwrap_or_default();
                let types = types.iter().map(|nf_type| nf_type.as_str().to_owned());
                identity.nf_types = types.take(16).collect();
            } else if extension.extn_id == x509_cert::der::oid::db::rfc5280::ID_CE_SUBJECT_ALT_NAME
            {
                let names = SubjectAltName::from_der(value).map(|names| names.0);
                identity.nf_instance = names.unwrap_or_default().iter().find_map(|name| {
                    let GeneralName::UniformResourceIdentifier(uri) = name else {
                        return None;
                    };
                    Uuid::from_str(uri.as_str().strip_prefix("urn:uuid:")?).ok()
                });
            }
        }
        identity
    }
}

/// Why a PKI cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file that would be overwritten is there.
    #[error("{0}: is there already")]
    Exists(String),
    /// A file cannot be read or written.
    #[error("{0}: {1}")]
    File(String, std::io::Error),
    /// Certificate or key cannot be made.
    #[error("{0}")]
    Certificate(String),
}

/// A PKI in a directory: `ca.pem`, `ca.key`, and for each function `NAME.pem` and `NAME.key`; the NRF's token key as
/// `token.key` and `token.pub`.
#[derive(Clone, Debug)]
pub struct PkiDir(PathBuf);

impl PkiDir {
    /// A directory, which need not be there yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Makes CA and token key. Nothing is overwritten.
    ///
    /// # Errors
    /// [`PkiError`].
    pub fn init(&self) -> Result<(), PkiError> {
        fs::create_dir_all(&self.0).map_err(|error| self.file_error("", error))?;
        for name in ["ca.key", "ca.pem", "token.key", "token.pub"] {
            if self.0.join(name).exists() {
                return Err(PkiError::Exists(self.0.join(name).display().to_string()));
            }
        }
        let key = KeyPair::generate().map_err(certificate)?;
        let ca = ca_params().self_signed(&key).map_err(certificate)?;
        let token_key = KeyPair::generate().map_err(certificate)?.serialize_pem();
        let token_pub = token::public_pem(&token_key)
            .map_err(|rule| PkiError::Certificate(format!("token key: {rule}")))?;
        self.write("ca.key", &key.serialize_pem(), 0o600)?;
        self.write("ca.pem", &ca.pem(), 0o644)?;
        self.write("token.key", &token_key, 0o600)?;
        self.write("token.pub", &token_pub, 0o644)
    }

    /// Makes a certificate for a function with a new NF instance ID. `hosts` are names and addresses it is reached by,
    /// besides those of loopback.
    ///
    /// # Errors
    /// [`PkiError`].
    pub fn issue(&self, name: &str, nf_type: &str, hosts: &[String]) -> Result<Uuid, PkiError> {
        let files = (format!("{name}.pem"), format!("{name}.key"));
        for file in [&files.0, &files.1] {
            if self.0.join(file).exists() {
                return Err(PkiError::Exists(self.0.join(file).display().to_string()));
            }
        }
        let ca_key = KeyPair::from_pem(&self.read("ca.key")?).map_err(certificate)?;
        let ca = Issuer::new(ca_params(), ca_key);
        let id = random_uuid().map_err(|error| PkiError::Certificate(error.to_string()))?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        let uri = format!("urn:uuid:{id}").try_into().map_err(certificate)?;
        params.subject_alt_names.push(SanType::URI(uri));
        let loopback = ["127.0.0.1", "::1", "localhost"].map(str::to_owned);
        for host in loopback.iter().chain(hosts) {
            let name = match host.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(host.as_str().try_into().map_err(certificate)?),
            };
            params.subject_alt_names.push(name);
        }
        let types = [nf_type.to_owned()].map(|name| x509_cert::der::asn1::Ia5String::new(&name));
        let types: Vec<_> = types.into_iter().flatten().collect();
        let types = types
            .to_der()
            .map_err(|error| PkiError::Certificate(error.to_string()))?;
        let oid = [1, 3, 6, 1, 5, 5, 7, 1, 34];
        params
            .custom_extensions
            .push(CustomExtension::from_oid_content(&oid, types));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().map_err(certificate)?;
        let signed = params.signed_by(&key, &ca).map_err(certificate)?;
        self.write(&files.1, &key.serialize_pem(), 0o600)?;
        self.write(&files.0, &signed.pem(), 0o644)?;
        Ok(id)
    }

    /// The path of a file.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn read(&self, name: &str) -> Result<String, PkiError> {
        fs::read_to_string(self.0.join(name)).map_err(|error| self.file_error(name, error))
    }

    fn write(&self, name: &str, text: &str, mode: u32) -> Result<(), PkiError> {
        let mut options = fs::OpenOptions::new();
        let file = options
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(self.0.join(name));
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|error| self.file_error(name, error))
    }

    fn file_error(&self, name: &str, error: std::io::Error) -> PkiError {
        PkiError::File(self.0.join(Path::new(name)).display().to_string(), error)
    }
}

/// A random UUID (version 4).
///
/// # Errors
/// The system gave no random octets.
pub fn random_uuid() -> Result<Uuid, getrandom::Error> {
    let mut octets = [0; 16];
    getrandom::fill(&mut octets)?;
    Ok(uuid::Builder::from_random_bytes(octets).into_uuid())
}

fn ca_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "Ambit private CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn certificate(error: rcgen::Error) -> PkiError {
    PkiError::Certificate(format!("certificate: {error}"))
}
