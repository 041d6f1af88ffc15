//! Server-sent events. Whoever reads knows how far he is: each event's id is the position behind it, and a browser that lost its
//! connection names the last one it saw (`Last-Event-ID`). So nothing is kept here for a reader, and any number may read.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::feed::{Heads, Page, Whereabouts};
use super::keeper::Job;
use super::message::Selector;
use super::{DeliveryConfig, Tally};
use crate::subscription::{DeliveryKey, Entitlements, Position, Sink, Subscription, What, writer};

/// When nothing is to be told, something is sent all the same so often: the ends of the connection see that they are there.
const BEAT_EVERY: Duration = Duration::from_secs(15);

/// How often it is looked whether the subscription is still there.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How long the store may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Pieces of text that wait for a reader. One that is slow is not read ahead for.
const AHEAD: usize = 2;

/// The longest `Last-Event-ID`, in octets.
const LAST_ID_OCTETS_MAX: usize = 4096;

/// Opens streams.
#[derive(Clone)]
pub struct Streams {
    jobs: Sender<Job>,
    heads: watch::Receiver<Heads>,
    entitlements: Arc<dyn Entitlements>,
    key: DeliveryKey,
    source: Arc<str>,
    tally: Tally,
}

/// Why there is no stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// No such stream, or not its token: which of the two is not said.
    #[error("there is no stream of this name and token")]
    Unauthorized,
    /// `Last-Event-ID` is none that was given out.
    #[error("Last-Event-ID: is none that was given out")]
    LastEventId,
    /// Nothing is delivered for now.
    #[error("the subscription is paused")]
    Paused,
    /// The store gives no answer.
    #[error("the store gives no answer")]
    Unavailable,
}

impl Streams {
    pub(super) fn new(
        config: &DeliveryConfig,
        jobs: Sender<Job>,
        heads: watch::Receiver<Heads>,
        tally: Tally,
    ) -> Self {
        Self {
            jobs,
            heads,
            entitlements: Arc::clone(&config.entitlements),
            key: config.key.clone(),
            source: config.source.as_str().into(),
            tally,
        }
    }

    /// What became of messages so far, to whatever sink.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Opens a subscription's stream behind the last event that the reader saw, or from the subscription's beginning, or with
    /// `from_now` at what comes next.
    ///
    /// # Errors
    /// [`StreamError`].
    pub async fn open(
        &self,
        id: &str,
        token: &str,
        last_event_id: Option<&str>,
        from_now: bool,
    ) -> Result<EventStream, StreamError> {
        let expected = self.key.stream_token(id);
        if !is_same(expected.as_bytes(), token.as_bytes()) {
            return Err(StreamError::Unauthorized);
        }
        let subscription = self.find(id).await?;
        self.begin(subscription, last_event_id, from_now)
    }

    /// The same for the AF that the subscription belongs to, which shows who it is elsewhere.
    ///
    /// # Errors
    /// [`StreamError`]; another's subscription is as one that is not there.
    pub async fn open_for(
        &self,
        af: &str,
        id: &str,
        last_event_id: Option<&str>,
        from_now: bool,
    ) -> Result<EventStream, StreamError> {
        let subscription = self.find_of(Some(af), id).await?;
        self.begin(subscription, last_event_id, from_now)
    }

    fn begin(
        &self,
        subscription: Arc<Subscription>,
        last_event_id: Option<&str>,
        from_now: bool,
    ) -> Result<EventStream, StreamError> {
        let position = match last_event_id {
            Some(text) => self.place(text)?,
            None if from_now => {
                let heads = self.heads.borrow();
                let mut position = Position {
                    events: heads.event,
                    ..Position::default()
                };
                heads
                    .records
                    .iter()
                    .for_each(|head| position.pass_record(*head));
                position
            }
            None => subscription.position.clone(),
        };
        Ok(EventStream {
            subscription,
            selector: None,
            streams: self.clone(),
            position,
            looked: Instant::now(),
            has_begun: false,
        })
    }

    /// A position that a reader names: none beyond what there is.
    fn place(&self, text: &str) -> Result<Position, StreamError> {
        if text.len() > LAST_ID_OCTETS_MAX {
            return Err(StreamError::LastEventId);
        }
        let mut position: Position =
            serde_json::from_str(text).map_err(|_| StreamError::LastEventId)?;
        position.octets = None;
        let heads = self.heads.borrow();
        let is_of = |(of, id): (&i64, &i64)| writer(*id) == *of;
        let is_known = position.events <= heads.event
            && position.events >= 0
            && position.records.keys().all(|of| (0..1 << 20).contains(of))
            && position.records.iter().all(is_of);
        match is_known {
            true => Ok(position),
            false => Err(StreamError::LastEventId),
        }
    }

    async fn find(&self, id: &str) -> Result<Arc<Subscription>, StreamError> {
        self.find_of(None, id).await
    }

