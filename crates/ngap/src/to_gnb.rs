//! What the core, for an AIOTF, sends to a gNB.

mod command;
mod encode;

pub use command::CommandRequests;

use crate::from_gnb::{error_indication, kept};
use crate::identity::{AiotfId, AreaId, GnbId, Plmn, ReaderId, area_from_wire, plmn_from_wire};
use crate::ies::{Ies, open, same, within};
use crate::{Cause, MessageKind, NgapError};
use oxirush_ngap::aper::protocol::Ie;
use oxirush_ngap::ngap::{
    AIOTSessionReleaseCommandTransfer, AIoTDeviceIdentificationRequested, AIoTRequestedReaderItem,
    AIoTRequestedServiceAreaInformation, AIoTSecurityInfo, CommandRequestTransfer,
    InventoryRequestTransfer,
};
use oxirush_ngap::{BitString, ie};
use std::borrow::Cow;

/// A message to a gNB. `aiotf_id` and `correlation` name the session, as in
/// [`FromGnb`](crate::FromGnb).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToGnb<'a> {
    /// NG SETUP RESPONSE: the gNB is welcome.
    NgSetupResponse {
        /// The AIOTF that will open sessions; `None` from an AMF, through which any may.
        aiotf_id: Option<AiotfId>,
        /// The AIOTF's name, else the AMF's, 1 to 150 characters. The AMF name is made of it: a character
        /// that a PrintableString has no room for becomes `-`.
        name: Cow<'a, str>,
        /// The PLMN that the core serves, for the GUAMI and the slices, which mean nothing here.
        plmn: Plmn,
    },
    /// NG SETUP FAILURE: the gNB is not served.
    NgSetupFailure {
        /// Why.
        cause: Cause,
    },
    /// INVENTORY REQUEST: open a session.
    InventoryRequest(InventoryRequest<'a>),
    /// COMMAND REQUEST: hand a device a NAS PDU.
    CommandRequest {
        /// The AIOTF of the session.
        aiotf_id: AiotfId,
        /// The number of the session.
        correlation: u16,
        /// The device, by the number the gNB gave it.
        device_ngap_id: u32,
        /// What to hand it.
        nas: Cow<'a, [u8]>,
        /// How long the answer is expected to be, 1 to 256.
        expected_d2r_octets: u16,
    },
    /// AIOT SESSION RELEASE COMMAND: close the session.
    SessionReleaseCommand {
        /// The AIOTF of the session.
        aiotf_id: AiotfId,
        /// The number of the session.
        correlation: u16,
        /// Why.
        cause: Cause,
    },
    /// ERROR INDICATION: a message did not make sense to the core. Never answer it with another.
    ErrorIndication {
        /// Why, unless the core only sent diagnostics, which are not read.
        cause: Option<Cause>,
    },
}

/// What a session is opened with (clause 9.3.1 of V19.4, AIoT Inventory Request Transfer).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InventoryRequest<'a> {
    /// The AIOTF of the session.
    pub aiotf_id: AiotfId,
    /// The number of the session.
    pub correlation: u16,
    /// The devices asked for.
    pub target: Target<'a>,
    /// The areas to ask in, up to 256.
    pub areas: Vec<AreaId>,
    /// The readers to ask through, up to 65 535.
    pub readers: Vec<ReaderId>,
    /// How long an answer is expected to be, 1 to 256. The ASN.1 has no unit; octets is our reading.
    pub expected_d2r_octets: u16,
    /// About how many devices will answer, from 1.
    pub approximate_devices: Option<u16>,
    /// The time between two rounds, 1 to 256. The ASN.1 has no unit.
    pub time_interval: Option<u16>,
    /// Whether commands will follow, so that the gNB has to keep each device's number.
    pub follow_on_command: bool,
    /// What the readers broadcast: RAND_n.
    pub rand_n: [u8; 16],
}

/// The devices that a session is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// Every device.
    AllDevices,
    /// The one of this identifier.
    Single(DeviceBits<'a>),
    /// Those that match this filter.
    Group(DeviceBits<'a>),
}

/// A device identifier or filter: a string of 1 to 1024 bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceBits<'a> {
    octets: Cow<'a, [u8]>,
    bits: u16,
}

