//! What does not verify leaves no trace: two devices live the same life, one of them under fire, and stay the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing)]

mod common;

use ambit_device::{DeviceForm, Event, PDU_OCTETS_MAX, PagingTarget, provision};
use ambit_protocol::wire::AcceptStatus;
use ambit_protocol::{Cause, RandN, Suite, TagLen};
use common::network::Network;
use common::nvm::Nvm;
use common::{TestDevice, area, profile, start};

const FORMS: [DeviceForm; 4] = [
    DeviceForm::Beacon,
    DeviceForm::Concealed,
    DeviceForm::Counter,
    DeviceForm::Blind,
];

/// A device and its memory, and what it has sent.
struct Twin {
    nvm: Nvm,
    device: TestDevice,
}

impl Twin {
    fn new(form: DeviceForm, suite: Suite, tag_len: TagLen) -> Self {
        let nvm = Nvm::new(200, 3);
        provision(&mut nvm.clone(), None, 0).unwrap();
        let mut p = profile(form);
        p.tag_len = tag_len;
        let device = start(p, suite, &nvm, 11, 0);
        Self { nvm, device }
    }

    fn transmit(&mut self, now_ms: u64) -> Option<Vec<u8>> {
        let mut out = [0; PDU_OCTETS_MAX];
        let len = self.device.poll_transmit(now_ms, &mut out)?;
        Some(out[..len].to_vec())
    }

    /// All that shows of the state, memory and times included.
    fn shown(&mut self) -> impl PartialEq + std::fmt::Debug + use<> {
        let mut stats = *self.device.stats();
        stats.ignored_downlinks = 0;
        let events: Vec<Event> = std::iter::from_fn(|| self.device.poll_event()).collect();
        (
            stats,
            events,
            self.device.poll_timeout(),
            self.device.anchor(),
            self.device.counter(),
            self.device.items_waiting(),
            self.nvm.octets(),
        )
    }
}

/// Everything near a genuine message: all single-bit flips, truncations, extensions, and the message in another's place.
fn forgeries(genuine: &[u8]) -> Vec<Vec<u8>> {
    let mut all = vec![Vec::new()];
    for bit in 0..genuine.len() * 8 {
        let mut forged = genuine.to_vec();
        forged[bit / 8] ^= 1 << (bit % 8);
        all.push(forged);
    }
    all.extend((0..genuine.len()).map(|len| genuine[..len].to_vec()));
    for octet in 0..=255 {
        all.push([genuine, &[octet]].concat());
        all.push([&[octet], genuine].concat());
        all.push([&genuine[..1], &[octet], &genuine[1..]].concat());
    }
    for len in 1..150 {
        let mut forged = genuine.to_vec();
        forged.resize(genuine.len() + len, 0);
        all.push(forged);
    }
    all
}

#[test]
fn forged_accepts_change_nothing() {
    for form in FORMS {
        for suite in Suite::ALL {
            for tag_len in TagLen::ALL {
                for status in [
                    AcceptStatus::Accepted,
                    AcceptStatus::CommandFollows,
                    AcceptStatus::SilentFor { seconds: 9 },
                ] {
                    forged_accepts(form, suite, tag_len, status);
                }
            }
        }
    }
}

