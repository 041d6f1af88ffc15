//! TS 33.501 annex C.4 and what a home network must refuse.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;

// Annex C.4.3 (Profile A) and C.4.4 (Profile B): home network key pair, ephemeral key, scheme output of the IMSI
// 274012001002086.
const A_PRIVATE: &str = "c53c22208b61860b06c62e5406a7b330c2b577aa5558981510d128247d38bd1d";
const A_PUBLIC: &str = "5a8d38864820197c3394b92613b20b91633cbd897119273bf8e4a6f4eec0a650";
const A_EPHEMERAL: &str = "c80949f13ebe61af4ebdbd293ea4f942696b9e815d7e8f0096bbf6ed7de62256";
const A_OUTPUT: &str =
    "b2e92f836055a255837debf850b528997ce0201cb82adfe4be1f587d07d8457dcb02352410cddd9e730ef3fa87";
const B_PRIVATE: &str = "f1ab1074477ebcc7f554ea1c5fc368b1616730155e0041ac447d6301975fecda";
const B_PUBLIC: &str = "0272da71976234ce833a6907425867b82e074d44ef907dfb4b3e21c1c2256ebcd1";
const B_PUBLIC_LONG: &str = "0472da71976234ce833a6907425867b82e074d44ef907dfb4b3e21c1c2256ebcd15a7ded52fcbb097a4ed250e036c7b9c8c7004c4eedc4f068cd7bf8d3f900e3b4";
const B_EPHEMERAL: &str = "99798858a1dc6a2c68637149a4b1dbfd1fdff5addd62a2142f06699ed7602529";
const B_OUTPUT: &str =
    "039aab8376597021e855679a9778ea0b67396e68c66df32c0f41e9acca2da9b9d146a33fc2716ac7dae96aa30a4d";
/// Annex C.4.2.1, null scheme: scheme output of the same IMSI.
const NULL_OUTPUT: &str = "00012080f6";

fn octets<const N: usize>(text: &str) -> [u8; N] {
    hex::decode(text).unwrap().try_into().unwrap()
}

fn imsi() -> Imsi {
    Imsi::from_digits("274012001002086", 3).unwrap()
}

fn home() -> HomeNetwork {
    let mut home = HomeNetwork::new(imsi().plmn(), true);
    home.add_key(27, PrivateKey::profile_a(octets(A_PRIVATE)));
    home.add_key(27, PrivateKey::profile_b(&octets(B_PRIVATE)).unwrap());
    home
}

fn identity(scheme: u8, key_id: u8, output: &str) -> Vec<u8> {
    let mut identity = vec![0x01, 0x72, 0x24, 0x10, 0xF0, 0xFF, scheme, key_id];
    identity.extend(hex::decode(output).unwrap());
    identity
}

#[test]
fn annex_c4_null_scheme() {
    let got = conceal(
        &imsi(),
        RoutingIndicator::default(),
        &Protection::Null,
        |_| {},
    )
    .unwrap();
    assert_eq!(got, identity(0, 0, NULL_OUTPUT));
    assert_eq!(home().reveal(&got), Ok(imsi()));
}

#[test]
fn annex_c4_profiles_a_and_b() {
    for (scheme, public, ephemeral, output) in [
        (1, A_PUBLIC, A_EPHEMERAL, A_OUTPUT),
        (2, B_PUBLIC, B_EPHEMERAL, B_OUTPUT),
    ] {
        let key = PublicKey::from_octets(&hex::decode(public).unwrap()).unwrap();
        let protection = Protection::Profile { key_id: 27, key };
        let got = conceal(&imsi(), RoutingIndicator::default(), &protection, |out| {
            out.copy_from_slice(&hex::decode(ephemeral).unwrap());
        });
        assert_eq!(got.unwrap(), identity(scheme, 27, output));
        assert_eq!(home().reveal(&identity(scheme, 27, output)), Ok(imsi()));
    }
}

#[test]
fn annex_c4_key_pairs() {
    let [a, b, long] = [A_PUBLIC, B_PUBLIC, B_PUBLIC_LONG]
        .map(|key| PublicKey::from_octets(&hex::decode(key).unwrap()).unwrap());
    assert_eq!(PrivateKey::profile_a(octets(A_PRIVATE)).public(), Ok(a));
    assert_eq!(
        PrivateKey::profile_b(&octets(B_PRIVATE)).unwrap().public(),
        Ok(b.clone())
    );
    assert_eq!(long, b);
}

