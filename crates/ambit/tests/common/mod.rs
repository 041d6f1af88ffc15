//! Runs the `ambit` program as its users do: processes, files, signals.

#![allow(dead_code, unreachable_pub)] // Each test file uses its own part.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

pub mod function;

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// A directory of a test's own, with a data directory in it.
pub struct Place {
    dir: TempDir,
    /// The database, when the store is not in the data directory.
    store: Option<String>,
}

impl Place {
    pub fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            store: None,
        }
    }

    /// A place whose store is a database; every data directory in it has one KEK.
    pub fn with_store(url: &str) -> Self {
        Self {
            store: Some(url.to_owned()),
            ..Self::new()
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// `ambit ARGS`, with this place's data directory.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ambit"));
        command
            .args(args)
            .env("AMBIT_DATA_DIR", self.path("data"))
            .env_remove("AMBIT_CONFIG")
            .env_remove("AMBIT_STORE")
            .current_dir(self.dir.path());
        if let Some(url) = &self.store {
            let kek = self.write("shared.toml", "kek_file = \"shared.kek\"\n");
            command.env("AMBIT_STORE", url).env("AMBIT_CONFIG", kek);
        }
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs a command that must succeed and returns what it printed.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (is_success, error) = (output.status.success(), stderr(&output));
        assert!(is_success, "{args:?}: {error}\n{text}");
        text
    }

    /// Runs a command that prints JSON lines.
    pub fn json(&self, args: &[&str]) -> Vec<Value> {
        let text = self.ok(args);
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Runs a command that must fail with this exit code and returns its message.
    pub fn fails(&self, exit: i32, args: &[&str]) -> String {
        let output = self.run(args);
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(exit), "{args:?}: {message}");
        assert!(!message.contains("panicked"), "{message}");
        message
    }

    /// Imports `count` devices with keys, forms and suites mixed; the CSV is `fleet.csv`.
    pub fn import_fleet(&self, count: u32) {
        let forms = ["beacon", "beacon", "concealed", "counter"];
        let mut csv = "device_id,device_type,suite,form,key,tag_len,fleet\n".to_owned();
        for n in 0..count {
            let form = forms[n as usize % forms.len()];
            let key: u128 = fastrand::u128(..);
            csv += &format!("{n:08x},2b,{},{form},{key:032x},8,f{}\n", n % 3 + 1, n % 2);
        }
        self.write("fleet.csv", &csv);
        self.ok(&["device", "import", "fleet.csv"]);
    }
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A running core.
pub struct Core {
    child: Child,
    pub n2: String,
    pub http: String,
    /// What it said when it was ready.
    pub ready: Value,
}

impl Drop for Core {
    /// A test that fails or forgets leaves no core behind.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Core {
    /// Starts `ambit serve` on given addresses and waits until it is ready.
    pub fn start(place: &Place, n2: &str, args: &[&str]) -> Self {
        let mut all = vec!["serve", "--n2", n2, "--http", "127.0.0.1:0"];
        all.extend(args);
        let mut child = place
            .command(&all)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = child.stdout.as_mut().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).expect("the ready line");
        Self {
            child,
            n2: ready["n2"].as_str().unwrap().into(),
            http: ready["http"].as_str().unwrap().into(),
            ready,
        }
    }

    /// kill -9.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; returns whether it ended cleanly.
    pub fn terminate(mut self) -> bool {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        self.child.wait().unwrap().success()
    }

    /// GET over HTTP/1.1: status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.http).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let status = text.split(' ').nth(1).unwrap().parse().unwrap();
        let body = text.split_once("\r\n\r\n").unwrap().1.to_owned();
        (status, body)
    }

    /// The value of a metric line that starts so; 0 when it is not there.
    pub fn metric(&self, start: &str) -> u64 {
        let (_, body) = self.get("/metrics");
        let line = body.lines().find(|line| line.starts_with(start));
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

/// Waits until `is_so`, for at most half a minute.
pub fn wait_until(what: &str, is_so: impl FnMut() -> bool) {
    wait_at_most(Duration::from_secs(30), what, is_so);
}

/// Waits until `is_so` for what takes its time: at most five minutes.
pub fn wait_long(what: &str, is_so: impl FnMut() -> bool) {
    wait_at_most(Duration::from_secs(300), what, is_so);
}

fn wait_at_most(most: Duration, what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < most, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The lines of a file of JSON objects.
pub fn json_lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// What `ran` wrote into `ledger` against what is on record: every report that a device saw accepted is there, once, and
/// nothing that no device made. Returns how many were seen accepted.
pub fn check_ledger(place: &Place) -> usize {
    let records = records(place);
    let mut claimed = 0;
    let (mut accepted, mut events_of_accepted) = (0, 0);
    for item in json_lines(&place.path("ledger")) {
        let device = item["device_id"].as_str().unwrap();
        let tags = item["reports"].as_array().unwrap().iter();
        let of_item: Vec<&Record> = tags
            .filter_map(|report| records.get(&key(device, report["tag1"].as_str().unwrap())))
            .collect();
        claimed += of_item.len();
        let events = of_item.iter().filter(|record| !record.repeat).count();
        if item["cause"] != 1 {
            assert!(events <= 1, "counted twice: {item}");
        }
        if item["fate"] == "accepted" {
            accepted += 1;
            events_of_accepted += usize::from(events > 0);
        }
    }
    assert_eq!(
        events_of_accepted, accepted,
        "seen accepted and not on record"
    );
    assert_eq!(
        claimed,
        records.len(),
        "records of reports that nobody made"
    );
    accepted
}

pub struct Record {
    pub repeat: bool,
}

fn key(device: &str, tag1: &str) -> (String, String) {
    (device.to_owned(), tag1.to_owned())
}

/// All records by device and TAG1; none may stand twice.
pub fn records(place: &Place) -> HashMap<(String, String), Record> {
    let mut records = HashMap::new();
    for row in place.json(&["record", "list", "--json"]) {
        let key = key(
            row["device_id"].as_str().unwrap(),
            row["tag1"].as_str().unwrap(),
        );
        let repeat = row["repeat"].as_bool().unwrap();
        assert!(
            records.insert(key, Record { repeat }).is_none(),
            "recorded twice: {row}"
        );
    }
    records
}
