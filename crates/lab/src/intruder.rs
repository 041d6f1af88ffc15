//! Two intruders on the air: a fake device and a fake network. Neither holds a key; both hear everything.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use ambit_protocol::wire::{REPORT_OCTETS_MAX, ReportId};
use ambit_protocol::{AreaId, RandN};
use ambit_ran::air::{FalseBeacon, Verdict};
use ambit_ran::fleet::DeviceIndex;
use ambit_ran::frame::{AirFrame, Direction, FrameKind, RadioId, SiteReader};
use ambit_ran::site::Site;
use serde::Serialize;

/// How many frames of a kind an intruder remembers.
const MEMORY_MAX: usize = 256;

/// Both intruders.
pub struct Intruders {
    heard: Arc<Mutex<Heard>>,
    rng: fastrand::Rng,
    readers: Vec<SiteReader>,
    devices: u32,
    counts: IntruderCounts,
}

/// What they did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct IntruderCounts {
    /// Reports made up, of every form.
    pub forged: u64,
    /// Reports of honest devices with a bit changed.
    pub altered: u64,
    /// Reports of honest devices sent again, at their own reader and at others.
    pub replayed: u64,
    /// False beacons put on the air: made up, and true ones of earlier epochs again.
    pub false_beacons: u64,
    /// False ACCEPTs sent to devices: made up, and true ones sent to other devices.
    pub false_accepts: u64,
}

#[derive(Default)]
struct Heard {
    reports: VecDeque<(SiteReader, Vec<u8>)>,
    accepts: VecDeque<Vec<u8>>,
    beacons: VecDeque<Vec<u8>>,
}

impl Intruders {
    /// Puts an ear on a site's air.
    pub fn join(site: &mut Site, seed: u64) -> Self {
        let heard = Arc::new(Mutex::new(Heard::default()));
        let ear = Arc::clone(&heard);
        site.air_mut().add_ear(Box::new(move |frame| {
            ear.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .note(frame);
            Verdict::Pass
        }));
        let readers = (0u16..).zip(site.gnbs()).flat_map(|(gnb, state)| {
            let readers = &state.config().readers;
            readers.iter().map(move |reader| SiteReader {
                gnb,
                reader_index: reader.reader_index,
            })
        });
        Self {
            heard,
            rng: fastrand::Rng::with_seed(seed),
            readers: readers.collect(),
            devices: u32::try_from(site.fleet_stats().devices).unwrap_or(u32::MAX),
            counts: IntruderCounts::default(),
        }
    }

    /// What they did so far.
    pub const fn counts(&self) -> &IntruderCounts {
        &self.counts
    }

    /// The fake device speaks `times` times: a forged, an altered or a replayed report.
    pub fn fake_device(&mut self, site: &mut Site, times: u32) {
        for _ in 0..times {
            let reader = self.any_reader();
            let heard = self.any_report();
            let (reader, octets) = match (self.rng.u8(0..3), heard) {
                (0, Some((_, mut octets))) => {
                    let at = self.rng.usize(..octets.len().max(1));
                    if let Some(octet) = octets.get_mut(at) {
                        *octet ^= 1 << self.rng.u8(0..8);
                    }
                    self.counts.altered += 1;
                    (reader, octets)
                }
                (1, Some((own, octets))) => {
                    self.counts.replayed += 1;
                    (if self.rng.bool() { own } else { reader }, octets)
                }
                _ => {
                    self.counts.forged += 1;
                    (reader, self.forge())
                }
            };
            let radio_id = RadioId(self.rng.u32(..));
            site.inject_up(reader, radio_id, 0, octets);
        }
    }

