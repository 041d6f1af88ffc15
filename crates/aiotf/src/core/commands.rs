//! What is done with a device that answered a page: it is noted as there, or given its command (section 8). The sessions that
//! follow an ACCEPT run here too.

use ambit_adm_api::AdmClient;
use ambit_ngap::Cause;
use ambit_protocol::RandN;

use super::Aiotf;
use crate::registrations::Peer;
use crate::service::{DeviceFailure, DevicePlace, DeviceResult, Operation, TransactionId};
use crate::terminated::{CommandSession, Finished, Next, Owner, Sent, Transaction, Waiting};

/// How long a device may take to answer one command, in milliseconds. A gNB gives up earlier.
pub(super) const ANSWER_MS: i64 = 10_000;

impl<A: AdmClient> Aiotf<A> {
    /// A device has proven itself.
    pub(super) fn found(
        &mut self,
        transaction: &mut Transaction,
        rand_n: &RandN,
        waiting: &Waiting,
        device_id: Box<[u8]>,
        now_ms: i64,
    ) {
        if !transaction.found.insert(device_id.clone()) {
            // Its answer was lost on the way back, or it stands between two readers.
            return self.count("inventory_device_again");
        }
        self.count("inventory_device_found");
        let page = transaction.page.as_ref();
        if page.is_some_and(|page| page.device.is_some()) {
            // A hint: nothing depends on it.
            let _ = self.adm.note_aiotf(&device_id, self.config.aiotf_id);
        }
        let fail = |transaction: &mut Transaction, device_id, failure| {
            transaction.report(result(device_id, waiting.place, None, failure));
        };
        if transaction.request.operation == Operation::Inventory {
            return fail(transaction, device_id, None);
        }
        let Some(device_ngap_id) = waiting.device_ngap_id else {
            // The gNB was asked for it.
            self.count("n2_no_device_ngap_id");
            return fail(transaction, device_id, Some(DeviceFailure::NoAnswer));
        };
        let rand_d = &waiting.answer.rand_d;
        let key = match self.adm.get_session_key(now_ms, &device_id, rand_n, rand_d) {
            Ok(key) => key,
            Err(error) => {
                self.count(error.name());
                return fail(transaction, device_id, Some(DeviceFailure::NotServed));
            }
        };
        let (place, correlation) = (waiting.place, waiting.correlation);
        let operation = &transaction.request.operation;
        let session = CommandSession::new(device_id, place, correlation, &key, operation);
        let Some(mut session) = session else {
            return;
        };
        let peer = (waiting.connection, device_ngap_id);
        let next = session.send();
        let owner = Owner::Request(transaction.id);
        let replaced = self.terminated.sessions.insert(peer, (owner, session));
        if let Some((owner, session)) = replaced {
            // A gNB that gives two devices one number gets one of them served.
            self.count("inventory_device_number_reused");
            self.report_lost(owner, session, Some(transaction));
        }
        self.follow(peer, next, Some(transaction), now_ms);
    }

    /// A COMMAND RESPONSE; false when no command is out to that device.
    pub(super) fn command_response(
        &mut self,
        peer: Peer,
        correlation: u16,
        nas: &[u8],
        now_ms: i64,
    ) -> bool {
        let Some((_, session)) = self.session(peer, correlation) else {
            return false;
        };
        let sent = session.end_first();
        let next = match session.take(nas) {
            Ok(next) => next,
            Err(name) => {
                // Not the device's, or not to this command: as if it had not come.
                let next = session.resume(sent);
                self.count(name);
                next
            }
        };
        self.follow(peer, next, None, now_ms);
        true
    }

    /// A COMMAND FAILURE; false when no command is out to that device.
    pub(super) fn command_failure(
        &mut self,
        peer: Peer,
        correlation: u16,
        cause: Cause,
        now_ms: i64,
    ) -> bool {
        let Some((_, session)) = self.session(peer, correlation) else {
            return false;
        };
        let sent = session.end_first();
        let next = match cause {
            // Lost on the air, up or down; or none was due.
            Cause::NoAiotNasResponse => session.resume(sent),
            _ => session.abandon(),
        };
        self.count(match (sent, cause) {
            (Sent::Accept, Cause::NoAiotNasResponse) => "exchange_ended",
            _ => "command_failed",
        });
        self.follow(peer, next, None, now_ms);
        true
    }

    /// Gives up sessions whose device has not been heard for too long.
    pub(super) fn expire_sessions(&mut self, now_ms: i64) {
        let sessions = &self.terminated.sessions;
        let is_due = |session: &CommandSession| session.until_ms <= now_ms;
        let mut due: Vec<Peer> = sessions
            .iter()
            .filter(|(_, (_, session))| is_due(session))
            .map(|(peer, _)| *peer)
            .collect();
        // The map has no order of its own; a run must be the same each time.
        due.sort_unstable();
        for peer in due {
            if let Some((_, session)) = self.terminated.sessions.get_mut(&peer) {
                let next = session.abandon();
                self.follow(peer, next, None, now_ms);
            }
        }
    }

