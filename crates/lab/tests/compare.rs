//! The comparison of credential modes: the page in the documentation is what comes out, and the figures are those that the
//! protocol text leads to where it gives any.
#![allow(clippy::unwrap_used)]

use ambit_lab::compare::energy::{DEFAULT, Energy};
use ambit_lab::compare::protocols::protocols;
use ambit_lab::compare::{METHODS, Phase, compare, html, table};

#[test]
fn the_page_is_what_is_counted() {
    let rows = compare().unwrap();
    assert_eq!(rows.len(), 2 * METHODS.len());
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/reference/compare.md"
    );
    let energy = Energy::parse(DEFAULT).unwrap();
    let others = protocols(&rows).unwrap();
    let expected = table::page(&rows, &others, &energy);
    if std::env::var_os("AMBIT_WRITE_DOCS").is_some() {
        std::fs::write(path, &expected).unwrap();
    }
    let page = std::fs::read_to_string(path).unwrap();
    assert!(
        page == expected,
        "docs/reference/compare.md is not what `ambit lab compare --markdown` prints:\n{expected}"
    );
    let of = |name: &str| {
        others
            .iter()
            .find(|other| other.name.starts_with(name))
            .unwrap()
    };
    // RFC 9528 and the draft's table: 37, 45 and 19 octets, and a message 4 of a tag alone. Four multiplications: the ephemeral
    // key, and its own and the two static-ephemeral secrets.
    let edhoc = of("EDHOC, static");
    assert_eq!((edhoc.octets_up, edhoc.octets_down), (37 + 19, 45 + 9));
    assert_eq!(edhoc.operations.unwrap().ec_multiplications, 4);
    // LoRaWAN 1.1: join request 23, join accept 17; frames of 12 octets, 2 of options, port and data.
    let lorawan = of("LoRaWAN");
    assert_eq!((lorawan.octets_up, lorawan.octets_down), (23 + 19, 17 + 14));
    for other in &others {
        let [radio, computing, _] = energy.microjoule(other);
        assert!(radio > 0.0 && (computing > 0.0) == other.operations.is_some());
    }
    // Everything in the page of HTML is in the page.
    let html = html::page(&others, &energy);
    assert!(html.matches("<svg").count() == 4 && !html.contains("src=") && !html.contains("href="));

    let steady = |name: &str| {
        let found = rows
            .iter()
            .find(|row| row.phase == Phase::Steady && row.method == name);
        found.unwrap().cost
    };
    // Section 12, n = 4.
    for (name, up) in [
        ("operator K, beacon", 22),
        ("operator K, concealed", 26),
        ("operator K, counter", 20),
    ] {
        let cost = steady(name);
        assert_eq!((cost.octets_up, cost.octets_down), (up, 9), "{name}");
        assert_eq!((cost.messages_up, cost.messages_down), (1, 1), "{name}");
        // The record, and a checkpoint of the evidence chain.
        assert_eq!(cost.store_transactions, 2, "{name}");
    }
    for row in &rows {
        let cost = &row.cost;
        // A card that keeps K evaluates, one with a USIM answers one challenge, and no card is asked in vain.
        let authenticates = match (row.method, row.phase) {
            (name, _) if name.starts_with("K in the card") => cost.prf_evaluations,
            (name, Phase::First) if name.starts_with("UICC") => 1,
            _ => 0,
        };
        assert_eq!(cost.authenticates, authenticates, "{row:?}");
        let conceals = row.phase == Phase::First && row.method.contains("Profile");
        assert_eq!(cost.ephemeral_keys, u64::from(conceals), "{row:?}");
    }
}

#[test]
fn an_energy_file_is_read_and_what_is_wrong_with_it_is_named() {
    assert!(Energy::parse(DEFAULT).unwrap().aes_block > 0.0);
    let misspelt = DEFAULT.replace("aes_block =", "aes_blok =");
    let error = Energy::parse(&misspelt).unwrap_err().to_string();
    assert!(error.contains("aes_blok"), "{error}");
    let negative = DEFAULT.replace("transmit_bit = 60e-9", "transmit_bit = -1.0");
    let error = Energy::parse(&negative).unwrap_err().to_string();
    assert_eq!(
        error,
        "energy: transmit_bit: must be a number of joule, 0 to 1"
    );
}
