//! `ambit af ...`.

use ambit_adm_api::AfOperation;
use ambit_protocol::Snid;
use ambit_protocol::area::parse_area_code;
use ambit_provisioning::parse_device_id;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use super::{one, print_rows};
use crate::Place;
use crate::admin::Request;
use crate::failure::Failure;
use crate::show;

/// Application functions (AFs): who may ask for inventories and commands, and be told of reports.
///
/// An AF has a client identifier and a secret, with which it gets access tokens from the NEF. It may do what was granted,
/// and nothing else. Changes hold at once, also for tokens that were issued before.
#[derive(Subcommand)]
pub(crate) enum Af {
    /// Add an AF. Its secret is printed once; what is not granted is not allowed.
    Add(Change),
    List(List),
    /// Show an AF. Its secret cannot be shown.
    Show(Name),
    /// Change what an AF may do: what is given replaces what was granted of that kind.
    ///
    /// --area and --all-areas are of one kind; so are --device, --filter, --fleet and --all-devices.
    Set(Change),
    /// Remove an AF and its subscriptions. Its tokens are good for nothing from now on.
    Remove(Name),
    /// Give an AF a new secret, which is printed once. The old one and all tokens are good for nothing from now on.
    NewSecret(Name),
}

/// What an AF is to be granted.
#[derive(Args)]
pub(crate) struct Change {
    /// Its name, by which requests and charging records call it (afId): letters, digits and -_.@:
    name: String,
    /// In this area: an AIoT area code (6 hexadecimal digits). May be given several times.
    #[arg(long = "area", value_name = "AREA", conflicts_with = "all_areas")]
    areas: Vec<String>,
    /// Everywhere.
    #[arg(long)]
    all_areas: bool,
    /// What it may ask for. May be given several times.
    #[arg(long = "operation", value_name = "OPERATION")]
    operations: Vec<Operation>,
    /// It may ask for nothing.
    #[arg(long, conflicts_with = "operations")]
    no_operations: bool,
    /// This device: hexadecimal, urn:epc:id:... or text. May be given several times.
    #[arg(long = "device", value_name = "ID", conflicts_with = "all_devices")]
    devices: Vec<String>,
    /// Devices whose ID begins with these octets, in hexadecimal. May be given several times.
    #[arg(long = "filter", value_name = "HEX", conflicts_with = "all_devices")]
    filters: Vec<String>,
    /// The devices of this fleet. May be given several times.
    #[arg(long = "fleet", value_name = "NAME", conflicts_with = "all_devices")]
    fleets: Vec<String>,
    /// All devices.
    #[arg(long)]
    all_devices: bool,
    /// What it may be told of devices that report by themselves. May be given several times.
    #[arg(long = "receive", value_name = "WHAT")]
    receive: Vec<Receive>,
    /// It may be told nothing.
    #[arg(long, conflicts_with = "receive")]
    no_receive: bool,
    /// Reports of this cause only, by name or number (power_on, periodic, event, moved, data_only, going_silent). May be
    /// given several times.
    #[arg(long = "cause", value_name = "CAUSE", conflicts_with = "all_causes")]
    causes: Vec<String>,
    /// Reports of all causes.
    #[arg(long)]
    all_causes: bool,
    /// Requests a second in the long run [default: 10].
    #[arg(long, value_name = "N")]
    rate: Option<u32>,
    /// Requests at once [default: 20].
    #[arg(long, value_name = "N")]
    burst: Option<u32>,
    /// Inventories and commands under way at once [default: 4].
    #[arg(long, value_name = "N")]
    inventories: Option<u32>,
    /// Subscriptions [default: 16].
    #[arg(long, value_name = "N")]
    subscriptions: Option<u32>,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// List all AFs. No secret is shown.
#[derive(Args)]
pub(crate) struct List {
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// An AF.
#[derive(Args)]
pub(crate) struct Name {
    /// Its name.
    name: String,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// What an AF may ask for.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Operation {
    Inventory,
    Read,
    Write,
    PermanentDisable,
}

/// What an AF may be told.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Receive {
    Data,
    Presence,
}

const COLUMNS: &[(&str, usize)] = &[
    ("name", 20),
    ("client_id", 16),
    ("operations", 40),
    ("areas", 28),
    ("devices", 40),
    ("receive", 19),
    ("secret_since", 24),
];

impl Af {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Add(change) => {
                let rights = change.rights()?;
                let name = change.name;
                one(&change.place, &Request::AfAdd { name, rights }, change.json)
            }
            Self::Set(change) => {
                let rights = change.rights()?;
                let name = change.name;
                one(&change.place, &Request::AfSet { name, rights }, change.json)
            }
            Self::List(List { json, place }) => print_rows(&place, &Request::AfList, json, COLUMNS),
            Self::Show(Name { name, json, place }) => one(&place, &Request::AfShow { name }, json),
            Self::Remove(Name { name, json, place }) => {
                one(&place, &Request::AfRemove { name }, json)
            }
            Self::NewSecret(Name { name, json, place }) => {
                one(&place, &Request::AfNewSecret { name }, json)
            }
        }
    }
}

