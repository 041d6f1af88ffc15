//! The NRF: registration, discovery, tokens, by 3GPP's files; and functions against an NRF that fails or lies.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ambit_protocol::Snid;
use ambit_protocol::area::{Nid, Plmn};
use ambit_sbi::client::{Answer, Client, ClientError, Outgoing};
use ambit_sbi::exchange::{Exchange, Reply};
use ambit_sbi::nrf::client::NrfClient;
use ambit_sbi::nrf::profile::OwnProfile;
use ambit_sbi::nrf::service::Service;
use ambit_sbi::nrf::{Nrf, NrfConfig};
use ambit_sbi::router::{Access, Route, Router, Takes};
use ambit_sbi::runtime::Runtime;
use ambit_sbi::server::Limits;
use common::contract::Contract;
use common::{Network, id_of, serve_on};
use hyper::Method;
use serde_json::{Value, json};
use uuid::Uuid;

const MANAGEMENT: &str = "TS29510_Nnrf_NFManagement.json";
const INSTANCE: &str = "/nf-instances/{nfInstanceID}";

fn profile(id: Uuid, nf_type: &'static str, port: u16) -> OwnProfile {
    let nid: Nid = "0abcdef0123".parse().unwrap();
    let snid = Snid::new(Plmn::new("001", "01").unwrap(), Some(nid));
    OwnProfile {
        id,
        nf_type,
        address: ([127, 0, 0, 1], port).into(),
        host: None,
        is_tls: true,
        started_ms: 0,
        services: match nf_type {
            "ADM" => &[("nadm-sec", "1.0.1")],
            _ => &[("naiotf-aiot", "1.0.1")],
        },
        areas: match nf_type {
            "AIOTF" => vec![snid.area([0, 0, 1]), snid.area([0, 0, 2])],
            _ => Vec::new(),
        },
    }
}

fn body(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap()
}

