//! What is encoded decodes to the same message, in both directions.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use ambit_ngap::*;
use std::borrow::Cow;

#[test]
fn every_message_returns() {
    for (name, message) in common::from_gnb() {
        let octets = message.encode().unwrap();
        assert_eq!(FromGnb::decode(&octets).unwrap(), message, "{name}");
    }
    for (name, message) in common::to_gnb() {
        let octets = message.encode().unwrap();
        assert_eq!(ToGnb::decode(&octets).unwrap(), message, "{name}");
    }
}

#[test]
fn random_messages_return() {
    let mut rng = fastrand::Rng::with_seed(38413);
    let mut octets = Vec::new();
    for round in 0..5_000 {
        octets.clear();
        let message = common::random_from_gnb(&mut rng);
        message.encode_into(&mut octets).unwrap();
        assert_eq!(FromGnb::decode(&octets).unwrap(), message, "round {round}");
        octets.clear();
        let message = common::random_to_gnb(&mut rng);
        message.encode_into(&mut octets).unwrap();
        assert_eq!(ToGnb::decode(&octets).unwrap(), message, "round {round}");
    }
}

#[test]
fn nas_pdus_borrow_from_what_was_received() {
    let report = of_devices(400);
    let octets = report.encode().unwrap();
    assert!(octets.len() < 16_384, "{}", octets.len());
    let FromGnb::InventoryReport { readers, .. } = FromGnb::decode(&octets).unwrap() else {
        panic!("another message");
    };
    assert_eq!(readers[0].devices.len(), 400);
    for device in &readers[0].devices {
        let Cow::Borrowed(nas) = device.nas else {
            panic!("copied")
        };
        assert!(octets.as_ptr_range().contains(&nas.as_ptr()));
    }
}

#[test]
fn a_report_in_fragments_returns() {
    // From 16 384 octets on, aligned PER has open types and strings in fragments.
    for devices in [600, 3_000, 20_000] {
        let report = of_devices(devices);
        let octets = report.encode().unwrap();
        assert!(octets.len() > 16_384);
        assert_eq!(
            FromGnb::decode(&octets).unwrap(),
            report,
            "{devices} devices"
        );
    }
    let nas = vec![7; 70_000];
    let (aiotf_id, correlation, device_ngap_id) = (common::AIOTF_ID, 1, 2);
    let response = FromGnb::CommandResponse {
        aiotf_id,
        correlation,
        device_ngap_id,
        nas: nas.into(),
    };
    let octets = response.encode().unwrap();
    assert_eq!(FromGnb::decode(&octets).unwrap(), response);
}

#[test]
fn every_cause_returns_under_a_name_of_its_own() {
    use CauseGroup::{Misc, Nas, Protocol, RadioNetwork, Transport};
    let mut names = Vec::new();
    for (group, count) in [
        (RadioNetwork, 65),
        (Transport, 2),
        (Nas, 8),
        (Protocol, 7),
        (Misc, 6),
    ] {
        for value in 0..count {
            let sent = ToGnb::NgSetupFailure {
                cause: Cause::Other { group, value },
            };
            let octets = sent.encode().unwrap();
            let ToGnb::NgSetupFailure { cause } = ToGnb::decode(&octets).unwrap() else {
                panic!("another message");
            };
            assert_eq!(ToGnb::NgSetupFailure { cause }.encode().unwrap(), octets);
            names.push(cause.name());
        }
    }
    // Of the causes without a name here, only the `unspecified` of the transport group shares its.
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 65 + 2 + 8 + 7 + 6 - 1);
    assert!(!names.contains(&"unknown"));
}

