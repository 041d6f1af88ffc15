//! Radio contacts and their RAN-AIOT-Device-NGAP-IDs: who is meant by a COMMAND REQUEST, and what is due to be answered.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, VecDeque};
use std::hash::{Hash, Hasher};

use super::session::SessionKey;
use crate::frame::RadioId;

/// Commands that wait behind the outstanding one of a contact, at most.
const COMMANDS_WAITING_MAX: usize = 4;

/// Contacts of a gNB, bounded: the oldest makes room.
#[derive(Debug)]
pub(super) struct Contacts {
    by_id: HashMap<u32, Contact>,
    by_radio: HashMap<(u16, RadioId), u32>,
    /// In the order in which contacts were opened, each with the time at which to look again.
    expiries: VecDeque<(u64, u32)>,
    /// In the order in which commands were sent. Entries of answered commands are stale.
    deadlines: VecDeque<(u64, u32)>,
    /// Commands that ended with their contact, one entry each.
    abandoned: VecDeque<(u32, SessionKey)>,
    next_id: u32,
    contacts_max: usize,
    ttl_ms: u64,
}

/// One contact.
#[derive(Debug)]
pub(super) struct Contact {
    pub(super) reader_index: u16,
    pub(super) radio_id: RadioId,
    pub(super) session: SessionKey,
    /// Tells a copy of the PDU that opened the contact from an answer.
    opening: u64,
    /// Until when the answer to the command under way is awaited, in milliseconds.
    answer_until_ms: Option<u64>,
    waiting: VecDeque<Vec<u8>>,
    expires_ms: u64,
}

/// What an uplink PDU is within the contacts.
pub(super) enum Heard {
    /// It opens a contact, or is a copy of the PDU that did.
    Report { device_ngap_id: u32 },
    /// It answers the command under way.
    Answer {
        device_ngap_id: u32,
        session: SessionKey,
    },
    /// Nothing was awaited from this contact.
    Late,
}

/// What becomes of a command.
pub(super) enum Placed {
    /// Send this now.
    Send {
        reader_index: u16,
        radio_id: RadioId,
        nas: Vec<u8>,
    },
    /// It waits for the one under way.
    Waits,
    /// Too many wait already.
    TooMany,
    /// No such contact in that session.
    Unknown,
}

impl Contacts {
    pub(super) fn new(contacts_max: usize, ttl_ms: u64) -> Self {
        Self {
            by_id: HashMap::new(),
            by_radio: HashMap::new(),
            expiries: VecDeque::new(),
            deadlines: VecDeque::new(),
            abandoned: VecDeque::new(),
            next_id: 1,
            contacts_max: contacts_max.max(1),
            ttl_ms,
        }
    }

    /// Notes an uplink PDU that belongs to `session` if it opens a contact.
    pub(super) fn hear(
        &mut self,
        now_ms: u64,
        reader_index: u16,
        radio_id: RadioId,
        session: SessionKey,
        nas: &[u8],
    ) -> Heard {
        let digest = digest(nas);
        let expires_ms = now_ms + self.ttl_ms;
        if let Some(id) = self.by_radio.get(&(reader_index, radio_id)).copied()
            && let Some(contact) = self.by_id.get_mut(&id)
        {
            if contact.opening == digest {
                if contact.session == session {
                    contact.expires_ms = expires_ms;
                    return Heard::Report { device_ngap_id: id };
                }
            } else {
                let awaited = contact.answer_until_ms.take().is_some();
                contact.expires_ms = expires_ms;
                let session = contact.session;
                self.drop_stale_deadlines();
                return if awaited {
                    Heard::Answer {
                        device_ngap_id: id,
                        session,
                    }
                } else {
                    Heard::Late
                };
            }
        }
        let device_ngap_id = self.open(Contact {
            reader_index,
            radio_id,
            session,
            opening: digest,
            answer_until_ms: None,
            waiting: VecDeque::new(),
            expires_ms,
        });
        Heard::Report { device_ngap_id }
    }

    /// Places a command for a device of `session`. When it is sent, its answer is awaited until `answer_until_ms`.
    pub(super) fn place(
        &mut self,
        device_ngap_id: u32,
        session: SessionKey,
        nas: Vec<u8>,
        answer_until_ms: u64,
    ) -> Placed {
        let Some(contact) = self.by_id.get_mut(&device_ngap_id) else {
            return Placed::Unknown;
        };
        if contact.session != session {
            return Placed::Unknown;
        }
        if contact.answer_until_ms.is_some() || !contact.waiting.is_empty() {
            if contact.waiting.len() >= COMMANDS_WAITING_MAX {
                return Placed::TooMany;
            }
            contact.waiting.push_back(nas);
            return Placed::Waits;
        }
        self.send(device_ngap_id, nas, answer_until_ms)
    }

