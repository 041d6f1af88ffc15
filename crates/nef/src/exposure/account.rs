//! What the ADM knows of AFs, remembered for a moment.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ambit_adm_api::AfAccount;
use ambit_sbi::adm::{SharedAdm, ask};
use ambit_sbi::problem::Problem;

/// How long what is known is good: how long a right that was taken away may still be used.
const GOOD_FOR: Duration = Duration::from_secs(1);

/// AFs remembered at most.
const KNOWN_MAX: usize = 4096;

/// Devices whose fleets are asked for in one call of the ADM.
const FLEETS_AT_ONCE: usize = 64;

pub(super) struct Accounts {
    adm: SharedAdm,
    known: Mutex<HashMap<String, (Instant, Arc<AfAccount>)>>,
}

impl Accounts {
    pub(super) fn new(adm: &SharedAdm) -> Self {
        Self {
            adm: Arc::clone(adm),
            known: Mutex::default(),
        }
    }

    /// The AF of a name, as it was a second ago at most.
    pub(super) async fn get(&self, name: &str) -> Result<Option<Arc<AfAccount>>, Problem> {
        let now = Instant::now();
        let known = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.get(name).cloned()
        };
        if let Some((at, account)) = known
            && now.duration_since(at) < GOOD_FOR
        {
            return Ok(Some(account));
        }
        let wanted = name.to_owned();
        let found = ask(&self.adm, move |adm| adm.afs(Some(&wanted))).await?;
        let found = found.map_err(|error| Problem::unavailable(error.to_string(), 1))?;
        let found = found.into_iter().next().map(Arc::new);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        match &found {
            Some(account) => known.insert(name.to_owned(), (now, Arc::clone(account))),
            None => known.remove(name),
        };
        Ok(found)
    }

    /// The AF whose client identifier and secret these are.
    pub(super) async fn authenticate(
        &self,
        client_id: String,
        secret: zeroize::Zeroizing<String>,
    ) -> Result<Option<AfAccount>, Problem> {
        let found = ask(&self.adm, move |adm| {
            adm.af_authenticate(&client_id, &secret)
        });
        let found = found.await?;
        found.map_err(|error| Problem::unavailable(error.to_string(), 1))
    }

    /// The fleets of devices, where they are known.
    pub(super) async fn fleets(&self, ids: &[&[u8]]) -> Result<HashMap<Vec<u8>, String>, Problem> {
        let mut fleets = HashMap::new();
        for some in ids.chunks(FLEETS_AT_ONCE) {
            let some: Vec<Vec<u8>> = some.iter().map(|id| id.to_vec()).collect();
            // One that is not there has no fleet, and neither has one that cannot be looked up: it is nobody's.
            let found = ask(&self.adm, move |adm| {
                let profile = |id: Vec<u8>| {
                    let fleet = adm.device_profile(&id).ok()?.fleet;
                    Some((id, fleet))
                };
                some.into_iter().filter_map(profile).collect::<Vec<_>>()
            });
            fleets.extend(found.await?);
        }
        Ok(fleets)
    }
}
