//! Access tokens (TS 29.510 clause 6.3, TS 33.501 clause 13.4.1): JWT signed with ES256, issued by an NRF, verified by
//! every producer.

use base64ct::{Base64UrlUnpadded, Encoding};
use p256::ecdsa::signature::{Signer, Verifier as _};
use p256::ecdsa::{Signature, SigningKey, VerifyingKey};
use p256::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePublicKey};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A token has at most so many octets: one that is longer is not looked at.
const TOKEN_OCTETS_MAX: usize = 8192;

/// How far the clocks of issuer and producer may differ, in seconds.
const SKEW_S: i64 = 5;

/// What a token says (AccessTokenClaims).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// NF instance ID of the NRF.
    pub iss: String,
    /// NF instance ID of the consumer.
    pub sub: String,
    /// For whom it is good.
    pub aud: Audience,
    /// Service names and service operations, separated by spaces.
    pub scope: String,
    /// Until when, Unix time in seconds.
    pub exp: i64,
    /// Since when, Unix time in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iat: Option<i64>,
    /// Of an AF: since when the secret is good that it was issued for, Unix time in ms. Ours; a NEF looks at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ms: Option<i64>,
}

impl Claims {
    /// Whether the scope has this word.
    pub fn has_scope(&self, wanted: &str) -> bool {
        self.scope.split(' ').any(|scope| scope == wanted)
    }
}

/// For whom a token is good: all producers of a type, or named instances.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Audience {
    /// An NFType.
    Type(String),
    /// NF instance IDs.
    Instances(Vec<String>),
}

/// Why a token is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not three parts of base64url JSON.
    #[error("the token is not a JWT")]
    Malformed,
    /// Another algorithm than ES256; "none" above all.
    #[error("the token is not signed with ES256")]
    Algorithm,
    /// Not signed by the NRF's key.
    #[error("the token's signature does not verify")]
    Signature,
    /// Another issuer.
    #[error("the token is of another issuer")]
    Issuer,
    /// For other producers.
    #[error("the token is for another audience")]
    Audience,
    /// Over.
    #[error("the token has expired")]
    Expired,
    /// Not yet good: issued in the future.
    #[error("the token is not good yet")]
    NotYet,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    crit: Option<serde_json::Value>,
}

/// The NRF's side: signs tokens.
pub struct Issuer {
    key: SigningKey,
    id: String,
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Issuer({}, ..)", self.id)
    }
}

impl Issuer {
    /// An issuer with a PKCS #8 key in PEM.
    ///
    /// # Errors
    /// The rule that the text breaks.
    pub fn from_pem(pem: &str) -> Result<Self, &'static str> {
        let key = SigningKey::from_pkcs8_pem(pem)
            .map_err(|_| "must be a P-256 private key (PKCS #8, PEM)")?;
        let id = issuer_id(key.verifying_key());
        Ok(Self { key, id })
    }

    /// An issuer with a key of its own, made now: its tokens end with it.
    ///
    /// # Errors
    /// The system gives no random octets.
    pub fn generate() -> Result<Self, &'static str> {
        let mut octets = zeroize::Zeroizing::new([0; 32]);
        // All but one in 2^32 draws are scalars of P-256.
        for _ in 0..8 {
            getrandom::fill(&mut *octets).map_err(|_| "no random octets")?;
            if let Ok(key) = SigningKey::from_slice(&*octets) {
                let id = issuer_id(key.verifying_key());
                return Ok(Self { key, id });
            }
        }
        Err("no random octets")
    }

    /// The NF instance ID that tokens name as issuer.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A token.
    pub fn issue(&self, claims: &Claims) -> String {
        let part = |octets: &[u8]| Base64UrlUnpadded::encode_string(octets);
        let claims = serde_json::to_vec(claims).unwrap_or_default();
        let mut token = part(br#"{"alg":"ES256","typ":"JWT"}"#);
        token.push('.');
        token += &part(&claims);
        let signature: Signature = self.key.sign(token.as_bytes());
        token.push('.');
        token += &part(&signature.to_bytes());
        token
    }

    /// What verifies this issuer's tokens at a producer.
    pub fn verifier(&self, nf_type: &'static str, nf_instance: Uuid) -> Verifier {
        Verifier {
            key: *self.key.verifying_key(),
            issuer: self.id.clone(),
            nf_type,
            nf_instance: nf_instance.to_string(),
        }
    }
}