    /// The next command of a contact whose last one has ended, if one waits.
    pub(super) fn next_command(
        &mut self,
        device_ngap_id: u32,
        answer_until_ms: u64,
    ) -> Option<Placed> {
        let contact = self.by_id.get_mut(&device_ngap_id)?;
        let nas = contact.waiting.pop_front()?;
        Some(self.send(device_ngap_id, nas, answer_until_ms))
    }

    /// The next command that got no answer by `now_ms`.
    pub(super) fn poll_unanswered(&mut self, now_ms: u64) -> Option<(u32, SessionKey)> {
        while let Some((deadline_ms, id)) = self.deadlines.front().copied() {
            if deadline_ms > now_ms {
                return None;
            }
            self.deadlines.pop_front();
            if let Some(contact) = self.by_id.get_mut(&id)
                && contact.answer_until_ms == Some(deadline_ms)
            {
                contact.answer_until_ms = None;
                return Some((id, contact.session));
            }
        }
        None
    }

    /// When the next command runs out of time, in milliseconds.
    pub(super) fn next_deadline_ms(&self) -> Option<u64> {
        self.deadlines.front().map(|(deadline_ms, _)| *deadline_ms)
    }

    /// Forgets contacts that have been idle for too long.
    pub(super) fn expire(&mut self, now_ms: u64) {
        while let Some((look_ms, id)) = self.expiries.front().copied() {
            if look_ms > now_ms {
                return;
            }
            self.expiries.pop_front();
            match self.by_id.get(&id).map(|contact| contact.expires_ms) {
                Some(expires_ms) if expires_ms > now_ms => {
                    self.expiries.push_back((expires_ms, id));
                }
                _ => self.close(id),
            }
        }
    }

    /// Forgets every contact of a session.
    pub(super) fn close_session(&mut self, session: SessionKey) {
        let of_session =
            |(id, contact): (&u32, &Contact)| (contact.session == session).then_some(*id);
        let mut ids: Vec<u32> = self.by_id.iter().filter_map(of_session).collect();
        // The map has no order of its own; a run must be the same each time.
        ids.sort_unstable();
        for id in ids {
            self.close(id);
        }
        self.drop_stale_deadlines();
    }

    /// The next command that ended with its contact.
    pub(super) fn poll_abandoned(&mut self) -> Option<(u32, SessionKey)> {
        self.abandoned.pop_front()
    }

    /// Forgets everything except which IDs were used: an ID of an old association must not name a new contact.
    pub(super) fn clear(&mut self) {
        self.by_id.clear();
        self.by_radio.clear();
        self.expiries.clear();
        self.deadlines.clear();
        self.abandoned.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    fn send(&mut self, device_ngap_id: u32, nas: Vec<u8>, answer_until_ms: u64) -> Placed {
        let Some(contact) = self.by_id.get_mut(&device_ngap_id) else {
            return Placed::Unknown;
        };
        contact.answer_until_ms = Some(answer_until_ms);
        contact.expires_ms = contact.expires_ms.max(answer_until_ms + 1);
        self.deadlines.push_back((answer_until_ms, device_ngap_id));
        Placed::Send {
            reader_index: contact.reader_index,
            radio_id: contact.radio_id,
            nas,
        }
    }

    fn open(&mut self, contact: Contact) -> u32 {
        while self.by_id.len() >= self.contacts_max {
            match self.expiries.pop_front() {
                Some((_, oldest)) => self.close(oldest),
                None => break,
            }
        }
        let mut id = self.next_id;
        while self.by_id.contains_key(&id) {
            id = id.wrapping_add(1);
        }
        self.next_id = id.wrapping_add(1);
        self.by_radio
            .insert((contact.reader_index, contact.radio_id), id);
        self.expiries.push_back((contact.expires_ms, id));
        self.by_id.insert(id, contact);
        id
    }

    fn close(&mut self, id: u32) {
        if let Some(contact) = self.by_id.remove(&id) {
            let radio = (contact.reader_index, contact.radio_id);
            if self.by_radio.get(&radio) == Some(&id) {
                self.by_radio.remove(&radio);
            }
            let commands = contact.waiting.len() + usize::from(contact.answer_until_ms.is_some());
            self.abandoned
                .extend(std::iter::repeat_n((id, contact.session), commands));
        }
    }

    fn drop_stale_deadlines(&mut self) {
        while let Some((deadline_ms, id)) = self.deadlines.front()
            && self.by_id.get(id).and_then(|c| c.answer_until_ms) != Some(*deadline_ms)
        {
            self.deadlines.pop_front();
        }
    }
}

fn digest(nas: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    nas.hash(&mut hasher);
    hasher.finish()
}
