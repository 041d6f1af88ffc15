//! Kept commands: given in order and only while open, ended once, and known to whoever follows the devices.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use ambit_store::{
    COMMANDS_OPEN_MAX, CommandEnd, CommandEnded, CommandFilter, CommandRow, CommandState,
    NewCommand, Store, StoreError,
};
use common::{new_device, on_each, on_each_shared};
use std::ops::ControlFlow;

fn write(device: i64, data: &[u8]) -> NewCommand<'_> {
    NewCommand {
        device,
        kind: "write",
        offset: 4,
        length: 0,
        data,
        made_ms: 1000,
        expires_ms: 5000,
    }
}

const READ: NewCommand<'static> = NewCommand {
    device: 1,
    kind: "read",
    offset: 0,
    length: 3,
    data: &[],
    made_ms: 1000,
    expires_ms: 5000,
};

const DISABLE: NewCommand<'static> = NewCommand {
    kind: "disable",
    length: 0,
    ..READ
};

fn walk(store: &mut dyn Store, device: Option<i64>, is_open: bool) -> Vec<CommandRow> {
    let mut all = Vec::new();
    store
        .commands_for_each(&CommandFilter { device, is_open }, &mut |row| {
            all.push(row);
            ControlFlow::Continue(())
        })
        .unwrap();
    all
}

fn now(ended: CommandEnded) -> CommandRow {
    match ended {
        CommandEnded::Now(row) => row,
        other => unreachable!("{other:?}"),
    }
}

fn before(ended: CommandEnded) -> CommandState {
    match ended {
        CommandEnded::Before(row) => row.state,
        other => unreachable!("{other:?}"),
    }
}

fn with_devices(store: &mut dyn Store) {
    store
        .devices_insert(&[new_device(b"dev-1"), new_device(b"dev-2")])
        .unwrap();
}

#[test]
fn a_command_goes_its_way_and_ends_once() {
    on_each("commands", |store| {
        with_devices(store);
        let ids = store
            .commands_keep(&[write(1, b"ab"), READ, write(2, b"cd")])
            .unwrap();
        assert_eq!(ids.len(), 3);
        let of_one = walk(store, Some(1), true);
        assert_eq!(of_one.len(), 2);
        let first = &of_one[0];
        assert_eq!(
            (first.id, first.kind.as_str(), first.offset, &first.data[..]),
            (ids[0], "write", 4, &b"ab"[..])
        );
        assert_eq!(
            (&first.device_id[..], first.state, first.times_given),
            (&b"dev-1"[..], CommandState::Kept, 0)
        );

        // Nothing comes of what was not given.
        let done = CommandEnd::Done { read: None };
        for end in [done, CommandEnd::Failed("x"), CommandEnd::Tried("x")] {
            let ended = store.command_end(ids[0], &end, 2000).unwrap();
            assert_eq!(before(ended), CommandState::Kept);
        }
        // Given twice, with another record each time.
        for (epoch, tag1) in [(7, b"tag-0001"), (8, b"tag-0002")] {
            assert!(store.command_give(ids[0], (epoch, tag1), 2000).unwrap());
        }
        let tried = CommandEnd::Tried("no_answer");
        let row = now(store.command_end(ids[0], &tried, 2500).unwrap());
        assert_eq!((row.state, row.times_given), (CommandState::Given, 2));
        assert_eq!(row.given_with, Some((8, b"tag-0002".to_vec())));
        assert_eq!(row.failure.as_deref(), Some("no_answer"));
        let row = now(store.command_end(ids[0], &done, 3000).unwrap());
        assert_eq!(
            (row.state, row.failure, row.ended_ms),
            (CommandState::Done, None, Some(3000))
        );
        // Once done it stays done.
        for end in [done, tried, CommandEnd::Withdrawn, CommandEnd::Failed("x")] {
            let ended = store.command_end(ids[0], &end, 4000).unwrap();
            assert_eq!(before(ended), CommandState::Done);
        }
        assert!(!store.command_give(ids[0], (9, b"tag-0003"), 4000).unwrap());

        // What was read has the length that was asked for.
        assert!(store.command_give(ids[1], (9, b"tag-0003"), 4000).unwrap());
        for read in [None, Some(&b"ab"[..]), Some(b"abcd")] {
            let end = CommandEnd::Done { read };
            let ended = store.command_end(ids[1], &end, 4000).unwrap();
            assert_eq!(before(ended), CommandState::Given);
        }
        let end = CommandEnd::Done { read: Some(b"abc") };
        let row = now(store.command_end(ids[1], &end, 4000).unwrap());
        assert_eq!(row.read.as_deref(), Some(&b"abc"[..]));

        // Not before its time.
        let ended = store.command_end(ids[2], &CommandEnd::Expired, 4999);
        assert_eq!(before(ended.unwrap()), CommandState::Kept);
        assert!(!store.command_give(ids[2], (9, b"tag-0004"), 5000).unwrap());
        let row = now(store
            .command_end(ids[2], &CommandEnd::Expired, 5000)
            .unwrap());
        assert_eq!(row.state, CommandState::Expired);
        assert!(walk(store, None, true).is_empty());
        assert_eq!(walk(store, None, false).len(), 3);
        assert_eq!(
            store.command_end(99, &done, 0).unwrap(),
            CommandEnded::Unknown
        );
    });
}

