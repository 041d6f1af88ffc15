//! Key types. None is `Copy` or `Clone`, none prints its octets, all are wiped on drop.

use core::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::schedule::Input;
use crate::suite::{PrfKey, Suite};

macro_rules! secret {
    ($(#[$doc:meta])* $name:ident, $shown:literal) => {
        $(#[$doc])*
        #[derive(Zeroize, ZeroizeOnDrop)]
        pub struct $name([u8; 16]);

        impl $name {
            /// Takes 16 octets as the key. The caller wipes its own copy.
            pub const fn new(octets: [u8; 16]) -> Self {
                Self(octets)
            }

            /// The key's octets, for wrapping and for handing to a PRF. Named so that each use stands out in review.
            pub const fn expose(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($shown)
            }
        }
    };
}

secret!(
    /// K_AIOT, the root key that a device shares with the ADM (128 bit).
    RootKey,
    "K(..)"
);
secret!(
    /// K_AIOTF, the key of one exchange (128 bit). The AIOTF may hold it; it tells nothing of K.
    KAiotf,
    "K_AIOTF(..)"
);

impl RootKey {
    /// Expands the key for repeated PRF evaluations under `suite`.
    pub fn prf_key(&self, suite: Suite) -> PrfKey {
        PrfKey::new(suite, &self.0)
    }

    /// One PRF evaluation, for callers that need a single one.
    pub fn evaluate(&self, suite: Suite, input: &Input) -> [u8; 16] {
        self.prf_key(suite).evaluate(input)
    }
}
