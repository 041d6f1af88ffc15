//! Sees everything a device sends, over power cycles, and holds it to the promises that outlive a cycle.

use std::collections::{HashMap, HashSet};

use ambit_protocol::RandN;
use ambit_protocol::schedule;
use ambit_protocol::wire::{ReportId, ReportView};

use super::network::Network;

#[derive(Default)]
pub struct Observer {
    /// T-ID of the beacon form: power cycle, first and last time it was shown.
    beacon_t_ids: HashMap<[u8; 4], (u32, u64, u64)>,
    /// T-ID of the counter forms, one per counter value: the one report it may stand in.
    counter_t_ids: HashMap<[u8; 6], Vec<u8>>,
    /// RAND_d of the concealed form, T-ID and RAND_d of the beacon form: one per built report.
    rand_ds: HashMap<[u8; 8], Vec<u8>>,
    genuine: HashSet<[u8; 4]>,
    pub beacon_reports: u32,
    pub concealed_reports: u32,
    pub reports: u32,
    pub recovery_reports: u32,
}

impl Observer {
    /// A beacon that the network itself issued, before any device could hear it.
    pub fn issued(&mut self, network: &Network, rand_n: &RandN) {
        self.genuine
            .insert(network.cut(&schedule::beacon_t_id(rand_n)));
    }

    /// A report went on the air. `now_ms` is true time, `heard` the beacon the device heard last.
    pub fn sent(
        &mut self,
        network: &Network,
        cycle: u32,
        now_ms: u64,
        heard: Option<RandN>,
        octets: &[u8],
    ) {
        let view = ReportView::parse(octets).expect("a device sends well-formed reports");
        self.reports += 1;
        match *view.id() {
            ReportId::Beacon { t_id, rand_d } => {
                self.beacon_reports += 1;
                let [a, b, c, d] = t_id;
                let [e, f, g, h] = rand_d;
                let name = [a, b, c, d, e, f, g, h];
                let first = self.rand_ds.entry(name).or_insert_with(|| octets.to_vec());
                assert_eq!(first, octets, "RAND_d used in two reports");
                assert!(
                    self.genuine.contains(&t_id),
                    "T-ID of a beacon nobody issued"
                );
                let heard = heard.expect("the beacon form needs a beacon");
                let now = network.cut::<4>(&schedule::beacon_t_id(&heard));
                assert_eq!(t_id, now, "T-ID of another beacon than the one heard last");
                let (in_cycle, first_ms, last_ms) = self
                    .beacon_t_ids
                    .entry(t_id)
                    .or_insert((cycle, now_ms, now_ms));
                *last_ms = now_ms;
                assert_eq!(*in_cycle, cycle, "T-ID shown in two power cycles");
                assert!(
                    *last_ms - *first_ms < network.period_ms,
                    "T-ID shown for longer than a period"
                );
            }
            ReportId::Concealed { rand_d, .. } => {
                self.concealed_reports += 1;
                let first = self
                    .rand_ds
                    .entry(rand_d)
                    .or_insert_with(|| octets.to_vec());
                assert_eq!(first, octets, "RAND_d used in two reports");
            }
            ReportId::Counter { t_id }
            | ReportId::Blind { t_id }
            | ReportId::Recovery { t_id, .. } => {
                if matches!(view.id(), ReportId::Recovery { .. }) {
                    self.recovery_reports += 1;
                }
                let first = self
                    .counter_t_ids
                    .entry(t_id)
                    .or_insert_with(|| octets.to_vec());
                assert_eq!(first, octets, "counter value used in two reports");
            }
        }
    }
}
