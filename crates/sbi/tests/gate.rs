//! What stands before every operation of every service, by 3GPP's files: no token, a token for something else, a body that is
//! too large, too deep or of another kind, too many requests at once.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use ambit_aiotf::Watcher;
use ambit_aiotf::service::{RequestError, ServiceRequest};
use ambit_sbi::adm::{AdmAccess, AdmGone, Job, SharedAdm};
use ambit_sbi::aiotf::{AiotfAccess, ServiceConfig, Taken};
use ambit_sbi::client::{Client, Outgoing};
use ambit_sbi::clock::unix_s;
use ambit_sbi::nrf::{Nrf, NrfConfig};
use ambit_sbi::router::{OPENAPI, Route, Router};
use ambit_sbi::runtime::Runtime;
use ambit_sbi::server::Limits;
use ambit_sbi::token::{Audience, Claims};
use ambit_sbi::{adm, aiotf};
use common::contract::Contract;
use common::{Pki, id_of, serve};
use hyper::Method;
use serde_json::Value;

/// A function that has ended: nothing gets as far as to it.
struct Gone;

impl AdmAccess for Gone {
    fn run(&self, _: Job) -> Result<(), AdmGone> {
        Err(AdmGone)
    }
}

impl AiotfAccess for Gone {
    fn request(&self, _: ServiceRequest) -> Option<Result<Taken, RequestError>> {
        None
    }

    fn watch(&self, _: Watcher) {}
}

/// A service: its file, where it is served, the NF type that serves it, and its operations.
struct Service {
    name: &'static str,
    file: &'static str,
    nf_type: &'static str,
    /// Method, path in the file, and the media type of the body if it takes one.
    operations: &'static [(&'static str, &'static str, Option<&'static str>)],
}

const JSON: Option<&str> = Some("application/json");
const MERGE: Option<&str> = Some("application/merge-patch+json");
const PATCH: Option<&str> = Some("application/json-patch+json");

const SERVICES: [Service; 5] = [
    Service {
        name: "nadm-sec",
        file: "TS29369_Nadm_Sec.json",
        nf_type: "ADM",
        operations: &[
            ("post", "/get-rand", None),
            ("post", "/get-authentication", JSON),
            ("post", "/get-session-key", JSON),
            ("post", "/get-tid", JSON),
        ],
    },
    Service {
        name: "nadm-dm",
        file: "TS29369_Nadm_DM.json",
        nf_type: "ADM",
        operations: &[
            ("get", "/aiot-device-profile-data", None),
            ("patch", "/aiot-device-profile-data", MERGE),
            ("get", "/aiot-device-profile-data/{aiotDevPermId}", None),
            ("patch", "/aiot-device-profile-data/{aiotDevPermId}", MERGE),
            ("get", "/af-authorization-data", None),
        ],
    },
    Service {
        name: "naiotf-aiot",
        file: "TS29569_Naiotf_AIoT.json",
        nf_type: "AIOTF",
        operations: &[
            ("post", "/request-inv", JSON),
            ("post", "/request-cmd", JSON),
        ],
    },
    Service {
        name: "nnrf-nfm",
        file: "TS29510_Nnrf_NFManagement.json",
        nf_type: "NRF",
        operations: &[
            ("get", "/nf-instances", None),
            ("get", "/nf-instances/{nfInstanceID}", None),
            ("put", "/nf-instances/{nfInstanceID}", JSON),
            ("patch", "/nf-instances/{nfInstanceID}", PATCH),
            ("delete", "/nf-instances/{nfInstanceID}", None),
        ],
    },
    Service {
        name: "nnrf-disc",
        file: "TS29510_Nnrf_NFDiscovery.json",
        nf_type: "NRF",
        operations: &[("get", "/nf-instances", None)],
    },
];

