//! Beacon chains, and the named values beside them.

use super::fault::Fault;
use super::link::Link;
use crate::{ChainRow, StoreError};

pub(super) async fn newest(link: &mut Link, snid: &[u8; 9]) -> Result<Option<ChainRow>, Fault> {
    let read = link
        .prepared(
            "SELECT seed_wrapped, first_epoch, last_epoch, period_s, origin_unix_s, epoch_issued FROM chain \
             WHERE snid = $1 ORDER BY number DESC LIMIT 1",
        )
        .await?;
    let Some(row) = link.client.query_opt(&read, &[&&snid[..]]).await? else {
        return Ok(None);
    };
    Ok(Some(ChainRow {
        snid: *snid,
        seed_wrapped: row.try_get(0)?,
        first_epoch: super::to_u32(row.try_get(1)?)?,
        last_epoch: super::to_u32(row.try_get(2)?)?,
        period_s: super::to_u32(row.try_get(3)?)?,
        origin_unix_s: row.try_get(4)?,
        epoch_issued: super::to_u32(row.try_get(5)?)?,
    }))
}

/// Adds a chain behind the newest, unless that one reaches as far: then another process was faster.
pub(super) async fn insert(link: &mut Link, chain: &ChainRow) -> Result<(), Fault> {
    let t = link.client.transaction().await?;
    let row = t
        .query_opt(
            "SELECT number, epoch_issued FROM chain WHERE snid = $1 ORDER BY number DESC LIMIT 1",
            &[&&chain.snid[..]],
        )
        .await?;
    let mut number = 1_i64;
    if let Some(row) = row {
        number = row.try_get::<_, i64>(0)? + 1;
        if row.try_get::<_, i64>(1)? >= chain.first_epoch.into() {
            return Ok(());
        }
    }
    t.execute(
        "INSERT INTO chain (snid, number, seed_wrapped, first_epoch, last_epoch, period_s, origin_unix_s, epoch_issued) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        &[
            &&chain.snid[..],
            &number,
            &chain.seed_wrapped,
            &i64::from(chain.first_epoch),
            &i64::from(chain.last_epoch),
            &i64::from(chain.period_s),
            &chain.origin_unix_s,
            &i64::from(chain.epoch_issued),
        ],
    )
    .await?;
    Ok(t.commit().await?)
}

pub(super) async fn set_epoch(link: &mut Link, snid: &[u8; 9], epoch: u32) -> Result<(), Fault> {
    let changed = link
        .client
        .execute(
            "UPDATE chain SET epoch_issued = greatest(epoch_issued, $2) WHERE snid = $1 \
             AND number = (SELECT max(number) FROM chain WHERE snid = $1)",
            &[&&snid[..], &i64::from(epoch)],
        )
        .await?;
    match changed {
        0 => Err(StoreError::UnknownChain { snid: *snid }.into()),
        _ => Ok(()),
    }
}

pub(super) async fn meta(link: &mut Link, name: &str) -> Result<Option<Vec<u8>>, Fault> {
    let row = link
        .client
        .query_opt("SELECT value FROM meta WHERE name = $1", &[&name])
        .await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

pub(super) async fn meta_set(link: &mut Link, name: &str, value: &[u8]) -> Result<(), Fault> {
    link.client
        .execute(
            "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            &[&name, &value],
        )
        .await?;
    Ok(())
}

/// Sets a value unless there is one; the one that counts.
pub(super) async fn meta_init(link: &mut Link, name: &str, value: &[u8]) -> Result<Vec<u8>, Fault> {
    link.client
        .execute(
            "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            &[&name, &value],
        )
        .await?;
    Ok(meta(link, name).await?.unwrap_or_default())
}
