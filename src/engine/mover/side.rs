//! Where copies go: the client of the destination, its pace, and what was learnt of its server.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::job::Transfer;
use crate::model::{CopySettings, CustomerKeyBytes, Encryption, Route, SecretPlace};
use crate::rules::PageOrder;
use crate::s3::Client;

use super::super::Ending;
use super::super::caller::Caller;
use super::super::context::{Context, locked};
use super::super::lease::Hold;

/// The destination of an action, as the caller of the engine connected it.
#[derive(Debug)]
pub struct Destination {
    /// Its client; absent where the destination is the job's own bucket.
    pub client: Option<Arc<Client>>,
    /// Whether source and destination have one endpoint and one identity, so that the server can copy.
    pub server_can_copy: bool,
}

/// The destination of an action.
pub(in crate::engine) struct Side {
    /// Absent where it is that of the source.
    caller: Option<Arc<Caller>>,
    /// Whether this program carries the bytes.
    pub(super) streams: bool,
    /// The customer's key that source versions are encrypted with.
    pub(super) source_key: Option<CustomerKeyBytes>,
    /// The customer's key for the copies.
    pub(super) customer_key: Option<CustomerKeyBytes>,
    /// Whether its bucket kept versions when the run began.
    pub(super) keeps_versions: bool,
    /// Whether the server understands conditions on writes, as far as is known.
    conditions: AtomicBool,
    /// How its pages order versions and markers, as far as is known.
    pub(super) order: Mutex<PageOrder>,
}

impl Side {
    /// Reads the customer's keys, and takes note of who carries the bytes.
    ///
    /// # Errors
    /// A key that is not there or is none.
    pub(in crate::engine) fn new(
        transfer: &Transfer,
        caller: Option<Arc<Caller>>,
        server_can_copy: bool,
        keeps_versions: bool,
    ) -> Result<Self, Ending> {
        let settings = &transfer.settings;
        let streams = match settings.route {
            Route::Server => false,
            Route::Stream => true,
            Route::Auto => !server_can_copy,
        };
        let customer_key = match &settings.encryption {
            Encryption::Customer(key) => Some(read_key(key)?),
            _ => None,
        };
        Ok(Self {
            caller,
            streams,
            source_key: settings.source_key.as_ref().map(read_key).transpose()?,
            customer_key,
            keeps_versions,
            conditions: AtomicBool::new(true),
            order: Mutex::new(PageOrder::Undetermined),
        })
    }

    pub(super) fn caller<'a>(&'a self, ctx: &'a Context) -> &'a Caller {
        self.caller.as_deref().unwrap_or(&ctx.caller)
    }

    /// From now on nothing is sent there any more once this lock may be another's.
    pub(in crate::engine) fn work_under(&self, hold: &Arc<Hold>) {
        if let Some(caller) = &self.caller {
            caller.work_under(hold);
        }
    }

    /// Whether conditions are sent.
    pub(super) fn sends_conditions(&self) -> bool {
        self.conditions.load(Ordering::Relaxed)
    }

    /// The server does not understand conditions; the destination is looked at instead.
    pub(super) fn drop_conditions(&self) {
        if self.conditions.swap(false, Ordering::Relaxed) {
            tracing::warn!(
                "the destination knows no conditional writes: it is looked at before each repetition"
            );
        }
    }

    /// How its pages are ordered, as far as is known.
    pub(super) fn page_order(&self) -> PageOrder {
        *locked(&self.order)
    }
}

/// What is wrong with the customer's keys that copies need, as this machine has them; nothing is said of the
/// keys themselves.
pub fn unreadable_keys(settings: &CopySettings) -> Vec<String> {
    let own = match &settings.encryption {
        Encryption::Customer(key) => Some(key),
        _ => None,
    };
    let keys = own.into_iter().chain(&settings.source_key);
    keys.filter_map(|key| read_key(key).err()).map(|ending| ending.message()).collect()
}

/// Reads a customer's key. What is wrong is said without a character of it.
fn read_key(place: &SecretPlace) -> Result<CustomerKeyBytes, Ending> {
    let bytes = place.read_bytes().map_err(|fault| Ending::Usage(format!("the customer's key: {fault}")))?;
    key_of(&bytes)
        .ok_or_else(|| Ending::Usage(format!("{place} holds no key of 32 bytes, plain or in Base64")))
}

fn key_of(bytes: &[u8]) -> Option<CustomerKeyBytes> {
    use base64::Engine as _;
    if let Ok(key) = <[u8; 32]>::try_from(bytes) {
        return Some(CustomerKeyBytes(key));
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(bytes.trim_ascii()).ok()?;
    <[u8; 32]>::try_from(decoded).ok().map(CustomerKeyBytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_customers_key_is_32_bytes_plain_or_in_base64() {
        let plain = [7_u8; 32];
        assert_eq!(key_of(&plain), Some(CustomerKeyBytes(plain)));
        assert_eq!(key_of(b"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n"), Some(CustomerKeyBytes(plain)));
        assert_eq!(key_of(b"short"), None);
        assert_eq!(key_of(b"BwcH"), None);
    }
}
