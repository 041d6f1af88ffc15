//! What chain, import and durable acceptance cost, each figure beside its physical limit measured in the same run.
//!
//! `cargo bench -p ambit-lab`. Prints medians over rounds with their spread (least to greatest), and the ratio of the
//! medians. Rounds of measurement and limit alternate, so that a change of the machine's speed meets both.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::time::Instant;

use ambit_adm::{Adm, AdmConfig, Kek};
use ambit_adm_api::{AdmClient, DoaReport, Verdict};
use ambit_protocol::area::Plmn;
use ambit_protocol::chain::BeaconChain;
use ambit_protocol::schedule::{self, cut};
use ambit_protocol::wire::{Item, ReportId};
use ambit_protocol::{
    Cause, DeviceForm, DeviceType, Exchange, KAiotf, RandN, RootKey, Snid, Suite, TagLen,
};
use ambit_provisioning::{CredentialKind, DeviceSpec};
use ambit_store::SqliteStore;

const ROUNDS: usize = 9;
const DEVICES: u32 = 100_000;
const GROUP: usize = 512;
/// What one acceptance record puts on disk, about: the row without indexes.
const RECORD_OCTETS: usize = 121;

fn main() {
    let snid = Snid::new(Plmn::new("001", "01").unwrap(), None);
    println!(
        "{:<52} {:>24} {:>24} {:>7}",
        "what", "here", "limit", "ratio"
    );
    chain(snid);
    let (adm, reports, dir) = fleet(snid);
    accept(adm, reports, &dir);
}

/// One element of a chain of 2^20 epochs, any of them, after the checkpoints were laid.
fn chain(snid: Snid) {
    let began = Instant::now();
    let chain = BeaconChain::new(snid, &[1; 12], 0, 1 << 20);
    let laid_ms = began.elapsed().as_secs_f64() * 1000.0;
    let mut epoch = 0u32;
    let one = || {
        epoch = (epoch + 99_991) % (1 << 20);
        black_box(chain.rand_n(epoch));
    };
    let (here, _) = alternate(200, one, || {});
    let worst = here.iter().copied().fold(0.0, f64::max) / 1000.0;
    println!(
        "{:<52} {:>21.1} us {:>21} us {:>7.2}",
        "chain element within 2^20 epochs",
        median(&here) / 1000.0,
        2000,
        worst / 2000.0
    );
    println!(
        "{:<52} {laid_ms:>21.0} ms",
        "chain of 2^20 epochs laid, once at start"
    );
}

/// 100 000 beacon devices in an ADM on an SQLite file, and a report of each under the next epoch's RAND_n.
fn fleet(snid: Snid) -> (Adm, Vec<Vec<u8>>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&dir.path().join("bench.sqlite3")).unwrap();
    let config = AdmConfig {
        chain_epochs: 4096,
        ..AdmConfig::new(snid)
    };
    let mut rng = fastrand::Rng::with_seed(1);
    let mut seeded = fastrand::Rng::with_seed(2);
    let entropy = Box::new(move |out: &mut [u8]| {
        seeded.fill(out);
        Ok(())
    });
    let kek = Kek::from_octets(&[1; 32]);
    let mut adm = Adm::open(config, Box::new(store), kek, entropy, 0).unwrap();
    let devices: Vec<DeviceSpec> = (0..DEVICES)
        .map(|n| DeviceSpec {
            line: 0,
            device_id: n.to_be_bytes().to_vec(),
            device_type: DeviceType::Type2b,
            suite: Suite::AesCmac,
            form: DeviceForm::Beacon,
            key: Some(RootKey::new(std::array::from_fn(|_| rng.u8(..)))),
            tag_len: TagLen::T8,
            fleet: "bench".into(),
            credential: CredentialKind::Operator,
        })
        .collect();
    let began = Instant::now();
    adm.import(&devices, 0).unwrap();
    let rate = f64::from(DEVICES) / began.elapsed().as_secs_f64();
    println!(
        "{:<52} {:>20.0} /s {:>20} /s {:>7.2}",
        "import of devices, durable",
        rate,
        6000,
        rate / 6000.0
    );
    let rand_n = adm.beacons(0).unwrap().current;
    let reports = devices
        .iter()
        .map(|device| {
            let key = device.key.as_ref().unwrap();
            report(
                key,
                Suite::AesCmac,
                &rand_n,
                snid,
                rng.u32(..).to_be_bytes(),
                2,
            )
        })
        .collect();
    (adm, reports, dir)
}

