//! The Pushgateway: keeps the figures of jobs that have ended, for Prometheus to scrape.
//!
//! Each push replaces the job's whole group by a PUT, so that a series that is gone here is gone there. The
//! group's key is `job`; the series carry the label `sweep_job` beside it.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Url};

use crate::http::{client_builder, is_loopback};
use crate::model::SecretPlace;

use super::Format;

/// Characters of an answer that are told.
const ANSWER_CHARS_MAX: usize = 100;
const ANSWER_BYTES_MAX: usize = 4096;
const CONNECT_MAX: Duration = Duration::from_secs(3);

/// A Pushgateway as the user describes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GatewaySettings {
    /// Its URL, without a slash at its end.
    pub url: String,
    /// How often to push.
    pub interval: Duration,
    /// User for basic authentication.
    pub username: Option<String>,
    /// Where that user's password is.
    pub password: Option<SecretPlace>,
}

/// A Pushgateway to push one job's figures to.
pub(super) struct Pushgateway {
    client: Client,
    group: Url,
    interval: Duration,
    login: Option<(String, String)>,
}

/// Without the password.
impl std::fmt::Debug for Pushgateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pushgateway").field("at", &self.name()).finish_non_exhaustive()
    }
}

impl Pushgateway {
    /// For a job, whose name needs no escaping: it is made of letters, digits, `.`, `_` and `-`.
    pub(super) fn new(settings: &GatewaySettings, job: &str) -> Result<Self, String> {
        let group: Url = format!("{}/metrics/job/{job}", settings.url)
            .parse()
            .map_err(|error| format!("the URL of the Pushgateway: {error}"))?;
        let password = settings.password.as_ref().map(SecretPlace::read_text).transpose();
        let password = password.map_err(|fault| format!("its password: {fault}"))?;
        let builder = client_builder(group.host_str().is_some_and(is_loopback)).connect_timeout(CONNECT_MAX);
        Ok(Self {
            client: builder.build().map_err(|error| told(&error))?,
            group,
            interval: settings.interval,
            login: settings.username.clone().zip(password),
        })
    }

    pub(super) const fn interval(&self) -> Duration {
        self.interval
    }

    /// For the log: who it is, without the path, which may be a secret of a proxy.
    pub(super) fn name(&self) -> String {
        format!("the Pushgateway at {}", self.group.origin().ascii_serialization())
    }

    /// Replaces the job's group.
    pub(super) async fn push(&self, text: String) -> Result<(), String> {
        let kind = HeaderValue::from_static(Format::Text.content_type());
        let mut request = self.client.put(self.group.clone()).header(CONTENT_TYPE, kind).body(text);
        if let Some((user, password)) = &self.login {
            request = request.basic_auth(user, Some(password));
        }
        let mut answer = request.send().await.map_err(|error| told(&error))?;
        let status = answer.status();
        let mut body = Vec::new();
        // Read to its end, so that the connection can be used again.
        while let Some(chunk) = answer.chunk().await.map_err(|error| told(&error))? {
            if body.len() < ANSWER_BYTES_MAX {
                body.extend_from_slice(&chunk);
            }
        }
        if status.is_success() {
            return Ok(());
        }
        Err(format!("it answers {status} {}", shown(&body)).trim_end().to_owned())
    }
}

/// The first line of an answer that says something, and of that as much as a log line has room for: proxies
/// answer with whole pages of HTML.
fn shown(body: &[u8]) -> String {
    let body = String::from_utf8_lossy(body);
    let line = body.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let mut shown: String = line.chars().filter(|c| !c.is_control()).take(ANSWER_CHARS_MAX).collect();
    if shown.len() < body.trim().len() {
        shown.push_str(" ...");
    }
    shown
}

/// An error with its causes, without its URL.
fn told(error: &reqwest::Error) -> String {
    let mut text = if error.is_timeout() { "timed out".to_owned() } else { "cannot be reached".to_owned() };
    let mut cause = std::error::Error::source(error);
    while let Some(why) = cause {
        text = format!("{text}: {why}");
        cause = why.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_page_of_html_one_short_line_is_told() {
        assert_eq!(shown(b"text format parsing error\n"), "text format parsing error");
        assert_eq!(shown(b"\r\n <html>\r\n<head><title>502</title>"), "<html> ...");
        let long = shown("\u{e4}".repeat(500).as_bytes());
        assert_eq!(long, format!("{} ...", "\u{e4}".repeat(100)));
        assert_eq!(shown(b""), "");
    }
}
