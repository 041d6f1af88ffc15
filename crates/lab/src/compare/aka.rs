//! 5G-AKA as phones do it: NAS registration with SUCI (Profile A), authentication, security mode, accept (TS 24.501, TS 33.501).
//! The messages are built with the information elements that must be there, keys are derived and MACs computed on both sides.

use ambit_model::primitives::{aes, cmac, hmac};
use ambit_model::work;
use ambit_uicc::Subscriber;
use ambit_uicc::suci::{Imsi, PrivateKey, Protection, RoutingIndicator, conceal};

use super::CompareError;
use super::ours::failed;
use super::protocols::{Operations, Properties, Protocol, Source};

const NAME: &str = "5G-AKA, NAS registration, Profile A";
const K: [u8; 16] = [0x4B; 16];
const OPC: [u8; 16] = [0xC3; 16];

/// Concealing a SUPI under Profile A (TS 33.501 annex C.3.2): a key pair and a shared secret; two calls of SHA-256 over 68
/// octets, an HMAC over 5, one block of AES.
pub(super) const CONCEALMENT: Operations = Operations {
    aes_blocks: 1,
    sha256_blocks: 8,
    ec_multiplications: 2,
    durable_writes: 0,
};

/// What MILENAGE gives.
pub(super) struct Vector {
    pub(super) res: [u8; 8],
    pub(super) ck_ik: [u8; 32],
    pub(super) ak: [u8; 6],
    pub(super) mac_a: [u8; 8],
}

/// MILENAGE (TS 35.206), f1 to f5, on blocks that are counted. [`protocol`] holds it to the product's.
pub(super) fn milenage(
    k: &[u8; 16],
    opc: &[u8; 16],
    rand: &[u8; 16],
    sqn: &[u8; 6],
    amf: &[u8; 2],
) -> Vector {
    let (opc, number) = (u128::from_be_bytes(*opc), u128::from_be_bytes);
    let encrypt = |block: u128| number(aes(k, &block.to_be_bytes()));
    let temp = encrypt(number(*rand) ^ opc);
    let mut in1 = [0; 8];
    for (to, from) in in1.iter_mut().zip(sqn.iter().chain(amf)) {
        *to = *from;
    }
    let in1 = u128::from(u64::from_be_bytes(in1));
    let in1 = in1 << 64 | in1;
    let out1 = encrypt(temp ^ (in1 ^ opc).rotate_left(64)) ^ opc;
    let out = |rotation: u32, constant: u128| {
        encrypt((temp ^ opc).rotate_left(rotation) ^ constant) ^ opc
    };
    let (out2, out3, out4) = (out(0, 1), out(32, 2), out(64, 4));
    let [a0, a1, a2, a3, a4, a5, _, _, res @ ..] = out2.to_be_bytes();
    let [m0, m1, m2, m3, m4, m5, m6, m7, ..] = out1.to_be_bytes();
    let mut ck_ik = [0; 32];
    let halves = out3.to_be_bytes().into_iter().chain(out4.to_be_bytes());
    ck_ik
        .iter_mut()
        .zip(halves)
        .for_each(|(to, from)| *to = from);
    Vector {
        res,
        ck_ik,
        ak: [a0, a1, a2, a3, a4, a5],
        mac_a: [m0, m1, m2, m3, m4, m5, m6, m7],
    }
}

/// KDF of TS 33.220 annex B.2.
fn kdf(key: &[u8], fc: u8, parameters: &[&[u8]]) -> [u8; 32] {
    let mut text = vec![fc];
    for parameter in parameters {
        text.extend_from_slice(parameter);
        text.extend((parameter.len() as u16).to_be_bytes());
    }
    hmac(key, &text)
}

/// K_NASint out of what AUTHENTICATE gave, and RES*, as TS 33.501 annex A has them: RES*, K_AUSF, K_SEAF, K_AMF, K_NASenc, K_NASint.
fn keys(vector: &Vector, rand: &[u8; 16], sqn_xor_ak: &[u8; 6]) -> ([u8; 32], [u8; 16]) {
    let name = b"5G:mnc001.mcc001.3gppnetwork.org";
    let res_star = kdf(&vector.ck_ik, 0x6B, &[name, rand, &vector.res]);
    let k_ausf = kdf(&vector.ck_ik, 0x6A, &[name, sqn_xor_ak]);
    let k_seaf = kdf(&k_ausf, 0x6C, &[name]);
    let k_amf = kdf(&k_seaf, 0x6D, &[b"001010000000001", &[0, 0]]);
    let _k_nas_enc = kdf(&k_amf, 0x69, &[&[1], &[2]]);
    let k_nas_int = kdf(&k_amf, 0x69, &[&[2], &[2]]);
    let (_, low) = k_nas_int.split_last_chunk().unwrap_or((&[], &[0; 16]));
    (res_star, *low)
}

