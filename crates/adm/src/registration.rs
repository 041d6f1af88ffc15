//! The way of one UICC registration through the ADM, as a list of steps (section 7):
//!
//! 1. [parse](RegistrationRequest::parse) the REGISTRATION REQUEST; the same one again gets the same challenge again;
//! 2. reveal the SUCI, within the search budget, and find the subscriber;
//! 3. check the device: disabled, barred, out of scope;
//! 4. take the next SQN, durably; make N_r, RAND, AUTN and the answer that is expected;
//! 5. the answer is AUTS: verify it, take over the card's SQN, challenge once more; or
//! 6. compare RES8, open the sealed item: the card and the device that hold RAND_d have answered;
//! 7. insert the acceptance record and K_AIOT, durably, in one transaction: the insert decides;
//! 8. answer with the ACCEPT that belongs to the record.
//!
//! What fails anywhere ends in silence and a count.

mod challenges;

use ambit_adm_api::{
    AcceptPdu, ChallengeId, DoaItem, DoaReport, FollowOn, Outcome, RegistrationStep, SessionKey,
    Verdict,
};
use ambit_protocol::wire::{
    AcceptStatus, AuthenticationRequest, AuthenticationResponseView, RegistrationRequest,
    ResultView,
};
use ambit_protocol::{Exchange, Form, KAiotf, RootKey, aka};
use ambit_store::{Insert, NewRecord, Registered, StoreError};
use subtle::ConstantTimeEq;

use crate::Adm;
use crate::authenticate::{Judged, Source};
use crate::policy::CredentialKind;
use challenges::Open;

pub(crate) use challenges::Challenges;

/// The AMF of a challenge: the separation bit is 1 (TS 33.501 annex A, TS 33.102 annex H).
const AMF: [u8; 2] = [0x80, 0x00];

/// What revealing a SUCI costs out of the search budget, in PRF evaluations: one scalar multiplication on P-256.
const REVEAL_COST: usize = 1000;

/// Resynchronisations in one registration.
const RESYNCS_MAX: u8 = 1;

/// Who registers, and with which nonce.
struct Registrant<'a> {
    row: i64,
    device_id: Box<[u8]>,
    supi: String,
    rand_d: [u8; 8],
    request: &'a [u8],
    epoch: u32,
    resyncs: u8,
}

/// Silence, and whose it is if that is known.
struct Refused(Outcome, Option<Box<[u8]>>);

impl Adm {
    pub(crate) fn register_one(
        &mut self,
        now_ms: i64,
        request: &DoaReport<'_>,
    ) -> RegistrationStep {
        let step = self.challenge(now_ms, request);
        self.conclude(now_ms, request, step)
    }

    pub(crate) fn respond_one(
        &mut self,
        now_ms: i64,
        id: &ChallengeId,
        response: &DoaReport<'_>,
    ) -> RegistrationStep {
        let step = self.answer(now_ms, id, response);
        self.conclude(now_ms, response, step)
    }

    /// Steps 1 to 4.
    fn challenge(
        &mut self,
        now_ms: i64,
        report: &DoaReport<'_>,
    ) -> Result<RegistrationStep, Refused> {
        let silent = |outcome| Refused(outcome, None);
        let beacons = self
            .roll(now_ms)
            .map_err(|_| silent(Outcome::StoreFailed))?;
        let request =
            RegistrationRequest::parse(report.nas).map_err(|_| silent(Outcome::Malformed))?;
        if report.area_id.snid() != self.config.snid {
            return Err(silent(Outcome::AreaUnknown));
        }
        if !self.tables.iter().any(|t| t.rand_n() == report.rand_n) {
            return Err(silent(Outcome::StaleEpoch));
        }
        if let Some((id, open)) = self.challenges.of_request(report.nas, now_ms) {
            let nas = open.nas;
            return Ok(RegistrationStep::Challenge { nas, id });
        }

        let reader = (report.gnb_id, report.reader_index);
        if !self.budget.take(reader, REVEAL_COST, now_ms) {
            return Err(silent(Outcome::SearchBudgetExhausted));
        }
        let supi = self
            .reveal(request.suci)
            .ok_or(silent(Outcome::SuciRefused))?;
        let row = self
            .store
            .get()
            .subscriber(&supi)
            .map_err(|_| silent(Outcome::StoreFailed))?
            .ok_or(silent(Outcome::SuciRefused))?
            .device;
        let device_id = self.check_registrant(row, report)?;
        self.issue(
            now_ms,
            &Registrant {
                row,
                device_id,
                supi,
                rand_d: request.rand_d,
                request: report.nas,
                epoch: beacons.current.epoch(),
                resyncs: 0,
            },
        )
    }

