//! A site: gNBs with their readers, the air, and a fleet, on one clock.
//!
//! NGAP PDUs go in and out for each gNB, so that a test connects a site straight to a core without I/O, on a virtual clock,
//! and a demo in process. [`crate::net`] connects one over TCP.
//!
//! ```text
//! loop {
//!     while let Some((gnb, octets)) = site.poll_ngap() { /* to the core */ }
//!     /* from the core: */ site.ngap_in(gnb, &octets);
//!     site.advance(now_ms);     // all that is due until then, each thing at its own time
//! }                             // nothing happens before site.poll_timeout() unless PDUs come in
//! ```

use ambit_protocol::{AreaId, RandN};

use crate::air::{Air, AirConfig, AirStats, Receiver};
use crate::fleet::{DeviceIndex, Fleet, FleetStats};
use crate::frame::{Access, AirFrame, Direction, FrameKind, RadioId, SiteReader, beacon_octets};
use crate::gnb::{Downlink, Gnb, GnbConfig, Uplink};

/// gNBs, air and fleet.
#[derive(Debug)]
pub struct Site {
    now_ms: u64,
    air: Air,
    gnbs: Vec<Gnb>,
    fleet: Fleet,
    /// Where the next [`Site::poll_ngap`] begins to look, so that no gNB starves another.
    next_gnb: usize,
}

impl Site {
    /// A site at time 0 whose gNBs are not connected yet. A reader's [`SiteReader::gnb`] is its gNB's position in `gnbs`.
    pub fn new(air: AirConfig, gnbs: Vec<GnbConfig>, fleet: Fleet) -> Self {
        Self {
            now_ms: 0,
            air: Air::new(air),
            gnbs: gnbs.into_iter().map(Gnb::new).collect(),
            fleet,
            next_gnb: 0,
        }
    }

    /// A gNB's association with the core is up.
    pub fn connected(&mut self, gnb: usize) {
        if let Some(gnb) = self.gnbs.get_mut(gnb) {
            gnb.connected();
        }
        self.send_downlinks(gnb);
    }

    /// A gNB's association with the core is gone.
    pub fn disconnected(&mut self, gnb: usize) {
        if let Some(gnb) = self.gnbs.get_mut(gnb) {
            gnb.disconnected();
        }
        self.send_downlinks(gnb);
    }

    /// Takes one NGAP PDU of the core for a gNB.
    pub fn ngap_in(&mut self, gnb: usize, octets: &[u8]) {
        if let Some(gnb) = self.gnbs.get_mut(gnb) {
            gnb.handle_ngap(self.now_ms, octets);
        }
        self.send_downlinks(gnb);
    }

    /// The next NGAP PDU for the core, and the gNB that sends it.
    pub fn poll_ngap(&mut self) -> Option<(usize, Vec<u8>)> {
        for _ in 0..self.gnbs.len() {
            let at = self.next_gnb % self.gnbs.len();
            self.next_gnb = at + 1;
            if let Some(octets) = self.gnbs.get_mut(at).and_then(Gnb::poll_ngap) {
                return Some((at, octets));
            }
        }
        None
    }

    /// The next NGAP PDU of one gNB.
    pub fn poll_ngap_of(&mut self, gnb: usize) -> Option<Vec<u8>> {
        self.gnbs.get_mut(gnb)?.poll_ngap()
    }

    /// Lets time pass until `now_ms`: everything that is due happens at its own time and in order. A time in the past is
    /// taken as the present.
    pub fn advance(&mut self, now_ms: u64) {
        while let Some(due_ms) = self.poll_timeout().filter(|due_ms| *due_ms <= now_ms) {
            self.now_ms = self.now_ms.max(due_ms);
            self.do_due();
        }
        self.now_ms = self.now_ms.max(now_ms);
    }

