//! Subscriptions of AFs where the store is: what a NEF in this process asks, or one elsewhere over the SBI.

use std::sync::{Arc, Mutex, PoisonError};

use ambit_adm::{Adm, Severity, Subject};
use ambit_aiotf::server::unix_ms;
use ambit_nef::delivery::{OpenStore, StreamError};
use ambit_nef::subscription::service::{
    self, Ask, Begin, Opening, Refused, SubscriptionAccess, Told,
};
use ambit_nef::subscription::{DeliveryKey, Rules};
use ambit_sbi::exchange::Flow;
use serde_json::json;

use crate::admin::AdmOwner;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::delivery::{StreamSlot, with_accounts};
use crate::failure::Failure;

/// The subscriptions beside an ADM, in its store.
pub(crate) fn beside<E: AdmOwner>(
    config: &Config,
    dir: &DataDir,
    engine: E,
    streams: &StreamSlot,
) -> Result<Arc<dyn SubscriptionAccess>, Failure> {
    let key = engine.call(Adm::delivery_key);
    let key = key.map_err(|stopped| Failure::resource("stopped", stopped))??;
    Ok(Arc::new(Beside {
        open: dir.deliveries(),
        rules: config.subscription_rules()?,
        key: DeliveryKey::new(key),
        engine: Mutex::new(engine),
        streams: Arc::clone(streams),
    }))
}

struct Beside<E> {
    open: OpenStore,
    rules: Rules,
    key: DeliveryKey,
    engine: Mutex<E>,
    streams: StreamSlot,
}

impl<E> std::fmt::Debug for Beside<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Beside(..)")
    }
}

impl<E: AdmOwner> Beside<E> {
    /// Puts on record what an AF did.
    fn say(&self, kind: &'static str, detail: String) {
        let engine = {
            let engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
            engine.clone()
        };
        // An engine that has ended has nobody to tell.
        let _ = engine.call(move |adm| {
            let subject = Subject::default();
            adm.raise(kind, Severity::Info, subject, detail, unix_ms());
        });
    }
}

impl<E: AdmOwner> SubscriptionAccess for Beside<E> {
    fn ask(&self, af: &str, ask: Ask) -> Result<Told, Refused> {
        let mut store = (self.open)()?;
        let rules = with_accounts(&self.rules, store.as_mut());
        let rules = rules.map_err(|_| Refused::Unavailable)?;
        let removed = match &ask {
            Ask::Remove { id } => Some(id.clone()),
            _ => None,
        };
        let told = service::answer(store.as_mut(), &rules, &self.key, af, ask, unix_ms())?;
        if let Told::Added { subscription, .. } = &told {
            let detail = json!({
                "subscription": subscription.id,
                "af": af,
                "sink": subscription.sink.name(),
            });
            self.say("subscription_added", detail.to_string());
        }
        if let Some(id) = removed {
            let detail = json!({ "subscription": id, "af": af });
            self.say("subscription_removed", detail.to_string());
        }
        Ok(told)
    }

    fn follow(&self, af: String, id: String, begin: Begin) -> Opening {
        let streams = self.streams.get().cloned();
        Box::pin(async move {
            let streams = streams.ok_or(StreamError::Unavailable)?;
            let last = begin.last_event_id.as_deref();
            let stream = streams.open_for(&af, &id, last, begin.now).await?;
            Ok(Flow(stream.pieces(())))
        })
    }
}
