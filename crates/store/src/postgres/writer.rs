//! The writer: who this process is among those that accept, and how far its records have come.
//!
//! Ids are writer * 2^40 + place. Each writer's places are dense and its records linked to each other, so several processes
//! accept side by side without a common row. The statement that inserts also compares and moves the writer's `head`: it is
//! what tells, after a lost connection, whether the last commit was carried out, and it keeps out a process that has been
//! replaced.

use super::fault::Fault;
use super::link::{Connector, Link, PATIENCE};
use crate::evidence::writer;
use crate::{EvidenceHead, StoreError};

/// The id before the first of a writer.
pub(super) const fn base(writer: i64) -> i64 {
    writer << 40
}

/// The place of an id.
pub(super) const fn place(id: i64) -> i64 {
    id - base(writer(id))
}

/// A head as others know it: that of a writer without records is the head of no chain.
pub(super) fn stated(head: EvidenceHead) -> EvidenceHead {
    match place(head.record) {
        0 => EvidenceHead::default(),
        _ => head,
    }
}

/// This process as a writer.
pub(super) struct Writer {
    /// Which data directory this is.
    owner: [u8; 16],
    /// Which process: drawn at the start.
    session: [u8; 16],
    claimed: Option<Claimed>,
    /// The last writer's records were lost by the database: its numbers are not used again.
    is_retired: bool,
}

/// What is known of one's own row.
#[derive(Clone, Copy)]
pub(super) struct Claimed {
    pub(super) writer: i64,
    /// The last record known to be durable.
    pub(super) head: EvidenceHead,
    /// Where the head is if the last commit, whose answer was lost, was carried out.
    pub(super) in_doubt: Option<EvidenceHead>,
    /// The connection on which this was last read.
    generation: u64,
}

/// How far a commit in doubt turned out to have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// There was no doubt, or it was not carried out.
    AsBefore,
    /// It was carried out.
    Done,
}

impl Writer {
    pub(super) fn new(owner: Option<[u8; 16]>) -> Result<Self, StoreError> {
        let mut session = [0; 16];
        getrandom::fill(&mut session).map_err(|error| StoreError::Io {
            detail: error.to_string(),
        })?;
        Ok(Self {
            owner: owner.unwrap_or(session),
            session,
            claimed: None,
            is_retired: false,
        })
    }

    pub(super) const fn session(&self) -> &[u8; 16] {
        &self.session
    }

    pub(super) const fn claimed(&self) -> Option<&Claimed> {
        self.claimed.as_ref()
    }

    pub(super) const fn claimed_mut(&mut self) -> Option<&mut Claimed> {
        self.claimed.as_mut()
    }

    /// Forgets what was read, so that it is read again.
    pub(super) const fn distrust(&mut self) {
        if let Some(claimed) = self.claimed.as_mut() {
            claimed.generation = 0;
        }
    }

    /// Makes sure that this process has a writer and knows where it stands, on the connection there is now.
    pub(super) fn settle(&mut self, connector: &mut Connector) -> Result<(Claimed, Found), Fault> {
        connector.connect()?;
        let generation = connector.generation;
        match self.claimed {
            Some(known) if known.generation == generation => Ok((known, Found::AsBefore)),
            Some(known) => {
                let head = self.read(connector, known.writer)?;
                match judge(&known, head) {
                    Ok(found) => Ok((self.note(known.writer, head, generation), found)),
                    Err(error) => {
                        // Said once. After that another writer goes on.
                        self.claimed = None;
                        self.is_retired = true;
                        Err(error.into())
                    }
                }
            }
            None => {
                let (writer, head) = self.claim(connector)?;
                self.is_retired = false;
                Ok((self.note(writer, head, generation), Found::AsBefore))
            }
        }
    }

    fn note(&mut self, writer: i64, head: EvidenceHead, generation: u64) -> Claimed {
        *self.claimed.insert(Claimed {
            writer,
            head,
            in_doubt: None,
            generation,
        })
    }

    /// Where one's own row stands.
    fn read(&self, connector: &mut Connector, writer: i64) -> Result<EvidenceHead, Fault> {
        let session = self.session;
        connector.attempt(PATIENCE, async |link: &mut Link| {
            // Locked: a backend that has not noticed that its client is gone may still be at work on the last commit.
            let row = link
                .client
                .query_opt(
                    "SELECT head, link, session FROM writer WHERE writer = $1 FOR UPDATE",
                    &[&writer],
                )
                .await?;
            let Some(row) = row else {
                return Ok(EvidenceHead {
                    record: base(writer),
                    link: [0xFF; 32],
                });
            };
            if row.try_get::<_, &[u8]>(2)? != session {
                return Err(StoreError::Unusable.into());
            }
            head(&row)
        })
    }

    /// Takes up the data directory's writer, or a new one.
    fn claim(&self, connector: &mut Connector) -> Result<(i64, EvidenceHead), Fault> {
        let (owner, session, is_retired) = (self.owner, self.session, self.is_retired);
        let mut nobody = [0; 16];
        getrandom::fill(&mut nobody).map_err(|error| StoreError::Io {
            detail: error.to_string(),
        })?;
        connector.attempt(PATIENCE, async |link: &mut Link| {
            let t = link.client.transaction().await?;
            if is_retired {
                t.execute(
                    "UPDATE writer SET owner = $2 WHERE owner = $1",
                    &[&&owner[..], &&nobody[..]],
                )
                .await?;
            }
            let taken = t
                .query_opt(
                    "UPDATE writer SET session = $2 WHERE owner = $1 RETURNING head, link, writer",
                    &[&&owner[..], &&session[..]],
                )
                .await?;
            let row = match taken {
                Some(row) => row,
                // Two that come at once: one finds the number taken, and comes again.
                None => {
                    t.query_one(
                        "INSERT INTO writer (writer, owner, session, head, link) \
                         SELECT n, $1, $2, n * 1099511627776, $3 FROM \
                         (SELECT coalesce(max(writer) + 1, 0) AS n FROM writer) AS next \
                         RETURNING head, link, writer",
                        &[&&owner[..], &&session[..], &&[0_u8; 32][..]],
                    )
                    .await?
                }
            };
            let claimed = (row.try_get(2)?, head(&row)?);
            t.commit().await?;
            Ok(claimed)
        })
    }
}

/// What the row says against what this process knows.
fn judge(known: &Claimed, head: EvidenceHead) -> Result<Found, StoreError> {
    if head == known.head {
        return Ok(Found::AsBefore);
    }
    if Some(head) == known.in_doubt {
        return Ok(Found::Done);
    }
    Err(went_back(head.record.min(known.head.record)))
}

const fn went_back(last: i64) -> StoreError {
    StoreError::WentBack { first: last + 1 }
}

pub(super) fn head(row: &tokio_postgres::Row) -> Result<EvidenceHead, Fault> {
    Ok(EvidenceHead {
        record: row.try_get(0)?,
        link: super::array(row.try_get(1)?, "a link")?,
    })
}
