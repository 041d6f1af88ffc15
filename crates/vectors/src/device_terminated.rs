//! `device_terminated.json`: inventory responses and command sessions (section 8).

use ambit_protocol::schedule::{self, cut};
use ambit_protocol::session::Session;
use ambit_protocol::wire::{Command, CommandResult, InventoryResponse, Response};
use ambit_protocol::{KAiotf, RandN, RootKey};

use crate::check::{Case, same};

pub(crate) fn check(case: &Case<'_>) -> Result<(), String> {
    let (suite, len) = (case.suite()?, case.tag_len()?);
    let key = RootKey::new(case.array("key")?).prf_key(suite);
    let rand_n = RandN::from_octets(case.array("rand_n")?);
    let rand_d = case.array("rand_d")?;

    let res = cut(&key.evaluate(&schedule::dt_res(&rand_n, &rand_d)));
    let response = InventoryResponse { rand_d, res };
    let mut out = [0; 128];
    let n = response.emit(&mut out).map_err(|e| e.to_string())?;
    case.expect("inventory_response", out.get(..n).unwrap_or_default())?;
    let read = InventoryResponse::parse(out.get(..n).unwrap_or_default());
    if read != Ok(response) {
        return Err(format!("inventory_response: read back as {read:?}"));
    }
    case.expect(
        "paging_t_id",
        &key.evaluate(&schedule::dt_paging_t_id(&rand_n)),
    )?;
    let k_aiotf = KAiotf::new(key.evaluate(&schedule::dt_k_aiotf(&rand_n, &rand_d)));
    case.expect("k_aiotf", k_aiotf.expose())?;

    // READ offset 16 length 4 at COUNT 0, its response, then PERMANENT DISABLE at COUNT 1.
    let mut network = Session::new(suite, &k_aiotf, len);
    let mut device = Session::new(suite, &k_aiotf, len);
    let read_command = Command::Read {
        offset: 16,
        length: 4,
    };
    down(case, "read_down", &mut network, &mut device, &read_command)?;

    let expected = case.octets("read_up")?;
    let text = network.open_up(&expected).map_err(|e| e.to_string())?;
    let response = Response::parse(text.octets()).map_err(|e| e.to_string())?;
    if (response.code, response.result) != (1, CommandResult::Ok) {
        return Err(format!("read_up: read as {response:?}"));
    }
    let mut sealed = [0; 128];
    let n = device
        .seal_up(text.octets(), &mut sealed)
        .map_err(|e| e.to_string())?;
    same("read_up", &expected, sealed.get(..n).unwrap_or_default())?;

    let disable = Command::PermanentDisable;
    down(case, "disable_down", &mut network, &mut device, &disable)
}

fn down(
    case: &Case<'_>,
    field: &str,
    network: &mut Session,
    device: &mut Session,
    command: &Command<'_>,
) -> Result<(), String> {
    let mut text = [0; 128];
    let n = command.emit(&mut text).map_err(|e| e.to_string())?;
    let text = text.get(..n).unwrap_or_default();
    let mut sealed = [0; 128];
    let n = network
        .seal_down(text, &mut sealed)
        .map_err(|e| e.to_string())?;
    let sealed = sealed.get(..n).unwrap_or_default();
    case.expect(field, sealed)?;
    let opened = device.open_down(sealed).map_err(|e| e.to_string())?;
    same(field, text, opened.octets())
}
