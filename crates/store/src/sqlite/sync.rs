//! Syncing the file beside SQLite, which has no statement for it. Through SQLite's own file object: a second one for the same
//! file would, when it is closed, take away the locks that the process holds on it.
#![allow(unsafe_code)]

use std::ptr;

use rusqlite::{Connection, ffi};

/// Waits until what was written to the file of this connection, log apart, is on the disk.
pub(super) fn file(connection: &Connection) -> rusqlite::Result<()> {
    let mut file: *mut ffi::sqlite3_file = ptr::null_mut();
    // SAFETY: the handle is that of an open connection, which nothing else uses meanwhile. For this operation SQLite writes the
    // address of the file object of "main", which lives as long as the connection, and whose methods never change.
    let code = unsafe {
        let to = (&raw mut file).cast();
        let operation = ffi::SQLITE_FCNTL_FILE_POINTER;
        match ffi::sqlite3_file_control(connection.handle(), c"main".as_ptr(), operation, to) {
            ffi::SQLITE_OK => {
                let methods = file.as_ref().and_then(|file| file.pMethods.as_ref());
                let sync = methods.and_then(|methods| methods.xSync);
                let flags = ffi::SQLITE_SYNC_NORMAL | ffi::SQLITE_SYNC_DATAONLY;
                sync.map_or(ffi::SQLITE_MISUSE, |sync| sync(file, flags))
            }
            code => code,
        }
    };
    match code {
        ffi::SQLITE_OK => Ok(()),
        code => Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_synced_and_memory_is_not() {
        let path = std::env::temp_dir().join(format!("ambit-store-sync-{}", std::process::id()));
        let connection = Connection::open(&path).unwrap();
        connection
            .query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))
            .unwrap();
        connection.execute_batch("CREATE TABLE t (a)").unwrap();
        file(&connection).unwrap();
        drop(connection);
        std::fs::remove_file(path).unwrap();
        // SQLite gives it no file to sync.
        assert!(file(&Connection::open_in_memory().unwrap()).is_err());
    }
}
