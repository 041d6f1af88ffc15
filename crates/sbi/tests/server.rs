//! What every operation is behind: TLS, tokens, media types, sizes, time, overload. Nothing a peer sends ends the server.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use ambit_sbi::client::{Client, ClientError, Outgoing};
use ambit_sbi::clock::unix_s;
use ambit_sbi::exchange::{Exchange, Reply};
use ambit_sbi::router::{Access, Route, Router, Takes};
use ambit_sbi::runtime::Runtime;
use ambit_sbi::server::{self, Limits, ServerConfig};
use ambit_sbi::tls::Credentials;
use ambit_sbi::token::{Audience, Claims};
use base64ct::{Base64UrlUnpadded, Encoding};
use common::{Pki, id_of, serve};
use hyper::Method;
use serde_json::{Value, json};

const SECURE: Access = Access::Token {
    service: "ntest-echo",
    operation: "ntest-echo:say",
};

fn routes() -> Vec<Route> {
    let echo = |exchange: Exchange| async move { Ok(Reply::ok(exchange.json()?.clone())) };
    let slow = |_| async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        Ok(Reply::no_content())
    };
    let json = Takes::Json(&["application/json"]);
    vec![
        Route::new(
            "echo",
            Method::POST,
            "/ntest-echo/v1/say",
            SECURE,
            json,
            echo,
        )
        .octets_max(1000),
        Route::new(
            "slow",
            Method::GET,
            "/ntest-echo/v1/slow",
            Access::Peer,
            Takes::Nothing,
            slow,
        ),
    ]
}

struct Setup {
    runtime: Runtime,
    pki: Pki,
    client: Client,
    root: String,
    own: Credentials,
}

impl Setup {
    fn new(limits: Limits) -> Self {
        let runtime = Runtime::start().unwrap();
        let pki = Pki::new();
        let producer = pki.function("producer", "ADM");
        let own = pki.function("consumer", "AIOTF");
        let verifier = pki.verifier("ADM", id_of(&producer));
        let router = Arc::new(Router::new(routes(), Some(verifier)));
        let address = serve(&runtime, Some(producer), router, limits);
        let client = Client::new(Some(own.clone()), None);
        Self {
            runtime,
            pki,
            client,
            root: format!("https://{address}"),
            own,
        }
    }

    fn claims(&self) -> Claims {
        Claims {
            iss: self.pki.issuer().id().to_owned(),
            sub: id_of(&self.own).to_string(),
            aud: Audience::Type("ADM".into()),
            scope: "ntest-echo".into(),
            exp: unix_s() + 60,
            iat: None,
            secret_ms: None,
        }
    }

    fn token(&self) -> String {
        self.pki.issuer().issue(&self.claims())
    }

    fn send(&self, outgoing: Outgoing) -> Result<(u16, Value, hyper::HeaderMap), ClientError> {
        let answer = self.runtime.handle().block_on(self.client.send(outgoing))?;
        let body = serde_json::from_slice(&answer.body).unwrap_or_default();
        Ok((answer.status, body, answer.headers))
    }

    fn say(&self, token: Option<String>) -> (u16, Value, hyper::HeaderMap) {
        let say = Outgoing::new(Method::POST, format!("{}/ntest-echo/v1/say", self.root));
        self.send(say.json(&json!({"a": 1})).token(token)).unwrap()
    }
}

#[test]
fn a_token_is_needed_and_only_a_good_one_opens() {
    let setup = Setup::new(Limits::default());
    let (status, body, headers) = setup.say(None);
    assert_eq!(
        (status, headers["www-authenticate"].to_str().unwrap()),
        (401, "Bearer")
    );
    assert_eq!(body["status"], 401);
    assert_eq!(headers["content-type"], "application/problem+json");
    assert_eq!(setup.say(Some(setup.token())).0, 200);

    let issuer = setup.pki.issuer();
    let with = |change: &dyn Fn(&mut Claims)| {
        let mut claims = setup.claims();
        change(&mut claims);
        setup.say(Some(issuer.issue(&claims)))
    };
    assert_eq!(with(&|claims| claims.exp = unix_s() - 10).0, 401);
    assert_eq!(with(&|claims| claims.iat = Some(unix_s() + 3600)).0, 401);
    assert_eq!(with(&|claims| claims.iss = claims.sub.clone()).0, 401);
    assert_eq!(
        with(&|claims| claims.aud = Audience::Type("AMF".into())).0,
        401
    );
    assert_eq!(
        with(&|claims| claims.aud = Audience::Instances(vec![claims.sub.clone()])).0,
        401
    );
    // Stolen: issued to another function than the one that shows it.
    assert_eq!(with(&|claims| claims.sub = claims.iss.clone()).0, 401);
    let (status, body, headers) = with(&|claims| claims.scope = "nadm-sec".into());
    assert_eq!(
        (status, &body["cause"]),
        (403, &json!("INSUFFICIENT_SCOPE"))
    );
    assert!(
        headers["www-authenticate"]
            .to_str()
            .unwrap()
            .contains("insufficient_scope")
    );
    // A token that names operations is good for those alone.
    assert_eq!(
        with(&|claims| claims.scope = "ntest-echo ntest-echo:listen".into()).0,
        403
    );
    assert_eq!(
        with(&|claims| claims.scope = "ntest-echo ntest-echo:say".into()).0,
        200
    );
    assert_eq!(
        with(&|claims| claims.scope = "ntest-echo:say".into()).0,
        403
    );
}

