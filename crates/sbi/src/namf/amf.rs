//! The AMF's side, for an emulated one: it takes NGAP for its gNBs, and tells AIOTFs what they answer.

use std::sync::Arc;

use ambit_ngap::{AiotfId, FromGnb};
use hyper::Method;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::lane::{self, Order};
use super::message::{self, Transfer};
use super::{OCTETS_MAX, SERVICE, post};
use crate::client::ClientError;
use crate::exchange::{Exchange, Reply};
use crate::nrf::client::NrfClient;
use crate::problem::Problem;
use crate::router::{Access, Route, Takes};

/// Messages of one gNB that wait to be told.
const WAITING_MAX: usize = 1024;

/// An AMF elsewhere in this process.
pub trait AmfAccess: Send + Sync + 'static {
    /// Takes a PDU for a gNB. Must not wait.
    ///
    /// # Errors
    /// [`Untransferred`].
    fn transfer(&self, transfer: Transfer) -> Result<(), Untransferred>;

    /// Nobody is there (any more) whom a session would tell anything.
    fn forget(&self, session: (AiotfId, u16), notif_uri: &str);
}

/// Why a PDU is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untransferred {
    /// The gNB is not connected here.
    UnknownGnb,
    /// More waits for the gNB than it takes.
    Busy,
}

/// What an AMF has to tell an AIOTF.
#[derive(Clone, Debug)]
pub struct Told {
    /// Where.
    pub notif_uri: String,
    /// The PDU.
    pub ngap: Vec<u8>,
}

/// All operations of an AMF.
pub fn routes(amf: Arc<dyn AmfAccess>) -> Vec<Route> {
    let access = Access::Token {
        service: SERVICE,
        operation: "",
    };
    let transfer = move |exchange: Exchange| std::future::ready(transfer(&*amf, &exchange));
    let route = Route::new(
        "amf_transfer",
        Method::POST,
        "/namf-aiot/v1/transfer",
        access,
        Takes::JsonOrParts,
        transfer,
    );
    vec![route.octets_max(OCTETS_MAX)]
}

fn transfer(amf: &dyn AmfAccess, exchange: &Exchange) -> Result<Reply, Problem> {
    let transfer = message::read_request(exchange)?;
    match amf.transfer(transfer) {
        Ok(()) => Ok(Reply::no_content()),
        Err(Untransferred::UnknownGnb) => Err(Problem::not_found(
            "RAN_NODE_NOT_FOUND",
            "/ranNodeId: no such gNB is connected",
        )),
        Err(Untransferred::Busy) => Err(Problem::overload(1)),
    }
}

/// A way to tell AIOTFs what one gNB says; it ends when the sender is dropped. What cannot be told is lost, as it would be on
/// N2 with a core that is gone.
pub fn notifier(runtime: &Handle, nrf: NrfClient, amf: Arc<dyn AmfAccess>) -> mpsc::Sender<Told> {
    let (sender, mut told) = mpsc::channel(WAITING_MAX);
    runtime.spawn(async move {
        let order = |told: &Told| match FromGnb::decode(&told.ngap) {
            Ok(message) => Order::of_from_gnb(&message),
            Err(_) => Order::Alone,
        };
        let send = |told: Told| {
            let (nrf, amf) = (nrf.clone(), Arc::clone(&amf));
            async move {
                tell(&nrf, &*amf, &told).await;
                Ok::<(), ()>(())
            }
        };
        let _ = lane::run(&mut told, order, send).await;
    });
    sender
}

async fn tell(nrf: &NrfClient, amf: &dyn AmfAccess, told: &Told) {
    let Ok(message) = FromGnb::decode(&told.ngap) else {
        return;
    };
    let (Some(session), Some(body)) = (
        message.session(),
        message::notification(message.kind(), &told.ngap),
    ) else {
        return;
    };
    let uri = &told.notif_uri;
    let told = post(nrf, "AIOTF", uri, &body.media_type, &body.octets).await;
    if let Err(ClientError::Refused { status: 404, .. }) = told {
        amf.forget(session, uri);
    }
}
