//! The octets of what the core sends.

use super::{DeviceBits, InventoryRequest, NAME_RULE, Target, ToGnb, is_name};
use crate::from_gnb::{encoded_error_indication, transfer_octets};
use crate::identity::{AiotfId, Plmn, ReaderId, area_to_wire, plmn_to_wire};
use crate::ies::within;
use crate::{MessageKind, NgapError};
use oxirush_ngap::helpers::{guami, s_nssai};
use oxirush_ngap::ngap::*;
use oxirush_ngap::{BitString, Error, Octets, build_ngap, build_ngap_ie};

impl ToGnb<'_> {
    /// Encode the message as one PDU.
    ///
    /// # Errors
    /// [`NgapError::BadIe`] or [`NgapError::Encode`] for a value that has no encoding: a size or
    /// count outside its range, a PLMN or area that is none.
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
            Self::CommandRequest {
                aiotf_id,
                correlation,
                device_ngap_id,
                nas,
                expected_d2r_octets,
            } => {
                let size = d2r_octets(message, *expected_d2r_octets)?;
                let transfer = command_request_transfer(*correlation, *device_ngap_id, nas, size)
                    .map_err(|error| NgapError::encode(message, &error))?;
                build_ngap!(
                    InitiatingMessage,
                    CommandRequest,
                    CommandRequest,
                    AIOTFIdentifier(&aiotf_id[..]),
                    AIoT_CorrelationIdentifier(u64::from(*correlation)),
                    RAN_AIOT_Device_NGAP_ID(*device_ngap_id),
                    CommandRequestTransfer(transfer_octets(message, &transfer)?),
                )
            }
            Self::InventoryRequest(request) => {
                let transfer = inventory_request_transfer(message, request)?;
                build_ngap!(
                    InitiatingMessage,
                    InventoryRequest,
                    InventoryRequest,
                    AIOTFIdentifier(&request.aiotf_id[..]),
                    AIoT_CorrelationIdentifier(u64::from(request.correlation)),
                    InventoryRequestTransfer(transfer_octets(message, &transfer)?),
                )
            }
            Self::SessionReleaseCommand {
                aiotf_id,
                correlation,
                cause,
            } => {
                let cause = cause.to_wire(message)?;
                let transfer = session_release_transfer(*correlation, cause)
                    .map_err(|error| NgapError::encode(message, &error))?;
                build_ngap!(
                    InitiatingMessage,
                    AIOTSessionRelease,
                    AIOTSessionReleaseCommand,
                    AIOTFIdentifier(&aiotf_id[..]),
                    AIoT_CorrelationIdentifier(u64::from(*correlation)),
                    AIOTSessionReleaseCommandTransfer(transfer_octets(message, &transfer)?),
                )
            }
            Self::NgSetupResponse {
                aiotf_id,
                name,
                plmn,
            } => {
                return ng_setup_response(aiotf_id.as_ref(), name, *plmn);
            }
            Self::NgSetupFailure { cause } => {
                build_ngap!(
                    UnsuccessfulOutcome,
                    NGSetup,
                    NGSetupFailure,
                    Cause(cause.to_wire(message)?),
                )
            }
            Self::ErrorIndication { cause } => return encoded_error_indication(*cause),
        };
        pdu.map_err(|error| NgapError::encode(message, &error))
    }
}

fn command_request_transfer(
    correlation: u16,
    device_ngap_id: u32,
    nas: &[u8],
    expected_d2r_octets: u64,
) -> Result<CommandRequestTransfer<'static>, Error> {
    let assistance = AIoTCommandAssistanceInformation::new(expected_d2r_octets, None);
    Ok(CommandRequestTransfer::new(ProtocolIEContainer(vec![
        build_ngap_ie!(
            CommandRequestTransfer,
            AIoT_CorrelationIdentifier(u64::from(correlation))
        )?,
        build_ngap_ie!(
            CommandRequestTransfer,
            RAN_AIOT_Device_NGAP_ID(device_ngap_id)
        )?,
        build_ngap_ie!(CommandRequestTransfer, AIoT_NASPDU(Octets::borrowed(nas)))?,
        build_ngap_ie!(
            CommandRequestTransfer,
            AIoT_CommandAssistanceInformation(assistance)
        )?,
    ])))
}

