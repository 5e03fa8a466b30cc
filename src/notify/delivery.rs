//! One notice to one receiver: attempts, their answers, and whether to try again.

use std::error::Error;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::http::client_builder;
use crate::model::Timestamp;
use crate::notice::{Address, Hook, Notice};
use crate::retry::{Chance, full_jitter};

use super::local_now;
use super::signature::{SIGNATURE_HEADER, sign};

/// The header that names a notice to a receiver, the same however often it is sent.
const DELIVERY_HEADER: &str = "X-S3sweep-Delivery";
/// The header with the kind of end.
const EVENT_HEADER: &str = "X-S3sweep-Event";
/// Time for DNS, TCP and TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for one attempt. Chat services answer within a second or not at all.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// First ceiling of the jittered wait between attempts.
const WAIT_BASE: Duration = Duration::from_secs(1);
/// Ceiling of that wait.
const WAIT_MAX: Duration = Duration::from_secs(8);
/// What a delivery may need beyond its time to come to its end.
pub(super) const SLACK: Duration = Duration::from_millis(500);

/// What goes to a receiver.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Parcel {
    /// Names the notice to this receiver.
    pub(super) delivery: String,
    /// The kind of end.
    pub(super) event: String,
    /// The type of the body.
    pub(super) content_type: String,
    /// The body.
    pub(super) body: String,
}

/// A delivery that did not succeed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Undelivered {
    /// Attempts made.
    pub(super) attempts: u32,
    /// Why the last one failed; nothing of the URL beyond its host.
    pub(super) why: String,
}

/// What an attempt came to.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Reply {
    Delivered,
    /// Another try may succeed; the receiver may have said when.
    Again {
        why: String,
        after: Option<Duration>,
    },
    /// Another try will not.
    Refused(String),
}

/// Delivers, or gives up at `until` or when trying again makes no sense.
pub(super) async fn deliver(hook: &Hook, parcel: &Parcel, until: Instant) -> Result<(), Undelivered> {
    let door = Door::open(hook).map_err(|why| Undelivered { attempts: 0, why })?;
    let mut attempts = 0;
    loop {
        attempts += 1;
        let time = until.saturating_duration_since(Instant::now()).min(ATTEMPT_TIMEOUT);
        let (why, after) = match door.attempt(parcel, time, local_now()).await {
            Reply::Delivered => return Ok(()),
            Reply::Refused(why) => return Err(Undelivered { attempts, why }),
            Reply::Again { why, after } => (why, after),
        };
        let left = until.saturating_duration_since(Instant::now());
        match wait_before(attempts + 1, after, left, &mut fastrand::f64) {
            Some(wait) => tokio::time::sleep(wait).await,
            None => return Err(Undelivered { attempts, why }),
        }
    }
}

/// How long to wait before an attempt of this number (from 2) where so much time is left; `None` where the wait
/// would leave none for the attempt.
fn wait_before(number: u32, after: Option<Duration>, left: Duration, chance: Chance<'_>) -> Option<Duration> {
    let wait =
        full_jitter(WAIT_BASE, number.saturating_sub(2), WAIT_MAX, chance).max(after.unwrap_or_default());
    (wait < left).then_some(wait)
}

/// What a status means, with the receiver's wish where it named one.
fn reply_of(origin: &str, status: u16, retry_after: Option<&str>, now: Timestamp) -> Reply {
    let why = format!("{origin} answered {status}");
    match status {
        200..=299 => Reply::Delivered,
        // Somewhere else is not where the user wanted it to go.
        300..=399 => Reply::Refused(format!("{why}, a redirect, which is not followed")),
        408 | 425 | 429 | 500..=599 => {
            Reply::Again { why, after: retry_after.and_then(|wish| wish_of(wish, now)) }
        }
        _ => Reply::Refused(why),
    }
}

/// A Retry-After header: seconds, or a date.
fn wish_of(text: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text.trim()).ok()?.timestamp();
    Some(Timestamp::from_millis(date.as_millisecond()).since(now).unwrap_or_default())
}

/// A hook whose secrets have been read.
struct Door {
    http: reqwest::Client,
    address: Address,
    secret: Option<String>,
}

