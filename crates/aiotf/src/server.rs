//! N2 over TCP: runs an [`Aiotf`] behind a listener.
//!
//! One engine thread owns the function; each connection has a thread that reads and one that writes. Everything between
//! them is bounded: when the engine is behind, readers stop reading and TCP holds the gNB back; a gNB that does not take
//! its answers is cut off. The engine takes what has arrived to the ADM, which records it on a thread of its own
//! ([`Aiotf::proceed`]); what comes meanwhile is the next batch, so that under load many reports share one durable write and when
//! idle none waits.

mod attached;

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ambit_adm_api::AdmClient;
use ambit_ngap::GnbId;
use ambit_ngap::capture::Way;
use ambit_ngap::framing::{FrameDecoder, frame_into};

use crate::service::{Notification, RequestError, ServiceRequest, TransactionId};
use crate::{Aiotf, ConnectionId, Output, Watcher};

pub use attached::{NotTaken, Outlet};

/// Connections served at once; further ones are closed at once.
pub const CONNECTIONS_MAX: usize = 1024;

/// Reads waiting for the engine, over all connections.
const INPUTS_MAX: usize = 1024;

/// Writes waiting for one gNB.
const WRITES_MAX: usize = 1024;

/// How long the end waits for gNBs to take what is queued for them.
const STOP_WAIT: Duration = Duration::from_secs(3);

/// Reads that the engine takes in before it goes to the ADM.
const INPUTS_PER_TURN_MAX: usize = 256;

/// Reports after which it takes in no more reads: their ACCEPTs go out together, so each waits for all of them.
const REPORTS_PER_TURN: usize = 256;

/// How long a new connection may take to send its first PDU.
const FIRST_PDU_WAIT: Duration = Duration::from_secs(10);

/// A running server. Dropping it leaves the threads running; [`Server::stop`] ends them.
pub struct Server<A> {
    local_addr: SocketAddr,
    inputs: SyncSender<Input<A>>,
    attached: Arc<AtomicU64>,
    stopping: Arc<AtomicBool>,
    engine: JoinHandle<Aiotf<A>>,
    listener: JoinHandle<()>,
}

/// The engine has ended; nothing is served any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the AIOTF has stopped")]
pub struct Stopped;

/// A way to the engine: for administration, and for gNBs that are reached otherwise than over TCP.
pub struct Engine<A> {
    inputs: SyncSender<Input<A>>,
    /// gNBs attached so far.
    attached: Arc<AtomicU64>,
}

impl<A> Clone for Engine<A> {
    fn clone(&self) -> Self {
        Self {
            inputs: self.inputs.clone(),
            attached: Arc::clone(&self.attached),
        }
    }
}

/// Sees every PDU: its time (Unix, ms), its way, the connection, the octets.
pub type Observer = Box<dyn FnMut(i64, Way, ConnectionId, &[u8]) + Send>;

type Call<A> = Box<dyn FnOnce(&mut Aiotf<A>) + Send>;

enum Input<A> {
    Connected(ConnectionId, Peer),
    Attached(ConnectionId, GnbId, Outlet),
    Pdus(ConnectionId, Vec<Vec<u8>>),
    Disconnected(ConnectionId),
    Call(Call<A>),
    Request(ServiceRequest, Reply, Requester),
    Watch(Watcher),
    /// ACCEPTs are due.
    Recorded,
    Stop,
}

type Reply = SyncSender<Result<TransactionId, RequestError>>;

