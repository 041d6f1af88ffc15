//! Reading fields of a case, and comparing what was computed with what is stated.

use ambit_protocol::area::{Nid, Plmn};
use ambit_protocol::{Snid, Suite, TagLen};
use serde_json::Value;

/// One case of a vector file.
pub(crate) struct Case<'a>(pub(crate) &'a Value);

impl Case<'_> {
    pub(crate) fn has(&self, field: &str) -> bool {
        self.0.get(field).is_some()
    }

    pub(crate) fn text(&self, field: &str) -> Result<&str, String> {
        let value = self.0.get(field).and_then(Value::as_str);
        value.ok_or_else(|| format!("{field}: missing, or no text"))
    }

    pub(crate) fn number<T: TryFrom<u64>>(&self, field: &str) -> Result<T, String> {
        let value = self.0.get(field).and_then(Value::as_u64);
        value
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| format!("{field}: missing, no number or out of range"))
    }

    pub(crate) fn octets(&self, field: &str) -> Result<Vec<u8>, String> {
        hex::decode(self.text(field)?).map_err(|error| format!("{field}: {error}"))
    }

    pub(crate) fn array<const N: usize>(&self, field: &str) -> Result<[u8; N], String> {
        let octets = self.octets(field)?;
        let found = octets.len();
        octets
            .try_into()
            .map_err(|_| format!("{field}: {found} octets, expected {N}"))
    }

    /// Suite 1 where the file names none (UICC).
    pub(crate) fn suite(&self) -> Result<Suite, String> {
        if !self.has("suite") {
            return Ok(Suite::AesCmac);
        }
        Suite::from_number(self.number("suite")?).ok_or_else(|| "suite: must be 1, 2 or 3".into())
    }

    /// 8 octets where the file names none (sessions, UICC).
    pub(crate) fn tag_len(&self) -> Result<TagLen, String> {
        if !self.has("tag_len") {
            return Ok(TagLen::default());
        }
        let octets = self.number("tag_len")?;
        TagLen::from_octets(octets).ok_or_else(|| "tag_len: must be 4, 8 or 16".into())
    }

    pub(crate) fn snid(&self) -> Result<Snid, String> {
        let plmn = Plmn::new(self.text("mcc")?, self.text("mnc")?).map_err(|e| e.to_string())?;
        let nid = match self.0.get("nid") {
            None | Some(Value::Null) => None,
            Some(_) => Some(
                self.text("nid")?
                    .parse::<Nid>()
                    .map_err(|e| e.to_string())?,
            ),
        };
        Ok(Snid::new(plmn, nid))
    }

    /// Compares octets with those stated.
    pub(crate) fn expect(&self, field: &str, found: &[u8]) -> Result<(), String> {
        let expected = self.octets(field)?;
        same(field, &expected, found)
    }
}

/// Compares octets that stand under `field`.
pub(crate) fn same(field: &str, expected: &[u8], found: &[u8]) -> Result<(), String> {
    if expected == found {
        Ok(())
    } else {
        Err(format!(
            "{field}: expected {}, found {}",
            hex::encode(expected),
            hex::encode(found)
        ))
    }
}
