//! DO-A windows at gNBs: opened with each epoch, asked for again when refused, and, behind an AMF, asked after.

use ambit_adm_api::{AdmClient, Beacons};
use ambit_ngap::{Cause, InventoryRequest, Target, ToGnb};
use ambit_protocol::RandN;
use ambit_protocol::wire::REPORT_OCTETS_MAX;

use super::{ADM_RETRY_MS, Aiotf, ConnectionId};
use crate::gnb::{Connection, Connectivity, Opened, Refused, of_epoch};

impl<A: AdmClient> Aiotf<A> {
    /// Asks the ADM for the beacons in force and opens a window wherever the current one has none.
    pub(super) fn roll(&mut self, now_ms: i64) {
        let is_current = |beacons: &Beacons| now_ms < beacons.current_until_ms;
        if !self.beacons.as_ref().is_some_and(is_current) {
            match self.adm.beacons(now_ms) {
                Ok(mut beacons) => {
                    // Whatever the ADM says, it is not asked again in the same breath.
                    let soon_ms = now_ms.saturating_add(ADM_RETRY_MS);
                    beacons.current_until_ms = beacons.current_until_ms.max(soon_ms);
                    self.beacons = Some(beacons);
                    self.adm_error = None;
                }
                Err(error) => {
                    self.count(error.name());
                    self.adm_error = Some(error.to_string());
                    self.beacons = None;
                    self.next_tick_ms = now_ms.saturating_add(ADM_RETRY_MS);
                }
            }
        }
        let Some(beacons) = self.beacons else {
            return;
        };
        let check_ms = i64::from(self.config.window_check_s) * 1000;
        let next_check_ms = (check_ms > 0).then(|| now_ms.saturating_add(check_ms));
        let release_at_ms = beacons.previous.map_or(now_ms, |(_, until_ms)| until_ms);
        let (mut requests, mut left_over) = (Vec::new(), Vec::new());
        for (connection, state) in &mut self.connections {
            let Connection::Ready(gnb) = state else {
                continue;
            };
            let is_indirect = gnb.connectivity == Connectivity::Indirect;
            if let Some(correlation) = gnb.window_of(&beacons.current) {
                // It was an older window that the gNB refused or gave up.
                gnb.retry_at_ms = None;
                if gnb.check_at_ms.is_some_and(|at| now_ms >= at) {
                    gnb.check_at_ms = next_check_ms;
                    requests.push((*connection, correlation, "window_asked_after"));
                }
            } else if gnb.retry_at_ms.is_none_or(|at| now_ms >= at) {
                if self.config.areas(gnb.id.id).is_empty() {
                    // A request that names no area would mean all of them.
                    (gnb.retry_at_ms, gnb.check_at_ms) = (None, None);
                    continue;
                }
                let is_first = gnb.window_count() == 0;
                let correlation = gnb.open(beacons.current, release_at_ms);
                if is_indirect {
                    gnb.check_at_ms = next_check_ms;
                    // An AIOTF before this one may have left the window of the epoch before.
                    let before = of_epoch(beacons.current.epoch().wrapping_sub(1));
                    left_over.extend(is_first.then_some((*connection, before)));
                }
                requests.push((*connection, correlation, "window_requested"));
            } else {
                gnb.check_at_ms = None;
            }
        }
        for (connection, correlation) in left_over {
            self.release(connection, correlation, Cause::NormalRelease);
        }
        for (connection, correlation, name) in requests {
            self.count(name);
            self.request_window(connection, correlation, beacons.current);
        }
    }

    fn request_window(&mut self, connection: ConnectionId, correlation: u16, rand_n: RandN) {
        let Some(Connection::Ready(gnb)) = self.connections.get(&connection) else {
            return;
        };
        let request = ToGnb::InventoryRequest(InventoryRequest {
            aiotf_id: self.config.aiotf_id,
            correlation,
            target: Target::AllDevices,
            areas: self.config.areas(gnb.id.id),
            readers: Vec::new(),
            expected_d2r_octets: REPORT_OCTETS_MAX as u16,
            approximate_devices: None,
            time_interval: None,
            follow_on_command: true,
            rand_n: *rand_n.octets(),
        });
        self.send(connection, &request);
    }

    /// What an INVENTORY RESPONSE means for all else at the gNB.
    pub(super) fn window_opened(&mut self, connection: ConnectionId, opened: Opened) {
        self.count(match opened {
            Opened::New => "window_opened",
            Opened::Anew => "window_opened_anew",
            Opened::Unknown => "n2_unknown_correlation",
        });
        if opened == Opened::Anew {
            // With this session the gNB has lost all others.
            self.exchanges.forget(connection);
            self.lose_pages(connection);
        }
    }

    /// What an INVENTORY FAILURE means for a window.
    pub(super) fn window_refused(
        &mut self,
        connection: ConnectionId,
        correlation: u16,
        refused: Refused,
    ) {
        self.count(match refused {
            Refused::New => "window_refused",
            Refused::StillOpen => "window_still_open",
            Refused::LeftOver(_) => "window_left_over",
            Refused::Unknown => "n2_unknown_correlation",
        });
        if let Refused::LeftOver(rand_n) = refused {
            self.release(connection, correlation, Cause::NormalRelease);
            self.request_window(connection, correlation, rand_n);
        }
    }

    pub(super) fn release(&mut self, connection: ConnectionId, correlation: u16, cause: Cause) {
        let release = ToGnb::SessionReleaseCommand {
            aiotf_id: self.config.aiotf_id,
            correlation,
            cause,
        };
        self.send(connection, &release);
    }
}