impl Change {
    /// The rights that the command line names, as the members of an authorisation.
    fn rights(&self) -> Result<Value, Failure> {
        let snid = self.place.config()?.snid()?;
        let mut rights = Map::new();
        let mut set = |member: &str, value: Value| rights.insert(member.into(), value);
        if self.all_areas {
            set("areas", "all".into());
        } else if !self.areas.is_empty() {
            let areas = self.areas.iter().map(|code| area(&snid, code));
            set("areas", areas.collect::<Result<Vec<_>, _>>()?.into());
        }
        if self.no_operations || !self.operations.is_empty() {
            let names = self.operations.iter().map(|operation| operation.name());
            set("operations", names.collect::<Vec<_>>().into());
        }
        if self.all_devices {
            set("devices", "all".into());
        } else if !(self.devices.is_empty() && self.filters.is_empty() && self.fleets.is_empty()) {
            let ids = self.devices.iter().map(|id| {
                let id = parse_device_id(id).map_err(|rule| invalid("--device", id, &rule))?;
                Ok(hex::encode(id))
            });
            let ids = ids.collect::<Result<Vec<_>, Failure>>()?;
            let devices = json!({ "ids": ids, "filters": self.filters, "fleets": self.fleets });
            set("devices", devices);
        }
        if self.no_receive || !self.receive.is_empty() {
            let names = self.receive.iter().map(|what| what.name());
            set("receive", names.collect::<Vec<_>>().into());
        }
        if self.all_causes {
            set("causes", "all".into());
        } else if !self.causes.is_empty() {
            let causes = self.causes.iter().map(|text| cause(text));
            set("causes", causes.collect::<Result<Vec<_>, _>>()?.into());
        }
        let quota: Map<String, Value> = [
            ("rate", self.rate),
            ("burst", self.burst),
            ("inventories", self.inventories),
            ("subscriptions", self.subscriptions),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.into())))
        .collect();
        if !quota.is_empty() {
            set("quota", quota.into());
        }
        Ok(rights.into())
    }
}

impl Operation {
    const fn name(self) -> &'static str {
        match self {
            Self::Inventory => AfOperation::Inventory,
            Self::Read => AfOperation::Read,
            Self::Write => AfOperation::Write,
            Self::PermanentDisable => AfOperation::PermanentDisable,
        }
        .name()
    }
}

impl Receive {
    const fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Presence => "presence",
        }
    }
}

fn area(snid: &Snid, code: &str) -> Result<String, Failure> {
    let parsed = parse_area_code(code);
    let parsed = parsed.map_err(|error| invalid("--area", code, &error.to_string()))?;
    Ok(hex::encode(snid.area(parsed).octets()))
}

fn cause(text: &str) -> Result<u8, Failure> {
    let named = (0..16).find(|number| show::cause(*number) == text && text != "other");
    named
        .or_else(|| text.parse().ok())
        .ok_or_else(|| invalid("--cause", text, "must be a cause's name or its number"))
}

fn invalid(option: &str, value: &str, rule: &str) -> Failure {
    Failure::input("af_invalid", format!("{option}: {value}: {rule}"))
}
