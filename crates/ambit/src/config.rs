//! The configuration file (TOML). Every field has a default; unknown fields are errors.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ambit_adm::AdmConfig;
use ambit_aiotf::AiotfConfig;
use ambit_nef::charging::ChargingConfig;
use ambit_nef::online::{OnlineConfig, Tariff};
use ambit_nef::presence::Expectation;
use ambit_protocol::Snid;
use ambit_protocol::area::{Nid, Plmn, parse_area_code};
use ambit_sbi::client::is_usable_uri;
use ambit_store::PostgresUrl;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::amf::AmfPlace;
use crate::delivery::DeliveryConfig;
use crate::failure::Failure;
use crate::nef::NefConfig;
use crate::sbi::SbiConfig;

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) data_dir: PathBuf,
    /// The key-encryption key's file; by default beside the data directory, with the ending `.kek`.
    pub(crate) kek_file: Option<PathBuf>,
    pub(crate) store: StorePlace,
    pub(crate) network: Network,
    pub(crate) n2: Listen,
    pub(crate) http: Listen,
    pub(crate) policy: Policy,
    pub(crate) search: Search,
    pub(crate) events: Events,
    pub(crate) evidence: Evidence,
    pub(crate) charging: Charging,
    pub(crate) presence: Presence,
    /// Subscriptions and their delivery.
    pub(crate) delivery: DeliveryConfig,
    /// Which area a reader serves. A gNB that is not named serves area code r with reader r.
    pub(crate) reader: Vec<Reader>,
    /// Where a fleet may report. A fleet that is not named may report everywhere.
    pub(crate) fleet: Vec<Fleet>,
    /// The service-based interface.
    pub(crate) sbi: SbiConfig,
    /// gNBs behind an AMF.
    pub(crate) amf: AmfPlace,
    /// What AFs are offered.
    pub(crate) nef: NefConfig,
}

/// Where the store is; by default in the data directory.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct StorePlace {
    /// A database that several processes may share.
    pub(crate) url: Option<UrlText>,
    /// A file with the password, readable by its owner alone. `AMBIT_STORE_PASSWORD` goes before it.
    pub(crate) password_file: Option<PathBuf>,
}

/// A URL that may hold a password: not printed.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub(crate) struct UrlText(String);

impl std::str::FromStr for UrlText {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl std::fmt::Debug for UrlText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UrlText(..)")
    }
}

impl StorePlace {
    /// The database, if there is one.
    pub(crate) fn database(&self) -> Result<Option<PostgresUrl>, Failure> {
        let Some(url) = &self.url else {
            return Ok(None);
        };
        let password = match std::env::var("AMBIT_STORE_PASSWORD") {
            Ok(password) => Some(Zeroizing::new(password)),
            Err(_) => self.password_file.as_deref().map(read_secret).transpose()?,
        };
        PostgresUrl::new(&url.0, password.as_ref().map(|password| password.as_str()))
            .map(Some)
            .map_err(|error| Failure::input(error.name(), format!("store: {error}")))
    }
}

