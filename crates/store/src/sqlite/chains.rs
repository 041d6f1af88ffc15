//! Beacon chains, and the named values beside them.

use crate::{ChainRow, StoreError};
use rusqlite::{OptionalExtension, Transaction};

pub(super) fn newest(t: &Transaction<'_>, snid: &[u8; 9]) -> Result<Option<ChainRow>, StoreError> {
    let mut statement = t.prepare_cached(
        "SELECT seed_wrapped, first_epoch, last_epoch, period_s, origin_unix_s, epoch_issued FROM chain \
         WHERE snid = ?1 ORDER BY id DESC LIMIT 1",
    )?;
    let chain = statement.query_row([snid], |row| {
        Ok(ChainRow {
            snid: *snid,
            seed_wrapped: row.get(0)?,
            first_epoch: row.get(1)?,
            last_epoch: row.get(2)?,
            period_s: row.get(3)?,
            origin_unix_s: row.get(4)?,
            epoch_issued: row.get(5)?,
        })
    });
    Ok(chain.optional()?)
}

/// Adds a chain behind the newest, unless that one reaches as far: then another process was faster.
pub(super) fn insert(t: &Transaction<'_>, chain: &ChainRow) -> Result<(), StoreError> {
    if newest(t, &chain.snid)?.is_some_and(|newest| newest.epoch_issued >= chain.first_epoch) {
        return Ok(());
    }
    t.prepare_cached(
        "INSERT INTO chain (snid, seed_wrapped, first_epoch, last_epoch, period_s, origin_unix_s, epoch_issued) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute((
        &chain.snid,
        &chain.seed_wrapped,
        chain.first_epoch,
        chain.last_epoch,
        chain.period_s,
        chain.origin_unix_s,
        chain.epoch_issued,
    ))?;
    Ok(())
}

pub(super) fn set_epoch(t: &Transaction<'_>, snid: &[u8; 9], epoch: u32) -> Result<(), StoreError> {
    let mut statement = t.prepare_cached(
        "UPDATE chain SET epoch_issued = max(epoch_issued, ?2) WHERE id = (SELECT max(id) FROM chain WHERE snid = ?1)",
    )?;
    match statement.execute((snid, epoch))? {
        0 => Err(StoreError::UnknownChain { snid: *snid }),
        _ => Ok(()),
    }
}

pub(super) fn meta(t: &Transaction<'_>, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(t.prepare_cached("SELECT value FROM meta WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?)
}

pub(super) fn meta_set(t: &Transaction<'_>, name: &str, value: &[u8]) -> Result<(), StoreError> {
    t.prepare_cached("INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = excluded.value")?
        .execute((name, value))?;
    Ok(())
}
