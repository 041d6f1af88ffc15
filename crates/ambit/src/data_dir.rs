//! The data directory: the store, a lock that one writer holds, the admin socket. The KEK is not in it.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::os::fd::AsRawFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use ambit_adm::{Adm, AdmConfig, Entropy, Kek, system_entropy};
use ambit_store::{FILE_NAME, SqliteStore, Store};

use crate::config::Config;
use crate::failure::Failure;

/// A data directory, by path.
#[derive(Clone, Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    kek_file: PathBuf,
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
        Ok(Self { path, kek_file })
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
        let store: Box<dyn Store> = Box::new(SqliteStore::open(&self.store_file())?);
        Ok(Adm::open(config, store, kek, entropy, now_ms)?)
    }

    /// Opens the store for reading alone; possible while a core runs.
    pub(crate) fn open_to_read(&self) -> Result<SqliteStore, Failure> {
        let file = self.store_file();
        if !file.try_exists().map_err(|error| self.failed(&error))? {
            let message = format!(
                "{}: holds no store; import devices or start a core first",
                self.path.display()
            );
            return Err(Failure::resource("no_store", message));
        }
        Ok(SqliteStore::open_read_only(&file)?)
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
        if self.store_file().exists() {
            let is_used = SqliteStore::open(&self.store_file())?
                .meta("kek_check")?
                .is_some();
            if is_used {
                return Err(failed(&format!(
                    "{file} is missing, and the keys of this store are wrapped with it"
                )));
            }
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
