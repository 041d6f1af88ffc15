//! Subscriptions to what devices that speak first report: `/naiotf-aiot/v1/doa-subscriptions`. Ours, described in
//! `/openapi.json`; Release 19 has nothing of the kind.
//!
//! Each new report that a subscription asks for is told in a DoaNotification, in the order of acceptance, several in one when
//! they wait. A notification is repeated, under its number, until it is taken. Everything is in memory and bounded: a queue
//! that is full loses what comes, and says how much; a subscriber that stays away loses its subscription; with the AIOTF all
//! subscriptions end. Who must not miss a report follows the records of the store.

mod delivery;
mod terms;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ambit_aiotf::{AcceptedReport, Watcher};
use hyper::Method;
use hyper::header::HeaderValue;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use self::terms::Terms;
use super::AiotfAccess;
use super::callback::{CallbackCounts, correlation};
use crate::client::Client;
use crate::clock::unix_ms;
use crate::exchange::{Exchange, Reply};
use crate::problem::Problem;
use crate::router::{Access, Route, Takes};

const LIST: &str = "/naiotf-aiot/v1/doa-subscriptions";
const ONE: &str = "/naiotf-aiot/v1/doa-subscriptions/{}";

/// Bounds on subscriptions and on the patience with subscribers.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Subscriptions in all.
    pub subscriptions_max: usize,
    /// Subscriptions of one function.
    pub owner_max: usize,
    /// Reports that wait for one subscriber.
    pub queue_max: usize,
    /// Reports in one notification.
    pub reports_max: usize,
    /// How long a subscription lasts that does not say.
    pub lifetime: Duration,
    /// How long one lasts at most.
    pub lifetime_max: Duration,
    /// Time between the first two tries; it doubles with each.
    pub pause: Duration,
    /// Time between two tries at most.
    pub pause_max: Duration,
    /// How long one notification is tried before the subscription is dropped.
    pub give_up: Duration,
    /// Notifications refused one after the other before the subscription is dropped.
    pub refusals_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            subscriptions_max: 128,
            owner_max: 64,
            queue_max: 1024,
            reports_max: 64,
            lifetime: Duration::from_secs(3600),
            lifetime_max: Duration::from_secs(86_400),
            pause: Duration::from_millis(250),
            pause_max: Duration::from_secs(8),
            give_up: Duration::from_secs(60),
            refusals_max: 8,
        }
    }
}

/// The subscriptions at an AIOTF.
pub(super) struct Doa {
    client: Client,
    counts: Arc<CallbackCounts>,
    limits: Limits,
    /// Begins every ID: those at an AIOTF that ran before must not be taken for those at this one.
    prefix: String,
    /// Whether there is any subscription: without one the ADM does not tell what is in a report.
    is_wanted: Arc<AtomicBool>,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    last: u64,
    subscriptions: BTreeMap<String, Arc<Subscription>>,
}

struct Subscription {
    id: String,
    /// NF instance that made it. Others do not get to know of it.
    owner: String,
    correlation: Option<HeaderValue>,
    state: Mutex<State>,
    /// Something waits, or the terms have changed.
    wake: Notify,
}

struct State {
    terms: Terms,
    waiting: VecDeque<Arc<AcceptedReport>>,
    /// Reports that there was no room for since the last notification was made.
    lost: u64,
    /// The number of the last notification.
    number: u64,
    task: Option<AbortHandle>,
}

impl Doa {
    /// Takes up what an AIOTF accepts. When that has ended there is nothing to take up, and nobody to serve either.
    pub(super) fn new(
        aiotf: &dyn AiotfAccess,
        client: Client,
        counts: Arc<CallbackCounts>,
        limits: Limits,
        prefix: &str,
    ) -> Arc<Self> {
        let doa = Arc::new(Self {
            client,
            counts,
            limits,
            prefix: format!("{prefix}-doa"),
            is_wanted: Arc::default(),
            table: Mutex::default(),
        });
        let told = Arc::clone(&doa);
        aiotf.watch(Watcher {
            is_wanted: Arc::clone(&doa.is_wanted),
            tell: Box::new(move |report| told.take(report)),
        });
        doa
    }

    /// Puts a report into the queues of those who asked for it. Runs on the AIOTF's thread.
    fn take(&self, report: AcceptedReport) {
        let report = Arc::new(report);
        let table = lock(&self.table);
        for subscription in table.subscriptions.values() {
            let mut state = lock(&subscription.state);
            if !state.terms.take(&report) {
                continue;
            }
            if state.waiting.len() < self.limits.queue_max {
                state.waiting.push_back(Arc::clone(&report));
            } else {
                state.lost = state.lost.saturating_add(1);
                self.counts.add("doa_report_lost", 1);
            }
            drop(state);
            subscription.wake.notify_one();
        }
    }

    /// Ends a subscription, and its deliveries.
    fn end(&self, id: &str, name: &'static str) {
        let mut table = lock(&self.table);
        let ended = table.subscriptions.remove(id);
        let is_wanted = !table.subscriptions.is_empty();
        self.is_wanted.store(is_wanted, Ordering::SeqCst);
        drop(table);
        let Some(ended) = ended else {
            return;
        };
        self.counts.add(name, 1);
        if let Some(task) = lock(&ended.state).task.take() {
            task.abort();
        }
    }

