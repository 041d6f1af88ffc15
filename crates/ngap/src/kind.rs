//! Which message a PDU holds: the procedures and directions that Ambient IoT uses of TS 38.413.

/// A message this crate reads and writes. Its [`name`](Self::name) labels logs and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// NG SETUP REQUEST, from the gNB.
    NgSetupRequest,
    /// NG SETUP RESPONSE, to the gNB.
    NgSetupResponse,
    /// NG SETUP FAILURE, to the gNB.
    NgSetupFailure,
    /// INVENTORY REQUEST, to the gNB.
    InventoryRequest,
    /// INVENTORY RESPONSE, from the gNB.
    InventoryResponse,
    /// INVENTORY FAILURE, from the gNB.
    InventoryFailure,
    /// INVENTORY REPORT, from the gNB.
    InventoryReport,
    /// COMMAND REQUEST, to the gNB.
    CommandRequest,
    /// COMMAND RESPONSE, from the gNB.
    CommandResponse,
    /// COMMAND FAILURE, from the gNB.
    CommandFailure,
    /// AIOT SESSION RELEASE COMMAND, to the gNB.
    SessionReleaseCommand,
    /// AIOT SESSION RELEASE COMPLETE, from the gNB.
    SessionReleaseComplete,
    /// AIOT SESSION RELEASE REQUEST, from the gNB.
    SessionReleaseRequest,
    /// ERROR INDICATION, either way.
    ErrorIndication,
}

/// The three kinds of NGAP PDU (clause 9.4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Starts a procedure.
    InitiatingMessage,
    /// Answers one that succeeded.
    SuccessfulOutcome,
    /// Answers one that failed.
    UnsuccessfulOutcome,
}

impl MessageKind {
    /// Every kind, in the order of their procedure codes.
    pub const ALL: [Self; 14] = [
        Self::ErrorIndication,
        Self::NgSetupRequest,
        Self::NgSetupResponse,
        Self::NgSetupFailure,
        Self::InventoryRequest,
        Self::InventoryResponse,
        Self::InventoryFailure,
        Self::InventoryReport,
        Self::CommandRequest,
        Self::CommandResponse,
        Self::CommandFailure,
        Self::SessionReleaseCommand,
        Self::SessionReleaseComplete,
        Self::SessionReleaseRequest,
    ];

    /// The procedure code (clause 9.4.7) and the direction of the message.
    pub const fn procedure(self) -> (u8, Direction) {
        use Direction::{InitiatingMessage, SuccessfulOutcome, UnsuccessfulOutcome};
        match self {
            Self::ErrorIndication => (9, InitiatingMessage),
            Self::NgSetupRequest => (21, InitiatingMessage),
            Self::NgSetupResponse => (21, SuccessfulOutcome),
            Self::NgSetupFailure => (21, UnsuccessfulOutcome),
            Self::InventoryRequest => (82, InitiatingMessage),
            Self::InventoryResponse => (82, SuccessfulOutcome),
            Self::InventoryFailure => (82, UnsuccessfulOutcome),
            Self::InventoryReport => (83, InitiatingMessage),
            Self::CommandRequest => (84, InitiatingMessage),
            Self::CommandResponse => (84, SuccessfulOutcome),
            Self::CommandFailure => (84, UnsuccessfulOutcome),
            Self::SessionReleaseCommand => (85, InitiatingMessage),
            Self::SessionReleaseComplete => (85, SuccessfulOutcome),
            Self::SessionReleaseRequest => (86, InitiatingMessage),
        }
    }

    /// Whether the message starts a procedure, so that its receiver may answer a fault in it.
    pub const fn is_initiating(self) -> bool {
        matches!(self.procedure().1, Direction::InitiatingMessage)
    }

    /// The stable name, in snake case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NgSetupRequest => "ng_setup_request",
            Self::NgSetupResponse => "ng_setup_response",
            Self::NgSetupFailure => "ng_setup_failure",
            Self::InventoryRequest => "inventory_request",
            Self::InventoryResponse => "inventory_response",
            Self::InventoryFailure => "inventory_failure",
            Self::InventoryReport => "inventory_report",
            Self::CommandRequest => "command_request",
            Self::CommandResponse => "command_response",
            Self::CommandFailure => "command_failure",
            Self::SessionReleaseCommand => "aiot_session_release_command",
            Self::SessionReleaseComplete => "aiot_session_release_complete",
            Self::SessionReleaseRequest => "aiot_session_release_request",
            Self::ErrorIndication => "error_indication",
        }
    }

    /// The kind of a procedure code and direction; `None` for a message this crate does not read.
    pub fn of(procedure_code: u8, direction: Direction) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.procedure() == (procedure_code, direction))
    }
}

impl core::fmt::Display for MessageKind {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str(self.name())
    }
}

impl Direction {
    /// The stable name, in snake case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InitiatingMessage => "initiating_message",
            Self::SuccessfulOutcome => "successful_outcome",
            Self::UnsuccessfulOutcome => "unsuccessful_outcome",
        }
    }
}

impl core::fmt::Display for Direction {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str(self.name())
    }
}
