//! The thread that has the store: it sees what is new, which subscriptions there are and who delivers them, reads pages for
//! whoever asks, and makes durable what was delivered.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use ambit_store::{DeadLetterRow, Delivered, DeliveryStore, Lease, StoreError};
use tokio::sync::{oneshot, watch};

use super::feed::{Entry, Feed, Heads, Page, Whereabouts};
use super::message::{Name, parse_name};
use super::{DeliveryConfig, Notice, Notify, Severity};
use crate::subscription::{Position, Sink, Subscription};

/// How often it is looked what is new.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How often the subscriptions are read, and what was delivered is made durable.
const TURN_EVERY: Duration = Duration::from_millis(500);

/// How often leases are renewed, where processes share the store.
const RENEW_EVERY: Duration = Duration::from_secs(2);

/// A lease whose turn stands still for so long is taken over.
const LEASE: Duration = Duration::from_secs(10);

/// Without a renewal for so long, delivery holds: another process may be about to take over.
const LEASE_HELD: Duration = Duration::from_secs(7);

/// After an error of the store.
const PAUSE: Duration = Duration::from_secs(1);

/// Pages remembered: whoever is as far as another gets the same.
const PAGES_MAX: usize = 8;

/// Dead letters tried again in one go.
const LETTERS: u32 = 256;

/// What can be asked of the keeper.
pub(super) enum Job {
    /// The page after a position.
    Page(Position, oneshot::Sender<Arc<Page>>),
    /// A subscription, as it is now.
    Find(String, oneshot::Sender<Option<Arc<Subscription>>>),
    /// Keep this; written with others.
    Delivered(Delivered),
    /// Write all that is to be kept, now.
    Flush(oneshot::Sender<()>),
    /// The dead letters of a subscription that are to be tried again, and what they name.
    Letters(String, oneshot::Sender<Vec<(DeadLetterRow, Option<Entry>)>>),
    /// Where the devices were at a position.
    Whereabouts(Position, oneshot::Sender<Option<Whereabouts>>),
    /// Say something.
    Notice(Notice),
    /// End: write, give leases back.
    Stop,
}

/// What is to be delivered here.
#[derive(Clone, Default)]
pub(super) struct Assigned {
    /// Subscriptions whose lease this process has, with how many of their dead letters wait for another try.
    pub(super) subscriptions: Vec<(Arc<Subscription>, u64)>,
}

pub(super) struct Keeper {
    config: DeliveryConfig,
    notify: Notify,
    jobs: Receiver<Job>,
    heads: watch::Sender<Heads>,
    assigned: watch::Sender<Assigned>,
    store: Option<Box<dyn DeliveryStore>>,
    feed: Feed,
    pages: VecDeque<(Position, Heads, Arc<Page>)>,
    dirty: HashMap<String, Delivered>,
    /// Leases of others: as they were seen, and since when.
    leases: HashMap<String, (Lease, Instant)>,
    turned: Option<Instant>,
    renewed: Instant,
    said: Option<&'static str>,
}

impl Keeper {
    pub(super) fn new(
        config: DeliveryConfig,
        notify: Notify,
        jobs: Receiver<Job>,
        heads: watch::Sender<Heads>,
        assigned: watch::Sender<Assigned>,
    ) -> Self {
        Self {
            config,
            notify,
            jobs,
            heads,
            assigned,
            store: None,
            feed: Feed::default(),
            pages: VecDeque::new(),
            dirty: HashMap::new(),
            leases: HashMap::new(),
            turned: None,
            renewed: Instant::now(),
            said: None,
        }
    }

