//! The beacon chain in time: which epoch it is, and which RAND_n may be broadcast.
//!
//! The highest epoch ever issued is durable before its RAND_n leaves, and never goes back: a clock set back, or a period
//! changed, does not make an old RAND_n current again.

use ambit_adm_api::Beacons;
use ambit_protocol::RandN;
use ambit_protocol::chain::{self, BeaconChain, ELEMENT_OCTETS};
use ambit_store::{ChainRow, Store};
use zeroize::Zeroizing;

use crate::kek::{Kek, Purpose};
use crate::{AdmConfig, Entropy, OpenError};

pub(crate) struct BeaconSource {
    row: ChainRow,
    chain: Box<BeaconChain>,
    /// The newest RAND_n asked for: walking to it from a checkpoint is not free.
    newest: Option<RandN>,
    /// The oldest epoch whose reports are accepted, by what the store can know: see [`BeaconSource::at`].
    oldest: u32,
    /// The store has lost records: what they guarded must be out of force before anything is accepted again.
    is_doubted: bool,
    /// When it was last looked whether another process has begun an epoch or a chain.
    looked_ms: i64,
}

/// How often it is looked what other processes have begun, in ms.
const LOOK_MS: u64 = 1000;

impl BeaconSource {
    /// The network's newest chain, or a first one.
    pub(crate) fn open(
        config: &AdmConfig,
        store: &mut dyn Store,
        kek: &Kek,
        entropy: &mut Entropy,
        now_ms: i64,
    ) -> Result<Self, OpenError> {
        let row = match store.chain(config.snid.octets())? {
            Some(row) if row.period_s == config.period_s => row,
            // Epochs of another length need a chain of their own, beyond every epoch issued so far.
            Some(row) => start_chain(config, store, kek, entropy, now_ms, Some(row.epoch_issued))?,
            None => start_chain(config, store, kek, entropy, now_ms, None)?,
        };
        Self::of(config, row, kek)
    }

    /// Whether it is time to look what other processes have begun, or this one has to begin an epoch early.
    pub(crate) const fn is_time_to_look(&self, now_ms: i64) -> bool {
        self.is_doubted || now_ms.abs_diff(self.looked_ms) >= LOOK_MS
    }

    /// The beacons in force at `now_ms`.
    pub(crate) fn at(
        &mut self,
        config: &AdmConfig,
        store: &mut dyn Store,
        kek: &Kek,
        entropy: &mut Entropy,
        now_ms: i64,
    ) -> Result<Beacons, OpenError> {
        if self.is_time_to_look(now_ms) {
            self.looked_ms = now_ms;
            // A store that fails here fails at the records too, and there it counts.
            if let Ok(Some(row)) = store.chain(config.snid.octets()) {
                self.adopt(config, row, kek, now_ms)?;
            }
        }
        let mut epoch = self.epoch(now_ms);
        // Whether the epoch changed while no process was there to see it. The store may then be an older copy, put back,
        // that lacks the records of this epoch and of the one before: their reports would be accepted once more. So neither
        // is accepted, and the epoch after it, which nobody has heard yet, begins early.
        let is_unseen =
            self.is_doubted || (self.newest.is_none() && epoch > self.row.epoch_issued.into());
        epoch += u64::from(is_unseen);
        if epoch > u64::from(self.row.last_epoch) {
            let issued = Some(self.row.epoch_issued);
            let row = start_chain(config, store, kek, entropy, now_ms, issued)?;
            *self = Self::of(config, row, kek)?;
            epoch = self.epoch(now_ms);
        }
        let epoch = u32::try_from(epoch).map_err(|_| EPOCHS_OVER)?;
        if epoch > self.row.epoch_issued {
            store.chain_set_epoch(&self.row.snid, epoch)?;
            self.row.epoch_issued = epoch;
            self.is_doubted = false;
            if is_unseen {
                self.oldest = epoch;
            }
            // Another process may have gone further, or laid a new chain, before this one wrote.
            if let Some(row) = store.chain(config.snid.octets())? {
                self.adopt(config, row, kek, now_ms)?;
            }
        }
        let epoch = epoch.max(self.row.epoch_issued);
        let current = match self.newest {
            Some(rand_n) if rand_n.epoch() == epoch => rand_n,
            _ => self.chain.rand_n(epoch).ok_or(EPOCHS_OVER)?,
        };
        self.newest = Some(current);

        let start_ms = self.start_ms(epoch);
        let grace_ms = i64::from(config.grace_s) * 1000;
        // A clock set back does not lengthen the grace.
        let is_grace = now_ms.abs_diff(start_ms) < grace_ms.unsigned_abs();
        let previous = epoch
            .checked_sub(1)
            .filter(|before| is_grace && *before >= self.oldest)
            .map(|before| {
                let element = chain::step(&current.element(), epoch, &config.snid);
                let grace_until_ms = start_ms.saturating_add(grace_ms);
                (RandN::new(before, element), grace_until_ms)
            });
        Ok(Beacons {
            current,
            current_until_ms: self.start_ms(epoch.saturating_add(1)),
            previous,
        })
    }

    /// The highest epoch issued.
    pub(crate) const fn issued(&self) -> u32 {
        self.row.epoch_issued
    }

