//! Alarms: one for each kind and subject until somebody has acknowledged it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use ambit_store::{AlarmRow, NewEvent, Store};
use common::on_each;
use std::ops::ControlFlow;

fn event(kind: &'static str, severity: &'static str, time_ms: i64) -> NewEvent<'static> {
    NewEvent {
        time_ms,
        kind,
        severity,
        device_id: None,
        area_id: Some([7; 12]),
        gnb_id: Some(1),
        reader_index: Some(2),
        count: 3,
        detail: "{}",
    }
}

fn alarms(store: &mut dyn Store, with_acked: bool) -> Vec<AlarmRow> {
    let mut all = Vec::new();
    store
        .alarms_for_each(with_acked, &mut |alarm| {
            all.push(alarm);
            ControlFlow::Continue(())
        })
        .unwrap();
    all
}

#[test]
fn grave_events_of_one_kind_and_subject_are_one_alarm_until_it_is_acknowledged() {
    on_each("alarms", |store| {
        let junk = event("impersonation_attempt", "warning", 10);
        let elsewhere = NewEvent {
            reader_index: Some(3),
            ..junk
        };
        let later = NewEvent {
            time_ms: 20,
            ..junk
        };
        let info = event("device_disabled", "info", 10);
        store
            .events_insert(&[junk, info, elsewhere, later])
            .unwrap();
        let open = alarms(store, false);
        assert_eq!(open.len(), 2, "{open:?}");
        assert_eq!(
            (open[0].first_ms, open[0].last_ms, open[0].count),
            (10, 20, 6)
        );

        let acked = store.alarm_ack(1, "anna", 30).unwrap().unwrap();
        assert_eq!(acked.acked, Some((30, "anna".into())));
        // Once acknowledged it stays so, by whom it was.
        let again = store.alarm_ack(1, "bert", 40).unwrap().unwrap();
        assert_eq!(again, acked);
        assert_eq!(store.alarm_ack(99, "anna", 30).unwrap(), None);
        assert_eq!(alarms(store, false).len(), 1);
        store
            .events_insert(&[NewEvent {
                time_ms: 50,
                ..junk
            }])
            .unwrap();
        assert_eq!(
            alarms(store, true).len(),
            3,
            "what comes then is another alarm"
        );
        let open = alarms(store, false);
        assert_eq!((open[1].first_ms, open[1].count), (50, 3));
    });
}

#[test]
fn an_alarm_of_a_device_is_one_wherever_it_happens() {
    on_each("alarms-device", |store| {
        let clone = NewEvent {
            device_id: Some(b"dev-1"),
            ..event("clone_suspicion", "alarm", 10)
        };
        let elsewhere = NewEvent {
            area_id: Some([8; 12]),
            time_ms: 20,
            count: u64::try_from(i64::MAX).unwrap(),
            ..clone
        };
        let other = NewEvent {
            device_id: Some(b"dev-2"),
            ..clone
        };
        store.events_insert(&[clone, elsewhere, other]).unwrap();
        let open = alarms(store, false);
        assert_eq!(open.len(), 2);
        assert_eq!(open[0].area_id, Some([8; 12]), "the last place");
        assert_eq!(
            open[0].count,
            u64::try_from(i64::MAX).unwrap(),
            "no overflow"
        );
    });
}
