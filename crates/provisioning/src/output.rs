//! What comes back of a batch of cards: one line a card, each secret under the transport key of its column. The columns are
//! those that SIM tools know (`ICCID`, `IMSI`, `KI`, `OPC`, `ADM1`, ...), and beside them those of the device.

use std::io::{self, Read, Write};

use ambit_protocol::area::Plmn;
use ambit_protocol::{DeviceForm, RootKey};
use ambit_uicc::algorithms::{Algorithm, Subscriber};
use ambit_uicc::suci::Imsi;
use zeroize::Zeroizing;

use crate::batch::{self, CardPins, CardSpec, FORM_RULE, K_AIOT_RULE, opc_columns, parameter};
use crate::table::{self, FieldError, Row, Unknown};
use crate::transport::kcv;
use crate::{
    CredentialKind, CsvErrors, DeviceSpec, Seen, TransportKeys, format_device_id, io_error,
    parse_device,
};

/// The columns, in the order in which they are written. Others may stand in a file and are not looked at.
pub const OUTPUT_COLUMNS: [&str; 23] = [
    "DEVICE_ID",
    "DEVICE_TYPE",
    "SUITE",
    "FORM",
    "TAG_LEN",
    "FLEET",
    "ICCID",
    "IMSI",
    "ALGORITHM",
    "KI",
    "KI_KCV",
    "OPC",
    "OPC_KCV",
    "TOPC",
    "TOPC_KCV",
    "PIN1",
    "PUK1",
    "PIN2",
    "PUK2",
    "ADM1",
    "CREDENTIAL",
    "K_AIOT",
    "K_AIOT_KCV",
];

/// What the core takes of a card.
#[derive(Debug)]
pub struct SubscriberEntry {
    /// The device; with its key if its credential is `uicc-aiot`.
    pub device: DeviceSpec,
    /// IMSI.
    pub imsi: Imsi,
    /// K and OPc or TOPc.
    pub secrets: Subscriber,
}

/// Writes cards, secrets under transport keys.
///
/// # Errors
/// What the writer returns, or a column of secrets has no transport key.
pub fn write_cards<'a>(
    out: impl Write,
    cards: impl IntoIterator<Item = &'a CardSpec>,
    keys: &TransportKeys,
) -> io::Result<()> {
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(OUTPUT_COLUMNS).map_err(io_error)?;
    let seal = |column: &str, value: &[u8]| {
        let missing = || {
            let message = format!("transport keys: none for column {column}");
            io::Error::new(io::ErrorKind::InvalidInput, message)
        };
        keys.seal(column, value).ok_or_else(missing)
    };
    let pin = |column, digits: &str| seal(column, &*Zeroizing::new(CardPins::padded(digits)));
    for card in cards {
        let secrets = &card.secrets;
        let (ki, ki_kcv) = (seal("KI", secrets.expose_k())?, check(secrets.expose_k()));
        let opc_kcv = check(secrets.expose_opc());
        let opc = |column| seal(column, secrets.expose_opc());
        let (opc, topc) = match secrets.algorithm() {
            Algorithm::Milenage => ((opc("OPC")?, opc_kcv), Default::default()),
            Algorithm::Tuak { .. } => (Default::default(), (opc("TOPC")?, opc_kcv)),
        };
        let k_aiot = match &card.device.key {
            Some(k) => (seal("K_AIOT", k.expose())?, check(k.expose())),
            None => Default::default(),
        };
        let [id, kind, suite, form, tag_len, fleet] = device(&card.device);
        let record = [
            id,
            kind,
            suite,
            form,
            tag_len,
            fleet,
            card.iccid.clone(),
            card.imsi.to_string(),
            secrets.algorithm().to_string(),
            ki,
            ki_kcv,
            opc.0,
            opc.1,
            topc.0,
            topc.1,
            pin("PIN1", &card.pins.pin1)?,
            pin("PUK1", &card.pins.puk1)?,
            pin("PIN2", &card.pins.pin2)?,
            pin("PUK2", &card.pins.puk2)?,
            seal("ADM1", &*card.pins.adm1)?,
            card.device.credential.to_string(),
            k_aiot.0,
            k_aiot.1,
        ];
        writer.write_record(&record).map_err(io_error)?;
    }
    writer.flush()
}

/// Writes what the core takes, secrets in clear: for the core's admin socket, not for files.
///
/// # Errors
/// What the writer returns.
pub fn write_subscribers<'a>(
    out: impl Write,
    entries: impl IntoIterator<Item = &'a SubscriberEntry>,
) -> io::Result<()> {
    let mut writer = csv::Writer::from_writer(out);
    let header = [
        "DEVICE_ID",
        "DEVICE_TYPE",
        "SUITE",
        "FORM",
        "TAG_LEN",
        "FLEET",
        "IMSI",
        "ALGORITHM",
        "KI",
        "OPC",
        "TOPC",
        "CREDENTIAL",
        "K_AIOT",
    ];
    writer.write_record(header).map_err(io_error)?;
    for entry in entries {
        let opc = Zeroizing::new(hex::encode(entry.secrets.expose_opc()));
        let k = Zeroizing::new(hex::encode(entry.secrets.expose_k()));
        let algorithm = entry.secrets.algorithm();
        let is_tuak = algorithm != Algorithm::Milenage;
        let [id, kind, suite, form, tag_len, fleet] = device(&entry.device);
        let k_aiot = Zeroizing::new(match &entry.device.key {
            Some(k) => hex::encode(k.expose()),
            None => String::new(),
        });
        let record: [&str; 13] = [
            &id,
            &kind,
            &suite,
            &form,
            &tag_len,
            &fleet,
            &entry.imsi.to_string(),
            &algorithm.to_string(),
            &k,
            if is_tuak { "" } else { &opc },
            if is_tuak { &opc } else { "" },
            entry.device.credential.name(),
            &k_aiot,
        ];
        writer.write_record(record).map_err(io_error)?;
    }
    writer.flush()
}

