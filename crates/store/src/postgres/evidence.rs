//! The evidence chains, one for each writer: checkpoints, and the walk that proves them whole.

use super::fault::Fault;
use super::link::{Connector, Link, PATIENCE, PATIENCE_BULK};
use super::records;
use super::writer::{base, head, stated};
use crate::evidence::{link, record_digest};
use crate::{CheckpointRow, EvidenceFault, EvidenceFaultKind, EvidenceHead, StoreError};
use tokio_postgres::Row;

pub(super) async fn checkpoint_insert(
    link: &mut Link,
    checkpoint: &CheckpointRow,
) -> Result<(), Fault> {
    link.client
        .execute(
            "INSERT INTO checkpoint (record, time_ms, link, signature) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
            &[
                &checkpoint.record,
                &checkpoint.time_ms,
                &&checkpoint.link[..],
                &&checkpoint.signature[..],
            ],
        )
        .await?;
    Ok(())
}

/// Checkpoints of the records from one on and before another, by record.
pub(super) fn checkpoints(
    connector: &mut Connector,
    from: i64,
    until: i64,
) -> Result<Vec<CheckpointRow>, StoreError> {
    connector.run(PATIENCE_BULK, async |link: &mut Link| {
        let rows = link
            .client
            .query(
                "SELECT record, link, time_ms, signature FROM checkpoint WHERE record >= $1 AND record < $2 \
                 ORDER BY record, time_ms",
                &[&from, &until],
            )
            .await?;
        rows.iter().map(checkpoint).collect()
    })
}

/// The head of the last writer, or of an owner's.
pub(super) async fn last_head(
    link: &mut Link,
    owner: Option<[u8; 16]>,
) -> Result<EvidenceHead, Fault> {
    let owner = owner.map(Vec::from);
    let row = link
        .client
        .query_opt(
            "SELECT head, link FROM writer WHERE $1::BYTEA IS NULL OR owner = $1 ORDER BY writer DESC LIMIT 1",
            &[&owner],
        )
        .await?;
    row.map_or_else(
        || Ok(EvidenceHead::default()),
        |row| Ok(stated(head(&row)?)),
    )
}

fn checkpoint(row: &Row) -> Result<CheckpointRow, Fault> {
    Ok(CheckpointRow {
        record: row.try_get(0)?,
        link: super::array(row.try_get(1)?, "a link")?,
        time_ms: row.try_get(2)?,
        signature: super::array(row.try_get(3)?, "a signature")?,
    })
}

/// Walks all records and checkpoints, writer by writer, and hands every fault to `fault`. Returns the head of `own`, or of the
/// last writer there is.
pub(super) fn verify(
    connector: &mut Connector,
    own: Option<i64>,
    is_signed: &mut dyn FnMut(&CheckpointRow) -> bool,
    fault: &mut dyn FnMut(EvidenceFault),
) -> Result<EvidenceHead, StoreError> {
    let mut say = |record, kind| fault(EvidenceFault { record, kind });
    let mut last = EvidenceHead::default();
    // Checkpoints are read first: whatever they name is in what is read after them.
    let signed = connector.run(PATIENCE_BULK, async |link: &mut Link| {
        numbers(
            link,
            "SELECT DISTINCT record >> 40 AS writer FROM checkpoint ORDER BY writer",
        )
        .await
    })?;
    let writers = connector.run(PATIENCE, async |link: &mut Link| {
        numbers(link, "SELECT writer FROM writer ORDER BY writer").await
    })?;
    for writer in signed.iter().filter(|signed| !writers.contains(signed)) {
        let signed = checkpoints(connector, base(*writer), base(writer + 1))?;
        let mut good = 0;
        for checkpoint in signed {
            match is_signed(&checkpoint) {
                true => good += 1,
                false => say(checkpoint.record, EvidenceFaultKind::SignatureWrong),
            }
        }
        if good > 0 {
            say(base(*writer) + 1, EvidenceFaultKind::Missing);
        }
    }
    // Put in beside the chains. Records and head move in one statement, and this reads both in one.
    let beside = connector.run(PATIENCE_BULK, async |link: &mut Link| {
        numbers(link, BESIDE).await
    })?;
    for record in beside {
        say(record, EvidenceFaultKind::Altered);
    }
    for writer in writers {
        let signed = checkpoints(connector, base(writer), base(writer + 1))?;
        let stated = connector.run(PATIENCE, async |link: &mut Link| {
            let read = "SELECT head, link FROM writer WHERE writer = $1";
            head(&link.client.query_one(read, &[&writer]).await?)
        })?;
        let found = walk(connector, (writer, stated), &signed, is_signed, &mut say)?;
        if own.is_none_or(|own| own == writer) {
            last = found;
        }
    }
    Ok(stated(last))
}

/// Records that are in no writer's chain, some of them.
const BESIDE: &str = "SELECT r.id FROM record r LEFT JOIN writer w ON w.writer = r.id >> 40 \
     WHERE w.writer IS NULL OR r.id > w.head ORDER BY r.id LIMIT 100";

async fn numbers(link: &mut Link, read: &'static str) -> Result<Vec<i64>, Fault> {
    let rows = link.client.query(read, &[]).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

fn walk(
    connector: &mut Connector,
    (writer, stated): (i64, EvidenceHead),
    signed: &[CheckpointRow],
    is_signed: &mut dyn FnMut(&CheckpointRow) -> bool,
    say: &mut dyn FnMut(i64, EvidenceFaultKind),
) -> Result<EvidenceHead, StoreError> {
    let mut good = Vec::new();
    for checkpoint in signed {
        match is_signed(checkpoint) {
            true => good.push(*checkpoint),
            false => say(checkpoint.record, EvidenceFaultKind::SignatureWrong),
        }
    }
    let mut signed = good.into_iter().peekable();
    // Says that there was nothing yet: true of every chain.
    let nothing = (base(writer), [0; 32]);
    while signed.next_if(|c| (c.record, c.link) == nothing).is_some() {}
    // The link that the row before holds: a row is judged by it and by what it says itself, so one altered row shows alone.
    let mut before = EvidenceHead {
        record: base(writer),
        link: [0; 32],
    };
    loop {
        // What is beyond the stated head was not there when it was read.
        let page = connector.run(PATIENCE_BULK, async |link: &mut Link| {
            records::page_of(link, before.record, stated.record, i64::MIN).await
        })?;
        if page.is_empty() {
            break;
        }
        for row in page {
            if row.id != before.record + 1 {
                say(before.record + 1, EvidenceFaultKind::Missing);
            }
            if link(&before.link, &record_digest(&row)) != row.link {
                say(row.id, EvidenceFaultKind::Altered);
            }
            before = EvidenceHead {
                record: row.id,
                link: row.link,
            };
            while let Some(checkpoint) = signed.next_if(|c| c.record <= row.id) {
                if checkpoint.record != row.id || checkpoint.link != row.link {
                    say(checkpoint.record, EvidenceFaultKind::NotAsSigned);
                }
            }
        }
    }
    if before.record != stated.record {
        say(before.record + 1, EvidenceFaultKind::Missing);
    } else if before.link != stated.link {
        say(before.record, EvidenceFaultKind::Altered);
    }
    for checkpoint in signed.filter(|c| c.record > stated.record) {
        say(checkpoint.record, EvidenceFaultKind::NotAsSigned);
    }
    Ok(before)
}
