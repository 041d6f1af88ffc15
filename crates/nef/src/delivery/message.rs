//! Messages: CloudEvents 1.0 in structured JSON, made of records and events.
//!
//! The same record makes the same message with the same id for the same subscription, whenever and wherever it is made: so a
//! receiver that keeps the ids takes each once, though it may be sent more often.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use ambit_store::{EventRow, RecordRow};
use hyper::body::Bytes;
use serde::{Serialize, Serializer};
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
    /// The CloudEvent as JSON: an object.
    pub event: Arc<str>,
}

impl Message {
    /// The CloudEvent, as it goes to a receiver.
    #[must_use]
    pub fn body(&self) -> Bytes {
        Bytes::copy_from_slice(self.event.as_bytes())
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
        let data = Data {
            cause: Some(record.cause),
            seq: Some(record.seq),
            epoch: Some(record.epoch),
            data: Some(Hex(&record.data)),
            ..Data::of(record, fleet)
        };
        let name = format!("r{}", record.id);
        self.message(
            What::Data,
            (name.as_str(), name.clone()),
            record,
            fleet,
            &data,
        )
    }

    fn presence(
        &self,
        record: &RecordRow,
        change: Change,
        fleet: &Arc<str>,
        may: &Option<Entitlement>,
    ) -> Message {
        let told = format!("p{}-{}", record.id, change.name());
        let mut data = Data {
            change: Some(change.name()),
            ..Data::of(record, fleet)
        };
        let mut name = told.clone();
        if let Change::Moved(from) = &change {
            name = format!("{name}-{}", Hex(from));
            if may.as_ref().is_none_or(|may| may.areas.has(from)) {
                data.from_area_id = Some(Hex(from));
            }
        }
        self.message(What::Presence, (told.as_str(), name), record, fleet, &data)
    }

    fn message(
        &self,
        what: What,
        (told, name): (&str, String),
        record: &RecordRow,
        fleet: &Arc<str>,
        data: &Data<'_>,
    ) -> Message {
        let subscription = &self.subscription.id;
        let link = record.link.first_chunk::<8>().unwrap_or(&[0; 8]);
        let id = format!("{subscription}-{told}-{}", Hex(link));
        let event = self.envelope(&id, what, record.time_ms, Some(&record.device_id), data);
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
        let device_id = event.device_id.as_deref();
        put_some(&mut data, "device_id", device_id.map(hex::encode));
        put_some(&mut data, "fleet", fleet.as_deref());
        put_some(&mut data, "area_id", event.area_id.map(hex::encode));
        put_some(&mut data, "gnb_id", event.gnb_id);
        put_some(&mut data, "reader_index", event.reader_index);
        Message {
            event: self.envelope(&id, what, event.time_ms, device_id, &data),
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
        subject: Option<&[u8]>,
        data: &impl Serialize,
    ) -> Arc<str> {
        let envelope = Envelope {
            data,
            datacontenttype: "application/json",
            id,
            source: &self.source,
            specversion: "1.0",
            subject: subject.map(Hex),
            subscription: &self.subscription.id,
            time: Time(time_ms),
            kind: match what {
                What::Data => "ambit.report",
                What::Presence => "ambit.presence",
                What::Alarms => "ambit.alarm",
            },
        };
        // Nothing in it can fail to be written.
        serde_json::to_string(&envelope).unwrap_or_default().into()
    }
}

/// A CloudEvent, its members in the order of their names.
#[derive(Serialize)]
struct Envelope<'a, D> {
    data: &'a D,
    datacontenttype: &'static str,
    id: &'a str,
    source: &'a str,
    specversion: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<Hex<'a>>,
    subscription: &'a str,
    time: Time,
    #[serde(rename = "type")]
    kind: &'static str,
}

/// What is said of a record: whatever it is told for, and what belongs to its data or to a presence.
#[derive(Serialize)]
struct Data<'a> {
    area_id: Hex<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Hex<'a>>,
    device_id: Hex<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u32>,
    fleet: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_area_id: Option<Hex<'a>>,
    gnb_id: u32,
    link: Hex<'a>,
    reader_index: u16,
    record: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u8>,
}

impl<'a> Data<'a> {
    fn of(record: &'a RecordRow, fleet: &'a str) -> Self {
        Self {
            area_id: Hex(&record.area_id),
            cause: None,
            change: None,
            data: None,
            device_id: Hex(&record.device_id),
            epoch: None,
            fleet,
            from_area_id: None,
            gnb_id: record.gnb_id,
            link: Hex(&record.link),
            reader_index: record.reader_index,
            record: record.id,
            seq: None,
        }
    }
}

/// Octets as text, two lower-case digits each.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is shown here is at most this long, but for the IDs of some devices.
        let mut text = [0; 192];
        for piece in self.0.chunks(text.len() / 2) {
            let Some(text) = text.get_mut(..2 * piece.len()) else {
                return Err(fmt::Error);
            };
            hex::encode_to_slice(piece, text).map_err(|_| fmt::Error)?;
            f.write_str(std::str::from_utf8(text).map_err(|_| fmt::Error)?)?;
        }
        Ok(())
    }
}

impl Serialize for Hex<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// RFC 3339 with milliseconds, UTC.
struct Time(i64);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let since = Duration::from_millis(u64::try_from(self.0).unwrap_or(0));
        match UNIX_EPOCH.checked_add(since) {
            Some(at) => serializer.collect_str(&humantime::format_rfc3339_millis(at)),
            None => serializer.collect_str(&self.0),
        }
    }
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