    /// When something happens next, in milliseconds, unless PDUs come in.
    pub fn poll_timeout(&self) -> Option<u64> {
        self.gnbs
            .iter()
            .filter_map(Gnb::poll_timeout)
            .chain(self.air.poll_timeout())
            .chain(self.fleet.poll_timeout())
            .min()
    }

    /// The present, in milliseconds.
    pub const fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// What devices hear of beacons at a reader now: jams and false readers included.
    pub fn beacon_heard(&self, reader: SiteReader) -> Option<(AreaId, RandN)> {
        hear(&self.air, &self.gnbs, self.now_ms, reader)
    }

    /// An adversary sends a PDU to a reader, under a contact of its choice. It arrives after `delay_ms` for certain.
    pub fn inject_up(
        &mut self,
        reader: SiteReader,
        radio_id: RadioId,
        delay_ms: u32,
        octets: Vec<u8>,
    ) {
        let frame = AirFrame {
            direction: Direction::Up,
            sent_ms: self.now_ms,
            reader,
            radio_id: Some(radio_id),
            access: Access::DeviceOriginated,
            kind: FrameKind::Nas,
            octets,
        };
        self.air.inject(Receiver::Reader, delay_ms, frame);
    }

    /// An adversary sends `octets` of `kind` to devices: to one, or to all at `reader`. They arrive after `delay_ms` for
    /// certain. Beacons are made with [`beacon_octets`], pages with [`crate::frame::Page::octets`].
    pub fn inject_down(
        &mut self,
        reader: SiteReader,
        device: Option<DeviceIndex>,
        delay_ms: u32,
        kind: FrameKind,
        octets: Vec<u8>,
    ) {
        let frame = AirFrame {
            direction: Direction::Down,
            sent_ms: self.now_ms,
            reader,
            radio_id: None,
            access: Access::DeviceOriginated,
            kind,
            octets,
        };
        let to = device.map_or(Receiver::AllAtReader, Receiver::Device);
        self.air.inject(to, delay_ms, frame);
    }

    /// The air, to jam, listen and interfere.
    pub const fn air_mut(&mut self) -> &mut Air {
        &mut self.air
    }

    /// The fleet.
    pub const fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// The fleet, to add devices, move them and switch their power.
    pub const fn fleet_mut(&mut self) -> &mut Fleet {
        &mut self.fleet
    }

    /// The gNBs, in the order of their positions.
    pub fn gnbs(&self) -> &[Gnb] {
        &self.gnbs
    }

    /// Counts of the air.
    pub const fn air_stats(&self) -> AirStats {
        self.air.stats()
    }

    /// Counts of the fleet.
    pub const fn fleet_stats(&self) -> &FleetStats {
        self.fleet.stats()
    }

    /// Everything that is due now.
    fn do_due(&mut self) {
        let now_ms = self.now_ms;
        if self.air.poll_hearing_change(now_ms) {
            self.all_listen_again();
        }
        while let Some(delivery) = self.air.poll_delivery(now_ms) {
            self.deliver(delivery.to, delivery.frame);
        }
        for at in 0..self.gnbs.len() {
            let due = |gnb: &&mut Gnb| gnb.poll_timeout().is_some_and(|due_ms| due_ms <= now_ms);
            if let Some(gnb) = self.gnbs.get_mut(at).filter(due) {
                gnb.handle_timeout(now_ms);
                self.send_downlinks(at);
            }
        }
        let (air, gnbs) = (&self.air, &self.gnbs);
        let hearing = |reader| hear(air, gnbs, now_ms, reader);
        self.fleet.handle_timeout(now_ms, &hearing);
        self.send_uplinks();
    }