    /// Lets the next epoch begin at once, and nothing before it count: the store has lost records, so reports that were
    /// accepted might be accepted again.
    pub(crate) const fn doubt(&mut self) {
        self.is_doubted = true;
    }

    /// Whether it is so, and the next epoch has not begun yet.
    pub(crate) const fn is_doubted(&self) -> bool {
        self.is_doubted
    }

    /// Follows what another process has begun. One that began an epoch early had reason to distrust those before.
    fn adopt(
        &mut self,
        config: &AdmConfig,
        row: ChainRow,
        kek: &Kek,
        now_ms: i64,
    ) -> Result<(), OpenError> {
        if row.first_epoch != self.row.first_epoch || row.seed_wrapped != self.row.seed_wrapped {
            if row.epoch_issued > self.row.epoch_issued {
                let looked_ms = self.looked_ms;
                *self = Self::of(config, row, kek)?;
                self.looked_ms = looked_ms;
            }
        } else if row.epoch_issued > self.row.epoch_issued {
            self.row.epoch_issued = row.epoch_issued;
            if now_ms < self.start_ms(row.epoch_issued) {
                self.oldest = row.epoch_issued;
            }
        }
        Ok(())
    }

    /// RAND_n of an epoch that is over: `None` while reports under it may still be accepted, `Some(None)` when it belongs to
    /// an earlier chain.
    pub(crate) fn past(&self, epoch: u32) -> Option<Option<RandN>> {
        let is_over = u64::from(epoch) + 1 < u64::from(self.row.epoch_issued);
        is_over.then(|| self.chain.rand_n(epoch))
    }

    /// The RAND_n after the current one, ahead of its time; `None` at the end of the chain. It must not leave.
    pub(crate) fn after(&self, current: &RandN) -> Option<RandN> {
        self.chain.rand_n(current.epoch().checked_add(1)?)
    }

    fn of(config: &AdmConfig, row: ChainRow, kek: &Kek) -> Result<Self, OpenError> {
        let purpose = Purpose::ChainSeed {
            snid: &row.snid,
            last_epoch: row.last_epoch,
        };
        let seed = kek.unwrap::<ELEMENT_OCTETS>(&purpose, &row.seed_wrapped)?;
        let first = row.first_epoch;
        let chain = Box::new(BeaconChain::new(config.snid, &seed, first, row.last_epoch));
        Ok(Self {
            oldest: row.epoch_issued.saturating_sub(1).max(first),
            row,
            chain,
            newest: None,
            is_doubted: false,
            looked_ms: i64::MIN,
        })
    }

    /// The epoch of a time, never below the highest one issued.
    fn epoch(&self, now_ms: i64) -> u64 {
        let since_ms = now_ms.saturating_sub(self.row.origin_unix_s.saturating_mul(1000));
        let periods = u64::try_from(since_ms / 1000).unwrap_or(0) / u64::from(self.row.period_s);
        let by_clock = u64::from(self.row.first_epoch).saturating_add(periods);
        by_clock.max(self.row.epoch_issued.into())
    }

    fn start_ms(&self, epoch: u32) -> i64 {
        let periods = i64::from(epoch) - i64::from(self.row.first_epoch);
        let since_s = periods.saturating_mul(self.row.period_s.into());
        let unix_s = self.row.origin_unix_s.saturating_add(since_s);
        unix_s.saturating_mul(1000)
    }
}

const EPOCHS_OVER: OpenError = OpenError::Config {
    field: "epoch",
    rule: "must stay below 2^32",
};

/// Lays a new chain from a fresh seed and makes it durable. Its first epoch is now's count of periods since 1970, or the
/// one after the last epoch issued, whichever is later.
fn start_chain(
    config: &AdmConfig,
    store: &mut dyn Store,
    kek: &Kek,
    entropy: &mut Entropy,
    now_ms: i64,
    issued: Option<u32>,
) -> Result<ChainRow, OpenError> {
    let period_s = i64::from(config.period_s);
    let periods = (now_ms / 1000).max(0) / period_s;
    let by_clock = u32::try_from(periods).map_err(|_| EPOCHS_OVER)?;
    let first_epoch = match issued {
        Some(issued) => by_clock.max(issued.checked_add(1).ok_or(EPOCHS_OVER)?),
        None => by_clock,
    };
    let last_epoch = first_epoch
        .checked_add(config.chain_epochs)
        .ok_or(EPOCHS_OVER)?;

    let mut seed = Zeroizing::new([0; ELEMENT_OCTETS]);
    entropy(&mut *seed)?;
    let snid = *config.snid.octets();
    let purpose = Purpose::ChainSeed {
        snid: &snid,
        last_epoch,
    };
    let row = ChainRow {
        snid,
        seed_wrapped: kek.wrap(&purpose, &*seed, entropy)?,
        first_epoch,
        last_epoch,
        period_s: config.period_s,
        origin_unix_s: periods.saturating_mul(period_s),
        epoch_issued: first_epoch,
    };
    store.chain_insert(&row)?;
    // That of another process, if it was faster.
    Ok(store.chain(&snid)?.unwrap_or(row))
}