#[test]
fn what_a_device_has_done_counts_also_after_the_command_was_withdrawn() {
    on_each("commands-late", |store| {
        with_devices(store);
        let ids = store.commands_keep(&[DISABLE, DISABLE]).unwrap();
        assert!(store.command_give(ids[0], (7, b"tag-0001"), 2000).unwrap());
        for id in &ids {
            now(store
                .command_end(*id, &CommandEnd::Withdrawn, 2000)
                .unwrap());
        }
        let change = store
            .device_changes(0, &mut |_| ControlFlow::Continue(()))
            .unwrap();
        let done = CommandEnd::Done { read: None };
        let never_given = store.command_end(ids[1], &done, 3000).unwrap();
        assert_eq!(before(never_given), CommandState::Withdrawn);
        assert!(!store.device(b"dev-1").unwrap().unwrap().disabled);
        now(store.command_end(ids[0], &done, 3000).unwrap());
        // In one transaction with it the device is out of service, and others learn of it.
        let mut changed = Vec::new();
        store
            .device_changes(change, &mut |row| {
                changed.push((row.device_id, row.disabled));
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(changed, [(b"dev-1".to_vec(), true)]);
    });
}

#[test]
fn keeping_is_all_or_nothing_within_limits_and_known_to_followers() {
    on_each_shared("commands-limits", |open| {
        let (mut one, mut two) = (open(), open());
        with_devices(one.as_mut());
        let followed = two
            .device_changes(0, &mut |_| ControlFlow::Continue(()))
            .unwrap();
        let bad = [
            (
                NewCommand {
                    kind: "dance",
                    ..READ
                },
                "kind",
            ),
            (NewCommand { length: 0, ..READ }, "length"),
            (NewCommand { length: 97, ..READ }, "length"),
            (NewCommand { data: b"a", ..READ }, "data"),
            (write(1, b""), "data"),
            (write(1, &[0; 97]), "data"),
            (
                NewCommand {
                    length: 1,
                    ..write(1, b"a")
                },
                "length",
            ),
            (
                NewCommand {
                    length: 1,
                    ..DISABLE
                },
                "length",
            ),
            (
                NewCommand {
                    offset: 65_534,
                    ..READ
                },
                "offset",
            ),
            (
                NewCommand {
                    expires_ms: 1000,
                    ..READ
                },
                "expires_ms",
            ),
        ];
        for (command, expected) in bad {
            match one.commands_keep(&[READ, command]) {
                Err(StoreError::Invalid { index: 1, field }) => assert_eq!(field, expected),
                other => unreachable!("{expected}: {other:?}"),
            }
        }
        let unknown = one.commands_keep(&[READ, NewCommand { device: 9, ..READ }]);
        assert!(matches!(
            unknown,
            Err(StoreError::UnknownDevice { device: 9 })
        ));
        assert!(walk(one.as_mut(), None, false).is_empty());

        let many: Vec<NewCommand<'_>> = (0..COMMANDS_OPEN_MAX as u16)
            .map(|offset| NewCommand { offset, ..READ })
            .collect();
        one.commands_keep(&many).unwrap();
        let more = one.commands_keep(&[write(2, b"a"), NewCommand { length: 5, ..READ }]);
        assert!(matches!(
            more,
            Err(StoreError::TooManyCommands { index: 1 })
        ));
        let open = walk(two.as_mut(), None, true);
        assert_eq!(open.len(), COMMANDS_OPEN_MAX);
        let mut changed = Vec::new();
        two.device_changes(followed, &mut |row| {
            changed.push(row.device_id);
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(changed, [b"dev-1".to_vec()]);
        // One that ends makes room.
        now(two
            .command_end(open[0].id, &CommandEnd::Withdrawn, 2000)
            .unwrap());
        one.commands_keep(&[DISABLE]).unwrap();
    });
}
