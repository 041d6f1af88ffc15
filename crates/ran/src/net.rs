//! A site in real time: each gNB over TCP to an N2 address (section 11: each NGAP PDU preceded by its length as u32).
//!
//! A core that dies, restarts or is not there yet is no error: the gNB connects again, with back-off, for as long as the run
//! lasts. Two threads a gNB do the blocking I/O; the site itself runs on the caller's thread.

mod link;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ambit_ngap::capture::Way;

use self::link::{Link, LinkReport, Outgoing};
use crate::air::AirStats;
use crate::fleet::FleetStats;
use crate::gnb::GnbStats;
use crate::site::Site;

/// PDUs of the core that may wait for the site; beyond that, the core's connection is not read.
const PDUS_WAITING_MAX: usize = 4_096;

/// PDUs handled before the clock is looked at again.
const PDUS_AT_ONCE_MAX: usize = 256;

/// How to run a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetConfig {
    /// N2 addresses of the core; gNB i takes the i-th, modulo their number.
    pub n2: Vec<SocketAddr>,
    /// How long the run lasts, in milliseconds; `None`: until it is told to stop.
    pub duration_ms: Option<u64>,
    /// First wait before connecting again, in milliseconds. It doubles until the core has answered.
    pub backoff_first_ms: u64,
    /// Longest wait before connecting again, in milliseconds.
    pub backoff_max_ms: u64,
    /// How long a connection may take to come up, and a write to be taken, in milliseconds.
    pub io_timeout_ms: u64,
    /// Octets that may wait to be written to one connection; beyond that, PDUs wait in the gNB.
    pub out_octets_max: usize,
    /// How often progress is told, in milliseconds.
    pub progress_interval_ms: u64,
}

impl NetConfig {
    /// Every gNB to one address, without an end, with back-off from 0.1 to 5 s and progress five times a second.
    pub fn new(n2: SocketAddr) -> Self {
        Self {
            n2: vec![n2],
            duration_ms: None,
            backoff_first_ms: 100,
            backoff_max_ms: 5_000,
            io_timeout_ms: 2_000,
            out_octets_max: 1 << 20,
            progress_interval_ms: 200,
        }
    }
}

/// Tells a run to stop, from any thread.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// A run that goes on.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the run within a fraction of a second.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was told to stop.
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Since the run began, in milliseconds.
    pub elapsed_ms: u64,
    /// Devices in the fleet.
    pub devices: u64,
    /// Of these, powered.
    pub powered: u64,
    /// Of these, registered in their present power cycle.
    pub registered: u64,
    /// Reports built.
    pub reports_built: u64,
    /// Reports transmitted, repeats included.
    pub reports_transmitted: u64,
    /// Items that devices saw accepted.
    pub accepted: u64,
    /// Items that wait.
    pub pending: u64,
    /// gNBs.
    pub gnbs: u64,
    /// Of these, connected.
    pub gnbs_connected: u64,
    /// Connections that came up after the first one of their gNB.
    pub reconnects: u64,
    /// Attempts to connect that failed.
    pub connect_failures: u64,
}

/// What came of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The last progress.
    pub progress: Progress,
    /// Counts of the fleet.
    pub fleet: FleetStats,
    /// Counts of the air.
    pub air: AirStats,
    /// Counts of each gNB.
    pub gnbs: Vec<GnbStats>,
    /// How late the site did something at worst, in milliseconds. More than some tens: this machine was too slow for the
    /// load, and the figures tell of it rather than of the core.
    pub late_ms_max: u64,
    /// Why a connection last failed or ended.
    pub last_error: Option<String>,
}

/// Why a run cannot begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetError {
    /// [`NetConfig::n2`] is empty.
    #[error("no N2 address")]
    NoAddress,
}

/// Sees every PDU: its time (Unix, ms), its way, the gNB by its position, the octets. What it takes its time for, the site
/// waits for.
pub type Observer<'a> = &'a mut dyn FnMut(i64, Way, usize, &[u8]);

/// Runs a site in real time until its duration is over or `stop` says so. `progress` is called about every
/// `progress_interval_ms`, and may call [`Stop::stop`] itself. The site's clock goes on from where it stands; its gNBs are
/// disconnected in the end.
///
/// # Errors
/// [`NetError`], before anything was done.
pub fn run(
    site: &mut Site,
    config: &NetConfig,
    stop: &Stop,
    progress: impl FnMut(&Progress),
) -> Result<Summary, NetError> {
    run_observed(site, config, stop, progress, None)
}

/// The same, every PDU in the sight of an observer.
///
/// # Errors
/// As [`run`].
pub fn run_observed(
    site: &mut Site,
    config: &NetConfig,
    stop: &Stop,
    mut progress: impl FnMut(&Progress),
    observer: Option<Observer<'_>>,
) -> Result<Summary, NetError> {
    if config.n2.is_empty() {
        return Err(NetError::NoAddress);
    }
    // The links stop with the run, not with `stop`: a duration that is over ends them as well.
    let links_stop = Stop::new();
    Ok(thread::scope(|scope| {
        let (sender, reports) = mpsc::sync_channel(PDUS_WAITING_MAX);
        for (gnb, n2) in (0..site.gnbs().len()).zip(config.n2.iter().cycle()) {
            let link = Link::new(gnb, *n2, config, &links_stop);
            let sender = sender.clone();
            scope.spawn(move || link.run(&sender));
        }
        let mut run = Run {
            links: (0..site.gnbs().len()).map(|_| None).collect(),
            was_connected: vec![false; site.gnbs().len()],
            began: Instant::now(),
            base_ms: site.now_ms(),
            summary: Summary::default(),
            site,
            config,
            observer,
        };
        run.until_over(&reports, stop, &mut progress);
        links_stop.stop();
        // A link that waits to hand over a PDU must not wait for ever.
        drop(reports);
        run.into_summary()
    }))
}

