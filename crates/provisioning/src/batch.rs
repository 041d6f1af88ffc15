//! A batch of cards to be made: which device gets which subscription. Secrets that are not given are drawn.

use std::io::{self, Read};

use ambit_protocol::area::Plmn;
use ambit_protocol::{DeviceForm, RootKey};
use ambit_uicc::algorithms::{Algorithm, ParameterError, Subscriber};
use ambit_uicc::suci::Imsi;
use zeroize::Zeroizing;

use crate::table::{self, FieldError, Row, Unknown};
use crate::{CredentialKind, CsvErrors, DeviceSpec, Seen, parse_device};

/// The columns. `device_id`, `device_type`, `imsi` and `iccid` must be there.
pub const BATCH_COLUMNS: [&str; 19] = [
    "device_id",
    "device_type",
    "suite",
    "form",
    "tag_len",
    "fleet",
    "imsi",
    "iccid",
    "algorithm",
    "ki",
    "opc",
    "topc",
    "pin1",
    "puk1",
    "pin2",
    "puk2",
    "adm1",
    "credential",
    "k_aiot",
];

/// A card to be made, with the device that it goes into. Secrets are wiped on drop.
#[derive(Debug)]
pub struct CardSpec {
    /// The device. Its credential is the card: `uicc`, or `uicc-aiot` with K in the card's AIoT application.
    pub device: DeviceSpec,
    /// 18 to 20 digits.
    pub iccid: String,
    /// IMSI.
    pub imsi: Imsi,
    /// K and OPc or TOPc.
    pub secrets: Subscriber,
    /// PINs, PUKs and ADM1.
    pub pins: CardPins,
}

/// PINs and PUKs as digits, and the administrative key.
#[derive(Clone)]
pub struct CardPins {
    /// PIN1, 4 to 8 digits.
    pub pin1: Zeroizing<String>,
    /// PUK1, 8 digits.
    pub puk1: Zeroizing<String>,
    /// PIN2, 4 to 8 digits.
    pub pin2: Zeroizing<String>,
    /// PUK2, 8 digits.
    pub puk2: Zeroizing<String>,
    /// ADM1.
    pub adm1: Zeroizing<[u8; 8]>,
}

impl std::fmt::Debug for CardPins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CardPins(..)")
    }
}

impl CardPins {
    /// Digits as the card holds them: ASCII, filled up with FF (TS 102 221 clause 9.5.1).
    pub fn padded(digits: &str) -> [u8; 8] {
        let mut octets = [0xFF; 8];
        for (to, from) in octets.iter_mut().zip(digits.bytes()) {
            *to = from;
        }
        octets
    }
}

/// Why a batch cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// The file.
    #[error(transparent)]
    Csv(#[from] CsvErrors),
    /// The random source, which draws what is not given.
    #[error("random source: {0}")]
    Random(io::Error),
}

/// Reads a batch, all or nothing, and draws the secrets that it does not give. IMSIs must be of the home network.
///
/// # Errors
/// [`BatchError`].
pub fn read_batch(
    input: impl Read,
    plmn: Plmn,
    random: &mut dyn FnMut(&mut [u8]) -> io::Result<()>,
) -> Result<Vec<CardSpec>, BatchError> {
    let mut source = Source {
        random,
        failed: None,
    };
    let mut seen = Seen::default();
    let mut kind = None;
    let required = ["device_id", "device_type", "imsi", "iccid"];
    let cards = table::read(input, &BATCH_COLUMNS, &required, Unknown::Refused, |row| {
        let card = card(row, plmn, &mut source)?;
        one_kind(&mut kind, card.device.credential, "credential")?;
        seen.check("device_id", &card.device.device_id, row.line)?;
        seen.check("imsi", card.imsi.to_string().as_bytes(), row.line)?;
        seen.check("iccid", card.iccid.as_bytes(), row.line)?;
        Ok(card)
    });
    match source.failed {
        Some(error) => Err(BatchError::Random(error)),
        None => Ok(cards?),
    }
}