/// A secret from a file that is its owner's alone, without the end of the line.
fn read_secret(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let failed = |error| Failure::io(format!("store.password_file {}", path.display()), &error);
    let mode = std::fs::metadata(path)
        .map_err(failed)?
        .permissions()
        .mode()
        & 0o777;
    if mode & 0o077 != 0 {
        let rule = format!(
            "store.password_file {}: has mode {mode:o}, must be readable by its owner alone (0600)",
            path.display()
        );
        return Err(Failure::resource("password_file", rule));
    }
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(failed)?);
    Ok(Zeroizing::new(
        text.trim_end_matches(['\r', '\n']).to_owned(),
    ))
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Network {
    pub(crate) mcc: String,
    pub(crate) mnc: String,
    pub(crate) nid: Option<String>,
    pub(crate) epoch_s: u32,
    /// By default 60, or a tenth of a shorter epoch.
    pub(crate) grace_s: Option<u32>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Listen {
    pub(crate) listen: Option<SocketAddr>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Policy {
    /// `isolated-private` (default) or `public`.
    pub(crate) deployment: Option<String>,
    /// Whether a public network takes devices of type 1, for study.
    pub(crate) allow_type1_in_public: bool,
    /// Whether a SUCI of the null scheme is refused.
    pub(crate) refuse_null_scheme: bool,
    /// How long the key of a UICC registration is good, in seconds.
    pub(crate) key_lifetime_s: Option<u32>,
    /// Whether reports of the blind form are accepted.
    pub(crate) blind: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Search {
    pub(crate) prf_per_s_max: u64,
    pub(crate) reader_share_percent: u8,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Events {
    pub(crate) interval_s: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Evidence {
    pub(crate) checkpoint_interval_s: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reader {
    pub(crate) gnb: u32,
    pub(crate) reader: u16,
    pub(crate) area: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fleet {
    pub(crate) name: String,
    /// Where it may report; everywhere without this.
    pub(crate) areas: Option<Vec<String>>,
    /// The AF that pays for it.
    pub(crate) af: Option<String>,
    /// Its rating group at a CHF.
    pub(crate) rating_group: Option<u32>,
    /// How often its devices are expected to report; they are never missing without this.
    pub(crate) report_interval_s: Option<u32>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Presence {
    /// How long beyond its interval a device is waited for.
    pub(crate) grace_s: u32,
}

impl Default for Presence {
    fn default() -> Self {
        Self { grace_s: 60 }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: "ambit-data".into(),
            kek_file: None,
            store: StorePlace::default(),
            network: Network::default(),
            n2: Listen::default(),
            http: Listen::default(),
            policy: Policy::default(),
            search: Search::default(),
            events: Events::default(),
            evidence: Evidence::default(),
            charging: Charging::default(),
            presence: Presence::default(),
            delivery: DeliveryConfig::default(),
            reader: Vec::new(),
            fleet: Vec::new(),
            sbi: SbiConfig::default(),
            amf: AmfPlace::default(),
            nef: NefConfig::default(),
        }
    }
}

impl Default for Network {
    fn default() -> Self {
        Self {
            mcc: "001".into(),
            mnc: "01".into(),
            nid: None,
            epoch_s: 600,
            grace_s: None,
        }
    }
}

impl Listen {
    /// The address, by default on loopback.
    pub(crate) fn or_port(&self, port: u16) -> SocketAddr {
        let loopback = SocketAddr::from(([127, 0, 0, 1], port));
        self.listen.unwrap_or(loopback)
    }
}

impl Default for Search {
    fn default() -> Self {
        Self {
            prf_per_s_max: 1_500_000,
            reader_share_percent: 50,
        }
    }
}

impl Default for Events {
    fn default() -> Self {
        Self { interval_s: 60 }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Charging {
    /// Where CDR files go; none are written without it.
    pub(crate) dir: Option<PathBuf>,
    pub(crate) file_kib_max: u32,
    pub(crate) file_s_max: u32,
    /// API root of a CHF; no events are sent without it.
    pub(crate) chf: Option<String>,
    /// Rating group of fleets that have none of their own.
    pub(crate) rating_group: u32,
    /// Records up to this one are not sent, when sending begins.
    pub(crate) chf_after_record: i64,
    /// Processes on the same database that will not come back: their instances.
    pub(crate) chf_adopt: Vec<String>,
}

/// Online charging.
pub(crate) struct ChfConfig {
    pub(crate) api_root: String,
    /// But for who charges and where the journal is.
    pub(crate) online: OnlineConfig,
    pub(crate) adopt: Vec<[u8; 16]>,
}

impl Default for Charging {
    fn default() -> Self {
        Self {
            dir: None,
            file_kib_max: 1024,
            file_s_max: 3600,
            chf: None,
            rating_group: 1,
            chf_after_record: 0,
            chf_adopt: Vec::new(),
        }
    }
}

impl Default for Evidence {
    fn default() -> Self {
        Self {
            checkpoint_interval_s: 60,
        }
    }
}

impl Config {
    /// Reads a file. Relative paths in it count from where the command runs.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let name = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::io(format!("--config {name}"), &error))?;
        toml::from_str(&text).map_err(|error: toml::de::Error| {
            // What is wrong is shown with its line; not where that may hold a password.
            let line = error.span().and_then(|span| {
                let before = text.get(..span.start)?;
                let number = before.matches('\n').count();
                text.lines().nth(number).map(|line| (number + 1, line))
            });
            match line {
                Some((number, line)) if line.contains("://") => Failure::input(
                    "config_invalid",
                    format!("{name}: line {number}: {}", error.message()),
                ),
                _ => Failure::input("config_invalid", format!("{name}: {error}")),
            }
        })
    }

    /// The network's identity.
    pub(crate) fn snid(&self) -> Result<Snid, Failure> {
        let bad = |error| invalid("network", &error);
        let plmn = Plmn::new(&self.network.mcc, &self.network.mnc).map_err(bad)?;
        let nid = self.network.nid.as_deref().map(str::parse::<Nid>);
        Ok(Snid::new(plmn, nid.transpose().map_err(bad)?))
    }

    /// What the ADM takes from it.
    pub(crate) fn adm(&self) -> Result<AdmConfig, Failure> {
        let snid = self.snid()?;
        if self.search.prf_per_s_max == 0 {
            return Err(invalid("search: prf_per_s_max", &"must be at least 1"));
        }
        let defaults = AdmConfig::new(snid);
        let deployment = match self.policy.deployment.as_deref().map(str::parse) {
            None => defaults.deployment,
            Some(parsed) => parsed.map_err(|rule: &str| invalid("policy.deployment", &rule))?,
        };
        let mut adm = AdmConfig {
            deployment,
            allow_type1_in_public: self.policy.allow_type1_in_public,
            null_scheme_allowed: !self.policy.refuse_null_scheme,
            key_lifetime_s: self
                .policy
                .key_lifetime_s
                .unwrap_or(defaults.key_lifetime_s),
            period_s: self.network.epoch_s,
            grace_s: match self.network.grace_s {
                Some(grace_s) => grace_s,
                None => (self.network.epoch_s / 10).min(60),
            },
            blind_allowed: self.policy.blind,
            search_prf_per_s_max: self.search.prf_per_s_max,
            search_reader_share_percent: self.search.reader_share_percent,
            event_interval_s: self.events.interval_s,
            checkpoint_interval_s: self.evidence.checkpoint_interval_s,
            ..defaults
        };
        for fleet in &self.fleet {
            if self.fleet.iter().filter(|f| f.name == fleet.name).count() > 1 {
                return Err(invalid("fleet", &format!("{} stands twice", fleet.name)));
            }
            let Some(areas) = &fleet.areas else {
                continue;
            };
            let areas = areas
                .iter()
                .map(|code| parse_area_code(code).map(|code| snid.area(code)))
                .collect::<Result<_, _>>()
                .map_err(|error| invalid(&format!("fleet {}: areas", fleet.name), &error))?;
            adm.fleet_areas.insert(fleet.name.clone(), areas);
        }
        Ok(adm)
    }

    /// When a device is missing.
    pub(crate) fn expectation(&self) -> Result<Expectation, Failure> {
        let mut expectation = Expectation {
            grace_s: self.presence.grace_s,
            ..Expectation::default()
        };
        for fleet in &self.fleet {
            let Some(interval_s) = fleet.report_interval_s else {
                continue;
            };
            if interval_s == 0 {
                let field = format!("fleet {}: report_interval_s", fleet.name);
                return Err(invalid(&field, &"must be at least 1"));
            }
            expectation
                .interval_s
                .insert(fleet.name.clone(), interval_s);
        }
        Ok(expectation)
    }

    /// Offline charging, if it is asked for.
    pub(crate) fn charging(&self) -> Result<Option<ChargingConfig>, Failure> {
        let charging = &self.charging;
        if charging.file_kib_max == 0 {
            return Err(invalid("charging.file_kib_max", &"must be at least 1"));
        }
        if charging.file_s_max == 0 {
            return Err(invalid("charging.file_s_max", &"must be at least 1"));
        }
        let fleets = self.fleet.iter();
        let afs = fleets.filter_map(|fleet| Some((fleet.name.clone(), fleet.af.clone()?)));
        Ok(charging.dir.clone().map(|dir| ChargingConfig {
            dir,
            file_octets_max: u64::from(charging.file_kib_max) * 1024,
            file_s_max: charging.file_s_max,
            fleet_afs: afs.collect(),
        }))
    }

    /// Online charging, if it is asked for.
    pub(crate) fn chf(&self) -> Result<Option<ChfConfig>, Failure> {
        let charging = &self.charging;
        let Some(api_root) = &charging.chf else {
            return Ok(None);
        };
        let with_tls = !self.sbi.insecure_loopback && self.sbi.is_on();
        let field = format!("charging.chf {api_root}");
        if !is_usable_uri(api_root) {
            return Err(invalid(&field, &"must be a URI, https://host:port"));
        }
        match (api_root.starts_with("https://"), with_tls) {
            (true, false) => {
                let rule = "https: needs certificates: set sbi.pki";
                return Err(invalid(&field, &rule));
            }
            (false, true) => {
                let rule = "must begin with https:// where the service-based interface has TLS";
                return Err(invalid(&field, &rule));
            }
            _ => {}
        }
        if charging.chf_after_record < 0 {
            let rule = "must not be negative";
            return Err(invalid("charging.chf_after_record", &rule));
        }
        let is_shared = self.store.url.is_some();
        let adopt = charging.chf_adopt.iter().map(|text| {
            let mut id = [0; 16];
            match hex::decode_to_slice(text.replace('-', ""), &mut id) {
                Ok(()) if is_shared => Ok(id),
                Ok(()) => Err("needs a store that several processes share (store.url)"),
                Err(_) => Err("must be instances: 32 hexadecimal digits each"),
            }
        });
        let adopt = adopt
            .collect::<Result<_, _>>()
            .map_err(|rule| invalid("charging.chf_adopt", &rule))?;
        let tariff = |fleet: &Fleet| Tariff {
            af: fleet.af.clone(),
            rating_group: fleet.rating_group,
        };
        let fleets = self.fleet.iter();
        Ok(Some(ChfConfig {
            api_root: api_root.clone(),
            online: OnlineConfig {
                dir: PathBuf::new(),
                nf_name: String::new(),
                mcc: self.network.mcc.clone(),
                mnc: self.network.mnc.clone(),
                nid: self.network.nid.clone(),
                rating_group: charging.rating_group,
                is_adopted: false,
                journal_octets_max: 4 << 20,
                fleets: fleets.map(|f| (f.name.clone(), tariff(f))).collect(),
                after_record: charging.chf_after_record,
            },
            adopt,
        }))
    }

    /// What the AIOTF takes from it.
    pub(crate) fn aiotf(&self, aiotf_id: [u8; 16]) -> Result<AiotfConfig, Failure> {
        let mut aiotf = AiotfConfig::new(self.snid()?, aiotf_id);
        aiotf.window_check_s = self.amf.window_check_s;
        for reader in &self.reader {
            let field = format!("reader {} of gNB {}: area", reader.reader, reader.gnb);
            let code = parse_area_code(&reader.area).map_err(|error| invalid(&field, &error))?;
            let readers: &mut BTreeMap<u16, [u8; 3]> = aiotf.readers.entry(reader.gnb).or_default();
            if reader.reader == 0 {
                return Err(invalid("reader", &"must be 1 to 65535"));
            }
            if readers.insert(reader.reader, code).is_some() {
                return Err(invalid(&field, &"stands twice"));
            }
        }
        Ok(aiotf)
    }
}

pub(crate) fn invalid(field: &str, rule: &dyn std::fmt::Display) -> Failure {
    Failure::input("config_invalid", format!("{field}: {rule}"))
}
