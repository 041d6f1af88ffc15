//! The bodies of Namf_AIoT: an NGAP PDU in a part of its own, and JSON that says what it is.
//!
//! `aiotNgapData` is a reference to a part by its content ID. So a body that is JSON alone, which the file allows too, never
//! holds what it refers to, and is refused with the reference named.

use ambit_ngap::{AiotfId, FromGnb, GnbId, MessageKind, NgapError, ToGnb};
use ambit_protocol::Snid;
use ambit_protocol::area::Plmn;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::is_usable_uri;
use crate::exchange::{Body, Exchange};
use crate::json::{Field, Fields, set};
use crate::multipart::{self, Part};
use crate::nrf::profile::{plmn_json, snid_of};
use crate::problem::Problem;

/// The media type of NGAP.
pub const NGAP: &str = "application/vnd.3gpp.ngap";

/// The content ID that we give the NGAP.
const CONTENT_ID: &str = "ngap";

/// Where the reference to the NGAP stands.
const CONTENT_ID_AT: &str = "/aiotMessage/aiotNgapData/contentId";

/// A body, with its media type.
#[derive(Clone)]
pub struct Typed {
    /// Its media type, with the boundary.
    pub media_type: String,
    /// Its octets.
    pub octets: Vec<u8>,
}

/// An NGAP PDU for a gNB: AiotMessageReq.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// The gNB.
    pub gnb_id: GnbId,
    /// The AIOTF and its number for the session.
    pub session: (AiotfId, u16),
    /// Where what comes back is to be told.
    pub notif_uri: String,
    /// The PDU.
    pub ngap: Vec<u8>,
}

/// The value of `aiotMessageType`; `None` for a message that Namf_AIoT does not carry.
pub const fn type_name(kind: MessageKind) -> Option<&'static str> {
    Some(match kind {
        MessageKind::InventoryRequest => "INVENTORY_REQUEST",
        MessageKind::CommandRequest => "COMMAND_REQUEST",
        MessageKind::SessionReleaseCommand => "AIOT_SESSION_RELEASE_COMMAND",
        // So it stands in TS 29.518.
        MessageKind::InventoryResponse => "INVENTORY_REPONSE",
        MessageKind::InventoryFailure => "INVENTORY_FAILURE",
        MessageKind::InventoryReport => "INVENTORY_REPORT",
        MessageKind::CommandResponse => "COMMAND_RESPONSE",
        MessageKind::CommandFailure => "COMMAND_FAILURE",
        MessageKind::SessionReleaseComplete => "AIOT_SESSION_RELEASE_COMPLETE",
        MessageKind::SessionReleaseRequest => "AIOT_SESSION_RELEASE_REQUEST",
        MessageKind::NgSetupRequest
        | MessageKind::NgSetupResponse
        | MessageKind::NgSetupFailure
        | MessageKind::ErrorIndication => return None,
    })
}

/// An AiotMessageReq; `None` for a message that Namf_AIoT does not carry.
pub fn request(snid: Snid, transfer: &Transfer, message: &ToGnb<'_>) -> Option<Typed> {
    let (aiotf_id, correlation) = transfer.session;
    let mut json = message_json(message.kind())?;
    set(&mut json, "ranNodeId", ran_node_json(snid, transfer.gnb_id));
    set(&mut json, "notifUri", transfer.notif_uri.as_str());
    set(&mut json, "aiotfId", Uuid::from_bytes(aiotf_id).to_string());
    set(&mut json, "correlationId", correlation);
    if let ToGnb::CommandRequest { device_ngap_id, .. } = message {
        set(&mut json, "ranAiotDeviceNgapId", *device_ngap_id);
    }
    Some(with_ngap(&json, &transfer.ngap))
}

/// An AiotInfoNotification; `None` for a message that Namf_AIoT does not carry.
pub fn notification(kind: MessageKind, ngap: &[u8]) -> Option<Typed> {
    Some(with_ngap(&message_json(kind)?, ngap))
}

