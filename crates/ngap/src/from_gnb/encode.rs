//! The octets of what a gNB sends: for the emulated gNB and for tests.

use super::{DeviceReport, FromGnb, ReaderReport};
use crate::identity::plmn_to_wire;
use crate::ies::within;
use crate::{GnbId, MessageKind, NgapError};
use oxirush_ngap::helpers::s_nssai;
use oxirush_ngap::ngap::*;
use oxirush_ngap::{Encode, Error, Octets, build_ngap};

impl FromGnb<'_> {
    /// Encode the message as one PDU.
    ///
    /// # Errors
    /// [`NgapError::BadIe`] or [`NgapError::Encode`] for a value that has no encoding: a reader
    /// index of 0, a reader without devices, a gNB or PLMN that is none.
    pub fn encode(&self) -> Result<Vec<u8>, NgapError> {
        let mut octets = Vec::new();
        self.encode_into(&mut octets)?;
        Ok(octets)
    }

    /// Append the PDU to `octets`, which is as it was after an error.
    ///
    /// # Errors
    /// Those of [`encode`](Self::encode).
    pub fn encode_into(&self, octets: &mut Vec<u8>) -> Result<(), NgapError> {
        let message = self.kind();
        let before = octets.len();
        self.to_pdu(message)?.encode_into(octets).map_err(|error| {
            octets.truncate(before);
            NgapError::encode(message, &error)
        })
    }

    fn to_pdu(&self, message: MessageKind) -> Result<NGAP_PDU, NgapError> {
        let pdu = match self {
            Self::NgSetupRequest {
                gnb_id,
                name,
                aiot_support,
            } => {
                return ng_setup_request(gnb_id, name.as_deref(), *aiot_support);
            }
            Self::InventoryReport {
                aiotf_id,
                correlation,
                gnb_id,
                readers,
                complete,
            } => {
                let transfer = InventoryReportTransfer::new(
                    AIoTCorrelationIdentifier((*correlation).into()),
                    gnb_id.to_wire(message)?,
                    match readers.is_empty() {
                        true => None,
                        false => Some(AIoTReaderReportList(
                            readers
                                .iter()
                                .map(reader_report)
                                .collect::<Result<_, _>>()?,
                        )),
                    },
                    complete.then_some(InventoryReportTransferInventoryCompleteIndication::R_true),
                    None,
                );
                build_ngap!(
                    InitiatingMessage,
                    InventoryReport,
                    InventoryReport,
                    AIOTFIdentifier(&aiotf_id[..]),
                    AIoT_CorrelationIdentifier(u64::from(*correlation)),
                    InventoryReportTransfer(transfer_octets(message, &transfer)?),
                )
            }
            Self::InventoryResponse {
                aiotf_id,
                correlation,
            } => {
                let transfer = InventoryResponseTransfer::new(
                    AIoTCorrelationIdentifier((*correlation).into()),
                    None,
                    None,
                );
                build_ngap!(
                    SuccessfulOutcome,
                    InventoryRequest,
                    InventoryResponse,
                    AIOTFIdentifier(&aiotf_id[..]),
                    AIoT_CorrelationIdentifier(u64::from(*correlation)),
                    InventoryResponseTransfer(transfer_octets(message, &transfer)?),
                )
            }
            Self::InventoryFailure {
                aiotf_id,
                correlation,
                cause,
            } => {
                let cause = cause.to_wire(message)?;
                let transfer = InventoryFailureTransfer::new(
                    AIoTCorrelationIdentifier((*correlation).into()),
                    cause.clone(),
                    None,
                    None,
                );
                build_ngap!(
                    UnsuccessfulOutcome,
                    InventoryRequest,
                    InventoryFailure,
                    AIOTFIdentifier(&aiotf_id[..]),
                    AIoT_CorrelationIdentifier(u64::from(*correlation)),
                    InventoryFailureTransfer(transfer_octets(message, &transfer)?),
                    Cause(cause),
                )
            }
            Self::CommandResponse {
                aiotf_id,
                correlation,
                device_ngap_id,
                nas,
            } => {
                let transfer = CommandResponseTransfer::new(
                    AIoTCorrelationIdentifier((*correlation).into()),
                    RANAIOTDeviceNGAPID(*device_ngap_id),
                    AIoTNASPDU(Octets::borrowed(nas)),
                    None,
                    None,
                );
                build_ngap!(
                    SuccessfulOutcome,
                    CommandRequest,
                    CommandResponse,
                    AIOTFIdentifier(&aiotf_id[..]),
                    AIoT_CorrelationIdentifier(u64::from(*correlation)),
                    RAN_AIOT_Device_NGAP_ID(*device_ngap_id),
                    CommandResponseTransfer(transfer_octets(message, &transfer)?),
                )
            }
            Self::CommandFailure {
                aiotf_id,
                correlation,
                device_ngap_id,
                cause,
            } => {
                let cause = cause.to_wire(message)?;
                let transfer = CommandFailureTransfer::new(
                    AIoTCorrelationIdentifier((*correlation).into()),
                    RANAIOTDeviceNGAPID(*device_ngap_id),
                    cause.clone(),
                    None,
                    None,
                );
                build_ngap!(
                    UnsuccessfulOutcome,
                    CommandRequest,
                    CommandFailure,
                    AIOTFIdentifier(&aiotf_id[..]),
                    AIoT_CorrelationIdentifier(u64::from(*correlation)),
                    RAN_AIOT_Device_NGAP_ID(*device_ngap_id),
                    CommandFailureTransfer(transfer_octets(message, &transfer)?),
                    Cause(cause),
                )
            }
            Self::SessionReleaseComplete {
                aiotf_id,
                correlation,
            } => {
                let transfer = AIOTSessionReleaseCompleteTransfer::new(
                    AIoTCorrelationIdentifier((*correlation).into()),
                    None,
                    None,
                );
                build_ngap!(
                    SuccessfulOutcome,
                    AIOTSessionRelease,
                    AIOTSessionReleaseComplete,
                    AIOTFIdentifier(&aiotf_id[..]),
                    AIoT_CorrelationIdentifier(u64::from(*correlation)),
                    AIOTSessionReleaseCompleteTransfer(transfer_octets(message, &transfer)?),
                )
            }
            Self::SessionReleaseRequest {
                aiotf_id,
                correlation,
                cause,
            } => {
                let transfer = AIOTSessionReleaseRequestTransfer::new(
                    AIoTCorrelationIdentifier((*correlation).into()),
                    cause.to_wire(message)?,
                    None,
                );
                build_ngap!(
                    InitiatingMessage,
                    AIOTSessionReleaseRequest,
                    AIOTSessionReleaseRequest,
                    AIOTFIdentifier(&aiotf_id[..]),
                    AIoT_CorrelationIdentifier(u64::from(*correlation)),
                    AIOTSessionReleaseRequestTransfer(transfer_octets(message, &transfer)?),
                )
            }
            Self::ErrorIndication { cause } => return encoded_error_indication(*cause),
        };
        pdu.map_err(|error| NgapError::encode(message, &error))
    }
}

