//! The evidence chain: each acceptance record is linked to the one before it, so that no record can be altered, taken out or
//! put in without breaking a link.
//!
//! ```text
//! digest(n) = SHA-256(canonical octets of record n)      link(n) = SHA-256(link(n-1) ‖ digest(n))      link(0) = 00*32
//! ```
//! The link is computed in the transaction that inserts the record, under the write lock: however many processes share the
//! store, there is one chain. Anybody can compute links, so the chain alone does not stop a forger who writes it anew from
//! some record on; a signed checkpoint, which names a record and its link, does (the ADM makes them).
//!
//! Links go over digests, so that the way from a record to a checkpoint can be shown without the records between.

use sha2::{Digest, Sha256};

use crate::{NewRecord, RecordRow};

/// The octets that a digest begins with.
const RECORD_LABEL: &[u8] = b"ambit record 1\0";

/// The octets that what a checkpoint signs begins with.
const CHECKPOINT_LABEL: &[u8] = b"ambit checkpoint 1\0";

/// The last record and its link: what the next record is linked to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EvidenceHead {
    /// Id of the record; 0 while there is none.
    pub record: i64,
    /// Its link; zeros while there is none.
    pub link: [u8; 32],
}

impl EvidenceHead {
    pub(crate) fn next(&self, content: &Content<'_>) -> Self {
        Self {
            record: content.id,
            link: link(&self.link, &content.digest()),
        }
    }
}

/// A signed statement that the chain came to this link at this record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointRow {
    /// The record.
    pub record: i64,
    /// Its link.
    pub link: [u8; 32],
    /// When it was signed.
    pub time_ms: i64,
    /// Ed25519 over [`CheckpointRow::signed_octets`].
    pub signature: [u8; 64],
}

impl CheckpointRow {
    /// What is signed: a label, the record and the time as 8 octets each, the link between them.
    #[must_use]
    pub fn signed_octets(&self) -> Vec<u8> {
        let (record, time) = (self.record.to_be_bytes(), self.time_ms.to_be_bytes());
        [CHECKPOINT_LABEL, &record, &self.link, &time].concat()
    }
}

/// Bits of a record's id that are its place among those of its writer.
const PLACE_BITS: u32 = 40;

/// Who numbered a record: each process that accepts into a shared store has a chain of its own. In an embedded store there is
/// one, 0.
#[must_use]
pub const fn writer(record: i64) -> i64 {
    record >> PLACE_BITS
}

/// Whether a record is the first of its chain: what it is linked to is zeros.
#[must_use]
pub const fn is_first(record: i64) -> bool {
    record & ((1 << PLACE_BITS) - 1) == 1
}

/// The link that follows `previous`.
#[must_use]
pub fn link(previous: &[u8; 32], digest: &[u8; 32]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(previous);
    hash.update(digest);
    hash.finalize().into()
}

/// The digest of a record as stored; all but its link goes in.
#[must_use]
pub fn record_digest(row: &RecordRow) -> [u8; 32] {
    Content::of_row(row).digest()
}

/// The canonical octets of a record: what its digest goes over. Fixed fields are big-endian, those of variable length are
/// preceded by their length in one octet, in the order of the fields here; a counter is preceded by 01, its absence is 00.
#[must_use]
pub fn record_octets(row: &RecordRow) -> Vec<u8> {
    let mut octets = Vec::with_capacity(256);
    Content::of_row(row).emit(&mut |piece| octets.extend_from_slice(piece));
    octets
}

/// The record that canonical octets say, with an empty link; `None` unless they are the canonical octets of one.
#[must_use]
pub fn record_from_octets(octets: &[u8]) -> Option<RecordRow> {
    let mut reader = Reader(octets.strip_prefix(RECORD_LABEL)?);
    let row = RecordRow {
        id: i64::from_be_bytes(reader.fixed()?),
        device: i64::from_be_bytes(reader.fixed()?),
        device_id: reader.variable()?,
        epoch: u32::from_be_bytes(reader.fixed()?),
        tag1: reader.variable()?,
        form: reader.octet()?,
        area_id: reader.fixed()?,
        nonce: reader.variable()?,
        cause: reader.octet()?,
        seq: reader.octet()?,
        data: reader.variable()?,
        accept: reader.variable()?,
        time_ms: i64::from_be_bytes(reader.fixed()?),
        repeat: reader.octet()? == 1,
        gnb_id: u32::from_be_bytes(reader.fixed()?),
        reader_index: u16::from_be_bytes(reader.fixed()?),
        counter: match reader.octet()? {
            0 => None,
            _ => Some(u32::from_be_bytes(reader.fixed()?)),
        },
        link: [0; 32],
    };
    // Whatever else the octets may have been: they are these.
    (record_octets(&row) == octets).then_some(row)
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn fixed<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (octets, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*octets)
    }

    fn octet(&mut self) -> Option<u8> {
        self.fixed().map(|[octet]| octet)
    }

    fn variable(&mut self) -> Option<Vec<u8>> {
        let len = self.octet()?;
        let (octets, rest) = self.0.split_at_checked(len.into())?;
        self.0 = rest;
        Some(octets.to_vec())
    }
}

