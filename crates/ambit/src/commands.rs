//! The subcommands, one file each.

pub(crate) mod demo;
pub(crate) mod device;
pub(crate) mod event;
pub(crate) mod evidence;
pub(crate) mod lab;
pub(crate) mod ran;
pub(crate) mod record;
pub(crate) mod serve;
pub(crate) mod vectors;

use std::io;

use crate::Place;
use crate::admin::{self, Request};
use crate::failure::Failure;
use crate::show::Rows;

/// Printing fails when the reader of a pipe has seen enough: that ends a command quietly and well.
pub(crate) fn printed(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::io("standard output", &error))
        }
        _ => Ok(()),
    }
}

/// Asks for a list and prints it row by row, until the reader has seen enough.
fn print_rows(
    place: &Place,
    request: &Request,
    json: bool,
    columns: &'static [(&'static str, usize)],
) -> Result<(), Failure> {
    let mut rows = Rows::new(json, columns);
    let mut result = Ok(());
    admin::run(place, request, &mut |row| {
        result = rows.print(&row);
        result.is_ok()
    })?;
    printed(result.and_then(|()| rows.finish()))
}
