//! The methods that are compared.

use ambit_protocol::DeviceForm;
use ambit_uicc::Algorithm;
use ambit_uicc::algorithms::TuakRes;
use ambit_uicc::suci::Scheme;

/// A method: a credential and the form its device reports in.
#[derive(Clone, Copy, Debug)]
pub struct Method {
    /// Its name.
    pub name: &'static str,
    /// The form.
    pub form: DeviceForm,
    /// The credential.
    pub credential: Credential,
}

/// A credential to be measured.
#[derive(Clone, Copy, Debug)]
pub enum Credential {
    /// K in the device.
    Operator,
    /// K_AIOT agreed with a USIM.
    Uicc(Algorithm, Scheme),
    /// K in the AIoT application of a card.
    UiccAiot,
}

const fn method(name: &'static str, form: DeviceForm, credential: Credential) -> Method {
    Method {
        name,
        form,
        credential,
    }
}

const TUAK: Algorithm = Algorithm::Tuak {
    iterations: 1,
    res: TuakRes::Octets8,
};

/// All methods, in the order of the table.
pub const METHODS: &[Method] = &[
    method(
        "operator K, beacon",
        DeviceForm::Beacon,
        Credential::Operator,
    ),
    method(
        "operator K, concealed",
        DeviceForm::Concealed,
        Credential::Operator,
    ),
    method(
        "operator K, counter",
        DeviceForm::Counter,
        Credential::Operator,
    ),
    method(
        "UICC AKA, null scheme, beacon",
        DeviceForm::Beacon,
        Credential::Uicc(Algorithm::Milenage, Scheme::Null),
    ),
    method(
        "UICC AKA, Profile A, beacon",
        DeviceForm::Beacon,
        Credential::Uicc(Algorithm::Milenage, Scheme::ProfileA),
    ),
    method(
        "UICC AKA, Profile B, beacon",
        DeviceForm::Beacon,
        Credential::Uicc(Algorithm::Milenage, Scheme::ProfileB),
    ),
    method(
        "UICC AKA with TUAK, Profile A, beacon",
        DeviceForm::Beacon,
        Credential::Uicc(TUAK, Scheme::ProfileA),
    ),
    method(
        "K in the card, beacon",
        DeviceForm::Beacon,
        Credential::UiccAiot,
    ),
    method(
        "K in the card, concealed",
        DeviceForm::Concealed,
        Credential::UiccAiot,
    ),
    method(
        "K in the card, counter",
        DeviceForm::Counter,
        Credential::UiccAiot,
    ),
];
