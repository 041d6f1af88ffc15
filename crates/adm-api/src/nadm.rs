//! What Release 19 has an AIOTF ask of an ADM: the services Nadm_Sec and Nadm_DM of TS 29.369, as plain calls. They serve
//! device-terminated inventories and commands (section 8).
//!
//! | call | service operation |
//! | --- | --- |
//! | [`Nadm::get_rand`] | Nadm_Sec get-rand |
//! | [`Nadm::get_authentication`] | Nadm_Sec get-authentication |
//! | [`Nadm::get_session_key`] | Nadm_Sec get-session-key |
//! | [`Nadm::get_tid`] | Nadm_Sec get-tid |
//! | [`Nadm::device_profile`], [`Nadm::note_aiotf`] | Nadm_DM aiot-device-profile-data, GET and PATCH |
//! | [`Nadm::afs`] | Nadm_DM af-authorization-data |
//! | [`Nadm::af_authenticate`], [`Nadm::note_af_refusals`] | none: Release 19 does not say who knows the secrets of AFs |
//! | [`Nadm::note_disabled`] | none: Release 19 does not say who remembers that a device was disabled |
//!
//! Where Ambit needs more than the standard's fields have, the field says so.

use ambit_protocol::{AreaId, DeviceForm, DeviceType, KAiotf, RandN, Suite, TagLen};

use crate::{AfAccount, AfRefusal, Outcome};

/// RAND_d of an INVENTORY RESPONSE.
pub type RandD = [u8; 16];

/// RES of an INVENTORY RESPONSE, and XRES, which the ADM expects.
pub type Res = [u8; 8];

/// Answers in one get-authentication, at most.
pub const RAND_D_MAX: usize = 1024;

/// Entries of [`AuthData`] in one answer to get-authentication, at most.
pub const AUTH_DATA_MAX: usize = 1 << 16;

/// An ADM as Release 19 sees it.
pub trait Nadm {
    /// A fresh random RAND_n for one inventory. It belongs to no beacon chain.
    ///
    /// # Errors
    /// [`NadmError::Failed`].
    fn get_rand(&mut self, now_ms: i64) -> Result<RandN, NadmError>;

    /// Which devices gave these answers: XRES by RAND_d and device, for the AIOTF to compare with RES.
    ///
    /// # Errors
    /// [`NadmError`]: `UnknownDevice` and `Refused` for a single device, `Invalid` over a limit, `Busy` without search budget.
    fn get_authentication(
        &mut self,
        now_ms: i64,
        request: &AuthenticationRequest<'_>,
    ) -> Result<AuthenticationResponse, NadmError>;

    /// The key of the exchange that a device's answer began.
    ///
    /// # Errors
    /// [`NadmError`].
    fn get_session_key(
        &mut self,
        now_ms: i64,
        device_id: &[u8],
        rand_n: &RandN,
        rand_d: &RandD,
    ) -> Result<SessionKey, NadmError>;

    /// The concealed paging T-ID under a RAND_n: a device answers the page if it computes the same.
    ///
    /// `rand_n` is not among the standard's fields: there a T-ID does not depend on the inventory.
    ///
    /// # Errors
    /// [`NadmError`].
    fn get_tid(
        &mut self,
        now_ms: i64,
        device_id: &[u8],
        rand_n: &RandN,
    ) -> Result<[u8; 16], NadmError>;

    /// What is known of a device. Also of one that is disabled or barred.
    ///
    /// # Errors
    /// [`NadmError::UnknownDevice`], [`NadmError::Failed`].
    fn device_profile(&mut self, device_id: &[u8]) -> Result<DeviceProfile, NadmError>;

    /// Notes which AIOTF a device was last reached through. It is a hint, and not durable.
    ///
    /// # Errors
    /// [`NadmError::UnknownDevice`], [`NadmError::Failed`].
    fn note_aiotf(&mut self, device_id: &[u8], aiotf_id: [u8; 16]) -> Result<(), NadmError>;

    /// The AFs and what they may do: all, or the one of a name, if there is one.
    ///
    /// # Errors
    /// [`NadmError::Failed`].
    fn afs(&mut self, name: Option<&str>) -> Result<Vec<AfAccount>, NadmError>;

    /// The AF whose client identifier and secret these are; `None` for any others, without telling which of the two is wrong.
    ///
    /// # Errors
    /// [`NadmError::Failed`].
    fn af_authenticate(
        &mut self,
        client_id: &str,
        secret: &str,
    ) -> Result<Option<AfAccount>, NadmError>;