#[test]
fn a_token_of_another_issuer_or_algorithm_or_changed_in_any_place_is_refused() {
    let setup = Setup::new(Limits::default());
    let other = Pki::new();
    let mut claims = setup.claims();
    assert_eq!(setup.say(Some(other.issuer().issue(&claims))).0, 401);

    let token = setup.token();
    let (_, rest) = token.split_once('.').unwrap();
    let (body, signature) = rest.split_once('.').unwrap();
    for header in [
        r#"{"alg":"none"}"#,
        r#"{"alg":"HS256"}"#,
        r#"{"alg":"none","typ":"JWT"}"#,
        r#"{"alg":"ES256","crit":["b64"]}"#,
        "{}",
        "",
    ] {
        let header = Base64UrlUnpadded::encode_string(header.as_bytes());
        for signature in ["", signature] {
            assert_eq!(
                setup.say(Some(format!("{header}.{body}.{signature}"))).0,
                401
            );
        }
    }
    claims.scope = "ntest-echo nadm-sec".into();
    let forged = Base64UrlUnpadded::encode_string(&serde_json::to_vec(&claims).unwrap());
    let (header, _) = token.split_once('.').unwrap();
    assert_eq!(
        setup.say(Some(format!("{header}.{forged}.{signature}"))).0,
        401
    );

    let verifier = setup.pki.verifier("ADM", id_of(&setup.own));
    assert!(verifier.verify(&token, unix_s()).is_ok());
    for at in 0..token.len() {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        // The last digit's low bits may be padding, which a strict decoder refuses as well.
        assert!(verifier.verify(&changed, unix_s()).is_err(), "{at}");
    }
    for junk in ["", ".", "..", "...", "a.b", "a.b.c", &"a".repeat(100_000)] {
        assert!(verifier.verify(junk, unix_s()).is_err());
    }
}

#[test]
fn control_without_a_verifier_everybody_gets_in() {
    let setup = Setup::new(Limits::default());
    let router = Arc::new(Router::new(routes(), None));
    let open = serve(
        &setup.runtime,
        Some(setup.own.clone()),
        router,
        Limits::default(),
    );
    let say = Outgoing::new(Method::POST, format!("https://{open}/ntest-echo/v1/say"));
    assert_eq!(setup.send(say.json(&json!({"a": 1}))).unwrap().0, 200);
}

#[test]
fn certificates_of_another_ca_and_none_at_all_do_not_get_in() {
    let setup = Setup::new(Limits::default());
    let other = Pki::new();
    // A client that trusts our CA, so that it is the server that refuses.
    other.dir.issue("rogue", "ADM", &[]).unwrap();
    let rogue = Credentials::read(
        &other.dir.file("rogue.pem"),
        &other.dir.file("rogue.key"),
        &setup.pki.dir.file("ca.pem"),
    );
    let rogue = Client::new(Some(rogue.unwrap()), None);
    let get = || Outgoing::new(Method::GET, format!("{}/ntest-echo/v1/slow", setup.root));
    let refused = setup.runtime.handle().block_on(rogue.send(get()));
    assert!(
        matches!(refused, Err(ClientError::Unreachable { .. })),
        "{refused:?}"
    );
    // A client that trusts another CA does not talk to our server.
    let stranger = Client::new(Some(other.function("stranger", "ADM")), None);
    let refused = setup.runtime.handle().block_on(stranger.send(get()));
    assert!(
        matches!(refused, Err(ClientError::Unreachable { .. })),
        "{refused:?}"
    );
    // Plain HTTP at a TLS port, and octets that mean nothing.
    for junk in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &[0x16, 3, 1, 0xff, 0xff, 1],
    ] {
        let mut stream = TcpStream::connect(setup.root.trim_start_matches("https://")).unwrap();
        stream.write_all(junk).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(7)))
            .unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP/1.1 200"));
    }
    assert_eq!(setup.say(Some(setup.token())).0, 200);
}

