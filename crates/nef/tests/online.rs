//! One event at the CHF for each new acceptance, and none otherwise, whatever CHF and process do.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ambit_nef::online::{
    ChfAnswer, Online, OnlineConfig, OnlineError, REFUSED_MAX, Tariff, WINDOW,
};
use ambit_store::{RecordFilter, SqliteStore, Store};
use common::{NOW_MS, Report, accept, add_devices, store};
use serde_json::{Value, json};
use tempfile::TempDir;

fn config(dir: &Path) -> OnlineConfig {
    let tariff = Tariff {
        af: Some("af-1".into()),
        rating_group: Some(7),
    };
    OnlineConfig {
        dir: dir.into(),
        nf_name: "5a1f7c9e-0000-4000-8000-000000000001".into(),
        mcc: "001".into(),
        mnc: "01".into(),
        nid: None,
        rating_group: 1,
        fleets: HashMap::from([("pallets".into(), tariff)]),
        is_adopted: false,
        journal_octets_max: 3000,
        after_record: 0,
    }
}

/// `count` records of four devices, every fifth a repeat; every seventh is offered twice. Returns the ids of those to charge.
fn fill(store: &mut dyn Store, count: i64) -> Vec<i64> {
    let mut charged = Vec::new();
    for n in 0..count {
        let report = Report {
            device: n % 4 + 1,
            repeat: n % 5 == 4,
            time_ms: NOW_MS + n,
            ..Report::default()
        };
        accept(store, report, n.unsigned_abs());
        if n % 7 == 0 {
            accept(store, report, n.unsigned_abs());
        }
        if !report.repeat {
            charged.push(n + 1);
        }
    }
    charged
}

/// A CHF that remembers what it took: by key, the requests.
#[derive(Default)]
struct Chf {
    taken: BTreeMap<String, Vec<Value>>,
}

impl Chf {
    fn take(&mut self, body: &Value) {
        self.taken.entry(key(body)).or_default().push(body.clone());
    }

    /// The records charged, in the order of their numbers; each key has one number and one record.
    fn records(&self) -> Vec<i64> {
        let mut numbered = BTreeMap::new();
        for requests in self.taken.values() {
            let number = requests[0]["invocationSequenceNumber"].as_u64().unwrap();
            for request in requests {
                assert_eq!(request["invocationSequenceNumber"], number);
                assert_eq!(record(request), record(&requests[0]));
            }
            for again in &requests[1..] {
                assert_eq!(again["retransmissionIndicator"], true);
            }
            assert!(
                numbered.insert(number, record(&requests[0])).is_none(),
                "{number} stands once"
            );
        }
        numbered.into_values().collect()
    }
}

fn key(body: &Value) -> String {
    let key = &body["nEFChargingInformation"]["aPIReference"];
    key.as_str().unwrap().to_owned()
}

fn content(body: &Value) -> Value {
    let text = body["nEFChargingInformation"]["aPIContent"].as_str();
    serde_json::from_str(text.unwrap()).unwrap()
}

fn record(body: &Value) -> i64 {
    content(body)["record"].as_i64().unwrap()
}

fn failed() -> ChfAnswer {
    ChfAnswer::Failed {
        name: "chf_status",
        message: "503".into(),
        retry_after: None,
    }
}

fn refused() -> ChfAnswer {
    ChfAnswer::Refused {
        reason: "403 QUOTA_LIMIT_REACHED".into(),
    }
}

/// Lets a CHF that takes everything have all there is.
fn drain(online: &mut Online, store: &mut dyn Store, chf: &mut Chf, now_ms: &mut i64) {
    try_drain(online, store, chf, now_ms).unwrap();
}

