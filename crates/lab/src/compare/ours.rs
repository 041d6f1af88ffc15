//! Our methods: octets and writes as the bench measured them, operations counted while the model of the protocol runs the
//! device's part.

use ambit_model::{
    self as model, Aka, Credentials, Place, accept, chain_step, read_accept, report, work,
};
use ambit_protocol::area::Plmn;
use ambit_protocol::{AreaId, Snid};

use super::aka::{CONCEALMENT, milenage};
use super::protocols::{Operations, Properties, Protocol, Source};
use super::{CompareError, Phase, Row};

/// P of the bench's items: an octet and `21.5`.
const TEXT: &[u8] = b"\x2021.5";
const KEY: [u8; 16] = [0x4B; 16];

pub(super) fn protocols(rows: &[Row]) -> Result<Vec<Protocol>, CompareError> {
    Ok(vec![
        measured(
            rows,
            ("ours: beacon", "operator K, beacon", Phase::Steady),
            Operations {
                durable_writes: 1,
                ..doa(0)
            },
            BEACON,
        )?,
        measured(
            rows,
            ("ours: concealed", "operator K, concealed", Phase::Steady),
            doa(2),
            CONCEALED,
        )?,
        measured(
            rows,
            ("ours: counter", "operator K, counter", Phase::Steady),
            Operations {
                durable_writes: 1,
                ..doa(1)
            },
            COUNTER,
        )?,
        measured(
            rows,
            (
                "ours: UICC registration, Profile A",
                "UICC AKA, Profile A, beacon",
                Phase::First,
            ),
            registration(),
            REGISTRATION,
        )?,
        inventory()?,
    ])
}

/// The row of a method, with what else there is to say.
fn measured(
    rows: &[Row],
    (name, method, phase): (&'static str, &'static str, Phase),
    operations: Operations,
    properties: Properties,
) -> Result<Protocol, CompareError> {
    let row = rows
        .iter()
        .find(|row| row.method == method && row.phase == phase);
    let cost = row.ok_or_else(|| failed(name, "was not measured"))?.cost;
    Ok(Protocol {
        name,
        source: Source::Measured("the product's device and core"),
        messages_up: cost.messages_up,
        octets_up: cost.octets_up,
        messages_down: cost.messages_down,
        octets_down: cost.octets_down,
        round_trips: if cost.messages_up == 1 { "1" } else { "2" },
        operations: Some(operations),
        properties,
    })
}

pub(super) fn failed(method: &'static str, reason: &str) -> CompareError {
    CompareError {
        method,
        reason: reason.to_owned(),
    }
}

fn credentials() -> Credentials {
    Credentials {
        suite: 1,
        key: KEY,
        tag_len: 8,
    }
}

/// A report under a beacon of a new epoch, and its ACCEPT.
fn doa(form: u8) -> Operations {
    let place = Place {
        rand_n: [7; 16],
        area: [1; 12],
    };
    let nonce = [9; 8];
    let nonce = nonce.get(..model::nonce_octets(form)).unwrap_or_default();
    let ((_, exchange), made) = work::of(|| {
        if form == 0 {
            // A step of the chain: the beacon is that of the epoch after the anchor's.
            chain_step(&[1; 12], 1, &[0; 9]);
        }
        report(&credentials(), form, &place, nonce, TEXT)
    });
    let answer = accept(&exchange, &[]);
    let (_, read) = work::of(|| read_accept(&exchange, &answer));
    Operations::of(made + read)
}

