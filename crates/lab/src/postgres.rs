//! PostgreSQL servers for tests and measurements: made in a temporary directory, on a free port of loopback, and gone with the
//! process that started them, however it ends.
//!
//! PostgreSQL refuses to run as root; there, the servers run as the user `postgres`.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Settings of every server. What it acknowledges is on disk.
const SETTINGS: &str = "listen_addresses = '127.0.0.1'
max_connections = 60
shared_buffers = 64MB
max_wal_size = 2GB
wal_level = replica
hot_standby = on
max_wal_senders = 4
log_min_messages = fatal
";

/// How long a server may take to come up.
const START_WAIT: Duration = Duration::from_secs(60);

/// A running server, or one that was stopped and can be started again.
#[derive(Debug)]
pub struct PostgresServer {
    tools: Tools,
    dir: PathBuf,
    port: u16,
    /// Ends the server and removes its directory when its standard input ends, as it does with this process.
    _keeper: Child,
}

/// Where the programs are and how to run them.
#[derive(Clone, Debug)]
struct Tools {
    bin: PathBuf,
    is_root: bool,
}

impl PostgresServer {
    /// Makes and starts a server. `None`, with a word on standard error, where PostgreSQL is not installed.
    ///
    /// # Errors
    /// What the system or PostgreSQL's programs say.
    pub fn start() -> io::Result<Option<Self>> {
        let Some(tools) = Tools::find() else {
            eprintln!("skipped: PostgreSQL is not installed");
            return Ok(None);
        };
        let (dir, keeper) = tools.place()?;
        let data = dir.join("data");
        let data = data.to_string_lossy();
        let initdb = [
            "-D",
            &data,
            "-A",
            "trust",
            "-U",
            "ambit",
            "--no-sync",
            "-E",
            "UTF8",
        ];
        done(tools.run("initdb", &initdb)?)?;
        let server = Self {
            port: free_port()?,
            tools,
            dir,
            _keeper: keeper,
        };
        server.configure(SETTINGS)?;
        server.restart()?;
        Ok(Some(server))
    }

    /// A streaming standby of this server, up and following.
    ///
    /// # Errors
    /// As [`PostgresServer::start`].
    pub fn standby(&self) -> io::Result<Self> {
        let (dir, keeper) = self.tools.place()?;
        let data = dir.join("data");
        let data = data.to_string_lossy();
        let from = format!(
            "host=127.0.0.1 port={} user=ambit application_name=standby",
            self.port
        );
        let args = [
            "-D",
            &data,
            "-d",
            &from,
            "-R",
            "-c",
            "fast",
            "-X",
            "stream",
            "--no-sync",
        ];
        done(self.tools.run("pg_basebackup", &args)?)?;
        let standby = Self {
            port: free_port()?,
            tools: self.tools.clone(),
            dir,
            _keeper: keeper,
        };
        standby.restart()?;
        Ok(standby)
    }

