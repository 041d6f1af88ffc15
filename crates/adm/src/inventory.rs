//! Device-terminated inventories (section 8): the services of Release 19. Which device gave an answer is found by population
//! search (section 9).

use ambit_adm_api::{
    AUTH_DATA_MAX, AfAccount, AfRefusal, Answer, AuthData, AuthDataSet, AuthenticationRequest,
    AuthenticationResponse, DeviceProfile, Nadm, NadmError, Outcome, Population, RAND_D_MAX, RandD,
    Res, SessionKey,
};
use ambit_protocol::schedule::{self, Input};
use ambit_protocol::{AreaId, KAiotf, RandN};
use ambit_search::Query;
use zeroize::Zeroizing;

use crate::Adm;
use crate::events::{Severity, Subject};
use crate::provision::ProvisionError;
use crate::registry::{Device, Index};

/// PRF evaluations in one call, at most, unless one answer alone takes more: nothing else is served meanwhile.
const EVALUATIONS_PER_CALL_MAX: usize = 1 << 17;

/// The reader whose share of the search budget inventories take: that of none.
const INVENTORIES: (u32, u16) = (u32::MAX, 0);

impl Nadm for Adm {
    fn get_rand(&mut self, _: i64) -> Result<RandN, NadmError> {
        let mut octets = [0; 16];
        (self.entropy)(&mut octets).map_err(|error| NadmError::Failed(error.to_string()))?;
        Ok(RandN::from_octets(octets))
    }

    fn get_authentication(
        &mut self,
        now_ms: i64,
        request: &AuthenticationRequest<'_>,
    ) -> Result<AuthenticationResponse, NadmError> {
        if !(1..=RAND_D_MAX).contains(&request.answers.len()) {
            return Err(NadmError::Invalid {
                field: "rand_d",
                rule: "must be 1 to 1024 values",
            });
        }
        self.follow();
        let members = self.members(now_ms, request)?;
        let is_claimed = request.answers.iter().all(|answer| answer.res.is_some());
        let per_call = if is_claimed {
            EVALUATIONS_PER_CALL_MAX
        } else {
            AUTH_DATA_MAX
        };
        if !is_claimed && members.len() > AUTH_DATA_MAX {
            return Err(NadmError::Invalid {
                field: "filter",
                rule: "without RES, it must leave at most 65536 devices in question",
            });
        }
        let taken = (per_call / members.len().max(1)).max(1);
        let answers = request.answers.get(..taken).unwrap_or(request.answers);
        let cost = answers.len().saturating_mul(members.len());
        let is_search = !matches!(request.population, Population::Device(_));
        if is_search && !self.budget.take(INVENTORIES, cost, now_ms) {
            let retry_after_ms = self.budget.refill_ms(cost);
            return Err(NadmError::Busy { retry_after_ms });
        }
        let found = self.expect_answers(&members, &request.rand_n, answers);
        let sets = found
            .into_iter()
            .zip(answers)
            .enumerate()
            .filter_map(|(at, (found, answer))| self.judge(now_ms, request, at, answer, found))
            .collect();
        self.events.flush(self.store.get(), now_ms);
        Ok(AuthenticationResponse {
            taken: answers.len(),
            sets,
        })
    }

    fn get_session_key(
        &mut self,
        now_ms: i64,
        device_id: &[u8],
        rand_n: &RandN,
        rand_d: &RandD,
    ) -> Result<SessionKey, NadmError> {
        self.follow();
        let device = self.served(now_ms, device_id)?;
        let k_aiotf = evaluate(&device, &schedule::dt_k_aiotf(rand_n, rand_d))?;
        Ok(SessionKey {
            k_aiotf: KAiotf::new(*k_aiotf),
            suite: device.suite,
            tag_len: device.tag_len,
        })
    }

