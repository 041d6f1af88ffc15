//! Which operations there are, and what has to hold before one runs: method, media type, size, token and scope.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as HttpBody, Bytes};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use hyper::{Method, Request};

use crate::clock::unix_s;
use crate::exchange::{Body, Caller, Exchange, Pairs, PeerAddress, Reply};
use crate::pki::Identity;
use crate::problem::Problem;
use crate::token::{Claims, Verifier};
use crate::{json, multipart};

/// What an operation does.
pub type Handler = Box<
    dyn Fn(Exchange) -> Pin<Box<dyn Future<Output = Result<Reply, Problem>> + Send>> + Send + Sync,
>;

/// How long an operation may take when the client does not say.
const DEADLINE: Duration = Duration::from_secs(10);

/// How long it may take at most, whatever the client says.
const DEADLINE_MAX: Duration = Duration::from_secs(30);

/// What an operation takes as its body.
#[derive(Clone, Copy, Debug)]
pub enum Takes {
    /// Nothing.
    Nothing,
    /// JSON in one of these media types.
    Json(&'static [&'static str]),
    /// JSON, or `multipart/related` whose first part is JSON.
    JsonOrParts,
    /// A form.
    Form,
}

/// Who may ask for it.
#[derive(Clone, Copy, Debug)]
pub enum Access {
    /// Whoever reaches the server: with TLS, whoever has a certificate of the CA.
    Peer,
    /// Who has a token with the service's scope; when the token names operations of that service, this one must be
    /// among them.
    Token {
        /// The service's scope.
        service: &'static str,
        /// The operation's scope; empty when the API has none for it.
        operation: &'static str,
    },
}

/// An operation.
pub struct Route {
    /// A name for metrics.
    pub name: &'static str,
    /// Its method.
    pub method: Method,
    /// Its path; `{}` stands for one segment.
    pub path: &'static str,
    /// Who may ask for it.
    pub access: Access,
    /// What it takes.
    pub takes: Takes,
    /// How large that may be.
    pub octets_max: usize,
    /// What it gives, beside problems.
    pub gives: &'static str,
    /// What it does.
    pub handler: Handler,
}

impl Route {
    /// An operation with the limits of small JSON bodies.
    pub fn new<F>(
        name: &'static str,
        method: Method,
        path: &'static str,
        access: Access,
        takes: Takes,
        handler: impl Fn(Exchange) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Reply, Problem>> + Send + 'static,
    {
        let handler: Handler = Box::new(move |exchange| Box::pin(handler(exchange)));
        Self {
            name,
            method,
            path,
            access,
            takes,
            octets_max: 64 << 10,
            gives: JSON,
            handler,
        }
    }

    /// With another media type of what it gives.
    #[must_use]
    pub fn gives(self, media_type: &'static str) -> Self {
        Self {
            gives: media_type,
            ..self
        }
    }

    /// With another limit on its body.
    #[must_use]
    pub fn octets_max(self, octets_max: usize) -> Self {
        Self { octets_max, ..self }
    }
}

/// All operations of a server.
pub struct Router {
    routes: Vec<Route>,
    verifier: Option<Verifier>,
    /// Requests by operation and status.
    counts: Mutex<BTreeMap<(&'static str, u16), u64>>,
}

impl Router {
    /// Operations behind a verifier of tokens. `None` takes no tokens and lets everybody in: for tests of what a missing
    /// defence would cost, and for nothing else.
    pub fn new(routes: Vec<Route>, verifier: Option<Verifier>) -> Self {
        Self::describing(OPENAPI, routes, verifier)
    }

    /// The same with another OpenAPI file than that of the ADM.
    pub fn describing(
        file: &'static str,
        mut routes: Vec<Route>,
        verifier: Option<Verifier>,
    ) -> Self {
        routes.push(openapi(file));
        Self {
            routes,
            verifier,
            counts: Mutex::default(),
        }
    }

    /// Requests by operation and status.
    pub fn counts(&self) -> Vec<(&'static str, u16, u64)> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts
            .iter()
            .map(|((name, status), n)| (*name, *status, *n))
            .collect()
    }

    /// Answers a request.
    pub async fn answer<B>(&self, request: Request<B>, certificate: Option<Identity>) -> Reply
    where
        B: HttpBody<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let path = request.uri().path().to_owned();
        let (name, answer) = match self.find(request.method(), &path) {
            Ok((route, segments)) => (
                route.name,
                self.run(route, segments, request, certificate).await,
            ),
            Err(problem) => ("none", Err(problem)),
        };
        let reply = answer.unwrap_or_else(|problem| Reply::problem(&problem));
        self.count(name, reply.status);
        reply
    }

