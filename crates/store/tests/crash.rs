//! What survives a killed process, a file that may not grow and a full disk.
//!
//! The victim is this test binary itself: `victim` is started as a child process, told by the environment what to do.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod common;

use ambit_store::{FILE_NAME, Insert, NewRecord, RecordFilter, SqliteStore, Store, StoreError};
use common::{accept, directory, new_record, records};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

const ROLE: &str = "AMBIT_STORE_TEST_ROLE";
const DIRECTORY: &str = "AMBIT_STORE_TEST_DIRECTORY";

/// What was reported accepted before `kill -9` is there afterwards, once; and the store goes on.
#[test]
fn what_was_answered_survives_kill_9() {
    let dir = directory("kill");
    let mut reported: Vec<(i64, [u8; 8])> = Vec::new();
    for _ in 0..3 {
        let mut child = victim(
            &dir,
            "accept",
            Command::new(std::env::current_exe().unwrap()),
        )
        .spawn()
        .unwrap();
        // Killed amid its work, having reported at least 40 groups; what the pipe still holds counts as reported.
        for (n, line) in BufReader::new(child.stdout.take().unwrap())
            .lines()
            .enumerate()
        {
            reported.extend(line.unwrap().strip_prefix("new ").and_then(parse));
            if n == 300 {
                child.kill().unwrap();
            }
        }
        assert!(!child.wait().unwrap().success());

        let mut store = SqliteStore::open(&dir.join(FILE_NAME)).unwrap();
        let found: Vec<(i64, [u8; 8])> = records(&mut store, &RecordFilter::default())
            .iter()
            .map(|r| (r.id, r.tag1.as_slice().try_into().unwrap()))
            .collect();
        assert!(reported.len() >= 250);
        assert!(
            reported.iter().all(|one| found.binary_search(one).is_ok()),
            "every reported record is there"
        );
        let mut tags: Vec<[u8; 8]> = found.iter().map(|(_, tag1)| *tag1).collect();
        tags.sort_unstable();
        tags.dedup();
        assert_eq!(tags.len(), found.len(), "every record is there once");
        assert_eq!(found.len() % 8, 0, "no group is there in part");
        let again = offer(&mut store, &tags).unwrap();
        let is_known = |outcome: &Insert| matches!(outcome, Insert::Duplicate { .. });
        assert!(again.iter().all(is_known), "every record is known again");
    }
}

/// A limit on the size of files makes writes fail with EFBIG, an I/O error that is not "disk full".
#[test]
fn a_failed_write_leaves_the_store_readable_and_whole() {
    let dir = directory("limit");
    let mut shell = Command::new("sh");
    // Ignoring SIGXFSZ is inherited; without it the signal would end the process.
    shell
        .args(["-c", "trap '' XFSZ; ulimit -f 1000; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap());
    let output = victim(&dir, "limit", shell).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("limit held"),
        "{text}"
    );
    let mut store = SqliteStore::open(&dir.join(FILE_NAME)).unwrap();
    let before = store.record_count().unwrap();
    assert!(before > 0);
    assert!(matches!(
        accept(&mut store, &[new_record(2, b"tag-aaaa")]).as_slice(),
        [Insert::New { .. }]
    ));
    assert_eq!(store.record_count().unwrap(), before + 1);
}

/// A file system of 3 MiB, which needs a mount of one's own: passed over, with a word, where that is not allowed.
#[test]
fn a_full_disk_is_named_and_got_over() {
    let dir = directory("full");
    let script = "mount -t tmpfs -o size=3m tmpfs \"$1\" && shift && exec \"$@\"";
    let mut mount = Command::new("unshare");
    mount
        .args([
            "--user",
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            script,
            "sh",
        ])
        .arg(&dir);
    if !matches!(clone(&mount).arg("true").status(), Ok(status) if status.success()) {
        eprintln!("passed over: no file system can be mounted here");
        return;
    }
    mount.arg(std::env::current_exe().unwrap());
    let output = victim(&dir, "full", mount).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("got over"),
        "{text}"
    );
}

/// Not a test by itself: the child process of the others.
#[test]
fn victim_process() {
    let (Ok(role), Ok(dir)) = (std::env::var(ROLE), std::env::var(DIRECTORY)) else {
        return;
    };
    let dir = Path::new(&dir);
    match role.as_str() {
        "accept" => accept_until_killed(dir),
        "limit" => run_into_limit(dir),
        "full" => run_full(dir),
        _ => unreachable!("{role}"),
    }
}

