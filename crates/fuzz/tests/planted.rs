//! Each target fails when the code under it has the defect that it looks for: a target that cannot fail is none.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::panic::{AssertUnwindSafe, catch_unwind};

use ambit_fuzz::defect::{Defect, plant};
use ambit_fuzz::{find, mutate::mutate};

#[test]
fn every_planted_defect_is_found_from_the_seeds() {
    // Panics are what is looked for: their messages would only hide the result.
    std::panic::set_hook(Box::new(|_| {}));
    let mut missed = Vec::new();
    for (defect, name) in Defect::ALL {
        let target = find(name).unwrap();
        let corpus: Vec<Vec<u8>> = (target.seeds)()
            .into_iter()
            .map(|(_, octets)| octets)
            .collect();
        let mut rng = fastrand::Rng::with_seed(1);
        let mutations = std::iter::repeat_with(|| mutate(&mut rng, &corpus, 4096)).take(500);
        let mut inputs = corpus.iter().cloned().chain(mutations);
        let fails = |input: &Vec<u8>| {
            let _planted = plant(defect);
            catch_unwind(AssertUnwindSafe(|| (target.run)(input))).is_err()
        };
        if !inputs.any(|input| fails(&input)) {
            missed.push(defect);
        }
    }
    let _ = std::panic::take_hook();
    assert_eq!(missed, []);
}