fn forged_accepts(form: DeviceForm, suite: Suite, tag_len: TagLen, status: AcceptStatus) {
    let mut network = Network::new(suite, tag_len, 600, 5);
    network.status = status;
    let (mut hit, mut spared) = (
        Twin::new(form, suite, tag_len),
        Twin::new(form, suite, tag_len),
    );
    let mut other = Twin::new(form, suite, tag_len);
    other.device = start(*other.device.profile(), suite, &other.nvm, 99, 0);
    let rand_n = network.at(100);
    for twin in [&mut hit, &mut spared, &mut other] {
        twin.device.handle_beacon(0, &area(1), &rand_n);
        twin.device.submit(0, Cause::Event, b"later").unwrap();
    }
    let report = hit.transmit(0).unwrap();
    assert_eq!(spared.transmit(0), Some(report.clone()));
    let genuine = network.report(0, &area(1), &report).unwrap();

    let mut all = forgeries(&genuine);
    // The report reflected, and the answer to another report of the same key.
    all.push(report.clone());
    if !matches!(form, DeviceForm::Counter | DeviceForm::Blind) {
        let report = other.transmit(0).unwrap();
        all.push(network.report(0, &area(1), &report).unwrap());
    }
    for forged in &all {
        let before = hit.device.stats().ignored_downlinks;
        assert!(hit.device.handle_downlink(500, forged).is_err());
        assert_eq!(hit.device.stats().ignored_downlinks, before + 1);
        assert_eq!(hit.shown(), spared.shown());
    }
    // What comes after is the same as well: the next transmission, and the genuine answer counts.
    let due_ms = hit.device.poll_timeout().unwrap();
    assert_eq!(hit.transmit(due_ms), Some(report.clone()));
    assert_eq!(spared.transmit(due_ms), Some(report));
    for twin in [&mut hit, &mut spared] {
        twin.device.handle_downlink(due_ms, &genuine).unwrap();
        assert_eq!(twin.device.stats().accepts, 1);
    }
    assert_eq!(hit.shown(), spared.shown());
    // Once only.
    assert!(hit.device.handle_downlink(due_ms, &genuine).is_err());
    assert_eq!(hit.shown(), spared.shown());
    let due_ms = hit.device.poll_timeout().unwrap();
    assert_eq!(hit.transmit(due_ms), spared.transmit(due_ms));
}

#[test]
fn pagings_by_anybody_change_nothing_but_the_answer() {
    for form in FORMS {
        let network = Network::new(Suite::AesCmac, TagLen::T8, 600, 5);
        let [mut hit, mut spared] = [(); 2].map(|()| Twin::new(form, Suite::AesCmac, TagLen::T8));
        for twin in [&mut hit, &mut spared] {
            twin.device.handle_beacon(0, &area(1), &network.at(100));
            assert!(twin.transmit(0).is_some());
        }
        for n in 0..50 {
            let rand_n = RandN::new(n, [7; 12]);
            hit.device.handle_paging(9, &rand_n, PagingTarget::All);
            let answer = hit.transmit(9).unwrap();
            assert_eq!((answer.len(), answer[0] >> 3), (25, 0b01_101));
            assert_eq!(hit.transmit(9), None);
        }
        assert_eq!(hit.device.poll_timeout(), spared.device.poll_timeout());
        assert_eq!(hit.nvm.octets(), spared.nvm.octets());
        assert_eq!(hit.device.anchor(), spared.device.anchor());
    }
}

#[test]
fn noise_never_panics() {
    common::for_seeds("noise_never_panics", 2_000, |seed| {
        let mut dice = fastrand::Rng::with_seed(seed);
        let form = [DeviceForm::Dt, FORMS[0], FORMS[1], FORMS[2], FORMS[3]][dice.usize(..5)];
        let mut twin = Twin::new(form, Suite::ALL[dice.usize(..3)], TagLen::T8);
        let mut now_ms = 0u64;
        for _ in 0..100 {
            now_ms =
                now_ms.saturating_add(dice.u64(..100_000) << dice.u32(..40).saturating_sub(10));
            let mut rand_n = [0; 16];
            dice.fill(&mut rand_n);
            rand_n[..dice.usize(..4)].fill(0);
            let rand_n = RandN::from_octets(rand_n);
            match dice.u8(..5) {
                0 => twin
                    .device
                    .handle_beacon(now_ms, &area(dice.u8(..)), &rand_n),
                1 => twin
                    .device
                    .handle_paging(now_ms, &rand_n, PagingTarget::All),
                2 => {
                    let mut t_id = [0; 16];
                    dice.fill(&mut t_id);
                    let target = PagingTarget::Concealed(t_id);
                    twin.device.handle_paging(now_ms, &rand_n, target);
                }
                3 => {
                    let mut nas = vec![0; dice.usize(..140)];
                    dice.fill(&mut nas);
                    if let Some(first) = nas.first_mut() {
                        *first = 0x40 | (*first & 0x3F);
                    }
                    assert!(twin.device.handle_downlink(now_ms, &nas).is_err());
                }
                _ => {
                    let mut data = vec![0; dice.usize(..100)];
                    dice.fill(&mut data);
                    let cause = Cause::from_number(dice.u8(..));
                    let _ = twin.device.submit(now_ms, cause, &data);
                }
            }
            twin.transmit(now_ms);
            let _ = twin.device.poll_timeout();
        }
        assert_eq!(twin.device.stats().accepts, 0);
    });
}
