//! Requests about subscriptions. They go to the store beside the core, so that nothing of the core waits for them.

use ambit_adm::{Adm, Severity, Subject};
use ambit_aiotf::server::unix_ms;
use ambit_nef::subscription::{
    self, Asker, DeliveryKey, Filter, Rules, Sink, Subscription, SubscriptionError, Wanted,
};
use ambit_provisioning::format_device_id;
use ambit_store::DeliveryStore;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::server::AdmOwner;
use crate::delivery::with_accounts;
use crate::failure::Failure;
use crate::show;

/// Dead letters read in one piece.
const LETTERS: u32 = 512;

/// What can be asked about subscriptions.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::large_enum_variant)] // One at a time, and gone when it is carried out.
pub(crate) enum SubscriptionRequest {
    /// The answer holds its secret.
    Add {
        af: Option<String>,
        filter: Filter,
        sink: Sink,
        since_ms: Option<i64>,
    },
    List {
        af: Option<String>,
    },
    Show {
        id: String,
        with_secret: bool,
    },
    Remove {
        ids: Vec<String>,
    },
    SetPaused {
        id: String,
        is_paused: bool,
    },
    DeadLetterList {
        id: String,
    },
    /// These, or all.
    DeadLetterRetry {
        id: String,
        messages: Vec<String>,
    },
    DeadLetterDrop {
        id: String,
        messages: Vec<String>,
    },
}

impl SubscriptionRequest {
    /// Whether it needs more than a look at the store.
    pub(super) const fn changes(&self) -> bool {
        !matches!(
            self,
            Self::List { .. }
                | Self::Show {
                    with_secret: false,
                    ..
                }
                | Self::DeadLetterList { .. }
        )
    }
}

/// What is needed of an ADM, wherever it runs.
pub(super) trait AdmSide {
    /// The key that secrets come from.
    fn key(&mut self) -> Result<DeliveryKey, Failure>;

    /// Notes what an operator did.
    fn say(&mut self, kind: &'static str, detail: String);
}

/// An ADM at hand.
pub(super) struct OfAdm<'a>(pub(super) &'a mut Adm);

impl AdmSide for OfAdm<'_> {
    fn key(&mut self) -> Result<DeliveryKey, Failure> {
        Ok(DeliveryKey::new(self.0.delivery_key()?))
    }

    fn say(&mut self, kind: &'static str, detail: String) {
        let subject = Subject::default();
        self.0
            .raise(kind, Severity::Info, subject, detail, unix_ms());
    }
}

/// The ADM of a running core.
pub(super) struct OfEngine<'a, E>(pub(super) &'a E);

impl<E: AdmOwner> AdmSide for OfEngine<'_, E> {
    fn key(&mut self) -> Result<DeliveryKey, Failure> {
        let key = self.0.call(Adm::delivery_key);
        let key = key.map_err(|stopped| Failure::resource("stopped", stopped))??;
        Ok(DeliveryKey::new(key))
    }

    fn say(&mut self, kind: &'static str, detail: String) {
        let said = move |adm: &mut Adm| OfAdm(adm).say(kind, detail);
        // An engine that has ended has nobody to tell.
        let _ = self.0.call(said);
    }
}

/// A request that only reads.
pub(super) fn read(
    store: &mut dyn DeliveryStore,
    request: &SubscriptionRequest,
    row: &mut dyn FnMut(Value) -> bool,
) -> Result<(), Failure> {
    match request {
        SubscriptionRequest::List { af } => {
            let asker = af.as_deref().map_or(Asker::Operator, Asker::Af);
            for subscription in subscription::list(store, asker)? {
                let shown = shown(store, &subscription)?;
                if !row(shown) {
                    break;
                }
            }
        }
        SubscriptionRequest::Show { id, .. } => {
            let found = subscription::find(store, Asker::Operator, id)?;
            row(shown(store, &found)?);
        }
        SubscriptionRequest::DeadLetterList { id } => {
            subscription::find(store, Asker::Operator, id)?;
            letters(store, id, row)?;
        }
        _ => {}
    }
    Ok(())
}

