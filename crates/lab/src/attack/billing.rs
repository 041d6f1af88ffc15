//! T14: billing fraud. Forged and replayed reports among genuine ones, and a store that is meddled with afterwards.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::path::Path;

use ambit_device::DeviceForm;
use ambit_nef::charging::{Charging, ChargingConfig};
use ambit_nef::online::{ChfAnswer, Online, OnlineConfig};
use ambit_store::{CheckpointRow, RecordFilter, RecordRow, SqliteStore, Store};
use serde_json::Value;

use super::arena::{Actor, Arena as _, Recorder};
use super::real::Real;
use super::{Pair, Result, Run, scene, steps};
use crate::store::SharedStore;

/// Genuine reports among forged and replayed ones: records, CDRs and events at a CHF that fails as often as not are counted,
/// the evidence is verified, and single bits are flipped in the store's file. The control charges for every report that was
/// answered, and has links without signed checkpoints.
pub(super) fn t14(seed: u64) -> Result<Pair> {
    let mut rng = fastrand::Rng::with_seed(!seed);
    let forms = [
        DeviceForm::Beacon,
        DeviceForm::Beacon,
        DeviceForm::Counter,
        DeviceForm::Concealed,
    ];
    let mut real = Real::new(seed, &forms)?;
    let mut recorded: Vec<(u16, Vec<u8>)> = Vec::new();
    let (mut genuine, mut forged, mut replayed, mut answered) = (0u32, 0u32, 0u32, 0u32);
    for round in 0..120 {
        let device = rng.usize(..forms.len());
        let reader = rng.u16(1..3);
        let (report, _) = Recorder::new(&mut real).exchange(device, reader)?;
        genuine += 1;
        answered += 1;
        recorded.push((reader, report));
        for _ in 0..rng.u8(1..5) {
            let (reader, mut octets) = rng.choice(&recorded).cloned().unwrap_or_default();
            if rng.bool() {
                forged += 1;
                rng.fill(octets.get_mut(1..).unwrap_or_default());
            } else {
                replayed += 1;
            }
            answered += u32::from(real.hear(reader, &octets)?.is_some());
        }
        if round % 20 == 19 {
            real.next_epoch()?;
        }
    }
    let mut records = Vec::new();
    let filter = RecordFilter::default();
    real.store().records_for_each(&filter, &mut |row| {
        records.push(row);
        ControlFlow::Continue(())
    })?;
    let dir = tempfile::tempdir().map_err(scene)?;
    let cdrs = offline(dir.path(), real.store())?;
    let events = online(dir.path(), real.store(), &mut rng)?;
    let links: HashSet<&[u8; 32]> = records.iter().map(|row| &row.link).collect();
    let untraced = events.iter().filter(|link| !links.contains(*link)).count();
    let checkpoint = checkpoint(real.store())?;
    let faults = faults(real.store())?.len();
    let (flips, located) = flip(dir.path(), real.store(), &records, &mut rng)?;
    // A forger who writes the chain anew without one record.
    let mut edited = forge(real.store(), &records)?;
    let unsigned = self::faults(&mut edited)?.len();
    edited.checkpoint_insert(&checkpoint)?;
    let signed = self::faults(&mut edited)?.len();

    let k = u64::from(genuine);
    let is_right = |n: usize| n as u64 == k;
    let mut run = Run::new(
        is_right(records.len())
            && cdrs == k
            && is_right(events.len())
            && untraced == 0
            && faults == 0
            && flips > 0
            && located == flips
            && signed > 0
            && answered > genuine,
        &[
            ("genuine reports", genuine.into()),
            ("forged", forged.into()),
            ("replayed", replayed.into()),
            ("records", records.len() as f64),
            ("CDRs", cdrs as f64),
            ("events at the CHF", events.len() as f64),
            ("events that no record stands behind", untraced as f64),
            ("faults in the evidence", faults as f64),
            ("single bits flipped in the store's file", flips.into()),
            ("found at their record", located.into()),
            (
                "a chain written anew: faults with the signed checkpoint",
                signed as f64,
            ),
        ],
    );
    run.steps = steps(&[
        (Actor::Device, Actor::Network, "REPORT"),
        (
            Actor::Network,
            Actor::Network,
            "record, CDR, event at the CHF",
        ),
        (Actor::Adversary, Actor::Network, "the same again"),
        (
            Actor::Network,
            Actor::Adversary,
            "the same ACCEPT; no charge",
        ),
        (
            Actor::Adversary,
            Actor::Network,
            "the same an epoch later; made up",
        ),
        (Actor::Network, Actor::Adversary, "silence"),
        (
            Actor::Adversary,
            Actor::Network,
            "a bit flipped in the store",
        ),
        (
            Actor::Network,
            Actor::Network,
            "evidence verify: record altered",
        ),
    ]);
    let mut control = Run::new(
        answered == genuine || unsigned > 0,
        &[
            ("genuine reports", genuine.into()),
            ("charged", answered.into()),
            (
                "a chain written anew: faults by its links alone",
                unsigned as f64,
            ),
        ],
    );
    control.steps = steps(&[
        (Actor::Device, Actor::Network, "REPORT"),
        (Actor::Network, Actor::Network, "charge"),
        (Actor::Adversary, Actor::Network, "the same again"),
        (Actor::Network, Actor::Network, "charge"),
    ]);
    let lacks = "every report that is answered is charged; no checkpoint is signed";
    Ok(Pair::with_control(run, lacks, control))
}

