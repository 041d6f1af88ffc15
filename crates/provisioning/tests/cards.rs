//! Batches of cards and what comes back of them: all or nothing, errors by line and column, secrets under transport keys.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use ambit_protocol::area::Plmn;
use ambit_provisioning::{
    BatchError, CardSpec, SubscriberEntry, TransportKeys, read_batch, read_subscribers,
    write_cards, write_subscribers,
};

const HEADER: &str = "device_id,device_type,suite,form,tag_len,fleet,imsi,iccid,algorithm,ki,opc,topc,pin1,puk1,pin2,puk2,adm1";
const GOOD: &str = "0102,2b,1,beacon,8,doors,001010000000001,8988211000000000001,milenage,000102030405060708090a0b0c0d0e0f,101112131415161718191a1b1c1d1e1f,,1234,12345678,5678,87654321,3132333435363738";
const FORM_RULE: &str =
    "must not be dt: a device with UICC credentials registers by speaking first";
const IMSI_RULE: &str = "must be 6 to 15 digits: MCC, MNC and at least one more";
const HOME_RULE: &str = "must begin with 00101, MCC and MNC of the home network";
const ALGORITHM_RULE: &str =
    "must be milenage, tuak or tuak-<iterations, 1 to 255>-<octets of RES: 4, 8 or 16>";
const CHANGED: &str =
    "does not fit its check value: another transport key, or the value was changed";

fn plmn() -> Plmn {
    Plmn::new("001", "01").unwrap()
}

/// Octets that repeat with the seed.
fn random(seed: u8) -> impl FnMut(&mut [u8]) -> std::io::Result<()> {
    let mut rng = fastrand::Rng::with_seed(seed.into());
    move |out| {
        rng.fill(out);
        Ok(())
    }
}

fn batch(lines: &str) -> Result<Vec<CardSpec>, Vec<String>> {
    let text = format!("{HEADER}\n{lines}\n");
    read_batch(text.as_bytes(), plmn(), &mut random(1))
        .map_err(|error| error.to_string().lines().map(str::to_owned).collect())
}

fn keys(seed: u8) -> TransportKeys {
    TransportKeys::generate(&mut random(seed)).unwrap()
}

fn sealed(cards: &[CardSpec], keys: &TransportKeys) -> String {
    let mut out = Vec::new();
    write_cards(&mut out, cards, keys).unwrap();
    String::from_utf8(out).unwrap()
}

fn read(text: &str, keys: Option<&TransportKeys>) -> Result<Vec<SubscriberEntry>, Vec<String>> {
    read_subscribers(text.as_bytes(), keys, plmn())
        .map_err(|errors| errors.to_string().lines().map(str::to_owned).collect())
}

/// The text with the field of a column changed on its only line.
fn with(text: &str, column: &str, value: &str) -> String {
    let (header, line) = text.trim().split_once('\n').unwrap();
    let place = header.split(',').position(|name| name == column).unwrap();
    let mut fields: Vec<&str> = line.split(',').collect();
    fields[place] = value;
    format!("{header}\n{}\n", fields.join(","))
}

#[test]
fn what_is_not_given_is_drawn_and_what_is_given_is_taken() {
    let short = "device_id,device_type,imsi,iccid,algorithm\n\
                 a1,2a,001010000000002,89882110000000000028,\n\
                 a2,2c,00101123456,898821100000000003,tuak\n\
                 a3,2c,00101123457,898821100000000004,TUAK-2-16\n";
    let cards = read_batch(short.as_bytes(), plmn(), &mut random(1)).unwrap();
    let [milenage, tuak, more] = &cards[..] else {
        panic!("{cards:?}");
    };
    assert_eq!(milenage.secrets.algorithm().to_string(), "milenage");
    assert_eq!(milenage.secrets.expose_k().len(), 16);
    assert_eq!(tuak.secrets.algorithm().to_string(), "tuak-1-8");
    assert_eq!(tuak.secrets.expose_k().len(), 32);
    assert_eq!(more.secrets.algorithm().to_string(), "tuak-2-16");
    for card in &cards {
        let pins = &card.pins;
        assert_eq!((pins.pin1.len(), pins.puk1.len()), (4, 8));
        assert_eq!((pins.pin2.len(), pins.puk2.len()), (4, 8));
    }
    assert_ne!(milenage.secrets.expose_opc(), milenage.secrets.expose_k());
    assert!(milenage.device.key.is_none());

    let taken = &batch(GOOD).unwrap()[0];
    assert_eq!(taken.secrets.expose_k()[15], 0x0f);
    assert_eq!(taken.secrets.expose_opc()[0], 0x10);
    assert_eq!(*taken.pins.adm1, *b"12345678");
    assert_eq!(*taken.pins.puk2, "87654321");
    assert!(!format!("{taken:?}").contains("87654321"));
}

