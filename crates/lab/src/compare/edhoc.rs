//! EDHOC (RFC 9528) with static DH keys named by `kid` on both sides, cipher suite 2: `lakers` runs both ends, on primitives
//! that count.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

use ambit_model::primitives::{aes, hmac, sha256};
use ambit_model::work::{self, Work};
use lakers::{
    BufferCiphertext3, BufferPlaintext3, BytesCcmIvLen, BytesCcmKeyLen, BytesHashLen,
    BytesMaxBuffer, BytesMaxInfoBuffer, BytesP256ElemLen, Credential, CredentialTransfer,
    CryptoTrait, EDHOCError, EDHOCMethod, EDHOCSuite, EdhocInitiator, EdhocResponder,
    MAX_BUFFER_LEN, credential_check_or_fetch,
};
use p256::elliptic_curve::sec1::ToSec1Point;

use super::CompareError;
use super::ours::failed;
use super::protocols::{Operations, Properties, Protocol, Source};

const NAME: &str = "EDHOC, static DH, four messages";
const TAG_OCTETS: usize = 8;

/// Credentials (CCS) and private keys of RFC 9529, chapter 3.
const CRED_I: &str = "A2027734322D35302D33312D46462D45462D33372D33322D333908A101A5010202412B2001215820AC75E9ECE3E50BFC8ED60399889522405C47BF16DF96660A41298CB4307F7EB62258206E5DE611388A4B8A8211334AC7D37ECB52A387D257E6DB3C2A93DF21FF3AFFC8";
const CRED_R: &str = "A2026008A101A5010202410A2001215820BBC34960526EA4D32E940CAD2A234148DDC21791A12AFBCBAC93622046DD44F02258204519E257236B2A0CE2023F0931F1F386CA7AFDA64FCDE0108C224C51EABF6072";
const I: &str = "fb13adeb6518cee5f88417660841142e830a81fe334380a953406a1305e8706b";
const R: &str = "72cc4761dbd4c78f758931aa589d348d1ef874a7e303ede2f140dcf3e6aa4aac";

/// One end's primitives, and how often it multiplied.
#[derive(Clone)]
struct Counting {
    seed: u8,
    multiplications: Rc<Cell<u64>>,
}

impl fmt::Debug for Counting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Counting(..)")
    }
}

impl Counting {
    fn new(seed: u8) -> Self {
        Self {
            seed,
            multiplications: Rc::default(),
        }
    }

    fn multiplied(&self) {
        self.multiplications.set(self.multiplications.get() + 1);
    }
}

/// AES-CCM (RFC 3610) with L = 2 and tags of 8 octets: keystream and tag.
fn ccm(
    key: &[u8; 16],
    iv: &[u8; 13],
    ad: &[u8],
    text: &[u8],
    is_sealed: bool,
) -> (Vec<u8>, [u8; 8]) {
    let block = |flags: u8, number: u16| {
        let octets = [&[flags][..], iv, &number.to_be_bytes()].concat();
        std::array::from_fn(|at| octets.get(at).copied().unwrap_or(0))
    };
    let crypted: Vec<u8> = (1_u16..)
        .zip(text.chunks(16))
        .flat_map(|(number, piece)| {
            let stream = aes(key, &block(1, number));
            piece
                .iter()
                .zip(stream)
                .map(|(a, b)| a ^ b)
                .collect::<Vec<u8>>()
        })
        .collect();
    let plain = if is_sealed { &crypted[..] } else { text };
    let pad = |octets: &[u8]| {
        let mut padded = octets.to_vec();
        padded.resize(octets.len().next_multiple_of(16), 0);
        padded
    };
    let with_length = [&(ad.len() as u16).to_be_bytes()[..], ad].concat();
    // Flags: associated data is there; (8 - 2) / 2 in bits 3 to 5; L - 1.
    let first: [u8; 16] = block(0x40 | 3 << 3 | 1, plain.len() as u16);
    let mut state = aes(key, &first);
    let bound = [pad(&with_length), pad(plain)].concat();
    for next in bound.as_chunks::<16>().0 {
        state = aes(key, &xor(&state, next));
    }
    let mask = aes(key, &block(1, 0));
    let [tag @ .., _, _, _, _, _, _, _, _] = xor(&state, &mask);
    (crypted, tag)
}

