//! Whatever a peer sends is a message or an error that says what is wrong; nothing panics.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use ambit_ngap::{Cause, Direction, FromGnb, NgapError, ToGnb};
use oxirush_ngap::Octets;
use oxirush_ngap::ngap::{
    AIOTFIdentifier, AIoTCorrelationIdentifier, CommandRequestTransfer, Criticality, NGAP_PDU,
    ProtocolIEField, RANAIOTDeviceNGAPID, decode_open_type, encode_open_type,
};

/// The octets of one PDU of each kind, whoever sends it.
fn each_pdu() -> Vec<Vec<u8>> {
    let from = common::from_gnb()
        .into_iter()
        .map(|(_, message)| message.encode().unwrap());
    let to = common::to_gnb()
        .into_iter()
        .map(|(_, message)| message.encode().unwrap());
    from.chain(to).collect()
}

/// Decode at both ends; what is a message encodes again, to octets that are the same message.
fn decode_both(octets: &[u8]) {
    if let Ok(message) = FromGnb::decode(octets)
        && let Ok(again) = message.encode()
    {
        assert_eq!(FromGnb::decode(&again).unwrap(), message);
    }
    if let Ok(message) = ToGnb::decode(octets)
        && let Ok(again) = message.encode()
    {
        assert_eq!(ToGnb::decode(&again).unwrap(), message);
    }
}

/// The error at the end that `message` is for.
fn error_of(octets: &[u8]) -> NgapError {
    match (FromGnb::decode(octets), ToGnb::decode(octets)) {
        (Err(NgapError::UnexpectedProcedure { .. }), Err(error)) | (Err(error), Err(_)) => error,
        (from, to) => panic!("{from:?} {to:?}"),
    }
}

fn is_message(octets: &[u8]) -> bool {
    FromGnb::decode(octets).is_ok() || ToGnb::decode(octets).is_ok()
}

#[test]
fn no_truncation_is_a_message_and_none_panics() {
    for octets in each_pdu() {
        for end in 0..octets.len() {
            for error in [
                FromGnb::decode(&octets[..end]).err(),
                ToGnb::decode(&octets[..end]).err(),
            ] {
                let error = error.expect("no message in part of one");
                assert_eq!(error.name(), "truncated", "{error}");
                assert_eq!(error.to_cause(), Some(Cause::TransferSyntaxError));
            }
        }
        let longer = [&octets[..], &[0]].concat();
        let error = FromGnb::decode(&longer).unwrap_err();
        assert_eq!(error.name(), "transfer_syntax", "{error}");
    }
}

#[test]
fn no_flipped_bit_panics() {
    for mut octets in each_pdu() {
        for bit in 0..octets.len() * 8 {
            octets[bit / 8] ^= 0x80 >> (bit % 8);
            decode_both(&octets);
            octets[bit / 8] ^= 0x80 >> (bit % 8);
        }
    }
}

#[test]
fn no_random_damage_panics() {
    let mut rng = fastrand::Rng::with_seed(1);
    let pdus = each_pdu();
    for _ in 0..200_000 {
        let mut octets = pdus[rng.usize(..pdus.len())].clone();
        for _ in 0..rng.usize(1..4) {
            let at = rng.usize(..octets.len());
            match rng.u8(..3) {
                0 => octets[at] = rng.u8(..),
                1 => octets.insert(at, rng.u8(..)),
                _ => drop(octets.remove(at)),
            }
        }
        decode_both(&octets);
    }
}

#[test]
fn other_procedures_are_unexpected() {
    let from: Vec<_> = common::from_gnb()
        .iter()
        .map(|(_, m)| m.kind().procedure())
        .collect();
    let to: Vec<_> = common::to_gnb()
        .iter()
        .map(|(_, m)| m.kind().procedure())
        .collect();
    let directions = [
        Direction::InitiatingMessage,
        Direction::SuccessfulOutcome,
        Direction::UnsuccessfulOutcome,
    ];
    for code in 0..=255u8 {
        for (alternative, direction) in (0u8..).zip(directions) {
            for (criticality, ignored) in [(0x00, false), (0x40, true), (0x80, false)] {
                // A PDU whose message has no IEs.
                let octets = [alternative << 5, code, criticality, 3, 0, 0, 0];
                for (served, error) in [
                    (&from, FromGnb::decode(&octets).err()),
                    (&to, ToGnb::decode(&octets).err()),
                ] {
                    if served.contains(&(code, direction)) {
                        continue;
                    }
                    let error = error.unwrap();
                    let NgapError::UnexpectedProcedure {
                        procedure_code,
                        direction: came,
                        ..
                    } = error
                    else {
                        panic!("{error}");
                    };
                    assert_eq!((procedure_code, came), (code, direction));
                    assert_eq!(error.to_cause().is_none(), ignored);
                }
            }
        }
    }
}