    /// Counts an answer that was given before the operation was looked up.
    pub fn count(&self, name: &'static str, status: u16) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((name, status)).or_default() += 1;
    }

    fn find(&self, method: &Method, path: &str) -> Result<(&Route, Vec<String>), Problem> {
        let mut methods = Vec::new();
        for route in &self.routes {
            let Some(segments) = matched(route.path, path) else {
                continue;
            };
            if route.method == *method {
                return Ok((route, segments));
            }
            methods.push(route.method.as_str());
        }
        if methods.is_empty() {
            return Err(Problem::no_resource());
        }
        methods.dedup();
        Err(Problem::method(methods.join(", ")))
    }

    async fn run<B>(
        &self,
        route: &Route,
        path: Vec<String>,
        request: Request<B>,
        certificate: Option<Identity>,
    ) -> Result<Reply, Problem>
    where
        B: HttpBody<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (parts, body) = request.into_parts();
        let token = self.authorise(&route.access, &parts.headers, certificate.as_ref())?;
        if !accepts(&parts.headers, route.gives) {
            return Err(Problem::not_acceptable(route.gives));
        }
        let now = Instant::now();
        let deadline = now.checked_add(patience(&parts.headers)?).unwrap_or(now);
        let octets = |octets_max| read(body, octets_max, &parts.headers, deadline);
        let body = match route.takes {
            Takes::Nothing => {
                // A body where none belongs is read within the limit and left alone.
                octets(route.octets_max).await?;
                Body::None
            }
            Takes::Json(media_types) => {
                let media_type = one_of(&parts.headers, media_types)?;
                Body::Json(json::parse(&octets(route.octets_max).await?)?, media_type)
            }
            Takes::JsonOrParts => match one_of(&parts.headers, &[JSON, PARTS])? {
                PARTS => {
                    let boundary = multipart::boundary(content_type(&parts.headers));
                    let octets = octets(route.octets_max).await?;
                    let (value, parts) = multipart::parse(&octets, &boundary?)?;
                    Body::Parts(value, parts)
                }
                media_type => {
                    Body::Json(json::parse(&octets(route.octets_max).await?)?, media_type)
                }
            },
            Takes::Form => {
                one_of(&parts.headers, &[FORM])?;
                Body::Form(Pairs::parse(&octets(route.octets_max).await?))
            }
        };
        let exchange = Exchange {
            path,
            query: Pairs::parse(parts.uri.query().unwrap_or_default().as_bytes()),
            headers: parts.headers,
            body,
            caller: Caller {
                certificate,
                token,
                address: parts.extensions.get::<PeerAddress>().map(|peer| peer.0),
            },
            deadline,
        };
        match tokio::time::timeout_at(deadline.into(), (route.handler)(exchange)).await {
            Ok(answer) => answer,
            Err(_) => Err(Problem::timed_out()),
        }
    }

    fn authorise(
        &self,
        access: &Access,
        headers: &HeaderMap,
        certificate: Option<&Identity>,
    ) -> Result<Option<Claims>, Problem> {
        let (Access::Token { service, operation }, Some(verifier)) = (access, &self.verifier)
        else {
            return Ok(None);
        };
        let claims = verified(verifier, headers)?;
        // A token is good in the hands of the function that it was issued to. Behind an SCP the certificate is the SCP's.
        if let Some(identity) = certificate
            && !identity.is("SCP")
            && identity
                .nf_instance
                .is_some_and(|id| !claims.sub.eq_ignore_ascii_case(&id.to_string()))
        {
            let detail = "the token was issued to another NF instance than the certificate";
            return Err(Problem::unauthorized(detail, Some("invalid_token")));
        }
        check_scope(&claims, service, operation)?;
        Ok(Some(claims))
    }
}

/// What the access token of a request says.
///
/// # Errors
/// 401: there is none, or it does not verify.
pub fn verified(verifier: &Verifier, headers: &HeaderMap) -> Result<Claims, Problem> {
    let token = credentials(headers, "bearer").ok_or_else(|| {
        Problem::unauthorized("an access token is needed (Authorization: Bearer)", None)
    })?;
    verifier
        .verify(token, unix_s())
        .map_err(|error| Problem::unauthorized(error.to_string(), Some("invalid_token")))
}

