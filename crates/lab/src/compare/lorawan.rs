//! Over-the-air activation of LoRaWAN 1.1 (LoRaWAN Specification 1.1, clauses 4.3, 4.4 and 6.2): join request and accept, then
//! the first uplink with RekeyInd and the downlink with RekeyConf, after which the device may let go of the join. Own code
//! from the text, both ends; operations are counted on the device's.

use ambit_model::primitives::{aes, cmac};
use ambit_model::work;

use super::CompareError;
use super::ours::failed;
use super::protocols::{Operations, Properties, Protocol, Source};

const NAME: &str = "LoRaWAN 1.1 join, first uplink";
const NWK_KEY: [u8; 16] = [0x4B; 16];
const APP_KEY: [u8; 16] = [0x4C; 16];
const JOIN_EUI: [u8; 8] = [1; 8];
const DEV_EUI: [u8; 8] = [2; 8];
/// The device keeps DevNonce as a counter from 1.1 on.
const DEV_NONCE: [u8; 2] = [5, 0];
const DEV_ADDR: [u8; 4] = [9; 4];

/// A key out of NwkKey or AppKey: one block.
fn derive(key: &[u8; 16], kind: u8, parts: &[&[u8]]) -> [u8; 16] {
    let mut block = [0; 16];
    let octets = [kind].into_iter().chain(parts.concat());
    block
        .iter_mut()
        .zip(octets)
        .for_each(|(to, from)| *to = from);
    aes(key, &block)
}

/// The first octets of a CMAC: a MIC, or half of one.
fn mic<const N: usize>(key: &[u8; 16], parts: &[&[u8]]) -> [u8; N] {
    let full = cmac(key, &parts.concat());
    std::array::from_fn(|at| full.get(at).copied().unwrap_or(0))
}

struct Keys {
    f_nwk_s_int: [u8; 16],
    s_nwk_s_int: [u8; 16],
    nwk_s_enc: [u8; 16],
    app_s: [u8; 16],
}

impl Keys {
    fn new(join_nonce: &[u8]) -> Self {
        let parts: [&[u8]; 3] = [join_nonce, &JOIN_EUI, &DEV_NONCE];
        Self {
            f_nwk_s_int: derive(&NWK_KEY, 1, &parts),
            app_s: derive(&APP_KEY, 2, &parts),
            s_nwk_s_int: derive(&NWK_KEY, 3, &parts),
            nwk_s_enc: derive(&NWK_KEY, 4, &parts),
        }
    }
}

/// Block A of a frame's encryption: direction 0 up, 1 down; frame counter 0.
fn crypt(key: &[u8; 16], direction: u8, text: &[u8]) -> Vec<u8> {
    let [a, b, c, d] = DEV_ADDR;
    let stream = aes(
        key,
        &[1, 0, 0, 0, 0, direction, a, b, c, d, 0, 0, 0, 0, 0, 1],
    );
    text.iter().zip(stream).map(|(a, b)| a ^ b).collect()
}

/// Block B of a frame's MIC.
fn block_b(direction: u8, len: usize) -> [u8; 16] {
    let [a, b, c, d] = DEV_ADDR;
    [
        0x49, 0, 0, 0, 0, direction, a, b, c, d, 0, 0, 0, 0, 0, len as u8,
    ]
}

pub(super) fn protocol() -> Result<Protocol, CompareError> {
    // Join request.
    let (request, asked) = work::of(|| {
        let body = [&[0x00][..], &JOIN_EUI, &DEV_EUI, &DEV_NONCE].concat();
        let mic = mic::<4>(&NWK_KEY, &[&body]);
        [&body[..], &mic].concat()
    });
    // The network: JoinNonce, NetID, DevAddr, DLSettings (OptNeg), RxDelay. It uses AES the other way round, so that the device
    // encrypts to decrypt: what is given here is what the device finds.
    let plain = [&[7, 0, 0, 1, 0, 0][..], &DEV_ADDR, &[0x80, 1]].concat();
    let join_nonce = plain.get(..3).unwrap_or_default();
    let js_int = derive(&NWK_KEY, 6, &[&DEV_EUI]);
    let bound: [&[u8]; 5] = [&[0xFF], &JOIN_EUI, &DEV_NONCE, &[0x20], &plain];
    let accept_mic = mic::<4>(&js_int, &bound);
    let accept_len = 1 + plain.len() + accept_mic.len();
    let network = Keys::new(join_nonce);

    // The device: one block for the join accept, its MIC, the keys, and a frame.
    let ((uplink, is_joined), joined) = work::of(|| {
        aes(&NWK_KEY, &[0; 16]);
        let js_int = derive(&NWK_KEY, 6, &[&DEV_EUI]);
        let is_joined = mic::<4>(&js_int, &bound) == accept_mic;
        let keys = Keys::new(join_nonce);
        let options = crypt(&keys.nwk_s_enc, 0, &[0x0B, 1]);
        let payload = crypt(&keys.app_s, 0, b"21.5");
        let frame = [&[0x40][..], &DEV_ADDR, &[2, 0, 0], &options, &[1], &payload].concat();
        let b = block_b(0, frame.len());
        let (s, f) = (
            mic::<2>(&keys.s_nwk_s_int, &[&b, &frame]),
            mic::<2>(&keys.f_nwk_s_int, &[&b, &frame]),
        );
        ([&frame[..], &s, &f].concat(), is_joined)
    });
    // The network: RekeyConf.
    let options = crypt(&network.nwk_s_enc, 1, &[0x0B, 1]);
    let frame = [&[0x60][..], &DEV_ADDR, &[2, 0, 0], &options].concat();
    let b = block_b(1, frame.len());
    let downlink_mic = mic::<4>(&network.s_nwk_s_int, &[&b, &frame]);
    let (is_confirmed, confirmed) = work::of(|| {
        let keys = [network.s_nwk_s_int, network.nwk_s_enc];
        let [integrity, encryption] = &keys;
        let is_genuine = mic::<4>(integrity, &[&b, &frame]) == downlink_mic;
        is_genuine && crypt(encryption, 1, &options) == [0x0B, 1]
    });
    let frame_b = uplink.split_last_chunk::<4>();
    let is_taken = frame_b.is_some_and(|(frame, found)| {
        let b = block_b(0, frame.len());
        let (s, f) = (
            mic::<2>(&network.s_nwk_s_int, &[&b, frame]),
            mic::<2>(&network.f_nwk_s_int, &[&b, frame]),
        );
        [s, f].concat() == found && crypt(&network.app_s, 0, b"21.5").len() == 4
    });
    if !(is_joined && is_taken && is_confirmed) {
        return Err(failed(NAME, "a MIC does not verify"));
    }
    Ok(Protocol {
        name: NAME,
        source: Source::Measured("own code from the specification, 4 octets of data"),
        messages_up: 2,
        octets_up: (request.len() + uplink.len()) as u64,
        messages_down: 2,
        octets_down: (accept_len + frame.len() + downlink_mic.len()) as u64,
        round_trips: "2",
        operations: Some(Operations {
            // DevNonce before the request, JoinNonce after the accept.
            durable_writes: 2,
            ..Operations::of(asked + joined + confirmed)
        }),
        properties: Properties {
            early_data: "the third message",
            mutual: "both",
            key_confirmation: "RekeyInd and RekeyConf",
            identity_privacy: "DevEUI in clear, then a DevAddr that stays",
            desynchronisation: "DevNonce and JoinNonce, which only rise",
            network_state: "DevNonce, keys and frame counters of the session",
            forward_secrecy: "no",
        },
    })
}
