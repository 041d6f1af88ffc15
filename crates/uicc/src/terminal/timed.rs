//! A transport with a deadline of its own.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use zeroize::Zeroizing;

use super::{Transport, TransportError};

type Octets = Zeroizing<Vec<u8>>;

/// Any transport, worked by a thread of its own, given up on when it takes longer than `timeout`.
///
/// After one answer that came too late every command fails with [`TransportError::Removed`]: the late answer must not be
/// taken for that of a later command. Connect anew to go on.
#[derive(Debug)]
pub struct Timed {
    commands: Sender<Octets>,
    responses: Receiver<Result<Octets, TransportError>>,
    timeout: Duration,
    is_given_up: bool,
    takes_le_with_data: bool,
}

impl Timed {
    /// Moves `transport` to a thread, which ends when it is idle and this value is gone.
    pub fn new(mut transport: impl Transport + Send + 'static, timeout: Duration) -> Self {
        let takes_le_with_data = transport.takes_le_with_data();
        let (commands, to_do) = channel::<Octets>();
        let (done, responses) = channel();
        thread::spawn(move || {
            for apdu in to_do {
                let mut response = Zeroizing::new(Vec::new());
                let result = transport.transmit(&apdu, &mut response);
                if done.send(result.map(|()| response)).is_err() {
                    return;
                }
            }
        });
        Self {
            commands,
            responses,
            timeout,
            is_given_up: false,
            takes_le_with_data,
        }
    }
}

impl Transport for Timed {
    fn transmit(&mut self, apdu: &[u8], response: &mut Vec<u8>) -> Result<(), TransportError> {
        if self.is_given_up {
            return Err(TransportError::Removed);
        }
        let sent = self.commands.send(Zeroizing::new(apdu.to_vec()));
        sent.map_err(|_| TransportError::Removed)?;
        match self.responses.recv_timeout(self.timeout) {
            Ok(received) => {
                let received = received?;
                response.clear();
                response.extend_from_slice(&received);
                Ok(())
            }
            Err(RecvTimeoutError::Timeout) => {
                self.is_given_up = true;
                Err(TransportError::Timeout)
            }
            Err(RecvTimeoutError::Disconnected) => Err(TransportError::Removed),
        }
    }

    fn takes_le_with_data(&self) -> bool {
        self.takes_le_with_data
    }
}
