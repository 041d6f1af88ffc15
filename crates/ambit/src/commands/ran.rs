//! `ambit ran`: readers and devices against a running core.

mod amf;
mod state;

use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::thread;

use ambit_device::Profile;
use ambit_lab::reader::CardReader;
use ambit_protocol::area::Plmn;
use ambit_protocol::{AreaId, RootKey, Snid};
use ambit_provisioning::{CredentialKind, DeviceSpec, read_csv};
use ambit_ran::air::{AirConfig, Channel};
use ambit_ran::fleet::{
    self, Fate, Fleet, FleetCard, FleetConfig, Schedule, ScheduleId, numbered_payload,
};
use ambit_ran::frame::SiteReader;
use ambit_ran::gnb::{GnbConfig, ReaderConfig};
use ambit_ran::net::{NetConfig, Progress, Stop, Summary, run_observed};
use ambit_ran::site::Site;
use ambit_uicc::terminal::{AiotCredential, InProcess, Terminal, UsimCard};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use self::state::State;
use super::printed;
use crate::card_dir::{self, CardDir, LockedMemory};
use crate::config::Config;
use crate::failure::Failure;
use crate::pcap::Pcap;

/// Run readers and devices against a core.
///
/// The devices come from the CSV that was imported into the core, keys included, or have the cards of a directory, or both.
/// Each registers and then reports at its share of --rate. Their non-volatile memory (anchors, counters, what was written to
/// them, whether they are disabled) is kept in a state file between runs, as real devices keep theirs. A core that is not there
/// or goes away is waited for.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Ran {
    #[command(subcommand)]
    function: Option<RanFunction>,
    /// N2 address of the core, or of an AMF.
    #[arg(long, value_name = "ADDR", required = true)]
    n2: Option<String>,
    /// Device CSV with keys.
    #[arg(long, value_name = "FILE", required_unless_present = "cards")]
    devices: Option<PathBuf>,
    /// Devices with emulated cards: what `ambit uicc personalise` made. A directory of cards, or one card.
    #[arg(long, value_name = "DIR")]
    cards: Option<PathBuf>,
    /// Configuration file: the network, its epoch, and the readers (`[[reader]]`).
    #[arg(long, value_name = "FILE", env = "AMBIT_CONFIG")]
    config: Option<PathBuf>,
    /// Reports a second, over all devices, besides the registrations.
    #[arg(long, default_value_t = 10.0)]
    rate: f64,
    /// How long devices report; what is left then is waited for, up to --linger [default: until SIGINT].
    #[arg(long)]
    seconds: Option<u64>,
    /// How long to wait for the last answers, in seconds.
    #[arg(long, default_value_t = 10)]
    linger: u64,
    /// Share of frames that the air loses, each way: 0 to 1, or a percentage such as 10%.
    #[arg(long, default_value = "0", value_parser = parse_share)]
    loss: f64,
    /// Readers of the one gNB, when the configuration names none: reader r serves area code r.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    readers: u16,
    /// Number of the first gNB, when the configuration names none: two emulators on one core need different ones.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..1 << 22))]
    gnb: u32,
    /// Seed of the air and the devices [default: drawn].
    #[arg(long)]
    seed: Option<u64>,
    /// The devices' non-volatile memory [default: FILE.state beside --devices, DIR.state beside --cards].
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Write every N2 message to this new file, as a packet capture (pcap) that Wireshark and tshark read: NGAP on SCTP.
    #[arg(long, value_name = "FILE")]
    capture: Option<PathBuf>,
    /// Write what each device said and saw accepted, one JSON object an item.
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// The summary as JSON.
    #[arg(long)]
    json: bool,
}

/// What else there is of the network that readers are in.
#[derive(Subcommand)]
enum RanFunction {
    Amf(amf::AmfCommand),
}

/// Time over which devices are first powered, so that they do not all speak at once.
const POWER_ON_SPREAD_MS: u64 = 2000;

