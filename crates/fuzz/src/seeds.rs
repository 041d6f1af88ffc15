//! What the corpora in `fuzz/corpus` begin with: the vectors, fixtures and examples that the other crates test with, in the
//! form that each target takes. `tests/corpus.rs` holds the files to what is made here.

use serde_json::{Value, json};

use crate::sbi::OPERATIONS;

type Seeds = Vec<(String, Vec<u8>)>;

const REPORTS: &str = include_str!("../../vectors/vectors/report.json");
const TERMINATED: &str = include_str!("../../vectors/vectors/device_terminated.json");
const UICC: &str = include_str!("../../vectors/vectors/uicc.json");
const PDUS: &str = include_str!("../../ngap/tests/fixtures/pdus.hex");
const OTHER_PDUS: &str = include_str!("../../ngap/tests/fixtures/others.hex");

fn seed(name: impl Into<String>, parts: &[&[u8]]) -> (String, Vec<u8>) {
    (name.into(), parts.concat())
}

/// An octet of length and so many octets.
fn short(octets: &[u8]) -> Vec<u8> {
    [&[octets.len() as u8], octets].concat()
}

/// PDUs of the vectors, some of each kind; exchanges of every suite, tag length and form; texts.
pub fn nas() -> Seeds {
    let mut seeds = Vec::new();
    for (file, fields) in [
        (REPORTS, &["report", "accept"][..]),
        (TERMINATED, &["inventory_response", "read_down", "read_up"]),
        (UICC, &["authentication_request", "authentication_response"]),
    ] {
        let file: Value = serde_json::from_str(file).unwrap();
        let cases = file["cases"].as_array().unwrap();
        for (n, case) in cases.iter().step_by(1 + cases.len() / 8).enumerate() {
            for field in fields {
                if let Some(Ok(octets)) = case[*field].as_str().map(hex::decode) {
                    seeds.push(seed(format!("{field}-{n}"), &[&[0], &octets]));
                }
            }
        }
    }
    let suci = [
        0x01, 0x00, 0xF1, 0x10, 0xF0, 0xFF, 0x00, 0x00, 0, 0, 0, 0, 0x10,
    ];
    seeds.push(seed("registration-request", &[&[0, 0x50], &[8; 8], &suci]));
    seeds.push(seed("sync-failure", &[&[0, 0x61], &[5; 14]]));
    for (name, text) in [
        ("item", &b"\x31 21.5 C"[..]),
        ("read", &[1, 0, 16, 4]),
        ("write", &[2, 0, 0, 7, 7]),
        ("disable", &[3]),
        ("release", &[4]),
        ("response", &[1, 0, 9, 9]),
        ("silence", &[2, 0, 60]),
    ] {
        seeds.push(seed(format!("text-{name}"), &[&[1], text]));
    }
    let damages: [&[u8]; 7] = [
        &[0],
        &[1, 0, 9],
        &[2, 0, 12],
        &[3, 2, 1, 1],
        &[4, 0, 3, 7],
        &[5, 0, 2],
        &[6, 1, 0x40],
    ];
    for n in 0..15_u8 {
        let damage = |k: usize| damages[(usize::from(n) + k) % 7];
        let session: Vec<u8> = [
            &[0][..],
            &short(b"\x01\x00ok"),
            damage(1),
            &[1, 0],
            &short(&[1, 0, 16, 4]),
            &[0],
            &[1, 0],
            &short(&[1, 0, 16, 4]),
            &[0],
            &[1, 3],
            &short(&[4]),
            damage(2),
        ]
        .concat();
        seeds.push(seed(
            format!("exchange-{n}"),
            &[
                &[2, n % 3, n / 3 % 3],
                &[n; 16],
                &[n % 5],
                &[0, 0, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
                &[0, 0, 1],
                &[0, 0, 0, n, 5, 6, 7, 8],
                &[0x31],
                &short(b"21.5 C"),
                damage(0),
                &short(if n % 2 == 0 { &[] } else { &[1] }),
                damage(3),
                &session,
            ],
        ));
    }
    for n in 0..6_u8 {
        seeds.push(seed(
            format!("registration-{n}"),
            &[
                &[3, n % 3, n % 2],
                &[n; 16],
                &[0x00, 0xF1, 0x10, 0xF0, 0, 0, 0, 0, 0, 0, 0, 1],
                &[n; 8],
                &[n + 1; 32],
                &[n + 2; 16],
                &[n + 3; 16],
                &[4],
                &[n; 6],
                &[0x10],
                &short(b"on"),
                damages[usize::from(n)],
                &short(&[]),
                &[0],
            ],
        ));
    }
    seeds
}

/// The fixtures, alone and in streams.
pub fn ngap() -> Seeds {
    let mut seeds = Vec::new();
    let mut stream = Vec::new();
    let ours = PDUS.lines().map(|line| ("pdu", line));
    for (file, line) in ours.chain(OTHER_PDUS.lines().map(|line| ("other", line))) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some((octets, name)) = words.split_last() else {
            continue;
        };
        let (octets, name) = (hex::decode(octets).unwrap(), name.join("-"));
        stream.extend_from_slice(&(octets.len() as u32).to_be_bytes());
        stream.extend_from_slice(&octets);
        seeds.push(seed(format!("{file}-{name}"), &[&[0], &octets]));
    }
    stream.truncate(700);
    seeds.push(seed(
        "frames",
        &[
            &[1, 1, 3, 200, 7],
            &short(b"one"),
            &short(b"two"),
            &[0],
            &short(&[7; 200]),
        ],
    ));
    seeds.push(seed("stream", &[&[2, 5], &stream]));
    seeds.push(seed(
        "stream-empty-frame",
        &[&[2, 1, 0, 0, 0, 1, 9, 0, 0, 0, 0, 1]],
    ));
    seeds.push(seed("stream-too-long", &[&[2, 1, 0xFF, 0, 0, 0, 1]]));
    seeds
}

