//! Checkpoints: the ADM signs, from time to time, how far the store's evidence chain has come. Whoever can write to the
//! store but has no KEK cannot make one, so records that a checkpoint covers cannot be altered, taken out or put in.

use ambit_protocol::wire::{MessageType, TagLen, header};
use ambit_protocol::{AreaId, Form, KAiotf, RandN, schedule, seal};
use ambit_store::{CheckpointRow, RecordRow, Store};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use zeroize::Zeroizing;

use crate::kek::{Kek, Purpose};
use crate::{Adm, Entropy, OpenError};

/// Names of the key's two halves in the store.
const PRIVATE: &str = "evidence_key";
const PUBLIC: &str = "evidence_public_key";

/// Records since the last checkpoint after which the next one does not wait for its time: it bounds what an auditor has to
/// be shown of a busy network.
const RECORDS_MAX: i64 = 4096;

/// The signing key, and how far it has signed.
pub(crate) struct Evidence {
    key: SigningKey,
    interval_ms: u64,
    signed: Option<CheckpointRow>,
}

impl Evidence {
    /// The store's key; made at the first start.
    pub(crate) fn open(
        store: &mut dyn Store,
        kek: &Kek,
        entropy: &mut Entropy,
        interval_s: u32,
    ) -> Result<Self, OpenError> {
        let secret = match store.meta(PRIVATE)? {
            Some(wrapped) => kek.unwrap::<32>(&Purpose::EvidenceKey, &wrapped)?,
            None => {
                let mut secret = Zeroizing::new([0; 32]);
                entropy(&mut *secret)?;
                let wrapped = kek.wrap(&Purpose::EvidenceKey, &*secret, entropy)?;
                // One key for all processes that share the store: the first one's.
                let wrapped = store.meta_init(PRIVATE, &wrapped)?;
                kek.unwrap::<32>(&Purpose::EvidenceKey, &wrapped)?
            }
        };
        let key = SigningKey::from_bytes(&secret);
        // Beside the private half, for those who have no KEK. Put right here if a crash, or somebody, left it otherwise.
        let public = key.verifying_key().to_bytes();
        if store.meta(PUBLIC)?.as_deref() != Some(&public[..]) {
            store.meta_set(PUBLIC, &public)?;
        }
        let mut signed = None;
        // One further back is as good as none: the next is due.
        let recent = store.evidence_head()?.record.saturating_sub(RECORDS_MAX);
        store.checkpoints_for_each(recent, &mut |checkpoint| {
            signed = Some(checkpoint);
            std::ops::ControlFlow::Continue(())
        })?;
        Ok(Self {
            key,
            interval_ms: u64::from(interval_s) * 1000,
            signed,
        })
    }

    /// Signs where the chain stands, if records have come since the last checkpoint and it is time for one, or `now`.
    fn sign(
        &mut self,
        store: &mut dyn Store,
        now_ms: i64,
        now: bool,
    ) -> Result<Option<CheckpointRow>, OpenError> {
        let head = store.evidence_head()?;
        let (record, time_ms) = self.signed.map_or((0, 0), |s| (s.record, s.time_ms));
        // Lower after a restore: then the chain has another continuation, which is signed as it is.
        let is_new = head.record > 0 && head.record != record;
        let is_due = (head.record - record).abs() >= RECORDS_MAX
            || now_ms.abs_diff(time_ms) >= self.interval_ms;
        if !is_new || !(is_due || now) {
            return Ok(None);
        }
        let mut checkpoint = CheckpointRow {
            record: head.record,
            link: head.link,
            time_ms: now_ms,
            signature: [0; 64],
        };
        checkpoint.signature = self.key.sign(&checkpoint.signed_octets()).to_bytes();
        store.checkpoint_insert(&checkpoint)?;
        self.signed = Some(checkpoint);
        Ok(self.signed)
    }
}

/// The public key with which the checkpoints of a store verify, as far as the store itself says. `None` before the first
/// start of a core.
///
/// # Errors
/// The store's.
pub fn public_key(store: &mut dyn Store) -> Result<Option<[u8; 32]>, OpenError> {
    Ok(store.meta(PUBLIC)?.and_then(|key| key.try_into().ok()))
}

