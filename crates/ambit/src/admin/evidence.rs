//! Requests about the evidence chain.

use std::ops::ControlFlow;

use ambit_adm::{Adm, is_signed, public_key};
use ambit_store::evidence::{is_first, record_digest, record_octets, writer};
use ambit_store::{CheckpointRow, RecordFilter, RecordRow, Store};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::show;

/// Faults reported one by one; all are counted.
const FAULTS_MAX: u64 = 1000;

/// Records between a record and the next checkpoint that `show` looks through, at most.
const PATH_MAX: usize = 1 << 20;

/// A row for each fault, then a summary.
pub(super) fn verify(
    store: &mut dyn Store,
    key: Option<&str>,
    row: &mut dyn FnMut(Value) -> bool,
) -> Result<(), Failure> {
    let key = match key {
        Some(text) => Some(parse_key(text)?),
        None => public_key(store)?,
    };
    let (mut faults, mut checkpoints, mut signed) = (0u64, 0u64, None::<CheckpointRow>);
    let head = store.evidence_verify(
        &mut |checkpoint| {
            let is_good = key.is_some_and(|key| is_signed(checkpoint, &key));
            if is_good {
                checkpoints += 1;
                signed = Some(*checkpoint);
            }
            is_good
        },
        &mut |fault| {
            faults += 1;
            if faults <= FAULTS_MAX {
                row(json!({ "fault": fault.kind.name(), "record": fault.record }));
            }
        },
    )?;
    row(json!({
        "verified": faults == 0,
        "faults": faults,
        "records": store.record_count()?,
        "link": hex::encode(head.link),
        "checkpoints": checkpoints,
        "signed_through": signed.map_or(0, |checkpoint| checkpoint.record),
        "signed_at": signed.map(|checkpoint| show::time(checkpoint.time_ms)),
        "public_key": key.map(hex::encode),
    }));
    Ok(())
}

/// One row: the record, its canonical octets, and the way from it to the next checkpoint.
pub(super) fn show(
    store: &mut dyn Store,
    id: i64,
    row: &mut dyn FnMut(Value) -> bool,
) -> Result<(), Failure> {
    let record = record(store, id)?;
    let previous = match is_first(id) {
        true => [0; 32],
        false => self::record(store, id - 1)?.link,
    };
    let mut checkpoint = None;
    store.checkpoints_for_each(id, &mut |found| {
        checkpoint = Some(found).filter(|found| writer(found.record) == writer(id));
        ControlFlow::Break(())
    })?;
    let until = checkpoint.map_or(id, |checkpoint| checkpoint.record);
    let mut path = Vec::new();
    let filter = RecordFilter {
        after_id: Some(id),
        ..RecordFilter::default()
    };
    if until > id {
        store.records_for_each(&filter, &mut |next| {
            path.push(hex::encode(record_digest(&next)));
            match next.id < until && path.len() < PATH_MAX {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        })?;
    }
    row(json!({
        "record": show::record(&record),
        "octets": hex::encode(record_octets(&record)),
        "previous_link": hex::encode(previous),
        "link": hex::encode(record.link),
        "path": path,
        "checkpoint": checkpoint.as_ref().map(self::checkpoint),
        "public_key": public_key(store)?.map(hex::encode),
    }));
    Ok(())
}

/// One row: the proof of the record's tag, or why there is none.
pub(super) fn tag(
    adm: &mut Adm,
    id: i64,
    row: &mut dyn FnMut(Value) -> bool,
) -> Result<(), Failure> {
    let record = record(adm.store(), id)?;
    row(match adm.tag_proof(&record) {
        Ok(proof) => json!({
            "suite": proof.suite,
            "header": hex::encode([proof.header]),
            "integrity_key": hex::encode(proof.integrity_key),
        }),
        Err(reason) => json!({ "missing": reason.to_string() }),
    });
    Ok(())
}

/// The public key, then a row for each checkpoint.
pub(super) fn export(
    store: &mut dyn Store,
    row: &mut dyn FnMut(Value) -> bool,
) -> Result<(), Failure> {
    row(json!({ "public_key": public_key(store)?.map(hex::encode) }));
    store.checkpoints_for_each(0, &mut |found| match row(checkpoint(&found)) {
        true => ControlFlow::Continue(()),
        false => ControlFlow::Break(()),
    })?;
    Ok(())
}

/// A row for each of the records that is there.
pub(super) fn links(
    store: &mut dyn Store,
    records: &[i64],
    row: &mut dyn FnMut(Value) -> bool,
) -> Result<(), Failure> {
    for id in records {
        if let Some(record) = find(store, *id)? {
            row(json!({ "record": id, "link": hex::encode(record.link) }));
        }
    }
    Ok(())
}

/// A checkpoint as JSON.
pub(super) fn checkpoint(row: &CheckpointRow) -> Value {
    json!({
        "record": row.record,
        "link": hex::encode(row.link),
        "time": show::time(row.time_ms),
        "time_ms": row.time_ms,
        "signature": hex::encode(row.signature),
    })
}

/// A public key of 64 hexadecimal digits.
pub(crate) fn parse_key(text: &str) -> Result<[u8; 32], Failure> {
    let mut key = [0; 32];
    hex::decode_to_slice(text, &mut key)
        .map_err(|_| Failure::input("key_invalid", "--key: must be 64 hexadecimal digits"))?;
    Ok(key)
}

fn record(store: &mut dyn Store, id: i64) -> Result<RecordRow, Failure> {
    find(store, id)?
        .ok_or_else(|| Failure::input("record_unknown", format!("record: there is no record {id}")))
}

fn find(store: &mut dyn Store, id: i64) -> Result<Option<RecordRow>, Failure> {
    let mut found = None;
    let filter = RecordFilter {
        after_id: Some(id.saturating_sub(1)),
        ..RecordFilter::default()
    };
    store.records_for_each(&filter, &mut |row| {
        found = Some(row);
        ControlFlow::Break(())
    })?;
    Ok(found.filter(|row: &RecordRow| row.id == id))
}
