//! The ADM: the only holder of K.
//!
//! It keeps device keys wrapped at rest and expanded in memory, issues the beacon chain, finds out who sent a report,
//! verifies it, and makes the acceptance record durable before anything is answered. What happens to one report stands as
//! a list of steps in [`mod@authenticate`], what happens to a UICC registration in `registration`.
//!
//! Time is an argument (Unix time in ms) and randomness is injected, so that a simulation on virtual time runs this code.

mod afs;
pub mod authenticate;
mod beacons;
mod budget;
mod events;
mod evidence;
mod follow;
mod identity;
mod inventory;
mod kek;
mod kept;
pub mod policy;
mod provision;
mod recorder;
mod registration;
mod registry;
mod subscribers;
mod tables;

use std::collections::{HashMap, VecDeque};

use ambit_adm_api::{
    AdmClient, AdmError, Beacons, ChallengeId, CommandOutcome, DoaReport, NadmError, Pipelined,
    RegistrationStep, Tally, Verdict,
};
use ambit_protocol::{AreaId, Snid};
use ambit_store::{AlarmRow, Store, StoreError};
use ambit_uicc::suci::HomeNetwork;
use zeroize::Zeroizing;

use authenticate::{Batch, Flight};
use beacons::BeaconSource;
use budget::SearchBudget;
use events::EventLog;
use evidence::Evidence;
use kek::Purpose;
use kept::KeptCommands;
use policy::Deployment;
use recorder::Recorder;
use registration::Challenges;
use registry::{Index, Registry};
use tables::{BeaconTable, CounterIndex};

pub use afs::AfSecret;
pub use events::{Severity, Subject};
pub use evidence::{NoTagProof, TagProof, is_signed, public_key};
pub use kek::{Kek, KekError};
pub use kept::{KeepError, LIFETIME_S_MAX};
pub use provision::{GeneratedKey, ProvisionError};
pub use subscribers::SubscriberSpec;

/// How an ADM behaves. The defaults are those of the protocol text.
#[derive(Clone, Debug)]
pub struct AdmConfig {
    /// The network.
    pub snid: Snid,
    /// Length of an epoch in seconds.
    pub period_s: u32,
    /// How long the previous epoch's RAND_n is still accepted, in seconds. Not over a restart in which the epoch changed,
    /// as the store may then be an older copy, put back.
    pub grace_s: u32,
    /// How many epochs a new chain reaches ahead.
    pub chain_epochs: u32,
    /// W of section 6: how far ahead of the last counter T-IDs are indexed.
    pub counter_window: u32,
    /// What kind of network this is (section 10).
    pub deployment: Deployment,
    /// Whether a public network takes devices of type 1, for study. Said in an event at each start.
    pub allow_type1_in_public: bool,
    /// Whether a SUCI of the null scheme is taken: the IMSI in clear.
    pub null_scheme_allowed: bool,
    /// Whether the blind form is accepted (section 10). A public network never does.
    pub blind_allowed: bool,
    /// How long the K_AIOT of a UICC registration is good, in seconds. After that the device is met with silence until it
    /// has registered again.
    pub key_lifetime_s: u32,
    /// How long the answer to a challenge is awaited, in seconds.
    pub challenge_lifetime_s: u32,
    /// Areas each fleet may report in; a fleet that is not named may report everywhere.
    pub fleet_areas: HashMap<String, Vec<AreaId>>,
    /// Population search: PRF evaluations a second for the whole network, at most.
    pub search_prf_per_s_max: u64,
    /// The share of that which one reader may use, in percent.
    pub search_reader_share_percent: u8,
    /// Threads that a population search is spread over, at most.
    pub search_threads_max: usize,
    /// An event of one kind and place is written at most once in so many seconds; the rest is counted into the next one.
    pub event_interval_s: u32,
    /// How often the evidence is signed while records come, in seconds.
    pub checkpoint_interval_s: u32,
}

impl AdmConfig {
    /// The defaults for a network.
    pub fn new(snid: Snid) -> Self {
        Self {
            snid,
            period_s: 600,
            grace_s: 60,
            chain_epochs: ambit_protocol::chain::CHAIN_EPOCHS_DEFAULT,
            counter_window: 16,
            deployment: Deployment::IsolatedPrivate,
            allow_type1_in_public: false,
            null_scheme_allowed: true,
            blind_allowed: false,
            key_lifetime_s: 30 * 86_400,
            challenge_lifetime_s: 60,
            fleet_areas: HashMap::new(),
            search_prf_per_s_max: 1_500_000,
            search_reader_share_percent: 50,
            search_threads_max: ambit_search::threads_default(),
            event_interval_s: 60,
            checkpoint_interval_s: 60,
        }
    }
}

