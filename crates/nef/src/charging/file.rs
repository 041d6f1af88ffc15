//! One CDR file while it is written, and how it is closed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Cdr, ChargingError, Position};

/// The line that a file begins with.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) file: u64,
    pub(super) opened_ms: i64,
    pub(super) first_cdr: u64,
}

/// The line that a closed file ends with.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Tail {
    pub(super) closed_ms: i64,
    pub(super) reason: String,
    pub(super) cdrs: u64,
    pub(super) last_cdr: u64,
    pub(super) last_record: i64,
}

#[derive(Debug)]
pub(super) struct OpenFile {
    path: PathBuf,
    out: BufWriter<File>,
    head: Head,
    octets: u64,
    last_cdr: u64,
}

/// The name of a file while it is written.
pub(super) fn open_name(number: u64) -> String {
    format!("cdr-{number:010}.open")
}

/// The name of a closed file.
pub(super) fn closed_name(number: u64) -> String {
    format!("cdr-{number:010}.jsonl")
}

/// The error of a file.
pub(super) fn failed(path: &Path) -> impl Fn(io::Error) -> ChargingError + '_ {
    |error| ChargingError::Io {
        path: path.into(),
        error,
    }
}

impl OpenFile {
    pub(super) fn create(
        dir: &Path,
        number: u64,
        first_cdr: u64,
        now_ms: i64,
    ) -> Result<Self, ChargingError> {
        let path = dir.join(open_name(number));
        let head = Head {
            file: number,
            opened_ms: now_ms,
            first_cdr,
        };
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o640)
            .open(&path)
            .map_err(failed(&path))?;
        let mut open = Self {
            out: BufWriter::new(file),
            path,
            octets: 0,
            last_cdr: first_cdr - 1,
            head,
        };
        let line = line(&open.head, &open.path)?;
        open.put(&line)?;
        Ok(open)
    }

    /// A file that was being written when the process ended, of which the first `octets` hold whole lines.
    pub(super) fn resume(
        path: PathBuf,
        head: Head,
        octets: u64,
        last_cdr: u64,
    ) -> Result<Self, ChargingError> {
        let cut = || {
            let mut file = OpenOptions::new().write(true).open(&path)?;
            file.set_len(octets)?;
            file.seek(SeekFrom::End(0))?;
            Ok(file)
        };
        let file = cut().map_err(failed(&path))?;
        Ok(Self {
            out: BufWriter::new(file),
            path,
            head,
            octets,
            last_cdr,
        })
    }

    pub(super) const fn number(&self) -> u64 {
        self.head.file
    }

    pub(super) const fn octets(&self) -> u64 {
        self.octets
    }

    pub(super) fn age_ms(&self, now_ms: i64) -> u64 {
        now_ms.abs_diff(self.head.opened_ms)
    }

    pub(super) fn append(&mut self, cdr: &Cdr) -> Result<(), ChargingError> {
        let line = line(cdr, &self.path)?;
        self.put(&line)?;
        self.last_cdr = cdr.cdr;
        Ok(())
    }

    pub(super) fn flush(&mut self) -> Result<(), ChargingError> {
        self.out.flush().map_err(failed(&self.path))
    }

    /// Ends the file, durably, and gives it its final name.
    pub(super) fn close(
        mut self,
        dir: &Path,
        position: &Position,
        reason: &str,
        now_ms: i64,
    ) -> Result<(), ChargingError> {
        let tail = Tail {
            closed_ms: now_ms,
            reason: reason.into(),
            cdrs: self.last_cdr + 1 - self.head.first_cdr,
            last_cdr: self.last_cdr,
            last_record: position.record,
        };
        let line = line(&tail, &self.path)?;
        self.put(&line)?;
        self.flush()?;
        self.out.get_ref().sync_all().map_err(failed(&self.path))?;
        finish(dir, position)
    }

    fn put(&mut self, line: &[u8]) -> Result<(), ChargingError> {
        self.out.write_all(line).map_err(failed(&self.path))?;
        self.octets += line.len() as u64;
        Ok(())
    }
}

/// The last two steps of closing: the position first, so that it is never behind a closed file that was taken away.
pub(super) fn finish(dir: &Path, position: &Position) -> Result<(), ChargingError> {
    let path = dir.join("position.json");
    let part = dir.join("position.part");
    let text = line(position, &path)?;
    let write = || {
        let mut file = File::create(&part)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&part, &path)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(failed(&path))?;
    let open = dir.join(open_name(position.file));
    let close = || {
        fs::rename(&open, dir.join(closed_name(position.file)))?;
        File::open(dir)?.sync_all()
    };
    close().map_err(failed(&open))
}

fn line(value: &impl Serialize, path: &Path) -> Result<Vec<u8>, ChargingError> {
    let mut line = serde_json::to_vec(value).map_err(|error| failed(path)(error.into()))?;
    line.push(b'\n');
    Ok(line)
}