/// Durable acceptance of the fleet's reports in groups.
fn accept(mut adm: Adm, reports: Vec<Vec<u8>>, dir: &tempfile::TempDir) {
    let snid = adm.config().snid;
    let rand_n = adm.beacons(0).unwrap().current;

    let mut raw = File::create(dir.path().join("raw")).unwrap();
    let record = vec![7; RECORD_OCTETS * GROUP];
    let (mut here, mut limit) = (Vec::new(), Vec::new());
    let mut verdicts = Vec::new();
    let groups: Vec<_> = reports.chunks_exact(GROUP).collect();
    for round in groups.chunks(groups.len() / ROUNDS) {
        let began = Instant::now();
        for group in round {
            let batch: Vec<DoaReport<'_>> = group
                .iter()
                .map(|nas| DoaReport {
                    nas,
                    rand_n,
                    area_id: snid.area([0, 0, 1]),
                    gnb_id: 1,
                    reader_index: 1,
                })
                .collect();
            adm.authenticate(1, &batch, &mut verdicts);
            assert!(verdicts.iter().all(|v| matches!(v, Verdict::Accept { .. })));
        }
        let per_s = |count: usize| (count * GROUP) as f64 / began.elapsed().as_secs_f64();
        here.push(per_s(round.len()));
        let began = Instant::now();
        for _ in 0..20 {
            raw.write_all(&record).unwrap();
            raw.sync_data().unwrap();
        }
        limit.push((20 * GROUP) as f64 / began.elapsed().as_secs_f64());
    }
    print_rate(
        "durable acceptance, groups of 512, one thread",
        &here,
        &limit,
    );
}

fn report(
    key: &RootKey,
    suite: Suite,
    rand_n: &RandN,
    snid: Snid,
    rand_d: [u8; 4],
    seq: u8,
) -> Vec<u8> {
    let t_id = cut(&key.evaluate(suite, &schedule::beacon_t_id(rand_n)));
    let input = schedule::beacon_k_aiotf(rand_n, &snid.area([0, 0, 1]), &rand_d);
    let k_aiotf = KAiotf::new(key.evaluate(suite, &input));
    let item = Item {
        cause: Cause::Periodic,
        seq,
        data: &[0, 41],
    };
    let id = ReportId::Beacon { t_id, rand_d };
    let mut out = [0; 160];
    let (_, n) = Exchange::seal_report(suite, &k_aiotf, &id, &item, TagLen::T8, &mut out).unwrap();
    out[..n].to_vec()
}

/// Rounds of `times` calls of each in turn; ns a call, by round.
fn alternate(times: u32, mut run: impl FnMut(), mut limit: impl FnMut()) -> (Vec<f64>, Vec<f64>) {
    let (mut here, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for (results, is_limit) in [(&mut here, false), (&mut bare, true)] {
            let began = Instant::now();
            for _ in 0..times {
                if is_limit { limit() } else { run() }
            }
            results.push(began.elapsed().as_nanos() as f64 / f64::from(times));
        }
    }
    (here, bare)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn spread(values: &[f64]) -> String {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = values.iter().copied().fold(0.0, f64::max);
    format!("{:.0} ({least:.0}-{greatest:.0})", median(values))
}

fn print_rate(what: &str, here: &[f64], limit: &[f64]) {
    println!(
        "{what:<52} {:>21} /s {:>21} /s {:>7.2}   limit: raw durable appends of {RECORD_OCTETS} octets a record",
        spread(here),
        spread(limit),
        median(here) / median(limit)
    );
}
