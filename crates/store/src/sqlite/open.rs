//! Opening, creating and migrating the file, and the settings of a connection.

use crate::StoreError;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};
use std::fs::OpenOptions;
use std::path::Path;
use std::time::{Duration, Instant};

/// `PRAGMA application_id`: "AmbS" in ASCII.
const APPLICATION_ID: u32 = 0x416d_6253;

/// Each entry leads from the schema version that is its index to the next. Entries are never changed once released.
const MIGRATIONS: &[Migration] = &[
    (include_str!("schema_1.sql"), None),
    (include_str!("schema_2.sql"), None),
    (include_str!("schema_3.sql"), None),
    (
        include_str!("schema_4.sql"),
        Some(super::evidence::link_all),
    ),
    (include_str!("schema_5.sql"), None),
    (include_str!("schema_6.sql"), None),
    (include_str!("schema_7.sql"), None),
    (include_str!("schema_8.sql"), None),
    (include_str!("schema_9.sql"), None),
    (include_str!("schema_10.sql"), None),
];

/// What changes the schema, and what then has to be computed for the rows there are.
type Migration = (
    &'static str,
    Option<fn(&Transaction<'_>) -> Result<(), StoreError>>,
);

/// How long a writer waits for another process.
const BUSY_WAIT: Duration = Duration::from_secs(5);

/// How often it looks.
const BUSY_LOOK: Duration = Duration::from_micros(500);

/// Memory for pages of the file, at most. `accept` writes at the ends of its tables; a commit may walk all of it.
const CACHE_KIB: u32 = 16 * 1024;

pub(super) fn read_write(path: &Path) -> Result<Connection, StoreError> {
    create_private(path)?;
    let start = Instant::now();
    // The change to WAL does not wait for another process that is opening the new file as well, so it is waited for here.
    loop {
        match prepare(path) {
            Err(StoreError::Busy) if start.elapsed() < BUSY_WAIT => {
                std::thread::sleep(Duration::from_millis(2))
            }
            result => return result,
        }
    }
}

fn prepare(path: &Path) -> Result<Connection, StoreError> {
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let version = identify_at_once(&connection, path)?;
    if version == 0 {
        // The journal mode is kept in the file. It cannot be set inside the transaction that makes the schema.
        connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
        sync_directory(path)?;
    }
    configure(&connection)?;
    if version < supported() {
        migrate(&mut connection, path)?;
    }
    Ok(connection)
}

/// A second connection to a file that is open, which changes nothing in it.
pub(super) fn beside(path: &Path) -> Result<Connection, StoreError> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA mmap_size = 0")?;
    Ok(connection)
}

pub(super) fn read_only(path: &Path) -> Result<Connection, StoreError> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let found = identify_at_once(&connection, path)?;
    if found < supported() {
        return Err(StoreError::OlderVersion {
            found,
            supported: supported(),
        });
    }
    configure(&connection)?;
    Ok(connection)
}

pub(super) fn in_memory() -> Result<Connection, StoreError> {
    let mut connection = Connection::open_in_memory()?;
    connection.execute_batch("PRAGMA foreign_keys = OFF; PRAGMA synchronous = OFF")?;
    migrate(&mut connection, Path::new(":memory:"))?;
    Ok(connection)
}

/// The schema version this program writes.
fn supported() -> u32 {
    u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX)
}

/// Makes an empty file if there is none, which SQLite then fills: so the file and those beside it, which take over its
/// mode, are the owner's alone from the first moment.
fn create_private(path: &Path) -> Result<(), StoreError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(StoreError::CannotOpen {
                path: path.to_owned(),
                detail: error.to_string(),
            })
        }
        _ => Ok(()),
    }
}

/// Without this, a power cut could take the name of a new file from a directory whose file is safe on disk.
#[cfg(unix)]
fn sync_directory(path: &Path) -> Result<(), StoreError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    std::fs::File::open(directory)
        .and_then(|d| d.sync_all())
        .map_err(|error| StoreError::Io {
            detail: error.to_string(),
        })
}

#[cfg(not(unix))]
fn sync_directory(_: &Path) -> Result<(), StoreError> {
    Ok(())
}

fn connect(path: &Path, mode: OpenFlags) -> Result<Connection, StoreError> {
    // Without SQLITE_OPEN_URI: a path is a path, even if it begins with "file:".
    let mut connection = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(|error| StoreError::CannotOpen {
            path: path.to_owned(),
            detail: error.to_string(),
        })?;
    connection.busy_handler(Some(wait()))?;
    Ok(connection)
}

/// How a connection waits for a lock. It looks often: SQLite's own wait, which comes to look every 100 ms, does not find the
/// moments between the commits of a process that has much to write.
fn wait() -> impl FnMut(i32) -> bool + Send + 'static {
    let mut since = Instant::now();
    move |tries| {
        if tries == 0 {
            since = Instant::now();
        }
        std::thread::sleep(BUSY_LOOK);
        since.elapsed() < BUSY_WAIT
    }
}

/// As [`identify`], in one transaction: another process may be making the schema at this moment.
fn identify_at_once(connection: &Connection, path: &Path) -> Result<u32, StoreError> {
    let transaction = connection.unchecked_transaction()?;
    identify(&transaction, path)
}

/// The file's schema version, 0 if it is empty. Only reads.
fn identify(connection: &Connection, path: &Path) -> Result<u32, StoreError> {
    let header = |name: &str| -> Result<u32, rusqlite::Error> {
        connection
            .query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i32>(0))
            .map(i32::cast_unsigned)
    };
    let application_id =
        header("application_id").map_err(|error| match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => StoreError::NotADatabase {
                path: path.to_owned(),
            },
            Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => StoreError::CannotOpen {
                path: path.to_owned(),
                detail: error.to_string(),
            },
            _ => error.into(),
        })?;
    let version = header("user_version")?;
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let empty = application_id == 0 && version == 0 && tables == 0;
    if application_id != APPLICATION_ID && !empty {
        return Err(StoreError::ForeignFile {
            path: path.to_owned(),
            application_id,
        });
    }
    if version > supported() {
        return Err(StoreError::NewerVersion {
            found: version,
            supported: supported(),
        });
    }
    Ok(version)
}

fn configure(connection: &Connection) -> Result<(), StoreError> {
    // A plan is made for a statement, not anew for each value that is bound to it.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // FULL: every commit is on the disk before it returns. Memory mapping stays off: with it, a failing disk kills the
    // process (SIGBUS) instead of giving an error.
    connection.execute_batch(&format!(
        "PRAGMA synchronous = FULL; PRAGMA cache_size = -{CACHE_KIB}; PRAGMA mmap_size = 0;
         PRAGMA journal_size_limit = 67108864;
         PRAGMA foreign_keys = OFF; PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF"
    ))?;
    Ok(())
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Looked at again under the write lock: another process may have been faster.
    let version = identify(&transaction, path)?;
    for (schema, fill) in MIGRATIONS
        .iter()
        .skip(usize::try_from(version).unwrap_or(usize::MAX))
    {
        transaction.execute_batch(schema)?;
        if let Some(fill) = fill {
            fill(&transaction)?;
        }
    }
    transaction.execute_batch(&format!(
        "PRAGMA user_version = {}; PRAGMA application_id = {APPLICATION_ID}",
        supported()
    ))?;
    transaction.commit()?;
    Ok(())
}
