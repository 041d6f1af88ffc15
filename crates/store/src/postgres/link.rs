//! The connection: made, judged, lost and made again.

use super::fault::{Fault, text};
use super::url::PostgresUrl;
use crate::StoreError;
use std::collections::HashMap;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls, Statement, Transaction};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long the database may take over one piece of work before it counts as lost.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// The same for what touches every row: imports, schema changes.
pub(super) const PATIENCE_BULK: Duration = Duration::from_secs(600);

/// How long it may take to find a server that takes writes, among all hosts.
const CONNECT_PATIENCE: Duration = Duration::from_secs(4);

/// Tries of a transaction that others get in the way of.
const TRIES_MAX: u32 = 12;

/// After a failed attempt to connect, calls fail at once for so long; doubled up to the second one.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// A connection, if there is one, and when to try for the next.
pub(super) struct Connector {
    pub(super) runtime: Runtime,
    pub(super) url: PostgresUrl,
    link: Option<Link>,
    /// Counts connections; what was known of the database holds for one of them.
    pub(super) generation: u64,
    retry_at: Option<Instant>,
    pause: Duration,
    why: String,
}

/// A connection and the statements prepared on it.
pub(super) struct Link {
    pub(super) client: Client,
    pub(super) statements: Statements,
}

/// Prepared statements, by their text.
#[derive(Default)]
pub(super) struct Statements(HashMap<&'static str, Statement>);

impl Statements {
    pub(super) async fn of_client(
        &mut self,
        client: &Client,
        sql: &'static str,
    ) -> Result<Statement, Fault> {
        if let Some(statement) = self.0.get(sql) {
            return Ok(statement.clone());
        }
        let statement = client.prepare(sql).await?;
        self.0.insert(sql, statement.clone());
        Ok(statement)
    }

    pub(super) async fn of(
        &mut self,
        transaction: &Transaction<'_>,
        sql: &'static str,
    ) -> Result<Statement, Fault> {
        self.of_client(transaction.client(), sql).await
    }
}

impl Link {
    /// A statement of this text.
    pub(super) async fn prepared(&mut self, sql: &'static str) -> Result<Statement, Fault> {
        self.statements.of_client(&self.client, sql).await
    }
}

impl Connector {
    pub(super) fn new(url: PostgresUrl) -> Result<Self, StoreError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(|error| StoreError::Io {
                detail: error.to_string(),
            })?;
        Ok(Self {
            runtime,
            url,
            link: None,
            generation: 0,
            retry_at: None,
            pause: PAUSE.0,
            why: String::new(),
        })
    }

    /// Makes sure of a connection to a server that takes writes.
    pub(super) fn connect(&mut self) -> Result<(), StoreError> {
        if self
            .link
            .as_ref()
            .is_some_and(|link| !link.client.is_closed())
        {
            return Ok(());
        }
        self.link = None;
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            return Err(self.unreachable());
        }
        let opened = self.runtime.block_on(async {
            let opened = tokio::time::timeout(CONNECT_PATIENCE, open(&self.url)).await;
            opened.unwrap_or_else(|_| Err("no answer in time".into()))
        });
        match opened {
            Ok(link) => {
                self.link = Some(link);
                self.generation += 1;
                self.retry_at = None;
                self.pause = PAUSE.0;
                Ok(())
            }
            Err(why) => {
                self.why = why;
                self.retry_at = Some(Instant::now() + self.pause);
                self.pause = (self.pause * 2).min(PAUSE.1);
                Err(self.unreachable())
            }
        }
    }

    /// Runs `work` once on the connection there is. `Err(Lost)` drops the connection.
    pub(super) fn attempt<T>(
        &mut self,
        patience: Duration,
        work: impl AsyncFnOnce(&mut Link) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        self.connect()?;
        let Some(link) = self.link.as_mut() else {
            return Err(Fault::Lost("no connection".into()));
        };
        let done = self.runtime.block_on(async {
            tokio::time::timeout(patience, work(link))
                .await
                .unwrap_or_else(|_| Err(Fault::Lost("no answer in time".into())))
        });
        if let Err(Fault::Lost(why)) = &done {
            self.why.clone_from(why);
            self.link = None;
        }
        done
    }

    /// Runs `work`, again if others were in the way, and once more on a new connection if the connection was lost. So the
    /// work must be of a kind that does no harm when it was done already.
    pub(super) fn run<T>(
        &mut self,
        patience: Duration,
        mut work: impl AsyncFnMut(&mut Link) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        let mut was_lost = false;
        let mut tries = 0;
        loop {
            match self.attempt(patience, &mut work) {
                Ok(value) => return Ok(value),
                Err(Fault::Refused(error)) => return Err(error),
                Err(Fault::Lost(_)) if !was_lost => was_lost = true,
                Err(Fault::Lost(_)) => return Err(self.unreachable()),
                Err(Fault::Again | Fault::Taken) if tries < TRIES_MAX => {
                    tries += 1;
                    self.back_off(tries);
                }
                Err(Fault::Again | Fault::Taken) => return Err(StoreError::Busy),
            }
        }
    }

    /// Waits a little, for somewhat different times in different processes.
    pub(super) fn back_off(&self, tries: u32) {
        let mut random = [0; 1];
        let _ = getrandom::fill(&mut random);
        let [random] = random;
        let us = (u64::from(random) + 64) << tries.min(9);
        std::thread::sleep(Duration::from_micros(us));
    }

    pub(super) fn unreachable(&self) -> StoreError {
        StoreError::Unreachable {
            detail: format!("{}: {}", self.url, self.why),
        }
    }
}

/// Connects to a server that takes writes and keeps what it acknowledges; the text says why not.
async fn open(url: &PostgresUrl) -> Result<Link, String> {
    let client = match &url.tls {
        None => {
            let connected = url.config.connect(NoTls).await;
            let (client, connection) = connected.map_err(|error| text(&error))?;
            tokio::spawn(connection);
            client
        }
        Some(tls) => {
            let tls = MakeRustlsConnect::new((**tls).clone());
            let connected = url.config.connect(tls).await;
            let (client, connection) = connected.map_err(|error| text(&error))?;
            tokio::spawn(connection);
            client
        }
    };
    judge(&client).await?;
    Ok(Link {
        client,
        statements: Statements::default(),
    })
}

/// A replica decides nothing, and a server that does not sync keeps nothing.
async fn judge(client: &Client) -> Result<(), String> {
    let row = client
        .query_one(
            "SELECT current_setting('transaction_read_only', true), current_setting('fsync', true), \
             current_setting('synchronous_commit', true)",
            &[],
        )
        .await
        .map_err(|error| text(&error))?;
    let setting = |column| row.try_get::<_, Option<String>>(column).unwrap_or_default();
    if setting(0).as_deref() == Some("on") {
        return Err("is a replica, which takes no writes".into());
    }
    if setting(1).as_deref() == Some("off") {
        return Err("has fsync off: what it acknowledges could be lost".into());
    }
    // Only this session: the server's own setting may be weaker for others.
    if setting(2).as_deref() == Some("off") {
        client
            .batch_execute("SET synchronous_commit = on")
            .await
            .map_err(|error| text(&error))?;
    }
    Ok(())
}
