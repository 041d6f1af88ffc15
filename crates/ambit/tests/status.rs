//! `ambit status` says what is so, with and without a core; the override for type 1 in public networks is shown.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::{Core, Place};

#[test]
fn status_says_the_policy_and_what_is_there_with_and_without_a_core() {
    let place = Place::new();
    assert!(place.fails(4, &["status"]).contains("holds no store"));
    assert!(!place.path("data").exists(), "looking makes nothing");
    place.import_fleet(3);
    place.ok(&["device", "add", "tag", "--type", "1", "--keys-out", "k"]);
    place.ok(&["device", "disable", "tag"]);
    place.write(
        "cards.csv",
        "DEVICE_ID,DEVICE_TYPE,IMSI,KI,OPC\n\
         d1,2c,001010000000001,000102030405060708090a0b0c0d0e0f,000102030405060708090a0b0c0d0e0f\n",
    );
    place.ok(&["subscriber", "import", "cards.csv"]);
    place.write(
        "study.toml",
        "[policy]\ndeployment = \"public\"\nallow_type1_in_public = true\nrefuse_null_scheme = true\n",
    );

    let status = |config: &[&str]| place.json(&[&["status", "--json"], config].concat())[0].clone();
    let private = status(&[]);
    assert_eq!(private["core"], "none");
    assert_eq!(private["deployment"], "isolated-private");
    assert_eq!(private["policy"]["type1"], "allowed");
    assert_eq!(private["policy"]["blind"], "refused");
    assert_eq!(private["network"]["plmn"], "001/01");
    assert_eq!(private["devices"]["total"], 5);
    assert_eq!(private["devices"]["disabled"], 1);
    assert_eq!(private["devices"]["by_type"]["1"], 1);
    assert_eq!(private["devices"]["by_type"]["2b"], 3);
    assert_eq!(private["devices"]["by_credential"]["operator"], 4);
    assert_eq!(private["devices"]["by_credential"]["uicc"], 1);
    assert_eq!(private["subscribers"]["total"], 1);
    assert_eq!(private["subscribers"]["registered_ever"], 0);
    assert!(private["gnbs"].is_null());

    let study = status(&["--config", "study.toml"]);
    assert_eq!(study["deployment"], "public");
    let allowed = "allowed for study, by policy.allow_type1_in_public";
    assert_eq!(study["policy"]["type1"], allowed);
    assert_eq!(study["policy"]["null_scheme"], "refused");
    place.write("public.toml", "[policy]\ndeployment = \"public\"\n");
    let public = status(&["--config", "public.toml"]);
    assert_eq!(public["policy"]["type1"], "refused");
    assert_eq!(public["policy"]["operator_keys"], "refused");

    // A running core answers under its own configuration, whatever the command's is.
    let core = Core::start(&place, "127.0.0.1:0", &["--config", "study.toml"]);
    let running = status(&[]);
    assert_eq!(running["core"], "running");
    assert_eq!(running["policy"], study["policy"]);
    assert_eq!(running["devices"], private["devices"]);
    assert_eq!(running["gnbs"], 0);
    assert!(running["epoch"].as_u64() > Some(0) && running["fault"].is_null());
    let text = place.ok(&["status"]);
    let line = text.lines().find(|line| line.starts_with("policy.type1 "));
    assert!(line.unwrap().ends_with(allowed), "{text}");
    assert!(core.terminate());
    let after = status(&[]);
    assert_eq!(after["core"], "none");
    assert!(after["epoch"].as_u64() >= running["epoch"].as_u64());
}