/// Reads an AiotMessageReq, and holds what it says against the NGAP itself.
///
/// # Errors
/// [`Problem`] that names the parameter.
pub fn read_request(exchange: &Exchange) -> Result<Transfer, Problem> {
    let body = exchange.json()?;
    let fields = Fields::of(body)?;
    let gnb_id = ran_node(&fields.required("ranNodeId")?)?;
    let notif_uri = fields.required("notifUri")?;
    if !is_usable_uri(notif_uri.text()?) {
        return Err(notif_uri.breaks("must be a URI, https://host:port/path"));
    }
    let aiotf_id = fields.required("aiotfId")?;
    let id = Uuid::try_parse(aiotf_id.text()?).map_err(|_| aiotf_id.breaks("must be a UUID"))?;
    let correlation = fields.required("correlationId")?;
    let number = correlation.integer(0, u16::MAX.into())?;
    let device = fields.optional("ranAiotDeviceNgapId");
    let device_number = device
        .as_ref()
        .map(|device| device.integer(0, u32::MAX.into()))
        .transpose()?;
    if let Some(features) = fields.optional("suppFeat")
        && !features.text()?.bytes().all(|c| c.is_ascii_hexdigit())
    {
        return Err(features.breaks("must be hexadecimal digits"));
    }
    let named = Named::read(&fields)?;
    let ngap = named.ngap(exchange)?;
    let message = ToGnb::decode(ngap).map_err(|error| undecodable(&error))?;
    named.check(message.kind())?;
    // Only messages of a session have a type to be named by.
    let session = message.session().unwrap_or(([0; 16], 0));
    if session.0 != id.into_bytes() {
        return Err(aiotf_id.breaks("must be that of the NGAP"));
    }
    if u64::from(session.1) != number {
        return Err(correlation.breaks("must be that of the NGAP"));
    }
    match (&message, device_number) {
        (ToGnb::CommandRequest { device_ngap_id, .. }, Some(number))
            if u64::from(*device_ngap_id) != number =>
        {
            let at = "/ranAiotDeviceNgapId";
            return Err(Problem::optional_incorrect(at, "must be that of the NGAP"));
        }
        _ => {}
    }
    Ok(Transfer {
        gnb_id,
        session,
        notif_uri: notif_uri.text()?.to_owned(),
        ngap: ngap.to_vec(),
    })
}

/// Reads an AiotInfoNotification, and holds what it says against the NGAP itself: the octets, and what they are.
///
/// # Errors
/// [`Problem`] that names the parameter.
pub fn read_notification(exchange: &Exchange) -> Result<(&[u8], FromGnb<'_>), Problem> {
    let named = Named::read(&Fields::of(exchange.json()?)?)?;
    let ngap = named.ngap(exchange)?;
    let message = FromGnb::decode(ngap).map_err(|error| undecodable(&error))?;
    named.check(message.kind())?;
    Ok((ngap, message))
}

/// What a body says of its NGAP.
struct Named {
    content_id: String,
    procedure: u64,
    kind: String,
}

impl Named {
    fn read(fields: &Fields<'_>) -> Result<Self, Problem> {
        let message = fields.required("aiotMessage")?.object()?;
        let data = message.required("aiotNgapData")?.object()?;
        Ok(Self {
            content_id: data.required("contentId")?.short_text(256)?.to_owned(),
            procedure: message
                .required("ngapMessageType")?
                .integer(0, u64::MAX >> 1)?,
            kind: fields
                .required("aiotMessageType")?
                .short_text(64)?
                .to_owned(),
        })
    }