/// What follows the name of an authentication scheme in the field `Authorization`.
pub fn credentials<'a>(headers: &'a HeaderMap, scheme: &str) -> Option<&'a str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (kind, rest) = value.split_once(' ')?;
    kind.eq_ignore_ascii_case(scheme).then(|| rest.trim())
}

/// Whether a token is good for an operation of a service.
///
/// # Errors
/// 403 that names the scope it lacks.
pub fn check_scope(claims: &Claims, service: &str, operation: &str) -> Result<(), Problem> {
    let prefix = format!("{service}:");
    let names_operations = claims
        .scope
        .split(' ')
        .any(|scope| scope.starts_with(&prefix));
    let lacks = |scope: &str| Problem::scope(format!("the token's scope must have {scope}"));
    if !claims.has_scope(service) {
        return Err(lacks(service));
    }
    if names_operations && !claims.has_scope(operation) {
        return Err(lacks(operation));
    }
    Ok(())
}

/// Our own OpenAPI file, at `/openapi.json` of every server.
pub const OPENAPI: &str = include_str!("../openapi.json");

fn openapi(file: &'static str) -> Route {
    let serve = move |_| std::future::ready(json::parse(file.as_bytes()).map(Reply::ok));
    Route::new(
        "openapi",
        Method::GET,
        "/openapi.json",
        Access::Peer,
        Takes::Nothing,
        serve,
    )
}

const JSON: &str = "application/json";
const PARTS: &str = "multipart/related";
const FORM: &str = "application/x-www-form-urlencoded";

/// The segments that stand for the `{}` of a route's path, decoded.
fn matched(route: &str, path: &str) -> Option<Vec<String>> {
    let (mut wanted, mut found) = (route.split('/'), path.split('/'));
    let mut segments = Vec::new();
    loop {
        match (wanted.next(), found.next()) {
            (None, None) => return Some(segments),
            (Some("{}"), Some(segment)) if !segment.is_empty() => {
                let decoded = percent_encoding::percent_decode_str(segment)
                    .decode_utf8()
                    .ok()?;
                segments.push(decoded.into_owned());
            }
            (Some(wanted), Some(found)) if wanted == found => {}
            _ => return None,
        }
    }
}

fn content_type(headers: &HeaderMap) -> &str {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// The media type of the body, among those allowed.
fn one_of(headers: &HeaderMap, allowed: &[&'static str]) -> Result<&'static str, Problem> {
    let found = content_type(headers)
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    let media_type = allowed
        .iter()
        .find(|allowed| found.eq_ignore_ascii_case(allowed));
    media_type
        .copied()
        .ok_or_else(|| Problem::media_type(&allowed.join(", ")))
}

/// Whether the client takes what we answer. Problems are sent either way.
fn accepts(headers: &HeaderMap, gives: &str) -> bool {
    let mut values = headers.get_all(ACCEPT).iter().peekable();
    if values.peek().is_none() {
        return true;
    }
    let (tree, _) = gives.split_once('/').unwrap_or((gives, ""));
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|range| {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let is_refused =
                parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"));
            let is_given = kind == "*/*"
                || kind == gives
                || kind.strip_suffix("/*") == Some(tree)
                || (gives == JSON && kind.starts_with("application/") && kind.ends_with("json"));
            is_given && !is_refused
        })
}

/// How long the client waits (3gpp-Sbi-Max-Rsp-Time, in ms).
fn patience(headers: &HeaderMap) -> Result<Duration, Problem> {
    let Some(value) = headers.get("3gpp-sbi-max-rsp-time") else {
        return Ok(DEADLINE);
    };
    let ms = value
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok());
    let ms = ms.ok_or_else(|| {
        Problem::optional_incorrect("3gpp-Sbi-Max-Rsp-Time", "must be a number of milliseconds")
    })?;
    Ok(Duration::from_millis(ms).min(DEADLINE_MAX))
}

async fn read<B>(
    body: B,
    octets_max: usize,
    headers: &HeaderMap,
    deadline: Instant,
) -> Result<Bytes, Problem>
where
    B: HttpBody<Data = Bytes> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok());
    if announced
        .and_then(|n| n.parse::<u64>().ok())
        .is_some_and(|n| n > octets_max as u64)
    {
        return Err(Problem::too_large(octets_max));
    }
    let collected = Box::pin(Limited::new(body, octets_max).collect());
    match tokio::time::timeout_at(deadline.into(), collected).await {
        Err(_) => Err(Problem::timed_out()),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Problem::too_large(octets_max)),
        Ok(Err(_)) => Err(Problem::message_format("the body broke off")),
    }
}
