//! Why something failed or ended: the Cause IE (TS 38.413 clause 9.3.1.2).

use crate::{MessageKind, NgapError};
use oxirush_ngap::ngap::{
    Cause as Wire, CauseMisc, CauseNas, CauseProtocol, CauseRadioNetwork, CauseTransport,
};

/// A cause: those that Ambient IoT uses by name, and every other of the specification as
/// [`Other`](Self::Other).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// Radio network: no such device in the session (`unknown-RAN-AIoT-Device-NGAP-ID`).
    UnknownDeviceNgapId,
    /// Radio network: the gNB serves none of the areas or readers asked for.
    AreaNotServed,
    /// Radio network: no session of that AIOTF and correlation identifier.
    UnknownAiotSession,
    /// Radio network: the device does not answer on the air.
    DeviceNotReachable,
    /// Radio network: the session was asked for twice.
    MultipleAiotSessions,
    /// Radio network: no air time left.
    RadioResourcesNotAvailable,
    /// Radio network: none of the others.
    RadioUnspecified,
    /// NAS: the normal end.
    NormalRelease,
    /// NAS: the device failed to prove itself.
    AuthenticationFailure,
    /// NAS: the device had nothing to answer to a command.
    NoAiotNasResponse,
    /// NAS: none of the others.
    NasUnspecified,
    /// Protocol: octets that do not decode (clause 10.2).
    TransferSyntaxError,
    /// Protocol: an IE or procedure not understood or missing, refused (clause 10.3).
    AbstractSyntaxErrorReject,
    /// Protocol: an IE or procedure not understood or missing, passed over (clause 10.3).
    AbstractSyntaxErrorIgnoreAndNotify,
    /// Protocol: an IE twice or out of order (clause 10.3.6).
    FalselyConstructedMessage,
    /// Protocol: a message that does not fit the state of its receiver (clause 10.4).
    MessageNotCompatible,
    /// Protocol: a message whose values contradict each other (clause 10.4).
    SemanticError,
    /// Protocol: none of the others.
    ProtocolUnspecified,
    /// Miscellaneous: the PLMN or SNPN is not served.
    UnknownPlmn,
    /// Miscellaneous: too busy.
    ControlProcessingOverload,
    /// Miscellaneous: an operator stepped in.
    OmIntervention,
    /// Miscellaneous: none of the others.
    Unspecified,
    /// Any other cause of V19.4. What is decoded is never `Other` where there is a name.
    Other {
        /// Its group.
        group: CauseGroup,
        /// Its place in the group, from 0, those after the extension marker last.
        value: u8,
    },
}

/// The groups of causes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CauseGroup {
    /// Of the radio network layer.
    RadioNetwork,
    /// Of the transport layer.
    Transport,
    /// Of the non-access stratum.
    Nas,
    /// Of NGAP itself.
    Protocol,
    /// Of none of these.
    Misc,
}

impl Cause {
    /// The stable name, in snake case, that labels metrics and events. Another cause has the name
    /// that the ASN.1 gives it, with `_` for `-`.
    pub fn name(self) -> &'static str {
        if let Self::Other { group, value } = self {
            return names(group)
                .get(usize::from(value))
                .copied()
                .unwrap_or("unknown");
        }
        NAMED
            .iter()
            .find(|(cause, ..)| *cause == self)
            .map_or("unknown", |(_, name, _)| name)
    }

    pub(crate) fn from_wire(
        message: MessageKind,
        name: &'static str,
        wire: &Wire,
    ) -> Result<Self, NgapError> {
        if let Some((cause, ..)) = NAMED.iter().find(|(.., named)| named == wire) {
            return Ok(*cause);
        }
        let place = match wire {
            Wire::radioNetwork(cause) => (CauseGroup::RadioNetwork, place(RADIO_NETWORK, cause)),
            Wire::transport(cause) => (CauseGroup::Transport, place(TRANSPORT, cause)),
            Wire::nas(cause) => (CauseGroup::Nas, place(NAS, cause)),
            Wire::protocol(cause) => (CauseGroup::Protocol, place(PROTOCOL, cause)),
            Wire::misc(cause) => (CauseGroup::Misc, place(MISC, cause)),
            Wire::choice_Extensions(_) => (CauseGroup::Misc, None),
        };
        match place {
            (group, Some(value)) => Ok(Self::Other { group, value }),
            (_, None) => Err(NgapError::bad(message, name, "a cause of V19.4", "another")),
        }
    }

    pub(crate) fn to_wire(self, message: MessageKind) -> Result<Wire, NgapError> {
        let wire = match self {
            Self::Other { group, value } => {
                let at = usize::from(value);
                match group {
                    CauseGroup::RadioNetwork => RADIO_NETWORK.get(at).map(|c| (*c).into()),
                    CauseGroup::Transport => TRANSPORT.get(at).map(|c| (*c).into()),
                    CauseGroup::Nas => NAS.get(at).map(|c| (*c).into()),
                    CauseGroup::Protocol => PROTOCOL.get(at).map(|c| (*c).into()),
                    CauseGroup::Misc => MISC.get(at).map(|c| (*c).into()),
                }
            }
            named => NAMED
                .iter()
                .find(|(cause, ..)| *cause == named)
                .map(|(.., wire)| wire.clone()),
        };
        wire.ok_or_else(|| NgapError::bad(message, "Cause", "a cause of V19.4", self.name()))
    }
}

