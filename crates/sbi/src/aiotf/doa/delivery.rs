//! One subscriber is told: one notification after the other, each until it is taken.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::header::HeaderValue;
use serde_json::{Value, json};

use super::super::callback::{Told, post};
use super::{Doa, Subscription, lock};
use crate::clock::unix_ms;
use crate::json::set;

/// How long to wait at most before looking at the clock again, which may be set.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// What is next for a subscriber.
enum Next {
    /// This notification, of so many reports.
    Notify(Value, u64),
    /// Nothing until something comes, or for so long.
    Wait(Duration),
    /// The subscription has expired.
    Expired,
}

/// Tells a subscriber until its subscription ends. It is aborted with the subscription.
pub(super) async fn run(doa: Arc<Doa>, subscription: Arc<Subscription>) {
    let mut refusals = 0;
    loop {
        let ended = match subscription.next(doa.limits.reports_max) {
            Next::Wait(wait) => {
                let _ = tokio::time::timeout(wait, subscription.wake.notified()).await;
                continue;
            }
            Next::Expired => Some("doa_subscription_expired"),
            Next::Notify(body, reports) => match deliver(&doa, &subscription, &body).await {
                Told::Taken => {
                    refusals = 0;
                    doa.counts.add("doa_reported", reports);
                    None
                }
                Told::Refused => {
                    refusals += 1;
                    doa.counts.add("callback_refused", 1);
                    (refusals >= doa.limits.refusals_max).then_some("doa_subscription_dropped")
                }
                Told::Unknown | Told::Later(_) => Some("doa_subscription_dropped"),
            },
        };
        if let Some(name) = ended {
            return doa.end(&subscription.id, name);
        }
    }
}

/// Tries one notification until it is taken or refused, or the subscriber has stayed away for too long.
async fn deliver(doa: &Doa, subscription: &Subscription, body: &Value) -> Told {
    let limits = &doa.limits;
    let (started, mut pause) = (Instant::now(), limits.pause);
    loop {
        let (uri, expiry_ms) = {
            let state = lock(&subscription.state);
            (state.terms.notif_uri.clone(), state.terms.expiry_ms)
        };
        let correlation: Option<&HeaderValue> = subscription.correlation.as_ref();
        let told = post(&doa.client, &uri, body, correlation).await;
        let Told::Later(wanted) = told else {
            return told;
        };
        doa.counts.add("callback_retried", 1);
        let is_over = started.elapsed() >= limits.give_up || unix_ms() >= expiry_ms;
        if is_over {
            return told;
        }
        tokio::time::sleep(wanted.unwrap_or_default().max(pause)).await;
        pause = (pause * 2).min(limits.pause_max);
    }
}

impl Subscription {
    fn next(&self, reports_max: usize) -> Next {
        let mut state = lock(&self.state);
        let left_ms = state.terms.expiry_ms.saturating_sub(unix_ms());
        if left_ms <= 0 {
            return Next::Expired;
        }
        if state.waiting.is_empty() && state.lost == 0 {
            let left = Duration::from_millis(u64::try_from(left_ms).unwrap_or(0));
            return Next::Wait(left.min(LOOK_EVERY));
        }
        let count = state.waiting.len().min(reports_max);
        let reports: Vec<_> = state.waiting.drain(..count).collect();
        state.number += 1;
        let reports: Vec<Value> = reports
            .iter()
            .map(|report| state.terms.report_json(report))
            .collect();
        let mut body = json!({
            "subscriptionId": self.id,
            "notifNumber": state.number,
            "reports": reports,
        });
        if let Some(id) = &state.terms.notif_corr_id {
            set(&mut body, "notifCorrId", id.as_str());
        }
        if state.lost > 0 {
            set(&mut body, "lost", std::mem::take(&mut state.lost));
        }
        Next::Notify(body, count as u64)
    }
}