    fn find(&self, exchange: &Exchange) -> Result<Arc<Subscription>, Problem> {
        let table = lock(&self.table);
        let found = table.subscriptions.get(exchange.path(0));
        let owner = owner(exchange);
        let found = found.filter(|found| found.owner == owner).cloned();
        found.ok_or_else(|| {
            let detail = "no subscription of that ID; they end with the AIOTF";
            Problem::not_found("SUBSCRIPTION_NOT_FOUND", detail)
        })
    }
}

/// All operations.
pub(super) fn routes(doa: &Arc<Doa>) -> Vec<Route> {
    let route =
        |name, method, path, takes, f: fn(&Arc<Doa>, &Exchange) -> Result<Reply, Problem>| {
            let doa = Arc::clone(doa);
            let access = Access::Token {
                service: "naiotf-aiot",
                operation: "naiotf-aiot:doa-subscriptions",
            };
            Route::new(name, method, path, access, takes, move |exchange| {
                // Within the runtime, so that deliveries can begin there.
                std::future::ready(f(&doa, &exchange))
            })
            .octets_max(256 << 10)
        };
    let json = Takes::Json(&["application/json"]);
    vec![
        route("doa_subscribe", Method::POST, LIST, json, create),
        route("doa_subscriptions", Method::GET, LIST, Takes::Nothing, list),
        route("doa_subscription", Method::GET, ONE, Takes::Nothing, read),
        route("doa_modify", Method::PUT, ONE, json, modify),
        route(
            "doa_unsubscribe",
            Method::DELETE,
            ONE,
            Takes::Nothing,
            delete,
        ),
    ]
}

fn create(doa: &Arc<Doa>, exchange: &Exchange) -> Result<Reply, Problem> {
    let terms = Terms::parse(exchange.json()?, &doa.client, &doa.limits, unix_ms())?;
    let owner = owner(exchange);
    let mut table = lock(&doa.table);
    let own = |subscription: &&Arc<Subscription>| subscription.owner == owner;
    let is_full = table.subscriptions.len() >= doa.limits.subscriptions_max
        || table.subscriptions.values().filter(own).count() >= doa.limits.owner_max;
    if is_full {
        return Err(Problem {
            detail: "too many subscriptions".into(),
            ..Problem::overload(60)
        });
    }
    table.last += 1;
    let id = format!("{}-{}", doa.prefix, table.last);
    let body = terms.to_json(&id, unix_ms());
    let subscription = Arc::new(Subscription {
        id: id.clone(),
        owner,
        correlation: correlation(exchange),
        state: Mutex::new(State {
            terms,
            waiting: VecDeque::new(),
            lost: 0,
            number: 0,
            task: None,
        }),
        wake: Notify::new(),
    });
    let task = tokio::spawn(delivery::run(Arc::clone(doa), Arc::clone(&subscription)));
    lock(&subscription.state).task = Some(task.abort_handle());
    table.subscriptions.insert(id.clone(), subscription);
    doa.is_wanted.store(true, Ordering::SeqCst);
    drop(table);
    doa.counts.add("doa_subscribed", 1);
    Ok(Reply::created(&format!("{LIST}/{id}"), body))
}

fn list(doa: &Arc<Doa>, exchange: &Exchange) -> Result<Reply, Problem> {
    let owner = owner(exchange);
    let table = lock(&doa.table);
    let own = table.subscriptions.values().filter(|s| s.owner == owner);
    let all: Vec<Value> = own.map(|subscription| subscription.to_json()).collect();
    Ok(Reply::ok(json!({ "subscriptions": all })))
}

fn read(doa: &Arc<Doa>, exchange: &Exchange) -> Result<Reply, Problem> {
    Ok(Reply::ok(doa.find(exchange)?.to_json()))
}

/// Puts other terms in the place of those before, and begins the lifetime anew. Reports that wait already were asked for, and
/// are told.
fn modify(doa: &Arc<Doa>, exchange: &Exchange) -> Result<Reply, Problem> {
    let subscription = doa.find(exchange)?;
    let terms = Terms::parse(exchange.json()?, &doa.client, &doa.limits, unix_ms())?;
    lock(&subscription.state).terms = terms;
    subscription.wake.notify_one();
    Ok(Reply::ok(subscription.to_json()))
}

fn delete(doa: &Arc<Doa>, exchange: &Exchange) -> Result<Reply, Problem> {
    let subscription = doa.find(exchange)?;
    doa.end(&subscription.id, "doa_unsubscribed");
    Ok(Reply::no_content())
}

impl Subscription {
    fn to_json(&self) -> Value {
        lock(&self.state).terms.to_json(&self.id, unix_ms())
    }
}

/// The NF instance that asks: by its token, or by its certificate where no tokens are taken.
fn owner(exchange: &Exchange) -> String {
    let caller = &exchange.caller;
    let by_token = caller.token.as_ref().map(|claims| claims.sub.clone());
    let certificate = caller.certificate.as_ref();
    let by_certificate =
        || certificate.and_then(|identity| Some(identity.nf_instance?.to_string()));
    by_token.or_else(by_certificate).unwrap_or_default()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
