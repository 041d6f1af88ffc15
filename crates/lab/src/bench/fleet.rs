//! Devices whose keys follow from their number, and their reports.

use ambit_protocol::area::Plmn;
use ambit_protocol::schedule::{self, cut};
use ambit_protocol::wire::{Item, REPORT_OCTETS_MAX, ReportId};
use ambit_protocol::{
    AreaId, Cause, DeviceForm, DeviceType, Exchange, KAiotf, RandN, RootKey, Snid, Suite, TagLen,
};
use ambit_provisioning::{CredentialKind, DeviceSpec};

pub(super) const RAND_D: [u8; 4] = [9; 4];

#[allow(clippy::expect_used)] // A constant.
pub(super) fn snid() -> Snid {
    Snid::new(Plmn::new("001", "01").expect("the test network"), None)
}

pub(super) fn area() -> AreaId {
    snid().area([0, 0, 1])
}

pub(super) fn key(device: usize) -> [u8; 16] {
    let mut rng = fastrand::Rng::with_seed(device as u64);
    rng.u128(..).to_be_bytes()
}

/// A beacon device with an ID of 12 octets, as an EPC of 96 bits has.
pub(super) fn spec(device: usize) -> DeviceSpec {
    DeviceSpec {
        line: 0,
        device_id: [&[0x30, 0, 0, 0][..], &(device as u64).to_be_bytes()].concat(),
        device_type: DeviceType::Type2b,
        suite: Suite::AesCmac,
        form: DeviceForm::Beacon,
        credential: CredentialKind::Operator,
        key: Some(RootKey::new(key(device))),
        tag_len: TagLen::T8,
        fleet: "bench".into(),
    }
}

pub(super) fn beacon_report(key: &RootKey, suite: Suite, rand_n: &RandN) -> Vec<u8> {
    let t_id = cut(&key.evaluate(suite, &schedule::beacon_t_id(rand_n)));
    let input = schedule::beacon_k_aiotf(rand_n, &area(), &RAND_D);
    let k_aiotf = KAiotf::new(key.evaluate(suite, &input));
    let item = Item {
        cause: Cause::Periodic,
        seq: 1,
        data: &[0, 41],
    };
    let id = ReportId::Beacon {
        t_id,
        rand_d: RAND_D,
    };
    let mut out = [0; REPORT_OCTETS_MAX];
    let sealed = Exchange::seal_report(suite, &k_aiotf, &id, &item, TagLen::T8, &mut out);
    let len = sealed.map_or(0, |(_, len)| len);
    out.get(..len).unwrap_or_default().to_vec()
}