    /// Step 3.
    fn check_registrant(&self, row: i64, report: &DoaReport<'_>) -> Result<Box<[u8]>, Refused> {
        let unknown = Refused(Outcome::SuciRefused, None);
        let (_, device) = self.registry.of_row(row).ok_or(unknown)?;
        let allowed = self
            .config
            .allows(device.device_type, device.form, CredentialKind::Uicc);
        let outcome = if !self.registry.in_scope(&device, &report.area_id) {
            Outcome::SuciRefused
        } else if device.disabled {
            Outcome::DeviceDisabled
        } else if allowed.is_err() || !device.device_type.is_do_a_capable() {
            Outcome::PolicyRefused
        } else {
            return Ok(device.device_id.into());
        };
        Err(Refused(outcome, Some(device.device_id.into())))
    }

    /// Step 4. The SQN is on disk before anything is computed with it.
    fn issue(&mut self, now_ms: i64, who: &Registrant<'_>) -> Result<RegistrationStep, Refused> {
        let refused = |outcome| Refused(outcome, Some(who.device_id.clone()));
        let failed = |_| refused(Outcome::StoreFailed);
        let account = self.store.get().subscriber(&who.supi).map_err(failed)?;
        let account = account.ok_or_else(|| refused(Outcome::SuciRefused))?;
        let secrets = self
            .open_secrets(&who.device_id, &account)
            .map_err(|_| refused(Outcome::StoreFailed))?;
        let (_, device) = self
            .registry
            .of_row(who.row)
            .ok_or_else(|| refused(Outcome::SuciRefused))?;
        let suite = device.suite;
        let mut n_r = [0; 16];
        (self.entropy)(&mut n_r).map_err(|_| refused(Outcome::StoreFailed))?;
        let mut id = [0; 16];
        (self.entropy)(&mut id).map_err(|_| refused(Outcome::StoreFailed))?;
        let challenge = self
            .store
            .get()
            .sqn_allocate(who.row)
            .map_err(|error| match error {
                StoreError::SqnExhausted { .. } => refused(Outcome::SqnExhausted),
                _ => refused(Outcome::StoreFailed),
            })?;

        let snid = &self.config.snid;
        let rand = aka::rand(&n_r, &who.rand_d, snid);
        let [_, _, sqn @ ..] = challenge.sqn.to_be_bytes();
        let vector = secrets.vector(&rand, &sqn, &AMF);
        let ck_ik = vector.ck_ik();
        let k_aiot = aka::k_aiot(&ck_ik, snid, &who.rand_d, &vector.sqn_xor_ak(&sqn));
        let request = AuthenticationRequest {
            n_r,
            autn: vector.autn(&sqn, &AMF),
        };
        let mut nas = [0; ambit_protocol::wire::AUTHENTICATION_REQUEST_OCTETS];
        request
            .emit(&mut nas)
            .map_err(|_| refused(Outcome::Malformed))?;
        let id = ChallengeId(id);
        let open = Open {
            row: who.row,
            supi: who.supi.clone(),
            rand_d: who.rand_d,
            rand,
            nas,
            res8: aka::res8(&aka::res_star(&ck_ik, snid, &rand, vector.res.as_slice())),
            k_aiotf: aka::k_aiotf(suite, &k_aiot, &rand, &who.rand_d),
            k_aiot,
            number: challenge.number,
            epoch: who.epoch,
            resyncs: who.resyncs,
            request: who.request.into(),
            until_ms: now_ms.saturating_add(i64::from(self.config.challenge_lifetime_s) * 1000),
        };
        self.challenges.insert(id, open, now_ms);
        Ok(RegistrationStep::Challenge { nas, id })
    }

