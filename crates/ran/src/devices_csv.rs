//! The device CSV: one line a device, `device_id,device_type,suite,form,key,tag_len,fleet`, columns in any order.
//!
//! | column | values | when left out or empty |
//! | --- | --- | --- |
//! | `device_id` | an even number of hex digits, or text such as `urn:epc:id:...` | an error |
//! | `device_type` | `1`, `2a`, `2b`, `2c` | `2a` |
//! | `suite` | `1`, `2`, `3` (section 2) | `1` |
//! | `form` | `beacon`, `concealed`, `counter`, `blind`, `dt`; type 1 only `dt` | `beacon`; `dt` for type 1 |
//! | `key` | 32 hex digits | an error: an emulated device needs its K |
//! | `tag_len` | `4`, `8`, `16` | `8` |
//! | `fleet` | any text | `default` |

use std::collections::HashMap;
use std::io::Read;

use ambit_device::{DeviceForm, DeviceType, Profile};
use ambit_protocol::{RootKey, Snid, Suite, TagLen};

use crate::fleet::DeviceSpec;
use crate::frame::SiteReader;

/// The columns, as the header names them.
pub const COLUMNS: [&str; 7] = [
    "device_id",
    "device_type",
    "suite",
    "form",
    "key",
    "tag_len",
    "fleet",
];

/// The longest permanent device ID, in octets (section 3).
pub const DEVICE_ID_OCTETS_MAX: usize = 128;

/// One device of the CSV.
#[derive(Debug)]
pub struct DeviceRow {
    /// The line it stands on, from 1.
    pub line: u64,
    /// The permanent device ID, 1 to 128 octets.
    pub device_id: Vec<u8>,
    /// The device type.
    pub device_type: DeviceType,
    /// The suite.
    pub suite: Suite,
    /// The form its reports take.
    pub form: DeviceForm,
    /// K.
    pub key: RootKey,
    /// The tag length.
    pub tag_len: TagLen,
    /// The fleet it belongs to.
    pub fleet: String,
}

impl DeviceRow {
    /// The device at a reader of a network, powered at time 0, with neither anchor nor schedule. Its line and fleet are
    /// dropped; whatever else a run wants of it is set in the result.
    pub fn into_spec(self, snid: Snid, reader: SiteReader) -> DeviceSpec {
        let mut profile = Profile::new(self.device_type, self.form, snid);
        profile.tag_len = self.tag_len;
        DeviceSpec {
            device_id: self.device_id,
            key: self.key,
            suite: self.suite,
            profile,
            anchor: None,
            counter: 0,
            reader,
            schedule: None,
            power_cycles: None,
            power_on_ms: Some(0),
        }
    }
}

/// What is wrong with a device CSV.
#[derive(Debug, thiserror::Error)]
pub enum DevicesCsvError {
    /// The header names a column that does not exist.
    #[error(
        "line 1, column `{column}`: unknown; the columns are device_id, device_type, suite, form, key, tag_len, fleet"
    )]
    UnknownColumn {
        /// The column.
        column: String,
    },
    /// The header names a column twice.
    #[error("line 1, column `{column}`: named twice")]
    ColumnTwice {
        /// The column.
        column: &'static str,
    },
    /// The header lacks a column that has no default.
    #[error("line 1: no column `{column}`")]
    MissingColumn {
        /// The column.
        column: &'static str,
    },
    /// A field that does not follow its rule. The value is not repeated: it may be a key.
    #[error("line {line}, column `{column}`: {rule}")]
    Field {
        /// The line, from 1.
        line: u64,
        /// The column.
        column: &'static str,
        /// What the field must be.
        rule: &'static str,
    },
    /// A device ID that an earlier line has.
    #[error("line {line}, column `device_id`: the same device stands on line {first_line}")]
    DeviceTwice {
        /// The line, from 1.
        line: u64,
        /// The line of the first.
        first_line: u64,
    },
    /// It is not CSV, or cannot be read.
    #[error("line {line}: {source}")]
    Csv {
        /// The line, from 1; 0 when unknown.
        line: u64,
        /// What the CSV reader says.
        source: csv::Error,
    },
}

/// Reads a whole device CSV.
///
/// # Errors
/// The first [`DevicesCsvError`]; nothing is returned then.
pub fn read_devices(input: impl Read) -> Result<Vec<DeviceRow>, DevicesCsvError> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(input);
    let columns = Columns::of(reader.headers().map_err(csv_error)?)?;
    let mut rows: Vec<DeviceRow> = Vec::new();
    let mut seen = HashMap::new();
    for record in reader.records() {
        let record = record.map_err(csv_error)?;
        let row = row(&columns, &record)?;
        if let Some(first_line) = seen.insert(row.device_id.clone(), row.line) {
            return Err(DevicesCsvError::DeviceTwice {
                line: row.line,
                first_line,
            });
        }
        rows.push(row);
    }
    Ok(rows)
}

