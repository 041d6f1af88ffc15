//! `ambit pki`: certificates for networks and tests that have no PKI of their own.

use std::path::PathBuf;

use ambit_sbi::pki::{PkiDir, PkiError};
use clap::Subcommand;
use serde_json::json;

use super::printed;
use crate::failure::Failure;

/// Certificates and keys for the service-based interface, for networks that have no PKI of their own.
///
/// `ambit pki init pki` makes a CA, the NRF's token key, and certificates for NRF, ADM, AIOTF and NEF. Each function needs
/// its own certificate and key, `ca.pem` and `token.pub`; the NRF needs `token.key`. Keep `ca.key` offline.
#[derive(Subcommand)]
pub(crate) enum Pki {
    /// Make a CA, a token key and a certificate for each function.
    Init {
        /// Directory, made when it is not there. Nothing in it is overwritten.
        dir: PathBuf,
        /// A name or address that the functions are reached by, besides those of loopback. May be given several times.
        #[arg(long, value_name = "HOST")]
        host: Vec<String>,
        /// One JSON object for each certificate.
        #[arg(long)]
        json: bool,
    },
    /// Make a certificate for one more function.
    Issue {
        /// The directory.
        dir: PathBuf,
        /// Name of its files: NAME.pem and NAME.key.
        name: String,
        /// NF type, for instance AIOTF, ADM, NEF, AF, AMF.
        nf_type: String,
        /// A name or address that it is reached by, besides those of loopback. May be given several times.
        #[arg(long, value_name = "HOST")]
        host: Vec<String>,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
}

/// Functions that get a certificate at once.
const FUNCTIONS: [(&str, &str); 4] = [
    ("nrf", "NRF"),
    ("adm", "ADM"),
    ("aiotf", "AIOTF"),
    ("nef", "NEF"),
];

impl Pki {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Init { dir, host, json } => {
                let pki = PkiDir::new(dir);
                pki.init().map_err(failure)?;
                FUNCTIONS
                    .iter()
                    .try_for_each(|(name, nf_type)| issue(&pki, name, nf_type, &host, json))
            }
            Self::Issue {
                dir,
                name,
                nf_type,
                host,
                json,
            } => {
                let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
                if name.is_empty() || name.starts_with('.') || !name.chars().all(is_plain) {
                    let rule = "NAME: must be letters, digits, - _ . and not begin with a dot";
                    return Err(Failure::input("pki_name", rule));
                }
                let is_type = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
                if nf_type.is_empty() || nf_type.len() > 32 || !nf_type.chars().all(is_type) {
                    let rule =
                        "NF_TYPE: must be an NFType of TS 29.510: capital letters, digits, _";
                    return Err(Failure::input("pki_nf_type", rule));
                }
                issue(&PkiDir::new(dir), &name, &nf_type, &host, json)
            }
        }
    }
}

fn issue(
    pki: &PkiDir,
    name: &str,
    nf_type: &str,
    hosts: &[String],
    json: bool,
) -> Result<(), Failure> {
    let id = pki.issue(name, nf_type, hosts).map_err(failure)?;
    let file = pki.file(&format!("{name}.pem"));
    let line = match json {
        true => json!({
            "certificate": file.display().to_string(),
            "nf_type": nf_type,
            "nf_instance_id": id.to_string(),
        })
        .to_string(),
        false => format!("{}: {nf_type} {id}", file.display()),
    };
    printed(std::io::Write::write_all(
        &mut std::io::stdout(),
        format!("{line}\n").as_bytes(),
    ))
}

fn failure(error: PkiError) -> Failure {
    match &error {
        PkiError::Exists(_) => Failure::input("pki_exists", &error),
        PkiError::File(..) => Failure::resource("io", &error),
        PkiError::Certificate(_) => Failure::input("pki_certificate", &error),
    }
}
