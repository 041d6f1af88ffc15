//! What an AF asks about its own subscriptions, as it goes from a NEF to where the store is: within one process, or as JSON
//! between two ([`super::remote`]).

use std::future::Future;
use std::pin::Pin;

use ambit_sbi::exchange::Flow;
use ambit_store::{DeadLetterRow, DeliveryStore, StoreError};
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use super::{
    Asker, DeliveryKey, Filter, Rules, Sink, Subscription, SubscriptionError, Wanted, add_as, find,
    list, remove, set_paused,
};
use crate::delivery::StreamError;

/// The most dead letters in one answer, and messages in one request to try some again.
pub const LETTERS_MAX: usize = 256;

/// A way to the subscriptions.
pub trait SubscriptionAccess: std::fmt::Debug + Send + Sync + 'static {
    /// Carries out what an AF asks. Waits for the store, and may wait for a name server.
    ///
    /// # Errors
    /// [`Refused`]; nothing was changed.
    fn ask(&self, af: &str, ask: Ask) -> Result<Told, Refused>;

    /// Opens the stream of a subscription that must be the AF's.
    fn follow(&self, af: String, id: String, begin: Begin) -> Opening;
}

/// A stream that is being opened.
pub type Opening = Pin<Box<dyn Future<Output = Result<Flow, StreamError>> + Send>>;

/// Where a stream begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Begin {
    /// Behind this event, as it was named to the reader.
    pub last_event_id: Option<String>,
    /// Otherwise at what comes next, and not where the subscription began.
    pub now: bool,
}

/// What is asked. Each may be asked again without harm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// A subscription from now on, under a name that [`super::new_id`] gave.
    Add {
        /// Its name.
        id: String,
        /// What is wanted.
        filter: Filter,
        /// Where it is to go.
        sink: Sink,
    },
    /// All the AF has.
    List,
    /// One of them.
    Find {
        /// Its name.
        id: String,
    },
    /// To hold it, or let it go on.
    SetPaused {
        /// Its name.
        id: String,
        /// Whether to hold it.
        is_paused: bool,
    },
    /// To remove it.
    Remove {
        /// Its name.
        id: String,
    },
    /// What its sink would not take.
    DeadLetters {
        /// Its name.
        id: String,
        /// Behind this message.
        after: String,
    },
    /// To have dead letters tried again.
    Retry {
        /// Its name.
        id: String,
        /// These, as far as they are there; all, if none is named.
        messages: Vec<String>,
    },
}

/// What is answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// The subscription was added.
    Added {
        /// The subscription.
        subscription: View,
        /// What a callback is signed with; a stream has none of its own here.
        secret: Option<Secret>,
    },
    /// All the AF has.
    All(Vec<View>),
    /// One, as it is now.
    One(View),
    /// It is gone.
    Removed,
    /// Dead letters, by message.
    DeadLetters(Vec<Letter>),
    /// So many are tried again.
    Retried(u64),
}

/// A subscription as its AF sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Its name.
    pub id: String,
    /// What is wanted.
    pub filter: Filter,
    /// Where it goes. Of what the operator set up for the AF, how the core logs in is left out.
    pub sink: Sink,
    /// When it was made, Unix time in ms.
    pub created_ms: i64,
    /// Nothing is delivered for now.
    pub is_paused: bool,
    /// How many messages its sink would not take.
    pub dead_letters: u64,
}

/// A message that a sink would not take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// Its name within the subscription.
    pub message: String,
    /// When it was given up, Unix time in ms.
    pub failed_ms: i64,
    /// How often it was tried.
    pub tries: u32,
    /// What the sink said.
    pub error: String,
    /// Whether it is to be tried again.
    pub is_retried: bool,
}

/// What a callback is signed with. Told once.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Why it was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refused {
    /// A field breaks its rule.
    #[error("{field}: {rule}")]
    Invalid {
        /// The field.
        field: String,
        /// The rule.
        rule: String,
    },
    /// A device or fleet that is not there, or not the AF's.
    #[error("{field}: there is no {value}")]
    NotThere {
        /// The field.
        field: String,
        /// What was asked for.
        value: String,
    },
    /// The AF may not receive this.
    #[error("{field}: the AF may not receive {value}")]
    NotEntitled {
        /// The field.
        field: String,
        /// What was asked for.
        value: String,
    },
    /// The AF may receive nothing.
    #[error("the AF may receive nothing")]
    Nothing,
    /// It has as many as it may have.
    #[error("the AF has {quota} subscriptions, as many as it may have")]
    Quota {
        /// How many that is.
        quota: u32,
    },
    /// The sink's address may not be used.
    #[error("sink: the host has an address that is private or special")]
    Address,
    /// No such subscription, or another's.
    #[error("there is no such subscription")]
    Unknown,
    /// It cannot be done now.
    #[error("not now")]
    Unavailable,
}

