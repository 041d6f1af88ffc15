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
    /// Reports that stand more than once in the records.
    pub recorded_twice: u64,
    /// Records of reports that no device made.
    pub foreign: u64,
    /// Up to five of the offenders, for a person to look at.
    pub examples: Vec<String>,
}

impl Judgement {
    /// Whether every item was accepted exactly once and nothing else was.
    pub const fn holds(&self) -> bool {
        self.unaccepted == 0 && self.is_safe()
    }

    /// Whether nothing was accepted twice, falsely or from a stranger, whatever may still be waiting.
    pub const fn is_safe(&self) -> bool {
        self.believed_falsely == 0
            && self.counted_twice == 0
            && self.recorded_twice == 0
            && self.foreign == 0
    }

    fn example(&mut self, text: impl FnOnce() -> String) {
        if self.examples.len() < 5 {
            self.examples.push(text());
        }
    }
}

/// A record as far as judging goes.
struct Record {
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
        for item in device.ledger() {
            judgement.items += 1;
            let (mut on_record, mut events) = (0u32, 0u32);
            for report in &item.reports {
                if let Some(record) = records.get_mut(&(id.to_vec(), report.tag1().to_vec())) {
                    record.is_claimed = true;
                    on_record += 1;
                    events += u32::from(record.is_event);
                }
            }
            let name = || {
                format!(
                    "device {} item {} {:?}",
                    hex::encode(id),
                    item.number,
                    item.fate
                )
            };
            let is_accepted = matches!(item.fate, Fate::Accepted { .. });
            if is_accepted && on_record == 0 {
                judgement.believed_falsely += 1;
                judgement.example(name);
            } else if events > 1 && item.cause != Cause::PowerOn {
                judgement.counted_twice += 1;
                judgement.example(name);
            } else if is_accepted {
                judgement.accepted_once += 1;
            } else {
                judgement.unaccepted += 1;
                judgement.example(name);
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
