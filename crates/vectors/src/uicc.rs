//! `uicc.json`: registration with a UICC (section 7), MILENAGE, suite 1.

use ambit_protocol::aka;
use ambit_protocol::seal::{Direction, SealKeys};
use milenage::Milenage;

use crate::check::{Case, same};

pub(crate) fn check(case: &Case<'_>) -> Result<(), String> {
    let snid = case.snid()?;
    same(
        "sn_name",
        case.text("sn_name")?.as_bytes(),
        snid.sn_name().to_string().as_bytes(),
    )?;
    let (rand_d, n_r) = (case.array("rand_d")?, case.array("n_r")?);
    let rand = aka::rand(&n_r, &rand_d, &snid);
    case.expect("rand", &rand)?;

    let (sqn, amf) = (case.array::<6>("sqn")?, case.array::<2>("amf")?);
    let mut card = Milenage::new_with_opc(case.array("k")?, case.array("opc")?);
    let (res, ck, ik, ak) = card.f2345(&rand);
    let mac_a = card.f1(&rand, &sqn, &amf);
    let mut sqn_xor_ak = sqn;
    for (octet, a) in sqn_xor_ak.iter_mut().zip(ak) {
        *octet ^= a;
    }
    let request = [&[0x58], &n_r[..], &sqn_xor_ak, &amf, &mac_a].concat();
    case.expect("authentication_request", &request)?;

    let mut ck_ik = [0; 32];
    for (to, from) in ck_ik.iter_mut().zip(ck.iter().chain(&ik)) {
        *to = *from;
    }
    let res_star = aka::res_star(&ck_ik, &snid, &rand, &res);
    case.expect("res_star", &res_star)?;
    let k_aiot = aka::k_aiot(&ck_ik, &snid, &rand_d, &sqn_xor_ak);
    case.expect("k_aiot", k_aiot.expose())?;
    let (suite, len) = (case.suite()?, case.tag_len()?);
    let k_aiotf = aka::k_aiotf(suite, &k_aiot, &rand, &rand_d);
    case.expect("k_aiotf", k_aiotf.expose())?;

    let keys = SealKeys::new(suite, &k_aiotf);
    let res8 = aka::res8(&res_star);
    let mut text = case.octets("plaintext")?;
    let tag1 = keys.seal(Direction::Report, [&[0x60], &res8], &mut text, len);
    let response = [&[0x60], &res8[..], &text, tag1.as_slice()].concat();
    case.expect("authentication_response", &response)?;

    let tag2 = keys.seal(Direction::Accept, [&[0x48], tag1.as_slice()], &mut [], len);
    case.expect("accept", &[&[0x48], tag2.as_slice()].concat())
}
