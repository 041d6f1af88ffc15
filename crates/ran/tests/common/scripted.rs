//! A gNB under the hands of a script.

use ambit_ngap::{Cause, FromGnb, GnbId, ToGnb};
use ambit_protocol::RandN;
use ambit_ran::frame::{Access, RadioId};
use ambit_ran::gnb::{Downlink, Gnb, GnbConfig, GnbState, Uplink};

use super::{AIOTF_ID, snid, window_request};

pub const RAND_N: RandN = RandN::new(100, [1; 12]);
pub const LATER_RAND_N: RandN = RandN::new(101, [2; 12]);
pub const OWN_ID: u32 = 5;

pub fn own_id() -> GnbId {
    GnbId {
        plmn: *snid().plmn().octets(),
        id: OWN_ID,
        bits: 22,
    }
}

/// A gNB with readers 1 and 2 that has been through NG SETUP.
pub fn ready() -> Gnb {
    ready_with(GnbConfig::new(OWN_ID, snid(), 2))
}

pub fn ready_with(config: GnbConfig) -> Gnb {
    let mut gnb = Gnb::new(config);
    gnb.connected();
    assert!(matches!(
        sent(&mut gnb).remove(0),
        FromGnb::NgSetupRequest { .. }
    ));
    hand(&mut gnb, 0, &set_up());
    assert_eq!(gnb.state(), GnbState::Ready);
    gnb
}

pub fn set_up() -> ToGnb<'static> {
    ToGnb::NgSetupResponse {
        aiotf_id: Some(AIOTF_ID),
        name: "core".into(),
        plmn: *snid().plmn().octets(),
    }
}

pub fn hand(gnb: &mut Gnb, now_ms: u64, message: &ToGnb<'_>) {
    gnb.handle_ngap(now_ms, &message.encode().unwrap());
}

pub fn sent(gnb: &mut Gnb) -> Vec<FromGnb<'static>> {
    std::iter::from_fn(|| gnb.poll_ngap())
        .map(|octets| FromGnb::decode(&octets.leak()[..]).unwrap())
        .collect()
}

pub fn downlinks(gnb: &mut Gnb) -> Vec<Downlink> {
    std::iter::from_fn(|| gnb.poll_downlink()).collect()
}

pub fn hear(gnb: &mut Gnb, now_ms: u64, spoke_ms: u64, radio_id: u32, nas: &[u8]) {
    gnb.handle_uplink(
        now_ms,
        Uplink {
            reader_index: 1,
            radio_id: RadioId(radio_id),
            spoke_ms,
            access: Access::DeviceOriginated,
            nas: nas.to_vec(),
        },
    );
}

/// Opens a window and lets it settle.
pub fn open(gnb: &mut Gnb, now_ms: u64, correlation: u16, rand_n: &RandN) {
    hand(gnb, now_ms, &window_request(correlation, rand_n));
    let response = FromGnb::InventoryResponse {
        aiotf_id: AIOTF_ID,
        correlation,
    };
    assert_eq!(sent(gnb), [response]);
    downlinks(gnb);
}

/// Hears one report at `now_ms` and returns the device NGAP ID it went up with.
pub fn contact(gnb: &mut Gnb, now_ms: u64, radio_id: u32) -> u32 {
    hear(gnb, now_ms, now_ms, radio_id, &radio_id.to_be_bytes());
    gnb.handle_timeout(now_ms + 5);
    let reports = reports(&sent(gnb));
    assert_eq!(reports.len(), 1);
    reports[0].2.unwrap()
}

/// Correlation, NAS and device NGAP ID of every report in INVENTORY REPORTs.
pub fn reports(messages: &[FromGnb<'_>]) -> Vec<(u16, Vec<u8>, Option<u32>)> {
    let mut found = Vec::new();
    for message in messages {
        if let FromGnb::InventoryReport {
            correlation,
            readers,
            gnb_id,
            aiotf_id,
            ..
        } = message
        {
            assert_eq!((*gnb_id, *aiotf_id), (own_id(), AIOTF_ID));
            for device in readers.iter().flat_map(|reader| &reader.devices) {
                found.push((*correlation, device.nas.to_vec(), device.device_ngap_id));
            }
        }
    }
    found
}

pub fn command_failure(device_ngap_id: u32, cause: Cause) -> FromGnb<'static> {
    FromGnb::CommandFailure {
        aiotf_id: AIOTF_ID,
        correlation: 0x8000,
        device_ngap_id,
        cause,
    }
}