fn session_release_transfer(
    correlation: u16,
    cause: Cause,
) -> Result<AIOTSessionReleaseCommandTransfer<'static>, Error> {
    Ok(AIOTSessionReleaseCommandTransfer::new(ProtocolIEContainer(
        vec![
            build_ngap_ie!(
                AIOTSessionReleaseCommandTransfer,
                AIoT_CorrelationIdentifier(u64::from(correlation))
            )?,
            build_ngap_ie!(AIOTSessionReleaseCommandTransfer, Cause(cause))?,
        ],
    )))
}

fn inventory_request_transfer(
    message: MessageKind,
    request: &InventoryRequest<'_>,
) -> Result<InventoryRequestTransfer<'static>, NgapError> {
    let encode = |error: Error| NgapError::encode(message, &error);
    let target = match &request.target {
        Target::AllDevices => AIoTDeviceIdentificationRequested::allDevices(()),
        Target::Single(bits) => {
            AIoTDeviceIdentificationRequested::singleDevice(device_bits(bits).map_err(encode)?)
        }
        Target::Group(bits) => {
            AIoTDeviceIdentificationRequested::groupDevices(device_bits(bits).map_err(encode)?)
        }
    };
    let area = service_area(message, request)?;
    let assistance = assistance(message, request)?;
    let security = AIoTSecurityInfo::a_IoT_RAND_n(BitString::from(request.rand_n));
    let follow_on = AIoTFollowonCommandIndication::R_true;
    let ies = || -> Result<_, Error> {
        let mut ies = vec![
            build_ngap_ie!(
                InventoryRequestTransfer,
                AIoT_CorrelationIdentifier(u64::from(request.correlation))
            )?,
            build_ngap_ie!(
                InventoryRequestTransfer,
                AIoT_DeviceIdentificationRequested(target)
            )?,
            build_ngap_ie!(
                InventoryRequestTransfer,
                AIoT_RequestedServiceAreaInformation(area)
            )?,
            build_ngap_ie!(
                InventoryRequestTransfer,
                AIoT_InventoryAssistanceInformation(assistance)
            )?,
        ];
        if request.follow_on_command {
            ies.push(build_ngap_ie!(
                InventoryRequestTransfer,
                AIoT_FollowonCommandIndication(follow_on)
            )?);
        }
        ies.push(build_ngap_ie!(
            InventoryRequestTransfer,
            AIoT_SecurityInfo(security)
        )?);
        Ok(ies)
    };
    Ok(InventoryRequestTransfer::new(ProtocolIEContainer(
        ies().map_err(encode)?,
    )))
}

fn device_bits<'r>(device: &'r DeviceBits<'_>) -> Result<BitString<'r>, Error> {
    BitString::new(device.octets(), device.bits().into())
}

fn service_area(
    message: MessageKind,
    request: &InventoryRequest<'_>,
) -> Result<AIoTRequestedServiceAreaInformation, NgapError> {
    let reader = |reader: &ReaderId| {
        let index = reader.reader_index.into();
        within(
            message,
            "AIoT-ReaderIndex",
            "1 to 65535",
            1..=u16::MAX,
            index,
        )?;
        let gnb_id = reader.gnb_id.to_wire(message)?;
        Ok(AIoTRequestedReaderItem::new(
            gnb_id,
            AIoTReaderIndex(index),
            None,
        ))
    };
    let readers: Vec<_> = request
        .readers
        .iter()
        .map(reader)
        .collect::<Result<_, NgapError>>()?;
    let areas: Vec<_> = request
        .areas
        .iter()
        .map(|area| area_to_wire(message, area))
        .collect::<Result<_, NgapError>>()?;
    // An empty list is one that is not there.
    Ok(AIoTRequestedServiceAreaInformation::new(
        (!readers.is_empty()).then_some(AIoTRequestedReaderList(readers)),
        (!areas.is_empty()).then_some(AIoTRequestedAIoTAreaList(areas)),
        None,
    ))
}