/// A producer's side: verifies tokens.
#[derive(Clone, Debug)]
pub struct Verifier {
    key: VerifyingKey,
    issuer: String,
    nf_type: &'static str,
    nf_instance: String,
}

impl Verifier {
    /// For a producer that trusts the NRF with this public key (SPKI, PEM). `issuer` is that NRF's instance ID; by default
    /// the one that Ambit's NRF derives from its key.
    ///
    /// # Errors
    /// The rule that the text breaks.
    pub fn from_pem(
        pem: &str,
        issuer: Option<&str>,
        nf_type: &'static str,
        nf_instance: Uuid,
    ) -> Result<Self, &'static str> {
        let key = VerifyingKey::from_public_key_pem(pem)
            .map_err(|_| "must be a P-256 public key (SPKI, PEM)")?;
        Ok(Self {
            issuer: issuer.map_or_else(|| issuer_id(&key), str::to_owned),
            key,
            nf_type,
            nf_instance: nf_instance.to_string(),
        })
    }

    /// Verifies a token and says what is in it.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn verify(&self, token: &str, now_s: i64) -> Result<Claims, TokenError> {
        if token.len() > TOKEN_OCTETS_MAX {
            return Err(TokenError::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        let header: Header = decode(header)?;
        if header.alg != "ES256" || header.crit.is_some() {
            return Err(TokenError::Algorithm);
        }
        let signature =
            Base64UrlUnpadded::decode_vec(signature).map_err(|_| TokenError::Malformed)?;
        let signature = Signature::from_slice(&signature).map_err(|_| TokenError::Signature)?;
        self.key
            .verify(signed.as_bytes(), &signature)
            .map_err(|_| TokenError::Signature)?;
        // Nothing of the claims was read before the signature held.
        let claims: Claims = decode(claims)?;
        let is_for_us = match &claims.aud {
            Audience::Type(nf_type) => nf_type == self.nf_type,
            Audience::Instances(ids) => ids
                .iter()
                .any(|id| id.eq_ignore_ascii_case(&self.nf_instance)),
        };
        if !claims.iss.eq_ignore_ascii_case(&self.issuer) {
            Err(TokenError::Issuer)
        } else if !is_for_us {
            Err(TokenError::Audience)
        } else if now_s >= claims.exp.saturating_add(SKEW_S) {
            Err(TokenError::Expired)
        } else if claims.iat.is_some_and(|iat| iat > now_s.saturating_add(60)) {
            Err(TokenError::NotYet)
        } else {
            Ok(claims)
        }
    }
}

fn decode<T: serde::de::DeserializeOwned>(part: &str) -> Result<T, TokenError> {
    let octets = Base64UrlUnpadded::decode_vec(part).map_err(|_| TokenError::Malformed)?;
    serde_json::from_slice(&octets).map_err(|_| TokenError::Malformed)
}

/// The instance ID of an NRF that is known by its key: a UUID made from it (version 8), so that whoever has the public key
/// knows the issuer's name without being told.
fn issuer_id(key: &VerifyingKey) -> String {
    let spki = p256::PublicKey::from(key).to_public_key_der();
    let mut id = [0; 16];
    if let Ok(spki) = &spki {
        // The last 64 octets are the point's coordinates, which look random already.
        let x = spki.as_bytes().iter().rev().take(16);
        id.iter_mut().zip(x).for_each(|(to, from)| *to = *from);
    }
    uuid::Builder::from_custom_bytes(id).into_uuid().to_string()
}

/// Public half of a PKCS #8 key, both in PEM.
///
/// # Errors
/// The rule that the text breaks.
pub fn public_pem(private_pem: &str) -> Result<String, &'static str> {
    let rule = "must be a P-256 private key (PKCS #8, PEM)";
    let key = SigningKey::from_pkcs8_pem(private_pem).map_err(|_| rule)?;
    p256::PublicKey::from(key.verifying_key())
        .to_public_key_pem(p256::pkcs8::LineEnding::LF)
        .map_err(|_| rule)
}