/// AUTHENTICATE on the card, what comes of it, the response and its ACCEPT. Concealing the SUPI comes first.
fn registration() -> Operations {
    let aka = Aka {
        name: "5G:mnc001.mcc001.3gppnetwork.org",
        rand_d: [1; 8],
        ck_ik: [2; 32],
    };
    let ((_, exchange), made) = work::of(|| {
        let rand = aka.rand(&[3; 16]);
        let vector = milenage(&KEY, &[0xC3; 16], &rand, &[0; 6], &[0x80, 0]);
        let res8 = aka.res8(&rand, &vector.res);
        let k_aiot = aka.k_aiot(&[0; 6]);
        let k_aiotf = aka.k_aiotf(1, &k_aiot, &rand);
        model::authentication_response(&credentials(), &k_aiotf, &res8, &[0x10])
    });
    let answer = accept(&exchange, &[]);
    let (_, read) = work::of(|| read_accept(&exchange, &answer));
    let done = Operations::of(made + read);
    Operations {
        aes_blocks: done.aes_blocks + CONCEALMENT.aes_blocks,
        sha256_blocks: done.sha256_blocks + CONCEALMENT.sha256_blocks,
        ec_multiplications: CONCEALMENT.ec_multiplications,
        // SQN, in the card.
        durable_writes: 1,
    }
}

/// Release 19: paged, answered, and a READ with its answer, which is what authenticates the network and brings data.
fn inventory() -> Result<Protocol, CompareError> {
    const NAME: &str = "Release-19 inventory and READ, our octets";
    let (device, rand_n, rand_d) = (credentials(), [7; 16], [9; 16]);
    let plmn = Plmn::new("001", "01").map_err(|error| failed(NAME, &error.to_string()))?;
    let area: AreaId = Snid::new(plmn, None).area([0, 0, 1]);
    let paging = [&area.octets()[..], &rand_n].concat();
    let ((response, keys), answered) = work::of(|| {
        (
            model::inventory_response(&device, &rand_n, &rand_d),
            model::inventory_keys(&device, &rand_n, &rand_d),
        )
    });
    let command = model::session(&keys, 8, true, 0, &[1, 0, 0, 4]);
    let (reply, obeyed) = work::of(|| {
        model::read_session(&keys, 8, true, 0, &command)
            .map(|_| model::session(&keys, 8, false, 0, b"\x01\x0021.5"))
    });
    let reply = reply.ok_or_else(|| failed(NAME, "the command does not open"))?;
    Ok(Protocol {
        name: NAME,
        source: Source::Measured(
            "the model of the protocol; Release 19's own key derivation and octets are not public",
        ),
        messages_up: 2,
        octets_up: (response.len() + reply.len()) as u64,
        messages_down: 2,
        octets_down: (paging.len() + command.len()) as u64,
        round_trips: "2, begun by the network",
        operations: Some(Operations::of(answered + obeyed)),
        properties: Properties {
            early_data: "none: the network asks",
            mutual: "the device by RES, the network by its first command",
            key_confirmation: "the first command and its answer",
            identity_privacy: "RES and nonces; nothing links two answers",
            desynchronisation: "none",
            network_state: "nothing",
            forward_secrecy: "no",
        },
    })
}

const BEACON: Properties = Properties {
    early_data: "the first message",
    mutual: "both",
    key_confirmation: "TAG1, and the ACCEPT",
    identity_privacy: "T-ID, which links reports of one epoch",
    desynchronisation: "none: an old anchor makes the next report concealed",
    network_state: "a record an item; the chain's seed for all devices together",
    forward_secrecy: "no",
};

const CONCEALED: Properties = Properties {
    identity_privacy: "nothing links two reports; the network searches all keys",
    desynchronisation: "none",
    ..BEACON
};

const COUNTER: Properties = Properties {
    identity_privacy: "T-ID of one report; the order of recovery reports shows",
    desynchronisation: "the counter, 16 ahead; recovery after 8 unanswered",
    network_state: "a record an item, the last counter",
    ..BEACON
};

const REGISTRATION: Properties = Properties {
    early_data: "the third message",
    key_confirmation: "TAG1, and the ACCEPT",
    identity_privacy: "SUCI; a false challenge meets silence",
    desynchronisation: "SQN, with resynchronisation",
    network_state: "SQN and K_AIOT; a record",
    forward_secrecy: "no: past K_AIOT follow from the card's key and what was heard",
    ..BEACON
};
