//! `ambit`: the command line of the Ambit core.

mod admin;
mod af_subscriptions;
mod amf;
mod card_dir;
mod commands;
mod config;
mod data_dir;
mod delivery;
mod failure;
mod followers;
mod http;
mod nef;
mod online;
mod pcap;
mod sbi;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use config::Config;
use failure::Failure;

/// An open 5G core for Ambient IoT: devices that speak first and a network prove themselves to each other.
///
/// Try `ambit demo`. To run a core: `ambit device import FILE.csv`, then `ambit serve`.
///
/// Exit codes: 0 done; 1 done, and the answer is no (a check failed); 2 wrong command line; 3 input refused (a file, a
/// value, an unknown device); 4 something needed cannot be used (data directory, store, KEK, address).
#[derive(Parser)]
#[command(version, max_term_width = 100, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Demo(commands::demo::Demo),
    Serve(commands::serve::Serve),
    Chf(commands::chf::Chf),
    Ran(commands::ran::Ran),
    Status(commands::status::Status),
    Inventory(commands::inventory::Inventory),
    #[command(subcommand)]
    Command(commands::command::Command),
    #[command(subcommand)]
    Pki(commands::pki::Pki),
    #[command(subcommand)]
    Device(commands::device::Device),
    #[command(subcommand)]
    Subscriber(commands::subscriber::Subscriber),
    #[command(subcommand, name = "home-network-key")]
    HomeNetworkKey(commands::home_network_key::HomeNetworkKey),
    #[command(subcommand)]
    Uicc(commands::uicc::Uicc),
    #[command(subcommand)]
    Record(commands::record::Record),
    #[command(subcommand)]
    Event(commands::event::Event),
    #[command(subcommand)]
    Presence(commands::presence::Presence),
    #[command(subcommand)]
    Alarm(commands::alarm::Alarm),
    Watch(commands::watch::Watch),
    #[command(subcommand)]
    Subscription(commands::subscription::Subscription),
    #[command(subcommand)]
    Af(commands::af::Af),
    #[command(subcommand)]
    Evidence(commands::evidence::Evidence),
    Vectors(commands::vectors::Vectors),
    #[command(subcommand)]
    Lab(commands::lab::Lab),
    #[command(subcommand)]
    Bench(commands::bench::Bench),
}

/// Where the core keeps its data. A core that runs on the directory is asked; otherwise the directory is opened.
#[derive(Args, Clone, Debug)]
struct Place {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE", env = "AMBIT_CONFIG")]
    config: Option<PathBuf>,
    /// Data directory [default: ambit-data].
    #[arg(long, value_name = "DIR", env = "AMBIT_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Database for several processes, in place of the file in the data directory: postgres://USER@HOST/DATABASE. A password
    /// belongs in `store.password_file` or AMBIT_STORE_PASSWORD.
    #[arg(long, value_name = "URL", env = "AMBIT_STORE", hide_env_values = true)]
    store: Option<config::UrlText>,
}

impl Place {
    fn config(&self) -> Result<Config, Failure> {
        let mut config = match &self.config {
            Some(path) => Config::read(path)?,
            None => Config::default(),
        };
        if let Some(data_dir) = &self.data_dir {
            config.data_dir.clone_from(data_dir);
        }
        if let Some(store) = &self.store {
            config.store.url = Some(store.clone());
        }
        Ok(config)
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Demo(command) => command.run(),
        Command::Serve(command) => command.run(),
        Command::Chf(command) => command.run(),
        Command::Ran(command) => command.run(),
        Command::Status(command) => command.run(),
        Command::Inventory(command) => command.run(),
        Command::Command(command) => command.run(),
        Command::Pki(command) => command.run(),
        Command::Device(command) => command.run(),
        Command::Subscriber(command) => command.run(),
        Command::HomeNetworkKey(command) => command.run(),
        Command::Uicc(command) => command.run(),
        Command::Record(command) => command.run(),
        Command::Event(command) => command.run(),
        Command::Presence(command) => command.run(),
        Command::Alarm(command) => command.run(),
        Command::Watch(command) => command.run(),
        Command::Subscription(command) => command.run(),
        Command::Af(command) => command.run(),
        Command::Evidence(command) => command.run(),
        Command::Vectors(command) => command.run(),
        Command::Lab(command) => command.run(),
        Command::Bench(command) => command.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
