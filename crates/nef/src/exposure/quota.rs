//! How much an AF may ask for, and how often somebody may try to be one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ambit_adm_api::AfAccount;
use ambit_sbi::problem::Problem;

/// Wrong secrets from one address at once, and how long it takes until one more is allowed.
const GUESSES: u32 = 10;
const GUESS_EVERY: Duration = Duration::from_secs(6);

/// Addresses remembered at most; beyond, those that have done nothing wrong for long are let go, then all share one place.
const ADDRESSES_MAX: usize = 4096;

/// What is there fills up with time.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// When it was, or would have been, full but for what was taken since: the later, the emptier.
    full_at: Instant,
}

impl Bucket {
    const fn full(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// Takes one of `size`, each of which takes `each` to come back.
    ///
    /// # Errors
    /// How long until there is one.
    fn take(&mut self, now: Instant, size: u32, each: Duration) -> Result<(), Duration> {
        let full_at = self.full_at.max(now) + each;
        let missing = full_at.duration_since(now);
        let room = each.saturating_mul(size);
        match missing.checked_sub(room) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => {
                self.full_at = full_at;
                Ok(())
            }
        }
    }

    /// How long until there is one of `size`, if there is none.
    fn wait(&self, now: Instant, size: u32, each: Duration) -> Option<Duration> {
        let mut copy = *self;
        copy.take(now, size, each).err()
    }
}

/// Streams read by all AFs together, at most.
const STREAMS_MAX: u32 = 192;

/// The quotas of all AFs.
#[derive(Debug, Default)]
pub(super) struct Quotas {
    requests: Mutex<HashMap<String, Bucket>>,
    open: Places,
    streams: Places,
}

/// How many of something each AF has.
type Places = Arc<Mutex<HashMap<String, u32>>>;

/// A place among an AF's open inventories, or its streams; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Open {
    af: String,
    all: Places,
}

impl Quotas {
    /// Lets one more request of an AF pass.
    ///
    /// # Errors
    /// 429 with the time to wait.
    pub(super) fn pass(&self, account: &AfAccount) -> Result<(), Problem> {
        let quota = account.authorization.quota;
        let now = Instant::now();
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        // AFs are few, but they come and go.
        if requests.len() >= ADDRESSES_MAX {
            requests.retain(|_, bucket| bucket.full_at > now);
        }
        let bucket = requests
            .entry(account.name.clone())
            .or_insert_with(|| Bucket::full(now));
        let each = Duration::from_secs(1) / quota.rate.max(1);
        bucket.take(now, quota.burst, each).map_err(|wait| {
            let rule = format!(
                "the AF's quota is {} requests a second, {} at once",
                quota.rate, quota.burst
            );
            exceeded(rule, wait)
        })
    }

    /// Opens one more inventory of an AF.
    ///
    /// # Errors
    /// 429.
    pub(super) fn open(&self, account: &AfAccount) -> Result<Open, Problem> {
        let most = account.authorization.quota.inventories;
        take(&self.open, &account.name, most, u32::MAX).ok_or_else(|| {
            let rule = format!("the AF's quota is {most} inventories and commands under way");
            exceeded(rule, Duration::from_secs(5))
        })
    }

    /// Opens one more stream of an AF: as many as it may have subscriptions.
    ///
    /// # Errors
    /// 429.
    pub(super) fn stream(&self, account: &AfAccount) -> Result<Open, Problem> {
        let most = account.authorization.quota.subscriptions;
        take(&self.streams, &account.name, most, STREAMS_MAX).ok_or_else(|| {
            let rule = format!(
                "the AF's quota is {most} streams at once, and that of all AFs {STREAMS_MAX}"
            );
            exceeded(rule, Duration::from_secs(5))
        })
    }
}

/// Takes one more place, of an AF's and of all.
fn take(places: &Places, af: &str, most: u32, most_of_all: u32) -> Option<Open> {
    let mut taken = places.lock().unwrap_or_else(PoisonError::into_inner);
    let of_all = taken.values().fold(0, |sum: u32, n| sum.saturating_add(*n));
    let of_af = taken.get(af).copied().unwrap_or(0);
    if of_af >= most || of_all >= most_of_all {
        return None;
    }
    taken.insert(af.to_owned(), of_af + 1);
    Some(Open {
        af: af.to_owned(),
        all: Arc::clone(places),
    })
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut open = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.af) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.remove(&self.af);
            }
        }
    }
}

