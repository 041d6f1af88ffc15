//! Messages: CloudEvents 1.0 in structured JSON, made of records and events.
//!
//! The same record makes the same message with the same id for the same subscription, whenever and wherever it is made: so a
//! receiver that keeps the ids takes each once, though it may be sent more often.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use ambit_store::{EventRow, RecordRow};
use hyper::body::Bytes;
use serde_json::{Value, json};

use super::feed::{Change, Entry, Whereabouts};
use crate::subscription::{Devices, Entitlement, Entitlements, Subscription, What};

/// A message to one subscription.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its CloudEvents id, the idempotency key: subscription, record or event, and what tells that from another of the same
    /// number in a store that was put back from a copy.
    pub id: String,
    /// The part of the id that names it within the subscription.
    pub name: String,
    /// What it is about.
    pub what: What,
    /// The device, whose messages keep their order; none for what names no device.
    pub device_id: Option<Vec<u8>>,
    /// The device's fleet.
    pub fleet: Arc<str>,
    /// Where it was heard.
    pub area_id: Option<[u8; 12]>,
    /// The CloudEvent.
    pub event: Value,
}

impl Message {
    /// The CloudEvent as JSON.
    #[must_use]
    pub fn body(&self) -> Bytes {
        self.event.to_string().into()
    }
}

/// Presence as events have it; the rest is told by records.
const PRESENCE_EVENTS: [&str; 2] = ["missing", "device_returned"];

/// Makes the messages of one subscription.
pub struct Selector {
    subscription: Arc<Subscription>,
    entitlements: Arc<dyn Entitlements>,
    source: Arc<str>,
    /// Needed where presence is wanted.
    whereabouts: Option<Whereabouts>,
}

impl Selector {
    /// For a subscription. `source` is the network, as CloudEvents name it; `whereabouts` those at its position, if it wants
    /// presence.
    #[must_use]
    pub fn new(
        subscription: Arc<Subscription>,
        entitlements: Arc<dyn Entitlements>,
        source: Arc<str>,
        whereabouts: Option<Whereabouts>,
    ) -> Self {
        Self {
            subscription,
            entitlements,
            source,
            whereabouts,
        }
    }

    /// What the next record or event comes to: nothing, or a message or two.
    pub fn messages(&mut self, entry: &Entry) -> Vec<Message> {
        let entitlement = self.entitlement();
        let Some(may) = &entitlement else {
            if let (Entry::Record(record, _), Some(at)) = (entry, &mut self.whereabouts) {
                at.take(record);
            }
            return Vec::new();
        };
        match entry {
            Entry::Record(record, fleet) => {
                let change = self.whereabouts.as_mut().and_then(|at| at.take(record));
                let mut messages = Vec::new();
                if let Some(change) = change
                    && self.takes_presence(record, change, fleet, may)
                {
                    messages.push(self.presence(record, change, fleet, may));
                }
                if self.takes_data(record, fleet, may) {
                    messages.push(self.data(record, fleet));
                }
                messages
            }
            Entry::Event(event, fleet) => match self.event_kind(event, fleet.as_deref(), may) {
                Some(what) => vec![self.event(event, what, fleet.clone())],
                None => Vec::new(),
            },
        }
    }

    /// A message by its name, as it was; `None` if the subscription does not get it any more. `entry` is what the name names.
    #[must_use]
    pub fn again(&self, name: &str, entry: &Entry) -> Option<Message> {
        let may = self.entitlement()?;
        match (entry, parse_name(name)?) {
            (Entry::Record(record, fleet), Name::Data(_)) => self
                .takes_data(record, fleet, &may)
                .then(|| self.data(record, fleet)),
            (Entry::Record(record, fleet), Name::Presence(_, change)) => self
                .takes_presence(record, change, fleet, &may)
                .then(|| self.presence(record, change, fleet, &may)),
            (Entry::Event(event, fleet), Name::Event(_)) => {
                let what = self.event_kind(event, fleet.as_deref(), &may)?;
                Some(self.event(event, what, fleet.clone()))
            }
            _ => None,
        }
    }

    /// `None`: nothing at all. `Some(None)`: everything.
    #[allow(clippy::option_option)] // nothing, everything, or this
    fn entitlement(&self) -> Option<Option<Entitlement>> {
        match &self.subscription.af {
            None => Some(None),
            Some(af) => self.entitlements.entitlement(af).map(Some),
        }
    }

