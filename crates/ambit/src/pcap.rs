//! N2 as a packet capture in a file.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use ambit_ngap::capture::{Capture, Way};

use crate::failure::Failure;

/// A capture under way. A file that cannot be written any more ends the capture, not what is captured.
pub(crate) struct Pcap {
    file: Option<File>,
    capture: Capture,
    /// The option that asked for it, and the file, for messages.
    name: String,
}

impl Pcap {
    /// Begins a new file, which only its owner can read.
    pub(crate) fn create(option: &str, path: &Path) -> Result<Self, Failure> {
        let name = format!("{option}: {}", path.display());
        let failed = |error| Failure::io(&name, &error);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut file = options.open(path).map_err(failed)?;
        file.write_all(&Capture::header()).map_err(failed)?;
        Ok(Self {
            file: Some(file),
            capture: Capture::default(),
            name,
        })
    }

    /// Adds one PDU.
    pub(crate) fn write(&mut self, unix_ms: i64, way: Way, connection: u64, pdu: &[u8]) {
        let Some(file) = &mut self.file else {
            return;
        };
        let records = self.capture.records(unix_ms, way, connection, pdu);
        if let Err(error) = file.write_all(&records) {
            eprintln!("ambit: {}: {error}; nothing more is captured", self.name);
            self.file = None;
        }
    }
}
