//! The comparison as a page.

use std::fmt::Write;

use super::energy::Energy;
use super::protocols::{Protocol, Source};
use super::{AXES, Phase, Row};

const START: &str = "# What the credential modes cost

`ambit lab compare --markdown` prints this page; a test holds it against what the command prints.

Each mode runs alone: one device, one reader, no loss, the whole core behind it. Everything is counted by wrappers around running code: an ear
on the air, the card reader, the device's credential and memory, the store. *First* is everything from power-on to the ACCEPT of the first
report; a card is selected and read in it. *Steady* is one item in a new epoch, after two earlier ones: a beacon device then makes its anchor durable once. One of the transactions is a checkpoint
of the evidence chain (one row), which in a busy network stands for all records of its interval.

";

const END: &str = "
Not counted: seals and their tags (two PRF evaluations for the keys, one for the tag and a keystream, in every mode and both ways), the steps of the beacon
chain, the hashes of an AKA on the device, and what the network computes. A card that keeps K costs two AUTHENTICATEs a report, and the device's counter stays
outside it.
";

const OTHERS: &str = "
## Beside other protocols

From nothing agreed to both sides authenticated and in possession of a key; K, and where there are any the other side's keys, are provisioned. Our reports,
LoRaWAN's run and the inventory's READ carry 4 octets of application data; what the others need for their first data comes on top. Octets are those of the
protocol's own messages, without the layers below. Operations are the device's: blocks of AES-128 and of SHA-256, multiplications on a curve (*EC*), durable
writes. They are counted while both ends run; where figures are cited they are not known. Keys are expanded and CMAC's subkeys computed anew for each evaluation.
What concealing a SUPI takes is added from TS 33.501 annex C: a key pair and a shared secret, 8 blocks of SHA-256, one of AES.

";

const ENERGY: &str = "
Energy is the device's, in microjoule, by the model in `crates/lab/energy.toml`, which names its sources and what is assumed (`--energy FILE`
takes another): radio at 5 kbit/s, AES and curve in software on an MSP430, EEPROM. In software and at these rates even AES costs more than the radio; in hardware it
costs next to nothing. A multiplication outweighs everything else either way.

";

const WORDS: &str = "
## What others do better

- **Forward secrecy.** EDHOC, and TLS and DTLS with ECDHE, have it. Ours have none, in no form: who gets K reads everything that was recorded. Nor have
  5G-AKA, LoRaWAN and plain PSK. It costs two multiplications a run (ECDHE), or four (EDHOC with static keys): the *EC* column and the energy.
- **No shared secret at the network.** EDHOC with keys of its own leaves nothing at the network that could pass for the device. Our ADM holds
  every K.
- **Privacy towards active attackers.** EDHOC hides the device even from a false network. Our concealed form does as well, and makes the network
  search all keys for it; the beacon form shows a T-ID to whoever listens during an epoch, and the first message of 5G-AKA hides the SUPI at the price of
  two multiplications.
- **Work at the network.** Where the device's name is in clear (TLS, DTLS, LoRaWAN) the network looks one key up. Our concealed and recovery forms are a search over
  the population.
- **Analysis.** TLS 1.3, EDHOC and 5G-AKA have been analysed by many, for years. Ours has the models in `models/` and the attacks of
  `ambit lab attack`.
- **A session.** After an EDHOC or DTLS run any amount of data goes under its keys at 10 to 20 octets a message. Ours pays for authentication in
  every report, and has no run to pay for beforehand.
";

/// The page.
pub fn page(rows: &[Row], protocols: &[Protocol], energy: &Energy) -> String {
    let mut page = START.to_owned();
    for phase in [Phase::First, Phase::Steady] {
        let title = match phase {
            Phase::First => "First exchange",
            Phase::Steady => "Steady state",
        };
        let _ = write!(page, "## {title}\n\n| method | form |");
        for axis in AXES {
            let _ = write!(page, " {} |", axis.heading);
        }
        page.push_str("\n| --- | --- |");
        page.extend(AXES.iter().map(|_| " ---: |"));
        page.push('\n');
        for row in rows.iter().filter(|row| row.phase == phase) {
            let _ = write!(page, "| {} | {} |", row.method, row.form);
            for axis in AXES {
                let _ = write!(page, " {} |", (axis.of)(&row.cost));
            }
            page.push('\n');
        }
        page.push('\n');
    }
    page.push_str("Columns, from left to right:\n\n");
    for axis in AXES {
        let _ = writeln!(page, "- `{}` ({}): {}", axis.name, axis.heading, axis.means);
    }
    page.push_str(END);
    page.push_str(OTHERS);
    counted(&mut page, protocols, energy);
    page.push_str(ENERGY);
    in_words(&mut page, protocols);
    page.push_str(WORDS);
    page
}

/// A figure of operations, or that nobody counted.
pub(super) fn figure(protocol: &Protocol, of: fn(&super::protocols::Operations) -> u64) -> String {
    let known = protocol.operations.as_ref().map(of);
    known.map_or_else(|| "-".into(), |count| count.to_string())
}

/// Radio, computing and writing in microjoule; what was not counted is left out.
pub(super) fn joules(protocol: &Protocol, energy: &Energy) -> [String; 3] {
    let [radio, computing, writing] = energy.microjoule(protocol);
    let known = |value: f64| match protocol.operations {
        Some(_) => format!("{value:.0}"),
        None => "-".into(),
    };
    [format!("{radio:.0}"), known(computing), known(writing)]
}

fn counted(page: &mut String, protocols: &[Protocol], energy: &Energy) {
    page.push_str(
        "| protocol | up | octets | down | octets | round trips | AES | SHA-256 | EC | writes | radio | computing | writing |\n\
         | --- | ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for protocol in protocols {
        let [radio, computing, writing] = joules(protocol, energy);
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {radio} | {computing} | {writing} |",
            protocol.name,
            protocol.messages_up,
            protocol.octets_up,
            protocol.messages_down,
            protocol.octets_down,
            protocol.round_trips,
            figure(protocol, |done| done.aes_blocks),
            figure(protocol, |done| done.sha256_blocks),
            figure(protocol, |done| done.ec_multiplications),
            figure(protocol, |done| done.durable_writes),
        );
    }
}

fn in_words(page: &mut String, protocols: &[Protocol]) {
    page.push_str(
        "| protocol | early data | mutual | key confirmation | identity | has to keep in step | state at the network | forward secrecy |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for protocol in protocols {
        let words = &protocol.properties;
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            protocol.name,
            words.early_data,
            words.mutual,
            words.key_confirmation,
            words.identity_privacy,
            words.desynchronisation,
            words.network_state,
            words.forward_secrecy
        );
    }
    page.push_str("\nFigures from:\n\n");
    for protocol in protocols {
        let (how, what) = match protocol.source {
            Source::Measured(what) => ("measured", what),
            Source::Cited(what) => ("cited", what),
        };
        let _ = writeln!(page, "- {}: {how}, {what}", protocol.name);
    }
}
