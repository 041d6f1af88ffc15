//! What a gNB sends to the core.

mod encode;

pub(crate) use encode::{encoded_error_indication, transfer_octets};

use crate::identity::{AiotfId, GnbId};
use crate::ies::{Ies, decode_kept, open, same, within};
use crate::{Cause, MessageKind, NgapError};
use oxirush_ngap::aper::protocol::Ie;
use oxirush_ngap::ngap::{
    AIOTSessionReleaseCompleteTransfer, AIOTSessionReleaseRequestTransfer, AIoTDeviceReportItem,
    AIoTReaderReportItem, CommandFailureTransfer, CommandResponseTransfer, GlobalRANNodeID,
    InventoryFailureTransfer, InventoryReportTransfer, InventoryResponseTransfer, decode_open_type,
};
use oxirush_ngap::{AsnType, Decode, Error, Octets, ie};
use std::borrow::Cow;

/// A message from a gNB.
///
/// `aiotf_id` and `correlation` name the session: the AIOTF that opened it and the number it gave it
/// (at least 0x8000 for a window for devices that speak first). NAS PDUs borrow from the octets that were
/// decoded, except out of a PDU of 16 384 octets or more, which comes in fragments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromGnb<'a> {
    /// NG SETUP REQUEST: a gNB introduces itself. Its tracking areas, which Ambient IoT has no use
    /// for, are not read, and are one area with one slice when encoded.
    NgSetupRequest {
        /// The gNB and its PLMN.
        gnb_id: GnbId,
        /// Its name, 1 to 150 characters of a PrintableString.
        name: Option<String>,
        /// Whether it has Ambient IoT readers.
        aiot_support: bool,
    },
    /// INVENTORY RESPONSE: the session is open.
    InventoryResponse {
        /// The AIOTF of the session.
        aiotf_id: AiotfId,
        /// The number of the session.
        correlation: u16,
    },
    /// INVENTORY FAILURE: the session is not opened.
    InventoryFailure {
        /// The AIOTF of the session.
        aiotf_id: AiotfId,
        /// The number of the session.
        correlation: u16,
        /// Why.
        cause: Cause,
    },
    /// INVENTORY REPORT: devices were heard.
    InventoryReport {
        /// The AIOTF of the session.
        aiotf_id: AiotfId,
        /// The number of the session.
        correlation: u16,
        /// The gNB whose readers heard them.
        gnb_id: GnbId,
        /// What each reader heard; may be empty.
        readers: Vec<ReaderReport<'a>>,
        /// Whether the inventory is over.
        complete: bool,
    },
    /// COMMAND RESPONSE: the device answered.
    CommandResponse {
        /// The AIOTF of the session.
        aiotf_id: AiotfId,
        /// The number of the session.
        correlation: u16,
        /// The device, by the number the gNB gave it.
        device_ngap_id: u32,
        /// What it answered.
        nas: Cow<'a, [u8]>,
    },
    /// COMMAND FAILURE: the device did not answer, or the command was not sent. The cause
    /// [`Cause::NoAiotNasResponse`] is the normal end of an exchange in which no answer was due.
    CommandFailure {
        /// The AIOTF of the session.
        aiotf_id: AiotfId,
        /// The number of the session.
        correlation: u16,
        /// The device, by the number the gNB gave it.
        device_ngap_id: u32,
        /// Why.
        cause: Cause,
    },
    /// AIOT SESSION RELEASE COMPLETE: the session is closed.
    SessionReleaseComplete {
        /// The AIOTF of the session.
        aiotf_id: AiotfId,
        /// The number of the session.
        correlation: u16,
    },
    /// AIOT SESSION RELEASE REQUEST: the gNB asks to close the session.
    SessionReleaseRequest {
        /// The AIOTF of the session.
        aiotf_id: AiotfId,
        /// The number of the session.
        correlation: u16,
        /// Why.
        cause: Cause,
    },
    /// ERROR INDICATION: a message did not make sense to the gNB. Never answer it with another.
    ErrorIndication {
        /// Why, unless the gNB only sent diagnostics, which are not read.
        cause: Option<Cause>,
    },
}

/// What one reader heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReaderReport<'a> {
    /// The reader's number at its gNB, from 1.
    pub reader_index: u16,
    /// The devices, 1 to 65 535 of them.
    pub devices: Vec<DeviceReport<'a>>,
}

/// What one device sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceReport<'a> {
    /// Its NAS PDU.
    pub nas: Cow<'a, [u8]>,
    /// The number by which the gNB knows it, where a command may follow.
    pub device_ngap_id: Option<u32>,
}

impl<'a> FromGnb<'a> {
    /// Decode one PDU.
    ///
    /// # Errors
    /// Every [`NgapError`] but [`NgapError::Encode`].
    pub fn decode(octets: &'a [u8]) -> Result<Self, NgapError> {
        let ies = open(octets, "from a gNB", Self::has)?;
        match ies.message {
            MessageKind::NgSetupRequest => ng_setup_request(&ies),
            MessageKind::ErrorIndication => Ok(Self::ErrorIndication {
                cause: error_indication(&ies)?,
            }),
            _ => session_message(&ies),
        }
    }

