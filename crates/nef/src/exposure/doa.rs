//! `/ambit-doa/v1/{afId}/subscriptions`: an AF's subscriptions to what devices report by themselves. Ours, described in
//! `/openapi.json`; Release 19 has nothing of the kind.
//!
//! An AF sees and changes its own, and what it may subscribe to is what its account says it may receive, checked where the
//! store is. Another's subscription is as one that is not there.

mod view;
mod wanted;

use std::sync::Arc;
use std::time::Duration;

use ambit_adm_api::{AfAccount, AfDevices};
use ambit_sbi::clock::unix_s;
use ambit_sbi::exchange::{EVENT_STREAM, Exchange, Flow, Reply};
use ambit_sbi::json::{Field, Fields, set};
use ambit_sbi::problem::Problem;
use ambit_sbi::router::{Access, Route, Takes, verified};
use ambit_sbi::token::Claims;
use hyper::Method;
use hyper::body::Bytes;
use hyper::header::CACHE_CONTROL;
use serde_json::json;
use tokio::sync::mpsc;

use super::Exposure;
use super::quota::{Open, exceeded};
use crate::subscription::remote::stream_problem;
use crate::subscription::service::{
    Ask, Begin, LETTERS_MAX, Refused, SubscriptionAccess, Told, View,
};
use crate::subscription::{Sink, is_id, new_id};

const LIST: &str = "/ambit-doa/v1/{}/subscriptions";
const ONE: &str = "/ambit-doa/v1/{}/subscriptions/{}";
const EVENTS: &str = "/ambit-doa/v1/{}/subscriptions/{}/events";
const LETTERS: &str = "/ambit-doa/v1/{}/subscriptions/{}/dead-letters";
const RETRY: &str = "/ambit-doa/v1/{}/subscriptions/{}/dead-letters/retry";

/// The scope of its tokens.
const SCOPE: &str = "ambit-doa";

/// What the name of a message must be.
const MESSAGE: &str = "must have 1 to 128 printable characters of ASCII without spaces";

/// How often it is looked whether a reader may still read.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How long a reader may take for a piece of a stream.
const READER_WAIT: Duration = Duration::from_secs(60);

/// The operations.
#[derive(Clone, Copy)]
enum Operation {
    Add,
    List,
    Find,
    Change,
    Remove,
    Events,
    Letters,
    Retry,
}

pub(super) fn routes(
    nef: &Arc<Exposure>,
    subscriptions: &Arc<dyn SubscriptionAccess>,
) -> Vec<Route> {
    let json = Takes::Json(&["application/json"]);
    let patch = Takes::Json(&["application/merge-patch+json"]);
    let route = |name, method, path, takes, operation| {
        let (nef, subscriptions) = (Arc::clone(nef), Arc::clone(subscriptions));
        Route::new(name, method, path, Access::Peer, takes, move |exchange| {
            let (nef, subscriptions) = (Arc::clone(&nef), Arc::clone(&subscriptions));
            async move { take(&nef, subscriptions, exchange, operation).await }
        })
        .octets_max(256 << 10)
    };
    let none = Takes::Nothing;
    vec![
        route("af_subscribe", Method::POST, LIST, json, Operation::Add),
        route("af_subscriptions", Method::GET, LIST, none, Operation::List),
        route("af_subscription", Method::GET, ONE, none, Operation::Find),
        route("af_change", Method::PATCH, ONE, patch, Operation::Change),
        route(
            "af_unsubscribe",
            Method::DELETE,
            ONE,
            none,
            Operation::Remove,
        ),
        route("af_events", Method::GET, EVENTS, none, Operation::Events).gives(EVENT_STREAM),
        route("af_letters", Method::GET, LETTERS, none, Operation::Letters),
        route("af_retry", Method::POST, RETRY, json, Operation::Retry),
    ]
}

async fn take(
    nef: &Arc<Exposure>,
    subscriptions: Arc<dyn SubscriptionAccess>,
    exchange: Exchange,
    operation: Operation,
) -> Result<Reply, Problem> {
    let mut af = String::new();
    let answer = async {
        let account = nef.admit(&exchange, SCOPE, "", &mut af).await?;
        if exchange.path(0) != account.name {
            return Err(Problem::forbidden(
                "AF_ID_MISMATCH",
                "afId: must be the AF that the token was issued to",
            ));
        }
        let asked = Asked {
            nef,
            subscriptions,
            account,
            exchange: &exchange,
        };
        asked.run(operation).await
    };
    let answer = answer.await;
    nef.audited(&af, answer)
}

/// A request of an AF that was let in.
struct Asked<'a> {
    nef: &'a Arc<Exposure>,
    subscriptions: Arc<dyn SubscriptionAccess>,
    account: Arc<AfAccount>,
    exchange: &'a Exchange,
}