impl Ran {
    pub(crate) fn run(mut self) -> Result<(), Failure> {
        if let Some(RanFunction::Amf(amf)) = self.function.take() {
            return amf.run();
        }
        let config = match &self.config {
            Some(path) => Config::read(path)?,
            None => Config::default(),
        };
        if !(self.rate.is_finite() && self.rate > 0.0) {
            return Err(Failure::input(
                "rate_invalid",
                "--rate: must be more than 0",
            ));
        }
        let n2 = resolve(self.n2.as_deref().unwrap_or_default())?;
        let devices = self.devices(&config)?;
        let beside = self.devices.as_deref().or(self.cards.as_deref());
        let state_file = self
            .state
            .clone()
            .unwrap_or_else(|| state_beside(beside.unwrap_or(Path::new("ambit-ran"))));
        let _in_use = state::lock(&state_file)?;
        let state = State::read(&state_file)?;
        let seed = self.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
        let count = devices.len();
        let mut site = self.site(&config, devices, &state, seed)?;
        let mut capture = match &self.capture {
            Some(path) => Some(Pcap::create("--capture", path)?),
            None => None,
        };
        // From here on counters are used: a run that does not come to its end must not use them again.
        state.mark_in_use(&state_file)?;

        let stop = Stop::new();
        let mut signals =
            Signals::new([SIGTERM, SIGINT]).map_err(|error| Failure::io("signals", &error))?;
        let on_signal = stop.clone();
        thread::spawn(move || {
            if signals.forever().next().is_some() {
                on_signal.stop();
            }
        });
        let mut net = NetConfig::new(n2);
        net.backoff_max_ms = 1000;
        net.duration_ms = self
            .seconds
            .map(|s| s.saturating_add(self.linger).saturating_mul(1000));
        let bar = self.bar(count);
        let over_ms = self.seconds.map_or(u64::MAX, |s| s.saturating_mul(1000));
        let mut observe = |unix_ms, way, gnb: usize, pdu: &[u8]| {
            if let Some(capture) = &mut capture {
                // gNBs count from 1, as connections do in the core's captures.
                capture.write(unix_ms, way, gnb as u64 + 1, pdu);
            }
        };
        let on_progress = |progress: &Progress| {
            show_progress(bar.as_ref(), progress);
            if progress.elapsed_ms >= over_ms && progress.pending == 0 {
                stop.stop();
            }
        };
        let summary = run_observed(&mut site, &net, &stop, on_progress, Some(&mut observe));
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        let summary = summary.map_err(|error| Failure::input("n2_invalid", error))?;
        State::of(site.fleet(), &state).write(&state_file)?;
        if let Some(path) = &self.ledger {
            write_ledger(path, site.fleet())
                .map_err(|error| Failure::io(path.display(), &error))?;
        }
        self.report(&summary, seed)?;
        match fault(&summary) {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    /// Devices with keys, then devices with cards. The cards are in hand from here on.
    fn devices(&self, config: &Config) -> Result<Vec<RanDevice>, Failure> {
        let mut devices = Vec::new();
        if let Some(path) = &self.devices {
            let name = path.display();
            let file = File::open(path).map_err(|error| Failure::io(name, &error))?;
            let refused = |errors: &dyn std::fmt::Display| {
                Failure::input("csv_refused", format!("{}\n{errors}", path.display()))
            };
            for device in read_csv(file).map_err(|errors| refused(&errors))? {
                if device.key.is_none() {
                    let line = device.line;
                    return Err(refused(&format!("line {line}, column key: must be given")));
                }
                devices.push(RanDevice { device, card: None });
            }
        }
        if let Some(path) = &self.cards {
            let plmn = config.snid()?.plmn();
            for path in card_dir::find(path)? {
                devices.push(RanDevice::with_card(&path, plmn)?);
            }
        }
        Ok(devices)
    }

    fn site(
        &self,
        config: &Config,
        devices: Vec<RanDevice>,
        state: &State,
        seed: u64,
    ) -> Result<Site, Failure> {
        let snid = config.snid()?;
        let gnbs = self.gnbs(config, snid)?;
        let adm = config.adm()?;
        let mut readers: Vec<(SiteReader, AreaId)> = Vec::new();
        for (gnb, state) in (0u16..).zip(&gnbs) {
            for reader in &state.readers {
                let reader_index = reader.reader_index;
                readers.push((
                    SiteReader { gnb, reader_index },
                    snid.area(reader.area_code),
                ));
            }
        }
        let mut fleet = Fleet::new(
            FleetConfig {
                // A ledger that is written out must be whole.
                ledger_items_max: if self.ledger.is_some() {
                    usize::MAX
                } else {
                    64
                },
                ..FleetConfig::new(seed)
            },
            numbered_payload(),
        );
        let schedules = self.schedules(&mut fleet, devices.len());
        let mut rng = fastrand::Rng::with_seed(seed);
        for (n, RanDevice { device, card }) in devices.into_iter().enumerate() {
            let mut profile = Profile::new(device.device_type, device.form, snid);
            profile.tag_len = device.tag_len;
            profile.period_s = config.network.epoch_s;
            profile.timing.answer_timeout_ms = 1000;
            profile.timing.backoff_first_ms = 250;
            profile.timing.backoff_max_ms = 3_000;
            let kept = state.device(&device.device_id);
            // Where its fleet may report; a fleet that is named nowhere, anywhere.
            let allowed: Vec<SiteReader> = match adm.fleet_areas.get(&device.fleet) {
                Some(areas) => readers
                    .iter()
                    .filter(|(_, area)| areas.contains(area))
                    .map(|(r, _)| *r)
                    .collect(),
                None => readers.iter().map(|(reader, _)| *reader).collect(),
            };
            let reader = allowed.get(n % allowed.len().max(1)).copied();
            let key = device.key.unwrap_or(RootKey::new([0; 16]));
            let spec = fleet::DeviceSpec {
                device_id: device.device_id.clone(),
                key,
                suite: device.suite,
                profile,
                anchor: kept.anchor,
                counter: kept.counter,
                reader: reader.unwrap_or(SiteReader {
                    gnb: 0,
                    reader_index: 1,
                }),
                schedule: schedules.of(n),
                power_cycles: None,
                power_on_ms: Some(rng.u64(0..POWER_ON_SPREAD_MS)),
            };
            let added = match (card, device.credential) {
                (Some(CardIn::Usim(card)), _) => fleet.add_uicc(spec, card),
                (Some(CardIn::Aiot(card)), _) => fleet.add_with_credential(spec, *card),
                (None, CredentialKind::UiccAiot) => {
                    let (suite, tag_len) = (device.suite, device.tag_len);
                    let key = RootKey::new(*spec.key.expose());
                    let card = CardReader::with_aiot(key, suite, tag_len, &device.device_id)
                        .map_err(|error| Failure::input("csv_refused", error))?;
                    fleet.add_with_credential(spec, card.aiot(suite, tag_len))
                }
                (None, _) => fleet.add(spec),
            };
            let is_restored = added.is_some_and(|index| fleet.restore(index, &kept));
            if !is_restored {
                let name = hex::encode(&device.device_id);
                let message = format!("--state: device {name}: no such memory");
                return Err(Failure::input("state_invalid", message));
            }
        }
        let channel = Channel {
            delay_ms_min: 2,
            delay_ms_max: 20,
            ..Channel::lossy(self.loss)
        };
        Ok(Site::new(AirConfig::symmetric(seed, channel), gnbs, fleet))
    }

    /// When devices report: so many items each that the fleet comes to its rate, spread evenly over the run.
    fn schedules(&self, fleet: &mut Fleet, devices: usize) -> Schedules {
        let count = devices.max(1) as f64;
        let mut schedule = |interval_ms: f64, items_max| {
            fleet.add_schedule(Schedule {
                first_ms: 0,
                // The jitter comes on top, half of it on average.
                interval_ms: (interval_ms / 2.0).max(1.0) as u64,
                jitter_ms: interval_ms as u64,
                items_max,
            })
        };
        let Some(seconds) = self.seconds else {
            let each = schedule(count * 1000.0 / self.rate, None);
            return Schedules {
                fewer: each,
                more: each,
                more_devices: 0,
            };
        };
        let run_ms = (seconds
            .saturating_mul(1000)
            .saturating_sub(POWER_ON_SPREAD_MS))
        .max(1) as f64;
        let items = self.rate * run_ms / 1000.0;
        let fewer_items = (items / count).floor();
        let mut of = |items: f64| match items as u32 {
            0 => None,
            items => schedule(run_ms / f64::from(items), Some(items)),
        };
        Schedules {
            fewer: of(fewer_items),
            more: of(fewer_items + 1.0),
            more_devices: (items - fewer_items * count).round() as usize,
        }
    }

    /// The gNBs and readers that the configuration names, or one gNB with readers 1 to `--readers`.
    fn gnbs(&self, config: &Config, snid: Snid) -> Result<Vec<GnbConfig>, Failure> {
        let aiotf = config.aiotf([0; 16])?;
        if aiotf.readers.is_empty() {
            return Ok(vec![GnbConfig::new(self.gnb, snid, self.readers)]);
        }
        let mut named: Vec<_> = aiotf.readers.iter().collect();
        named.sort_unstable_by_key(|(gnb_id, _)| **gnb_id);
        let gnbs = named.into_iter().map(|(gnb_id, readers)| {
            let mut gnb = GnbConfig::new(*gnb_id, snid, 0);
            gnb.readers = readers
                .iter()
                .map(|(reader_index, area_code)| ReaderConfig {
                    reader_index: *reader_index,
                    area_code: *area_code,
                })
                .collect();
            gnb
        });
        Ok(gnbs.collect())
    }

    fn bar(&self, devices: usize) -> Option<ProgressBar> {
        if self.json || !std::io::stderr().is_terminal() {
            return None;
        }
        let bar = match self.seconds {
            Some(seconds) => ProgressBar::new(seconds * 1000),
            None => ProgressBar::no_length(),
        };
        if let Ok(style) = ProgressStyle::with_template("{bar:24} {msg}") {
            bar.set_style(style);
        }
        bar.set_message(format!("{devices} devices"));
        Some(bar)
    }

    fn report(&self, summary: &Summary, seed: u64) -> Result<(), Failure> {
        let (progress, fleet) = (&summary.progress, &summary.fleet);
        let mut out = std::io::stdout();
        if self.json {
            let summary = json!({
                "seed": seed,
                "elapsed_s": progress.elapsed_ms as f64 / 1000.0,
                "devices": progress.devices,
                "registered": progress.registered,
                "items": fleet.items,
                "accepted": fleet.accepted,
                "pending": fleet.pending(),
                "expired": fleet.expired,
                "reports_built": fleet.reports_built,
                "reports_transmitted": fleet.reports_transmitted,
                "downlinks": fleet.downlinks,
                "downlinks_ignored": fleet.downlinks_ignored,
                "gnbs": progress.gnbs,
                "reconnects": progress.reconnects,
                "connect_failures": progress.connect_failures,
                "late_ms_max": summary.late_ms_max,
                "last_error": summary.last_error,
            });
            return printed(writeln!(out, "{summary}"));
        }
        printed(writeln!(
            out,
            "{} of {} devices registered; {} of {} items accepted, {} waiting; {} reports built, {} transmissions; {} reconnects",
            progress.registered,
            progress.devices,
            fleet.accepted,
            fleet.items,
            fleet.pending(),
            fleet.reports_built,
            fleet.reports_transmitted,
            progress.reconnects,
        ))
    }
}

/// A device to emulate.
struct RanDevice {
    device: DeviceSpec,
    card: Option<CardIn>,
}

/// What a card does for its device.
enum CardIn {
    /// Its USIM agrees K.
    Usim(FleetCard),
    /// Its AIoT application keeps K.
    Aiot(Box<AiotCredential<InProcess<LockedMemory>>>),
}

impl RanDevice {
    /// The device that a card was made for, with the card in it.
    fn with_card(path: &Path, home: Plmn) -> Result<Self, Failure> {
        let card = CardDir::open(path)?;
        let bad = |rule: &dyn std::fmt::Display| {
            Failure::input("card_invalid", format!("{}: {rule}", path.display()))
        };
        let plmn = card.profile.imsi.plmn();
        if plmn != home {
            return Err(bad(&format!(
                "imsi: is of {plmn}, the network is {home} (--config)"
            )));
        }
        let (device, card) = card.into_card()?;
        let terminal = Terminal::new(InProcess(card));
        let card = if device.credential == CredentialKind::UiccAiot {
            CardIn::Aiot(Box::new(
                AiotCredential::open(terminal).map_err(|error| bad(&error))?,
            ))
        } else {
            let card = UsimCard::open(terminal, card_dir::random).map_err(|error| bad(&error))?;
            CardIn::Usim(Box::new(card))
        };
        let card = Some(card);
        Ok(Self { device, card })
    }
}

/// The first devices report once more than the others, so that the rate comes out.
struct Schedules {
    fewer: Option<ScheduleId>,
    more: Option<ScheduleId>,
    more_devices: usize,
}

impl Schedules {
    const fn of(&self, device: usize) -> Option<ScheduleId> {
        if device < self.more_devices {
            self.more
        } else {
            self.fewer
        }
    }
}

/// Why nothing came of a run, if nothing did.
fn fault(summary: &Summary) -> Option<Failure> {
    let progress = &summary.progress;
    let last = summary.last_error.as_deref().unwrap_or("no answer");
    if progress.gnbs_connected == 0
        && progress.reconnects == 0
        && summary.gnbs.iter().all(|gnb| gnb.windows_opened == 0)
    {
        return Some(Failure::resource(
            "n2_unreachable",
            format!("--n2: no connection: {last}"),
        ));
    }
    if summary.gnbs.iter().all(|gnb| gnb.windows_opened == 0) {
        let message = "the core opened no window: are PLMN, NID and areas those of the core? (ng_setup_* and window_* of ambit_n2_total in its /metrics)";
        return Some(Failure::resource("no_window", message));
    }
    if progress.devices > 0 && summary.fleet.accepted == 0 {
        let message = "no report was accepted: are the devices imported with these keys, enabled, and allowed in these areas?";
        return Some(Failure::negative("nothing_accepted", message));
    }
    if progress.reconnects > 10 * progress.gnbs {
        eprintln!(
            "ambit: {} reconnects: does another emulator use the same gNB number? (--gnb) {last}",
            progress.reconnects
        );
    }
    None
}

fn show_progress(bar: Option<&ProgressBar>, progress: &Progress) {
    if let Some(bar) = bar {
        bar.set_position(progress.elapsed_ms);
        bar.set_message(format!(
            "{} s  {}/{} registered  {} accepted, {} waiting  {} of {} gNBs connected",
            progress.elapsed_ms / 1000,
            progress.registered,
            progress.devices,
            progress.accepted,
            progress.pending,
            progress.gnbs_connected,
            progress.gnbs,
        ));
    }
}

/// Items of all devices, one JSON object a line.
fn write_ledger(path: &Path, fleet: &Fleet) -> std::io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    for device in fleet.devices() {
        for item in device.ledger() {
            let fate = match item.fate {
                Fate::Waiting => "waiting",
                Fate::Accepted { .. } => "accepted",
                Fate::Expired => "expired",
                Fate::Lost => "lost",
            };
            let reports: Vec<Value> = item
                .reports
                .iter()
                .map(|report| {
                    json!({
                        "form": report.form.name(),
                        "tag1": hex::encode(report.tag1()),
                        "transmissions": report.transmissions,
                    })
                })
                .collect();
            let line = json!({
                "device_id": hex::encode(device.device_id()),
                "item": item.number,
                "cause": item.cause.number(),
                "seq": item.seq,
                "fate": fate,
                "reports": reports,
            });
            writeln!(out, "{line}")?;
        }
    }
    out.flush()
}

fn resolve(text: &str) -> Result<SocketAddr, Failure> {
    let bad =
        |rule: &dyn std::fmt::Display| Failure::input("n2_invalid", format!("--n2 {text}: {rule}"));
    let mut found = text.to_socket_addrs().map_err(|error| bad(&error))?;
    found.next().ok_or_else(|| bad(&"no such address"))
}

/// A share of 0 to 1, or a percentage.
pub(super) fn parse_share(text: &str) -> Result<f64, String> {
    let (number, scale) = match text.strip_suffix('%') {
        Some(percent) => (percent, 100.0),
        None => (text, 1.0),
    };
    match number.trim().parse::<f64>() {
        Ok(value) if (0.0..=scale).contains(&value) => Ok(value / scale),
        _ => Err("must be 0 to 1, or a percentage such as 10%".into()),
    }
}

fn state_beside(devices: &Path) -> PathBuf {
    // Without a slash at its end.
    let mut name = devices.components().collect::<PathBuf>().into_os_string();
    name.push(".state");
    name.into()
}
