//! Answers to pages: gathered from INVENTORY REPORTs, taken to the ADM, which finds out whose they are.

use ambit_adm_api::{AdmClient, Answer, AuthData, AuthenticationRequest, NadmError, Population};
use ambit_ngap::ReaderReport;
use ambit_protocol::AreaId;
use ambit_protocol::wire::InventoryResponse;
use subtle::ConstantTimeEq;

use super::{Aiotf, ConnectionId};
use crate::service::{DevicePlace, Devices, Operation, TransactionId};
use crate::terminated::{Heard, SESSIONS_MAX, Transaction, Waiting};

/// Answers that are taken to the ADM together, at most.
const SEARCH_ANSWERS_MAX: usize = 256;

/// How long to wait for command sessions to come to their end before more devices are searched for.
const SESSIONS_WAIT_MS: i64 = 50;

/// How long to wait for an ADM that fails.
const ADM_WAIT_MS: i64 = 1000;

impl<A: AdmClient> Aiotf<A> {
    /// Answers in an INVENTORY REPORT.
    pub(super) fn gather_answers(
        &mut self,
        id: TransactionId,
        connection: ConnectionId,
        correlation: u16,
        gnb_id: u32,
        reader: &ReaderReport<'_>,
    ) {
        let reader_index = reader.reader_index;
        let area_id = self.config.area(gnb_id, reader_index);
        for device in &reader.devices {
            let answer = InventoryResponse::parse(&device.nas);
            let Some(transaction) = self.terminated.transactions.get_mut(&id) else {
                return;
            };
            let areas = &transaction.request.areas;
            let is_asked = |area_id: &AreaId| areas.is_empty() || areas.contains(area_id);
            let name = match (answer, area_id.filter(is_asked)) {
                (Err(_), _) => {
                    transaction.progress.dropped += 1;
                    "inventory_answer_malformed"
                }
                (_, None) => {
                    transaction.progress.dropped += 1;
                    "inventory_answer_elsewhere"
                }
                (Ok(InventoryResponse { rand_d, res }), Some(area_id)) => {
                    let res = Some(res);
                    let heard = transaction.hear(Waiting {
                        answer: Answer { rand_d, res },
                        connection,
                        correlation,
                        device_ngap_id: device.device_ngap_id,
                        place: DevicePlace {
                            area_id,
                            gnb_id,
                            reader_index,
                        },
                    });
                    match heard {
                        Heard::New => "inventory_answer",
                        Heard::Repeated => "inventory_answer_repeated",
                        Heard::TooMany => "inventory_answer_dropped",
                    }
                }
            };
            self.count(name);
        }
    }

    /// Takes some of the answers that wait to the ADM.
    pub(super) fn search(&mut self, transaction: &mut Transaction, now_ms: i64) {
        let room = SESSIONS_MAX.saturating_sub(self.terminated.session_count(transaction.id));
        let Some(page) = &mut transaction.page else {
            return;
        };
        let is_command = transaction.request.operation != Operation::Inventory;
        if is_command && room == 0 {
            page.search_at_ms = Some(now_ms.saturating_add(SESSIONS_WAIT_MS));
            return;
        }
        let Some(area_id) = page.answers.front().map(|waiting| waiting.place.area_id) else {
            return;
        };
        let limit = if is_command { room } else { usize::MAX };
        let batch: Vec<Waiting> = page
            .answers
            .iter()
            .take_while(|waiting| waiting.place.area_id == area_id)
            .take(SEARCH_ANSWERS_MAX.min(limit))
            .copied()
            .collect();
        let answers: Vec<Answer> = batch.iter().map(|waiting| waiting.answer).collect();
        let population = match (&page.device, &transaction.request.devices) {
            (Some(id), _) => Population::Device(id),
            (None, Devices::Filter(filter)) => Population::Filter(filter),
            (None, _) => Population::All,
        };
        let asked = self.adm.get_authentication(
            now_ms,
            &AuthenticationRequest {
                population,
                rand_n: page.rand_n,
                area_id: Some(area_id),
                answers: &answers,
            },
        );
        let response = match asked {
            Ok(response) => response,
            Err(NadmError::Busy { retry_after_ms }) => {
                let wait_ms = i64::from(retry_after_ms.max(1));
                page.search_at_ms = Some(now_ms.saturating_add(wait_ms));
                return self.count("search_budget_exhausted");
            }
            Err(NadmError::Failed(_)) => {
                page.search_at_ms = Some(now_ms.saturating_add(ADM_WAIT_MS));
                return self.count("adm_failed");
            }
            Err(error) => {
                // Disabled or removed since the page went out: its answers count for nothing.
                page.answers.drain(..batch.len());
                transaction.progress.unverified += batch.len() as u64;
                return self.count(error.name());
            }
        };
        // An ADM that says it has looked at none would be asked for ever.
        let taken = response.taken.clamp(1, batch.len());
        page.answers.drain(..taken);
        let rand_n = page.rand_n;
        let mut sets = response.sets;
        for (at, waiting) in batch.into_iter().enumerate().take(taken) {
            let set = sets.iter_mut().find(|set| set.at == at);
            let data = set.map(|set| std::mem::take(&mut set.auth_data));
            match matching(data.unwrap_or_default(), &waiting.answer) {
                Some(data) => self.found(transaction, &rand_n, &waiting, data.device_id, now_ms),
                None => {
                    transaction.progress.unverified += 1;
                    self.count("inventory_answer_unverified");
                }
            }
        }
    }
}

/// The one device whose XRES is the RES that was given.
fn matching(data: Vec<AuthData>, answer: &Answer) -> Option<AuthData> {
    let res = answer.res?;
    let mut equal = data.into_iter().filter(|data| data.xres.ct_eq(&res).into());
    let first = equal.next()?;
    equal.next().is_none().then_some(first)
}
