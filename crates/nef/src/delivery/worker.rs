//! Delivery of one subscription: page after page, each to its end before the next begins.
//!
//! Within a page messages go out in waves. A wave has at most one message of each device (unless the sink takes a wave in its
//! order), and the next of a device goes when the one before it has been taken or given up: so each device's order is kept,
//! while one device's message that fails holds up none of the others in the page.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use ambit_store::{DeadLetterRow, Delivered};
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;

use super::backoff::Backoff;
use super::feed::{Heads, Whereabouts};
use super::keeper::{Assigned, Job};
use super::message::Selector;
use super::sink::{Channel, Failed, Outcome, Outgoing, Settled};
use super::tally::Tally;
use super::{Notice, Severity, unix_ms};
use crate::subscription::{Entitlements, Position, Subscription, What};

/// How long to wait for a store that gives no answer.
const PAUSE: Duration = Duration::from_millis(500);

/// The same failure of a sink is said no more often than this.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// What a worker needs.
pub(super) struct Worker {
    pub(super) subscription: Arc<Subscription>,
    pub(super) channel: Channel,
    pub(super) jobs: Sender<Job>,
    pub(super) heads: watch::Receiver<Heads>,
    pub(super) assigned: watch::Receiver<Assigned>,
    pub(super) entitlements: Arc<dyn Entitlements>,
    pub(super) source: Arc<str>,
    pub(super) give_up: Duration,
    pub(super) tally: Tally,
    pub(super) state: State,
}

/// What a worker keeps between two waves.
#[derive(Default)]
pub(super) struct State {
    backoff: Backoff,
    /// When each failure was said last.
    said: HashMap<&'static str, Instant>,
    /// The one that was said since the sink took something.
    told: Option<&'static str>,
    refused: Option<Instant>,
    /// The position that was given to be kept last.
    kept: Option<Position>,
}

/// A message that waits.
struct Pending {
    outgoing: Outgoing,
    tries: u32,
    first_failed: Option<Instant>,
    backoff: Backoff,
    not_before: Option<Instant>,
}

impl Worker {
    /// Runs until it is aborted.
    pub(super) async fn run(mut self) {
        loop {
            let mut position = self.begin().await;
            let mut selector = self.selector(&position).await;
            while let Some(next) = self.turn(&mut selector, position).await {
                position = next;
            }
        }
    }

    /// Where to begin: where the store says, or the file.
    async fn begin(&mut self) -> Position {
        self.state.kept = None;
        let mut position = loop {
            let found = self.find().await;
            if let Some(found) = found {
                break found.position.clone();
            }
            sleep(PAUSE).await;
        };
        while let Channel::File(file) = &mut self.channel {
            match file.recover(&position).await {
                Ok(found) => {
                    position = found;
                    break;
                }
                Err(failed) => {
                    let wait = self.fail(&failed);
                    sleep(wait).await;
                }
            }
        }
        position
    }

    /// The subscription as it is: what was delivered a moment ago is in it.
    async fn find(&self) -> Option<Arc<Subscription>> {
        let (flushed, done) = oneshot::channel();
        self.jobs.send(Job::Flush(flushed)).ok()?;
        done.await.ok()?;
        let (reply, found) = oneshot::channel();
        let id = self.subscription.id.clone();
        self.jobs.send(Job::Find(id, reply)).ok()?;
        found.await.ok()?
    }

    async fn selector(&self, position: &Position) -> Selector {
        let mut whereabouts: Option<Whereabouts> = None;
        while self.subscription.filter.wants(What::Presence) && whereabouts.is_none() {
            let (reply, found) = oneshot::channel();
            let asked = self.jobs.send(Job::Whereabouts(position.clone(), reply));
            whereabouts = match asked {
                Ok(()) => found.await.ok().flatten(),
                Err(_) => None,
            };
            if whereabouts.is_none() {
                sleep(PAUSE).await;
            }
        }
        Selector::new(
            Arc::clone(&self.subscription),
            Arc::clone(&self.entitlements),
            Arc::clone(&self.source),
            whereabouts,
        )
    }

    /// Delivers the next page. `None` where it has to begin anew.
    async fn turn(&mut self, selector: &mut Selector, position: Position) -> Option<Position> {
        self.heads.mark_unchanged();
        self.assigned.mark_unchanged();
        if self.letters_wait() {
            self.letters(selector).await?;
        }
        let (reply, page) = oneshot::channel();
        let asked = self.jobs.send(Job::Page(position.clone(), reply));
        let Some(page) = asked.ok().map(|()| page) else {
            sleep(PAUSE).await;
            return Some(position);
        };
        let Ok(page) = page.await else {
            sleep(PAUSE).await;
            return Some(position);
        };
        if page.entries.is_empty() {
            self.settle(&position).await?;
            tokio::select! {
                _ = self.heads.changed() => {}
                _ = self.assigned.changed() => {}
                // Should the keeper be gone, this task is about to be.
                () = sleep(PAUSE) => {}
            }
            return Some(position);
        }
        let mut end = position;
        let mut pending = VecDeque::new();
        for entry in &page.entries {
            let done = usize::from(end.part);
            let before = end.clone();
            entry.pass(&mut end);
            let messages = selector.messages(entry);
            let last = messages.len();
            for (place, message) in messages.into_iter().enumerate().skip(done) {
                let mut after = end.clone();
                after.octets = None;
                if place + 1 < last {
                    after = before.clone();
                    after.part = u8::try_from(place + 1).unwrap_or(u8::MAX);
                    after.octets = None;
                }
                pending.push_back(Pending::new(Outgoing { message, after }));
            }
        }
        self.deliver(pending).await?;
        self.settle(&end).await?;
        // The others have their turn.
        tokio::task::yield_now().await;
        Some(end)
    }

