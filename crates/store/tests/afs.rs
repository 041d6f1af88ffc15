//! Accounts of application functions.
#![allow(clippy::unwrap_used)]

mod common;

use ambit_store::{AfRow, Store, StoreError};
use common::{on_each, on_each_shared};
use std::ops::ControlFlow;

fn af(name: &str) -> AfRow {
    AfRow {
        name: name.into(),
        client_id: format!("id-of-{name}"),
        secret_check: vec![7; 32],
        authorization: "{}".into(),
        created_ms: 10,
        secret_ms: 10,
    }
}

fn names(store: &mut dyn Store) -> Vec<String> {
    let mut names = Vec::new();
    store
        .afs_for_each(&mut |af| {
            names.push(af.name);
            ControlFlow::Continue(())
        })
        .unwrap();
    names
}

#[test]
fn an_af_is_added_once_changed_and_removed() {
    on_each("afs", |store| {
        let (one, two) = (af("warehouse"), af("audit"));
        store.af_insert(&one).unwrap();
        store.af_insert(&two).unwrap();
        assert_eq!(names(store), ["audit", "warehouse"]);
        assert_eq!(store.af("warehouse").unwrap(), Some(one.clone()));
        let by_client = store.af_by_client("id-of-audit").unwrap();
        assert_eq!(by_client.unwrap().name, "audit");
        assert_eq!(store.af("nobody").unwrap(), None);
        assert_eq!(store.af_by_client("warehouse").unwrap(), None);

        // The name is taken, and so is the client identifier.
        let again = AfRow {
            client_id: "another".into(),
            secret_check: vec![8; 32],
            ..af("audit")
        };
        let same_client = AfRow {
            client_id: "id-of-audit".into(),
            ..af("third")
        };
        for taken in [&again, &same_client] {
            let refused = store.af_insert(taken);
            assert!(matches!(refused, Err(StoreError::AfExists { .. })));
        }
        assert_eq!(store.af("audit").unwrap(), Some(two));

        let changed = AfRow {
            secret_check: vec![9; 32],
            authorization: r#"{"operations":["READ"]}"#.into(),
            secret_ms: 20,
            ..one
        };
        store.af_update(&changed).unwrap();
        assert_eq!(store.af("warehouse").unwrap(), Some(changed));
        store.af_remove("warehouse").unwrap();
        assert_eq!(names(store), ["audit"]);
        for refused in [
            store.af_remove("warehouse"),
            store.af_update(&af("warehouse")),
        ] {
            assert!(matches!(refused, Err(StoreError::UnknownAf { .. })));
        }
        let nameless = store.af_insert(&af(""));
        assert!(matches!(
            nameless,
            Err(StoreError::Invalid { field: "name", .. })
        ));
    });
}

#[test]
fn accounts_are_there_for_the_next_process() {
    on_each_shared("afs_shared", |open| {
        open().af_insert(&af("warehouse")).unwrap();
        let found = open().af("warehouse").unwrap().unwrap();
        assert_eq!(found, af("warehouse"));
        let shown = format!("{found:?}");
        assert!(
            !shown.contains("secret_check") && !shown.contains("7, 7"),
            "{shown}"
        );
    });
}