    /// Which message this is.
    pub const fn kind(&self) -> MessageKind {
        match self {
            Self::NgSetupRequest { .. } => MessageKind::NgSetupRequest,
            Self::InventoryResponse { .. } => MessageKind::InventoryResponse,
            Self::InventoryFailure { .. } => MessageKind::InventoryFailure,
            Self::InventoryReport { .. } => MessageKind::InventoryReport,
            Self::CommandResponse { .. } => MessageKind::CommandResponse,
            Self::CommandFailure { .. } => MessageKind::CommandFailure,
            Self::SessionReleaseComplete { .. } => MessageKind::SessionReleaseComplete,
            Self::SessionReleaseRequest { .. } => MessageKind::SessionReleaseRequest,
            Self::ErrorIndication { .. } => MessageKind::ErrorIndication,
        }
    }

    /// The session that the message is about: its AIOTF and its number.
    pub const fn session(&self) -> Option<(AiotfId, u16)> {
        match self {
            Self::NgSetupRequest { .. } | Self::ErrorIndication { .. } => None,
            Self::InventoryResponse {
                aiotf_id,
                correlation,
            }
            | Self::InventoryFailure {
                aiotf_id,
                correlation,
                ..
            }
            | Self::InventoryReport {
                aiotf_id,
                correlation,
                ..
            }
            | Self::CommandResponse {
                aiotf_id,
                correlation,
                ..
            }
            | Self::CommandFailure {
                aiotf_id,
                correlation,
                ..
            }
            | Self::SessionReleaseComplete {
                aiotf_id,
                correlation,
            }
            | Self::SessionReleaseRequest {
                aiotf_id,
                correlation,
                ..
            } => Some((*aiotf_id, *correlation)),
        }
    }

    const fn has(kind: MessageKind) -> bool {
        matches!(
            kind,
            MessageKind::NgSetupRequest
                | MessageKind::InventoryResponse
                | MessageKind::InventoryFailure
                | MessageKind::InventoryReport
                | MessageKind::CommandResponse
                | MessageKind::CommandFailure
                | MessageKind::SessionReleaseComplete
                | MessageKind::SessionReleaseRequest
                | MessageKind::ErrorIndication
        )
    }
}

fn ng_setup_request<'a>(ies: &Ies<'a>) -> Result<FromGnb<'a>, NgapError> {
    let GlobalRANNodeID::globalGNB_ID(gnb_id) = ies.required::<ie::GlobalRANNodeID>()? else {
        let name = <ie::GlobalRANNodeID as Ie>::NAME;
        return Err(NgapError::bad(
            ies.message,
            name,
            "a gNB",
            "another kind of node",
        ));
    };
    Ok(FromGnb::NgSetupRequest {
        gnb_id: GnbId::from_wire(ies.message, &gnb_id)?,
        // Its criticality is ignore: a name that does not decode counts as absent (10.3.4.2).
        name: ies
            .optional::<ie::RANNodeName>()
            .ok()
            .flatten()
            .map(|name| name.0.into_owned()),
        aiot_support: ies.optional::<ie::AIoT_Support>()?.is_some(),
    })
}

/// The cause of an ERROR INDICATION, which is of criticality ignore.
pub(crate) fn error_indication(ies: &Ies<'_>) -> Result<Option<Cause>, NgapError> {
    let cause = ies.optional::<ie::Cause>().ok().flatten();
    Ok(cause.and_then(|cause| Cause::from_wire(ies.message, <ie::Cause as Ie>::NAME, &cause).ok()))
}