    /// Lets no commit be acknowledged before the standby has it on its disk.
    ///
    /// # Errors
    /// As [`PostgresServer::start`].
    pub fn wait_for_standby(&self) -> io::Result<()> {
        self.sql(
            "postgres",
            "ALTER SYSTEM SET synchronous_standby_names = '*'",
        )?;
        self.sql("postgres", "SELECT pg_reload_conf()")?;
        let until = Instant::now() + START_WAIT;
        loop {
            let sync = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
            if self.sql("postgres", sync)?.trim() == "1" {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(io::Error::other("the standby does not follow"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Makes a standby a primary.
    ///
    /// # Errors
    /// As [`PostgresServer::start`].
    pub fn promote(&self) -> io::Result<()> {
        self.pg_ctl(&["promote", "-w"])
    }

    /// Stops the server as a crash does: nothing is finished, nothing is tidied.
    ///
    /// # Errors
    /// As [`PostgresServer::start`].
    pub fn crash(&self) -> io::Result<()> {
        self.pg_ctl(&["stop", "-m", "immediate"])
    }

    /// Starts the server again, after a crash with recovery.
    ///
    /// # Errors
    /// As [`PostgresServer::start`].
    pub fn restart(&self) -> io::Result<()> {
        let log = self.dir.join("log");
        let options = format!("-p {} -k {}", self.port, self.dir.display());
        self.pg_ctl(&[
            "start",
            "-w",
            "-t",
            "60",
            "-l",
            &log.to_string_lossy(),
            "-o",
            &options,
        ])?;
        let until = Instant::now() + START_WAIT;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            if Instant::now() > until {
                return Err(io::Error::other("the server does not come up"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Makes an empty database and returns its URL. One of this name that is there goes.
    ///
    /// # Errors
    /// As [`PostgresServer::start`].
    pub fn database(&self, name: &str) -> io::Result<String> {
        let name = name.replace('-', "_");
        self.sql(
            "postgres",
            &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"),
        )?;
        self.sql("postgres", &format!("CREATE DATABASE {name}"))?;
        Ok(self.url(&name))
    }

    /// The URL of a database.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://ambit@127.0.0.1:{}/{database}", self.port)
    }

    /// The port served.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Runs SQL with `psql` and returns what it prints.
    ///
    /// # Errors
    /// As [`PostgresServer::start`].
    pub fn sql(&self, database: &str, sql: &str) -> io::Result<String> {
        let port = self.port.to_string();
        let args = [
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            "ambit",
        ];
        let at = ["-h", "127.0.0.1", "-p", &port, "-d", database, "-c", sql];
        let args: Vec<&str> = args.into_iter().chain(at).collect();
        let output = done(self.tools.run("psql", &args)?)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn configure(&self, settings: &str) -> io::Result<()> {
        let file = self.dir.join("data").join("postgresql.auto.conf");
        // Root may write what is another's.
        std::fs::write(file, settings)
    }

    fn pg_ctl(&self, args: &[&str]) -> io::Result<()> {
        let data = self.dir.join("data");
        let data = data.to_string_lossy();
        let args: Vec<&str> = ["-D", &data]
            .into_iter()
            .chain(args.iter().copied())
            .collect();
        done(self.tools.run("pg_ctl", &args)?).map(drop)
    }
}

impl Tools {
    fn find() -> Option<Self> {
        let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
            .ok()?
            .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
            .filter(|bin| bin.join("initdb").exists())
            .collect();
        versions.sort();
        let id = Command::new("id").arg("-u").output().ok()?;
        Some(Self {
            bin: versions.pop()?,
            is_root: id.stdout.trim_ascii() == b"0",
        })
    }

    /// Runs one of the programs to its end.
    fn run(&self, program: &str, args: &[&str]) -> io::Result<Output> {
        // A server keeps what it is given open: its output goes to its log, and nobody waits for that.
        self.command(&self.bin.join(program))
            .args(args)
            .current_dir("/")
            .stdin(Stdio::null())
            .output()
    }

    fn command(&self, program: &Path) -> Command {
        if !self.is_root {
            return Command::new(program);
        }
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(program);
        command
    }

    /// A directory of the server's own, and who removes it.
    fn place(&self) -> io::Result<(PathBuf, Child)> {
        let made = done(
            self.command(Path::new("mktemp"))
                .args(["-d", "/tmp/ambit-postgres-XXXXXXXX"])
                .current_dir("/")
                .output()?,
        )?;
        let dir = PathBuf::from(String::from_utf8_lossy(made.stdout.trim_ascii()).into_owned());
        let script = "cat >/dev/null; \"$1/pg_ctl\" -D \"$2/data\" -m immediate stop >/dev/null 2>&1; rm -rf \"$2\"";
        let keeper = self
            .command(Path::new("sh"))
            .args(["-c", script, "sh"])
            .arg(&self.bin)
            .arg(&dir)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok((dir, keeper))
    }
}

fn done(output: Output) -> io::Result<Output> {
    if output.status.success() {
        return Ok(output);
    }
    Err(io::Error::other(format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )))
}

fn free_port() -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}