/// Whether a checkpoint's signature is by this key.
pub fn is_signed(checkpoint: &CheckpointRow, public_key: &[u8; 32]) -> bool {
    VerifyingKey::from_bytes(public_key).is_ok_and(|key| {
        let signature = Signature::from_bytes(&checkpoint.signature);
        key.verify_strict(&checkpoint.signed_octets(), &signature)
            .is_ok()
    })
}

/// What shows that a record's TAG1 was made with the device's key, without showing that key: the integrity key of this one
/// exchange, under which anybody can compute the tag again. Nothing of another exchange follows from it.
#[derive(Debug)]
pub struct TagProof {
    /// The device's suite.
    pub suite: u8,
    /// The report's header octet.
    pub header: u8,
    /// KI of the exchange.
    pub integrity_key: [u8; 16],
}

/// Why there is no proof of a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoTagProof {
    /// The key might still be of use to somebody.
    #[error("the record's epoch is still in force; ask again later")]
    EpochInForce,
    /// K_AIOTF of a registration hangs on RAND, which is not kept.
    #[error("the record came with a UICC registration, whose RAND is not kept")]
    Registration,
    /// The RAND_n of the record is of a chain that is no longer the network's.
    #[error("the record's RAND_n belongs to an earlier beacon chain")]
    EarlierChain,
    /// The device has another key now, or the record was altered.
    #[error("the tag does not verify: the device has another key since, or the record was altered")]
    OtherKey,
}

impl Adm {
    /// Signs where the evidence chain stands. `None` if no record has come since the last checkpoint.
    ///
    /// # Errors
    /// [`OpenError::Store`].
    pub fn checkpoint(&mut self, now_ms: i64) -> Result<Option<CheckpointRow>, OpenError> {
        self.evidence.sign(self.store.get(), now_ms, true)
    }

    /// Signs if it is time. A store that fails is asked again at the next tick.
    pub(crate) fn checkpoint_if_due(&mut self, now_ms: i64) {
        let _ = self.evidence.sign(self.store.get(), now_ms, false);
    }

    /// The proof of a record's tag.
    ///
    /// # Errors
    /// [`NoTagProof`].
    pub fn tag_proof(&self, record: &RecordRow) -> Result<TagProof, NoTagProof> {
        let form = Form::from_number(record.form).ok_or(NoTagProof::Registration)?;
        let input = match form {
            Form::Aka => return Err(NoTagProof::Registration),
            Form::Blind => schedule::blind_k_aiotf(record.counter.unwrap_or_default()),
            Form::Beacon | Form::Concealed | Form::Counter | Form::Recovery => {
                let rand_n = self
                    .beacons
                    .past(record.epoch)
                    .ok_or(NoTagProof::EpochInForce)?
                    .ok_or(NoTagProof::EarlierChain)?;
                k_aiotf_input(form, &rand_n, record).ok_or(NoTagProof::OtherKey)?
            }
        };
        let (_, device) = self
            .registry
            .of_row(record.device)
            .ok_or(NoTagProof::OtherKey)?;
        let tag_len = TagLen::from_octets(record.tag1.len()).ok_or(NoTagProof::OtherKey)?;
        let k_aiotf = KAiotf::new(device.evaluate(&input).ok_or(NoTagProof::OtherKey)?);
        let integrity_key = seal::integrity_key(device.suite, &k_aiotf);
        let header = header(MessageType::Report, form.number());
        let mut plaintext = vec![(record.cause << 4) | (record.seq & 0x0f)];
        plaintext.extend_from_slice(&record.data);
        let tag = seal::report_tag(device.suite, &integrity_key, header, &plaintext, tag_len);
        if tag.as_slice() != record.tag1 {
            return Err(NoTagProof::OtherKey);
        }
        Ok(TagProof {
            suite: device.suite.number(),
            header,
            integrity_key: *integrity_key,
        })
    }
}

/// What K_AIOTF of a record's exchange was derived from.
fn k_aiotf_input(form: Form, rand_n: &RandN, record: &RecordRow) -> Option<schedule::Input> {
    let area_id = AreaId::from_octets(record.area_id).ok()?;
    let rand_d = record.nonce.as_slice();
    Some(match form {
        Form::Beacon => schedule::beacon_k_aiotf(rand_n, &area_id, &rand_d.try_into().ok()?),
        Form::Concealed => schedule::concealed_k_aiotf(rand_n, &area_id, &rand_d.try_into().ok()?),
        _ => schedule::counter_k_aiotf(rand_n, &area_id, record.counter?),
    })
}
