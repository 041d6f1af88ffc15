//! `ambit inventory`, and what it shares with `ambit command`: asking the core and printing what it finds.

use std::io::{IsTerminal, Write};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::printed;
use crate::Place;
use crate::admin::{self, Ask, AskDevices, AskOperation, Request};
use crate::failure::Failure;
use crate::show::Rows;
use ambit_protocol::area::parse_area_code;

/// Find out which devices are there: page them and see who proves itself.
///
/// Needs a running core (`ambit serve`) with readers. Each device is printed as it is found. A device that speaks first
/// answers too. Exit code 1: nobody answered.
#[derive(Args)]
pub(crate) struct Inventory {
    #[command(flatten)]
    target: Target,
    /// Every device (the default).
    #[arg(long, conflicts_with_all = ["device", "filter"])]
    all: bool,
    #[command(flatten)]
    how: How,
}

/// Whom, and where.
#[derive(Args)]
pub(crate) struct Target {
    /// Only here: an AIoT area code (6 hexadecimal digits) or an AreaID (24). May be given several times [default: everywhere].
    #[arg(long = "area", value_name = "AREA")]
    areas: Vec<String>,
    /// This device: hexadecimal, urn:epc:id:... or text. May be given several times; one is asked after the other.
    #[arg(long = "device", value_name = "ID", conflicts_with = "filter")]
    pub(crate) device: Vec<String>,
    /// Devices whose ID begins with these octets, in hexadecimal.
    #[arg(long, value_name = "HEX")]
    pub(crate) filter: Option<String>,
    /// Page named devices by a temporary ID, so that nobody on the air learns the name.
    #[arg(long)]
    concealed: bool,
}

/// How long, and how it is printed.
#[derive(Args)]
pub(crate) struct How {
    /// About how many devices will answer; helps the readers to share the air.
    #[arg(long, value_name = "N")]
    expect: Option<u16>,
    /// Gather results for so many seconds before they are reported, 1 to 256.
    #[arg(long, value_name = "S")]
    interval: Option<u16>,
    /// Give up after so many seconds, 1 to 3600.
    #[arg(long, value_name = "S", default_value = "60")]
    seconds: u32,
    /// One JSON object a line, the last with the key "summary"; octets in hexadecimal.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) place: Place,
}

const COLUMNS: &[(&str, usize)] = &[
    ("device_name", 34),
    ("area_id", 24),
    ("gnb_id", 6),
    ("reader_index", 12),
    ("data", 20),
    ("failure", 18),
];

impl Inventory {
    pub(crate) fn run(self) -> Result<(), Failure> {
        run(self.target, self.how, AskOperation::Inventory)
    }
}

/// Asks the core and prints what it finds.
///
/// # Errors
/// [`Failure`]: exit code 1 when nobody answered or a device failed.
pub(crate) fn run(target: Target, how: How, operation: AskOperation) -> Result<(), Failure> {
    let request = Request::Ask(Ask {
        areas: areas(&target.areas, &how.place)?,
        devices: match target.filter {
            Some(filter) => AskDevices::Filter(filter),
            None if target.device.is_empty() => AskDevices::All,
            None => AskDevices::Named(target.device),
        },
        concealed: target.concealed,
        expected: how.expect,
        interval_s: how.interval,
        timeout_s: how.seconds,
        operation,
    });
    let bar = bar(&how);
    let mut rows = Rows::new(how.json, COLUMNS);
    let mut result = Ok(());
    let (mut failed, mut summary) = (0u64, Value::Null);
    admin::run_live(&how.place, &request, &mut |row| {
        if let Some(progress) = row.get("progress") {
            show(bar.as_ref(), progress);
            return true;
        }
        if let Some(last) = row.get("summary") {
            summary = last.clone();
            if how.json {
                result = rows.print(&row);
            }
            return result.is_ok();
        }
        failed += u64::from(row.get("failure").is_some_and(|failure| !failure.is_null()));
        let mut print = || {
            rows.print(&row)?;
            rows.flush()
        };
        result = match &bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        };
        result.is_ok()
    })?;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let is_cut_short = result.is_err();
    printed(result.and_then(|()| rows.finish()))?;
    if is_cut_short {
        return Ok(());
    }
    conclude(&summary, failed, how.json)
}

fn conclude(summary: &Value, failed: u64, json: bool) -> Result<(), Failure> {
    let count = |name: &str| summary[name].as_u64().unwrap_or(0);
    let (devices, unverified) = (count("devices"), count("unverified"));
    if !json {
        let mut line = format!("{devices} found");
        for (name, text) in [
            ("unverified", "answers of no device asked for"),
            ("dropped", "answers dropped"),
            ("gnbs_lost", "gNBs refused or lost"),
        ] {
            if count(name) > 0 {
                line += &format!(", {} {text}", count(name));
            }
        }
        printed(writeln!(std::io::stderr(), "{line}"))?;
    }
    if failed > 0 {
        let message = format!("{failed} of the devices did not do it");
        return Err(Failure::negative("command_failed", message));
    }
    if devices > 0 {
        return Ok(());
    }
    let cause = summary["cause"].as_str().unwrap_or("NO_SUCC_INV_RESP");
    let message = if unverified > 0 {
        format!(
            "nobody asked for answered; {unverified} answers were of no device asked for ({cause})"
        )
    } else {
        format!("nobody answered ({cause})")
    };
    Err(Failure::negative("nobody_answered", message))
}

/// AreaIDs in hexadecimal.
pub(super) fn areas(texts: &[String], place: &Place) -> Result<Vec<String>, Failure> {
    let snid = place.config()?.snid()?;
    let area = |text: &String| match text.len() {
        24 => Ok(text.clone()),
        _ => {
            let rule = |_| "must be 6 hexadecimal digits (an area code) or 24 (an AreaID)";
            let code = parse_area_code(text).map_err(rule);
            let code = code.map_err(|rule| {
                Failure::input("area_invalid", format!("--area: {text}: {rule}"))
            })?;
            Ok(hex::encode(snid.area(code).octets()))
        }
    };
    texts.iter().map(area).collect()
}

fn bar(how: &How) -> Option<ProgressBar> {
    if how.json || !std::io::stderr().is_terminal() {
        return None;
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
        bar.set_style(style);
    }
    Some(bar)
}

fn show(bar: Option<&ProgressBar>, progress: &Value) {
    let Some(bar) = bar else {
        return;
    };
    bar.tick();
    bar.set_message(format!(
        "{} found, {} answers, {} waiting for the search, {} of no device asked for",
        progress["devices"], progress["answers"], progress["waiting"], progress["unverified"]
    ));
}
