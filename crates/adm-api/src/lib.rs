//! What an AIOTF asks of an ADM. The AIOTF crate depends on this one and not on the ADM's, so that no code path gives it K.
//!
//! In one process the calls are plain calls on the ADM; between processes the same trait goes over the SBI.

mod af;
mod item;
mod kept;
mod nadm;

pub use af::{
    AF_AREAS_MAX, AF_ENTRIES_MAX, AF_NAME_OCTETS_MAX, AfAccount, AfAuthorization, AfDevices,
    AfOperation, AfQuota, AfReceive, AfRefusal, check_af_name,
};
pub use item::DoaItem;
pub use kept::{
    CommandOutcome, DeviceFailure, FollowOn, KEPT_OCTETS_MAX, KeptCommand, KeptOperation,
};
pub use nadm::{
    AUTH_DATA_MAX, Answer, AuthData, AuthDataSet, AuthenticationRequest, AuthenticationResponse,
    DeviceProfile, Nadm, NadmError, Population, RAND_D_MAX, RandD, Res, SessionKey,
};

use ambit_protocol::wire::{AUTHENTICATION_REQUEST_OCTETS, MessageType, peek};
use ambit_protocol::{AreaId, Form, RandN, WireError};

/// An ADM as an AIOTF sees it: what Release 19 has ([`Nadm`]), and what devices that speak first need beyond it.
pub trait AdmClient: Nadm {
    /// The RAND_n to broadcast now, and the one before it while it is still accepted.
    ///
    /// # Errors
    /// [`AdmError`]; nothing may be broadcast then.
    fn beacons(&mut self, now_ms: i64) -> Result<Beacons, AdmError>;

    /// Identifies, verifies and records a batch of reports. `verdicts[i]` belongs to `reports[i]`; it is cleared first.
    ///
    /// When this returns, the acceptance record of every [`Verdict::Accept`] is on disk: the ACCEPT may leave.
    fn authenticate(&mut self, now_ms: i64, reports: &[DoaReport<'_>], verdicts: &mut Vec<Verdict>);

    /// Whether the calls that follow tell what was in a new report ([`Verdict::Accept`]'s item). To be said before each of them
    /// where several call: an AIOTF asks for it while somebody has subscribed, and gets to see no more than that.
    fn tell_items(&mut self, on: bool);

    /// Takes a REGISTRATION REQUEST of section 7. The sequence number of a [`RegistrationStep::Challenge`] is on disk when
    /// this returns: the challenge may leave. The same request again gets the same challenge again.
    fn register(&mut self, now_ms: i64, request: &DoaReport<'_>) -> RegistrationStep;

    /// Takes the AUTHENTICATION RESPONSE to a challenge. After [`RegistrationStep::Accept`] the record and K_AIOT are on
    /// disk: the ACCEPT may leave. The same response again gets the same ACCEPT again.
    fn respond(
        &mut self,
        now_ms: i64,
        challenge: &ChallengeId,
        response: &DoaReport<'_>,
    ) -> RegistrationStep;

    /// What came of a command that was handed out with [`Verdict::Accept`]. It is on disk when this returns, and with a
    /// PERMANENT DISABLE that was obeyed, that the network ignores the device from now on. Saying it again does no harm.
    ///
    /// # Errors
    /// [`NadmError::Invalid`] when no such command was given: nothing will ever come of saying it again.
    /// [`NadmError::Failed`]: say it again later.
    fn conclude_command(
        &mut self,
        now_ms: i64,
        id: i64,
        outcome: &CommandOutcome,
    ) -> Result<(), NadmError>;

    /// Housekeeping: events that rate limiting held back. To be called about once a second.
    fn tick(&mut self, now_ms: i64);

    /// The same ADM for callers that go on while it records; `None` where that is of no use.
    fn pipelined(&mut self) -> Option<&mut dyn Pipelined> {
        None
    }
}

/// What [`AdmClient::authenticate`] does, in two steps: while the records of one batch go to the disk, the reports of the next are
/// identified and verified.
///
/// Any other call on the ADM may come between; it waits for what is being recorded.
pub trait Pipelined {
    /// Identifies and verifies reports. They join those that were gathered since [`Pipelined::record`] was called last.
    fn gather(&mut self, now_ms: i64, reports: &[DoaReport<'_>]);

    /// Whether nothing is being recorded any more; unless told to `wait`, false while something is.
    fn is_recorded(&mut self, wait: bool) -> bool;

    /// Has what was gathered recorded, as one batch. It waits for the batch before it, so [`Pipelined::is_recorded`] comes first; the
    /// verdicts of that batch may be asked for after.
    fn record(&mut self);

    /// The verdicts of the oldest batch not asked for, in the order in which its reports were gathered: each acceptance is on disk.
    /// `None` when there is none; unless told to `wait`, also while it is being recorded.
    fn recorded(&mut self, wait: bool) -> Option<Vec<Verdict>>;

    /// Has somebody told, by the thread that records, each time when a batch is recorded.
    fn wake_with(&mut self, wake: Wake);
}

/// Tells somebody. It must not wait.
pub type Wake = Box<dyn Fn() + Send + Sync>;

/// The beacons in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beacons {
    /// RAND_n of the current epoch.
    pub current: RandN,
    /// When the next epoch begins, Unix time in ms.
    pub current_until_ms: i64,
    /// RAND_n of the previous epoch and until when reports under it are accepted, while that lasts.
    pub previous: Option<(RandN, i64)>,
}

/// A report as it came through a reader.
#[derive(Clone, Copy, Debug)]
pub struct DoaReport<'a> {
    /// The NAS PDU.
    pub nas: &'a [u8],
    /// RAND_n of the window it came back in.
    pub rand_n: RandN,
    /// AreaID of the reader it came through.
    pub area_id: AreaId,
    /// The gNB.
    pub gnb_id: u32,
    /// The reader within that gNB.
    pub reader_index: u16,
}

/// What names an open challenge between AIOTF and ADM. It holds nothing secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChallengeId(pub [u8; 16]);

/// What the ADM makes of a message of a UICC registration.
#[derive(Debug)]
pub enum RegistrationStep {
    /// Send this AUTHENTICATION REQUEST; the answer to it belongs to `id`.
    Challenge {
        /// The AUTHENTICATION REQUEST.
        nas: [u8; AUTHENTICATION_REQUEST_OCTETS],
        /// What to name in [`AdmClient::respond`].
        id: ChallengeId,
    },
    /// The registration is over.
    Done(Verdict),
}

impl RegistrationStep {
    /// Silence.
    pub const fn silence(outcome: Outcome) -> Self {
        Self::Done(Verdict::Silence(outcome))
    }

    /// The outcome: [`Outcome::Challenged`] for a challenge.
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Challenge { .. } => Outcome::Challenged,
            Self::Done(verdict) => verdict.outcome(),
        }
    }
}

/// Whether a PDU opens a UICC registration, and is therefore for [`AdmClient::register`].
pub fn is_registration_request(nas: &[u8]) -> bool {
    matches!(peek(nas), Ok((MessageType::RegistrationRequest, _)))
}

/// What the ADM makes of a report.
#[derive(Debug)]
pub enum Verdict {
    /// Verified and recorded: send this ACCEPT.
    Accept {
        /// The ACCEPT.
        nas: AcceptPdu,
        /// [`Outcome::AcceptedNew`], [`Outcome::AcceptedRepeat`] or [`Outcome::AcceptedDuplicate`].
        outcome: Outcome,
        /// With status 01: the command session that follows.
        follow_on: Option<Box<FollowOn>>,
        /// With [`Outcome::AcceptedNew`], where [`AdmClient::tell_items`] asked for it: what the report said.
        item: Option<Box<DoaItem>>,
    },
    /// Nothing is sent. The only refusal there is.
    Silence(Outcome),
}

impl Verdict {
    /// The outcome, accepted or not.
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Accept { outcome, .. } | Self::Silence(outcome) => *outcome,
        }
    }
}

