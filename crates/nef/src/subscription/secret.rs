//! Secrets of subscriptions. None is stored: each is computed from one key and the subscription's name.

use base64ct::{Base64, Encoding};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// What a callback's secret begins with, as Standard Webhooks has it.
const CALLBACK_PREFIX: &str = "whsec_";

/// The key that all secrets of subscriptions come from. The ADM keeps it wrapped.
#[derive(Clone)]
pub struct DeliveryKey(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for DeliveryKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DeliveryKey(..)")
    }
}

impl DeliveryKey {
    /// Takes 32 random octets.
    #[must_use]
    pub const fn new(octets: Zeroizing<[u8; 32]>) -> Self {
        Self(octets)
    }

    /// The secret of a callback as its receiver is told it: `whsec_` and base64.
    #[must_use]
    pub fn callback_secret(&self, subscription: &str) -> Zeroizing<String> {
        let octets = self.callback_octets(subscription);
        Zeroizing::new(CALLBACK_PREFIX.to_owned() + &Base64::encode_string(&*octets))
    }

    /// The token that opens a stream: 64 hexadecimal digits.
    #[must_use]
    pub fn stream_token(&self, subscription: &str) -> Zeroizing<String> {
        Zeroizing::new(hex::encode(*self.derive("stream", subscription)))
    }

    /// The signature of a callback: HMAC-SHA256 over `id.timestamp.body`, as Standard Webhooks has it.
    #[must_use]
    pub fn sign(&self, subscription: &str, id: &str, unix_s: i64, body: &[u8]) -> String {
        let key = self.callback_octets(subscription);
        let stamp = format!("{id}.{unix_s}.");
        let tag = hmac(&key, &[stamp.as_bytes(), body]);
        format!("v1,{}", Base64::encode_string(&*tag))
    }

    fn callback_octets(&self, subscription: &str) -> Zeroizing<[u8; 32]> {
        self.derive("callback", subscription)
    }

    fn derive(&self, purpose: &str, subscription: &str) -> Zeroizing<[u8; 32]> {
        hmac(
            &self.0,
            &[purpose.as_bytes(), &[0], subscription.as_bytes()],
        )
    }
}

fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    // A key that is shorter than a block is one with zeros behind it.
    let mut block = Zeroizing::new([0; 64]);
    for (to, from) in block.iter_mut().zip(key) {
        *to = *from;
    }
    let mut mac = <Hmac<Sha256> as KeyInit>::new((&*block).into());
    for part in parts {
        mac.update(part);
    }
    Zeroizing::new(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_subscription_and_purpose_has_its_own_and_none_prints() {
        let key = DeliveryKey::new(Zeroizing::new([7; 32]));
        let (a, b) = (key.callback_secret("a"), key.callback_secret("b"));
        assert!(a.starts_with("whsec_") && a.len() == 50 && a != b);
        assert_ne!(
            hex::encode(*key.callback_octets("a")),
            *key.stream_token("a")
        );
        assert_eq!(format!("{key:?}"), "DeliveryKey(..)");
    }

    /// The vector of the Standard Webhooks libraries.
    #[test]
    fn the_signature_is_that_of_standard_webhooks() {
        let key = Base64::decode_vec("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").map(|key| {
            let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(&key).ok();
            if let Some(mac) = &mut mac {
                mac.update(b"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{\"test\": 2432232314}");
            }
            mac.map(|mac| Base64::encode_string(&mac.finalize().into_bytes()))
        });
        assert_eq!(
            key.ok().flatten().as_deref(),
            Some("g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
        );
    }
}