fn xor(a: &[u8; 16], b: &[u8; 16]) -> [u8; 16] {
    (u128::from_be_bytes(*a) ^ u128::from_be_bytes(*b)).to_be_bytes()
}

impl CryptoTrait for Counting {
    fn sha256_digest(&mut self, message: &BytesMaxBuffer, message_len: usize) -> BytesHashLen {
        sha256(message.get(..message_len).unwrap_or_default())
    }

    fn hkdf_expand(
        &mut self,
        prk: &BytesHashLen,
        info: &BytesMaxInfoBuffer,
        info_len: usize,
        length: usize,
    ) -> BytesMaxBuffer {
        let info = info.get(..info_len).unwrap_or_default();
        let (mut out, mut last) = (Vec::new(), Vec::new());
        for number in 1_u8..=255 {
            if out.len() >= length {
                break;
            }
            last = hmac(prk, &[&last[..], info, &[number]].concat()).to_vec();
            out.extend_from_slice(&last);
        }
        let mut octets = [0; MAX_BUFFER_LEN];
        octets
            .iter_mut()
            .zip(out)
            .take(length)
            .for_each(|(to, from)| *to = from);
        octets
    }

    fn hkdf_extract(&mut self, salt: &BytesHashLen, ikm: &BytesP256ElemLen) -> BytesHashLen {
        hmac(salt, ikm)
    }

    fn aes_ccm_encrypt_tag_8(
        &mut self,
        key: &BytesCcmKeyLen,
        iv: &BytesCcmIvLen,
        ad: &[u8],
        plaintext: &BufferPlaintext3,
    ) -> BufferCiphertext3 {
        let (ciphertext, tag) = ccm(key, iv, ad, plaintext.as_slice(), false);
        BufferCiphertext3::new_from_slice(&[&ciphertext[..], &tag].concat()).unwrap_or_default()
    }

    fn aes_ccm_decrypt_tag_8(
        &mut self,
        key: &BytesCcmKeyLen,
        iv: &BytesCcmIvLen,
        ad: &[u8],
        ciphertext: &BufferCiphertext3,
    ) -> Result<BufferPlaintext3, EDHOCError> {
        let wrong = EDHOCError::MacVerificationFailed;
        let sealed = ciphertext.as_slice().split_last_chunk::<TAG_OCTETS>();
        let (text, expected) = sealed.ok_or(wrong)?;
        let (text, tag) = ccm(key, iv, ad, text, true);
        if tag != *expected {
            return Err(EDHOCError::MacVerificationFailed);
        }
        BufferPlaintext3::new_from_slice(&text).map_err(|_| EDHOCError::MacVerificationFailed)
    }

    fn p256_ecdh(
        &mut self,
        private_key: &BytesP256ElemLen,
        public_key: &BytesP256ElemLen,
    ) -> BytesP256ElemLen {
        self.multiplied();
        // X alone is sent; which Y makes no difference to the X of the product.
        let point = p256::PublicKey::from_sec1_bytes(&[&[2][..], public_key].concat());
        let secret = p256::SecretKey::from_bytes(private_key.into());
        match (secret, point) {
            (Ok(secret), Ok(point)) => (*secret.diffie_hellman(&point).raw_secret_bytes()).into(),
            // Zeros agree with nothing, and the run fails.
            _ => [0; 32],
        }
    }

    fn get_random_byte(&mut self) -> u8 {
        self.seed = self.seed.wrapping_mul(5).wrapping_add(1);
        self.seed
    }

