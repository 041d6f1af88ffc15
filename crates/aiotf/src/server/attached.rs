//! gNBs that are reached otherwise than by a connection of their own: whoever carries their NGAP attaches them.

use std::sync::atomic::Ordering;
use std::sync::mpsc::TrySendError;

use ambit_ngap::GnbId;

use super::{Engine, Input, Stopped};
use crate::ConnectionId;

/// Takes a PDU for a gNB; false when it cannot, which detaches the gNB. The engine calls it and waits for it. It is dropped when the gNB is detached,
/// by either side, and when the engine ends.
pub type Outlet = Box<dyn FnMut(Vec<u8>) -> bool + Send>;

/// Names of attached gNBs begin here, far above those of connections.
const ATTACHED_FIRST: ConnectionId = 1 << 32;

/// Why a PDU was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// The engine is behind: again later.
    #[error("the AIOTF is behind")]
    Busy,
    /// The engine has ended.
    #[error("the AIOTF has stopped")]
    Stopped,
}

impl<A> Engine<A> {
    /// Attaches a gNB that an AMF has set up. Waits while the engine is behind.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn attach(&self, gnb_id: GnbId, outlet: Outlet) -> Result<ConnectionId, Stopped> {
        let connection = ATTACHED_FIRST + self.attached.fetch_add(1, Ordering::Relaxed);
        self.inputs
            .send(Input::Attached(connection, gnb_id, outlet))
            .map_err(|_| Stopped)?;
        Ok(connection)
    }

    /// A PDU of an attached gNB. Does not wait.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub fn attached_pdu(&self, connection: ConnectionId, pdu: Vec<u8>) -> Result<(), NotTaken> {
        let input = Input::Pdus(connection, vec![pdu]);
        self.inputs.try_send(input).map_err(|error| match error {
            TrySendError::Full(_) => NotTaken::Busy,
            TrySendError::Disconnected(_) => NotTaken::Stopped,
        })
    }

    /// An attached gNB is not reached any more. Waits while the engine is behind.
    pub fn detach(&self, connection: ConnectionId) {
        let _ = self.inputs.send(Input::Disconnected(connection));
    }
}
