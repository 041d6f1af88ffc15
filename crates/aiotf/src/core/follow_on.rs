//! What follows an ACCEPT with status 01: the command session of a device that spoke first, and word of it to the ADM.

use ambit_adm_api::{AcceptPdu, AdmClient, CommandOutcome, FollowOn, NadmError};

use super::Aiotf;
use super::commands::ANSWER_MS;
use crate::registrations::Peer;
use crate::service::DevicePlace;
use crate::terminated::{CommandSession, Owner};

/// Sessions after an ACCEPT at once. Beyond, the ACCEPT goes out alone, and the command goes with the next report.
const SESSIONS_MAX: usize = 4096;

/// Of these, for one device: a report that is heard at several readers, or replayed, takes no more.
const SESSIONS_PER_DEVICE_MAX: usize = 4;

/// Words to an ADM that does not answer that are kept. The commands beyond go out again.
const UNCONCLUDED_MAX: usize = 4096;

/// Words to the ADM in one go: each waits for a disk.
const CONCLUDED_AT_ONCE_MAX: usize = 256;

impl<A: AdmClient> Aiotf<A> {
    /// Sends an ACCEPT and, if something follows it, opens the session.
    pub(super) fn send_accept(
        &mut self,
        peer: Peer,
        (correlation, place): (u16, DevicePlace),
        accept: &AcceptPdu,
        follow_on: Option<Box<FollowOn>>,
        now_ms: i64,
    ) {
        if let Some(follow_on) = follow_on
            && !self.open_follow_on(peer, (correlation, place), accept, *follow_on, now_ms)
        {
            return;
        }
        // No answer is due to an ACCEPT; the element is mandatory since V19.4 and counts from 1.
        self.command(peer, correlation, accept.as_slice(), 1);
    }

    /// Notes the session that follows an ACCEPT. False when that ACCEPT is on its way already.
    fn open_follow_on(
        &mut self,
        peer: Peer,
        (correlation, place): (u16, DevicePlace),
        accept: &AcceptPdu,
        follow_on: FollowOn,
        now_ms: i64,
    ) -> bool {
        if let Some((_, session)) = self.terminated.sessions.get_mut(&peer)
            && session.correlation == correlation
            && session.follows(accept)
        {
            // The same report again. A session that has begun goes on: the device obeys a COUNT once.
            return session.note_accept();
        }
        if !self.has_room(&follow_on.device_id) {
            self.count("follow_on_dropped");
            return true;
        }
        let owner = Owner::Kept(follow_on.command.as_ref().map(|command| command.id));
        let mut session = CommandSession::after_accept(*accept, follow_on, place, correlation);
        session.note_accept();
        session.until_ms = now_ms.saturating_add(ANSWER_MS);
        self.count("follow_on_opened");
        if let Some((owner, session)) = self.terminated.sessions.insert(peer, (owner, session)) {
            self.report_lost(owner, session, None);
        }
        true
    }

    fn has_room(&self, device_id: &[u8]) -> bool {
        let (mut all, mut own) = (0, 0);
        for (owner, session) in self.terminated.sessions.values() {
            if matches!(owner, Owner::Kept(_)) {
                all += 1;
                own += usize::from(*session.device_id == *device_id);
            }
        }
        all < SESSIONS_MAX && own < SESSIONS_PER_DEVICE_MAX
    }

    /// Tells the ADM what came of a kept command; later, if it cannot be told now.
    pub(super) fn conclude_kept(&mut self, id: i64, outcome: CommandOutcome, now_ms: i64) {
        self.conclude_later(id, outcome);
        self.tell_conclusions(now_ms);
    }

    /// Notes what the ADM is to be told of a kept command at the next tick.
    pub(super) fn conclude_later(&mut self, id: i64, outcome: CommandOutcome) {
        self.count(match &outcome {
            Ok(_) => "kept_command_done",
            Err(failure) => failure.name(),
        });
        if self.terminated.unconcluded.len() < UNCONCLUDED_MAX {
            self.terminated.unconcluded.push_back((id, outcome));
        } else {
            self.count("conclusion_dropped");
        }
    }

    /// Tells the ADM what it has not been told yet, in the order in which it happened.
    pub(super) fn tell_conclusions(&mut self, now_ms: i64) {
        for _ in 0..CONCLUDED_AT_ONCE_MAX {
            let Some((id, outcome)) = self.terminated.unconcluded.pop_front() else {
                return;
            };
            if !self.tell(id, &outcome, now_ms) {
                self.terminated.unconcluded.push_front((id, outcome));
                return;
            }
        }
    }

    /// False when it is to be said again later.
    fn tell(&mut self, id: i64, outcome: &CommandOutcome, now_ms: i64) -> bool {
        match self.adm.conclude_command(now_ms, id, outcome) {
            Ok(()) => true,
            Err(error) => {
                self.count(error.name());
                !matches!(error, NadmError::Failed(_) | NadmError::Busy { .. })
            }
        }
    }
}