/// Any request.
pub(super) fn change(
    store: &mut dyn DeliveryStore,
    rules: &Rules,
    adm: &mut dyn AdmSide,
    request: &SubscriptionRequest,
    row: &mut dyn FnMut(Value) -> bool,
) -> Result<(), Failure> {
    match request {
        SubscriptionRequest::Add {
            af,
            filter,
            sink,
            since_ms,
        } => {
            let key = adm.key()?;
            let wanted = Wanted {
                af: af.clone(),
                filter: filter.clone(),
                sink: sink.clone(),
                since_ms: *since_ms,
            };
            let rules = with_accounts(rules, store)?;
            let added = subscription::add(store, &rules, wanted, unix_ms())?;
            let detail =
                json!({ "subscription": added.id, "af": added.af, "sink": added.sink.name() });
            adm.say("subscription_added", detail.to_string());
            row(with_secret(store, &added, &key)?);
        }
        SubscriptionRequest::Show {
            id,
            with_secret: true,
        } => {
            let found = subscription::find(store, Asker::Operator, id)?;
            row(with_secret(store, &found, &adm.key()?)?);
        }
        SubscriptionRequest::Remove { ids } => {
            for id in ids {
                let removed = subscription::remove(store, Asker::Operator, id)?;
                let detail = json!({ "subscription": removed.id, "af": removed.af });
                adm.say("subscription_removed", detail.to_string());
                row(json!({ "id": removed.id, "removed": true }));
            }
        }
        SubscriptionRequest::SetPaused { id, is_paused } => {
            let changed = subscription::set_paused(store, Asker::Operator, id, *is_paused)?;
            row(shown(store, &changed)?);
        }
        SubscriptionRequest::DeadLetterRetry { id, messages } => {
            let number = each(store, id, messages, |store, message| {
                store.dead_letters_retry(id, message)
            })?;
            row(json!({ "id": id, "retried": number }));
        }
        SubscriptionRequest::DeadLetterDrop { id, messages } => {
            let number = each(store, id, messages, |store, message| {
                store.dead_letters_drop(id, message)
            })?;
            row(json!({ "id": id, "dropped": number }));
        }
        _ => return read(store, request, row),
    }
    Ok(())
}

/// Does something with some dead letters, or all; each that is named must be there.
fn each(
    store: &mut dyn DeliveryStore,
    id: &str,
    messages: &[String],
    act: impl Fn(&mut dyn DeliveryStore, Option<&str>) -> Result<u64, ambit_store::StoreError>,
) -> Result<u64, Failure> {
    subscription::find(store, Asker::Operator, id)?;
    if messages.is_empty() {
        return Ok(act(store, None)?);
    }
    let mut number = 0;
    for message in messages {
        match act(store, Some(message))? {
            0 => {
                let message = format!("MESSAGE: {id} has no dead letter {message}");
                return Err(Failure::input("dead_letter_unknown", message));
            }
            found => number += found,
        }
    }
    Ok(number)
}

fn letters(
    store: &mut dyn DeliveryStore,
    id: &str,
    row: &mut dyn FnMut(Value) -> bool,
) -> Result<(), Failure> {
    let mut after = String::new();
    loop {
        let letters = store.dead_letters(id, &after, LETTERS)?;
        let Some(last) = letters.last() else {
            return Ok(());
        };
        after.clone_from(&last.message);
        for letter in letters {
            let shown = json!({
                "message": letter.message,
                "time": show::time(letter.failed_ms),
                "tries": letter.tries,
                "error": letter.error,
                "retry": letter.is_retried,
            });
            if !row(shown) {
                return Ok(());
            }
        }
    }
}

/// A subscription as JSON, without its secret.
fn shown(store: &mut dyn DeliveryStore, subscription: &Subscription) -> Result<Value, Failure> {
    let filter = &subscription.filter;
    let mut behind = 0;
    for head in store.record_heads()? {
        let writer = head >> 40;
        behind += (head - subscription.position.record(writer)).max(0);
    }
    let (dead_letters, _) = store.dead_letter_count(&subscription.id)?;
    let what = ambit_nef::subscription::What::ALL
        .into_iter()
        .filter(|what| filter.wants(*what));
    let is_stream = matches!(subscription.sink, Sink::Stream);
    Ok(json!({
        "id": subscription.id,
        "af": subscription.af,
        "state": if subscription.is_paused { "paused" } else { "active" },
        "what": what.map(|what| what.name()).collect::<Vec<_>>(),
        "fleets": filter.fleets,
        "devices": filter.devices.iter().map(|id| format_device_id(id)).collect::<Vec<_>>(),
        "areas": filter.areas.iter().map(hex::encode).collect::<Vec<_>>(),
        "causes": filter.causes,
        "sink": subscription.sink,
        "created": show::time(subscription.created_ms),
        // Readers of a stream know themselves how far they are.
        "records_behind": (!is_stream).then_some(behind),
        "dead_letters": dead_letters,
    }))
}

fn with_secret(
    store: &mut dyn DeliveryStore,
    subscription: &Subscription,
    key: &DeliveryKey,
) -> Result<Value, Failure> {
    let mut row = shown(store, subscription)?;
    let secret = match subscription.sink {
        Sink::Callback { .. } => key.callback_secret(&subscription.id),
        Sink::Stream => key.stream_token(&subscription.id),
        Sink::Mqtt { .. } | Sink::File { .. } => return Ok(row),
    };
    ambit_sbi::json::set(&mut row, "secret", secret.as_str());
    Ok(row)
}

impl From<SubscriptionError> for Failure {
    fn from(error: SubscriptionError) -> Self {
        match error.is_askers() {
            true => Self::input(error.name(), error),
            false => Self::resource(error.name(), error),
        }
    }
}