/// A record's content, wherever it comes from.
pub(crate) struct Content<'a> {
    id: i64,
    device: i64,
    device_id: &'a [u8],
    epoch: u32,
    tag1: &'a [u8],
    form: u8,
    area_id: &'a [u8; 12],
    nonce: &'a [u8],
    cause: u8,
    seq: u8,
    data: &'a [u8],
    accept: &'a [u8],
    time_ms: i64,
    repeat: bool,
    gnb_id: u32,
    reader_index: u16,
    counter: Option<u32>,
}

macro_rules! content {
    ($id:expr, $r:expr) => {
        Content {
            id: $id,
            device: $r.device,
            device_id: &$r.device_id,
            epoch: $r.epoch,
            tag1: &$r.tag1,
            form: $r.form,
            area_id: &$r.area_id,
            nonce: &$r.nonce,
            cause: $r.cause,
            seq: $r.seq,
            data: &$r.data,
            accept: &$r.accept,
            time_ms: $r.time_ms,
            repeat: $r.repeat,
            gnb_id: $r.gnb_id,
            reader_index: $r.reader_index,
            counter: $r.counter,
        }
    };
}

impl<'a> Content<'a> {
    pub(crate) const fn of_new(id: i64, r: &'a NewRecord<'a>) -> Self {
        content!(id, r)
    }

    pub(crate) fn of_row(r: &'a RecordRow) -> Self {
        content!(r.id, r)
    }

    fn digest(&self) -> [u8; 32] {
        // One call of the hash for the whole: some 170 octets, in which many small pieces cost more than the hash.
        let mut octets = [0; 512];
        let mut len = 0;
        self.emit(&mut |piece| {
            if let Some(room) = octets.get_mut(len..len + piece.len()) {
                room.copy_from_slice(piece);
            }
            len += piece.len();
        });
        match octets.get(..len) {
            Some(octets) => Sha256::digest(octets).into(),
            // Longer than any record this crate writes, so a file that was tampered with.
            None => {
                let mut hash = Sha256::new();
                self.emit(&mut |piece| hash.update(piece));
                hash.finalize().into()
            }
        }
    }

    fn emit(&self, to: &mut dyn FnMut(&[u8])) {
        fn variable(to: &mut dyn FnMut(&[u8]), octets: &[u8]) {
            // A longer field is never written; in a file that was tampered with, its length then wraps and shows.
            to(&octets.len().to_be_bytes()[7..]);
            to(octets);
        }
        to(RECORD_LABEL);
        to(&self.id.to_be_bytes());
        to(&self.device.to_be_bytes());
        variable(to, self.device_id);
        to(&self.epoch.to_be_bytes());
        variable(to, self.tag1);
        to(&[self.form]);
        to(self.area_id);
        variable(to, self.nonce);
        to(&[self.cause, self.seq]);
        variable(to, self.data);
        variable(to, self.accept);
        to(&self.time_ms.to_be_bytes());
        to(&[u8::from(self.repeat)]);
        to(&self.gnb_id.to_be_bytes());
        to(&self.reader_index.to_be_bytes());
        match self.counter {
            None => to(&[0]),
            Some(counter) => {
                to(&[1]);
                to(&counter.to_be_bytes());
            }
        }
    }
}

/// What `evidence_verify` finds, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvidenceFault {
    /// The record at which it shows; the first that is missing, for missing ones.
    pub record: i64,
    /// What is wrong.
    pub kind: EvidenceFaultKind,
}

/// What can be wrong with the evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvidenceFaultKind {
    /// The record, or its link, is not what it was.
    Altered,
    /// Records are missing between their neighbours.
    Missing,
    /// A checkpoint names another link than the record has, or a record that is not there.
    NotAsSigned,
    /// The signature of a checkpoint is not by this key.
    SignatureWrong,
    /// The file itself is damaged: an index does not agree with the records.
    Damaged,
}

impl EvidenceFaultKind {
    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Altered => "record_altered",
            Self::Missing => "records_missing",
            Self::NotAsSigned => "not_as_signed",
            Self::SignatureWrong => "signature_wrong",
            Self::Damaged => "store_damaged",
        }
    }
}
