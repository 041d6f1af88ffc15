//! The network in miniature: one device, one chain, the rules of section 5 and 6 that a device can notice.

use std::collections::HashMap;

use ambit_protocol::chain::BeaconChain;
use ambit_protocol::exchange::{Exchange, Plaintext};
use ambit_protocol::schedule::{self, Input};
use ambit_protocol::wire::{AcceptStatus, ReportId, ReportView};
use ambit_protocol::{AreaId, KAiotf, RandN, RootKey, Suite, TagLen};

const WINDOW: u32 = 16;

pub struct Network {
    pub suite: Suite,
    pub tag_len: TagLen,
    pub chain: BeaconChain,
    pub period_ms: u64,
    pub first_epoch: u32,
    pub status: AcceptStatus,
    /// Items accepted, in order, repeats left out: cause, seq, data.
    pub events: Vec<(u8, u8, Vec<u8>)>,
    pub counter_last: u32,
    last_tag1: Vec<u8>,
    records: HashMap<Vec<u8>, AcceptStatus>,
    /// The exchange of the last report accepted: for sessions.
    pub last: Option<Exchange>,
    key: RootKey,
}

impl Network {
    pub fn new(suite: Suite, tag_len: TagLen, period_s: u32, seed: u64) -> Self {
        let mut element = [0; 12];
        element[..8].copy_from_slice(&seed.to_be_bytes());
        Self {
            suite,
            tag_len,
            chain: BeaconChain::new(super::snid(), &element, 0, 4_000),
            period_ms: u64::from(period_s) * 1000,
            first_epoch: 100,
            status: AcceptStatus::Accepted,
            events: Vec::new(),
            counter_last: 0,
            last_tag1: Vec::new(),
            records: HashMap::new(),
            last: None,
            key: RootKey::new(super::KEY),
        }
    }

    pub fn epoch(&self, now_ms: u64) -> u32 {
        self.first_epoch + u32::try_from(now_ms / self.period_ms).unwrap()
    }

    pub fn rand_n(&self, now_ms: u64) -> RandN {
        self.at(self.epoch(now_ms))
    }

    pub fn at(&self, epoch: u32) -> RandN {
        self.chain.rand_n(epoch).unwrap()
    }

    /// A report came in: the ACCEPT, or silence.
    pub fn report(&mut self, now_ms: u64, area_id: &AreaId, octets: &[u8]) -> Option<Vec<u8>> {
        let view = ReportView::parse(octets).ok()?;
        let mut current = vec![self.rand_n(now_ms)];
        if now_ms % self.period_ms < 60_000.min(self.period_ms / 2) {
            current.push(self.at(self.epoch(now_ms) - 1));
        }
        let (exchange, plain) = current
            .iter()
            .find_map(|rand_n| self.open(&view, rand_n, area_id))?;
        let tag1 = exchange.tag1().as_slice().to_vec();
        let status = match self.records.get(&tag1) {
            Some(status) => *status,
            None => {
                let item = plain.item().unwrap();
                let event = (item.cause.number(), item.seq, item.data.to_vec());
                // Network rule 3: the same cause and seq as the record before is a repeat, unless it is a registration.
                if event.0 == 1 || self.events.last() != Some(&event) {
                    self.events.push(event);
                }
                self.records.insert(tag1.clone(), self.status);
                self.status
            }
        };
        let mut p2 = [0; 3];
        let len = status.emit(&mut p2).unwrap();
        let mut out = [0; 64];
        let len = exchange.seal_accept(&p2[..len], &mut out).unwrap();
        self.last = Some(exchange);
        Some(out[..len].to_vec())
    }

    fn open(
        &mut self,
        view: &ReportView<'_>,
        rand_n: &RandN,
        area_id: &AreaId,
    ) -> Option<(Exchange, Plaintext)> {
        match *view.id() {
            ReportId::Beacon { t_id, rand_d } => {
                (self.cut::<4>(&schedule::beacon_t_id(rand_n)) == t_id).then_some(())?;
                self.verify(view, &schedule::beacon_k_aiotf(rand_n, area_id, &rand_d))
            }
            ReportId::Concealed { cid, rand_d } => {
                (self.cut::<4>(&schedule::concealed_id(rand_n, &rand_d)) == cid).then_some(())?;
                self.verify(view, &schedule::concealed_k_aiotf(rand_n, area_id, &rand_d))
            }
            ReportId::Counter { t_id } => {
                let counter = self.find(t_id)?;
                let key = schedule::counter_k_aiotf(rand_n, area_id, counter);
                self.count(view, counter, &key)
            }
            ReportId::Blind { t_id } => {
                let counter = self.find(t_id)?;
                self.count(view, counter, &schedule::blind_k_aiotf(counter))
            }
            ReportId::Recovery { counter, t_id } => {
                (self.cut::<6>(&schedule::counter_t_id(counter)) == t_id).then_some(())?;
                let key = schedule::counter_k_aiotf(rand_n, area_id, counter);
                self.count(view, counter, &key)
            }
        }
    }

    fn find(&self, t_id: [u8; 6]) -> Option<u32> {
        let window = self.counter_last..=self.counter_last.saturating_add(WINDOW);
        window
            .into_iter()
            .find(|c| self.cut::<6>(&schedule::counter_t_id(*c)) == t_id)
    }

    fn count(
        &mut self,
        view: &ReportView<'_>,
        counter: u32,
        key: &Input,
    ) -> Option<(Exchange, Plaintext)> {
        let (exchange, plain) = self.verify(view, key)?;
        let tag1 = exchange.tag1().as_slice();
        if counter > self.counter_last {
            self.counter_last = counter;
            self.last_tag1 = tag1.to_vec();
        } else if counter < self.counter_last || tag1 != self.last_tag1 {
            return None;
        }
        Some((exchange, plain))
    }

    fn verify(&self, view: &ReportView<'_>, key: &Input) -> Option<(Exchange, Plaintext)> {
        let k_aiotf = KAiotf::new(self.key.evaluate(self.suite, key));
        Exchange::open_report(self.suite, &k_aiotf, view, self.tag_len).ok()
    }

    pub fn cut<const N: usize>(&self, input: &Input) -> [u8; N] {
        schedule::cut(&self.key.evaluate(self.suite, input))
    }

    pub fn evaluate(&self, input: &Input) -> [u8; 16] {
        self.key.evaluate(self.suite, input)
    }
}
