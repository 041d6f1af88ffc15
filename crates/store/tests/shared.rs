//! The shared store: several processes on one database, and what they do when it fails. Each test is passed over, with a word,
//! where PostgreSQL is not installed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod common;

use ambit_store::{
    ChainRow, EvidenceFaultKind, EvidenceHead, Insert, NewRecord, PostgresStore, PostgresUrl,
    RecordFilter, Store, StoreError,
};
use common::postgres::PostgresServer;
use common::{accept, checkpoint, database, new_device, new_record, records};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const OWNER: [u8; 16] = [7; 16];

fn open(url: &PostgresUrl) -> PostgresStore {
    PostgresStore::open(url, None).unwrap()
}

fn faults(store: &mut PostgresStore) -> Vec<(i64, EvidenceFaultKind)> {
    let mut faults = Vec::new();
    store
        .evidence_verify(&mut |_| true, &mut |f| faults.push((f.record, f.kind)))
        .unwrap();
    faults
}

/// A record of `dev-1`, as the evidence wants it.
fn of_device(tag1: &[u8]) -> NewRecord<'_> {
    NewRecord {
        device_id: b"dev-1",
        ..new_record(1, tag1)
    }
}

#[test]
fn each_writer_numbers_and_links_its_own_and_all_read_all() {
    let Some(url) = database("writers") else {
        return;
    };
    let mut one = open(&url);
    one.devices_insert(&[new_device(b"dev-1")]).unwrap();
    let mut two = open(&url);
    let at = |time_ms, tag1| NewRecord {
        time_ms,
        ..of_device(tag1)
    };
    assert_eq!(
        accept(&mut one, &[at(10, b"tag-0001")]),
        [Insert::New { id: 1 }]
    );
    let base = 1 << 40;
    assert_eq!(
        accept(&mut two, &[at(5, b"tag-0002"), at(30, b"tag-0003")]),
        [Insert::New { id: base + 1 }, Insert::New { id: base + 2 }]
    );
    assert_eq!(
        accept(&mut one, &[at(20, b"tag-0004")]),
        [Insert::New { id: 2 }]
    );
    // The same report, heard by both: the first one's answer.
    let resent = accept(&mut two, &[at(40, b"tag-0001"), at(50, b"tag-0005")]);
    assert_eq!(
        resent,
        [
            Insert::Duplicate { accept: vec![] },
            Insert::New { id: base + 3 }
        ]
    );
    for store in [&mut one, &mut two] {
        let ids: Vec<i64> = records(store, &RecordFilter::default())
            .iter()
            .map(|r| r.id)
            .collect();
        assert_eq!(ids, [base + 1, 1, 2, base + 2, base + 3], "by time");
        assert_eq!(store.record_count().unwrap(), 5);
        assert_eq!(faults(store), []);
    }
    assert_eq!(one.evidence_head().unwrap().record, 2);
    assert_eq!(two.evidence_head().unwrap().record, base + 3);
    let mut of_others = Vec::new();
    one.records_by_others(&[1], 0, 0, &mut |r| of_others.push(r.time_ms))
        .unwrap();
    assert_eq!(of_others, [5, 10, 20, 30, 50]);
}

#[test]
fn a_store_that_one_process_has_for_itself_is_not_asked_about_others() {
    let Some(url) = database("alone") else { return };
    let mut store = open(&url);
    accept(&mut store, &[new_record(1, b"tag-0001")]);
    store
        .records_by_others(&[1], 0, 0, &mut |_| unreachable!())
        .unwrap();
}

