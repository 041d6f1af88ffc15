//! The network of sections 5 and 6 as the text tells it: every report is tried against every device, every record is kept.

use std::collections::HashMap;

use crate::{Credentials, Exchange, Place, accept, nonce_octets, outside, read_report};

/// W of section 6.
const WINDOW: u32 = 16;
const HOUR_MS: i64 = 3_600_000;

/// A device as the network knows it.
pub struct Known {
    /// Its permanent ID.
    pub id: Vec<u8>,
    /// Its secrets.
    pub credentials: Credentials,
    /// The forms of REPORT that its profile has.
    pub forms: &'static [u8],
}

/// What becomes of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A new record: one event.
    New(Vec<u8>),
    /// A new record of an item that was accepted before: no event.
    Repeat(Vec<u8>),
    /// A new record whose item is not that of the record before, but of an earlier one since the power-on. To the text it is
    /// new; the product looks back over eight seqs (open question 1).
    Open(Vec<u8>),
    /// The same report again.
    Duplicate(Vec<u8>),
    /// Nothing is sent.
    Silence,
}

/// The network.
#[derive(Default)]
pub struct Network {
    devices: Vec<Known>,
    /// ACCEPT by device, epoch and TAG1.
    records: HashMap<(usize, u32, Vec<u8>), Vec<u8>>,
    /// Last counter and its TAG1.
    counters: HashMap<usize, (u32, Vec<u8>)>,
    /// First octet of P, and time, of the last record.
    items: HashMap<usize, (u8, i64)>,
    /// First octets of P since the last power-on.
    earlier: HashMap<usize, Vec<u8>>,
}

/// Device, counter if it has one, octets of P, exchange.
type Found = (usize, Option<u32>, Vec<u8>, Exchange);

impl Network {
    /// A network that knows these devices.
    pub fn new(devices: Vec<Known>) -> Self {
        Self {
            devices,
            ..Self::default()
        }
    }

    /// A device.
    pub fn device(&self, at: usize) -> &Known {
        &self.devices[at]
    }

    /// Records kept.
    pub fn record_count(&self) -> usize {
        self.records.len()
    }

    /// Everything that a report could be: each device, and for the counter forms each value that is open.
    pub fn find(&self, place: &Place, octets: &[u8]) -> Vec<Found> {
        let Some((form, nonce)) = outside(octets) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for (at, device) in self.devices.iter().enumerate() {
            if !device.forms.contains(&form) {
                continue;
            }
            let last = self.counters.get(&at).map_or(0, |(last, _)| *last);
            let nonces: Vec<Vec<u8>> = match form {
                // What lies behind is for resends and clones. How far back the text leaves open; it is the product's W here.
                1 | 4 => (last.saturating_sub(WINDOW)..=last.saturating_add(WINDOW))
                    .map(|c| c.to_be_bytes().to_vec())
                    .collect(),
                _ => vec![nonce.clone()],
            };
            for nonce in nonces {
                if let Some((text, exchange)) =
                    read_report(&device.credentials, place, &nonce, octets)
                {
                    let counter = matches!(form, 1 | 3 | 4)
                        .then(|| u32::from_be_bytes(std::array::from_fn(|at| nonce[at])));
                    found.push((at, counter, text, exchange));
                }
            }
            debug_assert!(nonce_octets(form) >= 4);
        }
        found
    }

    /// Takes a report that came in under this RAND_n, which must be in force; `epoch` is the current one.
    pub fn hear(&mut self, now_ms: i64, epoch: u32, place: &Place, octets: &[u8]) -> Heard {
        let found = self.find(place, octets);
        let [(at, counter, text, exchange)] = &found[..] else {
            return Heard::Silence;
        };
        let is_blind = octets.first().is_some_and(|first| first & 7 == 4);
        let of_beacon = u32::from_be_bytes(std::array::from_fn(|at| place.rand_n[at]));
        let epoch = if is_blind { epoch } else { of_beacon };
        let key = (*at, epoch, exchange.tag1.clone());
        let answer = accept(exchange, &[]);
        if self.records.contains_key(&key) {
            return Heard::Duplicate(answer);
        }
        if let Some(counter) = counter {
            match self.counters.get(at) {
                Some((last, tag1)) if last == counter && *tag1 == exchange.tag1 => {
                    return Heard::Duplicate(answer);
                }
                Some((last, _)) if counter <= last => return Heard::Silence,
                // Nothing was heard of it yet, and where its counter began the text does not say: 0 is as good as 1.
                _ => {}
            }
            self.counters.insert(*at, (*counter, exchange.tag1.clone()));
        }
        let (item, is_power_on) = (text[0], text[0] >> 4 == 1);
        let is_repeat = !is_power_on
            && self
                .items
                .get(at)
                .is_some_and(|(before, ms)| *before == item && now_ms - ms < HOUR_MS);
        self.items.insert(*at, (item, now_ms));
        let earlier = self.earlier.entry(*at).or_default();
        if is_power_on {
            earlier.clear();
        }
        let is_earlier = earlier.contains(&item);
        earlier.push(item);
        self.records.insert(key, answer.clone());
        match (is_repeat, is_earlier) {
            (true, _) => Heard::Repeat(answer),
            (_, true) if !is_power_on => Heard::Open(answer),
            _ => Heard::New(answer),
        }
    }
}
