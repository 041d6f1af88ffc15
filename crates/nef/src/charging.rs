//! Offline charging: one charging data record (CDR) for each new acceptance, and none otherwise.
//!
//! CDRs are derived from the acceptance records and from nothing else: a record that is no repeat gives one, in the order of
//! acceptance. The files are their own memory: the last CDR written says where to go on, so a torn line, a kill at any moment
//! or a full disk lose nothing and double nothing.
//!
//! ```text
//! cdr-0000000007.jsonl   closed: complete, never changed again
//! cdr-0000000008.open    being written
//! position.json          where the last closed file ended; written before that file gets its final name
//! ```
//! A closed file begins with a line that names it and ends with a line that counts it. File numbers and CDR numbers have no
//! gaps. Closed files may be taken away.

mod file;
mod recover;

use std::collections::HashMap;
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;

use ambit_store::{RecordFilter, RecordRow, Store, StoreError};
use serde::{Deserialize, Serialize};

use crate::lookup::{Fleets, holds, link_of};
use file::OpenFile;

/// Records looked at in one step.
const STEP_RECORDS_MAX: usize = 4096;

/// Where CDRs go, and when a file is closed.
#[derive(Clone, Debug)]
pub struct ChargingConfig {
    /// The directory; made when it is not there.
    pub dir: PathBuf,
    /// A file of this size is closed.
    pub file_octets_max: u64,
    /// A file that was opened so long ago is closed, in seconds.
    pub file_s_max: u32,
    /// The AF that pays for a fleet.
    pub fleet_afs: HashMap<String, String>,
}

/// A charging data record: what a tariff can ask for, and what it can be traced by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cdr {
    /// Its number, from 1 without gaps.
    pub cdr: u64,
    /// Id of the acceptance record.
    pub record: i64,
    /// The record's link in the evidence chain, hexadecimal: it names the record for ever, over a restored store too.
    pub link: String,
    /// When the report was accepted, Unix time in ms.
    pub time_ms: i64,
    /// Permanent device ID, hexadecimal.
    pub device_id: String,
    /// The device's fleet.
    pub fleet: String,
    /// The AF that pays for the fleet, if one is configured.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub af: Option<String>,
    /// AreaID of the reader, hexadecimal.
    pub area_id: String,
    /// Why the device spoke.
    pub cause: u8,
    /// Octets of application data.
    pub octets: usize,
}

/// Where charging stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Number of the last file closed.
    pub file: u64,
    /// Number of the last CDR.
    pub cdr: u64,
    /// Record of the last CDR; 0 before the first.
    pub record: i64,
    /// That record's link, hexadecimal.
    pub link: String,
}

/// Why charging stands still. Nothing is lost: it goes on where it stopped.
#[derive(Debug, thiserror::Error)]
pub enum ChargingError {
    /// A file cannot be read or written.
    #[error("{path}: {error}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The store failed.
    #[error("store: {0}")]
    Store(#[from] StoreError),
    /// The directory does not hold what this module leaves in one.
    #[error("{path}: {rule}", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        rule: &'static str,
    },
    /// The store is not the one that was charged for, and no file here says where the two part.
    #[error(
        "record {record} is not the one that CDR {cdr} was written for, and no CDR file in the directory has a record that both have"
    )]
    OtherHistory {
        /// The record.
        record: i64,
        /// The CDR.
        cdr: u64,
    },
}

impl ChargingError {
    /// The stable name of the error.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Io { .. } => "charging_io",
            Self::Store(_) => "store_failed",
            Self::Damaged { .. } => "charging_damaged",
            Self::OtherHistory { .. } => "charging_other_history",
        }
    }
}

/// Writes CDRs.
#[derive(Debug)]
pub struct Charging {
    config: ChargingConfig,
    position: Position,
    /// The last record looked at: repeats behind the position included.
    seen: i64,
    open: Option<OpenFile>,
    fleets: Fleets,
}

