//! The hot path in process: from the octets of INVENTORY REPORTs to those of ACCEPTs.

use std::hint::black_box;
use std::time::{Duration, Instant};

use ambit_adm::Adm;
use ambit_aiotf::{Aiotf, AiotfConfig, Output};
use ambit_ngap::{CommandRequests, FromGnb, ToGnb};

use super::core::BenchAdm;
use super::fleet::snid;
use super::measure::alternate;
use super::n2::{REPORTS, inventory_report, setup_request};
use super::store::Bare;
use super::{BenchError, Figure, Limit, Sample};

const DEVICES: usize = 100_000;

/// INVENTORY REPORTs that are taken to the ADM together: 512 reports.
const BATCH: usize = 8;

/// Batches of a round, and rounds at most.
const ROUND: usize = 32;
const ROUNDS: usize = 25;

/// How long it is measured at most.
const BUDGET: Duration = Duration::from_secs(6);

const CONNECTION: u64 = 1;

/// NGAP, identification, crypto, durable commit, ACCEPT, NGAP; and the codec of it alone.
///
/// # Errors
/// [`BenchError`] when the store or its directory fail, or a report is not accepted.
pub fn exchange(each: &mut dyn FnMut(Figure)) -> Result<(), BenchError> {
    let mut core = BenchAdm::new(DEVICES, 0)?;
    let mut bare = Bare::new(&core)?;
    let reports = core.reports(ROUNDS * ROUND * BATCH * REPORTS)?;
    let BenchAdm { adm, dir, .. } = core;
    let mut aiotf = Aiotf::new(AiotfConfig::new(snid(), [7; 16]), adm, 0);
    let session = open_window(&mut aiotf)?;
    let mut pdus = Vec::new();
    for (number, group) in (0u32..).zip(reports.chunks(REPORTS)) {
        let message = inventory_report(session, number * REPORTS as u32, group);
        pdus.push(message.encode().map_err(std::io::Error::other)?);
    }
    codec(pdus.first().map_or(&[], Vec::as_slice), session, each);
    let (mut here, mut limit) = (Vec::new(), Vec::new());
    let round = ROUND * BATCH * REPORTS;
    let rate = |began: Instant| round as f64 / began.elapsed().as_secs_f64();
    let all = Instant::now();
    for batches in pdus.chunks(ROUND * BATCH) {
        let began = Instant::now();
        let mut accepts = 0;
        for batch in batches.chunks(BATCH) {
            for pdu in batch {
                aiotf.handle_pdu(CONNECTION, pdu, 1);
            }
            while aiotf.pending_reports() > 0 {
                aiotf.flush(1);
            }
            while let Some(output) = aiotf.poll_output() {
                accepts += usize::from(matches!(black_box(output), Output::Pdu(..)));
            }
        }
        here.push(rate(began));
        if accepts < round {
            return Err(BenchError::NotAccepted);
        }
        let began = Instant::now();
        bare.insert("record", round, BATCH * REPORTS)?;
        limit.push(rate(began));
        if all.elapsed() > BUDGET {
            break;
        }
    }
    let (here, limit) = (Sample::of(here), Sample::of(limit));
    each(Figure {
        bench: "exchange",
        what: "from NGAP octets to ACCEPT octets, durable, groups of 512, one thread".into(),
        devices: Some(DEVICES),
        unit: "reports/s",
        here,
        limit: Some(Limit::new(
            "bare insert of the same row by the same engine",
            here,
            limit,
        )),
    });
    drop(dir);
    Ok(())
}

/// The AIOTF's window for devices that speak first, at the gNB of the bench.
fn open_window(aiotf: &mut Aiotf<Adm>) -> Result<([u8; 16], u16), BenchError> {
    aiotf.handle_connected(CONNECTION);
    let setup = setup_request().encode().map_err(std::io::Error::other)?;
    aiotf.handle_pdu(CONNECTION, &setup, 0);
    let mut session = None;
    while let Some(output) = aiotf.poll_output() {
        if let Output::Pdu(_, pdu) = output
            && let Ok(ToGnb::InventoryRequest(request)) = ToGnb::decode(&pdu)
        {
            session = Some((request.aiotf_id, request.correlation));
        }
    }
    let (aiotf_id, correlation) = session.ok_or(BenchError::NotAccepted)?;
    let response = FromGnb::InventoryResponse {
        aiotf_id,
        correlation,
    };
    let response = response.encode().map_err(std::io::Error::other)?;
    aiotf.handle_pdu(CONNECTION, &response, 0);
    Ok((aiotf_id, correlation))
}

/// What decoding an INVENTORY REPORT and encoding the COMMAND REQUESTs with its ACCEPTs takes, a report.
fn codec(pdu: &[u8], (aiotf_id, correlation): ([u8; 16], u16), each: &mut dyn FnMut(Figure)) {
    let mut accepts = CommandRequests::default();
    let nas = [0x0a; 9];
    let run = || {
        black_box(FromGnb::decode(black_box(pdu)).is_ok());
        for _ in 0..REPORTS {
            let accept = accepts.encode(aiotf_id, correlation, 70_000, black_box(&nas), 1);
            black_box(accept.is_ok());
        }
    };
    let (here, _) = alternate(50, run, || {});
    each(Figure {
        bench: "exchange",
        what: "of that the NGAP codec: INVENTORY REPORT in, COMMAND REQUEST out".into(),
        devices: None,
        unit: "ns",
        here: here.divided_by(REPORTS),
        limit: None,
    });
}
