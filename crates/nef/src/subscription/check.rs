//! What is checked before a subscription is made.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use ambit_sbi::client::is_host;
use ambit_store::{DeliveryStore, StoreError};
use hyper::Uri;

use super::guard::{Guard, GuardError, bare};
use super::{
    Devices, Entitlement, Entitlements, FILTER_VALUES_MAX, Filter, Sink, TARGET_OCTETS_MAX, Wanted,
};

/// What subscriptions are checked against.
#[derive(Clone)]
pub struct Rules {
    /// What AFs may receive.
    pub entitlements: Arc<dyn Entitlements>,
    /// How many subscriptions an AF may have, unless its entitlement says otherwise.
    pub per_af_max: u32,
    /// How many the operator may have.
    pub operator_max: u32,
    /// Where messages may go.
    pub guard: Guard,
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rules").finish_non_exhaustive()
    }
}

/// Why a subscription was not made, found or changed.
#[derive(Debug, thiserror::Error)]
pub enum SubscriptionError {
    /// A field breaks its rule.
    #[error("{field}: {rule}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// The rule.
        rule: String,
    },
    /// A device or fleet that is not there.
    #[error("{field}: there is no {value}")]
    NotThere {
        /// The field.
        field: &'static str,
        /// What was asked for.
        value: String,
    },
    /// No such AF, or one that may receive nothing.
    #[error("af: {af} is no AF that may receive anything")]
    AfUnknown {
        /// The AF.
        af: String,
    },
    /// The AF may not receive this.
    #[error("{field}: the AF may not receive {value}")]
    NotEntitled {
        /// The field.
        field: &'static str,
        /// What was asked for.
        value: String,
    },
    /// As many as may be are there.
    #[error("there are {quota} subscriptions, as many as may be: remove one first")]
    Quota {
        /// How many may be.
        quota: u32,
    },
    /// The sink's address may not be used.
    #[error("sink: {0}")]
    Address(#[from] GuardError),
    /// No such subscription, or another's.
    #[error("id: there is no subscription {id}")]
    Unknown {
        /// The name asked for.
        id: String,
    },
    /// The store holds something else than what was written.
    #[error("subscription {id}: the store does not hold what was written")]
    Damaged {
        /// The subscription.
        id: String,
    },
    /// The system gave no random octets.
    #[error("the system gives no random octets")]
    Random,
    /// The store failed.
    #[error("store: {0}")]
    Store(#[from] StoreError),
}

impl SubscriptionError {
    /// The stable name of the error.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "subscription_invalid",
            Self::NotThere {
                field: "filter.devices",
                ..
            } => "device_unknown",
            Self::NotThere { .. } => "fleet_unknown",
            Self::AfUnknown { .. } => "af_unknown",
            Self::NotEntitled { .. } => "not_entitled",
            Self::Quota { .. } => "subscription_quota",
            Self::Address(error) => error.name(),
            Self::Unknown { .. } => "subscription_unknown",
            Self::Damaged { .. } => "subscription_damaged",
            Self::Random => "entropy_failed",
            Self::Store(error) => error.name(),
        }
    }

    /// Whether whoever asked is to blame, and not what is needed to serve him.
    #[must_use]
    pub const fn is_askers(&self) -> bool {
        !matches!(self, Self::Damaged { .. } | Self::Random | Self::Store(_))
    }
}

fn invalid(field: &'static str, rule: impl Into<String>) -> SubscriptionError {
    SubscriptionError::Invalid {
        field,
        rule: rule.into(),
    }
}

/// Checks all, and says how many subscriptions its owner may have.
pub(super) fn check(
    store: &mut dyn DeliveryStore,
    rules: &Rules,
    wanted: &Wanted,
) -> Result<u32, SubscriptionError> {
    filter(&wanted.filter)?;
    sink(&wanted.sink, &rules.guard, wanted.af.is_some())?;
    let entitlement = match &wanted.af {
        None => None,
        Some(af) => match rules.entitlements.entitlement(af) {
            Some(entitlement) => Some(entitlement),
            None => return Err(SubscriptionError::AfUnknown { af: af.clone() }),
        },
    };
    known(store, &wanted.filter, entitlement.as_ref())?;
    let quota = match &entitlement {
        None => rules.operator_max,
        Some(of_af) => of_af.subscriptions_max.unwrap_or(rules.per_af_max),
    };
    if let Some(entitlement) = &entitlement {
        entitled(&wanted.filter, entitlement)?;
    }
    // Last, as it may wait: a name that has no address now may have one later.
    if let Some((host, port)) = target(&wanted.sink) {
        match rules.guard.resolve(&host, port) {
            Err(refused @ GuardError::Refused { .. }) => return Err(refused.into()),
            Ok(_) | Err(GuardError::Unresolved { .. }) => {}
        }
    }
    Ok(quota)
}

