//! How things are printed: one JSON object a line, or aligned text.

use std::io::{self, Write};
use std::time::{Duration, UNIX_EPOCH};

use ambit_protocol::{Cause, Form};
use ambit_provisioning::format_device_id;
use ambit_store::{
    AfRow, AlarmRow, CommandRow, CredentialRow, DeviceRow, EventRow, RecordRow, SubscriberRow,
};
use ambit_uicc::suci::PublicKey;
use serde_json::{Map, Value, json};

/// A device as JSON. No key, wrapped or not.
pub(crate) fn device(row: &DeviceRow) -> Value {
    json!({
        "device_id": hex::encode(&row.device_id),
        "device_name": format_device_id(&row.device_id),
        "device_type": row.device_type,
        "credential": row.credential.name(),
        "key_until": match row.credential {
            CredentialRow::Uicc { key_until_ms } => key_until_ms.map(time),
            CredentialRow::Operator | CredentialRow::UiccAiot => None,
        },
        "suite": row.suite,
        "form": row.form,
        "tag_len": row.tag_len,
        "fleet": row.fleet,
        "key_version": row.key_version,
        "disabled": row.disabled,
        "counter_last": row.counter_last,
        "created": time(row.created_ms),
    })
}

/// A subscriber with its device as JSON. No secret, wrapped or not.
pub(crate) fn subscriber(row: &DeviceRow, subscriber: &SubscriberRow) -> Value {
    let mut shown = device(row);
    if let Some(object) = shown.as_object_mut() {
        object.insert("supi".into(), subscriber.supi.clone().into());
        object.insert("algorithm".into(), subscriber.algorithm.clone().into());
        object.insert("sqn".into(), format!("{:012x}", subscriber.sqn).into());
        let registered = subscriber.registered_ms.map(time);
        object.insert("registered".into(), registered.into());
    }
    shown
}

/// A public key of the home network, with the text that `uicc personalise --suci-key` takes.
pub(crate) fn home_network_key(key_id: u8, key: &PublicKey) -> Value {
    let public_key = hex::encode(key.octets());
    json!({
        "key_id": key_id,
        "profile": match key {
            PublicKey::A(_) => "A",
            PublicKey::B(_) => "B",
        },
        "suci_key": format!("{key_id}:{public_key}"),
        "public_key": public_key,
    })
}

/// An acceptance record as JSON.
pub(crate) fn record(row: &RecordRow) -> Value {
    json!({
        "id": row.id,
        "time": time(row.time_ms),
        "device_id": hex::encode(&row.device_id),
        "device_name": format_device_id(&row.device_id),
        "epoch": row.epoch,
        "form": form(row.form),
        "area_id": hex::encode(row.area_id),
        "gnb_id": row.gnb_id,
        "reader_index": row.reader_index,
        "cause": row.cause,
        "cause_name": cause(row.cause),
        "seq": row.seq,
        "data": hex::encode(&row.data),
        "tag1": hex::encode(&row.tag1),
        "counter": row.counter,
        "repeat": row.repeat,
    })
}

/// An event as JSON.
pub(crate) fn event(row: &EventRow) -> Value {
    let mut object = Map::new();
    object.insert("time".into(), time(row.time_ms).into());
    object.insert("kind".into(), row.kind.clone().into());
    object.insert("severity".into(), row.severity.clone().into());
    object.insert("count".into(), row.count.into());
    if let Some(id) = &row.device_id {
        object.insert("device_id".into(), hex::encode(id).into());
        object.insert("device_name".into(), format_device_id(id).into());
    }
    if let Some(area) = row.area_id {
        object.insert("area_id".into(), hex::encode(area).into());
    }
    if let Some(gnb_id) = row.gnb_id {
        object.insert("gnb_id".into(), gnb_id.into());
    }
    if let Some(reader) = row.reader_index {
        object.insert("reader_index".into(), reader.into());
    }
    let detail = serde_json::from_str(&row.detail).unwrap_or_else(|_| json!({}));
    object.insert("detail".into(), detail);
    Value::Object(object)
}