    /// Steps 5 to 8.
    fn answer(
        &mut self,
        now_ms: i64,
        id: &ChallengeId,
        report: &DoaReport<'_>,
    ) -> Result<RegistrationStep, Refused> {
        let silent = |outcome| Refused(outcome, None);
        let response = AuthenticationResponseView::parse(report.nas)
            .map_err(|_| silent(Outcome::Malformed))?;
        let open = self
            .challenges
            .get(id, now_ms)
            .ok_or(silent(Outcome::ChallengeUnknown))?;
        let row = open.row;
        // It was checked before the challenge, but much may happen meanwhile.
        let device_id = self.check_registrant(row, report)?;
        match response {
            AuthenticationResponseView::SyncFailure { auts } => {
                self.resynchronise(now_ms, id, device_id, &auts)
            }
            AuthenticationResponseView::Result(result) => self
                .accept_registration(now_ms, id, report, &result)
                .map_err(|outcome| Refused(outcome, Some(device_id))),
        }
    }

    /// Step 5. AUTS is bound to the RAND of this challenge, so an old one opens nothing.
    fn resynchronise(
        &mut self,
        now_ms: i64,
        id: &ChallengeId,
        device_id: Box<[u8]>,
        auts: &[u8; 14],
    ) -> Result<RegistrationStep, Refused> {
        let refused = |outcome| Refused(outcome, Some(device_id.clone()));
        let open = self
            .challenges
            .get(id, now_ms)
            .ok_or_else(|| refused(Outcome::ChallengeUnknown))?;
        if open.resyncs >= RESYNCS_MAX {
            return Err(refused(Outcome::SyncFailure));
        }
        let (rand, request) = (open.rand, open.request.clone());
        let mut who = Registrant {
            row: open.row,
            device_id: device_id.clone(),
            supi: open.supi.clone(),
            rand_d: open.rand_d,
            request: &request,
            epoch: open.epoch,
            resyncs: open.resyncs,
        };
        who.resyncs += 1;
        let account = self
            .store
            .get()
            .subscriber(&who.supi)
            .map_err(|_| refused(Outcome::StoreFailed))?
            .ok_or_else(|| refused(Outcome::SuciRefused))?;
        let sqn_ms = self
            .open_secrets(&device_id, &account)
            .map_err(|_| refused(Outcome::StoreFailed))?
            .check_auts(&rand, auts)
            .ok_or_else(|| refused(Outcome::AuthenticationFailed))?;
        let [a, b, c, d, e, f] = sqn_ms;
        let sqn_ms = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        self.store
            .get()
            .sqn_resync(who.row, sqn_ms)
            .map_err(|_| refused(Outcome::StoreFailed))?;
        self.challenges.remove(id);
        self.issue(now_ms, &who)
    }

