//! The shared store: a database that speaks PostgreSQL's wire, for several processes at once.
//!
//! A call makes the connection when there is none, repeats what other transactions got in the way of, and fails with
//! [`StoreError::Unreachable`] when the database is gone: at once, or after a few seconds of silence. Nothing is guessed
//! meanwhile. A commit whose answer was lost is looked up before anything else is done, see `writer`.

mod accept;
mod afs;
mod alarms;
mod chains;
mod commands;
mod delivery;
mod devices;
mod events;
mod evidence;
mod fault;
mod link;
mod migrate;
mod records;
mod subscribers;
mod url;
mod writer;

use crate::checks;
use crate::{
    AfRow, AlarmRow, ChainRow, Challenge, CheckpointRow, CommandEnd, CommandEnded, CommandFilter,
    CommandRow, DeviceRow, EventFilter, EventRow, EvidenceFault, EvidenceHead, Insert, LastRecord,
    NewCommand, NewDevice, NewEvent, NewRecord, NewSubscriber, RecordFilter, RecordRow, Registered,
    Store, StoreError, SubscriberRow,
};
use accept::Acceptor;
use fault::Fault;
use link::{Connector, Link, PATIENCE, PATIENCE_BULK};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};
use tokio_postgres::Transaction;
use writer::{Writer, stated};

pub use url::PostgresUrl;

/// How long it holds what was last seen of other processes.
const OTHERS_FOR: Duration = Duration::from_secs(1);

/// The shared store. Any number of processes may open one database; each numbers and links its own records.
pub struct PostgresStore {
    connector: Connector,
    writer: Writer,
    acceptor: Acceptor,
    is_read_only: bool,
    /// Whose records are walked, if not everybody's.
    only: Option<[u8; 16]>,
    /// The newest minute in which another process accepted something, and when that was looked up.
    others: Option<(Instant, Option<i64>)>,
    /// Time of the last batch whose caller was not told that it went in.
    untold_ms: Option<i64>,
}

impl PostgresStore {
    /// Opens the store, makes its tables if there are none, and brings an older schema up to date.
    ///
    /// `owner` names the place this process runs from, so that it takes its numbering up again when it comes back; no two
    /// processes may have one owner at the same time. Without it, it is a new one each time.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`], [`StoreError::NewerVersion`].
    pub fn open(url: &PostgresUrl, owner: Option<[u8; 16]>) -> Result<Self, StoreError> {
        let mut store = Self::over(url, owner, false)?;
        migrate::migrate(&mut store.connector)?;
        Ok(store)
    }

    /// Opens the store for reading. Whatever writes fails with [`StoreError::ReadOnly`].
    ///
    /// # Errors
    /// Those of [`PostgresStore::open`], and [`StoreError::OlderVersion`].
    pub fn open_read_only(url: &PostgresUrl) -> Result<Self, StoreError> {
        let mut store = Self::over(url, None, true)?;
        migrate::check(&mut store.connector)?;
        Ok(store)
    }

    /// Opens the store for reading, with the records of one owner alone.
    ///
    /// # Errors
    /// Those of [`PostgresStore::open_read_only`].
    pub fn open_records_of(url: &PostgresUrl, owner: [u8; 16]) -> Result<Self, StoreError> {
        let mut store = Self::open_read_only(url)?;
        store.only = Some(owner);
        Ok(store)
    }

