//! The comparison of credential modes: the page in the documentation is what comes out, and the figures are those that the
//! protocol text leads to where it gives any.
#![allow(clippy::unwrap_used)]

use ambit_lab::compare::{METHODS, Phase, compare, table};

#[test]
fn the_page_is_what_is_counted() {
    let rows = compare().unwrap();
    assert_eq!(rows.len(), 2 * METHODS.len());
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/reference/compare.md"
    );
    let page = std::fs::read_to_string(path).unwrap();
    assert!(
        page == table::page(&rows),
        "docs/reference/compare.md is not what `ambit lab compare --markdown` prints:\n{}",
        table::page(&rows)
    );

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
