//! The DO-A device of protocol sections 4 to 8: a state machine without I/O.
//!
//! Nothing here reads a clock, an antenna or a flash chip. Time is an argument: milliseconds that only rise within one power
//! cycle (their zero means nothing, and does not outlive the cycle). Key, memory and randomness are the traits of
//! [`platform`]. There is no heap, and nothing that is received can make the device panic.
//!
//! The calls of a [`Device`] come in families, to be used in this order:
//! 1. `handle_*` takes what was heard: [`Device::handle_beacon`], [`Device::handle_paging`], [`Device::handle_downlink`];
//! 2. [`Device::submit`] takes what the application has to say;
//! 3. `poll_*` gives what follows: [`Device::poll_transmit`] until it is empty, [`Device::poll_event`] until it is empty,
//!    then sleep until [`Device::poll_timeout`] or until something is heard.
//!
//! | module | holds |
//! | --- | --- |
//! | [`platform`] | the traits `Credential`, `Memory`, `Random`, and a key and a memory in RAM |
//! | [`uicc`] | the trait `Uicc`, and the credential of a device that registers with a card |
//! | [`profile`] | what kind of device it is, and its times |
//! | [`device`] | the state machine |
//! | [`event`] | what it says to its application, and its counters |
//! | [`record`] | what it keeps in non-volatile memory, and how it survives a cut write |
//!
//! # When power or memory fails
//! A write may fail or be cut after any octet. An anchor that is not durable means the concealed form; a counter that is not
//! durable means no report; a disable that is not durable is not acknowledged. [`record`] says how.
#![no_std]
#![forbid(unsafe_code)]

mod anchors;
pub mod device;
pub mod event;
mod items;
mod outbox;
pub mod platform;
pub mod profile;
pub mod record;
pub mod uicc;

pub use device::{Device, Ignored, PDU_OCTETS_MAX, PagingTarget, PowerOnError, SubmitError};
pub use event::{Event, Stats};
pub use items::QUEUE_ITEMS_MAX;
pub use platform::{ArrayMemory, Credential, LocalKey, Memory, Random};
pub use profile::{DeviceForm, DeviceType, Profile, Timing};
pub use record::{SLOTS_OCTETS, provision, restore};
pub use uicc::{AkaKeys, Authentication, CardFailed, Uicc, UiccCredential};
