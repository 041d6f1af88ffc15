//! A card as a directory: `profile.json`, what the card maker puts on it, and `memory`, what the card writes itself. One
//! process at a time has the card in its hands.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ambit_protocol::RootKey;
use ambit_provisioning::{
    CardPins, CardSpec, CredentialKind, DeviceSpec, format_device_id, parse_device, parse_key,
};
use ambit_uicc::card::{Adm, AiotProfile, Card, DirectoryMemory, Pin, Profile, SuciProfile};
use ambit_uicc::suci::{Imsi, PublicKey, RoutingIndicator};
use ambit_uicc::{Algorithm, Subscriber};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::admin::Secret;
use crate::failure::Failure;

const PROFILE: &str = "profile.json";
const MEMORY: &str = "memory";
const LOCK: &str = "lock";
const VERSION: u32 = 1;

/// A card, taken in hand. The system takes it back when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct CardDir {
    path: PathBuf,
    lock: File,
    /// The device that it was made for.
    device: DeviceSpec,
    pub(crate) profile: Profile,
}

/// An emulated card on its directory. The lock goes with it.
pub(crate) type DirectoryCard = Card<LockedMemory>;

/// The card's memory, and the right to use it.
#[derive(Debug)]
pub(crate) struct LockedMemory {
    memory: DirectoryMemory,
    _lock: File,
}

impl ambit_uicc::card::CardMemory for LockedMemory {
    fn load(
        &mut self,
        slot: ambit_uicc::card::Slot,
    ) -> Result<Option<Vec<u8>>, ambit_uicc::card::MemoryError> {
        self.memory.load(slot)
    }

    fn store(
        &mut self,
        slot: ambit_uicc::card::Slot,
        octets: &[u8],
    ) -> Result<(), ambit_uicc::card::MemoryError> {
        self.memory.store(slot, octets)
    }
}

/// How a batch of cards conceals its IMSIs.
#[derive(Clone, Debug)]
pub(crate) struct SuciSetting {
    pub(crate) routing_indicator: String,
    pub(crate) on_card: bool,
    /// Identifiers and public keys, the preferred one first.
    pub(crate) keys: Vec<(u8, PublicKey)>,
}

/// `profile.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileFile {
    version: u32,
    device: DeviceFields,
    iccid: String,
    imsi: String,
    mnc_digits: usize,
    algorithm: String,
    ki: Secret,
    /// OPc or TOPc.
    opc: Secret,
    pin1: Secret,
    puk1: Secret,
    pin2: Secret,
    puk2: Secret,
    adm1: Secret,
    suci: Option<SuciFields>,
    /// K of the AIoT application; without it the card has none.
    k_aiot: Option<Secret>,
}

/// Columns of the device CSV.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviceFields {
    device_id: String,
    device_type: String,
    suite: String,
    form: String,
    tag_len: String,
    fleet: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SuciFields {
    routing_indicator: String,
    on_card: bool,
    keys: Vec<KeyFields>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFields {
    key_id: u8,
    public_key: String,
}

/// Writes a card into a new directory (0700; the file 0600), durably.
///
/// # Errors
/// What the file system gives.
pub(crate) fn write(
    path: &Path,
    card: &CardSpec,
    suci: Option<&SuciSetting>,
) -> std::io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)?;
    let profile = ProfileFile::of(card, suci);
    let text = Secret(serde_json::to_string_pretty(&profile)?);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path.join(PROFILE))?;
    file.write_all(text.0.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    File::open(path)?.sync_all()
}

/// The card directories under `path`: itself, those in it, or those in its `cards`; in the order of their names.
///
/// # Errors
/// [`Failure`], also when there is none.
pub(crate) fn find(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    let is_card = |path: &Path| path.join(PROFILE).is_file();
    if is_card(path) {
        return Ok(vec![path.to_owned()]);
    }
    for place in [path.to_owned(), path.join("cards")] {
        let entries = match fs::read_dir(&place) {
            Ok(entries) => entries,
            Err(error) if place == path => return Err(Failure::io(path.display(), &error)),
            Err(_) => continue,
        };
        let mut found: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| is_card(path))
            .collect();
        found.sort_unstable();
        if !found.is_empty() {
            return Ok(found);
        }
    }
    let message = format!(
        "{}: holds no card ({PROFILE}); `ambit uicc personalise` makes them",
        path.display()
    );
    Err(Failure::input("no_card", message))
}

