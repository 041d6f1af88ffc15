//! The budget of the population search: token buckets per reader and for the network, counted in PRF evaluations, so that
//! junk at one reader starves neither table lookups nor other readers (section 9).

use std::collections::HashMap;

use crate::AdmConfig;

/// Readers remembered at most. Beyond, readers share one bucket: bounded, and no worse than a reader that is flooded.
const READERS_MAX: usize = 4096;

pub(crate) struct SearchBudget {
    network: Bucket,
    reader_rate: f64,
    readers: HashMap<(u32, u16), Bucket>,
    shared: Bucket,
}

impl SearchBudget {
    pub(crate) fn new(config: &AdmConfig) -> Self {
        let network = config.search_prf_per_s_max as f64;
        let reader_rate = network * f64::from(config.search_reader_share_percent) / 100.0;
        Self {
            network: Bucket::new(network),
            reader_rate,
            readers: HashMap::new(),
            shared: Bucket::new(reader_rate),
        }
    }

    /// Takes one search of `cost` evaluations for a reader; false when there is no budget left.
    pub(crate) fn take(&mut self, reader: (u32, u16), cost: usize, now_ms: i64) -> bool {
        let cost = cost.max(1) as f64;
        let reader = if self.readers.contains_key(&reader) || self.readers.len() < READERS_MAX {
            let rate = self.reader_rate;
            self.readers
                .entry(reader)
                .or_insert_with(|| Bucket::new(rate))
        } else {
            &mut self.shared
        };
        reader.refill(now_ms, cost);
        self.network.refill(now_ms, cost);
        if reader.tokens >= cost && self.network.tokens >= cost {
            reader.tokens -= cost;
            self.network.tokens -= cost;
            true
        } else {
            false
        }
    }

    /// About how long it takes one reader's share to come to so many evaluations.
    pub(crate) fn refill_ms(&self, cost: usize) -> u32 {
        let ms = cost as f64 * 1000.0 / self.reader_rate.max(1.0);
        ms.clamp(10.0, 60_000.0) as u32
    }
}

struct Bucket {
    rate_per_s: f64,
    tokens: f64,
    /// The dearest search so far.
    cost_max: f64,
    refilled_ms: Option<i64>,
}

impl Bucket {
    fn new(rate_per_s: f64) -> Self {
        Self {
            rate_per_s,
            tokens: 0.0,
            cost_max: 0.0,
            refilled_ms: None,
        }
    }

    /// Holds one second's worth, but never less than two of the dearest searches: a large population must not lock itself
    /// out, and cheap searches of a small one must not spill what it saves.
    fn refill(&mut self, now_ms: i64, cost: f64) {
        self.cost_max = self.cost_max.max(cost);
        let capacity = self.rate_per_s.max(2.0 * self.cost_max);
        self.tokens = match self.refilled_ms {
            None => capacity,
            Some(before) => {
                let elapsed_s = now_ms.saturating_sub(before).max(0) as f64 / 1000.0;
                (self.tokens + elapsed_s * self.rate_per_s).min(capacity)
            }
        };
        // Also when the clock was set back: else nothing would be refilled until it has caught up.
        self.refilled_ms = Some(now_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ambit_protocol::Snid;
    use ambit_protocol::area::Plmn;

    #[test]
    fn a_flooded_reader_leaves_the_other_its_share() {
        let snid = Snid::new(Plmn::new("001", "01").unwrap(), None);
        let config = AdmConfig {
            search_prf_per_s_max: 1000,
            ..AdmConfig::new(snid)
        };
        let mut budget = SearchBudget::new(&config);
        let mut taken = [0; 2];
        for ms in 0..10_000 {
            taken[0] += u32::from(budget.take((1, 1), 10, ms));
            if ms % 100 == 0 {
                taken[1] += u32::from(budget.take((1, 2), 10, ms));
            }
        }
        // Reader 1 asks for ten times its share (500 PRF/s, 50 searches/s) and gets it; reader 2 gets all it asks for.
        assert!((500..=560).contains(&taken[0]), "{taken:?}");
        assert_eq!(taken[1], 100);
    }

    #[test]
    fn a_search_dearer_than_the_rate_still_comes_through() {
        let snid = Snid::new(Plmn::new("001", "01").unwrap(), None);
        let config = AdmConfig {
            search_prf_per_s_max: 10,
            ..AdmConfig::new(snid)
        };
        let mut budget = SearchBudget::new(&config);
        assert!(budget.take((1, 1), 1000, 0));
        assert!(budget.take((1, 1), 1000, 1));
        assert!(!budget.take((1, 1), 1000, 2));
        assert!(budget.take((1, 1), 1000, 200_010));
    }

    #[test]
    fn cheap_searches_do_not_keep_a_dear_one_out() {
        let snid = Snid::new(Plmn::new("001", "01").unwrap(), None);
        let config = AdmConfig {
            search_prf_per_s_max: 10,
            ..AdmConfig::new(snid)
        };
        let mut budget = SearchBudget::new(&config);
        while budget.take((1, 1), 1000, 0) {}
        let served = (0..1_000)
            .filter(|s| {
                budget.take((1, 1), 1, s * 1000);
                budget.take((1, 1), 1000, s * 1000 + 1)
            })
            .count();
        assert!(served >= 3, "{served}");
    }
}