fn try_drain(
    online: &mut Online,
    store: &mut dyn Store,
    chf: &mut Chf,
    now_ms: &mut i64,
) -> Result<(), OnlineError> {
    loop {
        let due = online.poll(store, *now_ms)?;
        if due.is_empty() && online.refused() == 0 && *now_ms >= online.not_before_ms() {
            return Ok(());
        }
        let answers = due.iter().map(|due| {
            chf.take(&due.body);
            (due.event, ChfAnswer::Taken)
        });
        let answers = answers.collect();
        online.answers(answers, *now_ms)?;
        // Whatever waits is due some day.
        *now_ms += 3_600_000;
    }
}

fn run(dir: &Path, store: &mut dyn Store, chf: &mut Chf) -> Result<(), OnlineError> {
    let mut online = Online::open(config(dir))?;
    try_drain(&mut online, store, chf, &mut NOW_MS.clone())
}

#[test]
fn one_event_for_each_new_acceptance_and_none_for_repeats_and_duplicates() {
    let dir = TempDir::new().unwrap();
    let mut store = store(4);
    let expected = fill(&mut store, 200);
    let mut chf = Chf::default();
    run(dir.path(), &mut store, &mut chf).unwrap();
    assert_eq!(chf.records(), expected);
    let numbers: Vec<u64> = (1..=expected.len() as u64).collect();
    let of_chf: std::collections::BTreeSet<u64> = chf
        .taken
        .values()
        .map(|requests| requests[0]["invocationSequenceNumber"].as_u64().unwrap())
        .collect();
    assert_eq!(of_chf.into_iter().collect::<Vec<_>>(), numbers, "no gap");
    run(dir.path(), &mut store, &mut chf).unwrap();
    assert!(
        chf.taken.values().all(|requests| requests.len() == 1),
        "nothing again"
    );

    let first = chf.taken.values().map(|requests| &requests[0]);
    let first = first.min_by_key(|request| record(request)).unwrap();
    assert_eq!(first["oneTimeEventType"], "PEC");
    assert_eq!(
        first["nfConsumerIdentification"]["nodeFunctionality"],
        "AIOTF"
    );
    assert_eq!(first["tenantIdentifier"], "af-1");
    assert_eq!(first["multipleUnitUsage"][0]["ratingGroup"], 7);
    let used = &first["multipleUnitUsage"][0]["usedUnitContainer"][0];
    assert_eq!(
        (&used["uplinkVolume"], &used["serviceId"]),
        (&json!(6), &json!(2))
    );
    assert!(first.get("retransmissionIndicator").is_none());
    assert_eq!(content(first)["device_id"], hex::encode("d1"));
}

/// Answers fail, are lost, refuse; the process dies between any two steps. In the end every event is there, under one key and
/// one number.
#[test]
fn whatever_chf_and_process_do_nothing_is_lost_or_charged_twice() {
    let (mut deaths, mut repeats) = (0, 0);
    for seed in 0..24 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let dir = TempDir::new().unwrap();
        let mut store = store(4);
        let expected = fill(&mut store, rng.i64(1..300));
        let mut chf = Chf::default();
        let mut now_ms = NOW_MS;
        let mut online = Online::open(config(dir.path())).unwrap();
        for _ in 0..rng.u32(1..40) {
            let due = online.poll(&mut store, now_ms).unwrap();
            assert!(due.len() <= WINDOW + WINDOW / 4);
            let mut answers = Vec::new();
            for due in due {
                let answer = match rng.u8(..10) {
                    0..5 => {
                        chf.take(&due.body);
                        ChfAnswer::Taken
                    }
                    5 | 6 => {
                        chf.take(&due.body);
                        failed()
                    }
                    7 | 8 => failed(),
                    _ => refused(),
                };
                answers.push((due.event, answer));
            }
            rng.shuffle(&mut answers);
            if rng.u8(..5) == 0 {
                deaths += 1;
                if rng.bool() {
                    online.answers(answers, now_ms).unwrap();
                }
                drop(online);
                online = Online::open(config(dir.path())).unwrap();
            } else {
                online.answers(answers, now_ms).unwrap();
            }
            now_ms += rng.i64(0..60_000);
        }
        drain(&mut online, &mut store, &mut chf, &mut now_ms);
        assert_eq!(chf.records(), expected, "seed {seed}");
        repeats += chf
            .taken
            .values()
            .filter(|requests| requests.len() > 1)
            .count();
    }
    assert!(deaths > 20 && repeats > 50, "{deaths} {repeats}");
}

