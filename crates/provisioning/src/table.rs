//! A CSV with a header line, read row by row: columns by name, in any order and case, and errors that name line and column.

use std::io::Read;

use csv::{ReaderBuilder, StringRecord, Trim};

use crate::{CsvErrors, ERRORS_MAX, LineError, csv_error};

/// What is wrong with a row: column, rule.
pub(crate) type FieldError = (&'static str, String);

/// A row.
pub(crate) struct Row<'a> {
    /// Line in the file, from 1.
    pub(crate) line: u64,
    columns: &'static [&'static str],
    places: &'a [Option<usize>],
    record: &'a StringRecord,
}

impl<'a> Row<'a> {
    /// The text in a column, empty where the file has no such column.
    pub(crate) fn get(&self, column: &str) -> &'a str {
        let known = self.columns.iter().position(|known| *known == column);
        known
            .and_then(|index| *self.places.get(index)?)
            .and_then(|place| self.record.get(place))
            .unwrap_or_default()
    }
}

/// Whether columns that are not known are errors.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unknown {
    Refused,
    Ignored,
}

/// Reads all rows, all or none. `required` are columns that must be there.
pub(crate) fn read<T>(
    input: impl Read,
    columns: &'static [&'static str],
    required: &[&str],
    unknown: Unknown,
    mut row: impl FnMut(&Row<'_>) -> Result<T, FieldError>,
) -> Result<Vec<T>, CsvErrors> {
    let mut reader = ReaderBuilder::new().trim(Trim::All).from_reader(input);
    let headers = reader.headers();
    let headers = headers.map_err(|error| CsvErrors(vec![csv_error(&error, 1)]))?;
    let places = places(headers, columns, required, unknown)?;
    let (mut rows, mut errors) = (Vec::new(), Vec::new());
    let mut record = StringRecord::new();
    while errors.len() < ERRORS_MAX {
        let line = reader.position().line();
        match reader.read_record(&mut record) {
            Ok(false) => break,
            Err(error) => errors.push(csv_error(&error, line)),
            Ok(true) => {
                let line = record.position().map_or(line, csv::Position::line);
                let view = Row {
                    line,
                    columns,
                    places: &places,
                    record: &record,
                };
                match row(&view) {
                    Ok(value) => rows.push(value),
                    Err((column, rule)) => errors.push(LineError {
                        line,
                        column: column.into(),
                        rule,
                    }),
                }
            }
        }
    }
    if errors.is_empty() {
        Ok(rows)
    } else {
        Err(CsvErrors(errors))
    }
}

fn places(
    headers: &StringRecord,
    columns: &'static [&'static str],
    required: &[&str],
    unknown: Unknown,
) -> Result<Vec<Option<usize>>, CsvErrors> {
    let mut places = vec![None; columns.len()];
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
        let known = columns
            .iter()
            .position(|column| column.eq_ignore_ascii_case(header));
        match known.and_then(|index| places.get_mut(index)) {
            None if unknown == Unknown::Ignored => {}
            None => error(header, format!("unknown; known are {}", columns.join(","))),
            Some(Some(_)) => error(header, "stands twice".into()),
            Some(slot) => *slot = Some(place),
        }
    }
    for (column, place) in columns.iter().zip(&places) {
        if place.is_none() && required.contains(column) {
            error(column, "missing".into());
        }
    }
    if errors.is_empty() {
        Ok(places)
    } else {
        errors.truncate(ERRORS_MAX);
        Err(CsvErrors(errors))
    }
}