    /// The part that is referred to.
    fn ngap<'a>(&self, exchange: &'a Exchange) -> Result<&'a [u8], Problem> {
        let parts: &[Part] = match &exchange.body {
            Body::Parts(_, parts) => parts,
            _ => &[],
        };
        let wanted = self.content_id.trim_matches(['<', '>']);
        let mut found = parts.iter().filter(|part| part.id == wanted);
        let bad = |rule: &str| Err(Problem::incorrect(CONTENT_ID_AT, rule));
        match (found.next(), found.next()) {
            (None, _) => bad("must be the Content-Id of a part of the body (multipart/related)"),
            (Some(_), Some(_)) => bad("must be the Content-Id of one part only"),
            (Some(part), None) if part.media_type != NGAP => {
                bad("must refer to a part of type application/vnd.3gpp.ngap")
            }
            (Some(part), None) => Ok(&part.octets),
        }
    }

    /// Whether both names are those of the message.
    fn check(&self, kind: MessageKind) -> Result<(), Problem> {
        // Also as it ought to be spelt.
        let is_meant = |name: &str| {
            self.kind == name
                || (kind == MessageKind::InventoryResponse && self.kind == "INVENTORY_RESPONSE")
        };
        match type_name(kind) {
            None => {
                let rule = format!("must not be {}", kind.name());
                Err(Problem::incorrect("/aiotMessage/aiotNgapData", rule))
            }
            Some(name) if !is_meant(name) => {
                let rule = format!("must be {name}, which the NGAP is");
                Err(Problem::incorrect("/aiotMessageType", rule))
            }
            Some(_) if self.procedure != u64::from(kind.procedure().0) => {
                let rule = format!(
                    "must be {}, the procedure code of the NGAP",
                    kind.procedure().0
                );
                Err(Problem::incorrect("/aiotMessage/ngapMessageType", rule))
            }
            Some(_) => Ok(()),
        }
    }
}

fn undecodable(error: &NgapError) -> Problem {
    Problem::incorrect(
        "/aiotMessage/aiotNgapData",
        format!("does not decode: {error}"),
    )
}

fn message_json(kind: MessageKind) -> Option<Value> {
    Some(json!({
        "aiotMessage": {
            "ngapMessageType": kind.procedure().0,
            "aiotNgapData": { "contentId": CONTENT_ID },
        },
        "aiotMessageType": type_name(kind)?,
    }))
}

fn with_ngap(json: &Value, ngap: &[u8]) -> Typed {
    let boundary = multipart::boundary_for(ngap);
    Typed {
        octets: multipart::build(json, CONTENT_ID, NGAP, ngap, &boundary),
        media_type: format!("multipart/related; boundary={boundary}; type=\"application/json\""),
    }
}

/// A gNB as GlobalRanNodeId (TS 29.571).
fn ran_node_json(snid: Snid, gnb_id: GnbId) -> Value {
    let plmn = Plmn::from_octets(gnb_id.plmn).unwrap_or(snid.plmn());
    let digits = usize::from(gnb_id.bits.div_ceil(4));
    let mut json = json!({
        "plmnId": plmn_json(&plmn),
        "gNbId": {
            "bitLength": gnb_id.bits,
            "gNBValue": format!("{:0digits$x}", gnb_id.id),
        },
    });
    if let Some(nid) = snid.nid() {
        set(&mut json, "nid", nid.to_string());
    }
    json
}

fn ran_node(field: &Field<'_>) -> Result<GnbId, Problem> {
    let fields = field.object()?;
    let snid = snid_of(&fields)?;
    let others = ["n3IwfId", "ngeNbId", "wagfId", "tngfId", "eNbId"];
    if others.iter().any(|name| fields.has(name)) {
        return Err(field.breaks("must be a gNB (gNbId)"));
    }
    let gnb = fields.required("gNbId")?.object()?;
    let bits = gnb.required("bitLength")?.integer(22, 32)?;
    let value = gnb.required("gNBValue")?;
    let text = value.text()?;
    let is_hex = (6..=8).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_hexdigit());
    let id = u32::from_str_radix(text, 16).ok().filter(|_| is_hex);
    let id = id.filter(|id| u64::from(*id) < 1 << bits);
    let id = id.ok_or_else(|| {
        value.breaks("must be 6 to 8 hexadecimal digits, of no more bits than bitLength")
    })?;
    Ok(GnbId {
        plmn: *snid.plmn().octets(),
        id,
        bits: u8::try_from(bits).unwrap_or(32),
    })
}

// What devices say is nobody's to read in a log.
impl std::fmt::Debug for Typed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Typed({}, {} octets)",
            self.media_type,
            self.octets.len()
        )
    }
}
