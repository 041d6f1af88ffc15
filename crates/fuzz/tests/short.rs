//! The short runs: every target over its corpus and a bounded number of mutations of it, without libFuzzer. AMBIT_SEED gives
//! other mutations, AMBIT_MUTATIONS_PERCENT more or fewer. An input that fails is printed, and `fuzz/run` takes it.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::PathBuf;

use ambit_fuzz::{find, mutate::mutate};

/// The files of a corpus, seeds and findings.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(name);
    let mut paths: Vec<_> = std::fs::read_dir(&path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}

struct Told<'a>(&'a str, &'a [u8]);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("target {}, input {}", self.0, hex::encode(self.1));
        }
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

fn short(name: &str) {
    let target = find(name).unwrap();
    let corpus = corpus(name);
    let run = |input: &[u8]| {
        let _told = Told(name, input);
        (target.run)(input);
    };
    corpus.iter().for_each(|input| run(input));
    let mut rng = fastrand::Rng::with_seed(number("AMBIT_SEED", 0x5EED));
    for _ in 0..target.mutations * number("AMBIT_MUTATIONS_PERCENT", 100) / 100 {
        run(&mutate(&mut rng, &corpus, 4096));
    }
}

#[test]
fn nas_holds_for_any_input() {
    short("nas");
}

#[test]
fn ngap_holds_for_any_input() {
    short("ngap");
}

#[test]
fn csv_holds_for_any_input() {
    short("csv");
}

#[test]
fn sbi_holds_for_any_input() {
    short("sbi");
}

#[test]
fn apdu_holds_for_any_input() {
    short("apdu");
}

#[test]
fn store_holds_for_any_input() {
    short("store");
}

#[test]
fn device_holds_for_any_input() {
    short("device");
}