/// The lengths and forms of what is wanted.
fn filter(filter: &Filter) -> Result<(), SubscriptionError> {
    let too_many = format!("must have {FILTER_VALUES_MAX} values at most");
    let lists = [
        ("filter.fleets", filter.fleets.len()),
        ("filter.devices", filter.devices.len()),
        ("filter.areas", filter.areas.len()),
        ("filter.causes", filter.causes.len()),
        ("filter.what", filter.what.len()),
    ];
    if let Some((field, _)) = lists.iter().find(|(_, len)| *len > FILTER_VALUES_MAX) {
        return Err(invalid(field, too_many));
    }
    if filter.devices.iter().any(|id| !matches!(id.len(), 1..=128)) {
        return Err(invalid("filter.devices", "an ID must have 1 to 128 octets"));
    }
    if filter.areas.iter().any(|area| area.len() != 12) {
        return Err(invalid("filter.areas", "an AreaID must have 12 octets"));
    }
    if filter.causes.iter().any(|cause| *cause > 15) {
        return Err(invalid("filter.causes", "a cause must be 0 to 15"));
    }
    let kinds: BTreeSet<_> = filter.what.iter().collect();
    if kinds.len() != filter.what.len() {
        return Err(invalid("filter.what", "a kind must stand once"));
    }
    Ok(())
}

/// The form of the sink, and what only the operator may have.
fn sink(sink: &Sink, guard: &Guard, is_afs: bool) -> Result<(), SubscriptionError> {
    let (field, text) = match sink {
        Sink::Callback { url, .. } => ("sink.url", url.as_str()),
        Sink::Mqtt { url, .. } => ("sink.url", url.as_str()),
        Sink::Stream => return Ok(()),
        Sink::File { path } => ("sink.path", path.to_str().unwrap_or_default()),
    };
    if text.is_empty() || text.len() > TARGET_OCTETS_MAX || text.contains(char::is_control) {
        let rule = format!("must have 1 to {TARGET_OCTETS_MAX} octets of text");
        return Err(invalid(field, rule));
    }
    match sink {
        Sink::Callback { .. } => url(text, "https", "http", guard),
        Sink::Mqtt {
            topic,
            username,
            password_file,
            ..
        } => {
            url(text, "mqtts", "mqtt", guard)?;
            self::topic(topic)?;
            if username.as_ref().is_some_and(|name| name.len() > 256) {
                return Err(invalid("sink.username", "must have 256 octets at most"));
            }
            match password_file {
                None => Ok(()),
                Some(_) if is_afs => Err(invalid(
                    "sink.password_file",
                    "a file of the core is for the operator's own subscriptions",
                )),
                Some(path) => absolute("sink.password_file", path),
            }
        }
        Sink::File { .. } if is_afs => Err(invalid(
            "sink.kind",
            "a file of the core is for the operator's own subscriptions",
        )),
        Sink::File { path } => absolute(field, path),
        Sink::Stream => Ok(()),
    }
}

fn absolute(field: &'static str, path: &Path) -> Result<(), SubscriptionError> {
    match path.is_absolute() && path.file_name().is_some() {
        true => Ok(()),
        false => Err(invalid(field, "must be an absolute path of a file")),
    }
}

fn url(text: &str, tls: &str, clear: &str, guard: &Guard) -> Result<(), SubscriptionError> {
    const FIELD: &str = "sink.url";
    let uri: Uri = text
        .parse()
        .map_err(|_| invalid(FIELD, "must be a URL without spaces"))?;
    let Some(authority) = uri.authority().filter(|at| is_host(at.host())) else {
        return Err(invalid(FIELD, format!("must be {tls}://HOST[:PORT]...")));
    };
    if authority.as_str().contains('@') {
        return Err(invalid(FIELD, "must hold no user name and no password"));
    }
    if text.contains('#') {
        return Err(invalid(FIELD, "must have no fragment"));
    }
    match uri.scheme_str() {
        Some(scheme) if scheme == tls => Ok(()),
        Some(scheme) if scheme == clear && guard.allow_clear => Ok(()),
        Some(scheme) if scheme == clear => Err(invalid(
            FIELD,
            format!("must begin with {tls}://; allow {clear}:// with delivery.allow_clear"),
        )),
        _ => Err(invalid(FIELD, format!("must begin with {tls}://"))),
    }
}

