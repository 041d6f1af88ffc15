//! One device at a time: what it hears, says and tells, its contact and its timer.

use ambit_device::{Event, PDU_OCTETS_MAX};
use ambit_protocol::wire::{MessageType, peek};

use super::ledger::Ended;
use super::paging::paging_target;
use super::slot::{Power, Slot};
use super::{Fleet, Hearing};
use crate::frame::{
    Access, AccessRound, AirFrame, FrameKind, Page, PageAccess, RadioId, parse_beacon,
};

impl Fleet {
    /// Hands a device a frame, and takes what it answers.
    pub(super) fn receive(
        &mut self,
        device: u32,
        now_ms: u64,
        frame: &AirFrame,
        hearing: Hearing<'_>,
    ) {
        if matches!(
            frame.kind,
            FrameKind::AccessTrigger | FrameKind::RandomIdResponse | FrameKind::Nack
        ) {
            return self.hear_access(device, now_ms, frame);
        }
        let Some(slot) = self.slots.get_mut(device as usize) else {
            return;
        };
        let page = match frame.kind {
            FrameKind::Page => Page::parse(&frame.octets),
            _ => None,
        };
        let target = page.map(|page| (paging_target(&page, &slot.device_id), page));
        let Some(state) = slot.device_mut() else {
            self.stats.downlinks_missed += u64::from(frame.kind == FrameKind::Nas);
            return;
        };
        let (mut hearing, mut access) = (Some(hearing), Access::DeviceOriginated);
        let mut contention = None;
        match frame.kind {
            FrameKind::Nas => {
                self.stats.downlinks += 1;
                if state.handle_downlink(now_ms, &frame.octets).is_err() {
                    self.stats.downlinks_ignored += 1;
                }
            }
            FrameKind::Beacon => {
                // An injected beacon is what the device has heard last; its reader's must not take its place at once.
                hearing = None;
                if let Some((area_id, rand_n)) = parse_beacon(&frame.octets) {
                    state.handle_beacon(now_ms, &area_id, &rand_n);
                }
            }
            FrameKind::Page => {
                if let Some((target, page)) = target {
                    state.handle_paging(now_ms, &page.rand_n, target);
                    access = Access::Paged(page.transaction);
                    contention = match page.access {
                        PageAccess::Free => None,
                        PageAccess::Contention { exponent } => Some(AccessRound {
                            transaction: page.transaction,
                            round: 0,
                            exponent,
                        }),
                    };
                }
            }
            FrameKind::AccessTrigger
            | FrameKind::RandomId
            | FrameKind::RandomIdResponse
            | FrameKind::Nack => {}
        }
        self.paged = contention;
        self.serve(device, now_ms, hearing, access);
        self.paged = None;
    }

    /// Lets a device hear, speak and tell, and arms its timer. `access` is how it gains access for an inventory response.
    pub(super) fn serve(
        &mut self,
        device: u32,
        now_ms: u64,
        hearing: Option<Hearing<'_>>,
        access: Access,
    ) {
        let heard = self.hear_beacon(device, now_ms, hearing);
        self.take_events(device, now_ms);
        self.brown_out(device, now_ms);
        let mut octets = [0; PDU_OCTETS_MAX];
        while let Some(len) = self
            .slots
            .get_mut(device as usize)
            .and_then(|slot| slot.device_mut()?.poll_transmit(now_ms, &mut octets))
        {
            // Before the PDU is booked: an item that was given up is not the one that is being sent.
            self.take_events(device, now_ms);
            // What would have been sent after a cut write never left.
            if self.brown_out(device, now_ms) {
                break;
            }
            if let Some(pdu) = octets.get(..len) {
                self.transmit(device, now_ms, pdu, access);
            }
        }
        self.take_events(device, now_ms);
        self.brown_out(device, now_ms);
        self.arm(device, now_ms, heard);
    }

    /// Takes the power of a device whose memory write was cut just now. True when there was one.
    fn brown_out(&mut self, device: u32, now_ms: u64) -> bool {
        let slot = self.slots.get_mut(device as usize);
        let Some(back_ms) = slot.and_then(Slot::take_brown_out) else {
            return false;
        };
        self.power_off(device);
        if let Some(slot) = self.slots.get_mut(device as usize) {
            slot.add_switch(now_ms + back_ms, true);
        }
        true
    }

    /// Hands a device that has something to say the beacon of its reader. False when there is none to hear.
    fn hear_beacon(&mut self, device: u32, now_ms: u64, hearing: Option<Hearing<'_>>) -> bool {
        if let (Some(hearing), Some(slot)) = (hearing, self.slots.get_mut(device as usize))
            && let reader = slot.reader
            && let Some(state) = slot.device_mut()
            && state.items_waiting() > 0
            && let Some((area_id, rand_n)) = hearing(reader)
        {
            state.handle_beacon(now_ms, &area_id, &rand_n);
            return true;
        }
        false
    }