fn card(row: &Row<'_>, plmn: Plmn, source: &mut Source<'_>) -> Result<CardSpec, FieldError> {
    let mut device = parse_device(
        [
            "device_id",
            "device_type",
            "suite",
            "form",
            "",
            "tag_len",
            "fleet",
            "",
        ]
        .map(|column| row.get(column)),
        row.line,
    )?;
    device.credential = kind(row.get("credential"), "credential")?;
    match device.credential {
        CredentialKind::UiccAiot => device.key = Some(k_aiot(row.get("k_aiot"), source)?),
        _ if !row.get("k_aiot").is_empty() => return Err(("k_aiot", K_AIOT_RULE.into())),
        _ if device.form == DeviceForm::Dt => return Err(("form", FORM_RULE.into())),
        _ => {}
    }
    let iccid = row.get("iccid");
    if !(18..=20).contains(&iccid.len()) || !is_digits(iccid) {
        return Err(("iccid", "must be 18 to 20 digits".into()));
    }
    Ok(CardSpec {
        imsi: imsi(row.get("imsi"), plmn).map_err(|rule| ("imsi", rule))?,
        iccid: iccid.to_owned(),
        secrets: secrets(row, source)?,
        pins: CardPins {
            pin1: pin(row, "pin1", 4, source)?,
            puk1: pin(row, "puk1", 8, source)?,
            pin2: pin(row, "pin2", 4, source)?,
            puk2: pin(row, "puk2", 8, source)?,
            adm1: adm1(row.get("adm1"), source)?,
        },
        device,
    })
}

/// Section 7 begins with the device.
pub(crate) const FORM_RULE: &str =
    "must not be dt: a device with UICC credentials registers by speaking first";

/// What `uicc` cards have no room for.
pub(crate) const K_AIOT_RULE: &str =
    "must be empty unless the credential is uicc-aiot: K is agreed at each registration";

/// The kind of a card; empty is `uicc`.
pub(crate) fn kind(text: &str, column: &'static str) -> Result<CredentialKind, FieldError> {
    match text.parse() {
        _ if text.is_empty() => Ok(CredentialKind::Uicc),
        Ok(kind @ (CredentialKind::Uicc | CredentialKind::UiccAiot)) => Ok(kind),
        _ => Err((column, "must be uicc or uicc-aiot".into())),
    }
}

/// A batch is of one kind, so that the core takes it in one step, all or nothing.
pub(crate) fn one_kind(
    first: &mut Option<CredentialKind>,
    kind: CredentialKind,
    column: &'static str,
) -> Result<(), FieldError> {
    match *first.get_or_insert(kind) {
        first if first == kind => Ok(()),
        first => Err((
            column,
            format!("must be {first} as on the first line: a batch is of one kind"),
        )),
    }
}

fn k_aiot(text: &str, source: &mut Source<'_>) -> Result<RootKey, FieldError> {
    let octets = secret(text, "k_aiot", 16, source)?;
    let octets: &[u8; 16] = octets.as_slice().try_into().map_err(|_| {
        (
            "k_aiot",
            "must be 32 hexadecimal digits, or empty".to_owned(),
        )
    })?;
    Ok(RootKey::new(*octets))
}

/// An IMSI of the home network.
pub(crate) fn imsi(text: &str, plmn: Plmn) -> Result<Imsi, String> {
    let ([n1, n2], third) = plmn.mnc();
    let mnc: String = [n1, n2].into_iter().chain(third).collect();
    let digits = text.strip_prefix("imsi-").unwrap_or(text);
    let imsi = Imsi::from_digits(digits, mnc.len())
        .map_err(|_| "must be 6 to 15 digits: MCC, MNC and at least one more".to_owned())?;
    if imsi.plmn() == plmn {
        Ok(imsi)
    } else {
        let mcc: String = plmn.mcc().into_iter().collect();
        Err(format!(
            "must begin with {mcc}{mnc}, MCC and MNC of the home network"
        ))
    }
}