impl<A: AdmClient + Send + 'static> Server<A> {
    /// Serves on a listener.
    ///
    /// # Errors
    /// What the listener returns when it is asked for its address.
    pub fn start(listener: TcpListener, aiotf: Aiotf<A>) -> io::Result<Self> {
        Self::start_observed(listener, aiotf, None)
    }

    /// Serves on a listener, every PDU in the sight of an observer. What it takes its time for, everybody waits for.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_observed(
        listener: TcpListener,
        aiotf: Aiotf<A>,
        observer: Option<Observer>,
    ) -> io::Result<Self> {
        let local_addr = listener.local_addr()?;
        let (inputs, received) = mpsc::sync_channel(INPUTS_MAX);
        let stopping = Arc::new(AtomicBool::new(false));
        let mut aiotf = aiotf;
        let woken = inputs.clone();
        // While reads wait, the engine comes by without being told.
        aiotf.wake_with(Box::new(move || drop(woken.try_send(Input::Recorded))));
        let engine = thread::Builder::new()
            .name("aiotf".into())
            .spawn(move || run_engine(aiotf, &received, observer))?;
        let listener = {
            let (inputs, stopping) = (inputs.clone(), Arc::clone(&stopping));
            thread::Builder::new()
                .name("n2-listen".into())
                .spawn(move || listen(&listener, &inputs, &stopping))?
        };
        Ok(Self {
            local_addr,
            inputs,
            attached: Arc::default(),
            stopping,
            engine,
            listener,
        })
    }

    /// The address served.
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// A way to the engine.
    pub fn engine(&self) -> Engine<A> {
        Engine {
            inputs: self.inputs.clone(),
            attached: Arc::clone(&self.attached),
        }
    }

    /// Whether the engine still runs.
    pub fn is_running(&self) -> bool {
        !self.engine.is_finished()
    }

    /// Ends the server: what has arrived is handled and answered, then all connections are closed. When this returns, no
    /// answer is left in this process, but for gNBs that do not take theirs.
    ///
    /// # Errors
    /// [`Stopped`] when the engine had ended before.
    pub fn stop(self) -> Result<Aiotf<A>, Stopped> {
        self.stopping.store(true, Ordering::SeqCst);
        let _ = self.inputs.send(Input::Stop);
        // Wakes the listener out of accept.
        let _ = TcpStream::connect_timeout(&self.local_addr, Duration::from_secs(1));
        let _ = self.listener.join();
        self.engine.join().map_err(|_| Stopped)
    }
}

impl<A> Engine<A> {
    /// Runs `f` in the engine, between two batches, and returns what it returns.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn call<R: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Aiotf<A>) -> R + Send + 'static,
    ) -> Result<R, Stopped> {
        let (reply, answer) = mpsc::sync_channel(1);
        let call = move |aiotf: &mut Aiotf<A>| {
            let _ = reply.send(f(aiotf));
        };
        self.inputs
            .send(Input::Call(Box::new(call)))
            .map_err(|_| Stopped)?;
        answer.recv().map_err(|_| Stopped)
    }
}

impl<A: AdmClient> Engine<A> {
    /// Asks for an inventory or a command. What comes of it is notified as it comes, the last notification marked. Dropping
    /// [`Notified`] ends the request.
    ///
    /// # Errors
    /// [`Stopped`]; the request's own refusal is the inner error.
    pub fn request(
        &self,
        request: ServiceRequest,
    ) -> Result<Result<(TransactionId, Notified), RequestError>, Stopped> {
        let (reply, answer) = mpsc::sync_channel(1);
        // A requester that is slow must not hold the engine up. What waits for it is bounded by the devices there are.
        let (notify, notified) = mpsc::channel();
        let notified = Notified::from(notified);
        let requester = Requester {
            notify,
            waits: Arc::downgrade(&notified.waits),
        };
        self.inputs
            .send(Input::Request(request, reply, requester))
            .map_err(|_| Stopped)?;
        let taken = answer.recv().map_err(|_| Stopped)?;
        Ok(taken.map(|id| (id, notified)))
    }

    /// Has a watcher told of new reports from now on, in place of the one before.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn watch(&self, watcher: Watcher) -> Result<(), Stopped> {
        self.inputs.send(Input::Watch(watcher)).map_err(|_| Stopped)
    }
}

