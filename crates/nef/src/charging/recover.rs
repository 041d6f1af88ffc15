//! Where charging stopped, from the files it left.

use std::fs;
use std::path::{Path, PathBuf};

use ambit_store::Store;

use super::file::{Head, OpenFile, Tail, closed_name, failed, finish, open_name};
use super::{Cdr, ChargingError, Position};
use crate::lookup::holds;

/// The position, and the file that was being written, cut back to its last whole line.
pub(super) fn recover(dir: &Path) -> Result<(Position, Option<OpenFile>), ChargingError> {
    fs::create_dir_all(dir).map_err(failed(dir))?;
    let mut position = position(dir)?;
    let being_closed = dir.join(open_name(position.file));
    if position.file > 0 && being_closed.exists() {
        // Ended and noted, but for its name.
        finish(dir, &position)?;
    }
    let path = dir.join(open_name(position.file + 1));
    if !path.exists() {
        return Ok((position, None));
    }
    let text = fs::read(&path).map_err(failed(&path))?;
    let Some(read) = Contents::read(&text, position.cdr) else {
        // Not even its first line is whole: nothing was written.
        fs::remove_file(&path).map_err(failed(&path))?;
        return Ok((position, None));
    };
    if let Some(last) = &read.last {
        position.cdr = last.cdr;
        position.record = last.record;
        position.link.clone_from(&last.link);
    }
    if read.is_ended {
        position.file += 1;
        finish(dir, &position)?;
        return Ok((position, None));
    }
    let open = OpenFile::resume(path, read.head, read.octets, position.cdr)?;
    Ok((position, Some(open)))
}

/// The last record of which the store and a CDR file here agree: the store was put back from a copy, and has gone on from
/// there otherwise.
pub(super) fn fork(
    dir: &Path,
    store: &mut dyn Store,
    position: &Position,
) -> Result<i64, ChargingError> {
    for number in (1..=position.file + 1).rev() {
        let names = [open_name(number), closed_name(number)];
        let paths = names.map(|name| dir.join(name));
        let Some(path) = paths.iter().find(|path| path.exists()) else {
            break;
        };
        let text = fs::read(path).map_err(failed(path))?;
        let cdrs = text.split(|octet| *octet == b'\n').rev();
        for cdr in cdrs.filter_map(|line| serde_json::from_slice::<Cdr>(line).ok()) {
            if holds(store, cdr.record, &cdr.link)? {
                return Ok(cdr.record);
            }
        }
        if number == 1 {
            // All CDRs ever written are here, and none is of this store.
            return Ok(0);
        }
    }
    Err(ChargingError::OtherHistory {
        record: position.record,
        cdr: position.cdr,
    })
}

/// What the last closed file noted; nothing before the first.
fn position(dir: &Path) -> Result<Position, ChargingError> {
    let path = dir.join("position.json");
    if !path.exists() {
        let first: PathBuf = dir.join(closed_name(1));
        let rule = "is not there, though CDR files are: charging cannot know where it stopped";
        return match first.exists() {
            true => Err(ChargingError::Damaged { path, rule }),
            false => Ok(Position::default()),
        };
    }
    let text = fs::read(&path).map_err(failed(&path))?;
    serde_json::from_slice(&text).map_err(|_| ChargingError::Damaged {
        path,
        rule: "must hold file, cdr, record and link",
    })
}

/// The whole lines of an open file.
struct Contents {
    head: Head,
    last: Option<Cdr>,
    octets: u64,
    is_ended: bool,
}

impl Contents {
    /// Reads as far as lines are whole and CDRs follow on each other; `None` if there is no first line.
    fn read(text: &[u8], cdr_before: u64) -> Option<Self> {
        let mut lines = text.split_inclusive(|octet| *octet == b'\n');
        let first = lines.next().filter(|line| line.ends_with(b"\n"))?;
        let mut contents = Self {
            head: serde_json::from_slice(first).ok()?,
            last: None,
            octets: first.len() as u64,
            is_ended: false,
        };
        let whole = lines.filter(|line| line.ends_with(b"\n"));
        for (expected, line) in (cdr_before + 1..).zip(whole) {
            if serde_json::from_slice::<Tail>(line).is_ok() {
                contents.is_ended = true;
                break;
            }
            match serde_json::from_slice::<Cdr>(line) {
                Ok(cdr) if cdr.cdr == expected => contents.last = Some(cdr),
                _ => break,
            }
            contents.octets += line.len() as u64;
        }
        Some(contents)
    }
}
