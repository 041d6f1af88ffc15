//! One message of each kind, and random ones.
#![allow(dead_code, unreachable_pub)] // Each test uses a part of it.

use ambit_ngap::*;
use fastrand::Rng;
use std::borrow::Cow;

pub const AIOTF_ID: [u8; 16] = [
    0x12, 0x3e, 0x45, 0x67, 0xe8, 0x9b, 0x42, 0xd3, 0xa4, 0x56, 0x42, 0x66, 0x14, 0x17, 0x40, 0x0f,
];
pub const GNB: GnbId = GnbId {
    plmn: [0x99, 0xf9, 0x99],
    id: 0x00_1234,
    bits: 24,
};

/// One message of each kind and form that a gNB sends, under a name.
pub fn from_gnb() -> Vec<(&'static str, FromGnb<'static>)> {
    let (aiotf_id, correlation, device_ngap_id) = (AIOTF_ID, 0x8001, 0x0102_0304);
    let device = |nas: &'static [u8], device_ngap_id| DeviceReport {
        nas: nas.into(),
        device_ngap_id,
    };
    let readers = vec![
        ReaderReport {
            reader_index: 1,
            devices: vec![
                device(&[0x40, 1, 2, 3, 4, 5, 6, 7, 8, 9], Some(1)),
                device(&[0x42, 0xff], Some(u32::MAX)),
            ],
        },
        ReaderReport {
            reader_index: 65535,
            devices: vec![device(&[], None)],
        },
    ];
    vec![
        (
            "ng_setup_request",
            FromGnb::NgSetupRequest {
                gnb_id: GNB,
                name: Some("ambit-gnb-1".into()),
                aiot_support: true,
            },
        ),
        (
            "ng_setup_request_bare",
            FromGnb::NgSetupRequest {
                gnb_id: GnbId {
                    plmn: [0x13, 0x00, 0x14],
                    id: u32::MAX,
                    bits: 32,
                },
                name: None,
                aiot_support: false,
            },
        ),
        (
            "inventory_response",
            FromGnb::InventoryResponse {
                aiotf_id,
                correlation,
            },
        ),
        (
            "inventory_failure",
            FromGnb::InventoryFailure {
                aiotf_id,
                correlation,
                cause: Cause::AreaNotServed,
            },
        ),
        (
            "inventory_report",
            FromGnb::InventoryReport {
                aiotf_id,
                correlation,
                gnb_id: GNB,
                readers,
                complete: false,
            },
        ),
        (
            "inventory_report_complete",
            FromGnb::InventoryReport {
                aiotf_id,
                correlation: 7,
                gnb_id: GNB,
                readers: vec![],
                complete: true,
            },
        ),
        (
            "command_response",
            FromGnb::CommandResponse {
                aiotf_id,
                correlation,
                device_ngap_id,
                nas: (&[0x70, 0, 1, 0xaa, 0xbb][..]).into(),
            },
        ),
        (
            "command_failure",
            FromGnb::CommandFailure {
                aiotf_id,
                correlation,
                device_ngap_id,
                cause: Cause::NoAiotNasResponse,
            },
        ),
        (
            "session_release_complete",
            FromGnb::SessionReleaseComplete {
                aiotf_id,
                correlation,
            },
        ),
        (
            "session_release_request",
            FromGnb::SessionReleaseRequest {
                aiotf_id,
                correlation,
                cause: Cause::RadioUnspecified,
            },
        ),
        (
            "error_indication",
            FromGnb::ErrorIndication {
                cause: Some(Cause::TransferSyntaxError),
            },
        ),
        (
            "error_indication_bare",
            FromGnb::ErrorIndication { cause: None },
        ),
    ]
}

