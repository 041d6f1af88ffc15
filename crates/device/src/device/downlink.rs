//! What comes down: ACCEPT (section 5), pagings and command sessions (section 8).

use ambit_protocol::exchange::Exchange;
use ambit_protocol::session::{Session, SessionText};
use ambit_protocol::wire::{
    AcceptStatus, Command, CommandResult, InventoryResponse, MessageType, Response, peek,
};
use ambit_protocol::{KAiotf, RandN, WireError, schedule};

use super::uplink::{Answerable, Head};
use super::{Device, Ignored, Life, NotNow, PDU_OCTETS_MAX};
use crate::event::{Event, bump};
use crate::outbox::Outbox;
use crate::platform::{Credential, Memory, Random};
use crate::profile::DeviceForm;
use crate::record::{Record, SLOTS_OCTETS, StoreFailed};

/// Application data of one session response, at most: a D2R block less header, COUNT, the longest tag, code and result.
const READ_OCTETS_MAX: usize = PDU_OCTETS_MAX - 2 - 16 - 2;

/// Whom a paging is for (section 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PagingTarget {
    /// Every device in the area.
    All,
    /// One device, by concealed paging T-ID: PRF(K, 32, RAND_n), 16 octets.
    Concealed([u8; 16]),
    /// A filter on identities that the caller has applied: devices hold no permanent identity here.
    Matches(bool),
}

/// A command session that the network has proven to be its own: by an ACCEPT, or by its first message.
pub(super) struct Link {
    session: Session,
    /// When it closes if nothing more verifies.
    pub(super) until_ms: u64,
}

impl<C: Credential, M: Memory, R: Random> Device<C, M, R> {
    /// A paging was heard (section 8): RAND_n fresh from the network, and whom it is for. The answer, if any, comes out of
    /// [`Device::poll_transmit`]. Nothing else changes: a paging proves nothing.
    pub fn handle_paging(&mut self, now_ms: u64, rand_n: &RandN, target: PagingTarget) {
        let is_keyed = !self.credential.needs_registration();
        if self.is_silent(now_ms) || !self.outbox.is_empty() || !is_keyed {
            return;
        }
        // A credential that fails has told so; the paging goes unanswered.
        let _ = self.answer_paging(now_ms, rand_n, target);
    }

    /// An ACCEPT, AUTHENTICATION REQUEST or SESSION came down.
    ///
    /// # Errors
    /// [`Ignored`]: it is as if it never came. Nothing has changed, no timer either; only the count of ignored PDUs.
    pub fn handle_downlink(&mut self, now_ms: u64, nas: &[u8]) -> Result<(), Ignored> {
        self.take_downlink(now_ms, nas)
            .inspect_err(|_| bump(&mut self.stats.ignored_downlinks))
    }

    fn take_downlink(&mut self, now_ms: u64, nas: &[u8]) -> Result<(), Ignored> {
        if self.life == Life::Disabled {
            return self.answer_disabled(now_ms, nas);
        }
        if self.is_silent(now_ms) {
            return Err(Ignored::Silent);
        }
        let malformed = |error: WireError| Ignored::Unverified(error.into());
        match peek(nas).map_err(malformed)? {
            (MessageType::Accept, _) if self.registering.is_some() => {
                self.handle_registration_accept(now_ms, nas)
            }
            (MessageType::Accept, _) => self.handle_accept(now_ms, nas),
            (MessageType::Session, _) => self.handle_session(now_ms, nas),
            (MessageType::AuthenticationRequest, _) => self.handle_challenge(now_ms, nas),
            _ => Err(Ignored::NotForDevices),
        }
    }

    fn handle_accept(&mut self, now_ms: u64, nas: &[u8]) -> Result<(), Ignored> {
        let head = self.head.as_ref().ok_or(Ignored::NothingOpen)?;
        let latest = head.latest.as_ref().ok_or(Ignored::NothingOpen)?;
        let (status, is_latest) = match latest.answerable.exchange.open_accept(nas) {
            Ok(status) => (status, true),
            Err(error) => {
                let previous = head.previous.as_ref().ok_or(error)?;
                (previous.exchange.open_accept(nas)?, false)
            }
        };
        // It is the network's: from here on things may change.
        let Some(head) = self.head.take() else {
            return Err(Ignored::NothingOpen);
        };
        let Head {
            item,
            transmissions,
            latest,
            previous,
            ..
        } = head;
        let latest = latest.map(|built| built.answerable);
        let answered = if is_latest { latest } else { previous };
        let answered = answered.ok_or(Ignored::NothingOpen)?;

        bump(&mut self.stats.accepts);
        self.backoff.reset(now_ms);
        self.tell(Event::Accepted {
            seq: item.seq,
            cause: item.cause,
            form: answered.form,
            repeats: transmissions.saturating_sub(1),
            status,
        });
        self.learn_from(&answered, now_ms);
        self.follow(status, answered.exchange, now_ms);
        Ok(())
    }