/// A NAS message under 128-NIA2: header, MAC, sequence number, message.
fn protected(key: &[u8; 16], kind: u8, count: u32, is_down: bool, message: &[u8]) -> Vec<u8> {
    let sequence = [count.to_be_bytes()[3]];
    let direction = [u8::from(is_down) << 2 | 1 << 3, 0, 0, 0];
    let bound = [&count.to_be_bytes()[..], &direction, &sequence, message].concat();
    let [m0, m1, m2, m3, ..] = cmac(key, &bound);
    [&[0x7E, kind, m0, m1, m2, m3][..], &sequence, message].concat()
}

pub(super) fn protocol() -> Result<Protocol, CompareError> {
    let wrong = |reason: &dyn std::fmt::Display| failed(NAME, &reason.to_string());
    let imsi = Imsi::from_digits("001010000000001", 2).map_err(|error| wrong(&error))?;
    let home = PrivateKey::profile_a([7; 32]);
    let protection = Protection::Profile {
        key_id: 1,
        key: home.public().map_err(|error| wrong(&error))?,
    };
    let suci = conceal(&imsi, RoutingIndicator::default(), &protection, |out| {
        out.fill(5)
    })
    .map_err(|error| wrong(&error))?;
    let capability = [0x2E, 2, 0xA0, 0xA0];
    let length = (suci.len() as u16).to_be_bytes();
    let request = [&[0x7E, 0, 0x41, 0x79][..], &length, &suci, &capability].concat();

    // The home network's challenge.
    let (rand, sqn, amf) = ([3; 16], [0, 0, 0, 0, 1, 0], [0x80, 0]);
    let autn = Subscriber::milenage(&K, &OPC).autn(&rand, &sqn, &amf);
    let challenge = [
        &[0x7E, 0, 0x56, 0, 2, 0, 0, 0x21][..],
        &rand,
        &[0x20, 16],
        &autn,
    ]
    .concat();

    // The device: f5 first, to see SQN; MAC-A; the keys; then two messages to check and two to protect.
    let ((octets_up, octets_down), made) = work::of(|| {
        let vector = milenage(&K, &OPC, &rand, &sqn, &amf);
        let concealed: [u8; 6] = std::array::from_fn(|at| autn.get(at).copied().unwrap_or(0));
        let seen: Vec<u8> = concealed
            .iter()
            .zip(vector.ak)
            .map(|(a, b)| a ^ b)
            .collect();
        let is_genuine = seen == sqn && autn.ends_with(&vector.mac_a);
        if !is_genuine {
            return (None, 0);
        }
        let (res_star, key) = keys(&vector, &rand, &concealed);
        let (_, res_star) = res_star.split_at(16);
        let response = [&[0x7E, 0, 0x57, 0x2D, 16][..], res_star].concat();
        let command = protected(&key, 3, 0, true, &[0x7E, 0, 0x5D, 0x22, 0, 2, 0xA0, 0xA0]);
        // The whole REGISTRATION REQUEST goes once more, under protection (TS 33.501 clause 6.4.6).
        let length = (request.len() as u16).to_be_bytes();
        let inner = [&[0x7E, 0, 0x5E, 0x71][..], &length, &request].concat();
        let complete = protected(&key, 4, 0, false, &inner);
        let guti = [&[0x77, 0, 11, 0xF2][..], &[1; 10]].concat();
        let accepted = protected(
            &key,
            2,
            1,
            true,
            &[&[0x7E, 0, 0x42, 1, 1][..], &guti].concat(),
        );
        let done = protected(&key, 2, 1, false, &[0x7E, 0, 0x43]);
        let up = request.len() + response.len() + complete.len() + done.len();
        (Some(up), challenge.len() + command.len() + accepted.len())
    });
    let octets_up = octets_up.ok_or_else(|| failed(NAME, "the challenge does not verify"))?;
    let counted = milenage(&K, &OPC, &rand, &sqn, &amf);
    let product = Subscriber::milenage(&K, &OPC).vector(&rand, &sqn, &amf);
    if product.res.as_slice() != counted.res || *product.ck_ik() != counted.ck_ik {
        return Err(failed(NAME, "the counted MILENAGE is not the product's"));
    }
    let done = Operations::of(made);
    Ok(Protocol {
        name: NAME,
        source: Source::Measured("NAS messages built from TS 24.501, our SUCI, MILENAGE and NIA2"),
        messages_up: 4,
        octets_up: octets_up as u64,
        messages_down: 3,
        octets_down: octets_down as u64,
        round_trips: "3, and a message up",
        operations: Some(Operations {
            aes_blocks: done.aes_blocks + CONCEALMENT.aes_blocks,
            sha256_blocks: done.sha256_blocks + CONCEALMENT.sha256_blocks,
            ec_multiplications: CONCEALMENT.ec_multiplications,
            // SQN in the card, and the 5G-GUTI.
            durable_writes: 2,
        }),
        properties: Properties {
            early_data: "none; after the registration",
            mutual: "both; the serving network only in that it has the keys",
            key_confirmation: "SECURITY MODE COMMAND and COMPLETE",
            identity_privacy: "SUCI, then 5G-GUTI; failures of MAC and SQN can be told apart",
            desynchronisation: "SQN, with resynchronisation",
            network_state: "SQN; a security context, 5G-GUTI and NAS counts",
            forward_secrecy: "no",
        },
    })
}
