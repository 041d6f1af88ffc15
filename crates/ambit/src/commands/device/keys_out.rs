//! The file that receives generated keys: made anew, its owner's alone, on disk before the keys take effect.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ambit_provisioning::{DeviceSpec, write_csv};

use crate::failure::Failure;

pub(super) struct KeysOut {
    path: PathBuf,
    file: File,
}

impl KeysOut {
    /// Makes the file. One that is there already is never overwritten: it may hold the only copy of keys.
    pub(super) fn create(path: &Path) -> Result<Self, Failure> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| failed(path, &error))?;
        Ok(Self {
            path: path.into(),
            file,
        })
    }

    /// Writes the devices with their keys, durably.
    pub(super) fn write(self, devices: &[DeviceSpec]) -> Result<Self, Failure> {
        let written = write_csv(&self.file, devices).and_then(|()| self.file.sync_all());
        match written {
            Ok(()) => Ok(self),
            Err(error) => {
                let failure = failed(&self.path, &error);
                self.discard();
                Err(failure)
            }
        }
    }

    /// Removes the file: its keys will never be used.
    pub(super) fn discard(self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::io(format!("--keys-out {}", path.display()), error)
}
