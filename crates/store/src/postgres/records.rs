//! Reading acceptance records: page by page, so that no transaction stays open while they are looked at, and merged by time
//! where several writers made them. Records never change, so what is read up to the heads of one moment is one state.

use super::fault::Fault;
use super::link::{Connector, Link, PATIENCE, PATIENCE_BULK};
use super::writer::{base, place};
use crate::evidence::writer;
use crate::{LastRecord, RecordFilter, RecordRow, StoreError};
use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;
use tokio_postgres::Row;

/// Records of one page.
const PAGE: i64 = 2048;

macro_rules! select {
    ($from:literal) => {
        concat!(
            "SELECT r.id, r.device, d.device_id, r.epoch, r.tag1, r.form, r.area_id, r.nonce, r.cause, r.seq, ",
            "r.data, r.accept, r.time_ms, r.repeat, r.gnb_id, r.reader_index, r.counter, r.link ",
            "FROM record r LEFT JOIN device d ON d.id = r.device ",
            $from
        )
    };
}

pub(super) async fn by_key(
    link: &mut Link,
    device: i64,
    epoch: u32,
    tag1: &[u8],
) -> Result<Option<RecordRow>, Fault> {
    let read = link
        .prepared(select!(
            "WHERE r.device = $1 AND r.epoch = $2 AND r.tag1 = $3"
        ))
        .await?;
    let row = link
        .client
        .query_opt(&read, &[&device, &i64::from(epoch), &tag1])
        .await?;
    row.map(|row| from_row(&row)).transpose()
}

/// The writers and the ids of their last records.
pub(super) async fn heads(link: &mut Link) -> Result<Vec<(i64, i64)>, Fault> {
    let rows = link
        .client
        .query("SELECT writer, head FROM writer ORDER BY writer", &[])
        .await?;
    rows.iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .collect()
}

/// The number of records: the places of the writers are dense.
pub(super) fn count(connector: &mut Connector) -> Result<u64, StoreError> {
    let heads = connector.run(PATIENCE, heads)?;
    Ok(heads
        .iter()
        .map(|(_, head)| place(*head).unsigned_abs())
        .sum())
}

pub(super) fn for_each(
    connector: &mut Connector,
    filter: &RecordFilter<'_>,
    only: Option<&[u8; 16]>,
    f: &mut dyn FnMut(RecordRow) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    let mut streams = streams(connector, filter.since_ms, filter.after_id, only)?;
    let since = filter.since_ms.unwrap_or(i64::MIN);
    if let Some(device_id) = filter.device_id {
        let ends: Vec<(i64, i64)> = streams.iter().map(|s| (s.after, s.end)).collect();
        let mut rows = of_device(connector, device_id)?;
        rows.retain(|row| {
            row.time_ms >= since && ends.iter().any(|(a, b)| row.id > *a && row.id <= *b)
        });
        rows.sort_by_key(|row| row.id);
        let mut by_writer: HashMap<i64, VecDeque<RecordRow>> = HashMap::new();
        for row in rows {
            by_writer.entry(writer(row.id)).or_default().push_back(row);
        }
        for stream in &mut streams {
            stream.ahead = by_writer.remove(&writer(stream.end)).unwrap_or_default();
            stream.is_read = true;
        }
    }
    merge(
        &mut streams,
        &mut |stream| page(connector, stream, since),
        f,
    )
}

pub(super) fn last(
    connector: &mut Connector,
    since_ms: i64,
    f: &mut dyn FnMut(LastRecord),
) -> Result<(), StoreError> {
    let mut streams = streams(connector, Some(since_ms), None, None)?;
    let mut page = |stream: &Stream<_>| {
        connector.run(PATIENCE_BULK, async |link: &mut Link| {
            let read = link
                .prepared(
                    "SELECT id, device, epoch, cause, seq, time_ms, tag1, area_id FROM record \
                     WHERE id > $1 AND id <= $2 AND time_ms >= $3 ORDER BY id LIMIT $4",
                )
                .await?;
            let (after, end) = (stream.after, stream.end);
            let rows = link
                .client
                .query(&read, &[&after, &end, &since_ms, &PAGE])
                .await?;
            rows.iter()
                .map(|row| Ok((row.try_get(0)?, last_record(row)?)))
                .collect()
        })
    };
    merge(&mut streams, &mut page, &mut |(_, record)| {
        f(record);
        ControlFlow::Continue(())
    })
}

