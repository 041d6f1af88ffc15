//! What an AF is shown of its subscriptions.

use ambit_sbi::clock::date_time;
use ambit_sbi::json::{set, to_base64};
use serde_json::{Value, json};

use super::super::area::AreaNames;
use crate::subscription::service::{Letter, View};
use crate::subscription::{Sink, What};

/// A DoaSubscription.
pub(super) fn subscription(areas: &AreaNames, view: &View) -> Value {
    let filter = &view.filter;
    let events = What::ALL.into_iter().filter(|what| filter.wants(*what));
    let mut body = json!({
        "subscriptionId": view.id,
        "state": if view.is_paused { "PAUSED" } else { "ACTIVE" },
        "events": events.map(event).collect::<Vec<_>>(),
        "sink": sink(&view.sink),
        "created": date_time(view.created_ms),
        "deadLetters": view.dead_letters,
    });
    if !filter.devices.is_empty() {
        let ids: Vec<_> = filter.devices.iter().map(|id| to_base64(id)).collect();
        set(&mut body, "targetDevices", json!({ "devices": ids }));
    }
    if !filter.areas.is_empty() {
        let names = areas.names_of(&filter.areas);
        set(&mut body, "extTargetArea", json!({ "extAreaIds": names }));
    }
    if !filter.fleets.is_empty() {
        set(&mut body, "fleets", json!(filter.fleets));
    }
    if !filter.causes.is_empty() {
        set(&mut body, "causes", json!(filter.causes));
    }
    body
}

/// A DoaDeadLetter.
pub(super) fn letter(letter: &Letter) -> Value {
    json!({
        "message": letter.message,
        "time": date_time(letter.failed_ms),
        "tries": letter.tries,
        "error": letter.error,
        "retry": letter.is_retried,
    })
}

const fn event(what: What) -> &'static str {
    match what {
        What::Data => "DATA",
        What::Presence => "PRESENCE",
        What::Alarms => "ALARMS",
    }
}

/// Of a sink that the operator set up for the AF, its kind.
fn sink(sink: &Sink) -> Value {
    match sink {
        Sink::Callback { url, batch } => json!({ "kind": "CALLBACK", "url": url, "batch": batch }),
        Sink::Stream => json!({ "kind": "STREAM" }),
        Sink::Mqtt { .. } => json!({ "kind": "MQTT" }),
        Sink::File { .. } => json!({ "kind": "FILE" }),
    }
}