/// What comes of a request. As long as somebody holds it, the request goes on.
#[derive(Debug)]
pub struct Notified {
    notifications: Receiver<Notification>,
    waits: Arc<()>,
}

impl From<Receiver<Notification>> for Notified {
    fn from(notifications: Receiver<Notification>) -> Self {
        let waits = Arc::new(());
        Self {
            notifications,
            waits,
        }
    }
}

impl std::ops::Deref for Notified {
    type Target = Receiver<Notification>;

    fn deref(&self) -> &Self::Target {
        &self.notifications
    }
}

/// Who is told what comes of a request.
struct Requester {
    notify: Sender<Notification>,
    /// Whether anybody still waits for it: a channel shows that only when something is sent.
    waits: Weak<()>,
}

/// Unix time in ms.
pub fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

/// Where PDUs for a gNB go.
enum Peer {
    /// A connection of its own.
    Tcp {
        stream: TcpStream,
        writes: SyncSender<Vec<u8>>,
        writer: JoinHandle<()>,
    },
    /// Another way.
    Attached(Outlet),
}

impl Peer {
    /// Takes PDUs, all in one piece where there are pieces; false when it cannot.
    fn take(&mut self, pdus: Vec<Vec<u8>>) -> bool {
        match self {
            Self::Tcp { writes, .. } => {
                let mut framed = Vec::new();
                for pdu in pdus {
                    // Our own PDUs are far below the limit of a frame.
                    let _ = frame_into(&pdu, &mut framed);
                }
                // Full, or its writer has ended.
                writes.try_send(framed).is_ok()
            }
            Self::Attached(outlet) => pdus.into_iter().all(outlet),
        }
    }