/// An ACCEPT PDU held inline: at most 1 + 32 + 16 octets.
#[derive(Clone, Copy)]
pub struct AcceptPdu {
    octets: [u8; Self::OCTETS_MAX],
    len: u8,
}

impl AcceptPdu {
    /// The longest ACCEPT.
    pub const OCTETS_MAX: usize = 49;

    /// Lets `seal` write the PDU and return its length.
    ///
    /// # Errors
    /// What `seal` returns.
    pub fn build(
        seal: impl FnOnce(&mut [u8]) -> Result<usize, WireError>,
    ) -> Result<Self, WireError> {
        let mut octets = [0; Self::OCTETS_MAX];
        let len = seal(&mut octets)?;
        let len = u8::try_from(len).unwrap_or(u8::MAX);
        Ok(Self { octets, len })
    }

    /// The PDU.
    pub fn as_slice(&self) -> &[u8] {
        self.octets.get(..usize::from(self.len)).unwrap_or_default()
    }
}

impl std::fmt::Debug for AcceptPdu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_slice()
            .iter()
            .try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// What became of a report. One name serves the metric, the event and the log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// A new record: one event, one charge.
    AcceptedNew,
    /// A new record of an item that was accepted before: evidence, no event, no charge.
    AcceptedRepeat,
    /// The identical report was accepted before: the same ACCEPT.
    AcceptedDuplicate,
    /// Not a well-formed REPORT.
    Malformed,
    /// RAND_n of the window is neither the current nor, within grace, the previous one.
    StaleEpoch,
    /// No device in scope verifies it. Raises the event *impersonation attempt*.
    NoMatch,
    /// More than one device verifies it: refused, alarm.
    AmbiguousMatch,
    /// The device is disabled.
    DeviceDisabled,
    /// The policy bars this form, type or network.
    PolicyRefused,
    /// A counter that was used before, with a new tag: two devices may share one key.
    CloneSuspicion,
    /// Too many failed verifications on this T-ID in this epoch (tag length 4).
    TIdLocked,
    /// The population search has no budget left for this reader or network.
    SearchBudgetExhausted,
    /// The record could not be made durable: nothing was accepted.
    StoreFailed,
    /// The reader serves no area that this network knows.
    AreaUnknown,
    /// A REGISTRATION REQUEST was answered with a challenge.
    Challenged,
    /// A SUCI that does not open, or names no subscriber of this network.
    SuciRefused,
    /// The answer to a challenge that is not open: never was, has expired, or a later one was answered since.
    ChallengeUnknown,
    /// The answer to a challenge does not verify: RES8, TAG1 or AUTS.
    AuthenticationFailed,
    /// The card asked for a resynchronisation once more than a registration has room for.
    SyncFailure,
    /// All sequence numbers of the card are used.
    SqnExhausted,
    /// The device's K_AIOT has outlived its time: it has to register again.
    KeyExpired,
    /// Another process changed the device while its report was verified. The device repeats it, and it is verified anew.
    DeviceChanged,
    /// The ADM did not answer in time: nothing is known to have been accepted.
    AdmUnavailable,
}

