//! The air between readers and devices: a seeded model of loss, delay, duplication and reordering, jamming, and the places
//! where an adversary listens, interferes and injects.
//!
//! [`Air`] has no clock and no I/O. The same configuration, seed and calls give the same run.

mod config;

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::fmt;

use ambit_protocol::{AreaId, RandN};

pub use self::config::{AirConfig, AirStats, Channel, FRAMES_MAX_DEFAULT, FalseBeacon, Jam};
use crate::fleet::DeviceIndex;
use crate::frame::{AirFrame, Direction, SiteReader};

/// What an ear does to a frame it has heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Only listens.
    Pass,
    /// The frame never arrives.
    Drop,
    /// The receiver gets these octets instead.
    Replace(Vec<u8>),
    /// The frame arrives later by so many milliseconds.
    Hold(u32),
}

/// An ear on the air: sees every frame as it is sent, before the channel decides its fate, and may interfere.
pub type Ear = Box<dyn FnMut(&AirFrame) -> Verdict + Send>;

/// Whom a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receiver {
    /// The reader that the frame names.
    Reader,
    /// The device that holds the radio contact that the frame names.
    Contact,
    /// The device at this position of the fleet, whatever contact it holds (an adversary who stands beside it).
    Device(DeviceIndex),
    /// Every powered device at the reader that the frame names.
    AllAtReader,
}

/// A frame that arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// When, in milliseconds.
    pub at_ms: u64,
    /// For whom.
    pub to: Receiver,
    /// What.
    pub frame: AirFrame,
}

/// The air of a site.
pub struct Air {
    config: AirConfig,
    random: fastrand::Rng,
    in_flight: BinaryHeap<Reverse<InFlight>>,
    sequence: u64,
    jams: Vec<Jam>,
    false_beacons: Vec<FalseBeacon>,
    /// When jams and false readers begin and end: what devices hear of beacons may change then.
    hearing_changes_ms: BTreeSet<u64>,
    ears: Vec<Ear>,
    stats: AirStats,
}

impl Air {
    /// An air without frames, jams or ears.
    pub fn new(config: AirConfig) -> Self {
        Self {
            random: fastrand::Rng::with_seed(config.seed),
            config,
            in_flight: BinaryHeap::new(),
            sequence: 0,
            jams: Vec::new(),
            false_beacons: Vec::new(),
            hearing_changes_ms: BTreeSet::new(),
            ears: Vec::new(),
            stats: AirStats::default(),
        }
    }

    /// Sends a frame of a device or a reader through ears, jams and the channel.
    pub fn send(&mut self, to: Receiver, mut frame: AirFrame) {
        let channel = match frame.direction {
            Direction::Up => {
                self.stats.sent_up += 1;
                self.config.up
            }
            Direction::Down => {
                self.stats.sent_down += 1;
                self.config.down
            }
        };
        // Every frame takes the same number of draws, so that one frame's fate does not shift the next one's.
        let [loss, duplication, reordering] = [(); 3].map(|()| self.random.f64());
        let delays_ms = [(); 2].map(|()| delay_ms(&mut self.random, &channel));

        let Some(held_ms) = self.pass_ears(&mut frame) else {
            return;
        };
        if self.is_jammed(frame.sent_ms, frame.direction, frame.reader) {
            self.stats.jammed += 1;
            return;
        }
        if loss < channel.loss {
            self.stats.lost += 1;
            return;
        }
        let mut extra_ms = held_ms;
        if reordering < channel.reordering {
            self.stats.reordered += 1;
            extra_ms += u64::from(channel.reordering_delay_ms);
        }
        let [first_ms, second_ms] = delays_ms;
        if duplication < channel.duplication {
            self.stats.duplicated += 1;
            let again = frame.clone();
            self.put_in_flight(again.sent_ms + extra_ms + second_ms, to, again);
        }
        self.put_in_flight(frame.sent_ms + extra_ms + first_ms, to, frame);
    }

    /// Lets the ears hear a broadcast that devices do not receive as a frame: a beacon that has changed. What the ears make
    /// of it has no effect; a false beacon is added with [`Air::add_false_beacon`].
    pub fn announce(&mut self, frame: &AirFrame) {
        for ear in &mut self.ears {
            ear(frame);
        }
    }

    /// Puts an adversary's frame on the air. It arrives for certain (the adversary is close and loud), `delay_ms` after
    /// the frame's `sent_ms`. Ears do not hear it.
    pub fn inject(&mut self, to: Receiver, delay_ms: u32, frame: AirFrame) {
        self.stats.injected += 1;
        self.put_in_flight(frame.sent_ms + u64::from(delay_ms), to, frame);
    }

    /// The next frame that has arrived by `now_ms`, in order of arrival and then of sending.
    pub fn poll_delivery(&mut self, now_ms: u64) -> Option<Delivery> {
        if self
            .in_flight
            .peek()
            .is_none_or(|Reverse(next)| next.due_ms > now_ms)
        {
            return None;
        }
        let Reverse(InFlight {
            due_ms, to, frame, ..
        }) = self.in_flight.pop()?;
        self.stats.delivered += 1;
        Some(Delivery {
            at_ms: due_ms,
            to,
            frame,
        })
    }

