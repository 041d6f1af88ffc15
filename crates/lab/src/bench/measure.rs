//! Rounds and what they come to.

use std::time::{Duration, Instant};

use serde::Serialize;

/// A value over rounds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Sample {
    /// Half of the rounds are below.
    pub median: f64,
    /// A tenth of the rounds is below.
    pub low: f64,
    /// A tenth of the rounds is above.
    pub high: f64,
    /// Rounds.
    pub rounds: usize,
}

impl Sample {
    pub(super) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |part: f64| {
            let place = (values.len().saturating_sub(1) as f64 * part).round() as usize;
            values.get(place).copied().unwrap_or_default()
        };
        Self {
            median: at(0.5),
            low: at(0.1),
            high: at(0.9),
            rounds: values.len(),
        }
    }

    /// A value that was measured once.
    pub(super) const fn one(value: f64) -> Self {
        Self {
            median: value,
            low: value,
            high: value,
            rounds: 1,
        }
    }

    /// Values per second from ns for `count` of them.
    pub(super) fn rate(self, count: usize) -> Self {
        let rate = |ns: f64| count as f64 * 1e9 / ns;
        Self {
            median: rate(self.median),
            low: rate(self.high),
            high: rate(self.low),
            rounds: self.rounds,
        }
    }

    pub(super) fn divided_by(self, count: usize) -> Self {
        let count = count as f64;
        Self {
            median: self.median / count,
            low: self.low / count,
            high: self.high / count,
            rounds: self.rounds,
        }
    }
}

/// How long one pair of figures is measured, and in how many rounds at least.
const BUDGET: Duration = Duration::from_millis(800);
const ROUNDS_MIN: usize = 5;

/// ns a call of each, in alternating rounds of `times` calls.
pub(super) fn alternate(
    times: usize,
    mut run: impl FnMut(),
    mut limit: impl FnMut(),
) -> (Sample, Sample) {
    let (mut here, mut bare) = (Vec::new(), Vec::new());
    let began = Instant::now();
    while here.len() < ROUNDS_MIN || began.elapsed() < BUDGET {
        here.push(round(times, &mut run));
        bare.push(round(times, &mut limit));
    }
    (Sample::of(here), Sample::of(bare))
}

fn round(times: usize, f: &mut impl FnMut()) -> f64 {
    let began = Instant::now();
    for _ in 0..times {
        f();
    }
    began.elapsed().as_nanos() as f64 / times as f64
}