fn ng_setup_request(
    gnb_id: &GnbId,
    name: Option<&str>,
    aiot_support: bool,
) -> Result<NGAP_PDU, NgapError> {
    let message = MessageKind::NgSetupRequest;
    let encode = |error: Error| NgapError::encode(message, &error);
    let slices = SliceSupportList(vec![SliceSupportItem::new(s_nssai(1, None), None)]);
    let plmn = BroadcastPLMNItem::new(plmn_to_wire(message, gnb_id.plmn)?, slices, None);
    let area = SupportedTAItem::new(TAC([0, 0, 1]), BroadcastPLMNList(vec![plmn]), None);
    let pdu = build_ngap!(
        InitiatingMessage,
        NGSetup,
        NGSetupRequest,
        GlobalRANNodeID(GlobalRANNodeID::globalGNB_ID(gnb_id.to_wire(message)?)),
        SupportedTAList(SupportedTAList(vec![area])),
        DefaultPagingDRX(PagingDRX::v128),
    );
    let mut pdu = pdu.map_err(encode)?;
    // The two optional IEs, each at its place in the order of the message.
    let mut ies = pdu.protocol_ies().map_err(encode)?.into_owned();
    if let Some(name) = name {
        let name = oxirush_ngap::build_ngap_ie!(NGSetupRequest, RANNodeName(name));
        ies.0.insert(1, name.map_err(encode)?);
    }
    if aiot_support {
        let support =
            oxirush_ngap::build_ngap_ie!(NGSetupRequest, AIoT_Support(AIoTSupport::aIoT_only));
        ies.0.push(support.map_err(encode)?);
    }
    pdu.set_protocol_ies(ies).map_err(encode)?;
    Ok(pdu)
}

pub(crate) fn encoded_error_indication(cause: Option<crate::Cause>) -> Result<NGAP_PDU, NgapError> {
    let message = MessageKind::ErrorIndication;
    let pdu = match cause {
        Some(cause) => build_ngap!(
            InitiatingMessage,
            ErrorIndication,
            ErrorIndication,
            Cause(cause.to_wire(message)?),
        ),
        None => build_ngap!(InitiatingMessage, ErrorIndication, ErrorIndication,),
    };
    pdu.map_err(|error| NgapError::encode(message, &error))
}

fn reader_report<'r>(report: &'r ReaderReport<'_>) -> Result<AIoTReaderReportItem<'r>, NgapError> {
    let (message, index) = (MessageKind::InventoryReport, report.reader_index.into());
    within(
        message,
        "AIoT-ReaderIndex",
        "1 to 65535",
        1..=u16::MAX,
        index,
    )?;
    let devices = report.devices.iter().map(device_report).collect();
    Ok(AIoTReaderReportItem::new(
        AIoTReaderIndex(index),
        AIoTDeviceReportList(devices),
        None,
    ))
}

fn device_report<'r>(report: &'r DeviceReport<'_>) -> AIoTDeviceReportItem<'r> {
    AIoTDeviceReportItem::new(
        AIoTNASPDU(Octets::borrowed(&report.nas)),
        report.device_ngap_id.map(RANAIOTDeviceNGAPID),
        None,
    )
}

pub(crate) fn transfer_octets(
    message: MessageKind,
    transfer: &impl Encode,
) -> Result<Octets<'static>, NgapError> {
    encode_open_type(transfer).map_err(|error| NgapError::encode(message, &error))
}