impl<'a> DeviceBits<'a> {
    /// The first `bits` bits of `octets`; `None` unless these are 1 to 1024 bits that just fill the
    /// octets, the unused bits of the last octet being zero.
    pub fn new(octets: impl Into<Cow<'a, [u8]>>, bits: u16) -> Option<Self> {
        let octets = octets.into();
        BitString::new(&*octets, bits.into()).ok()?;
        (1..=1024).contains(&bits).then_some(Self { octets, bits })
    }

    /// All bits of 1 to 128 octets; `None` for fewer or more.
    pub fn from_octets(octets: impl Into<Cow<'a, [u8]>>) -> Option<Self> {
        let octets = octets.into();
        let bits = u16::try_from(octets.len().checked_mul(8)?).ok()?;
        Self::new(octets, bits)
    }

    /// The octets, the unused bits of the last being zero.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// How many bits there are.
    pub const fn bits(&self) -> u16 {
        self.bits
    }

    fn from_wire(message: MessageKind, wire: &BitString<'_>) -> Result<Self, NgapError> {
        let bits = u16::try_from(wire.len()).ok();
        let device = bits.and_then(|bits| Self::new(wire.as_octets().to_vec(), bits));
        let name = <ie::AIoT_DeviceIdentificationRequested as Ie>::NAME;
        device.ok_or_else(|| NgapError::bad(message, name, "1 to 1024 bits", wire.len()))
    }
}

impl<'a> ToGnb<'a> {
    /// Decode one PDU.
    ///
    /// # Errors
    /// Every [`NgapError`] but [`NgapError::Encode`].
    pub fn decode(octets: &'a [u8]) -> Result<Self, NgapError> {
        let ies = open(octets, "to a gNB", Self::has)?;
        match ies.message {
            MessageKind::NgSetupResponse => ng_setup_response(&ies),
            MessageKind::NgSetupFailure => Ok(Self::NgSetupFailure {
                cause: cause(&ies)?,
            }),
            MessageKind::InventoryRequest => inventory_request(&ies).map(Self::InventoryRequest),
            MessageKind::CommandRequest => command_request(&ies),
            MessageKind::SessionReleaseCommand => session_release_command(&ies),
            // `has` lets no other kind come here.
            _ => Ok(Self::ErrorIndication {
                cause: error_indication(&ies)?,
            }),
        }
    }

    /// Which message this is.
    pub const fn kind(&self) -> MessageKind {
        match self {
            Self::NgSetupResponse { .. } => MessageKind::NgSetupResponse,
            Self::NgSetupFailure { .. } => MessageKind::NgSetupFailure,
            Self::InventoryRequest(_) => MessageKind::InventoryRequest,
            Self::CommandRequest { .. } => MessageKind::CommandRequest,
            Self::SessionReleaseCommand { .. } => MessageKind::SessionReleaseCommand,
            Self::ErrorIndication { .. } => MessageKind::ErrorIndication,
        }
    }

    /// The session that the message is about: its AIOTF and its number.
    pub const fn session(&self) -> Option<(AiotfId, u16)> {
        match self {
            Self::InventoryRequest(request) => Some((request.aiotf_id, request.correlation)),
            Self::CommandRequest {
                aiotf_id,
                correlation,
                ..
            }
            | Self::SessionReleaseCommand {
                aiotf_id,
                correlation,
                ..
            } => Some((*aiotf_id, *correlation)),
            Self::NgSetupResponse { .. }
            | Self::NgSetupFailure { .. }
            | Self::ErrorIndication { .. } => None,
        }
    }

    const fn has(kind: MessageKind) -> bool {
        matches!(
            kind,
            MessageKind::NgSetupResponse
                | MessageKind::NgSetupFailure
                | MessageKind::InventoryRequest
                | MessageKind::CommandRequest
                | MessageKind::SessionReleaseCommand
                | MessageKind::ErrorIndication
        )
    }
}

const NAME_RULE: &str = "1 to 150 characters";

fn is_name(name: &str) -> bool {
    (1..=150).contains(&name.chars().count())
}

