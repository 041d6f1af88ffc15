//! `ambit watch`.

use std::io::Write;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ambit_nef::delivery::feed::{Feed, Heads, Whereabouts};
use ambit_nef::delivery::message::{Message, Selector};
use ambit_nef::subscription::{EntitlementTable, Filter, Position, Sink, Subscription, What};
use ambit_provisioning::format_device_id;
use clap::Args;
use serde_json::Value;

use super::printed;
use super::record::since;
use super::subscription::{WhatArg, area_ids, devices};
use crate::Place;
use crate::data_dir::DataDir;
use crate::failure::Failure;

/// Follow live what is accepted, and what happens beside it.
///
/// Reads the store, beside a running core or without one, until it is interrupted. Every condition that is given must hold.
#[derive(Args)]
pub(crate) struct Watch {
    /// Only this device (hexadecimal, urn:epc:id:... or text). May be given several times.
    #[arg(long = "device", value_name = "ID")]
    devices: Vec<String>,
    /// Only this fleet. May be given several times.
    #[arg(long = "fleet", value_name = "FLEET")]
    fleets: Vec<String>,
    /// Only from here: an AIoT area code (6 hexadecimal digits) or an AreaID (24). May be given several times.
    #[arg(long = "area", value_name = "AREA")]
    areas: Vec<String>,
    /// What to follow. May be given several times [default: data].
    #[arg(long = "what", value_enum, value_name = "WHAT")]
    what: Vec<WhatArg>,
    /// Begin at this time: RFC 3339, Unix seconds, or how long ago (10m, 2h) [default: now].
    #[arg(long, value_name = "T")]
    since: Option<String>,
    /// One CloudEvent a line, as subscribers get them.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// How often it is looked what is new.
const LOOK_EVERY: Duration = Duration::from_millis(200);

impl Watch {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let config = self.place.config()?;
        let filter = Filter {
            areas: area_ids(&self.areas, &self.place)?,
            devices: devices(&self.devices)?,
            fleets: self.fleets,
            causes: Vec::new(),
            what: self.what.into_iter().map(Into::into).collect(),
        };
        let since_ms = since(self.since.as_deref())?;
        let mut store = DataDir::new(&config)?.open_deliveries_to_read()?;
        for id in &filter.devices {
            if store.device(id)?.is_none() {
                let message = format!("--device: no device {}", format_device_id(id));
                return Err(Failure::input("device_unknown", message));
            }
        }
        for fleet in &filter.fleets {
            if !store.fleet_is_known(fleet)? {
                let message = format!("--fleet: no device is of fleet {fleet}");
                return Err(Failure::input("fleet_unknown", message));
            }
        }
        let mut position = match since_ms {
            Some(since_ms) => Position::since(store.as_mut(), since_ms)?,
            None => Position::now(store.as_mut())?,
        };
        let whereabouts = match filter.wants(What::Presence) {
            true => Some(Whereabouts::at(store.as_mut(), &position)?),
            false => None,
        };
        let subscription = Subscription {
            id: "watch".to_owned(),
            af: None,
            filter,
            sink: Sink::Stream,
            created_ms: 0,
            is_paused: false,
            position: position.clone(),
        };
        let source = format!("urn:ambit:{}", hex::encode(config.snid()?.octets()));
        let nobody = Arc::new(EntitlementTable::default());
        let mut selector =
            Selector::new(Arc::new(subscription), nobody, source.into(), whereabouts);
        let mut feed = Feed::default();
        let mut out = std::io::stdout();
        loop {
            let heads = Heads::read(store.as_mut())?;
            let page = feed.page(store.as_mut(), &position, &heads)?;
            for entry in &page.entries {
                entry.pass(&mut position);
                for message in selector.messages(entry) {
                    let line = match self.json {
                        true => message.event.to_string(),
                        false => line(&message),
                    };
                    if let Err(error) = writeln!(out, "{line}") {
                        return printed(Err(error));
                    }
                }
            }
            if page.entries.is_empty() {
                if let Err(error) = out.flush() {
                    return printed(Err(error));
                }
                thread::sleep(LOOK_EVERY);
            }
        }
    }
}

/// Time, kind, device, area, and what there is to say.
fn line(message: &Message) -> String {
    let text = |value: Option<&Value>| match value {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => "-".to_owned(),
    };
    let event: Value = serde_json::from_str(&message.event).unwrap_or_default();
    let data = event.get("data");
    let of = |name: &str| text(data.and_then(|data| data.get(name)));
    let device = message.device_id.as_deref().map(format_device_id);
    let said = match message.what {
        What::Data => format!("cause {} {}", of("cause"), of("data")),
        What::Presence => of("change"),
        What::Alarms => format!("{} {} {}", of("severity"), of("kind"), of("detail")),
    };
    format!(
        "{:<24} {:<8} {:<34} {:<24} {said}",
        text(event.get("time")),
        message.what.name(),
        device.unwrap_or_else(|| "-".to_owned()),
        message.area_id.map_or_else(|| "-".to_owned(), hex::encode),
    )
}
