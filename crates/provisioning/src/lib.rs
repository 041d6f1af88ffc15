//! An operator's files: the device CSV (here), batches of cards to be made ([`read_batch`]) and what comes back of them, with
//! secrets under transport keys ([`read_subscribers`]).
//!
//! The device CSV: `device_id,device_type,suite,form,key,tag_len,fleet,credential`.
//!
//! One line a device, a header line first, columns in any order. `device_id` and `device_type` must be there; an empty or
//! absent `suite` is 1, `form` is `beacon` (`dt` for type 1), `tag_len` 8, `fleet` `default`, `credential` `operator`. An empty
//! `key` asks the reader of the file to generate one.

mod batch;
mod credential;
mod output;
mod table;
mod transport;

use std::collections::HashMap;
use std::fmt;
use std::io::{Read, Write};

use ambit_protocol::{DeviceForm, DeviceType, RootKey, Suite, TagLen};
use csv::{ReaderBuilder, StringRecord, Trim};
use zeroize::Zeroizing;

pub use batch::{BATCH_COLUMNS, BatchError, CardPins, CardSpec, read_batch};
pub use credential::CredentialKind;
pub use output::{
    OUTPUT_COLUMNS, SubscriberEntry, read_subscribers, write_cards, write_subscribers,
};
pub use transport::{SECRET_COLUMNS, TransportKeyError, TransportKeys};

/// The columns, in the order in which they are written.
pub const COLUMNS: [&str; 8] = [
    "device_id",
    "device_type",
    "suite",
    "form",
    "key",
    "tag_len",
    "fleet",
    "credential",
];

/// The longest permanent device ID, in octets (section 3).
pub const DEVICE_ID_OCTETS_MAX: usize = 128;

/// The longest fleet name, in octets.
pub const FLEET_OCTETS_MAX: usize = 64;

/// How many errors [`read_csv`] reports before it stops reading.
pub const ERRORS_MAX: usize = 20;

/// One device of the file.
#[derive(Debug)]
pub struct DeviceSpec {
    /// Line of the file it stands on, from 1; 0 when it comes from elsewhere.
    pub line: u64,
    /// Permanent device ID, 1 to 128 octets.
    pub device_id: Vec<u8>,
    /// Device type.
    pub device_type: DeviceType,
    /// Suite.
    pub suite: Suite,
    /// Form.
    pub form: DeviceForm,
    /// K; `None` asks for a generated one.
    pub key: Option<RootKey>,
    /// Tag length.
    pub tag_len: TagLen,
    /// Fleet name.
    pub fleet: String,
    /// Where K is. With [`CredentialKind::Uicc`] there is none yet, and `key` is `None`.
    pub credential: CredentialKind,
}

/// One error in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineError {
    /// Line in the file, from 1; 0 when there is no file.
    pub line: u64,
    /// Column name; empty when the whole line is at fault.
    pub column: String,
    /// The rule that is broken.
    pub rule: String,
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            write!(f, "{}: {}", self.column, self.rule)
        } else if self.column.is_empty() {
            write!(f, "line {}: {}", self.line, self.rule)
        } else {
            write!(
                f,
                "line {}, column {}: {}",
                self.line, self.column, self.rule
            )
        }
    }
}

/// The file was refused as a whole.
#[derive(Debug, thiserror::Error)]
#[error("{}", join(.0))]
pub struct CsvErrors(pub Vec<LineError>);

fn join(errors: &[LineError]) -> String {
    let lines: Vec<String> = errors.iter().map(LineError::to_string).collect();
    lines.join("\n")
}

/// Reads a device CSV. All or nothing.
///
/// # Errors
/// Up to [`ERRORS_MAX`] errors, each with line and column: unknown or missing columns, bad values, duplicate IDs.
pub fn read_csv(input: impl Read) -> Result<Vec<DeviceSpec>, CsvErrors> {
    let mut reader = ReaderBuilder::new().trim(Trim::All).from_reader(input);
    let columns = match reader.headers() {
        Ok(headers) => Columns::of(headers)?,
        Err(error) => return Err(CsvErrors(vec![csv_error(&error, 1)])),
    };
    let (mut devices, mut errors) = (Vec::new(), Vec::new());
    let mut seen: HashMap<Vec<u8>, u64> = HashMap::new();
    let mut record = StringRecord::new();
    while errors.len() < ERRORS_MAX {
        let line = reader.position().line();
        match reader.read_record(&mut record) {
            Ok(false) => break,
            Err(error) => errors.push(csv_error(&error, line)),
            Ok(true) => {
                let line = record.position().map_or(line, csv::Position::line);
                match columns.device(&record, line) {
                    Err((column, rule)) => errors.push(LineError {
                        line,
                        column: column.into(),
                        rule,
                    }),
                    Ok(device) => match seen.insert(device.device_id.clone(), line) {
                        None => devices.push(device),
                        Some(first) => errors.push(LineError {
                            line,
                            column: "device_id".into(),
                            rule: format!("stands on line {first} already"),
                        }),
                    },
                }
            }
        }
    }
    if errors.is_empty() {
        Ok(devices)
    } else {
        Err(CsvErrors(errors))
    }
}

