//! Reports through NGAP over loopback, the load generator on the same cores.
//!
//! The load: gNBs that seal their reports beforehand and send them in INVENTORY REPORTs of a busy gNB's size, as fast as
//! ACCEPTs come back (capacity) or at a set rate, each report due at its own moment whatever came of those before.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ambit_aiotf::server::{Server, unix_ms};
use ambit_aiotf::{Aiotf, AiotfConfig};
use ambit_ngap::framing::{FrameDecoder, frame_into};
use ambit_ngap::{DeviceReport, FromGnb, GnbId, ReaderReport, ToGnb};

use super::core::BenchAdm;
use super::fleet::snid;
use super::{BenchError, Figure, Limit, Sample};

/// Devices that report.
const DEVICES: usize = 100_000;

/// Reports in one INVENTORY REPORT.
pub(super) const REPORTS: usize = 64;

/// INVENTORY REPORTs that wait for their ACCEPTs at most when capacity is measured: 8192 reports.
const OUTSTANDING_MAX: usize = 128;

/// Reports of one run.
const RUN: usize = 262_144;

/// Reports a second that are asked for.
const ASKED: f64 = 100_000.0;

/// Load at which latency is measured.
#[derive(Clone, Copy, PartialEq)]
enum Rate {
    /// A part of capacity, which a run at full speed just before has shown.
    Part(f64),
    /// A part of what is asked for, whatever the capacity.
    Asked(f64),
}

impl Rate {
    fn name(self) -> String {
        match self {
            Self::Part(part) => format!("at {:.0} % of capacity", part * 100.0),
            Self::Asked(part) => format!("at {:.0} reports/s", part * ASKED),
        }
    }

    /// Where p99 is asked for; of what is not said, so of both.
    fn is_asked_for(self) -> bool {
        matches!(self, Self::Part(0.8) | Self::Asked(_))
    }
}

/// Each is measured so many times, beside a run at full speed. A run at full speed that is not counted goes before all: until it
/// ends, keys of records only gather in memory, and the core is faster than it can stay.
const RATES: [Rate; 4] = [
    Rate::Part(0.5),
    Rate::Part(0.8),
    Rate::Part(0.95),
    Rate::Asked(0.8),
];
const ROUNDS: usize = 3;

/// How long a run at a set rate takes, about, and how many reports it has at most.
const PACED_S: f64 = 2.0;
const PACED_MAX: usize = 250_000;

/// How long an ACCEPT is waited for.
const ACCEPT_WAIT: Duration = Duration::from_secs(10);

/// What the readers of the emulated gNB are in.
const PLMN: [u8; 3] = [0x00, 0xf1, 0x10];

