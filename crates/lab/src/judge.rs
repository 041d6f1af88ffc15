//! What devices said and saw accepted, against what the core has on record.

use std::collections::HashMap;
use std::ops::ControlFlow;

use ambit_protocol::Cause;
use ambit_ran::fleet::{Fate, Fleet};
use ambit_store::{RecordFilter, Store, StoreError};
use serde::Serialize;

/// The verdict on a run. Every figure but the first two must be 0 for [`Judgement::holds`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Judgement {
    /// Items that devices had to report.
    pub items: u64,
    /// Items with one event in the core and an ACCEPT that the device believed.
    pub accepted_once: u64,
    /// Items that nobody accepted in the end.
    pub unaccepted: u64,
    /// Items that a device saw accepted and the core has no record of.
    pub believed_falsely: u64,
    /// Items that the core counts more than once. A registration whose ACCEPT was lost and that was built anew is not
    /// meant: the network cannot tell it from another power-on, and the protocol text lets both stand.
    pub counted_twice: u64,
    /// Items that the core counts once more after a registration report, or one of another power cycle, came in between:
    /// somebody held it back, or replayed what was lost. To the network that is another power-on, or another item, after
    /// which it cannot know the first one again (section 5, network rule 3).
    pub counted_over_power_on: u64,
    /// Reports that stand more than once in the records.
    pub recorded_twice: u64,
    /// Records of reports that no device made.
    pub foreign: u64,
    /// Up to five of the offenders, the gravest first, for a person to look at.
    pub examples: Vec<String>,
}

impl Judgement {
    /// Whether every item was accepted exactly once and nothing else was.
    pub const fn holds(&self) -> bool {
        self.unaccepted == 0 && self.is_safe()
    }

    /// Whether nothing was accepted twice, falsely or from a stranger, whatever may still be waiting.
    pub const fn is_safe(&self) -> bool {
        self.is_safe_but_for_held_registrations() && self.counted_over_power_on == 0
    }

    /// The same, where somebody may hold registration reports back or replay those that were lost.
    pub const fn is_safe_but_for_held_registrations(&self) -> bool {
        self.believed_falsely == 0
            && self.counted_twice == 0
            && self.recorded_twice == 0
            && self.foreign == 0
    }

    fn example(&mut self, text: impl FnOnce() -> String) {
        self.examples.insert(0, text());
        self.examples.truncate(5);
    }

    /// One that is merely unaccepted, which many may be where power comes and goes.
    fn lesser_example(&mut self, text: impl FnOnce() -> String) {
        if self.examples.len() < 5 {
            self.examples.push(text());
        }
    }
}

/// A record as far as judging goes.
struct Record {
    /// Its place in the order of records.
    id: i64,
    is_event: bool,
    /// How many records have this device and tag.
    count: u32,
    /// Whether a device owned up to it.
    is_claimed: bool,
}

/// Judges a fleet against a store.
///
/// # Errors
/// The store cannot be read.
pub fn judge(fleet: &Fleet, store: &mut dyn Store) -> Result<Judgement, StoreError> {
    let mut records: HashMap<(Vec<u8>, Vec<u8>), Record> = HashMap::new();
    store.records_for_each(&RecordFilter::default(), &mut |row| {
        let record = records.entry((row.device_id, row.tag1)).or_insert(Record {
            id: row.id,
            is_event: false,
            count: 0,
            is_claimed: false,
        });
        record.is_event |= !row.repeat;
        record.count += 1;
        ControlFlow::Continue(())
    })?;

    let mut judgement = Judgement::default();
    for device in fleet.devices() {
        let id = device.device_id();
        let mut of_device = Vec::new();
        for item in device.ledger() {
            of_device.extend(item.reports.iter().filter_map(|report| {
                let record = records.get(&(id.to_vec(), report.tag1().to_vec()))?;
                Some((record.id, item.cycle, item.cause == Cause::PowerOn))
            }));
        }
        for item in device.ledger() {
            judgement.items += 1;
            let mut on_record = 0u32;
            let mut events = Vec::new();
            for report in &item.reports {
                if let Some(record) = records.get_mut(&(id.to_vec(), report.tag1().to_vec())) {
                    record.is_claimed = true;
                    on_record += 1;
                    events.extend(record.is_event.then_some(record.id));
                }
            }
            let name = || {
                format!(
                    "device {} item {} cycle {} {:?} seq {} {:?}",
                    String::from_utf8_lossy(id),
                    item.number,
                    item.cycle,
                    item.cause,
                    item.seq,
                    item.fate
                )
            };
            let is_accepted = matches!(item.fate, Fate::Accepted { .. });
            if is_accepted && on_record == 0 {
                judgement.believed_falsely += 1;
                judgement.example(name);
            } else if events.len() > 1 && item.cause != Cause::PowerOn {
                let (first, last) = (events.iter().min(), events.iter().max());
                let intervenes = |(id, cycle, is_power_on): &(i64, u32, bool)| {
                    let is_between = first < Some(id) && Some(id) < last;
                    is_between && (*is_power_on || *cycle != item.cycle)
                };
                if of_device.iter().any(intervenes) {
                    judgement.counted_over_power_on += 1;
                } else {
                    judgement.counted_twice += 1;
                }
                judgement.example(name);
            } else if is_accepted {
                judgement.accepted_once += 1;
            } else {
                judgement.unaccepted += 1;
                judgement.lesser_example(name);
            }
        }
    }
    for ((id, tag1), record) in &records {
        if record.count > 1 {
            judgement.recorded_twice += 1;
            judgement.example(|| format!("{} records of device {}", record.count, hex::encode(id)));
        }
        if !record.is_claimed {
            judgement.foreign += 1;
            judgement.example(|| {
                format!(
                    "device {} made no report {}",
                    hex::encode(id),
                    hex::encode(tag1)
                )
            });
        }
    }
    Ok(judgement)
}
