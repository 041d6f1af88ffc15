//! Accounts of application functions: made, changed and removed by the operator, asked for by a NEF.
//!
//! A secret has 256 random bits and is handed over once. What stays is its HMAC under a key that the KEK wraps: who reads
//! the store learns nothing that opens an account, and who writes to it without the KEK cannot give an account a secret.

use ambit_adm_api::{AfAccount, AfAuthorization, AfRefusal, check_af_name};
use ambit_store::{AfRow, StoreError};
use base64ct::{Base64UrlUnpadded, Encoding};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::events::{Severity, Subject};
use crate::kek::Purpose;
use crate::{Adm, OpenError, ProvisionError};

/// Where the key lies under which secrets are checked, wrapped.
const META: &str = "af_key";

/// A secret that was made just now, to be handed over once. It does not print.
pub struct AfSecret(Zeroizing<String>);

impl AfSecret {
    /// The secret.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for AfSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AfSecret(..)")
    }
}

impl Adm {
    /// Makes an account; its secret is told here and never again.
    ///
    /// # Errors
    /// [`ProvisionError::AfExists`], [`ProvisionError::Af`] for a name or authorisation that cannot be.
    pub fn add_af(
        &mut self,
        name: &str,
        authorization: &AfAuthorization,
        now_ms: i64,
    ) -> Result<(AfAccount, AfSecret), ProvisionError> {
        check_af_name(name).map_err(ProvisionError::Af)?;
        authorization.check().map_err(ProvisionError::Af)?;
        let mut octets = [0; 8];
        (self.entropy)(&mut octets)?;
        let client_id = hex::encode(octets);
        let (secret, secret_check) = self.new_secret(&client_id)?;
        let row = AfRow {
            name: name.to_owned(),
            client_id,
            secret_check,
            authorization: authorization.to_json().to_string(),
            created_ms: now_ms,
            secret_ms: now_ms,
        };
        self.store.get().af_insert(&row).map_err(refusal)?;
        self.say_of_af("af_added", name, now_ms);
        Ok((account(&row)?, secret))
    }

    /// Gives an AF other rights. They hold from now on, also for tokens that it has.
    ///
    /// # Errors
    /// [`ProvisionError::UnknownAf`], [`ProvisionError::Af`].
    pub fn set_af(
        &mut self,
        name: &str,
        authorization: &AfAuthorization,
        now_ms: i64,
    ) -> Result<AfAccount, ProvisionError> {
        authorization.check().map_err(ProvisionError::Af)?;
        let mut row = self.af_row(name)?;
        row.authorization = authorization.to_json().to_string();
        self.store.get().af_update(&row).map_err(refusal)?;
        self.say_of_af("af_changed", name, now_ms);
        Ok(account(&row)?)
    }

    /// Gives an AF another secret. The old one, and all tokens that were issued for it, are good for nothing from now on.
    ///
    /// # Errors
    /// [`ProvisionError::UnknownAf`].
    pub fn renew_af_secret(
        &mut self,
        name: &str,
        now_ms: i64,
    ) -> Result<(AfAccount, AfSecret), ProvisionError> {
        let mut row = self.af_row(name)?;
        let (secret, secret_check) = self.new_secret(&row.client_id)?;
        row.secret_check = secret_check;
        row.secret_ms = now_ms;
        self.store.get().af_update(&row).map_err(refusal)?;
        self.say_of_af("af_secret_changed", name, now_ms);
        Ok((account(&row)?, secret))
    }

    /// Removes an AF and its subscriptions. Its tokens are good for nothing from now on.
    ///
    /// # Errors
    /// [`ProvisionError::UnknownAf`].
    pub fn remove_af(&mut self, name: &str, now_ms: i64) -> Result<(), ProvisionError> {
        self.store.get().af_remove(name).map_err(refusal)?;
        self.say_of_af("af_removed", name, now_ms);
        Ok(())
    }

    pub(crate) fn find_afs(&mut self, name: Option<&str>) -> Result<Vec<AfAccount>, OpenError> {
        let mut rows = Vec::new();
        match name {
            Some(name) => rows.extend(self.store.get().af(name)?),
            None => self.store.get().afs_for_each(&mut |row| {
                rows.push(row);
                std::ops::ControlFlow::Continue(())
            })?,
        }
        rows.iter().map(account).collect()
    }