#[test]
fn a_missing_mandatory_ie_is_named() {
    let mut named = Vec::new();
    for octets in each_pdu() {
        let count = edited(&octets, |_| {}).1;
        for at in 0..count {
            let (octets, _) = edited(&octets, |ies| drop(ies.remove(at)));
            if !is_message(&octets) {
                let error = error_of(&octets);
                let NgapError::MissingIe { message, name } = error else {
                    panic!("{error}")
                };
                let cause = message
                    .is_initiating()
                    .then_some(Cause::AbstractSyntaxErrorReject);
                assert_eq!(error.to_cause(), cause);
                named.push(format!("{message} {name}"));
            }
        }
    }
    named.sort_unstable();
    named.dedup();
    // Every mandatory IE of the object sets but DefaultPagingDRX, RelativeAMFCapacity and the outer
    // Cause of the two failures, which are of criticality ignore and not used.
    let expected = "aiot_session_release_command AIOTFIdentifier
aiot_session_release_command AIOTSessionReleaseCommandTransfer
aiot_session_release_command AIoT-CorrelationIdentifier
aiot_session_release_complete AIOTFIdentifier
aiot_session_release_complete AIOTSessionReleaseCompleteTransfer
aiot_session_release_complete AIoT-CorrelationIdentifier
aiot_session_release_request AIOTFIdentifier
aiot_session_release_request AIOTSessionReleaseRequestTransfer
aiot_session_release_request AIoT-CorrelationIdentifier
command_failure AIOTFIdentifier
command_failure AIoT-CorrelationIdentifier
command_failure CommandFailureTransfer
command_failure RAN-AIOT-Device-NGAP-ID
command_request AIOTFIdentifier
command_request AIoT-CorrelationIdentifier
command_request CommandRequestTransfer
command_request RAN-AIOT-Device-NGAP-ID
command_response AIOTFIdentifier
command_response AIoT-CorrelationIdentifier
command_response CommandResponseTransfer
command_response RAN-AIOT-Device-NGAP-ID
inventory_failure AIOTFIdentifier
inventory_failure AIoT-CorrelationIdentifier
inventory_failure InventoryFailureTransfer
inventory_report AIOTFIdentifier
inventory_report AIoT-CorrelationIdentifier
inventory_report InventoryReportTransfer
inventory_request AIOTFIdentifier
inventory_request AIoT-CorrelationIdentifier
inventory_request InventoryRequestTransfer
inventory_response AIOTFIdentifier
inventory_response AIoT-CorrelationIdentifier
inventory_response InventoryResponseTransfer
ng_setup_failure Cause
ng_setup_request GlobalRANNodeID
ng_setup_request SupportedTAList
ng_setup_response AMFName
ng_setup_response PLMNSupportList
ng_setup_response ServedGUAMIList";
    assert_eq!(named.join("\n"), expected);
}

#[test]
fn a_missing_ie_of_a_transfer_is_named() {
    let mut names = Vec::new();
    for octets in each_pdu() {
        for at in 0..6 {
            let octets = edit_transfer(&octets, |ies| {
                if at < ies.len() {
                    ies.remove(at);
                }
            });
            if let Some(octets) = octets
                && let Err(error) = ToGnb::decode(&octets)
            {
                let NgapError::MissingIe { name, .. } = error else {
                    panic!("{error}")
                };
                names.push(name);
            }
        }
    }
    names.sort_unstable();
    names.dedup();
    assert_eq!(
        names,
        [
            "AIoT-CommandAssistanceInformation",
            "AIoT-CorrelationIdentifier",
            "AIoT-DeviceIdentificationRequested",
            "AIoT-InventoryAssistanceInformation",
            "AIoT-NASPDU",
            "AIoT-RequestedServiceAreaInformation",
            "AIoT-SecurityInfo",
            "Cause",
            "RAN-AIOT-Device-NGAP-ID",
        ]
    );
}

#[test]
fn an_unknown_ie_is_refused_or_passed_over_by_its_criticality() {
    for octets in each_pdu() {
        for (criticality, refused) in [
            (Criticality::reject, true),
            (Criticality::notify, false),
            (Criticality::ignore, false),
        ] {
            let unknown = ProtocolIEField::new(60_000u16, criticality, Octets::from(vec![0]));
            let (octets, _) = edited(&octets, |ies| ies.insert(0, unknown));
            assert_eq!(!is_message(&octets), refused);
            if refused {
                let error = error_of(&octets);
                assert!(
                    matches!(error, NgapError::UnknownIe { id: 60_000, .. }),
                    "{error}"
                );
            }
        }
    }
}

