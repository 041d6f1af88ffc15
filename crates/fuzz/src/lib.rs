//! What must hold for any input. Each target is a plain function of octets that panics when something does not hold;
//! libFuzzer drives it for as long as one likes (`fuzz/run`), and ordinary tests drive it over its corpus and a bounded number
//! of mutations, without any tool. What the product is held against is `ambit-model`, the protocol once more from its text.
//!
//! | module | holds |
//! | --- | --- |
//! | [`nas`], [`ngap`], [`csv`], [`sbi`], [`apdu`], [`store`], [`device`] | the targets |
//! | [`defect`] | defects to plant between a target and the code under it, so that the target is seen to fail |
//! | [`mutate`] | mutations from a seed |
//! | [`seeds`] | what the corpora in `fuzz/corpus` are made from |
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic of a target is its finding, and nothing here runs in the product"
)]

#[cfg(feature = "apdu")]
pub mod apdu;
#[cfg(feature = "csv")]
pub mod csv;
pub mod defect;
#[cfg(feature = "device")]
pub mod device;
mod input;
pub mod mutate;
#[cfg(feature = "nas")]
pub mod nas;
#[cfg(feature = "ngap")]
pub mod ngap;
#[cfg(feature = "sbi")]
pub mod sbi;
#[cfg(feature = "all")]
pub mod seeds;
#[cfg(feature = "store")]
pub mod store;

pub use input::Input;

/// A target.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, which is also that of its corpus and its binary.
    pub name: &'static str,
    /// Runs it.
    pub run: fn(&[u8]),
    /// What its corpus begins with: a name and octets each.
    pub seeds: fn() -> Vec<(String, Vec<u8>)>,
    /// Mutations in an ordinary test: as many as take a second or two.
    pub mutations: u64,
}

/// All targets.
#[cfg(feature = "all")]
pub const TARGETS: [Target; 7] = [
    target("nas", nas::run, seeds::nas, 20_000),
    target("ngap", ngap::run, seeds::ngap, 20_000),
    target("csv", csv::run, seeds::csv, 10_000),
    target("sbi", sbi::run, seeds::sbi, 10_000),
    target("apdu", apdu::run, seeds::apdu, 6_000),
    target("store", store::run, seeds::store, 1_500),
    target("device", device::run, seeds::device, 6_000),
];

#[cfg(feature = "all")]
const fn target(
    name: &'static str,
    run: fn(&[u8]),
    seeds: fn() -> Vec<(String, Vec<u8>)>,
    mutations: u64,
) -> Target {
    Target {
        name,
        run,
        seeds,
        mutations,
    }
}

/// The target of this name.
#[cfg(feature = "all")]
pub fn find(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}
