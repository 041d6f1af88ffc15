//! The device rules of section 5, one test each: items, repetition, back-off, silence.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing)]

mod common;

use ambit_device::{
    Device, DeviceForm, DeviceType, Event, LocalKey, PDU_OCTETS_MAX, PagingTarget, PowerOnError,
    SubmitError,
};
use ambit_protocol::wire::AcceptStatus;
use ambit_protocol::{Cause, RandN, RootKey, Suite};
use common::bench::{Bench, S, network};
use common::nvm::Nvm;
use common::{Dice, KEY, area, profile, start};

#[test]
fn a_type_1_device_speaks_first_in_no_form() {
    for form in [
        DeviceForm::Beacon,
        DeviceForm::Concealed,
        DeviceForm::Counter,
        DeviceForm::Blind,
    ] {
        let mut p = profile(form);
        p.device_type = DeviceType::Type1;
        let key = LocalKey::new(RootKey::new(KEY), Suite::AesCmac);
        let dice = Dice(fastrand::Rng::with_seed(1));
        let refused = Device::power_on(p, key, Nvm::new(200, 1), dice, 0, b"").err();
        assert_eq!(refused, Some(PowerOnError::TypeAnswersOnly));
    }
    let mut p = profile(DeviceForm::Dt);
    p.device_type = DeviceType::Type1;
    let mut device = start(p, Suite::AesCmac, &Nvm::new(200, 1), 1, 0);
    device.handle_beacon(0, &area(1), &network().at(100));
    assert_eq!(device.poll_timeout(), None);
    assert_eq!(device.poll_transmit(0, &mut [0; PDU_OCTETS_MAX]), None);
    assert_eq!(
        device.submit(0, Cause::Event, b""),
        Err(SubmitError::Silent)
    );
}

#[test]
fn registration_goes_first_and_items_follow_in_order() {
    let mut b = Bench::new(DeviceForm::Beacon);
    for n in 1..=4u8 {
        assert_eq!(b.device.submit(0, Cause::Event, &[n]), Ok(n));
    }
    assert_eq!(
        b.device.submit(0, Cause::Event, b""),
        Err(SubmitError::QueueFull)
    );
    assert_eq!(b.poll(), None, "no beacon, no report");
    for _ in 0..5 {
        b.exchange();
    }
    let mut expected = vec![(1, 0, b"hello".to_vec())];
    expected.extend((1..=4).map(|n| (3, n, vec![n])));
    assert_eq!(b.network.events, expected);
    for n in 5..40u8 {
        assert_eq!(b.device.submit(b.now_ms, Cause::Periodic, b""), Ok(n % 16));
        b.exchange();
    }
}

#[test]
fn an_item_keeps_cause_and_seq_over_rebuilt_reports_and_is_one_event() {
    let mut b = Bench::new(DeviceForm::Concealed);
    b.exchange();
    b.device.submit(b.now_ms, Cause::Moved, b"x").unwrap();
    for _ in 0..9 {
        let report = b.next(true);
        b.network.report(b.now_ms, &area(1), &report).unwrap();
    }
    assert!(b.device.stats().reports_built >= 3);
    let (_, event) = b.exchange();
    assert_eq!(b.network.events.last(), Some(&(4, 1, b"x".to_vec())));
    assert_eq!(b.network.events.len(), 2);
    let Event::Accepted {
        seq,
        cause,
        repeats,
        ..
    } = event
    else {
        panic!("{event:?}")
    };
    assert_eq!((seq, cause, repeats), (1, Cause::Moved, 9));
}

#[test]
fn a_report_is_repeated_octet_for_octet_three_times_then_built_anew() {
    for device_form in [
        DeviceForm::Beacon,
        DeviceForm::Concealed,
        DeviceForm::Counter,
        DeviceForm::Blind,
    ] {
        let mut b = Bench::anchored(device_form);
        b.hear();
        let sent: Vec<_> = (0..12).map(|_| b.next(false)).collect();
        for four in sent.chunks(4) {
            assert!(four.iter().all(|report| *report == four[0]));
        }
        assert_ne!(sent[0], sent[4]);
        assert_ne!(sent[4], sent[8]);
        assert_eq!(b.device.stats().reports_built, 3);
    }
}

#[test]
fn another_epoch_or_area_means_a_new_report() {
    let mut b = Bench::new(DeviceForm::Concealed);
    let first = b.next(true);
    b.device
        .handle_beacon(b.now_ms, &area(2), &b.network.at(100));
    let second = b.next(false);
    assert_ne!(first, second);
    b.device
        .handle_beacon(b.now_ms, &area(2), &b.network.at(101));
    assert_ne!(second, b.next(false));
    assert_eq!(b.device.stats().reports_built, 3);
}

