//! The population search kernel (section 9): `PRF(k, label, x)` under many keys for one input or a batch of inputs.
//!
//! A key column is a slice of 16-octet keys. [`Kernel::prefixes`] gives the first 8 octets of the PRF under each of them (the
//! T-ID table of an epoch); [`Kernel::find`] gives the keys under which the PRF starts with a given ID (concealed and recovery
//! reports, RES). T-ID, CID and RES are all cut from the front of the PRF and have at most 8 octets.
//!
//! Which instructions are used is chosen at run time. Every choice gives the same result as `ambit_protocol`'s own PRF, which
//! is also the fallback where there is nothing better.
//!
//! Every key of the column is evaluated whatever comes of it, in an order and with memory accesses that depend on no key: the
//! time taken tells of a match only through the match itself (T25).
//!
//! | module | suite | instructions |
//! | --- | --- | --- |
//! | `cmac` | 1 | AES-NI, VAES with 256 or 512 bits |
//! | `hmac` | 2 | eight keys side by side (AVX2), sixteen (AVX-512) |
//! | `ascon` | 3 | four keys side by side (AVX2), eight (AVX-512) |
//! | `portable` | all | `ambit_protocol`, one key at a time |

#[cfg(target_arch = "x86_64")]
mod ascon;
#[cfg(target_arch = "x86_64")]
mod cmac;
mod exchange;
#[cfg(target_arch = "x86_64")]
mod hmac;
mod kernel;
mod portable;
mod query;
mod threads;

pub use exchange::{Opened, Sealed};
pub use kernel::{BARE_KEYS, Kernel};
pub use query::{Hit, Query};
pub use threads::{chunked, threads_default};

/// A 16-octet key, as it stands in a column. Columns are the caller's, and so is wiping them.
pub type Key = [u8; 16];
