//! The data directory: the store, a lock that one writer holds, the admin socket. The KEK is not in it.
//!
//! Where the store is a database that several processes share, each process has a data directory all the same: for its lock,
//! its admin socket and who it is.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::os::fd::AsRawFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ambit_adm::{Adm, AdmConfig, Entropy, Kek, system_entropy};
use ambit_nef::delivery::OpenStore;
use ambit_store::{DeliveryStore, FILE_NAME, PostgresStore, PostgresUrl, SqliteStore, Store};

use crate::config::Config;
use crate::failure::Failure;

/// A data directory, by path.
#[derive(Clone, Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    kek_file: PathBuf,
    /// The database, when the store is not a file in here.
    database: Option<PostgresUrl>,
}

/// The right to write in a data directory. The system takes it back when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct WriteLock(#[allow(dead_code)] File);

impl DataDir {
    pub(crate) fn new(config: &Config) -> Result<Self, Failure> {
        let path = config.data_dir.clone();
        let kek_file = match &config.kek_file {
            Some(file) => file.clone(),
            None => beside(&path)?,
        };
        Ok(Self {
            path,
            kek_file,
            database: config.store.database()?,
        })
    }

    /// Whether other processes may use the store at the same time.
    pub(crate) const fn is_shared(&self) -> bool {
        self.database.is_some()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the directory (0700) and takes its lock; `None` when another process has it.
    pub(crate) fn lock(&self) -> Result<Option<WriteLock>, Failure> {
        let mut builder = DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(&self.path);
        made.map_err(|error| self.failed(&error))?;
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.path.join("lock"))
            .map_err(|error| self.failed(&error))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(WriteLock(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(self.failed(&error)),
        }
    }

    /// Opens the ADM on this directory; makes store and KEK when it is new. Needs the lock.
    pub(crate) fn open_adm(
        &self,
        config: AdmConfig,
        _: &WriteLock,
        now_ms: i64,
    ) -> Result<Adm, Failure> {
        let mut entropy = system_entropy();
        let kek = self.kek(&mut entropy)?;
        let store: Box<dyn Store> = match &self.database {
            None => Box::new(SqliteStore::open(&self.store_file())?),
            Some(url) => Box::new(PostgresStore::open(url, Some(self.instance()?))?),
        };
        Ok(Adm::open(config, store, kek, entropy, now_ms)?)
    }

    /// Opens the store for reading alone; possible while a core runs.
    pub(crate) fn open_to_read(&self) -> Result<Box<dyn Store>, Failure> {
        Ok(self.open_deliveries_to_read()?)
    }

    /// The same with the subscriptions.
    pub(crate) fn open_deliveries_to_read(&self) -> Result<Box<dyn DeliveryStore>, Failure> {
        if let Some(url) = &self.database {
            return Ok(Box::new(PostgresStore::open_read_only(url)?));
        }
        let file = self.store_file();
        if !file.try_exists().map_err(|error| self.failed(&error))? {
            let message = format!(
                "{}: holds no store; import devices or start a core first",
                self.path.display()
            );
            return Err(Failure::resource("no_store", message));
        }
        Ok(Box::new(SqliteStore::open_read_only(&file)?))
    }

    /// Opens the store to change subscriptions and their positions, beside the core that has the lock. There must be a store.
    pub(crate) fn open_deliveries(&self) -> Result<Box<dyn DeliveryStore>, Failure> {
        Ok((self.deliveries())()?)
    }

    /// What opens the store as [`DataDir::open_deliveries`] does, again and again.
    pub(crate) fn deliveries(&self) -> OpenStore {
        let (database, file) = (self.database.clone(), self.store_file());
        Arc::new(move || {
            Ok(match &database {
                Some(url) => Box::new(PostgresStore::open(url, None)?),
                None => Box::new(SqliteStore::open(&file)?),
            })
        })
    }

    /// Opens the store to read for who follows the records of this directory's core alone: where several share a store, each has its own.
    pub(crate) fn open_own_records(&self) -> Result<Box<dyn Store>, Failure> {
        match &self.database {
            Some(url) => Ok(Box::new(PostgresStore::open_records_of(
                url,
                self.instance()?,
            )?)),
            None => self.open_to_read(),
        }
    }

    /// The same for the records of another process on a shared store.
    pub(crate) fn open_records_of(&self, instance: [u8; 16]) -> Result<Box<dyn Store>, Failure> {
        match &self.database {
            Some(url) => Ok(Box::new(PostgresStore::open_records_of(url, instance)?)),
            None => self.open_to_read(),
        }
    }

    /// Who the process of this directory is among those that share a store: a UUID (version 4), made at the first call.
    pub(crate) fn instance(&self) -> Result<[u8; 16], Failure> {
        let path = self.path.join("instance");
        let bad = || {
            let message = format!("{}: must hold 32 hexadecimal digits", path.display());
            Failure::resource("instance_invalid", message)
        };
        match fs::read_to_string(&path) {
            Ok(text) => {
                let mut id = [0; 16];
                hex::decode_to_slice(text.trim(), &mut id).map_err(|_| bad())?;
                Ok(id)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let id = new_uuid()?;
                let part = self.path.join("instance.part");
                fs::write(&part, hex::encode(id) + "\n")
                    .and_then(|()| fs::rename(&part, &path))
                    .map_err(|error| self.failed(&error))?;
                Ok(id)
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// The path of the admin socket, short enough for a socket address however deep the directory lies: it goes through
    /// an open descriptor of the directory, which must be kept until the address has been used.
    pub(crate) fn socket(&self) -> Result<(File, PathBuf), Failure> {
        let dir = File::open(&self.path).map_err(|error| self.failed(&error))?;
        let path = format!("/proc/self/fd/{}/admin.sock", dir.as_raw_fd());
        Ok((dir, path.into()))
    }

    fn store_file(&self) -> PathBuf {
        self.path.join(FILE_NAME)
    }

    /// Reads the KEK, or makes one when there is nothing yet that another KEK has wrapped.
    fn kek(&self, entropy: &mut Entropy) -> Result<Kek, Failure> {
        let file = self.kek_file.display();
        let failed =
            |error: &dyn std::fmt::Display| Failure::resource("kek", format!("KEK: {error}"));
        if self.kek_file.exists() {
            return Kek::load(&self.kek_file).map_err(|error| failed(&error));
        }
        let used = match &self.database {
            Some(url) => PostgresStore::open(url, None)?.meta("kek_check")?,
            None if self.store_file().exists() => {
                SqliteStore::open(&self.store_file())?.meta("kek_check")?
            }
            None => None,
        };
        if used.is_some() {
            return Err(failed(&format!(
                "{file} is missing, and the keys of this store are wrapped with it"
            )));
        }
        if let Some(dir) = self
            .kek_file
            .parent()
            .filter(|dir| !dir.as_os_str().is_empty())
        {
            fs::create_dir_all(dir).map_err(|error| failed(&error))?;
        }
        Ok(Kek::create(&self.kek_file, entropy)?)
    }

    fn failed(&self, error: &std::io::Error) -> Failure {
        Failure::io(format!("data directory {}", self.path.display()), error)
    }
}

/// The NF instance ID of the AIOTF, made once per store, or once per process where several share a store.
pub(crate) fn instance_id(dir: &DataDir, adm: &mut Adm) -> Result<[u8; 16], Failure> {
    const NAME: &str = "aiotf_id";
    if dir.is_shared() {
        return dir.instance();
    }
    if let Some(id) = adm.store().meta(NAME)?
        && let Ok(id) = id.try_into()
    {
        return Ok(id);
    }
    let id = new_uuid()?;
    adm.store().meta_set(NAME, &id)?;
    Ok(id)
}

/// A random UUID (version 4).
pub(crate) fn new_uuid() -> Result<[u8; 16], Failure> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| Failure::resource("entropy_failed", error))?;
    let [_, _, _, _, _, _, version, _, variant, ..] = &mut id;
    *version = (*version & 0x0f) | 0x40;
    *variant = (*variant & 0x3f) | 0x80;
    Ok(id)
}

/// `DIR.kek` beside `DIR`: a copy of the directory does not carry it along.
fn beside(dir: &Path) -> Result<PathBuf, Failure> {
    let Some(name) = dir.file_name() else {
        let message = format!(
            "data directory {}: has no name to put a KEK file beside; set kek_file",
            dir.display()
        );
        return Err(Failure::input("config_invalid", message));
    };
    let mut name = name.to_owned();
    name.push(".kek");
    Ok(dir.with_file_name(name))
}