    /// Steps 6 to 8.
    fn accept_registration(
        &mut self,
        now_ms: i64,
        id: &ChallengeId,
        report: &DoaReport<'_>,
        result: &ResultView<'_>,
    ) -> Result<RegistrationStep, Outcome> {
        let open = self
            .challenges
            .get(id, now_ms)
            .ok_or(Outcome::ChallengeUnknown)?;
        let (index, device) = self.registry.of_row(open.row).ok_or(Outcome::SuciRefused)?;
        let device_id: Box<[u8]> = device.device_id.into();
        let res8_fits = bool::from(open.res8.ct_eq(&result.res8));
        // Opened in either case: the time taken tells nothing of RES8.
        let opened =
            Exchange::open_registration(device.suite, &open.k_aiotf, result, device.tag_len);
        let (exchange, plaintext) = match opened {
            Ok(opened) if res8_fits => opened,
            _ => return Err(Outcome::AuthenticationFailed),
        };
        let item = plaintext.item().map_err(|_| Outcome::Malformed)?;
        let repeat = device.recent.is_repeat(item.cause, item.seq, now_ms);
        let k_aiot = RootKey::new(*open.k_aiot.expose());
        let k_aiotf = KAiotf::new(*open.k_aiotf.expose());
        let (row, epoch, rand_d, number) = (open.row, open.epoch, open.rand_d, open.number);
        let (suite, tag_len) = (device.suite, device.tag_len);

        let wrapped_key = self
            .wrap_key(&device_id, &k_aiot)
            .map_err(|_| Outcome::StoreFailed)?;
        let lifetime_ms = i64::from(self.config.key_lifetime_s) * 1000;
        let p2 = self.p2_of(row, now_ms);
        let record = NewRecord {
            device: row,
            device_id: &device_id,
            epoch,
            tag1: exchange.tag1().as_slice(),
            form: Form::Aka.number(),
            area_id: *report.area_id.octets(),
            nonce: &rand_d,
            cause: item.cause.number(),
            seq: item.seq,
            data: item.data,
            accept: &p2,
            time_ms: now_ms,
            repeat,
            gnb_id: report.gnb_id,
            reader_index: report.reader_index,
            counter: None,
        };
        let registered = Registered {
            challenge: number,
            wrapped_key: &wrapped_key,
            key_until_ms: now_ms.saturating_add(lifetime_ms),
        };
        let stored = self.store.get().registration_commit(&record, &registered);
        self.store_fault = stored.as_ref().err().map(ToString::to_string);
        if let Err(StoreError::WentBack { first }) = &stored {
            self.store_went_back(*first, now_ms);
        }
        let of_record = (epoch, exchange.tag1().as_slice());
        let (outcome, p2, command) = match stored.map_err(|_| Outcome::StoreFailed)? {
            Insert::New { .. } => {
                let stored = self
                    .store
                    .get()
                    .device(&device_id)
                    .map_err(|_| Outcome::StoreFailed)?;
                if let Some(stored) = stored {
                    self.take_up(&stored).map_err(|_| Outcome::StoreFailed)?;
                }
                self.registry.note_item(index, item.cause, item.seq, now_ms);
                let new = [Outcome::AcceptedNew, Outcome::AcceptedRepeat];
                let [new, repeated] = new;
                let command = match p2.is_empty() {
                    true => None,
                    false => self.give_command(row, of_record, now_ms),
                };
                (if repeat { repeated } else { new }, p2, command)
            }
            Insert::Duplicate { accept } => {
                let command = match accept.is_empty() {
                    true => None,
                    false => self.command_of(row, Form::Aka, of_record, now_ms),
                };
                (Outcome::AcceptedDuplicate, accept, command)
            }
            Insert::DeviceChanged => return Err(Outcome::DeviceChanged),
            Insert::StaleChallenge | Insert::StaleCounter { .. } => {
                return Err(Outcome::ChallengeUnknown);
            }
        };
        let nas = AcceptPdu::build(|out| exchange.seal_accept(&p2, out))
            .map_err(|_| Outcome::StoreFailed)?;
        let is_told = self.tells_items && outcome == Outcome::AcceptedNew;
        let told = self.registry.of_row(row).filter(|_| is_told);
        let told = told.map(|(_, device)| {
            Box::new(DoaItem {
                fleet: self.registry.fleet_name(&device).into(),
                device_id: device_id.clone(),
                epoch,
                tag1: exchange.tag1().as_slice().into(),
                cause: item.cause,
                seq: item.seq,
                data: item.data.into(),
            })
        });
        let follow_on = (AcceptStatus::parse(&p2) == AcceptStatus::CommandFollows).then(|| {
            let key = SessionKey {
                k_aiotf,
                suite,
                tag_len,
            };
            Box::new(FollowOn {
                device_id,
                key,
                command,
            })
        });
        Ok(RegistrationStep::Done(Verdict::Accept {
            nas,
            outcome,
            follow_on,
            item: told,
        }))
    }

    /// Counts what came of it, with its event.
    fn conclude(
        &mut self,
        now_ms: i64,
        report: &DoaReport<'_>,
        step: Result<RegistrationStep, Refused>,
    ) -> RegistrationStep {
        let (step, device_id) = match step {
            Ok(step) => (step, None),
            Err(Refused(outcome, device_id)) => (RegistrationStep::silence(outcome), device_id),
        };
        let judged = Judged {
            outcome: step.outcome(),
            form: Some(Form::Aka),
            device_id,
        };
        self.note(now_ms, &Source::of(report), &judged);
        step
    }
}
