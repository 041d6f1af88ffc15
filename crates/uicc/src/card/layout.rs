//! The files that a profile makes: MF, EF_DIR, ADF USIM (TS 31.102 clause 4) and the AIoT application.

use super::files::{Access, Body, Files, Node, ROOT, Rule, tlv};
use super::profile::{Profile, SuciProfile};
use crate::suci::Imsi;

/// AID of the USIM application: 3GPP's RID and application code 1002 (TS 31.110, ETSI TS 101 220), then the issuer's octets.
pub const AID_USIM: [u8; 16] = [
    0xA0, 0x00, 0x00, 0x00, 0x87, 0x10, 0x02, 0xFF, 0xFF, 0xFF, 0xFF, 0x89, 0x00, 0x00, 0x01, 0x00,
];
/// AID of the AIoT application. It starts with F: a proprietary identifier, registered with nobody (ISO/IEC 7816-4 clause
/// 12.2.2.3). The rest is ASCII "AMBIT-AIOT" and a version.
pub const AID_AIOT: [u8; 12] = *b"\xF0AMBIT-AIOT\x01";
/// EF of the AIoT application: version 01 ‖ suite ‖ tag length.
pub const EF_AIOT_PARAMETERS: u16 = 0x6F01;
/// EF of the AIoT application: permanent device ID.
pub const EF_AIOT_DEVICE_ID: u16 = 0x6F02;

/// File identifiers of the ADFs, never seen outside: the card calls the current one 7FFF.
const FID_ADF_USIM: u16 = 0x7FF0;
const FID_ADF_AIOT: u16 = 0x7FF1;
const DF_5GS: u16 = 0x5FC0;

/// Services of EF_UST (TS 31.102 clause 4.2.8).
const SERVICES: &[u8] = &[85, 122, 123, 124];
const SERVICE_SUCI_ON_CARD: u8 = 125;
const SERVICES_MAX: usize = 136;

/// Where the applications stand.
pub(super) struct Layout {
    pub(super) files: Files,
    pub(super) usim: Node,
    pub(super) aiot: Option<Node>,
}

pub(super) fn build(profile: &Profile) -> Layout {
    let mut tree = Tree(Files::new());
    let arr = arr_records();
    tree.linear(
        ROOT,
        0x2F00,
        Some(0x1E),
        Rule::AlwaysAdm,
        38,
        &dir_records(profile),
    );
    tree.transparent(ROOT, 0x2F05, Some(0x05), Rule::AlwaysPin, &[0xFF; 4]);
    tree.linear(
        ROOT,
        0x2F06,
        Some(0x06),
        Rule::AlwaysAdm,
        ARR_RECORD_LEN,
        &arr,
    );
    tree.transparent(
        ROOT,
        0x2F08,
        Some(0x08),
        Rule::AlwaysAdm,
        &[0x3C, 0, 0, 0, 0],
    );
    tree.transparent(
        ROOT,
        0x2FE2,
        Some(0x02),
        Rule::AlwaysNever,
        &iccid(&profile.iccid),
    );
    let usim = usim(&mut tree, profile, &arr);
    let aiot = profile.aiot.as_ref().map(|aiot| {
        let adf = tree.adf(FID_ADF_AIOT, &AID_AIOT);
        let parameters = [1, aiot.suite.number(), aiot.tag_len];
        tree.transparent(
            adf,
            EF_AIOT_PARAMETERS,
            Some(0x01),
            Rule::AlwaysAdm,
            &parameters,
        );
        tree.transparent(
            adf,
            EF_AIOT_DEVICE_ID,
            Some(0x02),
            Rule::PinAdm,
            &aiot.device_id,
        );
        tree.linear(
            adf,
            0x6F06,
            Some(0x06),
            Rule::AlwaysAdm,
            ARR_RECORD_LEN,
            &arr,
        );
        adf
    });
    Layout {
        files: tree.0,
        usim,
        aiot,
    }
}