/// CDRs written for a store.
fn offline(dir: &Path, store: &mut dyn Store) -> Result<u64> {
    let config = ChargingConfig {
        dir: dir.join("cdr"),
        file_octets_max: 4096,
        file_s_max: 3600,
        fleet_afs: HashMap::new(),
    };
    let mut charging = Charging::open(config).map_err(scene)?;
    while charging.step(store, 0).map_err(scene)? > 0 {}
    Ok(charging.position().cdr)
}

/// Links of the records that a CHF has events of, without repeats. Every other answer of it is lost, a failure or a refusal, and
/// the process that sends dies now and then.
fn online(dir: &Path, store: &mut dyn Store, rng: &mut fastrand::Rng) -> Result<Vec<[u8; 32]>> {
    let config = OnlineConfig {
        dir: dir.join("chf"),
        nf_name: "5a1f7c9e-0000-4000-8000-000000000001".into(),
        mcc: "001".into(),
        mnc: "01".into(),
        nid: None,
        rating_group: 1,
        fleets: HashMap::new(),
        is_adopted: false,
        journal_octets_max: 1 << 16,
        after_record: 0,
    };
    let mut online = Online::open(config.clone()).map_err(scene)?;
    let (mut now_ms, mut events) = (0, Vec::<[u8; 32]>::new());
    // Refused events wait up to an hour each time.
    for _ in 0..10_000 {
        let due = online.poll(store, now_ms).map_err(scene)?;
        if due.is_empty() && online.refused() == 0 && now_ms >= online.not_before_ms() {
            return Ok(events);
        }
        let mut answers = Vec::new();
        for due in due {
            let failed = ChfAnswer::Failed {
                name: "chf_status",
                message: String::new(),
                retry_after: None,
            };
            let refused = ChfAnswer::Refused {
                reason: String::new(),
            };
            let (is_taken, answer) = match rng.u8(..8) {
                0..4 => (true, ChfAnswer::Taken),
                4 => (true, failed),
                5 | 6 => (false, failed),
                _ => (false, refused),
            };
            if is_taken {
                let link = link(&due.body).ok_or_else(|| scene("an event without a link"))?;
                if !events.contains(&link) {
                    events.push(link);
                }
            }
            answers.push((due.event, answer));
        }
        if rng.u8(..8) == 0 {
            online = Online::open(config.clone()).map_err(scene)?;
        } else {
            online.answers(answers, now_ms).map_err(scene)?;
        }
        now_ms += 600_000;
    }
    Err(scene("the CHF does not get to the end"))
}

