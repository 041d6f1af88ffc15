//! The ADM alone: the store, and its services on the SBI.

use std::sync::Arc;

use ambit_aiotf::server::unix_ms;
use ambit_nef::subscription::remote;
use ambit_sbi::adm::engine::AdmEngine;
use ambit_sbi::adm::{self, SharedAdm};
use ambit_sbi::runtime::Runtime;
use serde_json::json;
use signal_hook::iterator::Signals;

use super::{bind_http, bind_sbi, nrf_root, serve_until, wait_for_lock};
use crate::admin::AdminServer;
use crate::af_subscriptions;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::delivery::StreamSlot;
use crate::failure::Failure;
use crate::followers::Followers;
use crate::http::{self, AdmSnapshot, Snapshot};
use crate::online::Counts;
use crate::sbi::Function;

pub(super) fn run(config: &Config, signals: &mut Signals) -> Result<(), Failure> {
    let runtime = Runtime::start().map_err(|error| Failure::io("sbi", &error))?;
    let function = Function::open(config, &Arc::new(runtime), "adm", "ADM")?;
    let nrf = function.nrf(nrf_root(config)?)?;
    let (http, listener) = (bind_http(config)?, bind_sbi(config, 29369)?);
    let dir = DataDir::new(config)?;
    let lock = wait_for_lock(&dir)?;
    let adm = dir.open_adm(config.adm()?, &lock, unix_ms())?;
    let engine = AdmEngine::start(adm).map_err(|error| Failure::io("adm", &error))?;
    let shared: SharedAdm = Arc::new(engine.handle());
    let streams = StreamSlot::default();
    let subscriptions = af_subscriptions::beside(config, &dir, engine.handle(), &streams)?;
    let mut routes = adm::routes(&shared);
    routes.extend(remote::routes(&subscriptions));
    let (sbi, router) = function.serve(listener, routes)?;
    let chf_counts = config.chf()?.map(|_| Arc::<Counts>::default());
    let source = {
        let chf_counts = chf_counts.clone();
        let (handle, nrf) = (engine.handle(), nrf.clone());
        move || {
            let adm = handle.call(AdmSnapshot::take).ok()?;
            Some(Snapshot {
                adm: Some(adm),
                sbi: router.counts(),
                registered: Some(nrf.is_registered()),
                chf: chf_counts.as_ref().map(|counts| counts.take()),
                ..Snapshot::default()
            })
        }
    };
    let http = http::start(http, Arc::new(source), Arc::clone(&streams))?;
    let admin = AdminServer::start(&dir, engine.handle(), config.subscription_rules()?)?;
    let mut followers = Followers::start(config, &dir, &engine.handle(), &streams)?;
    if let Some(counts) = &chf_counts {
        followers.charge_online(config, &dir, &engine.handle(), &function.way(&nrf), counts)?;
    }
    function.register(&nrf, sbi, adm::SERVICES, Vec::new());

    let ready = json!({ "sbi": sbi.to_string(), "http": http.to_string() });
    serve_until(&ready, signals)?;
    function.deregister(&nrf);
    drop(admin);
    let stopped = engine.stop();
    let mut adm = stopped.map_err(|gone| Failure::resource("stopped", gone))?;
    adm.close(unix_ms());
    followers.stop();
    drop(lock);
    Ok(())
}
