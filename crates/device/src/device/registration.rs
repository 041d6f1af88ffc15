//! UICC registration, the device's part (section 7).
//!
//! The item at the head of the queue travels in the AUTHENTICATION RESPONSE: the registration itself at power-on, or whatever
//! waits when K_AIOT has to be agreed anew because nobody answers reports under the old one. The exchange is idempotent for one
//! RAND_d: the request is repeated octet for octet, the same challenge gets the same response without asking the card again,
//! and a lost message of either side costs one more round.
//!
//! The ACCEPT proves that the network knows RAND_d and K, not that it holds the RAND_n of the window to be current (RAND_n is
//! no part of this K_AIOTF). So it moves no anchor: the first report after it is concealed, and its ACCEPT gives the anchor.

use ambit_protocol::exchange::Exchange;
use ambit_protocol::wire::{AuthenticationRequest, RegistrationRequest, emit_sync_failure};
use ambit_protocol::{Form, RootKey, WireError, aka};

use super::uplink::Head;
use super::{Device, Ignored, NotNow, PDU_OCTETS_MAX};
use crate::event::{Event, bump};
use crate::outbox::Outbox;
use crate::platform::{Credential, Memory, Random};
use crate::record::Record;
use crate::uicc::{AkaKeys, Authentication};

/// Reports that may go unanswered before the device agrees a new K_AIOT: the old one may have expired.
pub(super) const UNANSWERED_MAX: u32 = 8;

/// Challenges that are taken to the card for one RAND_d: one, another after a resynchronisation, and some in reserve for a
/// network that has lost its memory. What a false network sends beyond that costs no energy in the card.
const CHALLENGES_MAX: u8 = 8;

/// The separation bit of AMF, which a challenge of this kind must have (TS 33.501 clause 6.1.3.2).
const AMF_SEPARATION: u8 = 0x80;

/// A registration in progress.
pub(super) struct Registering {
    rand_d: [u8; 8],
    octets: [u8; PDU_OCTETS_MAX],
    len: usize,
    sent: u8,
    challenges: u8,
    answered: Option<Answered>,
}

/// A challenge that the card has answered.
struct Answered {
    request: AuthenticationRequest,
    exchange: Exchange,
    k_aiot: RootKey,
    octets: [u8; PDU_OCTETS_MAX],
    len: usize,
}

impl<C: Credential, M: Memory, R: Random> Device<C, M, R> {
    /// Gives K_AIOT up when reports under it have gone unanswered for too long. A counter device goes over to recovery at
    /// the same time; whatever the reason is, a registration finds the network again.
    pub(super) fn doubt_key(&mut self) {
        let is_doubtful = self.backoff.unanswered() >= UNANSWERED_MAX;
        if is_doubtful && !self.credential.needs_registration() && self.credential.card().is_some()
        {
            self.credential.adopt(None);
            self.registering = None;
            if let Some(head) = &mut self.head {
                head.latest = None;
                head.previous = None;
            }
        }
    }

    /// The REGISTRATION REQUEST: once more, or with a new RAND_d.
    pub(super) fn register(&mut self, now_ms: u64, out: &mut [u8]) -> Result<usize, NotNow> {
        let repeats_max = self.profile.timing.repeats_max;
        let may_repeat = |registering: &Registering| registering.sent <= repeats_max;
        if !self.registering.as_ref().is_some_and(may_repeat) {
            self.registering = Some(self.new_request()?);
        }
        let head = self.head.as_mut().ok_or(NotNow)?;
        let registering = self.registering.as_mut().ok_or(NotNow)?;
        let octets = registering.octets.get(..registering.len).ok_or(NotNow)?;
        out.get_mut(..octets.len())
            .ok_or(NotNow)?
            .copy_from_slice(octets);
        registering.sent = registering.sent.saturating_add(1);
        head.note_sent(now_ms);
        Ok(octets.len())
    }

    fn new_request(&mut self) -> Result<Registering, NotNow> {
        let rand_d: [u8; 8] = self.fresh();
        let mut suci = [0; PDU_OCTETS_MAX];
        let found = self.credential.card().map(|card| card.suci(&mut suci));
        let Some(Ok(len)) = found else {
            self.tell(Event::CredentialFailed);
            return Err(NotNow);
        };
        let mut octets = [0; PDU_OCTETS_MAX];
        let suci = suci.get(..len).unwrap_or_default();
        let Ok(len) = (RegistrationRequest { rand_d, suci }).emit(&mut octets) else {
            // A card that lies about its lengths, or has a longer name than the air carries.
            self.tell(Event::CredentialFailed);
            return Err(NotNow);
        };
        bump(&mut self.stats.registrations_built);
        Ok(Registering {
            rand_d,
            octets,
            len,
            sent: 0,
            challenges: 0,
            answered: None,
        })
    }