fn usim(tree: &mut Tree, profile: &Profile, arr: &[Vec<u8>]) -> Node {
    let adf = tree.adf(FID_ADF_USIM, &AID_USIM);
    let (_, mnc_third) = profile.imsi.plmn().mnc();
    let mnc_len = if mnc_third.is_some() { 3 } else { 2 };
    let mut keys = [0xFF; 33];
    keys[0] = 0x07;
    let mut loci = vec![0xFF; 4];
    loci.extend_from_slice(profile.imsi.plmn().octets());
    let mut psloci = vec![0xFF; 7];
    psloci.extend_from_slice(profile.imsi.plmn().octets());
    let plmn_and = |tail: &[u8]| [&profile.imsi.plmn().octets()[..], tail].concat();
    loci.extend_from_slice(&[0xFF, 0xFE, 0xFF, 0x01]);
    psloci.extend_from_slice(&[0xFF, 0xFE, 0xFF, 0x01]);

    let mut ef = |fid, sfi, rule, contents: &[u8]| tree.transparent(adf, fid, sfi, rule, contents);
    ef(0x6F05, Some(0x02), Rule::AlwaysPin, b"en\xFF\xFF");
    ef(0x6F07, Some(0x07), Rule::PinAdm, &imsi(&profile.imsi));
    ef(0x6F08, Some(0x08), Rule::PinPin, &keys);
    ef(0x6F09, Some(0x09), Rule::PinPin, &keys);
    ef(0x6F31, Some(0x12), Rule::PinAdm, &[0x05]);
    ef(
        0x6F38,
        Some(0x04),
        Rule::PinAdm,
        &services(profile.suci.as_ref()),
    );
    ef(0x6F56, Some(0x05), Rule::PinPin2, &[0x00]);
    ef(0x6F5B, Some(0x0F), Rule::PinPin, &[0xF0, 0, 0, 0xF0, 0, 0]);
    ef(0x6F5C, Some(0x10), Rule::PinPin, &[0xFF; 3]);
    ef(0x6F73, Some(0x0C), Rule::PinPin, &psloci);
    ef(
        0x6F78,
        Some(0x06),
        Rule::PinAdm,
        &access_class(&profile.imsi),
    );
    ef(0x6F7B, Some(0x0D), Rule::PinPin, &[0xFF; 12]);
    ef(0x6F7E, Some(0x0B), Rule::PinPin, &loci);
    ef(
        0x6FAD,
        Some(0x03),
        Rule::AlwaysAdm,
        &[0x00, 0x00, 0x00, mnc_len],
    );
    ef(0x6FC4, None, Rule::PinPin, &[0xFF; 46]);
    let mut epsloci = vec![0xFF; 12];
    epsloci.extend_from_slice(&plmn_and(&[0xFF, 0xFE, 0x01]));
    ef(0x6FE3, Some(0x1E), Rule::PinPin, &epsloci);
    tree.linear(
        adf,
        0x6F06,
        Some(0x17),
        Rule::AlwaysAdm,
        ARR_RECORD_LEN,
        arr,
    );
    // One emergency number, 112.
    tree.linear(
        adf,
        0x6FB7,
        Some(0x01),
        Rule::AlwaysAdm,
        4,
        &[vec![0x11, 0xF2, 0xFF, 0x00]],
    );
    tree.linear(adf, 0x6FE4, Some(0x18), Rule::PinPin, 54, &[vec![0xFF; 54]]);

    let df = tree.0.add(adf, DF_5GS, Body::Directory { aid: None });
    let mut loci_5gs = vec![0xFF; 13];
    loci_5gs.extend_from_slice(&plmn_and(&[0xFF, 0xFF, 0xFE, 0x01]));
    tree.transparent(df, 0x4F01, Some(0x01), Rule::PinPin, &loci_5gs);
    tree.transparent(df, 0x4F02, Some(0x02), Rule::PinPin, &loci_5gs);
    tree.linear(df, 0x4F03, Some(0x03), Rule::PinPin, 62, &[vec![0xFF; 62]]);
    tree.linear(df, 0x4F04, Some(0x04), Rule::PinPin, 62, &[vec![0xFF; 62]]);
    tree.transparent(df, 0x4F05, Some(0x05), Rule::PinPin, &[0xFF; 110]);
    tree.transparent(df, 0x4F06, Some(0x06), Rule::PinAdm, &[0; 4]);
    if let Some(suci) = &profile.suci {
        // With service 125 the keys are for the card alone.
        if !suci.on_card {
            tree.transparent(df, 0x4F07, Some(0x07), Rule::PinAdm, &suci_calc_info(suci));
        }
        let [r0, r1] = suci.routing_indicator.0;
        tree.transparent(df, 0x4F0A, Some(0x0A), Rule::PinAdm, &[r0, r1, 0xFF, 0xFF]);
    }
    adf
}

struct Tree(Files);

impl Tree {
    fn adf(&mut self, fid: u16, aid: &[u8]) -> Node {
        let aid = Some(aid.to_vec());
        self.0.add(ROOT, fid, Body::Directory { aid })
    }

    fn transparent(
        &mut self,
        parent: Node,
        fid: u16,
        sfi: Option<u8>,
        rule: Rule,
        contents: &[u8],
    ) {
        let contents = contents.to_vec();
        let body = Body::Elementary {
            sfi,
            rule,
            record_len: 0,
            contents,
        };
        self.0.add(parent, fid, body);
    }