    /// Does what the network said with an ACCEPT.
    pub(super) fn follow(&mut self, status: AcceptStatus, exchange: Exchange, now_ms: u64) {
        match status {
            AcceptStatus::Accepted => {}
            AcceptStatus::CommandFollows => self.open(exchange.into_session(), now_ms),
            AcceptStatus::SilentFor { seconds } => {
                let ms = now_ms.saturating_add(u64::from(seconds) * 1000);
                self.life = Life::SilentUntil { ms };
            }
        }
    }

    /// An answered report proves its RAND_n (section 4, rule b) and its counter.
    fn learn_from(&mut self, answered: &Answerable, now_ms: u64) {
        if let Some(counter) = answered.counter {
            self.slots.note_answered(counter);
            if self.slots.answered_lags() {
                // Not durable: recovery comes a few power cycles early, which is safe.
                let _ = self.store(*self.slots.record());
            }
        }
        let (snid, max_steps) = (self.profile.snid, self.profile.max_steps);
        if let Some(rand_n) = &answered.rand_n
            && self.profile.form == DeviceForm::Beacon
            && self.anchors.moves_to(rand_n, &snid, max_steps)
        {
            // Not durable: the anchor stays where it was, and the next ACCEPT tries again.
            let _ = self.persist_anchor(rand_n, now_ms);
        }
    }

    fn handle_session(&mut self, now_ms: u64, nas: &[u8]) -> Result<(), Ignored> {
        if !self.outbox.is_empty() {
            return Err(Ignored::Busy);
        }
        let text = match self.link.as_mut().filter(|link| now_ms < link.until_ms) {
            Some(link) => match link.session.open_down(nas) {
                Ok(text) => text,
                Err(error) => self.open_candidate(now_ms, nas)?.ok_or(error)?,
            },
            None => self
                .open_candidate(now_ms, nas)?
                .ok_or(Ignored::NothingOpen)?,
        };
        self.extend_session(now_ms);
        self.obey(now_ms, &text);
        Ok(())
    }

    /// The first SESSION that verifies after a paging authenticates the network. `None` without a paging answered.
    fn open_candidate(&mut self, now_ms: u64, nas: &[u8]) -> Result<Option<SessionText>, Ignored> {
        let Some(mut session) = self.candidate.take() else {
            return Ok(None);
        };
        match session.open_down(nas) {
            Ok(text) => {
                self.open(session, now_ms);
                Ok(Some(text))
            }
            Err(error) => {
                self.candidate = Some(session);
                Err(error.into())
            }
        }
    }

    fn open(&mut self, session: Session, now_ms: u64) {
        let until_ms = now_ms;
        self.link = Some(Link { session, until_ms });
        self.extend_session(now_ms);
        self.tell(Event::SessionOpened);
    }

    fn extend_session(&mut self, now_ms: u64) {
        let idle_ms = u64::from(self.profile.timing.session_idle_ms);
        if let Some(link) = &mut self.link {
            link.until_ms = now_ms.saturating_add(idle_ms);
        }
    }

    /// Carries out a command and leaves the answer in the outbox.
    fn obey(&mut self, now_ms: u64, text: &SessionText) {
        bump(&mut self.stats.commands);
        let mut data = [0; READ_OCTETS_MAX];
        let code = text.octets().first().copied().unwrap_or(0);
        let (result, read) = match Command::parse(text.octets()) {
            Ok(Command::Read { offset, length }) => self.read_user(offset, length, &mut data),
            Ok(Command::Write { offset, data }) => (self.write_user(offset, data), 0),
            Ok(Command::PermanentDisable) => (self.disable(), 0),
            Ok(Command::Release) => (CommandResult::Ok, 0),
            Err(WireError::UnknownCode { .. }) => (CommandResult::NotSupported, 0),
            Err(_) => (CommandResult::BadParameters, 0),
        };
        let response = Response {
            code,
            result,
            data: data.get(..read).unwrap_or_default(),
        };
        self.respond(now_ms, &response);
        let released = matches!(Command::parse(text.octets()), Ok(Command::Release));
        if released {
            self.link = None;
        }
        if self.slots.record().disabled {
            let link = self.link.take();
            self.fall_silent(Life::Disabled, Event::Disabled);
            self.link = link;
        }
    }