#[test]
fn an_ie_twice_or_out_of_order_is_falsely_constructed() {
    for octets in each_pdu() {
        let count = edited(&octets, |_| {}).1;
        let mut faulty = vec![];
        if count > 0 {
            faulty.push(edited(&octets, |ies| ies.push(ies[0].clone())).0);
        }
        if count > 1 {
            faulty.push(edited(&octets, |ies| ies.reverse()).0);
        }
        for octets in faulty {
            let error = error_of(&octets);
            assert_eq!(error.name(), "falsely_constructed", "{error}");
        }
    }
}

#[test]
fn a_transfer_that_contradicts_its_message_is_a_mismatch() {
    let mut checked = 0;
    for octets in each_pdu() {
        // The same message with another session or device outside, the transfer left as it was.
        for (id, name, value) in [
            (
                466,
                "AIoT-CorrelationIdentifier",
                encode_open_type(&AIoTCorrelationIdentifier(9)),
            ),
            (
                472,
                "RAN-AIOT-Device-NGAP-ID",
                encode_open_type(&RANAIOTDeviceNGAPID(9)),
            ),
        ] {
            let mut found = false;
            let (octets, _) = edited(&octets, |ies| {
                if let Some(ie) = ies.iter_mut().find(|ie| ie.id.0 == id) {
                    (ie.value, found) = (value.unwrap(), true);
                }
            });
            if found {
                let error = error_of(&octets);
                let NgapError::Mismatch {
                    name: field,
                    outer: 9,
                    message,
                    ..
                } = error
                else {
                    panic!("{error}");
                };
                assert_eq!(field, name);
                let cause = message.is_initiating().then_some(Cause::SemanticError);
                assert_eq!(error.to_cause(), cause);
                checked += 1;
            }
        }
    }
    assert_eq!(checked, 16);
}

#[test]
fn an_aiotf_identifier_may_be_text_and_nothing_else() {
    let text = b"123e4567-e89b-42d3-a456-42661417400f";
    for (_, message) in common::from_gnb() {
        if message.session().is_none() {
            continue;
        }
        let octets = message.encode().unwrap();
        let with = |id: &[u8]| {
            let id = encode_open_type(&AIOTFIdentifier::from(id)).unwrap();
            edited(&octets, |ies| ies[0].value = id).0
        };
        assert_eq!(FromGnb::decode(&with(text)).unwrap(), message);
        for bad in [&[0; 17][..], &[b'-'; 36], &[0; 40], &[]] {
            let error = FromGnb::decode(&with(bad)).unwrap_err();
            assert_eq!(error.name(), "bad_ie", "{error}");
            assert!(error.to_string().contains("AIOTFIdentifier"), "{error}");
        }
    }
}

#[test]
fn a_fault_in_an_error_indication_is_not_answered() {
    let (_, message) = common::from_gnb().pop().unwrap();
    let unknown = ProtocolIEField::new(60_000u16, Criticality::reject, Octets::from(vec![0]));
    let (octets, _) = edited(&message.encode().unwrap(), |ies| ies.push(unknown));
    let error = FromGnb::decode(&octets).unwrap_err();
    assert_eq!((error.name(), error.to_cause()), ("unknown_ie", None));
}

/// The PDU with its IEs changed, and how many it then has.
fn edited(
    octets: &[u8],
    edit: impl FnOnce(&mut Vec<ProtocolIEField<'static>>),
) -> (Vec<u8>, usize) {
    let mut pdu = NGAP_PDU::decode(octets).unwrap();
    let mut ies = pdu.protocol_ies().unwrap().into_owned();
    edit(&mut ies.0);
    let count = ies.0.len();
    pdu.set_protocol_ies(ies).unwrap();
    (pdu.encode().unwrap(), count)
}

/// The PDU with the IEs of its transfer changed; `None` for a message whose transfer has none.
fn edit_transfer(
    octets: &[u8],
    edit: impl FnOnce(&mut Vec<ProtocolIEField<'static>>),
) -> Option<Vec<u8>> {
    let mut found = false;
    let (octets, _) = edited(octets, |ies| {
        // INVENTORY REQUEST, COMMAND REQUEST and AIOT SESSION RELEASE COMMAND.
        if let Some(ie) = ies.iter_mut().find(|ie| matches!(ie.id.0, 456 | 460 | 463)) {
            let octets: Octets<'_> = decode_open_type(&ie.value).unwrap();
            let mut transfer: CommandRequestTransfer<'static> =
                decode_open_type::<CommandRequestTransfer<'_>>(&octets)
                    .unwrap()
                    .into_owned();
            edit(&mut transfer.protocol_ies.0);
            let octets = encode_open_type(&transfer).unwrap();
            (ie.value, found) = (encode_open_type(&octets).unwrap(), true);
        }
    });
    found.then_some(octets)
}
