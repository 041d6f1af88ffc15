//! The evidence chain: whole while nobody meddles, broken at the very record where somebody did.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use ambit_store::evidence::{link, record_digest, record_from_octets, record_octets};
use ambit_store::{
    EvidenceFaultKind, EvidenceHead, FILE_NAME, Insert, NewRecord, RecordFilter, RecordRow,
    SqliteStore, Store,
};
use common::{accept, checkpoint, directory, new_device, new_record, on_each, records};
use rusqlite::Connection;
use std::path::Path;

/// A device and `count` records of it, of every shape a record has.
fn fill(store: &mut dyn Store, count: u32) {
    store.devices_insert(&[new_device(b"dev-1")]).unwrap();
    for n in 0..count {
        let tag1 = (u64::from(n) << 40 | 0x0500_0000).to_be_bytes();
        let record = NewRecord {
            device_id: b"dev-1",
            epoch: 1000 + n,
            form: u8::from(n % 3 == 0),
            counter: (n % 3 == 0).then_some(n),
            repeat: n % 5 == 4,
            accept: &[2, 0, 9][..(n % 4) as usize],
            ..new_record(1, &tag1[..if n % 2 == 0 { 8 } else { 4 }])
        };
        assert!(matches!(accept(store, &[record])[..], [Insert::New { .. }]));
    }
}

fn faults(store: &mut dyn Store) -> Vec<(i64, EvidenceFaultKind)> {
    let mut faults = Vec::new();
    store
        .evidence_verify(&mut |c| c.signature != [0; 64], &mut |fault| {
            faults.push((fault.record, fault.kind));
        })
        .unwrap();
    faults
}

#[test]
fn records_are_linked_as_the_text_says() {
    on_each("evidence-links", |store| {
        fill(store, 7);
        let all = records(store, &RecordFilter::default());
        let mut before = [0; 32];
        for row in &all {
            assert_eq!(row.link, link(&before, &record_digest(row)));
            before = row.link;
            let read = record_from_octets(&record_octets(row)).unwrap();
            assert_eq!(
                RecordRow {
                    link: row.link,
                    ..read
                },
                *row
            );
        }
        let octets = record_octets(&all[0]);
        assert!((0..octets.len()).all(|n| record_from_octets(&octets[..n]).is_none()));
        assert!(record_from_octets(&[&octets[..], &[0]].concat()).is_none());
        let head = EvidenceHead {
            record: 7,
            link: before,
        };
        assert_eq!(store.evidence_head().unwrap(), head);
        assert_eq!(faults(store), []);
        let octets = record_octets(&all[0]);
        assert!(
            octets.starts_with(b"ambit record 1\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01\x05dev-1")
        );
    });
}

#[test]
fn a_duplicate_and_a_refused_record_leave_the_chain_alone() {
    on_each("evidence-duplicate", |store| {
        fill(store, 4);
        let head = store.evidence_head().unwrap();
        let again = NewRecord {
            counter: Some(0),
            ..new_record(1, b"tag-aaaa")
        };
        assert_eq!(
            accept(store, &[again]),
            [Insert::StaleCounter { last: 3 }],
            "refused"
        );
        assert_eq!(store.evidence_head().unwrap(), head);
        assert_eq!(
            accept(
                store,
                &[new_record(1, b"tag-bbbb"), new_record(1, b"tag-bbbb")]
            )[0],
            Insert::New { id: 5 }
        );
        assert_eq!(
            faults(store),
            [(5, EvidenceFaultKind::Altered)],
            "no device_id was given"
        );
    });
}

#[test]
fn several_writers_make_one_chain() {
    let path = directory("evidence-writers").join(FILE_NAME);
    fill(&mut SqliteStore::open(&path).unwrap(), 0);
    std::thread::scope(|scope| {
        for writer in 0..4u32 {
            let path = &path;
            scope.spawn(move || {
                let mut store = SqliteStore::open(path).unwrap();
                for n in 0..50u32 {
                    let tags = [[writer, n, 0], [writer, n, 1]].map(|t| t.map(u32::to_be_bytes));
                    let batch = tags.each_ref().map(|tag1| NewRecord {
                        device_id: b"dev-1",
                        ..new_record(1, &tag1.as_flattened()[..8])
                    });
                    // The second of each pair is a duplicate of the first.
                    accept(&mut store, &batch);
                }
            });
        }
    });
    let mut store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.evidence_head().unwrap().record, 200);
    assert_eq!(faults(&mut store), []);
}