    fn over(
        url: &PostgresUrl,
        owner: Option<[u8; 16]>,
        is_read_only: bool,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            connector: Connector::new(url.clone())?,
            writer: Writer::new(owner)?,
            acceptor: Acceptor::default(),
            is_read_only,
            only: None,
            others: None,
            untold_ms: None,
        })
    }

    fn read<T>(
        &mut self,
        work: impl AsyncFnMut(&mut Link) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        self.connector.run(PATIENCE, work)
    }

    fn write<T>(
        &mut self,
        patience: Duration,
        work: impl AsyncFnMut(&mut Link) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        self.may_write()?;
        self.connector.run(patience, work)
    }

    /// Walks rows page by page, in the order of a number they have.
    fn walk<T>(
        &mut self,
        page_len: usize,
        number: fn(&T) -> i64,
        page: impl AsyncFnMut(&mut Link, i64) -> Result<Vec<T>, Fault>,
        f: &mut dyn FnMut(T) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.walk_from(0, page_len, number, page, f)
    }

    /// The same from the row after a number.
    fn walk_from<T>(
        &mut self,
        mut after: i64,
        page_len: usize,
        number: fn(&T) -> i64,
        mut page: impl AsyncFnMut(&mut Link, i64) -> Result<Vec<T>, Fault>,
        f: &mut dyn FnMut(T) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        loop {
            let rows = self.read(async |link| page(link, after).await)?;
            let is_last = rows.len() < page_len;
            for row in rows {
                after = number(&row);
                if f(row).is_break() {
                    return Ok(());
                }
            }
            if is_last {
                return Ok(());
            }
        }
    }

    const fn may_write(&self) -> Result<(), StoreError> {
        match self.is_read_only {
            true => Err(StoreError::ReadOnly),
            false => Ok(()),
        }
    }

    fn accept_with(
        &mut self,
        batch: &[NewRecord<'_>],
        outcomes: &mut Vec<Insert>,
        registered: Option<&Registered<'_>>,
    ) -> Result<(), StoreError> {
        outcomes.clear();
        self.may_write()?;
        let Some(first) = batch.first() else {
            return Ok(());
        };
        checks::records(batch)?;
        let done = self.acceptor.accept(
            &mut self.connector,
            &mut self.writer,
            batch,
            outcomes,
            registered,
        );
        if done.is_err() {
            self.untold_ms = Some(first.time_ms);
        }
        done
    }

    /// Whether records may be there, from `since_ms` on, that this process was not told of.
    fn has_others(&mut self, since_ms: i64) -> Result<bool, StoreError> {
        if self.untold_ms.is_some_and(|at| at >= since_ms) {
            return Ok(true);
        }
        let writer = self.writer.claimed().map_or(-1, |claimed| claimed.writer);
        let newest = match self.others {
            Some((at, newest)) if at.elapsed() < OTHERS_FOR => newest,
            _ => {
                let newest =
                    self.read(async |link| records::minute_of_others(link, writer).await)?;
                self.others = Some((Instant::now(), newest));
                newest
            }
        };
        Ok(newest.is_some_and(|newest| newest >= records::minute(since_ms)))
    }
}