/// An AF as JSON. No secret, nor what it is checked against.
pub(crate) fn af(row: &AfRow) -> Value {
    let mut shown = json!({
        "name": row.name,
        "client_id": row.client_id,
        "created": time(row.created_ms),
        "secret_since": time(row.secret_ms),
    });
    let rights = serde_json::from_str(&row.authorization).unwrap_or_default();
    if let (Some(object), Value::Object(rights)) = (shown.as_object_mut(), rights) {
        object.extend(rights);
    }
    shown
}

/// An alarm as JSON.
pub(crate) fn alarm(row: &AlarmRow) -> Value {
    let mut shown = event(&EventRow {
        id: row.id,
        time_ms: row.last_ms,
        kind: row.kind.clone(),
        severity: row.severity.clone(),
        device_id: row.device_id.clone(),
        area_id: row.area_id,
        gnb_id: row.gnb_id,
        reader_index: row.reader_index,
        count: row.count,
        detail: row.detail.clone(),
    });
    if let Some(object) = shown.as_object_mut() {
        object.insert("id".into(), row.id.into());
        object.insert("first".into(), time(row.first_ms).into());
        let acked = row.acked.as_ref();
        object.insert("acked".into(), acked.map(|(ms, _)| time(*ms)).into());
        object.insert("acked_by".into(), acked.map(|(_, by)| by.clone()).into());
    }
    shown
}

/// A kept command as JSON.
pub(crate) fn command(row: &CommandRow) -> Value {
    json!({
        "id": row.id,
        "device_id": hex::encode(&row.device_id),
        "device_name": format_device_id(&row.device_id),
        "kind": row.kind,
        "offset": row.offset,
        "length": row.length,
        "data": hex::encode(&row.data),
        "state": row.state.name(),
        "made": time(row.made_ms),
        "expires": time(row.expires_ms),
        "given": row.given_ms.map(time),
        "times_given": row.times_given,
        "ended": row.ended_ms.map(time),
        "failure": row.failure,
        "read": row.read.as_ref().map(hex::encode),
    })
}

/// The event that a new record stands for (a repeat stands for none).
pub(crate) fn record_event(row: &RecordRow) -> Value {
    json!({
        "time": time(row.time_ms),
        "kind": "report_accepted",
        "severity": "info",
        "count": 1,
        "device_id": hex::encode(&row.device_id),
        "device_name": format_device_id(&row.device_id),
        "area_id": hex::encode(row.area_id),
        "gnb_id": row.gnb_id,
        "reader_index": row.reader_index,
        "detail": {
            "record": row.id,
            "form": form(row.form),
            "cause": row.cause,
            "cause_name": cause(row.cause),
            "seq": row.seq,
        },
    })
}

/// RFC 3339 with milliseconds, UTC.
pub(crate) fn time(ms: i64) -> String {
    let since = Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    match UNIX_EPOCH.checked_add(since) {
        Some(at) => humantime::format_rfc3339_millis(at).to_string(),
        None => ms.to_string(),
    }
}

/// A time from text: RFC 3339, Unix seconds, or how long ago (`10m`, `2h`, `1day`). Unix time in ms.
pub(crate) fn parse_time(text: &str, now_ms: i64) -> Result<i64, String> {
    let ms = |d: Duration| i64::try_from(d.as_millis()).map_err(|_| "is out of range".to_owned());
    if let Some((text, offset_ms)) = split_offset(text)
        && let Ok(at) = humantime::parse_rfc3339_weak(&text)
    {
        let since = at
            .duration_since(UNIX_EPOCH)
            .map_err(|_| "must be after 1970")?;
        return Ok(ms(since)?.saturating_sub(offset_ms));
    }
    if let Ok(seconds) = text.parse::<f64>()
        && seconds.is_finite()
        && (0.0..9e15).contains(&seconds)
    {
        return Ok((seconds * 1000.0) as i64);
    }
    match humantime::parse_duration(text) {
        Ok(ago) => Ok(now_ms.saturating_sub(ms(ago)?)),
        Err(_) => Err("must be RFC 3339 (UTC unless it says otherwise), Unix seconds, or how long ago, such as 10m or 2h".into()),
    }
}

