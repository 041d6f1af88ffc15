//! Device-terminated inventories (section 8, section 11: correlation identifiers below 0x8000): what was asked for, where it
//! is under way, and which answers wait.

mod session;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use ambit_adm_api::{Answer, CommandOutcome};
use ambit_protocol::RandN;

pub(crate) use session::{CommandSession, Finished, Next, Sent};

use crate::ConnectionId;
use crate::registrations::Peer;
use crate::service::{
    DevicePlace, DeviceResult, Notification, Progress, ServiceRequest, TransactionId,
};

/// Requests at once, waiting ones included.
pub(crate) const TRANSACTIONS_MAX: usize = 64;

/// Answers of one request that wait for the search, at most; more are dropped.
const ANSWERS_WAITING_MAX: usize = 1 << 16;

/// Different answers to one request, at most; more are dropped.
const ANSWERS_MAX: usize = 1 << 18;

/// Command sessions of one request at once.
pub(crate) const SESSIONS_MAX: usize = 1024;

/// Devices in one notification.
const DEVICES_PER_NOTIFICATION_MAX: usize = 256;

/// How long a gNB may take with the page of one device, in milliseconds.
pub(crate) const NAMED_MS: i64 = 15_000;

/// All requests.
#[derive(Default)]
pub(crate) struct Terminated {
    pub(crate) transactions: BTreeMap<TransactionId, Transaction>,
    /// Command sessions by device on N2, each with what it belongs to.
    pub(crate) sessions: HashMap<Peer, (Owner, CommandSession)>,
    /// What came of kept commands, while the ADM cannot be told.
    pub(crate) unconcluded: VecDeque<(i64, CommandOutcome)>,
    pub(crate) notifications: VecDeque<Notification>,
    next_id: u64,
}

/// What a command session belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A request.
    Request(TransactionId),
    /// A kept command, given with an ACCEPT; `None` when the device is only let go.
    Kept(Option<i64>),
}

/// One request.
pub(crate) struct Transaction {
    pub(crate) id: TransactionId,
    pub(crate) request: ServiceRequest,
    /// When it ends at the latest, Unix time in ms.
    pub(crate) until_ms: i64,
    /// The place in the list of named devices that is next; 1 once a page for several has gone out.
    pub(crate) next_target: usize,
    /// `None` before the first page.
    pub(crate) page: Option<Paging>,
    pub(crate) found: HashSet<Box<[u8]>>,
    pub(crate) progress: Progress,
    results: Vec<DeviceResult>,
    /// When results were last reported, Unix time in ms.
    reported_ms: i64,
}

/// A page that is out.
pub(crate) struct Paging {
    pub(crate) rand_n: RandN,
    pub(crate) legs: Vec<Leg>,
    /// The one device it is for, if it is for one.
    pub(crate) device: Option<Vec<u8>>,
    /// When the answers of gNBs are no longer awaited.
    pub(crate) until_ms: i64,
    /// When the search may go on; at once if there is none.
    pub(crate) search_at_ms: Option<i64>,
    seen: HashSet<Answer>,
    pub(crate) answers: VecDeque<Waiting>,
}

/// A page at one gNB.
pub(crate) struct Leg {
    pub(crate) connection: ConnectionId,
    pub(crate) correlation: u16,
    pub(crate) state: LegState,
}

/// How far a gNB has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LegState {
    /// Answers may come.
    Open,
    /// The gNB says that all answers have come. Commands go on.
    Complete,
    /// The gNB has no session any more.
    Lost,
}

/// An answer that waits for the search.
#[derive(Clone, Copy)]
pub(crate) struct Waiting {
    pub(crate) answer: Answer,
    pub(crate) connection: ConnectionId,
    pub(crate) correlation: u16,
    pub(crate) device_ngap_id: Option<u32>,
    pub(crate) place: DevicePlace,
}

/// What became of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    New,
    Repeated,
    TooMany,
}

impl Terminated {
    pub(crate) fn add(&mut self, request: ServiceRequest, now_ms: i64) -> TransactionId {
        self.next_id += 1;
        let id = TransactionId(self.next_id);
        let until_ms = now_ms.saturating_add(i64::from(request.timeout_s) * 1000);
        let transaction = Transaction {
            id,
            request,
            until_ms,
            next_target: 0,
            page: None,
            found: HashSet::new(),
            progress: Progress::default(),
            results: Vec::new(),
            reported_ms: now_ms,
        };
        self.transactions.insert(id, transaction);
        id
    }

    /// The request that a session on N2 belongs to.
    pub(crate) fn of(&self, connection: ConnectionId, correlation: u16) -> Option<TransactionId> {
        self.transactions
            .values()
            .find(|transaction| transaction.leg(connection, correlation).is_some())
            .map(|transaction| transaction.id)
    }

    /// Whether a gNB has a page out: it is given one at a time.
    pub(crate) fn is_busy(&self, connection: ConnectionId) -> bool {
        let pages = self.transactions.values().filter_map(|t| t.page.as_ref());
        pages
            .flat_map(|page| &page.legs)
            .any(|leg| leg.connection == connection && leg.state != LegState::Lost)
    }

    pub(crate) fn session_count(&self, id: TransactionId) -> usize {
        let is_its = |owner: &Owner| *owner == Owner::Request(id);
        self.sessions
            .values()
            .filter(|(owner, _)| is_its(owner))
            .count()
    }

