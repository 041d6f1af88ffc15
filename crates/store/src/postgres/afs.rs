//! Application functions, and what they may do.

use super::fault::Fault;
use super::link::Link;
use crate::{AfRow, StoreError};
use tokio_postgres::Row;

pub(super) async fn insert(link: &mut Link, af: &AfRow) -> Result<(), Fault> {
    let inserted = link
        .client
        .execute(
            "INSERT INTO af (name, client_id, secret_check, \"authorization\", created_ms, secret_ms) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
            &[
                &af.name,
                &af.client_id,
                &af.secret_check,
                &af.authorization,
                &af.created_ms,
                &af.secret_ms,
            ],
        )
        .await?;
    // The statement may have been carried out before its answer was lost: then what is there is this very account.
    if inserted > 0 || by_name(link, &af.name).await?.as_ref() == Some(af) {
        return Ok(());
    }
    Err(StoreError::AfExists {
        name: af.name.clone(),
    }
    .into())
}

pub(super) async fn update(link: &mut Link, af: &AfRow) -> Result<(), Fault> {
    let updated = link
        .client
        .execute(
            "UPDATE af SET client_id = $2, secret_check = $3, \"authorization\" = $4, secret_ms = $5 WHERE name = $1",
            &[
                &af.name,
                &af.client_id,
                &af.secret_check,
                &af.authorization,
                &af.secret_ms,
            ],
        )
        .await?;
    known(updated, &af.name)
}

pub(super) async fn remove(link: &mut Link, name: &str) -> Result<(), Fault> {
    // One statement, and so all of it or nothing.
    let removed = link
        .client
        .query(
            "WITH gone AS (DELETE FROM subscription WHERE af = $1 RETURNING id), \
             letters AS (DELETE FROM dead_letter WHERE subscription IN (SELECT id FROM gone)) \
             DELETE FROM af WHERE name = $1 RETURNING name",
            &[&name],
        )
        .await?;
    known(removed.len() as u64, name)
}

fn known(rows: u64, name: &str) -> Result<(), Fault> {
    match rows {
        0 => Err(StoreError::UnknownAf { name: name.into() }.into()),
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

pub(super) async fn by_name(link: &mut Link, name: &str) -> Result<Option<AfRow>, Fault> {
    let read = link.prepared(select!("WHERE name = $1")).await?;
    let row = link.client.query_opt(&read, &[&name]).await?;
    row.map(|row| from_row(&row)).transpose()
}

pub(super) async fn by_client(link: &mut Link, client_id: &str) -> Result<Option<AfRow>, Fault> {
    let read = link.prepared(select!("WHERE client_id = $1")).await?;
    let row = link.client.query_opt(&read, &[&client_id]).await?;
    row.map(|row| from_row(&row)).transpose()
}

/// All of them: an operator makes them one by one.
pub(super) async fn all(link: &mut Link) -> Result<Vec<AfRow>, Fault> {
    let read = link.prepared(select!("ORDER BY name")).await?;
    let rows = link.client.query(&read, &[]).await?;
    rows.iter().map(from_row).collect()
}

fn from_row(row: &Row) -> Result<AfRow, Fault> {
    Ok(AfRow {
        name: row.try_get(0)?,
        client_id: row.try_get(1)?,
        secret_check: row.try_get(2)?,
        authorization: row.try_get(3)?,
        created_ms: row.try_get(4)?,
        secret_ms: row.try_get(5)?,
    })
}