    /// A stream, of this AF if one is named.
    async fn find_of(&self, af: Option<&str>, id: &str) -> Result<Arc<Subscription>, StreamError> {
        let (reply, found) = oneshot::channel();
        let found = self.ask(Job::Find(id.to_owned(), reply), found).await?;
        let is_meant = |found: &Arc<Subscription>| {
            matches!(found.sink, Sink::Stream) && (af.is_none() || found.af.as_deref() == af)
        };
        match found.filter(is_meant) {
            Some(found) if found.is_paused => Err(StreamError::Paused),
            Some(found) => Ok(found),
            None => Err(StreamError::Unauthorized),
        }
    }

    async fn whereabouts(&self, position: &Position) -> Result<Whereabouts, StreamError> {
        let (reply, found) = oneshot::channel();
        let job = Job::Whereabouts(position.clone(), reply);
        self.jobs.send(job).map_err(|_| StreamError::Unavailable)?;
        // However many records it has to look at.
        let found = found.await.ok().flatten();
        found.ok_or(StreamError::Unavailable)
    }

    async fn ask<T>(&self, job: Job, reply: oneshot::Receiver<T>) -> Result<T, StreamError> {
        self.jobs.send(job).map_err(|_| StreamError::Unavailable)?;
        match timeout(PATIENCE, reply).await {
            Ok(Ok(answer)) => Ok(answer),
            _ => Err(StreamError::Unavailable),
        }
    }
}

/// The events of one reader.
pub struct EventStream {
    streams: Streams,
    subscription: Arc<Subscription>,
    /// Made when the reader has its answer: where devices were takes a look at many records.
    selector: Option<Selector>,
    position: Position,
    looked: Instant,
    has_begun: bool,
}

impl EventStream {
    /// The next text to send: some events, or a comment when there are none for a while. `None` when the stream ends: the
    /// subscription was removed or paused, or the store gives no answer.
    pub async fn next(&mut self) -> Option<String> {
        if !std::mem::replace(&mut self.has_begun, true) {
            // So that the reader sees at once that it is connected.
            return Some("retry: 2000\n\n".to_owned());
        }
        if self.selector.is_none() {
            self.selector = Some(self.select().await?);
        }
        let waited = Instant::now();
        loop {
            self.streams.heads.mark_unchanged();
            if self.looked.elapsed() >= LOOK_EVERY {
                self.streams.find(&self.subscription.id).await.ok()?;
                self.looked = Instant::now();
            }
            let page = self.page().await?;
            if page.entries.is_empty() {
                if waited.elapsed() >= BEAT_EVERY {
                    return Some(":\n\n".to_owned());
                }
                let _ = timeout(LOOK_EVERY, self.streams.heads.changed()).await;
                continue;
            }
            let text = self.text(&page);
            if !text.is_empty() {
                return Some(text);
            }
        }
    }

    /// Sends all there is into a channel, until it ends or nobody reads it any more. `guard` is let go then.
    pub fn pieces(mut self, guard: impl Send + 'static) -> mpsc::Receiver<Bytes> {
        let (to, pieces) = mpsc::channel(AHEAD);
        tokio::spawn(async move {
            let _guard = guard;
            loop {
                // A reader that has gone is noticed while nothing is to be told, too.
                let next = tokio::select! {
                    next = self.next() => next,
                    () = to.closed() => None,
                };
                let Some(text) = next else { return };
                if to.send(Bytes::from(text)).await.is_err() {
                    return;
                }
            }
        });
        pieces
    }

    async fn select(&self) -> Option<Selector> {
        let mut whereabouts = None;
        if self.subscription.filter.wants(What::Presence) {
            whereabouts = Some(self.streams.whereabouts(&self.position).await.ok()?);
        }
        Some(Selector::new(
            Arc::clone(&self.subscription),
            Arc::clone(&self.streams.entitlements),
            Arc::clone(&self.streams.source),
            whereabouts,
        ))
    }

    async fn page(&self) -> Option<Arc<Page>> {
        let (reply, page) = oneshot::channel();
        let job = Job::Page(self.position.clone(), reply);
        self.streams.ask(job, page).await.ok()
    }

    fn text(&mut self, page: &Page) -> String {
        let mut text = String::new();
        let Some(selector) = &mut self.selector else {
            return text;
        };
        for entry in &page.entries {
            let done = usize::from(self.position.part);
            let before = self.position.clone();
            entry.pass(&mut self.position);
            let messages = selector.messages(entry);
            let last = messages.len();
            for (place, message) in messages.into_iter().enumerate().skip(done) {
                let mut after = self.position.clone();
                if place + 1 < last {
                    after = before.clone();
                    after.part = u8::try_from(place + 1).unwrap_or(u8::MAX);
                }
                let id = serde_json::to_string(&after).unwrap_or_default();
                let (kind, event) = (message.what.name(), message.event);
                let _ = write!(text, "id: {id}\nevent: {kind}\ndata: {event}\n\n");
                self.streams.tally.add("stream", "delivered");
            }
        }
        text
    }
}

/// Compares without telling by the time how far two texts agree.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    use subtle::ConstantTimeEq;
    a.ct_eq(b).into()
}