    /// Answers that can be searched for at once.
    pub(crate) fn answers_ready(&self) -> usize {
        let ready = |transaction: &Transaction| match &transaction.page {
            Some(page) if page.search_at_ms.is_none() => page.answers.len(),
            _ => 0,
        };
        self.transactions.values().map(ready).sum()
    }

    /// When something is due next, Unix time in ms.
    pub(crate) fn timeout_ms(&self) -> Option<i64> {
        let sessions = self.sessions.values().map(|(_, session)| session.until_ms);
        let transactions = self.transactions.values().filter_map(Transaction::due_ms);
        transactions.chain(sessions).min()
    }
}

impl Transaction {
    pub(crate) fn leg(&self, connection: ConnectionId, correlation: u16) -> Option<&Leg> {
        let legs = self.page.iter().flat_map(|page| &page.legs);
        legs.into_iter()
            .find(|leg| leg.connection == connection && leg.correlation == correlation)
    }

    /// Changes the state of a leg; false when it is lost already or is none.
    pub(crate) fn set_leg(
        &mut self,
        connection: ConnectionId,
        correlation: u16,
        state: LegState,
    ) -> bool {
        let legs = self.page.iter_mut().flat_map(|page| &mut page.legs);
        let mut legs = legs.filter(|leg| {
            leg.connection == connection
                && leg.correlation == correlation
                && leg.state != LegState::Lost
        });
        let Some(leg) = legs.next() else {
            return false;
        };
        leg.state = state;
        if state == LegState::Lost {
            self.progress.gnbs_lost += 1;
        }
        true
    }

    /// The gNB of a connection is gone. Answers that it has passed on still count: they are the devices'.
    pub(crate) fn lose(&mut self, connection: ConnectionId) {
        let legs = self.page.iter_mut().flat_map(|page| &mut page.legs);
        for leg in legs.filter(|leg| leg.connection == connection && leg.state != LegState::Lost) {
            leg.state = LegState::Lost;
            self.progress.gnbs_lost += 1;
        }
    }

    /// Notes an answer for the search.
    pub(crate) fn hear(&mut self, waiting: Waiting) -> Heard {
        let Some(page) = &mut self.page else {
            return Heard::TooMany;
        };
        if page.seen.contains(&waiting.answer) {
            return Heard::Repeated;
        }
        self.progress.answers += 1;
        if page.answers.len() >= ANSWERS_WAITING_MAX || page.seen.len() >= ANSWERS_MAX {
            self.progress.dropped += 1;
            return Heard::TooMany;
        }
        page.seen.insert(waiting.answer);
        page.answers.push_back(waiting);
        Heard::New
    }

    /// Notes what has come of a device.
    pub(crate) fn report(&mut self, result: DeviceResult) {
        self.results.push(result);
    }

    /// A notification of what is new, if there is enough of it or enough time has passed; in any case if it `is_last`.
    pub(crate) fn notify(&mut self, now_ms: i64, is_last: bool) -> Option<Notification> {
        let interval_ms = i64::from(self.request.interval_s.unwrap_or(0)) * 1000;
        let is_due = now_ms.saturating_sub(self.reported_ms) >= interval_ms
            || self.results.len() >= DEVICES_PER_NOTIFICATION_MAX;
        if !is_last && (self.results.is_empty() || !is_due) {
            return None;
        }
        self.reported_ms = now_ms;
        let count = self.results.len().min(DEVICES_PER_NOTIFICATION_MAX);
        let devices: Vec<DeviceResult> = self.results.drain(..count).collect();
        Some(Notification {
            transaction: self.id,
            devices,
            is_last: is_last && self.results.is_empty(),
            failure: None,
            progress: self.progress(),
        })
    }

    /// Whether results wait to be reported.
    pub(crate) const fn has_results(&self) -> bool {
        !self.results.is_empty()
    }

    pub(crate) fn progress(&self) -> Progress {
        let waiting = self.page.as_ref().map_or(0, |page| page.answers.len());
        Progress {
            waiting: waiting as u64,
            devices: self.found.len() as u64,
            ..self.progress
        }
    }

    fn due_ms(&self) -> Option<i64> {
        let interval_ms = i64::from(self.request.interval_s.unwrap_or(0)) * 1000;
        let report_ms = self
            .has_results()
            .then(|| self.reported_ms.saturating_add(interval_ms));
        let page = self.page.as_ref();
        let page_ms = page
            .filter(|page| page.has_open_legs())
            .map(|page| page.until_ms);
        let search_ms = page
            .filter(|page| !page.answers.is_empty())
            .and_then(|page| page.search_at_ms);
        [Some(self.until_ms), report_ms, page_ms, search_ms]
            .into_iter()
            .flatten()
            .min()
    }
}

impl Paging {
    pub(crate) fn new(rand_n: RandN, device: Option<Vec<u8>>, until_ms: i64) -> Self {
        Self {
            rand_n,
            legs: Vec::new(),
            device,
            until_ms,
            search_at_ms: None,
            seen: HashSet::new(),
            answers: VecDeque::new(),
        }
    }

    /// Whether a gNB may have more answers to give.
    pub(crate) fn has_open_legs(&self) -> bool {
        self.legs.iter().any(|leg| leg.state == LegState::Open)
    }

    /// Time passed: gNBs that should have said that they are done are not waited for any longer.
    pub(crate) fn expire(&mut self, now_ms: i64) {
        if self.search_at_ms.is_some_and(|at| at <= now_ms) {
            self.search_at_ms = None;
        }
        if now_ms >= self.until_ms {
            for leg in &mut self.legs {
                if leg.state == LegState::Open {
                    leg.state = LegState::Complete;
                }
            }
        }
    }
}
