//! Defects to plant. They stand between a target and the code under it - what the code gave is changed before the target looks
//! at it - so no switch stands in the product. `tests/planted.rs` plants each and sees its target fail.

use std::cell::Cell;

/// A defect, named after what the code under the target would do wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Defect {
    NasEmitsOther,
    NasOpensForgery,
    NasSealsOther,
    NasSessionForgets,
    NgapLosesMessage,
    NgapLosesFrame,
    CsvLosesDevice,
    CsvShowsSecret,
    SbiLosesPart,
    SbiFails,
    SbiShowsKey,
    ApduShowsSecret,
    ApduAcceptsForgery,
    ApduNeverEnds,
    StoreReadsOther,
    StoreTakesTwice,
    StoreOverlooksDamage,
    DeviceListensToAnybody,
    DeviceShowsTId,
    DeviceRepeatsNonce,
}

impl Defect {
    /// All of them, with the target that each is planted under.
    pub const ALL: [(Self, &'static str); 20] = [
        (Self::NasEmitsOther, "nas"),
        (Self::NasOpensForgery, "nas"),
        (Self::NasSealsOther, "nas"),
        (Self::NasSessionForgets, "nas"),
        (Self::NgapLosesMessage, "ngap"),
        (Self::NgapLosesFrame, "ngap"),
        (Self::CsvLosesDevice, "csv"),
        (Self::CsvShowsSecret, "csv"),
        (Self::SbiLosesPart, "sbi"),
        (Self::SbiFails, "sbi"),
        (Self::SbiShowsKey, "sbi"),
        (Self::ApduShowsSecret, "apdu"),
        (Self::ApduAcceptsForgery, "apdu"),
        (Self::ApduNeverEnds, "apdu"),
        (Self::StoreReadsOther, "store"),
        (Self::StoreTakesTwice, "store"),
        (Self::StoreOverlooksDamage, "store"),
        (Self::DeviceListensToAnybody, "device"),
        (Self::DeviceShowsTId, "device"),
        (Self::DeviceRepeatsNonce, "device"),
    ];

    /// Whether it is planted on this thread.
    pub fn is_planted(self) -> bool {
        PLANTED.get() == Some(self)
    }
}

thread_local! {
    static PLANTED: Cell<Option<Defect>> = const { Cell::new(None) };
}

/// Plants a defect on this thread until the guard is dropped.
#[must_use]
pub fn plant(defect: Defect) -> Planted {
    PLANTED.set(Some(defect));
    Planted(())
}

/// A planted defect.
pub struct Planted(());

impl Drop for Planted {
    fn drop(&mut self) {
        PLANTED.set(None);
    }
}