/// One message of each kind and form that the core sends, under a name.
pub fn to_gnb() -> Vec<(&'static str, ToGnb<'static>)> {
    let (aiotf_id, correlation, device_ngap_id) = (AIOTF_ID, 0x8001, 0x0102_0304);
    let rand_n = *b"\x00\x00\x12\x34RAND_n_chain";
    let window = InventoryRequest {
        aiotf_id,
        correlation,
        target: Target::AllDevices,
        areas: vec![[0x99, 0xf9, 0x99, 0x0a, 0xbc, 1, 2, 3, 4, 0, 0, 7]],
        readers: vec![],
        expected_d2r_octets: 64,
        approximate_devices: None,
        time_interval: None,
        follow_on_command: true,
        rand_n,
    };
    let inventory = InventoryRequest {
        correlation: 7,
        areas: vec![
            [0x99, 0xf9, 0x99, 0xf0, 0, 0, 0, 0, 0, 0, 0, 8],
            [
                0x13, 0x00, 0x14, 0x0f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
            ],
        ],
        readers: vec![
            ReaderId {
                gnb_id: GNB,
                reader_index: 1,
            },
            ReaderId {
                gnb_id: GNB,
                reader_index: 65535,
            },
        ],
        expected_d2r_octets: 256,
        approximate_devices: Some(65535),
        time_interval: Some(256),
        follow_on_command: false,
        ..window.clone()
    };
    // The 42 bits of a permanent identifier in a page: kind, format and serial.
    let single = DeviceBits::new(vec![0x42, 0x00, 0x00, 0x00, 0x07, 0x40], 42).unwrap();
    let group = DeviceBits::from_octets(vec![0xa5; 128]).unwrap();
    vec![
        (
            "ng_setup_response",
            ToGnb::NgSetupResponse {
                aiotf_id: Some(aiotf_id),
                name: "ambit_aiotf".into(),
                plmn: [0x99, 0xf9, 0x99],
            },
        ),
        (
            "ng_setup_response_utf8",
            ToGnb::NgSetupResponse {
                aiotf_id: Some(aiotf_id),
                name: "Zürich".into(),
                plmn: [0x13, 0x00, 0x14],
            },
        ),
        (
            "ng_setup_response_amf",
            ToGnb::NgSetupResponse {
                aiotf_id: None,
                name: "amf-1".into(),
                plmn: [0x99, 0xf9, 0x99],
            },
        ),
        (
            "ng_setup_failure",
            ToGnb::NgSetupFailure {
                cause: Cause::UnknownPlmn,
            },
        ),
        ("inventory_request_window", ToGnb::InventoryRequest(window)),
        (
            "inventory_request_single",
            ToGnb::InventoryRequest(InventoryRequest {
                target: Target::Single(single),
                ..inventory.clone()
            }),
        ),
        (
            "inventory_request_group",
            ToGnb::InventoryRequest(InventoryRequest {
                target: Target::Group(group),
                ..inventory
            }),
        ),
        (
            "command_request",
            ToGnb::CommandRequest {
                aiotf_id,
                correlation,
                device_ngap_id,
                nas: (&[0x48, 1, 2, 3, 4, 5, 6, 7, 8][..]).into(),
                expected_d2r_octets: 1,
            },
        ),
        (
            "session_release_command",
            ToGnb::SessionReleaseCommand {
                aiotf_id,
                correlation,
                cause: Cause::NormalRelease,
            },
        ),
        (
            "error_indication",
            ToGnb::ErrorIndication {
                cause: Some(Cause::SemanticError),
            },
        ),
    ]
}

pub fn random_from_gnb(rng: &mut Rng) -> FromGnb<'static> {
    let (aiotf_id, correlation) = (random_array(rng), rng.u16(..));
    match rng.u8(0..9) {
        0 => FromGnb::NgSetupRequest {
            gnb_id: random_gnb(rng),
            name: rng.bool().then(|| "gnb".repeat(rng.usize(1..=50))),
            aiot_support: rng.bool(),
        },
        1 => FromGnb::InventoryResponse {
            aiotf_id,
            correlation,
        },
        2 => FromGnb::InventoryFailure {
            aiotf_id,
            correlation,
            cause: random_cause(rng),
        },
        3 => FromGnb::CommandResponse {
            aiotf_id,
            correlation,
            device_ngap_id: rng.u32(..),
            nas: random_octets(rng, 0..=200),
        },
        4 => FromGnb::CommandFailure {
            aiotf_id,
            correlation,
            device_ngap_id: rng.u32(..),
            cause: random_cause(rng),
        },
        5 => FromGnb::SessionReleaseComplete {
            aiotf_id,
            correlation,
        },
        6 => FromGnb::SessionReleaseRequest {
            aiotf_id,
            correlation,
            cause: random_cause(rng),
        },
        7 => FromGnb::ErrorIndication {
            cause: rng.bool().then(|| random_cause(rng)),
        },
        _ => FromGnb::InventoryReport {
            aiotf_id,
            correlation,
            gnb_id: random_gnb(rng),
            readers: (0..rng.usize(0..4))
                .map(|_| random_reader_report(rng))
                .collect(),
            complete: rng.bool(),
        },
    }
}

