//! What each device has said and what it saw accepted, so that a run can be compared with the core's records.

use std::collections::VecDeque;

use ambit_device::Event;
use ambit_protocol::wire::{MessageType, peek};
use ambit_protocol::{Cause, Form, TagLen};

/// One item of a device, from submission to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerItem {
    /// The device's items from 0 over all power cycles, registrations included.
    pub number: u32,
    /// The power cycle it belongs to, from 0.
    pub cycle: u32,
    /// Cause.
    pub cause: Cause,
    /// The item's seq: modulo 16, from 0 at each power-on.
    pub seq: u8,
    /// When it was submitted, in milliseconds.
    pub submitted_ms: u64,
    /// What became of it.
    pub fate: Fate,
    /// The reports built for it, oldest first. The network may have any of them.
    pub reports: Vec<BuiltReport>,
}

/// What became of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It waits or is being sent.
    Waiting,
    /// The device saw an ACCEPT that verified.
    Accepted {
        /// When, in milliseconds.
        at_ms: u64,
        /// The form of the report that was answered.
        form: Form,
    },
    /// The device gave it up after its lifetime. The network may or may not have it.
    Expired,
    /// Gone with the power, or with the device's life. The network may or may not have it.
    Lost,
}

/// A report as it was built. Repeats have the same octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuiltReport {
    /// Its form.
    pub form: Form,
    /// How often it was transmitted.
    pub transmissions: u16,
    tag1: [u8; 16],
    tag_len: TagLen,
}

impl BuiltReport {
    /// TAG1, 4, 8 or 16 octets: with device and epoch, the key of the network's acceptance record.
    pub fn tag1(&self) -> &[u8] {
        self.tag1.get(..self.tag_len.octets()).unwrap_or_default()
    }

    /// Reads form and TAG1 off a REPORT, or off the AUTHENTICATION RESPONSE that carries an item; `None` when it is neither.
    fn of(octets: &[u8], tag_len: TagLen) -> Option<Self> {
        let form = match peek(octets).ok()? {
            (MessageType::Report, form) => Form::from_number(form)?,
            (MessageType::AuthenticationResponse, 0) => Form::Aka,
            _ => return None,
        };
        let at = octets.len().checked_sub(tag_len.octets())?;
        let mut tag1 = [0; 16];
        for (to, from) in tag1.iter_mut().zip(octets.get(at..)?) {
            *to = *from;
        }
        Some(Self {
            form,
            transmissions: 0,
            tag1,
            tag_len,
        })
    }
}

/// A device's items, oldest first. Those that wait are all kept; of the finished ones, the newest.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    items: VecDeque<LedgerItem>,
    next_number: u32,
}

/// How an item ended, for the counts of the fleet.
pub(super) enum Ended {
    Accepted { registration: bool },
    Expired,
}

impl Ledger {
    pub(super) const fn next_number(&self) -> u32 {
        self.next_number
    }

    pub(super) fn items(&self) -> impl Iterator<Item = &LedgerItem> {
        self.items.iter()
    }

    pub(super) fn submit(&mut self, cycle: u32, cause: Cause, seq: u8, now_ms: u64) {
        self.items.push_back(LedgerItem {
            number: self.next_number,
            cycle,
            cause,
            seq,
            submitted_ms: now_ms,
            fate: Fate::Waiting,
            reports: Vec::new(),
        });
        self.next_number = self.next_number.wrapping_add(1);
    }

    /// Notes a transmitted REPORT; true when it was built anew. It belongs to the oldest item that waits: a device sends in
    /// order.
    pub(super) fn transmit(&mut self, octets: &[u8], tag_len: TagLen) -> bool {
        let Some(report) = BuiltReport::of(octets, tag_len) else {
            return false;
        };
        let Some(item) = self.head() else {
            return false;
        };
        match item.reports.last_mut() {
            Some(last) if last.tag1 == report.tag1 && last.form == report.form => {
                last.transmissions = last.transmissions.saturating_add(1);
                false
            }
            _ => {
                item.reports.push(BuiltReport {
                    transmissions: 1,
                    ..report
                });
                true
            }
        }
    }

    /// Takes what the device says of its items.
    pub(super) fn note(&mut self, event: &Event, now_ms: u64) -> Option<Ended> {
        match *event {
            Event::Accepted {
                seq, cause, form, ..
            } => {
                let item = self.waiting(seq, cause)?;
                item.fate = Fate::Accepted {
                    at_ms: now_ms,
                    form,
                };
                let registration = cause == Cause::PowerOn;
                Some(Ended::Accepted { registration })
            }
            Event::ItemExpired { seq, cause } => {
                self.waiting(seq, cause)?.fate = Fate::Expired;
                Some(Ended::Expired)
            }
            _ => None,
        }
    }

    /// Everything that waits is lost. Returns how many items that were.
    pub(super) fn lose_waiting(&mut self) -> u64 {
        let mut lost = 0;
        for item in &mut self.items {
            if item.fate == Fate::Waiting {
                item.fate = Fate::Lost;
                lost += 1;
            }
        }
        lost
    }

    /// Forgets the oldest finished items above `items_max`. Returns how many.
    pub(super) fn trim(&mut self, items_max: usize) -> u64 {
        let mut forgotten = 0;
        while self.items.len() > items_max
            && self
                .items
                .front()
                .is_some_and(|oldest| oldest.fate != Fate::Waiting)
        {
            self.items.pop_front();
            forgotten += 1;
        }
        forgotten
    }

    fn head(&mut self) -> Option<&mut LedgerItem> {
        self.items
            .iter_mut()
            .find(|item| item.fate == Fate::Waiting)
    }

    fn waiting(&mut self, seq: u8, cause: Cause) -> Option<&mut LedgerItem> {
        self.head()
            .filter(|item| item.seq == seq && item.cause == cause)
    }
}