impl CardDir {
    /// Takes a card in hand.
    ///
    /// # Errors
    /// [`Failure`] naming the file and the field.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let lock = lock(path)?;
        let name = path.join(PROFILE);
        let text = Secret(read_private(&name)?);
        let invalid = |rule: &dyn std::fmt::Display| {
            Failure::input("card_invalid", format!("{}: {rule}", name.display()))
        };
        let file: ProfileFile = serde_json::from_str(&text.0).map_err(|error| invalid(&error))?;
        let (device, profile) = file
            .parse()
            .map_err(|(field, rule)| invalid(&format!("{field}: {rule}")))?;
        Ok(Self {
            path: path.to_owned(),
            lock,
            device,
            profile,
        })
    }

    /// The device, and the card, going on from what its memory holds.
    ///
    /// # Errors
    /// [`Failure`] when the memory cannot be read or does not fit.
    pub(crate) fn into_card(self) -> Result<(DeviceSpec, DirectoryCard), Failure> {
        let path = self.path.join(MEMORY);
        let memory =
            DirectoryMemory::open(&path).map_err(|error| Failure::io(path.display(), &error))?;
        let memory = LockedMemory {
            memory,
            _lock: self.lock,
        };
        let card = Card::with_memory(self.profile, memory).map_err(|_| {
            Failure::resource(
                "card_memory",
                format!("{}: cannot be read, or is not of this card", path.display()),
            )
        })?;
        Ok((self.device, card.with_random(random)))
    }
}

/// Random octets for the ephemeral keys of SUCIs. Without them a card must not go on: equal ones would be linkable.
#[allow(clippy::expect_used)]
pub(crate) fn random(out: &mut [u8]) {
    getrandom::fill(out).expect("the system gives no random octets");
}

impl ProfileFile {
    fn of(card: &CardSpec, suci: Option<&SuciSetting>) -> Self {
        let (device, pins) = (&card.device, &card.pins);
        let text = |secret: &Zeroizing<String>| Secret((**secret).clone());
        Self {
            version: VERSION,
            device: DeviceFields {
                device_id: format_device_id(&device.device_id),
                device_type: device.device_type.name().into(),
                suite: device.suite.number().to_string(),
                form: device.form.name().into(),
                tag_len: device.tag_len.octets().to_string(),
                fleet: device.fleet.clone(),
            },
            iccid: card.iccid.clone(),
            imsi: card.imsi.to_string(),
            mnc_digits: if card.imsi.plmn().mnc().1.is_some() {
                3
            } else {
                2
            },
            algorithm: card.secrets.algorithm().to_string(),
            ki: Secret(hex::encode(card.secrets.expose_k())),
            opc: Secret(hex::encode(card.secrets.expose_opc())),
            pin1: text(&pins.pin1),
            puk1: text(&pins.puk1),
            pin2: text(&pins.pin2),
            puk2: text(&pins.puk2),
            adm1: Secret(hex::encode(*pins.adm1)),
            k_aiot: device.key.as_ref().map(|k| Secret(hex::encode(k.expose()))),
            suci: suci.map(|suci| SuciFields {
                routing_indicator: suci.routing_indicator.clone(),
                on_card: suci.on_card,
                keys: suci
                    .keys
                    .iter()
                    .map(|(key_id, key)| KeyFields {
                        key_id: *key_id,
                        public_key: hex::encode(key.octets()),
                    })
                    .collect(),
            }),
        }
    }

