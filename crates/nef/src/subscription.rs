//! Subscriptions: who wants to hear of what, and where it goes.
//!
//! A subscription belongs to an AF, or to the operator. What it gets is what its filter asks for **and** its AF may receive,
//! asked anew for each message: a right that is taken away ends delivery at once. This module makes, finds and removes them;
//! [`crate::delivery`] brings them what they want.

mod check;
mod entitlement;
mod guard;
pub mod remote;
mod secret;
pub mod service;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;

use ambit_store::{DeliveryStore, NewSubscription, RecordFilter, StoreError, SubscriptionRow};
use serde::{Deserialize, Serialize};

pub(crate) use check::target;
pub use check::{Rules, SubscriptionError};
pub use entitlement::{Devices, Entitlement, EntitlementTable, Entitlements, Scope};
pub use guard::{AddressRange, Guard, GuardError};
pub use secret::DeliveryKey;

/// The most values in one list of a filter.
pub const FILTER_VALUES_MAX: usize = 256;

/// The longest URL, topic or path, in octets.
pub const TARGET_OCTETS_MAX: usize = 2048;

/// Records of one writer are numbered from this many times its number on.
const WRITER_RECORDS: i64 = 1 << 40;

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// An accepted report, each once.
    Data,
    /// A device appeared, moved, fell silent, went missing or returned.
    Presence,
    /// An event graver than info.
    Alarms,
}

impl What {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Data, Self::Presence, Self::Alarms];

    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Presence => "presence",
            Self::Alarms => "alarms",
        }
    }
}

/// What is wanted: every condition that is given must hold. An empty list is no condition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// Fleets, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fleets: Vec<String>,
    /// Devices, by permanent ID; hexadecimal in JSON.
    #[serde(skip_serializing_if = "Vec::is_empty", with = "hexadecimal")]
    pub devices: Vec<Vec<u8>>,
    /// AreaIDs, 12 octets each; hexadecimal in JSON.
    #[serde(skip_serializing_if = "Vec::is_empty", with = "hexadecimal")]
    pub areas: Vec<Vec<u8>>,
    /// Causes of reports, 0 to 15. Only data has one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<u8>,
    /// What kinds of messages; data alone if none is named.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub what: Vec<What>,
}

impl Filter {
    /// Whether messages of a kind are wanted.
    #[must_use]
    pub fn wants(&self, what: What) -> bool {
        match self.what.is_empty() {
            true => what == What::Data,
            false => self.what.contains(&what),
        }
    }
}

/// Where messages go. No secret is in here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Sink {
    /// CloudEvents to an HTTPS server, signed.
    Callback {
        /// Where they are posted.
        url: String,
        /// Several in one request (`application/cloudevents-batch+json`).
        #[serde(default)]
        batch: bool,
    },
    /// CloudEvents to an MQTT 5 broker, QoS 1.
    Mqtt {
        /// `mqtts://HOST[:PORT]`, or `mqtt://` where that is allowed.
        url: String,
        /// The topic, with `{device}`, `{fleet}`, `{area}` and `{what}` replaced.
        topic: String,
        /// Whom the broker knows us as.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        username: Option<String>,
        /// A file with the password, its owner's alone, on every core that delivers.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        password_file: Option<PathBuf>,
    },
    /// Server-sent events, for whoever comes with the token.
    Stream,
    /// Lines of JSON at the end of a file.
    File {
        /// The file; made when it is not there.
        path: PathBuf,
    },
}

impl Sink {
    /// The stable name of its kind.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Callback { .. } => "callback",
            Self::Mqtt { .. } => "mqtt",
            Self::Stream => "stream",
            Self::File { .. } => "file",
        }
    }
}

/// How far a subscription has come: everything through here has been handed over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The last record of each writer, by the writer's number; one that is not named has not begun.
    pub records: BTreeMap<i64, i64>,
    /// The last event.
    pub events: i64,
    /// How many messages of the record or event after this have been handed over already.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub part: u8,
    /// How long the sink's file was, for a file.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub octets: Option<u64>,
}

impl Position {
    /// The last record of a writer.
    #[must_use]
    pub fn record(&self, writer: i64) -> i64 {
        let begin = writer.saturating_mul(WRITER_RECORDS);
        self.records.get(&writer).copied().unwrap_or(begin)
    }

