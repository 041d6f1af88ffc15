//! The auditor's side: what was shown is checked by itself, without store or key-encryption key.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use ambit_adm::is_signed;
use ambit_protocol::wire::TagLen;
use ambit_protocol::{Suite, seal};
use ambit_store::evidence::{link, record_from_octets};
use ambit_store::{CheckpointRow, RecordRow};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{ask, cell};
use crate::Place;
use crate::admin::Request;
use crate::failure::Failure;
use crate::show;

/// What came of a check. `None`: there was nothing to check it by.
pub(super) struct Checked {
    pub(super) record: Value,
    /// The record leads to the checkpoint's link.
    pub(super) linked: Option<bool>,
    /// The checkpoint is signed with the key.
    pub(super) signed: Option<bool>,
    /// TAG1 follows from the record under the integrity key of its exchange.
    pub(super) tag: Option<bool>,
}

impl Checked {
    pub(super) fn holds(&self) -> bool {
        self.linked == Some(true) && self.signed == Some(true) && self.tag != Some(false)
    }

    pub(super) fn text(&self) -> String {
        let say = |what: Option<bool>| match what {
            Some(true) => "holds",
            Some(false) => "DOES NOT HOLD",
            None => "not shown",
        };
        format!(
            "record {} of device {}, {}, area {}\nrecord to checkpoint: {}\nsignature: {}\ntag: {}",
            cell(&self.record, "id"),
            cell(&self.record, "device_name"),
            cell(&self.record, "time"),
            cell(&self.record, "area_id"),
            say(self.linked),
            say(self.signed),
            say(self.tag)
        )
    }
}

/// Checks what `show` printed. Only the canonical octets are believed, not the readable fields beside them.
pub(super) fn check(shown: &Value, key: Option<[u8; 32]>) -> Result<Checked, Failure> {
    let octets = hex_field(shown, "octets")?;
    let row = record_from_octets(&octets)
        .ok_or_else(|| invalid("octets", "must be the canonical octets of a record"))?;
    let mut at = link(
        &fixed(shown, "previous_link")?,
        &Sha256::digest(&octets).into(),
    );
    for digest in array(shown, "path")? {
        let digest = digest.as_str().and_then(|text| hex::decode(text).ok());
        let digest = digest.and_then(|octets| <[u8; 32]>::try_from(octets).ok());
        at = link(
            &at,
            &digest.ok_or_else(|| invalid("path", "must hold digests"))?,
        );
    }
    let steps = array(shown, "path")?.len() as u64;
    let checkpoint = match shown.get("checkpoint") {
        None | Some(Value::Null) => None,
        Some(value) => Some(checkpoint(value)?),
    };
    let key = match key {
        Some(key) => Some(key),
        None => fixed(shown, "public_key").ok(),
    };
    let is_there =
        |c: &CheckpointRow| c.link == at && row.id.checked_add_unsigned(steps) == Some(c.record);
    Ok(Checked {
        linked: checkpoint.as_ref().map(is_there),
        signed: checkpoint
            .zip(key)
            .map(|(checkpoint, key)| is_signed(&checkpoint, &key)),
        tag: tag(shown, &row)?,
        record: show::record(&row),
    })
}

/// The output of `show` for people.
pub(super) fn text(shown: &Value) -> String {
    let record = shown.get("record").cloned().unwrap_or_default();
    let tag = shown.get("tag_proof").cloned().unwrap_or_default();
    let checkpoint = shown.get("checkpoint").cloned().unwrap_or_default();
    let mut lines = vec![
        format!(
            "record         {} of device {}, {}",
            cell(&record, "id"),
            cell(&record, "device_name"),
            cell(&record, "time")
        ),
        format!("octets         {}", cell(shown, "octets")),
        format!("previous link  {}", cell(shown, "previous_link")),
        format!("link           {}", cell(shown, "link")),
    ];
    lines.push(match checkpoint {
        Value::Null => "checkpoint     none yet: run `ambit evidence checkpoint`".into(),
        ref checkpoint => format!(
            "checkpoint     record {}, signed {}, {} records on",
            cell(checkpoint, "record"),
            cell(checkpoint, "time"),
            array(shown, "path").map_or(0, |path| path.len())
        ),
    });
    lines.push(format!("public key     {}", cell(shown, "public_key")));
    lines.push(match tag.get("missing") {
        Some(_) => format!("tag            no proof: {}", cell(&tag, "missing")),
        None => format!(
            "tag            {} = PRF of suite {} under integrity key {}, label 41, header {}",
            cell(&record, "tag1"),
            cell(&tag, "suite"),
            cell(&tag, "integrity_key"),
            cell(&tag, "header")
        ),
    });
    lines.join("\n")
}

