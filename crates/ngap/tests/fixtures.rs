//! Octets that an independent decoder has read: `fixtures/README.md` says how.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use ambit_ngap::{FromGnb, ToGnb};

/// Ours, each line: who sends it, its name, its octets.
const PDUS: &str = include_str!("fixtures/pdus.hex");
/// The independent encoder's, of what we read and do not write.
const OTHERS: &str = include_str!("fixtures/others.hex");

#[test]
fn the_octets_are_those_that_an_independent_decoder_has_read() {
    let mut ours = String::new();
    for (name, message) in common::from_gnb() {
        ours += &format!("from_gnb {name} {}\n", hex(&message.encode().unwrap()));
    }
    for (name, message) in common::to_gnb() {
        ours += &format!("to_gnb {name} {}\n", hex(&message.encode().unwrap()));
    }
    assert!(
        PDUS == ours,
        "the octets have changed; cross-check these, then replace:\n{ours}"
    );
}

#[test]
fn the_octets_are_read_as_the_messages_they_were_made_of() {
    for line in PDUS.lines().chain(OTHERS.lines()) {
        let mut words = line.split(' ');
        let [sender, name, octets] = std::array::from_fn(|_| words.next().unwrap());
        let octets = octets_of(octets);
        match sender {
            "from_gnb" => {
                let found = common::from_gnb()
                    .into_iter()
                    .find(|(known, _)| *known == name);
                assert_eq!(FromGnb::decode(&octets).unwrap(), found.unwrap().1);
            }
            _ => {
                let found = common::to_gnb()
                    .into_iter()
                    .find(|(known, _)| *known == name);
                assert_eq!(ToGnb::decode(&octets).unwrap(), found.unwrap().1);
            }
        }
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn octets_of(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}