#[test]
fn what_has_no_encoding_is_an_error_and_leaves_the_buffer_as_it_was() {
    let bad = [
        InventoryRequest {
            expected_d2r_octets: 0,
            ..request()
        },
        InventoryRequest {
            expected_d2r_octets: 257,
            ..request()
        },
        InventoryRequest {
            approximate_devices: Some(0),
            ..request()
        },
        InventoryRequest {
            time_interval: Some(257),
            ..request()
        },
        InventoryRequest {
            areas: vec![[0xff; 12]],
            ..request()
        },
        InventoryRequest {
            areas: vec![[0; 12]; 257],
            ..request()
        },
        InventoryRequest {
            readers: vec![ReaderId {
                gnb_id: common::GNB,
                reader_index: 0,
            }],
            ..request()
        },
        InventoryRequest {
            readers: vec![ReaderId {
                gnb_id: GnbId {
                    id: 1 << 24,
                    ..common::GNB
                },
                reader_index: 1,
            }],
            ..request()
        },
    ];
    for request in bad {
        let mut octets = vec![1, 2, 3];
        let error = ToGnb::InventoryRequest(request)
            .encode_into(&mut octets)
            .unwrap_err();
        assert!(matches!(error.name(), "bad_ie" | "encode"), "{error}");
        assert_eq!(error.message(), Some(MessageKind::InventoryRequest));
        assert_eq!(octets, [1, 2, 3]);
    }
    let silent_reader = FromGnb::InventoryReport {
        aiotf_id: common::AIOTF_ID,
        correlation: 1,
        gnb_id: common::GNB,
        readers: vec![ReaderReport {
            reader_index: 1,
            devices: vec![],
        }],
        complete: false,
    };
    assert_eq!(silent_reader.encode().unwrap_err().name(), "encode");
    for name in [String::new(), "x".repeat(151)] {
        let response = ToGnb::NgSetupResponse {
            aiotf_id: Some([0; 16]),
            name: name.into(),
            plmn: [0, 0xf0, 0],
        };
        assert_eq!(response.encode().unwrap_err().name(), "bad_ie");
    }
    let unknown = Cause::Other {
        group: CauseGroup::Misc,
        value: 6,
    };
    assert_eq!(
        ToGnb::NgSetupFailure { cause: unknown }
            .encode()
            .unwrap_err()
            .name(),
        "bad_ie"
    );
}

fn of_devices(count: u32) -> FromGnb<'static> {
    let device = |id: u32| DeviceReport {
        nas: id.to_be_bytes().repeat(7).into(),
        device_ngap_id: Some(id),
    };
    FromGnb::InventoryReport {
        aiotf_id: common::AIOTF_ID,
        correlation: 0x8001,
        gnb_id: common::GNB,
        readers: vec![ReaderReport {
            reader_index: 1,
            devices: (0..count).map(device).collect(),
        }],
        complete: false,
    }
}

fn request() -> InventoryRequest<'static> {
    common::to_gnb()
        .into_iter()
        .find_map(|(_, message)| match message {
            ToGnb::InventoryRequest(request) => Some(request),
            _ => None,
        })
        .unwrap()
}

#[test]
fn command_requests_cast_are_those_encoded() {
    let mut rng = fastrand::Rng::with_seed(38414);
    let mut requests = CommandRequests::default();
    for round in 0..20_000 {
        let aiotf_id = [rng.u8(..2); 16];
        let correlation = rng.u16(0x7FFE..0x8002);
        let device_ngap_id = rng.u32(..) >> rng.u32(..32);
        let nas: Vec<u8> = (0..rng.usize(..300)).map(|_| rng.u8(..)).collect();
        let expected_d2r_octets = rng.u16(..260);
        let message = ToGnb::CommandRequest {
            aiotf_id,
            correlation,
            device_ngap_id,
            nas: Cow::Borrowed(&nas),
            expected_d2r_octets,
        };
        let cast = requests.encode(
            aiotf_id,
            correlation,
            device_ngap_id,
            &nas,
            expected_d2r_octets,
        );
        assert_eq!(cast, message.encode(), "round {round}: {message:?}");
    }
    for device_ngap_id in [
        0,
        1,
        0xFF,
        0x100,
        0xFFFF,
        0x1_0000,
        0xFF_FFFF,
        0x100_0000,
        u32::MAX,
    ] {
        let message = ToGnb::CommandRequest {
            aiotf_id: [7; 16],
            correlation: 1,
            device_ngap_id,
            nas: Cow::Borrowed(b"accept"),
            expected_d2r_octets: 1,
        };
        let cast = requests.encode([7; 16], 1, device_ngap_id, b"accept", 1);
        assert_eq!(cast, message.encode());
    }
}
