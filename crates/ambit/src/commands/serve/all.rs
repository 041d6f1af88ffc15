//! AIOTF, ADM and store in one process. With `[sbi]` set their services are offered too, each on a port of its own, and
//! registered: at an NRF elsewhere, or at one in this process.

use std::sync::Arc;

use ambit_adm::Adm;
use ambit_aiotf::Aiotf;
use ambit_aiotf::server::{Engine, Observer, Server, unix_ms};
use ambit_nef::subscription::remote;
use ambit_nef::subscription::service::SubscriptionAccess;
use ambit_protocol::AreaId;
use ambit_sbi::adm::{self, AdmAccess, AdmGone, Job, SharedAdm};
use ambit_sbi::aiotf::callback::CallbackCounts;
use ambit_sbi::aiotf::{self, ServiceConfig};
use ambit_sbi::namf::aiotf::Links;
use ambit_sbi::nrf::client::NrfClient;
use ambit_sbi::nrf::{Nrf, NrfConfig};
use ambit_sbi::router::Router;
use ambit_sbi::runtime::Runtime;
use serde_json::{Value, json};
use signal_hook::iterator::Signals;

use super::{bind, bind_http, serve_until, served_areas, wait_for_lock};
use crate::admin::AdminServer;
use crate::af_subscriptions;
use crate::amf::{self, Behind};
use crate::config::Config;
use crate::data_dir::{DataDir, instance_id};
use crate::delivery::StreamSlot;
use crate::failure::Failure;
use crate::followers::Followers;
use crate::http::{self, AdmSnapshot, AiotfSnapshot, Snapshot};
use crate::nef::Nef;
use crate::online::{Counts, Way};
use crate::sbi::{Function, issuer, nth_address};

pub(super) fn run(
    config: &Config,
    observer: Option<Observer>,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let n2 = bind("n2", config.n2.or_port(38412))?;
    let http = bind_http(config)?;
    let dir = DataDir::new(config)?;
    let lock = wait_for_lock(&dir)?;
    let now_ms = unix_ms();
    let mut adm = dir.open_adm(config.adm()?, &lock, now_ms)?;
    let aiotf_config = config.aiotf(instance_id(&dir, &mut adm)?)?;
    let (aiotf_id, areas) = (aiotf_config.aiotf_id, served_areas(&aiotf_config));
    let aiotf = Aiotf::new(aiotf_config, adm, now_ms);
    let server =
        Server::start_observed(n2, aiotf, observer).map_err(|error| Failure::io("n2", &error))?;
    if !config.sbi.is_on() && !config.amf.gnbs.is_empty() {
        let rule = "amf.gnbs: an AMF is reached over the service-based interface: sbi.pki must be set (or --pki)";
        return Err(Failure::input("config_invalid", rule));
    }
    let streams = StreamSlot::default();
    let subscriptions = af_subscriptions::beside(config, &dir, server.engine(), &streams)?;
    let services = match config.sbi.is_on() {
        true => {
            let engine = server.engine();
            let started = Services::start(config, engine, &subscriptions, aiotf_id, areas);
            Some(started?)
        }
        false => None,
    };
    let chf_counts = config.chf()?.map(|_| Arc::<Counts>::default());
    let nef = match config.nef.listen {
        Some(_) => {
            let runtime = Runtime::start().map_err(|error| Failure::io("nef", &error))?;
            let shared: SharedAdm = Arc::new(InEngine(server.engine()));
            let aiotf = Arc::new(server.engine());
            let nef = Nef::start(config, &runtime, None, &shared, aiotf, subscriptions)?;
            Some((nef, runtime))
        }
        None => None,
    };
    let http = {
        let engine = server.engine();
        let exposure = nef.as_ref().map(|(nef, _)| Arc::clone(&nef.exposure));
        let nef_router = nef.as_ref().map(|(nef, _)| Arc::clone(&nef.router));
        let chf_counts = chf_counts.clone();
        let routers = services.as_ref().map(|services| services.routers.clone());
        let callbacks = services
            .as_ref()
            .map(|services| Arc::clone(&services.callbacks));
        let links = services
            .as_ref()
            .and_then(|services| services.links.clone());
        let source = move || {
            let mut snapshot = engine
                .call(|aiotf| Snapshot {
                    aiotf: Some(AiotfSnapshot::take(aiotf)),
                    adm: Some(AdmSnapshot::take(aiotf.adm())),
                    ..Snapshot::default()
                })
                .ok()?;
            let links = links.as_ref();
            snapshot.aiotf = snapshot.aiotf.map(|aiotf| aiotf.with(links));
            snapshot.nef = exposure.iter().flat_map(|nef| nef.counts()).collect();
            let routers = routers.iter().flatten().chain(&nef_router);
            snapshot.sbi = routers.flat_map(|router| router.counts()).collect();
            snapshot.callbacks = callbacks.as_ref().map(|c| c.get()).unwrap_or_default();
            snapshot.chf = chf_counts.as_ref().map(|counts| counts.take());
            Some(snapshot)
        };
        http::start(http, Arc::new(source), Arc::clone(&streams))?
    };
    let admin = AdminServer::start(&dir, server.engine(), config.subscription_rules()?)?;
    let mut followers = Followers::start(config, &dir, &server.engine(), &streams)?;
    if let Some(counts) = &chf_counts {
        let way = match services.as_ref().and_then(Services::way) {
            Some(way) => way,
            None => Way::in_clear()?,
        };
        followers.charge_online(config, &dir, &server.engine(), &way, counts)?;
    }

    let mut ready = json!({ "n2": server.local_addr().to_string(), "http": http.to_string() });
    if let Some(services) = &services {
        ambit_sbi::json::set(&mut ready, "sbi", services.addresses.clone());
    }
    if let Some((nef, _)) = &nef {
        ambit_sbi::json::set(&mut ready, "nef", nef.address.to_string());
    }
    serve_until(&ready, signals)?;
    // Nothing new is taken from AFs; the last refusals are on record.
    if let Some((nef, runtime)) = nef {
        runtime.handle().block_on(nef.exposure.close());
    }
    if let Some(services) = &services {
        services.stop();
    }
    drop(admin);
    let stopped = server.stop();
    let mut aiotf = stopped.map_err(|stopped| Failure::resource("stopped", stopped))?;
    aiotf.adm().close(unix_ms());
    followers.stop();
    // Its runtime is what events go out by.
    drop(services);
    drop(lock);
    Ok(())
}

