//! The hot path: a batch of acceptance records, decided by the database.
//!
//! One statement inserts a batch and moves the writer's head, in one round trip and one commit. It is a plain insert: if any
//! key is taken, all of it is undone. Then the batch is decided step by step in a transaction: which records are there, where
//! the counters stand, what is left to insert. After a batch that had duplicates the next one is asked about first.

use super::devices;
use super::fault::Fault;
use super::link::{Connector, Link, PATIENCE, Statements};
use super::subscribers;
use super::writer::{Claimed, Found, Writer};
use crate::evidence::Content;
use crate::{EvidenceHead, Insert, NewRecord, Registered, StoreError};
use std::collections::{HashMap, HashSet};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Transaction};

/// Tries of a batch: the connection may be lost twice, and others may be in the way.
const TRIES_MAX: u32 = 16;

/// The hot path's memory.
#[derive(Default)]
pub(super) struct Acceptor {
    /// The last batch had duplicates.
    expects_duplicates: bool,
    /// The minute of record times that is known to be noted, see table `minute`.
    minute_noted: Option<i64>,
    /// The last change to a device that was followed; `None` while nobody follows.
    pub(super) followed: Option<i64>,
}

impl Acceptor {
    /// Accepts a batch; with `registered`, one record and the K_AIOT that came with it.
    pub(super) fn accept(
        &mut self,
        connector: &mut Connector,
        writer: &mut Writer,
        batch: &[NewRecord<'_>],
        outcomes: &mut Vec<Insert>,
        registered: Option<&Registered<'_>>,
    ) -> Result<(), StoreError> {
        let is_simple = registered.is_none() && is_simple(batch);
        let mut losses = 0;
        let mut is_ours = false;
        for tries in 1..=TRIES_MAX {
            let done = writer.settle(connector).and_then(|(claimed, found)| {
                if found == Found::Done && is_ours {
                    // The commit whose answer was lost a moment ago: `outcomes` still says what came of it.
                    return Ok(());
                }
                outcomes.clear();
                self.note_minutes(connector, &claimed, batch)?;
                let plan = match is_simple && !self.expects_duplicates {
                    true => Plan::Insert,
                    false => Plan::Decide,
                };
                let mut attempt = Attempt {
                    followed: self.followed,
                    session: writer.session(),
                    claimed,
                    batch,
                    outcomes,
                    head_after: None,
                };
                let done = match plan {
                    Plan::Insert => attempt.insert(connector),
                    Plan::Decide => attempt.decide(connector, registered),
                };
                let head_after = attempt.head_after;
                if let (Err(Fault::Lost(_)), Some(known)) = (&done, writer.claimed_mut()) {
                    known.in_doubt = head_after;
                    is_ours = true;
                }
                done?;
                if let (Some(head), Some(known)) = (head_after, writer.claimed_mut()) {
                    known.head = head;
                }
                Ok(())
            });
            match done {
                Ok(()) => {
                    self.expects_duplicates =
                        outcomes.iter().any(|o| !matches!(o, Insert::New { .. }));
                    return Ok(());
                }
                Err(Fault::Taken) => {
                    self.expects_duplicates = true;
                    writer.distrust();
                }
                Err(Fault::Again) => connector.back_off(tries),
                Err(Fault::Lost(_)) if losses < 1 => losses += 1,
                Err(Fault::Lost(_)) => {
                    outcomes.clear();
                    return Err(connector.unreachable());
                }
                Err(Fault::Refused(error)) => {
                    outcomes.clear();
                    return Err(error);
                }
            }
        }
        outcomes.clear();
        Err(StoreError::Busy)
    }

    /// Notes the minutes of a batch ahead of it. Should the batch then fail, the note is early, which does no harm.
    fn note_minutes(
        &mut self,
        connector: &mut Connector,
        claimed: &Claimed,
        batch: &[NewRecord<'_>],
    ) -> Result<(), Fault> {
        for record in batch {
            let minute = super::records::minute(record.time_ms);
            if self.minute_noted == Some(minute) {
                continue;
            }
            let (writer, next) = (claimed.writer, claimed.head.record + 1);
            connector.attempt(PATIENCE, async |link: &mut Link| {
                link.client
                    .execute(
                        "INSERT INTO minute (writer, minute, record) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
                        &[&writer, &minute, &next],
                    )
                    .await?;
                Ok(())
            })?;
            self.minute_noted = Some(minute);
        }
        Ok(())
    }
}

enum Plan {
    Insert,
    Decide,
}

/// Whether nothing but the keys decides, and no two of the batch are the same.
fn is_simple(batch: &[NewRecord<'_>]) -> bool {
    let mut keys = HashSet::with_capacity(batch.len());
    batch
        .iter()
        .all(|r| r.counter.is_none() && keys.insert((r.device, r.epoch, r.tag1)))
}

/// One try of a batch.
struct Attempt<'a, 'b> {
    followed: Option<i64>,
    session: &'a [u8; 16],
    claimed: Claimed,
    batch: &'a [NewRecord<'b>],
    outcomes: &'a mut Vec<Insert>,
    /// Where the writer's head is once this is committed.
    head_after: Option<EvidenceHead>,
}

impl Attempt<'_, '_> {
    /// All of the batch or nothing, in one statement.
    fn insert(&mut self, connector: &mut Connector) -> Result<(), Fault> {
        let mut columns = Columns::new(self.claimed.head, self.batch.len());
        for record in self.batch {
            let id = columns.push(record);
            self.outcomes.push(Insert::New { id });
        }
        self.head_after = Some(columns.head);
        let (claimed, session, followed) = (self.claimed, self.session, self.followed);
        connector.attempt(PATIENCE, async |link: &mut Link| {
            let Link { client, statements } = link;
            columns
                .insert(client, statements, &claimed, session, followed)
                .await
        })
    }

    /// Step by step: what is there already, where the counters stand, what is left.
    fn decide(
        &mut self,
        connector: &mut Connector,
        registered: Option<&Registered<'_>>,
    ) -> Result<(), Fault> {
        connector.attempt(PATIENCE, async |link: &mut Link| {
            let Link { client, statements } = link;
            let t = client.transaction().await?;
            // Their rows are locked first, so that what is read after that is what the one before us left.
            let mut counters = counters(&t, statements, self.batch).await?;
            let mut known = known(&t, statements, self.batch).await?;
            let changed = match self.followed {
                None => HashSet::new(),
                Some(followed) => {
                    let devices: Vec<i64> = self.batch.iter().map(|r| r.device).collect();
                    devices::changed_of(&t, statements, &devices, followed).await?
                }
            };
            let mut columns = Columns::new(self.claimed.head, self.batch.len());
            let mut moved = HashMap::new();
            if let Some(registered) = registered
                && subscribers::is_stale(&t, self.batch, registered).await?
            {
                self.outcomes.push(Insert::StaleChallenge);
                return Ok(());
            }
            for record in self.batch {
                let key = (record.device, record.epoch, record.tag1);
                let outcome = if changed.contains(&record.device) {
                    Insert::DeviceChanged
                } else if let Some(accept) = known.get(&key) {
                    Insert::Duplicate {
                        accept: accept.clone(),
                    }
                } else {
                    match (record.counter, counters.get(&record.device)) {
                        (Some(counter), Some(last)) if last.counter >= counter => {
                            resent_or_stale(last, record, counter)
                        }
                        _ => Insert::New {
                            id: columns.push(record),
                        },
                    }
                };
                if let Insert::New { id } = outcome {
                    known.insert(key, record.accept.to_vec());
                    if let Some(counter) = record.counter {
                        moved.insert(record.device, (counter, id));
                        let last = Last {
                            counter,
                            tag1: record.tag1.to_vec(),
                            accept: record.accept.to_vec(),
                        };
                        counters.insert(record.device, last);
                    }
                }
                self.outcomes.push(outcome);
            }
            if !columns.ids.is_empty() {
                columns
                    .insert(t.client(), statements, &self.claimed, self.session, None)
                    .await?;
                move_counters(&t, statements, &moved).await?;
            }
            if let (Some(registered), [record], [Insert::New { .. }]) =
                (registered, self.batch, &self.outcomes[..])
            {
                subscribers::registered(&t, record, registered).await?;
            }
            // From here on it may be done though nobody says so.
            self.head_after = Some(columns.head);
            Ok(t.commit().await?)
        })
    }
}

/// A counter that was accepted, and the report that came with it.
struct Last {
    counter: u32,
    tag1: Vec<u8>,
    accept: Vec<u8>,
}

/// A resend may come under another epoch than the record has: the blind form is bound to none.
fn resent_or_stale(last: &Last, record: &NewRecord<'_>, counter: u32) -> Insert {
    if last.counter == counter && last.tag1 == record.tag1 {
        Insert::Duplicate {
            accept: last.accept.clone(),
        }
    } else {
        Insert::StaleCounter { last: last.counter }
    }
}

/// Locks the counters of a batch, in the order of the devices, and reads them.
async fn counters(
    t: &Transaction<'_>,
    statements: &mut Statements,
    batch: &[NewRecord<'_>],
) -> Result<HashMap<i64, Last>, Fault> {
    let mut found = HashMap::new();
    let counted = batch.iter().filter(|r| r.counter.is_some());
    let devices: Vec<i64> = counted.map(|r| r.device).collect();
    if devices.is_empty() {
        return Ok(found);
    }
    let lock = statements
        .of(
            t,
            "SELECT device, last, record FROM counter WHERE device = ANY($1) ORDER BY device FOR UPDATE",
        )
        .await?;
    let mut by_record = HashMap::new();
    for row in t.query(&lock, &[&devices]).await? {
        let (device, last): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        by_record.insert(row.try_get::<_, i64>(2)?, (device, super::to_u32(last)?));
    }
    let ids: Vec<i64> = by_record.keys().copied().collect();
    let read = statements
        .of(t, "SELECT id, tag1, accept FROM record WHERE id = ANY($1)")
        .await?;
    for row in t.query(&read, &[&ids]).await? {
        if let Some((device, counter)) = by_record.remove(&row.try_get(0)?) {
            let (tag1, accept) = (row.try_get(1)?, row.try_get(2)?);
            let last = Last {
                counter,
                tag1,
                accept,
            };
            found.insert(device, last);
        }
    }
    // Their records are no longer kept: the counters still count.
    for (device, counter) in by_record.into_values() {
        let last = Last {
            counter,
            tag1: Vec::new(),
            accept: Vec::new(),
        };
        found.insert(device, last);
    }
    Ok(found)
}

/// The ACCEPTs of those records of a batch that are there.
async fn known<'b>(
    t: &Transaction<'_>,
    statements: &mut Statements,
    batch: &[NewRecord<'b>],
) -> Result<HashMap<(i64, u32, &'b [u8]), Vec<u8>>, Fault> {
    let devices: Vec<i64> = batch.iter().map(|r| r.device).collect();
    let epochs: Vec<i64> = batch.iter().map(|r| r.epoch.into()).collect();
    let tags: Vec<&[u8]> = batch.iter().map(|r| r.tag1).collect();
    let places: Vec<i32> = (0..).take(batch.len()).collect();
    let read = statements
        .of(
            t,
            "SELECT b.place, r.accept FROM unnest($1::BIGINT[], $2::BIGINT[], $3::BYTEA[], $4::INTEGER[]) \
             AS b (device, epoch, tag1, place) \
             JOIN record r ON r.device = b.device AND r.epoch = b.epoch AND r.tag1 = b.tag1",
        )
        .await?;
    let mut known = HashMap::new();
    for row in t.query(&read, &[&devices, &epochs, &tags, &places]).await? {
        let place = usize::try_from(row.try_get::<_, i32>(0)?).unwrap_or(usize::MAX);
        if let Some(r) = batch.get(place) {
            known.insert((r.device, r.epoch, r.tag1), row.try_get(1)?);
        }
    }
    Ok(known)
}

/// Moves counters. One that another process has moved further meanwhile undoes the batch, which is then decided anew.
async fn move_counters(
    t: &Transaction<'_>,
    statements: &mut Statements,
    moved: &HashMap<i64, (u32, i64)>,
) -> Result<(), Fault> {
    if moved.is_empty() {
        return Ok(());
    }
    let mut rows: Vec<(i64, i64, i64)> = moved
        .iter()
        .map(|(device, (counter, id))| (*device, i64::from(*counter), *id))
        .collect();
    rows.sort_unstable();
    let devices: Vec<i64> = rows.iter().map(|row| row.0).collect();
    let counters: Vec<i64> = rows.iter().map(|row| row.1).collect();
    let records: Vec<i64> = rows.iter().map(|row| row.2).collect();
    let upsert = statements
        .of(
            t,
            "INSERT INTO counter (device, last, record) SELECT * FROM unnest($1::BIGINT[], $2::BIGINT[], $3::BIGINT[]) \
             ON CONFLICT (device) DO UPDATE SET last = excluded.last, record = excluded.record \
             WHERE counter.last < excluded.last",
        )
        .await?;
    let count = t.execute(&upsert, &[&devices, &counters, &records]).await?;
    if count != rows.len() as u64 {
        return Err(Fault::Again);
    }
    Ok(())
}

/// Rows to insert, by column: each column travels as one array.
struct Columns<'b> {
    head: EvidenceHead,
    devices: Vec<i64>,
    epochs: Vec<i64>,
    tags: Vec<&'b [u8]>,
    ids: Vec<i64>,
    forms: Vec<i16>,
    areas: Vec<&'b [u8]>,
    nonces: Vec<&'b [u8]>,
    causes: Vec<i16>,
    seqs: Vec<i16>,
    datas: Vec<&'b [u8]>,
    accepts: Vec<&'b [u8]>,
    times: Vec<i64>,
    repeats: Vec<bool>,
    gnbs: Vec<i64>,
    readers: Vec<i32>,
    counters: Vec<Option<i64>>,
    links: Vec<[u8; 32]>,
}

/// Inserts nothing where the writer's row is not as this process believes, or a device has changed that it does not know of.
const INSERT: &str = "WITH moved AS (UPDATE writer SET head = $4, link = $5 \
     WHERE writer = $1 AND session = $2 AND head = $3 AND ($23::BIGINT IS NULL OR $23 >= \
     (SELECT last FROM allocation WHERE name = 'change')) RETURNING writer) \
     INSERT INTO record (device, epoch, tag1, id, form, area_id, nonce, cause, seq, data, accept, time_ms, repeat, gnb_id, \
     reader_index, counter, link) \
     SELECT b.device, b.epoch, b.tag1, b.id, b.form, b.area_id, b.nonce, b.cause, b.seq, b.data, b.accept, b.time_ms, \
     b.repeat, b.gnb_id, b.reader_index, b.counter, b.link \
     FROM unnest($6::BIGINT[], $7::BIGINT[], $8::BYTEA[], $9::BIGINT[], $10::SMALLINT[], $11::BYTEA[], $12::BYTEA[], \
     $13::SMALLINT[], $14::SMALLINT[], $15::BYTEA[], $16::BYTEA[], $17::BIGINT[], $18::BOOLEAN[], $19::BIGINT[], \
     $20::INTEGER[], $21::BIGINT[], $22::BYTEA[]) \
     AS b (device, epoch, tag1, id, form, area_id, nonce, cause, seq, data, accept, time_ms, repeat, gnb_id, reader_index, \
     counter, link), moved";

impl<'b> Columns<'b> {
    fn new(head: EvidenceHead, len: usize) -> Self {
        Self {
            head,
            devices: Vec::with_capacity(len),
            epochs: Vec::with_capacity(len),
            tags: Vec::with_capacity(len),
            ids: Vec::with_capacity(len),
            forms: Vec::with_capacity(len),
            areas: Vec::with_capacity(len),
            nonces: Vec::with_capacity(len),
            causes: Vec::with_capacity(len),
            seqs: Vec::with_capacity(len),
            datas: Vec::with_capacity(len),
            accepts: Vec::with_capacity(len),
            times: Vec::with_capacity(len),
            repeats: Vec::with_capacity(len),
            gnbs: Vec::with_capacity(len),
            readers: Vec::with_capacity(len),
            counters: Vec::with_capacity(len),
            links: Vec::with_capacity(len),
        }
    }

    /// Adds a record, links it to the one before, and returns its id.
    fn push(&mut self, r: &'b NewRecord<'_>) -> i64 {
        let id = self.head.record + 1;
        self.head = self.head.next(&Content::of_new(id, r));
        self.devices.push(r.device);
        self.epochs.push(r.epoch.into());
        self.tags.push(r.tag1);
        self.ids.push(id);
        self.forms.push(r.form.into());
        self.areas.push(&r.area_id);
        self.nonces.push(r.nonce);
        self.causes.push(r.cause.into());
        self.seqs.push(r.seq.into());
        self.datas.push(r.data);
        self.accepts.push(r.accept);
        self.times.push(r.time_ms);
        self.repeats.push(r.repeat);
        self.gnbs.push(r.gnb_id.into());
        self.readers.push(r.reader_index.into());
        self.counters.push(r.counter.map(i64::from));
        self.links.push(self.head.link);
        id
    }

    /// One statement: the rows, and the writer's head.
    async fn insert(
        &self,
        client: &Client,
        statements: &mut Statements,
        claimed: &Claimed,
        session: &[u8; 16],
        followed: Option<i64>,
    ) -> Result<(), Fault> {
        let statement = statements.of_client(client, INSERT).await?;
        let links: Vec<&[u8]> = self.links.iter().map(|link| &link[..]).collect();
        let parameters: [&(dyn ToSql + Sync); 23] = [
            &claimed.writer,
            &&session[..],
            &claimed.head.record,
            &self.head.record,
            &&self.head.link[..],
            &self.devices,
            &self.epochs,
            &self.tags,
            &self.ids,
            &self.forms,
            &self.areas,
            &self.nonces,
            &self.causes,
            &self.seqs,
            &self.datas,
            &self.accepts,
            &self.times,
            &self.repeats,
            &self.gnbs,
            &self.readers,
            &self.counters,
            &links,
            &followed,
        ];
        let count = client.execute(&statement, &parameters).await?;
        match count == self.ids.len() as u64 {
            true => Ok(()),
            // The writer is another's now, its head is not where it was, or a device has changed: that is looked into.
            false => Err(Fault::Taken),
        }
    }
}
