//! The write-ahead log of the file, and when it is moved into it.
//!
//! What moves it waits for the disk, tens of milliseconds where it is slow. So a thread with a connection of its own does it while
//! commits go on. A log begins anew only when all of it is moved, which does not happen beside commits that never pause: when it
//! has grown long, a commit moves the rest, just after the thread has been at it and has left little. SQLite syncs the file
//! itself only when all is moved, and with it all that was moved since the log began; so the thread syncs it after each of its
//! moves.
//!
//! The system tells of a failed sync once and then takes what it could not write for written. So after one the log is not moved any
//! more: it has all that the disk may lack, until a restart moves it anew.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode};

use crate::StoreError;

/// Pages of 4 KiB that are added to the log between two moves beside the commits: 2 MiB. A move keeps a core for some
/// milliseconds, in which on a small machine a commit may have to wait.
const MOVED_PAGES: u32 = 512;

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
    /// Why the log is not moved any more.
    fault: Fault,
    mover: Option<Mover>,
}

type Fault = Arc<OnceLock<String>>;

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
            fault: Arc::default(),
            mover: None,
        })
    }

    /// That the disk takes what is moved into the file. Asked before anything is written.
    ///
    /// # Errors
    /// [`StoreError::Io`], until the store is opened again.
    pub(super) fn check(&self, connection: &Connection) -> Result<(), StoreError> {
        let Some(detail) = self.fault.get() else {
            return Ok(());
        };
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        Err(StoreError::Io {
            detail: format!(
                "{detail}; the log is kept and is moved into the file at the next start"
            ),
        })
    }

    /// Waits for the thread, and has the connection, which is closed next, move the log unless the disk has refused that.
    pub(super) fn end(&mut self, connection: &Connection) {
        self.mover = None;
        let _ = self.check(connection);
    }

    /// Makes the sync of the file fail, as far as anybody sees.
    #[cfg(test)]
    pub(super) fn fail(&self) {
        let _ = self.fault.set("made to fail".into());
    }

    /// Has the log moved if it has grown. Nothing depends on it: what the disk did not refuse is tried again after other commits.
    pub(super) fn mind(&mut self, connection: &Connection) {
        if self.fault.get().is_some() {
            return;
        }
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
            note(&self.fault, move_log(connection));
        } else if is_due {
            self.asked = pages;
            self.is_moved.store(false, Ordering::Relaxed);
            if self.mover.is_none() {
                let seen = (&self.pages, &self.is_moved, &self.fault);
                self.mover = Mover::start(self.path.clone(), seen).ok();
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
        (pages, is_moved, fault): (&Arc<AtomicU32>, &Arc<AtomicBool>, &Fault),
    ) -> std::io::Result<Self> {
        let (pages, is_moved, fault) = (pages.clone(), is_moved.clone(), fault.clone());
        let (wake, woken) = sync_channel(1);
        let ends = Arc::new(AtomicBool::new(false));
        let seen = ends.clone();
        let thread = thread::Builder::new()
            .name("ambit-store-log".into())
            .spawn(move || run(&path, &woken, &seen, (&pages, &is_moved, &fault)))?;
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
    (pages, is_moved, fault): (&AtomicU32, &AtomicBool, &Fault),
) {
    let Ok(connection) = super::open::beside(path) else {
        return;
    };
    // The log is moved when the store's own connection is closed, or not at all.
    let config = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
    if connection.set_db_config(config, true).is_err() {
        return;
    }
    while woken.recv().is_ok() && !ends.load(Ordering::Relaxed) {
        for _ in 0..MOVES_MAX {
            let before = pages.load(Ordering::Relaxed);
            note(fault, move_log(&connection));
            note(fault, super::sync::file(&connection));
            if fault.get().is_some() {
                return;
            }
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

/// Keeps what the disk has refused. Other failures leave the log as it was.
fn note(fault: &Fault, moved: rusqlite::Result<()>) {
    if let Err(error) = moved
        && error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure)
    {
        let _ = fault.set(error.to_string());
    }
}

/// Moves what no reader still needs in its place. Never waits for another process.
fn move_log(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}
