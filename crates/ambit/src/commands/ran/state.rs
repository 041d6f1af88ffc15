//! The non-volatile memory of emulated devices, kept between runs: anchors, counters, user memory, and who is
//! permanently disabled.
//!
//! A run that was cut short leaves its file marked as in use. Its devices then skip their counters ahead, as a device must
//! whose last write is in doubt: a counter value is never used twice, and recovery (section 6) brings the network along.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::Path;

use ambit_protocol::RandN;
use ambit_ran::fleet::{Fleet, Remembered};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// How far counters skip after a run that was cut short: more than a run is likely to have used.
const SKIP: u32 = 100_000;

/// What memory that was never written holds.
const BLANK: u8 = 0xff;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct State {
    /// A run is using it, or was when it was cut short.
    in_use: bool,
    /// By device ID in hexadecimal.
    devices: HashMap<String, Kept>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Kept {
    /// RAND_n, 16 octets in hexadecimal.
    anchor: Option<String>,
    counter: u32,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    disabled: bool,
    /// The user memory, in hexadecimal, without the blank octets at its end.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    user: String,
}

impl State {
    /// Reads a file; one that is not there is an empty state.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(failed(path, &error)),
        };
        let mut state: Self = serde_json::from_str(&text).map_err(|error| {
            Failure::input(
                "state_invalid",
                format!("--state {}: {error}", path.display()),
            )
        })?;
        if state.in_use {
            for kept in state.devices.values_mut() {
                kept.counter = kept.counter.saturating_add(SKIP);
            }
        }
        Ok(state)
    }

    /// What the devices of a fleet remember now. Those that had no power remember what they did.
    pub(super) fn of(fleet: &Fleet, before: &Self) -> Self {
        let devices = fleet.devices().filter_map(|view| {
            let id = hex::encode(view.device_id());
            let Some(device) = view.device() else {
                let kept = before.devices.get(&id)?.clone();
                return Some((id, kept));
            };
            let user = view.user_memory().unwrap_or_default();
            let blank = user.iter().rev().take_while(|octet| **octet == BLANK);
            let written = user.len() - blank.count();
            let kept = Kept {
                anchor: device.anchor().map(|anchor| hex::encode(anchor.octets())),
                counter: device.counter(),
                disabled: device.is_disabled(),
                user: hex::encode(user.get(..written).unwrap_or_default()),
            };
            Some((id, kept))
        });
        Self {
            in_use: false,
            devices: devices.collect(),
        }
    }

    /// What a device remembers; nothing when it is new.
    pub(super) fn device(&self, device_id: &[u8]) -> Remembered {
        let Some(kept) = self.devices.get(&hex::encode(device_id)) else {
            // A cut-short run may have been its first.
            let counter = if self.in_use { SKIP } else { 0 };
            return Remembered {
                counter,
                ..Remembered::default()
            };
        };
        let anchor = kept.anchor.as_ref().and_then(|text| {
            let mut octets = [0; 16];
            hex::decode_to_slice(text, &mut octets).ok()?;
            Some(RandN::from_octets(octets))
        });
        Remembered {
            anchor,
            counter: kept.counter,
            disabled: kept.disabled,
            user: hex::decode(&kept.user).unwrap_or_default(),
        }
    }

    /// Writes it as in use.
    pub(super) fn mark_in_use(&self, path: &Path) -> Result<(), Failure> {
        let marked = Self {
            in_use: true,
            devices: self.devices.clone(),
        };
        marked.write(path)
    }

    /// Writes it: the old file stays until the new one is on disk.
    pub(super) fn write(&self, path: &Path) -> Result<(), Failure> {
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let write = || {
            let mut file = File::create(&part)?;
            file.write_all(serde_json::to_string(self)?.as_bytes())?;
            file.sync_all()?;
            fs::rename(&part, path)
        };
        write().map_err(|error| failed(path, &error))
    }
}

/// Keeps other runs off a state file for as long as the result lives: two would use the same counters.
pub(super) fn lock(path: &Path) -> Result<File, Failure> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = File::create(&name).map_err(|error| failed(path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let message = format!(
                "--state {}: in use by another run; give each run a file of its own",
                path.display()
            );
            Err(Failure::resource("state_in_use", message))
        }
        Err(TryLockError::Error(error)) => Err(failed(path, &error)),
    }
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::io(format!("--state {}", path.display()), error)
}