#[test]
fn management_discovery_and_tokens_are_as_in_3gpp_s_files() {
    let network = Network::new();
    let (credentials, nrf) = network.function("aiotf", "AIOTF");
    let id = id_of(&credentials);
    let token = network.run(nrf.token("nnrf-nfm", "NRF")).unwrap();
    let root = format!("{}/nnrf-nfm/v1/nf-instances", network.nrf_root);
    let own = format!("{root}/{id}");
    let send = |method: Method, uri: &str, body: Option<(&str, &Value)>| {
        let mut outgoing = Outgoing::new(method, uri).token(Some(token.clone()));
        if let Some((media_type, body)) = body {
            outgoing = outgoing.typed(media_type, body.to_string().into_bytes());
        }
        network.send(&nrf, outgoing)
    };
    let contract = Contract::of_3gpp(MANAGEMENT);
    let check = |path: &str, method: &str, answer: &Answer, status: u16| {
        assert_eq!(answer.status, status, "{:?}", answer.body);
        if let Some(contract) = &contract {
            contract.check(path, method, answer);
        }
    };
    let json = "application/json";
    let patch = "application/json-patch+json";
    let good = profile(id, "AIOTF", 7777).to_json();
    if let Some(contract) = &contract {
        contract.check_schema("NFProfile", &good);
        contract.check_schema("NFProfile", &profile(id, "ADM", 1).to_json());
    }
    check(INSTANCE, "get", &send(Method::GET, &own, None), 404);
    check(
        INSTANCE,
        "patch",
        &send(
            Method::PATCH,
            &own,
            Some((
                patch,
                &json!([{"op":"replace","path":"/nfStatus","value":"REGISTERED"}]),
            )),
        ),
        404,
    );
    check(INSTANCE, "delete", &send(Method::DELETE, &own, None), 404);
    let made = send(Method::PUT, &own, Some((json, &good)));
    check(INSTANCE, "put", &made, 201);
    assert!(
        made.headers["location"]
            .to_str()
            .unwrap()
            .ends_with(&id.to_string())
    );
    assert_eq!(body(&made)["heartBeatTimer"], 10);
    check(
        INSTANCE,
        "put",
        &send(Method::PUT, &own, Some((json, &good))),
        200,
    );
    check(INSTANCE, "get", &send(Method::GET, &own, None), 200);
    check(
        "/nf-instances",
        "get",
        &send(Method::GET, &format!("{root}?nf-type=AIOTF"), None),
        200,
    );
    check(
        "/nf-instances",
        "get",
        &send(Method::GET, &format!("{root}?limit=0"), None),
        400,
    );
    // A heartbeat changes nothing; a load does.
    let beat = json!([{"op":"replace","path":"/nfStatus","value":"REGISTERED"}]);
    check(
        INSTANCE,
        "patch",
        &send(Method::PATCH, &own, Some((patch, &beat))),
        204,
    );
    let load = json!([{"op":"add","path":"/load","value":7}]);
    check(
        INSTANCE,
        "patch",
        &send(Method::PATCH, &own, Some((patch, &load))),
        200,
    );

    // What is wrong is named.
    for (change, param) in [
        (json!([{"op":"remove","path":"/nfType"}]), "/nfType"),
        (
            json!([{"op":"replace","path":"/nfInstanceId","value":"x"}]),
            "/nfInstanceId",
        ),
        (
            json!([{"op":"add","path":"/aiotfInfoList/2","value":{"aiotAreaIDList":[1]}}]),
            "/aiotfInfoList",
        ),
        (
            json!([{"op":"remove","path":"/nothing/here"}]),
            "/nothing/here",
        ),
    ] {
        let answer = send(Method::PATCH, &own, Some((patch, &change)));
        check(INSTANCE, "patch", &answer, 400);
        assert_eq!(body(&answer)["invalidParams"][0]["param"], param);
    }
    let mut bad = good.clone();
    bad["nfInstanceId"] = Uuid::nil().to_string().into();
    check(
        INSTANCE,
        "put",
        &send(Method::PUT, &own, Some((json, &bad))),
        400,
    );
    check(
        INSTANCE,
        "put",
        &send(Method::PUT, &own, Some((patch, &good))),
        415,
    );
    check(
        INSTANCE,
        "put",
        &send(Method::PUT, &own, Some((json, &json!([])))),
        400,
    );
    check(
        INSTANCE,
        "put",
        &send(Method::PUT, &own, Some((json, &json!("x".repeat(70_000))))),
        413,
    );
    // Another's profile, or another type than the certificate's.
    let other = format!("{root}/{}", Uuid::nil());
    let mut forged = good.clone();
    forged["nfInstanceId"] = Uuid::nil().to_string().into();
    check(
        INSTANCE,
        "put",
        &send(Method::PUT, &other, Some((json, &forged))),
        403,
    );
    check(
        INSTANCE,
        "put",
        &send(
            Method::PUT,
            &own,
            Some((json, &profile(id, "ADM", 1).to_json())),
        ),
        403,
    );
    let untold = network.send(&nrf, Outgoing::new(Method::GET, &own));
    check(INSTANCE, "get", &untold, 401);
    check(INSTANCE, "delete", &send(Method::DELETE, &own, None), 204);
}

