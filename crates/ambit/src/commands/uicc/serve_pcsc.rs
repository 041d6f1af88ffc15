//! `ambit uicc serve-pcsc`.

use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use ambit_uicc::vpcd::{VPCD_PORT, serve};
use clap::Args;
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::card_dir::{self, CardDir};
use crate::commands::printed;
use crate::failure::Failure;

/// Put an emulated card into the system's PC/SC service, for SIM tools.
///
/// Needs `pcscd` with the virtual reader of vsmartcard (Debian: `pcscd` and `vsmartcard-vpcd`). Prints one line of JSON each
/// time that the reader has taken the card; waits for a reader that is not there or goes away. SIGTERM or SIGINT ends it.
/// What tools write to the card stays in its directory.
#[derive(Args)]
pub(crate) struct ServePcsc {
    /// Directory of a card, as `ambit uicc personalise` makes it (cards/ICCID).
    card: PathBuf,
    /// Address at which the virtual reader waits for cards.
    #[arg(long, value_name = "ADDR", default_value_t = format!("127.0.0.1:{VPCD_PORT}"))]
    vpcd: String,
}

/// How long to wait before another try.
const RETRY: Duration = Duration::from_millis(500);

impl ServePcsc {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let vpcd = resolve(&self.vpcd)?;
        let path = one(&self.card)?;
        let card = CardDir::open(&path)?;
        let iccid = card.profile.iccid.clone();
        let (_, mut card) = card.into_card()?;
        let stop = Stop::on_signals()?;
        let mut is_told = false;
        while !stop.is_set() {
            let mut stream = match TcpStream::connect(vpcd) {
                Ok(stream) => stream,
                Err(error) => {
                    if !is_told {
                        eprintln!(
                            "ambit: no virtual reader at {vpcd} ({error}); waiting for pcscd with vsmartcard's vpcd (Debian: apt-get install pcscd vsmartcard-vpcd; systemctl start pcscd)"
                        );
                        is_told = true;
                    }
                    stop.wait(RETRY);
                    continue;
                }
            };
            let _ = stream.set_nodelay(true);
            if !stop.hold(&stream) {
                break;
            }
            let ready = json!({ "iccid": iccid, "vpcd": vpcd.to_string() });
            let mut out = io::stdout();
            printed(writeln!(out, "{ready}").and_then(|()| out.flush()))?;
            let served = serve(&mut stream, &mut card);
            if stop.is_set() {
                break;
            }
            match served {
                Ok(()) => {
                    eprintln!("ambit: the virtual reader at {vpcd} went away; waiting for it")
                }
                Err(error) => eprintln!("ambit: virtual reader at {vpcd}: {error}; trying again"),
            }
            is_told = true;
            stop.wait(RETRY);
        }
        Ok(())
    }
}

/// The one card at a path.
fn one(path: &std::path::Path) -> Result<PathBuf, Failure> {
    let mut found = card_dir::find(path)?;
    match (found.pop(), found.is_empty()) {
        (Some(card), true) => Ok(card),
        _ => Err(Failure::input(
            "card_ambiguous",
            format!("{}: holds several cards; name one", path.display()),
        )),
    }
}

fn resolve(text: &str) -> Result<SocketAddr, Failure> {
    let bad = |rule: &dyn std::fmt::Display| {
        Failure::input("vpcd_invalid", format!("--vpcd {text}: {rule}"))
    };
    let mut found = text.to_socket_addrs().map_err(|error| bad(&error))?;
    found.next().ok_or_else(|| bad(&"no such address"))
}

/// The end, as a signal asks for it: wakes whoever waits, and closes the connection that is read from.
#[derive(Clone, Default)]
struct Stop(Arc<(Mutex<Stopping>, Condvar)>);

#[derive(Default)]
struct Stopping {
    is_set: bool,
    stream: Option<TcpStream>,
}

impl Stop {
    fn on_signals() -> Result<Self, Failure> {
        let mut signals =
            Signals::new([SIGTERM, SIGINT]).map_err(|error| Failure::io("signals", &error))?;
        let stop = Self::default();
        let on_signal = stop.clone();
        thread::spawn(move || {
            if signals.forever().next().is_some() {
                on_signal.set();
            }
        });
        Ok(stop)
    }

    fn set(&self) {
        let mut stopping = self.lock();
        stopping.is_set = true;
        if let Some(stream) = stopping.stream.take() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.0.1.notify_all();
    }

    fn is_set(&self) -> bool {
        self.lock().is_set
    }

    fn wait(&self, time: Duration) {
        let stopping = self.lock();
        if !stopping.is_set {
            drop(self.0.1.wait_timeout(stopping, time));
        }
    }

    /// Takes a connection to close; `false` when it is too late for it.
    fn hold(&self, stream: &TcpStream) -> bool {
        let mut stopping = self.lock();
        stopping.stream = stream.try_clone().ok();
        !stopping.is_set && stopping.stream.is_some()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Stopping> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
