//! UICC registration (section 7): messages between N2 and the ADM.

use ambit_adm_api::{AdmClient, DoaReport, RegistrationStep, Verdict};
use ambit_protocol::Form;
use ambit_protocol::wire::AUTHENTICATION_RESPONSE_OCTETS_MAX;

use super::{Aiotf, ConnectionId};
use crate::registrations::{Peer, Place};
use crate::service::DevicePlace;

impl<A: AdmClient> Aiotf<A> {
    /// A REGISTRATION REQUEST came in an INVENTORY REPORT.
    pub(super) fn register(&mut self, peer: Peer, place: Place, nas: &[u8], now_ms: i64) {
        // In the order of the records.
        self.settle();
        self.adm.tell_items(self.accepted.is_wanted);
        let step = self.adm.register(now_ms, &report(&place, nas));
        self.take_step(peer, place, step, now_ms);
    }

    /// A COMMAND RESPONSE: the answer to a challenge, as no other command is answered yet.
    pub(super) fn respond(
        &mut self,
        connection: ConnectionId,
        device_ngap_id: u32,
        nas: &[u8],
        now_ms: i64,
    ) {
        let peer = (connection, device_ngap_id);
        let Some(exchange) = self.exchanges.get(peer, now_ms) else {
            return self.count("n2_unexpected_command_response");
        };
        let report = report(&exchange.place, nas);
        self.settle();
        self.adm.tell_items(self.accepted.is_wanted);
        let step = self.adm.respond(now_ms, &exchange.challenge, &report);
        self.take_step(peer, exchange.place, step, now_ms);
    }

    fn take_step(&mut self, peer: Peer, place: Place, step: RegistrationStep, now_ms: i64) {
        self.reports.count(step.outcome(), Some(Form::Aka));
        match step {
            RegistrationStep::Challenge { nas, id } => {
                self.exchanges.open(peer, id, place, now_ms);
                // At most 116 octets.
                let octets = AUTHENTICATION_RESPONSE_OCTETS_MAX as u16;
                self.command(peer, place.correlation, &nas, octets);
            }
            RegistrationStep::Done(Verdict::Accept {
                nas,
                follow_on,
                item,
                ..
            }) => {
                let at = DevicePlace {
                    area_id: place.area_id,
                    gnb_id: place.gnb_id,
                    reader_index: place.reader_index,
                };
                self.note_accepted(item, at, now_ms);
                self.send_accept(peer, (place.correlation, at), &nas, follow_on, now_ms);
            }
            RegistrationStep::Done(Verdict::Silence(_)) => {}
        }
    }
}

fn report<'a>(place: &Place, nas: &'a [u8]) -> DoaReport<'a> {
    DoaReport {
        nas,
        rand_n: place.rand_n,
        area_id: place.area_id,
        gnb_id: place.gnb_id,
        reader_index: place.reader_index,
    }
}