    fn takes_data(&self, record: &RecordRow, fleet: &str, may: &Option<Entitlement>) -> bool {
        let filter = &self.subscription.filter;
        !record.repeat
            && (filter.causes.is_empty() || filter.causes.contains(&record.cause))
            && may.as_ref().is_none_or(|may| may.causes.has(&record.cause))
            && self.takes(What::Data, &record.device_id, fleet, &[record.area_id], may)
    }

    fn takes_presence(
        &self,
        record: &RecordRow,
        change: Change,
        fleet: &str,
        may: &Option<Entitlement>,
    ) -> bool {
        // A move concerns whoever looks at either of the two places, if he may look at the new one.
        let moved_from = match change {
            Change::Moved(from) => from,
            _ => record.area_id,
        };
        let places = [record.area_id, moved_from];
        self.takes(What::Presence, &record.device_id, fleet, &places, may)
    }

    fn takes(
        &self,
        what: What,
        device_id: &[u8],
        fleet: &str,
        places: &[[u8; 12]],
        may: &Option<Entitlement>,
    ) -> bool {
        let filter = &self.subscription.filter;
        let is_in = |area: &[u8; 12]| filter.areas.iter().any(|wanted| wanted == area);
        filter.wants(what)
            && (filter.fleets.is_empty() || filter.fleets.iter().any(|wanted| wanted == fleet))
            && (filter.devices.is_empty() || filter.devices.iter().any(|id| id == device_id))
            && (filter.areas.is_empty() || places.iter().any(is_in))
            && may.as_ref().is_none_or(|may| {
                may.what.has(&what)
                    && may.has_device(device_id, fleet)
                    // The first is where it is.
                    && places.first().is_none_or(|area| may.areas.has(area))
            })
    }

    /// Whether an event is wanted, and as what.
    fn event_kind(
        &self,
        event: &EventRow,
        fleet: Option<&str>,
        may: &Option<Entitlement>,
    ) -> Option<What> {
        let is_presence = PRESENCE_EVENTS.contains(&event.kind.as_str());
        let is_alarm = event.severity != "info";
        let whats = [(What::Presence, is_presence), (What::Alarms, is_alarm)];
        let filter = &self.subscription.filter;
        let wanted = |what: &What| match (&event.device_id, event.area_id) {
            (Some(id), area) => {
                let area = area.as_slice();
                self.takes(*what, id, fleet.unwrap_or_default(), area, may)
            }
            // Of a place: for those who may hear of every device there.
            (None, area) => {
                let is_in = |area: [u8; 12]| filter.areas.iter().any(|wanted| *wanted == area);
                filter.wants(*what)
                    && filter.fleets.is_empty()
                    && filter.devices.is_empty()
                    && (filter.areas.is_empty() || area.is_some_and(is_in))
                    && may.as_ref().is_none_or(|may| {
                        may.what.has(what)
                            && may.devices == Devices::All
                            && area.is_some_and(|area| may.areas.has(&area))
                    })
            }
        };
        let mut whats = whats
            .into_iter()
            .filter(|(_, is)| *is)
            .map(|(what, _)| what);
        whats.find(|what| wanted(what))
    }

    fn data(&self, record: &RecordRow, fleet: &Arc<str>) -> Message {
        let mut data = of_record(record, fleet);
        put(&mut data, "cause", record.cause);
        put(&mut data, "seq", record.seq);
        put(&mut data, "epoch", record.epoch);
        put(&mut data, "data", hex::encode(&record.data));
        let name = format!("r{}", record.id);
        self.message(
            What::Data,
            (name.as_str(), name.clone()),
            record,
            fleet,
            data,
        )
    }

    fn presence(
        &self,
        record: &RecordRow,
        change: Change,
        fleet: &Arc<str>,
        may: &Option<Entitlement>,
    ) -> Message {
        let mut data = of_record(record, fleet);
        put(&mut data, "change", change.name());
        let told = format!("p{}-{}", record.id, change.name());
        let mut name = told.clone();
        if let Change::Moved(from) = change {
            name = format!("{name}-{}", hex::encode(from));
            if may.as_ref().is_none_or(|may| may.areas.has(&from)) {
                put(&mut data, "from_area_id", hex::encode(from));
            }
        }
        self.message(What::Presence, (told.as_str(), name), record, fleet, data)
    }

