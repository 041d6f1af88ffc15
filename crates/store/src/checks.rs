//! What the schemas leave open, checked before anything is written: alike for every store.

use crate::{
    AfRow, COMMAND_DATA_LEN_MAX, ChainRow, DATA_LEN_MAX, NewCommand, NewDevice, NewRecord,
    NewSubscriber, SQN_MAX, StoreError,
};

/// Acceptance records.
pub(crate) fn records(batch: &[NewRecord<'_>]) -> Result<(), StoreError> {
    for (index, r) in batch.iter().enumerate() {
        let field = if !matches!(r.tag1.len(), 4 | 8 | 16) {
            "tag1"
        } else if r.form > 5 {
            "form"
        } else if r.nonce.len() > 16 {
            "nonce"
        } else if r.cause > 15 {
            "cause"
        } else if r.seq > 15 {
            "seq"
        } else if r.data.len() > DATA_LEN_MAX {
            "data"
        } else if r.accept.len() > DATA_LEN_MAX {
            "accept"
        } else {
            continue;
        };
        return Err(StoreError::Invalid { index, field });
    }
    Ok(())
}

/// Devices, of certain credentials.
pub(crate) fn devices(devices: &[NewDevice<'_>], credentials: &[&str]) -> Result<(), StoreError> {
    for (index, d) in devices.iter().enumerate() {
        let field = if !matches!(d.device_id.len(), 1..=128) {
            "device_id"
        } else if !matches!(d.device_type, "1" | "2a" | "2b" | "2c") {
            "device_type"
        } else if !matches!(d.suite, 1..=3) {
            "suite"
        } else if !matches!(d.form, "beacon" | "concealed" | "counter" | "blind" | "dt") {
            "form"
        } else if !matches!(d.tag_len, 4 | 8 | 16) {
            "tag_len"
        } else if !credentials.contains(&d.credential) {
            "credential"
        } else {
            continue;
        };
        return Err(StoreError::Invalid { index, field });
    }
    Ok(())
}

/// Subscribers, one for each device.
pub(crate) fn subscribers(
    devices: &[NewDevice<'_>],
    subscribers: &[NewSubscriber<'_>],
) -> Result<(), StoreError> {
    if devices.len() != subscribers.len() {
        return Err(StoreError::Invalid {
            index: devices.len().min(subscribers.len()),
            field: "supi",
        });
    }
    for (index, s) in subscribers.iter().enumerate() {
        let field = if s.supi.is_empty() || s.supi.len() > 256 {
            "supi"
        } else if s.algorithm != "milenage" && !s.algorithm.starts_with("tuak-") {
            "algorithm"
        } else if s.sqn > SQN_MAX {
            "sqn"
        } else {
            continue;
        };
        return Err(StoreError::Invalid { index, field });
    }
    Ok(())
}

/// A beacon chain.
pub(crate) fn chain(chain: &ChainRow) -> Result<(), StoreError> {
    let field = if chain.first_epoch > chain.last_epoch {
        "first_epoch"
    } else if chain.period_s == 0 {
        "period_s"
    } else {
        return Ok(());
    };
    Err(StoreError::Invalid { index: 0, field })
}

/// An AF.
pub(crate) fn af(af: &AfRow) -> Result<(), StoreError> {
    let field = if !matches!(af.name.len(), 1..=128) {
        "name"
    } else if !matches!(af.client_id.len(), 1..=128) {
        "client_id"
    } else if !matches!(af.secret_check.len(), 1..=64) {
        "secret_check"
    } else {
        return Ok(());
    };
    Err(StoreError::Invalid { index: 0, field })
}

/// Commands to be kept.
pub(crate) fn commands(commands: &[NewCommand<'_>]) -> Result<(), StoreError> {
    for (index, c) in commands.iter().enumerate() {
        let (length, data) = (usize::from(c.length), c.data.len());
        let (some, none) = (1..=COMMAND_DATA_LEN_MAX, 0..=0);
        let (reads, writes) = match c.kind {
            "read" => (some, none),
            "write" => (none, some),
            _ => (none.clone(), none),
        };
        let field = if !matches!(c.kind, "read" | "write" | "disable") {
            "kind"
        } else if !reads.contains(&length) {
            "length"
        } else if !writes.contains(&data) {
            "data"
        } else if usize::from(c.offset) + length + data > 1 << 16 {
            "offset"
        } else if c.expires_ms <= c.made_ms {
            "expires_ms"
        } else {
            continue;
        };
        return Err(StoreError::Invalid { index, field });
    }
    Ok(())
}