#[test]
fn a_journal_cut_after_any_octet_loses_and_doubles_nothing() {
    let mut store = store(4);
    let expected = fill(&mut store, 30);
    let whole = TempDir::new().unwrap();
    let mut chf = Chf::default();
    run(whole.path(), &mut store, &mut chf).unwrap();
    let journal = newest(whole.path());
    let text = fs::read(&journal).unwrap();
    let head = text.iter().position(|octet| *octet == b'\n').unwrap();
    // A step that is prime to what a line has.
    for len in (head + 1..=text.len()).step_by(11) {
        fs::write(&journal, &text[..len]).unwrap();
        run(whole.path(), &mut store, &mut chf).unwrap();
        assert_eq!(chf.records(), expected, "cut to {len} octets");
    }
    // The first line is durable before the file has its name: without it, somebody was at the file.
    fs::write(&journal, &text[..head / 2]).unwrap();
    let error = Online::open(config(whole.path())).unwrap_err();
    assert_eq!(error.name(), "charging_damaged", "{error}");
}

fn newest(dir: &Path) -> PathBuf {
    let files = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    files.max().unwrap()
}

#[test]
fn a_refused_event_waits_over_a_restart_holds_up_nobody_and_is_taken_in_the_end() {
    let dir = TempDir::new().unwrap();
    let mut store = store(4);
    let expected = fill(&mut store, 100);
    let mut chf = Chf::default();
    let mut online = Online::open(config(dir.path())).unwrap();
    let mut told = Vec::new();
    loop {
        let due = online.poll(&mut store, NOW_MS).unwrap();
        if due.is_empty() {
            break;
        }
        let answers = due.into_iter().map(|due| match due.event {
            3 | 17 => (due.event, refused()),
            event => {
                chf.take(&due.body);
                (event, ChfAnswer::Taken)
            }
        });
        let answers = answers.collect();
        told.extend(online.answers(answers, NOW_MS).unwrap().refused);
    }
    let events: Vec<u64> = told.iter().map(|refusal| refusal.mark.event).collect();
    assert_eq!(events, [3, 17]);
    assert_eq!((online.refused(), chf.taken.len()), (2, expected.len() - 2));
    assert_eq!(online.through().event, expected.len() as u64);
    drop(online);
    let mut online = Online::open(config(dir.path())).unwrap();
    assert_eq!(online.refused(), 2);
    drain(&mut online, &mut store, &mut chf, &mut NOW_MS.clone());
    assert_eq!(chf.records(), expected);
}

#[test]
fn when_too_many_are_refused_charging_stands_still_and_says_so() {
    let dir = TempDir::new().unwrap();
    let mut store = store(4);
    let more = i64::try_from(REFUSED_MAX).unwrap() + 100;
    let expected = fill(&mut store, more * 5 / 4);
    let mut chf = Chf::default();
    let mut online = Online::open(config(dir.path())).unwrap();
    let mut now_ms = NOW_MS;
    let halted = loop {
        let due = online.poll(&mut store, now_ms).unwrap();
        let answers = due.into_iter().map(|due| (due.event, refused())).collect();
        if let Some((name, _)) = online.answers(answers, now_ms).unwrap().halted {
            break name;
        }
        now_ms += 40;
    };
    assert_eq!(halted, "charging_event_refused");
    assert_eq!(online.refused(), REFUSED_MAX);
    drain(&mut online, &mut store, &mut chf, &mut now_ms);
    assert_eq!(chf.records(), expected);
}

