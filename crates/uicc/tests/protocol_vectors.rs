//! The project's vectors of section 7 (`uicc.json`, made by an implementation of its own), with this crate as card and ADM.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use ambit_protocol::area::{Nid, Plmn};
use ambit_protocol::{Snid, Suite, aka};
use ambit_uicc::{Algorithm, Subscriber};

#[test]
fn uicc_registration_vectors() {
    let text = include_str!("../../vectors/vectors/uicc.json");
    let vectors: serde_json::Value = serde_json::from_str(text).unwrap();
    let cases = vectors["cases"].as_array().unwrap();
    assert!(!cases.is_empty());
    for case in cases {
        let text = |name: &str| case[name].as_str().unwrap();
        let octets = |name: &str| hex::decode(text(name)).unwrap();
        let plmn = Plmn::new(text("mcc"), text("mnc")).unwrap();
        let nid: Option<Nid> = case["nid"].as_str().map(|nid| nid.parse().unwrap());
        let snid = Snid::new(plmn, nid);
        let (rand_d, n_r) = (
            octets("rand_d").try_into().unwrap(),
            octets("n_r").try_into().unwrap(),
        );
        let (sqn, amf) = (
            octets("sqn").try_into().unwrap(),
            octets("amf").try_into().unwrap(),
        );
        let subscriber =
            Subscriber::new(Algorithm::Milenage, &octets("k"), &octets("opc")).unwrap();

        let rand = aka::rand(&n_r, &rand_d, &snid);
        assert_eq!(rand[..], octets("rand"));
        let autn = subscriber.autn(&rand, &sqn, &amf);
        assert_eq!(autn[..], octets("authentication_request")[17..]);
        let (vector, sqn_seen, amf_seen) = subscriber.check_autn(&rand, &autn).unwrap();
        assert_eq!((sqn_seen, amf_seen), (sqn, amf));
        let res_star = aka::res_star(&vector.ck_ik(), &snid, &rand, vector.res.as_slice());
        assert_eq!(res_star[..], octets("res_star"));
        let k_aiot = aka::k_aiot(&vector.ck_ik(), &snid, &rand_d, &vector.sqn_xor_ak(&sqn));
        assert_eq!(k_aiot.expose()[..], octets("k_aiot"));
        let k_aiotf = aka::k_aiotf(Suite::AesCmac, &k_aiot, &rand, &rand_d);
        assert_eq!(k_aiotf.expose()[..], octets("k_aiotf"));
    }
}