    /// An AUTHENTICATION REQUEST came down.
    pub(super) fn handle_challenge(&mut self, now_ms: u64, nas: &[u8]) -> Result<(), Ignored> {
        let malformed = |error: WireError| Ignored::Unverified(error.into());
        let request = AuthenticationRequest::parse(nas).map_err(malformed)?;
        let registering = self.registering.as_mut().ok_or(Ignored::NothingOpen)?;
        if !self.outbox.is_empty() {
            return Err(Ignored::Busy);
        }
        if let Some(answered) = &registering.answered
            && answered.request == request
        {
            let (octets, len) = (answered.octets, answered.len);
            self.answer_challenge(now_ms, octets, len);
            return Ok(());
        }
        let [_, _, _, _, _, _, amf, ..] = request.autn;
        if amf & AMF_SEPARATION == 0 || registering.challenges >= CHALLENGES_MAX {
            return Err(Ignored::ChallengeRefused);
        }
        registering.challenges += 1;
        let rand_d = registering.rand_d;
        let rand = aka::rand(&request.n_r, &rand_d, &self.profile.snid);
        let card = self.credential.card().ok_or(Ignored::NothingOpen)?;
        let Ok(outcome) = card.authenticate(&rand, &request.autn) else {
            self.tell(Event::CredentialFailed);
            return Err(Ignored::ChallengeRefused);
        };
        match &outcome {
            Authentication::MacFailure => Err(Ignored::ChallengeRefused),
            Authentication::SyncFailure { auts } => {
                let mut octets = [0; PDU_OCTETS_MAX];
                let len = emit_sync_failure(auts, &mut octets).map_err(malformed)?;
                self.answer_challenge(now_ms, octets, len);
                Ok(())
            }
            Authentication::Success(keys) => {
                let answered = self.answered(request, &rand, &rand_d, keys)?;
                let (octets, len) = (answered.octets, answered.len);
                if let Some(registering) = &mut self.registering {
                    registering.answered = Some(answered);
                }
                self.answer_challenge(now_ms, octets, len);
                Ok(())
            }
        }
    }

    fn answered(
        &mut self,
        request: AuthenticationRequest,
        rand: &[u8; 16],
        rand_d: &[u8; 8],
        keys: &AkaKeys,
    ) -> Result<Answered, Ignored> {
        let (snid, suite) = (&self.profile.snid, self.credential.suite());
        let head = self.head.as_ref().ok_or(Ignored::NothingOpen)?;
        let res_star = aka::res_star(keys.ck_ik(), snid, rand, keys.res());
        let k_aiot = aka::k_aiot(keys.ck_ik(), snid, rand_d, &request.sqn_xor_ak());
        let k_aiotf = aka::k_aiotf(suite, &k_aiot, rand, rand_d);
        let mut octets = [0; PDU_OCTETS_MAX];
        let (exchange, len) = Exchange::seal_registration(
            suite,
            &k_aiotf,
            &aka::res8(&res_star),
            &head.item.as_item(),
            self.profile.tag_len,
            &mut octets,
        )
        .map_err(|error| Ignored::Unverified(error.into()))?;
        Ok(Answered {
            request,
            exchange,
            k_aiot,
            octets,
            len,
        })
    }

    fn answer_challenge(&mut self, now_ms: u64, octets: [u8; PDU_OCTETS_MAX], len: usize) {
        self.outbox = Outbox::Waiting {
            since_ms: now_ms,
            octets,
            len,
        };
        // The ACCEPT has yet to come: the request is not repeated meanwhile.
        let answer_timeout_ms = u64::from(self.profile.timing.answer_timeout_ms);
        self.backoff
            .not_before(now_ms.saturating_add(answer_timeout_ms));
    }

    /// An ACCEPT came down while the device registers.
    pub(super) fn handle_registration_accept(
        &mut self,
        now_ms: u64,
        nas: &[u8],
    ) -> Result<(), Ignored> {
        let answered = self
            .registering
            .as_ref()
            .and_then(|registering| registering.answered.as_ref())
            .ok_or(Ignored::NothingOpen)?;
        let status = answered.exchange.open_accept(nas)?;
        // It is the network's: from here on things may change.
        let answered = self.registering.take().and_then(|r| r.answered);
        let (Some(answered), Some(head)) = (answered, self.head.take()) else {
            return Err(Ignored::NothingOpen);
        };
        let Head {
            item,
            transmissions,
            ..
        } = head;
        self.credential.adopt(Some(answered.k_aiot));
        if self.profile.form.has_counter() {
            // T-IDs and keys of a new K are new, so the counter begins again, on both sides. Not durable: recovery helps.
            let record = Record {
                counter: 0,
                answered: 0,
                ..*self.slots.record()
            };
            let _ = self.store(record);
        }
        bump(&mut self.stats.accepts);
        bump(&mut self.stats.registrations);
        self.backoff.reset(now_ms);
        self.tell(Event::Accepted {
            seq: item.seq,
            cause: item.cause,
            form: Form::Aka,
            repeats: transmissions.saturating_sub(1),
            status,
        });
        self.follow(status, answered.exchange, now_ms);
        Ok(())
    }
}
