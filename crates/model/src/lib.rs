//! The protocol once more, written from its text alone and for nothing but being right: vectors of octets, one block of AES
//! at a time, no state kept between calls. It shares the AES block and SHA-256 with the product, and no line of its code;
//! CMAC, CTR, HMAC and Ascon are written out again. What both say of the same octets must be the same.
//!
//! Where the text gives no limit, the product's stands here as a number: P2 of at most 32 octets, 107 octets in a SESSION.
//!
//! What it computes it counts ([`work`]), so that it also says what a device has to compute.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a model for tests and measurements: what is out of range here is a mistake in it, and is to be seen"
)]

pub mod network;
pub mod primitives;
pub mod work;

use primitives::{aes, cmac, hmac, xof};

/// 16 octets of key.
pub type Key = [u8; 16];

/// What a device is provisioned with.
#[derive(Clone, Copy)]
pub struct Credentials {
    /// 1, 2 or 3.
    pub suite: u8,
    /// K.
    pub key: Key,
    /// t: 4, 8 or 16.
    pub tag_len: usize,
}

/// Where and when a report is made.
#[derive(Clone, Copy)]
pub struct Place {
    /// RAND_n.
    pub rand_n: [u8; 16],
    /// AreaID.
    pub area: [u8; 12],
}

/// An exchange as its end holds it: what TAG2 and sessions hang on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// KI and KE.
    pub keys: Keys,
    /// TAG1.
    pub tag1: Vec<u8>,
}

/// KI and KE, which come of a K_AIOTF once and serve report, accept and session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys {
    suite: u8,
    ki: Key,
    ke: Key,
}

impl Keys {
    /// Those of a K_AIOTF.
    pub fn new(suite: u8, k_aiotf: &Key) -> Self {
        Self {
            suite,
            ki: prf(suite, k_aiotf, 0x01, &[]),
            ke: prf(suite, k_aiotf, 0x02, &[]),
        }
    }
}

/// PRF(k, label, x) of section 2.
pub fn prf(suite: u8, key: &Key, label: u8, x: &[u8]) -> Key {
    let long = match suite {
        1 => cmac(key, &[&[label], x].concat()).to_vec(),
        2 => hmac(key, &[&[label], x].concat()).to_vec(),
        _ => xof(&[&key[..], &[label], x].concat(), 16),
    };
    std::array::from_fn(|at| long[at])
}

/// KS(k, iv12, n) of section 2.
fn keystream(suite: u8, key: &Key, iv12: &[u8], n: usize) -> Vec<u8> {
    if suite == 3 {
        return xof(&[&key[..], &[0xF0], iv12].concat(), n);
    }
    let mut stream = Vec::new();
    for counter in 0_u32.. {
        if stream.len() >= n {
            break;
        }
        let block = [iv12, &counter.to_be_bytes()].concat();
        stream.extend(aes(key, &std::array::from_fn(|at| block[at])));
    }
    stream.truncate(n);
    stream
}

fn xor(a: &[u8], b: &[u8]) -> Vec<u8> {
    a.iter().zip(b).map(|(a, b)| a ^ b).collect()
}

/// How something is sealed: keys, label, dir and additional data.
struct Seal {
    keys: Keys,
    label: u8,
    dir: u8,
    aad: Vec<u8>,
}

impl Seal {
    fn tag(&self, text: &[u8], tag_len: usize) -> Vec<u8> {
        let bound = [&self.aad[..], text].concat();
        prf(self.keys.suite, &self.keys.ki, self.label, &bound)[..tag_len].to_vec()
    }

    fn crypt(&self, tag: &[u8], text: &[u8]) -> Vec<u8> {
        let mut iv = [tag, &[0; 8]].concat();
        iv.truncate(8);
        iv.extend([self.dir, 0, 0, 0]);
        xor(
            text,
            &keystream(self.keys.suite, &self.keys.ke, &iv, text.len()),
        )
    }

    /// C ‖ TAG.
    fn seal(&self, text: &[u8], tag_len: usize) -> Vec<u8> {
        let tag = self.tag(text, tag_len);
        [self.crypt(&tag, text), tag].concat()
    }

    /// P, if its tag is right and its length allowed.
    fn open(&self, sealed: &[u8], tag_len: usize, lengths: [usize; 2]) -> Option<Vec<u8>> {
        let at = sealed.len().checked_sub(tag_len)?;
        if at < lengths[0] || at > lengths[1] {
            return None;
        }
        let (text, tag) = sealed.split_at(at);
        let text = self.crypt(tag, text);
        (self.tag(&text, tag_len) == tag).then_some(text)
    }
}

/// The header octet of section 5.
pub const fn header(kind: u8, form: u8) -> u8 {
    1 << 6 | kind << 3 | form
}