    fn p256_generate_key_pair(&mut self) -> (BytesP256ElemLen, BytesP256ElemLen) {
        self.multiplied();
        let octets = [self.seed; 32];
        let Ok(secret) = p256::SecretKey::from_bytes((&octets).into()) else {
            return ([0; 32], [0; 32]);
        };
        let point = secret.public_key().to_sec1_point(true);
        let x = point.as_bytes().split_last_chunk().map(|(_, x)| *x);
        (octets, x.unwrap_or_default())
    }
}

fn octets<const N: usize>(text: &str) -> Result<[u8; N], CompareError> {
    let mut octets = [0; N];
    hex::decode_to_slice(text, &mut octets).map_err(|error| failed(NAME, &error.to_string()))?;
    Ok(octets)
}

fn credential(text: &str) -> Result<Credential, CompareError> {
    let octets = hex::decode(text).map_err(|error| failed(NAME, &error.to_string()))?;
    Credential::parse_ccs(&octets).map_err(wrong)
}

fn wrong(error: EDHOCError) -> CompareError {
    failed(NAME, &format!("{error:?}"))
}

pub(super) fn protocol() -> Result<Protocol, CompareError> {
    let (device, network) = (Counting::new(0x31), Counting::new(0x17));
    let multiplications = Rc::clone(&device.multiplications);
    let (cred_i, cred_r) = (credential(CRED_I)?, credential(CRED_R)?);
    let identity = octets(I)?;
    let mut done = Work::default();
    let mut counted = |work: Work| done = done + work;

    let (started, work) = work::of(|| {
        let device = EdhocInitiator::new(device, EDHOCMethod::StatStat, EDHOCSuite::CipherSuite2);
        device.prepare_message_1(None, &None)
    });
    counted(work);
    let (device, message_1) = started.map_err(wrong)?;

    let network = EdhocResponder::new(network, EDHOCMethod::StatStat, octets(R)?, cred_r);
    let (network, _, _) = network.process_message_1(&message_1).map_err(wrong)?;
    let (network, message_2) = network
        .prepare_message_2(CredentialTransfer::ByReference, None, &None)
        .map_err(wrong)?;

    let (answered, work) = work::of(|| {
        let (mut device, _, id_cred_r, _) = device.parse_message_2(&message_2)?;
        let valid = credential_check_or_fetch(Some(cred_r), id_cred_r)?;
        device.set_identity(identity, cred_i)?;
        let device = device.verify_message_2(valid)?;
        device.prepare_message_3(CredentialTransfer::ByReference, &None)
    });
    counted(work);
    let (device, message_3, prk_out) = answered.map_err(wrong)?;

    let (network, id_cred_i, _) = network.parse_message_3(&message_3).map_err(wrong)?;
    let valid = credential_check_or_fetch(Some(cred_i), id_cred_i).map_err(wrong)?;
    let (network, network_prk_out) = network.verify_message_3(valid).map_err(wrong)?;
    let (_, message_4) = network.prepare_message_4(&None).map_err(wrong)?;
    let (finished, work) = work::of(|| device.process_message_4(&message_4).map(drop));
    counted(work);
    finished.map_err(wrong)?;
    if prk_out != network_prk_out {
        return Err(failed(NAME, "the two ends have different keys"));
    }
    let up = message_1.len + message_3.len;
    Ok(Protocol {
        name: NAME,
        source: Source::Measured("lakers 0.8, both ends; cipher suite 2, credentials of RFC 9529"),
        messages_up: 2,
        octets_up: up as u64,
        messages_down: 2,
        octets_down: (message_2.len + message_4.len) as u64,
        round_trips: "2",
        operations: Some(Operations {
            ec_multiplications: multiplications.get(),
            ..Operations::of(done)
        }),
        properties: Properties {
            early_data: "message 3",
            mutual: "both",
            key_confirmation: "messages 3 and 4",
            identity_privacy: "the device's hidden from active attackers too, the network's from who only listens",
            desynchronisation: "none",
            network_state: "keys of the session",
            forward_secrecy: "yes",
        },
    })
}