/// Reads what the core takes of a card maker's file, all or nothing. With `keys`, secrets are under transport keys; without,
/// they are in clear. Check values (`KI_KCV`, `OPC_KCV`, `TOPC_KCV`) are held against the secrets where they are given.
///
/// # Errors
/// Up to [`ERRORS_MAX`](crate::ERRORS_MAX) errors, each with line and column.
pub fn read_subscribers(
    input: impl Read,
    keys: Option<&TransportKeys>,
    plmn: Plmn,
) -> Result<Vec<SubscriberEntry>, CsvErrors> {
    let mut seen = Seen::default();
    let mut kind = None;
    let required = ["DEVICE_ID", "DEVICE_TYPE", "IMSI", "KI"];
    table::read(input, &OUTPUT_COLUMNS, &required, Unknown::Ignored, |row| {
        let columns = [
            "DEVICE_ID",
            "DEVICE_TYPE",
            "SUITE",
            "FORM",
            "",
            "TAG_LEN",
            "FLEET",
            "",
        ];
        let mut device = parse_device(columns.map(|column| row.get(column)), row.line)
            .map_err(|(column, rule)| (upper(column), rule))?;
        device.credential = batch::kind(row.get("CREDENTIAL"), "CREDENTIAL")?;
        batch::one_kind(&mut kind, device.credential, "CREDENTIAL")?;
        match device.credential {
            CredentialKind::UiccAiot => device.key = Some(k_aiot(row, keys)?),
            _ if !row.get("K_AIOT").is_empty() => return Err(("K_AIOT", K_AIOT_RULE.into())),
            _ if device.form == DeviceForm::Dt => return Err(("FORM", FORM_RULE.into())),
            _ => {}
        }
        let imsi = batch::imsi(row.get("IMSI"), plmn).map_err(|rule| ("IMSI", rule))?;
        let secrets = secrets(row, keys)?;
        seen.check("DEVICE_ID", &device.device_id, row.line)?;
        seen.check("IMSI", imsi.to_string().as_bytes(), row.line)?;
        if !row.get("ICCID").is_empty() {
            seen.check("ICCID", row.get("ICCID").as_bytes(), row.line)?;
        }
        Ok(SubscriberEntry {
            device,
            imsi,
            secrets,
        })
    })
}

fn secrets(row: &Row<'_>, keys: Option<&TransportKeys>) -> Result<Subscriber, FieldError> {
    let algorithm = batch::algorithm(row.get("ALGORITHM"), "ALGORITHM")?;
    let (column, other) = opc_columns(algorithm, ["OPC", "TOPC"]);
    if !row.get(other).is_empty() {
        return Err((other, format!("must be empty with {algorithm}")));
    }
    let opc_kcv = match column {
        "TOPC" => "TOPC_KCV",
        _ => "OPC_KCV",
    };
    let k = secret(row, "KI", "KI_KCV", keys)?;
    let opc = secret(row, column, opc_kcv, keys)?;
    Subscriber::new(algorithm, &k, &opc).map_err(|error| parameter(error, "KI", column))
}

fn k_aiot(row: &Row<'_>, keys: Option<&TransportKeys>) -> Result<RootKey, FieldError> {
    let octets = secret(row, "K_AIOT", "K_AIOT_KCV", keys)?;
    let octets: &[u8; 16] = octets
        .as_slice()
        .try_into()
        .map_err(|_| ("K_AIOT", "must be 16 octets".to_owned()))?;
    Ok(RootKey::new(*octets))
}

/// The octets of a secret, held against its check value.
fn secret(
    row: &Row<'_>,
    column: &'static str,
    kcv_column: &str,
    keys: Option<&TransportKeys>,
) -> Result<Zeroizing<Vec<u8>>, FieldError> {
    let broken = |rule: &str| (column, rule.to_owned());
    let text = row.get(column);
    if text.is_empty() {
        return Err(broken("must be given"));
    }
    let value = match keys {
        Some(keys) if !keys.covers(column) => {
            return Err(broken("there is no transport key for this column"));
        }
        Some(keys) => keys
            .open(column, text)
            .ok_or_else(|| broken("must be blocks of 32 hexadecimal digits"))?,
        None => {
            Zeroizing::new(hex::decode(text).map_err(|_| broken("must be hexadecimal digits"))?)
        }
    };
    let expected = row.get(kcv_column);
    if expected.is_empty() || check(&value).eq_ignore_ascii_case(expected) {
        return Ok(value);
    }
    Err(broken(match keys {
        Some(_) => "does not fit its check value: another transport key, or the value was changed",
        None => "does not fit its check value: changed, or under a transport key that is not given",
    }))
}

fn check(value: &[u8]) -> String {
    kcv(value).unwrap_or_default()
}

/// The columns of a device but for its key.
fn device(device: &DeviceSpec) -> [String; 6] {
    [
        format_device_id(&device.device_id),
        device.device_type.name().to_owned(),
        device.suite.number().to_string(),
        device.form.name().to_owned(),
        device.tag_len.octets().to_string(),
        device.fleet.clone(),
    ]
}

/// The name of a device's column in this file.
fn upper(column: &str) -> &'static str {
    let found = OUTPUT_COLUMNS
        .iter()
        .find(|known| known.eq_ignore_ascii_case(column));
    found.copied().unwrap_or("DEVICE_ID")
}
