//! One gNB as the AIOTF sees it: first a connection that owes an NG SETUP, then a peer with windows.

use ambit_ngap::GnbId;
use ambit_protocol::RandN;

/// Correlation identifiers of DO-A windows start here; those below are device-terminated inventories (section 11).
pub(crate) const DO_A_FIRST: u16 = 0x8000;

/// A connection, by what is expected of it next.
#[derive(Debug)]
pub(crate) enum Connection {
    /// NG SETUP REQUEST.
    AwaitingSetup,
    /// Reports and answers.
    Ready(Gnb),
}

/// A gNB that was welcomed.
#[derive(Debug)]
pub(crate) struct Gnb {
    pub(crate) id: GnbId,
    windows: Vec<Window>,
    next_correlation: u16,
    next_terminated: u16,
    /// When to ask again for a window that was refused.
    pub(crate) retry_at_ms: Option<i64>,
}

/// A DO-A window: an inventory that stays open for an epoch.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) correlation: u16,
    pub(crate) rand_n: RandN,
    /// When it is to be released; `None` while its epoch is the current one.
    pub(crate) release_at_ms: Option<i64>,
}

impl Gnb {
    pub(crate) const fn new(id: GnbId) -> Self {
        Self {
            id,
            windows: Vec::new(),
            next_correlation: DO_A_FIRST,
            next_terminated: 0,
            retry_at_ms: None,
        }
    }

    /// Opens a window and returns its correlation identifier. The ones before end at `release_at_ms`.
    pub(crate) fn open(&mut self, rand_n: RandN, release_at_ms: i64) -> u16 {
        for window in &mut self.windows {
            window.release_at_ms.get_or_insert(release_at_ms);
        }
        let correlation = self.free_correlation();
        self.next_correlation = after(correlation);
        self.windows.push(Window {
            correlation,
            rand_n,
            release_at_ms: None,
        });
        self.retry_at_ms = None;
        correlation
    }

    /// The next correlation identifier of a device-terminated inventory. One comes back after 32 768 others, when no session of
    /// it is left.
    pub(crate) const fn terminated_correlation(&mut self) -> u16 {
        let correlation = self.next_terminated;
        self.next_terminated = (correlation + 1) % DO_A_FIRST;
        correlation
    }

    /// The next correlation identifier that no open window has; there are always few windows.
    fn free_correlation(&self) -> u16 {
        let mut correlation = self.next_correlation;
        while self.window(correlation).is_some() {
            correlation = after(correlation);
        }
        correlation
    }

    pub(crate) fn window(&self, correlation: u16) -> Option<&Window> {
        self.windows
            .iter()
            .find(|window| window.correlation == correlation)
    }

    pub(crate) fn has_window(&self, rand_n: &RandN) -> bool {
        self.windows.iter().any(|window| window.rand_n == *rand_n)
    }

    /// Forgets a window; false when there is none.
    pub(crate) fn close(&mut self, correlation: u16) -> bool {
        let before = self.windows.len();
        self.windows
            .retain(|window| window.correlation != correlation);
        self.windows.len() < before
    }

    /// Takes out the windows whose time is over and returns their correlation identifiers.
    pub(crate) fn release_due(&mut self, now_ms: i64) -> Vec<u16> {
        let is_due = |window: &Window| window.release_at_ms.is_some_and(|at| at <= now_ms);
        self.windows
            .extract_if(.., |window| is_due(window))
            .map(|window| window.correlation)
            .collect()
    }

    /// When something is due next; asking again for a window only if one `may_open`.
    pub(crate) fn timeout_ms(&self, may_open: bool) -> Option<i64> {
        let releases = self
            .windows
            .iter()
            .filter_map(|window| window.release_at_ms);
        let retry = self.retry_at_ms.filter(|_| may_open);
        releases.chain(retry).min()
    }

    pub(crate) fn window_count(&self) -> usize {
        self.windows.len()
    }
}

fn after(correlation: u16) -> u16 {
    correlation.checked_add(1).unwrap_or(DO_A_FIRST)
}