/// The link that an event names.
fn link(body: &Value) -> Option<[u8; 32]> {
    let content = body.pointer("/nEFChargingInformation/aPIContent")?;
    let content: Value = serde_json::from_str(content.as_str()?).ok()?;
    let mut link = [0; 32];
    hex::decode_to_slice(content.get("link")?.as_str()?, &mut link).ok()?;
    Some(link)
}

/// A checkpoint over the last record; who signs is not in question here.
fn checkpoint(store: &mut dyn Store) -> Result<CheckpointRow> {
    let head = store.evidence_head()?;
    Ok(CheckpointRow {
        record: head.record,
        link: head.link,
        time_ms: 0,
        signature: [0; 64],
    })
}

/// Records at which the evidence is at fault.
fn faults(store: &mut dyn Store) -> Result<Vec<i64>> {
    let mut faults = Vec::new();
    store.evidence_verify(&mut |_| true, &mut |fault| faults.push(fault.record))?;
    Ok(faults)
}

/// A copy with one octet of one record's data changed, all links computed anew.
fn forge(store: &mut dyn Store, records: &[RecordRow]) -> Result<SharedStore> {
    let victim = records.get(records.len() / 2).map(|row| row.id);
    let snid = ambit_protocol::Snid::new(ambit_protocol::area::Plmn::new("001", "01")?, None);
    Ok(SharedStore::copy_edited(store, &snid, &mut |mut row| {
        if Some(row.id) == victim {
            row.data.push(b'!');
        }
        vec![row]
    })?)
}

/// Flips single bits in the file of a copy of the store; returns how many, and how many were found at their record.
fn flip(
    dir: &Path,
    store: &mut dyn Store,
    records: &[RecordRow],
    rng: &mut fastrand::Rng,
) -> Result<(u32, u32)> {
    let file = dir.join("store.sqlite3");
    let mut copy = SqliteStore::open(&file)?;
    crate::store::copy_into(store, &mut copy)?;
    drop(copy);
    let whole = std::fs::read(&file).map_err(scene)?;
    let flipped = dir.join("flipped.sqlite3");
    let (mut flips, mut located) = (0, 0);
    for _ in 0..64 {
        let row = rng.choice(records).ok_or_else(|| scene("no record"))?;
        // Tag and area stand side by side in the table, but for the form, and nowhere else.
        let area_len = row.area_id.len();
        let is_row = |at: &usize| {
            let after = at + row.tag1.len();
            let here =
                |from: usize| whole.get(from..from + area_len) == Some(row.area_id.as_slice());
            whole.get(*at..after) == Some(row.tag1.as_slice()) && (here(after) || here(after + 1))
        };
        // Pages that were split hold octets of old in their free space: a bit flipped there alters nothing.
        let places: Vec<usize> = (0..whole.len()).filter(is_row).collect();
        let bit = rng.usize(..row.tag1.len() * 8);
        for at in places {
            let mut octets = whole.clone();
            if let Some(octet) = octets.get_mut(at + bit / 8) {
                *octet ^= 1 << (bit % 8);
            }
            std::fs::write(&flipped, &octets).map_err(scene)?;
            let mut meddled = SqliteStore::open(&flipped)?;
            if reads_as(&mut meddled, row)? {
                continue;
            }
            flips += 1;
            located += u32::from(faults(&mut meddled)?.contains(&row.id));
        }
    }
    Ok((flips, located))
}

/// Whether a store has this record as it is.
fn reads_as(store: &mut dyn Store, row: &RecordRow) -> Result<bool> {
    let mut is_same = false;
    let filter = RecordFilter {
        after_id: Some(row.id - 1),
        ..RecordFilter::default()
    };
    store.records_for_each(&filter, &mut |found| {
        is_same = found == *row;
        ControlFlow::Break(())
    })?;
    Ok(is_same)
}