/// Our own: each with its whole path, in our own file.
const OWN: [(&str, &str, &str, Option<&str>); 11] = [
    ("nadm-sec", "post", "/nadm-sec/v1/doa-beacon", None),
    ("nadm-sec", "post", "/nadm-sec/v1/doa-authenticate", JSON),
    ("nadm-sec", "post", "/nadm-sec/v1/doa-register", JSON),
    ("nadm-sec", "post", "/nadm-sec/v1/doa-respond", JSON),
    (
        "nadm-sec",
        "post",
        "/nadm-sec/v1/doa-conclude-command",
        JSON,
    ),
    ("nadm-sec", "post", "/nadm-sec/v1/note-disabled", JSON),
    ("naiotf-aiot", "get", DOA, None),
    ("naiotf-aiot", "post", DOA, JSON),
    ("naiotf-aiot", "get", DOA_ONE, None),
    ("naiotf-aiot", "put", DOA_ONE, JSON),
    ("naiotf-aiot", "delete", DOA_ONE, None),
];
const DOA: &str = "/naiotf-aiot/v1/doa-subscriptions";
const DOA_ONE: &str = "/naiotf-aiot/v1/doa-subscriptions/{subscriptionId}";

/// All functions' operations behind one server, and behind one that has no room.
struct Setup {
    runtime: Runtime,
    pki: Pki,
    client: Client,
    id: String,
    roots: BTreeMap<(&'static str, bool), String>,
}

impl Setup {
    fn new() -> Self {
        let (runtime, pki) = (Runtime::start().unwrap(), Pki::new());
        let own = pki.function("consumer", "AIOTF");
        let mut roots = BTreeMap::new();
        for nf_type in ["ADM", "AIOTF", "NRF"] {
            let credentials = pki.function(&nf_type.to_lowercase(), nf_type);
            let id = id_of(&credentials);
            let routes = || -> Vec<Route> {
                let shared: SharedAdm = Arc::new(Gone);
                let client = Client::new(Some(credentials.clone()), None);
                match nf_type {
                    "ADM" => adm::routes(&shared),
                    "AIOTF" => aiotf::routes(Arc::new(Gone), client, ServiceConfig::new(id)),
                    _ => Nrf::new(NrfConfig::default(), pki.issuer()).routes(),
                }
            };
            for is_full in [false, true] {
                let verifier = pki.verifier(nf_type, id);
                let router = Arc::new(Router::new(routes(), Some(verifier)));
                let limits = Limits {
                    requests_max: if is_full { 0 } else { 256 },
                    ..Limits::default()
                };
                let address = serve(&runtime, Some(credentials.clone()), router, limits);
                roots.insert((nf_type, is_full), format!("https://{address}"));
            }
        }
        Self {
            runtime,
            client: Client::new(Some(own.clone()), None),
            id: id_of(&own).to_string(),
            pki,
            roots,
        }
    }

    fn token(&self, nf_type: &str, scope: &str) -> String {
        let issuer = self.pki.issuer();
        issuer.issue(&Claims {
            iss: issuer.id().to_owned(),
            sub: self.id.clone(),
            aud: Audience::Type(nf_type.into()),
            scope: scope.into(),
            exp: unix_s() + 60,
            iat: None,
            secret_ms: None,
        })
    }

