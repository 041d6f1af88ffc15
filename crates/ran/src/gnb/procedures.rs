//! The procedures of TS 38.413 that Ambient IoT has: inventory, command, session release.

use ambit_ngap::{Cause, FromGnb, InventoryRequest, ReaderReport};
use ambit_protocol::RandN;

use super::contacts::Placed;
use super::session::{DOA_CORRELATION_MIN, Session, SessionKey, SessionKind};
use super::{Downlink, Gnb, Uplink};
use crate::frame::Access;

impl Gnb {
    pub(super) fn handle_inventory_request(&mut self, now_ms: u64, request: InventoryRequest<'_>) {
        let key = (request.aiotf_id, request.correlation);
        let readers = self.readers_asked(&request);
        let refusal = if readers.is_empty() {
            Some(Cause::AreaNotServed)
        } else if self.sessions.iter().any(|session| session.key == key) {
            Some(Cause::MultipleAiotSessions)
        } else if self.sessions.len() >= self.config.sessions_max {
            Some(Cause::RadioResourcesNotAvailable)
        } else {
            None
        };
        let (aiotf_id, correlation) = key;
        if let Some(cause) = refusal {
            self.stats.inventories_refused += 1;
            return self.send(&FromGnb::InventoryFailure {
                aiotf_id,
                correlation,
                cause,
            });
        }
        self.send(&FromGnb::InventoryResponse {
            aiotf_id,
            correlation,
        });
        let rand_n = RandN::from_octets(request.rand_n);
        let kind = if correlation >= DOA_CORRELATION_MIN {
            self.stats.windows_opened += 1;
            SessionKind::DoaWindow
        } else {
            self.stats.inventories_opened += 1;
            self.page(now_ms, rand_n, &request, &readers)
        };
        self.sessions.push(Session::new(
            key,
            rand_n,
            now_ms,
            readers,
            request.follow_on_command,
            kind,
        ));
        self.refresh_beacons();
    }

    /// The readers of this gNB that a request names, by reader or by area; all when it names none.
    fn readers_asked(&self, request: &InventoryRequest<'_>) -> Vec<u16> {
        let own_id = self.config.ngap_id();
        let everywhere = request.areas.is_empty() && request.readers.is_empty();
        self.config
            .readers
            .iter()
            .filter(|reader| {
                let area_id = self.config.snid.area(reader.area_code);
                everywhere
                    || request.areas.contains(area_id.octets())
                    || request
                        .readers
                        .iter()
                        .any(|r| r.gnb_id == own_id && r.reader_index == reader.reader_index)
            })
            .map(|reader| reader.reader_index)
            .collect()
    }

    pub(super) fn handle_command(
        &mut self,
        now_ms: u64,
        session: SessionKey,
        device_ngap_id: u32,
        nas: Vec<u8>,
    ) {
        self.stats.commands += 1;
        self.end_contacts(now_ms);
        if !self.sessions.iter().any(|open| open.key == session) {
            return self.fail_command(session, device_ngap_id, Cause::UnknownAiotSession);
        }
        let answer_until_ms = now_ms + u64::from(self.config.answer_wait_ms);
        let placed = self
            .contacts
            .place(device_ngap_id, session, nas, answer_until_ms);
        match placed {
            Placed::Waits => {}
            Placed::Unknown => {
                self.stats.commands_unknown += 1;
                self.fail_command(session, device_ngap_id, Cause::UnknownDeviceNgapId);
            }
            Placed::TooMany => {
                self.fail_command(session, device_ngap_id, Cause::RadioResourcesNotAvailable);
            }
            Placed::Send { .. } => self.send_placed(placed),
        }
    }

    pub(super) fn handle_release(&mut self, session: SessionKey) {
        let Some(at) = self.sessions.iter().position(|open| open.key == session) else {
            return self.indicate_error(Some(Cause::UnknownAiotSession));
        };
        self.flush(at, false);
        self.sessions.remove(at);
        self.contacts.close_session(session);
        self.fail_abandoned(Cause::NormalRelease);
        let (aiotf_id, correlation) = session;
        self.send(&FromGnb::SessionReleaseComplete {
            aiotf_id,
            correlation,
        });
        self.refresh_beacons();
    }

    /// Where in `sessions` the session stands under which an uplink PDU goes up.
    pub(super) fn session_of(&self, uplink: &Uplink) -> Option<usize> {
        match uplink.access {
            Access::Paged(transaction) => self
                .sessions
                .iter()
                .position(|session| session.transaction() == Some(transaction)),
            Access::DeviceOriginated => {
                let serves = |session: &Session| {
                    session.is_window() && session.readers.contains(&uplink.reader_index)
                };
                self.sessions
                    .iter()
                    .rposition(|session| serves(session) && session.opened_ms <= uplink.spoke_ms)
                    // Spoken before the oldest window that is left: of those, it is the likeliest.
                    .or_else(|| self.sessions.iter().position(serves))
            }
        }
    }

    /// Gives up on answers whose time is over, and on contacts that have been idle for too long.
    pub(super) fn end_contacts(&mut self, now_ms: u64) {
        while let Some((device_ngap_id, session)) = self.contacts.poll_unanswered(now_ms) {
            self.stats.unanswered += 1;
            self.fail_command(session, device_ngap_id, Cause::NoAiotNasResponse);
            self.send_next_command(now_ms, device_ngap_id);
        }
        self.contacts.expire(now_ms);
        self.fail_abandoned(Cause::DeviceNotReachable);
    }

    /// Answers commands whose contact is gone: each is answered exactly once.
    pub(super) fn fail_abandoned(&mut self, cause: Cause) {
        while let Some((device_ngap_id, session)) = self.contacts.poll_abandoned() {
            self.stats.commands_abandoned += 1;
            self.fail_command(session, device_ngap_id, cause);
        }
    }

    pub(super) fn send_next_command(&mut self, now_ms: u64, device_ngap_id: u32) {
        let answer_until_ms = now_ms + u64::from(self.config.answer_wait_ms);
        if let Some(placed) = self.contacts.next_command(device_ngap_id, answer_until_ms) {
            self.send_placed(placed);
        }
    }

    fn send_placed(&mut self, placed: Placed) {
        if let Placed::Send {
            reader_index,
            radio_id,
            nas,
        } = placed
        {
            self.push_downlink(Downlink::Nas {
                reader_index,
                radio_id,
                nas,
            });
        }
    }

    /// Sends the batch of a session up, if it holds anything or the inventory is complete.
    pub(super) fn flush(&mut self, at: usize, complete: bool) {
        let Some(session) = self.sessions.get_mut(at) else {
            return;
        };
        let (aiotf_id, correlation) = session.key;
        let readers: Vec<ReaderReport<'static>> = session
            .take_batch()
            .into_iter()
            .map(|(reader_index, devices)| ReaderReport {
                reader_index,
                devices,
            })
            .collect();
        if readers.is_empty() && !complete {
            return;
        }
        self.stats.inventory_reports += 1;
        self.send(&FromGnb::InventoryReport {
            aiotf_id,
            correlation,
            gnb_id: self.config.ngap_id(),
            readers,
            complete,
        });
    }

    fn fail_command(&mut self, session: SessionKey, device_ngap_id: u32, cause: Cause) {
        let (aiotf_id, correlation) = session;
        self.send(&FromGnb::CommandFailure {
            aiotf_id,
            correlation,
            device_ngap_id,
            cause,
        });
    }
}
