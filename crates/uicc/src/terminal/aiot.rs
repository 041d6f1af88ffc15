//! The AIoT application of a card as a device's credential.

use ambit_device::Credential;
use ambit_protocol::{Suite, schedule};

use super::{CardError, Terminal, Transport};
use crate::card::{AID_AIOT, CONTEXT_AIOT, EF_AIOT_DEVICE_ID, EF_AIOT_PARAMETERS};

/// The AIoT application of a card as a device's credential: K stays on the card.
#[derive(Debug)]
pub struct AiotCredential<T> {
    terminal: Terminal<T>,
    suite: Suite,
    tag_len: u8,
    device_id: Vec<u8>,
}

impl<T: Transport> AiotCredential<T> {
    /// Selects the AIoT application and reads its parameters.
    ///
    /// # Errors
    /// [`CardError`], also for parameters that this version does not know.
    pub fn open(mut terminal: Terminal<T>) -> Result<Self, CardError> {
        let malformed = CardError::Malformed {
            command: "READ BINARY of the AIoT parameters",
        };
        terminal.select_application(&AID_AIOT)?;
        let parameters = terminal.read_transparent(&[EF_AIOT_PARAMETERS], 3)?;
        let (suite, tag_len) = match **parameters {
            [1, suite, tag_len @ (4 | 8 | 16), ..] => (Suite::from_number(suite), tag_len),
            _ => (None, 0),
        };
        let suite = suite.ok_or(malformed)?;
        let device_id = terminal.read_transparent(&[EF_AIOT_DEVICE_ID], 1)?.to_vec();
        Ok(Self {
            terminal,
            suite,
            tag_len,
            device_id,
        })
    }

    /// Tag length of the device profile: 4, 8 or 16.
    pub const fn tag_len(&self) -> u8 {
        self.tag_len
    }

    /// Permanent device ID.
    pub fn device_id(&self) -> &[u8] {
        &self.device_id
    }

    /// The terminal back.
    pub fn into_terminal(self) -> Terminal<T> {
        self.terminal
    }
}

impl<T: Transport> Credential for AiotCredential<T> {
    type Error = CardError;

    fn evaluate(&mut self, input: &schedule::Input) -> Result<[u8; 16], CardError> {
        const COMMAND: &str = "AUTHENTICATE in the AIoT application";
        let data = [&[input.label().0], input.x()].concat();
        let answer = self
            .terminal
            .command(COMMAND, [0x00, 0x88, 0x00, CONTEXT_AIOT], &data)?;
        answer
            .as_slice()
            .try_into()
            .map_err(|_| CardError::Malformed { command: COMMAND })
    }

    fn suite(&self) -> Suite {
        self.suite
    }
}
