//! The NRF alone.

use std::sync::Arc;

use ambit_sbi::clock::unix_ms;
use ambit_sbi::nrf::{Nrf, NrfConfig};
use ambit_sbi::runtime::Runtime;
use serde_json::json;
use signal_hook::iterator::Signals;

use super::{bind_http, bind_sbi, serve_until};
use crate::config::Config;
use crate::failure::Failure;
use crate::http::{self, Snapshot};
use crate::sbi::{Function, issuer};

pub(super) fn run(config: &Config, signals: &mut Signals) -> Result<(), Failure> {
    let runtime = Runtime::start().map_err(|error| Failure::io("sbi", &error))?;
    let function = Function::open(config, &Arc::new(runtime), "nrf", "NRF")?;
    let nrf = Nrf::new(NrfConfig::default(), issuer(config)?);
    let (sbi, router) = function.serve(bind_sbi(config, 29510)?, nrf.routes())?;
    let source = move || {
        Some(Snapshot {
            sbi: router.counts(),
            nf_instances: Some(nrf.live_count(unix_ms())),
            ..Snapshot::default()
        })
    };
    let http = http::start(bind_http(config)?, Arc::new(source), Arc::default())?;
    let ready = json!({ "sbi": sbi.to_string(), "http": http.to_string() });
    serve_until(&ready, signals)
}
