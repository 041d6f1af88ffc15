//! A core and a site on one clock, NGAP octets between them, without I/O of their own.

use ambit_adm::Adm;
use ambit_adm_api::Outcome;
use ambit_aiotf::{Aiotf, ConnectionId, Output};
use ambit_ran::site::Site;

/// A site, and the core that serves it while there is one.
pub struct Stage {
    site: Site,
    core: Option<Core>,
    /// The core's Unix time in ms when the site's clock shows 0.
    origin_ms: i64,
    next_connection: ConnectionId,
    crashes_after_commit: bool,
}

struct Core {
    aiotf: Aiotf<Adm>,
    /// Connection of each gNB, by its position.
    connections: Vec<ConnectionId>,
}

impl Stage {
    /// A site without a core.
    pub const fn new(site: Site, origin_ms: i64) -> Self {
        Self {
            site,
            core: None,
            origin_ms,
            next_connection: 0,
            crashes_after_commit: false,
        }
    }

    /// Puts a core in place; every gNB connects to it.
    pub fn start_core(&mut self, mut aiotf: Aiotf<Adm>) {
        let mut connections = Vec::new();
        for gnb in 0..self.site.gnbs().len() {
            self.next_connection += 1;
            connections.push(self.next_connection);
            aiotf.handle_connected(self.next_connection);
            self.site.connected(gnb);
        }
        self.core = Some(Core { aiotf, connections });
        self.exchange();
    }

    /// Takes the core away, as a crash does: what it had not made durable is lost, every gNB loses its connection.
    pub fn kill_core(&mut self) -> Option<Aiotf<Adm>> {
        self.crashes_after_commit = false;
        let core = self.core.take()?;
        for gnb in 0..core.connections.len() {
            self.site.disconnected(gnb);
        }
        Some(core.aiotf)
    }

    /// Cuts the connection of one gNB, which does not come back.
    pub fn cut(&mut self, gnb: usize) {
        let core = self.core.as_mut();
        if let Some((core, connection)) =
            core.and_then(|core| core.connections.get(gnb).copied().map(|c| (core, c)))
        {
            core.aiotf.handle_disconnected(connection);
            self.site.disconnected(gnb);
        }
    }

    /// Lets the core crash the next time that it has put an acceptance on record, before the ACCEPT leaves.
    pub const fn crash_after_commit(&mut self) {
        self.crashes_after_commit = true;
    }

    /// Sets the clock of the core that is started next, ahead (or back) by so many milliseconds.
    pub const fn shift_core_clock(&mut self, by_ms: i64) {
        self.origin_ms = self.origin_ms.saturating_add(by_ms);
    }

    /// Lets time pass until the site's clock shows `until_ms`, each thing at its own time.
    pub fn advance(&mut self, until_ms: u64) {
        loop {
            self.exchange();
            let site = self.site.poll_timeout();
            let next = site.into_iter().chain(self.core_timeout_ms()).min();
            match next {
                Some(next) if next <= until_ms => {
                    self.site.advance(next.max(self.site.now_ms()));
                    let now_ms = self.unix_ms();
                    if let Some(core) = &mut self.core
                        && core.aiotf.poll_timeout() <= now_ms
                    {
                        core.aiotf.handle_timeout(now_ms);
                    }
                }
                _ => break,
            }
        }
        self.site.advance(until_ms);
        self.exchange();
    }

    /// Unix time in ms, as the core has it.
    pub fn unix_ms(&self) -> i64 {
        let now_ms = i64::try_from(self.site.now_ms()).unwrap_or(i64::MAX);
        self.origin_ms.saturating_add(now_ms)
    }

    /// The site.
    pub const fn site(&self) -> &Site {
        &self.site
    }

    /// The site, for adversaries and to switch things.
    pub const fn site_mut(&mut self) -> &mut Site {
        &mut self.site
    }

    /// The core, while there is one.
    pub fn core(&mut self) -> Option<&mut Aiotf<Adm>> {
        self.core.as_mut().map(|core| &mut core.aiotf)
    }

    /// When the core has something to do, on the site's clock.
    fn core_timeout_ms(&self) -> Option<u64> {
        let at_ms = self.core.as_ref()?.aiotf.poll_timeout();
        // A moment in the past is now: the clock does not go back.
        let at_ms = u64::try_from(at_ms.saturating_sub(self.origin_ms)).unwrap_or(0);
        Some(at_ms.max(self.site.now_ms()))
    }

    /// Carries PDUs both ways until nobody has more to say.
    fn exchange(&mut self) {
        let now_ms = self.unix_ms();
        while let Some(core) = &mut self.core {
            let mut is_quiet = true;
            while let Some((gnb, octets)) = self.site.poll_ngap() {
                is_quiet = false;
                if let Some(connection) = core.connections.get(gnb) {
                    core.aiotf.handle_pdu(*connection, &octets, now_ms);
                }
            }
            let before = accepted(&core.aiotf);
            core.aiotf.flush(now_ms);
            if self.crashes_after_commit && accepted(&core.aiotf) > before {
                drop(self.kill_core());
                break;
            }
            while let Some(output) = core.aiotf.poll_output() {
                is_quiet = false;
                if let Output::Pdu(connection, octets) = output
                    && let Some(gnb) = core.connections.iter().position(|c| *c == connection)
                {
                    self.site.ngap_in(gnb, &octets);
                }
            }
            if is_quiet && core.aiotf.pending_reports() == 0 {
                return;
            }
        }
        // Nobody is there to hear it.
        while self.site.poll_ngap().is_some() {}
    }
}

/// Reports accepted as new so far.
fn accepted(aiotf: &Aiotf<Adm>) -> u64 {
    let tally = aiotf.reports();
    tally.of(Outcome::AcceptedNew) + tally.of(Outcome::AcceptedRepeat)
}
