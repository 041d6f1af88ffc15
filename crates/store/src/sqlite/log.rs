//! The write-ahead log of the file, and when it is moved into it.
//!
//! What moves it waits for the disk, tens of milliseconds where it is slow. So a thread with a connection of its own does it while
//! commits go on; a commit does it itself only when the log has grown long all the same.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;

use crate::StoreError;

/// Pages of 4 KiB that are added to the log between two moves beside the commits: 8 MiB.
const MOVED_PAGES: u32 = 2048;

/// Pages in the log after which a commit moves them: 128 MiB. A log begins anew only when all of it is moved, which does not
/// happen beside commits that never pause.
const PAGES_MAX: u32 = 32_768;

/// The log of a file that is written.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    /// Pages in the log after the last commit.
    pages: Arc<AtomicU32>,
    /// As many as there were when moving them was asked for last.
    asked: u32,
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
        if pages >= PAGES_MAX {
            self.asked = pages;
            let _ = move_log(connection);
        } else if pages - self.asked >= MOVED_PAGES {
            self.asked = pages;
            if self.mover.is_none() {
                self.mover = Mover::start(self.path.clone()).ok();
            }
            if let Some(mover) = &self.mover {
                // Full: it has been asked and has not begun.
                let _ = mover.wake.try_send(());
            }
        }
    }
}

impl Mover {
    fn start(path: PathBuf) -> std::io::Result<Self> {
        let (wake, woken) = sync_channel(1);
        let ends = Arc::new(AtomicBool::new(false));
        let seen = ends.clone();
        let thread = thread::Builder::new()
            .name("ambit-store-log".into())
            .spawn(move || run(&path, &woken, &seen))?;
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

fn run(path: &std::path::Path, woken: &Receiver<()>, ends: &AtomicBool) {
    let Ok(connection) = super::open::beside(path) else {
        return;
    };
    while woken.recv().is_ok() && !ends.load(Ordering::Relaxed) {
        let _ = move_log(&connection);
    }
}

/// Moves what no reader still needs in its place. Never waits for another process.
fn move_log(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}