/// The ADM within the engine.
struct InEngine(Engine<Adm>);

impl AdmAccess for InEngine {
    fn run(&self, job: Job) -> Result<(), AdmGone> {
        self.0
            .call(move |aiotf| job(aiotf.adm()))
            .map_err(|_| AdmGone)
    }
}

/// What is offered on the SBI.
struct Services {
    functions: Vec<(Function, NrfClient)>,
    routers: Vec<Arc<Router>>,
    links: Option<Links>,
    addresses: Value,
    callbacks: Arc<CallbackCounts>,
}

impl Services {
    fn start(
        config: &Config,
        engine: Engine<Adm>,
        subscriptions: &Arc<dyn SubscriptionAccess>,
        aiotf_id: [u8; 16],
        areas: Vec<AreaId>,
    ) -> Result<Self, Failure> {
        let runtime = Runtime::start().map_err(|error| Failure::io("sbi", &error))?;
        let runtime = Arc::new(runtime);
        let first = config
            .sbi
            .listen
            .unwrap_or_else(|| ([127, 0, 0, 1], 29510).into());
        let mut addresses = json!({});
        let mut routers = Vec::new();
        let nrf_root = match &config.sbi.nrf {
            Some(root) => root.clone(),
            None => {
                let function = Function::open(config, &runtime, "nrf", "NRF")?;
                let nrf = Nrf::new(NrfConfig::default(), issuer(config)?);
                let (address, router) = function.serve(bind("sbi", first)?, nrf.routes())?;
                ambit_sbi::json::set(&mut addresses, "nrf", address.to_string());
                routers.push(router);
                format!("{}://{address}", function.scheme())
            }
        };
        let adm_function = Function::open(config, &runtime, "adm", "ADM")?;
        let nrf = adm_function.nrf(&nrf_root)?;
        let shared: SharedAdm = Arc::new(InEngine(engine.clone()));
        let listener = bind("sbi", nth_address(first, 1)?)?;
        let mut routes = adm::routes(&shared);
        routes.extend(remote::routes(subscriptions));
        let (address, router) = adm_function.serve(listener, routes)?;
        ambit_sbi::json::set(&mut addresses, "adm", address.to_string());
        routers.push(router);
        adm_function.register(&nrf, address, adm::SERVICES, Vec::new());
        let aiotf_function = Function::open(config, &runtime, "aiotf", "AIOTF")?;
        let aiotf_nrf = aiotf_function.nrf(&nrf_root)?;
        let listener = bind("sbi", nth_address(first, 2)?)?;
        let client = aiotf_function.client().clone();
        let address = listener.local_addr();
        let address = address.map_err(|error| Failure::io("sbi", &error))?;
        let behind = Behind {
            aiotf_id,
            access: Arc::new(engine.clone()),
            address,
        };
        let links = amf::links(config, &aiotf_function, &aiotf_nrf, behind)?;
        let service = ServiceConfig::new(aiotf_function.id);
        let counts = Arc::clone(&service.counts);
        let mut routes = aiotf::routes(Arc::new(engine), client, service);
        routes.extend(links.iter().flat_map(Links::routes));
        let (address, router) = aiotf_function.serve(listener, routes)?;
        if let Some(links) = &links {
            links.start(runtime.handle());
        }
        ambit_sbi::json::set(&mut addresses, "aiotf", address.to_string());
        routers.push(router);
        aiotf_function.register(&aiotf_nrf, address, aiotf::SERVICES, areas);
        Ok(Self {
            functions: vec![(adm_function, nrf), (aiotf_function, aiotf_nrf)],
            routers,
            links,
            addresses,
            callbacks: counts,
        })
    }

    /// The AIOTF's way to others.
    fn way(&self) -> Option<Way> {
        let (function, nrf) = self.functions.last()?;
        Some(function.way(nrf))
    }

    fn stop(&self) {
        for (function, nrf) in &self.functions {
            function.deregister(nrf);
        }
    }
}
