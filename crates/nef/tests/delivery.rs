//! Delivery within one process: what is signed, refused, given up, taken over, and to whom nothing goes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;
#[path = "common/receiver.rs"]
mod receiver;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ambit_nef::delivery::{Delivery, DeliveryConfig, Notice};
use ambit_nef::subscription::{
    self, Asker, DeliveryKey, Entitlement, EntitlementTable, Entitlements, Filter, Guard, Rules,
    Sink, Subscription, SubscriptionError, Wanted, What,
};
use ambit_store::{DeliveryStore, SqliteStore};
use common::{NOW_MS, Report, accept, add_devices};
use receiver::{Answer, Decide, Pki, Receiver};
use tempfile::TempDir;
use zeroize::Zeroizing;

/// A store in a directory, and what delivery is told of the world.
struct Bed {
    dir: TempDir,
    pki: Pki,
    guard: Guard,
    entitlements: Arc<dyn Entitlements>,
    give_up_s: u32,
    notices: Arc<Mutex<Vec<Notice>>>,
    tags: AtomicU64,
}

impl Bed {
    fn new() -> Self {
        let bed = Self {
            dir: tempfile::tempdir().unwrap(),
            pki: Pki::new(),
            guard: Guard {
                allowed: vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()],
                allow_clear: false,
            },
            entitlements: Arc::new(EntitlementTable(
                [("af-1".to_owned(), Entitlement::of_fleets(["pallets"]))].into(),
            )),
            give_up_s: 3600,
            notices: Arc::default(),
            tags: AtomicU64::new(0),
        };
        bed.pki.write_ca(&bed.path("ca.pem"));
        add_devices(&mut bed.store(), 4);
        bed
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn store(&self) -> SqliteStore {
        SqliteStore::open(&self.path("s.sqlite3")).unwrap()
    }

    fn rules(&self) -> Rules {
        Rules {
            entitlements: Arc::clone(&self.entitlements),
            per_af_max: 3,
            operator_max: 9,
            guard: self.guard.clone(),
        }
    }

    fn add(&self, af: Option<&str>, what: &[What], sink: Sink) -> Subscription {
        let filter = Filter {
            what: what.to_vec(),
            ..Filter::default()
        };
        self.try_add(af, filter, sink).unwrap()
    }

    fn try_add(
        &self,
        af: Option<&str>,
        filter: Filter,
        sink: Sink,
    ) -> Result<Subscription, SubscriptionError> {
        let wanted = Wanted {
            af: af.map(str::to_owned),
            filter,
            sink,
            since_ms: None,
        };
        subscription::add(&mut self.store(), &self.rules(), wanted, NOW_MS)
    }

    fn start(&self) -> Delivery {
        self.start_as([1; 16], false)
    }

    fn start_as(&self, owner: [u8; 16], is_shared: bool) -> Delivery {
        let path = self.path("s.sqlite3");
        let notices = Arc::clone(&self.notices);
        Delivery::start(
            DeliveryConfig {
                open: Arc::new(move || {
                    let store: Box<dyn DeliveryStore> = Box::new(SqliteStore::open(&path)?);
                    Ok(store)
                }),
                owner,
                is_shared,
                entitlements: Arc::clone(&self.entitlements),
                guard: self.guard.clone(),
                key: key(),
                source: "urn:ambit:test".into(),
                ca_file: Some(self.path("ca.pem")),
                give_up_s: self.give_up_s,
            },
            Arc::new(move |notice| notices.lock().unwrap().push(notice)),
        )
        .unwrap()
    }

    /// Accepts reports, one each from the devices in turn.
    fn reports(&self, count: usize) {
        let mut store = self.store();
        for n in 0..count {
            let tag = self.tags.fetch_add(1, Ordering::SeqCst) + 1;
            let report = Report {
                device: (n % 4) as i64 + 1,
                time_ms: NOW_MS + tag as i64,
                ..Report::default()
            };
            accept(&mut store, report, tag);
        }
    }

    fn has_notice(&self, kind: &str) -> bool {
        let notices = self.notices.lock().unwrap();
        notices.iter().any(|notice| notice.kind == kind)
    }
}

fn key() -> DeliveryKey {
    DeliveryKey::new(Zeroizing::new([9; 32]))
}