    /// Runs until it is told to stop.
    pub(super) fn run(mut self) {
        let mut look_at = Instant::now();
        loop {
            let wait = look_at.saturating_duration_since(Instant::now());
            match self.jobs.recv_timeout(wait) {
                Ok(Job::Stop) | Err(RecvTimeoutError::Disconnected) => return self.stop(),
                Ok(job) => self.job(job),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if Instant::now() < look_at {
                continue;
            }
            match self.look() {
                Ok(()) => {
                    look_at = Instant::now() + LOOK_EVERY;
                    if self.said.take().is_some() {
                        (self.notify)(Notice::new(
                            "delivery_resumed",
                            Severity::Info,
                            String::new(),
                        ));
                    }
                }
                Err(error) => {
                    look_at = Instant::now() + PAUSE;
                    self.fault(&error);
                }
            }
        }
    }

    /// A store that failed is opened anew. Said once for each error.
    fn fault(&mut self, error: &StoreError) {
        self.store = None;
        self.pages.clear();
        if self.config.is_shared && self.renewed.elapsed() > LEASE_HELD {
            self.assigned.send_replace(Assigned::default());
        }
        if self.said != Some(error.name()) {
            self.said = Some(error.name());
            let detail = serde_json::json!({ "error": error.name(), "message": error.to_string() });
            (self.notify)(Notice::new(
                "delivery_halted",
                Severity::Alarm,
                detail.to_string(),
            ));
        }
    }

    fn store(&mut self) -> Result<&mut dyn DeliveryStore, StoreError> {
        let store = match self.store.take() {
            Some(store) => store,
            None => (self.config.open)()?,
        };
        Ok(self.store.insert(store).as_mut())
    }

    fn look(&mut self) -> Result<(), StoreError> {
        let heads = Heads::read(self.store()?)?;
        self.heads.send_if_modified(|known| {
            let is_new = *known != heads;
            *known = heads;
            is_new
        });
        if self.turned.is_some_and(|at| at.elapsed() < TURN_EVERY) {
            return Ok(());
        }
        if self.config.is_shared && self.renewed.elapsed() >= RENEW_EVERY {
            let owner = self.config.owner;
            self.store()?.subscriptions_renew(&owner)?;
            self.renewed = Instant::now();
        }
        self.commit()?;
        self.assign()?;
        self.turned = Some(Instant::now());
        Ok(())
    }

    /// Reads the subscriptions, takes the leases that are to be had, and says what is delivered here.
    fn assign(&mut self) -> Result<(), StoreError> {
        let (owner, is_shared) = (self.config.owner, self.config.is_shared);
        let rows = self.store()?.subscriptions()?;
        self.leases
            .retain(|id, _| rows.iter().any(|row| row.id == *id));
        let mut assigned = Assigned::default();
        for row in rows {
            let (id, lease, is_paused) = (row.id.clone(), row.lease, row.is_paused);
            let Ok(subscription) = Subscription::from_row(row) else {
                continue;
            };
            if is_paused || matches!(subscription.sink, Sink::Stream) {
                continue;
            }
            let is_held = lease.is_some_and(|lease| lease.owner == owner)
                || (self.is_free(&id, lease, is_shared)
                    && self.store()?.subscription_take(&id, &owner, lease)?);
            if is_held {
                self.leases.remove(&id);
                let (_, retried) = self.store()?.dead_letter_count(&id)?;
                assigned
                    .subscriptions
                    .push((Arc::new(subscription), retried));
            }
        }
        self.assigned.send_replace(assigned);
        Ok(())
    }

    /// Whether a lease may be taken: nobody has it, nobody else could, or its holder is gone.
    fn is_free(&mut self, id: &str, lease: Option<Lease>, is_shared: bool) -> bool {
        let Some(lease) = lease.filter(|_| is_shared) else {
            return true;
        };
        match self.leases.get(id) {
            Some((seen, since)) if *seen == lease => since.elapsed() >= LEASE,
            _ => {
                self.leases.insert(id.to_owned(), (lease, Instant::now()));
                false
            }
        }
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        if self.dirty.is_empty() {
            return Ok(());
        }
        let owner = self.config.owner;
        let delivered: Vec<Delivered> = self.dirty.values().cloned().collect();
        // Of one whose lease is lost, nothing is written: whoever has it sends again.
        self.store()?.delivery_commit(&owner, &delivered)?;
        self.dirty.clear();
        Ok(())
    }

    fn job(&mut self, job: Job) {
        match job {
            Job::Page(position, reply) => match self.page(position) {
                Ok(page) => drop(reply.send(page)),
                Err(error) => self.fault(&error),
            },
            Job::Find(id, reply) => match self.find(&id) {
                Ok(found) => drop(reply.send(found)),
                Err(error) => self.fault(&error),
            },
            Job::Delivered(delivered) => self.keep(delivered),
            Job::Flush(reply) => match self.commit() {
                Ok(()) => drop(reply.send(())),
                Err(error) => self.fault(&error),
            },
            Job::Letters(id, reply) => match self.letters(&id) {
                Ok(letters) => drop(reply.send(letters)),
                Err(error) => self.fault(&error),
            },
            Job::Whereabouts(position, reply) => self.whereabouts(position, reply),
            Job::Notice(notice) => (self.notify)(notice),
            Job::Stop => {}
        }
    }

    fn page(&mut self, position: Position) -> Result<Arc<Page>, StoreError> {
        let heads = self.heads.borrow().clone();
        let known = |(of, at, _): &&(Position, Heads, Arc<Page>)| *of == position && *at == heads;
        if let Some((_, _, page)) = self.pages.iter().find(known) {
            return Ok(Arc::clone(page));
        }
        let mut feed = std::mem::take(&mut self.feed);
        let read = self
            .store()
            .and_then(|store| feed.page(store, &position, &heads));
        self.feed = feed;
        let page = Arc::new(read?);
        if self.pages.len() == PAGES_MAX {
            self.pages.pop_front();
        }
        self.pages.push_back((position, heads, Arc::clone(&page)));
        Ok(page)
    }

    fn find(&mut self, id: &str) -> Result<Option<Arc<Subscription>>, StoreError> {
        let row = self.store()?.subscription(id)?;
        Ok(row
            .and_then(|row| Subscription::from_row(row).ok())
            .map(Arc::new))
    }

    fn keep(&mut self, delivered: Delivered) {
        let kept = self
            .dirty
            .entry(delivered.subscription.clone())
            .or_default();
        kept.subscription = delivered.subscription;
        if delivered.position.is_some() {
            kept.position = delivered.position;
        }
        kept.refused.extend(delivered.refused);
        kept.taken.extend(delivered.taken);
    }

    fn letters(&mut self, id: &str) -> Result<Vec<(DeadLetterRow, Option<Entry>)>, StoreError> {
        // What has been decided of them since is to be seen.
        self.commit()?;
        let mut letters = Vec::new();
        let mut feed = std::mem::take(&mut self.feed);
        let read = self.store().and_then(|store| {
            let mut after = String::new();
            loop {
                let page = store.dead_letters(id, &after, LETTERS)?;
                let Some(last) = page.last() else {
                    return Ok(());
                };
                after.clone_from(&last.message);
                for letter in page.into_iter().filter(|letter| letter.is_retried) {
                    let entry = match parse_name(&letter.message) {
                        Some(Name::Data(record) | Name::Presence(record, _)) => {
                            feed.record(store, record)?
                        }
                        Some(Name::Event(event)) => feed.event(store, event)?,
                        None => None,
                    };
                    letters.push((letter, entry));
                }
                if letters.len() >= LETTERS as usize {
                    return Ok(());
                }
            }
        });
        self.feed = feed;
        read.map(|()| letters)
    }

    /// Walks all records, so it is done beside: on a thread and a connection of its own.
    fn whereabouts(&self, position: Position, reply: oneshot::Sender<Option<Whereabouts>>) {
        let open = Arc::clone(&self.config.open);
        let walk = move || {
            let found = open().and_then(|mut store| Whereabouts::at(store.as_mut(), &position));
            let _ = reply.send(found.ok());
        };
        // Without a thread the reply is dropped, and asked for again.
        let _ = std::thread::Builder::new()
            .name("whereabouts".into())
            .spawn(walk);
    }

    fn stop(&mut self) {
        let owner = self.config.owner;
        // What came in last.
        while let Ok(job) = self.jobs.try_recv() {
            if let Job::Delivered(delivered) = job {
                self.keep(delivered);
            }
        }
        let _ = self.commit();
        if let Ok(store) = self.store() {
            let _ = store.subscriptions_release(&owner);
        }
    }
}
