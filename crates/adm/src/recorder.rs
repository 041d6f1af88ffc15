//! The store, and the thread that has it while it records a batch.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::{self, JoinHandle};

use ambit_adm_api::Wake;
use ambit_store::Store;

use crate::authenticate::Recording;

/// A store that a thread of its own has at times.
pub(crate) struct Recorder {
    /// `None` while the thread has it.
    store: Option<Box<dyn Store>>,
    thread: Option<Thread>,
    /// What came back with the store.
    recorded: Option<Recording>,
    wake: Option<Arc<Wake>>,
}

type Job = (Box<dyn Store>, Recording);

struct Thread {
    jobs: SyncSender<Job>,
    done: Receiver<Job>,
    handle: JoinHandle<()>,
}

impl Recorder {
    pub(crate) const fn new(store: Box<dyn Store>) -> Self {
        Self {
            store: Some(store),
            thread: None,
            recorded: None,
            wake: None,
        }
    }

    /// Has somebody told when a recording has ended.
    pub(crate) fn wake_with(&mut self, wake: Wake) {
        self.wake = Some(Arc::new(wake));
        // The thread that there is tells somebody else.
        self.get();
        self.thread = None;
    }

    /// The store, once the thread has no use for it any more.
    pub(crate) fn get(&mut self) -> &mut dyn Store {
        let store = match self.store.take() {
            Some(store) => store,
            None => {
                let (store, recording) = Thread::wait(&mut self.thread);
                self.recorded = Some(recording);
                store
            }
        };
        self.store.insert(store).as_mut()
    }

    /// Has a batch recorded by the thread; at once where none can be started.
    pub(crate) fn record(&mut self, mut recording: Recording) {
        self.get();
        if self.thread.is_none() {
            self.thread = Thread::start(self.wake.clone()).ok();
        }
        match (&self.thread, self.store.take()) {
            (Some(thread), Some(store)) => {
                // Should it have ended, what waits for it finds out.
                let _ = thread.jobs.send((store, recording));
            }
            (_, store) => {
                self.store = store;
                recording.run(self.get());
                self.recorded = Some(recording);
            }
        }
    }

    /// Whether the thread has no use for the store any more.
    pub(crate) fn is_here(&mut self) -> bool {
        if self.store.is_none()
            && let Some(thread) = &self.thread
        {
            match thread.done.try_recv() {
                Ok((store, recording)) => {
                    self.store = Some(store);
                    self.recorded = Some(recording);
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => {
                    self.get();
                }
            }
        }
        self.store.is_some()
    }

    /// What was recorded last, once.
    pub(crate) const fn recorded(&mut self) -> Option<Recording> {
        self.recorded.take()
    }
}

impl Thread {
    fn start(wake: Option<Arc<Wake>>) -> std::io::Result<Self> {
        let (jobs, received) = sync_channel::<Job>(1);
        let (back, done) = sync_channel(1);
        let handle = thread::Builder::new()
            .name("adm-record".into())
            .spawn(move || {
                for (mut store, mut recording) in received {
                    recording.run(store.as_mut());
                    if back.send((store, recording)).is_err() {
                        return;
                    }
                    if let Some(wake) = &wake {
                        wake();
                    }
                }
            })?;
        Ok(Self { jobs, done, handle })
    }

    /// Waits for the store. If the thread has panicked, so does this one.
    fn wait(thread: &mut Option<Self>) -> Job {
        let Some(running) = thread else {
            resume_unwind(Box::new("the store is with no thread"));
        };
        match running.done.recv() {
            Ok(job) => job,
            Err(_) => {
                let ended = thread.take().map(|thread| thread.handle.join());
                match ended {
                    Some(Err(panic)) => resume_unwind(panic),
                    _ => resume_unwind(Box::new("the thread that records has ended")),
                }
            }
        }
    }
}

impl Drop for Recorder {
    /// The store is closed when this returns.
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            drop(thread.jobs);
            // A store that it still has goes with it.
            let _ = thread.handle.join();
        }
    }
}