/// Where random octets come from: keys, seeds and nonces of wrapping.
pub type Entropy = Box<dyn FnMut(&mut [u8]) -> Result<(), OpenError> + Send>;

/// Random octets from the operating system.
pub fn system_entropy() -> Entropy {
    Box::new(|out| getrandom::fill(out).map_err(|error| OpenError::Entropy(error.to_string())))
}

/// Why an ADM cannot start, or a change to its devices cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store failed.
    #[error("store: {0}")]
    Store(#[from] StoreError),
    /// The KEK does not fit this store.
    #[error("KEK: {0}")]
    Kek(#[from] KekError),
    /// A device of the store has a value that this version does not know.
    #[error("device {device_id}: {field} has the unknown value {value}")]
    Device {
        /// Permanent ID, as text.
        device_id: String,
        /// The field.
        field: &'static str,
        /// What it holds.
        value: String,
    },
    /// The operating system gave no random octets.
    #[error("random source: {0}")]
    Entropy(String),
    /// The configuration cannot be.
    #[error("{field}: {rule}")]
    Config {
        /// The field.
        field: &'static str,
        /// The rule it breaks.
        rule: &'static str,
    },
}

impl OpenError {
    /// The stable name of the error.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Store(_) => "store_failed",
            Self::Kek(error) => error.name(),
            Self::Device { .. } => "device_unknown_value",
            Self::Entropy(_) => "entropy_failed",
            Self::Config { .. } => "config_invalid",
        }
    }
}

/// About how often [`AdmClient::tick`] is called.
const TICK_MS: i64 = 1000;

/// Devices that a tick puts into the next epoch's table, at least: a millisecond or two of work.
const SLICE_DEVICES_MIN: usize = 1 << 16;

/// An ADM with its store.
pub struct Adm {
    config: AdmConfig,
    store: Recorder,
    kek: Kek,
    entropy: Entropy,
    registry: Registry,
    counters: CounterIndex,
    beacons: BeaconSource,
    /// Tables of the current epoch and, during grace, of the previous one.
    tables: Vec<BeaconTable>,
    /// The beacons last given out.
    in_force: Option<Beacons>,
    /// The table of the next epoch, as far as it is built.
    next_table: Option<BeaconTable>,
    budget: SearchBudget,
    challenges: Challenges,
    kept: KeptCommands,
    home_network: HomeNetwork,
    evidence: Evidence,
    events: EventLog,
    tally: Tally,
    /// Through which AIOTF a device was last reached.
    last_aiotfs: HashMap<Index, [u8; 16]>,
    /// Whether verdicts tell what a new report said.
    tells_items: bool,
    /// Why the last batch could not be recorded.
    store_fault: Option<String>,
    /// Reports that are verified and wait for the batch before them.
    gathered: Batch,
    /// The batch that is being recorded.
    flight: Option<Flight>,
    /// Verdicts of batches that are recorded, the oldest first.
    ended: VecDeque<Vec<Verdict>>,
}

impl Adm {
    /// Opens the ADM on a store: checks the KEK, loads and unwraps the keys, lays the beacon chain.
    ///
    /// # Errors
    /// [`OpenError`]; nothing but what a first start (KEK check, chain) or a changed period (chain) creates has been
    /// written.
    pub fn open(
        config: AdmConfig,
        mut store: Box<dyn Store>,
        kek: Kek,
        mut entropy: Entropy,
        now_ms: i64,
    ) -> Result<Self, OpenError> {
        check(&config)?;
        kek.check_or_enrol(store.as_mut(), &mut entropy)?;
        let registry = Registry::load(store.as_mut(), &kek, &config, now_ms)?;
        let counters = CounterIndex::build(&registry, config.counter_window);
        let beacons = BeaconSource::open(&config, store.as_mut(), &kek, &mut entropy, now_ms)?;
        let evidence = Evidence::open(
            store.as_mut(),
            &kek,
            &mut entropy,
            config.checkpoint_interval_s,
        )?;
        let mut events = EventLog::new(config.event_interval_s);
        if config.deployment == Deployment::Public && config.allow_type1_in_public {
            events.say(
                "type1_allowed_in_public",
                Subject::default(),
                "{}".into(),
                now_ms,
            );
            events.flush(store.as_mut(), now_ms);
        }
        Ok(Self {
            budget: SearchBudget::new(&config),
            challenges: Challenges::default(),
            kept: KeptCommands::load(store.as_mut())?,
            home_network: identity::load(&config, store.as_mut(), &kek)?,
            events,
            evidence,
            config,
            store: Recorder::new(store),
            kek,
            entropy,
            registry,
            counters,
            beacons,
            tables: Vec::new(),
            in_force: None,
            next_table: None,
            tally: Tally::default(),
            last_aiotfs: HashMap::new(),
            tells_items: false,
            store_fault: None,
            gathered: Batch::default(),
            flight: None,
            ended: VecDeque::new(),
        })
    }

