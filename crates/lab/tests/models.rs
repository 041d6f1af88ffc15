//! The models of the protocol: what must hold does, and what must fail does.

use std::path::Path;

use ambit_lab::models::symbolic::{MODELS, SymbolicError};
use ambit_lab::models::{Row, Verdict, state_machines, table};

#[test]
fn state_machines_hold_and_their_broken_variants_fail() {
    let rows = state_machines();
    for row in &rows {
        assert!(row.is_as_expected(), "{row:#?}");
        // What fails comes with the way to it, what holds with how much was searched.
        match row.expected {
            Verdict::Fails => assert!(row.path.as_ref().is_some_and(|path| !path.is_empty())),
            Verdict::Holds => assert!(row.states.is_some_and(|states| states > 1000)),
        }
    }

    // The page is what the command would write. (Whether the symbolic models show it is the next test's matter.)
    let claimed = MODELS.iter().flat_map(|model| model.unasked());
    let claimed = claimed.map(|row| Row {
        found: Some(row.expected),
        ..row
    });
    let rows: Vec<Row> = claimed.chain(rows).collect();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/models.md");
    let page = std::fs::read_to_string(page).unwrap_or_default();
    assert!(
        page == table::page(&rows),
        "docs/reference/models.md: write it anew with `ambit lab models --markdown`"
    );
}

#[test]
fn symbolic_models_hold_and_their_broken_twins_fail() -> Result<(), SymbolicError> {
    let dir = tempfile::tempdir().map_err(|error| SymbolicError::Io {
        what: "temporary directory".into(),
        error,
    })?;
    for model in MODELS {
        match model.run(Path::new("verifpal"), dir.path()) {
            Ok(rows) => {
                let wrong: Vec<&Row> = rows.iter().filter(|row| !row.is_as_expected()).collect();
                assert!(wrong.is_empty(), "{wrong:#?}");
            }
            Err(error @ SymbolicError::ToolMissing) => {
                eprintln!("skipped: {error}");
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
