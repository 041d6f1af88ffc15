//! `suite.json`: PRF and KS of section 2.

use ambit_protocol::schedule::Label;
use ambit_protocol::suite::{PrfKey, keystream};

use crate::check::Case;

pub(crate) fn check(case: &Case<'_>) -> Result<(), String> {
    let (suite, key) = (case.suite()?, case.array("key")?);
    if case.has("prf") {
        let label = Label(case.number("label")?);
        let x = case.octets("x")?;
        // In two parts as well: how the caller cuts x must not matter.
        let (start, end) = x.split_at(x.len() / 2);
        let prf_key = PrfKey::new(suite, &key);
        case.expect("prf", &prf_key.prf(label, &[&x]))?;
        case.expect("prf", &prf_key.prf(label, &[start, end]))
    } else {
        let mut stream = vec![0; case.number("n")?];
        keystream(suite, &key, &case.array("iv12")?, &mut stream);
        case.expect("keystream", &stream)
    }
}