impl Outcome {
    /// All outcomes, in the order of their declaration.
    pub const ALL: [Self; 23] = [
        Self::AcceptedNew,
        Self::AcceptedRepeat,
        Self::AcceptedDuplicate,
        Self::Malformed,
        Self::StaleEpoch,
        Self::NoMatch,
        Self::AmbiguousMatch,
        Self::DeviceDisabled,
        Self::PolicyRefused,
        Self::CloneSuspicion,
        Self::TIdLocked,
        Self::SearchBudgetExhausted,
        Self::StoreFailed,
        Self::AreaUnknown,
        Self::Challenged,
        Self::SuciRefused,
        Self::ChallengeUnknown,
        Self::AuthenticationFailed,
        Self::SyncFailure,
        Self::SqnExhausted,
        Self::KeyExpired,
        Self::DeviceChanged,
        Self::AdmUnavailable,
    ];

    /// The stable name: metric label, event kind, log field.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AcceptedNew => "accepted_new",
            Self::AcceptedRepeat => "accepted_repeat",
            Self::AcceptedDuplicate => "accepted_duplicate",
            Self::Malformed => "malformed",
            Self::StaleEpoch => "stale_epoch",
            Self::NoMatch => "impersonation_attempt",
            Self::AmbiguousMatch => "ambiguous_match",
            Self::DeviceDisabled => "device_disabled",
            Self::PolicyRefused => "policy_refused",
            Self::CloneSuspicion => "clone_suspicion",
            Self::TIdLocked => "t_id_locked",
            Self::SearchBudgetExhausted => "search_budget_exhausted",
            Self::StoreFailed => "store_failed",
            Self::AreaUnknown => "area_unknown",
            Self::Challenged => "challenged",
            Self::SuciRefused => "suci_refused",
            Self::ChallengeUnknown => "challenge_unknown",
            Self::AuthenticationFailed => "authentication_failed",
            Self::SyncFailure => "sync_failure",
            Self::SqnExhausted => "sqn_exhausted",
            Self::KeyExpired => "key_expired",
            Self::DeviceChanged => "device_changed",
            Self::AdmUnavailable => "adm_unavailable",
        }
    }
}

/// A tally of outcomes by report form, for metrics. `None` is for reports that have no form (malformed).
#[derive(Clone, Debug, Default)]
pub struct Tally {
    counts: [[u64; 7]; Outcome::ALL.len()],
}

impl Tally {
    /// Counts one report.
    pub fn count(&mut self, outcome: Outcome, form: Option<Form>) {
        let column = form.map_or(6, |form| usize::from(form.number()));
        if let Some(cell) = self
            .counts
            .get_mut(outcome as usize)
            .and_then(|row| row.get_mut(column))
        {
            *cell += 1;
        }
    }

    /// All cells: outcome, form, count.
    pub fn iter(&self) -> impl Iterator<Item = (Outcome, Option<Form>, u64)> + '_ {
        Outcome::ALL
            .iter()
            .zip(&self.counts)
            .flat_map(|(outcome, row)| {
                let forms = Form::ALL.into_iter().chain([Form::Aka]).map(Some);
                let forms = forms.chain([None]);
                forms.zip(row).map(|(form, count)| (*outcome, form, *count))
            })
    }

    /// The count of one outcome over all forms.
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.iter()
            .filter(|(found, ..)| *found == outcome)
            .map(|(.., count)| count)
            .sum()
    }
}

/// Why the ADM cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum AdmError {
    /// The store failed.
    #[error("store: {0}")]
    Store(String),
    /// No RAND_n can be issued.
    #[error("beacon chain: {0}")]
    Chain(String),
    /// It does not answer.
    #[error("{0}")]
    Unavailable(String),
}

impl AdmError {
    /// The stable name of the error.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Store(_) => "store_failed",
            Self::Chain(_) => "chain_failed",
            Self::Unavailable(_) => "adm_unavailable",
        }
    }
}
