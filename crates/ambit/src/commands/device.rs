//! `ambit device ...`.

mod keys_out;

use std::path::{Path, PathBuf};

use ambit_protocol::{DeviceForm, DeviceType, RootKey, Suite, TagLen};
use ambit_provisioning::{
    CredentialKind, DeviceSpec, parse_device_id, parse_key, read_csv, write_csv,
};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use self::keys_out::KeysOut;
use super::{one, print_one, print_rows, printed, read, spinner};
use crate::Place;
use crate::admin::{self, Request, Secret};
use crate::failure::Failure;

/// Devices: import, add, list, show, disable, enable, rotate-key, export.
#[derive(Subcommand)]
pub(crate) enum Device {
    Import(Import),
    Add(Add),
    List(List),
    Show(Show),
    /// Make the network ignore a device, durably, until it is enabled again.
    Disable(Change),
    /// Make the network know a disabled device again.
    Enable(Change),
    RotateKey(RotateKey),
    Export(Export),
}

/// Import devices from a CSV file, all or none.
///
/// Columns: device_id,device_type,suite,form,key,tag_len,fleet,credential (a header line first). device_id is hexadecimal,
/// urn:epc:id:... or text; device_type 1, 2a, 2b or 2c; suite 1, 2 or 3; form beacon, concealed, counter, blind or dt; key
/// 32 hexadecimal digits; tag_len 4, 8 or 16; credential operator (K in the device) or uicc-aiot (K in the AIoT application
/// of its card). An empty suite is 1, form beacon (dt for type 1), tag_len 8, fleet default, credential operator.
/// An empty key is generated and written to --keys-out, and nowhere else.
#[derive(Args)]
pub(crate) struct Import {
    /// CSV file; - is standard input.
    file: PathBuf,
    /// New file (mode 0600) for the devices whose keys were generated.
    #[arg(long, value_name = "FILE")]
    keys_out: Option<PathBuf>,
    /// Report as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Add one device.
#[derive(Args)]
pub(crate) struct Add {
    /// Permanent device ID: hexadecimal, urn:epc:id:... or text.
    device_id: String,
    /// Device type: 1, 2a, 2b or 2c.
    #[arg(long = "type", value_name = "TYPE", default_value = "2b")]
    device_type: DeviceType,
    /// Suite: 1 AES-CMAC, 2 HMAC-SHA-256, 3 Ascon.
    #[arg(long, default_value = "1", value_parser = clap::value_parser!(u8).range(1..=3))]
    suite: u8,
    /// beacon, concealed, counter, blind or dt [default: beacon; dt for type 1].
    #[arg(long)]
    form: Option<DeviceForm>,
    /// Tag length in octets: 4, 8 or 16.
    #[arg(long, default_value = "8")]
    tag_len: u8,
    /// Fleet.
    #[arg(long, default_value = "default")]
    fleet: String,
    /// Where the key is: operator (in the device) or uicc-aiot (in the AIoT application of its card).
    #[arg(long, default_value = "operator", value_parser = credential)]
    credential: CredentialKind,
    /// File with the key, 32 hexadecimal digits; - is standard input. Without it a key is generated.
    #[arg(long, value_name = "FILE", conflicts_with = "keys_out")]
    key_file: Option<PathBuf>,
    /// New file (mode 0600) for the generated key.
    #[arg(long, value_name = "FILE")]
    keys_out: Option<PathBuf>,
    /// Report as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// List all devices.
#[derive(Args)]
pub(crate) struct List {
    /// One JSON object a line; octets in hexadecimal.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Show one device and its last record.
#[derive(Args)]
pub(crate) struct Show {
    /// Permanent device ID.
    device_id: String,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
pub(crate) struct Change {
    /// Permanent device ID.
    device_id: String,
    /// Report as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Give a device a new generated key. It takes effect at once; the device needs it from the file.
#[derive(Args)]
pub(crate) struct RotateKey {
    /// Permanent device ID.
    device_id: String,
    /// New file (mode 0600) for the key.
    #[arg(long, value_name = "FILE")]
    keys_out: PathBuf,
    /// Report as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Print all devices as CSV, without keys.
#[derive(Args)]
pub(crate) struct Export {
    #[command(flatten)]
    place: Place,
}

const COLUMNS: &[(&str, usize)] = &[
    ("device_name", 36),
    ("device_type", 11),
    ("suite", 5),
    ("form", 9),
    ("tag_len", 7),
    ("fleet", 16),
    ("credential", 10),
    ("key_version", 11),
    ("disabled", 8),
    ("created", 24),
];

impl Device {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Import(import) => import.run(),
            Self::Add(add) => add.run(),
            Self::List(list) => print_rows(&list.place, &Request::DeviceList, list.json, COLUMNS),
            Self::Show(show) => show.run(),
            Self::Disable(change) => change.run(true),
            Self::Enable(change) => change.run(false),
            Self::RotateKey(rotate) => rotate.run(),
            Self::Export(export) => export.run(),
        }
    }
}

impl Import {
    fn run(self) -> Result<(), Failure> {
        let text = Secret(read(&self.file)?);
        let devices = read_csv(text.0.as_bytes())?;
        drop(text);
        let generated = import(&self.place, devices, self.keys_out.as_deref())?;
        report(self.json, &generated)
    }
}

impl Add {
    fn run(self) -> Result<(), Failure> {
        let bad = |name: &str, rule: &dyn std::fmt::Display| {
            Failure::input("device_invalid", format!("{name}: {rule}"))
        };
        let form = match (self.form, self.device_type) {
            (Some(form), _) => form,
            (None, DeviceType::Type1) => DeviceForm::Dt,
            (None, _) => DeviceForm::Beacon,
        };
        let key = match &self.key_file {
            None => None,
            Some(file) => {
                let text = Zeroizing::new(read(file)?);
                let key = parse_key(text.trim()).map_err(|rule| bad("key", &rule))?;
                Some(key.ok_or_else(|| bad("key", &"the file is empty"))?)
            }
        };
        self.device_type
            .check(form)
            .map_err(|error| Failure::input("device_invalid", error))?;
        let device = DeviceSpec {
            line: 0,
            device_id: parse_device_id(&self.device_id).map_err(|rule| bad("device_id", &rule))?,
            device_type: self.device_type,
            suite: Suite::from_number(self.suite)
                .ok_or_else(|| bad("suite", &"must be 1, 2 or 3"))?,
            form,
            key,
            tag_len: TagLen::from_octets(self.tag_len.into())
                .ok_or_else(|| bad("tag_len", &"must be 4, 8 or 16"))?,
            fleet: self.fleet,
            credential: self.credential,
        };
        let imported = import(&self.place, vec![device], self.keys_out.as_deref())?;
        report(self.json, &imported)
    }
}

impl Show {
    fn run(self) -> Result<(), Failure> {
        let request = Request::DeviceShow {
            device_id: self.device_id,
        };
        one(&self.place, &request, self.json)
    }
}

impl Change {
    fn run(self, disabled: bool) -> Result<(), Failure> {
        let request = Request::DeviceSetDisabled {
            device_id: self.device_id,
            disabled,
        };
        one(&self.place, &request, self.json)
    }
}

impl RotateKey {
    fn run(self) -> Result<(), Failure> {
        // The file first: a key that cannot be kept must not take effect.
        let file = KeysOut::create(&self.keys_out)?;
        let request = Request::DeviceRotateKey {
            device_id: self.device_id,
        };
        let mut shown = Value::Null;
        let asked = admin::run(&self.place, &request, &mut |row| {
            shown = row;
            true
        });
        if let Err(failure) = asked {
            file.discard();
            return Err(failure);
        }
        let key = shown
            .as_object_mut()
            .and_then(|object| object.remove("key"));
        let device = spec_of(&shown, key.as_ref().and_then(Value::as_str))?;
        file.write(&[device])?;
        print_one(&shown, self.json)
    }
}

impl Export {
    fn run(self) -> Result<(), Failure> {
        let mut devices = Vec::new();
        let mut bad = None;
        admin::run(
            &self.place,
            &Request::DeviceList,
            &mut |row| match spec_of(&row, None) {
                Ok(device) => {
                    devices.push(device);
                    true
                }
                Err(failure) => {
                    bad = Some(failure);
                    false
                }
            },
        )?;
        match bad {
            Some(failure) => Err(failure),
            None => printed(write_csv(std::io::stdout().lock(), &devices)),
        }
    }
}

/// What an import came to.
struct Imported {
    devices: usize,
    generated: usize,
}

/// Generates the keys that are missing, puts them where they cannot be lost, then asks for the import.
fn import(
    place: &Place,
    mut devices: Vec<DeviceSpec>,
    keys_out: Option<&Path>,
) -> Result<Imported, Failure> {
    let missing = devices.iter().filter(|device| device.key.is_none()).count();
    if missing > 0 && keys_out.is_none() {
        let message =
            format!("key: empty for {missing} devices; generated keys need --keys-out FILE");
        return Err(Failure::input("keys_out_missing", message));
    }
    let mut fresh = Vec::new();
    for device in devices.iter_mut().filter(|device| device.key.is_none()) {
        let mut octets = Zeroizing::new([0; 16]);
        getrandom::fill(&mut *octets).map_err(|error| {
            Failure::resource("entropy_failed", format!("random source: {error}"))
        })?;
        device.key = Some(RootKey::new(*octets));
        fresh.push(copy(device));
    }
    let file = match keys_out {
        Some(path) => Some(KeysOut::create(path)?.write(&fresh)?),
        None => None,
    };
    let mut csv = Secret(String::new());
    let mut octets = Zeroizing::new(Vec::new());
    write_csv(&mut *octets, &devices).map_err(|error| Failure::io("import", &error))?;
    csv.0.push_str(&String::from_utf8_lossy(&octets));

    let lines = devices.iter().map(|device| device.line).collect();
    let bar = spinner(format!("importing {} devices", devices.len()));
    let asked = admin::run(place, &Request::DeviceImport { csv, lines }, &mut |_| true);
    bar.finish_and_clear();
    match (&asked, file) {
        // Refused: these keys will never be used.
        (Err(failure), Some(file)) if !failure.is_in_doubt() => file.discard(),
        _ => {}
    }
    asked.map(|()| Imported {
        devices: devices.len(),
        generated: missing,
    })
}

fn copy(device: &DeviceSpec) -> DeviceSpec {
    DeviceSpec {
        device_id: device.device_id.clone(),
        key: device.key.as_ref().map(|key| RootKey::new(*key.expose())),
        fleet: device.fleet.clone(),
        ..*device
    }
}

/// A device from its JSON row.
fn spec_of(row: &Value, key: Option<&str>) -> Result<DeviceSpec, Failure> {
    let text = |field: &str| row.get(field).and_then(Value::as_str).unwrap_or_default();
    let number = |field: &str| row.get(field).and_then(Value::as_u64).unwrap_or_default();
    let spec = || {
        Some(DeviceSpec {
            line: 0,
            device_id: hex::decode(text("device_id")).ok()?,
            device_type: text("device_type").parse().ok()?,
            suite: Suite::from_number(u8::try_from(number("suite")).ok()?)?,
            form: text("form").parse().ok()?,
            key: parse_key(key.unwrap_or_default()).ok()?,
            tag_len: TagLen::from_octets(usize::try_from(number("tag_len")).ok()?)?,
            fleet: text("fleet").to_owned(),
            credential: text("credential").parse().ok()?,
        })
    };
    spec().ok_or_else(|| Failure::resource("device_unknown_value", format!("not a device: {row}")))
}

/// A subscriber needs more than these arguments.
fn credential(text: &str) -> Result<CredentialKind, &'static str> {
    match text.parse()? {
        CredentialKind::Uicc => Err("must be operator or uicc-aiot"),
        kind => Ok(kind),
    }
}

fn report(json: bool, imported: &Imported) -> Result<(), Failure> {
    let (devices, generated) = (imported.devices, imported.generated);
    let text = if json {
        json!({ "imported": devices, "keys_generated": generated }).to_string()
    } else if generated > 0 {
        format!("{devices} devices imported, {generated} keys generated")
    } else {
        format!("{devices} devices imported")
    };
    use std::io::Write;
    printed(writeln!(std::io::stdout(), "{text}"))
}