/// What a report of this form shows of its device, by nonce (RAND_d, or c in 4 octets).
pub fn shown(device: &Credentials, form: u8, place: &Place, nonce: &[u8]) -> Vec<u8> {
    let cut = |label, x: &[u8], n: usize| prf(device.suite, &device.key, label, x)[..n].to_vec();
    match form {
        0 => [&cut(0x10, &place.rand_n, 4), nonce].concat(),
        2 => [
            &cut(0x14, &[&place.rand_n[..], nonce].concat(), 4)[..],
            nonce,
        ]
        .concat(),
        3 => [nonce, &cut(0x12, nonce, 6)].concat(),
        _ => cut(0x12, nonce, 6),
    }
}

/// K_AIOTF of a report.
pub fn k_aiotf(device: &Credentials, form: u8, place: &Place, nonce: &[u8]) -> Key {
    let label = [0x11, 0x13, 0x15, 0x13, 0x13][usize::from(form)];
    let bound = match form {
        4 => [[0; 28].as_slice(), nonce].concat(),
        _ => [&place.rand_n[..], &place.area, nonce].concat(),
    };
    prf(device.suite, &device.key, label, &bound)
}

/// Octets of nonce: 4 or 8 of RAND_d, 4 of c.
pub const fn nonce_octets(form: u8) -> usize {
    if form == 2 { 8 } else { 4 }
}

/// A REPORT with plaintext P.
pub fn report(
    device: &Credentials,
    form: u8,
    place: &Place,
    nonce: &[u8],
    text: &[u8],
) -> (Vec<u8>, Exchange) {
    let head = header(0, form);
    let keys = Keys::new(device.suite, &k_aiotf(device, form, place, nonce));
    let sealed = report_seal(keys, vec![head]).seal(text, device.tag_len);
    let tag1 = sealed[text.len()..].to_vec();
    let octets = [&[head][..], &shown(device, form, place, nonce), &sealed].concat();
    (octets, Exchange { keys, tag1 })
}

const fn report_seal(keys: Keys, aad: Vec<u8>) -> Seal {
    Seal {
        keys,
        label: 0x41,
        dir: 0,
        aad,
    }
}

/// Form and nonce that a REPORT shows; the counter forms 1 and 4 show none.
pub fn outside(octets: &[u8]) -> Option<(u8, Vec<u8>)> {
    let form = octets.first()? ^ header(0, 0);
    let nonce = match form {
        0 => octets.get(5..9)?,
        2 => octets.get(5..13)?,
        3 => octets.get(1..5)?,
        1 | 4 => &[],
        _ => return None,
    };
    Some((form, nonce.to_vec()))
}

/// P of a REPORT, if it is this device's, made here and with this nonce.
pub fn read_report(
    device: &Credentials,
    place: &Place,
    nonce: &[u8],
    octets: &[u8],
) -> Option<(Vec<u8>, Exchange)> {
    let (form, _) = outside(octets)?;
    let shown = shown(device, form, place, nonce);
    let sealed = octets.get(1..)?.strip_prefix(&shown[..])?;
    let keys = Keys::new(device.suite, &k_aiotf(device, form, place, nonce));
    let seal = report_seal(keys, vec![header(0, form)]);
    let text = seal.open(sealed, device.tag_len, [1, 91])?;
    let tag1 = sealed[text.len()..].to_vec();
    Some((text, Exchange { keys, tag1 }))
}

fn accept_seal(exchange: &Exchange) -> Seal {
    Seal {
        keys: exchange.keys,
        label: 0x42,
        dir: 1,
        aad: [&[header(1, 0)][..], &exchange.tag1].concat(),
    }
}

/// An ACCEPT with plaintext P2.
pub fn accept(exchange: &Exchange, p2: &[u8]) -> Vec<u8> {
    let sealed = accept_seal(exchange).seal(p2, exchange.tag1.len());
    [vec![header(1, 0)], sealed].concat()
}

/// P2 of an ACCEPT, if it belongs to this exchange.
pub fn read_accept(exchange: &Exchange, octets: &[u8]) -> Option<Vec<u8>> {
    let sealed = octets.strip_prefix(&[header(1, 0)])?;
    accept_seal(exchange).open(sealed, exchange.tag1.len(), [0, 32])
}

fn session_seal(keys: &Keys, is_down: bool, count: u8) -> Seal {
    let dir = u8::from(is_down);
    Seal {
        keys: *keys,
        label: 0x43 + dir,
        dir: 2 + dir,
        aad: vec![header(6, dir), count],
    }
}

/// A SESSION message.
pub fn session(keys: &Keys, tag_len: usize, is_down: bool, count: u8, text: &[u8]) -> Vec<u8> {
    let seal = session_seal(keys, is_down, count);
    [&seal.aad[..], &seal.seal(text, tag_len)].concat()
}

/// COUNT and P of a SESSION message, if it is genuine and its COUNT is not below `next`.
pub fn read_session(
    keys: &Keys,
    tag_len: usize,
    is_down: bool,
    next: u16,
    octets: &[u8],
) -> Option<(u8, Vec<u8>)> {
    let (head, count) = (*octets.first()?, *octets.get(1)?);
    if head != header(6, u8::from(is_down)) || u16::from(count) < next {
        return None;
    }
    let seal = session_seal(keys, is_down, count);
    Some((count, seal.open(octets.get(2..)?, tag_len, [1, 107])?))
}

