//! An emulated Ambient-IoT radio access network: gNBs whose readers speak NGAP to an AIOTF, a seeded air, and fleets of 1 to
//! 10^5 devices in one process.
//!
//! Everything but [`net`] and [`amf::server`] is sans-I/O and deterministic: time is an argument, randomness is seeded, and the same calls give
//! the same run. So a test drives a [`site::Site`] against a core on a virtual clock, and [`net`] drives the same site in real
//! time over TCP.
//!
//! | module | holds |
//! | --- | --- |
//! | [`frame`] | what is on the air: NAS PDUs, beacons, pages |
//! | [`air`] | loss, delay, duplication, reordering, jamming; ears, injection, false readers |
//! | [`gnb`] | a gNB with readers: windows, reports, contacts, commands |
//! | [`fleet`] | devices, their power, schedules and ledger |
//! | [`site`] | all of these on one clock |
//! | [`net`] | a site over TCP in real time |
//! | [`amf`] | an AMF between gNBs and AIOTFs |
#![forbid(unsafe_code)]

pub mod air;
pub mod amf;
pub mod fleet;
pub mod frame;
pub mod gnb;
pub mod net;
pub mod site;