/// The messages that belong to a session. Their transfer repeats what stands outside.
fn session_message<'a>(ies: &Ies<'a>) -> Result<FromGnb<'a>, NgapError> {
    let (message, aiotf_id, correlation) = (ies.message, ies.aiotf_id()?, ies.correlation()?);
    let same_correlation = |inner| {
        same(
            message,
            <ie::AIoT_CorrelationIdentifier as Ie>::NAME,
            correlation.into(),
            inner,
        )
    };
    let cause_of = |wire| Cause::from_wire(message, <ie::Cause as Ie>::NAME, wire);
    match message {
        MessageKind::InventoryResponse => {
            let octets = ies.octets::<ie::InventoryResponseTransfer>()?;
            let transfer: InventoryResponseTransfer = plain(message, &octets)?;
            same_correlation(transfer.correlation_identifier.0)?;
            Ok(FromGnb::InventoryResponse {
                aiotf_id,
                correlation,
            })
        }
        MessageKind::InventoryFailure => {
            let octets = ies.octets::<ie::InventoryFailureTransfer>()?;
            let transfer: InventoryFailureTransfer = plain(message, &octets)?;
            same_correlation(transfer.correlation_identifier.0)?;
            let cause = cause_of(&transfer.cause)?;
            Ok(FromGnb::InventoryFailure {
                aiotf_id,
                correlation,
                cause,
            })
        }
        MessageKind::CommandResponse => {
            let octets = ies.octets::<ie::CommandResponseTransfer>()?;
            let transfer: CommandResponseTransfer<'a> =
                decode_kept!(CommandResponseTransfer, octets).map_err(|error| {
                    NgapError::undecodable(message, CommandResponseTransfer::NAME, &error)
                })?;
            same_correlation(transfer.correlation_identifier.0)?;
            let device_ngap_id = device(ies, transfer.ran_aiot_device_ngap_id.0)?;
            let nas = kept(transfer.aiot_nas_pdu.0);
            Ok(FromGnb::CommandResponse {
                aiotf_id,
                correlation,
                device_ngap_id,
                nas,
            })
        }
        MessageKind::CommandFailure => {
            let octets = ies.octets::<ie::CommandFailureTransfer>()?;
            let transfer: CommandFailureTransfer = plain(message, &octets)?;
            same_correlation(transfer.correlation_identifier.0)?;
            let device_ngap_id = device(ies, transfer.ran_aiot_device_ngap_id.0)?;
            let cause = cause_of(&transfer.cause)?;
            Ok(FromGnb::CommandFailure {
                aiotf_id,
                correlation,
                device_ngap_id,
                cause,
            })
        }
        MessageKind::SessionReleaseComplete => {
            let octets = ies.octets::<ie::AIOTSessionReleaseCompleteTransfer>()?;
            let transfer: AIOTSessionReleaseCompleteTransfer = plain(message, &octets)?;
            same_correlation(transfer.correlation_identifier.0)?;
            Ok(FromGnb::SessionReleaseComplete {
                aiotf_id,
                correlation,
            })
        }
        MessageKind::SessionReleaseRequest => {
            let octets = ies.octets::<ie::AIOTSessionReleaseRequestTransfer>()?;
            let transfer: AIOTSessionReleaseRequestTransfer = plain(message, &octets)?;
            same_correlation(transfer.correlation_identifier.0)?;
            let cause = cause_of(&transfer.cause)?;
            Ok(FromGnb::SessionReleaseRequest {
                aiotf_id,
                correlation,
                cause,
            })
        }
        // `has` lets no other kind come here.
        _ => {
            let octets = ies.octets::<ie::InventoryReportTransfer>()?;
            let transfer: InventoryReportTransfer<'a> =
                decode_kept!(InventoryReportTransfer, octets).map_err(|error| {
                    NgapError::undecodable(message, InventoryReportTransfer::NAME, &error)
                })?;
            same_correlation(transfer.correlation_identifier.0)?;
            let items = transfer
                .reader_report_list
                .map(|list| list.0)
                .unwrap_or_default();
            Ok(FromGnb::InventoryReport {
                aiotf_id,
                correlation,
                gnb_id: GnbId::from_wire(message, &transfer.global_gnb_id)?,
                readers: items
                    .into_iter()
                    .map(reader_report)
                    .collect::<Result<_, _>>()?,
                complete: transfer.inventory_complete_indication.is_some(),
            })
        }
    }
}

fn reader_report(item: AIoTReaderReportItem<'_>) -> Result<ReaderReport<'_>, NgapError> {
    let message = MessageKind::InventoryReport;
    let name = "AIoT-ReaderIndex";
    Ok(ReaderReport {
        reader_index: within(
            message,
            name,
            "1 to 65535",
            1..=u16::MAX,
            item.reader_index.0,
        )?,
        devices: item
            .device_report_list
            .0
            .into_iter()
            .map(device_report)
            .collect(),
    })
}

fn device_report(item: AIoTDeviceReportItem<'_>) -> DeviceReport<'_> {
    DeviceReport {
        nas: kept(item.aiot_nas_pdu.0),
        device_ngap_id: item.ran_aiot_device_ngap_id.map(|id| id.0),
    }
}

/// The device of a message, which its transfer names again.
fn device(ies: &Ies<'_>, inner: u32) -> Result<u32, NgapError> {
    let outer = ies.required::<ie::RAN_AIOT_Device_NGAP_ID>()?.0;
    let name = <ie::RAN_AIOT_Device_NGAP_ID as Ie>::NAME;
    same(ies.message, name, outer.into(), inner.into())?;
    Ok(outer)
}

/// A transfer that holds no octets to borrow.
fn plain<'o, T: Decode<'o> + AsnType>(
    message: MessageKind,
    octets: &'o [u8],
) -> Result<T, NgapError> {
    decode_open_type(octets)
        .map_err(|error: Error| NgapError::undecodable(message, T::NAME, &error))
}

pub(crate) fn kept(octets: Octets<'_>) -> Cow<'_, [u8]> {
    match octets.as_borrowed() {
        Some(octets) => Cow::Borrowed(octets),
        None => Cow::Owned(octets.into_vec()),
    }
}