    fn close(self) {
        if let Self::Tcp { stream, .. } = self {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn run_engine<A: AdmClient>(
    mut aiotf: Aiotf<A>,
    inputs: &Receiver<Input<A>>,
    mut observer: Option<Observer>,
) -> Aiotf<A> {
    let mut peers: HashMap<ConnectionId, Peer> = HashMap::new();
    let mut requesters: HashMap<TransactionId, Requester> = HashMap::new();
    let mut watcher: Option<Watcher> = None;
    let mut is_stopping = false;
    while !is_stopping {
        let wait_ms = match aiotf.pending_reports() {
            0 => aiotf.poll_timeout().saturating_sub(unix_ms()),
            // Searches wait, and what has come in meanwhile goes before them.
            _ => 0,
        };
        let wait_ms = wait_ms.clamp(0, 1000);
        let wait = Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0));
        let first = match inputs.recv_timeout(wait) {
            Ok(input) => Some(input),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        let is_wanted = |watcher: &Watcher| watcher.is_wanted.load(Ordering::SeqCst);
        aiotf.watch(watcher.as_ref().is_some_and(is_wanted));
        let is_idle = first.is_none() && aiotf.pending_reports() == 0;
        let more = std::iter::from_fn(|| inputs.try_recv().ok());
        let waiting = aiotf.pending_reports();
        for input in first.into_iter().chain(more).take(INPUTS_PER_TURN_MAX) {
            match input {
                Input::Connected(connection, peer) => {
                    peers.insert(connection, peer);
                    aiotf.handle_connected(connection);
                }
                Input::Attached(connection, gnb_id, outlet) => {
                    peers.insert(connection, Peer::Attached(outlet));
                    aiotf.handle_gnb(connection, gnb_id, unix_ms());
                }
                Input::Pdus(connection, pdus) => {
                    let now_ms = unix_ms();
                    for pdu in pdus {
                        if let Some(observer) = &mut observer {
                            observer(now_ms, Way::Up, connection, &pdu);
                        }
                        aiotf.handle_pdu(connection, &pdu, now_ms);
                    }
                }
                Input::Disconnected(connection) => {
                    peers.remove(&connection);
                    aiotf.handle_disconnected(connection);
                }
                Input::Call(call) => call(&mut aiotf),
                Input::Request(request, reply, requester) => {
                    let taken = aiotf.request(request, unix_ms());
                    if let Ok(id) = taken {
                        requesters.insert(id, requester);
                    }
                    let _ = reply.send(taken);
                }
                Input::Watch(new) => watcher = Some(new),
                Input::Recorded => {}
                Input::Stop => is_stopping = true,
            }
            if aiotf.pending_reports().saturating_sub(waiting) >= REPORTS_PER_TURN {
                break;
            }
        }
        let now_ms = unix_ms();
        if is_idle || now_ms >= aiotf.poll_timeout() {
            aiotf.handle_timeout(now_ms);
        }
        for id in given_up(&requesters) {
            aiotf.cancel(id, now_ms);
        }
        aiotf.proceed(now_ms);
        if is_stopping {
            aiotf.settle();
        }
        deliver(&mut aiotf, &mut peers, observer.as_mut());
        notify(&mut aiotf, &mut requesters, now_ms);
        while let Some(report) = aiotf.poll_accepted() {
            if let Some(watcher) = &mut watcher {
                (watcher.tell)(report);
            }
        }
    }
    close_all(peers);
    aiotf
}

/// Requests whose requester is gone, the latest first: so none that waited begins when the one before it ends.
fn given_up(requesters: &HashMap<TransactionId, Requester>) -> Vec<TransactionId> {
    let is_gone = |requester: &Requester| requester.waits.strong_count() == 0;
    let gone = requesters
        .iter()
        .filter(|(_, requester)| is_gone(requester));
    let mut ids: Vec<TransactionId> = gone.map(|(id, _)| *id).collect();
    ids.sort_unstable_by(|a, b| b.cmp(a));
    ids
}

/// Tells requesters what has come of their requests. A request whose requester is gone is ended.
fn notify<A: AdmClient>(
    aiotf: &mut Aiotf<A>,
    requesters: &mut HashMap<TransactionId, Requester>,
    now_ms: i64,
) {
    while let Some(notification) = aiotf.poll_notification() {
        let (id, is_last) = (notification.transaction, notification.is_last);
        let sent = requesters.get(&id).map(|to| to.notify.send(notification));
        if is_last {
            requesters.remove(&id);
        } else if !matches!(sent, Some(Ok(()))) {
            aiotf.cancel(id, now_ms);
        }
    }
}

/// Closes all connections once what is queued for them is written, or cannot be for too long.
fn close_all(peers: HashMap<ConnectionId, Peer>) {
    let closing: Vec<_> = peers
        .into_values()
        .filter_map(|peer| match peer {
            Peer::Attached(_) => None,
            Peer::Tcp {
                stream,
                writes,
                writer,
            } => {
                // The writer ends when its channel does, after what is queued.
                drop(writes);
                let _ = stream.shutdown(Shutdown::Read);
                Some((stream, writer))
            }
        })
        .collect();
    let until = Instant::now() + STOP_WAIT;
    for (stream, writer) in closing {
        while !writer.is_finished() && Instant::now() < until {
            thread::sleep(Duration::from_millis(2));
        }
        let _ = stream.shutdown(Shutdown::Both);
        let _ = writer.join();
    }
}

/// Hands what the function has to say to the writers, all PDUs of one gNB in one piece.
fn deliver<A: AdmClient>(
    aiotf: &mut Aiotf<A>,
    peers: &mut HashMap<ConnectionId, Peer>,
    mut observer: Option<&mut Observer>,
) {
    let mut queued: HashMap<ConnectionId, Vec<Vec<u8>>> = HashMap::new();
    let mut closing = Vec::new();
    while let Some(output) = aiotf.poll_output() {
        match output {
            Output::Pdu(connection, pdu) => {
                if let Some(observer) = &mut observer {
                    observer(unix_ms(), Way::Down, connection, &pdu);
                }
                queued.entry(connection).or_default().push(pdu);
            }
            Output::Close(connection) => closing.push(connection),
        }
    }
    for (connection, pdus) in queued {
        if let Some(peer) = peers.get_mut(&connection)
            && !peer.take(pdus)
        {
            closing.push(connection);
        }
    }
    for connection in closing {
        if let Some(peer) = peers.remove(&connection) {
            peer.close();
            aiotf.handle_disconnected(connection);
        }
    }
}

fn listen<A: Send + 'static>(
    listener: &TcpListener,
    inputs: &SyncSender<Input<A>>,
    stopping: &AtomicBool,
) {
    let open = Arc::new(AtomicUsize::new(0));
    let mut next: ConnectionId = 0;
    for stream in listener.incoming() {
        if stopping.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else {
            // Out of file descriptors, most likely: wait for some to come free.
            thread::sleep(Duration::from_millis(100));
            continue;
        };
        let Some(slot) = Slot::take(&open) else {
            continue;
        };
        next += 1;
        // A connection that cannot be served is closed by dropping it.
        let _ = serve(next, stream, inputs.clone(), slot);
    }
}

/// One of [`CONNECTIONS_MAX`] connections, from its accept until its reader ends.
struct Slot(Arc<AtomicUsize>);

impl Slot {
    fn take(open: &Arc<AtomicUsize>) -> Option<Self> {
        // Only the listener takes, so nothing comes between the look and the count.
        if open.load(Ordering::SeqCst) >= CONNECTIONS_MAX {
            return None;
        }
        open.fetch_add(1, Ordering::SeqCst);
        Some(Self(Arc::clone(open)))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Starts the two threads of a connection.
fn serve<A: Send + 'static>(
    connection: ConnectionId,
    stream: TcpStream,
    inputs: SyncSender<Input<A>>,
    slot: Slot,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut writing, reading) = (stream.try_clone()?, stream.try_clone()?);
    let (writes, written) = mpsc::sync_channel::<Vec<u8>>(WRITES_MAX);
    let writer = thread::Builder::new()
        .name(format!("n2-{connection}-out"))
        .spawn(move || {
            for octets in written {
                if writing.write_all(&octets).is_err() {
                    break;
                }
            }
            let _ = writing.shutdown(Shutdown::Both);
        })?;
    thread::Builder::new()
        .name(format!("n2-{connection}-in"))
        .spawn(move || {
            let _slot = slot;
            let peer = Peer::Tcp {
                stream,
                writes,
                writer,
            };
            if inputs.send(Input::Connected(connection, peer)).is_ok() {
                read(connection, reading, &inputs);
                let _ = inputs.send(Input::Disconnected(connection));
            }
        })?;
    Ok(())
}

/// Reads frames until the connection ends or breaks the framing.
fn read<A>(connection: ConnectionId, mut stream: TcpStream, inputs: &SyncSender<Input<A>>) {
    let mut frames = FrameDecoder::new();
    let mut buffer = vec![0; 64 * 1024];
    // Who connects and says nothing must not keep a gNB's place.
    if stream.set_read_timeout(Some(FIRST_PDU_WAIT)).is_err() {
        return;
    }
    let mut has_spoken = false;
    loop {
        let octets = match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(n) => buffer.get(..n).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        frames.push(octets);
        let mut pdus = Vec::new();
        let broken = loop {
            match frames.next() {
                Ok(Some(pdu)) => pdus.push(pdu.to_vec()),
                Ok(None) => break false,
                // Where the next PDU begins cannot be known any more.
                Err(_) => break true,
            }
        };
        if !pdus.is_empty() && !has_spoken {
            has_spoken = true;
            if stream.set_read_timeout(None).is_err() {
                return;
            }
        }
        if !pdus.is_empty() && inputs.send(Input::Pdus(connection, pdus)).is_err() {
            return;
        }
        if broken {
            let _ = stream.shutdown(Shutdown::Both);
            return;
        }
    }
}
