//! The NGAP messages of Ambient IoT (TS 38.413 V19.4) as plain values, and their framing over TCP.
//!
//! NGAP is the protocol between a gNB, which houses the readers, and the core. Two enums hold what
//! each side sends: [`FromGnb`] and [`ToGnb`]. Both decode and encode, since the core reads the one and
//! writes the other, and the emulated gNB does the reverse.
//!
//! ```
//! use ambit_ngap::{FromGnb, GnbId, ReaderReport, DeviceReport};
//!
//! let report = FromGnb::InventoryReport {
//!     aiotf_id: [7; 16],
//!     correlation: 0x8001,
//!     gnb_id: GnbId { plmn: [0x99, 0xf9, 0x99], id: 5, bits: 24 },
//!     readers: vec![ReaderReport {
//!         reader_index: 1,
//!         devices: vec![DeviceReport { nas: (&b"report"[..]).into(), device_ngap_id: Some(42) }],
//!     }],
//!     complete: false,
//! };
//! let octets = report.encode()?;
//! assert_eq!(FromGnb::decode(&octets)?, report);
//! # Ok::<(), ambit_ngap::NgapError>(())
//! ```
//!
//! What a peer sends is never trusted: every fault is an [`NgapError`], which says what was expected and
//! what came, names itself for a metric and gives the protocol cause to answer with (clause 10). The
//! structure of a message (missing, repeated, misplaced or unknown IEs) is checked before it is read.
//!
//! No I/O, no clock. A PLMN is three octets of TS 24.501 BCD throughout; the order that NGAP itself
//! has for a three-digit MNC (clause 9.3.3.5) stays inside this crate.

pub mod capture;
mod cause;
mod error;
pub mod framing;
mod from_gnb;
mod identity;
mod ies;
mod kind;
mod to_gnb;

pub use cause::{Cause, CauseGroup};
pub use error::NgapError;
pub use from_gnb::{DeviceReport, FromGnb, ReaderReport};
pub use identity::{AiotfId, AreaId, GnbId, Plmn, ReaderId};
pub use kind::{Direction, MessageKind};
pub use to_gnb::{CommandRequests, DeviceBits, InventoryRequest, Target, ToGnb};
