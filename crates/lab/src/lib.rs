//! Scenes: a core, a radio access network with devices, and adversaries, on one clock.
//!
//! The code under them is the product's own: the AIOTF, ADM and store of a core, the devices and gNBs of `ambit-ran`, real
//! NGAP between the two. On a virtual clock a scene is a test that a seed replays; on the real clock it is a demonstration.
//!
//! | module | holds |
//! | --- | --- |
//! | [`bench`] | what `ambit bench` measures |
//! | [`card`] | a card in process |
//! | [`stage`] | core and site on one clock |
//! | [`scenario`] | a stage from a short description, on virtual time |
//! | [`store`] | a store that outlives its core, and copies of one |
//! | [`witness`] | an ear that holds what was said on the air against the protocol |
//! | [`intruder`] | a fake device and a fake network |
//! | [`reader`] | an emulated card in a reader: APDUs exchanged, counted and spoiled |
//! | [`judge`] | what devices saw accepted against what the core has on record |
//! | [`measurements`] | temperatures to report |
//! | [`attack`] | the threat list as attacks that run, with their controls |
//! | [`compare`] | what the credential modes cost, counted |
//! | [`models`] | symbolic models and state machines, with their broken twins |
//! | [`postgres`] | PostgreSQL servers for tests and measurements |
//! | [`demo`] | the scene of `ambit demo` |
#![forbid(unsafe_code)]

pub mod attack;
pub mod bench;
pub mod card;
pub mod compare;
pub mod demo;
pub mod intruder;
pub mod judge;
pub mod measurements;
pub mod models;
pub mod postgres;
pub mod reader;
pub mod scenario;
pub mod stage;
pub mod store;
pub mod witness;
