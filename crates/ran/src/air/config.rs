//! What an air is told, and what it counts.

use ambit_protocol::{AreaId, RandN};

use crate::frame::{Direction, SiteReader};

/// Frames in flight at most, by default.
pub const FRAMES_MAX_DEFAULT: usize = 1 << 20;

/// How one direction treats frames. Probabilities are 0.0 to 1.0 and drawn independently for each frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Channel {
    /// Probability that a frame is lost.
    pub loss: f64,
    /// Probability that a frame arrives twice, each copy with a delay of its own.
    pub duplication: f64,
    /// Probability that a frame is held back by `reordering_delay_ms` on top of its delay.
    pub reordering: f64,
    /// What a reordered frame waits longer, in milliseconds.
    pub reordering_delay_ms: u32,
    /// Shortest delay, in milliseconds.
    pub delay_ms_min: u32,
    /// Longest delay, in milliseconds; not below `delay_ms_min`.
    pub delay_ms_max: u32,
}

impl Channel {
    /// Nothing is lost, twice or out of order; 2 ms of delay.
    pub const PERFECT: Self = Self {
        loss: 0.0,
        duplication: 0.0,
        reordering: 0.0,
        reordering_delay_ms: 0,
        delay_ms_min: 2,
        delay_ms_max: 2,
    };

    /// Frames get lost with probability `loss`; 1 to 10 ms of delay; nothing else.
    pub const fn lossy(loss: f64) -> Self {
        Self {
            loss,
            delay_ms_min: 1,
            delay_ms_max: 10,
            ..Self::PERFECT
        }
    }
}

/// An interval in which nothing gets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jam {
    /// First millisecond of the jam.
    pub from_ms: u64,
    /// First millisecond after it.
    pub until_ms: u64,
    /// The jammed direction; `None` for both. A jam of [`Direction::Down`] also silences beacons.
    pub direction: Option<Direction>,
    /// The jammed reader; `None` for all.
    pub reader: Option<SiteReader>,
}

impl Jam {
    pub(super) fn covers(&self, now_ms: u64, direction: Direction, reader: SiteReader) -> bool {
        (self.from_ms..self.until_ms).contains(&now_ms)
            && self.direction.is_none_or(|d| d == direction)
            && self.reader.is_none_or(|r| r == reader)
    }
}

/// A false reader's broadcast. Devices at `reader` hear it in place of the true beacon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FalseBeacon {
    /// The reader that it drowns out.
    pub reader: SiteReader,
    /// First millisecond of the broadcast.
    pub from_ms: u64,
    /// First millisecond after it.
    pub until_ms: u64,
    /// The AreaID it names.
    pub area_id: AreaId,
    /// The RAND_n it names.
    pub rand_n: RandN,
}

/// How an [`Air`](super::Air) behaves.
#[derive(Clone, Debug, PartialEq)]
pub struct AirConfig {
    /// Seed of every draw.
    pub seed: u64,
    /// Device to reader.
    pub up: Channel,
    /// Reader to device.
    pub down: Channel,
    /// Frames in flight at most. What would exceed it is lost and counted.
    pub frames_max: usize,
}

impl AirConfig {
    /// Both directions alike.
    pub const fn symmetric(seed: u64, channel: Channel) -> Self {
        Self {
            seed,
            up: channel,
            down: channel,
            frames_max: FRAMES_MAX_DEFAULT,
        }
    }
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AirStats {
    /// Frames sent by devices.
    pub sent_up: u64,
    /// Frames sent by readers.
    pub sent_down: u64,
    /// Frames lost by the channel.
    pub lost: u64,
    /// Frames lost in a jam.
    pub jammed: u64,
    /// Frames that an ear dropped.
    pub dropped: u64,
    /// Frames that an ear replaced.
    pub replaced: u64,
    /// Frames sent twice by the channel.
    pub duplicated: u64,
    /// Frames held back by the channel.
    pub reordered: u64,
    /// Frames injected by an adversary.
    pub injected: u64,
    /// Frames lost because `frames_max` were in flight.
    pub overflowed: u64,
    /// Frames that arrived.
    pub delivered: u64,
}