#[test]
fn an_aiotf_is_found_by_its_areas_and_an_adm_by_a_device() {
    let network = Network::new();
    let (aiotf, aiotf_nrf) = network.function("aiotf", "AIOTF");
    let (adm, adm_nrf) = network.function("adm", "ADM");
    network
        .run(aiotf_nrf.register(&profile(id_of(&aiotf), "AIOTF", 1).to_json()))
        .unwrap();
    let mut adm_profile = profile(id_of(&adm), "ADM", 2).to_json();
    adm_profile["admInfo"] = json!({"deviceIdList": ["AQID"]});
    network.run(adm_nrf.register(&adm_profile)).unwrap();
    let (_, nef) = network.function("nef", "NEF");
    let token = network.run(nef.token("nnrf-disc", "NRF")).unwrap();
    let contract = Contract::of_3gpp("TS29510_Nnrf_NFDiscovery.json");
    let search = |query: &str, status: u16| {
        let uri = format!("{}/nnrf-disc/v1/nf-instances?{query}", network.nrf_root);
        let answer = network.send(
            &nef,
            Outgoing::new(Method::GET, uri).token(Some(token.clone())),
        );
        assert_eq!(answer.status, status, "{query}: {:?}", answer.body);
        if let Some(contract) = &contract {
            contract.check("/nf-instances", "get", &answer);
        }
        body(&answer)
    };
    let found = |query: &str| search(query, 200)["nfInstances"].as_array().unwrap().len();
    let area = |code: &str, nid: &str| {
        let area = json!({"plmnId":{"mcc":"001","mnc":"01"},"nid":nid,"aiotAreaCode":code});
        let text: String = form_encode(&area.to_string());
        format!("target-nf-type=AIOTF&requester-nf-type=NEF&aiot-area-ids={text}")
    };
    assert_eq!(found(&area("000001", "0ABCDEF0123")), 1);
    assert_eq!(found(&area("000003", "0abcdef0123")), 0);
    assert_eq!(found(&area("000001", "0abcdef0124")), 0);
    let both = r#"[{"plmnId":{"mcc":"001","mnc":"01"},"nid":"0abcdef0123","aiotAreaCode":"000001"},{"plmnId":{"mcc":"001","mnc":"01"},"nid":"0abcdef0123","aiotAreaCode":"000009"}]"#;
    assert_eq!(
        found(&format!(
            "target-nf-type=AIOTF&requester-nf-type=NEF&aiot-area-ids={}",
            form_encode(both)
        )),
        0
    );
    let device = "target-nf-type=ADM&requester-nf-type=NEF&aiot-device-id=";
    assert_eq!(found(&format!("{device}%22AQID%22")), 1);
    assert_eq!(found(&format!("{device}%22AQIE%22")), 0);
    assert_eq!(
        found("target-nf-type=ADM&requester-nf-type=NEF&service-names=nadm-sec,x"),
        1
    );
    assert_eq!(
        found("target-nf-type=ADM&requester-nf-type=NEF&service-names=x"),
        0
    );
    assert_eq!(
        found(&format!(
            "target-nf-type=ADM&requester-nf-type=NEF&target-nf-instance-id={}",
            id_of(&adm)
        )),
        1
    );
    for (query, param) in [
        ("requester-nf-type=NEF", "target-nf-type"),
        ("target-nf-type=ADM", "requester-nf-type"),
        (
            "target-nf-type=ADM&requester-nf-type=NEF&target-nf-instance-id=7",
            "target-nf-instance-id",
        ),
        (
            "target-nf-type=ADM&requester-nf-type=NEF&aiot-device-id=%22%21%22",
            "aiot-device-id",
        ),
        (
            "target-nf-type=ADM&requester-nf-type=NEF&aiot-area-ids=%5B%5B",
            "aiot-area-ids",
        ),
        ("target-nf-type=ADM&requester-nf-type=NEF&limit=x", "limit"),
    ] {
        assert_eq!(search(query, 400)["invalidParams"][0]["param"], param);
    }
}

#[test]
fn values_of_later_versions_are_kept_and_passed_over() {
    let network = Network::new();
    let (adm, nrf) = network.function("adm", "ADM");
    let mut later = profile(id_of(&adm), "ADM", 2).to_json();
    later["nfServiceList"]["nadm-future"] = json!({
        "serviceInstanceId": "f", "serviceName": "nadm-future", "scheme": "https", "nfServiceStatus": "HALF_OPEN",
        "versions": [{"apiVersionInUri": "v9", "apiFullVersion": "9.0.0"}], "unheardOf": [1, {"a": null}],
    });
    later["unheardOf"] = "x".into();
    network.run(nrf.register(&later)).unwrap();
    let (_, nef) = network.function("nef", "NEF");
    let token = network.run(nef.token("nnrf-disc", "NRF")).unwrap();
    let uri = format!(
        "{}/nnrf-disc/v1/nf-instances?target-nf-type=ADM&requester-nf-type=NEF&unheard-of=1",
        network.nrf_root
    );
    let answer = network.send(&nef, Outgoing::new(Method::GET, uri).token(Some(token)));
    let found = &body(&answer)["nfInstances"][0];
    assert_eq!(found["unheardOf"], "x");
    assert_eq!(
        found["nfServiceList"]["nadm-future"],
        later["nfServiceList"]["nadm-future"]
    );
    // What is known of it can be used, and a service in a state that is not known is not.
    let found = |service| network.run(nef.discover("ADM", service, "")).unwrap().len();
    assert_eq!((found("nadm-sec"), found("nadm-future")), (1, 0));
}