fn assistance(
    message: MessageKind,
    request: &InventoryRequest<'_>,
) -> Result<AIoTInventoryAssistanceInformation, NgapError> {
    let devices = request.approximate_devices.map(u64::from);
    if let Some(devices) = devices {
        let name = "approximateNoofTargetDevices";
        within(message, name, "1 to 65535", 1..=u16::MAX, devices)?;
    }
    let interval = request.time_interval.map(u64::from);
    if let Some(interval) = interval {
        within(message, "timeInterval", "1 to 256", 1..=256, interval)?;
    }
    let size = d2r_octets(message, request.expected_d2r_octets)?;
    Ok(AIoTInventoryAssistanceInformation::new(
        size, devices, interval, None,
    ))
}

fn d2r_octets(message: MessageKind, octets: u16) -> Result<u64, NgapError> {
    within(
        message,
        "expectedD2RMsgSize",
        "1 to 256",
        1..=256,
        octets.into(),
    )
    .map(u64::from)
}

/// The AMF's IEs are mandatory in this message and mean nothing to a gNB that only houses readers:
/// one GUAMI and one slice of the PLMN, and the middle of the capacity scale.
fn ng_setup_response(
    aiotf_id: Option<&AiotfId>,
    name: &str,
    plmn: Plmn,
) -> Result<NGAP_PDU, NgapError> {
    let message = MessageKind::NgSetupResponse;
    let encode = |error: Error| NgapError::encode(message, &error);
    if !is_name(name) {
        return Err(NgapError::bad(message, "AIOTFName", NAME_RULE, name));
    }
    let plmn = plmn_to_wire(message, plmn)?;
    let guami = ServedGUAMIItem::new(guami(plmn, 1, 1, 0).map_err(encode)?, None, None);
    let slices = SliceSupportList(vec![SliceSupportItem::new(s_nssai(1, None), None)]);
    let printable: String = name
        .chars()
        .map(|c| if is_printable_string(c) { c } else { '-' })
        .collect();
    let guamis = ServedGUAMIList(vec![guami]);
    let capacity = RelativeAMFCapacity(128);
    let plmns = PLMNSupportList(vec![PLMNSupportItem::new(plmn, slices, None)]);
    let Some(aiotf_id) = aiotf_id else {
        let pdu = build_ngap!(
            SuccessfulOutcome,
            NGSetup,
            NGSetupResponse,
            AMFName(printable),
            ServedGUAMIList(guamis),
            RelativeAMFCapacity(capacity),
            PLMNSupportList(plmns),
        );
        return pdu.map_err(encode);
    };
    // A VisibleString where the name is one, which older peers read; UTF-8 for the others.
    let visible = name.chars().all(|c| matches!(c, ' '..='~'));
    let aiotf_name = AIOTFName::new(
        visible.then(|| name.into()),
        (!visible).then(|| name.into()),
        None,
    );
    let pdu = build_ngap!(
        SuccessfulOutcome,
        NGSetup,
        NGSetupResponse,
        AMFName(printable),
        ServedGUAMIList(guamis),
        RelativeAMFCapacity(capacity),
        PLMNSupportList(plmns),
        AIOTFIdentifier(&aiotf_id[..]),
        AIOTFName(aiotf_name),
    );
    pdu.map_err(encode)
}

/// The characters of a PrintableString (X.680 clause 41.4).
fn is_printable_string(c: char) -> bool {
    c.is_ascii_alphanumeric() || " '()+,-./:=?".contains(c)
}