    fn linear(
        &mut self,
        parent: Node,
        fid: u16,
        sfi: Option<u8>,
        rule: Rule,
        record_len: usize,
        records: &[Vec<u8>],
    ) {
        let mut contents = Vec::with_capacity(records.len() * record_len);
        for record in records {
            let padding = std::iter::repeat(0xFF);
            contents.extend(record.iter().copied().chain(padding).take(record_len));
        }
        let body = Body::Elementary {
            sfi,
            rule,
            record_len,
            contents,
        };
        self.0.add(parent, fid, body);
    }
}

const ARR_RECORD_LEN: usize = 24;

/// EF_ARR: one record per [`Rule`], access mode and condition for reading and for updating (TS 102 221 clause 9.2.7).
fn arr_records() -> Vec<Vec<u8>> {
    let condition = |record: &mut Vec<u8>, mode, access| {
        tlv(record, 0x80, &[mode]);
        match access {
            Access::Always => tlv(record, 0x90, &[]),
            Access::Never => tlv(record, 0x97, &[]),
            Access::Key(key) => tlv(record, 0xA4, &[0x83, 0x01, key as u8, 0x95, 0x01, 0x08]),
        }
    };
    let record = |rule: &Rule| {
        let mut record = Vec::new();
        condition(&mut record, 0x01, rule.read());
        condition(&mut record, 0x02, rule.update());
        record
    };
    Rule::ALL.iter().map(record).collect()
}

/// EF_DIR: application template with AID and label.
fn dir_records(profile: &Profile) -> Vec<Vec<u8>> {
    let record = |aid: &[u8], label: &[u8]| {
        let mut template = Vec::new();
        tlv(&mut template, 0x4F, aid);
        tlv(&mut template, 0x50, label);
        let mut record = Vec::new();
        tlv(&mut record, 0x61, &template);
        record
    };
    let mut records = vec![record(&AID_USIM, b"USIM")];
    if profile.aiot.is_some() {
        records.push(record(&AID_AIOT, b"Ambit AIoT"));
    }
    records
}

/// EF_ICCID: 10 octets, digits swapped, filled up with F (TS 102 221 clause 13.2).
fn iccid(digits: &str) -> Vec<u8> {
    let nibbles: Vec<u8> = digits
        .bytes()
        .map(|c| if c.is_ascii_digit() { c & 15 } else { 15 })
        .chain(std::iter::repeat(15))
        .take(20)
        .collect();
    swapped(&nibbles)
}

/// EF_IMSI: length, then parity and digits swapped (TS 31.102 clause 4.2.2).
fn imsi(imsi: &Imsi) -> Vec<u8> {
    let digits: Vec<u8> = imsi.to_string().bytes().map(|c| c & 15).collect();
    let parity = if digits.len() % 2 == 1 { 9 } else { 1 };
    let mut nibbles = vec![parity];
    nibbles.extend(&digits);
    let used = u8::try_from(nibbles.len().div_ceil(2)).unwrap_or(8);
    nibbles.resize(16, 15);
    let mut contents = vec![used];
    contents.extend(swapped(&nibbles));
    contents
}

fn swapped(nibbles: &[u8]) -> Vec<u8> {
    let (pairs, _) = nibbles.as_chunks::<2>();
    pairs.iter().map(|[low, high]| high << 4 | low).collect()
}

/// EF_ACC: the access class is the last digit of the IMSI (TS 22.011 clause 4.2).
fn access_class(imsi: &Imsi) -> [u8; 2] {
    let last = imsi.msin().bytes().last().map_or(0, |c| c & 15).min(9);
    (1u16 << last).to_be_bytes()
}

fn services(suci: Option<&SuciProfile>) -> Vec<u8> {
    let mut table = vec![0u8; SERVICES_MAX / 8];
    let on_card = suci.is_some_and(|suci| suci.on_card);
    let concealed = suci.is_some();
    let listed = SERVICES
        .iter()
        .filter(|service| **service != 124 || concealed);
    for service in listed.chain(on_card.then_some(&SERVICE_SUCI_ON_CARD)) {
        let bit = usize::from(service - 1);
        if let Some(octet) = table.get_mut(bit / 8) {
            *octet |= 1 << (bit % 8);
        }
    }
    table
}

/// EF_SUCI_Calc_Info: schemes by priority, and the list of public keys (TS 31.102 clause 4.4.11.8).
fn suci_calc_info(suci: &SuciProfile) -> Vec<u8> {
    let (mut priorities, mut keys) = (Vec::new(), Vec::new());
    for ((key_id, key), index) in suci.keys.iter().zip(1u8..) {
        priorities.extend_from_slice(&[key.scheme() as u8, index]);
        tlv(&mut keys, 0x80, &[*key_id]);
        tlv(&mut keys, 0x81, key.octets());
    }
    if suci.keys.is_empty() {
        priorities.extend_from_slice(&[0, 0]);
    }
    let mut contents = Vec::new();
    tlv(&mut contents, 0xA0, &priorities);
    tlv(&mut contents, 0xA1, &keys);
    contents
}
