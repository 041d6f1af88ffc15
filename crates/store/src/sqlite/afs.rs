//! Application functions, and what they may do.

use crate::{AfRow, StoreError};
use rusqlite::{OptionalExtension, Row, Transaction};
use std::ops::ControlFlow;

pub(super) fn insert(t: &Transaction<'_>, af: &AfRow) -> Result<(), StoreError> {
    let inserted = t
        .prepare_cached(
            "INSERT INTO af (name, client_id, secret_check, \"authorization\", created_ms, secret_ms) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
        )?
        .execute((
            &af.name,
            &af.client_id,
            &af.secret_check,
            &af.authorization,
            af.created_ms,
            af.secret_ms,
        ))?;
    match inserted {
        0 => Err(StoreError::AfExists {
            name: af.name.clone(),
        }),
        _ => Ok(()),
    }
}

pub(super) fn update(t: &Transaction<'_>, af: &AfRow) -> Result<(), StoreError> {
    let updated = t
        .prepare_cached(
            "UPDATE af SET client_id = ?2, secret_check = ?3, \"authorization\" = ?4, secret_ms = ?5 WHERE name = ?1",
        )?
        .execute((
            &af.name,
            &af.client_id,
            &af.secret_check,
            &af.authorization,
            af.secret_ms,
        ))?;
    match updated {
        0 => Err(StoreError::UnknownAf {
            name: af.name.clone(),
        }),
        _ => Ok(()),
    }
}

pub(super) fn remove(t: &Transaction<'_>, name: &str) -> Result<(), StoreError> {
    t.prepare_cached(
        "DELETE FROM dead_letter WHERE subscription IN (SELECT id FROM subscription WHERE af = ?1)",
    )?
    .execute([name])?;
    t.prepare_cached("DELETE FROM subscription WHERE af = ?1")?
        .execute([name])?;
    let removed = t
        .prepare_cached("DELETE FROM af WHERE name = ?1")?
        .execute([name])?;
    match removed {
        0 => Err(StoreError::UnknownAf { name: name.into() }),
        _ => Ok(()),
    }
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT name, client_id, secret_check, \"authorization\", created_ms, secret_ms FROM af ",
            $rest
        )
    };
}

pub(super) fn by_name(t: &Transaction<'_>, name: &str) -> Result<Option<AfRow>, StoreError> {
    let mut read = t.prepare_cached(select!("WHERE name = ?1"))?;
    Ok(read.query_row([name], from_row).optional()?)
}

pub(super) fn by_client(t: &Transaction<'_>, client_id: &str) -> Result<Option<AfRow>, StoreError> {
    let mut read = t.prepare_cached(select!("WHERE client_id = ?1"))?;
    Ok(read.query_row([client_id], from_row).optional()?)
}

pub(super) fn for_each(
    t: &Transaction<'_>,
    f: &mut dyn FnMut(AfRow) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    let mut read = t.prepare_cached(select!("ORDER BY name"))?;
    let mut rows = read.query([])?;
    while let Some(row) = rows.next()? {
        if f(from_row(row)?).is_break() {
            break;
        }
    }
    Ok(())
}

fn from_row(row: &Row<'_>) -> Result<AfRow, rusqlite::Error> {
    Ok(AfRow {
        name: row.get(0)?,
        client_id: row.get(1)?,
        secret_check: row.get(2)?,
        authorization: row.get(3)?,
        created_ms: row.get(4)?,
        secret_ms: row.get(5)?,
    })
}
