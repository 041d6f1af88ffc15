//! The thread that owns an ADM in a process of its own.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ambit_adm_api::AdmClient;

use super::{AdmAccess, AdmGone, Job};
use crate::clock::unix_ms;

/// Jobs that wait at most; those who bring more wait with them.
const JOBS_MAX: usize = 256;

/// How often the ADM does its housekeeping.
const TICK: Duration = Duration::from_secs(1);

enum Input<A> {
    Call(Box<dyn FnOnce(&mut A) + Send>),
    Stop,
}

/// A running ADM. Dropping it leaves the thread running; [`AdmEngine::stop`] ends it.
pub struct AdmEngine<A> {
    inputs: SyncSender<Input<A>>,
    thread: JoinHandle<A>,
}

/// A way to a running ADM.
pub struct AdmHandle<A>(SyncSender<Input<A>>);

impl<A> Clone for AdmHandle<A> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<A: AdmClient + Send + 'static> AdmEngine<A> {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn start(adm: A) -> std::io::Result<Self> {
        let (inputs, received) = mpsc::sync_channel(JOBS_MAX);
        let thread = thread::Builder::new()
            .name("adm".into())
            .spawn(move || serve(adm, &received))?;
        Ok(Self { inputs, thread })
    }

    /// A way to it.
    pub fn handle(&self) -> AdmHandle<A> {
        AdmHandle(self.inputs.clone())
    }

    /// Ends the thread after what waits, and gives the ADM back.
    ///
    /// # Errors
    /// [`AdmGone`] when it had ended before.
    pub fn stop(self) -> Result<A, AdmGone> {
        let _ = self.inputs.send(Input::Stop);
        self.thread.join().map_err(|_| AdmGone)
    }
}

impl<A: 'static> AdmHandle<A> {
    /// Runs `f` on the ADM and returns what it returns.
    ///
    /// # Errors
    /// [`AdmGone`].
    pub fn call<R: Send + 'static>(
        &self,
        f: impl FnOnce(&mut A) -> R + Send + 'static,
    ) -> Result<R, AdmGone> {
        let (reply, answer) = mpsc::sync_channel(1);
        let call = move |adm: &mut A| {
            let _ = reply.send(f(adm));
        };
        self.0
            .send(Input::Call(Box::new(call)))
            .map_err(|_| AdmGone)?;
        answer.recv().map_err(|_| AdmGone)
    }
}

impl<A: AdmClient + Send + 'static> AdmAccess for AdmHandle<A> {
    fn run(&self, job: Job) -> Result<(), AdmGone> {
        self.call(move |adm| job(adm))
    }
}

fn serve<A: AdmClient>(mut adm: A, inputs: &Receiver<Input<A>>) -> A {
    let mut tick_at_ms = unix_ms();
    loop {
        match inputs.recv_timeout(TICK) {
            Ok(Input::Call(call)) => call(&mut adm),
            Ok(Input::Stop) | Err(RecvTimeoutError::Disconnected) => return adm,
            Err(RecvTimeoutError::Timeout) => {}
        }
        let now_ms = unix_ms();
        if now_ms.abs_diff(tick_at_ms) >= 1000 {
            tick_at_ms = now_ms;
            adm.tick(now_ms);
        }
    }
}
