//! Reading the IEs of a message or a transfer, and the values that every message has.

use crate::identity::{AiotfId, aiotf_id_from_wire};
use crate::{Direction, MessageKind, NgapError};
use oxirush_ngap::aper::protocol::Ie;
use oxirush_ngap::ngap::{ErrorIndication, NGAPPDU, ProtocolIEField, decode_open_type};
use oxirush_ngap::{Deviation, Error, Ngap, Octets, ie};

/// Decode a value that borrows its octets for as long as they do. Octets that came in fragments
/// (16 384 or more of them) are in no one piece to borrow from: the value then owns its own.
macro_rules! decode_kept {
    ($type:ident, $octets:expr) => {
        match $octets.as_borrowed() {
            Some(octets) => oxirush_ngap::ngap::decode_open_type::<$type<'_>>(octets),
            None => oxirush_ngap::ngap::decode_open_type::<$type<'_>>(&$octets)
                .map(|value| value.into_owned()),
        }
    };
}
pub(crate) use decode_kept;

/// The IEs of one container, each as it was received.
pub(crate) struct Ies<'a> {
    pub(crate) message: MessageKind,
    fields: Vec<ProtocolIEField<'a>>,
}

/// Decode the envelope of a PDU and check the structure of its message, which `served` has to know.
pub(crate) fn open<'a>(
    octets: &'a [u8],
    expected: &'static str,
    served: impl FnOnce(MessageKind) -> bool,
) -> Result<Ies<'a>, NgapError> {
    let pdu =
        NGAPPDU::decode_borrowed(octets).map_err(|error| NgapError::envelope(octets, &error))?;
    let (code, criticality, deviations) = (
        pdu.procedure_code(),
        pdu.criticality(),
        pdu.check_structure(),
    );
    let (direction, value) = match pdu {
        NGAPPDU::initiatingMessage(pdu) => (Direction::InitiatingMessage, pdu.value),
        NGAPPDU::successfulOutcome(pdu) => (Direction::SuccessfulOutcome, pdu.value),
        NGAPPDU::unsuccessfulOutcome(pdu) => (Direction::UnsuccessfulOutcome, pdu.value),
        _ => {
            let reason = "a fourth kind of PDU".to_owned();
            return Err(NgapError::TransferSyntax {
                octets: octets.len(),
                reason,
            });
        }
    };
    let Some(message) = MessageKind::of(code, direction).filter(|kind| served(*kind)) else {
        return Err(NgapError::unexpected(
            expected,
            code,
            direction,
            criticality,
        ));
    };
    Ies::of(message, "protocolIEs", &value, deviations)
}

impl<'a> Ies<'a> {
    /// The IEs in `octets`, which hold a message or a transfer, with the deviations of its structure.
    pub(crate) fn of(
        message: MessageKind,
        name: &'static str,
        octets: &Octets<'a>,
        deviations: Result<Vec<Deviation>, Error>,
    ) -> Result<Self, NgapError> {
        let undecodable = |error: Error| NgapError::undecodable(message, name, &error);
        for deviation in deviations.map_err(undecodable)? {
            refuse(message, &deviation)?;
        }
        // Every message and every such transfer is the same SEQUENCE of one container of IEs.
        let container: ErrorIndication<'a> =
            decode_kept!(ErrorIndication, octets).map_err(undecodable)?;
        Ok(Self {
            message,
            fields: container.protocol_ies.0,
        })
    }

    /// The IE `T`, if the message has it.
    pub(crate) fn optional<T: Ie<Protocol = Ngap>>(
        &self,
    ) -> Result<Option<T::Value<'_>>, NgapError> {
        self.field(T::ID)
            .map(|field| decode_open_type(&field.value))
            .transpose()
            .map_err(|error| NgapError::undecodable(self.message, T::NAME, &error))
    }

    /// The IE `T`.
    pub(crate) fn required<T: Ie<Protocol = Ngap>>(&self) -> Result<T::Value<'_>, NgapError> {
        self.optional::<T>()?.ok_or_else(|| self.missing(T::NAME))
    }

    /// The octets of the IE `T`, which is an OCTET STRING.
    pub(crate) fn octets<T: Ie<Protocol = Ngap>>(&self) -> Result<Octets<'a>, NgapError> {
        let field = self.field(T::ID).ok_or_else(|| self.missing(T::NAME))?;
        let octets = match field.value.as_borrowed() {
            Some(octets) => decode_open_type::<Octets<'a>>(octets),
            None => decode_open_type::<Octets<'_>>(&field.value).map(Octets::into_owned),
        };
        octets.map_err(|error| NgapError::undecodable(self.message, T::NAME, &error))
    }

    /// The AIOTF that the message is from or for.
    pub(crate) fn aiotf_id(&self) -> Result<AiotfId, NgapError> {
        aiotf_id_from_wire(self.message, &self.required::<ie::AIOTFIdentifier>()?.0)
    }

    /// The AIOTF that the message is from, if it names one.
    pub(crate) fn aiotf_id_if_any(&self) -> Result<Option<AiotfId>, NgapError> {
        let id = self.optional::<ie::AIOTFIdentifier>()?;
        id.map(|id| aiotf_id_from_wire(self.message, &id.0))
            .transpose()
    }

    /// The correlation identifier of the message.
    pub(crate) fn correlation(&self) -> Result<u16, NgapError> {
        let correlation = self.required::<ie::AIoT_CorrelationIdentifier>()?.0;
        let name = <ie::AIoT_CorrelationIdentifier as Ie>::NAME;
        u16::try_from(correlation)
            .map_err(|_| NgapError::bad(self.message, name, "0 to 65535", correlation))
    }

    fn field(&self, id: u16) -> Option<&ProtocolIEField<'a>> {
        self.fields.iter().find(|field| field.id.0 == id)
    }

    fn missing(&self, name: &'static str) -> NgapError {
        NgapError::MissingIe {
            message: self.message,
            name,
        }
    }
}

/// The two places of one value have to agree.
pub(crate) fn same(
    message: MessageKind,
    name: &'static str,
    outer: u64,
    inner: u64,
) -> Result<(), NgapError> {
    match outer == inner {
        true => Ok(()),
        false => Err(NgapError::Mismatch {
            message,
            name,
            outer,
            inner,
        }),
    }
}

/// A number within `range`, which is the root of its constraint: the extension marker lets a later
/// release send others, which this one has no meaning for.
pub(crate) fn within(
    message: MessageKind,
    name: &'static str,
    rule: &'static str,
    range: core::ops::RangeInclusive<u16>,
    value: u64,
) -> Result<u16, NgapError> {
    u16::try_from(value)
        .ok()
        .filter(|value| range.contains(value))
        .ok_or_else(|| NgapError::bad(message, name, rule, value))
}

/// Clause 10.3: what has the receiver refuse the message. What it only has to report (`notify`) or to
/// pass over (`ignore`) is passed over.
fn refuse(message: MessageKind, deviation: &Deviation) -> Result<(), NgapError> {
    use oxirush_ngap::ngap::Criticality::reject;
    match deviation {
        Deviation::MissingIe {
            name,
            criticality: reject,
            ..
        } => Err(NgapError::MissingIe { message, name }),
        Deviation::UnexpectedIe {
            id,
            criticality: reject,
            ..
        } => Err(NgapError::UnknownIe { message, id: *id }),
        Deviation::RepeatedIe { .. } | Deviation::OutOfOrder { .. } => {
            Err(NgapError::FalselyConstructed {
                message,
                reason: deviation.to_string(),
            })
        }
        _ => Ok(()),
    }
}