/// The records of some devices from an epoch on, in the order of time.
pub(super) async fn of_devices(
    link: &mut Link,
    devices: &[i64],
    since_epoch: u32,
    since_ms: i64,
) -> Result<Vec<LastRecord>, Fault> {
    let read = link
        .prepared(
            "SELECT id, device, epoch, cause, seq, time_ms, tag1, area_id FROM record \
             WHERE device = ANY($1) AND epoch >= $2 AND time_ms >= $3",
        )
        .await?;
    let rows = link
        .client
        .query(&read, &[&devices, &i64::from(since_epoch), &since_ms])
        .await?;
    let mut records: Vec<(i64, LastRecord)> = rows
        .iter()
        .map(|row| Ok((row.try_get(0)?, last_record(row)?)))
        .collect::<Result<_, Fault>>()?;
    records.sort_by_key(|(id, record)| (record.time_ms, *id));
    Ok(records.into_iter().map(|(_, record)| record).collect())
}

/// The newest minute in which another writer accepted something.
pub(super) async fn minute_of_others(link: &mut Link, writer: i64) -> Result<Option<i64>, Fault> {
    let read = link
        .prepared("SELECT max(minute) FROM minute WHERE writer <> $1")
        .await?;
    let row = link.client.query_one(&read, &[&writer]).await?;
    Ok(row.try_get(0)?)
}

/// The unit of table `minute`.
pub(super) const fn minute(time_ms: i64) -> i64 {
    time_ms.div_euclid(60_000)
}

/// The records of one writer that are still to be handed out.
pub(super) struct Stream<T> {
    after: i64,
    end: i64,
    ahead: VecDeque<T>,
    is_read: bool,
}

/// Reads the next records of a stream.
type Page<'a, T> = dyn FnMut(&Stream<T>) -> Result<Vec<T>, StoreError> + 'a;

/// What streams are merged by.
pub(super) trait Placed {
    fn id(&self) -> i64;
    fn time_ms(&self) -> i64;
}

impl Placed for RecordRow {
    fn id(&self) -> i64 {
        self.id
    }
    fn time_ms(&self) -> i64 {
        self.time_ms
    }
}

impl Placed for (i64, LastRecord) {
    fn id(&self) -> i64 {
        self.0
    }
    fn time_ms(&self) -> i64 {
        self.1.time_ms
    }
}

/// One stream for each writer that has records in question.
fn streams<T>(
    connector: &mut Connector,
    since_ms: Option<i64>,
    after: Option<i64>,
    only: Option<&[u8; 16]>,
) -> Result<Vec<Stream<T>>, StoreError> {
    let mut heads = connector.run(PATIENCE, heads)?;
    if let Some(owner) = only {
        let own = connector.run(PATIENCE, async |link: &mut Link| {
            let read = link
                .prepared("SELECT writer FROM writer WHERE owner = $1")
                .await?;
            let row = link.client.query_opt(&read, &[&&owner[..]]).await?;
            Ok(row.map(|row| row.try_get::<_, i64>(0)).transpose()?)
        })?;
        heads.retain(|(writer, _)| Some(*writer) == own);
    }
    let firsts: Option<HashMap<i64, i64>> = match since_ms {
        None => None,
        Some(since_ms) => Some(connector.run(PATIENCE, async |link: &mut Link| {
            let rows = link
                .client
                .query(
                    "SELECT writer, min(record) FROM minute WHERE minute >= $1 GROUP BY writer",
                    &[&minute(since_ms)],
                )
                .await?;
            rows.iter()
                .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
                .collect()
        })?),
    };
    let stream = |(of, end): (i64, i64)| {
        let from = match &firsts {
            None => base(of),
            Some(firsts) => firsts.get(&of)? - 1,
        };
        let after = match after {
            None => from,
            Some(after) if writer(after) == of => from.max(after),
            // What lies before the first of one's own is no place among them.
            Some(_) if only.is_some() => from,
            Some(_) => return None,
        };
        (after < end).then(|| Stream {
            after,
            end,
            ahead: VecDeque::new(),
            is_read: false,
        })
    };
    Ok(heads.into_iter().filter_map(stream).collect())
}