    /// Device and card; or the field at fault and the rule.
    fn parse(&self) -> Result<(DeviceSpec, Profile), (&'static str, String)> {
        if self.version != VERSION {
            let rule = format!("must be {VERSION}: this version of ambit reads no other");
            return Err(("version", rule));
        }
        let d = &self.device;
        let [id, kind, suite, form, tag_len, fleet] = [
            &d.device_id,
            &d.device_type,
            &d.suite,
            &d.form,
            &d.tag_len,
            &d.fleet,
        ];
        let mut device = parse_device([id, kind, suite, form, "", tag_len, fleet, ""], 0)?;
        device.credential = CredentialKind::Uicc;
        let imsi = Imsi::from_digits(&self.imsi, self.mnc_digits)
            .map_err(|error| ("imsi", error.to_string()))?;
        let is_iccid =
            (18..=20).contains(&self.iccid.len()) && self.iccid.bytes().all(|c| c.is_ascii_digit());
        if !is_iccid {
            return Err(("iccid", "must be 18 to 20 digits".into()));
        }
        let algorithm: Algorithm = self
            .algorithm
            .parse()
            .map_err(|rule: &str| ("algorithm", rule.to_owned()))?;
        let octets = |field, secret: &Secret| {
            hex::decode(&secret.0)
                .map(Zeroizing::new)
                .map_err(|_| (field, "must be hexadecimal digits".to_owned()))
        };
        let (k, opc) = (octets("ki", &self.ki)?, octets("opc", &self.opc)?);
        let subscriber =
            Subscriber::new(algorithm, &k, &opc).map_err(|error| ("ki, opc", error.to_string()))?;
        let mut profile = Profile::new(self.iccid.clone(), imsi, subscriber);
        profile.pin1 = pin("pin1", &self.pin1, &self.puk1, false)?;
        profile.pin2 = pin("pin2", &self.pin2, &self.puk2, true)?;
        let adm1 = octets("adm1", &self.adm1)?;
        let adm1 = <[u8; 8]>::try_from(adm1.as_slice())
            .map_err(|_| ("adm1", "must be 16 hexadecimal digits".to_owned()))?;
        profile.adm1 = Adm(adm1);
        profile.suci = match &self.suci {
            Some(suci) => Some(suci.parse()?),
            None => None,
        };
        if let Some(k) = &self.k_aiot {
            let rule = "must be 32 hexadecimal digits";
            let k = parse_key(&k.0)
                .ok()
                .flatten()
                .ok_or(("k_aiot", rule.to_owned()))?;
            profile.aiot = Some(AiotProfile {
                k: RootKey::new(*k.expose()),
                suite: device.suite,
                tag_len: u8::try_from(device.tag_len.octets()).unwrap_or_default(),
                device_id: device.device_id.clone(),
            });
            device.key = Some(k);
            device.credential = CredentialKind::UiccAiot;
        }
        Ok((device, profile))
    }
}

impl SuciFields {
    fn parse(&self) -> Result<SuciProfile, (&'static str, String)> {
        let routing_indicator: RoutingIndicator = self
            .routing_indicator
            .parse()
            .map_err(|_| ("suci.routing_indicator", "must be 1 to 4 digits".to_owned()))?;
        let key = |fields: &KeyFields| {
            let octets = hex::decode(&fields.public_key).ok()?;
            Some((fields.key_id, PublicKey::from_octets(&octets).ok()?))
        };
        let keys = self.keys.iter().map(key).collect::<Option<Vec<_>>>();
        Ok(SuciProfile {
            routing_indicator,
            keys: keys.ok_or((
                "suci.keys",
                "must be public keys of Profile A or B".to_owned(),
            ))?,
            on_card: self.on_card,
        })
    }
}

fn pin(
    field: &'static str,
    value: &Secret,
    puk: &Secret,
    enabled: bool,
) -> Result<Pin, (&'static str, String)> {
    let is_pin = |text: &str, min| {
        (min..=8).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit())
    };
    if !is_pin(&value.0, 4) || !is_pin(&puk.0, 8) {
        return Err((field, "must be 4 to 8 digits, its PUK 8".into()));
    }
    Ok(Pin {
        value: CardPins::padded(&value.0),
        puk: CardPins::padded(&puk.0),
        enabled,
    })
}

/// Reads a file that must be its owner's alone.
fn read_private(path: &Path) -> Result<String, Failure> {
    let failed = |error: std::io::Error| Failure::io(path.display(), &error);
    let mut file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let message = format!(
            "{}: has mode {mode:o}, must be readable by its owner alone (0600)",
            path.display()
        );
        return Err(Failure::resource("card_permissions", message));
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

fn lock(path: &Path) -> Result<File, Failure> {
    let name = path.join(LOCK);
    let failed = |error: &std::io::Error| match error.kind() {
        ErrorKind::NotFound => Failure::input(
            "no_card",
            format!("{}: no such card directory", path.display()),
        ),
        _ => Failure::io(name.display(), error),
    };
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&name)
        .map_err(|error| failed(&error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Failure::resource(
            "card_in_use",
            format!("{}: in use by another process", path.display()),
        )),
        Err(TryLockError::Error(error)) => Err(failed(&error)),
    }
}