    /// Puts on record that AFs were refused something.
    ///
    /// # Errors
    /// [`NadmError::Failed`]: they were not heard.
    fn note_af_refusals(&mut self, now_ms: i64, refusals: &[AfRefusal]) -> Result<(), NadmError>;

    /// A device has acknowledged PERMANENT DISABLE: from now on the network ignores it too, durably.
    ///
    /// # Errors
    /// [`NadmError::UnknownDevice`], [`NadmError::Failed`].
    fn note_disabled(&mut self, now_ms: i64, device_id: &[u8]) -> Result<(), NadmError>;
}

/// Whose answers they may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Population<'a> {
    /// This device's. No search.
    Device(&'a [u8]),
    /// Those of devices whose permanent ID begins with these octets.
    Filter(&'a [u8]),
    /// Anybody's.
    All,
}

/// One get-authentication.
#[derive(Clone, Copy, Debug)]
pub struct AuthenticationRequest<'a> {
    /// Who may have answered.
    pub population: Population<'a>,
    /// RAND_n of the inventory.
    pub rand_n: RandN,
    /// Only devices that are allowed in this area. Not among the standard's fields.
    pub area_id: Option<AreaId>,
    /// The answers, 1 to [`RAND_D_MAX`].
    pub answers: &'a [Answer],
}

/// What a device answered to a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Answer {
    /// Its nonce.
    pub rand_d: RandD,
    /// With it, only devices that expect the same are named. The standard's request does not carry it, and is answered with an
    /// XRES of every device in question for every RAND_d.
    pub res: Option<Res>,
}

/// The answer to a get-authentication.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthenticationResponse {
    /// The first so many answers of the request were looked at, at least one: a large population is searched in pieces.
    pub taken: usize,
    /// What was found, in the order of the answers. Answers of nobody are left out.
    pub sets: Vec<AuthDataSet>,
}

/// What is expected of one RAND_d.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthDataSet {
    /// Place in the request's answers.
    pub at: usize,
    /// RAND_d.
    pub rand_d: RandD,
    /// By device, at least one.
    pub auth_data: Vec<AuthData>,
}

/// What one device would answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthData {
    /// What it answers.
    pub xres: Res,
    /// Permanent ID.
    pub device_id: Box<[u8]>,
}

/// What a command session needs.
#[derive(Debug)]
pub struct SessionKey {
    /// The key of this exchange.
    pub k_aiotf: KAiotf,
    /// The device's suite. Not among the standard's fields.
    pub suite: Suite,
    /// The device's tag length. Not among the standard's fields.
    pub tag_len: TagLen,
}

/// What is known of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceProfile {
    /// Permanent ID.
    pub device_id: Box<[u8]>,
    /// The AIOTF that it was last reached through, if that is known.
    pub last_known_aiotf: Option<[u8; 16]>,
    /// What the hardware is.
    pub device_type: DeviceType,
    /// How it reports.
    pub form: DeviceForm,
    /// Its suite.
    pub suite: Suite,
    /// Its tag length.
    pub tag_len: TagLen,
    /// Whether the network ignores it.
    pub disabled: bool,
    /// Its fleet. Not among the standard's fields; empty where it is not known.
    pub fleet: String,
}

/// Why a Release-19 service operation failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NadmError {
    /// No device has this permanent ID.
    #[error("device_id: no such device")]
    UnknownDevice,
    /// The device is not served: disabled, barred by policy, or without a key in force.
    #[error("device_id: {}", .0.name())]
    Refused(Outcome),
    /// A field of the request breaks a rule.
    #[error("{field}: {rule}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// The rule.
        rule: &'static str,
    },
    /// The population search has no budget left now.
    #[error("the population search has no budget for {retry_after_ms} ms")]
    Busy {
        /// When to try again.
        retry_after_ms: u32,
    },
    /// The ADM could not: store or random source.
    #[error("{0}")]
    Failed(String),
}

impl NadmError {
    /// The stable name of the error.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::UnknownDevice => "device_unknown",
            Self::Refused(outcome) => outcome.name(),
            Self::Invalid { .. } => "request_invalid",
            Self::Busy { .. } => "search_budget_exhausted",
            Self::Failed(_) => "adm_failed",
        }
    }
}
