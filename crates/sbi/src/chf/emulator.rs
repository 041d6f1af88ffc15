//! A CHF for tests and for trying: it takes one-time events, remembers them in a file, and fails as often as it is told to.
//!
//! Each event taken is a line of JSON: `key`, `repeat` (the key was there before), `received_ms`, `request`. It is written
//! before the answer leaves, and read again at the next start, so that a CHF that was killed knows repeats. The key is the
//! record that the event names (`nEFChargingInformation.aPIReference`).

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::Method;
use hyper::header::LOCATION;
use serde_json::{Value, json};

use super::{PATH, SERVICE};
use crate::clock::unix_ms;
use crate::exchange::{Exchange, Reply};
use crate::json::Fields;
use crate::problem::Problem;
use crate::router::{Access, Route, Takes};

/// What goes wrong, each as a share of 0 to 1 of all requests. Drawn from the seed.
#[derive(Clone, Debug, Default)]
pub struct Troubles {
    /// Answers 500, 503 or 429 and takes nothing.
    pub fail: f64,
    /// Refuses the event: 403 QUOTA_LIMIT_REACHED.
    pub refuse: f64,
    /// Says what is not so and takes nothing: another sequence number, 200, no body.
    pub lie: f64,
    /// Takes the event, but says 504.
    pub lose: f64,
    /// Sends the request on (307), to itself.
    pub redirect: f64,
    /// Waits before it does anything.
    pub slow: f64,
    /// How long.
    pub delay: Duration,
    /// What is drawn from.
    pub seed: u64,
}

/// The CHF.
#[derive(Debug)]
pub struct Emulator {
    troubles: Troubles,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    draws: u64,
    file: File,
    /// Which event a number stands for, by NF instance and number.
    numbers: HashMap<(String, u64), String>,
    keys: HashMap<String, u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    None,
    Fail,
    Refuse,
    Lie,
    Lose,
    Redirect,
}

impl Emulator {
    /// A CHF with its file, which is made or gone on with.
    ///
    /// # Errors
    /// The file cannot be read or written, or is not one of a CHF.
    pub fn open(path: &Path, troubles: Troubles) -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        let (mut numbers, mut keys) = (HashMap::new(), HashMap::new());
        let mut whole = 0;
        for line in text.split_inclusive(|octet| *octet == b'\n') {
            if !line.ends_with(b"\n") {
                break;
            }
            let line_of_file: Value = serde_json::from_slice(line)?;
            let event = line_of_file.get("request").and_then(|r| check(r).ok());
            let event = event.ok_or_else(|| io::Error::other("holds a line that is no event"))?;
            numbers.insert((event.nf_name, event.number), event.key.clone());
            *keys.entry(event.key).or_default() += 1;
            whole += line.len() as u64;
        }
        file.set_len(whole)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self {
            troubles,
            state: Mutex::new(State {
                draws: 0,
                file,
                numbers,
                keys,
            }),
        })
    }

    /// Events taken, each once, and how many came again.
    pub fn counts(&self) -> (u64, u64) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let all: u64 = state.keys.values().sum();
        let events = state.keys.len() as u64;
        (events, all - events)
    }

    /// Its operation, for whoever has a token, or on a loopback without TLS for everybody.
    pub fn routes(self: &Arc<Self>, needs_token: bool) -> Vec<Route> {
        let access = match needs_token {
            true => Access::Token {
                service: SERVICE,
                operation: "",
            },
            false => Access::Peer,
        };
        let chf = Arc::clone(self);
        let create = move |exchange| Arc::clone(&chf).create(exchange);
        vec![Route::new(
            "chargingdata_create",
            Method::POST,
            PATH,
            access,
            Takes::Json(&["application/json"]),
            create,
        )]
    }

    async fn create(self: Arc<Self>, exchange: Exchange) -> Result<Reply, Problem> {
        let request = exchange.json()?;
        let event = check(request)?;
        let (trouble, is_slow, draw) = self.draw();
        if is_slow {
            tokio::time::sleep(self.troubles.delay).await;
        }
        let answer = |number: u64| {
            let time = request.get("invocationTimeStamp").cloned();
            let body = json!({
                "invocationTimeStamp": time,
                "invocationSequenceNumber": number,
            });
            let location = format!("{PATH}/{:016x}", event.number);
            Reply::created(&location, body)
        };
        match trouble {
            Trouble::None => self.take(&event, request).map(|()| answer(event.number)),
            Trouble::Lose => self.take(&event, request).and(Err(Problem::timed_out())),
            Trouble::Fail => Err(match draw % 3 {
                0 => Problem::system_failure("told to fail"),
                1 => Problem::unavailable("told to fail", 0),
                _ => Problem::overload(0),
            }),
            Trouble::Refuse => {
                let detail = "told to refuse";
                Err(Problem::forbidden("QUOTA_LIMIT_REACHED", detail))
            }
            Trouble::Lie => Ok(match draw % 3 {
                0 => answer(event.number + 1),
                1 => Reply::ok(json!({ "invocationSequenceNumber": event.number })),
                _ => Reply {
                    body: Some(json!(null)),
                    ..answer(event.number)
                },
            }),
            Trouble::Redirect => {
                let mut reply = Reply::ok(json!({ "cause": "told to redirect" }));
                reply.status = 307;
                Ok(reply.with(LOCATION, PATH))
            }
        }
    }

    /// Draws what goes wrong with the next request.
    fn draw(&self) -> (Trouble, bool, u64) {
        let n = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.draws += 1;
            state.draws
        };
        let mut random = fastrand::Rng::with_seed(self.troubles.seed ^ (n << 32));
        let is_slow = random.f64() < self.troubles.slow;
        let mut at = random.f64();
        let t = &self.troubles;
        for (share, trouble) in [
            (t.fail, Trouble::Fail),
            (t.refuse, Trouble::Refuse),
            (t.lie, Trouble::Lie),
            (t.lose, Trouble::Lose),
            (t.redirect, Trouble::Redirect),
        ] {
            if at < share {
                return (trouble, is_slow, random.u64(..));
            }
            at -= share;
        }
        (Trouble::None, is_slow, 0)
    }

    /// Writes the event down.
    fn take(&self, event: &Event, request: &Value) -> Result<(), Problem> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let number = (event.nf_name.clone(), event.number);
        if state
            .numbers
            .get(&number)
            .is_some_and(|key| *key != event.key)
        {
            let rule = "stands for another event already";
            return Err(Problem::incorrect("/invocationSequenceNumber", rule));
        }
        let line = json!({
            "received_ms": unix_ms(),
            "key": event.key,
            "repeat": state.keys.contains_key(&event.key),
            "request": request,
        });
        let written = state.file.write_all(format!("{line}\n").as_bytes());
        written.map_err(|error| Problem::system_failure(format!("journal: {error}")))?;
        state.numbers.insert(number, event.key.clone());
        *state.keys.entry(event.key.clone()).or_default() += 1;
        Ok(())
    }
}

