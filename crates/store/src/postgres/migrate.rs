//! The schema: made, brought up to date, or refused.

use super::fault::Fault;
use super::link::{Connector, Link, PATIENCE_BULK};
use crate::StoreError;

/// Each entry leads from the schema version that is its index to the next. Entries are never changed once released.
const MIGRATIONS: &[&str] = &[
    include_str!("schema_1.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
    include_str!("schema_4.sql"),
];

/// The schema version this program writes.
pub(super) fn supported() -> u32 {
    u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX)
}

/// Makes the schema or brings it up to date. Several processes may do so at once.
pub(super) fn migrate(connector: &mut Connector) -> Result<(), StoreError> {
    let found = connector.run(PATIENCE_BULK, version)?;
    if found == Some(supported()) {
        return Ok(());
    }
    connector.run(PATIENCE_BULK, async |link: &mut Link| {
        // Two that make this table at once: one of them is told that it is taken, and comes again.
        link.client
            .batch_execute(
                "CREATE TABLE IF NOT EXISTS ambit_schema (one BIGINT PRIMARY KEY, version BIGINT NOT NULL); \
                 INSERT INTO ambit_schema (one, version) VALUES (1, 0) ON CONFLICT DO NOTHING",
            )
            .await?;
        let t = link.client.transaction().await?;
        // Whoever comes second waits here, and finds the work done.
        let row = t
            .query_one("SELECT version FROM ambit_schema WHERE one = 1 FOR UPDATE", &[])
            .await?;
        let found = known(row.try_get(0)?)?;
        for step in MIGRATIONS.iter().skip(found as usize) {
            t.batch_execute(step).await?;
        }
        t.execute(
            "UPDATE ambit_schema SET version = $1 WHERE one = 1",
            &[&i64::from(supported())],
        )
        .await?;
        Ok(t.commit().await?)
    })
}

/// Refuses what cannot be read as it is.
pub(super) fn check(connector: &mut Connector) -> Result<(), StoreError> {
    let found = connector.run(PATIENCE_BULK, version)?.unwrap_or(0);
    if found < supported() {
        return Err(StoreError::OlderVersion {
            found,
            supported: supported(),
        });
    }
    Ok(())
}

/// The schema version; `None` where there is no schema.
async fn version(link: &mut Link) -> Result<Option<u32>, Fault> {
    let there = link
        .client
        .query_one(
            "SELECT count(*) FROM information_schema.tables \
             WHERE table_name = 'ambit_schema' AND table_schema = current_schema()",
            &[],
        )
        .await?;
    if there.try_get::<_, i64>(0)? == 0 {
        return Ok(None);
    }
    let row = link
        .client
        .query_opt("SELECT version FROM ambit_schema WHERE one = 1", &[])
        .await?;
    row.map(|row| known(row.try_get(0)?)).transpose()
}

fn known(version: i64) -> Result<u32, Fault> {
    let found = u32::try_from(version).unwrap_or(u32::MAX);
    if found > supported() {
        return Err(Fault::Refused(StoreError::NewerVersion {
            found,
            supported: supported(),
        }));
    }
    Ok(found)
}
