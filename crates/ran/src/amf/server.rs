//! An emulated AMF's N2 over TCP, framed as everywhere in this project.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use ambit_ngap::GnbId;
use ambit_ngap::framing::{FrameDecoder, frame_into};

use super::{Amf, AmfStats, ConnectionId, Notification, Output, UnknownGnb};

/// PDUs that wait for one gNB.
const WRITES_MAX: usize = 4096;

/// Who tells AIOTFs.
pub trait Notify: Send + Sync + 'static {
    /// A gNB on this connection has said something. May wait: the gNB is not read meanwhile.
    fn notify(&self, connection: ConnectionId, notification: Notification);

    /// The connection is gone.
    fn closed(&self, connection: ConnectionId);
}

/// A running AMF; it runs until the process ends. Clones are the same.
#[derive(Clone)]
pub struct AmfServer(Arc<Shared>);

/// Why a PDU is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// The gNB is not connected.
    #[error("no such gNB is connected")]
    UnknownGnb,
    /// More waits for it than it takes.
    #[error("too much waits for the gNB")]
    Busy,
}

struct Shared {
    state: Mutex<State>,
    notify: Box<dyn Notify>,
}

struct State {
    amf: Amf,
    peers: HashMap<ConnectionId, Peer>,
}

struct Peer {
    stream: TcpStream,
    writes: SyncSender<Vec<u8>>,
}

impl AmfServer {
    /// Serves gNBs on a listener.
    ///
    /// # Errors
    /// The system has no address or no thread to give.
    pub fn start(
        listener: TcpListener,
        amf: Amf,
        notify: Box<dyn Notify>,
    ) -> io::Result<(SocketAddr, Self)> {
        let address = listener.local_addr()?;
        let peers = HashMap::new();
        let server = Self(Arc::new(Shared {
            state: Mutex::new(State { amf, peers }),
            notify,
        }));
        let shared = Arc::clone(&server.0);
        thread::Builder::new()
            .name("amf-listen".into())
            .spawn(move || listen(&listener, &shared))?;
        Ok((address, server))
    }

    /// An AIOTF has a PDU for a gNB. Does not wait.
    ///
    /// # Errors
    /// [`TransferError`].
    pub fn transfer(
        &self,
        gnb_id: GnbId,
        ngap: Vec<u8>,
        notif_uri: &str,
    ) -> Result<(), TransferError> {
        let mut state = self.0.lock();
        let taken = state.amf.transfer(gnb_id, ngap, notif_uri);
        taken.map_err(|UnknownGnb| TransferError::UnknownGnb)?;
        // Only PDUs come of a transfer.
        let (_, is_taken) = state.drain();
        if is_taken {
            Ok(())
        } else {
            Err(TransferError::Busy)
        }
    }

    /// Nobody is at a URI any more.
    pub fn forget(&self, notif_uri: &str) {
        self.0.lock().amf.forget(notif_uri);
    }

    /// gNBs that are set up.
    pub fn gnb_count(&self) -> usize {
        self.0.lock().amf.gnb_count()
    }

    /// Counts since the start.
    pub fn stats(&self) -> AmfStats {
        self.0.lock().amf.stats()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something comes in on a connection; what comes of it goes its ways.
    fn handle(&self, input: impl FnOnce(&mut Amf)) {
        let (notifications, _) = {
            let mut state = self.lock();
            input(&mut state.amf);
            state.drain()
        };
        // Outside the lock: it may wait.
        for (connection, notification) in notifications {
            self.notify.notify(connection, notification);
        }
    }
}

impl State {
    /// Hands PDUs to writers; what is to be told comes back, and whether all writers took theirs.
    fn drain(&mut self) -> (Vec<(ConnectionId, Notification)>, bool) {
        let (mut notifications, mut is_taken) = (Vec::new(), true);
        while let Some(output) = self.amf.poll_output() {
            match output {
                Output::Notify(connection, told) => notifications.push((connection, told)),
                Output::Pdu(connection, pdu) => {
                    let peer = self.peers.get(&connection);
                    is_taken &= peer.is_some_and(|peer| peer.writes.try_send(pdu).is_ok());
                }
                Output::Close(connection) => {
                    if let Some(peer) = self.peers.remove(&connection) {
                        let _ = peer.stream.shutdown(Shutdown::Both);
                    }
                }
            }
        }
        (notifications, is_taken)
    }
}

fn listen(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut next: ConnectionId = 0;
    for stream in listener.incoming() {
        let Ok(stream) = stream else {
            continue;
        };
        next += 1;
        // A connection that cannot be served is closed by dropping it.
        let _ = serve(next, stream, shared);
    }
}

fn serve(connection: ConnectionId, stream: TcpStream, shared: &Arc<Shared>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (writing, reading) = (stream.try_clone()?, stream.try_clone()?);
    let (writes, written) = mpsc::sync_channel(WRITES_MAX);
    thread::Builder::new()
        .name(format!("amf-{connection}-out"))
        .spawn(move || write(writing, &written))?;
    let shared = Arc::clone(shared);
    thread::Builder::new()
        .name(format!("amf-{connection}-in"))
        .spawn(move || {
            {
                let mut state = shared.lock();
                state.peers.insert(connection, Peer { stream, writes });
                state.amf.handle_connected(connection);
            }
            read(connection, reading, &shared);
            {
                let mut state = shared.lock();
                state.peers.remove(&connection);
                state.amf.handle_disconnected(connection);
            }
            shared.notify.closed(connection);
        })?;
    Ok(())
}

fn write(mut stream: TcpStream, pdus: &Receiver<Vec<u8>>) {
    let mut framed = Vec::new();
    while let Ok(first) = pdus.recv() {
        framed.clear();
        for pdu in std::iter::once(first).chain(pdus.try_iter().take(64)) {
            // A PDU that is too long for a frame cannot be sent at all; the next one can.
            let _ = frame_into(&pdu, &mut framed);
        }
        if stream.write_all(&framed).is_err() {
            break;
        }
    }
    let _ = stream.shutdown(Shutdown::Both);
}

/// Reads frames until the connection ends or breaks the framing.
fn read(connection: ConnectionId, mut stream: TcpStream, shared: &Shared) {
    let mut frames = FrameDecoder::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let octets = match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(n) => buffer.get(..n).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        frames.push(octets);
        loop {
            match frames.next() {
                Ok(Some(pdu)) => shared.handle(|amf| amf.handle_pdu(connection, pdu)),
                Ok(None) => break,
                Err(_) => {
                    let _ = stream.shutdown(Shutdown::Both);
                    return;
                }
            }
        }
    }
}

impl std::fmt::Debug for AmfServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AmfServer(..)")
    }
}