    /// Has the position kept, once everything up to it is durable at the sink.
    async fn settle(&mut self, position: &Position) -> Option<()> {
        match self.channel.settle().await {
            Ok(Settled::Later) => {}
            Ok(Settled::Yes(octets)) => {
                let mut kept = position.clone();
                kept.octets = octets;
                if self.state.kept.as_ref() != Some(&kept)
                    && let Ok(text) = serde_json::to_string(&kept)
                {
                    self.keep(Delivered {
                        position: Some(text),
                        ..Delivered::default()
                    });
                    self.state.kept = Some(kept);
                }
            }
            Err(failed) => {
                let wait = self.fail(&failed);
                sleep(wait).await;
                return None;
            }
        }
        Some(())
    }

    fn keep(&self, delivered: Delivered) {
        let subscription = self.subscription.id.clone();
        let delivered = Delivered {
            subscription,
            ..delivered
        };
        let _ = self.jobs.send(Job::Delivered(delivered));
    }

    /// Delivers all of them: each is taken, or given up.
    async fn deliver(&mut self, mut pending: VecDeque<Pending>) -> Option<()> {
        while !pending.is_empty() {
            let now = Instant::now();
            let wave = self.wave(&pending, now);
            if wave.is_empty() {
                let next = pending.iter().filter_map(|one| one.not_before).min();
                sleep(next.map_or(PAUSE, |at| at.saturating_duration_since(now))).await;
                continue;
            }
            let out: Vec<Outgoing> = wave
                .iter()
                .filter_map(|place| pending.get(*place))
                .map(|one| one.outgoing.clone())
                .collect();
            let outcomes = self.channel.send(&out).await;
            let mut done = HashSet::new();
            let (mut is_taken, mut failure) = (false, None);
            for (place, outcome) in wave.into_iter().zip(outcomes) {
                let Some(one) = pending.get_mut(place) else {
                    continue;
                };
                self.tally.count(&self.subscription.sink, &outcome);
                match outcome {
                    Outcome::Taken => {
                        is_taken = true;
                        done.insert(place);
                    }
                    Outcome::Held => {}
                    Outcome::Refused(error) => {
                        // It was there, and answered.
                        is_taken = true;
                        one.tries += 1;
                        let letter = one.letter(error);
                        self.refuse(letter);
                        done.insert(place);
                    }
                    Outcome::Failed(failed) => {
                        if self.failed(one, &failed) {
                            done.insert(place);
                        }
                        failure = Some(failed);
                    }
                }
            }
            let mut place = 0;
            pending.retain(|_| {
                place += 1;
                !done.contains(&(place - 1))
            });
            if is_taken && failure.is_none() {
                self.recovered();
            }
            if let Some(failed) = failure {
                let wait = self.fail(&failed);
                if matches!(self.channel, Channel::File(_)) {
                    // What the file has now is to be looked at.
                    sleep(wait).await;
                    return None;
                }
                // A sink that takes nothing is left alone; one that takes others goes on with those.
                if !is_taken {
                    sleep(wait).await;
                }
            }
        }
        Some(())
    }

    /// Places of the messages that may go now.
    fn wave(&self, pending: &VecDeque<Pending>, now: Instant) -> Vec<usize> {
        let is_due = |one: &Pending| one.not_before.is_none_or(|at| at <= now);
        let mut wave = Vec::new();
        let mut devices = HashSet::new();
        for (place, one) in pending.iter().enumerate() {
            if wave.len() >= self.channel.wave_max() {
                break;
            }
            if self.channel.is_in_order() {
                if !is_due(one) {
                    break;
                }
                wave.push(place);
            } else if devices.insert(&one.outgoing.message.device_id) && is_due(one) {
                wave.push(place);
            }
        }
        wave
    }

    /// Notes a failed try. Returns whether the message is given up.
    fn failed(&mut self, one: &mut Pending, failed: &Failed) -> bool {
        one.tries = one.tries.saturating_add(1);
        if !failed.is_answer {
            // The sink as a whole: the message is not to blame, and waits.
            one.not_before = None;
            return false;
        }
        let now = Instant::now();
        let first = *one.first_failed.get_or_insert(now);
        if now.duration_since(first) < self.give_up {
            one.not_before = Some(now + one.backoff.next(failed.retry_after));
            return false;
        }
        let letter = one.letter(failed.error.clone());
        self.refuse(letter);
        true
    }