fn ng_setup_response<'a>(ies: &Ies<'a>) -> Result<ToGnb<'a>, NgapError> {
    let plmns = ies.required::<ie::PLMNSupportList>()?.0;
    let plmn = plmns.first().map(|item| item.plmn_identity);
    let aiotf_id = ies.aiotf_id_if_any()?;
    let name = ies.optional::<ie::AIOTFName>()?;
    // The name of nobody is no name.
    let name = name.filter(|_| aiotf_id.is_some()).and_then(|name| {
        let visible = name.aiotf_name_visible_string.map(|name| name.0);
        visible.or(name.aiotf_name_utf8_string.map(|name| name.0))
    });
    // The sizes of both are extensible, so that one of none or more comes through the decoder.
    let name = match name.filter(|name| is_name(name)) {
        Some(name) => name.into_owned(),
        None => {
            let name = ies.required::<ie::AMFName>()?.0;
            if !is_name(&name) {
                let field = <ie::AMFName as Ie>::NAME;
                return Err(NgapError::bad(ies.message, field, NAME_RULE, name));
            }
            name.into_owned()
        }
    };
    Ok(ToGnb::NgSetupResponse {
        aiotf_id,
        name: Cow::Owned(name),
        plmn: plmn.map_or_else(
            || {
                Err(NgapError::bad(
                    ies.message,
                    "PLMNSupportList",
                    "a PLMN",
                    "none",
                ))
            },
            |plmn| plmn_from_wire(ies.message, plmn),
        )?,
    })
}

fn inventory_request<'a>(ies: &Ies<'a>) -> Result<InventoryRequest<'a>, NgapError> {
    let (message, aiotf_id, correlation) = (ies.message, ies.aiotf_id()?, ies.correlation()?);
    let octets = ies.octets::<ie::InventoryRequestTransfer>()?;
    let structure = InventoryRequestTransfer::check_structure(&octets);
    let transfer = Ies::of(message, "InventoryRequestTransfer", &octets, structure)?;
    same_correlation(correlation, &transfer)?;

    let area = transfer.required::<ie::AIoT_RequestedServiceAreaInformation>()?;
    let (areas, readers) = service_area(message, area)?;
    let assistance = transfer.required::<ie::AIoT_InventoryAssistanceInformation>()?;
    let rule = "1 to 256";
    Ok(InventoryRequest {
        aiotf_id,
        correlation,
        target: target(&transfer)?,
        areas,
        readers,
        expected_d2r_octets: within(
            message,
            "expectedD2RMsgSize",
            rule,
            1..=256,
            assistance.expected_d2r_msg_size,
        )?,
        approximate_devices: assistance
            .approximate_noof_target_devices
            .map(|n| {
                let name = "approximateNoofTargetDevices";
                within(message, name, "1 to 65535", 1..=u16::MAX, n)
            })
            .transpose()?,
        time_interval: assistance
            .time_interval
            .map(|n| within(message, "timeInterval", rule, 1..=256, n))
            .transpose()?,
        follow_on_command: transfer
            .optional::<ie::AIoT_FollowonCommandIndication>()?
            .is_some(),
        rand_n: rand_n(&transfer)?,
    })
}

fn command_request<'a>(ies: &Ies<'a>) -> Result<ToGnb<'a>, NgapError> {
    let (message, aiotf_id, correlation) = (ies.message, ies.aiotf_id()?, ies.correlation()?);
    let device_ngap_id = ies.required::<ie::RAN_AIOT_Device_NGAP_ID>()?.0;
    let octets = ies.octets::<ie::CommandRequestTransfer>()?;
    let structure = CommandRequestTransfer::check_structure(&octets);
    let transfer = Ies::of(message, "CommandRequestTransfer", &octets, structure)?;
    same_correlation(correlation, &transfer)?;
    let inner = transfer.required::<ie::RAN_AIOT_Device_NGAP_ID>()?.0;
    let name = <ie::RAN_AIOT_Device_NGAP_ID as Ie>::NAME;
    same(message, name, device_ngap_id.into(), inner.into())?;
    let assistance = transfer.required::<ie::AIoT_CommandAssistanceInformation>()?;
    let size = assistance.estimateof_expected_d2r_msg_size;
    Ok(ToGnb::CommandRequest {
        aiotf_id,
        correlation,
        device_ngap_id,
        nas: kept(transfer.octets::<ie::AIoT_NASPDU>()?),
        expected_d2r_octets: within(
            message,
            "estimateofExpectedD2RMsgSize",
            "1 to 256",
            1..=256,
            size,
        )?,
    })
}

