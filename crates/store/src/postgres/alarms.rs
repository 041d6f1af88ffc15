//! Alarms: what the graver events come to, one for each kind and subject until somebody has acknowledged it.

use super::fault::Fault;
use super::link::Link;
use crate::{AlarmRow, NewEvent};
use tokio_postgres::{Row, Transaction};

/// Alarms of one page of a walk.
pub(super) const PAGE: usize = 2048;

/// Raises the alarm of an event, or adds to it. Whoever adds events holds the row that numbers them, so no other does so now.
pub(super) async fn raise(t: &Transaction<'_>, e: &NewEvent<'_>, count: i64) -> Result<(), Fault> {
    if e.severity == "info" {
        return Ok(());
    }
    let subject = e.subject();
    let area_id = e.area_id.as_ref().map(|area| &area[..]);
    let (gnb_id, reader_index) = (e.gnb_id.map(i64::from), e.reader_index.map(i32::from));
    let added = t
        .execute(
            "UPDATE alarm SET severity = $3, area_id = $4, gnb_id = $5, reader_index = $6, last_ms = $7, \
             count = least(count, 9223372036854775807 - $8::BIGINT) + $8, detail = $9 \
             WHERE kind = $1 AND subject = $2 AND acked_ms IS NULL",
            &[
                &e.kind, &subject, &e.severity, &area_id, &gnb_id, &reader_index, &e.time_ms, &count, &e.detail,
            ],
        )
        .await?;
    if added > 0 {
        return Ok(());
    }
    let id = super::allocate(t, "alarm", 1).await?;
    t.execute(
        "INSERT INTO alarm (id, kind, subject, severity, device_id, area_id, gnb_id, reader_index, first_ms, last_ms, \
         count, detail) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, $10, $11)",
        &[
            &id, &e.kind, &subject, &e.severity, &e.device_id, &area_id, &gnb_id, &reader_index, &e.time_ms, &count,
            &e.detail,
        ],
    )
    .await?;
    Ok(())
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, kind, severity, device_id, area_id, gnb_id, reader_index, first_ms, last_ms, count, detail, ",
            "acked_ms, acked_by FROM alarm ",
            $rest
        )
    };
}

/// The next alarms after one.
pub(super) async fn page(
    link: &mut Link,
    with_acked: bool,
    after: i64,
) -> Result<Vec<AlarmRow>, Fault> {
    let read = link
        .prepared(select!(
            "WHERE id > $1 AND ($2 OR acked_ms IS NULL) ORDER BY id LIMIT $3"
        ))
        .await?;
    let limit = i64::try_from(PAGE).unwrap_or(i64::MAX);
    let rows = link
        .client
        .query(&read, &[&after, &with_acked, &limit])
        .await?;
    rows.iter().map(from_row).collect()
}

pub(super) async fn ack(
    link: &mut Link,
    id: i64,
    by: &str,
    now_ms: i64,
) -> Result<Option<AlarmRow>, Fault> {
    link.client
        .execute(
            "UPDATE alarm SET acked_ms = $2, acked_by = $3 WHERE id = $1 AND acked_ms IS NULL",
            &[&id, &now_ms, &by],
        )
        .await?;
    let read = link.prepared(select!("WHERE id = $1")).await?;
    let row = link.client.query_opt(&read, &[&id]).await?;
    row.map(|row| from_row(&row)).transpose()
}

fn from_row(row: &Row) -> Result<AlarmRow, Fault> {
    Ok(AlarmRow {
        id: row.try_get(0)?,
        kind: row.try_get(1)?,
        severity: row.try_get(2)?,
        device_id: row.try_get(3)?,
        area_id: row
            .try_get::<_, Option<&[u8]>>(4)?
            .map(|area| super::array(area, "an AreaID"))
            .transpose()?,
        gnb_id: row
            .try_get::<_, Option<i64>>(5)?
            .map(super::to_u32)
            .transpose()?,
        reader_index: row
            .try_get::<_, Option<i32>>(6)?
            .map(super::to_u16)
            .transpose()?,
        first_ms: row.try_get(7)?,
        last_ms: row.try_get(8)?,
        count: row.try_get::<_, i64>(9)?.unsigned_abs(),
        detail: row.try_get(10)?,
        acked: match (row.try_get(11)?, row.try_get(12)?) {
            (Some(time_ms), Some(by)) => Some((time_ms, by)),
            _ => None,
        },
    })
}