    /// Whether a jam or a false reader has begun or ended by `now_ms`, since the last call: devices that wait for a beacon
    /// should listen again.
    pub fn poll_hearing_change(&mut self, now_ms: u64) -> bool {
        let mut changed = false;
        while self
            .hearing_changes_ms
            .first()
            .is_some_and(|at| *at <= now_ms)
        {
            changed = self.hearing_changes_ms.pop_first().is_some();
        }
        changed
    }

    /// When the next frame arrives, or what is heard of beacons changes, in milliseconds.
    pub fn poll_timeout(&self) -> Option<u64> {
        let frame_ms = self.in_flight.peek().map(|Reverse(next)| next.due_ms);
        let change_ms = self.hearing_changes_ms.first().copied();
        [frame_ms, change_ms].into_iter().flatten().min()
    }

    /// What a device at `reader` hears of beacons now, given what the reader broadcasts: nothing in a jam, a false reader's
    /// when there is one, else the reader's.
    pub fn beacon_heard(
        &self,
        now_ms: u64,
        reader: SiteReader,
        broadcast: Option<(AreaId, RandN)>,
    ) -> Option<(AreaId, RandN)> {
        if self.is_jammed(now_ms, Direction::Down, reader) {
            return None;
        }
        self.false_beacons
            .iter()
            .rfind(|f| f.reader == reader && (f.from_ms..f.until_ms).contains(&now_ms))
            .map(|f| (f.area_id, f.rand_n))
            .or(broadcast)
    }

    /// Adds a jam.
    pub fn add_jam(&mut self, jam: Jam) {
        self.hearing_changes_ms.extend([jam.from_ms, jam.until_ms]);
        self.jams.push(jam);
    }

    /// Ends all jams.
    pub fn clear_jams(&mut self, now_ms: u64) {
        self.hearing_changes_ms.insert(now_ms);
        self.jams.clear();
    }

    /// Adds a false reader. Of several at one reader, the one added last is heard.
    pub fn add_false_beacon(&mut self, beacon: FalseBeacon) {
        self.hearing_changes_ms
            .extend([beacon.from_ms, beacon.until_ms]);
        self.false_beacons.push(beacon);
    }

    /// Ends all false readers.
    pub fn clear_false_beacons(&mut self, now_ms: u64) {
        self.hearing_changes_ms.insert(now_ms);
        self.false_beacons.clear();
    }

    /// Adds an ear. Ears hear a frame in the order they were added; a replaced frame is heard as replaced.
    pub fn add_ear(&mut self, ear: Ear) {
        self.ears.push(ear);
    }

    /// Removes all ears.
    pub fn clear_ears(&mut self) {
        self.ears.clear();
    }

    /// Changes how one direction behaves from now on.
    pub fn set_channel(&mut self, direction: Direction, channel: Channel) {
        match direction {
            Direction::Up => self.config.up = channel,
            Direction::Down => self.config.down = channel,
        }
    }

    /// Counts since the start.
    pub const fn stats(&self) -> AirStats {
        self.stats
    }

    /// Frames in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    fn is_jammed(&self, now_ms: u64, direction: Direction, reader: SiteReader) -> bool {
        self.jams
            .iter()
            .any(|jam| jam.covers(now_ms, direction, reader))
    }

    /// Lets every ear hear the frame; `None` when one dropped it, else how long it is held, in milliseconds.
    fn pass_ears(&mut self, frame: &mut AirFrame) -> Option<u64> {
        let mut held_ms = 0;
        for ear in &mut self.ears {
            match ear(frame) {
                Verdict::Pass => {}
                Verdict::Drop => {
                    self.stats.dropped += 1;
                    return None;
                }
                Verdict::Replace(octets) => {
                    self.stats.replaced += 1;
                    frame.octets = octets;
                }
                Verdict::Hold(ms) => held_ms += u64::from(ms),
            }
        }
        Some(held_ms)
    }

    fn put_in_flight(&mut self, due_ms: u64, to: Receiver, frame: AirFrame) {
        if self.in_flight.len() >= self.config.frames_max {
            self.stats.overflowed += 1;
            return;
        }
        self.sequence += 1;
        self.in_flight.push(Reverse(InFlight {
            due_ms,
            sequence: self.sequence,
            to,
            frame,
        }));
    }
}

impl fmt::Debug for Air {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Air")
            .field("config", &self.config)
            .field("in_flight", &self.in_flight.len())
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

fn delay_ms(random: &mut fastrand::Rng, channel: &Channel) -> u64 {
    let longest = channel.delay_ms_max.max(channel.delay_ms_min);
    u64::from(random.u32(channel.delay_ms_min..=longest))
}

/// A frame under way, ordered by arrival and then by sending.
struct InFlight {
    due_ms: u64,
    sequence: u64,
    to: Receiver,
    frame: AirFrame,
}

impl Ord for InFlight {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due_ms, self.sequence).cmp(&(other.due_ms, other.sequence))
    }
}

impl PartialOrd for InFlight {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for InFlight {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for InFlight {}
