//! What can be wrong with a message, and what clause 10 of TS 38.413 has its receiver answer.

use crate::{Cause, Direction, MessageKind};
use oxirush_ngap::ErrorKind;
use oxirush_ngap::ngap::Criticality;

/// Why octets are no message that was expected here, or why a message has no encoding.
///
/// Each says what was expected and what came. [`name`](Self::name) is for metrics,
/// [`to_cause`](Self::to_cause) for the answer to the peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NgapError {
    /// The octets end before the PDU does.
    #[error("expected a whole NGAP PDU, came {octets} octets: {reason}")]
    Truncated {
        /// How many octets came.
        octets: usize,
        /// Where they end.
        reason: String,
    },
    /// The octets are no NGAP PDU in aligned PER.
    #[error("expected an NGAP PDU, came {octets} octets that are none: {reason}")]
    TransferSyntax {
        /// How many octets came.
        octets: usize,
        /// What is wrong with them.
        reason: String,
    },
    /// The PDU is of a procedure or direction that is not served at this end.
    #[error("expected a message {expected}, came a {direction} of procedure {procedure_code}")]
    UnexpectedProcedure {
        /// Which end's messages were expected: `from a gNB` or `to a gNB`.
        expected: &'static str,
        /// The procedure code that came (clause 9.4.7).
        procedure_code: u8,
        /// The direction that came.
        direction: Direction,
        /// The protocol cause that the criticality of the PDU asks for (clause 10.3.4.1).
        cause: Option<Cause>,
    },
    /// A mandatory IE is missing.
    #[error("expected {name} in {message}, it is missing")]
    MissingIe {
        /// The message that misses it.
        message: MessageKind,
        /// The IE, as the ASN.1 has it.
        name: &'static str,
    },
    /// An IE of criticality `reject` that the message cannot have.
    #[error("{message} has the IE {id}, which it cannot have and whose criticality is reject")]
    UnknownIe {
        /// The message that has it.
        message: MessageKind,
        /// The identifier of the IE (clause 9.4.7).
        id: u16,
    },
    /// An IE twice, or out of order (clause 10.3.6).
    #[error("{message} is falsely constructed: {reason}")]
    FalselyConstructed {
        /// The message.
        message: MessageKind,
        /// Which IE, and how.
        reason: String,
    },
    /// The octets of an IE are no value of its type.
    #[error("expected a {name} in {message}, came octets that are none: {reason}")]
    UndecodableIe {
        /// The message that has it.
        message: MessageKind,
        /// The IE, as the ASN.1 has it.
        name: &'static str,
        /// What is wrong with its octets.
        reason: String,
    },
    /// An IE has a value of its type that breaks a rule. Also given when encoding.
    #[error("expected {rule} as {name} in {message}, came {came}")]
    BadIe {
        /// The message that has it.
        message: MessageKind,
        /// The IE or the member of one, as the ASN.1 has it.
        name: &'static str,
        /// What it has to be.
        rule: &'static str,
        /// What it is.
        came: String,
    },
    /// A value stands both in the message and in its transfer, and the two differ.
    #[error("expected the same {name} in {message} and its transfer, came {outer} and {inner}")]
    Mismatch {
        /// The message.
        message: MessageKind,
        /// The field, as the ASN.1 has it.
        name: &'static str,
        /// Its value in the message.
        outer: u64,
        /// Its value in the transfer.
        inner: u64,
    },
    /// A message that has no encoding. Only given when encoding.
    #[error("{message} does not encode: {reason}")]
    Encode {
        /// The message.
        message: MessageKind,
        /// Which value, and why.
        reason: String,
    },
}