pub fn random_to_gnb(rng: &mut Rng) -> ToGnb<'static> {
    let (aiotf_id, correlation) = (random_array(rng), rng.u16(..));
    match rng.u8(0..6) {
        0 => ToGnb::NgSetupResponse {
            aiotf_id: Some(aiotf_id),
            name: ["a", "~!_ ", "é"][rng.usize(..3)]
                .repeat(rng.usize(1..=37))
                .into(),
            plmn: random_plmn(rng),
        },
        1 => ToGnb::NgSetupFailure {
            cause: random_cause(rng),
        },
        2 => ToGnb::CommandRequest {
            aiotf_id,
            correlation,
            device_ngap_id: rng.u32(..),
            nas: random_octets(rng, 0..=200),
            expected_d2r_octets: rng.u16(1..=256),
        },
        3 => ToGnb::SessionReleaseCommand {
            aiotf_id,
            correlation,
            cause: random_cause(rng),
        },
        4 => ToGnb::ErrorIndication {
            cause: rng.bool().then(|| random_cause(rng)),
        },
        _ => ToGnb::InventoryRequest(InventoryRequest {
            aiotf_id,
            correlation,
            target: match rng.u8(0..3) {
                0 => Target::AllDevices,
                1 => Target::Single(random_bits(rng)),
                _ => Target::Group(random_bits(rng)),
            },
            areas: (0..rng.usize(0..5)).map(|_| random_area(rng)).collect(),
            readers: (0..rng.usize(0..5)).map(|_| random_reader(rng)).collect(),
            expected_d2r_octets: rng.u16(1..=256),
            approximate_devices: rng.bool().then(|| rng.u16(1..)),
            time_interval: rng.bool().then(|| rng.u16(1..=256)),
            follow_on_command: rng.bool(),
            rand_n: random_array(rng),
        }),
    }
}

fn random_array<const N: usize>(rng: &mut Rng) -> [u8; N] {
    std::array::from_fn(|_| rng.u8(..))
}

fn random_octets(rng: &mut Rng, count: std::ops::RangeInclusive<usize>) -> Cow<'static, [u8]> {
    (0..rng.usize(count))
        .map(|_| rng.u8(..))
        .collect::<Vec<_>>()
        .into()
}

fn random_plmn(rng: &mut Rng) -> Plmn {
    let mut digit = || rng.u8(0..10);
    let [a, b, c, d, e, f] = std::array::from_fn(|_| digit());
    let mnc3 = if rng.bool() { f } else { 0xf };
    [b << 4 | a, mnc3 << 4 | c, e << 4 | d]
}

fn random_gnb(rng: &mut Rng) -> GnbId {
    let bits = rng.u8(22..=32);
    GnbId {
        plmn: random_plmn(rng),
        id: rng.u32(..) >> (32 - bits),
        bits,
    }
}

fn random_reader(rng: &mut Rng) -> ReaderId {
    ReaderId {
        gnb_id: random_gnb(rng),
        reader_index: rng.u16(1..),
    }
}

fn random_area(rng: &mut Rng) -> AreaId {
    let mut area: AreaId = random_array(rng);
    area[..3].copy_from_slice(&random_plmn(rng));
    area[3] &= 0x0f;
    if rng.bool() {
        area[3..9].copy_from_slice(&[0xf0, 0, 0, 0, 0, 0]);
    }
    area
}

fn random_bits(rng: &mut Rng) -> DeviceBits<'static> {
    let bits = rng.u16(1..=1024);
    let count = usize::from(bits).div_ceil(8);
    let mut octets = random_octets(rng, count..=count).into_owned();
    octets[count - 1] &= 0xff << (count * 8 - usize::from(bits));
    DeviceBits::new(octets, bits).unwrap()
}

fn random_reader_report(rng: &mut Rng) -> ReaderReport<'static> {
    let device = |rng: &mut Rng| DeviceReport {
        nas: random_octets(rng, 0..=125),
        device_ngap_id: rng.bool().then(|| rng.u32(..)),
    };
    ReaderReport {
        reader_index: rng.u16(1..),
        devices: (0..rng.usize(1..20)).map(|_| device(rng)).collect(),
    }
}

/// Any cause, by way of what decodes: a named one is never `Other`.
fn random_cause(rng: &mut Rng) -> Cause {
    use CauseGroup::*;
    let (group, count) = [
        (RadioNetwork, 65),
        (Transport, 2),
        (Nas, 8),
        (Protocol, 7),
        (Misc, 6),
    ][rng.usize(..5)];
    let cause = Cause::Other {
        group,
        value: rng.u8(..count),
    };
    let octets = FromGnb::ErrorIndication { cause: Some(cause) }
        .encode()
        .unwrap();
    match FromGnb::decode(&octets).unwrap() {
        FromGnb::ErrorIndication { cause: Some(cause) } => cause,
        other => panic!("{other:?}"),
    }
}