    /// Takes the same time for an identifier that is not there as for a wrong secret.
    pub(crate) fn find_af_by_secret(
        &mut self,
        client_id: &str,
        secret: &str,
    ) -> Result<Option<AfAccount>, OpenError> {
        let row = self.store.get().af_by_client(client_id)?;
        let given = self.check_of(client_id, secret)?;
        let expected = row.as_ref().map_or(&[0; 32][..], |row| &row.secret_check);
        let is_right = bool::from(given[..].ct_eq(expected));
        row.filter(|_| is_right).as_ref().map(account).transpose()
    }

    pub(crate) fn note_refusals(&mut self, now_ms: i64, refusals: &[AfRefusal]) {
        for refusal in refusals {
            let detail = serde_json::json!({
                "af": refusal.af,
                "cause": refusal.cause,
                "detail": refusal.detail,
            });
            self.events.raise_counted(
                "af_refused",
                Severity::Warning,
                Subject::default(),
                refusal.count,
                detail.to_string(),
                now_ms,
            );
        }
        self.events.flush(self.store.get(), now_ms);
    }

    fn af_row(&mut self, name: &str) -> Result<AfRow, ProvisionError> {
        let row = self.store.get().af(name)?;
        row.ok_or_else(|| ProvisionError::UnknownAf(name.to_owned()))
    }

    fn new_secret(&mut self, client_id: &str) -> Result<(AfSecret, Vec<u8>), OpenError> {
        let mut octets = Zeroizing::new([0; 32]);
        (self.entropy)(&mut *octets)?;
        let secret = AfSecret(Zeroizing::new(Base64UrlUnpadded::encode_string(&*octets)));
        let check = self.check_of(client_id, secret.expose())?.to_vec();
        Ok((secret, check))
    }

    /// HMAC-SHA256 over the identifier, a zero octet and the secret.
    fn check_of(&mut self, client_id: &str, secret: &str) -> Result<[u8; 32], OpenError> {
        let wrapped = match self.store.get().meta(META)? {
            Some(wrapped) => wrapped,
            None => {
                let mut key = Zeroizing::new([0; 32]);
                (self.entropy)(&mut *key)?;
                let wrapped = self.kek.wrap(&Purpose::AfKey, &*key, &mut self.entropy)?;
                // One key for all processes that share the store: the first one's.
                self.store.get().meta_init(META, &wrapped)?
            }
        };
        let key = self.kek.unwrap::<32>(&Purpose::AfKey, &wrapped)?;
        let mut block = Zeroizing::new([0; 64]);
        block
            .iter_mut()
            .zip(&*key)
            .for_each(|(to, from)| *to = *from);
        let mut mac = Hmac::<Sha256>::new((&*block).into());
        mac.update(client_id.as_bytes());
        mac.update(&[0]);
        mac.update(secret.as_bytes());
        Ok(mac.finalize().into_bytes().into())
    }

    /// Names are letters, digits and a few signs: they need no escaping.
    fn say_of_af(&mut self, kind: &'static str, name: &str, now_ms: i64) {
        let detail = format!("{{\"af\":\"{name}\"}}");
        self.events.say(kind, Subject::default(), detail, now_ms);
        self.events.flush(self.store.get(), now_ms);
    }
}

fn account(row: &AfRow) -> Result<AfAccount, OpenError> {
    let odd = |detail: String| {
        let detail = format!("AF {}: {detail}", row.name);
        OpenError::Store(StoreError::Corrupt { detail })
    };
    let json = serde_json::from_str(&row.authorization).map_err(|error| odd(error.to_string()))?;
    Ok(AfAccount {
        name: row.name.clone(),
        client_id: row.client_id.clone(),
        authorization: AfAuthorization::from_json(&json).map_err(odd)?,
        created_ms: row.created_ms,
        secret_ms: row.secret_ms,
    })
}

fn refusal(error: StoreError) -> ProvisionError {
    match error {
        StoreError::AfExists { name } => ProvisionError::AfExists(name),
        StoreError::UnknownAf { name } => ProvisionError::UnknownAf(name),
        other => other.into(),
    }
}