    /// Walks one operation past all that stands before it.
    fn walk(
        &self,
        contract: Option<&Contract>,
        (service, nf_type): (&'static str, &'static str),
        prefix: &str,
        (name, path, media_type): (&str, &str, Option<&str>),
    ) {
        let token = |scope: &str| Some(self.token(nf_type, scope));
        let good = || token(service);
        let filled: Vec<&str> = path
            .split('/')
            .map(|part| if part.starts_with('{') { "AAAA" } else { part })
            .collect();
        let send = |is_full, body: Option<(&str, Vec<u8>)>, token: Option<String>| {
            let root = &self.roots[&(nf_type, is_full)];
            let uri = format!("{root}{prefix}{}", filled.join("/"));
            let method: Method = name.to_uppercase().parse().unwrap();
            let mut outgoing = Outgoing::new(method, uri).token(token);
            if let Some((media_type, body)) = body {
                outgoing = outgoing.typed(media_type, body);
            }
            let answer = self.runtime.handle().block_on(self.client.send(outgoing));
            let answer = answer.unwrap();
            if let Some(contract) = contract {
                contract.check(path, name, &answer);
            }
            let body: Value = serde_json::from_slice(&answer.body).unwrap();
            let cause = body["cause"].as_str().unwrap().to_owned();
            let retry = answer.headers.contains_key("retry-after");
            (answer.status, cause, retry)
        };
        let what = format!("{name} {prefix}{path}");
        let empty = || media_type.map(|media_type| (media_type, b"{}".to_vec()));
        let refused = |answer: (u16, String, bool), status: u16, cause: &str| {
            assert_eq!((answer.0, &*answer.1), (status, cause), "{what}");
        };
        refused(send(false, empty(), None), 401, "UNAUTHORIZED");
        refused(
            send(false, empty(), token("ntest")),
            403,
            "INSUFFICIENT_SCOPE",
        );
        let narrow = token(&format!("{service} {service}:something-else"));
        refused(send(false, empty(), narrow), 403, "INSUFFICIENT_SCOPE");
        let large = vec![b' '; (4 << 20) + 1];
        let large = (media_type.unwrap_or("application/json"), large);
        refused(send(false, Some(large), good()), 413, "PAYLOAD_TOO_LARGE");
        let (status, _, retry) = send(true, empty(), good());
        assert_eq!((status, retry), (429, true), "{what}");
        let Some(media_type) = media_type else {
            return;
        };
        let plain = Some(("text/plain", b"{}".to_vec()));
        refused(send(false, plain, good()), 415, "UNSUPPORTED_MEDIA_TYPE");
        let deep = [vec![b'['; 5000], vec![b']'; 5000]].concat();
        for body in [deep, b"{".to_vec(), b"\xff".to_vec(), Vec::new()] {
            let sent = send(false, Some((media_type, body)), good());
            refused(sent, 400, "INVALID_MSG_FORMAT");
        }
        // JSON, and of no shape that it could have; or what the path names is missed first.
        let (status, ..) = send(false, Some((media_type, b"7".to_vec())), good());
        assert!(
            status == 400 || (status == 404 && path.contains('{')),
            "{what}"
        );
    }
}

#[test]
fn every_operation_of_every_service_is_behind_token_scope_size_kind_depth_and_load() {
    let setup = Setup::new();
    for service in SERVICES {
        let contract = Contract::of_3gpp(service.file);
        if let Some(contract) = &contract {
            let declared = contract.operations();
            let is_walked = |(path, method): &(String, String)| {
                let same = |(m, p, _): &(&str, &str, _)| m == method && p == path;
                service.operations.iter().any(same)
            };
            let rest: Vec<_> = declared.iter().filter(|one| !is_walked(one)).collect();
            // Of the NRF only a part is served, which docs/reference/sbi.md names.
            let is_part = service.nf_type == "NRF";
            assert!(is_part || rest.is_empty(), "{}: {rest:?}", service.name);
        }
        let prefix = format!("/{}/v1", service.name);
        for operation in service.operations {
            let of = (service.name, service.nf_type);
            setup.walk(contract.as_ref(), of, &prefix, *operation);
        }
    }
    let contract = Contract::parse("openapi.json", OPENAPI.as_bytes());
    let mut walked = 1;
    for (service, method, path, media_type) in OWN {
        let nf_type = if service == "nadm-sec" {
            "ADM"
        } else {
            "AIOTF"
        };
        let operation = (method, path, media_type);
        setup.walk(Some(&contract), (service, nf_type), "", operation);
        walked += 1;
    }
    assert_eq!(
        contract.operations().len(),
        walked,
        "all, and the file itself"
    );
}

/// A function behind its service that has ended is 503, and says when to come again.
#[test]
fn a_function_that_has_ended_is_503() {
    let setup = Setup::new();
    let root = &setup.roots[&("ADM", false)];
    let outgoing = Outgoing::new(Method::POST, format!("{root}/nadm-sec/v1/get-rand"));
    let outgoing = outgoing.token(Some(setup.token("ADM", "nadm-sec")));
    let answer = setup.runtime.handle().block_on(setup.client.send(outgoing));
    let answer = answer.unwrap();
    assert_eq!(answer.status, 503);
    assert!(answer.headers.contains_key("retry-after"));
    if let Some(contract) = Contract::of_3gpp("TS29369_Nadm_Sec.json") {
        contract.check("/get-rand", "post", &answer);
    }
}