/// Writes devices as a CSV that [`read_csv`] reads. Devices whose `key` is `None` get an empty key column.
///
/// # Errors
/// What the writer returns.
pub fn write_csv<'a>(
    out: impl Write,
    devices: impl IntoIterator<Item = &'a DeviceSpec>,
) -> std::io::Result<()> {
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(COLUMNS).map_err(io_error)?;
    for device in devices {
        let key = Zeroizing::new(device.key.as_ref().map(|k| hex::encode(k.expose())));
        writer
            .write_record([
                format_device_id(&device.device_id).as_str(),
                device.device_type.name(),
                &device.suite.number().to_string(),
                device.form.name(),
                key.as_deref().unwrap_or_default(),
                &device.tag_len.octets().to_string(),
                &device.fleet,
                device.credential.name(),
            ])
            .map_err(io_error)?;
    }
    writer.flush()
}

/// The error under a CSV error, with its kind: a closed pipe must stay one.
fn io_error(error: csv::Error) -> std::io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => std::io::Error::other(format!("{other:?}")),
    }
}

/// A permanent device ID from text: hexadecimal when it has an even number of hexadecimal digits and nothing else,
/// otherwise the octets of the text itself (`urn:epc:id:...` of GS1 TDS, or any name). 1 to 128 octets.
///
/// # Errors
/// The rule that is broken.
pub fn parse_device_id(text: &str) -> Result<Vec<u8>, String> {
    let octets = match hex::decode(text) {
        Ok(octets) => octets,
        Err(_)
            if text.to_ascii_lowercase().starts_with("urn:")
                && !text.starts_with("urn:epc:id:") =>
        {
            return Err("must be urn:epc:id:... when it is a URN".into());
        }
        Err(_) if text.chars().any(char::is_control) => {
            return Err("must have no control characters".into());
        }
        Err(_) => text.as_bytes().to_vec(),
    };
    if (1..=DEVICE_ID_OCTETS_MAX).contains(&octets.len()) {
        Ok(octets)
    } else {
        Err(format!("must have 1 to {DEVICE_ID_OCTETS_MAX} octets"))
    }
}

/// A permanent device ID as text that [`parse_device_id`] reads back: the text itself where it is one, else hexadecimal.
pub fn format_device_id(device_id: &[u8]) -> String {
    match std::str::from_utf8(device_id) {
        Ok(text) if parse_device_id(text).as_deref() == Ok(device_id) && text.trim() == text => {
            text.to_owned()
        }
        _ => hex::encode(device_id),
    }
}

