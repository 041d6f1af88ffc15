//! The corpora in `fuzz/corpus` hold what they are made from, and beside it what runs have found (`found-*`).
//! With AMBIT_WRITE_CORPUS set the files are written anew.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::PathBuf;

use ambit_fuzz::TARGETS;

#[test]
fn the_seeds_are_what_they_are_made_from() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let writes = std::env::var_os("AMBIT_WRITE_CORPUS").is_some();
    for target in TARGETS {
        assert!(
            root.join("fuzz_targets")
                .join(format!("{}.rs", target.name))
                .is_file(),
            "{}: has no binary",
            target.name
        );
        let directory = root.join("corpus").join(target.name);
        if writes {
            std::fs::create_dir_all(&directory).unwrap();
        }
        let seeds = (target.seeds)();
        for (name, octets) in &seeds {
            let path = directory.join(name);
            if writes {
                std::fs::write(&path, octets).unwrap();
            }
            let found =
                std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert!(
                found == *octets,
                "{}: not what seeds.rs makes",
                path.display()
            );
        }
        for entry in std::fs::read_dir(&directory).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let is_known =
                seeds.iter().any(|(seed, _)| *seed == name) || name.starts_with("found-");
            assert!(is_known, "{}/{name}: in no list of seeds", target.name);
        }
    }
}
