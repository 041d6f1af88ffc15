//! Events.

use super::fault::Fault;
use super::link::Link;
use crate::{EventFilter, EventRow, NewEvent, StoreError};
use tokio_postgres::Row;

/// Events of one page of a walk.
pub(super) const PAGE: usize = 2048;

/// Adds events. Should the answer be lost, they may stand twice: an alarm too many rather than none.
pub(super) async fn insert(link: &mut Link, events: &[NewEvent<'_>]) -> Result<(), Fault> {
    let t = link.client.transaction().await?;
    let count = i64::try_from(events.len()).unwrap_or(i64::MAX);
    let mut id = super::allocate(&t, "event", count).await? - 1;
    let insert = t
        .prepare(
            "INSERT INTO event (id, time_ms, kind, severity, device_id, area_id, gnb_id, reader_index, count, detail) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .await?;
    for (index, e) in events.iter().enumerate() {
        let field = "count";
        let count = i64::try_from(e.count).map_err(|_| StoreError::Invalid { index, field })?;
        id += 1;
        t.execute(
            &insert,
            &[
                &id,
                &e.time_ms,
                &e.kind,
                &e.severity,
                &e.device_id,
                &e.area_id.as_ref().map(|area| &area[..]),
                &e.gnb_id.map(i64::from),
                &e.reader_index.map(i32::from),
                &count,
                &e.detail,
            ],
        )
        .await?;
        super::alarms::raise(&t, e, count).await?;
    }
    Ok(t.commit().await?)
}

/// The next events after one that pass the filter.
pub(super) async fn page(
    link: &mut Link,
    filter: &EventFilter<'_>,
    after: i64,
) -> Result<Vec<EventRow>, Fault> {
    let read = link
        .prepared(
            "SELECT id, time_ms, kind, severity, device_id, area_id, gnb_id, reader_index, count, detail FROM event \
             WHERE id > $1 AND time_ms >= $2 AND ($3::TEXT IS NULL OR kind = $3) ORDER BY id LIMIT $4",
        )
        .await?;
    let since = filter.since_ms.unwrap_or(i64::MIN);
    let limit = i64::try_from(PAGE).unwrap_or(i64::MAX);
    let rows = link
        .client
        .query(&read, &[&after, &since, &filter.kind, &limit])
        .await?;
    rows.iter().map(from_row).collect()
}

/// The next events after one, whatever they are.
pub(super) async fn after(link: &mut Link, after: i64, limit: u32) -> Result<Vec<EventRow>, Fault> {
    let read = link
        .prepared(
            "SELECT id, time_ms, kind, severity, device_id, area_id, gnb_id, reader_index, count, detail FROM event \
             WHERE id > $1 ORDER BY id LIMIT $2",
        )
        .await?;
    let rows = link
        .client
        .query(&read, &[&after, &i64::from(limit)])
        .await?;
    rows.iter().map(from_row).collect()
}

fn from_row(row: &Row) -> Result<EventRow, Fault> {
    Ok(EventRow {
        id: row.try_get(0)?,
        time_ms: row.try_get(1)?,
        kind: row.try_get(2)?,
        severity: row.try_get(3)?,
        device_id: row.try_get(4)?,
        area_id: row
            .try_get::<_, Option<&[u8]>>(5)?
            .map(|area| super::array(area, "an AreaID"))
            .transpose()?,
        gnb_id: row
            .try_get::<_, Option<i64>>(6)?
            .map(super::to_u32)
            .transpose()?,
        reader_index: row
            .try_get::<_, Option<i32>>(7)?
            .map(super::to_u16)
            .transpose()?,
        count: row.try_get::<_, i64>(8)?.unsigned_abs(),
        detail: row.try_get(9)?,
    })
}
