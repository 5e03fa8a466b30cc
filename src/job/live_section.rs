//! `metrics.live`: the page that shows a run while it goes on.

use std::net::SocketAddr;

use super::reader::{Field, Reader, Section};
use super::spec::LivePage;
use super::yaml::Value;

impl Reader<'_> {
    /// `true`, or a mapping that says who may steer the run. `None` where no page is wanted.
    pub(super) fn live(&mut self, metrics: &Section<'_>, listen: Option<SocketAddr>) -> Option<LivePage> {
        let field = metrics.get("live")?;
        let page = match field.node.value {
            Value::Map(_) => self.live_page(&field)?,
            _ if self.boolean(&field)? => LivePage::default(),
            _ => return None,
        };
        match listen {
            Some(address) if !address.ip().is_loopback() => self.warning(
                field.node.at,
                format!("metrics.live shows keys to everybody who can reach {address}"),
                Some("listen on 127.0.0.1, or let a proxy ask for a password".into()),
            ),
            None if metrics.get("listen").is_none() => {
                self.missing(metrics, "listen", "an address and a port for the live page");
            }
            _ => {}
        }
        Some(page)
    }

    fn live_page(&mut self, field: &Field<'_>) -> Option<LivePage> {
        let section = self.section(field, &["token_env", "token_file", "hosts"])?;
        let token = self.secret_place(&section, "token");
        let hosts = section.get("hosts").map(|field| {
            let items = self.items(&field, "a list of host names");
            items.iter().filter_map(|item| self.text(item, "a host name")).collect()
        });
        Some(LivePage { token: token.flatten(), hosts: hosts.unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Job, Problems, load};
    use crate::model::SecretPlace;

    fn read(metrics: &str) -> Result<Job, Problems> {
        let text = format!(
            "version: 1\nname: n\nbucket: {{ name: src }}\nrules: [{{ name: r, match: {{ state: any }}, action: delete }}]\n\
             metrics: {metrics}\n"
        );
        load(&text, "job.yaml", &|_| None)
    }

    fn live(metrics: &str) -> Option<LivePage> {
        read(metrics).unwrap().metrics.live
    }

    #[test]
    fn a_page_and_who_may_steer() {
        let listen = "listen: \"127.0.0.1:1\"";
        assert_eq!(live(&format!("{{ {listen} }}")), None);
        assert_eq!(live(&format!("{{ {listen}, live: false }}")), None);
        assert_eq!(live(&format!("{{ {listen}, live: true }}")), Some(LivePage::default()));
        let page =
            live(&format!("{{ {listen}, live: {{ token_env: LIVE_TOKEN, hosts: [a.example] }} }}")).unwrap();
        assert_eq!(page.token, Some(SecretPlace::Environment("LIVE_TOKEN".into())));
        assert_eq!(page.hosts, ["a.example"]);
        let page = live(&format!("{{ {listen}, live: {{ token_file: /run/token }} }}")).unwrap();
        assert_eq!(page.token, Some(SecretPlace::File("/run/token".into())));
        assert_eq!(read(&format!("{{ {listen}, live: true }}")).unwrap().warnings, []);
    }

    #[test]
    fn a_page_for_everybody_is_warned_of() {
        for address in ["0.0.0.0:9464", "[::]:9464", "10.0.0.1:9464"] {
            let job = read(&format!("{{ listen: \"{address}\", live: true }}")).unwrap();
            assert!(job.warnings[0].what.contains(address), "{:?}", job.warnings);
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (metrics, word) in [
            ("{ live: true }", "metrics.listen is missing"),
            ("{ listen: \"127.0.0.1:1\", live: yes }", "metrics.live"),
            ("{ listen: \"127.0.0.1:1\", live: { token: secret } }", "token"),
            (
                "{ listen: \"127.0.0.1:1\", live: { token_env: \"a canary\" } }",
                "metrics.live.token_env is no name of a variable",
            ),
            (
                "{ listen: \"127.0.0.1:1\", live: { token_env: A, token_file: b } }",
                "metrics.live.token_file: token_env is given too",
            ),
        ] {
            let problems = read(metrics).unwrap_err().to_string();
            assert!(problems.contains(word), "{metrics}: {problems}");
            assert!(!problems.contains("canary"), "what stands there may be the token: {problems}");
        }
    }
}