fn session_release_command<'a>(ies: &Ies<'a>) -> Result<ToGnb<'a>, NgapError> {
    let (aiotf_id, correlation) = (ies.aiotf_id()?, ies.correlation()?);
    let octets = ies.octets::<ie::AIOTSessionReleaseCommandTransfer>()?;
    let structure = AIOTSessionReleaseCommandTransfer::check_structure(&octets);
    let name = "AIOTSessionReleaseCommandTransfer";
    let transfer = Ies::of(ies.message, name, &octets, structure)?;
    same_correlation(correlation, &transfer)?;
    let cause = cause(&transfer)?;
    Ok(ToGnb::SessionReleaseCommand {
        aiotf_id,
        correlation,
        cause,
    })
}

fn same_correlation(outer: u16, transfer: &Ies<'_>) -> Result<(), NgapError> {
    let name = <ie::AIoT_CorrelationIdentifier as Ie>::NAME;
    same(
        transfer.message,
        name,
        outer.into(),
        transfer.correlation()?.into(),
    )
}

fn cause(ies: &Ies<'_>) -> Result<Cause, NgapError> {
    Cause::from_wire(
        ies.message,
        <ie::Cause as Ie>::NAME,
        &ies.required::<ie::Cause>()?,
    )
}

fn target<'a>(transfer: &Ies<'_>) -> Result<Target<'a>, NgapError> {
    let message = transfer.message;
    Ok(
        match transfer.required::<ie::AIoT_DeviceIdentificationRequested>()? {
            AIoTDeviceIdentificationRequested::allDevices(()) => Target::AllDevices,
            AIoTDeviceIdentificationRequested::singleDevice(bits) => {
                Target::Single(DeviceBits::from_wire(message, &bits)?)
            }
            AIoTDeviceIdentificationRequested::groupDevices(bits) => {
                Target::Group(DeviceBits::from_wire(message, &bits)?)
            }
            AIoTDeviceIdentificationRequested::choice_Extensions(_) => {
                let name = <ie::AIoT_DeviceIdentificationRequested as Ie>::NAME;
                let rule = "one, a group or all devices";
                return Err(NgapError::bad(message, name, rule, "another alternative"));
            }
        },
    )
}

fn service_area(
    message: MessageKind,
    wire: AIoTRequestedServiceAreaInformation,
) -> Result<(Vec<AreaId>, Vec<ReaderId>), NgapError> {
    let areas = wire
        .requested_aiot_area_list
        .map(|list| list.0)
        .unwrap_or_default();
    let readers = wire
        .requested_reader_list
        .map(|list| list.0)
        .unwrap_or_default();
    let reader = |item: &AIoTRequestedReaderItem| {
        let (name, rule) = ("AIoT-ReaderIndex", "1 to 65535");
        Ok(ReaderId {
            gnb_id: GnbId::from_wire(message, &item.global_gnb_id)?,
            reader_index: within(message, name, rule, 1..=u16::MAX, item.reader_index.0)?,
        })
    };
    Ok((
        areas
            .iter()
            .map(|area| area_from_wire(message, area))
            .collect::<Result<_, _>>()?,
        readers
            .iter()
            .map(reader)
            .collect::<Result<_, NgapError>>()?,
    ))
}

fn rand_n(transfer: &Ies<'_>) -> Result<[u8; 16], NgapError> {
    let name = <ie::AIoT_SecurityInfo as Ie>::NAME;
    let bad = |came| NgapError::bad(transfer.message, name, "RAND_n of 128 bits", came);
    match transfer.required::<ie::AIoT_SecurityInfo>()? {
        AIoTSecurityInfo::a_IoT_RAND_n(bits) if bits.len() == 128 => bits
            .as_octets()
            .try_into()
            .map_err(|_| bad("another length")),
        AIoTSecurityInfo::a_IoT_RAND_n(_) => Err(bad("another length")),
        AIoTSecurityInfo::choice_Extensions(_) => Err(bad("another alternative")),
    }
}
