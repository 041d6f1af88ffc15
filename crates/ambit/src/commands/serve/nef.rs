//! The NEF alone: AFs on one side, ADM and AIOTFs over the SBI on the other. It holds nothing durable.

use std::sync::Arc;

use ambit_nef::exposure::remote::RemoteAiotfs;
use ambit_nef::subscription::remote::RemoteSubscriptions;
use ambit_sbi::adm::SharedAdm;
use ambit_sbi::adm::client::RemoteAdm;
use ambit_sbi::adm::engine::AdmEngine;
use ambit_sbi::runtime::Runtime;
use serde_json::json;
use signal_hook::iterator::Signals;

use super::{bind_http, bind_sbi, nrf_root, serve_until};
use crate::config::Config;
use crate::failure::Failure;
use crate::http::{self, Snapshot};
use crate::nef::Nef;
use crate::sbi::Function;

pub(super) fn run(config: &Config, signals: &mut Signals) -> Result<(), Failure> {
    let runtime = Runtime::start().map_err(|error| Failure::io("sbi", &error))?;
    let runtime = Arc::new(runtime);
    let function = Function::open(config, &runtime, "nef", "NEF")?;
    let nrf = function.nrf(nrf_root(config)?)?;
    let (http, listener) = (bind_http(config)?, bind_sbi(config, 29523)?);
    // Calls of the ADM wait on a thread of their own.
    let adm = RemoteAdm::new(runtime.handle().clone(), &nrf);
    let engine = AdmEngine::start(adm).map_err(|error| Failure::io("adm", &error))?;
    let shared: SharedAdm = Arc::new(engine.handle());
    let own_root = function.root(&listener)?;
    let aiotfs = RemoteAiotfs::new(runtime.handle().clone(), nrf.clone(), own_root);
    let subscriptions = RemoteSubscriptions::new(runtime.handle().clone(), &nrf);
    let (sbi, sbi_router) = function.serve(listener, aiotfs.routes())?;
    let nef = Nef::start(
        config,
        &runtime,
        Some(function.id),
        &shared,
        Arc::new(aiotfs),
        Arc::new(subscriptions),
    )?;
    function.register(
        &nrf,
        sbi,
        &[("3gpp-aiot", "1.0.1"), ("ambit-doa", "1.0.0")],
        Vec::new(),
    );
    let source = {
        let (nrf, router) = (nrf.clone(), Arc::clone(&nef.router));
        let exposure = Arc::clone(&nef.exposure);
        move || {
            let mut counts = router.counts();
            counts.extend(sbi_router.counts());
            Some(Snapshot {
                sbi: counts,
                nef: exposure.counts(),
                registered: Some(nrf.is_registered()),
                ..Snapshot::default()
            })
        }
    };
    let http = http::start(http, Arc::new(source), Arc::default())?;
    let ready = json!({
        "nef": nef.address.to_string(),
        "sbi": sbi.to_string(),
        "http": http.to_string(),
    });
    serve_until(&ready, signals)?;
    runtime.handle().block_on(nef.exposure.close());
    function.deregister(&nrf);
    let _ = engine.stop();
    Ok(())
}