/// Each bit of each column of one record, and of the device ID it belongs to.
#[test]
fn any_bit_flipped_in_a_record_is_found_and_located() {
    let path = directory("evidence-bits").join(FILE_NAME);
    fill(&mut SqliteStore::open(&path).unwrap(), 12);
    let meddler = Connection::open(&path).unwrap();
    meddler.execute_batch("PRAGMA synchronous = OFF").unwrap();
    let mut flips = 0;
    for column in [
        "device",
        "epoch",
        "tag1",
        "form",
        "area_id",
        "nonce",
        "cause",
        "seq",
        "data",
        "accept",
        "time_ms",
        "repeat",
        "gnb_id",
        "reader_index",
        "counter",
        "link",
    ] {
        let kind: String = meddler
            .query_row(
                &format!("SELECT typeof({column}) FROM record WHERE id = 4"),
                [],
                |row| row.get(0),
            )
            .unwrap();
        let bits = match kind.as_str() {
            "integer" => 64,
            "blob" => meddler
                .query_row(
                    &format!("SELECT length({column}) * 8 FROM record WHERE id = 4"),
                    [],
                    |row| row.get(0),
                )
                .unwrap(),
            other => unreachable!("{column} is {other}"),
        };
        for bit in 0..bits {
            flip(&meddler, column, &kind, bit);
            let mut store = SqliteStore::open_read_only(&path).unwrap();
            let found = faults(&mut store);
            assert_eq!(
                found.first(),
                Some(&(4, EvidenceFaultKind::Altered)),
                "bit {bit} of {column}: {found:?}"
            );
            // A link stands in two places: where it ends and where the next one begins.
            assert_eq!(
                found.len(),
                if column == "link" { 2 } else { 1 },
                "{found:?} {column} {bit}"
            );
            flip(&meddler, column, &kind, bit);
            flips += 1;
        }
    }
    assert!(flips > 1000, "{flips}");
    let mut store = SqliteStore::open_read_only(&path).unwrap();
    assert_eq!(faults(&mut store), []);
    meddler
        .execute_batch("UPDATE device SET device_id = x'6465762d32'")
        .unwrap();
    let mut store = SqliteStore::open_read_only(&path).unwrap();
    assert_eq!(
        faults(&mut store).len(),
        12,
        "records given to another device"
    );
}

fn flip(meddler: &Connection, column: &str, kind: &str, bit: i64) {
    if kind == "integer" {
        // XOR, of which SQLite has none.
        let sql =
            format!("UPDATE record SET {column} = ({column} | ?1) - ({column} & ?1) WHERE id = 4");
        let mask = 1u64.wrapping_shl(u32::try_from(bit).unwrap()).cast_signed();
        if mask == i64::MIN {
            let sql = format!(
                "UPDATE record SET {column} = CASE WHEN {column} < 0 THEN ({column} + 9223372036854775807) + 1 ELSE ({column} - 9223372036854775807) - 1 END WHERE id = 4"
            );
            meddler.execute(&sql, []).unwrap();
        } else {
            meddler.execute(&sql, [mask]).unwrap();
        }
        return;
    }
    let read = format!("SELECT {column} FROM record WHERE id = 4");
    let mut octets: Vec<u8> = meddler.query_row(&read, [], |row| row.get(0)).unwrap();
    octets[usize::try_from(bit / 8).unwrap()] ^= 1 << (bit % 8);
    let write = format!("UPDATE record SET {column} = ?1 WHERE id = 4");
    meddler.execute(&write, [octets]).unwrap();
}

/// The same on the file's octets: every bit of the cell that holds a record, header and all.
#[test]
fn any_bit_flipped_in_the_file_s_record_is_found() {
    let path = directory("evidence-file").join(FILE_NAME);
    let mut store = SqliteStore::open(&path).unwrap();
    fill(&mut store, 12);
    drop(store);
    // Leaves no copy of a record on a page from which it has moved.
    Connection::open(&path)
        .unwrap()
        .execute_batch("VACUUM")
        .unwrap();
    let file = std::fs::read(&path).unwrap();
    let mut store = SqliteStore::open(&path).unwrap();
    let original = records(&mut store, &RecordFilter::default());
    drop(store);
    let (link, mut unread) = (original[3].link, 0);
    let places: Vec<usize> = (0..file.len() - 32)
        .filter(|at| file[*at..*at + 32] == link)
        .collect();
    let [at] = places[..] else {
        unreachable!("{places:?}")
    };
    // The cell ends with the link; before it are its header and the other columns.
    let cell = at - 59..at + 32;
    let copy = path.with_file_name("flipped.sqlite3");
    for at in cell {
        for bit in 0..8 {
            let mut flipped = file.clone();
            flipped[at] ^= 1 << bit;
            // One octet of a cell says what the id is stored as, which SQLite does not read: the id is the row's key.
            if !shows(&copy, &flipped) {
                let mut store = SqliteStore::open_read_only(&copy).unwrap();
                let read = records(&mut store, &RecordFilter::default());
                assert_eq!(read, original, "octet {at}, bit {bit}");
                unread += 1;
            }
        }
    }
    assert!(unread <= 8, "{unread}");
    assert!(!shows(&copy, &file), "the control");
}