/// What a topic may have replaced.
pub(crate) const TOPIC_FIELDS: [&str; 4] = ["{device}", "{fleet}", "{area}", "{what}"];

fn topic(topic: &str) -> Result<(), SubscriptionError> {
    const FIELD: &str = "sink.topic";
    if topic.is_empty() || topic.len() > 256 {
        return Err(invalid(FIELD, "must have 1 to 256 octets"));
    }
    if topic.contains(['+', '#', '\0']) || topic.starts_with('$') {
        return Err(invalid(
            FIELD,
            "must be a topic to publish to: no +, no #, no $ in front",
        ));
    }
    let rest = TOPIC_FIELDS
        .iter()
        .fold(topic.to_owned(), |rest, field| rest.replace(field, ""));
    match rest.contains(['{', '}']) {
        false => Ok(()),
        true => Err(invalid(
            FIELD,
            format!(
                "braces must stand for one of {}, written as here",
                TOPIC_FIELDS.join(" ")
            ),
        )),
    }
}

/// Host and port that messages are sent to.
pub(crate) fn target(sink: &Sink) -> Option<(String, u16)> {
    let (url, tls) = match sink {
        Sink::Callback { url, .. } => (url, [("https", 443), ("http", 80)]),
        Sink::Mqtt { url, .. } => (url, [("mqtts", 8883), ("mqtt", 1883)]),
        Sink::Stream | Sink::File { .. } => return None,
    };
    let uri: Uri = url.parse().ok()?;
    let default = tls
        .iter()
        .find(|(scheme, _)| uri.scheme_str() == Some(scheme))?;
    let port = uri.port_u16().unwrap_or(default.1);
    Some((bare(uri.host()?).to_owned(), port))
}

/// That devices and fleets are there. To an AF, one that it may not receive is as one that is not there.
fn known(
    store: &mut dyn DeliveryStore,
    filter: &Filter,
    entitlement: Option<&Entitlement>,
) -> Result<(), SubscriptionError> {
    for id in &filter.devices {
        let device = store.device(id)?;
        let may = |fleet: &str| entitlement.is_none_or(|of_af| of_af.has_device(id, fleet));
        if !device.is_some_and(|device| may(&device.fleet)) {
            return Err(SubscriptionError::NotThere {
                field: "filter.devices",
                value: format!("device {}", hex::encode(id)),
            });
        }
    }
    for fleet in &filter.fleets {
        let is_short = matches!(fleet.len(), 1..=128);
        let may = entitlement.is_none_or(|of_af| of_af.has_fleet(fleet));
        if !is_short || !may || !store.fleet_is_known(fleet)? {
            let shown: String = fleet.chars().take(128).collect();
            return Err(SubscriptionError::NotThere {
                field: "filter.fleets",
                value: format!("fleet {shown:?}"),
            });
        }
    }
    Ok(())
}

/// That nothing is named which the AF may not receive. What it does not name is cut to what it may, later.
fn entitled(filter: &Filter, entitlement: &Entitlement) -> Result<(), SubscriptionError> {
    let refuse = |field, value: String| Err(SubscriptionError::NotEntitled { field, value });
    let area = |area: &&Vec<u8>| !has_area(entitlement, area);
    if let Some(area) = filter.areas.iter().find(area) {
        return refuse("filter.areas", format!("area {}", hex::encode(area)));
    }
    let cause = |cause: &&u8| !entitlement.causes.has(*cause);
    if let Some(cause) = filter.causes.iter().find(cause) {
        return refuse("filter.causes", format!("cause {cause}"));
    }
    let what = |what: &&super::What| !entitlement.what.has(*what);
    if let Some(what) = filter.what.iter().find(what) {
        return refuse("filter.what", what.name().to_owned());
    }
    match &entitlement.devices {
        Devices::Of {
            fleets,
            devices,
            prefixes,
        } if fleets.is_empty() && devices.is_empty() && prefixes.is_empty() => {
            refuse("af", "anything of any device".to_owned())
        }
        _ => Ok(()),
    }
}

fn has_area(entitlement: &Entitlement, area: &[u8]) -> bool {
    <&[u8; 12]>::try_from(area).is_ok_and(|area| entitlement.areas.has(area))
}