impl Asked<'_> {
    async fn run(self, operation: Operation) -> Result<Reply, Problem> {
        match operation {
            Operation::Add => self.add().await,
            Operation::List => match self.ask(Ask::List).await? {
                Told::All(all) => {
                    let all: Vec<_> = all.iter().map(|one| self.shown(one)).collect();
                    Ok(Reply::ok(json!({ "subscriptions": all })))
                }
                _ => Err(senseless()),
            },
            Operation::Find => {
                let id = self.id()?;
                self.one(Ask::Find { id }).await
            }
            Operation::Change => {
                let (id, is_paused) = (self.id()?, wanted::is_paused(self.exchange.json()?)?);
                self.one(Ask::SetPaused { id, is_paused }).await
            }
            Operation::Remove => {
                let id = self.id()?;
                self.ask(Ask::Remove { id }).await?;
                Ok(Reply::no_content())
            }
            Operation::Events => self.events().await,
            Operation::Letters => self.letters().await,
            Operation::Retry => self.retry().await,
        }
    }

    async fn add(self) -> Result<Reply, Problem> {
        let id = new_id().map_err(|error| Problem::system_failure(error.to_string()))?;
        let granted = &self.account.authorization;
        let (filter, sink) = wanted::parse(&self.nef.areas, granted, self.exchange.json()?)?;
        match self.ask(Ask::Add { id, filter, sink }).await? {
            Told::Added {
                subscription,
                secret,
            } => {
                let mut body = self.shown(&subscription);
                if let Some(secret) = &secret {
                    set(&mut body, "secret", secret.expose());
                }
                let af = &self.account.name;
                let location = format!("/ambit-doa/v1/{af}/subscriptions/{}", subscription.id);
                Ok(Reply::created(&location, body).with(CACHE_CONTROL, "no-store"))
            }
            _ => Err(senseless()),
        }
    }

    async fn one(&self, ask: Ask) -> Result<Reply, Problem> {
        match self.ask(ask).await? {
            Told::One(view) => Ok(Reply::ok(self.shown(&view))),
            _ => Err(senseless()),
        }
    }

    async fn letters(&self) -> Result<Reply, Problem> {
        let id = self.id()?;
        let after = self.exchange.query.get("after").unwrap_or_default();
        if !is_message(after) {
            return Err(Problem::query_incorrect("after", MESSAGE));
        }
        let after = after.to_owned();
        match self.ask(Ask::DeadLetters { id, after }).await? {
            Told::DeadLetters(letters) => {
                let is_cut = letters.len() >= LETTERS_MAX;
                let next = letters.last().filter(|_| is_cut);
                let next = next.map(|last| last.message.clone());
                let shown: Vec<_> = letters.iter().map(view::letter).collect();
                let mut body = json!({ "deadLetters": shown });
                if let Some(next) = next {
                    set(&mut body, "next", next);
                }
                Ok(Reply::ok(body))
            }
            _ => Err(senseless()),
        }
    }

    async fn retry(&self) -> Result<Reply, Problem> {
        let id = self.id()?;
        let fields = Fields::of(self.exchange.json()?)?;
        let messages = match fields.optional("messages") {
            None => Vec::new(),
            Some(field) => {
                let list = field.array(LETTERS_MAX)?;
                let text = |one: &Field<'_>| match one.text()? {
                    text if !text.is_empty() && is_message(text) => Ok(text.to_owned()),
                    _ => Err(one.breaks(MESSAGE)),
                };
                list.iter().map(text).collect::<Result<_, _>>()?
            }
        };
        match self.ask(Ask::Retry { id, messages }).await? {
            Told::Retried(number) => Ok(Reply::ok(json!({ "retried": number }))),
            _ => Err(senseless()),
        }
    }

    async fn events(self) -> Result<Reply, Problem> {
        let id = self.id()?;
        let now = match self.exchange.query.get("from") {
            None => false,
            Some("now") => true,
            Some(_) => return Err(Problem::query_incorrect("from", "must be now")),
        };
        let last = self.exchange.headers.get("last-event-id");
        let last = last
            .map(|value| value.to_str().map(str::to_owned))
            .transpose();
        let last_event_id = last.map_err(|_| {
            Problem::optional_incorrect("Last-Event-ID", "must be one that was given out")
        })?;
        let view = match self.ask(Ask::Find { id: id.clone() }).await? {
            Told::One(view) => view,
            _ => return Err(senseless()),
        };
        if !matches!(view.sink, Sink::Stream) {
            return Err(Problem {
                status: 409,
                cause: "NOT_A_STREAM",
                ..Problem::refused("", "what the subscription asks for goes elsewhere")
            });
        }
        let place = self.nef.quotas.stream(&self.account)?;
        let begin = Begin { last_event_id, now };
        let af = self.account.name.clone();
        let opened = self.subscriptions.follow(af, id, begin).await;
        let Flow(pieces) = opened.map_err(|error| stream_problem(error, "Last-Event-ID"))?;
        let claims = verified(&self.nef.verifier, &self.exchange.headers)?;
        let (to, told) = mpsc::channel(1);
        tokio::spawn(pass_on(Arc::clone(self.nef), claims, pieces, to, place));
        Ok(Reply::events(Flow(told)).with(CACHE_CONTROL, "no-store"))
    }

    /// The subscription that the path names. What cannot be a name is none.
    fn id(&self) -> Result<String, Problem> {
        let id = self.exchange.path(1);
        match is_id(id) {
            true => Ok(id.to_owned()),
            false => Err(unknown()),
        }
    }

    async fn ask(&self, ask: Ask) -> Result<Told, Problem> {
        let (subscriptions, af) = (Arc::clone(&self.subscriptions), self.account.name.clone());
        let asked = tokio::task::spawn_blocking(move || subscriptions.ask(&af, ask)).await;
        let told = asked.unwrap_or(Err(Refused::Unavailable));
        told.map_err(|refused| self.problem(refused))
    }

    fn shown(&self, view: &View) -> serde_json::Value {
        view::subscription(&self.nef.areas, view)
    }

    /// What is refused, as the AF is told it. To one that is not granted all devices, what is not there looks like what is not
    /// its own.
    fn problem(&self, refused: Refused) -> Problem {
        let has_all = self.account.authorization.devices == AfDevices::All;
        match refused {
            Refused::Invalid { field, rule } => match pointer(&field) {
                at if at.starts_with("/sink") => Problem::incorrect(at, rule),
                at => Problem::optional_incorrect(at, rule),
            },
            Refused::NotThere { field, value } => {
                let (at, is_fleet) = (pointer(&field), field == "filter.fleets");
                match (has_all, is_fleet) {
                    (true, true) => {
                        Problem::not_found("FLEET_NOT_FOUND", format!("{at}: there is no {value}"))
                    }
                    (true, false) => {
                        Problem::not_found("DEVICE_NOT_FOUND", format!("{at}: there is no {value}"))
                    }
                    (false, _) => Problem::forbidden(
                        if is_fleet {
                            "FLEET_NOT_ALLOWED"
                        } else {
                            "DEVICE_NOT_ALLOWED"
                        },
                        format!("{at}: {value} is not among those that the AF is granted"),
                    ),
                }
            }
            Refused::NotEntitled { field, value } => {
                let cause = match field.as_str() {
                    "filter.areas" => "AREA_NOT_ALLOWED",
                    "filter.causes" => "CAUSE_NOT_ALLOWED",
                    "filter.what" => "EVENT_NOT_ALLOWED",
                    _ => "DEVICE_NOT_ALLOWED",
                };
                let at = pointer(&field);
                Problem::forbidden(cause, format!("{at}: the AF may not receive {value}"))
            }
            Refused::Nothing => Problem::forbidden(
                "RECEIVE_NOT_ALLOWED",
                "the AF is not granted to receive anything",
            ),
            Refused::Quota { quota } => exceeded(
                format!("the AF's quota is {quota} subscriptions: delete one first"),
                Duration::from_secs(60),
            ),
            Refused::Address => Problem::forbidden(
                "CALLBACK_NOT_ALLOWED",
                "/sink/url: the host's address is private or special, and not allowed",
            ),
            Refused::Unknown => unknown(),
            Refused::Unavailable => Problem::unavailable("the store could not be asked", 1),
        }
    }
}

