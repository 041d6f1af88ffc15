//! A device's side of contention-based access (TS 38.391 in shape): occasion and Random ID drawn for each round, data handed over
//! when the ID is echoed, again when the reader asks for it.

use super::Fleet;
use crate::frame::{
    Access, AccessRound, AirFrame, Direction, FrameKind, OCCASIONS_PER_MS, RadioId, RandomIdMessage,
};

/// An answer to a page that waits for access.
pub(super) struct Contending {
    transaction: u16,
    nas: Vec<u8>,
    /// The Random ID of the present round.
    radio_id: RadioId,
    /// Whether the data has been handed over.
    is_sent: bool,
}

impl Fleet {
    /// A device has an answer to a page and draws an occasion of the page's round.
    pub(super) fn contend(&mut self, device: u32, now_ms: u64, round: AccessRound, nas: &[u8]) {
        let (radio_id, _) = self.open_contact(device, Access::Paged(round.transaction));
        if let Some(slot) = self.slots.get_mut(device as usize) {
            slot.contending = Some(Contending {
                transaction: round.transaction,
                nas: nas.to_vec(),
                radio_id,
                is_sent: false,
            });
        }
        self.say_random_id(device, now_ms, round, radio_id);
    }

    /// A reader's Access Trigger, Random ID Response or NACK was heard.
    pub(super) fn hear_access(&mut self, device: u32, now_ms: u64, frame: &AirFrame) {
        let Some(slot) = self.slots.get_mut(device as usize) else {
            return;
        };
        let is_powered = slot.device().is_some();
        let Some(contending) = slot.contending.as_mut().filter(|_| is_powered) else {
            return;
        };
        if frame.kind != FrameKind::AccessTrigger {
            if frame.radio_id == Some(contending.radio_id) {
                contending.is_sent = true;
                let access = Access::Paged(contending.transaction);
                let (radio_id, nas) = (contending.radio_id, contending.nas.clone());
                self.stats.answers_transmitted += 1;
                self.send_up(device, now_ms, radio_id, access, FrameKind::Nas, nas);
            }
            return;
        }
        let round = AccessRound::parse(&frame.octets);
        let Some(round) = round.filter(|round| round.transaction == contending.transaction) else {
            return;
        };
        if contending.is_sent {
            // Nobody asked for it again: it was heard.
            slot.contending = None;
            return;
        }
        let (radio_id, _) = self.open_contact(device, Access::Paged(round.transaction));
        if let Some(slot) = self.slots.get_mut(device as usize)
            && let Some(contending) = &mut slot.contending
        {
            contending.radio_id = radio_id;
        }
        self.say_random_id(device, now_ms, round, radio_id);
    }

    fn say_random_id(&mut self, device: u32, now_ms: u64, round: AccessRound, radio_id: RadioId) {
        let occasions = 1u32 << round.exponent.min(15);
        let occasion = u16::try_from(self.random.u32(..occasions)).unwrap_or(0);
        let message = RandomIdMessage {
            transaction: round.transaction,
            round: round.round,
            occasion,
        };
        self.stats.random_ids_transmitted += 1;
        let at_ms = now_ms + u64::from(u32::from(occasion) / OCCASIONS_PER_MS);
        let access = Access::Paged(round.transaction);
        let octets = message.octets();
        self.send_up(device, at_ms, radio_id, access, FrameKind::RandomId, octets);
    }

    pub(super) fn send_up(
        &mut self,
        device: u32,
        at_ms: u64,
        radio_id: RadioId,
        access: Access,
        kind: FrameKind,
        octets: Vec<u8>,
    ) {
        let Some(slot) = self.slots.get(device as usize) else {
            return;
        };
        self.out.push_back(AirFrame {
            direction: Direction::Up,
            sent_ms: at_ms,
            reader: slot.reader,
            radio_id: Some(radio_id),
            access,
            kind,
            octets,
        });
    }
}