    /// Takes a record for handed over.
    pub fn pass_record(&mut self, record: i64) {
        self.records.insert(writer(record), record);
    }

    /// Where things stand now.
    ///
    /// # Errors
    /// The store's.
    pub fn now(store: &mut dyn DeliveryStore) -> Result<Self, StoreError> {
        let mut position = Self {
            events: store.event_head()?,
            ..Self::default()
        };
        for head in store.record_heads()? {
            position.pass_record(head);
        }
        Ok(position)
    }

    /// Before the first record and event of a time or later.
    ///
    /// # Errors
    /// The store's.
    pub fn since(store: &mut dyn DeliveryStore, since_ms: i64) -> Result<Self, StoreError> {
        let mut position = Self::now(store)?;
        for (writer, head) in position.records.clone() {
            let mut first = None;
            let filter = RecordFilter {
                since_ms: Some(since_ms),
                after_id: Some(writer.saturating_mul(WRITER_RECORDS)),
                ..RecordFilter::default()
            };
            store.records_for_each(&filter, &mut |record| {
                first = Some(record.id);
                ControlFlow::Break(())
            })?;
            position.pass_record(first.map_or(head, |first| first - 1));
        }
        let mut first = None;
        let filter = ambit_store::EventFilter {
            since_ms: Some(since_ms),
            ..Default::default()
        };
        store.events_for_each(&filter, &mut |event| {
            first = Some(event.id);
            ControlFlow::Break(())
        })?;
        position.events = first.map_or(position.events, |first| first - 1);
        Ok(position)
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde calls it
const fn is_zero(part: &u8) -> bool {
    *part == 0
}

/// The writer of a record.
pub(crate) const fn writer(record: i64) -> i64 {
    record.div_euclid(WRITER_RECORDS)
}

/// A subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Its name: 16 hexadecimal digits.
    pub id: String,
    /// The AF it belongs to; the operator's own without one.
    pub af: Option<String>,
    /// What is wanted.
    pub filter: Filter,
    /// Where it goes.
    pub sink: Sink,
    /// When it was made, Unix time in ms.
    pub created_ms: i64,
    /// Nothing is delivered for now; what comes meanwhile is delivered later.
    pub is_paused: bool,
    /// How far it has come. That of a stream is where it began: its readers know how far they are.
    pub position: Position,
}

/// The part of a row that never changes.
#[derive(Serialize, Deserialize)]
struct Definition {
    filter: Filter,
    sink: Sink,
}

impl Subscription {
    /// Reads a row of the store.
    ///
    /// # Errors
    /// [`SubscriptionError::Damaged`].
    pub fn from_row(row: SubscriptionRow) -> Result<Self, SubscriptionError> {
        let damaged = |_| SubscriptionError::Damaged { id: row.id.clone() };
        let definition: Definition = serde_json::from_str(&row.definition).map_err(damaged)?;
        let position = serde_json::from_str(&row.position).map_err(damaged)?;
        Ok(Self {
            id: row.id,
            af: row.af,
            filter: definition.filter,
            sink: definition.sink,
            created_ms: row.created_ms,
            is_paused: row.is_paused,
            position,
        })
    }
}

/// Who asks. An AF sees and changes its own subscriptions and does not learn of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker<'a> {
    /// The operator.
    Operator,
    /// An AF.
    Af(&'a str),
}

impl Asker<'_> {
    fn may_see(self, af: Option<&str>) -> bool {
        match self {
            Self::Operator => true,
            Self::Af(asker) => af == Some(asker),
        }
    }
}

/// A subscription that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Whose it is to be.
    pub af: Option<String>,
    /// What is wanted.
    pub filter: Filter,
    /// Where it is to go.
    pub sink: Sink,
    /// From when on, Unix time in ms; from now on without it.
    pub since_ms: Option<i64>,
}

/// Adds a subscription. May wait for a name server, and looks through all devices for a fleet that has none.
///
/// # Errors
/// [`SubscriptionError`], naming the field and the rule; nothing was added.
pub fn add(
    store: &mut dyn DeliveryStore,
    rules: &Rules,
    wanted: Wanted,
    now_ms: i64,
) -> Result<Subscription, SubscriptionError> {
    let id = new_id()?;
    add_as(store, rules, id, wanted, now_ms)
}