/// X\[e-1\] out of X\[e\].
pub fn chain_step(x: &[u8], e: u32, snid: &[u8; 9]) -> Vec<u8> {
    let key = [x, &[0; 4]].concat();
    let input = [&e.to_be_bytes()[..], snid].concat();
    let key = std::array::from_fn(|at| key[at]);
    prf(1, &key, 0x50, &input)[..12].to_vec()
}

/// Whether RAND_n follows from the anchor within so many steps.
pub fn follows(anchor: &[u8; 16], rand_n: &[u8; 16], snid: &[u8; 9], steps_max: u32) -> bool {
    let epoch = |octets: &[u8; 16]| u32::from_be_bytes(std::array::from_fn(|at| octets[at]));
    let (first, last) = (epoch(anchor), epoch(rand_n));
    if last < first || last - first > steps_max {
        return false;
    }
    let mut x = rand_n[4..].to_vec();
    for e in (first + 1..=last).rev() {
        x = chain_step(&x, e, snid);
    }
    x == anchor[4..]
}

/// INVENTORY RESPONSE (section 8).
pub fn inventory_response(device: &Credentials, rand_n: &[u8; 16], rand_d: &[u8; 16]) -> Vec<u8> {
    let both = [&rand_n[..], rand_d].concat();
    let res = prf(device.suite, &device.key, 0x30, &both);
    [&[header(5, 0)][..], rand_d, &res[..8]].concat()
}

/// The keys of the session that may follow an INVENTORY RESPONSE.
pub fn inventory_keys(device: &Credentials, rand_n: &[u8; 16], rand_d: &[u8; 16]) -> Keys {
    let both = [&rand_n[..], rand_d].concat();
    Keys::new(device.suite, &prf(device.suite, &device.key, 0x31, &both))
}

/// The concealed paging T-ID.
pub fn paging_t_id(device: &Credentials, rand_n: &[u8; 16]) -> Key {
    prf(device.suite, &device.key, 0x32, rand_n)
}

/// What a UICC registration (section 7) makes of CK ‖ IK and RES.
pub struct Aka<'a> {
    /// The SN name.
    pub name: &'a str,
    /// The device's nonce.
    pub rand_d: [u8; 8],
    /// CK ‖ IK.
    pub ck_ik: [u8; 32],
}

impl Aka<'_> {
    /// RAND out of N_r.
    pub fn rand(&self, n_r: &Key) -> Key {
        let text = [b"AIOT-RAND", &self.rand_d[..], self.name.as_bytes()].concat();
        let mac = hmac(n_r, &text);
        std::array::from_fn(|at| mac[at])
    }

    fn kdf(&self, fc: u8, parameters: &[&[u8]]) -> [u8; 32] {
        let mut text = vec![fc];
        for parameter in parameters {
            text.extend_from_slice(parameter);
            text.extend((parameter.len() as u16).to_be_bytes());
        }
        hmac(&self.ck_ik, &text)
    }

    /// RES8: the front of RES*, which is the back of the KDF's output.
    pub fn res8(&self, rand: &Key, res: &[u8]) -> [u8; 8] {
        let out = self.kdf(0x6B, &[self.name.as_bytes(), rand, res]);
        std::array::from_fn(|at| out[16 + at])
    }

    /// K_AIOT.
    pub fn k_aiot(&self, sqn_xor_ak: &[u8; 6]) -> Key {
        let out = self.kdf(0xF0, &[self.name.as_bytes(), &self.rand_d, sqn_xor_ak]);
        std::array::from_fn(|at| out[at])
    }

    /// K_AIOTF of the registration.
    pub fn k_aiotf(&self, suite: u8, k_aiot: &Key, rand: &Key) -> Key {
        prf(suite, k_aiot, 0x16, &[&rand[..], &self.rand_d].concat())
    }
}

/// AUTHENTICATION RESPONSE of form 0.
pub fn authentication_response(
    device: &Credentials,
    k_aiotf: &Key,
    res8: &[u8; 8],
    text: &[u8],
) -> (Vec<u8>, Exchange) {
    let keys = Keys::new(device.suite, k_aiotf);
    let head = [&[header(4, 0)][..], res8].concat();
    let sealed = report_seal(keys, head.clone()).seal(text, device.tag_len);
    let tag1 = sealed[text.len()..].to_vec();
    ([head, sealed].concat(), Exchange { keys, tag1 })
}

/// P of an AUTHENTICATION RESPONSE of form 0, if it verifies.
pub fn read_authentication_response(
    device: &Credentials,
    k_aiotf: &Key,
    octets: &[u8],
) -> Option<(Vec<u8>, Exchange)> {
    let (head, sealed) = octets.split_at_checked(9)?;
    if head[0] != header(4, 0) {
        return None;
    }
    let keys = Keys::new(device.suite, k_aiotf);
    let text = report_seal(keys, head.to_vec()).open(sealed, device.tag_len, [1, 91])?;
    let tag1 = sealed[text.len()..].to_vec();
    Some((text, Exchange { keys, tag1 }))
}