#[test]
fn a_random_source_that_fails_makes_no_card() {
    let mut fails = |_: &mut [u8]| Err(std::io::Error::other("empty"));
    let line = "device_id,device_type,imsi,iccid\na1,2a,001010000000002,89882110000000000028\n";
    let error = read_batch(line.as_bytes(), plmn(), &mut fails).unwrap_err();
    assert!(matches!(error, BatchError::Random(_)));
}

/// From the good line, one field changed at a time.
#[test]
fn each_bad_field_of_a_batch_is_named_with_its_rule() {
    for (field, value, column, rule) in [
        (0, "", "device_id", "must have 1 to 128 octets"),
        (1, "3", "device_type", "must be 1, 2a, 2b or 2c"),
        (2, "0", "suite", "must be 1, 2 or 3"),
        (3, "dt", "form", FORM_RULE),
        (4, "5", "tag_len", "must be 4, 8 or 16"),
        (6, "", "imsi", IMSI_RULE),
        (6, "0010100000000012", "imsi", IMSI_RULE),
        (6, "26201000000001", "imsi", HOME_RULE),
        (7, "89882110000000000", "iccid", "must be 18 to 20 digits"),
        (7, "898821100000000000x", "iccid", "must be 18 to 20 digits"),
        (8, "comp128", "algorithm", ALGORITHM_RULE),
        (8, "tuak-0-8", "algorithm", ALGORITHM_RULE),
        (8, "tuak", "opc", "must be empty with tuak-1-8"),
        (9, "0011", "ki", "must be 16 octets, or 16 or 32 with tuak"),
        (9, "zz", "ki", "must be hexadecimal digits, or empty"),
        (10, "0011", "opc", "must be 16 octets, 32 with tuak"),
        (11, "00", "topc", "must be empty with milenage"),
        (12, "123", "pin1", "must be 4 to 8 digits, or empty"),
        (13, "1234567", "puk1", "must be 8 digits, or empty"),
        (14, "12a4", "pin2", "must be 4 to 8 digits, or empty"),
        (15, "123456789", "puk2", "must be 8 digits, or empty"),
        (
            16,
            "12345678",
            "adm1",
            "must be 16 hexadecimal digits, or empty",
        ),
    ] {
        let mut fields: Vec<&str> = GOOD.split(',').collect();
        fields[field] = value;
        let errors = batch(&fields.join(",")).unwrap_err();
        assert_eq!(errors, [format!("line 2, column {column}: {rule}")]);
    }
    let second = GOOD.replace("0102,", "0103,");
    assert_eq!(
        batch(&format!("{GOOD}\n{second}")).unwrap_err(),
        ["line 3, column imsi: stands on line 2 already"]
    );
    let third = second.replace("001010000000001", "001010000000002");
    assert_eq!(
        batch(&format!("{GOOD}\n{third}")).unwrap_err(),
        ["line 3, column iccid: stands on line 2 already"]
    );
    let header = "device_id,device_type,imsi,colour\n";
    let error = read_batch(header.as_bytes(), plmn(), &mut random(1)).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("line 1, column colour: unknown; known are device_id,"));
    assert!(text.ends_with("line 1, column iccid: missing"));
}