struct Run<'a, 'o> {
    site: &'a mut Site,
    config: &'a NetConfig,
    observer: Option<Observer<'o>>,
    /// Where to write to, for each connected gNB.
    links: Vec<Option<Outgoing>>,
    was_connected: Vec<bool>,
    began: Instant,
    base_ms: u64,
    summary: Summary,
}

impl Run<'_, '_> {
    fn until_over(
        &mut self,
        reports: &Receiver<LinkReport>,
        stop: &Stop,
        progress: &mut impl FnMut(&Progress),
    ) {
        let mut next_progress_ms = 0;
        loop {
            let elapsed_ms = self.elapsed_ms();
            self.advance(elapsed_ms);
            self.write_ngap();
            let is_over = self.config.duration_ms.is_some_and(|d| elapsed_ms >= d);
            if elapsed_ms >= next_progress_ms || is_over {
                next_progress_ms = elapsed_ms + self.config.progress_interval_ms.max(1);
                progress(&self.progress());
            }
            if is_over || stop.is_stopped() {
                return;
            }
            let wait = self.wait(elapsed_ms, next_progress_ms);
            match reports.recv_timeout(wait) {
                Ok(first) => {
                    let elapsed_ms = self.elapsed_ms();
                    self.advance(elapsed_ms);
                    self.handle(first);
                    for report in reports.try_iter().take(PDUS_AT_ONCE_MAX) {
                        self.handle(report);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                // Only without any gNB: nothing will ever come in.
                Err(RecvTimeoutError::Disconnected) => thread::sleep(wait),
            }
        }
    }

    fn advance(&mut self, elapsed_ms: u64) {
        let now_ms = self.base_ms + elapsed_ms;
        if let Some(due_ms) = self.site.poll_timeout() {
            let late_ms = now_ms.saturating_sub(due_ms.max(self.site.now_ms()));
            self.summary.late_ms_max = self.summary.late_ms_max.max(late_ms);
        }
        self.site.advance(now_ms);
    }

    /// How long nothing needs to be done, unless a PDU comes in.
    fn wait(&self, elapsed_ms: u64, next_progress_ms: u64) -> Duration {
        // `stop` may come from another thread, and a full connection may have room again.
        const LONGEST_MS: u64 = 20;
        let site_ms = self.site.poll_timeout().unwrap_or(u64::MAX);
        let wait_ms = site_ms
            .saturating_sub(self.base_ms + elapsed_ms)
            .min(next_progress_ms.saturating_sub(elapsed_ms))
            .min(LONGEST_MS);
        Duration::from_millis(wait_ms)
    }

    fn handle(&mut self, report: LinkReport) {
        match report {
            LinkReport::Pdu { gnb, octets } => {
                if let Some(observer) = &mut self.observer {
                    observer(unix_ms(), Way::Down, gnb, &octets);
                }
                self.site.ngap_in(gnb, &octets);
            }
            LinkReport::Up { gnb, outgoing } => {
                if let (Some(link), Some(was)) =
                    (self.links.get_mut(gnb), self.was_connected.get_mut(gnb))
                {
                    *link = Some(outgoing);
                    self.summary.progress.gnbs_connected += 1;
                    self.summary.progress.reconnects += u64::from(*was);
                    *was = true;
                    self.site.connected(gnb);
                }
            }
            LinkReport::Down { gnb, reason } => {
                if self.links.get_mut(gnb).and_then(Option::take).is_some() {
                    self.summary.progress.gnbs_connected -= 1;
                    self.site.disconnected(gnb);
                }
                self.summary.last_error = Some(reason);
            }
            LinkReport::Refused { reason } => {
                self.summary.progress.connect_failures += 1;
                self.summary.last_error = Some(reason);
            }
        }
    }

    fn write_ngap(&mut self) {
        for (gnb, link) in self.links.iter().enumerate() {
            let Some(outgoing) = link else {
                continue;
            };
            while outgoing.has_room() {
                let Some(octets) = self.site.poll_ngap_of(gnb) else {
                    break;
                };
                if let Some(observer) = &mut self.observer {
                    observer(unix_ms(), Way::Up, gnb, &octets);
                }
                outgoing.send(octets);
            }
        }
    }

    fn progress(&self) -> Progress {
        let fleet = self.site.fleet_stats();
        Progress {
            elapsed_ms: self.elapsed_ms(),
            devices: fleet.devices,
            powered: fleet.powered,
            registered: fleet.registered,
            reports_built: fleet.reports_built,
            reports_transmitted: fleet.reports_transmitted,
            accepted: fleet.accepted,
            pending: fleet.pending(),
            gnbs: self.site.gnbs().len() as u64,
            ..self.summary.progress
        }
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn into_summary(self) -> Summary {
        let progress = self.progress();
        for gnb in 0..self.links.len() {
            self.site.disconnected(gnb);
        }
        Summary {
            progress,
            fleet: *self.site.fleet_stats(),
            air: self.site.air_stats(),
            gnbs: self
                .site
                .gnbs()
                .iter()
                .map(|gnb| gnb.stats().clone())
                .collect(),
            ..self.summary
        }
    }
}

fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}