    fn get_tid(
        &mut self,
        now_ms: i64,
        device_id: &[u8],
        rand_n: &RandN,
    ) -> Result<[u8; 16], NadmError> {
        self.follow();
        let device = self.served(now_ms, device_id)?;
        let t_id = evaluate(&device, &schedule::dt_paging_t_id(rand_n))?;
        Ok(*t_id)
    }

    fn device_profile(&mut self, device_id: &[u8]) -> Result<DeviceProfile, NadmError> {
        self.follow();
        let index = self.index_of(device_id)?;
        let row = self.store.get().device(device_id);
        let row = row.map_err(|error| NadmError::Failed(error.to_string()))?;
        let fleet = row.map(|row| row.fleet).unwrap_or_default();
        let last_known_aiotf = self.last_aiotfs.get(&index).copied();
        let device = self.registry.get(index).ok_or(NadmError::UnknownDevice)?;
        Ok(DeviceProfile {
            device_id: device.device_id.into(),
            last_known_aiotf,
            device_type: device.device_type,
            form: device.form,
            suite: device.suite,
            tag_len: device.tag_len,
            disabled: device.disabled,
            fleet,
        })
    }

    fn note_aiotf(&mut self, device_id: &[u8], aiotf_id: [u8; 16]) -> Result<(), NadmError> {
        let index = self.index_of(device_id)?;
        self.last_aiotfs.insert(index, aiotf_id);
        Ok(())
    }

    fn afs(&mut self, name: Option<&str>) -> Result<Vec<AfAccount>, NadmError> {
        self.find_afs(name)
            .map_err(|error| NadmError::Failed(error.to_string()))
    }

    fn af_authenticate(
        &mut self,
        client_id: &str,
        secret: &str,
    ) -> Result<Option<AfAccount>, NadmError> {
        self.find_af_by_secret(client_id, secret)
            .map_err(|error| NadmError::Failed(error.to_string()))
    }

    fn note_af_refusals(&mut self, now_ms: i64, refusals: &[AfRefusal]) -> Result<(), NadmError> {
        self.note_refusals(now_ms, refusals);
        Ok(())
    }

    fn note_disabled(&mut self, now_ms: i64, device_id: &[u8]) -> Result<(), NadmError> {
        let changed = self
            .switch_off(device_id, true)
            .map_err(|error| match error {
                ProvisionError::UnknownDevice(_) => NadmError::UnknownDevice,
                other => NadmError::Failed(other.to_string()),
            })?;
        if changed {
            self.say_of_device("device_permanently_disabled", device_id, now_ms);
        }
        Ok(())
    }
}

impl Adm {
    /// The devices that may have given the answers. Without a search, one that is not served is an error.
    fn members(
        &mut self,
        now_ms: i64,
        request: &AuthenticationRequest<'_>,
    ) -> Result<Vec<Index>, NadmError> {
        let filter: &[u8] = match request.population {
            Population::Device(device_id) => {
                self.served(now_ms, device_id)?;
                return Ok(vec![self.index_of(device_id)?]);
            }
            Population::Filter(filter) => filter,
            Population::All => &[],
        };
        let is_member = |device: &Device| {
            let is_allowed = |area_id: &AreaId| self.registry.in_scope(device, area_id);
            device.device_id.starts_with(filter) && request.area_id.as_ref().is_none_or(is_allowed)
        };
        let members = self.registry.iter();
        Ok(members
            .filter(|(_, device)| is_member(device))
            .map(|(index, _)| index)
            .collect())
    }