#[test]
fn a_batch_comes_back_under_its_transport_keys_and_opens_with_them_alone() {
    let tuak = "0103,2a,3,counter,4,x,001010000000009,8988211000000000009,tuak,,,,,,,,";
    let cards = batch(&format!("{GOOD}\n{tuak}")).unwrap();
    let text = sealed(&cards, &keys(7));
    for secret in ["000102030405", "101112131415", "31323334", "87654321"] {
        assert!(!text.contains(secret), "in clear: {secret}");
    }
    // A column more, as card makers have them, and another case.
    let text: String = (0..)
        .zip(text.lines())
        .map(|(n, line)| format!("{line},{}\n", if n == 0 { "Acc" } else { "0001" }))
        .collect();
    let text = text.replacen("DEVICE_ID", "device_id", 1);
    let entries = read(&text, Some(&keys(7))).unwrap();
    assert_eq!(entries.len(), 2);
    for (entry, card) in entries.iter().zip(&cards) {
        assert_eq!(entry.imsi, card.imsi);
        assert_eq!(entry.secrets.algorithm(), card.secrets.algorithm());
        assert_eq!(entry.secrets.expose_k(), card.secrets.expose_k());
        assert_eq!(entry.secrets.expose_opc(), card.secrets.expose_opc());
        assert_eq!(entry.device.device_id, card.device.device_id);
        assert_eq!(entry.device.form, card.device.form);
        assert_eq!(entry.device.fleet, card.device.fleet);
    }
    let errors = read(&text, Some(&keys(8))).unwrap_err();
    let expected = |line| format!("line {line}, column KI: {CHANGED}");
    assert_eq!(errors, [expected(2), expected(3)]);
    // What goes over the admin socket is the same, in clear.
    let mut clear = Vec::new();
    write_subscribers(&mut clear, &entries).unwrap();
    let again = read_subscribers(&clear[..], None, plmn()).unwrap();
    assert_eq!(again.len(), 2);
    assert_eq!(again[1].secrets.expose_opc(), cards[1].secrets.expose_opc());
}

#[test]
fn each_bad_field_that_comes_back_is_named_with_its_rule() {
    let text = sealed(&batch(GOOD).unwrap(), &keys(7));
    let other_block = "00112233445566778899aabbccddeeff";
    for (column, value, named, rule) in [
        ("DEVICE_TYPE", "4", "DEVICE_TYPE", "must be 1, 2a, 2b or 2c"),
        ("FORM", "dt", "FORM", FORM_RULE),
        ("IMSI", "26201", "IMSI", IMSI_RULE),
        ("IMSI", "262010000000001", "IMSI", HOME_RULE),
        ("ALGORITHM", "xor", "ALGORITHM", ALGORITHM_RULE),
        ("ALGORITHM", "tuak", "OPC", "must be empty with tuak-1-8"),
        ("KI", "", "KI", "must be given"),
        (
            "KI",
            "0011",
            "KI",
            "must be blocks of 32 hexadecimal digits",
        ),
        ("KI", other_block, "KI", CHANGED),
        ("KI_KCV", "000000", "KI", CHANGED),
        ("OPC", other_block, "OPC", CHANGED),
        ("TOPC", "00", "TOPC", "must be empty with milenage"),
    ] {
        let errors = read(&with(&text, column, value), Some(&keys(7))).unwrap_err();
        assert_eq!(errors, [format!("line 2, column {named}: {rule}")]);
    }
    let all = keys(7).to_text();
    let ki = all.lines().find(|line| line.starts_with("KI:")).unwrap();
    let only_ki = TransportKeys::parse(ki).unwrap();
    assert_eq!(
        read(&text, Some(&only_ki)).unwrap_err(),
        ["line 2, column OPC: there is no transport key for this column"]
    );
    assert_eq!(
        read(&text, None).unwrap_err(),
        [
            "line 2, column KI: does not fit its check value: changed, or under a transport key that is not given"
        ]
    );
    let twice = format!("{text}{}", text.lines().nth(1).unwrap());
    assert_eq!(
        read(&twice, Some(&keys(7))).unwrap_err(),
        ["line 3, column DEVICE_ID: stands on line 2 already"]
    );
    let other = twice.replacen("\n0102,", "\n0104,", 1);
    assert_eq!(
        read(&other, Some(&keys(7))).unwrap_err(),
        ["line 3, column IMSI: stands on line 2 already"]
    );
    assert_eq!(
        read("DEVICE_ID,IMSI\n", None).unwrap_err(),
        [
            "line 1, column DEVICE_TYPE: missing",
            "line 1, column KI: missing"
        ]
    );
}