fn tag(shown: &Value, row: &RecordRow) -> Result<Option<bool>, Failure> {
    let Some(proof) = shown
        .get("tag_proof")
        .filter(|proof| proof.get("integrity_key").is_some())
    else {
        return Ok(None);
    };
    let suite = proof.get("suite").and_then(Value::as_u64);
    let suite = suite
        .and_then(|number| Suite::from_number(u8::try_from(number).ok()?))
        .ok_or_else(|| invalid("tag_proof.suite", "must be 1, 2 or 3"))?;
    let key = fixed(proof, "integrity_key")?;
    let [header] = fixed(proof, "header")?;
    let len = TagLen::from_octets(row.tag1.len())
        .ok_or_else(|| invalid("octets", "must hold a tag of 4, 8 or 16 octets"))?;
    let mut plain = vec![(row.cause << 4) | (row.seq & 0x0f)];
    plain.extend_from_slice(&row.data);
    let tag = seal::report_tag(suite, &key, header, &plain, len);
    Ok(Some(tag.as_slice() == row.tag1))
}

/// What `export` wrote.
pub(super) struct Exported {
    pub(super) public_key: Option<String>,
    checkpoints: Vec<CheckpointRow>,
}

/// Reads what `export` wrote.
pub(super) fn exported(path: &Path) -> Result<Exported, Failure> {
    let name = path.display();
    let text = fs::read_to_string(path).map_err(|error| Failure::io(name, &error))?;
    let mut exported = Exported {
        public_key: None,
        checkpoints: Vec::new(),
    };
    for (number, line) in text.lines().enumerate() {
        let bad = |rule: &str| {
            let message = format!("{}: line {}: {rule}", path.display(), number + 1);
            Failure::input("evidence_invalid", message)
        };
        let value: Value = serde_json::from_str(line).map_err(|error| bad(&error.to_string()))?;
        match value.get("public_key").and_then(Value::as_str) {
            Some(key) => exported.public_key = Some(key.to_owned()),
            None => exported
                .checkpoints
                .push(checkpoint(&value).map_err(|failure| bad(&failure.message))?),
        }
    }
    Ok(exported)
}

impl Exported {
    /// The faults: what was signed then and does not stand in the store now.
    pub(super) fn compare(&self, place: &Place, summary: &Value) -> Result<Vec<Value>, Failure> {
        let key: [u8; 32] = fixed(summary, "public_key")?;
        let records = self.checkpoints.iter().map(|c| c.record).collect();
        let mut links = HashMap::new();
        for row in ask(place, &Request::EvidenceLinks { records })? {
            let record = row.get("record").and_then(Value::as_i64);
            links.insert(record.unwrap_or_default(), fixed(&row, "link")?);
        }
        let mut faults = Vec::new();
        for checkpoint in &self.checkpoints {
            let fault = if !is_signed(checkpoint, &key) {
                "signature_wrong"
            } else if links.get(&checkpoint.record) != Some(&checkpoint.link) {
                "not_as_signed"
            } else {
                continue;
            };
            faults.push(json!({ "fault": fault, "record": checkpoint.record }));
        }
        Ok(faults)
    }
}

fn checkpoint(value: &Value) -> Result<CheckpointRow, Failure> {
    let integer = |name: &'static str| {
        value
            .get(name)
            .and_then(Value::as_i64)
            .ok_or_else(|| invalid(name, "must be an integer"))
    };
    Ok(CheckpointRow {
        record: integer("record")?,
        link: fixed(value, "link")?,
        time_ms: integer("time_ms")?,
        signature: fixed(value, "signature")?,
    })
}

fn array<'a>(value: &'a Value, name: &'static str) -> Result<&'a Vec<Value>, Failure> {
    value
        .get(name)
        .and_then(Value::as_array)
        .ok_or_else(|| invalid(name, "must be a list"))
}

fn fixed<const N: usize>(value: &Value, name: &'static str) -> Result<[u8; N], Failure> {
    hex_field(value, name)?
        .try_into()
        .map_err(|_| invalid(name, &format!("must be {N} octets in hexadecimal")))
}

fn hex_field(value: &Value, name: &'static str) -> Result<Vec<u8>, Failure> {
    value
        .get(name)
        .and_then(Value::as_str)
        .and_then(|text| hex::decode(text).ok())
        .ok_or_else(|| invalid(name, "must be hexadecimal"))
}

fn invalid(field: &str, rule: &str) -> Failure {
    Failure::input("evidence_invalid", format!("{field}: {rule}"))
}