    /// The last session of a disabled device: while it lasts, PERMANENT DISABLE is acknowledged again, so that a lost answer does
    /// not leave the network unsure for ever. Nothing else is answered, but for the RELEASE that ends it.
    fn answer_disabled(&mut self, now_ms: u64, nas: &[u8]) -> Result<(), Ignored> {
        let is_live = |link: &&mut Link| now_ms < link.until_ms;
        let link = self.link.as_mut().filter(is_live).ok_or(Ignored::Silent)?;
        if !self.outbox.is_empty() {
            return Err(Ignored::Busy);
        }
        let text = link.session.open_down(nas)?;
        let code = text.octets().first().copied().unwrap_or(0);
        let command = Command::parse(text.octets());
        if !matches!(command, Ok(Command::PermanentDisable | Command::Release)) {
            return Err(Ignored::Silent);
        }
        bump(&mut self.stats.commands);
        let response = Response {
            code,
            result: CommandResult::Ok,
            data: &[],
        };
        self.respond(now_ms, &response);
        if matches!(command, Ok(Command::Release)) {
            self.link = None;
        }
        Ok(())
    }

    fn respond(&mut self, now_ms: u64, response: &Response<'_>) {
        let Some(Link { session, .. }) = &mut self.link else {
            return;
        };
        let mut text = [0; PDU_OCTETS_MAX];
        let mut octets = [0; PDU_OCTETS_MAX];
        let sealed = response.emit(&mut text).ok().and_then(|len| {
            let text = text.get(..len)?;
            session.seal_up(text, &mut octets).ok()
        });
        match sealed {
            Some(len) => {
                self.outbox = Outbox::Waiting {
                    since_ms: now_ms,
                    octets,
                    len,
                };
            }
            // All COUNTs are used: the session cannot answer any more, so it is over.
            None => self.link = None,
        }
    }

    fn read_user(&mut self, offset: u16, length: u8, out: &mut [u8]) -> (CommandResult, usize) {
        let length = usize::from(length);
        let Some(at) = self.user_offset(offset, length) else {
            return (CommandResult::BadParameters, 0);
        };
        let Some(out) = out.get_mut(..length) else {
            return (CommandResult::BadParameters, 0);
        };
        match self.memory.read(at, out) {
            Ok(()) => (CommandResult::Ok, length),
            Err(_) => (CommandResult::LowEnergy, 0),
        }
    }

    fn write_user(&mut self, offset: u16, data: &[u8]) -> CommandResult {
        let Some(at) = self.user_offset(offset, data.len()) else {
            return CommandResult::BadParameters;
        };
        bump(&mut self.stats.memory_writes);
        match self.memory.write(at, data) {
            Ok(()) => CommandResult::Ok,
            Err(_) => {
                bump(&mut self.stats.memory_failures);
                self.tell(Event::MemoryFailed);
                CommandResult::LowEnergy
            }
        }
    }

    /// Where in memory `length` octets of the user memory at `offset` lie; `None` when they are not all there.
    fn user_offset(&self, offset: u16, length: usize) -> Option<usize> {
        let at = usize::from(offset).checked_add(SLOTS_OCTETS)?;
        let end = at.checked_add(length)?;
        (end <= self.memory.capacity()).then_some(at)
    }

    /// Durable before it is acknowledged. The second write puts it into the other slot as well, so that one rotten slot
    /// does not bring the device back; it is no loss when that one fails.
    fn disable(&mut self) -> CommandResult {
        let record = Record {
            disabled: true,
            ..*self.slots.record()
        };
        match self.store(record) {
            Ok(()) => {
                let _ = self.store(record);
                CommandResult::Ok
            }
            Err(StoreFailed) => CommandResult::LowEnergy,
        }
    }

    fn answer_paging(
        &mut self,
        now_ms: u64,
        rand_n: &RandN,
        target: PagingTarget,
    ) -> Result<(), NotNow> {
        let meant = match target {
            PagingTarget::All => true,
            PagingTarget::Matches(matches) => matches,
            PagingTarget::Concealed(t_id) => {
                *self.evaluate(&schedule::dt_paging_t_id(rand_n))? == t_id
            }
        };
        if !meant {
            return Ok(());
        }
        let rand_d: [u8; 16] = self.fresh();
        let res = self.evaluate(&schedule::dt_res(rand_n, &rand_d))?;
        let k_aiotf = self.evaluate(&schedule::dt_k_aiotf(rand_n, &rand_d))?;
        let response = InventoryResponse {
            rand_d,
            res: schedule::cut(&res),
        };
        let mut octets = [0; PDU_OCTETS_MAX];
        let len = response.emit(&mut octets).map_err(|_| NotNow)?;
        self.outbox = Outbox::Waiting {
            since_ms: now_ms,
            octets,
            len,
        };
        let (suite, k_aiotf) = (self.credential.suite(), KAiotf::new(*k_aiotf));
        let session = Session::new(suite, &k_aiotf, self.profile.tag_len);
        self.candidate = Some(session);
        bump(&mut self.stats.pagings_answered);
        Ok(())
    }
}