/// A name that no subscription has.
///
/// # Errors
/// [`SubscriptionError::Random`].
pub fn new_id() -> Result<String, SubscriptionError> {
    let mut id = [0; 8];
    getrandom::fill(&mut id).map_err(|_| SubscriptionError::Random)?;
    Ok(hex::encode(id))
}

/// Adds a subscription under a name that [`new_id`] gave. Once only: where it is there already, whoever asks again is told of it.
///
/// # Errors
/// As [`add`].
pub fn add_as(
    store: &mut dyn DeliveryStore,
    rules: &Rules,
    id: String,
    wanted: Wanted,
    now_ms: i64,
) -> Result<Subscription, SubscriptionError> {
    if !is_id(&id) {
        return Err(SubscriptionError::Unknown { id });
    }
    if let Some(row) = store.subscription(&id)? {
        let there = Subscription::from_row(row)?;
        let is_same =
            there.af == wanted.af && there.filter == wanted.filter && there.sink == wanted.sink;
        return match is_same {
            true => Ok(there),
            false => Err(SubscriptionError::Unknown { id }),
        };
    }
    let quota = check::check(store, rules, &wanted)?;
    let subscription = Subscription {
        id,
        af: wanted.af,
        filter: wanted.filter,
        sink: wanted.sink,
        created_ms: now_ms,
        is_paused: false,
        position: match wanted.since_ms {
            None => Position::now(store)?,
            Some(since_ms) => Position::since(store, since_ms)?,
        },
    };
    let definition = Definition {
        filter: subscription.filter.clone(),
        sink: subscription.sink.clone(),
    };
    let text = |value: Result<String, serde_json::Error>| {
        value.map_err(|error| SubscriptionError::Invalid {
            field: "sink",
            rule: error.to_string(),
        })
    };
    let added = store.subscription_insert(
        &NewSubscription {
            id: &subscription.id,
            af: subscription.af.as_deref(),
            definition: &text(serde_json::to_string(&definition))?,
            created_ms: now_ms,
            position: &text(serde_json::to_string(&subscription.position))?,
        },
        quota,
    )?;
    match added {
        true => Ok(subscription),
        false => Err(SubscriptionError::Quota { quota }),
    }
}

/// Whether a text is what a subscription may be called.
#[must_use]
pub fn is_id(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
}

/// The subscriptions that the asker may see.
///
/// # Errors
/// The store's, [`SubscriptionError::Damaged`].
pub fn list(
    store: &mut dyn DeliveryStore,
    asker: Asker<'_>,
) -> Result<Vec<Subscription>, SubscriptionError> {
    let rows = store.subscriptions()?.into_iter();
    rows.filter(|row| asker.may_see(row.af.as_deref()))
        .map(Subscription::from_row)
        .collect()
}

/// The subscription with this name.
///
/// # Errors
/// [`SubscriptionError::Unknown`]: there is none that the asker may see.
pub fn find(
    store: &mut dyn DeliveryStore,
    asker: Asker<'_>,
    id: &str,
) -> Result<Subscription, SubscriptionError> {
    match store.subscription(id)? {
        Some(row) if asker.may_see(row.af.as_deref()) => Subscription::from_row(row),
        _ => Err(SubscriptionError::Unknown { id: id.to_owned() }),
    }
}

/// Removes a subscription with its position and its dead letters. Delivery ends within a second.
///
/// # Errors
/// [`SubscriptionError::Unknown`].
pub fn remove(
    store: &mut dyn DeliveryStore,
    asker: Asker<'_>,
    id: &str,
) -> Result<Subscription, SubscriptionError> {
    let subscription = find(store, asker, id)?;
    store.subscription_remove(id)?;
    Ok(subscription)
}

/// Holds a subscription's delivery, or lets it go on.
///
/// # Errors
/// [`SubscriptionError::Unknown`].
pub fn set_paused(
    store: &mut dyn DeliveryStore,
    asker: Asker<'_>,
    id: &str,
    is_paused: bool,
) -> Result<Subscription, SubscriptionError> {
    find(store, asker, id)?;
    store.subscription_set_paused(id, is_paused)?;
    find(store, asker, id)
}

/// Lists of octet strings, in hexadecimal.
mod hexadecimal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(list: &[Vec<u8>], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(list.iter().map(hex::encode))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<Vec<u8>>, D::Error> {
        let list = Vec::<String>::deserialize(from)?;
        list.iter()
            .map(|text| hex::decode(text).map_err(D::Error::custom))
            .collect()
    }
}