/// Capacity, and latency at 50, 80 and 95 % of it and at 80 % of what is asked for. A run at a set rate follows one at full speed,
/// whose rate is its 100 %: on a shared machine the capacity of a moment ago is not that of a minute ago.
///
/// # Errors
/// [`BenchError`] when the store, its directory or the loopback fail, or an ACCEPT does not come.
pub fn n2(each: &mut dyn FnMut(Figure)) -> Result<(), BenchError> {
    let mut core = BenchAdm::new(DEVICES, unix_ms())?;
    let (mut capacity, mut echoes, mut cpu) = (Vec::new(), Vec::new(), Vec::new());
    // All reports are made before the ADM goes to the server.
    let runs = RATES.len() * ROUNDS;
    let mut reports = core.reports(RUN + (RUN + PACED_MAX) * runs)?;
    let mut take = |count| reports.split_off(reports.len().saturating_sub(count));
    let BenchAdm { adm, dir, .. } = core;
    let aiotf = Aiotf::new(AiotfConfig::new(snid(), [7; 16]), adm, unix_ms());
    let server = Server::start(TcpListener::bind("127.0.0.1:0")?, aiotf)?;
    let mut gnb = Gnb::connect(&server)?;
    let load = gnb.load(&take(RUN))?;
    gnb.run(&load, None)?;
    // By rate and by what is told of it: a sample a round.
    let mut latencies = [const { [const { Vec::new() }; QUANTILES.len()] }; RATES.len()];
    let mut disk = latencies.clone();
    for _ in 0..ROUNDS {
        for ((rate, latencies), disk) in RATES.iter().zip(&mut latencies).zip(&mut disk) {
            let load = gnb.load(&take(RUN))?;
            let run = gnb.run(&load, None)?;
            let full = RUN as f64 / run.took_s;
            capacity.push(full);
            cpu.push(run.generator_s * 1e9 / RUN as f64);
            echoes.push(RUN as f64 / echo(&load)?);
            let rate = match rate {
                Rate::Part(part) => full * part,
                Rate::Asked(part) => ASKED * part,
            };
            let count = ((rate * PACED_S) as usize).min(PACED_MAX) / REPORTS * REPORTS;
            let load = gnb.load(&take(count))?;
            let mut took = gnb.run(&load, Some(rate))?.latencies_us;
            took.sort_unstable();
            let appended = appends(dir.path())?;
            for (((_, place), here), disk) in QUANTILES.iter().zip(latencies).zip(disk) {
                here.push(quantile(&took, *place));
                disk.push(quantile(&appended, *place));
            }
        }
    }
    let [capacity, echoes, cpu] = [capacity, echoes, cpu].map(Sample::of);
    let figure = |what: String, unit, here, limit| Figure {
        bench: "n2",
        what,
        devices: Some(DEVICES),
        unit,
        here,
        limit,
    };
    let name = format!("from INVENTORY REPORT ({REPORTS} reports) to ACCEPT, capacity");
    let echo_name = "loopback echo of the same octets";
    for (what, limit) in [(echo_name, echoes), ("asked for", Sample::one(ASKED))] {
        let limit = Limit::new(what, capacity, limit);
        each(figure(name.clone(), "reports/s", capacity, Some(limit)));
    }
    let name = "CPU of the load generator a report, of the same cores".into();
    each(figure(name, "ns", cpu, None));
    for ((rate, latencies), disk) in RATES.iter().zip(latencies).zip(disk) {
        for (((name, place), here), disk) in QUANTILES.iter().zip(latencies).zip(disk) {
            let (here, disk) = (Sample::of(here), Sample::of(disk));
            let what = format!("{name} from due to ACCEPT {}", rate.name());
            let limit = Limit::new(DISK, here, disk);
            each(figure(what.clone(), "ms", here, Some(limit)));
            if rate.is_asked_for() && *place == 0.99 {
                let limit = Limit::new("asked for", here, Sample::one(10.0));
                each(figure(what, "ms", here, Some(limit)));
            }
        }
    }
    server.stop().map_err(super::core::adm_failed)?;
    drop(dir);
    Ok(())
}

const QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];

const DISK: &str = "the same of durable appends of 64 KiB, the disk otherwise idle";