#[test]
fn back_off_doubles_has_jitter_and_is_capped() {
    let mut gaps = Vec::new();
    for seed in 0..200 {
        let mut b = Bench::new(DeviceForm::Blind);
        b.device = start(profile(DeviceForm::Blind), Suite::AesCmac, &b.nvm, seed, 0);
        let mut last = b.now_ms;
        b.next(false);
        let mut row = Vec::new();
        for _ in 0..12 {
            b.next(false);
            row.push(b.now_ms - last);
            last = b.now_ms;
        }
        gaps.push(row);
    }
    for (n, low_ms) in [500, 1000, 2000, 4000, 8000].into_iter().enumerate() {
        let all: Vec<u64> = gaps.iter().map(|row| row[n] - 2000).collect();
        let (min, max) = (*all.iter().min().unwrap(), *all.iter().max().unwrap());
        assert!(min >= low_ms && max <= 2 * low_ms, "{n}: {min} to {max}");
        assert!(max - min > low_ms / 2, "jitter is missing: {min} to {max}");
    }
    assert!(
        gaps.iter()
            .all(|row| row[11] <= 122_000 && row[11] >= 62_000)
    );
}

#[test]
fn items_expire_and_registration_does_not() {
    let mut b = Bench::new(DeviceForm::Concealed);
    while b.now_ms < 9_000 * S {
        b.next(true);
    }
    assert_eq!(b.device.stats().items_expired, 0, "registration stays");
    b.exchange();
    b.device.submit(b.now_ms, Cause::Event, b"").unwrap();
    let sent_ms = b.now_ms;
    b.next(true);
    while b.now_ms < sent_ms + 2_999 * S {
        b.hear();
        b.poll();
        b.now_ms += S;
    }
    assert_eq!(b.device.items_waiting(), 1);
    b.now_ms = sent_ms + 3_001 * S;
    assert_eq!(b.poll(), None);
    let (seq, cause) = (1, Cause::Event);
    assert_eq!(
        b.device.poll_event(),
        Some(Event::ItemExpired { seq, cause })
    );
    assert_eq!(
        (b.device.items_waiting(), b.device.poll_timeout()),
        (0, None)
    );
}

#[test]
fn the_answer_to_the_report_before_still_counts() {
    for answered in [0, 4] {
        let mut b = Bench::new(DeviceForm::Beacon);
        b.hear();
        let sent: Vec<_> = (0..5).map(|_| b.next(false)).collect();
        assert_ne!(sent[0], sent[4]);
        b.answer(&sent[answered]);
        assert_eq!(b.device.items_waiting(), 0);
    }
    let mut b = Bench::new(DeviceForm::Beacon);
    b.hear();
    let sent: Vec<_> = (0..9).map(|_| b.next(false)).collect();
    let accept = b.network.report(b.now_ms, &area(1), &sent[0]).unwrap();
    assert!(b.device.handle_downlink(b.now_ms, &accept).is_err());
}

#[test]
fn status_02_is_silence_and_items_wait() {
    let mut b = Bench::new(DeviceForm::Beacon);
    b.network.status = AcceptStatus::SilentFor { seconds: 5_000 };
    b.exchange();
    let since_ms = b.now_ms;
    b.device.submit(b.now_ms, Cause::Event, b"").unwrap();
    while b.now_ms < since_ms + 5_000 * S {
        b.hear();
        b.device
            .handle_paging(b.now_ms, &RandN::new(1, [1; 12]), PagingTarget::All);
        assert_eq!(b.poll(), None);
        b.now_ms += 10 * S;
    }
    b.hear();
    assert!(b.poll().is_some());
    assert_eq!(b.device.stats().items_expired, 0);
}

#[test]
fn an_old_beacon_is_not_spoken_under() {
    let mut b = Bench::new(DeviceForm::Concealed);
    b.hear();
    let mut last_ms = 0;
    while let Some(due_ms) = b.device.poll_timeout()
        && b.now_ms < 2_000 * S
    {
        b.now_ms = due_ms;
        if b.poll().is_some() {
            last_ms = b.now_ms;
        }
    }
    assert!(last_ms > 300 * S && last_ms < 600 * S);
    b.now_ms = 700 * S;
    assert_eq!(b.poll(), None);
    b.hear();
    assert!(b.poll().is_some());
}

#[test]
fn reserved_causes_long_data_and_small_buffers_are_refused() {
    let mut b = Bench::new(DeviceForm::Beacon);
    let refused = b.device.submit(0, Cause::PowerOn, b"");
    assert_eq!(refused, Err(SubmitError::CauseReserved));
    let refused = b.device.submit(0, Cause::Event, &[0; 91]);
    assert_eq!(refused, Err(SubmitError::TooLong));
    assert_eq!(b.device.submit(0, Cause::Event, &[0; 90]), Ok(1));
    b.hear();
    assert_eq!(
        b.device.poll_transmit(0, &mut [0; PDU_OCTETS_MAX - 1]),
        None
    );
    assert_eq!(b.device.stats().reports_built, 0);
    assert!(b.poll().is_some());
}