fn shows(copy: &Path, file: &[u8]) -> bool {
    std::fs::write(copy, file).unwrap();
    let mut store = SqliteStore::open_read_only(copy).unwrap();
    let mut is_found = false;
    let head = store.evidence_verify(&mut |_| true, &mut |_| is_found = true);
    is_found || head.is_err()
}

#[test]
fn records_taken_out_put_in_or_cut_off_are_found() {
    let path = directory("evidence-removed").join(FILE_NAME);
    let mut store = SqliteStore::open(&path).unwrap();
    fill(&mut store, 12);
    let head = store.evidence_head().unwrap();
    store.checkpoint_insert(&checkpoint(head, 1)).unwrap();
    drop(store);
    let original = std::fs::read(&path).unwrap();
    for (sql, expected) in [
        (
            "DELETE FROM record WHERE id = 5",
            vec![
                (5, EvidenceFaultKind::Missing),
                (6, EvidenceFaultKind::Altered),
            ],
        ),
        (
            "DELETE FROM record WHERE id > 10",
            vec![(12, EvidenceFaultKind::NotAsSigned)],
        ),
        (
            "DELETE FROM record",
            vec![(12, EvidenceFaultKind::NotAsSigned)],
        ),
        (
            "INSERT INTO record SELECT 13, device, 99, tag1, form, area_id, nonce, cause, seq, data, accept, time_ms, \
             repeat, gnb_id, reader_index, counter, link FROM record WHERE id = 12",
            vec![(13, EvidenceFaultKind::Altered)],
        ),
        (
            "UPDATE checkpoint SET signature = zeroblob(64)",
            vec![(12, EvidenceFaultKind::SignatureWrong)],
        ),
        (
            "UPDATE checkpoint SET link = zeroblob(32)",
            vec![(12, EvidenceFaultKind::NotAsSigned)],
        ),
        (
            "UPDATE checkpoint SET signature = x'00'",
            vec![(12, EvidenceFaultKind::SignatureWrong)],
        ),
    ] {
        std::fs::write(&path, &original).unwrap();
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        assert_eq!(
            faults(&mut SqliteStore::open(&path).unwrap()),
            expected,
            "{sql}"
        );
    }
}

/// Who writes the chain anew from some record on has all links right; only what was signed says otherwise.
#[test]
fn a_chain_written_anew_fails_at_the_checkpoint_alone() {
    let forged = || {
        let mut store = SqliteStore::in_memory().unwrap();
        fill(&mut store, 12);
        store
    };
    let mut store = forged();
    assert_eq!(faults(&mut store), [], "the control: nothing was signed");
    let other = EvidenceHead {
        record: 6,
        link: [9; 32],
    };
    store.checkpoint_insert(&checkpoint(other, 1)).unwrap();
    assert_eq!(faults(&mut store), [(6, EvidenceFaultKind::NotAsSigned)]);
}

#[test]
fn a_store_from_before_is_linked_when_it_is_opened() {
    let path = directory("evidence-migration").join(FILE_NAME);
    let mut store = SqliteStore::open(&path).unwrap();
    fill(&mut store, 2500);
    let before = records(&mut store, &RecordFilter::default());
    drop(store);
    let old = Connection::open(&path).unwrap();
    old.execute_batch(
        "DROP TABLE record_key; DROP TABLE key_block; DROP TABLE keyed; DROP VIEW commands; DROP TABLE command; DROP VIEW afs; DROP TABLE af; DROP VIEW subscriptions; DROP TABLE dead_letter;
         DROP TABLE subscription; DROP VIEW alarms; DROP TABLE alarm; DROP VIEW checkpoints; DROP TABLE checkpoint; ALTER TABLE record DROP COLUMN link;
         DROP INDEX device_change; ALTER TABLE device DROP COLUMN change; PRAGMA user_version = 3",
    )
    .unwrap();
    drop(old);
    let mut store = SqliteStore::open(&path).unwrap();
    assert_eq!(records(&mut store, &RecordFilter::default()), before);
    assert_eq!(faults(&mut store), []);
}