fn decide(answer: impl Fn(usize) -> Answer + Send + Sync + 'static) -> Decide {
    let count = AtomicUsize::new(0);
    Arc::new(move |_, _| answer(count.fetch_add(1, Ordering::SeqCst)))
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn callback(receiver: &Receiver, batch: bool) -> Sink {
    let url = format!("https://localhost:{}/hook?x=1", receiver.address.port());
    Sink::Callback { url, batch }
}

fn names(receiver: &Receiver) -> Vec<i64> {
    let events = receiver.events();
    let records = events.iter().map(|event| event["data"]["record"].as_i64());
    records.map(Option::unwrap_or_default).collect()
}

#[test]
fn a_callback_is_a_signed_cloudevent_in_the_order_of_each_device() {
    let bed = Bed::new();
    // Every third request fails.
    let receiver = Receiver::start(
        bed.pki.server(false),
        decide(|n| match n % 3 {
            2 => Answer::Status(503),
            _ => Answer::Status(204),
        }),
    );
    let subscription = bed.add(None, &[], callback(&receiver, false));
    let delivery = bed.start();
    bed.reports(40);
    wait_until("all are there", || receiver.events().len() >= 40);
    drop(delivery);
    let got = receiver.got();
    assert_eq!(got.len(), 40);
    let first = &got[0];
    let text = |name: &str| first.headers[name].to_str().unwrap().to_owned();
    assert_eq!(text("content-type"), "application/cloudevents+json");
    let event = &first.events[0];
    assert_eq!(event["specversion"], "1.0");
    assert_eq!(event["type"], "ambit.report");
    assert_eq!(event["source"], "urn:ambit:test");
    assert_eq!(text("webhook-id"), event["id"].as_str().unwrap());
    let unix_s: i64 = text("webhook-timestamp").parse().unwrap();
    let signature = key().sign(&subscription.id, &text("webhook-id"), unix_s, &first.body);
    assert_eq!(text("webhook-signature"), signature);
    let forged = key().sign(&subscription.id, &text("webhook-id"), unix_s, b"{}");
    assert_ne!(signature, forged);
    for device in 1..=4 {
        let of = |record: &i64| (record - 1) % 4 + 1 == device;
        let order: Vec<i64> = names(&receiver).into_iter().filter(of).collect();
        assert!(order.is_sorted(), "{order:?}");
        assert_eq!(order.len(), 10);
    }
    assert!(bed.has_notice("sink_failing"));
}

#[test]
fn a_message_that_is_refused_is_a_dead_letter_and_can_be_tried_again() {
    let bed = Bed::new();
    let is_wanted = Arc::new(AtomicBool::new(false));
    let wanted = Arc::clone(&is_wanted);
    let judge: Decide = Arc::new(move |_, events| {
        let is_seventh = events.iter().any(|event| event["data"]["record"] == 7);
        match is_seventh && !wanted.load(Ordering::SeqCst) {
            true => Answer::Status(422),
            false => Answer::Status(200),
        }
    });
    let receiver = Receiver::start(bed.pki.server(false), judge);
    // In batches too: the one bad message is found among the good ones.
    let single = bed.add(None, &[], callback(&receiver, false));
    let batch = bed.add(None, &[], callback(&receiver, true));
    let _delivery = bed.start();
    bed.reports(12);
    wait_until("the others are there", || receiver.events().len() >= 22);
    for of in [&single, &batch] {
        let letters = || bed.store().dead_letters(&of.id, "", 9).unwrap();
        wait_until("the dead letter", || !letters().is_empty());
        assert_eq!(letters().len(), 1);
        assert_eq!(
            (letters()[0].message.as_str(), letters()[0].tries),
            ("r7", 1)
        );
        assert!(letters()[0].error.contains("422"));
    }
    assert!(bed.has_notice("dead_letter"));
    is_wanted.store(true, Ordering::SeqCst);
    bed.store().dead_letters_retry(&single.id, None).unwrap();
    wait_until("it is taken", || {
        bed.store().dead_letter_count(&single.id).unwrap() == (0, 0)
    });
    assert_eq!(receiver.events().len(), 23);
    assert_eq!(bed.store().dead_letter_count(&batch.id).unwrap(), (1, 0));
}

#[test]
fn a_sink_that_answers_with_errors_is_given_up_message_by_message_and_one_that_is_gone_never() {
    let mut bed = Bed::new();
    bed.give_up_s = 0;
    let receiver = Receiver::start(
        bed.pki.server(false),
        Arc::new(|_, events| match events[0]["data"]["record"] == 1 {
            true => Answer::Status(500),
            false => Answer::Status(200),
        }),
    );
    let answers = bed.add(None, &[], callback(&receiver, false));
    let gone = bed.add(
        None,
        &[],
        Sink::Callback {
            url: "https://127.0.0.1:1/".into(),
            batch: false,
        },
    );
    let _delivery = bed.start();
    bed.reports(4);
    wait_until("the letter", || {
        bed.store().dead_letter_count(&answers.id).unwrap().0 == 1
    });
    wait_until("the others", || receiver.events().len() == 3);
    wait_until("the alarm", || bed.has_notice("sink_unreachable"));
    assert_eq!(bed.store().dead_letter_count(&gone.id).unwrap(), (0, 0));
    let kept = bed.store().subscription(&gone.id).unwrap().unwrap();
    assert_eq!(Subscription::from_row(kept).unwrap().position.record(0), 0);
}

#[test]
fn certificates_that_are_expired_or_unknown_and_redirects_stop_delivery_and_lose_nothing() {
    let bed = Bed::new();
    let ok = || decide(|_| Answer::Status(200));
    let expired = Receiver::start(bed.pki.server(true), ok());
    let stranger = Receiver::start(Pki::new().server(false), ok());
    let redirects = Receiver::start(bed.pki.server(false), decide(|_| Answer::Status(307)));
    for receiver in [&expired, &stranger, &redirects] {
        bed.add(None, &[], callback(receiver, false));
    }
    let delivery = bed.start();
    bed.reports(3);
    wait_until("the alarm", || bed.has_notice("sink_certificate"));
    wait_until("the alarm", || bed.has_notice("sink_redirects"));
    let certificates = || {
        let notices = bed.notices.lock().unwrap();
        notices
            .iter()
            .filter(|n| n.kind == "sink_certificate")
            .count()
    };
    wait_until("both alarms", || certificates() == 2);
    assert_eq!(expired.events().len() + stranger.events().len(), 0);
    drop(delivery);
    // A good certificate at the same address: all that came meanwhile.
    let address = expired.address;
    drop(expired);
    let good = Receiver::start_at(address, bed.pki.server(false), ok(), Arc::default());
    let _delivery = bed.start();
    wait_until("all are there", || good.events().len() == 3);
    // Once for each subscription: what fails on is not said again and again.
    assert!(certificates() <= 4, "{}", certificates());
}

#[test]
fn nothing_is_sent_to_addresses_that_are_not_allowed_whatever_the_name_says() {
    let mut bed = Bed::new();
    let receiver = Receiver::start(bed.pki.server(false), decide(|_| Answer::Status(200)));
    let subscription = bed.add(None, &[], callback(&receiver, false));
    // What was allowed once is looked at again with each connection.
    bed.guard = Guard::default();
    let delivery = bed.start();
    bed.reports(2);
    wait_until("the alarm", || bed.has_notice("address_refused"));
    assert_eq!(receiver.got().len(), 0);
    drop(delivery);
    let again = bed.try_add(None, Filter::default(), subscription.sink.clone());
    assert_eq!(again.unwrap_err().name(), "address_refused");
    for url in [
        "https://127.0.0.1/",
        "https://[::1]:8443/",
        "https://[::ffff:10.0.0.1]/",
        "https://169.254.169.254/latest/meta-data",
        "https://2130706433/",
    ] {
        let sink = Sink::Callback {
            url: url.into(),
            batch: false,
        };
        let refused = bed.try_add(None, Filter::default(), sink).unwrap_err();
        assert_eq!(refused.name(), "address_refused", "{url}");
    }
    // The control: without the guard the very same reaches it.
    bed.guard = Guard {
        allowed: vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()],
        allow_clear: false,
    };
    let _delivery = bed.start();
    wait_until("it is reached", || receiver.got().len() == 2);
}

