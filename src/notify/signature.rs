//! How a receiver knows that a notice comes from who knows the secret, and when it was sent.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// The header that holds time and signature: `t=SECONDS,v1=HEX`.
pub const SIGNATURE_HEADER: &str = "X-S3sweep-Signature";

/// The value of [`SIGNATURE_HEADER`]: HMAC-SHA256 over the time in decimal, a dot, and the body as it is sent.
/// `sent_at_secs` counts from 1970. `None` where the secret cannot be a key, which no text is.
pub fn sign(secret: &str, sent_at_secs: i64, body: &str) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
    mac.update(format!("{sent_at_secs}.").as_bytes());
    mac.update(body.as_bytes());
    Some(format!("t={sent_at_secs},v1={}", hex::encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Worked out with Python's hmac module.
    #[test]
    fn the_signature_covers_time_and_body() {
        let signed = sign("whsec-1", 1_767_236_400, r#"{"version":1}"#).unwrap();
        assert_eq!(
            signed,
            "t=1767236400,v1=f09eef1f4a1391c1175705cb0039feaef2aac23cf361c36475ae26f420a4e67a"
        );
        assert_ne!(sign("whsec-1", 1_767_236_401, r#"{"version":1}"#).unwrap()[13..], signed[13..]);
        assert_ne!(sign("whsec-2", 1_767_236_400, r#"{"version":1}"#).unwrap(), signed);
    }
}