#[test]
fn a_process_takes_its_numbering_up_again_and_keeps_its_former_self_out() {
    let Some(url) = database("owner") else { return };
    let mut former = PostgresStore::open(&url, Some(OWNER)).unwrap();
    accept(&mut former, &[of_device(b"tag-0001")]);
    let mut present = PostgresStore::open(&url, Some(OWNER)).unwrap();
    assert_eq!(
        accept(&mut present, &[of_device(b"tag-0002")]),
        [Insert::New { id: 2 }]
    );
    let mut outcomes = Vec::new();
    let refused = former.accept(&[of_device(b"tag-0003")], &mut outcomes);
    assert!(matches!(refused, Err(StoreError::Unusable)), "{refused:?}");
    assert_eq!(present.record_count().unwrap(), 2);
}

#[test]
fn who_follows_one_process_sees_its_records_alone() {
    let Some(url) = database("followed-owner") else {
        return;
    };
    accept(&mut open(&url), &[of_device(b"tag-0001")]);
    let mut follower = PostgresStore::open_records_of(&url, OWNER).unwrap();
    let after = |id| RecordFilter {
        after_id: Some(id),
        ..RecordFilter::default()
    };
    assert!(records(&mut follower, &after(0)).is_empty());
    let mut own = PostgresStore::open(&url, Some(OWNER)).unwrap();
    accept(&mut own, &[of_device(b"tag-0002"), of_device(b"tag-0003")]);
    let ids = |rows: Vec<ambit_store::RecordRow>| rows.iter().map(|r| r.id).collect::<Vec<_>>();
    let first = (1 << 40) + 1;
    assert_eq!(ids(records(&mut follower, &after(0))), [first, first + 1]);
    assert_eq!(ids(records(&mut follower, &after(first))), [first + 1]);
}

#[test]
fn an_altered_or_a_missing_record_is_found_and_located() {
    let Some(url) = database("altered") else {
        return;
    };
    let server = common::server().unwrap();
    let mut store = open(&url);
    store.devices_insert(&[new_device(b"dev-1")]).unwrap();
    for n in 0..6_u64 {
        accept(&mut store, &[of_device(&n.to_be_bytes())]);
    }
    assert_eq!(faults(&mut store), []);
    let alter = |sql| server.sql("altered", sql).unwrap();
    alter("UPDATE record SET time_ms = time_ms + 1 WHERE id = 3");
    assert_eq!(faults(&mut store), [(3, EvidenceFaultKind::Altered)]);
    alter("UPDATE record SET time_ms = time_ms - 1 WHERE id = 3; DELETE FROM record WHERE id = 6");
    assert_eq!(faults(&mut store), [(6, EvidenceFaultKind::Missing)]);
}

#[test]
fn a_process_that_has_accepted_nothing_has_no_head_to_sign() {
    let Some(url) = database("nothing-accepted") else {
        return;
    };
    let mut one = open(&url);
    one.devices_insert(&[new_device(b"dev-1")]).unwrap();
    accept(&mut one, &[of_device(b"tag-0001")]);
    // All it hears was accepted by the other one: it has a number by then, and no record.
    let mut two = open(&url);
    let heard = accept(&mut two, &[of_device(b"tag-0001")]);
    assert_eq!(heard, [Insert::Duplicate { accept: vec![] }]);
    assert_eq!(two.evidence_head().unwrap(), EvidenceHead::default());
    let base = 1 << 40;
    assert_eq!(
        accept(&mut two, &[of_device(b"tag-0002")]),
        [Insert::New { id: base + 1 }]
    );
    // Said by a process of an earlier version: there is nothing yet. It is true.
    let said = |time_ms, link| checkpoint(EvidenceHead { record: base, link }, time_ms);
    one.checkpoint_insert(&said(1, [0; 32])).unwrap();
    assert_eq!(faults(&mut one), []);
    one.checkpoint_insert(&said(2, [1; 32])).unwrap();
    assert_eq!(faults(&mut one), [(base, EvidenceFaultKind::NotAsSigned)]);
}