impl core::fmt::Display for Cause {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The causes that have a name here, and what stands for them on the wire.
const NAMED: &[(Cause, &str, Wire)] = {
    use {CauseMisc as M, CauseNas as N, CauseProtocol as P, CauseRadioNetwork as R};
    &[
        (
            Cause::UnknownDeviceNgapId,
            "unknown_device_ngap_id",
            Wire::radioNetwork(R::unknown_RAN_AIoT_Device_NGAP_ID),
        ),
        (
            Cause::AreaNotServed,
            "area_not_served",
            Wire::radioNetwork(R::requested_AIoT_service_area_information_not_served_by_the_gNB),
        ),
        (
            Cause::UnknownAiotSession,
            "unknown_aiot_session",
            Wire::radioNetwork(R::unknown_AIoT_session),
        ),
        (
            Cause::DeviceNotReachable,
            "device_not_reachable",
            Wire::radioNetwork(R::aiot_device_not_reachable),
        ),
        (
            Cause::MultipleAiotSessions,
            "multiple_aiot_sessions",
            Wire::radioNetwork(R::multiple_AIoT_session_ID_instances),
        ),
        (
            Cause::RadioResourcesNotAvailable,
            "radio_resources_not_available",
            Wire::radioNetwork(R::radio_resources_not_available),
        ),
        (
            Cause::RadioUnspecified,
            "radio_unspecified",
            Wire::radioNetwork(R::unspecified),
        ),
        (
            Cause::NormalRelease,
            "normal_release",
            Wire::nas(N::normal_release),
        ),
        (
            Cause::AuthenticationFailure,
            "authentication_failure",
            Wire::nas(N::authentication_failure),
        ),
        (
            Cause::NoAiotNasResponse,
            "no_aiot_nas_response",
            Wire::nas(N::no_aiot_NAS_response),
        ),
        (
            Cause::NasUnspecified,
            "nas_unspecified",
            Wire::nas(N::unspecified),
        ),
        (
            Cause::TransferSyntaxError,
            "transfer_syntax_error",
            Wire::protocol(P::transfer_syntax_error),
        ),
        (
            Cause::AbstractSyntaxErrorReject,
            "abstract_syntax_error_reject",
            Wire::protocol(P::abstract_syntax_error_reject),
        ),
        (
            Cause::AbstractSyntaxErrorIgnoreAndNotify,
            "abstract_syntax_error_ignore_and_notify",
            Wire::protocol(P::abstract_syntax_error_ignore_and_notify),
        ),
        (
            Cause::FalselyConstructedMessage,
            "falsely_constructed_message",
            Wire::protocol(P::abstract_syntax_error_falsely_constructed_message),
        ),
        (
            Cause::MessageNotCompatible,
            "message_not_compatible",
            Wire::protocol(P::message_not_compatible_with_receiver_state),
        ),
        (
            Cause::SemanticError,
            "semantic_error",
            Wire::protocol(P::semantic_error),
        ),
        (
            Cause::ProtocolUnspecified,
            "protocol_unspecified",
            Wire::protocol(P::unspecified),
        ),
        (
            Cause::UnknownPlmn,
            "unknown_plmn",
            Wire::misc(M::unknown_PLMN_or_SNPN),
        ),
        (
            Cause::ControlProcessingOverload,
            "control_processing_overload",
            Wire::misc(M::control_processing_overload),
        ),
        (
            Cause::OmIntervention,
            "om_intervention",
            Wire::misc(M::om_intervention),
        ),
        (
            Cause::Unspecified,
            "unspecified",
            Wire::misc(M::unspecified),
        ),
    ]
};

fn place<T: PartialEq>(values: &[T], value: &T) -> Option<u8> {
    values
        .iter()
        .position(|known| known == value)
        .and_then(|at| at.try_into().ok())
}

fn names(group: CauseGroup) -> &'static [&'static str] {
    match group {
        CauseGroup::RadioNetwork => RADIO_NETWORK_NAMES,
        CauseGroup::Transport => TRANSPORT_NAMES,
        CauseGroup::Nas => NAS_NAMES,
        CauseGroup::Protocol => PROTOCOL_NAMES,
        CauseGroup::Misc => MISC_NAMES,
    }
}