    /// The store, for reading what is on record.
    pub fn store(&mut self) -> &mut dyn Store {
        self.rest();
        self.store.get()
    }

    /// Reports by outcome and form since the start.
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Why the last batch of reports could not be recorded; `None` while the store works.
    pub fn store_fault(&self) -> Option<&str> {
        self.store_fault.as_deref()
    }

    /// Devices known, disabled ones included.
    pub fn device_count(&self) -> usize {
        self.registry.len()
    }

    /// Writes an event that was found beside the ADM. `detail` is a JSON object.
    pub fn raise(
        &mut self,
        kind: &'static str,
        severity: Severity,
        subject: Subject,
        detail: String,
        now_ms: i64,
    ) {
        self.raise_all([(kind, severity, subject, detail)], now_ms);
    }

    /// Writes several, in one transaction.
    pub fn raise_all(
        &mut self,
        events: impl IntoIterator<Item = (&'static str, Severity, Subject, String)>,
        now_ms: i64,
    ) {
        for (kind, severity, subject, detail) in events {
            self.events.raise(kind, severity, subject, detail, now_ms);
        }
        self.events.flush(self.store.get(), now_ms);
    }

    /// The key that the secrets of subscriptions come from; made at the first call, one for all that share the store.
    ///
    /// # Errors
    /// [`OpenError`]: the store's, the random source's, or the key does not open.
    pub fn delivery_key(&mut self) -> Result<Zeroizing<[u8; 32]>, OpenError> {
        const NAME: &str = "delivery_key";
        let wrapped = match self.store.get().meta(NAME)? {
            Some(wrapped) => wrapped,
            None => {
                let mut key = Zeroizing::new([0; 32]);
                (self.entropy)(&mut *key)?;
                let purpose = Purpose::DeliveryKey;
                let wrapped = self.kek.wrap(&purpose, &*key, &mut self.entropy)?;
                self.store.get().meta_init(NAME, &wrapped)?
            }
        };
        Ok(self.kek.unwrap::<32>(&Purpose::DeliveryKey, &wrapped)?)
    }

    /// Acknowledges an alarm, and notes who did; `None` if there is none of this id.
    ///
    /// # Errors
    /// The store's.
    pub fn ack_alarm(
        &mut self,
        id: i64,
        by: &str,
        now_ms: i64,
    ) -> Result<Option<AlarmRow>, StoreError> {
        let alarm = self.store.get().alarm_ack(id, by, now_ms)?;
        if let Some(AlarmRow {
            acked: Some((acked_ms, _)),
            device_id,
            ..
        }) = &alarm
            && *acked_ms == now_ms
        {
            let subject = Subject {
                device_id: device_id.clone().map(Vec::into_boxed_slice),
                ..Subject::default()
            };
            let detail = format!("{{\"alarm\":{id}}}");
            self.raise(
                "alarm_acknowledged",
                Severity::Info,
                subject,
                detail,
                now_ms,
            );
        }
        Ok(alarm)
    }

    /// Octets of memory that grow with the devices: registry, T-ID tables, counter index (there about).
    pub fn memory_octets(&self) -> usize {
        let tables = self.tables.iter().chain(&self.next_table);
        let tables: usize = tables.map(BeaconTable::octets).sum();
        self.registry.octets() + tables + self.counters.octets()
    }

    /// The configuration.
    pub const fn config(&self) -> &AdmConfig {
        &self.config
    }

    /// The chain's beacons for `now_ms`, with the T-ID tables that belong to them.
    fn roll(&mut self, now_ms: i64) -> Result<Beacons, AdmError> {
        self.refuse_doubted();
        let beacons = self
            .beacons
            .at(
                &self.config,
                self.store.get(),
                &self.kek,
                &mut self.entropy,
                now_ms,
            )
            .map_err(|error| match error {
                OpenError::Store(error) => AdmError::Store(error.to_string()),
                other => AdmError::Chain(other.to_string()),
            })?;
        let in_force = [
            Some(beacons.current),
            beacons.previous.map(|(rand_n, _)| rand_n),
        ];
        self.tables
            .retain(|table| in_force.contains(&Some(table.rand_n())));
        for rand_n in in_force.into_iter().flatten() {
            if !self.tables.iter().any(|table| table.rand_n() == rand_n) {
                let ahead = self.next_table.take_if(|next| next.rand_n() == rand_n);
                let table = match ahead {
                    Some(mut table) => {
                        table.extend(&self.registry, self.registry.len());
                        table
                    }
                    None => BeaconTable::build(rand_n, &self.registry),
                };
                self.tables.push(table);
            }
        }
        self.in_force = Some(beacons);
        Ok(beacons)
    }

    /// Builds the table of the next epoch, a slice at a time, so that the change of epoch finds it done. It begins when the
    /// previous epoch's table is gone, or at half of the epoch.
    fn prepare(&mut self, now_ms: i64) {
        let Some(beacons) = self.in_force else {
            return;
        };
        let left_ms = beacons.current_until_ms.saturating_sub(now_ms);
        if beacons.previous.is_some() && left_ms > i64::from(self.config.period_s) * 500 {
            return;
        }
        let epoch = beacons.current.epoch();
        let begun = self.next_table.take();
        let begun = begun.filter(|next| Some(next.rand_n().epoch()) == epoch.checked_add(1));
        let begin = || {
            let rand_n = self.beacons.after(&beacons.current)?;
            Some(BeaconTable::begin(rand_n, &self.registry))
        };
        let Some(mut next) = begun.or_else(begin) else {
            return;
        };
        // Also a large fleet is done by the end: what remains is spread over the ticks that are left, but for the last.
        let slices = usize::try_from(left_ms / TICK_MS - 1).unwrap_or(0).max(1);
        let slice = (next.left(&self.registry) / slices).max(SLICE_DEVICES_MIN);
        next.extend(&self.registry, slice);
        self.next_table = Some(next);
    }
}

impl AdmClient for Adm {
    fn beacons(&mut self, now_ms: i64) -> Result<Beacons, AdmError> {
        self.roll(now_ms)
    }

