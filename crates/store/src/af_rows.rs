//! Application functions (AFs) as stored.

use std::fmt;

/// An AF's account.
#[derive(Clone, PartialEq, Eq)]
pub struct AfRow {
    /// Its name, afId to 3GPP: 1 to 128 octets, unique.
    pub name: String,
    /// OAuth2 client identifier, unique.
    pub client_id: String,
    /// What a secret is checked against; the secret itself is kept nowhere.
    pub secret_check: Vec<u8>,
    /// What it may do and receive, as JSON.
    pub authorization: String,
    /// When the account was made.
    pub created_ms: i64,
    /// Since when the secret is good: tokens from before are not.
    pub secret_ms: i64,
}

impl fmt::Debug for AfRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AfRow")
            .field("name", &self.name)
            .field("client_id", &self.client_id)
            .field("authorization", &self.authorization)
            .field("created_ms", &self.created_ms)
            .field("secret_ms", &self.secret_ms)
            .finish_non_exhaustive()
    }
}