#[test]
fn cards_that_keep_k_come_back_with_it_under_a_transport_key() {
    let header = format!("{HEADER},credential,k_aiot");
    let k = "ffeeddccbbaa99887766554433221100";
    let second = "0103,1,3,dt,4,x,001010000000009,8988211000000000009,tuak,,,,,,,,";
    let read_text = |text: &str| {
        read_batch(text.as_bytes(), plmn(), &mut random(1)).map_err(|error| error.to_string())
    };
    let good = format!("{header}\n{GOOD},uicc-aiot,{k}\n{second},uicc-aiot,\n");
    let cards = read_text(&good).unwrap();
    let text = sealed(&cards, &keys(7));
    assert!(!text.contains(k));
    let entries = read(&text, Some(&keys(7))).unwrap();
    let mut clear = Vec::new();
    write_subscribers(&mut clear, &entries).unwrap();
    let again = read_subscribers(&clear[..], None, plmn()).unwrap();
    for (place, card) in cards.iter().enumerate() {
        let key = card.device.key.as_ref().unwrap().expose();
        for entry in [&entries[place], &again[place]] {
            assert_eq!(entry.device.key.as_ref().unwrap().expose(), key);
            assert_eq!(entry.device.credential.name(), "uicc-aiot");
        }
    }
    assert_ne!(cards[1].device.key.as_ref().unwrap().expose(), &[0; 16]);

    let mixed = "must be uicc-aiot as on the first line: a batch is of one kind";
    let agreed =
        "must be empty unless the credential is uicc-aiot: K is agreed at each registration";
    for (from, to, expected) in [
        (
            ",uicc-aiot,\n",
            ",uicc,\n",
            format!("line 3, column form: {FORM_RULE}"),
        ),
        (
            &*format!(",uicc-aiot,{k}"),
            &*format!(",uicc,{k}"),
            format!("line 2, column k_aiot: {agreed}"),
        ),
        (
            ",uicc-aiot,\n",
            ",operator,\n",
            "line 3, column credential: must be uicc or uicc-aiot".into(),
        ),
        (
            k,
            "00",
            "line 2, column k_aiot: must be 32 hexadecimal digits, or empty".into(),
        ),
    ] {
        let changed = good.replacen(from, to, 1);
        assert_eq!(
            read_text(&changed).map_or_else(|error| error, |_| String::new()),
            expected
        );
    }
    let other = good
        .replacen(",1,3,dt,", ",2b,3,counter,", 1)
        .replacen(",uicc-aiot,\n", ",,\n", 1);
    assert_eq!(
        read_text(&other).unwrap_err(),
        format!("line 3, column credential: {mixed}")
    );

    let one = sealed(&cards[..1], &keys(7));
    for (column, value, named, rule) in [
        ("K_AIOT", "", "K_AIOT", "must be given"),
        ("K_AIOT", k, "K_AIOT", CHANGED),
        (
            "CREDENTIAL",
            "operator",
            "CREDENTIAL",
            "must be uicc or uicc-aiot",
        ),
        ("CREDENTIAL", "uicc", "K_AIOT", agreed),
    ] {
        let errors = read(&with(&one, column, value), Some(&keys(7))).unwrap_err();
        assert_eq!(errors, [format!("line 2, column {named}: {rule}")]);
    }
    let twice = format!(
        "{text}{}",
        sealed(
            &batch(
                &GOOD
                    .replace("0102,", "0105,")
                    .replace("0001,8988211000000000001", "0003,8988211000000000003")
            )
            .unwrap(),
            &keys(7)
        )
        .lines()
        .nth(1)
        .unwrap()
    );
    assert_eq!(
        read(&twice, Some(&keys(7))).unwrap_err(),
        [format!("line 4, column CREDENTIAL: {mixed}")]
    );
}