#[test]
fn each_fault_has_its_error() {
    let reveal = |identity: &[u8]| home().reveal(identity).unwrap_err();
    assert_eq!(reveal(&[]), SuciError::Malformed);
    assert_eq!(
        reveal(&identity(1, 27, A_OUTPUT)[..7]),
        SuciError::Malformed
    );
    assert_eq!(reveal(&[0x02; 11]), SuciError::NotAnImsi(0x02));
    assert_eq!(reveal(&[0x11; 20]), SuciError::NotAnImsi(0x11));
    assert_eq!(
        reveal(&identity(3, 27, A_OUTPUT)),
        SuciError::UnknownScheme(3)
    );
    assert_eq!(
        reveal(&identity(15, 27, A_OUTPUT)),
        SuciError::UnknownScheme(15)
    );
    assert_eq!(
        reveal(&identity(1, 28, A_OUTPUT)),
        SuciError::WrongKeyId(28)
    );
    assert_eq!(
        reveal(&identity(0, 1, NULL_OUTPUT)),
        SuciError::WrongKeyId(1)
    );
    assert_eq!(reveal(&identity(0, 0, "")), SuciError::Msin);
    assert_eq!(reveal(&identity(0, 0, "0a")), SuciError::Msin);
    assert_eq!(reveal(&identity(0, 0, "00112233445566")), SuciError::Msin);
    let mut elsewhere = identity(1, 27, A_OUTPUT);
    elsewhere[1] = 0x00;
    assert!(matches!(reveal(&elsewhere), SuciError::WrongHomeNetwork(_)));
    elsewhere[1] = 0x0A;
    assert_eq!(reveal(&elsewhere), SuciError::Malformed);
    let strict = HomeNetwork::new(imsi().plmn(), false);
    assert_eq!(
        strict.reveal(&identity(0, 0, NULL_OUTPUT)),
        Err(SuciError::NullScheme)
    );
    assert_eq!(
        strict.reveal(&identity(1, 27, A_OUTPUT)),
        Err(SuciError::WrongKeyId(27))
    );
}

#[test]
fn every_flipped_bit_and_every_length_is_refused() {
    for (scheme, point_len, output) in [(1, 32, A_OUTPUT), (2, 33, B_OUTPUT)] {
        let good = identity(scheme, 27, output);
        for at in 8..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                let error = home().reveal(&bad).err();
                // X25519 ignores the top bit of a point; the KDF does not.
                let expected: &[_] = if at < 8 + point_len {
                    &[SuciError::BadMac, SuciError::Point]
                } else {
                    &[SuciError::BadMac]
                };
                assert!(
                    error.is_some_and(|e| expected.contains(&e)),
                    "{scheme} {at} {error:?}"
                );
            }
        }
        for len in 8..good.len() {
            let error = home().reveal(&good[..len]).unwrap_err();
            let expected = if len < 8 + point_len + 8 {
                SuciError::Malformed
            } else {
                SuciError::BadMac
            };
            assert_eq!(error, expected, "{scheme} {len}");
        }
    }
}

/// The points of small order of RFC 7748 curves, and their non-canonical forms.
#[test]
fn low_order_points_are_refused_on_both_sides() {
    let tail = "cb02352410cddd9e730ef3fa87";
    for point in [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ] {
        let got = home().reveal(&identity(1, 27, &format!("{point}{tail}")));
        assert_eq!(got, Err(SuciError::Point));
        let key = PublicKey::A(octets(point));
        let protection = Protection::Profile { key_id: 1, key };
        let got = conceal(&imsi(), RoutingIndicator::default(), &protection, |out| {
            out.fill(7)
        });
        assert_eq!(got, Err(SuciError::Point));
    }
    // Not a point; the point at infinity; the start of an uncompressed point.
    for point in [
        format!("02{}", "ff".repeat(32)),
        "00".repeat(33),
        B_PUBLIC_LONG[..66].to_owned(),
    ] {
        assert_eq!(
            home().reveal(&identity(2, 27, &format!("{point}{tail}"))),
            Err(SuciError::Point)
        );
    }
    let protection = Protection::Profile {
        key_id: 1,
        key: PublicKey::from_octets(&hex::decode(B_PUBLIC).unwrap()).unwrap(),
    };
    let got = conceal(&imsi(), RoutingIndicator::default(), &protection, |out| {
        out.fill(0)
    });
    assert_eq!(got, Err(SuciError::Point));
}

#[test]
fn msins_of_every_length_come_back() {
    let plmn = ambit_protocol::area::Plmn::new("001", "01").unwrap();
    let mut home = HomeNetwork::new(plmn, true);
    home.add_key(0, PrivateKey::profile_a([9; 32]));
    home.add_key(1, PrivateKey::profile_b(&[9; 32]).unwrap());
    let mut random = fastrand::Rng::with_seed(3);
    for len in 1..=10 {
        let imsi = Imsi::new(plmn, &"9876543210"[..len]).unwrap();
        for (key_id, key) in &home.keys {
            let protection = Protection::Profile {
                key_id: *key_id,
                key: key.public().unwrap(),
            };
            let suci = conceal(&imsi, "678".parse().unwrap(), &protection, |out| {
                random.fill(out)
            })
            .unwrap();
            assert_eq!(suci[4..6], [0x76, 0xF8]);
            assert_eq!(home.reveal(&suci), Ok(imsi.clone()));
        }
    }
    assert!(Imsi::new(plmn, "12345678901").is_err());
    assert!(Imsi::from_digits("2740120010020861", 3).is_err());
    assert_eq!(format!("{:?}", home.keys[0].1), "PrivateKey(ProfileA, ..)");
}
