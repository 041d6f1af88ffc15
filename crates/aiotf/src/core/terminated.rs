//! Device-terminated inventories: requests, pages at gNBs, results. What becomes of answers stands in `answers`, what is done
//! with a device that was found in `commands`.

use ambit_adm_api::{AdmClient, NadmError};
use ambit_ngap::{Cause, DeviceBits, FromGnb, GnbId, InventoryRequest, Target, ToGnb};
use ambit_protocol::RandN;
use ambit_protocol::wire::INVENTORY_RESPONSE_OCTETS;

use super::{Aiotf, ConnectionId};
use crate::gnb::Connection;
use crate::service::{
    DeviceFailure, DeviceResult, Devices, FailureCause, Notification, Operation, Progress,
    RequestError, ServiceRequest, TransactionId,
};
use crate::terminated::{Leg, LegState, NAMED_MS, Paging, TRANSACTIONS_MAX, Transaction};

impl<A: AdmClient> Aiotf<A> {
    /// Takes a request: its results come out of [`Aiotf::poll_notification`], the last one marked. A gNB has one page out at a
    /// time, so a request may wait for others.
    ///
    /// # Errors
    /// [`RequestError`]; nothing was done, and nothing will be notified.
    pub fn request(
        &mut self,
        request: ServiceRequest,
        now_ms: i64,
    ) -> Result<TransactionId, RequestError> {
        request.check()?;
        if request
            .areas
            .iter()
            .any(|area| area.snid() != self.config.snid)
        {
            return Err(RequestError::Invalid {
                field: "area",
                rule: "must be one of this network",
            });
        }
        if let Devices::Named(ids) = &request.devices {
            for (at, id) in ids.iter().enumerate() {
                match self.adm.device_profile(id) {
                    Ok(_) => {}
                    Err(NadmError::UnknownDevice) => {
                        return Err(RequestError::UnknownDevice { at });
                    }
                    Err(error) => return Err(RequestError::Adm(error.to_string())),
                }
            }
        }
        if self.gnbs_asked(&request).is_empty() {
            return Err(RequestError::AreaNotServed);
        }
        if self.terminated.transactions.len() >= TRANSACTIONS_MAX {
            return Err(RequestError::TooMany);
        }
        let id = self.terminated.add(request, now_ms);
        self.drive(now_ms);
        Ok(id)
    }

    /// Ends a request early. What it has found so far is notified, with the last mark.
    pub fn cancel(&mut self, id: TransactionId, now_ms: i64) {
        if let Some(transaction) = self.terminated.transactions.get_mut(&id) {
            transaction.until_ms = now_ms;
            self.drive(now_ms);
        }
    }

    /// The next thing that a requester is to be told. To be called until `None` after each input and each flush.
    pub fn poll_notification(&mut self) -> Option<Notification> {
        self.terminated.notifications.pop_front()
    }

    /// How far a request has come; `None` when it is over.
    pub fn progress(&self, id: TransactionId) -> Option<Progress> {
        self.terminated
            .transactions
            .get(&id)
            .map(Transaction::progress)
    }

    /// Requests that are not over yet.
    pub fn requests_open(&self) -> usize {
        self.terminated.transactions.len()
    }

    /// Takes every request as far as it goes now.
    pub(super) fn drive(&mut self, now_ms: i64) {
        self.expire_sessions(now_ms);
        let ids: Vec<TransactionId> = self.terminated.transactions.keys().copied().collect();
        for id in ids {
            // Out of the table while it is worked on.
            let Some(mut transaction) = self.terminated.transactions.remove(&id) else {
                continue;
            };
            if self.advance(&mut transaction, now_ms) {
                self.finish(transaction, now_ms);
            } else {
                let notifications = &mut self.terminated.notifications;
                notifications.extend(transaction.notify(now_ms, false));
                self.terminated.transactions.insert(id, transaction);
            }
        }
    }

