//! NRF, ADM and AIOTF as processes of their own, with mutual TLS and tokens: each may die while reports flow.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // Helpers beside the tests.

mod common;

use std::process::Stdio;
use std::time::{Duration, Instant};

use common::function::{Function, get};
use common::{Place, check_ledger};
use serde_json::Value;

/// How long functions are killed in turn. Twenty seconds, unless the environment says otherwise.
fn seconds() -> u64 {
    let text = std::env::var("AMBIT_TEST_APART_SECONDS");
    text.ok().and_then(|text| text.parse().ok()).unwrap_or(20)
}

/// The three, and how each is started again where it was.
struct Network {
    place: Place,
    functions: Vec<(Vec<String>, Option<Function>)>,
}

impl Network {
    fn start() -> Self {
        let place = Place::new();
        place.ok(&["pki", "init", "pki"]);
        place.import_fleet(200);
        let nrf = Function::start(&place, &["nrf", "--sbi", "127.0.0.1:0"]);
        let root = format!("https://{}", nrf.address("sbi"));
        let adm = Function::start(&place, &["adm", "--sbi", "127.0.0.1:0", "--nrf", &root]);
        let aiotf = Function::start(
            &place,
            &[
                "aiotf",
                "--n2",
                "127.0.0.1:0",
                "--sbi",
                "127.0.0.1:0",
                "--nrf",
                &root,
            ],
        );
        let again = |name: &str, option: &str, address: String| {
            let args = [name, option, &address, "--nrf", &root];
            args.map(str::to_owned).to_vec()
        };
        let functions = vec![
            (again("nrf", "--sbi", nrf.address("sbi")), Some(nrf)),
            // The ADM comes back on whatever port is free, and is found there.
            (again("adm", "--sbi", "127.0.0.1:0".into()), Some(adm)),
            (again("aiotf", "--n2", aiotf.address("n2")), Some(aiotf)),
        ];
        Self { place, functions }
    }

    fn n2(&self) -> String {
        self.functions[2].1.as_ref().unwrap().address("n2")
    }

    /// kill -9, and a start.
    fn restart(&mut self, n: usize) {
        let (args, function) = &mut self.functions[n];
        drop(function.take());
        let mut args: Vec<&str> = args.iter().map(String::as_str).collect();
        if n == 2 {
            args.extend(["--sbi", "127.0.0.1:0"]);
        }
        *function = Some(Function::start(&self.place, &args));
    }
}

#[test]
fn nrf_adm_and_aiotf_are_killed_in_turn_and_nothing_is_lost_or_accepted_twice() {
    let mut network = Network::start();
    let (n2, run) = (network.n2(), seconds().to_string());
    let ran = network
        .place
        .command(&[
            "ran",
            "--n2",
            &n2,
            "--devices",
            "fleet.csv",
            "--rate",
            "100",
            "--loss",
            "5%",
        ])
        .args([
            "--seconds",
            &run,
            "--linger",
            "120",
            "--ledger",
            "ledger",
            "--json",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let started = Instant::now();
    let mut kills = 0;
    while started.elapsed() < Duration::from_secs(seconds()) {
        std::thread::sleep(Duration::from_millis(fastrand::u64(1500..3000)));
        network.restart(kills % 3);
        kills += 1;
    }
    let output = ran.wait_with_output().unwrap();
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    println!("{kills} kills; {summary}");
    assert_eq!(
        summary["pending"], 0,
        "service resumed by itself: {summary}"
    );
    assert_eq!(summary["registered"], 200, "{summary}");
    let accepted = check_ledger(&network.place);
    assert!(accepted > 200, "hardly anything happened: {summary}");
}

#[test]
fn functions_that_lack_what_they_need_say_so() {
    let place = Place::new();
    let message = place.fails(3, &["serve", "adm", "--nrf", "https://127.0.0.1:1"]);
    assert!(message.contains("sbi.pki"), "{message}");
    place.ok(&["pki", "init", "pki"]);
    let message = place.fails(3, &["serve", "aiotf", "--pki", "pki"]);
    assert!(message.contains("sbi.nrf"), "{message}");
    let message = place.fails(
        3,
        &["serve", "aiotf", "--pki", "pki", "--nrf", "gopher://x"],
    );
    assert!(message.contains("https://"), "{message}");
    let message = place.fails(3, &["pki", "init", "pki"]);
    assert!(message.contains("is there already"), "{message}");
    place.fails(3, &["pki", "issue", "pki", "../x", "ADM"]);
    place.fails(3, &["pki", "issue", "pki", "x", "adm"]);
    let lines = place.json(&[
        "pki",
        "issue",
        "pki",
        "aiotf-2",
        "AIOTF",
        "--host",
        "aiotf.example",
        "--json",
    ]);
    assert_eq!(lines[0]["nf_type"], "AIOTF");
    // Keys are their owner's alone.
    use std::os::unix::fs::PermissionsExt;
    for name in ["ca.key", "token.key", "adm.key"] {
        let mode = std::fs::metadata(place.path("pki").join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "{name}");
    }
    // In clear, and not on loopback.
    place.write(
        "clear.toml",
        "[sbi]\ninsecure_loopback = true\npki = \"pki\"\nlisten = \"0.0.0.0:0\"\n",
    );
    let message = place.fails(
        4,
        &[
            "serve",
            "nrf",
            "--config",
            "clear.toml",
            "--http",
            "127.0.0.1:0",
        ],
    );
    assert!(message.contains("loopback alone"), "{message}");
    // Another's certificate.
    place.write(
        "wrong.toml",
        "[sbi]\npki = \"pki\"\nkey = \"pki/nrf.key\"\n",
    );
    let message = place.fails(
        4,
        &[
            "serve",
            "adm",
            "--config",
            "wrong.toml",
            "--nrf",
            "https://127.0.0.1:1",
        ],
    );
    assert!(message.contains("nrf.key"), "{message}");
}

#[test]
fn an_adm_by_itself_is_administered_and_watched() {
    let network = Network::start();
    let (_, adm) = &network.functions[1];
    let health = get(&adm.as_ref().unwrap().address("http"), "/health");
    assert_eq!(health["devices"], 200);
    // Through the running ADM.
    network.place.ok(&["device", "disable", "00000001"]);
    let started = Instant::now();
    while get(&adm.as_ref().unwrap().address("http"), "/health")["registered"] != true {
        assert!(started.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(50));
    }
    let (_, nrf) = &network.functions[0];
    assert!(
        get(&nrf.as_ref().unwrap().address("http"), "/health")["nf_instances"].as_u64() >= Some(1)
    );
}
