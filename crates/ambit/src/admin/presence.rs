//! Requests about presence: worked out from the records when asked.

use std::ops::ControlFlow;

use ambit_aiotf::server::unix_ms;
use ambit_nef::presence::{Change, Expectation, Follower, Seen, Tracker};
use ambit_provisioning::format_device_id;
use ambit_store::{RecordFilter, Store};
use serde_json::{Value, json};

use super::execute::flow;
use crate::failure::Failure;
use crate::show;

/// A row for each device, heard or not.
pub(super) fn list(
    store: &mut dyn Store,
    expectation: Expectation,
    row: &mut dyn FnMut(Value) -> bool,
) -> Result<(), Failure> {
    let mut follower = Follower::new(expectation, 0);
    follower.read_all(store, unix_ms())?;
    let devices = follower.tracker().devices();
    store.devices_for_each(&mut |device| {
        let shown = match devices.get(&device.id) {
            Some(seen) => state(seen),
            None => json!({
                "device_id": hex::encode(&device.device_id),
                "device_name": format_device_id(&device.device_id),
                "presence": "unknown",
                "reason": "never_heard",
            }),
        };
        flow(row(shown))
    })?;
    Ok(())
}

/// A row for each change of one device, then one for how it is now.
pub(super) fn history(
    store: &mut dyn Store,
    device_id: &[u8],
    expectation: &Expectation,
    row: &mut dyn FnMut(Value) -> bool,
) -> Result<(), Failure> {
    let fleet = store.device(device_id)?.map(|device| device.fleet);
    let deadline_ms = expectation.deadline_ms(&fleet.unwrap_or_default());
    let mut tracker = Tracker::new(0);
    let mut said = |seen: &Seen, change: Change| {
        let at_ms = match change {
            // It keeps the moment at which it became so.
            Change::CloneSuspicion { .. } => seen.last_ms,
            _ => seen.since_ms,
        };
        row(json!({
            "time": show::time(at_ms),
            "change": change.name(),
            "area_id": hex::encode(seen.place.area_id),
            "gnb_id": seen.place.gnb_id,
            "reader_index": seen.place.reader_index,
        }));
    };
    let filter = RecordFilter {
        device_id: Some(device_id),
        ..RecordFilter::default()
    };
    store.records_for_each(&filter, &mut |record| {
        tracker.tick(record.time_ms, &mut said);
        tracker.record(&record, deadline_ms, &mut said);
        ControlFlow::Continue(())
    })?;
    tracker.tick(unix_ms(), &mut said);
    row(match tracker.devices().values().next() {
        Some(seen) => state(seen),
        None => json!({
            "device_id": hex::encode(device_id),
            "device_name": format_device_id(device_id),
            "presence": "unknown",
            "reason": "never_heard",
        }),
    });
    Ok(())
}

fn state(seen: &Seen) -> Value {
    json!({
        "device_id": hex::encode(&seen.device_id),
        "device_name": format_device_id(&seen.device_id),
        "presence": seen.presence.name(),
        "reason": seen.presence.reason(),
        "since": show::time(seen.since_ms),
        "last_heard": show::time(seen.last_ms),
        "last_record": seen.last_record,
        "area_id": hex::encode(seen.place.area_id),
        "gnb_id": seen.place.gnb_id,
        "reader_index": seen.place.reader_index,
    })
}
