//! The Ambit DO-A protocol: what travels on the air between an Ambient-IoT device and the core, and the keys under it.
//!
//! This crate holds sections 2 to 8 of the protocol text: suites, areas, the beacon chain, reports and accepts of every
//! form, UICC registration, device-terminated inventory and command sessions. It has no I/O, no clock, no random source and no heap, so
//! the same code runs in a device, in a core and in an attack.
//!
//! Everything cryptographic here is Ambit's own construction from standard parts (AES-CMAC, HMAC-SHA-256, Ascon-XOF128,
//! AES-CTR). It is not the key derivation of TS 33.369, which no public text gives.
//!
//! # Where to find what
//! | module | holds |
//! | --- | --- |
//! | [`suite`] | the three suites: `PRF` and `KS` (section 2) |
//! | [`key`] | key types: not `Copy`, not `Clone`, never printed, wiped on drop |
//! | [`schedule`] | what goes into each PRF evaluation under the root key (sections 5, 6, 8) |
//! | [`seal`] | synthetic-IV sealing and opening (section 2) |
//! | [`profile`] | device types and forms |
//! | [`area`] | PLMN, NID, SNID, AreaID, serving network name (section 3) |
//! | [`chain`] | the beacon chain, device side and network side (section 4) |
//! | [`wire`] | headers, views of PDUs and their meanings (sections 5 to 8) |
//! | [`exchange`] | a report and its accept, from either end (section 5) |
//! | [`aka`] | RAND, RES* and the keys of a UICC registration (section 7) |
//! | [`session`] | command sessions (section 8) |
#![no_std]
#![forbid(unsafe_code)]

pub mod aka;
pub mod area;
pub mod chain;
mod cmac;
pub mod exchange;
pub mod key;
pub mod profile;
pub mod schedule;
pub mod seal;
pub mod session;
pub mod suite;
pub mod wire;

pub use area::{AreaId, Snid};
pub use chain::RandN;
pub use exchange::{Exchange, OpenError};
pub use key::{KAiotf, RootKey};
pub use profile::{DeviceForm, DeviceType};
pub use suite::Suite;
pub use wire::{Cause, Form, Item, TagLen, WireError};