/// Files of each kind, good ones and one with a mistake in each column.
pub fn csv() -> Seeds {
    const KEY: &str = "000102030405060708090a0b0c0d0e0f";
    let devices = format!(
        "device_id,device_type,suite,form,key,tag_len,fleet,credential\n\
         shelf-1,2b,1,beacon,{KEY},8,default,operator\n\
         urn:epc:id:sgtin:0614141.107346.2017,2a,3,concealed,,16,cold,\n\
         00ff,1,2,dt,{KEY},4,,uicc-aiot\n\"a,\"\"b\",2c,,counter,,,,\n"
    );
    let batch = "device_id,device_type,form,imsi,iccid,algorithm\n\
                 a,2b,beacon,001010000000001,89001012345678901234,milenage\n\
                 b,2b,counter,001010000000002,89001012345678901235,tuak\n";
    let keeping = format!(
        "device_id,device_type,imsi,iccid,credential,k_aiot\n\
         a,2b,001010000000001,89001012345678901234,uicc-aiot,{KEY}\n"
    );
    let subscribers = format!(
        "DEVICE_ID,DEVICE_TYPE,IMSI,ALGORITHM,KI,OPC,TOPC,CREDENTIAL,K_AIOT,NAME\n\
         a,2b,001010000000001,milenage,{KEY},{KEY},,uicc,,x\n\
         b,2b,001010000000002,tuak-1-8,{KEY},,{KEY}{KEY},uicc,,y\n"
    );
    let file = |name: &str, kind: u8, text: &str| seed(name, &[&[kind], text.as_bytes()]);
    let mut seeds = vec![
        file("devices", 0, &devices),
        file(
            "devices-bom-crlf",
            0,
            &format!("\u{feff}{}", devices.replace('\n', "\r\n")),
        ),
        file("devices-short", 0, "device_id,device_type\na,2b\nb,1\n"),
        file("devices-twice", 0, "device_id,device_type\na,2b\na,2b\n"),
        file("batch", 1, batch),
        file("batch-k-aiot", 1, &keeping),
        file("subscribers", 2, &subscribers),
        file(
            "subscribers-kcv",
            2,
            &subscribers
                .replace("NAME", "KI_KCV")
                .replace(",x", ",123456"),
        ),
        file(
            "transport-keys",
            3,
            &format!(
                "# keys\nKI:{KEY}\nOPC:{KEY}{KEY}\n\npin1 : {KEY}{}\n",
                &KEY[..16]
            ),
        ),
        file("transport-keys-twice", 3, &format!("KI:{KEY}\nki:{KEY}\n")),
        seed("identity", &[&[4], b"shelf-1"]),
        seed("identity-urn", &[&[4], b"URN:epc:id:x"]),
        seed("identity-octets", &[&[4, 0xFF, 0, 0x80, 9]]),
    ];
    for (n, bad) in [
        "2d,1,beacon,,8,,",
        "2b,4,beacon,,8,,",
        "2b,1,recovery,,8,,",
        "2b,1,beacon,00,8,,",
        "2b,1,beacon,,7,,",
        "2b,1,beacon,,8,,uicc",
        "1,1,beacon,,8,,",
    ]
    .iter()
    .enumerate()
    {
        let text =
            format!("device_id,device_type,suite,form,key,tag_len,fleet,credential\na,{bad}\n");
        seeds.push(file(&format!("devices-bad-{n}"), 0, &text));
    }
    seeds
}