#[test]
fn an_af_gets_what_it_may_and_no_more_and_nothing_once_it_may_not() {
    struct Switch(AtomicBool);
    impl Entitlements for Switch {
        fn entitlement(&self, af: &str) -> Option<Entitlement> {
            let is_on = self.0.load(Ordering::SeqCst) && af == "af-1";
            is_on.then(|| Entitlement::of_fleets(["pallets"]))
        }
    }
    let mut bed = Bed::new();
    let switch = Arc::new(Switch(AtomicBool::new(true)));
    bed.entitlements = Arc::clone(&switch) as Arc<dyn Entitlements>;
    let receiver = Receiver::start(bed.pki.server(false), decide(|_| Answer::Status(200)));
    let all = [What::Data, What::Presence, What::Alarms];
    bed.add(Some("af-1"), &all, callback(&receiver, true));
    let _delivery = bed.start();
    bed.reports(20);
    // Ten reports of its two devices, which both appear.
    wait_until("its own are there", || receiver.events().len() == 12);
    for event in receiver.events() {
        assert_eq!(event["data"]["fleet"], "pallets", "{event}");
    }
    switch.0.store(false, Ordering::SeqCst);
    bed.reports(20);
    let passed = || {
        let row = bed.store().subscriptions().unwrap().remove(0);
        Subscription::from_row(row).unwrap().position.record(0) == 40
    };
    wait_until("they are passed over", passed);
    assert_eq!(receiver.events().len(), 12);
}

