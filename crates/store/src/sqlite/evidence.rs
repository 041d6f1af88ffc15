//! The evidence chain in the file: its head, checkpoints, and the walk that proves it whole.

use super::keys::{self, Key};
use crate::evidence::{Content, EvidenceHead, link, record_digest};
use crate::{CheckpointRow, EvidenceFault, EvidenceFaultKind, StoreError};
use rusqlite::{OptionalExtension, Row, Transaction};
use std::ops::ControlFlow;

pub(super) fn head(t: &Transaction<'_>) -> Result<EvidenceHead, StoreError> {
    let head = t
        .prepare_cached("SELECT id, link FROM record ORDER BY id DESC LIMIT 1")?
        .query_row([], |row| {
            Ok(EvidenceHead {
                record: row.get(0)?,
                link: row.get(1)?,
            })
        })
        .optional()?;
    Ok(head.unwrap_or_default())
}

/// Links all records of a store that was made before there were links.
pub(super) fn link_all(t: &Transaction<'_>) -> Result<(), StoreError> {
    let mut update = t.prepare("UPDATE record SET link = ?2 WHERE id = ?1")?;
    let mut head = EvidenceHead::default();
    loop {
        // In pieces, as rows that a statement is still walking must not be changed.
        let mut piece = Vec::new();
        let mut statement = t.prepare_cached(super::records::ALL_UNLINKED)?;
        let mut rows = statement.query([head.record])?;
        while let Some(row) = rows.next()? {
            piece.push(super::records::from_row(row)?);
        }
        if piece.is_empty() {
            return Ok(());
        }
        for row in &piece {
            head = head.next(&Content::of_row(row));
            update.execute((head.record, head.link))?;
        }
    }
}

pub(super) fn checkpoint_insert(
    t: &Transaction<'_>,
    checkpoint: &CheckpointRow,
) -> Result<(), StoreError> {
    t.prepare_cached(
        "INSERT INTO checkpoint (record, link, time_ms, signature) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute((
        checkpoint.record,
        checkpoint.link,
        checkpoint.time_ms,
        checkpoint.signature,
    ))?;
    Ok(())
}

/// Checkpoints of records from `record` on, in the order in which they were made.
pub(super) fn checkpoints_for_each(
    t: &Transaction<'_>,
    record: i64,
    f: &mut dyn FnMut(CheckpointRow) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    let mut statement = t.prepare_cached(
        "SELECT record, link, time_ms, signature FROM checkpoint WHERE record >= ?1 ORDER BY record, id",
    )?;
    let mut rows = statement.query([record])?;
    while let Some(row) = rows.next()? {
        if f(checkpoint(row)?).is_break() {
            break;
        }
    }
    Ok(())
}

fn checkpoint(row: &Row<'_>) -> rusqlite::Result<CheckpointRow> {
    Ok(CheckpointRow {
        record: row.get(0)?,
        link: row.get(1)?,
        time_ms: row.get(2)?,
        signature: row.get(3)?,
    })
}

/// Walks all records and checkpoints and hands every fault to `fault`, in the order of the records; those of the file's
/// structure come last.
pub(super) fn verify(
    t: &Transaction<'_>,
    is_signed: &mut dyn FnMut(&CheckpointRow) -> bool,
    fault: &mut dyn FnMut(EvidenceFault),
) -> Result<EvidenceHead, StoreError> {
    let mut say = |record, kind| fault(EvidenceFault { record, kind });
    let (head, all_keyed) = walk(t, is_signed, &mut say)?;
    if !all_keyed || !is_whole(t)? {
        say(head.record, EvidenceFaultKind::Damaged);
    }
    Ok(head)
}

/// Returns the last link, and whether each record whose key should be in table `record_key` is found by it: one that is not
/// would be accepted once more.
fn walk(
    t: &Transaction<'_>,
    is_signed: &mut dyn FnMut(&CheckpointRow) -> bool,
    say: &mut dyn FnMut(i64, EvidenceFaultKind),
) -> Result<(EvidenceHead, bool), StoreError> {
    let (keyed, mut all_keyed, mut keyed_count) = (keys::keyed(t)?, true, 0);
    let mut checkpoints =
        t.prepare("SELECT record, link, time_ms, signature FROM checkpoint ORDER BY record, id")?;
    let mut checkpoints = checkpoints.query([])?;
    let mut signed = next_checkpoint(&mut checkpoints, is_signed, say)?;

    // The link that the row before holds: a row is judged by it and by what it says itself, so one altered row shows alone.
    let mut before = EvidenceHead::default();
    let mut statement = t.prepare(super::records::ALL)?;
    let mut rows = statement.query((i64::MIN, i64::MIN))?;
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        // In a damaged file an id may be any number.
        let expected = before.record.saturating_add(1);
        if id != expected {
            say(expected, EvidenceFaultKind::Missing);
            before.record = id.saturating_sub(1);
        }
        // A value that no column of this type ever held is an alteration too.
        let read = super::records::from_row(row);
        let stored = row.get(super::records::LINK_COLUMN).unwrap_or_default();
        match read {
            Ok(row) if link(&before.link, &record_digest(&row)) == row.link => {
                if id <= keyed {
                    let key = Key::new(row.device, row.epoch, &row.tag1);
                    let found = key.is_some_and(|key| {
                        keys::is_in_its_block(t, &key, id).unwrap_or(false)
                            || keys::in_table(t, &key).is_ok_and(|found| found == Some(id))
                    });
                    all_keyed &= found;
                    keyed_count += 1;
                }
            }
            _ => say(id, EvidenceFaultKind::Altered),
        }
        before = EvidenceHead {
            record: id,
            link: stored,
        };
        while let Some(checkpoint) = signed.filter(|checkpoint| checkpoint.record <= id) {
            if checkpoint.record != id || checkpoint.link != stored {
                say(checkpoint.record, EvidenceFaultKind::NotAsSigned);
            }
            signed = next_checkpoint(&mut checkpoints, is_signed, say)?;
        }
    }
    while let Some(checkpoint) = signed {
        say(checkpoint.record, EvidenceFaultKind::NotAsSigned);
        signed = next_checkpoint(&mut checkpoints, is_signed, say)?;
    }
    // One more would have a report taken for a duplicate that is none.
    let in_table: i64 = t.query_row(
        "SELECT count(*) FROM record_key WHERE record <= ?1",
        [keyed],
        |row| row.get(0),
    )?;
    Ok((before, all_keyed && in_table <= keyed_count))
}

/// The next checkpoint that is signed; those that are not are faults and say nothing.
fn next_checkpoint(
    rows: &mut rusqlite::Rows<'_>,
    is_signed: &mut dyn FnMut(&CheckpointRow) -> bool,
    say: &mut dyn FnMut(i64, EvidenceFaultKind),
) -> Result<Option<CheckpointRow>, StoreError> {
    while let Some(row) = rows.next()? {
        match checkpoint(row) {
            Ok(checkpoint) if is_signed(&checkpoint) => return Ok(Some(checkpoint)),
            Ok(checkpoint) => say(checkpoint.record, EvidenceFaultKind::SignatureWrong),
            Err(_) => say(
                row.get(0).unwrap_or_default(),
                EvidenceFaultKind::SignatureWrong,
            ),
        }
    }
    Ok(None)
}

/// Whether pages and indexes agree.
fn is_whole(t: &Transaction<'_>) -> Result<bool, StoreError> {
    let said: String = t.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    Ok(said == "ok")
}
