//! Command sessions (section 8): sealed messages in both directions with a COUNT that only rises.

use crate::exchange::OpenError;
use crate::key::KAiotf;
use crate::seal::{Direction, SealKeys};
use crate::suite::Suite;
use crate::wire::{SESSION_TEXT_OCTETS_MAX, session_aad};
use crate::wire::{SessionView, TagLen, WireError};

/// One end of a session. Which end it is shows in the calls: a device seals up and opens down, a network the reverse.
#[derive(Debug)]
pub struct Session {
    keys: SealKeys,
    len: TagLen,
    up: Count,
    down: Count,
}

/// The next COUNT of one direction; 256 when all are used up.
#[derive(Debug, Default)]
struct Count(u16);

/// A session message's plaintext, opened.
#[derive(Clone, Copy, Debug)]
pub struct SessionText {
    octets: [u8; SESSION_TEXT_OCTETS_MAX],
    len: usize,
}

impl SessionText {
    /// The octets.
    pub fn octets(&self) -> &[u8] {
        self.octets.get(..self.len).unwrap_or_default()
    }
}

/// Why a session message could not be sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// It is not a SESSION message of this direction, or does not verify.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Its COUNT was used before: a replay.
    #[error("COUNT {found} was used before, next is {next}")]
    CountReplayed {
        /// COUNT of the message.
        found: u8,
        /// The lowest COUNT still open.
        next: u16,
    },
    /// All 256 COUNTs of this direction are used: the session is over.
    #[error("COUNT is used up")]
    CountExhausted,
}

impl SessionError {
    /// The stable name of the error.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Open(error) => error.name(),
            Self::CountReplayed { .. } => "session_count_replayed",
            Self::CountExhausted => "session_count_exhausted",
        }
    }
}

impl Session {
    /// A session under a K_AIOTF, both COUNTs at 0.
    pub fn new(suite: Suite, k_aiotf: &KAiotf, len: TagLen) -> Self {
        Self::from_keys(SealKeys::new(suite, k_aiotf), len)
    }

    pub(crate) fn from_keys(keys: SealKeys, len: TagLen) -> Self {
        Self {
            keys,
            len,
            up: Count::default(),
            down: Count::default(),
        }
    }

    /// Device: seals `text` upwards into `out`; returns the length.
    ///
    /// # Errors
    /// [`SessionError::CountExhausted`], or [`WireError`] for a text or buffer of the wrong size.
    pub fn seal_up(&mut self, text: &[u8], out: &mut [u8]) -> Result<usize, SessionError> {
        seal(&self.keys, self.len, &mut self.up, false, text, out)
    }

    /// Network: seals `text` downwards into `out`; returns the length.
    ///
    /// # Errors
    /// As [`Session::seal_up`].
    pub fn seal_down(&mut self, text: &[u8], out: &mut [u8]) -> Result<usize, SessionError> {
        seal(&self.keys, self.len, &mut self.down, true, text, out)
    }

    /// Network: opens an upward message.
    ///
    /// # Errors
    /// [`SessionError`]; the session is then unchanged.
    pub fn open_up(&mut self, octets: &[u8]) -> Result<SessionText, SessionError> {
        open(&self.keys, self.len, &mut self.up, false, octets)
    }

    /// Device: opens a downward message.
    ///
    /// # Errors
    /// As [`Session::open_up`].
    pub fn open_down(&mut self, octets: &[u8]) -> Result<SessionText, SessionError> {
        open(&self.keys, self.len, &mut self.down, true, octets)
    }
}

fn direction(down: bool) -> Direction {
    if down {
        Direction::SessionDown
    } else {
        Direction::SessionUp
    }
}

fn seal(
    keys: &SealKeys,
    len: TagLen,
    next: &mut Count,
    down: bool,
    text: &[u8],
    out: &mut [u8],
) -> Result<usize, SessionError> {
    let wire = |error: WireError| SessionError::Open(OpenError::Wire(error));
    if !(1..=SESSION_TEXT_OCTETS_MAX).contains(&text.len()) {
        return Err(wire(WireError::BadField {
            field: "session text",
            rule: "1 to 107 octets",
        }));
    }
    let needed = 2 + text.len() + len.octets();
    let found = out.len();
    let small = wire(WireError::BufferTooSmall { needed, found });
    let out = out.get_mut(..needed).ok_or(small)?;
    let (head, rest) = out.split_first_chunk_mut::<2>().ok_or(small)?;
    let (body, tag_out) = rest.split_at_mut_checked(text.len()).ok_or(small)?;

    let count = u8::try_from(next.0).map_err(|_| SessionError::CountExhausted)?;
    *head = session_aad(down, count);
    body.copy_from_slice(text);
    let tag = keys.seal(direction(down), [&*head, &[]], body, len);
    tag_out.copy_from_slice(tag.as_slice());
    next.0 += 1;
    Ok(needed)
}

fn open(
    keys: &SealKeys,
    len: TagLen,
    next: &mut Count,
    down: bool,
    octets: &[u8],
) -> Result<SessionText, SessionError> {
    let view = SessionView::parse(octets, len).map_err(OpenError::Wire)?;
    if view.down != down {
        return Err(OpenError::TagMismatch.into());
    }
    if u16::from(view.count) < next.0 {
        return Err(SessionError::CountReplayed {
            found: view.count,
            next: next.0,
        });
    }
    let mut text = SessionText {
        octets: [0; SESSION_TEXT_OCTETS_MAX],
        len: view.ciphertext.len(),
    };
    let body = text
        .octets
        .get_mut(..view.ciphertext.len())
        .ok_or(OpenError::TagMismatch)?;
    body.copy_from_slice(view.ciphertext);
    keys.open(direction(down), [&view.aad, &[]], body, &view.tag)
        .map_err(|_| OpenError::TagMismatch)?;
    next.0 = u16::from(view.count) + 1;
    Ok(text)
}