#[test]
fn a_chain_that_is_taken_out_whole_is_missed_if_it_was_signed() {
    let Some(url) = database("whole") else {
        return;
    };
    let server = common::server().unwrap();
    let (mut one, mut two) = (open(&url), open(&url));
    one.devices_insert(&[new_device(b"dev-1")]).unwrap();
    accept(&mut one, &[of_device(b"tag-0001")]);
    accept(&mut two, &[of_device(b"tag-0002")]);
    let head = two.evidence_head().unwrap();
    two.checkpoint_insert(&checkpoint(head, 0)).unwrap();
    assert_eq!(faults(&mut one), []);
    let sql = "DELETE FROM record WHERE id > 1099511627776; DELETE FROM writer WHERE writer = 1";
    server.sql("whole", sql).unwrap();
    assert_eq!(
        faults(&mut one),
        [(head.record, EvidenceFaultKind::Missing)]
    );
    // Records of nobody, and one after the last of a chain.
    for id in ["1099511627776 * 7 + 1", "2"] {
        let sql = format!(
            "CREATE TABLE was AS SELECT * FROM record; UPDATE was SET id = {id}, tag1 = 'x'; \
             INSERT INTO record SELECT * FROM was; DROP TABLE was"
        );
        server.sql("whole", &sql).unwrap();
        let ids = faults(&mut one)
            .into_iter()
            .map(|(id, _)| id)
            .filter(|id| *id != head.record);
        assert_eq!(ids.count(), 1, "{id}");
        server
            .sql("whole", "DELETE FROM record WHERE tag1 = 'x'")
            .unwrap();
    }
}

#[test]
fn what_is_accepted_and_signed_meanwhile_is_no_fault() {
    let Some(url) = database("meanwhile") else {
        return;
    };
    let (mut one, mut reader) = (open(&url), open(&url));
    one.devices_insert(&[new_device(b"dev-1")]).unwrap();
    let at_work = std::thread::spawn(move || {
        for n in 0..300_u64 {
            accept(&mut one, &[of_device(&n.to_be_bytes())]);
            let head = one.evidence_head().unwrap();
            one.checkpoint_insert(&checkpoint(head, 0)).unwrap();
        }
    });
    while !at_work.is_finished() {
        assert_eq!(faults(&mut reader), []);
    }
    at_work.join().unwrap();
    assert_eq!(reader.record_count().unwrap(), 300);
}

#[test]
fn several_processes_with_the_same_reports_and_counters_accept_each_once() {
    let Some(url) = database("race") else { return };
    let new = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for process in 0..4_u64 {
            let (url, new) = (&url, &new);
            scope.spawn(move || {
                let mut store = open(url);
                for n in 0..40_u64 {
                    // All offer the same tags, in different orders, and counters that only rise.
                    let tags: Vec<[u8; 8]> = (0..16)
                        .map(|i| (n * 16 + (i + process * 5) % 16).to_be_bytes())
                        .collect();
                    let counted = (n * 2 + process % 2).to_be_bytes();
                    let mut batch: Vec<NewRecord<'_>> =
                        tags.iter().map(|tag1| new_record(1, tag1)).collect();
                    batch.push(NewRecord {
                        device: 2,
                        counter: Some(u32::try_from(n * 2 + process % 2).unwrap()),
                        ..new_record(2, &counted)
                    });
                    let outcomes = accept(&mut store, &batch);
                    let is_new = |o: &&Insert| matches!(o, Insert::New { .. });
                    new.fetch_add(
                        outcomes.iter().filter(is_new).count() as u64,
                        Ordering::Relaxed,
                    );
                }
            });
        }
    });
    let mut store = open(&url);
    let all = records(&mut store, &RecordFilter::default());
    assert_eq!(
        all.len() as u64,
        new.load(Ordering::Relaxed),
        "each new one was said once"
    );
    assert_eq!(all.iter().filter(|r| r.device == 1).count(), 640);
    let mut counters: Vec<(i64, Option<u32>)> = all
        .iter()
        .filter(|r| r.device == 2)
        .map(|r| (r.id >> 40, r.counter))
        .collect();
    let count = counters.len();
    counters.sort_unstable();
    counters.dedup();
    assert_eq!(counters.len(), count);
    assert_eq!(store.record_count().unwrap(), all.len() as u64);
}