fn form_encode(text: &str) -> String {
    text.bytes().map(|octet| format!("%{octet:02x}")).collect()
}

#[test]
fn tokens_go_to_whom_the_certificate_says() {
    let network = Network::new();
    let contract = Contract::of_3gpp("TS29510_Nnrf_AccessToken.json");
    let (aiotf, aiotf_nrf) = network.function("aiotf", "AIOTF");
    let (nef, nef_nrf) = network.function("nef", "NEF");
    let ask = |nrf: &NrfClient, form: &str| {
        let outgoing = Outgoing::new(Method::POST, format!("{}/oauth2/token", network.nrf_root))
            .typed(
                "application/x-www-form-urlencoded",
                form.as_bytes().to_vec(),
            );
        let answer = network.send(nrf, outgoing);
        if let Some(contract) = &contract {
            contract.check("/oauth2/token", "post", &answer);
        }
        (answer.status, body(&answer))
    };
    let form = |id: Uuid, nf_type: &str, scope: &str| {
        format!(
            "grant_type=client_credentials&nfInstanceId={id}&nfType={nf_type}&targetNfType=ADM&scope={scope}"
        )
    };
    let (status, said) = ask(&aiotf_nrf, &form(id_of(&aiotf), "AIOTF", "nadm-sec"));
    assert_eq!((status, &said["expires_in"]), (200, &json!(600)));
    if let Some(contract) = &contract {
        let token = said["access_token"].as_str().unwrap();
        let claims = token.split('.').nth(1).unwrap();
        let claims =
            ambit_sbi::json::from_base64(&claims.replace('-', "+").replace('_', "/")).unwrap();
        contract.check_schema(
            "AccessTokenClaims",
            &serde_json::from_slice(&claims).unwrap(),
        );
    }
    // A rogue or lesser function does not get at the keys (T19).
    let refused = |nrf: &NrfClient, form: &str, error: &str| {
        let (status, said) = ask(nrf, form);
        assert_eq!((status, &said["error"]), (400, &json!(error)), "{form}");
        assert!(said.get("access_token").is_none());
    };
    refused(
        &nef_nrf,
        &form(id_of(&nef), "NEF", "nadm-sec"),
        "unauthorized_client",
    );
    refused(
        &nef_nrf,
        &form(id_of(&nef), "AIOTF", "nadm-sec"),
        "invalid_client",
    );
    refused(
        &nef_nrf,
        &form(id_of(&aiotf), "AIOTF", "nadm-sec"),
        "invalid_client",
    );
    refused(
        &nef_nrf,
        &form(id_of(&nef), "NEF", "nadm-dm nadm-sec"),
        "unauthorized_client",
    );
    refused(
        &nef_nrf,
        &form(id_of(&nef), "NEF", "everything"),
        "invalid_scope",
    );
    refused(
        &nef_nrf,
        &form(id_of(&nef), "NEF", "naiotf-aiot"),
        "invalid_scope",
    );
    refused(
        &nef_nrf,
        "grant_type=client_credentials&scope=nadm-dm",
        "invalid_request",
    );
    refused(
        &nef_nrf,
        &form(id_of(&nef), "NEF", "nadm-dm").replace("client_credentials", "password"),
        "unsupported_grant_type",
    );
    let json =
        Outgoing::new(Method::POST, format!("{}/oauth2/token", network.nrf_root)).json(&json!({}));
    assert_eq!(network.send(&nef_nrf, json).status, 415);
}