#[test]
fn an_event_that_the_chf_cannot_stand_does_not_hold_up_the_others_for_ever() {
    let dir = TempDir::new().unwrap();
    let mut store = store(4);
    let expected = fill(&mut store, 300);
    let mut chf = Chf::default();
    let mut online = Online::open(config(dir.path())).unwrap();
    let mut now_ms = NOW_MS;
    for _ in 0..200 {
        let due = online.poll(&mut store, now_ms).unwrap();
        let answers = due.into_iter().map(|due| match due.event {
            5 => (5, failed()),
            event => {
                chf.take(&due.body);
                (event, ChfAnswer::Taken)
            }
        });
        let answers = answers.collect();
        online.answers(answers, now_ms).unwrap();
        now_ms += 1_000;
    }
    assert_eq!(chf.taken.len(), expected.len() - 1);
    drain(&mut online, &mut store, &mut chf, &mut now_ms);
    assert_eq!(chf.records(), expected);
}

#[test]
fn a_chf_that_is_down_is_asked_ever_more_seldom_and_left_alone_as_long_as_it_asks() {
    let dir = TempDir::new().unwrap();
    let mut store = store(4);
    fill(&mut store, 300);
    let mut online = Online::open(config(dir.path())).unwrap();
    let (mut now_ms, mut requests, mut halted_at) = (NOW_MS, 0, None);
    for _ in 0..36_000 {
        let due = online.poll(&mut store, now_ms).unwrap();
        requests += due.len();
        let answers = due.into_iter().map(|due| (due.event, failed())).collect();
        let round = online.answers(answers, now_ms).unwrap();
        halted_at = halted_at.or(round.halted.map(|_| now_ms));
        now_ms += 100;
    }
    assert!(halted_at.unwrap() < NOW_MS + 5_000);
    // An hour: three rounds of a window, then one at a time, every half a minute at most.
    assert!((WINDOW..WINDOW * 3 + 260).contains(&requests), "{requests}");
    let later_ms = now_ms + 60_000;
    let due = online.poll(&mut store, later_ms).unwrap();
    let answer = ChfAnswer::Failed {
        name: "chf_status",
        message: "429".into(),
        retry_after: Some(Duration::from_secs(86_400)),
    };
    online
        .answers(vec![(due[0].event, answer)], later_ms)
        .unwrap();
    assert_eq!(online.not_before_ms(), later_ms + 60_000, "within bounds");
}