fn accept_until_killed(dir: &Path) {
    let mut store = SqliteStore::open(&dir.join(FILE_NAME)).unwrap();
    // Killed while keys are on their way to their table as well.
    store.set_unfolded_max(200);
    let mut n = store.record_count().unwrap();
    loop {
        let group = group(n);
        let mut lines = String::from("\n");
        for (tag1, outcome) in group.iter().zip(offer(&mut store, &group).unwrap()) {
            let Insert::New { id } = outcome else {
                unreachable!("{outcome:?}")
            };
            lines += &format!("new {id} {}\n", u64::from_be_bytes(*tag1));
        }
        // One write, after `accept` has returned: what a peer has been answered.
        std::io::stdout()
            .lock()
            .write_all(lines.as_bytes())
            .unwrap();
        n += 8;
    }
}

fn run_into_limit(dir: &Path) {
    let mut store = SqliteStore::open(&dir.join(FILE_NAME)).unwrap();
    let (count, error) = fill(&mut store);
    assert_eq!(error.name(), "io", "{error}");
    for _ in 0..3 {
        let error = offer(&mut store, &group(count)).unwrap_err();
        assert_eq!(error.name(), "io", "{error}");
        assert_eq!(store.record_count().unwrap(), count);
        assert_eq!(
            offer(&mut store, &group(0)).unwrap(),
            vec![Insert::Duplicate { accept: vec![] }; 8]
        );
    }
    println!("limit held");
}

fn run_full(dir: &Path) {
    let ballast = dir.join("ballast");
    std::fs::write(&ballast, vec![1; 1 << 20]).unwrap();
    let mut store = SqliteStore::open(&dir.join(FILE_NAME)).unwrap();
    let (count, error) = fill(&mut store);
    assert!(matches!(error, StoreError::DiskFull), "{error}");
    assert!(matches!(
        offer(&mut store, &group(count)),
        Err(StoreError::DiskFull)
    ));
    assert_eq!(store.record_count().unwrap(), count);
    assert_eq!(
        offer(&mut store, &group(0)).unwrap(),
        vec![Insert::Duplicate { accept: vec![] }; 8]
    );
    std::fs::remove_file(&ballast).unwrap();
    // The same batch again, on the same handle.
    let outcomes = offer(&mut store, &group(count)).unwrap();
    assert!(
        outcomes.iter().all(|o| matches!(o, Insert::New { .. })),
        "{outcomes:?}"
    );
    assert_eq!(store.record_count().unwrap(), count + 8);
    drop(store);
    assert_eq!(
        SqliteStore::open(&dir.join(FILE_NAME))
            .unwrap()
            .record_count()
            .unwrap(),
        count + 8
    );
    println!("got over");
}

/// Accepts groups until one fails; returns how many records went in, and the error.
fn fill(store: &mut SqliteStore) -> (u64, StoreError) {
    let mut n = 0;
    loop {
        if let Err(error) = offer(store, &group(n)) {
            return (n, error);
        }
        n += 8;
    }
}

/// Eight tags, the first of which is `n`.
fn group(n: u64) -> [[u8; 8]; 8] {
    std::array::from_fn(|i| (n + i as u64).to_be_bytes())
}

fn offer(store: &mut SqliteStore, tags: &[[u8; 8]]) -> Result<Vec<Insert>, StoreError> {
    let batch: Vec<NewRecord<'_>> = tags.iter().map(|tag1| new_record(1, tag1)).collect();
    let mut outcomes = Vec::new();
    store.accept(&batch, &mut outcomes).map(|()| outcomes)
}

fn victim(dir: &Path, role: &str, mut command: Command) -> Command {
    command.args([
        "--exact",
        "victim_process",
        "--nocapture",
        "--test-threads=1",
    ]);
    command
        .env(ROLE, role)
        .env(DIRECTORY, dir)
        .stdout(Stdio::piped());
    command
}

fn clone(command: &Command) -> Command {
    let mut copy = Command::new(command.get_program());
    copy.args(command.get_args());
    copy
}

fn parse(rest: &str) -> Option<(i64, [u8; 8])> {
    let (id, tag1) = rest.split_once(' ')?;
    Some((id.parse().ok()?, tag1.parse::<u64>().ok()?.to_be_bytes()))
}
