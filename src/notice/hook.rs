//! Who hears of an end, and how.

use std::fmt;

use reqwest::Url;

use crate::http::is_loopback;
use crate::model::{SecretFault, SecretPlace};

use super::{Event, Notice, Template};

/// A text that may be secret, or where it is.
#[derive(Clone, PartialEq, Eq)]
pub enum Source {
    /// It stands in the job file.
    Given(String),
    /// It is kept elsewhere, and read when it is needed.
    Kept(SecretPlace),
}

/// Shows where it comes from, not what it is.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(_) => f.write_str("Given(***)"),
            Self::Kept(place) => f.debug_tuple("Kept").field(place).finish(),
        }
    }
}

impl Source {
    /// The text itself.
    ///
    /// # Errors
    /// Why it is not to be had, without a word of it.
    pub fn read(&self) -> Result<String, SecretFault> {
        match self {
            Self::Given(text) => Ok(text.clone()),
            Self::Kept(place) => place.read_text(),
        }
    }
}

/// A receiver of notices.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hook {
    /// Names it in logs and letters, without its secrets: `env:NAME`, `file:NAME`, or scheme and host; with
    /// `#2`, `#3` ... where the job has another one of that name before it.
    pub id: String,
    /// The URL that notices are posted to. Its path is often a secret.
    pub url: Source,
    /// The mildest event it hears of.
    pub from: Event,
    /// What notices are signed with, where they are.
    pub secret: Option<SecretPlace>,
    /// Allows `http://` to another machine.
    pub allow_http: bool,
    /// What is sent.
    pub payload: Payload,
}

/// The form in which a hook gets its notices.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Payload {
    /// The notice's own JSON.
    Standard,
    /// A template of JSON.
    Json(Template),
    /// A template of plain text.
    Text(Template),
}

impl Hook {
    /// Whether it wants to hear of this.
    pub fn hears(&self, event: Event) -> bool {
        event >= self.from
    }

    /// What it gets: the content type and the body.
    pub fn body(&self, notice: &Notice, delivery: &str) -> (&'static str, String) {
        match &self.payload {
            Payload::Standard => ("application/json", notice.json(delivery)),
            Payload::Json(template) => ("application/json", template.fill(notice, delivery)),
            Payload::Text(template) => ("text/plain; charset=utf-8", template.fill(notice, delivery)),
        }
    }
}

/// A URL that notices may be posted to.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(Url);

/// Shows scheme and host only.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({})", self.origin())
    }
}

/// Why a text cannot be posted to. Its display repeats nothing of the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AddressFault {
    /// No URL with a host.
    #[error("is no URL of the form https://HOST/...")]
    NoUrl,
    /// A user or a password in it.
    #[error("holds a user name or a password")]
    HasUser,
    /// Unencrypted, and not to this machine.
    #[error("would send notices unencrypted")]
    Unencrypted,
}

impl Address {
    /// Reads a URL: `https`, or `http` to this machine or where that is allowed.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str, allow_http: bool) -> Result<Self, AddressFault> {
        let url = Url::parse(text).map_err(|_| AddressFault::NoUrl)?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(AddressFault::NoUrl);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(AddressFault::HasUser);
        }
        let address = Self(url);
        if address.0.scheme() == "http" && !address.is_loopback() && !allow_http {
            return Err(AddressFault::Unencrypted);
        }
        Ok(address)
    }

    /// The whole URL, for the request and nothing else.
    pub const fn url(&self) -> &Url {
        &self.0
    }

    /// Scheme, host and port: what may be shown of it.
    pub fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }

    /// Whether it leads to this machine.
    pub fn is_loopback(&self) -> bool {
        self.0.host_str().is_some_and(is_loopback)
    }
}
