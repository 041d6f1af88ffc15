//! The write-ahead log of the file, and when it is moved into it.
//!
//! What moves it waits for the disk, tens of milliseconds where it is slow. So a thread with a connection of its own does it while
//! commits go on. A log begins anew only when all of it is moved, which does not happen beside commits that never pause: when it
//! has grown long, a commit moves the rest, just after the thread has been at it and has left little. SQLite syncs the file
//! itself only then, and with it all that was moved since the log began; so the thread syncs it after each of its moves.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;

use crate::StoreError;

/// Pages of 4 KiB that are added to the log between two moves beside the commits: 8 MiB.
const MOVED_PAGES: u32 = 2048;

/// Pages in the log after which the rest is moved by a commit: 60 MiB. A little less than what is left of the file when it begins
/// anew (`journal_size_limit`): a file that need not grow is synced faster.
const PAGES_LONG: u32 = 15_360;

/// Pages after which it does not wait for the thread any more: 128 MiB.
const PAGES_MAX: u32 = 32_768;

/// Few enough pages to be moved by a commit: 1 MiB. A long log is moved this often.
const PAGES_FEW: u32 = 256;

/// Moves in a row that are tried to get that far.
const MOVES_MAX: usize = 8;

/// The log of a file that is written.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    /// Pages in the log after the last commit.
    pages: Arc<AtomicU32>,
    /// As many as there were when moving them was asked for last.
    asked: u32,
    /// The thread has been at it since a commit was last.
    is_moved: Arc<AtomicBool>,
    mover: Option<Mover>,
}

/// The thread that moves the log, while there is enough to do.
#[derive(Debug)]
struct Mover {
    wake: SyncSender<()>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Log {
    /// Watches the log of this connection, which is that of `path`.
    pub(super) fn watch(connection: &mut Connection, path: PathBuf) -> Result<Self, StoreError> {
        let pages = Arc::new(AtomicU32::new(0));
        let noted = pages.clone();
        // In the place of the automatic move by the commit.
        connection.wal_hook(Some(move |_: &mut _, pages: i32| {
            noted.store(pages.cast_unsigned(), Ordering::Relaxed);
            Ok(())
        }))?;
        Ok(Self {
            path,
            pages,
            asked: 0,
            is_moved: Arc::default(),
            mover: None,
        })
    }

    /// Has the log moved if it has grown. Nothing depends on it: what fails is tried again after other commits.
    pub(super) fn mind(&mut self, connection: &Connection) {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages < self.asked {
            // It has begun anew.
            self.asked = 0;
        }
        let is_long = pages >= PAGES_LONG;
        let interval = if is_long { PAGES_FEW } else { MOVED_PAGES };
        // What was moved when it was not long yet has left more by now.
        let is_time = is_long && self.asked >= PAGES_LONG && self.is_moved.load(Ordering::Relaxed);
        let is_due = pages - self.asked >= interval;
        let is_too_long = pages >= PAGES_MAX && is_due || pages >= 4 * PAGES_MAX;
        if is_time || is_too_long {
            self.is_moved.store(false, Ordering::Relaxed);
            self.asked = pages;
            let _ = move_log(connection);
        } else if is_due {
            self.asked = pages;
            self.is_moved.store(false, Ordering::Relaxed);
            if self.mover.is_none() {
                self.mover = Mover::start(self.path.clone(), &self.pages, &self.is_moved).ok();
            }
            // Full: it has been asked and has not begun. Gone: it could not open the file.
            let wake = self.mover.as_ref().map(|mover| mover.wake.try_send(()));
            if let Some(Err(TrySendError::Disconnected(()))) = wake {
                self.mover = None;
            }
        }
    }
}

impl Mover {
    fn start(
        path: PathBuf,
        pages: &Arc<AtomicU32>,
        is_moved: &Arc<AtomicBool>,
    ) -> std::io::Result<Self> {
        let (pages, is_moved) = (pages.clone(), is_moved.clone());
        let (wake, woken) = sync_channel(1);
        let ends = Arc::new(AtomicBool::new(false));
        let seen = ends.clone();
        let thread = thread::Builder::new()
            .name("ambit-store-log".into())
            .spawn(move || run(&path, &woken, &seen, (&pages, &is_moved)))?;
        Ok(Self {
            wake,
            ends,
            thread: Some(thread),
        })
    }
}

impl Drop for Mover {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let _ = self.wake.try_send(());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(
    path: &std::path::Path,
    woken: &Receiver<()>,
    ends: &AtomicBool,
    (pages, is_moved): (&AtomicU32, &AtomicBool),
) {
    let Ok(connection) = super::open::beside(path) else {
        return;
    };
    while woken.recv().is_ok() && !ends.load(Ordering::Relaxed) {
        for _ in 0..MOVES_MAX {
            let before = pages.load(Ordering::Relaxed);
            let _ = move_log(&connection);
            // What fails here is told to the commit that syncs the file: through a file descriptor of its own.
            let _ = super::sync::file(&connection);
            // Enough when few have come meanwhile.
            if before < PAGES_LONG
                || pages.load(Ordering::Relaxed).saturating_sub(before) <= PAGES_FEW
            {
                break;
            }
        }
        is_moved.store(true, Ordering::Relaxed);
    }
}

/// Moves what no reader still needs in its place. Never waits for another process.
fn move_log(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}
