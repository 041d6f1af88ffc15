//! The published test sets, walked row by row.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use super::*;

fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(',').collect())
}

fn octets<const N: usize>(text: &str) -> [u8; N] {
    hex::decode(text).unwrap().try_into().unwrap()
}

/// TS 35.208 clause 4.3 and TS 35.207.
#[test]
fn milenage_test_sets() {
    let mut count = 0;
    for row in rows(include_str!("../../vectors/milenage.csv")) {
        let [
            set,
            k,
            rand,
            sqn,
            amf,
            op,
            opc,
            f1,
            f1_star,
            f2,
            f5,
            f3,
            f4,
            f5_star,
        ] = row[..]
        else {
            panic!("columns");
        };
        let (rand, sqn, amf) = (octets(rand), octets(sqn), octets(amf));
        let subscriber =
            Subscriber::from_op(Algorithm::Milenage, &octets::<16>(k), &octets::<16>(op)).unwrap();
        assert_eq!(hex::encode(subscriber.expose_opc()), opc, "set {set}");
        let vector = subscriber.vector(&rand, &sqn, &amf);
        let got = [
            hex::encode(vector.mac_a),
            hex::encode(vector.res.as_slice()),
            hex::encode(vector.ck),
            hex::encode(vector.ik),
            hex::encode(vector.ak),
        ];
        assert_eq!(got, [f1, f2, f3, f4, f5], "set {set}");
        // The table has f1* with the set's AMF, not with the AMF of a resynchronisation.
        let (mac_s, ak_star) = subscriber.milenage_keyed(&rand).resync(&sqn, &amf);
        assert_eq!(
            [hex::encode(mac_s), hex::encode(ak_star)],
            [f1_star, f5_star],
            "set {set}"
        );
        both_ends_agree(&subscriber, &rand, &sqn, &amf);
        count += 1;
    }
    assert_eq!(count, 20);
}

/// TS 35.233 clauses 6.3 to 6.8, with every output length of the sets.
#[test]
fn tuak_test_sets() {
    let mut count = 0;
    for row in rows(include_str!("../../vectors/tuak.csv")) {
        let [
            set,
            k,
            rand,
            sqn,
            amf,
            top,
            iterations,
            topc,
            f1,
            f1_star,
            f2,
            f3,
            f4,
            f5,
            f5_star,
        ] = row[..]
        else {
            panic!("columns");
        };
        let k = hex::decode(k).unwrap();
        let (rand, sqn, amf) = (octets(rand), octets(sqn), octets(amf));
        let iterations = iterations.parse().unwrap();
        let res = match f2.len() / 2 {
            4 => TuakRes::Octets4,
            8 => TuakRes::Octets8,
            _ => TuakRes::Octets16,
        };
        let algorithm = Algorithm::Tuak { iterations, res };
        let subscriber = Subscriber::from_op(algorithm, &k, &octets::<32>(top)).unwrap();
        assert_eq!(hex::encode(subscriber.expose_opc()), topc, "set {set}");

        let tuak = subscriber.tuak();
        let filled = |expected: &str, fill: &dyn Fn(&mut [u8])| {
            let mut out = vec![0; expected.len() / 2];
            fill(&mut out);
            assert_eq!(hex::encode(out), expected, "set {set}");
        };
        filled(f1, &|mac| tuak.f1(&rand, (&sqn, &amf), mac));
        filled(f1_star, &|mac| tuak.f1_star(&rand, (&sqn, &amf), mac));
        let [mut res, mut ck, mut ik] = [f2, f3, f4].map(|hex| vec![0; hex.len() / 2]);
        let (mut ak, mut ak_star) = ([0; 6], [0; 6]);
        tuak.f2345(&rand, &mut res, &mut ck, &mut ik, &mut ak);
        tuak.f5_star(&rand, &mut ak_star);
        let got = [&res[..], &ck, &ik, &ak, &ak_star].map(hex::encode);
        assert_eq!(got, [f2, f3, f4, f5, f5_star], "set {set}");
        both_ends_agree(&subscriber, &rand, &sqn, &amf);
        count += 1;
    }
    assert_eq!(count, 6);
}

/// TUAK sets 1 (RES 32 bits) and 4 lie within what [`Subscriber`] offers; their f2 to f5 come out of `vector` as well.
#[test]
fn tuak_vector_is_that_of_the_test_sets() {
    for row in rows(include_str!("../../vectors/tuak.csv")).filter(|row| row[0] == "1") {
        let algorithm = Algorithm::Tuak {
            iterations: 1,
            res: TuakRes::Octets4,
        };
        let subscriber =
            Subscriber::new(algorithm, &octets::<16>(row[1]), &octets::<32>(row[7])).unwrap();
        let vector = subscriber.vector(&octets(row[2]), &octets(row[3]), &octets(row[4]));
        let got = [
            &vector.mac_a[..],
            vector.res.as_slice(),
            &vector.ck,
            &vector.ik,
            &vector.ak,
        ]
        .map(hex::encode);
        assert_eq!(got, [row[8], row[10], row[11], row[12], row[13]]);
    }
}

fn both_ends_agree(subscriber: &Subscriber, rand: &[u8; 16], sqn: &[u8; 6], amf: &[u8; 2]) {
    let autn = subscriber.autn(rand, sqn, amf);
    let (_, sqn_seen, amf_seen) = subscriber.check_autn(rand, &autn).unwrap();
    assert_eq!((&sqn_seen, &amf_seen), (sqn, amf));
    let auts = subscriber.auts(rand, sqn);
    assert_eq!(subscriber.check_auts(rand, &auts), Some(*sqn));
    for bit in 0..128 {
        let mut bad = autn;
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(subscriber.check_autn(rand, &bad).is_none());
    }
    for bit in 0..112 {
        let mut bad = auts;
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(subscriber.check_auts(rand, &bad).is_none());
    }
}

#[test]
fn parameters_of_wrong_length_are_refused_and_nothing_is_printed() {
    let tuak = Algorithm::Tuak {
        iterations: 0,
        res: TuakRes::Octets8,
    };
    let refused = |algorithm, k: &[u8], opc: &[u8]| Subscriber::new(algorithm, k, opc).err();
    assert_eq!(
        refused(tuak, &[0; 16], &[0; 32]),
        Some(ParameterError::Iterations)
    );
    assert_eq!(
        refused(Algorithm::Milenage, &[0; 32], &[0; 16]),
        Some(ParameterError::K)
    );
    assert_eq!(
        refused(Algorithm::Milenage, &[0; 16], &[0; 32]),
        Some(ParameterError::Opc)
    );
    let subscriber = Subscriber::milenage(&[0xAB; 16], &[0xCD; 16]);
    let vector = subscriber.vector(&[0; 16], &[0; 6], &[0; 2]);
    let printed = format!("{subscriber:?} {vector:?} {:?}", vector.res);
    assert_eq!(printed, "Subscriber(Milenage, ..) AkaVector(..) Res(..)");
}
