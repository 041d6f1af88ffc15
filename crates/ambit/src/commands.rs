//! The subcommands, one file each.

pub(crate) mod af;
pub(crate) mod alarm;
pub(crate) mod bench;
pub(crate) mod chf;
pub(crate) mod command;
pub(crate) mod demo;
pub(crate) mod device;
pub(crate) mod event;
pub(crate) mod evidence;
pub(crate) mod home_network_key;
pub(crate) mod inventory;
pub(crate) mod lab;
pub(crate) mod pki;
pub(crate) mod presence;
pub(crate) mod ran;
pub(crate) mod record;
pub(crate) mod serve;
pub(crate) mod status;
pub(crate) mod subscriber;
pub(crate) mod subscription;
pub(crate) mod uicc;
pub(crate) mod vectors;
pub(crate) mod watch;

use std::fs::File;
use std::io::{self, Read, stdin};
use std::path::Path;

use indicatif::{ProgressBar, ProgressDrawTarget};
use serde_json::Value;

use crate::Place;
use crate::admin::{self, Request};
use crate::failure::Failure;
use crate::show::Rows;

/// Printing fails when the reader of a pipe has seen enough: that ends a command quietly and well.
pub(crate) fn printed(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::io("standard output", &error))
        }
        _ => Ok(()),
    }
}

/// Asks for a list and prints it row by row, until the reader has seen enough.
fn print_rows(
    place: &Place,
    request: &Request,
    json: bool,
    columns: &'static [(&'static str, usize)],
) -> Result<(), Failure> {
    let mut rows = Rows::new(json, columns);
    let mut result = Ok(());
    admin::run(place, request, &mut |row| {
        result = rows.print(&row);
        result.is_ok()
    })?;
    printed(result.and_then(|()| rows.finish()))
}

/// Asks for one row and prints it.
fn one(place: &Place, request: &Request, json: bool) -> Result<(), Failure> {
    let mut shown = Value::Null;
    admin::run(place, request, &mut |row| {
        shown = row;
        true
    })?;
    print_one(&shown, json)
}

fn print_one(row: &Value, json: bool) -> Result<(), Failure> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    if json {
        return printed(writeln!(out, "{row}"));
    }
    let names = row.as_object().into_iter().flatten();
    let width = names.clone().map(|(name, _)| name.len()).max();
    let width = width.unwrap_or(0).max(12);
    for (name, value) in names {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Null => "-".into(),
            other => other.to_string(),
        };
        printed(writeln!(out, "{name:<width$} {text}"))?;
    }
    Ok(())
}

/// A file as text; - is standard input.
fn read(path: &Path) -> Result<String, Failure> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::InvalidData => {
            Failure::input("not_utf8", format!("{}: is not UTF-8", path.display()))
        }
        _ => Failure::io(path.display(), &error),
    };
    let mut text = String::new();
    if path == Path::new("-") {
        stdin().read_to_string(&mut text).map_err(failed)?;
    } else {
        File::open(path)
            .and_then(|mut file| file.read_to_string(&mut text))
            .map_err(failed)?;
    }
    Ok(text)
}

/// A spinner on a terminal; nothing elsewhere.
fn spinner(message: String) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.set_message(message);
    bar.enable_steady_tick(std::time::Duration::from_millis(100));
    bar
}
