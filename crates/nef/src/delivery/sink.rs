//! A sink as its worker sees it: messages go in, and for each comes out what became of it.

use std::time::Duration;

use super::callback::Callback;
use super::file::FileSink;
use super::message::Message;
use super::mqtt::Mqtt;
use crate::subscription::Position;

/// A message on its way, and where its subscription stands once it has been taken.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    pub(super) message: Message,
    pub(super) after: Position,
}

/// What became of a message.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// The sink has it.
    Taken,
    /// The sink will never take it, and says why.
    Refused(String),
    /// Not now.
    Failed(Failed),
    /// It was not tried, as one before it failed.
    Held,
}

/// Why a sink does not take messages now.
#[derive(Clone, Debug)]
pub(super) struct Failed {
    /// The stable name.
    pub(super) name: &'static str,
    /// For people.
    pub(super) error: String,
    /// The sink was there and answered so to this message.
    pub(super) is_answer: bool,
    /// When it wants to be asked again.
    pub(super) retry_after: Option<Duration>,
}

impl Failed {
    pub(super) const fn new(name: &'static str, error: String) -> Self {
        Self {
            name,
            error,
            is_answer: false,
            retry_after: None,
        }
    }
}

/// Where a worker's messages go.
pub(super) enum Channel {
    Callback(Callback),
    Mqtt(Mqtt),
    File(FileSink),
}

impl Channel {
    /// How many messages are handed over at once.
    pub(super) fn wave_max(&self) -> usize {
        match self {
            Self::Callback(callback) if callback.is_batch() => 64,
            Self::Callback(_) => 16,
            Self::Mqtt(_) => 128,
            Self::File(_) => usize::MAX,
        }
    }

    /// Whether what is handed over at once is taken in its order, all or from the first one: then one device may have several
    /// messages in it.
    pub(super) fn is_in_order(&self) -> bool {
        match self {
            Self::Callback(callback) => callback.is_batch(),
            Self::Mqtt(_) => false,
            Self::File(_) => true,
        }
    }

    /// Hands messages over; one outcome for each, in their order.
    pub(super) async fn send(&mut self, wave: &[Outgoing]) -> Vec<Outcome> {
        match self {
            Self::Callback(callback) => callback.send(wave).await,
            Self::Mqtt(mqtt) => mqtt.send(wave).await,
            Self::File(file) => file.send(wave).await,
        }
    }

    /// Makes what was taken durable, where that is not done with each message, when it is time.
    pub(super) async fn settle(&mut self) -> Result<Settled, Failed> {
        match self {
            Self::File(file) => Ok(match file.settle().await? {
                Some(octets) => Settled::Yes(Some(octets)),
                None => Settled::Later,
            }),
            Self::Callback(_) | Self::Mqtt(_) => Ok(Settled::Yes(None)),
        }
    }
}

/// Whether everything taken is durable at the sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// It is; for a file, how long that is.
    Yes(Option<u64>),
    /// Not yet.
    Later,
}