/// How long each of some hundred durable appends took, in us and sorted.
fn appends(dir: &std::path::Path) -> Result<Vec<u32>, BenchError> {
    let mut file = std::fs::File::create(dir.join("appended"))?;
    let octets = vec![7; 64 * 1024];
    let mut took = Vec::new();
    for _ in 0..300 {
        let began = Instant::now();
        file.write_all(&octets)?;
        file.sync_data()?;
        took.push(u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
    took.sort_unstable();
    Ok(took)
}

/// Of sorted microseconds, in ms.
fn quantile(sorted_us: &[u32], place: f64) -> f64 {
    let at = (sorted_us.len().saturating_sub(1) as f64 * place) as usize;
    f64::from(sorted_us.get(at).copied().unwrap_or_default()) / 1e3
}

/// An emulated gNB with one reader whose window is open.
struct Gnb {
    stream: TcpStream,
    decoder: FrameDecoder,
    aiotf_id: [u8; 16],
    correlation: u16,
    next_device: u32,
}

/// INVENTORY REPORTs as they go on the wire.
struct Load {
    frames: Vec<Vec<u8>>,
    reports: usize,
    first_device: u32,
}

/// What came of a run.
struct Run {
    took_s: f64,
    /// CPU time of sender and receiver.
    generator_s: f64,
    /// From when each report was due to its ACCEPT.
    latencies_us: Vec<u32>,
}

impl Gnb {
    fn connect<A: ambit_adm_api::AdmClient + Send + 'static>(
        server: &Server<A>,
    ) -> Result<Self, BenchError> {
        let stream = TcpStream::connect(server.local_addr())?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ACCEPT_WAIT))?;
        let mut gnb = Self {
            stream,
            decoder: FrameDecoder::new(),
            aiotf_id: [0; 16],
            correlation: 0,
            next_device: 0,
        };
        gnb.send(&setup_request())?;
        while gnb.correlation == 0 {
            let mut opened = None;
            receive(&mut gnb.stream, &mut gnb.decoder, |message| {
                if let ToGnb::InventoryRequest(request) = message {
                    opened = Some((request.aiotf_id, request.correlation));
                }
            })?;
            if let Some((aiotf_id, correlation)) = opened {
                (gnb.aiotf_id, gnb.correlation) = (aiotf_id, correlation);
            }
        }
        let (aiotf_id, correlation) = (gnb.aiotf_id, gnb.correlation);
        gnb.send(&FromGnb::InventoryResponse {
            aiotf_id,
            correlation,
        })?;
        Ok(gnb)
    }

    fn send(&mut self, message: &FromGnb<'_>) -> Result<(), BenchError> {
        let frame = framed(message)?;
        Ok(self.stream.write_all(&frame)?)
    }

    fn load(&mut self, reports: &[Vec<u8>]) -> Result<Load, BenchError> {
        let first_device = self.next_device;
        let mut frames = Vec::with_capacity(reports.len().div_ceil(REPORTS));
        for group in reports.chunks(REPORTS) {
            let session = (self.aiotf_id, self.correlation);
            frames.push(framed(&inventory_report(session, self.next_device, group))?);
            self.next_device += group.len() as u32;
        }
        Ok(Load {
            frames,
            reports: reports.len(),
            first_device,
        })
    }

    /// Sends the load, at `rate` reports a second or as fast as ACCEPTs come back, until the last ACCEPT is here.
    fn run(&mut self, load: &Load, rate: Option<f64>) -> Result<Run, BenchError> {
        let began = Instant::now();
        let due_ns: Vec<AtomicU64> = load.frames.iter().map(|_| AtomicU64::new(0)).collect();
        let accepted = AtomicUsize::new(0);
        let mut sender = self.stream.try_clone()?;
        thread::scope(|scope| {
            let sending = scope.spawn(|| -> io::Result<f64> {
                for ((number, frame), due_ns) in load.frames.iter().enumerate().zip(&due_ns) {
                    let due = match rate {
                        Some(rate) => {
                            let due = Duration::from_secs_f64((number * REPORTS) as f64 / rate);
                            if let Some(wait) = due.checked_sub(began.elapsed()) {
                                thread::sleep(wait);
                            }
                            due
                        }
                        None => {
                            while number.saturating_sub(accepted.load(Ordering::Relaxed) / REPORTS)
                                >= OUTSTANDING_MAX
                            {
                                thread::sleep(Duration::from_micros(50));
                                if began.elapsed() > ACCEPT_WAIT * 6 {
                                    return Err(io::ErrorKind::TimedOut.into());
                                }
                            }
                            began.elapsed()
                        }
                    };
                    due_ns.store(due.as_nanos() as u64, Ordering::Relaxed);
                    sender.write_all(frame)?;
                }
                Ok(cpu_s())
            });
            let cpu_before = cpu_s();
            let mut latencies_us = Vec::with_capacity(load.reports);
            let mut received = || {
                while latencies_us.len() < load.reports {
                    receive(&mut self.stream, &mut self.decoder, |message| {
                        if let ToGnb::CommandRequest { device_ngap_id, .. } = message
                            && let Some(place) = device_ngap_id.checked_sub(load.first_device)
                            && let Some(due) = due_ns.get(place as usize / REPORTS)
                        {
                            let due = Duration::from_nanos(due.load(Ordering::Relaxed));
                            let took = began.elapsed().saturating_sub(due);
                            latencies_us.push(took.as_micros() as u32);
                        }
                    })?;
                    accepted.store(latencies_us.len(), Ordering::Relaxed);
                }
                Ok::<(), BenchError>(())
            };
            let received = received();
            let took_s = began.elapsed().as_secs_f64();
            let sent = sending.join();
            received?;
            let sender_s = sent.map_err(|_| io::Error::other("the sender failed"))??;
            Ok(Run {
                took_s,
                generator_s: sender_s + cpu_s() - cpu_before,
                latencies_us,
            })
        })
    }
}

