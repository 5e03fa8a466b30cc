//! `metrics`: where figures are shown.

use std::path::PathBuf;
use std::time::Duration;

use super::reader::{Field, Reader};
use super::sections::Url;
use super::spec::{Metrics, Pushgateway};
use super::yaml::Value;

/// How often Prometheus itself scrapes, in most installations.
const PUSH_INTERVAL_DEFAULT: Duration = Duration::from_secs(15);
const PUSH_INTERVAL_MIN: Duration = Duration::from_secs(1);
const GATEWAY: &str = "a URL such as http://pushgateway:9091";

impl Reader<'_> {
    pub(super) fn metrics(&mut self, field: &Field<'_>) -> Option<Metrics> {
        const LISTEN: &str = "an address and a port such as 127.0.0.1:9464";
        let section = self.section(field, &["listen", "textfile", "pushgateway", "live"])?;
        let listen = section.get("listen").and_then(|field| {
            let address = self.text(&field, LISTEN)?.parse().ok();
            if address.is_none() {
                self.unfit(&field, LISTEN);
            }
            address
        });
        let live = self.live(&section, listen);
        let pushgateway = section.get("pushgateway").and_then(|field| self.pushgateway(&field));
        let textfile = section.get("textfile").and_then(|field| self.textfile(&field));
        Some(Metrics { listen, textfile, pushgateway, live })
    }

    /// The name of a file; warned of where node_exporter will not find it or it depends on who starts the program.
    fn textfile(&mut self, field: &Field<'_>) -> Option<PathBuf> {
        let path = PathBuf::from(self.text(field, "the name of a file")?);
        if path.extension().is_none_or(|extension| extension != "prom") {
            let what = format!("{} does not end in .prom: node_exporter passes over such files", field.path);
            self.warning(field.node.at, what, Some("give it a name such as nightly.prom".into()));
        }
        if path.is_relative() {
            let what = format!("{} is relative: it lies wherever the program is started", field.path);
            self.warning(field.node.at, what, Some("give it with its whole path".into()));
        }
        Some(path)
    }

    /// A URL, or a mapping with everything.
    fn pushgateway(&mut self, field: &Field<'_>) -> Option<Pushgateway> {
        const KNOWN: &[&str] = &["url", "interval", "username", "password_env", "password_file"];
        if matches!(field.node.value, Value::Scalar { .. }) {
            let url = self.gateway_url(field)?;
            return Some(Pushgateway {
                url,
                interval: PUSH_INTERVAL_DEFAULT,
                username: None,
                password: None,
            });
        }
        let section = self.section(field, KNOWN)?;
        let url = match section.get("url") {
            Some(field) => self.gateway_url(&field),
            None => {
                self.missing(&section, "url", GATEWAY);
                None
            }
        };
        let interval = section.get("interval").and_then(|field| self.push_interval(&field));
        let username = self.opt_text(&section, "username", "the name of a user");
        let place = self.secret_place(&section, "password");
        let is_noted = place.is_none();
        let password = place.flatten();
        if !is_noted && username.is_some() != password.is_some() {
            let what = format!("{}: a user and a password belong together", field.path);
            self.problem(section.at, what).expected =
                Some("username, and password_env or password_file".into());
        }
        let is_open = url.as_deref().and_then(Url::parse).is_some_and(|url| !url.is_tls && !url.is_loopback);
        if is_open && password.is_some() {
            let what = format!("{} sends its password unencrypted", field.path);
            self.warning(section.at, what, Some("use https://".into()));
        }
        let interval = interval.unwrap_or(PUSH_INTERVAL_DEFAULT);
        Some(Pushgateway { url: url?, interval, username, password })
    }

    /// Metrics hold no keys and change nothing at the gateway but this job's group, so that plain `http` within a
    /// private network is fine, as it is for scraping.
    fn gateway_url(&mut self, field: &Field<'_>) -> Option<String> {
        let text = self.text(field, GATEWAY)?;
        match Url::parse(&text) {
            Some(url) if url.has_user => {
                let what = format!("{}: credentials do not belong in a URL", field.path);
                self.problem(field.node.at, what).hint =
                    Some("say username, and password_env or password_file, beside url".into());
                None
            }
            Some(_) => Some(text.trim_end_matches('/').to_owned()),
            None => {
                // Nothing of it is repeated that could be a password.
                if text.contains('@') {
                    self.problem(field.node.at, format!("{} is no URL", field.path)).expected =
                        Some(GATEWAY.into());
                } else {
                    self.unfit(field, GATEWAY);
                }
                None
            }
        }
    }

    fn push_interval(&mut self, field: &Field<'_>) -> Option<Duration> {
        let interval = self.duration(field, Duration::ZERO)?;
        if interval < PUSH_INTERVAL_MIN {
            self.unfit(field, "a duration of 1s or more");
            return None;
        }
        Some(interval)
    }
}