/// Wrong secrets, by the address they came from.
#[derive(Debug, Default)]
pub(super) struct Guesses(Mutex<HashMap<Option<IpAddr>, Bucket>>);

impl Guesses {
    /// Whether an address may try. What it tries is not looked at otherwise: not even the right secret tells it anything.
    ///
    /// # Errors
    /// 429 with the time to wait.
    pub(super) fn may_try(&self, address: Option<IpAddr>) -> Result<(), Problem> {
        let now = Instant::now();
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = known.get(&place(address)).or_else(|| known.get(&None));
        match bucket.and_then(|bucket| bucket.wait(now, GUESSES, GUESS_EVERY)) {
            Some(wait) => Err(exceeded(
                "too many wrong secrets from this address".into(),
                wait,
            )),
            None => Ok(()),
        }
    }

    /// Notes a wrong one.
    pub(super) fn wrong(&self, address: Option<IpAddr>) {
        let now = Instant::now();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = place(address);
        if known.len() >= ADDRESSES_MAX && !known.contains_key(&key) {
            known.retain(|_, bucket| bucket.full_at > now);
            if known.len() >= ADDRESSES_MAX {
                key = None;
            }
        }
        let bucket = known.entry(key).or_insert_with(|| Bucket::full(now));
        let _ = bucket.take(now, GUESSES, GUESS_EVERY);
    }
}

/// Of an IPv6 address the first 64 bits: the rest is its owner's choice.
fn place(address: Option<IpAddr>) -> Option<IpAddr> {
    address.map(|address| match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        v4 => v4,
    })
}

pub(super) fn exceeded(rule: String, wait: Duration) -> Problem {
    let mut problem = Problem::overload(1);
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    problem.retry_after_s = Some(u32::try_from(seconds).unwrap_or(u32::MAX).max(1));
    problem.cause = "QUOTA_EXCEEDED";
    problem.detail = rule;
    problem
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_at_once_and_then_its_rate() {
        let start = Instant::now();
        let each = Duration::from_millis(100);
        let mut bucket = Bucket::full(start);
        let taken = (0..50).filter(|_| bucket.take(start, 5, each).is_ok());
        assert_eq!(taken.count(), 5);
        let wait = bucket.take(start, 5, each).unwrap_err();
        assert_eq!(wait, each);
        assert!(bucket.take(start + wait, 5, each).is_ok());
        assert!(bucket.take(start + wait, 5, each).is_err());
        // Never more than the burst, however long it was left alone; refusals cost nothing.
        let later = start + Duration::from_secs(1000);
        let taken = (0..50).filter(|_| bucket.take(later, 5, each).is_ok());
        assert_eq!(taken.count(), 5);
    }

    #[test]
    fn wrong_secrets_are_counted_by_address_and_a_flood_of_addresses_is_bounded() {
        let guesses = Guesses::default();
        let at = |n: u32| Some(IpAddr::V4(n.into()));
        for _ in 0..GUESSES {
            guesses.may_try(at(1)).unwrap();
            guesses.wrong(at(1));
        }
        let refused = guesses.may_try(at(1)).unwrap_err();
        assert_eq!((refused.status, refused.cause), (429, "QUOTA_EXCEEDED"));
        assert!((1..=6).contains(&refused.retry_after_s.unwrap()));
        assert!(guesses.may_try(at(2)).is_ok());
        let mine: IpAddr = "2001:db8::1".parse().unwrap();
        let also_mine: IpAddr = "2001:db8::ffff:2".parse().unwrap();
        for _ in 0..GUESSES {
            guesses.wrong(Some(mine));
        }
        assert!(guesses.may_try(Some(also_mine)).is_err());
        for n in 0..3 * u32::try_from(ADDRESSES_MAX).unwrap() {
            guesses.wrong(at(1000 + n));
        }
        assert!(guesses.0.lock().unwrap().len() <= ADDRESSES_MAX + 1);
        assert!(guesses.may_try(at(1)).is_err(), "not forgotten for others");
    }
}
