//! `ambit subscription`: who gets what, where to, and what a sink would not take.

use std::path::PathBuf;

use ambit_nef::subscription::{Filter, Sink, What};
use ambit_provisioning::parse_device_id;
use clap::{ArgGroup, Args, Subcommand, ValueEnum};

use super::record::since;
use super::{inventory, one, print_rows};
use crate::Place;
use crate::admin::{Request, SubscriptionRequest};
use crate::failure::Failure;

/// Subscriptions: what is delivered, and where to.
///
/// A running core delivers each to its sink, at least once and in the order of each device. What a sink does not take now is
/// delivered later; what it refuses is kept as a dead letter.
#[derive(Subcommand)]
pub(crate) enum Subscription {
    Add(Box<Add>),
    List(List),
    Show(Show),
    Pause(Pause),
    Resume(Resume),
    Remove(Remove),
    #[command(subcommand, name = "dead-letters")]
    DeadLetters(DeadLetters),
}

/// Add a subscription. Every condition that is given must hold; prints the subscription with its secret.
#[derive(Args)]
pub(crate) struct Add {
    #[command(flatten)]
    sink: SinkArgs,
    /// The AF it belongs to: it gets what that AF may receive [default: the operator's own, everything].
    #[arg(long, value_name = "AF")]
    af: Option<String>,
    /// Only this fleet. May be given several times.
    #[arg(long = "fleet", value_name = "FLEET")]
    fleets: Vec<String>,
    /// Only this device (hexadecimal, urn:epc:id:... or text). May be given several times.
    #[arg(long = "device", value_name = "ID")]
    devices: Vec<String>,
    /// Only from here: an AIoT area code (6 hexadecimal digits) or an AreaID (24). May be given several times.
    #[arg(long = "area", value_name = "AREA")]
    areas: Vec<String>,
    /// Only reports of this cause, 0 to 15. May be given several times.
    #[arg(long = "cause", value_name = "N")]
    causes: Vec<u8>,
    /// What to deliver. May be given several times [default: data].
    #[arg(long = "what", value_enum, value_name = "WHAT")]
    what: Vec<WhatArg>,
    /// From this time on: RFC 3339, Unix seconds, or how long ago (10m, 2h) [default: now].
    #[arg(long, value_name = "T")]
    since: Option<String>,
    /// One JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
#[command(group(ArgGroup::new("to").required(true)))]
struct SinkArgs {
    /// Post signed CloudEvents to this URL.
    #[arg(long, value_name = "URL", group = "to")]
    callback: Option<String>,
    /// Publish to this MQTT 5 broker: mqtts://HOST[:PORT].
    #[arg(long, value_name = "URL", group = "to", requires = "topic")]
    mqtt: Option<String>,
    /// Server-sent events, at /subscriptions/ID/events of the core's HTTP address.
    #[arg(long, group = "to")]
    stream: bool,
    /// Append lines of JSON to this file.
    #[arg(long, value_name = "PATH", group = "to")]
    file: Option<PathBuf>,
    /// With --callback: several messages in one request.
    #[arg(long, requires = "callback")]
    batch: bool,
    /// With --mqtt: the topic; {device}, {fleet}, {area} and {what} are replaced.
    #[arg(long, value_name = "TOPIC", requires = "mqtt")]
    topic: Option<String>,
    /// With --mqtt: the user name.
    #[arg(long, value_name = "NAME", requires = "mqtt")]
    username: Option<String>,
    /// With --mqtt: a file with the password, readable by its owner alone, on every core.
    #[arg(long, value_name = "FILE", requires = "username")]
    password_file: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum WhatArg {
    /// Accepted reports.
    Data,
    /// Devices that appear, move, fall silent, go missing, return.
    Presence,
    /// Warnings and alarms.
    Alarms,
}

/// List the subscriptions.
#[derive(Args)]
pub(crate) struct List {
    /// Only those of this AF.
    #[arg(long, value_name = "AF")]
    af: Option<String>,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Show a subscription.
#[derive(Args)]
pub(crate) struct Show {
    /// The subscription.
    id: String,
    /// With the secret of its callback, or the token of its stream.
    #[arg(long)]
    secret: bool,
    /// One JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Hold a subscription's delivery. What comes meanwhile is delivered when it is resumed.
#[derive(Args)]
pub(crate) struct Pause {
    /// The subscription.
    id: String,
    /// One JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Let a subscription's delivery go on.
#[derive(Args)]
pub(crate) struct Resume {
    /// The subscription.
    id: String,
    /// One JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Remove subscriptions, with their dead letters.
#[derive(Args)]
pub(crate) struct Remove {
    /// The subscriptions.
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// What a sink would not take.
#[derive(Subcommand)]
pub(crate) enum DeadLetters {
    /// List a subscription's dead letters.
    List(LettersList),
    /// Try dead letters again, out of their order.
    Retry(Letters),
    /// Forget dead letters. The records they stand for stay.
    Drop(Letters),
}

#[derive(Args)]
pub(crate) struct LettersList {
    /// The subscription.
    id: String,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
pub(crate) struct Letters {
    /// The subscription.
    id: String,
    /// The messages, as listed [default: all].
    messages: Vec<String>,
    /// One JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

const COLUMNS: &[(&str, usize)] = &[
    ("id", 16),
    ("af", 12),
    ("state", 6),
    ("created", 24),
    ("records_behind", 14),
    ("dead_letters", 12),
    ("what", 10),
    ("sink", 20),
];

const LETTERS: &[(&str, usize)] = &[
    ("message", 24),
    ("time", 24),
    ("tries", 5),
    ("retry", 5),
    ("error", 20),
];

const REMOVED: &[(&str, usize)] = &[("id", 16), ("removed", 7)];

impl Subscription {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let ask = Request::Subscription;
        match self {
            Self::Add(add) => add.run(),
            Self::List(List { af, json, place }) => {
                let request = ask(SubscriptionRequest::List { af });
                print_rows(&place, &request, json, COLUMNS)
            }
            Self::Show(Show {
                id,
                secret: with_secret,
                json,
                place,
            }) => {
                let request = ask(SubscriptionRequest::Show { id, with_secret });
                one(&place, &request, json)
            }
            Self::Pause(Pause { id, json, place }) => {
                let is_paused = true;
                let request = ask(SubscriptionRequest::SetPaused { id, is_paused });
                one(&place, &request, json)
            }
            Self::Resume(Resume { id, json, place }) => {
                let is_paused = false;
                let request = ask(SubscriptionRequest::SetPaused { id, is_paused });
                one(&place, &request, json)
            }
            Self::Remove(Remove { ids, json, place }) => {
                let request = ask(SubscriptionRequest::Remove { ids });
                print_rows(&place, &request, json, REMOVED)
            }
            Self::DeadLetters(DeadLetters::List(LettersList { id, json, place })) => {
                let request = ask(SubscriptionRequest::DeadLetterList { id });
                print_rows(&place, &request, json, LETTERS)
            }
            Self::DeadLetters(DeadLetters::Retry(letters)) => {
                let (id, messages) = (letters.id, letters.messages);
                let request = ask(SubscriptionRequest::DeadLetterRetry { id, messages });
                one(&letters.place, &request, letters.json)
            }
            Self::DeadLetters(DeadLetters::Drop(letters)) => {
                let (id, messages) = (letters.id, letters.messages);
                let request = ask(SubscriptionRequest::DeadLetterDrop { id, messages });
                one(&letters.place, &request, letters.json)
            }
        }
    }
}

impl Add {
    fn run(self) -> Result<(), Failure> {
        let request = SubscriptionRequest::Add {
            filter: Filter {
                areas: area_ids(&self.areas, &self.place)?,
                devices: devices(&self.devices)?,
                fleets: self.fleets,
                causes: self.causes,
                what: self.what.into_iter().map(Into::into).collect(),
            },
            sink: self.sink.sink(),
            af: self.af,
            since_ms: since(self.since.as_deref())?,
        };
        one(&self.place, &Request::Subscription(request), self.json)
    }
}

impl SinkArgs {
    fn sink(self) -> Sink {
        if let Some(url) = self.callback {
            let batch = self.batch;
            return Sink::Callback { url, batch };
        }
        if let (Some(url), Some(topic)) = (self.mqtt, self.topic) {
            return Sink::Mqtt {
                url,
                topic,
                username: self.username,
                password_file: self.password_file,
            };
        }
        match self.file {
            Some(path) => Sink::File { path },
            None => Sink::Stream,
        }
    }
}

impl From<WhatArg> for What {
    fn from(what: WhatArg) -> Self {
        match what {
            WhatArg::Data => Self::Data,
            WhatArg::Presence => Self::Presence,
            WhatArg::Alarms => Self::Alarms,
        }
    }
}

/// Permanent device IDs.
pub(super) fn devices(texts: &[String]) -> Result<Vec<Vec<u8>>, Failure> {
    let id = |text: &String| {
        parse_device_id(text).map_err(|rule| {
            Failure::input("device_id_invalid", format!("--device: {text}: {rule}"))
        })
    };
    texts.iter().map(id).collect()
}

/// AreaIDs.
pub(super) fn area_ids(texts: &[String], place: &Place) -> Result<Vec<Vec<u8>>, Failure> {
    let octets = |text: &String| {
        hex::decode(text)
            .map_err(|error| Failure::input("area_invalid", format!("--area: {text}: {error}")))
    };
    inventory::areas(texts, place)?.iter().map(octets).collect()
}