/// The values of an ENUMERATED in their order, which the bindings keep to themselves.
macro_rules! in_order {
    ($($values:ident $names:ident $type:ident { $($value:ident)* })*) => { $(
        const $values: &[$type] = &[$($type::$value),*];
        const $names: &[&str] = &[$(stringify!($value)),*];
    )* };
}
in_order! {
    RADIO_NETWORK RADIO_NETWORK_NAMES CauseRadioNetwork {
        unspecified txnrelocoverall_expiry successful_handover
        release_due_to_ngran_generated_reason release_due_to_5gc_generated_reason
        handover_cancelled partial_handover ho_failure_in_target_5GC_ngran_node_or_target_system
        ho_target_not_allowed tngrelocoverall_expiry tngrelocprep_expiry cell_not_available
        unknown_targetID no_radio_resources_available_in_target_cell unknown_local_UE_NGAP_ID
        inconsistent_remote_UE_NGAP_ID handover_desirable_for_radio_reason time_critical_handover
        resource_optimisation_handover reduce_load_in_serving_cell user_inactivity
        radio_connection_with_ue_lost radio_resources_not_available invalid_qos_combination
        failure_in_radio_interface_procedure interaction_with_other_procedure
        unknown_PDU_session_ID unkown_qos_flow_ID multiple_PDU_session_ID_instances
        multiple_qos_flow_ID_instances
        encryption_and_or_integrity_protection_algorithms_not_supported
        ng_intra_system_handover_triggered ng_inter_system_handover_triggered
        xn_handover_triggered not_supported_5QI_value ue_context_transfer
        ims_voice_eps_fallback_or_rat_fallback_triggered up_integrity_protection_not_possible
        up_confidentiality_protection_not_possible slice_not_supported
        ue_in_rrc_inactive_state_not_reachable redirection resources_not_available_for_the_slice
        ue_max_integrity_protected_data_rate_reason release_due_to_cn_detected_mobility
        n26_interface_not_available release_due_to_pre_emption
        multiple_location_reporting_reference_ID_instances rsn_not_available_for_the_up
        npn_access_denied cag_only_access_denied insufficient_ue_capabilities
        redcap_ue_not_supported unknown_MBS_Session_ID
        indicated_MBS_session_area_information_not_served_by_the_gNB
        inconsistent_slice_info_for_the_session misaligned_association_for_multicast_unicast
        eredcap_ue_not_supported two_rx_xr_ue_not_supported
        aerial_ue_flight_information_reporting_initiation_failure
        unknown_RAN_AIoT_Device_NGAP_ID
        requested_AIoT_service_area_information_not_served_by_the_gNB unknown_AIoT_session
        aiot_device_not_reachable multiple_AIoT_session_ID_instances
    }
    TRANSPORT TRANSPORT_NAMES CauseTransport { transport_resource_unavailable unspecified }
    NAS NAS_NAMES CauseNas {
        normal_release authentication_failure deregister unspecified uE_not_in_PLMN_serving_area
        mobile_IAB_not_authorized iAB_not_authorized no_aiot_NAS_response
    }
    PROTOCOL PROTOCOL_NAMES CauseProtocol {
        transfer_syntax_error abstract_syntax_error_reject
        abstract_syntax_error_ignore_and_notify message_not_compatible_with_receiver_state
        semantic_error abstract_syntax_error_falsely_constructed_message unspecified
    }
    MISC MISC_NAMES CauseMisc {
        control_processing_overload not_enough_user_plane_processing_resources hardware_failure
        om_intervention unknown_PLMN_or_SNPN unspecified
    }
}