fn secrets(row: &Row<'_>, source: &mut Source<'_>) -> Result<Subscriber, FieldError> {
    let algorithm = algorithm(row.get("algorithm"), "algorithm")?;
    let (column, other) = opc_columns(algorithm, ["opc", "topc"]);
    if !row.get(other).is_empty() {
        return Err((other, format!("must be empty with {algorithm}")));
    }
    let k_octets = match algorithm {
        Algorithm::Milenage => 16,
        Algorithm::Tuak { .. } => 32,
    };
    let k = secret(row.get("ki"), "ki", k_octets, source)?;
    let opc = secret(row.get(column), column, algorithm.opc_octets(), source)?;
    Subscriber::new(algorithm, &k, &opc).map_err(|error| parameter(error, "ki", column))
}

/// The algorithm of a column; empty is MILENAGE.
pub(crate) fn algorithm(text: &str, column: &'static str) -> Result<Algorithm, FieldError> {
    match text {
        "" => Ok(Algorithm::Milenage),
        text => text
            .to_ascii_lowercase()
            .parse()
            .map_err(|rule: &str| (column, rule.to_owned())),
    }
}

/// The column that an algorithm uses of OPc and TOPc, and the one that it does not.
pub(crate) const fn opc_columns(
    algorithm: Algorithm,
    [opc, topc]: [&'static str; 2],
) -> (&'static str, &'static str) {
    match algorithm {
        Algorithm::Milenage => (opc, topc),
        Algorithm::Tuak { .. } => (topc, opc),
    }
}

/// The column and rule of a parameter that does not fit.
pub(crate) fn parameter(error: ParameterError, k: &'static str, opc: &'static str) -> FieldError {
    match error {
        ParameterError::K => (k, "must be 16 octets, or 16 or 32 with tuak".into()),
        ParameterError::Opc => (opc, "must be 16 octets, 32 with tuak".into()),
        ParameterError::Iterations => ("algorithm", "iterations must be 1 or more".into()),
    }
}

/// Octets given in hexadecimal, or drawn.
fn secret(
    text: &str,
    column: &'static str,
    octets: usize,
    source: &mut Source<'_>,
) -> Result<Zeroizing<Vec<u8>>, FieldError> {
    if text.is_empty() {
        let mut drawn = Zeroizing::new(vec![0; octets]);
        source.draw(&mut drawn);
        return Ok(drawn);
    }
    hex::decode(text)
        .map(Zeroizing::new)
        .map_err(|_| (column, "must be hexadecimal digits, or empty".into()))
}

/// Digits given, or so many drawn.
fn pin(
    row: &Row<'_>,
    column: &'static str,
    drawn: usize,
    source: &mut Source<'_>,
) -> Result<Zeroizing<String>, FieldError> {
    let text = row.get(column);
    if text.is_empty() {
        let mut octets = Zeroizing::new([0; 8]);
        source.draw(&mut *octets);
        let mut number = Zeroizing::new(u64::from_be_bytes(*octets));
        let mut digits = Zeroizing::new(String::with_capacity(drawn));
        for _ in 0..drawn {
            digits.push(char::from(b'0' + u8::try_from(*number % 10).unwrap_or(0)));
            *number /= 10;
        }
        return Ok(digits);
    }
    let (min, rule) = match drawn {
        8 => (8, "must be 8 digits, or empty"),
        _ => (4, "must be 4 to 8 digits, or empty"),
    };
    if (min..=8).contains(&text.len()) && is_digits(text) {
        Ok(Zeroizing::new(text.to_owned()))
    } else {
        Err((column, rule.into()))
    }
}

fn adm1(text: &str, source: &mut Source<'_>) -> Result<Zeroizing<[u8; 8]>, FieldError> {
    let mut octets = Zeroizing::new([0; 8]);
    if text.is_empty() {
        source.draw(&mut *octets);
    } else {
        hex::decode_to_slice(text, &mut *octets)
            .map_err(|_| ("adm1", "must be 16 hexadecimal digits, or empty".to_owned()))?;
    }
    Ok(octets)
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|c| c.is_ascii_digit())
}

/// The random source. Once it has failed, nothing that was drawn is used.
struct Source<'a> {
    random: &'a mut dyn FnMut(&mut [u8]) -> io::Result<()>,
    failed: Option<io::Error>,
}

impl Source<'_> {
    fn draw(&mut self, out: &mut [u8]) {
        if let Err(error) = (self.random)(out) {
            self.failed = Some(error);
        }
    }
}
