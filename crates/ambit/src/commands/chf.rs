//! `ambit chf`: a CHF to try online charging with.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ambit_sbi::chf::emulator::{Emulator, Troubles};
use ambit_sbi::router::Router;
use ambit_sbi::runtime::Runtime;
use ambit_sbi::server::{self, Limits, ServerConfig};
use clap::Args;
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::ran::parse_share;
use super::serve::{bind, serve_until};
use crate::config::Config;
use crate::failure::Failure;
use crate::sbi::Function;

/// An emulated CHF: takes one-time events and writes them into a file, a line each.
///
/// `ambit serve` sends events to it with `[charging] chf = "http://127.0.0.1:32291"`. It can be told to fail, refuse, lie, lose its
/// answers, redirect and be slow, at random with a seed. A line has `key`, `repeat` (the key was there before), `received_ms` and
/// `request`; a CHF that was killed goes on with its file. When ready, prints one line of JSON with its address.
#[derive(Args)]
pub(crate) struct Chf {
    /// Address. Port 0 picks a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:32291")]
    listen: SocketAddr,
    /// The file of events taken; made, or gone on with.
    #[arg(long, value_name = "FILE", default_value = "chf-events.jsonl")]
    events: PathBuf,
    /// Directory with `chf.pem`, `chf.key`, `ca.pem` and `token.pub` (`ambit pki issue DIR chf CHF`): HTTPS, and only for who
    /// has a token. In clear, and on loopback alone, without it.
    #[arg(long, value_name = "DIR")]
    pki: Option<PathBuf>,
    /// Share of requests that fail (500, 503, 429): 0 to 1, or a percentage such as 10%.
    #[arg(long, value_name = "P", default_value = "0", value_parser = parse_share)]
    fail: f64,
    /// Share of requests that are refused (403).
    #[arg(long, value_name = "P", default_value = "0", value_parser = parse_share)]
    refuse: f64,
    /// Share of requests that are not taken, though the answer may look as if they were.
    #[arg(long, value_name = "P", default_value = "0", value_parser = parse_share)]
    lie: f64,
    /// Share of requests that are taken, though the answer says 504.
    #[arg(long, value_name = "P", default_value = "0", value_parser = parse_share)]
    lose: f64,
    /// Share of requests that are redirected (307).
    #[arg(long, value_name = "P", default_value = "0", value_parser = parse_share)]
    redirect: f64,
    /// Share of requests that wait for --delay-ms first.
    #[arg(long, value_name = "P", default_value = "0", value_parser = parse_share)]
    slow: f64,
    /// How long these wait, in ms.
    #[arg(long, value_name = "MS", default_value_t = 1000)]
    delay_ms: u64,
    /// What is drawn from.
    #[arg(long, value_name = "X", default_value_t = 1)]
    seed: u64,
}

impl Chf {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let troubles = Troubles {
            fail: self.fail,
            refuse: self.refuse,
            lie: self.lie,
            lose: self.lose,
            redirect: self.redirect,
            slow: self.slow,
            delay: Duration::from_millis(self.delay_ms),
            seed: self.seed,
        };
        let mut signals =
            Signals::new([SIGTERM, SIGINT]).map_err(|error| Failure::io("signals", &error))?;
        let failed = |error| Failure::io(format!("--events {}", self.events.display()), &error);
        let emulator = Arc::new(Emulator::open(&self.events, troubles).map_err(failed)?);
        let runtime = Runtime::start().map_err(|error| Failure::io("chf", &error))?;
        let runtime = Arc::new(runtime);
        let listener = bind("chf", self.listen)?;
        let routes = emulator.routes(self.pki.is_some());
        let address = match self.pki {
            Some(pki) => {
                let mut config = Config::default();
                config.sbi.pki = Some(pki);
                let function = Function::open(&config, &runtime, "chf", "CHF")?;
                function.serve(listener, routes)?.0
            }
            None => {
                let router = Arc::new(Router::new(routes, None));
                let config = ServerConfig {
                    credentials: None,
                    limits: Limits::default(),
                    name: "CHF".into(),
                };
                server::start(runtime.handle(), listener, router, config)
                    .map_err(|error| Failure::io("chf", &error))?
            }
        };
        serve_until(&json!({ "chf": address.to_string() }), &mut signals)
    }
}