    fn authenticate(
        &mut self,
        now_ms: i64,
        reports: &[DoaReport<'_>],
        verdicts: &mut Vec<Verdict>,
    ) {
        self.follow();
        self.authenticate_batch(now_ms, reports, verdicts);
        self.events.flush(self.store.get(), now_ms);
    }

    fn tell_items(&mut self, on: bool) {
        self.tells_items = on;
    }

    fn register(&mut self, now_ms: i64, request: &DoaReport<'_>) -> RegistrationStep {
        self.follow();
        let step = self.register_one(now_ms, request);
        self.events.flush(self.store.get(), now_ms);
        step
    }

    fn respond(
        &mut self,
        now_ms: i64,
        challenge: &ChallengeId,
        response: &DoaReport<'_>,
    ) -> RegistrationStep {
        self.follow();
        let step = self.respond_one(now_ms, challenge, response);
        self.events.flush(self.store.get(), now_ms);
        step
    }

    fn conclude_command(
        &mut self,
        now_ms: i64,
        id: i64,
        outcome: &CommandOutcome,
    ) -> Result<(), NadmError> {
        self.follow();
        self.conclude_kept(now_ms, id, outcome)
    }

    fn tick(&mut self, now_ms: i64) {
        self.follow();
        self.prepare(now_ms);
        self.challenges.expire(now_ms);
        // What could not be ended now is tried again at the next tick.
        let _ = self.expire_commands(now_ms);
        self.events.release(now_ms);
        self.events.flush(self.store.get(), now_ms);
        self.checkpoint_if_due(now_ms);
    }

    fn pipelined(&mut self) -> Option<&mut dyn Pipelined> {
        Some(self)
    }
}

fn check(config: &AdmConfig) -> Result<(), OpenError> {
    let rule = |field, rule| Err(OpenError::Config { field, rule });
    if config.period_s == 0 {
        return rule("epoch_s", "must be at least 1");
    }
    if config.grace_s >= config.period_s {
        return rule("grace_s", "must be shorter than epoch_s");
    }
    if config.chain_epochs == 0 || config.chain_epochs > 1 << 24 {
        return rule("chain_epochs", "must be 1 to 16777216");
    }
    if config.key_lifetime_s == 0 {
        return rule("key_lifetime_s", "must be at least 1");
    }
    if config.challenge_lifetime_s == 0 {
        return rule("challenge_lifetime_s", "must be at least 1");
    }
    if config.counter_window == 0 || config.counter_window > 4096 {
        return rule("counter_window", "must be 1 to 4096");
    }
    if !(1..=100).contains(&config.search_reader_share_percent) {
        return rule("search_reader_share_percent", "must be 1 to 100");
    }
    Ok(())
}