#[test]
fn processes_that_start_at_once_agree_on_schema_chain_and_names() {
    let Some(url) = database("start") else { return };
    let chain = |first_epoch, seed| ChainRow {
        snid: [1; 9],
        seed_wrapped: vec![seed; 40],
        first_epoch,
        last_epoch: 1 << 20,
        period_s: 600,
        origin_unix_s: 0,
        epoch_issued: first_epoch,
    };
    let seen: Vec<(ChainRow, Vec<u8>)> = std::thread::scope(|scope| {
        let start = |seed: u8| {
            let (url, row) = (&url, chain(100, seed));
            scope.spawn(move || {
                let mut store = open(url);
                let name = store.meta_init("kek_check", &[seed]).unwrap();
                store.chain_insert(&row).unwrap();
                (store.chain(&[1; 9]).unwrap().unwrap(), name)
            })
        };
        let threads: Vec<_> = (0..4).map(start).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert!(seen.iter().all(|one| *one == seen[0]), "{seen:?}");
    let mut store = open(&url);
    store.chain_set_epoch(&[1; 9], 105).unwrap();
    store.chain_insert(&chain(105, 9)).unwrap();
    assert_eq!(store.chain(&[1; 9]).unwrap().unwrap().first_epoch, 100);
    store.chain_insert(&chain(106, 9)).unwrap();
    assert_eq!(store.chain(&[1; 9]).unwrap().unwrap().first_epoch, 106);
}

#[test]
fn a_replica_decides_nothing() {
    let Some(primary) = PostgresServer::start().unwrap() else {
        return;
    };
    let url = PostgresUrl::new(&primary.database("core").unwrap(), None).unwrap();
    accept(&mut open(&url), &[new_record(1, b"tag-0001")]);
    let standby = primary.standby().unwrap();
    let at_standby = PostgresUrl::new(&standby.url("core"), None).unwrap();
    let error = PostgresStore::open(&at_standby, None).unwrap_err();
    assert_eq!(error.name(), "unreachable", "{error}");
    // The control: it is up and answers whoever only reads.
    assert_eq!(
        standby
            .sql("core", "SELECT count(*) FROM record")
            .unwrap()
            .trim(),
        "1"
    );
    // Of several hosts the one that takes writes is found, in whatever place it stands.
    let both = format!(
        "postgres://ambit@127.0.0.1:{},127.0.0.1:{}/core",
        standby.port(),
        primary.port()
    );
    let mut store = open(&PostgresUrl::new(&both, None).unwrap());
    assert_eq!(store.record_count().unwrap(), 1);
}

/// Offers batches to a store until told to stop, as an ADM does: what fails is offered again. Returns each tag that was
/// answered with what it was answered, and the longest time without service.
fn offer_until(
    stop: &AtomicBool,
    url: &PostgresUrl,
    process: u32,
    said: &AtomicU64,
) -> (HashMap<[u8; 8], Insert>, Duration) {
    let mut store = PostgresStore::open(url, None).unwrap();
    let mut answered = HashMap::new();
    let (mut longest, mut since) = (Duration::ZERO, Instant::now());
    let mut n = 0_u32;
    while !stop.load(Ordering::Relaxed) {
        let tags: Vec<[u8; 8]> = (0..32_u32)
            .map(|i| (u64::from(process) << 40 | u64::from(n * 32 + i)).to_be_bytes())
            .collect();
        let batch: Vec<NewRecord<'_>> = tags.iter().map(|tag1| of_device(tag1)).collect();
        let mut outcomes = Vec::new();
        match store.accept(&batch, &mut outcomes) {
            Ok(()) => {
                answered.extend(tags.into_iter().zip(outcomes));
                longest = longest.max(since.elapsed());
                since = Instant::now();
                said.fetch_add(1, Ordering::Relaxed);
                n += 1;
            }
            Err(StoreError::Unreachable { .. }) => {
                assert!(outcomes.is_empty());
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) => unreachable!("{error}"),
        }
    }
    (answered, longest)
}

/// Everything answered is on record once; everything on record was answered or offered; the chains hold.
fn judge(url: &PostgresUrl, answered: &[(HashMap<[u8; 8], Insert>, Duration)], what: &str) {
    let mut store = open(url);
    store.devices_insert(&[new_device(b"dev-1")]).unwrap();
    let mut found: HashMap<Vec<u8>, i64> = HashMap::new();
    for row in records(&mut store, &RecordFilter::default()) {
        assert!(found.insert(row.tag1, row.id).is_none(), "accepted twice");
    }
    let mut count = 0;
    for (tag1, insert) in answered.iter().flat_map(|(answered, _)| answered) {
        let id = found.get(&tag1[..]).expect("answered and lost");
        if let Insert::New { id: said } = insert {
            assert_eq!(said, id);
        }
        count += 1;
    }
    assert!(count > 100, "hardly anything happened");
    assert_eq!(faults(&mut store), []);
    let longest = answered.iter().map(|(_, longest)| *longest).max().unwrap();
    println!(
        "{what}: {count} answered, {} on record, longest time without service {longest:?}",
        found.len()
    );
}

fn wait_for(said: &AtomicU64, more: u64) {
    let (from, until) = (
        said.load(Ordering::Relaxed),
        Instant::now() + Duration::from_secs(60),
    );
    while said.load(Ordering::Relaxed) < from + more {
        assert!(Instant::now() < until, "no service");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_database_killed_again_and_again_loses_nothing_and_takes_nothing_twice() {
    let Some(server) = PostgresServer::start().unwrap() else {
        return;
    };
    let url = PostgresUrl::new(&server.database("core").unwrap(), None).unwrap();
    open(&url);
    let (stop, said) = (AtomicBool::new(false), AtomicU64::new(0));
    let answered: Vec<_> = std::thread::scope(|scope| {
        let offer = |process| {
            let (stop, said, url) = (&stop, &said, &url);
            scope.spawn(move || offer_until(stop, url, process, said))
        };
        let threads: Vec<_> = (0..2).map(offer).collect();
        for _ in 0..4 {
            wait_for(&said, 40);
            server.crash().unwrap();
            server.restart().unwrap();
        }
        wait_for(&said, 40);
        stop.store(true, Ordering::Relaxed);
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    judge(&url, &answered, "database killed 4 times");
}

#[test]
fn a_standby_promoted_in_place_of_its_primary_has_all_that_was_answered() {
    let Some(primary) = PostgresServer::start().unwrap() else {
        return;
    };
    primary.database("core").unwrap();
    let standby = primary.standby().unwrap();
    primary.wait_for_standby().unwrap();
    let both = format!(
        "postgres://ambit@127.0.0.1:{},127.0.0.1:{}/core",
        primary.port(),
        standby.port()
    );
    let url = PostgresUrl::new(&both, None).unwrap();
    open(&url);
    let (stop, said) = (AtomicBool::new(false), AtomicU64::new(0));
    let answered: Vec<_> = std::thread::scope(|scope| {
        let offer = |process| {
            let (stop, said, url) = (&stop, &said, &url);
            scope.spawn(move || offer_until(stop, url, process, said))
        };
        let threads: Vec<_> = (0..2).map(offer).collect();
        wait_for(&said, 60);
        primary.crash().unwrap();
        standby.promote().unwrap();
        wait_for(&said, 60);
        stop.store(true, Ordering::Relaxed);
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    judge(&url, &answered, "primary killed, standby promoted");
}

/// The control of the one before: a standby that was not waited for may lack what was answered, and then this is seen.
#[test]
fn a_database_that_went_back_is_noticed_and_its_numbers_are_not_used_again() {
    let Some(url) = database("back") else { return };
    let server = common::server().unwrap();
    let mut store = PostgresStore::open(&url, Some(OWNER)).unwrap();
    accept(&mut store, &[of_device(b"tag-0001")]);
    server
        .sql(
            "back",
            "CREATE TABLE copy_record AS TABLE record; CREATE TABLE copy_writer AS TABLE writer",
        )
        .unwrap();
    accept(&mut store, &[of_device(b"tag-0002")]);
    server
        .sql(
            "back",
            "DELETE FROM record; INSERT INTO record SELECT * FROM copy_record; \
             DELETE FROM writer; INSERT INTO writer SELECT * FROM copy_writer; \
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'ambit'",
        )
        .unwrap();
    let mut outcomes = Vec::new();
    let error = loop {
        match store.accept(&[of_device(b"tag-0003")], &mut outcomes) {
            Err(StoreError::Unreachable { .. }) => {}
            other => break other.unwrap_err(),
        }
    };
    assert!(
        matches!(error, StoreError::WentBack { first: 2 }),
        "{error}"
    );
    assert!(outcomes.is_empty());
    // Said once; then under numbers of its own.
    assert_eq!(
        accept(&mut store, &[of_device(b"tag-0003")]),
        [Insert::New { id: (1 << 40) + 1 }]
    );
}

/// A wire between a process and the database that can be cut: connections stay open and nothing comes through.
struct Wire {
    port: u16,
    is_cut: Arc<AtomicBool>,
}

impl Wire {
    fn new(to: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let is_cut = Arc::new(AtomicBool::new(false));
        let cut = is_cut.clone();
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let Ok(far) = TcpStream::connect(("127.0.0.1", to)) else {
                    continue;
                };
                for (mut from, mut to) in [
                    (near.try_clone().unwrap(), far.try_clone().unwrap()),
                    (far, near),
                ] {
                    let cut = cut.clone();
                    std::thread::spawn(move || {
                        let mut octets = [0; 65536];
                        while let Ok(n @ 1..) = from.read(&mut octets) {
                            // What comes while the wire is cut is lost, and the connection with it.
                            if cut.load(Ordering::Relaxed) {
                                while cut.load(Ordering::Relaxed) {
                                    std::thread::sleep(Duration::from_millis(5));
                                }
                                break;
                            }
                            if to.write_all(&octets[..n]).is_err() {
                                break;
                            }
                        }
                        let _ = to.shutdown(Shutdown::Both);
                        let _ = from.shutdown(Shutdown::Both);
                    });
                }
            }
        });
        Self { port, is_cut }
    }
}

#[test]
fn a_network_cut_in_the_middle_of_commits_leaves_no_doubt_behind() {
    let Some(server) = PostgresServer::start().unwrap() else {
        return;
    };
    let direct = PostgresUrl::new(&server.database("core").unwrap(), None).unwrap();
    open(&direct);
    let wire = Wire::new(server.port());
    let through = format!("postgres://ambit@127.0.0.1:{}/core", wire.port);
    let through = PostgresUrl::new(&through, None).unwrap();
    let (stop, said) = (AtomicBool::new(false), AtomicU64::new(0));
    let answered: Vec<_> = std::thread::scope(|scope| {
        let offer = |process| {
            let (stop, said, url) = (&stop, &said, &through);
            scope.spawn(move || offer_until(stop, url, process, said))
        };
        let threads: Vec<_> = (0..2).map(offer).collect();
        // Short cuts, which the process does not see as such, and one longer than its patience.
        for cut_ms in [20, 200, 50, 7000, 100] {
            wait_for(&said, 20);
            wire.is_cut.store(true, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(cut_ms));
            wire.is_cut.store(false, Ordering::Relaxed);
        }
        wait_for(&said, 20);
        stop.store(true, Ordering::Relaxed);
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    judge(&direct, &answered, "network cut 5 times, once for 7 s");
}
