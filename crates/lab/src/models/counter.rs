//! The counter forms (section 6) as a state machine: one device, one network, and an adversary who keeps every report and
//! delivers any of them at any time, or none; power cycles, new epochs, and a store that is put back.
//!
//! Cryptography is taken for granted: nobody makes a report but the device, and a report verifies where its epoch and counter
//! do. Counts are small, in the proportions of the protocol: a device uses recovery after [`UNANSWERED_MAX`] unanswered
//! reports, and the network looks [`WINDOW`] ahead.

use std::collections::{BTreeMap, BTreeSet};

use stateright::{Model, Property};

use super::{Row, Variant};

/// Unanswered reports until recovery (8 in the protocol).
pub const UNANSWERED_MAX: u8 = 1;

/// How far ahead the network looks (16 in the protocol).
pub const WINDOW: u8 = 2;

/// A network and a device, and how far the search goes.
#[derive(Clone, Copy, Debug)]
pub struct Counter {
    /// Blind form: keys without RAND_n.
    pub blind: bool,
    /// Reports that the device may build.
    pub reports_max: u8,
    /// Epochs after the first.
    pub epochs_max: u8,
    /// Power cycles after the first.
    pub cycles_max: u8,
    /// Whether the store may be put back once to an earlier copy.
    pub restores: bool,
    /// What is missing.
    pub flaw: Option<Flaw>,
}

/// What a broken variant lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The device never uses recovery.
    NoRecovery,
    /// The network accepts counters that it has seen go by.
    AcceptsOld,
    /// The network keeps no records: the same report again is a new event.
    NoRecordKey,
    /// After a store was put back, the network goes on in the same epoch.
    RestoresInEpoch,
    /// The network takes every record for a new event.
    NoRepeatRule,
}

/// A report. Its counter makes it the only one of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Report {
    /// The counter.
    pub counter: u8,
    /// The epoch whose RAND_n its key depends on; in the blind form, on none.
    pub epoch: u8,
    /// What it tells.
    pub item: u8,
    /// Whether it shows its counter, to be found whatever the window.
    pub recovery: bool,
}

/// What is so at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    device: Device,
    network: Network,
    backup: Option<Network>,
    restored: bool,
    epoch: u8,
    cycle: u8,
    /// Everything ever sent: the adversary keeps it.
    reports: BTreeSet<Report>,
    /// ACCEPTs ever sent, by the report they answer.
    accepts: BTreeSet<Report>,
    /// How often each report became a new event. No store is put back to change this.
    events_of_report: BTreeMap<Report, u8>,
    /// Items that the device believes accepted.
    believed: BTreeSet<u8>,
}

/// Counter and answered counter are durable, the rest ends with the power.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Device {
    counter: u8,
    answered: u8,
    item: u8,
    latest: Option<Report>,
    previous: Option<Report>,
}

/// All of it is durable. What a copy does not know of is lost with the store: an item of that time counts again, once in the
/// books.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Network {
    last: u8,
    last_item: Option<u8>,
    /// Reports with the epoch of their record.
    records: BTreeSet<(Report, u8)>,
    events_of_item: BTreeMap<u8, u8>,
}

/// What may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The device builds a report for its item, and the adversary keeps it.
    Build,
    /// Somebody gives the network a report.
    Deliver(Report),
    /// Somebody gives the device the ACCEPT of a report.
    Answer(Report),
    /// The device loses its power, and what it wanted to say.
    PowerCycle,
    /// The next epoch begins.
    NextEpoch,
    /// The store is copied.
    Backup,
    /// The copy is put in the store's place, and the network starts again.
    Restore,
}

/// What the network makes of a report.
enum Heard {
    Silence,
    Again,
    New { counts: bool },
}

impl Counter {
    const fn new(blind: bool) -> Self {
        Self {
            blind,
            reports_max: 4,
            epochs_max: 2,
            cycles_max: 1,
            restores: !blind,
            flaw: None,
        }
    }

    const fn with(self, flaw: Flaw) -> Self {
        Self {
            flaw: Some(flaw),
            ..self
        }
    }