    fn refuse(&mut self, letter: DeadLetterRow) {
        let is_due = self
            .state
            .refused
            .is_none_or(|at| at.elapsed() >= SAY_EVERY);
        if is_due {
            self.state.refused = Some(Instant::now());
            let detail = serde_json::json!({
                "subscription": self.subscription.id,
                "message": letter.message,
                "error": letter.error,
            });
            self.say("dead_letter", Severity::Warning, detail.to_string());
        }
        self.tally.dead_letter(&self.subscription.sink);
        self.keep(Delivered {
            refused: vec![letter],
            ..Delivered::default()
        });
    }

    /// Says that the sink fails, if that is new, and how long to leave it alone.
    fn fail(&mut self, failed: &Failed) -> Duration {
        let state = &mut self.state;
        let wait = state.backoff.next(failed.retry_after);
        let said = state.said.get(failed.name);
        let is_due = said.is_none_or(|at| at.elapsed() >= SAY_EVERY);
        if state.told != Some(failed.name) && is_due {
            state.told = Some(failed.name);
            state.said.insert(failed.name, Instant::now());
            let detail = serde_json::json!({
                "subscription": self.subscription.id,
                "sink": self.subscription.sink.name(),
                "error": failed.error,
            });
            self.say(failed.name, Severity::Alarm, detail.to_string());
        }
        wait
    }

    fn recovered(&mut self) {
        self.state.backoff.reset();
        // Of a failure that was not said, the end is not said either.
        if self.state.told.take().is_some() {
            let detail = serde_json::json!({
                "subscription": self.subscription.id,
                "sink": self.subscription.sink.name(),
            });
            self.say("sink_resumed", Severity::Info, detail.to_string());
        }
    }

    fn say(&self, kind: &'static str, severity: Severity, detail: String) {
        let _ = self.jobs.send(Job::Notice(Notice {
            kind,
            severity,
            detail,
        }));
    }

    /// Whether dead letters are to be tried again.
    fn letters_wait(&self) -> bool {
        let assigned = self.assigned.borrow();
        let mut own = assigned.subscriptions.iter();
        own.any(|(of, retried)| of.id == self.subscription.id && *retried > 0)
    }

    /// Tries dead letters again, once each.
    async fn letters(&mut self, selector: &Selector) -> Option<()> {
        let (reply, letters) = oneshot::channel();
        let id = self.subscription.id.clone();
        self.jobs.send(Job::Letters(id, reply)).ok()?;
        let Ok(letters) = letters.await else {
            sleep(PAUSE).await;
            return Some(());
        };
        for (letter, entry) in letters {
            let message = entry.and_then(|entry| selector.again(&letter.message, &entry));
            let Some(message) = message else {
                // Its record is gone, or it is not the subscriber's any more.
                self.keep(Delivered {
                    taken: vec![letter.message],
                    ..Delivered::default()
                });
                continue;
            };
            let out = Outgoing {
                message,
                after: Position::default(),
            };
            let outcome = self.channel.send(std::slice::from_ref(&out)).await.pop();
            let outcome = outcome.unwrap_or(Outcome::Held);
            self.tally.count(&self.subscription.sink, &outcome);
            let error = match outcome {
                Outcome::Taken => {
                    self.recovered();
                    self.keep(Delivered {
                        taken: vec![letter.message],
                        ..Delivered::default()
                    });
                    continue;
                }
                Outcome::Refused(error) => error,
                Outcome::Failed(failed) => {
                    self.fail(&failed);
                    failed.error
                }
                Outcome::Held => continue,
            };
            self.keep(Delivered {
                refused: vec![DeadLetterRow {
                    failed_ms: unix_ms(),
                    tries: letter.tries.saturating_add(1),
                    error,
                    is_retried: false,
                    message: letter.message,
                }],
                ..Delivered::default()
            });
        }
        // What became of them is to be seen before they are looked at again.
        let (flushed, done) = oneshot::channel();
        self.jobs.send(Job::Flush(flushed)).ok()?;
        let _ = done.await;
        let _ = tokio::time::timeout(PAUSE * 4, self.assigned.changed()).await;
        Some(())
    }
}

impl Pending {
    fn new(outgoing: Outgoing) -> Self {
        Self {
            outgoing,
            tries: 0,
            first_failed: None,
            backoff: Backoff::default(),
            not_before: None,
        }
    }

    fn letter(&self, error: String) -> DeadLetterRow {
        DeadLetterRow {
            message: self.outgoing.message.name.clone(),
            failed_ms: unix_ms(),
            tries: self.tries,
            error,
            is_retried: false,
        }
    }
}
