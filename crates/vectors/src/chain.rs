//! `chain.json`: the beacon chain of section 4.

use ambit_protocol::RandN;
use ambit_protocol::chain::{BeaconChain, Verification, verify};
use serde_json::Value;

use crate::check::{Case, same};

pub(crate) fn check(case: &Case<'_>) -> Result<(), String> {
    let snid = case.snid()?;
    case.expect("snid", snid.octets())?;
    let last_epoch = case.number("last_epoch")?;
    let chain = BeaconChain::new(snid, &case.array("seed")?, 0, last_epoch);
    let rand_n = |epoch: u32| {
        let rand_n = chain.rand_n(epoch);
        rand_n.ok_or_else(|| format!("elements: epoch {epoch} is outside the chain"))
    };

    let elements = case.0.get("elements").and_then(Value::as_object);
    let elements = elements.ok_or("elements: missing, or no object")?;
    for (epoch, value) in elements {
        let epoch: u32 = epoch.parse().map_err(|_| "elements: epoch is no number")?;
        let expected = value.as_str().ok_or("elements: value is no text")?;
        let expected = hex::decode(expected).map_err(|error| format!("elements: {error}"))?;
        same("elements", &expected, &rand_n(epoch)?.element())?;
        // A device anchored at any listed element verifies the last one.
        let newest = rand_n(last_epoch)?;
        if verify(&rand_n(epoch)?, &newest, &snid, u32::MAX) != Verification::Verified {
            return Err(format!("elements: {epoch} does not verify {last_epoch}"));
        }
    }
    let fields = case.0.as_object().into_iter().flatten();
    for (field, _) in fields {
        if let Some(epoch) = field.strip_prefix("rand_n_") {
            let epoch = epoch.parse().map_err(|_| format!("{field}: no epoch"))?;
            case.expect(field, rand_n(epoch)?.octets())?;
            let read = RandN::from_octets(case.array(field)?);
            same(field, rand_n(epoch)?.octets(), read.octets())?;
        }
    }
    Ok(())
}