/// A copy of the store is put back, and goes on with records of its own.
#[test]
fn over_a_restored_store_each_record_has_one_event_and_no_number_is_used_again() {
    for seed in 0..24 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let dir = TempDir::new().unwrap();
        let mut original = SqliteStore::in_memory().unwrap();
        add_devices(&mut original, 1);
        let mut copy = SqliteStore::in_memory().unwrap();
        add_devices(&mut copy, 1);
        let (all, common) = (rng.u64(2..80), rng.u64(1..80));
        for tag in 0..all {
            accept(&mut original, Report::default(), tag);
            if tag < common {
                accept(&mut copy, Report::default(), tag);
            }
        }
        let mut chf = Chf::default();
        let mut online = Online::open(config(dir.path())).unwrap();
        // Some taken, some taken and not known to be, some refused, some not sent.
        for _ in 0..rng.u8(1..4) {
            let due = online.poll(&mut original, NOW_MS).unwrap();
            let answers = due.into_iter().map(|due| {
                let answer = match rng.u8(..4) {
                    0 => failed(),
                    1 => refused(),
                    _ => ChfAnswer::Taken,
                };
                if answer == ChfAnswer::Taken || rng.bool() && answer == failed() {
                    chf.take(&due.body);
                }
                (due.event, answer)
            });
            let answers = answers.collect();
            online.answers(answers, NOW_MS).unwrap();
        }
        drop(online);
        for tag in 100..115 {
            accept(&mut copy, Report::default(), tag);
        }
        let mut online = Online::open(config(dir.path())).unwrap();
        let mut now_ms = NOW_MS;
        drain(&mut online, &mut copy, &mut chf, &mut now_ms);
        chf.records();
        // Every record of the store that is there now, under the link it has, and once.
        let mut links = Vec::new();
        copy.records_for_each(&RecordFilter::default(), &mut |row| {
            links.push(hex::encode(row.link));
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
        let mut sent: Vec<Value> = Vec::new();
        for requests in chf.taken.values() {
            sent.push(content(&requests[0])["link"].clone());
        }
        for link in &links {
            let times = sent.iter().filter(|sent| *sent == link).count();
            assert_eq!(times, 1, "seed {seed}");
        }
    }
}

#[test]
fn a_store_of_another_history_is_told_where_the_journal_does_not_reach_back() {
    let dir = TempDir::new().unwrap();
    let mut original = store(4);
    fill(&mut original, 2000);
    run(dir.path(), &mut original, &mut Chf::default()).unwrap();
    let files = fs::read_dir(dir.path()).unwrap().count();
    assert!(files <= 8, "{files} files are kept");
    let error = run(dir.path(), &mut store(4), &mut Chf::default()).unwrap_err();
    assert_eq!(error.name(), "charging_other_history", "{error}");
}

#[test]
fn sending_may_begin_behind_a_record() {
    let dir = TempDir::new().unwrap();
    let mut store = store(4);
    let expected = fill(&mut store, 50);
    let mut chf = Chf::default();
    let config = OnlineConfig {
        after_record: 20,
        ..config(dir.path())
    };
    let mut online = Online::open(config).unwrap();
    drain(&mut online, &mut store, &mut chf, &mut NOW_MS.clone());
    let later = expected.into_iter().filter(|record| *record > 20);
    assert_eq!(chf.records(), later.collect::<Vec<_>>());
}

/// Each request against 3GPP's own file, where it is at hand.
#[test]
fn requests_are_as_ts_32_291_has_them() {
    const NAME: &str = "TS32291_Nchf_ConvergedCharging.json";
    let dir = std::env::var_os("AMBIT_SPECS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/specs"),
        PathBuf::from,
    );
    let Ok(text) = fs::read(dir.join(NAME)) else {
        eprintln!("skipped: {NAME} is not in {} (AMBIT_SPECS)", dir.display());
        return;
    };
    let file: Value = serde_json::from_slice(&text).unwrap();
    let schema = json!({
        "$ref": "#/components/schemas/ChargingDataRequest",
        "components": file["components"],
    });
    let validator = jsonschema::draft4::new(&schema).unwrap();
    let properties = &file["components"]["schemas"]["ChargingDataRequest"]["properties"];
    let exposure = &file["components"]["schemas"]["NEFChargingInformation"]["properties"];
    let temporary = TempDir::new().unwrap();
    let mut store = store(4);
    fill(&mut store, 40);
    let mut checked = 0;
    for nid in [None, Some("000007ed9d5".to_owned())] {
        let config = OnlineConfig {
            nid,
            ..config(&temporary.path().join(checked.to_string()))
        };
        for _ in 0..2 {
            let mut online = Online::open(config.clone()).unwrap();
            for due in online.poll(&mut store, NOW_MS).unwrap() {
                let errors: Vec<String> = validator
                    .iter_errors(&due.body)
                    .map(|error| format!("{}: {error}", error.instance_path()))
                    .collect();
                assert!(errors.is_empty(), "{errors:?} in {}", due.body);
                // The schema lets unknown attributes through: there are none.
                let names = due.body.as_object().unwrap().keys();
                assert!(names.clone().all(|name| properties.get(name).is_some()));
                let names = due.body["nEFChargingInformation"]
                    .as_object()
                    .unwrap()
                    .keys();
                assert!(names.clone().all(|name| exposure.get(name).is_some()));
                checked += 1;
            }
        }
    }
    assert!(checked > 100);
    let mut bad = json!({ "invocationSequenceNumber": -1 });
    assert!(!validator.is_valid(&bad), "the judge can say no");
    bad["nfConsumerIdentification"] = json!({ "nodeFunctionality": "AIOTF" });
    assert!(!validator.is_valid(&bad));
}
