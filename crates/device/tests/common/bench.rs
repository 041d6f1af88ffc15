//! One device, one network, and a link that the test works by hand.

use ambit_device::{DeviceForm, Event, PDU_OCTETS_MAX, provision};
use ambit_protocol::wire::ReportView;
use ambit_protocol::{Form, Suite, TagLen};

use super::network::Network;
use super::nvm::Nvm;
use super::{TestDevice, area, profile, start};

/// Milliseconds in a second.
pub const S: u64 = 1000;

pub struct Bench {
    pub network: Network,
    pub nvm: Nvm,
    pub device: TestDevice,
    pub now_ms: u64,
}

impl Bench {
    pub fn new(form: DeviceForm) -> Self {
        Self::on(form, Nvm::new(200, 1))
    }

    /// A device whose anchor is the epoch before the first.
    pub fn anchored(form: DeviceForm) -> Self {
        let nvm = Nvm::new(200, 1);
        let network = network();
        provision(&mut nvm.clone(), Some(network.at(99)), 0).unwrap();
        Self::on(form, nvm)
    }

    pub fn on(form: DeviceForm, nvm: Nvm) -> Self {
        let device = start(profile(form), Suite::AesCmac, &nvm, 7, 0);
        Self {
            network: network(),
            nvm,
            device,
            now_ms: 0,
        }
    }

    pub fn power_cycle(&mut self) {
        let profile = *self.device.profile();
        self.device = start(
            profile,
            Suite::AesCmac,
            &self.nvm,
            self.now_ms + 9,
            self.now_ms,
        );
    }

    pub fn hear(&mut self) {
        let rand_n = self.network.rand_n(self.now_ms);
        self.device.handle_beacon(self.now_ms, &area(1), &rand_n);
    }

    /// What goes on the air now, if anything.
    pub fn poll(&mut self) -> Option<Vec<u8>> {
        let mut out = [0; PDU_OCTETS_MAX];
        let len = self.device.poll_transmit(self.now_ms, &mut out)?;
        Some(out[..len].to_vec())
    }

    /// Goes on to the next transmission. True beacons are heard on the way if `hear`.
    pub fn next(&mut self, hear: bool) -> Vec<u8> {
        for _ in 0..10_000 {
            if hear {
                self.hear();
            }
            if let Some(octets) = self.poll() {
                return octets;
            }
            let epoch_end = (self.now_ms / (600 * S) + 1) * 600 * S;
            self.now_ms = self
                .device
                .poll_timeout()
                .unwrap_or(epoch_end)
                .clamp(self.now_ms + 1, if hear { epoch_end } else { u64::MAX });
        }
        panic!("nothing was sent");
    }

    /// The network answers a report and the device takes the answer.
    pub fn answer(&mut self, report: &[u8]) -> Event {
        let accept = self
            .network
            .report(self.now_ms, &area(1), report)
            .expect("the network accepts");
        self.device.handle_downlink(self.now_ms, &accept).unwrap();
        self.accepted()
    }

    pub fn accepted(&mut self) -> Event {
        std::iter::from_fn(|| self.device.poll_event())
            .find(|event| matches!(event, Event::Accepted { .. }))
            .expect("an Accepted event")
    }

    pub fn exchange(&mut self) -> (Form, Event) {
        let report = self.next(true);
        let event = self.answer(&report);
        (form(&report), event)
    }
}

pub fn network() -> Network {
    Network::new(Suite::AesCmac, TagLen::T8, 600, 5)
}

pub fn form(report: &[u8]) -> Form {
    ReportView::parse(report).unwrap().id().form()
}
