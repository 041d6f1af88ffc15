//! What the tests share: one valid message of each kind, under fixed keys.
#![allow(dead_code, unreachable_pub)]

use ambit_protocol::area::Plmn;
use ambit_protocol::schedule::{self, Input, cut};
use ambit_protocol::wire::{PLAINTEXT_OCTETS_MAX, ReportId};
use ambit_protocol::{
    AreaId, Cause, Exchange, Form, Item, KAiotf, RandN, RootKey, Snid, Suite, TagLen,
};

pub const RAND_N: RandN = RandN::new(77, *b"chain elemen");
pub const COUNTER: u32 = 0x0102_0304;

pub fn snid() -> Snid {
    Snid::new(Plmn::new("001", "01").unwrap(), None)
}

pub fn area_id() -> AreaId {
    snid().area([0, 0, 7])
}

pub fn root_key() -> RootKey {
    RootKey::new(*b"sixteen octets K")
}

/// Every suite with every tag length.
pub fn profiles() -> impl Iterator<Item = (Suite, TagLen)> {
    Suite::ALL
        .into_iter()
        .flat_map(|suite| TagLen::ALL.map(|len| (suite, len)))
}

/// The inputs of T-ID (or CID) and K_AIOTF of a form, with fixed nonces.
pub fn inputs(form: Form) -> (Input, Input) {
    let area_id = area_id();
    match form {
        Form::Beacon => (
            schedule::beacon_t_id(&RAND_N),
            schedule::beacon_k_aiotf(&RAND_N, &area_id, b"nonc"),
        ),
        Form::Concealed => (
            schedule::concealed_id(&RAND_N, b"nonce_08"),
            schedule::concealed_k_aiotf(&RAND_N, &area_id, b"nonce_08"),
        ),
        Form::Counter | Form::Recovery => (
            schedule::counter_t_id(COUNTER),
            schedule::counter_k_aiotf(&RAND_N, &area_id, COUNTER),
        ),
        Form::Blind => (
            schedule::counter_t_id(COUNTER),
            schedule::blind_k_aiotf(COUNTER),
        ),
        Form::Aka => panic!("no form of report"),
    }
}

/// A report of each form as its device builds it.
pub struct Built {
    pub pdu: Vec<u8>,
    pub k_aiotf: KAiotf,
    pub device: Exchange,
}

pub fn build(form: Form, suite: Suite, len: TagLen, data: &[u8]) -> Built {
    let key = root_key().prf_key(suite);
    let (t_id, k_aiotf) = inputs(form);
    let (t_id, k_aiotf) = (key.evaluate(&t_id), KAiotf::new(key.evaluate(&k_aiotf)));
    let id = match form {
        Form::Beacon => ReportId::Beacon {
            t_id: cut(&t_id),
            rand_d: *b"nonc",
        },
        Form::Counter => ReportId::Counter { t_id: cut(&t_id) },
        Form::Concealed => ReportId::Concealed {
            cid: cut(&t_id),
            rand_d: *b"nonce_08",
        },
        Form::Recovery => ReportId::Recovery {
            counter: COUNTER,
            t_id: cut(&t_id),
        },
        Form::Blind => ReportId::Blind { t_id: cut(&t_id) },
        Form::Aka => panic!("no form of report"),
    };
    let item = Item {
        cause: Cause::Event,
        seq: 5,
        data,
    };
    let mut out = [0; 1 + 12 + PLAINTEXT_OCTETS_MAX + 16];
    let (device, octets) =
        Exchange::seal_report(suite, &k_aiotf, &id, &item, len, &mut out).unwrap();
    Built {
        pdu: out[..octets].to_vec(),
        k_aiotf,
        device,
    }
}

/// Every message that differs from `pdu` in one bit, is shorter (down to nothing) or longer by up to three octets.
pub fn mutations(pdu: &[u8]) -> Vec<Vec<u8>> {
    let flipped = (0..pdu.len() * 8).map(|bit| {
        let mut pdu = pdu.to_vec();
        pdu[bit / 8] ^= 1 << (bit % 8);
        pdu
    });
    let truncated = (0..pdu.len()).map(|end| pdu[..end].to_vec());
    let beheaded = (1..pdu.len()).map(|start| pdu[start..].to_vec());
    let extended = [&[0][..], &[0xff], &[0, 0], &[0; 3]].into_iter();
    let longer = extended.flat_map(|more| [[pdu, more].concat(), [more, pdu].concat()]);
    flipped
        .chain(truncated)
        .chain(beheaded)
        .chain(longer)
        .collect()
}
