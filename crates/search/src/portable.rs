//! The fallback: `ambit_protocol`'s own PRF, one key at a time. What every other kernel must equal.

use ambit_protocol::Suite;
use ambit_protocol::schedule::{Input, cut};
use ambit_protocol::suite::PrfKey;

use crate::Key;

/// Prefixes under each key, query by query: `out[query * keys.len() + key]`.
pub(crate) fn evaluate(suite: Suite, keys: &[Key], inputs: &[&Input], out: &mut [u64]) {
    for (at, key) in keys.iter().enumerate() {
        let prf_key = PrfKey::new(suite, key);
        let column = out.iter_mut().skip(at).step_by(keys.len().max(1));
        for (slot, input) in column.zip(inputs) {
            *slot = u64::from_be_bytes(cut(&prf_key.evaluate(input)));
        }
    }
}