    fn deliver(&mut self, to: Receiver, frame: AirFrame) {
        let now_ms = self.now_ms;
        match to {
            Receiver::Reader => {
                let at = usize::from(frame.reader.gnb);
                let (Some(gnb), Some(radio_id)) = (self.gnbs.get_mut(at), frame.radio_id) else {
                    return;
                };
                if frame.kind == FrameKind::RandomId {
                    gnb.handle_random_id(frame.reader.reader_index, radio_id, &frame.octets);
                    return;
                }
                let uplink = Uplink {
                    reader_index: frame.reader.reader_index,
                    radio_id,
                    spoke_ms: frame.sent_ms,
                    access: frame.access,
                    nas: frame.octets,
                };
                gnb.handle_uplink(now_ms, uplink);
                self.send_downlinks(at);
            }
            Receiver::Contact | Receiver::Device(_) | Receiver::AllAtReader => {
                let (air, gnbs) = (&self.air, &self.gnbs);
                let hearing = |reader| hear(air, gnbs, now_ms, reader);
                self.fleet.handle_delivery(now_ms, to, &frame, &hearing);
                self.send_uplinks();
            }
        }
    }

    fn send_uplinks(&mut self) {
        while let Some(frame) = self.fleet.poll_frame() {
            self.air.send(Receiver::Reader, frame);
        }
    }

    fn send_downlinks(&mut self, at: usize) {
        let Ok(position) = u16::try_from(at) else {
            return;
        };
        while let Some(downlink) = self.gnbs.get_mut(at).and_then(Gnb::poll_downlink) {
            self.send_downlink(position, downlink);
        }
    }

    fn send_downlink(&mut self, gnb: u16, downlink: Downlink) {
        let frame = |reader_index, radio_id, kind, octets| AirFrame {
            direction: Direction::Down,
            sent_ms: self.now_ms,
            reader: SiteReader { gnb, reader_index },
            radio_id,
            access: Access::DeviceOriginated,
            kind,
            octets,
        };
        match downlink {
            Downlink::Nas {
                reader_index,
                radio_id,
                nas,
            } => {
                let frame = frame(reader_index, Some(radio_id), FrameKind::Nas, nas);
                self.air.send(Receiver::Contact, frame);
            }
            Downlink::Page { reader_index, page } => {
                let frame = frame(reader_index, None, FrameKind::Page, page.octets());
                self.air.send(Receiver::AllAtReader, frame);
            }
            Downlink::AccessTrigger {
                reader_index,
                round,
            } => {
                let frame = frame(reader_index, None, FrameKind::AccessTrigger, round.octets());
                self.air.send(Receiver::AllAtReader, frame);
            }
            Downlink::RandomIdResponse {
                reader_index,
                radio_id,
            } => {
                let kind = FrameKind::RandomIdResponse;
                let frame = frame(reader_index, Some(radio_id), kind, Vec::new());
                self.air.send(Receiver::Contact, frame);
            }
            Downlink::Nack {
                reader_index,
                radio_id,
            } => {
                let frame = frame(reader_index, Some(radio_id), FrameKind::Nack, Vec::new());
                self.air.send(Receiver::Contact, frame);
            }
            Downlink::Beacon {
                reader_index,
                beacon,
            } => {
                let reader = SiteReader { gnb, reader_index };
                if let Some((area_id, rand_n)) = beacon {
                    let octets = beacon_octets(&area_id, &rand_n);
                    self.air
                        .announce(&frame(reader_index, None, FrameKind::Beacon, octets));
                }
                self.fleet.beacon_changed(self.now_ms, reader);
            }
        }
    }

    fn all_listen_again(&mut self) {
        for (gnb, state) in (0u16..).zip(&self.gnbs) {
            for reader in &state.config().readers {
                let reader_index = reader.reader_index;
                self.fleet
                    .beacon_changed(self.now_ms, SiteReader { gnb, reader_index });
            }
        }
    }
}

fn hear(air: &Air, gnbs: &[Gnb], now_ms: u64, reader: SiteReader) -> Option<(AreaId, RandN)> {
    let broadcast = gnbs
        .get(usize::from(reader.gnb))
        .and_then(|gnb| gnb.beacon(reader.reader_index));
    air.beacon_heard(now_ms, reader, broadcast)
}
