//! The vectors that Ambit ships with all pass, and a wrong value in any of them fails.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

#[test]
fn every_shipped_case_passes() {
    let results = ambit_vectors::walk(&shipped()).unwrap();
    let names: Vec<&str> = results.iter().map(|r| r.file.as_str()).collect();
    assert_eq!(
        names,
        [
            "suite.json",
            "chain.json",
            "report.json",
            "device_terminated.json",
            "uicc.json"
        ]
    );
    for result in &results {
        assert!(result.passed > 0 && result.failed == 0, "{result:?}");
    }
    let reports = &results[2];
    assert!(reports.passed >= 135, "{reports:?}");
}

/// Changes the last octet of each stated value in turn (in the first case of each file): the case must fail each time.
#[test]
fn a_wrong_value_in_any_field_fails() {
    let dir = std::env::temp_dir().join(format!("ambit-vectors-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    for entry in fs::read_dir(shipped()).unwrap() {
        let path = entry.unwrap().path();
        let file: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let case = file["cases"][0].as_object().unwrap();
        for (field, value) in case {
            let Some(text) = value.as_str().filter(|text| text.len() > 3) else {
                continue;
            };
            let mut changed = file.clone();
            let last = if text.ends_with('0') { "1" } else { "0" };
            changed["cases"] = serde_json::json!([case]);
            changed["cases"][0][field] = format!("{}{last}", &text[..text.len() - 1]).into();
            fs::write(dir.join(path.file_name().unwrap()), changed.to_string()).unwrap();
            let result = &ambit_vectors::walk(&dir).unwrap()[0];
            assert_eq!(result.failed, 1, "{path:?} {field} {result:?}");
        }
        fs::remove_file(dir.join(path.file_name().unwrap())).unwrap();
    }
    fs::remove_dir_all(&dir).unwrap();
}