#[test]
fn functions_find_each_other_again_after_the_nrf_or_the_producer_was_restarted() {
    let config = NrfConfig {
        heartbeat_s: 1,
        ..NrfConfig::default()
    };
    let network = Network::with(config);
    let (adm, adm_nrf) = network.function("adm", "ADM");
    let (_, aiotf_nrf) = network.function("aiotf", "AIOTF");
    let hello = |_| async { Ok(Reply::ok(json!({"hello": 1}))) };
    let access = Access::Token {
        service: "nadm-sec",
        operation: "nadm-sec:hello",
    };
    let routes = || {
        vec![Route::new(
            "hello",
            Method::GET,
            "/nadm-sec/v1/hello",
            access,
            Takes::Nothing,
            hello,
        )]
    };
    let root = network.serve(&adm, "ADM", routes());
    let port = root.rsplit(':').next().unwrap().parse().unwrap();
    let handle = network.runtime.handle();
    handle.spawn(adm_nrf.clone().maintain(profile(id_of(&adm), "ADM", port)));
    let service = Service::new(aiotf_nrf, "ADM", "nadm-sec", "v1", String::new());
    let ask = || network.run(service.ask(Method::GET, "/hello", None, Duration::from_secs(3)));
    let until_ok = |what: &str| {
        let started = Instant::now();
        while ask().is_err() {
            assert!(started.elapsed() < Duration::from_secs(30), "{what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    until_ok("at the start");
    // The NRF forgets everything, as a restarted one does: the next heartbeat brings the ADM back.
    network.nrf.forget_all();
    assert!(ask().is_ok(), "what was discovered before is still good");
    let started = Instant::now();
    while network.nrf.live_count(ambit_sbi::clock::unix_ms()) == 0 {
        assert!(started.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(50));
    }
    // The producer moves: another port, registered anew.
    let moved = network.serve(&adm, "ADM", routes());
    let port = moved.rsplit(':').next().unwrap().parse().unwrap();
    network
        .run(adm_nrf.register(&profile(id_of(&adm), "ADM", port).to_json()))
        .unwrap();
    until_ok("after the move");
    network.run(adm_nrf.deregister()).unwrap();
    assert_eq!(network.nrf.live_count(ambit_sbi::clock::unix_ms()), 0);
}

/// An NRF that answers as it likes.
fn odd_nrf(
    network: &Network,
    name: &str,
    token_s: Value,
    validity: Value,
    delay: Duration,
    asked: &Arc<AtomicU64>,
) -> String {
    let issuer = Arc::new(network.pki.issuer());
    let count = Arc::clone(asked);
    let token = move |exchange: Exchange| {
        let (issuer, lifetime, count) = (Arc::clone(&issuer), token_s.clone(), Arc::clone(&count));
        async move {
            count.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(delay).await;
            let _ = exchange;
            let claims = ambit_sbi::token::Claims {
                iss: issuer.id().to_owned(),
                sub: String::new(),
                aud: ambit_sbi::token::Audience::Type("ADM".into()),
                scope: "nadm-sec".into(),
                exp: 1,
                iat: None,
                secret_ms: None,
            };
            Ok(Reply::ok(
                json!({"access_token": issuer.issue(&claims), "token_type": "Bearer", "expires_in": lifetime}),
            ))
        }
    };
    let search = move |_| {
        let validity = validity.clone();
        async move {
            tokio::time::sleep(delay).await;
            Ok(Reply::ok(
                json!({"validityPeriod": validity, "nfInstances": [
                    {"nfInstanceId": "x", "nfType": "ADM", "nfServiceList": {"1": {"serviceName": "nadm-sec", "scheme": "gopher", "ipEndPoints": [{"ipv4Address": "127.0.0.1", "port": 1}]}}},
                    {"nfInstanceId": 7, "nfServices": "none"},
                    {"nfInstanceId": "y", "ipv4Addresses": ["127.0.0.1"], "nfServices": [{"serviceName": "nadm-sec", "scheme": "https", "ipEndPoints": [{"port": 99999}]}]},
                    {"nfInstanceId": "z", "ipv4Addresses": ["127.0.0.1"], "nfServices": [{"serviceName": "nadm-sec", "scheme": "https", "ipEndPoints": [{"port": 1}]}]},
                ]}),
            ))
        }
    };
    let routes = vec![
        Route::new(
            "t",
            Method::POST,
            "/oauth2/token",
            Access::Peer,
            Takes::Form,
            token,
        ),
        Route::new(
            "d",
            Method::GET,
            "/nnrf-disc/v1/nf-instances",
            Access::Peer,
            Takes::Nothing,
            search,
        ),
    ];
    let credentials = network.pki.function(name, "NRF");
    network.serve(&credentials, "NRF", routes)
}

#[test]
fn an_nrf_that_lies_or_is_late_costs_no_more_than_an_error() {
    let network = Network::new();
    let credentials = network.pki.function("aiotf", "AIOTF");
    let client = Client::new(Some(credentials.clone()), None);
    let id = id_of(&credentials);
    let now = Duration::ZERO;
    for (n, (lifetime, validity)) in [
        (json!(0), json!(-5)),
        (json!(-1), json!(0)),
        (json!(u64::MAX), json!(u64::MAX)),
        (json!("long"), json!(null)),
        (json!(null), json!({"a": 1})),
    ]
    .into_iter()
    .enumerate()
    {
        let asked = Arc::new(AtomicU64::new(0));
        let root = odd_nrf(
            &network,
            &format!("odd{n}"),
            lifetime,
            validity,
            now,
            &asked,
        );
        let nrf = NrfClient::new(client.clone(), &root, id, "AIOTF");
        for _ in 0..20 {
            assert!(network.run(nrf.token("nadm-sec", "ADM")).is_ok());
        }
        assert_eq!(
            asked.load(Ordering::SeqCst),
            1,
            "a lifetime of nothing is taken as a few seconds"
        );
        let found = network.run(nrf.discover("ADM", "nadm-sec", "")).unwrap();
        assert_eq!(found.len(), 1, "only what can be called is kept: {found:?}");
        assert_eq!(found[0].api_root, "https://127.0.0.1:1");
    }
    let asked = Arc::new(AtomicU64::new(0));
    let late = odd_nrf(
        &network,
        "late",
        json!(60),
        json!(60),
        Duration::from_secs(5),
        &asked,
    );
    let nrf = NrfClient::new(client, &late, id, "AIOTF");
    let answer = network.run(nrf.token("nadm-sec", "ADM"));
    assert!(
        matches!(
            answer,
            Err(ClientError::TimedOut { .. }) | Err(ClientError::Refused { status: 504, .. })
        ),
        "{answer:?}"
    );
}

#[test]
fn a_silent_function_is_not_found_any_more() {
    let network = Network::with(NrfConfig {
        heartbeat_s: 10,
        ..NrfConfig::default()
    });
    let (adm, nrf) = network.function("adm", "ADM");
    network
        .run(nrf.register(&profile(id_of(&adm), "ADM", 2).to_json()))
        .unwrap();
    let now_ms = ambit_sbi::clock::unix_ms();
    assert_eq!(network.nrf.live_count(now_ms), 1);
    assert_eq!(network.nrf.live_count(now_ms + 31_000), 0);
}

#[test]
fn an_nrf_on_a_port_that_was_there_before_is_taken_up_again() {
    let network = Network::with(NrfConfig {
        heartbeat_s: 1,
        ..NrfConfig::default()
    });
    let (adm, _) = network.function("adm", "ADM");
    let credentials = network.pki.function("nrf2", "NRF");
    let client = Client::new(Some(adm.clone()), None);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let nrf_client = NrfClient::new(client, &format!("https://{address}"), id_of(&adm), "ADM");
    network
        .runtime
        .handle()
        .spawn(nrf_client.clone().maintain(profile(id_of(&adm), "ADM", 2)));
    drop(listener);
    for _ in 0..2 {
        let runtime = Runtime::start().unwrap();
        let nrf = Nrf::new(
            NrfConfig {
                heartbeat_s: 1,
                ..NrfConfig::default()
            },
            network.pki.issuer(),
        );
        let verifier = network.pki.verifier("NRF", id_of(&credentials));
        let router = Arc::new(Router::new(nrf.routes(), Some(verifier)));
        let listener = bind_again(address);
        serve_on(
            &runtime,
            listener,
            Some(credentials.clone()),
            router,
            Limits::default(),
        );
        let started = Instant::now();
        while nrf.live_count(ambit_sbi::clock::unix_ms()) == 0 {
            assert!(started.elapsed() < Duration::from_secs(30));
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn bind_again(address: std::net::SocketAddr) -> TcpListener {
    for _ in 0..200 {
        if let Ok(listener) = TcpListener::bind(address) {
            return listener;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    TcpListener::bind(address).unwrap()
}
