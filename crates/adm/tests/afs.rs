//! Accounts of application functions.
#![allow(clippy::unwrap_used)]

use ambit_adm::{Adm, AdmConfig, Kek, ProvisionError, system_entropy};
use ambit_adm_api::{AfAuthorization, AfDevices, AfOperation, AfRefusal, Nadm};
use ambit_protocol::Snid;
use ambit_protocol::area::Plmn;
use ambit_store::{EventFilter, SqliteStore};
use std::ops::ControlFlow;
use std::path::PathBuf;

fn file(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path.join("ambit.sqlite3")
}

fn open(file: &std::path::Path) -> Adm {
    let snid = Snid::new(Plmn::new("001", "01").unwrap(), None);
    let config = AdmConfig {
        chain_epochs: 2000,
        ..AdmConfig::new(snid)
    };
    let store = Box::new(SqliteStore::open(file).unwrap());
    let kek = Kek::from_octets(&[0x4b; 32]);
    Adm::open(config, store, kek, system_entropy(), 1_000_000).unwrap()
}

fn reading() -> AfAuthorization {
    AfAuthorization {
        operations: vec![AfOperation::Read],
        devices: AfDevices::All,
        ..AfAuthorization::default()
    }
}

#[test]
fn a_secret_opens_its_account_and_no_other_and_is_kept_nowhere() {
    let file = file("af-secrets");
    let mut adm = open(&file);
    let (one, secret) = adm.add_af("warehouse", &reading(), 1).unwrap();
    let (two, other) = adm.add_af("audit", &AfAuthorization::default(), 1).unwrap();
    assert_ne!(one.client_id, two.client_id);
    assert_ne!(secret.expose(), other.expose());
    let mut who = |client: &str, secret: &str| {
        let found = adm.af_authenticate(client, secret).unwrap();
        found.map(|account| account.name)
    };
    assert_eq!(who(&one.client_id, secret.expose()).unwrap(), "warehouse");
    assert_eq!(who(&two.client_id, other.expose()).unwrap(), "audit");
    assert_eq!(who(&one.client_id, other.expose()), None);
    assert_eq!(who(&one.client_id, ""), None);
    assert_eq!(who("nobody", secret.expose()), None);
    assert_eq!(who("", ""), None);
    adm.close(2);
    drop(adm);

    // Neither the file nor what is printed holds it; after a restart it still opens the account.
    let octets = std::fs::read(&file).unwrap();
    let needle = secret.expose().as_bytes();
    assert!(octets.windows(needle.len()).all(|window| window != needle));
    assert_eq!(format!("{secret:?}"), "AfSecret(..)");
    let mut adm = open(&file);
    let found = adm.af_authenticate(&one.client_id, secret.expose());
    assert_eq!(found.unwrap().unwrap().authorization, reading());

    let (renewed, new_secret) = adm.renew_af_secret("warehouse", 50).unwrap();
    assert_eq!(
        (renewed.client_id, renewed.secret_ms),
        (one.client_id.clone(), 50)
    );
    let mut is_good = |secret: &str| {
        let found = adm.af_authenticate(&one.client_id, secret).unwrap();
        found.is_some()
    };
    assert!(!is_good(secret.expose()) && is_good(new_secret.expose()));
    adm.remove_af("warehouse", 60).unwrap();
    let gone = adm.af_authenticate(&one.client_id, new_secret.expose());
    assert_eq!(gone.unwrap(), None);
}

/// The control of the test above: what a thief who can write to the store could do if the check were not keyed.
#[test]
fn who_writes_to_the_store_without_the_kek_cannot_give_an_account_a_secret() {
    let file = file("af-forged");
    let mut adm = open(&file);
    let (mine, secret) = adm.add_af("mine", &AfAuthorization::default(), 1).unwrap();
    let (victim, _) = adm.add_af("victim", &reading(), 1).unwrap();
    // The thief's own check value, put into the account of another.
    let own = adm.store().af("mine").unwrap().unwrap();
    let mut forged = adm.store().af("victim").unwrap().unwrap();
    forged.secret_check = own.secret_check;
    adm.store().af_update(&forged).unwrap();
    let found = adm.af_authenticate(&victim.client_id, secret.expose());
    assert_eq!(found.unwrap(), None);
    assert!(
        adm.af_authenticate(&mine.client_id, secret.expose())
            .unwrap()
            .is_some()
    );
}

#[test]
fn names_and_rights_are_checked_and_changes_are_on_record() {
    let mut adm = open(&file("af-changes"));
    adm.add_af("warehouse", &reading(), 1).unwrap();
    let again = adm.add_af("warehouse", &reading(), 2);
    assert!(matches!(again, Err(ProvisionError::AfExists(_))));
    let odd = adm.add_af("ware\"house", &reading(), 2);
    assert!(matches!(odd, Err(ProvisionError::Af(rule)) if rule.starts_with("name: ")));
    let mut none = reading();
    none.quota.rate = 0;
    let odd = adm.set_af("warehouse", &none, 2);
    assert!(matches!(odd, Err(ProvisionError::Af(rule)) if rule.starts_with("quota.rate: ")));
    let unknown = adm.set_af("nobody", &reading(), 2);
    assert!(matches!(unknown, Err(ProvisionError::UnknownAf(_))));
    let changed = adm
        .set_af("warehouse", &AfAuthorization::default(), 3)
        .unwrap();
    assert_eq!(changed.authorization, AfAuthorization::default());
    let listed = adm.afs(None).unwrap();
    assert_eq!(listed, std::slice::from_ref(&changed));
    assert_eq!(adm.afs(Some("warehouse")).unwrap(), [changed]);
    assert!(adm.afs(Some("nobody")).unwrap().is_empty());
    let refusal = AfRefusal {
        af: "warehouse".into(),
        cause: "AREA_NOT_ALLOWED".into(),
        detail: "\"quoted\"".into(),
        count: 3,
    };
    adm.note_af_refusals(5, &[refusal]).unwrap();
    adm.remove_af("warehouse", 6).unwrap();

    let mut kinds = Vec::new();
    let filter = EventFilter {
        kind: None,
        since_ms: None,
    };
    adm.store()
        .events_for_each(&filter, &mut |event| {
            kinds.push((event.kind, event.count, event.detail));
            ControlFlow::Continue(())
        })
        .unwrap();
    let named = |kind: &str| kinds.iter().filter(|(found, ..)| found == kind).count();
    assert_eq!(named("af_added"), 1, "{kinds:?}");
    assert_eq!((named("af_changed"), named("af_removed")), (1, 1));
    let (_, count, detail) = kinds
        .iter()
        .find(|(kind, ..)| kind == "af_refused")
        .unwrap();
    let detail: serde_json::Value = serde_json::from_str(detail).unwrap();
    assert_eq!(*count, 3);
    assert_eq!(detail["af"], "warehouse");
    assert_eq!(detail["detail"], "\"quoted\"");
}