/// Passes a stream on, as long as its reader may read: until the token ends, or its AF or secret is no more.
async fn pass_on(
    nef: Arc<Exposure>,
    claims: Claims,
    mut pieces: mpsc::Receiver<Bytes>,
    to: mpsc::Sender<Bytes>,
    _place: Open,
) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        let piece = tokio::select! {
            piece = pieces.recv() => piece,
            () = to.closed() => return,
            _ = look.tick() => match may_read(&nef, &claims).await {
                true => continue,
                false => return,
            },
        };
        let Some(piece) = piece else { return };
        if to.send_timeout(piece, READER_WAIT).await.is_err() {
            return;
        }
    }
}

/// While the ADM does not answer, what it said last is so.
async fn may_read(nef: &Exposure, claims: &Claims) -> bool {
    let stands = match nef.accounts.get(&claims.sub).await {
        Ok(Some(account)) => claims.secret_ms == Some(account.secret_ms),
        Ok(None) => false,
        Err(_) => true,
    };
    stands && unix_s() < claims.exp
}

/// Where a field of a subscription stands in an AF's body.
fn pointer(field: &str) -> &'static str {
    match field {
        "filter.fleets" => "/fleets",
        "filter.devices" => "/targetDevices/devices",
        "filter.areas" => "/extTargetArea/extAreaIds",
        "filter.causes" => "/causes",
        "filter.what" => "/events",
        "sink.url" => "/sink/url",
        "sink.kind" => "/sink/kind",
        "sink" => "/sink",
        _ => "",
    }
}

/// Whether a message may be called so, or nothing.
fn is_message(text: &str) -> bool {
    text.len() <= 128 && text.bytes().all(|c| c.is_ascii_graphic())
}

fn unknown() -> Problem {
    Problem::not_found("SUBSCRIPTION_NOT_FOUND", "the AF has no such subscription")
}

fn senseless() -> Problem {
    Problem::system_failure("the answer of the store makes no sense")
}