    fn take_events(&mut self, device: u32, now_ms: u64) {
        let Some(slot) = self.slots.get_mut(device as usize) else {
            return;
        };
        let Power::On(state) = &mut slot.power else {
            return;
        };
        let (mut finished, mut memory_failed) = (false, false);
        while let Some(event) = state.poll_event() {
            memory_failed |= event == Event::MemoryFailed;
            match slot.ledger.note(&event, now_ms) {
                Some(Ended::Accepted { registration }) => {
                    finished = true;
                    self.stats.accepted += 1;
                    if registration && !slot.registered {
                        slot.registered = true;
                        self.stats.registered += 1;
                    }
                }
                Some(Ended::Expired) => {
                    finished = true;
                    self.stats.expired += 1;
                }
                None => {}
            }
        }
        // Disabled for ever, or at the end of its counter: the device has dropped its queue.
        if state.items_waiting() == 0 {
            self.stats.lost += slot.ledger.lose_waiting();
        }
        if memory_failed {
            slot.memory_failed();
        }
        if finished {
            self.stats.ledger_forgotten += slot.ledger.trim(self.config.ledger_items_max);
        }
    }

    fn transmit(&mut self, device: u32, now_ms: u64, pdu: &[u8], access: Access) {
        let Some(slot) = self.slots.get_mut(device as usize) else {
            return;
        };
        let message = peek(pdu).map(|(message, _)| message);
        if let (Ok(MessageType::InventoryResponse), Some(round)) = (message, self.paged) {
            return self.contend(device, now_ms, round, pdu);
        }
        let held = slot.contact;
        let (radio_id, access) = match (message, held) {
            (Ok(MessageType::Report), _) => {
                let is_new = slot.ledger.transmit(pdu, slot.profile.tag_len);
                self.stats.reports_built += u64::from(is_new);
                self.stats.reports_transmitted += 1;
                self.open_contact(device, Access::DeviceOriginated)
            }
            // Access is gained anew for each request; what follows stays in that contact.
            (Ok(MessageType::RegistrationRequest), _) => {
                self.stats.registrations_transmitted += 1;
                self.open_contact(device, Access::DeviceOriginated)
            }
            (Ok(MessageType::AuthenticationResponse), Some(contact)) => {
                slot.ledger.transmit(pdu, slot.profile.tag_len);
                self.stats.answers_transmitted += 1;
                contact
            }
            (Ok(MessageType::InventoryResponse), _) | (_, None) => {
                self.stats.answers_transmitted += 1;
                self.open_contact(device, access)
            }
            (_, Some(contact)) => {
                self.stats.answers_transmitted += 1;
                contact
            }
        };
        let octets = pdu.to_vec();
        self.send_up(device, now_ms, radio_id, access, FrameKind::Nas, octets);
    }

    /// Gains access: a new Random ID in place of the old.
    pub(super) fn open_contact(&mut self, device: u32, access: Access) -> (RadioId, Access) {
        self.drop_contact(device);
        let mut radio_id = RadioId(self.random.u32(..));
        while self.contacts.contains_key(&radio_id) {
            radio_id = RadioId(self.random.u32(..));
        }
        self.contacts.insert(radio_id, device);
        if let Some(slot) = self.slots.get_mut(device as usize) {
            slot.contact = Some((radio_id, access));
        }
        (radio_id, access)
    }

    pub(super) fn drop_contact(&mut self, device: u32) {
        let slot = self.slots.get_mut(device as usize);
        if let Some((radio_id, _)) = slot.and_then(|slot| slot.contact.take()) {
            self.contacts.remove(&radio_id);
        }
    }

    /// Sets a device's timer to whatever is due next.
    fn arm(&mut self, device: u32, now_ms: u64, heard: bool) {
        let Some(slot) = self.slots.get_mut(device as usize) else {
            return;
        };
        let mut device_ms = None;
        if let Some(state) = slot.device() {
            device_ms = state.poll_timeout();
            if device_ms.is_none() && state.items_waiting() > 0 {
                if heard {
                    // It is due only when this beacon will have gone stale: hand it over again in good time.
                    device_ms = Some(now_ms + u64::from(slot.profile.period_s) * 500);
                } else if !slot.waits_for_beacon {
                    slot.waits_for_beacon = true;
                    self.waiting_for_beacon
                        .entry(slot.reader)
                        .or_default()
                        .push(device);
                }
            }
        }
        let agenda_ms = slot.schedule.and_then(|agenda| agenda.next_ms);
        let at_ms = [device_ms, agenda_ms, slot.next_switch_ms()]
            .into_iter()
            .flatten()
            .min();
        // What is due now has been done: a time that is not in the future would only spin.
        self.timers
            .set(device, at_ms.map(|at_ms| at_ms.max(now_ms + 1)));
    }
}
