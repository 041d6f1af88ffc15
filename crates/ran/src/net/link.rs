//! One gNB's TCP connection: comes up, carries framed PDUs both ways, and comes up again when it has ended.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::thread;
use std::time::Duration;

use ambit_ngap::framing::{FrameDecoder, frame_into};

use super::{NetConfig, Stop};

/// How long a read or a wait may last before `stop` is looked at.
const SLICE: Duration = Duration::from_millis(50);

/// Octets read or written at once.
const CHUNK_OCTETS: usize = 64 * 1024;

/// What a link tells the site.
pub(super) enum LinkReport {
    /// The connection is up.
    Up { gnb: usize, outgoing: Outgoing },
    /// A PDU of the core.
    Pdu { gnb: usize, octets: Vec<u8> },
    /// The connection has ended.
    Down { gnb: usize, reason: String },
    /// The connection did not come up.
    Refused { reason: String },
}

/// Where the site puts PDUs for the core.
pub(super) struct Outgoing {
    pdus: Sender<Vec<u8>>,
    queued_octets: Arc<AtomicUsize>,
    octets_max: usize,
}

impl Outgoing {
    /// Whether another PDU may be queued.
    pub(super) fn has_room(&self) -> bool {
        self.queued_octets.load(Ordering::Relaxed) < self.octets_max
    }

    /// Queues a PDU. On a connection that has ended it is lost, as it would be in the network.
    pub(super) fn send(&self, pdu: Vec<u8>) {
        self.queued_octets.fetch_add(pdu.len(), Ordering::Relaxed);
        let _ = self.pdus.send(pdu);
    }
}

/// The connection of one gNB over the whole run.
pub(super) struct Link {
    gnb: usize,
    n2: SocketAddr,
    stop: Stop,
    backoff_first: Duration,
    backoff_max: Duration,
    io_timeout: Duration,
    out_octets_max: usize,
}

impl Link {
    pub(super) fn new(gnb: usize, n2: SocketAddr, config: &NetConfig, stop: &Stop) -> Self {
        Self {
            gnb,
            n2,
            stop: stop.clone(),
            backoff_first: Duration::from_millis(config.backoff_first_ms.max(1)),
            backoff_max: Duration::from_millis(config.backoff_max_ms.max(1)),
            // A timeout of nothing means no timeout to the socket, which would never look at `stop`.
            io_timeout: Duration::from_millis(config.io_timeout_ms.max(1)),
            out_octets_max: config.out_octets_max,
        }
    }

    /// Keeps the connection up until the run stops.
    pub(super) fn run(&self, reports: &SyncSender<LinkReport>) {
        let mut backoff = self.backoff_first;
        while !self.stop.is_stopped() {
            let told = match TcpStream::connect_timeout(&self.n2, self.io_timeout) {
                Err(error) => reports.send(LinkReport::Refused {
                    reason: format!("{}: {error}", self.n2),
                }),
                Ok(stream) => {
                    let mut answered = false;
                    let reason = match self.carry(&stream, reports, &mut answered) {
                        Ok(()) => "closed by the core".to_owned(),
                        Err(error) => error.to_string(),
                    };
                    // A core that takes connections and drops them is no core yet.
                    if answered {
                        backoff = self.backoff_first;
                    }
                    let gnb = self.gnb;
                    let reason = format!("{}: {reason}", self.n2);
                    reports.send(LinkReport::Down { gnb, reason })
                }
            };
            if told.is_err() {
                return;
            }
            self.sleep(backoff);
            backoff = (backoff * 2).min(self.backoff_max);
        }
    }

    /// Carries PDUs until the connection ends or the run stops.
    fn carry(
        &self,
        stream: &TcpStream,
        reports: &SyncSender<LinkReport>,
        answered: &mut bool,
    ) -> io::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SLICE))?;
        stream.set_write_timeout(Some(self.io_timeout))?;
        let (pdus, to_write) = mpsc::channel();
        let queued_octets = Arc::new(AtomicUsize::new(0));
        let outgoing = Outgoing {
            pdus,
            queued_octets: Arc::clone(&queued_octets),
            octets_max: self.out_octets_max,
        };
        let gnb = self.gnb;
        let ended = AtomicBool::new(false);
        let (queued_octets, ended) = (&*queued_octets, &ended);
        thread::scope(|scope| {
            scope.spawn(move || {
                // Whatever ends the writing ends the reading too, and with it the connection.
                let _ = write(stream, &to_write, queued_octets, ended);
                let _ = stream.shutdown(Shutdown::Both);
            });
            let up = reports.send(LinkReport::Up { gnb, outgoing });
            let read = match up {
                Ok(()) => self.read(stream, reports, answered),
                Err(_) => Ok(()),
            };
            ended.store(true, Ordering::Relaxed);
            read
        })
    }

    fn read(
        &self,
        mut stream: &TcpStream,
        reports: &SyncSender<LinkReport>,
        answered: &mut bool,
    ) -> io::Result<()> {
        let mut decoder = FrameDecoder::new();
        let mut chunk = vec![0; CHUNK_OCTETS];
        while !self.stop.is_stopped() {
            let count = match stream.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if is_transient(&error) => continue,
                Err(error) => return Err(error),
            };
            decoder.push(chunk.get(..count).unwrap_or_default());
            while let Some(pdu) = decoder.next().map_err(io::Error::other)? {
                *answered = true;
                let (gnb, octets) = (self.gnb, pdu.to_vec());
                if reports.send(LinkReport::Pdu { gnb, octets }).is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn sleep(&self, mut left: Duration) {
        while !left.is_zero() && !self.stop.is_stopped() {
            let slice = left.min(SLICE);
            thread::sleep(slice);
            left = left.saturating_sub(slice);
        }
    }
}

/// Writes what the site queues, as many PDUs at once as there are, until the connection has ended.
fn write(
    mut stream: &TcpStream,
    pdus: &Receiver<Vec<u8>>,
    queued_octets: &AtomicUsize,
    ended: &AtomicBool,
) -> io::Result<()> {
    let mut buffer = Vec::new();
    while !ended.load(Ordering::Relaxed) {
        let first = match pdus.recv_timeout(SLICE) {
            Ok(pdu) => pdu,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        buffer.clear();
        let mut taken_octets = 0;
        for pdu in std::iter::once(first).chain(pdus.try_iter()) {
            taken_octets += pdu.len();
            // A PDU that is too long for a frame cannot be sent at all; the next one can.
            let _ = frame_into(&pdu, &mut buffer);
            if buffer.len() >= CHUNK_OCTETS {
                break;
            }
        }
        stream.write_all(&buffer)?;
        queued_octets.fetch_sub(taken_octets, Ordering::Relaxed);
    }
    Ok(())
}

fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}
