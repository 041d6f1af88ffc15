//! Reports of a batch opened side by side (section 5): K_AIOTF, KI and KE, TAG1 and plaintext, and TAG2 of the ACCEPT without P2.
//!
//! The blocks of one exchange wait for one another, so that a core spends most of it waiting; those of another report do not.

use ambit_protocol::exchange::Plaintext;
use ambit_protocol::schedule::Input;
use ambit_protocol::seal::Tag;
use ambit_protocol::suite::PrfKey;
use ambit_protocol::wire::ReportView;
use ambit_protocol::{Exchange, KAiotf, Suite, TagLen};

use crate::Key;

/// A report and a device that it may be from.
#[derive(Clone, Copy)]
pub struct Sealed<'a> {
    /// The device's suite.
    pub suite: Suite,
    /// Its K.
    pub key: &'a Key,
    /// Its tag length.
    pub tag_len: TagLen,
    /// The report.
    pub report: ReportView<'a>,
    /// What K_AIOTF is the PRF of.
    pub input: &'a Input,
}

/// A report that is from the device.
pub struct Opened {
    /// K_AIOTF, with which and TAG1 the [exchange goes on](Exchange::resume).
    pub k_aiotf: KAiotf,
    /// TAG1.
    pub tag1: Tag,
    /// P.
    pub plaintext: Plaintext,
    /// TAG2 of the ACCEPT whose P2 is empty.
    pub empty_accept_tag: Tag,
}

/// One report by itself, in any suite and of any length: what the code for many must equal.
pub(crate) fn open(sealed: &Sealed<'_>) -> Option<Opened> {
    let k_aiotf = PrfKey::new(sealed.suite, sealed.key).evaluate(sealed.input);
    let k_aiotf = KAiotf::new(k_aiotf);
    let opened = Exchange::open_report(sealed.suite, &k_aiotf, &sealed.report, sealed.tag_len);
    let (exchange, plaintext) = opened.ok()?;
    Some(Opened {
        k_aiotf,
        tag1: *exchange.tag1(),
        plaintext,
        empty_accept_tag: exchange.empty_accept_tag(),
    })
}