/// Values that may stand once in a file, and where they stand.
#[derive(Default)]
struct Seen(HashMap<(&'static str, Vec<u8>), u64>);

impl Seen {
    fn check(
        &mut self,
        column: &'static str,
        value: &[u8],
        line: u64,
    ) -> Result<(), (&'static str, String)> {
        match self.0.insert((column, value.to_vec()), line) {
            None => Ok(()),
            Some(first) => Err((column, format!("stands on line {first} already"))),
        }
    }
}

/// Where each known column stands.
struct Columns([Option<usize>; COLUMNS.len()]);

impl Columns {
    fn of(headers: &StringRecord) -> Result<Self, CsvErrors> {
        let mut places = [None; COLUMNS.len()];
        let mut errors = Vec::new();
        let mut error = |column: &str, rule: String| {
            errors.push(LineError {
                line: 1,
                column: column.into(),
                rule,
            });
        };
        for (place, header) in headers.iter().enumerate() {
            let header = header.trim_start_matches('\u{feff}');
            let known = COLUMNS.iter().position(|column| *column == header);
            match known.and_then(|index| places.get_mut(index)) {
                None => error(header, format!("unknown; known are {}", COLUMNS.join(","))),
                Some(Some(_)) => error(header, "stands twice".into()),
                Some(slot) => *slot = Some(place),
            }
        }
        for (column, place) in COLUMNS.iter().zip(&places).take(2) {
            if place.is_none() {
                error(column, "missing".into());
            }
        }
        if errors.is_empty() {
            Ok(Self(places))
        } else {
            errors.truncate(ERRORS_MAX);
            Err(CsvErrors(errors))
        }
    }

    fn device(
        &self,
        record: &StringRecord,
        line: u64,
    ) -> Result<DeviceSpec, (&'static str, String)> {
        let fields = self
            .0
            .map(|place| place.and_then(|p| record.get(p)).unwrap_or_default());
        parse_device(fields, line)
    }
}

/// A device from the texts of [`COLUMNS`], which stand on a line.
///
/// # Errors
/// The column and the rule that it breaks.
pub fn parse_device(
    fields: [&str; COLUMNS.len()],
    line: u64,
) -> Result<DeviceSpec, (&'static str, String)> {
    let [id, kind, suite, form, key, tag_len, fleet, credential] = fields;
    let device_id = parse_device_id(id).map_err(|rule| ("device_id", rule))?;
    let device_type: DeviceType = kind
        .parse()
        .map_err(|_| ("device_type", "must be 1, 2a, 2b or 2c".into()))?;
    let suite = match suite {
        "" => Suite::AesCmac,
        text => text
            .parse()
            .ok()
            .and_then(Suite::from_number)
            .ok_or(("suite", "must be 1, 2 or 3".to_owned()))?,
    };
    let form = match form {
        "" if device_type == DeviceType::Type1 => DeviceForm::Dt,
        "" => DeviceForm::Beacon,
        text => text.parse().map_err(|e| ("form", rule_of(&e)))?,
    };
    device_type.check(form).map_err(|e| ("form", rule_of(&e)))?;
    let tag_len = match tag_len {
        "" => TagLen::default(),
        text => text
            .parse()
            .ok()
            .and_then(TagLen::from_octets)
            .ok_or(("tag_len", "must be 4, 8 or 16".to_owned()))?,
    };
    let fleet = match fleet {
        "" => "default",
        text => text,
    };
    if fleet.len() > FLEET_OCTETS_MAX || fleet.chars().any(char::is_control) {
        let rule = format!("must have at most {FLEET_OCTETS_MAX} octets and no control characters");
        return Err(("fleet", rule));
    }
    Ok(DeviceSpec {
        line,
        device_id,
        device_type,
        suite,
        form,
        key: parse_key(key).map_err(|rule| ("key", rule))?,
        tag_len,
        fleet: fleet.to_owned(),
        credential: parse_credential(credential).map_err(|rule| ("credential", rule))?,
    })
}

/// Subscribers bring more than this file has columns for.
fn parse_credential(text: &str) -> Result<CredentialKind, String> {
    match text {
        "" => Ok(CredentialKind::Operator),
        text => match text.parse()? {
            CredentialKind::Uicc => Err(
                "must be operator or uicc-aiot; uicc stands for a subscriber, which has a SUPI and card secrets".into(),
            ),
            kind => Ok(kind),
        },
    }
}

/// K from 32 hexadecimal digits; empty text is `None`.
///
/// # Errors
/// The rule that is broken. The text is not repeated: it may be most of a key.
pub fn parse_key(text: &str) -> Result<Option<RootKey>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let mut octets = Zeroizing::new([0; 16]);
    hex::decode_to_slice(text, &mut *octets).map_err(|_| {
        format!(
            "must be 32 hexadecimal digits, or empty ({} characters found)",
            text.len()
        )
    })?;
    Ok(Some(RootKey::new(*octets)))
}

/// The rule without the field's name, which stands in the column already.
fn rule_of(error: &ambit_protocol::profile::ProfileError) -> String {
    let text = error.to_string();
    text.split_once(": ")
        .map_or(text.clone(), |(_, rule)| rule.to_owned())
}

fn csv_error(error: &csv::Error, line: u64) -> LineError {
    let line = error.position().map_or(line, csv::Position::line);
    let rule = match error.kind() {
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => {
            format!("{len} fields, the header has {expected_len}")
        }
        csv::ErrorKind::Utf8 { .. } => "is not UTF-8".into(),
        _ => error.to_string(),
    };
    LineError {
        line,
        column: String::new(),
        rule,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "device_id,device_type,suite,form,key,tag_len,fleet,credential\n";
    const GOOD: &str = "0102,2b,1,beacon,00112233445566778899aabbccddeeff,8,cold-chain,uicc-aiot";

    fn read(lines: &str) -> Result<Vec<DeviceSpec>, Vec<String>> {
        read_csv(format!("{HEADER}{lines}").as_bytes())
            .map_err(|errors| errors.0.iter().map(LineError::to_string).collect())
    }

    #[test]
    fn a_good_line_and_its_defaults() {
        let devices = read(&format!(
            "{GOOD}\nurn:epc:id:sgtin:0614141.112345.400,2a,,,,,,\nshelf 7,1,3,,,16,,operator\n"
        ))
        .unwrap();
        assert_eq!(devices[0].device_id, [1, 2]);
        assert_eq!(devices[0].fleet, "cold-chain");
        assert_eq!(devices[0].credential, CredentialKind::UiccAiot);
        assert_eq!(devices[1].credential, CredentialKind::Operator);
        assert_eq!(devices[1].form, DeviceForm::Beacon);
        assert!(devices[1].key.is_none());
        assert_eq!(devices[2].form, DeviceForm::Dt);
        assert_eq!(devices[2].tag_len, TagLen::T16);
        let mut out = Vec::new();
        write_csv(&mut out, &devices).unwrap();
        let again = read_csv(&out[..]).unwrap();
        assert_eq!(format!("{devices:?}"), format!("{again:?}"));
    }

    /// From the good line, one field changed at a time.
    #[test]
    fn each_bad_field_is_named_with_its_rule() {
        let long = "ab".repeat(129);
        let fleet = "f".repeat(65);
        for (field, value, expected) in [
            (0, "", "line 2, column device_id: must have 1 to 128 octets"),
            (
                0,
                long.as_str(),
                "line 2, column device_id: must have 1 to 128 octets",
            ),
            (
                0,
                "urn:isbn:1",
                "line 2, column device_id: must be urn:epc:id:... when it is a URN",
            ),
            (
                1,
                "3",
                "line 2, column device_type: must be 1, 2a, 2b or 2c",
            ),
            (
                1,
                "1",
                "line 2, column form: device type 1 only answers, its form must be dt",
            ),
            (2, "4", "line 2, column suite: must be 1, 2 or 3"),
            (
                3,
                "radio",
                "line 2, column form: must be beacon, concealed, counter, blind or dt",
            ),
            (
                3,
                "recovery",
                "line 2, column form: recovery is what a counter device falls back on; its form is counter",
            ),
            (
                4,
                "00112233",
                "line 2, column key: must be 32 hexadecimal digits, or empty (8 characters found)",
            ),
            (
                4,
                "zz112233445566778899aabbccddeeff",
                "line 2, column key: must be 32 hexadecimal digits, or empty (32 characters found)",
            ),
            (5, "12", "line 2, column tag_len: must be 4, 8 or 16"),
            (
                6,
                fleet.as_str(),
                "line 2, column fleet: must have at most 64 octets and no control characters",
            ),
            (
                7,
                "card",
                "line 2, column credential: must be operator or uicc-aiot",
            ),
            (
                7,
                "uicc",
                "line 2, column credential: must be operator or uicc-aiot; uicc stands for a subscriber, which has a SUPI and card secrets",
            ),
        ] {
            let mut fields: Vec<&str> = GOOD.split(',').collect();
            fields[field] = value;
            assert_eq!(read(&fields.join(",")).unwrap_err(), [expected]);
        }
    }

    #[test]
    fn whole_file_errors() {
        let one = |text: &str| read_csv(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(
            one(""),
            "line 1, column device_id: missing\nline 1, column device_type: missing"
        );
        assert!(
            one("device_id,device_type,color\n")
                .starts_with("line 1, column color: unknown; known are")
        );
        assert_eq!(
            one("device_id,device_type,key,key\n"),
            "line 1, column key: stands twice"
        );
        assert_eq!(
            read("01,2a\n").unwrap_err(),
            ["line 2: 2 fields, the header has 8"]
        );
        assert_eq!(
            read(&format!("{GOOD}\n{GOOD}\n")).unwrap_err(),
            ["line 3, column device_id: stands on line 2 already"]
        );
        let many = "x,9,,,,,,\n".repeat(50);
        assert_eq!(read(&many).unwrap_err().len(), ERRORS_MAX);
        assert_eq!(
            read_csv(&b"device_id,device_type\n\xff\xfe,2a\n"[..])
                .unwrap_err()
                .to_string(),
            "line 2: is not UTF-8"
        );
    }

    #[test]
    fn device_ids_read_back() {
        for id in [
            &b"urn:epc:id:sgtin:1.2.3"[..],
            b"\x00\xff",
            b"tag",
            b"abcd",
            b" x",
            b"caf\xc3\xa9",
        ] {
            assert_eq!(parse_device_id(&format_device_id(id)).unwrap(), id);
        }
    }
}