    /// By answer: what the members would have said, or which of them said it.
    fn expect_answers(
        &self,
        members: &[Index],
        rand_n: &RandN,
        answers: &[Answer],
    ) -> Vec<Vec<(Index, Res)>> {
        let mut found = vec![Vec::new(); answers.len()];
        let mut claims = Vec::new();
        for ((answer, found), at) in answers.iter().zip(&mut found).zip(0..) {
            let input = schedule::dt_res(rand_n, &answer.rand_d);
            match answer.res {
                Some(res) => claims.push((at, res, Query::new(input, &res))),
                None => {
                    let registry = &self.registry;
                    registry.prefixes_of_members(members, &input, |index, prefix| {
                        found.push((index, prefix.to_be_bytes()));
                    });
                    found.sort_unstable();
                }
            }
        }
        let queries: Vec<Query> = claims.iter().map(|(_, _, query)| query.clone()).collect();
        let threads = self.config.search_threads_max;
        for (query, index) in self.registry.search_members(members, &queries, threads) {
            if let Some((at, res, _)) = claims.get(query)
                && let Some(found) = found.get_mut::<usize>(*at)
            {
                found.push((index, *res));
            }
        }
        found
    }

    /// Names the devices found for one answer; `None` when there is none to name.
    fn judge(
        &mut self,
        now_ms: i64,
        request: &AuthenticationRequest<'_>,
        at: usize,
        answer: &Answer,
        found: Vec<(Index, Res)>,
    ) -> Option<AuthDataSet> {
        let is_claimed = answer.res.is_some();
        let refusal = match found.as_slice() {
            [] => Some((Outcome::NoMatch, Severity::Warning, None)),
            [(index, _)] => self
                .refusal(now_ms, *index)
                .map(|outcome| (outcome, Severity::Info, Some(*index))),
            // The alarm names one of them; the other has the same key.
            [(index, _), ..] => Some((Outcome::AmbiguousMatch, Severity::Alarm, Some(*index))),
        };
        if let (true, Some((outcome, severity, index))) = (is_claimed, refusal) {
            let device = index.and_then(|index| self.registry.get(index));
            let subject = Subject {
                device_id: device.map(|device| device.device_id.into()),
                area_id: request.area_id,
                form: Some("inventory"),
                ..Subject::default()
            };
            self.events.note(outcome.name(), severity, subject, now_ms);
            return None;
        }
        let auth_data: Vec<AuthData> = found
            .into_iter()
            .filter(|(index, _)| self.refusal(now_ms, *index).is_none())
            .filter_map(|(index, xres)| {
                let device_id = self.registry.get(index)?.device_id.into();
                Some(AuthData { xres, device_id })
            })
            .collect();
        (!auth_data.is_empty()).then_some(AuthDataSet {
            at,
            rand_d: answer.rand_d,
            auth_data,
        })
    }

    fn index_of(&mut self, device_id: &[u8]) -> Result<Index, NadmError> {
        let row = self
            .store
            .get()
            .device(device_id)
            .map_err(|error| NadmError::Failed(error.to_string()))?
            .ok_or(NadmError::UnknownDevice)?;
        let (index, _) = self
            .registry
            .of_row(row.id)
            .ok_or(NadmError::UnknownDevice)?;
        Ok(index)
    }

    /// A device that the network serves.
    fn served(&mut self, now_ms: i64, device_id: &[u8]) -> Result<Device<'_>, NadmError> {
        let index = self.index_of(device_id)?;
        match self.refusal(now_ms, index) {
            Some(outcome) => Err(NadmError::Refused(outcome)),
            None => self.registry.get(index).ok_or(NadmError::UnknownDevice),
        }
    }

    /// Why a device that proved itself is not served, if it is not.
    fn refusal(&self, now_ms: i64, index: Index) -> Option<Outcome> {
        let device = self.registry.get(index)?;
        let policy = self
            .config
            .allows(device.device_type, device.form, device.credential);
        if device.disabled {
            Some(Outcome::DeviceDisabled)
        } else if policy.is_err() {
            Some(Outcome::PolicyRefused)
        } else if now_ms >= device.key_until_ms {
            Some(Outcome::KeyExpired)
        } else {
            None
        }
    }
}

fn evaluate(device: &Device<'_>, input: &Input) -> Result<Zeroizing<[u8; 16]>, NadmError> {
    let octets = device.evaluate(input).map(Zeroizing::new);
    // A UICC device that has not registered yet.
    octets.ok_or(NadmError::Refused(Outcome::KeyExpired))
}