impl Door {
    fn open(hook: &Hook) -> Result<Self, String> {
        let url = hook.url.read().map_err(|why| format!("its URL: {why}"))?;
        let address = Address::parse(&url, hook.allow_http).map_err(|fault| format!("its URL {fault}"))?;
        let secret =
            hook.secret.as_ref().map(|secret| secret.read_text().map_err(|why| format!("its secret: {why}")));
        Ok(Self { http: http_client(&address)?, address, secret: secret.transpose()? })
    }

    async fn attempt(&self, parcel: &Parcel, time: Duration, now: Timestamp) -> Reply {
        let origin = self.address.origin();
        let mut request = self
            .http
            .post(self.address.url().clone())
            .timeout(time)
            .header(CONTENT_TYPE, &parcel.content_type)
            .header(DELIVERY_HEADER, &parcel.delivery)
            .header(EVENT_HEADER, &parcel.event)
            .body(parcel.body.clone());
        if let Some(secret) = &self.secret {
            match sign(secret, now.as_millis() / 1000, &parcel.body) {
                Some(signature) => request = request.header(SIGNATURE_HEADER, signature),
                None => return Reply::Refused("its secret cannot sign".into()),
            }
        }
        match request.send().await {
            Ok(answer) => {
                let wish = answer.headers().get(RETRY_AFTER).and_then(|wish| wish.to_str().ok());
                reply_of(&origin, answer.status().as_u16(), wish, now)
            }
            Err(error) => Reply::Again { why: trouble(&origin, error), after: None },
        }
    }
}

/// What went wrong on the way, without the URL.
fn trouble(origin: &str, error: reqwest::Error) -> String {
    let error = error.without_url();
    if error.is_timeout() {
        return format!("no answer from {origin} in time");
    }
    let mut cause: &dyn Error = &error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    format!("no connection to {origin}: {cause}")
}

fn http_client(address: &Address) -> Result<reqwest::Client, String> {
    let builder =
        client_builder(address.is_loopback()).connect_timeout(CONNECT_TIMEOUT).pool_max_idle_per_host(0);
    builder.build().map_err(|why| format!("the HTTP client: {}", why.without_url()))
}

impl Parcel {
    /// A hook's form of a notice.
    pub(super) fn of(hook: &Hook, notice: &Notice, delivery: String) -> Self {
        let (content_type, body) = hook.body(notice, &delivery);
        Self { delivery, event: notice.event.as_str().into(), content_type: content_type.into(), body }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_767_236_400_000);

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let is_again = |status| matches!(reply_of("h", status, None, NOW), Reply::Again { .. });
        for status in [408, 425, 429, 500, 502, 503, 504] {
            assert!(is_again(status), "{status}");
        }
        for status in [301, 302, 307, 400, 401, 403, 404, 410, 413] {
            assert!(matches!(reply_of("h", status, None, NOW), Reply::Refused(_)), "{status}");
        }
        assert_eq!(reply_of("h", 204, None, NOW), Reply::Delivered);
    }

    #[test]
    fn the_receivers_wish_is_heard_and_never_past_the_end() {
        assert_eq!(wish_of("7", NOW), Some(Duration::from_secs(7)));
        assert_eq!(wish_of("Thu, 01 Jan 2026 03:00:09 GMT", NOW), Some(Duration::from_secs(9)));
        assert_eq!(wish_of("Thu, 01 Jan 2026 02:00:00 GMT", NOW), Some(Duration::ZERO));
        assert_eq!(wish_of("soon", NOW), None);
        let top = &mut || 1.0;
        let secs = Duration::from_secs;
        assert_eq!(wait_before(2, None, secs(30), top), Some(secs(1)));
        assert_eq!(wait_before(4, None, secs(30), top), Some(secs(4)));
        assert_eq!(wait_before(20, None, secs(30), top), Some(secs(8)));
        assert_eq!(wait_before(2, Some(secs(12)), secs(30), top), Some(secs(12)));
        assert_eq!(wait_before(2, Some(secs(60)), secs(30), top), None);
        assert_eq!(wait_before(2, None, secs(1), top), None);
    }
}
