//! The AIOTF: it opens DO-A windows at every gNB, rolls them with the epochs, takes reports to the ADM and ACCEPTs back.
//! It relays UICC registrations between the two. On request it takes inventories and gives commands (section 8).
//!
//! [`Aiotf`] is the function without I/O: connections, PDUs and time go in, PDUs come out. [`server`] runs it on TCP. The ADM
//! is reached through [`AdmClient`](ambit_adm_api::AdmClient); this crate does not depend on the ADM's, so K cannot get here.

mod accepted;
mod core;
mod gnb;
mod queue;
mod registrations;
pub mod server;
pub mod service;
mod terminated;

use std::collections::{BTreeMap, HashMap};

use ambit_protocol::{AreaId, Snid};

pub use crate::accepted::{AcceptedReport, Watcher};
pub use crate::core::{Aiotf, ConnectionId, Output, Status};

/// How an AIOTF behaves.
#[derive(Clone, Debug)]
pub struct AiotfConfig {
    /// NF instance ID of this AIOTF.
    pub aiotf_id: [u8; 16],
    /// Its name, 1 to 150 characters.
    pub name: String,
    /// The network.
    pub snid: Snid,
    /// Which area each reader serves. A gNB that is not named serves area code r with reader r.
    pub readers: HashMap<u32, BTreeMap<u16, [u8; 3]>>,
    /// For a gNB that is not named: area codes 1 to this are asked for in a window (1 to 256).
    pub areas_default_max: u16,
    /// How many reports wait for the ADM at most before they are taken to it.
    pub batch_max: usize,
    /// How long to wait before a window that a gNB refused or gave up is asked for again, in seconds.
    pub window_retry_s: u32,
    /// How often a gNB behind an AMF is asked whether its window is still open, in seconds; 0 means never.
    pub window_check_s: u32,
}

impl AiotfConfig {
    /// The defaults for a network.
    pub fn new(snid: Snid, aiotf_id: [u8; 16]) -> Self {
        Self {
            aiotf_id,
            name: "ambit-aiotf".into(),
            snid,
            readers: HashMap::new(),
            areas_default_max: 256,
            batch_max: 4096,
            window_retry_s: 10,
            window_check_s: 5,
        }
    }

    /// The area that a reader of a gNB serves, if it serves one.
    fn area(&self, gnb_id: u32, reader_index: u16) -> Option<AreaId> {
        let code = match self.readers.get(&gnb_id) {
            Some(readers) => *readers.get(&reader_index)?,
            None => code(reader_index),
        };
        Some(self.snid.area(code))
    }

    /// The areas to ask for in a window at a gNB; at most 256, which is what the message has room for.
    fn areas(&self, gnb_id: u32) -> Vec<[u8; 12]> {
        let area = |code| *self.snid.area(code).octets();
        let mut areas: Vec<_> = match self.readers.get(&gnb_id) {
            Some(readers) => readers.values().copied().map(area).collect(),
            None => (1..=self.areas_default_max)
                .map(|r| area(code(r)))
                .collect(),
        };
        areas.sort_unstable();
        areas.dedup();
        areas.truncate(256);
        areas
    }
}

/// Area code r: 000001 for reader 1.
const fn code(reader_index: u16) -> [u8; 3] {
    let [high, low] = reader_index.to_be_bytes();
    [0, high, low]
}