    /// The fake network sends `times` false ACCEPTs to devices, and covers one reader with a false beacon for `beacon_ms`.
    pub fn fake_network(&mut self, site: &mut Site, times: u32, beacon_ms: u64) {
        let reader = self.any_reader();
        if let Some((area_id, rand_n)) = self.false_beacon(site, reader) {
            let now_ms = site.now_ms();
            site.air_mut().add_false_beacon(FalseBeacon {
                reader,
                from_ms: now_ms,
                until_ms: now_ms.saturating_add(beacon_ms),
                area_id,
                rand_n,
            });
            self.counts.false_beacons += 1;
        }
        for _ in 0..times {
            let device = DeviceIndex(self.rng.u32(..self.devices.max(1)));
            let recorded = {
                let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
                let at = self.rng.usize(..heard.accepts.len().max(1));
                heard.accepts.get(at).cloned()
            };
            let octets = match recorded {
                Some(octets) if self.rng.bool() => octets,
                _ => {
                    let mut octets = vec![0x48; 1 + 8];
                    self.rng.fill(octets.get_mut(1..).unwrap_or_default());
                    octets
                }
            };
            let reader = self.any_reader();
            site.inject_down(reader, Some(device), 0, FrameKind::Nas, octets);
            self.counts.false_accepts += 1;
        }
    }

    /// A beacon that the network did not send now: invented for a coming epoch, or one of an earlier epoch again.
    fn false_beacon(&mut self, site: &Site, reader: SiteReader) -> Option<(AreaId, RandN)> {
        let (area_id, current) = site.beacon_heard(reader)?;
        let mut element = [0; 12];
        self.rng.fill(&mut element);
        let invented = RandN::new(current.epoch().saturating_add(self.rng.u32(0..3)), element);
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let earlier = heard.beacons.iter().find_map(|octets| {
            let rand_n = RandN::from_octets(*octets.last_chunk()?);
            (rand_n != current).then_some(rand_n)
        });
        match earlier {
            Some(rand_n) if self.rng.bool() => Some((area_id, rand_n)),
            _ => Some((area_id, invented)),
        }
    }

    fn any_reader(&mut self) -> SiteReader {
        let at = self.rng.usize(..self.readers.len().max(1));
        self.readers.get(at).copied().unwrap_or(SiteReader {
            gnb: 0,
            reader_index: 1,
        })
    }

    fn any_report(&mut self) -> Option<(SiteReader, Vec<u8>)> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let at = self.rng.usize(..heard.reports.len().max(1));
        heard.reports.get(at).cloned()
    }

    /// A report of any form with random identifiers, ciphertext and tag.
    fn forge(&mut self) -> Vec<u8> {
        let mut id = [0; 12];
        self.rng.fill(&mut id);
        let [a, b, c, d, e, f, g, h, i, j, k, l] = id;
        let id = match self.rng.u8(0..5) {
            0 => ReportId::Beacon {
                t_id: [a, b, c, d],
                rand_d: [e, f, g, h],
            },
            1 => ReportId::Counter {
                t_id: [a, b, c, d, e, f],
            },
            2 => ReportId::Concealed {
                cid: [a, b, c, d],
                rand_d: [e, f, g, h, i, j, k, l],
            },
            3 => ReportId::Recovery {
                counter: u32::from_be_bytes([0, 0, k, l]),
                t_id: [a, b, c, d, e, f],
            },
            _ => ReportId::Blind {
                t_id: [a, b, c, d, e, f],
            },
        };
        let mut octets = vec![0; REPORT_OCTETS_MAX];
        let head = id.emit(&mut octets).unwrap_or(0);
        let len = head + 1 + 8 + self.rng.usize(0..16);
        octets.truncate(len);
        self.rng.fill(octets.get_mut(head..).unwrap_or_default());
        octets
    }
}

impl Heard {
    fn note(&mut self, frame: &AirFrame) {
        match (frame.direction, frame.kind) {
            (Direction::Up, FrameKind::Nas) => {
                keep(&mut self.reports, (frame.reader, frame.octets.clone()));
            }
            (Direction::Down, FrameKind::Nas) => keep(&mut self.accepts, frame.octets.clone()),
            (Direction::Down, FrameKind::Beacon) => keep(&mut self.beacons, frame.octets.clone()),
            _ => {}
        }
    }
}

fn keep<T>(memory: &mut VecDeque<T>, item: T) {
    if memory.len() >= MEMORY_MAX {
        memory.pop_front();
    }
    memory.push_back(item);
}