/// A permanent device ID from text: its octets when it is an even number of hex digits, else its UTF-8 octets.
///
/// # Errors
/// The rule it breaks: 1 to 128 octets.
pub fn parse_device_id(text: &str) -> Result<Vec<u8>, &'static str> {
    let octets = hex_octets(text).unwrap_or_else(|| text.as_bytes().to_vec());
    if (1..=DEVICE_ID_OCTETS_MAX).contains(&octets.len()) {
        Ok(octets)
    } else {
        Err("must be 1 to 128 octets")
    }
}

/// Where each column of [`COLUMNS`] stands in a record.
struct Columns([Option<usize>; COLUMNS.len()]);

impl Columns {
    fn of(header: &csv::StringRecord) -> Result<Self, DevicesCsvError> {
        let mut places = [None; COLUMNS.len()];
        for (at, name) in header.iter().enumerate() {
            // A spreadsheet may put a byte order mark in front of the first name.
            let name = name.trim_start_matches('\u{feff}');
            let known = COLUMNS.iter().zip(&mut places).find(|(c, _)| **c == name);
            match known {
                None => {
                    let column = name.to_owned();
                    return Err(DevicesCsvError::UnknownColumn { column });
                }
                Some((column, Some(_))) => return Err(DevicesCsvError::ColumnTwice { column }),
                Some((_, place)) => *place = Some(at),
            }
        }
        for column in ["device_id", "key"] {
            if !COLUMNS
                .iter()
                .zip(&places)
                .any(|(c, place)| *c == column && place.is_some())
            {
                return Err(DevicesCsvError::MissingColumn { column });
            }
        }
        Ok(Self(places))
    }

    /// The fields in the order of [`COLUMNS`]; an absent column is an empty field.
    fn fields<'r>(&self, record: &'r csv::StringRecord) -> [&'r str; COLUMNS.len()] {
        self.0
            .map(|place| place.and_then(|at| record.get(at)).unwrap_or_default())
    }
}

fn row(columns: &Columns, record: &csv::StringRecord) -> Result<DeviceRow, DevicesCsvError> {
    let line = record.position().map_or(0, csv::Position::line);
    let wrong = |column, rule| DevicesCsvError::Field { line, column, rule };
    let [device_id, device_type, suite, form, key, tag_len, fleet] = columns.fields(record);
    let device_id = parse_device_id(device_id).map_err(|rule| wrong("device_id", rule))?;
    let device_type = parse_device_type(device_type)
        .ok_or_else(|| wrong("device_type", "must be 1, 2a, 2b or 2c"))?;
    let form = parse_form(form, device_type)
        .ok_or_else(|| wrong("form", "must be beacon, concealed, counter, blind or dt"))?;
    if form != DeviceForm::Dt && !device_type.is_do_a_capable() {
        return Err(wrong(
            "form",
            "must be dt for device type 1, which only answers",
        ));
    }
    Ok(DeviceRow {
        line,
        device_id,
        device_type,
        suite: parse_suite(suite).ok_or_else(|| wrong("suite", "must be 1, 2 or 3"))?,
        form,
        key: parse_key(key).ok_or_else(|| wrong("key", "must be 32 hex digits"))?,
        tag_len: parse_tag_len(tag_len).ok_or_else(|| wrong("tag_len", "must be 4, 8 or 16"))?,
        fleet: match fleet {
            "" => "default".to_owned(),
            name => name.to_owned(),
        },
    })
}

fn parse_device_type(text: &str) -> Option<DeviceType> {
    Some(match text {
        "1" => DeviceType::Type1,
        "" | "2a" => DeviceType::Type2a,
        "2b" => DeviceType::Type2b,
        "2c" => DeviceType::Type2c,
        _ => return None,
    })
}

fn parse_suite(text: &str) -> Option<Suite> {
    match text {
        "" => Some(Suite::AesCmac),
        number => Suite::from_number(number.parse().ok()?),
    }
}

fn parse_form(text: &str, device_type: DeviceType) -> Option<DeviceForm> {
    Some(match text {
        "" if device_type.is_do_a_capable() => DeviceForm::Beacon,
        "" => DeviceForm::Dt,
        "beacon" => DeviceForm::Beacon,
        "concealed" => DeviceForm::Concealed,
        "counter" => DeviceForm::Counter,
        "blind" => DeviceForm::Blind,
        "dt" => DeviceForm::Dt,
        _ => return None,
    })
}

fn parse_key(text: &str) -> Option<RootKey> {
    let octets: [u8; 16] = hex_octets(text)?.try_into().ok()?;
    Some(RootKey::new(octets))
}

fn parse_tag_len(text: &str) -> Option<TagLen> {
    match text {
        "" => Some(TagLen::default()),
        octets => TagLen::from_octets(octets.parse().ok()?),
    }
}

/// `None` unless `text` is an even number of hex digits.
fn hex_octets(text: &str) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
        return None;
    };
    let digit = |c: u8| {
        char::from(c)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    pairs
        .iter()
        .map(|[high, low]| Some((digit(*high)? << 4) | digit(*low)?))
        .collect()
}

fn csv_error(source: csv::Error) -> DevicesCsvError {
    let line = source.position().map_or(0, csv::Position::line);
    DevicesCsvError::Csv { line, source }
}
