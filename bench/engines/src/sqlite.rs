//! SQLite in WAL mode with `synchronous=FULL`, in the shapes worth comparing.

use crate::{Engine, Record, Result};
use rusqlite::{Connection, params};
use std::path::Path;

#[derive(Clone, Copy)]
pub(crate) struct Shape {
    layout: Layout,
    page: u32,
    checkpoint: u32,
    exclusive: bool,
    way: Way,
    time_index: bool,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Layout {
    /// `WITHOUT ROWID`, PRIMARY KEY (epoch, device, tag1): the row lies in the index.
    Inline,
    /// Rowid table and UNIQUE (epoch, device, tag1).
    EpochFirst,
    /// Rowid table and UNIQUE (device, epoch, tag1).
    DeviceFirst,
    /// Rowid table without an index: what the index costs. Cannot notice a duplicate.
    NoIndex,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Way {
    /// One prepared statement per record.
    Single,
    /// 16 rows a statement, `RETURNING` names the new ones.
    Multi,
    /// One statement per record, the group taken in key order.
    Sorted,
}

const BASE: Shape = Shape {
    layout: Layout::EpochFirst,
    page: 4096,
    checkpoint: 16 << 20,
    exclusive: false,
    way: Way::Single,
    time_index: false,
};

pub(crate) fn shapes() -> Vec<(&'static str, Shape)> {
    vec![
        (
            "sqlite (a) inline",
            Shape {
                layout: Layout::Inline,
                ..BASE
            },
        ),
        ("sqlite (b) epoch first", BASE),
        (
            "sqlite (b) device first",
            Shape {
                layout: Layout::DeviceFirst,
                ..BASE
            },
        ),
        (
            "sqlite no unique index",
            Shape {
                layout: Layout::NoIndex,
                ..BASE
            },
        ),
        (
            "sqlite (b) 16 rows a statement",
            Shape {
                way: Way::Multi,
                ..BASE
            },
        ),
        (
            "sqlite (b) group in key order",
            Shape {
                way: Way::Sorted,
                ..BASE
            },
        ),
        (
            "sqlite (b) exclusive lock",
            Shape {
                exclusive: true,
                ..BASE
            },
        ),
        (
            "sqlite (b) index on the time",
            Shape {
                time_index: true,
                ..BASE
            },
        ),
        ("sqlite (b) 1 KiB pages", Shape { page: 1024, ..BASE }),
        ("sqlite (b) 8 KiB pages", Shape { page: 8192, ..BASE }),
        (
            "sqlite (b) 16 KiB pages",
            Shape {
                page: 16384,
                ..BASE
            },
        ),
        (
            "sqlite (b) WAL of 4 MiB",
            Shape {
                checkpoint: 4 << 20,
                ..BASE
            },
        ),
        (
            "sqlite (b) WAL of 64 MiB",
            Shape {
                checkpoint: 64 << 20,
                ..BASE
            },
        ),
    ]
}

pub(crate) struct Sqlite {
    connection: Connection,
    way: Way,
    sql: String,
    multi: String,
}

const COLUMNS: &str = "device, epoch, tag1, form, area_id, nonce, cause, seq, data, accept, time_ms, repeat, gnb_id, reader, counter";
const MULTI_ROWS: usize = 16;

impl Sqlite {
    pub(crate) fn open(dir: &Path, shape: Shape) -> Result<Box<dyn Engine>> {
        let connection = Connection::open(dir.join("db"))?;
        let index = if shape.time_index {
            "CREATE INDEX record_time ON record (time_ms);"
        } else {
            ""
        };
        let exclusive = if shape.exclusive {
            "PRAGMA locking_mode=EXCLUSIVE;"
        } else {
            ""
        };
        let body = "device INTEGER NOT NULL, epoch INTEGER NOT NULL, tag1 BLOB NOT NULL, form INTEGER NOT NULL, \
             area_id BLOB NOT NULL, nonce BLOB NOT NULL, cause INTEGER NOT NULL, seq INTEGER NOT NULL, data BLOB NOT NULL, \
             accept BLOB NOT NULL, time_ms INTEGER NOT NULL, repeat INTEGER NOT NULL, gnb_id INTEGER NOT NULL, \
             reader INTEGER NOT NULL, counter INTEGER";
        let table = match shape.layout {
            Layout::Inline => format!("({body}, PRIMARY KEY (epoch, device, tag1)) WITHOUT ROWID"),
            Layout::EpochFirst => {
                format!("(id INTEGER PRIMARY KEY, {body}, UNIQUE (epoch, device, tag1))")
            }
            Layout::DeviceFirst => {
                format!("(id INTEGER PRIMARY KEY, {body}, UNIQUE (device, epoch, tag1))")
            }
            Layout::NoIndex => format!("(id INTEGER PRIMARY KEY, {body})"),
        };
        connection.execute_batch(&format!(
            "PRAGMA page_size={}; {exclusive} PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-131072;
             PRAGMA mmap_size=0; PRAGMA wal_autocheckpoint={}; CREATE TABLE record {table}; {index}",
            shape.page,
            shape.checkpoint / shape.page
        ))?;
        connection.set_prepared_statement_cache_capacity(16);
        let row = "(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)";
        let end = if shape.layout == Layout::NoIndex {
            ""
        } else {
            "ON CONFLICT DO NOTHING"
        };
        let sql = format!("INSERT INTO record ({COLUMNS}) VALUES {row} {end}");
        let rows = vec![row; MULTI_ROWS].join(",");
        let multi = format!("INSERT INTO record ({COLUMNS}) VALUES {rows} {end} RETURNING tag1");
        Ok(Box::new(Self {
            connection,
            way: shape.way,
            sql,
            multi,
        }))
    }
}

impl Engine for Sqlite {
    fn accept(&mut self, group: &[Record]) -> Result<usize> {
        let mut ordered: Vec<&Record> = group.iter().collect();
        if self.way == Way::Sorted {
            ordered.sort_unstable_by_key(|r| (r.epoch, r.device, r.tag1));
        }
        let transaction = self
            .connection
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let mut new = 0;
        let mut rest = &ordered[..];
        if self.way == Way::Multi {
            let mut statement = transaction.prepare_cached(&self.multi)?;
            while rest.len() >= MULTI_ROWS {
                for (i, r) in rest[..MULTI_ROWS].iter().enumerate() {
                    bind(&mut statement, i * 15, r)?;
                }
                let mut rows = statement.raw_query();
                while rows.next()?.is_some() {
                    new += 1;
                }
                rest = &rest[MULTI_ROWS..];
            }
        }
        let mut statement = transaction.prepare_cached(&self.sql)?;
        for r in rest {
            new += statement.execute(params![
                r.device,
                r.epoch,
                &r.tag1[..],
                0_u8,
                &r.area_id[..],
                &r.nonce[..],
                2_u8,
                r.seq,
                &r.data[..],
                &[][..] as &[u8],
                r.time_ms,
                false,
                1_u32,
                1_u16,
                None::<u32>
            ])?;
        }
        drop(statement);
        transaction.commit()?;
        Ok(new)
    }
}

fn bind(statement: &mut rusqlite::Statement<'_>, offset: usize, r: &Record) -> Result<()> {
    let mut at = offset;
    let mut next = || {
        at += 1;
        at
    };
    statement.raw_bind_parameter(next(), r.device)?;
    statement.raw_bind_parameter(next(), r.epoch)?;
    statement.raw_bind_parameter(next(), &r.tag1[..])?;
    statement.raw_bind_parameter(next(), 0_u8)?;
    statement.raw_bind_parameter(next(), &r.area_id[..])?;
    statement.raw_bind_parameter(next(), &r.nonce[..])?;
    statement.raw_bind_parameter(next(), 2_u8)?;
    statement.raw_bind_parameter(next(), r.seq)?;
    statement.raw_bind_parameter(next(), &r.data[..])?;
    statement.raw_bind_parameter(next(), &[][..] as &[u8])?;
    statement.raw_bind_parameter(next(), r.time_ms)?;
    statement.raw_bind_parameter(next(), false)?;
    statement.raw_bind_parameter(next(), 1_u32)?;
    statement.raw_bind_parameter(next(), 1_u16)?;
    statement.raw_bind_parameter(next(), None::<u32>)?;
    Ok(())
}