#[test]
fn what_cannot_be_subscribed_to_is_named() {
    let bed = Bed::new();
    let file = || Sink::File {
        path: bed.path("out.jsonl"),
    };
    let of = |filter| bed.try_add(Some("af-1"), filter, Sink::Stream).unwrap_err();
    let fleets = |fleets: &[&str]| Filter {
        fleets: fleets.iter().map(|f| (*f).to_owned()).collect(),
        ..Filter::default()
    };
    let long = Filter {
        causes: vec![1; 257],
        ..Filter::default()
    };
    let devices = |id: &[u8]| Filter {
        devices: vec![id.to_vec()],
        ..Filter::default()
    };
    // A fleet or device of others is as one that is not there.
    for (error, name, part) in [
        (of(fleets(&["crates"])), "fleet_unknown", "filter.fleets"),
        (of(fleets(&["none"])), "fleet_unknown", "filter.fleets"),
        (of(devices(b"d2")), "device_unknown", "filter.devices"),
        (of(devices(b"d99")), "device_unknown", "filter.devices"),
        (of(long), "subscription_invalid", "filter.causes"),
        (
            bed.try_add(Some("af-2"), Filter::default(), Sink::Stream)
                .unwrap_err(),
            "af_unknown",
            "af-2",
        ),
        (
            bed.try_add(Some("af-1"), Filter::default(), file())
                .unwrap_err(),
            "subscription_invalid",
            "sink.kind",
        ),
    ] {
        assert_eq!(error.name(), name);
        assert!(error.to_string().contains(part), "{error}");
    }
    for (url, part) in [
        ("http://127.0.0.1/", "allow_clear"),
        ("https://user:secret@127.0.0.1/", "password"),
        ("ftp://127.0.0.1/", "https://"),
        ("https://", "sink.url"),
        ("not a url", "sink.url"),
    ] {
        let sink = Sink::Callback {
            url: url.into(),
            batch: false,
        };
        let error = bed.try_add(None, Filter::default(), sink).unwrap_err();
        assert!(error.to_string().contains(part), "{url}: {error}");
        assert!(!error.to_string().contains("secret"));
    }
    for _ in 0..3 {
        bed.try_add(Some("af-1"), Filter::default(), Sink::Stream)
            .unwrap();
    }
    assert_eq!(of(Filter::default()).name(), "subscription_quota");
    let mut store = bed.store();
    let own = subscription::list(&mut store, Asker::Operator).unwrap();
    let others = subscription::find(&mut store, Asker::Af("af-2"), &own[0].id);
    assert_eq!(others.unwrap_err().name(), "subscription_unknown");
    assert_eq!(
        subscription::list(&mut store, Asker::Af("af-2")).unwrap(),
        []
    );
}

#[test]
fn one_process_delivers_a_subscription_and_another_takes_over_when_it_is_gone() {
    let bed = Bed::new();
    let receiver = Receiver::start(bed.pki.server(false), decide(|_| Answer::Status(200)));
    let subscription = bed.add(None, &[], callback(&receiver, true));
    // What one was about to note when it ended comes again: each is there, whether once or twice.
    let ids = || {
        let events = receiver.events().into_iter();
        let ids = events.map(|event| event["id"].to_string());
        ids.collect::<std::collections::HashSet<String>>().len()
    };
    let one = bed.start_as([1; 16], true);
    let holder = || {
        let row = bed.store().subscription(&subscription.id).unwrap().unwrap();
        row.lease.map(|lease| lease.owner)
    };
    wait_until("the first has it", || holder() == Some([1; 16]));
    let two = bed.start_as([2; 16], true);
    bed.reports(10);
    wait_until("they are there", || ids() == 10);
    assert_eq!(holder(), Some([1; 16]));
    // One that ends gives it back; one that is killed cannot, and its turn stands still.
    drop(one);
    wait_until("the second has it", || holder() == Some([2; 16]));
    bed.reports(10);
    wait_until("they are there", || ids() == 20);
    drop(two);
    assert!(
        bed.store()
            .subscription_take(&subscription.id, &[7; 16], None)
            .unwrap()
    );
    let three = bed.start_as([3; 16], true);
    wait_until("the third takes over", || holder() == Some([3; 16]));
    bed.reports(10);
    wait_until("they are there", || ids() == 30);
    drop(three);
    assert_eq!(ids(), 30);
}

#[test]
fn a_slow_sink_holds_up_no_other() {
    let bed = Bed::new();
    let slow = Receiver::start(
        bed.pki.server(false),
        decide(|_| Answer::Late(200, Duration::from_secs(3600))),
    );
    bed.add(None, &[], callback(&slow, false));
    let path = bed.path("out.jsonl");
    bed.add(None, &[], Sink::File { path: path.clone() });
    let _delivery = bed.start();
    bed.reports(600);
    let lines = || {
        std::fs::read_to_string(&path)
            .unwrap_or_default()
            .lines()
            .count()
    };
    wait_until("the file has all", || lines() == 600);
    assert_eq!(slow.events().len(), 0);
}