    fn is(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    fn next_report(&self, state: &State) -> Report {
        let device = &state.device;
        let counter = device.counter + 1;
        let lost_touch = counter - device.answered > UNANSWERED_MAX;
        Report {
            counter,
            epoch: state.epoch,
            item: device.item,
            recovery: lost_touch && !self.is(Flaw::NoRecovery),
        }
    }

    /// Whether one of the device's next `attempts` reports is accepted, if all of them are heard.
    fn returns_within(&self, state: &State, attempts: u8) -> bool {
        let mut ahead = state.clone();
        (0..attempts).any(|_| {
            let report = self.next_report(&ahead);
            ahead.device.counter = report.counter;
            let heard = self.hear(&ahead.network, ahead.epoch, &report);
            matches!(heard, Heard::New { .. })
        })
    }

    fn hear(&self, network: &Network, epoch: u8, report: &Report) -> Heard {
        let is_blind = self.blind && !report.recovery;
        if !is_blind && report.epoch != epoch {
            return Heard::Silence;
        }
        let is_on_record = network.records.contains(&(*report, epoch));
        if is_on_record && !self.is(Flaw::NoRecordKey) {
            return Heard::Again;
        }
        let is_new = report.counter > network.last || self.is(Flaw::AcceptsOld) || is_on_record;
        let is_in_window = report.recovery || report.counter <= network.last + WINDOW;
        if !is_new || !is_in_window {
            return Heard::Silence;
        }
        let is_repeat = network.last_item == Some(report.item) && !self.is(Flaw::NoRepeatRule);
        Heard::New {
            counts: !is_repeat || is_on_record,
        }
    }
}

impl Model for Counter {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            device: Device {
                counter: 0,
                answered: 0,
                item: 0,
                latest: None,
                previous: None,
            },
            network: Network::default(),
            backup: None,
            restored: false,
            epoch: 0,
            cycle: 0,
            reports: BTreeSet::new(),
            accepts: BTreeSet::new(),
            events_of_report: BTreeMap::new(),
            believed: BTreeSet::new(),
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.device.counter < self.reports_max {
            actions.push(Action::Build);
        }
        actions.extend(state.reports.iter().copied().map(Action::Deliver));
        actions.extend(state.accepts.iter().copied().map(Action::Answer));
        if state.cycle < self.cycles_max {
            actions.push(Action::PowerCycle);
        }
        if state.epoch < self.epochs_max {
            actions.push(Action::NextEpoch);
        }
        if self.restores && state.backup.is_none() {
            actions.push(Action::Backup);
        }
        if state.backup.is_some() && !state.restored {
            actions.push(Action::Restore);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Build => {
                let report = self.next_report(&state);
                state.device.counter = report.counter;
                state.device.previous = state.device.latest.replace(report);
                state.reports.insert(report);
            }
            Action::Deliver(report) => match self.hear(&state.network, state.epoch, &report) {
                Heard::Silence => return None,
                Heard::Again => {
                    state.accepts.insert(report);
                }
                Heard::New { counts } => {
                    state.network.records.insert((report, state.epoch));
                    state.network.last = state.network.last.max(report.counter);
                    state.network.last_item = Some(report.item);
                    state.accepts.insert(report);
                    *state.events_of_report.entry(report).or_default() += 1;
                    let books = &mut state.network.events_of_item;
                    *books.entry(report.item).or_default() += u8::from(counts);
                }
            },
            Action::Answer(report) => {
                let device = &mut state.device;
                let expected = [device.latest, device.previous];
                if !expected.contains(&Some(report)) {
                    return None;
                }
                state.believed.insert(report.item);
                device.answered = device.answered.max(report.counter);
                device.item += 1;
                (device.latest, device.previous) = (None, None);
            }
            Action::PowerCycle => {
                state.cycle += 1;
                state.device.item += 1;
                (state.device.latest, state.device.previous) = (None, None);
            }
            Action::NextEpoch => state.epoch += 1,
            Action::Backup => state.backup = Some(state.network.clone()),
            Action::Restore => {
                state.network = state.backup.clone()?;
                state.restored = true;
                // A network that was away issues an epoch that none has heard.
                if !self.is(Flaw::RestoresInEpoch) {
                    state.epoch += 1;
                }
            }
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(NO_REPORT_TWICE, |_, state: &State| {
                state.events_of_report.values().all(|events| *events <= 1)
            }),
            Property::always(NO_ITEM_TWICE, |_, state: &State| {
                state
                    .network
                    .events_of_item
                    .values()
                    .all(|events| *events <= 1)
            }),
            Property::always(AGREEMENT, |_, state: &State| {
                let has_event = |item: &u8| {
                    let mut reports = state.events_of_report.keys();
                    reports.any(|report| report.item == *item)
                };
                state.believed.iter().all(has_event)
                    && state
                        .events_of_report
                        .keys()
                        .all(|r| state.reports.contains(r))
            }),
            Property::always(NO_ORPHAN, |model: &Self, state: &State| {
                // To a network that has forgotten the latest counters a device seems far ahead, and does not know it.
                let attempts = if state.restored {
                    UNANSWERED_MAX + 1
                } else {
                    1
                };
                model.returns_within(state, attempts)
            }),
        ]
    }
}

const NO_REPORT_TWICE: &str = "no report is accepted twice";
const NO_ITEM_TWICE: &str = "no item counts twice in the books";
const AGREEMENT: &str = "agreement: what the device believes is on record, and nothing else is";
const NO_ORPHAN: &str = "no orphan: the next report, if heard, is accepted (after a store was put back, at latest the one by recovery)";

/// Searches the model and its broken variants.
pub fn rows() -> Vec<Row> {
    let variant = |name, model, fails| Variant {
        method: "counter",
        name,
        model,
        fails,
    };
    let (counter, blind) = (Counter::new(false), Counter::new(true));
    let variants = [
        variant("counter_state", counter, &[]),
        variant("counter_state_blind", blind, &[]),
        variant(
            "counter_state_without_recovery",
            counter.with(Flaw::NoRecovery),
            &[NO_ORPHAN],
        ),
        variant(
            "counter_state_blind_accepting_old",
            blind.with(Flaw::AcceptsOld),
            &[NO_REPORT_TWICE],
        ),
        variant(
            "counter_state_without_record_key",
            counter.with(Flaw::NoRecordKey),
            &[NO_REPORT_TWICE, NO_ITEM_TWICE],
        ),
        variant(
            "counter_state_without_repeat_rule",
            counter.with(Flaw::NoRepeatRule),
            &[NO_ITEM_TWICE],
        ),
        variant(
            "counter_state_restored_in_its_epoch",
            counter.with(Flaw::RestoresInEpoch),
            &[NO_REPORT_TWICE],
        ),
        // By design: a blind report depends on no epoch (promise: the control of a restored store).
        variant(
            "counter_state_blind_restored",
            Counter {
                restores: true,
                ..blind
            },
            &[NO_REPORT_TWICE],
        ),
    ];
    variants.into_iter().flat_map(Variant::rows).collect()
}