impl Store for PostgresStore {
    fn accept(
        &mut self,
        batch: &[NewRecord<'_>],
        outcomes: &mut Vec<Insert>,
    ) -> Result<(), StoreError> {
        self.accept_with(batch, outcomes, None)
    }

    fn records_by_others(
        &mut self,
        devices: &[i64],
        since_epoch: u32,
        since_ms: i64,
        f: &mut dyn FnMut(LastRecord),
    ) -> Result<(), StoreError> {
        if !self.has_others(since_ms)? {
            return Ok(());
        }
        let records = self
            .read(async |link| records::of_devices(link, devices, since_epoch, since_ms).await)?;
        records.into_iter().for_each(f);
        Ok(())
    }

    fn devices_insert(&mut self, devices: &[NewDevice<'_>]) -> Result<Vec<i64>, StoreError> {
        checks::devices(devices, &["operator", "uicc-aiot"])?;
        self.write(PATIENCE_BULK, async |link| {
            let t = link.client.transaction().await?;
            match devices::insert(&t, devices).await? {
                devices::Inserted::New(ids) => {
                    t.commit().await?;
                    Ok(ids)
                }
                devices::Inserted::Before(ids) => Ok(ids),
            }
        })
    }

    fn device(&mut self, device_id: &[u8]) -> Result<Option<DeviceRow>, StoreError> {
        self.read(async |link| devices::by_id(link, device_id).await)
    }

    fn devices_for_each(
        &mut self,
        f: &mut dyn FnMut(DeviceRow) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.walk(
            devices::PAGE,
            |row| row.id,
            async |link, after| devices::page(link, after).await,
            f,
        )
    }

    fn device_changes(
        &mut self,
        after: i64,
        f: &mut dyn FnMut(DeviceRow) -> ControlFlow<()>,
    ) -> Result<i64, StoreError> {
        let mut followed = after;
        if self.read(devices::last_change)? > after {
            self.walk_from(
                after,
                devices::PAGE,
                |row: &DeviceRow| row.change,
                async |link, after| devices::changed_page(link, after).await,
                &mut |row: DeviceRow| {
                    followed = row.change;
                    f(row)
                },
            )?;
        }
        self.acceptor.followed = Some(followed);
        Ok(followed)
    }

    fn device_count(&mut self) -> Result<u64, StoreError> {
        self.read(devices::count)
    }

    fn device_set_disabled(&mut self, device: i64, disabled: bool) -> Result<(), StoreError> {
        self.write(PATIENCE, async |link| {
            devices::set_disabled(link, device, disabled).await
        })
    }

    fn device_set_key(&mut self, device: i64, wrapped_key: &[u8]) -> Result<u32, StoreError> {
        self.write(PATIENCE, async |link| {
            let t = link.client.transaction().await?;
            let version = devices::set_key(&t, device, wrapped_key).await?;
            t.commit().await?;
            Ok(version)
        })
    }

    fn subscribers_insert(
        &mut self,
        devices: &[NewDevice<'_>],
        subscribers: &[NewSubscriber<'_>],
    ) -> Result<Vec<i64>, StoreError> {
        checks::devices(devices, &["uicc"])?;
        checks::subscribers(devices, subscribers)?;
        self.write(PATIENCE_BULK, async |link| {
            subscribers::insert(link, devices, subscribers).await
        })
    }

    fn subscriber(&mut self, supi: &str) -> Result<Option<SubscriberRow>, StoreError> {
        self.read(async |link| subscribers::by_supi(link, supi).await)
    }

    fn subscribers_for_each(
        &mut self,
        f: &mut dyn FnMut(SubscriberRow) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.walk(
            subscribers::PAGE,
            |row| row.device,
            async |link, after| subscribers::page(link, after).await,
            f,
        )
    }

    fn sqn_allocate(&mut self, device: i64) -> Result<Challenge, StoreError> {
        self.write(PATIENCE, async |link| {
            subscribers::allocate(link, device).await
        })
    }

    fn sqn_resync(&mut self, device: i64, sqn_ms: u64) -> Result<bool, StoreError> {
        self.write(PATIENCE, async |link| {
            subscribers::resync(link, device, sqn_ms).await
        })
    }

    fn registration_commit(
        &mut self,
        record: &NewRecord<'_>,
        registered: &Registered<'_>,
    ) -> Result<Insert, StoreError> {
        let mut outcomes = Vec::with_capacity(1);
        self.accept_with(
            std::slice::from_ref(record),
            &mut outcomes,
            Some(registered),
        )?;
        Ok(outcomes.pop().unwrap_or(Insert::StaleChallenge))
    }

    fn last_records(
        &mut self,
        since_ms: i64,
        f: &mut dyn FnMut(LastRecord),
    ) -> Result<(), StoreError> {
        records::last(&mut self.connector, since_ms, f)
    }

    fn record(
        &mut self,
        device: i64,
        epoch: u32,
        tag1: &[u8],
    ) -> Result<Option<RecordRow>, StoreError> {
        self.read(async |link| records::by_key(link, device, epoch, tag1).await)
    }

    fn records_for_each(
        &mut self,
        filter: &RecordFilter<'_>,
        f: &mut dyn FnMut(RecordRow) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        records::for_each(&mut self.connector, filter, self.only.as_ref(), f)
    }

    fn record_count(&mut self) -> Result<u64, StoreError> {
        records::count(&mut self.connector)
    }

    /// That of this process, as a writer; of a store that is only read, that of its last writer, or of the one that is followed.
    fn evidence_head(&mut self) -> Result<EvidenceHead, StoreError> {
        if let Some(claimed) = self.writer.claimed() {
            return Ok(stated(claimed.head));
        }
        match self.is_read_only {
            true => {
                let only = self.only;
                self.read(async |link| evidence::last_head(link, only).await)
            }
            false => Ok(EvidenceHead::default()),
        }
    }

    fn checkpoint_insert(&mut self, checkpoint: &CheckpointRow) -> Result<(), StoreError> {
        self.write(PATIENCE, async |link| {
            evidence::checkpoint_insert(link, checkpoint).await
        })
    }

    fn checkpoints_for_each(
        &mut self,
        record: i64,
        f: &mut dyn FnMut(CheckpointRow) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        for checkpoint in evidence::checkpoints(&mut self.connector, record, i64::MAX)? {
            if f(checkpoint).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn evidence_verify(
        &mut self,
        is_signed: &mut dyn FnMut(&CheckpointRow) -> bool,
        fault: &mut dyn FnMut(EvidenceFault),
    ) -> Result<EvidenceHead, StoreError> {
        let own = self.writer.claimed().map(|claimed| claimed.writer);
        evidence::verify(&mut self.connector, own, is_signed, fault)
    }

    fn events_insert(&mut self, events: &[NewEvent<'_>]) -> Result<(), StoreError> {
        if events.is_empty() {
            return Ok(());
        }
        self.write(PATIENCE, async |link| events::insert(link, events).await)
    }

    fn events_for_each(
        &mut self,
        filter: &EventFilter<'_>,
        f: &mut dyn FnMut(EventRow) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.walk(
            events::PAGE,
            |row| row.id,
            async |link, after| events::page(link, filter, after).await,
            f,
        )
    }

    fn alarms_for_each(
        &mut self,
        with_acked: bool,
        f: &mut dyn FnMut(AlarmRow) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.walk(
            alarms::PAGE,
            |row| row.id,
            async |link, after| alarms::page(link, with_acked, after).await,
            f,
        )
    }

    fn alarm_ack(
        &mut self,
        id: i64,
        by: &str,
        now_ms: i64,
    ) -> Result<Option<AlarmRow>, StoreError> {
        self.write(PATIENCE, async |link| {
            alarms::ack(link, id, by, now_ms).await
        })
    }

    fn af_insert(&mut self, af: &AfRow) -> Result<(), StoreError> {
        checks::af(af)?;
        self.write(PATIENCE, async |link| afs::insert(link, af).await)
    }

    fn af_update(&mut self, af: &AfRow) -> Result<(), StoreError> {
        checks::af(af)?;
        self.write(PATIENCE, async |link| afs::update(link, af).await)
    }

    fn af_remove(&mut self, name: &str) -> Result<(), StoreError> {
        self.write(PATIENCE, async |link| afs::remove(link, name).await)
    }

    fn af(&mut self, name: &str) -> Result<Option<AfRow>, StoreError> {
        self.read(async |link| afs::by_name(link, name).await)
    }

    fn af_by_client(&mut self, client_id: &str) -> Result<Option<AfRow>, StoreError> {
        self.read(async |link| afs::by_client(link, client_id).await)
    }

    fn afs_for_each(
        &mut self,
        f: &mut dyn FnMut(AfRow) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        for af in self.read(async |link| afs::all(link).await)? {
            if f(af).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn commands_keep(&mut self, commands: &[NewCommand<'_>]) -> Result<Vec<i64>, StoreError> {
        checks::commands(commands)?;
        self.write(PATIENCE, async |link| {
            let t = link.client.transaction().await?;
            let ids = commands::keep(&t, commands).await?;
            t.commit().await?;
            Ok(ids)
        })
    }

    fn commands_for_each(
        &mut self,
        filter: &CommandFilter,
        f: &mut dyn FnMut(CommandRow) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.walk(
            commands::PAGE,
            |row| row.id,
            async |link, after| commands::page(link, filter, after).await,
            f,
        )
    }

    fn command_give(
        &mut self,
        id: i64,
        record: (u32, &[u8]),
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        self.write(PATIENCE, async |link| {
            commands::give(link, id, record, now_ms).await
        })
    }

    fn command_end(
        &mut self,
        id: i64,
        end: &CommandEnd<'_>,
        now_ms: i64,
    ) -> Result<CommandEnded, StoreError> {
        self.write(PATIENCE, async |link| {
            let t = link.client.transaction().await?;
            let ended = commands::end(&t, id, end, now_ms).await?;
            t.commit().await?;
            Ok(ended)
        })
    }

    fn chain(&mut self, snid: &[u8; 9]) -> Result<Option<ChainRow>, StoreError> {
        self.read(async |link| chains::newest(link, snid).await)
    }

    fn chain_insert(&mut self, chain: &ChainRow) -> Result<(), StoreError> {
        checks::chain(chain)?;
        self.write(PATIENCE, async |link| chains::insert(link, chain).await)
    }

    fn chain_set_epoch(&mut self, snid: &[u8; 9], epoch: u32) -> Result<(), StoreError> {
        self.write(PATIENCE, async |link| {
            chains::set_epoch(link, snid, epoch).await
        })
    }

    fn meta(&mut self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(async |link| chains::meta(link, name).await)
    }

    fn meta_set(&mut self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        self.write(PATIENCE, async |link| {
            chains::meta_set(link, name, value).await
        })
    }

    fn meta_init(&mut self, name: &str, value: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.write(PATIENCE, async |link| {
            chains::meta_init(link, name, value).await
        })
    }
}

impl std::fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PostgresStore({})", self.connector.url)
    }
}

/// Takes a block of numbers, and returns the first. Whoever wants some of these waits until the transaction ends.
async fn allocate(t: &Transaction<'_>, name: &str, count: i64) -> Result<i64, Fault> {
    let row = t
        .query_one(
            "UPDATE allocation SET last = last + $2 WHERE name = $1 RETURNING last",
            &[&name, &count],
        )
        .await?;
    Ok(row.try_get::<_, i64>(0)? - count + 1)
}

/// A value out of range: no column of ours ever held it.
fn corrupt(what: &str) -> StoreError {
    StoreError::Corrupt {
        detail: format!("{what} has a value that was never written"),
    }
}

fn to_u32(value: i64) -> Result<u32, StoreError> {
    u32::try_from(value).map_err(|_| corrupt("a number"))
}

fn to_u16(value: i32) -> Result<u16, StoreError> {
    u16::try_from(value).map_err(|_| corrupt("a number"))
}

fn to_u8(value: i16) -> Result<u8, StoreError> {
    u8::try_from(value).map_err(|_| corrupt("a number"))
}

fn array<const N: usize>(octets: &[u8], what: &str) -> Result<[u8; N], StoreError> {
    octets.try_into().map_err(|_| corrupt(what))
}