impl From<SubscriptionError> for Refused {
    fn from(error: SubscriptionError) -> Self {
        let field = |field: &str| field.to_owned();
        match error {
            SubscriptionError::Invalid { field: name, rule } => Self::Invalid {
                field: field(name),
                rule,
            },
            SubscriptionError::NotThere { field: name, value } => Self::NotThere {
                field: field(name),
                value,
            },
            SubscriptionError::NotEntitled { field: name, value } => Self::NotEntitled {
                field: field(name),
                value,
            },
            SubscriptionError::AfUnknown { .. } => Self::Nothing,
            SubscriptionError::Quota { quota } => Self::Quota { quota },
            SubscriptionError::Address(_) => Self::Address,
            SubscriptionError::Unknown { .. } => Self::Unknown,
            SubscriptionError::Damaged { .. }
            | SubscriptionError::Random
            | SubscriptionError::Store(_) => Self::Unavailable,
        }
    }
}

impl From<StoreError> for Refused {
    fn from(_: StoreError) -> Self {
        Self::Unavailable
    }
}

/// Carries out what an AF asks, in the store.
///
/// # Errors
/// [`Refused`]; nothing was changed.
pub fn answer(
    store: &mut dyn DeliveryStore,
    rules: &Rules,
    key: &DeliveryKey,
    af: &str,
    ask: Ask,
    now_ms: i64,
) -> Result<Told, Refused> {
    let asker = Asker::Af(af);
    match ask {
        Ask::Add { id, filter, sink } => {
            operators_alone(&sink)?;
            let wanted = Wanted {
                af: Some(af.to_owned()),
                filter,
                sink,
                since_ms: None,
            };
            let added = add_as(store, rules, id, wanted, now_ms)?;
            let secret = match added.sink {
                Sink::Callback { .. } => Some(Secret(key.callback_secret(&added.id).to_string())),
                _ => None,
            };
            Ok(Told::Added {
                subscription: view(store, added)?,
                secret,
            })
        }
        Ask::List => {
            let found = list(store, asker)?.into_iter();
            let all: Result<_, Refused> = found.map(|one| view(store, one)).collect();
            all.map(Told::All)
        }
        Ask::Find { id } => {
            let found = find(store, asker, &id)?;
            view(store, found).map(Told::One)
        }
        Ask::SetPaused { id, is_paused } => {
            let changed = set_paused(store, asker, &id, is_paused)?;
            view(store, changed).map(Told::One)
        }
        Ask::Remove { id } => {
            remove(store, asker, &id)?;
            Ok(Told::Removed)
        }
        Ask::DeadLetters { id, after } => {
            find(store, asker, &id)?;
            let limit = u32::try_from(LETTERS_MAX).unwrap_or(u32::MAX);
            let letters = store.dead_letters(&id, &after, limit)?.into_iter();
            Ok(Told::DeadLetters(letters.map(Letter::of).collect()))
        }
        Ask::Retry { id, messages } => {
            find(store, asker, &id)?;
            if messages.is_empty() {
                return Ok(Told::Retried(store.dead_letters_retry(&id, None)?));
            }
            let mut number: u64 = 0;
            for message in messages {
                let found = store.dead_letters_retry(&id, Some(&message))?;
                number = number.saturating_add(found);
            }
            Ok(Told::Retried(number))
        }
    }
}

/// Sinks that stand in the operator's files or at his brokers are his to set up.
fn operators_alone(sink: &Sink) -> Result<(), Refused> {
    match sink {
        Sink::Callback { .. } | Sink::Stream => Ok(()),
        Sink::Mqtt { .. } | Sink::File { .. } => Err(Refused::Invalid {
            field: "sink.kind".into(),
            rule: "must be a callback or a stream: other sinks are the operator's alone".into(),
        }),
    }
}

fn view(store: &mut dyn DeliveryStore, subscription: Subscription) -> Result<View, Refused> {
    let (dead_letters, _) = store.dead_letter_count(&subscription.id)?;
    let mut sink = subscription.sink;
    if let Sink::Mqtt {
        username,
        password_file,
        ..
    } = &mut sink
    {
        (*username, *password_file) = (None, None);
    }
    Ok(View {
        id: subscription.id,
        filter: subscription.filter,
        sink,
        created_ms: subscription.created_ms,
        is_paused: subscription.is_paused,
        dead_letters,
    })
}

impl Letter {
    fn of(row: DeadLetterRow) -> Self {
        Self {
            message: row.message,
            failed_ms: row.failed_ms,
            tries: row.tries,
            error: row.error,
            is_retried: row.is_retried,
        }
    }
}