/// A good request to each operation, and bodies.
pub fn sbi() -> Seeds {
    let hex16 = "00000009010203040506070809101112";
    let area = "00f110f00000000000000001";
    let report = json!({"nas": "QAECAwQFBgcICQoLDA0ODxA=", "randN": hex16, "areaId": area, "gnbId": 1, "readerIndex": 1});
    let nf = "3fa85f64-5717-4562-b3fc-2c963f66afa6";
    let target =
        json!({"areaIds": [{"plmnId": {"mcc": "001", "mnc": "01"}, "aiotAreaCode": "000001"}]});
    let bodies = [
        json!({}),
        json!({"randN": hex16, "randDlist": [hex16], "ambit": {"areaId": area, "resList": ["0102030405060708"], "partial": true}}),
        json!({"aiotDevPermId": "YQ==", "randN": hex16, "randD": hex16}),
        json!({"aiotDevPermId": "Yg==", "randN": hex16}),
        json!({"aiotDevPermId": "YQ=="}),
        json!(null),
        json!({"reports": [report]}),
        json!({"report": report}),
        json!({"report": report, "challenge": hex16}),
        json!(null),
        json!([{"op": "replace", "path": "/lastKnownAiotf", "value": nf}]),
        json!(null),
        json!({"nfInstanceId": nf, "nfType": "AIOTF", "nfStatus": "REGISTERED", "ipv4Addresses": ["127.0.0.1"], "heartBeatTimer": 10}),
        json!([{"op": "replace", "path": "/nfStatus", "value": "REGISTERED"}]),
        json!(null),
        json!(null),
        json!(null),
        json!(null),
        json!({"afId": "af", "notifUri": "http://127.0.0.1:1/told", "targetArea": target, "numDevices": 10, "timeInterval": 5, "devLocReqInd": true, "suppFeat": "1"}),
        json!({"afId": "af", "notifUri": "http://127.0.0.1:1/told", "aiotDevPermIds": ["YQ=="], "commandType": "READ", "targetArea": target}),
    ];
    let request = |n: usize, media_type: u8, argument: &str, body: &[u8]| {
        [
            &[n as u8, media_type][..],
            &short(argument.as_bytes()),
            &(body.len() as u16).to_be_bytes(),
            body,
        ]
        .concat()
    };
    let mut seeds = Vec::new();
    for (n, body) in bodies.iter().enumerate() {
        let (method, path) = OPERATIONS[n];
        let (media_type, argument) = match path {
            _ if method == "PATCH" && n == 10 => (2, "YQ"),
            _ if n == 9 => (0, "YQ"),
            _ if n == 11 => (0, "af-id=af"),
            _ if n == 13 => (2, nf),
            _ if n == 14 => (0, "nf-type=AIOTF&limit=1"),
            _ if n == 16 => (
                0,
                "target-nf-type=ADM&requester-nf-type=AIOTF&service-names=nadm-sec",
            ),
            _ if n == 17 => (1, ""),
            _ => (0, nf),
        };
        let text = match (body, n) {
            (_, 17) => format!("grant_type=client_credentials&nfInstanceId={nf}&nfType=AIOTF&targetNfType=ADM&scope=nadm-sec").into_bytes(),
            (Value::Null, _) => Vec::new(),
            (body, _) => body.to_string().into_bytes(),
        };
        let mut octets = vec![0];
        if (13..=17).contains(&n) {
            // What an NRF says of a function needs one that is registered.
            octets.extend(request(12, 0, nf, bodies[12].to_string().as_bytes()));
        }
        octets.extend(request(n, media_type, argument, &text));
        let name = path.replace(['/', '*', '?'], "_");
        seeds.push((format!("{}{name}", method.to_lowercase()), octets));
    }
    seeds.push(seed(
        "merge-patch",
        &[&[0], &request(10, 3, "YQ", br#"{"lastKnownAiotf":null}"#)],
    ));
    seeds.push(seed(
        "parts",
        &[&[2], &short(b"xx"), &short(b"n2"), b"\x00\x01--xx\r\n"],
    ));
    seeds.push(seed(
        "parts-raw",
        &[
            &[2],
            &short(b"x"),
            b"--x\r\nContent-Id: <a>\r\n\r\n{}\r\n--x\r\n\r\nb\r\n--x--",
        ],
    ));
    for (name, text) in [
        ("json", r#"{"a":[1,2.5,"\u00e9",null,true],"b":{"c":-1e9}}"#),
        (
            "json-deep",
            "[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]",
        ),
        ("json-number", "1e400"),
        ("form", "a=1&a=%32&b=%ff&c"),
        ("base64", "YWJj"),
        ("token", "eyJhbGciOiJFUzI1NiJ9.e30.AAAA"),
        ("token-none", "eyJhbGciOiJub25lIn0.e30."),
    ] {
        seeds.push(seed(name, &[&[3], text.as_bytes()]));
    }
    seeds
}

/// What a terminal sends, and what a card says.
pub fn apdu() -> Seeds {
    let select = |fid: [u8; 2]| [&[0x00, 0xA4, 0x00, 0x0C, 2][..], &fid].concat();
    let aid = |aid: &[u8]| [&[0x00, 0xA4, 0x04, 0x04], &short(aid)[..]].concat();
    let usim = aid(&ambit_uicc::card::AID_USIM);
    let aiot = aid(&ambit_uicc::card::AID_AIOT);
    let read = vec![0x00, 0xB0, 0, 0, 0];
    let subscriber =
        ambit_uicc::Subscriber::milenage(&crate::apdu::SECRETS[0], &crate::apdu::SECRETS[1]);
    let autn = |sqn: u8| subscriber.autn(&[5; 16], &[0, 0, 0, 0, sqn, 0], &[0x80, 0]);
    let authenticate =
        |autn: &[u8; 16]| [&[0x00, 0x88, 0, 0x81, 34, 16][..], &[5; 16], &[16], autn].concat();
    let pin = |ins: u8, data: &[u8]| [&[0x00, ins, 0, 1], &short(data)[..]].concat();
    let fetch = |n: u8| vec![0x00, 0xC0, 0, 0, n];
    let run = |choice: u8, commands: &[Vec<u8>]| {
        let mut octets = vec![0, choice];
        for command in commands {
            octets.extend(short(command));
        }
        octets
    };
    let forged = [9; 16];
    let mut seeds = vec![
        (
            "identity".to_owned(),
            run(
                3,
                &[
                    select([0x3F, 0]),
                    select([0x2F, 0xE2]),
                    read.clone(),
                    usim.clone(),
                    select([0x6F, 0x07]),
                    read.clone(),
                ],
            ),
        ),
        (
            "authenticate".to_owned(),
            run(
                0,
                &[
                    usim.clone(),
                    authenticate(&autn(1)),
                    fetch(53),
                    authenticate(&autn(1)),
                    fetch(16),
                    authenticate(&forged),
                ],
            ),
        ),
        (
            "authenticate-le".to_owned(),
            run(
                0,
                &[
                    usim.clone(),
                    [authenticate(&autn(2)), vec![0]].concat(),
                    authenticate(&autn(9)),
                    fetch(53),
                ],
            ),
        ),
        (
            "get-identity".to_owned(),
            run(3, &[usim.clone(), vec![0x80, 0x78, 0, 1, 0], fetch(0)]),
        ),
        (
            "suci-files".to_owned(),
            run(
                1,
                &[
                    usim.clone(),
                    select([0x5F, 0xC0]),
                    select([0x4F, 0x07]),
                    read.clone(),
                    select([0x4F, 0x0A]),
                    read.clone(),
                ],
            ),
        ),
        (
            "pins".to_owned(),
            run(
                0,
                &[
                    usim.clone(),
                    pin(0x20, b"0000\xFF\xFF\xFF\xFF"),
                    pin(0x28, b"0000\xFF\xFF\xFF\xFF"),
                    pin(0x20, b"9999\xFF\xFF\xFF\xFF"),
                    pin(0x20, b""),
                    pin(0x24, b"0000\xFF\xFF\xFF\xFF1111\xFF\xFF\xFF\xFF"),
                    pin(0x2C, b"123456781111\xFF\xFF\xFF\xFF"),
                ],
            ),
        ),
        (
            "aiot".to_owned(),
            run(
                0,
                &[
                    aiot.clone(),
                    select(ambit_uicc::card::EF_AIOT_PARAMETERS.to_be_bytes()),
                    read.clone(),
                    [
                        &[0x00, 0x88, 0, ambit_uicc::card::CONTEXT_AIOT, 17, 0x10][..],
                        &[3; 16],
                    ]
                    .concat(),
                    fetch(16),
                ],
            ),
        ),
        (
            "update".to_owned(),
            run(
                0,
                &[
                    vec![
                        0x00, 0x20, 0, 0x0A, 8, 0x38, 0x38, 0x38, 0x38, 0x38, 0x38, 0x38, 0x38,
                    ],
                    select([0x2F, 0xE2]),
                    vec![0x00, 0xD6, 0, 0, 2, 1, 2],
                    read.clone(),
                ],
            ),
        ),
        (
            "channels".to_owned(),
            run(
                0,
                &[
                    vec![0x00, 0x70, 0, 0, 1],
                    vec![0x01, 0xA4, 0, 0x0C, 2, 0x3F, 0],
                    vec![0x00, 0x70, 0x80, 1],
                    vec![0x00, 0xF2, 0, 0, 0],
                ],
            ),
        ),
        ("liar-silent".to_owned(), vec![2, 0]),
    ];
    let answers: [&[u8]; 12] = [
        b"\x61\x1c", b"\x62\x1a\x82\x02\x41\x21\x83\x02\x2f\xe2\x90\x00", b"\x6c\x0a", b"\x90\x00",
        b"\x98\x00\x10\x21\x43\x65\x87\x09\x21\x43\x90\x00", b"\x90\x00", b"\x08\x09\x10\x10\x00\x00\x00\x00\x10\x90\x00",
        b"\x01\x00\x00\x02\x90\x00", b"\xdb\x08\x01\x02\x03\x04\x05\x06\x07\x08\x10\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x90\x00",
        b"\xdc\x0e\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x90\x00", b"\x98\x62", b"",
    ];
    for turn in 0..4 {
        let mut octets = vec![2, 0];
        for n in 0..60 {
            octets.extend(short(answers[(n * (turn + 1) + turn) % answers.len()]));
        }
        seeds.push((format!("liar-{turn}"), octets));
        let mut octets = vec![2, 7 - 2 * turn as u8];
        octets.extend([0; 20]);
        octets.extend([turn as u8 + 1, 0, 5, 0, 0, 0, 0, 6, 2, 0x90, 0]);
        seeds.push((format!("liar-damages-{turn}"), octets));
    }
    // All answers of an honest card as they are.
    for choice in [1, 3, 7] {
        seeds.push((format!("honest-{choice}"), vec![2, choice]));
    }
    seeds
}

/// Records, batches, and damage to a file.
pub fn store() -> Seeds {
    let row = ambit_store::RecordRow {
        id: 1,
        device: 1,
        device_id: b"a".to_vec(),
        epoch: 9,
        tag1: vec![7; 8],
        form: 1,
        area_id: [1; 12],
        nonce: vec![3; 4],
        cause: 2,
        seq: 3,
        data: b"21.5".to_vec(),
        accept: vec![],
        time_ms: 5,
        repeat: false,
        gnb_id: 1,
        reader_index: 2,
        counter: Some(7),
        link: [0; 32],
    };
    let octets = |row| ambit_store::evidence::record_octets(row);
    let plain = ambit_store::RecordRow {
        counter: None,
        repeat: true,
        ..row.clone()
    };
    let record = |device: u8, epoch: u8, tag: u8, counter: u8, len: u8| {
        let mut octets = vec![device, epoch, tag, len];
        if device % 2 == 1 {
            octets.push(counter);
        }
        octets.extend([1, 2, 3, 4, 5, 6, 7, 8, 4]);
        octets.extend(short(b"data"));
        octets.extend([9, 2]);
        octets
    };
    let mut seeds = vec![
        seed("record", &[&[0], &octets(&row)]),
        seed("record-plain", &[&[0], &octets(&plain)]),
        seed(
            "batch",
            &[
                &[1, 3],
                &record(0, 1, 1, 0, 1),
                &record(0, 1, 1, 0, 1),
                &record(1, 1, 2, 5, 1),
                &[3],
                &record(1, 2, 2, 5, 1),
                &record(1, 2, 3, 4, 1),
                &record(1, 2, 3, 6, 1),
            ],
        ),
        seed(
            "batch-invalid",
            &[
                &[1, 2],
                &record(0, 1, 1, 0, 1),
                &record(0, 2, 1, 0, 5),
                &[1],
                &record(0, 1, 1, 0, 1),
            ],
        ),
        seed(
            "octets",
            &[
                &[3, 1, 1],
                &0x1000_u32.to_be_bytes(),
                &short(b"damage"),
                &64_u32.to_be_bytes(),
                &short(&[0xFF; 4]),
            ],
        ),
    ];
    for n in 0..64_u8 {
        let value: &[u8] = match n % 5 {
            0 => &[],
            1 | 2 => &[0x80, 0, 0, 0, 0, 0, 0, n],
            _ => b"\x03abc",
        };
        seeds.push(seed(
            format!("value-{n}"),
            &[&[3, 0, 0, 0, n, n % 5], value, &[n % 3]],
        ));
    }
    seeds
}

/// Lives: accepted reports of every form, sessions, registrations, and what goes wrong in them.
pub fn device() -> Seeds {
    let beacon = |at: u8| vec![2, at, 1];
    let transmit = |status: u8| vec![6, status];
    let answer = vec![8];
    let wait = vec![1, 1, 0];
    let submit = [&[5, 2][..], &short(b"21.5")].concat();
    let cut = vec![12, 0, 9];
    let tell = |from: u8, damage: &[u8]| [&[9, from], damage].concat();
    let command = |text: &[u8]| [&[11][..], &short(text), &[0, 1]].concat();
    let page = |kind: u8| [&[10][..], &[kind; 16], &[kind]].concat();
    let life = |choice: u8, form: u8, suite: u8, len: u8, steps: &[Vec<u8>]| {
        [&[choice, form, suite, len][..], &steps.concat()].concat()
    };
    let mut seeds = Vec::new();
    for form in 0..5_u8 {
        let normal = [
            beacon(3),
            transmit(7),
            tell(0, &[1, 0, 5]),
            tell(0, &[2, 0, 4]),
            tell(0, &[3, 1, 1]),
            answer.clone(),
            submit.clone(),
            wait.clone(),
            beacon(4),
            transmit(7),
            wait.clone(),
            transmit(7),
            answer.clone(),
            cut.clone(),
            beacon(4),
            transmit(7),
            answer.clone(),
            submit.clone(),
            wait.clone(),
            beacon(5),
            transmit(7),
            answer.clone(),
        ];
        seeds.push((format!("normal-{form}"), life(3, form, form, form, &normal)));
        let session = [
            beacon(3),
            transmit(0),
            answer.clone(),
            command(&[1, 0, 0, 8]),
            transmit(7),
            command(&[2, 0, 4, 9, 9]),
            tell(0, &[0]),
            tell(1, &[1, 0, 20]),
            transmit(7),
            command(&[4]),
            transmit(7),
            page(0),
            transmit(7),
            page(1),
            command(&[3]),
            transmit(7),
            transmit(7),
            cut.clone(),
            beacon(4),
            transmit(7),
        ];
        seeds.push((
            format!("session-{form}"),
            life(2, form, form + 1, form + 1, &session),
        ));
        let false_beacons = [
            beacon(3),
            transmit(7),
            answer.clone(),
            submit.clone(),
            [
                &[4][..],
                &[0, 0, 0, 105, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
                &[1],
            ]
            .concat(),
            wait.clone(),
            transmit(7),
            wait.clone(),
            beacon(2),
            transmit(7),
            wait.clone(),
            beacon(6),
            transmit(7),
            vec![2, 6, 2],
            vec![1, 0xFF, 0xFF],
            transmit(7),
        ];
        seeds.push((
            format!("false-{form}"),
            life(0, form, form + 2, form, &false_beacons),
        ));
        let failing = [
            vec![13, 1, 20],
            beacon(3),
            transmit(7),
            answer.clone(),
            submit.clone(),
            wait.clone(),
            beacon(4),
            transmit(7),
            vec![13, 0],
            beacon(4),
            transmit(7),
            answer.clone(),
            submit.clone(),
            wait.clone(),
            transmit(2),
            answer.clone(),
        ];
        seeds.push((
            format!("failing-{form}"),
            life(1, form, form, form + 2, &failing),
        ));
    }
    for choice in [4, 6, 7, 12] {
        let registration = [
            beacon(3),
            vec![6, 9],
            tell(0, &[1, 1, 0]),
            answer.clone(),
            transmit(7),
            tell(0, &[1, 0, 3]),
            answer.clone(),
            submit.clone(),
            wait.clone(),
            transmit(7),
            answer.clone(),
            submit.clone(),
            wait.clone(),
            beacon(4),
            transmit(7),
            answer.clone(),
            cut.clone(),
            beacon(4),
            vec![6, 3],
            answer.clone(),
            transmit(7),
            answer.clone(),
        ];
        seeds.push((
            format!("registration-{choice}"),
            life(choice, choice / 6, 0, 1, &registration),
        ));
    }
    seeds
}
