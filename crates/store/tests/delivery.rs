//! Subscriptions, leases, positions and dead letters, in the file and in the database alike.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use ambit_store::{
    AfRow, DeadLetterRow, Delivered, DeliveryStore, FILE_NAME, Lease, NewEvent, NewSubscription,
    PostgresStore, SqliteStore, StoreError,
};
use common::{accept, database, directory, new_device, new_record};

const ONE: [u8; 16] = [1; 16];
const TWO: [u8; 16] = [2; 16];

fn on_each(name: &str, test: impl Fn(&mut dyn DeliveryStore)) {
    test(&mut SqliteStore::open(&directory(name).join(FILE_NAME)).unwrap());
    if let Some(url) = database(name) {
        test(&mut PostgresStore::open(&url, None).unwrap());
    }
}

fn new(id: &str) -> NewSubscription<'_> {
    NewSubscription {
        id,
        af: Some("af-1"),
        definition: "{}",
        created_ms: 5,
        position: "{\"a\":0}",
    }
}

fn delivered(subscription: &str, position: &str) -> Delivered {
    Delivered {
        subscription: subscription.into(),
        position: Some(position.into()),
        ..Delivered::default()
    }
}

fn letter(message: &str, error: &str) -> DeadLetterRow {
    DeadLetterRow {
        message: message.into(),
        failed_ms: 9,
        tries: 3,
        error: error.into(),
        is_retried: false,
    }
}

#[test]
fn a_quota_holds_for_each_af_and_names_are_unique() {
    on_each("delivery-quota", |store| {
        assert!(store.subscription_insert(&new("a"), 2).unwrap());
        assert!(store.subscription_insert(&new("b"), 2).unwrap());
        assert!(!store.subscription_insert(&new("c"), 2).unwrap());
        let own = NewSubscription {
            af: None,
            ..new("d")
        };
        assert!(store.subscription_insert(&own, 1).unwrap());
        let twice = NewSubscription {
            af: Some("af-2"),
            created_ms: 6,
            ..new("a")
        };
        let taken = store.subscription_insert(&twice, 9);
        assert!(matches!(
            taken,
            Err(StoreError::Invalid { field: "id", .. })
        ));
        let ids: Vec<String> = store
            .subscriptions()
            .unwrap()
            .into_iter()
            .map(|s| s.id)
            .collect();
        assert_eq!(ids, ["a", "b", "d"]);
        assert!(store.subscription_remove("a").unwrap());
        assert!(!store.subscription_remove("a").unwrap());
        assert!(store.subscription("a").unwrap().is_none());
        assert!(store.subscription_insert(&new("c"), 2).unwrap());
        assert!(store.subscription_set_paused("c", true).unwrap());
        assert!(store.subscription("c").unwrap().unwrap().is_paused);
        assert!(!store.subscription_set_paused("none", true).unwrap());
    });
}

#[test]
fn who_lost_the_lease_commits_nothing() {
    on_each("delivery-lease", |store| {
        store.subscription_insert(&new("a"), 9).unwrap();
        assert!(store.subscription_take("a", &ONE, None).unwrap());
        assert!(
            !store.subscription_take("a", &TWO, None).unwrap(),
            "it is held"
        );
        let seen = store.subscription("a").unwrap().unwrap().lease;
        assert_eq!(seen.unwrap().owner, ONE);
        store.subscriptions_renew(&ONE).unwrap();
        assert!(
            !store.subscription_take("a", &TWO, seen).unwrap(),
            "it lives"
        );
        assert_eq!(
            store.delivery_commit(&ONE, &[delivered("a", "1")]).unwrap(),
            [true]
        );
        let seen = store.subscription("a").unwrap().unwrap().lease;
        assert!(store.subscription_take("a", &TWO, seen).unwrap());
        let late = Delivered {
            refused: vec![letter("r1", "late")],
            ..delivered("a", "2")
        };
        assert_eq!(store.delivery_commit(&ONE, &[late]).unwrap(), [false]);
        assert_eq!(store.subscription("a").unwrap().unwrap().position, "1");
        assert_eq!(store.dead_letter_count("a").unwrap(), (0, 0));
        assert_eq!(
            store.delivery_commit(&TWO, &[delivered("a", "3")]).unwrap(),
            [true]
        );
        store.subscriptions_release(&TWO).unwrap();
        let row = store.subscription("a").unwrap().unwrap();
        assert_eq!((row.position.as_str(), row.lease), ("3", None::<Lease>));
    });
}

