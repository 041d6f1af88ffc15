//! A card in process: USIM sequence numbers over the AKA algorithms, shared between whoever holds a handle, so that a test
//! can look at it, set it back and put it into another device.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ambit_device::{AkaKeys, Authentication, CardFailed, Uicc};
use ambit_store::{SEQ_DELTA_MAX, SQN_MAX};
use ambit_uicc::Subscriber;
use ambit_uicc::suci::{Imsi, Protection, RoutingIndicator, conceal};

/// A card. Clones are handles to one and the same card.
#[derive(Clone)]
pub struct LabCard(Arc<Mutex<Card>>);

struct Card {
    imsi: Imsi,
    secrets: Subscriber,
    protection: Protection,
    /// The highest SEQ accepted with each IND (TS 33.102 annex C.2.2).
    seq_of_ind: [u64; 32],
    random: fastrand::Rng,
    seen: CardLog,
}

/// What a card was asked and how it answered.
#[derive(Clone, Debug, Default)]
pub struct CardLog {
    /// SQNs accepted, in order.
    pub accepted: Vec<u64>,
    /// Challenges answered with AUTS.
    pub sync_failures: u32,
    /// Challenges whose MAC was wrong.
    pub mac_failures: u32,
}

impl LabCard {
    /// A new card.
    pub fn new(imsi: Imsi, secrets: Subscriber, protection: Protection, seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Card {
            imsi,
            secrets,
            protection,
            seq_of_ind: [0; 32],
            random: fastrand::Rng::with_seed(seed),
            seen: CardLog::default(),
        })))
    }

    /// What it was asked so far.
    pub fn log(&self) -> CardLog {
        self.lock().seen.clone()
    }

    /// Sets the highest SEQ that it has accepted, for every IND.
    pub fn set_seq(&self, seq: u64) {
        self.lock().seq_of_ind = [seq.min(SQN_MAX >> 5); 32];
    }

    fn lock(&self) -> MutexGuard<'_, Card> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Uicc for LabCard {
    fn suci(&mut self, out: &mut [u8]) -> Result<usize, CardFailed> {
        let mut card = self.lock();
        let Card {
            imsi,
            protection,
            random,
            ..
        } = &mut *card;
        let fill = |octets: &mut [u8]| random.fill(octets);
        let suci = conceal(imsi, RoutingIndicator([0xF0, 0xFF]), protection, fill);
        let suci = suci.map_err(|_| CardFailed)?;
        out.get_mut(..suci.len())
            .ok_or(CardFailed)?
            .copy_from_slice(&suci);
        Ok(suci.len())
    }

    fn authenticate(
        &mut self,
        rand: &[u8; 16],
        autn: &[u8; 16],
    ) -> Result<Authentication, CardFailed> {
        let mut card = self.lock();
        let Some((vector, sqn, _)) = card.secrets.check_autn(rand, autn) else {
            card.seen.mac_failures += 1;
            return Ok(Authentication::MacFailure);
        };
        let [a, b, c, d, e, f] = sqn;
        let sqn = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        let (seq, ind) = (sqn >> 5, sqn & 31);
        let highest = card.seq_of_ind.iter().copied().max().unwrap_or(0);
        let of_ind = card.seq_of_ind.get_mut(ind as usize).ok_or(CardFailed)?;
        if seq > *of_ind && seq <= highest.saturating_add(SEQ_DELTA_MAX) {
            *of_ind = seq;
            card.seen.accepted.push(sqn);
            let keys = AkaKeys::new(vector.res.as_slice(), &vector.ck, &vector.ik);
            return keys.map(Authentication::Success).ok_or(CardFailed);
        }
        card.seen.sync_failures += 1;
        let [_, _, sqn_ms @ ..] = (highest << 5).to_be_bytes();
        let auts = card.secrets.auts(rand, &sqn_ms);
        Ok(Authentication::SyncFailure { auts })
    }
}