    /// One request; true when it is over.
    fn advance(&mut self, transaction: &mut Transaction, now_ms: i64) -> bool {
        if now_ms >= transaction.until_ms {
            return true;
        }
        if let Some(page) = &mut transaction.page {
            page.expire(now_ms);
            if page.search_at_ms.is_none() && !page.answers.is_empty() {
                self.search(transaction, now_ms);
            }
            let Some(page) = &transaction.page else {
                return false;
            };
            let is_found = page
                .device
                .as_ref()
                .is_some_and(|id| transaction.found.contains(id.as_slice()));
            let is_over = page.answers.is_empty() && !page.has_open_legs();
            if !(is_found || is_over) || self.terminated.session_count(transaction.id) > 0 {
                return false;
            }
            self.close_page(transaction);
        }
        loop {
            let device = match &transaction.request.devices {
                Devices::Named(ids) => match ids.get(transaction.next_target) {
                    Some(id) => Some(id.clone()),
                    None => return true,
                },
                Devices::All | Devices::Filter(_) if transaction.next_target > 0 => return true,
                Devices::All | Devices::Filter(_) => None,
            };
            let gnbs = self.gnbs_asked(&transaction.request);
            if gnbs.is_empty() {
                return true;
            }
            let is_busy =
                |(connection, _): &(ConnectionId, _)| self.terminated.is_busy(*connection);
            if gnbs.iter().any(is_busy) {
                return false;
            }
            transaction.next_target += 1;
            match self.open_page(transaction, device.as_deref(), gnbs, now_ms) {
                Ok(()) => return false,
                Err(error) => {
                    self.count(error.name());
                    if let Some(device_id) = device {
                        transaction.report(DeviceResult {
                            device_id: device_id.into(),
                            place: None,
                            data: None,
                            failure: Some(DeviceFailure::NotServed),
                        });
                    }
                }
            }
        }
    }

    /// The connected gNBs that serve an area of the request, each with these areas.
    fn gnbs_asked(&self, request: &ServiceRequest) -> Vec<(ConnectionId, Vec<[u8; 12]>)> {
        let is_asked = |area: &[u8; 12]| {
            request.areas.is_empty() || request.areas.iter().any(|a| a.octets() == area)
        };
        let ready = self
            .connections
            .iter()
            .filter_map(|(id, state)| match state {
                Connection::Ready(gnb) => Some((*id, gnb.id.id)),
                Connection::AwaitingSetup => None,
            });
        ready
            .map(|(connection, gnb_id)| {
                let mut areas = self.config.areas(gnb_id);
                areas.retain(is_asked);
                (connection, areas)
            })
            .filter(|(_, areas)| !areas.is_empty())
            .collect()
    }

    /// Draws a RAND_n and pages at every gNB.
    fn open_page(
        &mut self,
        transaction: &mut Transaction,
        device: Option<&[u8]>,
        gnbs: Vec<(ConnectionId, Vec<[u8; 12]>)>,
        now_ms: i64,
    ) -> Result<(), NadmError> {
        let rand_n = self.adm.get_rand(now_ms)?;
        let request = &transaction.request;
        let target = self.target(request, device, &rand_n, now_ms)?;
        let until_ms = match device {
            Some(_) => transaction.until_ms.min(now_ms.saturating_add(NAMED_MS)),
            None => transaction.until_ms,
        };
        let follow_on_command = request.operation != Operation::Inventory;
        let (expected, interval_s) = (request.expected, request.interval_s);
        let mut page = Paging::new(rand_n, device.map(<[u8]>::to_vec), until_ms);
        for (connection, areas) in gnbs {
            let Some(Connection::Ready(gnb)) = self.connections.get_mut(&connection) else {
                continue;
            };
            let correlation = gnb.terminated_correlation();
            page.legs.push(Leg {
                connection,
                correlation,
                state: LegState::Open,
            });
            let message = ToGnb::InventoryRequest(InventoryRequest {
                aiotf_id: self.config.aiotf_id,
                correlation,
                target: target.clone(),
                areas,
                readers: Vec::new(),
                expected_d2r_octets: INVENTORY_RESPONSE_OCTETS as u16,
                approximate_devices: device.map_or(expected, |_| Some(1)),
                time_interval: interval_s,
                follow_on_command,
                rand_n: *rand_n.octets(),
            });
            self.count("inventory_requested");
            self.send(connection, &message);
        }
        transaction.page = Some(page);
        Ok(())
    }

