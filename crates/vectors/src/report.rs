//! `report.json`: REPORT and ACCEPT of every form (sections 5 and 6), built as a device and opened as a network.

use ambit_protocol::exchange::Exchange;
use ambit_protocol::schedule::{self, cut};
use ambit_protocol::wire::{AcceptStatus, Item, ReportId, ReportView};
use ambit_protocol::{AreaId, KAiotf, RandN, RootKey};

use crate::check::{Case, same};

pub(crate) fn check(case: &Case<'_>) -> Result<(), String> {
    let (suite, len) = (case.suite()?, case.tag_len()?);
    let key = RootKey::new(case.array("key")?).prf_key(suite);
    let rand_n = RandN::from_octets(case.array("rand_n")?);
    let area_id = AreaId::from_octets(case.array("area_id")?).map_err(|e| e.to_string())?;

    let counter = || case.number::<u32>("nonce");
    let (id, input) = match case.text("form")? {
        "beacon" => {
            let rand_d = case.array("nonce")?;
            let t_id = cut(&key.evaluate(&schedule::beacon_t_id(&rand_n)));
            let input = schedule::beacon_k_aiotf(&rand_n, &area_id, &rand_d);
            (ReportId::Beacon { t_id, rand_d }, input)
        }
        "concealed" => {
            let rand_d = case.array("nonce")?;
            let cid = cut(&key.evaluate(&schedule::concealed_id(&rand_n, &rand_d)));
            let input = schedule::concealed_k_aiotf(&rand_n, &area_id, &rand_d);
            (ReportId::Concealed { cid, rand_d }, input)
        }
        form => {
            let counter = counter()?;
            let t_id = cut(&key.evaluate(&schedule::counter_t_id(counter)));
            let input = schedule::counter_k_aiotf(&rand_n, &area_id, counter);
            match form {
                "counter" => (ReportId::Counter { t_id }, input),
                "recovery" => (ReportId::Recovery { counter, t_id }, input),
                "blind" => (ReportId::Blind { t_id }, schedule::blind_k_aiotf(counter)),
                other => return Err(format!("form: {other} is not known")),
            }
        }
    };
    let k_aiotf = KAiotf::new(key.evaluate(&input));
    case.expect("k_aiotf", k_aiotf.expose())?;

    // Device.
    let plaintext = case.octets("plaintext")?;
    let item = Item::parse(&plaintext).map_err(|e| e.to_string())?;
    let mut pdu = [0; 160];
    let (device, n) = Exchange::seal_report(suite, &k_aiotf, &id, &item, len, &mut pdu)
        .map_err(|e| e.to_string())?;
    let report = pdu.get(..n).unwrap_or_default();
    case.expect("report", report)?;
    case.expect("tag1", device.tag1().as_slice())?;

    // Network.
    let view = ReportView::parse(report).map_err(|e| e.to_string())?;
    if *view.id() != id {
        return Err(format!("report: read back as {:?}", view.id()));
    }
    let (network, read) =
        Exchange::open_report(suite, &k_aiotf, &view, len).map_err(|e| e.to_string())?;
    same("plaintext", &plaintext, read.octets())?;
    let p2 = case.octets("accept_plaintext")?;
    let mut pdu = [0; 64];
    let n = network
        .seal_accept(&p2, &mut pdu)
        .map_err(|e| e.to_string())?;
    let accept = pdu.get(..n).unwrap_or_default();
    case.expect("accept", accept)?;

    // Device again.
    let status = device.open_accept(accept).map_err(|e| e.to_string())?;
    if status == AcceptStatus::parse(&p2) {
        Ok(())
    } else {
        Err(format!("accept_plaintext: read back as {status:?}"))
    }
}
