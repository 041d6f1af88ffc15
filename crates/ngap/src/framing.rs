//! NGAP over TCP, where a host has no SCTP: each PDU preceded by its length, u32 big-endian.
//!
//! No I/O: [`FrameDecoder`] takes what was read, in pieces of any size, and gives the PDUs in it;
//! [`frame_into`] appends what is to be written.

/// The most octets a PDU may have, unless a decoder is told otherwise: 1 MiB.
pub const PDU_OCTETS_MAX: usize = 1 << 20;

const LENGTH_OCTETS: usize = 4;

/// Finds the PDUs in a stream of octets.
///
/// ```
/// use ambit_ngap::framing::{FrameDecoder, frame_into};
///
/// let mut stream = Vec::new();
/// frame_into(b"one", &mut stream)?;
/// frame_into(b"two", &mut stream)?;
///
/// let mut decoder = FrameDecoder::new();
/// decoder.push(&stream[..9]);
/// assert_eq!(decoder.next()?, Some(&b"one"[..]));
/// assert_eq!(decoder.next()?, None);
/// decoder.push(&stream[9..]);
/// assert_eq!(decoder.next()?, Some(&b"two"[..]));
/// # Ok::<(), ambit_ngap::framing::FrameError>(())
/// ```
///
/// Take every PDU with [`next`](Self::next) after each [`push`](Self::push): what is held is then
/// never more than one frame and the last piece.
#[derive(Clone, Debug)]
pub struct FrameDecoder {
    buffer: Vec<u8>,
    /// How much of the buffer was taken.
    taken: usize,
    octets_max: usize,
}

/// A frame that no peer of ours sends. The stream has no point at which to pick up again: close it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A PDU of no octets.
    #[error("expected a PDU of 1 to {octets_max} octets, came one of none")]
    Empty {
        /// The limit.
        octets_max: usize,
    },
    /// A PDU over the limit.
    #[error("expected a PDU of 1 to {octets_max} octets, came one of {octets}")]
    TooLong {
        /// Its length.
        octets: usize,
        /// The limit.
        octets_max: usize,
    },
}

impl FrameDecoder {
    /// A decoder for PDUs of up to [`PDU_OCTETS_MAX`] octets.
    pub const fn new() -> Self {
        Self::with_limit(PDU_OCTETS_MAX)
    }

    /// A decoder for PDUs of up to `octets_max` octets.
    pub const fn with_limit(octets_max: usize) -> Self {
        Self {
            buffer: Vec::new(),
            taken: 0,
            octets_max,
        }
    }

    /// Take in what was read from the stream.
    pub fn push(&mut self, octets: &[u8]) {
        // What was taken is dropped once it is the larger part, so that each octet is moved at most
        // once on average, however many frames a piece holds.
        if self.taken == self.buffer.len() {
            self.buffer.clear();
            self.taken = 0;
        } else if self.taken > self.buffer.len() / 2 {
            self.buffer.drain(..self.taken);
            self.taken = 0;
        }
        self.buffer.extend_from_slice(octets);
    }

    /// The next whole PDU, without its length; `None` until more is pushed.
    ///
    /// # Errors
    /// A [`FrameError`] for a length that is refused, as soon as it is read, and again at every later
    /// call.
    // Not an iterator: the PDU borrows from the decoder.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<&[u8]>, FrameError> {
        let Some(Some((length, rest))) = self
            .buffer
            .get(self.taken..)
            .map(<[u8]>::split_first_chunk::<LENGTH_OCTETS>)
        else {
            return Ok(None);
        };
        let octets = check(u32::from_be_bytes(*length) as usize, self.octets_max)?;
        let Some(pdu) = rest.get(..octets) else {
            return Ok(None);
        };
        self.taken += LENGTH_OCTETS + octets;
        Ok(Some(pdu))
    }

    /// How many octets are held that no PDU was made of yet. Not zero at the end of a stream means
    /// that it was cut short.
    pub const fn pending_octets(&self) -> usize {
        self.buffer.len() - self.taken
    }
}

impl Default for FrameDecoder {
    fn default() -> Self {
        Self::new()
    }
}

/// Append a PDU to `out`, after its length.
///
/// # Errors
/// A [`FrameError`] for a PDU of no octets or of more than [`PDU_OCTETS_MAX`]; `out` is as it was.
pub fn frame_into(pdu: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
    let octets = check(pdu.len(), PDU_OCTETS_MAX)?;
    out.reserve(LENGTH_OCTETS + octets);
    out.extend_from_slice(&(octets as u32).to_be_bytes());
    out.extend_from_slice(pdu);
    Ok(())
}

impl FrameError {
    /// The stable name, in snake case, that labels metrics and events.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Empty { .. } => "frame_empty",
            Self::TooLong { .. } => "frame_too_long",
        }
    }
}

const fn check(octets: usize, octets_max: usize) -> Result<usize, FrameError> {
    match octets {
        0 => Err(FrameError::Empty { octets_max }),
        _ if octets > octets_max => Err(FrameError::TooLong { octets, octets_max }),
        _ => Ok(octets),
    }
}