/// What one reader heard, as the gNB of the bench reports it. Devices are numbered from `first_device`.
pub(super) fn inventory_report(
    (aiotf_id, correlation): ([u8; 16], u16),
    first_device: u32,
    reports: &[Vec<u8>],
) -> FromGnb<'_> {
    let devices = reports.iter().zip(first_device..);
    let devices = devices.map(|(nas, device)| DeviceReport {
        nas: nas.as_slice().into(),
        device_ngap_id: Some(device),
    });
    FromGnb::InventoryReport {
        aiotf_id,
        correlation,
        gnb_id: gnb_id(),
        readers: vec![ReaderReport {
            reader_index: 1,
            devices: devices.collect(),
        }],
        complete: false,
    }
}

/// The gNB of the bench introduces itself.
pub(super) const fn setup_request() -> FromGnb<'static> {
    FromGnb::NgSetupRequest {
        gnb_id: gnb_id(),
        name: None,
        aiot_support: true,
    }
}

fn framed(message: &FromGnb<'_>) -> Result<Vec<u8>, BenchError> {
    let pdu = message.encode().map_err(io::Error::other)?;
    let mut frame = Vec::new();
    frame_into(&pdu, &mut frame).map_err(io::Error::other)?;
    Ok(frame)
}

/// Reads once and hands over every message that is whole.
fn receive(
    stream: &mut TcpStream,
    decoder: &mut FrameDecoder,
    mut each: impl FnMut(ToGnb<'_>),
) -> Result<(), BenchError> {
    let mut octets = [0; 65_536];
    let read = stream.read(&mut octets)?;
    if read == 0 {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    decoder.push(octets.get(..read).unwrap_or_default());
    while let Some(pdu) = decoder.next().map_err(io::Error::other)? {
        each(ToGnb::decode(pdu).map_err(io::Error::other)?);
    }
    Ok(())
}

const fn gnb_id() -> GnbId {
    GnbId {
        plmn: PLMN,
        id: 5,
        bits: 24,
    }
}

/// Seconds in which as many octets as the load has go to an echo on loopback and come back, as many under way as a run has.
fn echo(load: &Load) -> Result<f64, BenchError> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut to = TcpStream::connect(listener.local_addr()?)?;
    let (mut from, _) = listener.accept()?;
    let octets: usize = load.frames.iter().map(Vec::len).sum();
    let began = Instant::now();
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut buffer = [0; 65_536];
            while let Ok(read @ 1..) = from.read(&mut buffer) {
                if from
                    .write_all(buffer.get(..read).unwrap_or_default())
                    .is_err()
                {
                    break;
                }
            }
        });
        let mut back = to.try_clone()?;
        let receiving = scope.spawn(move || -> io::Result<()> {
            let mut buffer = [0; 65_536];
            let mut left = octets;
            while left > 0 {
                match back.read(&mut buffer)? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    read => left = left.saturating_sub(read),
                }
            }
            Ok(())
        });
        for frame in &load.frames {
            to.write_all(frame)?;
        }
        let received = receiving.join();
        to.shutdown(std::net::Shutdown::Both)?;
        received.map_err(|_| io::Error::other("the echo failed"))??;
        Ok(began.elapsed().as_secs_f64())
    })
}

/// CPU time of this thread in seconds; 0 where the system does not tell.
fn cpu_s() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let ns = text.split(' ').next().and_then(|ns| ns.parse().ok());
    ns.unwrap_or(0.0) / 1e9
}
