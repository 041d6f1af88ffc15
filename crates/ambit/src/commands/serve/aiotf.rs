//! An AIOTF alone: N2 on one side, the ADM over the SBI on the other. It holds nothing durable.

use std::sync::Arc;

use ambit_aiotf::Aiotf;
use ambit_aiotf::server::{Observer, Server, unix_ms};
use ambit_sbi::adm::client::RemoteAdm;
use ambit_sbi::aiotf::{self, ServiceConfig};
use ambit_sbi::namf::aiotf::Links;
use ambit_sbi::runtime::Runtime;
use serde_json::json;
use signal_hook::iterator::Signals;

use super::{bind, bind_http, bind_sbi, nrf_root, serve_until, served_areas};
use crate::amf::{self, Behind};
use crate::config::Config;
use crate::failure::Failure;
use crate::http::{self, AiotfSnapshot, Snapshot};
use crate::sbi::Function;

pub(super) fn run(
    config: &Config,
    observer: Option<Observer>,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let runtime = Runtime::start().map_err(|error| Failure::io("sbi", &error))?;
    let runtime = Arc::new(runtime);
    let function = Function::open(config, &runtime, "aiotf", "AIOTF")?;
    let nrf = function.nrf(nrf_root(config)?)?;
    let (n2, http) = (bind("n2", config.n2.or_port(38412))?, bind_http(config)?);
    let listener = bind_sbi(config, 29569)?;
    let address = listener.local_addr();
    let address = address.map_err(|error| Failure::io("sbi", &error))?;
    let aiotf_config = config.aiotf(function.id.into_bytes())?;
    let adm = RemoteAdm::new(runtime.handle().clone(), &nrf);
    let areas = served_areas(&aiotf_config);
    let aiotf = Aiotf::new(aiotf_config, adm, unix_ms());
    let server =
        Server::start_observed(n2, aiotf, observer).map_err(|error| Failure::io("n2", &error))?;
    let service = ServiceConfig::new(function.id);
    let counts = Arc::clone(&service.counts);
    let mut routes = aiotf::routes(
        Arc::new(server.engine()),
        function.client().clone(),
        service,
    );
    let behind = Behind {
        aiotf_id: function.id.into_bytes(),
        access: Arc::new(server.engine()),
        address,
    };
    let links = amf::links(config, &function, &nrf, behind)?;
    routes.extend(links.iter().flat_map(Links::routes));
    let (sbi, router) = function.serve(listener, routes)?;
    function.register(&nrf, sbi, aiotf::SERVICES, areas);
    if let Some(links) = &links {
        links.start(runtime.handle());
    }
    let source = {
        let (engine, nrf) = (server.engine(), nrf.clone());
        move || {
            let aiotf = engine.call(|aiotf| AiotfSnapshot::take(aiotf)).ok()?;
            let aiotf = aiotf.with(links.as_ref());
            Some(Snapshot {
                aiotf: Some(aiotf),
                sbi: router.counts(),
                callbacks: counts.get(),
                registered: Some(nrf.is_registered()),
                ..Snapshot::default()
            })
        }
    };
    let http = http::start(http, Arc::new(source), Arc::default())?;
    let n2 = server.local_addr().to_string();
    let ready = json!({ "n2": n2, "sbi": sbi.to_string(), "http": http.to_string() });
    serve_until(&ready, signals)?;
    function.deregister(&nrf);
    server
        .stop()
        .map_err(|stopped| Failure::resource("stopped", stopped))?;
    Ok(())
}