/// Hands out what the streams hold: each in its own order, the one with the earliest next record first.
fn merge<T: Placed>(
    streams: &mut Vec<Stream<T>>,
    page: &mut Page<'_, T>,
    f: &mut dyn FnMut(T) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    loop {
        for stream in streams.iter_mut() {
            if stream.ahead.is_empty() && !stream.is_read {
                let rows = page(stream)?;
                match rows.last() {
                    Some(row) => stream.after = row.id(),
                    None => stream.is_read = true,
                }
                stream.ahead = rows.into();
            }
        }
        streams.retain(|stream| !stream.ahead.is_empty());
        let first = streams.iter_mut().min_by_key(|stream| {
            let next = stream.ahead.front();
            next.map_or((i64::MAX, i64::MAX), |next| (next.time_ms(), next.id()))
        });
        let Some(row) = first.and_then(|stream| stream.ahead.pop_front()) else {
            return Ok(());
        };
        if f(row).is_break() {
            return Ok(());
        }
    }
}

fn page(
    connector: &mut Connector,
    stream: &Stream<RecordRow>,
    since_ms: i64,
) -> Result<Vec<RecordRow>, StoreError> {
    let (after, end) = (stream.after, stream.end);
    connector.run(PATIENCE_BULK, async |link: &mut Link| {
        page_of(link, after, end, since_ms).await
    })
}

pub(super) async fn page_of(
    link: &mut Link,
    after: i64,
    end: i64,
    since_ms: i64,
) -> Result<Vec<RecordRow>, Fault> {
    let read = link
        .prepared(select!(
            "WHERE r.id > $1 AND r.id <= $2 AND r.time_ms >= $3 ORDER BY r.id LIMIT $4"
        ))
        .await?;
    let rows = link
        .client
        .query(&read, &[&after, &end, &since_ms, &PAGE])
        .await?;
    rows.iter().map(from_row).collect()
}

/// All records of one device, in the order of their keys: a part of the table that lies together.
fn of_device(connector: &mut Connector, device_id: &[u8]) -> Result<Vec<RecordRow>, StoreError> {
    connector.run(PATIENCE_BULK, async |link: &mut Link| {
        let device = link
            .client
            .query_opt("SELECT id FROM device WHERE device_id = $1", &[&device_id])
            .await?;
        let Some(device) = device else {
            return Ok(Vec::new());
        };
        let device: i64 = device.try_get(0)?;
        let read = link.prepared(select!("WHERE r.device = $1")).await?;
        let rows = link.client.query(&read, &[&device]).await?;
        rows.iter().map(from_row).collect()
    })
}

fn last_record(row: &Row) -> Result<LastRecord, Fault> {
    Ok(LastRecord {
        device: row.try_get(1)?,
        epoch: super::to_u32(row.try_get(2)?)?,
        cause: super::to_u8(row.try_get(3)?)?,
        seq: super::to_u8(row.try_get(4)?)?,
        time_ms: row.try_get(5)?,
        tag1: row.try_get(6)?,
        area_id: super::array(row.try_get(7)?, "an AreaID")?,
    })
}

fn from_row(row: &Row) -> Result<RecordRow, Fault> {
    Ok(RecordRow {
        id: row.try_get(0)?,
        device: row.try_get(1)?,
        device_id: row.try_get::<_, Option<Vec<u8>>>(2)?.unwrap_or_default(),
        epoch: super::to_u32(row.try_get(3)?)?,
        tag1: row.try_get(4)?,
        form: super::to_u8(row.try_get(5)?)?,
        area_id: super::array(row.try_get(6)?, "an AreaID")?,
        nonce: row.try_get(7)?,
        cause: super::to_u8(row.try_get(8)?)?,
        seq: super::to_u8(row.try_get(9)?)?,
        data: row.try_get(10)?,
        accept: row.try_get(11)?,
        time_ms: row.try_get(12)?,
        repeat: row.try_get(13)?,
        gnb_id: super::to_u32(row.try_get(14)?)?,
        reader_index: super::to_u16(row.try_get(15)?)?,
        counter: row
            .try_get::<_, Option<i64>>(16)?
            .map(super::to_u32)
            .transpose()?,
        link: super::array(row.try_get(17)?, "a link")?,
    })
}