/// A date, or a date and time, without its offset, and that offset in ms (`+01:00` is ahead of UTC).
fn split_offset(text: &str) -> Option<(String, i64)> {
    if text.len() == "2026-01-31".len() {
        return Some((format!("{text}T00:00:00"), 0));
    }
    let Some((at, sign)) = text
        .char_indices()
        .skip("2026-01-31T".len())
        .find(|(_, c)| "+-".contains(*c))
    else {
        return Some((text.to_owned(), 0));
    };
    let (time, offset) = text.split_at_checked(at)?;
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let minutes = hours
        .parse::<i64>()
        .ok()?
        .checked_mul(60)?
        .checked_add(minutes.parse().ok()?)?;
    let offset_ms = minutes.checked_mul(60_000)?;
    Some((
        time.to_owned(),
        if sign == '-' { -offset_ms } else { offset_ms },
    ))
}

/// The name of a cause number.
pub(crate) fn cause(number: u8) -> &'static str {
    match Cause::from_number(number) {
        Cause::PowerOn => "power_on",
        Cause::Periodic => "periodic",
        Cause::Event => "event",
        Cause::Moved => "moved",
        Cause::DataOnly => "data_only",
        Cause::GoingSilent => "going_silent",
        Cause::Other(_) => "other",
    }
}

fn form(number: u8) -> &'static str {
    let forms = Form::ALL.into_iter().chain([Form::Aka]);
    let known = forms.into_iter().find(|form| form.number() == number);
    known.map_or("unknown", Form::name)
}

/// Prints rows: with `json` one object a line, else the named columns, each as wide as asked.
pub(crate) struct Rows<'c> {
    json: bool,
    columns: &'c [(&'static str, usize)],
    started: bool,
    out: io::BufWriter<io::Stdout>,
}

impl<'c> Rows<'c> {
    pub(crate) fn new(json: bool, columns: &'c [(&'static str, usize)]) -> Self {
        Self {
            json,
            columns,
            started: false,
            out: io::BufWriter::new(io::stdout()),
        }
    }

    /// Prints one row.
    ///
    /// # Errors
    /// What standard output returns; a closed pipe among them.
    pub(crate) fn print(&mut self, row: &Value) -> io::Result<()> {
        if self.json {
            return writeln!(self.out, "{row}");
        }
        if !self.started {
            self.started = true;
            let columns = self.columns;
            let cells = columns
                .iter()
                .map(|(name, width)| (name.to_uppercase(), *width));
            self.line(cells)?;
        }
        let columns = self.columns;
        let cells = columns
            .iter()
            .map(|(name, width)| (cell(row.get(*name)), *width));
        self.line(cells)
    }

    /// Lets what was printed be seen.
    ///
    /// # Errors
    /// What standard output returns.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Flushes.
    ///
    /// # Errors
    /// What standard output returns.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn line(&mut self, cells: impl Iterator<Item = (String, usize)>) -> io::Result<()> {
        let mut line = String::new();
        for (text, width) in cells {
            line.push_str(&text);
            let pad = width.saturating_sub(text.chars().count()).max(1);
            line.extend(std::iter::repeat_n(' ', pad + 1));
        }
        writeln!(self.out, "{}", line.trim_end())
    }
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".into(),
        Some(Value::String(text)) if text.is_empty() => "-".into(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_in_all_three_ways() {
        let now_ms = 1_800_000_000_000;
        assert_eq!(parse_time("2027-01-15T08:00:00Z", now_ms), Ok(now_ms));
        assert_eq!(parse_time(&time(now_ms), 0), Ok(now_ms));
        assert_eq!(parse_time("1800000000", 0), Ok(now_ms));
        assert_eq!(parse_time("10m", now_ms), Ok(now_ms - 600_000));
        assert_eq!(parse_time("2027-01-15T09:00:00+01:00", 0), Ok(now_ms));
        assert_eq!(parse_time("2027-01-15T00:30:00-07:30", 0), Ok(now_ms));
        assert_eq!(parse_time("2027-01-15", 0), Ok(now_ms - 8 * 3_600_000));
        assert!(parse_time("yesterday", now_ms).is_err());
        assert!(parse_time("-5", now_ms).is_err());
    }
}