impl NgapError {
    /// The stable name, in snake case, that labels metrics and events.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Truncated { .. } => "truncated",
            Self::TransferSyntax { .. } => "transfer_syntax",
            Self::UnexpectedProcedure { .. } => "unexpected_procedure",
            Self::MissingIe { .. } => "missing_ie",
            Self::UnknownIe { .. } => "unknown_ie",
            Self::FalselyConstructed { .. } => "falsely_constructed",
            Self::UndecodableIe { .. } => "undecodable_ie",
            Self::BadIe { .. } => "bad_ie",
            Self::Mismatch { .. } => "mismatch",
            Self::Encode { .. } => "encode",
        }
    }

    /// The message at fault, where it is known.
    pub const fn message(&self) -> Option<MessageKind> {
        match self {
            Self::Truncated { .. }
            | Self::TransferSyntax { .. }
            | Self::UnexpectedProcedure { .. } => None,
            Self::MissingIe { message, .. }
            | Self::UnknownIe { message, .. }
            | Self::FalselyConstructed { message, .. }
            | Self::UndecodableIe { message, .. }
            | Self::BadIe { message, .. }
            | Self::Mismatch { message, .. }
            | Self::Encode { message, .. } => Some(*message),
        }
    }

    /// The cause to answer the peer with: in the failure message of the procedure where it has one
    /// (NG SETUP FAILURE, INVENTORY FAILURE, COMMAND FAILURE), else in an ERROR INDICATION.
    ///
    /// `None` where clause 10 has the receiver answer nothing: a fault in an ERROR INDICATION
    /// (10.5), an abstract or logical error in an answer, which ends the procedure locally
    /// (10.3.5, 10.4), and a procedure of criticality `ignore`.
    pub const fn to_cause(&self) -> Option<Cause> {
        let cause = match self {
            Self::Truncated { .. } | Self::TransferSyntax { .. } => {
                return Some(Cause::TransferSyntaxError);
            }
            Self::UnexpectedProcedure { cause, .. } => return *cause,
            Self::Encode { .. } => return None,
            Self::UndecodableIe { message, .. } => {
                return match message {
                    MessageKind::ErrorIndication => None,
                    _ => Some(Cause::TransferSyntaxError),
                };
            }
            Self::MissingIe { .. } | Self::UnknownIe { .. } => Cause::AbstractSyntaxErrorReject,
            Self::FalselyConstructed { .. } => Cause::FalselyConstructedMessage,
            Self::BadIe { .. } | Self::Mismatch { .. } => Cause::SemanticError,
        };
        match self.message() {
            Some(MessageKind::ErrorIndication) => None,
            Some(message) if message.is_initiating() => Some(cause),
            _ => None,
        }
    }

    /// The error of a PDU whose envelope does not decode.
    pub(crate) fn envelope(octets: &[u8], error: &oxirush_ngap::Error) -> Self {
        let (octets, reason) = (octets.len(), error.reason());
        // The codec has one kind for all that does not decode; only its text tells an early end.
        match reason.contains("end before") || octets == 0 {
            true => Self::Truncated { octets, reason },
            false => Self::TransferSyntax { octets, reason },
        }
    }

    /// The error of an IE, or of a value in one, whose octets do not decode.
    pub(crate) fn undecodable(
        message: MessageKind,
        name: &'static str,
        error: &oxirush_ngap::Error,
    ) -> Self {
        Self::UndecodableIe {
            message,
            name,
            reason: error.reason(),
        }
    }

    /// The error of a message that does not encode.
    pub(crate) fn encode(message: MessageKind, error: &oxirush_ngap::Error) -> Self {
        debug_assert_ne!(error.kind(), ErrorKind::Decode);
        Self::Encode {
            message,
            reason: error.to_string(),
        }
    }

    /// The error of a value that breaks a rule.
    pub(crate) fn bad(
        message: MessageKind,
        name: &'static str,
        rule: &'static str,
        came: impl core::fmt::Display,
    ) -> Self {
        Self::BadIe {
            message,
            name,
            rule,
            came: came.to_string(),
        }
    }

    /// The error of a PDU that holds a message not served at this end.
    pub(crate) fn unexpected(
        expected: &'static str,
        procedure_code: u8,
        direction: Direction,
        criticality: Criticality,
    ) -> Self {
        let cause = match (direction, criticality) {
            (Direction::InitiatingMessage, Criticality::reject) => {
                Some(Cause::AbstractSyntaxErrorReject)
            }
            (Direction::InitiatingMessage, Criticality::notify) => {
                Some(Cause::AbstractSyntaxErrorIgnoreAndNotify)
            }
            // An answer to nothing that was asked.
            (_, Criticality::reject | Criticality::notify) => Some(Cause::MessageNotCompatible),
            (_, Criticality::ignore) => None,
        };
        Self::UnexpectedProcedure {
            expected,
            procedure_code,
            direction,
            cause,
        }
    }
}
