//! gNBs that are reached through an AMF (Namf_AIoT), in the configuration and in a running AIOTF.

use std::net::SocketAddr;
use std::sync::Arc;

use ambit_ngap::GnbId;
use ambit_sbi::client::is_usable_uri;
use ambit_sbi::namf::aiotf::{GnbAccess, Links, LinksConfig};
use ambit_sbi::nrf::client::NrfClient;
use serde::Deserialize;
use uuid::Uuid;

use crate::config::Config;
use crate::failure::Failure;
use crate::sbi::Function;

/// `[amf]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AmfPlace {
    /// gNBs that are reached through an AMF. `[[reader]]` says which areas their readers serve.
    pub(crate) gnbs: Vec<u32>,
    /// How many bits their numbers have.
    gnb_id_bits: u8,
    /// The AMF; by default the NRF is asked.
    pub(crate) uri: Option<String>,
    /// Whether an AMF needs an access token to tell what gNBs say.
    callback_token: bool,
    /// How often a gNB is asked whether its window is still open, in seconds; 0 means never.
    pub(crate) window_check_s: u32,
}

impl Default for AmfPlace {
    fn default() -> Self {
        Self {
            gnbs: Vec::new(),
            gnb_id_bits: 22,
            uri: None,
            callback_token: true,
            window_check_s: 5,
        }
    }
}

/// The AIOTF whose gNBs they are: the identifier it has in NGAP, a way to it, and where its services are.
pub(crate) struct Behind {
    pub(crate) aiotf_id: [u8; 16],
    pub(crate) access: Arc<dyn GnbAccess>,
    pub(crate) address: SocketAddr,
}

/// The ways to gNBs behind AMFs, if any are configured.
pub(crate) fn links(
    config: &Config,
    function: &Function,
    nrf: &NrfClient,
    behind: Behind,
) -> Result<Option<Links>, Failure> {
    let amf = &config.amf;
    if amf.gnbs.is_empty() {
        return match &amf.uri {
            None => Ok(None),
            Some(_) => Err(invalid(
                "amf.gnbs",
                "must name the gNBs that are reached through the AMF (or --amf-gnb)",
            )),
        };
    }
    if !(22..=32).contains(&amf.gnb_id_bits) {
        return Err(invalid("amf.gnb_id_bits", "must be 22 to 32"));
    }
    let snid = config.snid()?;
    let mut gnbs = Vec::new();
    for id in &amf.gnbs {
        let gnb_id = GnbId {
            plmn: *snid.plmn().octets(),
            id: *id,
            bits: amf.gnb_id_bits,
        };
        if u64::from(*id) >> amf.gnb_id_bits != 0 {
            let rule = format!("{id}: must have at most {} bits", amf.gnb_id_bits);
            return Err(invalid("amf.gnbs", rule));
        }
        if gnbs.contains(&gnb_id) {
            return Err(invalid("amf.gnbs", format!("{id} stands twice")));
        }
        gnbs.push(gnb_id);
    }
    if let Some(uri) = amf.uri.as_deref().filter(|uri| !is_usable_uri(uri)) {
        return Err(invalid(
            "amf.uri",
            format!("{uri}: must be a URI, https://host:port"),
        ));
    }
    let notify_root = function.api_root(behind.address).ok_or_else(|| {
        invalid("sbi.host", "must be set: an AMF is told where to find the AIOTF, and sbi.listen is no address of a host")
    })?;
    let links = LinksConfig {
        aiotf_id: Uuid::from_bytes(behind.aiotf_id),
        snid,
        gnbs,
        amf: amf.uri.clone(),
        notify_root,
        callback_token: amf.callback_token,
    };
    let links = Links::new(links, behind.access, nrf.clone());
    links
        .map(Some)
        .map_err(|error| Failure::resource("entropy_failed", error))
}

fn invalid(field: &str, rule: impl std::fmt::Display) -> Failure {
    Failure::input("config_invalid", format!("{field}: {rule}"))
}
