//! What an AF asks for, out of the body of its request.

use ambit_adm_api::AfAuthorization;
use ambit_aiotf::service::Devices;
use ambit_sbi::aiotf::parse::devices;
use ambit_sbi::json::{Field, Fields};
use ambit_sbi::problem::Problem;
use serde_json::Value;

use super::super::area::AreaNames;
use crate::subscription::{FILTER_VALUES_MAX, Filter, Sink, TARGET_OCTETS_MAX, What};

/// The longest name of a fleet, in octets.
const FLEET_OCTETS_MAX: usize = 128;

/// A DoaSubscriptionReq.
///
/// # Errors
/// The field and the rule; 403 or 404 for an area.
pub(super) fn parse(
    areas: &AreaNames,
    granted: &AfAuthorization,
    body: &Value,
) -> Result<(Filter, Sink), Problem> {
    let fields = Fields::of(body)?;
    let sink = sink(&fields.required("sink")?)?;
    let mut filter = Filter {
        what: list(&fields, "events", What::ALL.len(), event)?,
        fleets: list(&fields, "fleets", FILTER_VALUES_MAX, |one| {
            one.short_text(FLEET_OCTETS_MAX).map(str::to_owned)
        })?,
        causes: list(&fields, "causes", 16, |one| {
            let cause = one.integer(0, 15)?;
            Ok(u8::try_from(cause).unwrap_or(u8::MAX))
        })?,
        ..Filter::default()
    };
    if let Some(field) = fields.optional("targetDevices") {
        match devices(&field)? {
            Devices::Named(ids) => filter.devices = ids,
            Devices::All | Devices::Filter(_) => {
                return Err(field.breaks("must have devices: there is no filter here"));
            }
        }
    }
    if let Some(field) = fields.optional("extTargetArea") {
        let wanted = areas.wanted(&field, granted)?;
        filter.areas = wanted.iter().map(|area| area.octets().to_vec()).collect();
    }
    Ok((filter, sink))
}

/// The state that a merge patch asks for: whether delivery is held. Nothing else can be changed.
///
/// # Errors
/// The field and the rule.
pub(super) fn is_paused(body: &Value) -> Result<bool, Problem> {
    let state = Fields::of(body)?.required("state")?;
    if let Some(other) = body
        .as_object()
        .and_then(|map| map.keys().find(|name| *name != "state"))
    {
        let rule = "cannot be changed; make another subscription and delete this one";
        let other = other.replace('~', "~0").replace('/', "~1");
        return Err(Problem::optional_incorrect(format!("/{other}"), rule));
    }
    match state.text()? {
        "ACTIVE" => Ok(false),
        "PAUSED" => Ok(true),
        _ => Err(state.breaks("must be ACTIVE or PAUSED")),
    }
}

fn list<T>(
    fields: &Fields<'_>,
    name: &str,
    most: usize,
    read: impl Fn(&Field<'_>) -> Result<T, Problem>,
) -> Result<Vec<T>, Problem> {
    match fields.optional(name) {
        Some(field) => field.array(most)?.iter().map(read).collect(),
        None => Ok(Vec::new()),
    }
}

fn event(field: &Field<'_>) -> Result<What, Problem> {
    match field.text()? {
        "DATA" => Ok(What::Data),
        "PRESENCE" => Ok(What::Presence),
        _ => Err(field.breaks("must be DATA or PRESENCE")),
    }
}

fn sink(field: &Field<'_>) -> Result<Sink, Problem> {
    let fields = field.object()?;
    let kind = fields.required("kind")?;
    match kind.text()? {
        "CALLBACK" => Ok(Sink::Callback {
            url: fields
                .required("url")?
                .short_text(TARGET_OCTETS_MAX)?
                .to_owned(),
            batch: match fields.optional("batch") {
                Some(batch) => batch.flag()?,
                None => false,
            },
        }),
        "STREAM" => match ["url", "batch"]
            .iter()
            .find_map(|name| fields.optional(name))
        {
            Some(odd) => Err(odd.breaks("is of a CALLBACK alone")),
            None => Ok(Sink::Stream),
        },
        "MQTT" | "FILE" => {
            Err(kind
                .breaks("must be CALLBACK or STREAM: files and brokers are the operator's alone"))
        }
        _ => Err(kind.breaks("must be CALLBACK or STREAM")),
    }
}