#[test]
fn in_clear_only_on_loopback() {
    let runtime = Runtime::start().unwrap();
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let config = ServerConfig {
        credentials: None,
        limits: Limits::default(),
        name: String::new(),
    };
    let router = Arc::new(Router::new(routes(), None));
    let refused = server::start(runtime.handle(), listener, Arc::clone(&router), config);
    assert_eq!(
        refused.unwrap_err().kind(),
        std::io::ErrorKind::PermissionDenied
    );
    let address = serve(&runtime, None, router, Limits::default());
    let client = Client::new(None, None);
    let say = |root: &str| {
        Outgoing::new(Method::POST, format!("{root}/ntest-echo/v1/say")).json(&json!({"a": 1}))
    };
    let answer = runtime
        .handle()
        .block_on(client.send(say(&format!("http://{address}"))));
    assert_eq!(answer.unwrap().status, 200);
    // And whoever has certificates does not talk in clear.
    let pki = Pki::new();
    let secure = Client::new(Some(pki.function("x", "ADM")), None);
    assert!(
        runtime
            .handle()
            .block_on(secure.send(say(&format!("http://{address}"))))
            .is_err()
    );
}

#[test]
fn bad_requests_get_the_status_that_says_what_is_wrong() {
    let setup = Setup::new(Limits::default());
    let token = || Some(setup.token());
    let to = |method: Method, path: &str| {
        Outgoing::new(method, format!("{}{path}", setup.root)).token(token())
    };
    let say = || to(Method::POST, "/ntest-echo/v1/say");
    let status = |outgoing| setup.send(outgoing).unwrap();

    let (code, body, headers) = status(to(Method::GET, "/ntest-echo/v1/nothing"));
    assert_eq!(
        (code, &body["cause"]),
        (404, &json!("RESOURCE_URI_STRUCTURE_NOT_FOUND"))
    );
    assert_eq!(headers["server"], "TEST-1");
    let (code, _, headers) = status(to(Method::DELETE, "/ntest-echo/v1/say"));
    assert_eq!((code, &headers["allow"]), (405, &"POST".parse().unwrap()));
    for media_type in [
        "text/plain",
        "application/xml",
        "application/json-patch+json",
    ] {
        let (code, _, headers) = status(say().typed(media_type, b"{}".to_vec()));
        assert_eq!(
            (code, &headers["accept"]),
            (415, &"application/json".parse().unwrap())
        );
    }
    assert_eq!(status(say()).0, 415);
    assert_eq!(
        status(say().typed("application/json; charset=utf-8", b"{}".to_vec())).0,
        200
    );
    for body in [
        &b""[..],
        b"{",
        b"\xff\xfe",
        b"{\"a\":NaN}",
        b"{}{}",
        &[b'['; 900],
    ] {
        let (code, said, _) = status(say().typed("application/json", body.to_vec()));
        assert_eq!((code, &said["cause"]), (400, &json!("INVALID_MSG_FORMAT")));
    }
    assert_eq!(
        status(say().typed("application/json", vec![b' '; 1001])).0,
        413
    );
    let mut picky = say().json(&json!({}));
    picky
        .headers
        .push((hyper::header::ACCEPT, "text/html".parse().unwrap()));
    assert_eq!(status(picky).0, 406);
    let mut hurried = to(Method::GET, "/ntest-echo/v1/slow");
    hurried.headers.push((
        "3gpp-sbi-max-rsp-time".parse().unwrap(),
        "20".parse().unwrap(),
    ));
    let (code, body, _) = status(hurried);
    assert_eq!((code, &body["cause"]), (504, &json!("TIMED_OUT_REQUEST")));
    let mut odd = to(Method::GET, "/ntest-echo/v1/slow");
    odd.headers.push((
        "3gpp-sbi-max-rsp-time".parse().unwrap(),
        "soon".parse().unwrap(),
    ));
    let (code, body, _) = status(odd);
    assert_eq!(
        (code, &body["invalidParams"][0]["param"]),
        (400, &json!("3gpp-Sbi-Max-Rsp-Time"))
    );
    let mut correlated = say().json(&json!({}));
    correlated.headers.push((
        "3gpp-sbi-correlation-info".parse().unwrap(),
        "imsi-1".parse().unwrap(),
    ));
    assert_eq!(status(correlated).2["3gpp-sbi-correlation-info"], "imsi-1");
}

#[test]
fn overload_is_429_with_retry_after() {
    let setup = Setup::new(Limits {
        requests_max: 2,
        ..Limits::default()
    });
    let slow = || {
        let outgoing = Outgoing::new(Method::GET, format!("{}/ntest-echo/v1/slow", setup.root));
        setup.runtime.handle().spawn({
            let client = setup.client.clone();
            async move {
                client
                    .send(outgoing)
                    .await
                    .map(|answer| (answer.status, answer.headers))
            }
        })
    };
    let all: Vec<_> = (0..6).map(|_| slow()).collect();
    let answers: Vec<_> = all
        .into_iter()
        .map(|one| setup.runtime.handle().block_on(one).unwrap().unwrap())
        .collect();
    assert_eq!(
        answers.iter().filter(|(status, _)| *status == 204).count(),
        2
    );
    let shed: Vec<_> = answers
        .iter()
        .filter(|(status, _)| *status == 429)
        .collect();
    assert_eq!(shed.len(), 4);
    assert!(
        shed.iter()
            .all(|(_, headers)| headers["retry-after"] == "1")
    );
    // And afterwards it serves again.
    assert_eq!(setup.say(Some(setup.token())).0, 200);
}
