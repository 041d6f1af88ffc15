//! The limit: one write and one `fdatasync` a group, no index, duplicates not noticed.

use crate::{Engine, Record, Result, pack};
use std::fs::File;
use std::io::{Seek, Write};
use std::path::Path;

pub(crate) struct Append {
    file: File,
    buffer: Vec<u8>,
}

impl Append {
    /// `preallocated` octets are written beforehand, so that `fdatasync` has no file size to record.
    pub(crate) fn open(dir: &Path, preallocated: usize) -> Result<Box<dyn Engine>> {
        let mut file = File::create(dir.join("log"))?;
        file.write_all(&vec![0; preallocated])?;
        file.sync_all()?;
        file.rewind()?;
        Ok(Box::new(Self {
            file,
            buffer: Vec::new(),
        }))
    }
}

impl Engine for Append {
    fn accept(&mut self, group: &[Record]) -> Result<usize> {
        self.buffer.clear();
        for r in group {
            self.buffer.extend_from_slice(&pack(r));
        }
        self.file.write_all(&self.buffer)?;
        self.file.sync_data()?;
        Ok(group.len())
    }
}
