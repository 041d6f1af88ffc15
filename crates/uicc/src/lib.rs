//! Everything of a UICC that Ambit needs (section 7 of the protocol text): the AKA algorithms, SUCI, and (feature `card`, on
//! by default) an emulated card and the terminal side of any card.
//!
//! | module | holds |
//! | --- | --- |
//! | [`algorithms`] | MILENAGE (TS 35.206) and TUAK (TS 35.231) under one [`Subscriber`] |
//! | [`suci`] | concealing and revealing a SUPI (TS 33.501 annex C, TS 24.501 clause 9.11.3.4) |
//! | `card` | the emulated card: file system, USIM, AIoT application (ETSI TS 102 221, TS 31.102) |
//! | `terminal` | the terminal side over any transport, and a card as a device's credential |
//! | `vpcd` | the emulated card in the system's PC/SC service |
#![forbid(unsafe_code)]

pub mod algorithms;
#[cfg(feature = "card")]
pub mod card;
pub mod suci;
#[cfg(feature = "card")]
pub mod terminal;
#[cfg(feature = "card")]
pub mod vpcd;

pub use algorithms::{AkaVector, Algorithm, Res, Subscriber};
#[cfg(feature = "card")]
pub use card::{Card, Profile};
pub use suci::{HomeNetwork, Imsi, Suci, SuciError};