    fn message(
        &self,
        what: What,
        (told, name): (&str, String),
        record: &RecordRow,
        fleet: &Arc<str>,
        data: Value,
    ) -> Message {
        let subscription = &self.subscription.id;
        let link: String = record
            .link
            .iter()
            .take(8)
            .map(|o| format!("{o:02x}"))
            .collect();
        let id = format!("{subscription}-{told}-{link}");
        let device = hex::encode(&record.device_id);
        let event = self.envelope(&id, what, record.time_ms, Some(&device), data);
        Message {
            id,
            name,
            what,
            device_id: Some(record.device_id.clone()),
            fleet: Arc::clone(fleet),
            area_id: Some(record.area_id),
            event,
        }
    }

    fn event(&self, event: &EventRow, what: What, fleet: Option<Arc<str>>) -> Message {
        let subscription = &self.subscription.id;
        let name = format!("e{}", event.id);
        let id = format!("{subscription}-{name}-{:x}", event.time_ms);
        let mut data = json!({
            "event": event.id,
            "kind": event.kind,
            "severity": event.severity,
            "count": event.count,
            "detail": serde_json::from_str(&event.detail).unwrap_or_else(|_| json!({})),
        });
        if what == What::Presence {
            put(&mut data, "change", event.kind.as_str());
        }
        let device = event.device_id.as_ref().map(hex::encode);
        put_some(&mut data, "device_id", device.as_deref());
        put_some(&mut data, "fleet", fleet.as_deref());
        put_some(&mut data, "area_id", event.area_id.map(hex::encode));
        put_some(&mut data, "gnb_id", event.gnb_id);
        put_some(&mut data, "reader_index", event.reader_index);
        Message {
            event: self.envelope(&id, what, event.time_ms, device.as_deref(), data),
            id,
            name,
            what,
            device_id: event.device_id.clone(),
            fleet: fleet.unwrap_or_default(),
            area_id: event.area_id,
        }
    }

    fn envelope(
        &self,
        id: &str,
        what: What,
        time_ms: i64,
        subject: Option<&str>,
        data: Value,
    ) -> Value {
        let mut event = json!({
            "specversion": "1.0",
            "id": id,
            "source": &*self.source,
            "type": match what {
                What::Data => "ambit.report",
                What::Presence => "ambit.presence",
                What::Alarms => "ambit.alarm",
            },
            "time": rfc3339(time_ms),
            "datacontenttype": "application/json",
            "subscription": self.subscription.id,
            "data": data,
        });
        put_some(&mut event, "subject", subject);
        event
    }
}

/// What is said of a record whatever it is told for.
fn of_record(record: &RecordRow, fleet: &Arc<str>) -> Value {
    json!({
        "record": record.id,
        "link": hex::encode(record.link),
        "device_id": hex::encode(&record.device_id),
        "fleet": &**fleet,
        "area_id": hex::encode(record.area_id),
        "gnb_id": record.gnb_id,
        "reader_index": record.reader_index,
    })
}

/// What a message's name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// The data of a record.
    Data(i64),
    /// What a record said of presence.
    Presence(i64, Change),
    /// An event.
    Event(i64),
}

/// Reads a name.
#[must_use]
pub fn parse_name(name: &str) -> Option<Name> {
    let (kind, rest) = name.split_at_checked(1)?;
    let mut parts = rest.split('-');
    let number: i64 = parts.next()?.parse().ok()?;
    match (kind, parts.next(), parts.next(), parts.next()) {
        ("r", None, ..) => Some(Name::Data(number)),
        ("e", None, ..) => Some(Name::Event(number)),
        ("p", Some("appeared"), None, _) => Some(Name::Presence(number, Change::Appeared)),
        ("p", Some("going_silent"), None, _) => Some(Name::Presence(number, Change::GoingSilent)),
        ("p", Some("moved"), Some(from), None) => {
            let mut area = [0; 12];
            hex::decode_to_slice(from, &mut area).ok()?;
            Some(Name::Presence(number, Change::Moved(area)))
        }
        _ => None,
    }
}

fn put(object: &mut Value, name: &str, value: impl Into<Value>) {
    if let Some(object) = object.as_object_mut() {
        object.insert(name.to_owned(), value.into());
    }
}

fn put_some(object: &mut Value, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        put(object, name, value);
    }
}

/// RFC 3339 with milliseconds, UTC.
fn rfc3339(ms: i64) -> String {
    let since = Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    match UNIX_EPOCH.checked_add(since) {
        Some(at) => humantime::format_rfc3339_millis(at).to_string(),
        None => ms.to_string(),
    }
}
