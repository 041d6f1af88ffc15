//! The subcommands, one file each.

pub(crate) mod demo;
pub(crate) mod device;
pub(crate) mod event;
pub(crate) mod ran;
pub(crate) mod record;
pub(crate) mod serve;
pub(crate) mod vectors;

use std::io;

use crate::failure::Failure;

/// Printing fails when the reader of a pipe has seen enough: that ends a command quietly and well.
pub(crate) fn printed(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::io("standard output", &error))
        }
        _ => Ok(()),
    }
}