impl Charging {
    /// Takes up charging where the files in the directory say it stopped.
    ///
    /// # Errors
    /// [`ChargingError::Io`], [`ChargingError::Damaged`].
    pub fn open(config: ChargingConfig) -> Result<Self, ChargingError> {
        let (position, open) = recover::recover(&config.dir)?;
        Ok(Self {
            config,
            seen: position.record,
            position,
            open,
            fleets: Fleets::default(),
        })
    }

    /// Where charging stands.
    #[must_use]
    pub const fn position(&self) -> &Position {
        &self.position
    }

    /// Writes the CDRs of the next records, and closes the file when its time has come. Returns how many records were looked
    /// at: fewer than could be in one step means that all were.
    ///
    /// # Errors
    /// [`ChargingError`]. Open charging anew then: what the files say is what was written.
    pub fn step(&mut self, store: &mut dyn Store, now_ms: i64) -> Result<usize, ChargingError> {
        let records = self.next_records(store)?;
        for record in &records {
            if !record.repeat {
                let cdr = self.cdr(store, record)?;
                self.write(&cdr, now_ms)?;
            }
            self.seen = record.id;
        }
        if let Some(open) = &mut self.open {
            open.flush()?;
            if open.age_ms(now_ms) >= u64::from(self.config.file_s_max) * 1000 {
                self.close("age", now_ms)?;
            }
        }
        Ok(records.len())
    }

    /// Closes the open file, if there is one.
    ///
    /// # Errors
    /// [`ChargingError::Io`].
    pub fn close(&mut self, reason: &str, now_ms: i64) -> Result<(), ChargingError> {
        if let Some(open) = self.open.take() {
            self.position.file = open.number();
            open.close(&self.config.dir, &self.position, reason, now_ms)?;
        }
        Ok(())
    }

    /// The next records. The walk begins with the record of the last CDR, which must be the one that was charged.
    fn next_records(&mut self, store: &mut dyn Store) -> Result<Vec<RecordRow>, ChargingError> {
        if self.position.record > 0 && !holds(store, self.position.record, &self.position.link)? {
            // A store that was put back from a copy: go on behind the last record that both have.
            self.seen = recover::fork(&self.config.dir, store, &self.position)?;
            self.position.record = self.seen;
            self.position.link = link_of(store, self.seen)?.unwrap_or_default();
        }
        let mut records = Vec::new();
        let filter = RecordFilter {
            after_id: Some(self.seen),
            ..RecordFilter::default()
        };
        store.records_for_each(&filter, &mut |record| {
            records.push(record);
            match records.len() < STEP_RECORDS_MAX {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        })?;
        Ok(records)
    }

    fn cdr(&mut self, store: &mut dyn Store, record: &RecordRow) -> Result<Cdr, ChargingError> {
        let fleet = self.fleets.of(store, record)?;
        Ok(Cdr {
            cdr: self.position.cdr + 1,
            record: record.id,
            link: hex::encode(record.link),
            time_ms: record.time_ms,
            device_id: hex::encode(&record.device_id),
            af: self.config.fleet_afs.get(&fleet).cloned(),
            fleet,
            area_id: hex::encode(record.area_id),
            cause: record.cause,
            octets: record.data.len(),
        })
    }

    fn write(&mut self, cdr: &Cdr, now_ms: i64) -> Result<(), ChargingError> {
        if self
            .open
            .as_ref()
            .is_some_and(|open| open.octets() >= self.config.file_octets_max)
        {
            self.close("size", now_ms)?;
        }
        let open = match &mut self.open {
            Some(open) => open,
            None => {
                let number = self.position.file + 1;
                let open = OpenFile::create(&self.config.dir, number, cdr.cdr, now_ms)?;
                self.open.insert(open)
            }
        };
        open.append(cdr)?;
        self.position.cdr = cdr.cdr;
        self.position.record = cdr.record;
        self.position.link.clone_from(&cdr.link);
        Ok(())
    }
}