#[test]
fn dead_letters_are_kept_tried_again_and_dropped() {
    on_each("delivery-letters", |store| {
        store.subscription_insert(&new("a"), 9).unwrap();
        store.subscription_take("a", &ONE, None).unwrap();
        let refused = Delivered {
            subscription: "a".into(),
            refused: vec![letter("r1", "no"), letter("r2", "no"), letter("r10", "no")],
            ..Delivered::default()
        };
        // Written twice, as when an answer was lost.
        store
            .delivery_commit(&ONE, std::slice::from_ref(&refused))
            .unwrap();
        store.delivery_commit(&ONE, &[refused]).unwrap();
        assert_eq!(store.dead_letter_count("a").unwrap(), (3, 0));
        assert_eq!(
            store.subscription("a").unwrap().unwrap().position,
            "{\"a\":0}"
        );
        let first = store.dead_letters("a", "", 2).unwrap();
        let names: Vec<&str> = first.iter().map(|l| l.message.as_str()).collect();
        assert_eq!(names, ["r1", "r10"]);
        assert_eq!(store.dead_letters("a", "r10", 9).unwrap()[0].message, "r2");
        assert_eq!(store.dead_letters_retry("a", Some("r2")).unwrap(), 1);
        assert_eq!(store.dead_letters_retry("a", Some("r3")).unwrap(), 0);
        assert_eq!(store.dead_letter_count("a").unwrap(), (3, 1));
        let again = Delivered {
            subscription: "a".into(),
            refused: vec![letter("r2", "still no")],
            taken: vec!["r1".into()],
            ..Delivered::default()
        };
        store.delivery_commit(&ONE, &[again]).unwrap();
        let left = store.dead_letters("a", "", 9).unwrap();
        assert_eq!(left, [letter("r10", "no"), letter("r2", "still no")]);
        assert_eq!(store.dead_letters_retry("a", None).unwrap(), 2);
        assert_eq!(store.dead_letters_drop("a", Some("r2")).unwrap(), 1);
        assert!(store.subscription_remove("a").unwrap());
        assert_eq!(store.dead_letter_count("a").unwrap(), (0, 0));
    });
}

#[test]
fn with_an_af_go_its_subscriptions_and_no_others() {
    on_each("delivery-af", |store| {
        let af = |name: &str| AfRow {
            name: name.into(),
            client_id: format!("id-of-{name}"),
            secret_check: vec![7; 32],
            authorization: "{}".into(),
            created_ms: 1,
            secret_ms: 1,
        };
        store.af_insert(&af("af-1")).unwrap();
        store.af_insert(&af("af-2")).unwrap();
        for (id, of) in [("a", Some("af-1")), ("b", Some("af-2")), ("c", None)] {
            let new = NewSubscription { af: of, ..new(id) };
            store.subscription_insert(&new, 9).unwrap();
            store.subscription_take(id, &ONE, None).unwrap();
            let refused = Delivered {
                subscription: id.into(),
                refused: vec![letter("r1", "no")],
                ..Delivered::default()
            };
            store.delivery_commit(&ONE, &[refused]).unwrap();
        }
        store.af_remove("af-1").unwrap();
        let left: Vec<String> = store
            .subscriptions()
            .unwrap()
            .into_iter()
            .map(|row| row.id)
            .collect();
        assert_eq!(left, ["b", "c"]);
        for (id, letters) in [("a", 0), ("b", 1), ("c", 1)] {
            assert_eq!(store.dead_letter_count(id).unwrap(), (letters, 0), "{id}");
        }
        // A later one of the same name begins with nothing.
        store.af_insert(&af("af-1")).unwrap();
        assert_eq!(store.subscriptions().unwrap().len(), 2);
    });
}

#[test]
fn heads_events_and_fleets_are_read_as_they_are() {
    on_each("delivery-heads", |store| {
        assert_eq!(store.record_heads().unwrap(), []);
        assert_eq!(store.event_head().unwrap(), 0);
        store.devices_insert(&[new_device(b"dev-1")]).unwrap();
        assert!(store.fleet_is_known("pallets").unwrap());
        assert!(!store.fleet_is_known("pallet").unwrap());
        accept(
            store,
            &[new_record(1, b"tag-0001"), new_record(1, b"tag-0002")],
        );
        assert_eq!(store.record_heads().unwrap(), [2]);
        let event = |kind| NewEvent {
            time_ms: 1,
            kind,
            severity: "info",
            device_id: None,
            area_id: None,
            gnb_id: None,
            reader_index: None,
            count: 1,
            detail: "{}",
        };
        store
            .events_insert(&[event("a"), event("b"), event("c")])
            .unwrap();
        assert_eq!(store.event_head().unwrap(), 3);
        let after = store.events_after(1, 1).unwrap();
        assert_eq!((after.len(), after[0].kind.as_str()), (1, "b"));
    });
}
