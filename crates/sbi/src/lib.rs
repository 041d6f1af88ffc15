//! The service-based interface of Ambit's functions: HTTP/2 with mutual TLS and access tokens.
//!
//! A server is a list of operations ([`router::Route`]) that run only after media type, size, token and scope were
//! checked. Services speak the traits of the functions they expose, so that a function in this process and one behind HTTP
//! are the same to its callers.

pub mod adm;
pub mod aiotf;
pub mod chf;
pub mod client;
pub mod clock;
pub mod exchange;
pub mod json;
pub mod multipart;
pub mod namf;
pub mod nrf;
pub mod pki;
pub mod problem;
pub mod router;
pub mod runtime;
pub mod server;
pub mod tls;
pub mod token;