struct Event {
    nf_name: String,
    number: u64,
    key: String,
}

/// What a ChargingDataRequest of a one-time event of an AIOTF must have.
fn check(request: &Value) -> Result<Event, Problem> {
    let fields = Fields::of(request)?;
    let consumer = fields.required("nfConsumerIdentification")?.object()?;
    let function = consumer.required("nodeFunctionality")?;
    if function.text()? != "AIOTF" {
        return Err(function.breaks("must be AIOTF"));
    }
    let nf_name = consumer.required("nFName")?;
    if uuid::Uuid::try_parse(nf_name.text()?).is_err() {
        return Err(nf_name.breaks("must be a UUID"));
    }
    fields.required("invocationTimeStamp")?.short_text(64)?;
    let number = fields
        .required("invocationSequenceNumber")?
        .integer(0, u32::MAX.into())?;
    fields.required("oneTimeEvent")?.true_only()?;
    let kind = fields.required("oneTimeEventType")?;
    if !["IEC", "PEC"].contains(&kind.text()?) {
        return Err(kind.breaks("must be IEC or PEC"));
    }
    if let Some(again) = fields.optional("retransmissionIndicator") {
        again.flag()?;
    }
    for usage in fields.required("multipleUnitUsage")?.array(16)? {
        let usage = usage.object()?;
        usage.required("ratingGroup")?.integer(0, u32::MAX.into())?;
        for used in usage.required("usedUnitContainer")?.array(16)? {
            let used = used.object()?;
            used.required("localSequenceNumber")?
                .integer(0, u32::MAX.into())?;
            used.required("uplinkVolume")?.integer(0, 1 << 53)?;
        }
    }
    let exposure = fields.required("nEFChargingInformation")?.object()?;
    exposure.required("aPIName")?.short_text(128)?;
    let key = exposure.required("aPIReference")?.short_text(2048)?;
    Ok(Event {
        nf_name: nf_name.text()?.to_owned(),
        number,
        key: key.to_owned(),
    })
}