    /// Gives up the sessions over a connection that is gone, or over one session of it.
    pub(super) fn lose_sessions(&mut self, connection: u64, correlation: Option<u16>) {
        let is_lost = |(of, _): &Peer, session: &CommandSession| {
            *of == connection && correlation.is_none_or(|c| c == session.correlation)
        };
        let mut lost: Vec<(Peer, (Owner, CommandSession))> = self
            .terminated
            .sessions
            .extract_if(|peer, (_, session)| is_lost(peer, session))
            .collect();
        lost.sort_unstable_by_key(|(peer, _)| *peer);
        for (_, (owner, session)) in lost {
            self.report_lost(owner, session, None);
        }
    }

    /// Gives up the sessions of a request that is over.
    pub(super) fn end_sessions(&mut self, transaction: &mut Transaction) {
        let mut ended: Vec<(Peer, (Owner, CommandSession))> = self
            .terminated
            .sessions
            .extract_if(|_, (owner, _)| *owner == Owner::Request(transaction.id))
            .collect();
        ended.sort_unstable_by_key(|(peer, _)| *peer);
        for (_, (owner, session)) in ended {
            self.report_lost(owner, session, Some(transaction));
        }
    }

    /// A session ended without the device; if its operation was done before, that has been reported. `transaction` is a request
    /// that is out of its table.
    pub(super) fn report_lost(
        &mut self,
        owner: Owner,
        mut session: CommandSession,
        transaction: Option<&mut Transaction>,
    ) {
        let Next::Finished(Finished::Failed(failure)) = session.abandon() else {
            return;
        };
        match owner {
            Owner::Kept(None) => {}
            Owner::Kept(Some(id)) => self.conclude_later(id, Err(failure)),
            Owner::Request(id) => {
                let (device_id, place) = (session.device_id, session.place);
                self.report(
                    id,
                    transaction,
                    result(device_id, place, None, Some(failure)),
                );
            }
        }
    }

    /// Hands a result to its request. `transaction` is one that is out of its table.
    fn report(
        &mut self,
        id: TransactionId,
        transaction: Option<&mut Transaction>,
        result: DeviceResult,
    ) {
        match transaction {
            Some(of) if of.id == id => of.report(result),
            _ => {
                if let Some(of) = self.terminated.transactions.get_mut(&id) {
                    of.report(result);
                }
            }
        }
    }

    fn session(&mut self, peer: Peer, correlation: u16) -> Option<&mut (Owner, CommandSession)> {
        let found = self.terminated.sessions.get_mut(&peer)?;
        (found.1.correlation == correlation).then_some(found)
    }

    /// Does what a session wants done next. `transaction` is the request that it belongs to where that is out of its table.
    fn follow(
        &mut self,
        peer: Peer,
        next: Next,
        transaction: Option<&mut Transaction>,
        now_ms: i64,
    ) {
        let Some((owner, session)) = self.terminated.sessions.get_mut(&peer) else {
            return;
        };
        let (owner, correlation) = (*owner, session.correlation);
        match next {
            Next::Send(nas, expected_d2r_octets) => {
                session.until_ms = now_ms.saturating_add(ANSWER_MS);
                self.count("command_sent");
                self.command(peer, correlation, &nas, expected_d2r_octets);
            }
            Next::Wait => {}
            Next::Over => {
                self.terminated.sessions.remove(&peer);
            }
            Next::Finished(finished) => {
                let of = (session.device_id.clone(), session.place);
                let next = session.send();
                self.conclude(owner, of, finished, transaction, now_ms);
                self.follow(peer, next, None, now_ms);
            }
        }
    }

    /// Reports what has come of a device, made durable where it must be. `transaction` as above.
    fn conclude(
        &mut self,
        owner: Owner,
        (device_id, place): (Box<[u8]>, DevicePlace),
        finished: Finished,
        transaction: Option<&mut Transaction>,
        now_ms: i64,
    ) {
        let id = match owner {
            Owner::Request(id) => id,
            Owner::Kept(None) => return,
            Owner::Kept(Some(id)) => {
                let outcome = match finished {
                    Finished::Failed(failure) => Err(failure),
                    Finished::Done { data, .. } => Ok(data),
                };
                return self.conclude_kept(id, outcome, now_ms);
            }
        };
        let (data, failure) = match finished {
            Finished::Failed(failure) => (None, Some(failure)),
            Finished::Done {
                data,
                has_disabled: false,
            } => (data, None),
            Finished::Done { data, .. } => match self.adm.note_disabled(now_ms, &device_id) {
                Ok(()) => (data, None),
                Err(error) => {
                    self.count(error.name());
                    (data, Some(DeviceFailure::NotRecorded))
                }
            },
        };
        self.count(failure.map_or("command_done", DeviceFailure::name));
        self.report(id, transaction, result(device_id, place, data, failure));
    }
}

const fn result(
    device_id: Box<[u8]>,
    place: DevicePlace,
    data: Option<Vec<u8>>,
    failure: Option<DeviceFailure>,
) -> DeviceResult {
    DeviceResult {
        device_id,
        place: Some(place),
        data,
        failure,
    }
}
