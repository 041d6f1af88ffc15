//! The deployment policy (section 10): which device types, credentials and forms a network takes.

use ambit_protocol::{DeviceForm, DeviceType};

use crate::AdmConfig;

pub use ambit_provisioning::CredentialKind;

/// What kind of network this is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Deployment {
    /// An isolated private network.
    #[default]
    IsolatedPrivate,
    /// A public network.
    Public,
}

impl Deployment {
    /// `isolated-private` or `public`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::IsolatedPrivate => "isolated-private",
            Self::Public => "public",
        }
    }
}

impl std::str::FromStr for Deployment {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "isolated-private" => Ok(Self::IsolatedPrivate),
            "public" => Ok(Self::Public),
            _ => Err("must be isolated-private or public"),
        }
    }
}

/// A rule that bars a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyRule {
    /// Section 10, first row.
    #[error(
        "type 1 belongs to isolated private networks; policy.allow_type1_in_public allows it for study"
    )]
    Type1InPublic,
    /// Section 10, third and fourth row.
    #[error("a public network takes UICC credentials only, no key that the operator provisions")]
    OperatorKeyInPublic,
    /// Section 10, fifth row.
    #[error("a public network does not take the blind form")]
    BlindInPublic,
    /// Section 7 begins with the device.
    #[error("a device with UICC credentials registers by speaking first, so its form cannot be dt")]
    UiccAnswersOnly,
}

impl PolicyRule {
    /// The field of a device that breaks the rule.
    pub const fn field(self) -> &'static str {
        match self {
            Self::Type1InPublic => "device_type",
            Self::OperatorKeyInPublic => "credential",
            Self::BlindInPublic | Self::UiccAnswersOnly => "form",
        }
    }
}

impl AdmConfig {
    /// Whether reports of the blind form are taken at all.
    pub(crate) fn takes_blind(&self) -> bool {
        self.blind_allowed && self.deployment == Deployment::IsolatedPrivate
    }

    /// Whether the policy allows a device. Asked at provisioning, and again for each report, as the policy may have changed
    /// since.
    ///
    /// # Errors
    /// The first rule that bars it.
    pub fn allows(
        &self,
        device_type: DeviceType,
        form: DeviceForm,
        credential: CredentialKind,
    ) -> Result<(), PolicyRule> {
        if credential == CredentialKind::Uicc && form == DeviceForm::Dt {
            return Err(PolicyRule::UiccAnswersOnly);
        }
        if self.deployment == Deployment::IsolatedPrivate {
            return Ok(());
        }
        let is_studied = device_type == DeviceType::Type1 && self.allow_type1_in_public;
        if device_type == DeviceType::Type1 && !is_studied {
            Err(PolicyRule::Type1InPublic)
        } else if credential == CredentialKind::Operator && !is_studied {
            Err(PolicyRule::OperatorKeyInPublic)
        } else if form == DeviceForm::Blind {
            Err(PolicyRule::BlindInPublic)
        } else {
            Ok(())
        }
    }
}
