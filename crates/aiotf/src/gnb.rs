//! One gNB as the AIOTF sees it: first a connection that owes an NG SETUP, then a peer with windows.

use ambit_ngap::{Cause, GnbId};
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

/// How NGAP gets to a gNB (TS 23.369).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connectivity {
    /// Over a connection of its own, with which its sessions end.
    Direct,
    /// Through an AMF. A gNB keeps its sessions when the AIOTF ends, and nobody tells the AIOTF when they are lost.
    Indirect,
}

/// A gNB that was welcomed.
#[derive(Debug)]
pub(crate) struct Gnb {
    pub(crate) id: GnbId,
    pub(crate) connectivity: Connectivity,
    windows: Vec<Window>,
    next_correlation: u16,
    next_terminated: u16,
    /// When to ask again for a window that was refused.
    pub(crate) retry_at_ms: Option<i64>,
    /// When to ask whether the window is still open.
    pub(crate) check_at_ms: Option<i64>,
}

/// What an INVENTORY RESPONSE tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    /// The window that was asked for is open.
    New,
    /// It was open before: the gNB had lost its sessions, and has opened this one anew.
    Anew,
    /// There is no such window.
    Unknown,
}

/// What an INVENTORY FAILURE tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The window is refused, and forgotten.
    New,
    /// It is open as it should be, and was only asked after.
    StillOpen,
    /// A session of this number stands there from an earlier AIOTF: it is to be released, and the window asked for again.
    LeftOver(RandN),
    /// There is no such window.
    Unknown,
}

/// A DO-A window: an inventory that stays open for an epoch.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) correlation: u16,
    pub(crate) rand_n: RandN,
    /// When it is to be released; `None` while its epoch is the current one.
    pub(crate) release_at_ms: Option<i64>,
    /// Whether the gNB has said that it is open.
    is_confirmed: bool,
    /// Whether a session that stood in its place was released.
    is_cleared: bool,
}

impl Gnb {
    pub(crate) const fn new(id: GnbId) -> Self {
        Self {
            id,
            connectivity: Connectivity::Direct,
            windows: Vec::new(),
            next_correlation: DO_A_FIRST,
            next_terminated: 0,
            retry_at_ms: None,
            check_at_ms: None,
        }
    }

    /// A gNB behind an AMF. Inventories of an AIOTF before this one may be open there still, so numbers begin elsewhere at each start.
    pub(crate) fn indirect(id: GnbId, now_ms: i64) -> Self {
        let seconds = now_ms.div_euclid(1000).rem_euclid(i64::from(DO_A_FIRST));
        Self {
            connectivity: Connectivity::Indirect,
            next_terminated: u16::try_from(seconds).unwrap_or(0),
            ..Self::new(id)
        }
    }

    /// Opens a window and returns its correlation identifier. The ones before end at `release_at_ms`.
    pub(crate) fn open(&mut self, rand_n: RandN, release_at_ms: i64) -> u16 {
        for window in &mut self.windows {
            window.release_at_ms.get_or_insert(release_at_ms);
        }
        let correlation = match self.connectivity {
            Connectivity::Indirect if self.window(of_epoch(rand_n.epoch())).is_none() => {
                of_epoch(rand_n.epoch())
            }
            _ => self.free_correlation(),
        };
        self.next_correlation = after(correlation);
        self.windows.push(Window {
            correlation,
            rand_n,
            release_at_ms: None,
            is_confirmed: false,
            is_cleared: false,
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

    /// The correlation identifier of the window with this RAND_n.
    pub(crate) fn window_of(&self, rand_n: &RandN) -> Option<u16> {
        let mut windows = self.windows.iter();
        windows.find(|w| w.rand_n == *rand_n).map(|w| w.correlation)
    }

    /// The gNB says that it has opened a window.
    pub(crate) fn confirm(&mut self, correlation: u16) -> Opened {
        let connectivity = self.connectivity;
        let mut windows = self.windows.iter_mut();
        match windows.find(|w| w.correlation == correlation) {
            None => Opened::Unknown,
            Some(window) if window.is_confirmed && connectivity == Connectivity::Indirect => {
                self.windows.retain(|w| w.correlation == correlation);
                Opened::Anew
            }
            Some(window) => {
                window.is_confirmed = true;
                Opened::New
            }
        }
    }

    /// The gNB says that it opens no window.
    pub(crate) fn refuse(&mut self, correlation: u16, cause: Cause) -> Refused {
        let is_taken =
            cause == Cause::MultipleAiotSessions && self.connectivity == Connectivity::Indirect;
        let mut windows = self.windows.iter_mut();
        if is_taken && let Some(window) = windows.find(|w| w.correlation == correlation) {
            if window.is_confirmed {
                return Refused::StillOpen;
            }
            if !std::mem::replace(&mut window.is_cleared, true) {
                return Refused::LeftOver(window.rand_n);
            }
        }
        if self.close(correlation) {
            Refused::New
        } else {
            Refused::Unknown
        }
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
        let asked = self.retry_at_ms.into_iter().chain(self.check_at_ms);
        releases.chain(asked.filter(|_| may_open)).min()
    }

    pub(crate) fn window_count(&self) -> usize {
        self.windows.len()
    }
}

/// The correlation identifier that the window of an epoch has behind an AMF: an AIOTF that comes after this one finds it, and
/// not another, in its way.
pub(crate) const fn of_epoch(epoch: u32) -> u16 {
    let [.., high, low] = epoch.to_be_bytes();
    u16::from_be_bytes([high, low]) | DO_A_FIRST
}

fn after(correlation: u16) -> u16 {
    correlation.checked_add(1).unwrap_or(DO_A_FIRST)
}