    fn target(
        &mut self,
        request: &ServiceRequest,
        device: Option<&[u8]>,
        rand_n: &RandN,
        now_ms: i64,
    ) -> Result<Target<'static>, NadmError> {
        let invalid = NadmError::Invalid {
            field: "device",
            rule: "must have 1 to 128 octets",
        };
        let bits = |octets: Vec<u8>| DeviceBits::from_octets(octets).ok_or(invalid);
        Ok(match (device, &request.devices) {
            (Some(id), _) => {
                // Also asks whether it is served at all.
                let t_id = self.adm.get_tid(now_ms, id, rand_n)?;
                let name = if request.is_concealed {
                    t_id.to_vec()
                } else {
                    id.to_vec()
                };
                Target::Single(bits(name)?)
            }
            (None, Devices::Filter(filter)) => Target::Group(bits(filter.clone())?),
            (None, _) => Target::AllDevices,
        })
    }

    /// Releases a page's sessions at the gNBs.
    fn close_page(&mut self, transaction: &mut Transaction) {
        let Some(page) = transaction.page.take() else {
            return;
        };
        transaction.progress.dropped += page.answers.len() as u64;
        for leg in page.legs {
            if leg.state != LegState::Lost {
                let release = ToGnb::SessionReleaseCommand {
                    aiotf_id: self.config.aiotf_id,
                    correlation: leg.correlation,
                    cause: Cause::NormalRelease,
                };
                self.send(leg.connection, &release);
            }
        }
    }

    /// Ends a request and says so.
    fn finish(&mut self, mut transaction: Transaction, now_ms: i64) {
        self.end_sessions(&mut transaction);
        self.close_page(&mut transaction);
        loop {
            let Some(mut last) = transaction.notify(now_ms, true) else {
                return;
            };
            let is_last = last.is_last;
            // Only when no device at all was to be named: AIoTNotif has either devices or a cause.
            if is_last && last.devices.is_empty() && last.progress.devices == 0 {
                last.failure = Some(if last.progress.answers > 0 {
                    FailureCause::AuthenticationFailure
                } else {
                    FailureCause::NoSuccessfulInventoryResponse
                });
            }
            self.terminated.notifications.push_back(last);
            if is_last {
                return;
            }
        }
    }

    /// A message of a session with a correlation identifier below 0x8000.
    pub(super) fn handle_terminated(
        &mut self,
        connection: ConnectionId,
        gnb: GnbId,
        message: FromGnb<'_>,
        now_ms: i64,
    ) {
        let Some((_, correlation)) = message.session() else {
            return;
        };
        if let FromGnb::SessionReleaseComplete { .. } = message {
            return self.count("inventory_closed");
        }
        let Some(id) = self.terminated.of(connection, correlation) else {
            // Released since, or never opened.
            return self.count("n2_unknown_correlation");
        };
        match message {
            FromGnb::InventoryResponse { .. } => self.count("inventory_opened"),
            FromGnb::InventoryReport { gnb_id, .. } if gnb_id != gnb => self.count("n2_other_gnb"),
            FromGnb::InventoryReport {
                readers, complete, ..
            } => {
                for reader in readers {
                    self.gather_answers(id, connection, correlation, gnb.id, &reader);
                }
                if complete {
                    self.set_leg(id, connection, correlation, LegState::Complete);
                }
            }
            FromGnb::InventoryFailure { .. } => {
                self.count("inventory_refused");
                self.set_leg(id, connection, correlation, LegState::Lost);
            }
            FromGnb::SessionReleaseRequest { cause, .. } => {
                self.count("inventory_released_by_gnb");
                self.lose_sessions(connection, Some(correlation));
                if self.set_leg(id, connection, correlation, LegState::Lost) {
                    let release = ToGnb::SessionReleaseCommand {
                        aiotf_id: self.config.aiotf_id,
                        correlation,
                        cause,
                    };
                    self.send(connection, &release);
                }
            }
            FromGnb::CommandResponse {
                device_ngap_id,
                nas,
                ..
            } => {
                let peer = (connection, device_ngap_id);
                if !self.command_response(peer, correlation, &nas, now_ms) {
                    self.count("n2_unexpected_command_response");
                }
            }
            FromGnb::CommandFailure {
                device_ngap_id,
                cause,
                ..
            } => {
                let peer = (connection, device_ngap_id);
                if !self.command_failure(peer, correlation, cause, now_ms) {
                    self.count("exchange_ended");
                }
            }
            FromGnb::SessionReleaseComplete { .. }
            | FromGnb::NgSetupRequest { .. }
            | FromGnb::ErrorIndication { .. } => {}
        }
    }

    /// A connection is gone, and with it what its gNB had under way.
    pub(super) fn lose_pages(&mut self, connection: ConnectionId) {
        self.lose_sessions(connection, None);
        for transaction in self.terminated.transactions.values_mut() {
            transaction.lose(connection);
        }
    }

    fn set_leg(
        &mut self,
        id: TransactionId,
        connection: ConnectionId,
        correlation: u16,
        state: LegState,
    ) -> bool {
        let transaction = self.terminated.transactions.get_mut(&id);
        transaction.is_some_and(|t| t.set_leg(connection, correlation, state))
    }
}
