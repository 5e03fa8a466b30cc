//! `notify`: who hears of the end of a command.

use crate::model::SecretPlace;
use crate::notice::{
    Address, AddressFault, Event, Hook, Payload, Source, Template, TemplateFault, placeholder_names,
};

use super::reader::{Field, Reader, Section, did_you_mean, is_variable_name};

/// Receivers of a job. Each one may keep the end of a run waiting.
const HOOKS_MAX: usize = 16;
const KEYS: &[&str] = &[
    "url",
    "url_env",
    "url_file",
    "on",
    "secret_env",
    "secret_file",
    "template",
    "content_type",
    "allow_http",
];

impl Reader<'_> {
    pub(super) fn notify(&mut self, field: &Field<'_>) -> Option<Vec<Hook>> {
        let items = self.items(field, "hooks, each with a url, or leave the key out");
        if items.len() > HOOKS_MAX {
            let what = format!("{} has {} hooks", field.path, items.len());
            self.problem(field.node.at, what).expected = Some(format!("at most {HOOKS_MAX}"));
        }
        let mut hooks: Vec<Hook> = Vec::new();
        for item in &items {
            if let Some(hook) = self.hook(item) {
                let others = hooks.iter().filter(|other| base_of(&other.id) == hook.id).count();
                let id = if others == 0 { hook.id.clone() } else { format!("{}#{}", hook.id, others + 1) };
                hooks.push(Hook { id, ..hook });
            }
        }
        Some(hooks)
    }

    fn hook(&mut self, field: &Field<'_>) -> Option<Hook> {
        let section = self.section(field, KEYS)?;
        let allow_http = self.flag(&section, "allow_http", false);
        let url = self.hook_url(&section, allow_http);
        let secret = self.secret_place(&section, "secret");
        let from = self.events(&section);
        let payload = self.payload(&section);
        let (id, url) = url?;
        Some(Hook { id, url, from: from?, secret: secret?, allow_http, payload: payload? })
    }

    /// The URL and the name that may be shown. What stands here is never repeated: it may be a secret.
    fn hook_url(&mut self, section: &Section<'_>, allow_http: bool) -> Option<(String, Source)> {
        const EXPECTED: &str = "one of url, url_env and url_file";
        let given: Vec<Field<'_>> = KEYS[..3].iter().filter_map(|key| section.get(key)).collect();
        let [field] = given.as_slice() else {
            let what = if given.is_empty() { "is missing" } else { "is given more than once" };
            self.problem(section.at, format!("{} {what}", section.inner("url"))).expected =
                Some(EXPECTED.into());
            return None;
        };
        if section.get("url_env").is_some() {
            return self.variable(field).map(kept);
        }
        if section.get("url_file").is_some() {
            return self.secret_file(field).map(kept);
        }
        let raw = self.raw(field, "a URL such as https://hooks.example.com/...")?;
        let url = match raw.contains("${") {
            true if are_variables(raw) => self.resolve(field, raw)?,
            true => {
                let what = format!("{} holds a ${{ that names no variable", field.path);
                self.problem(field.node.at, what).expected = Some("${env:NAME}".into());
                return None;
            }
            false => raw.to_owned(),
        };
        match Address::parse(&url, allow_http) {
            Ok(address) => Some((address.origin(), Source::Given(url))),
            Err(fault) => {
                let place = section.inner("allow_http");
                let hint = match fault {
                    AddressFault::NoUrl => None,
                    AddressFault::HasUser => Some("credentials do not belong in a job file".to_owned()),
                    AddressFault::Unencrypted => Some(format!("use https://, or say {place}: true")),
                };
                self.problem(field.node.at, format!("{} {fault}", field.path)).hint = hint;
                None
            }
        }
    }

    /// The mildest event of a list: who hears of it hears of the graver ones.
    fn events(&mut self, section: &Section<'_>) -> Option<Event> {
        let Some(field) = section.get("on") else { return Some(Event::End) };
        let items = self.items(&field, "end, failure or tripwire");
        let found: Vec<Option<Event>> = items.iter().map(|item| self.one_of(item, Event::WORDS)).collect();
        found.into_iter().collect::<Option<Vec<Event>>>()?.into_iter().min()
    }

    fn payload(&mut self, section: &Section<'_>) -> Option<Payload> {
        let words = [("application/json", true), ("text/plain", false)];
        let is_json = match section.get("content_type") {
            Some(field) => self.one_of(&field, &words)?,
            None => true,
        };
        let Some(field) = section.get("template") else {
            if let (false, Some(field)) = (is_json, section.get("content_type")) {
                self.problem(field.node.at, format!("{} needs a template", field.path)).hint =
                    Some("without a template JSON is sent".into());
                return None;
            }
            return Some(Payload::Standard);
        };
        let text = self.raw(&field, "a text with placeholders such as {job} and {done}")?;
        let text = if text.contains("${") { self.resolve(&field, text)? } else { text.to_owned() };
        let read = if is_json { Template::json(&text) } else { Template::plain(&text) };
        match read {
            Ok(template) if is_json => Some(Payload::Json(template)),
            Ok(template) => Some(Payload::Text(template)),
            Err(faults) => {
                for fault in faults {
                    let names = placeholder_names();
                    let hint = match &fault {
                        TemplateFault::Unknown(name) => did_you_mean(name, &names),
                        TemplateFault::NotJson(_) => Some(
                            "write placeholders of texts inside strings, or say content_type: text/plain"
                                .into(),
                        ),
                    };
                    let problem = self.problem(field.node.at, format!("{} {fault}", field.path));
                    problem.hint = hint;
                    if let TemplateFault::Unknown(_) = fault {
                        problem.expected = Some(format!("one of {}", names.join(", ")));
                    }
                }
                None
            }
        }
    }
}

/// A URL that is kept elsewhere, with the name that may be shown.
fn kept(place: SecretPlace) -> (String, Source) {
    let name = match &place {
        SecretPlace::Environment(name) => name.clone(),
        SecretPlace::File(path) => path.display().to_string(),
    };
    (format!("{}:{name}", place.suffix()), Source::Kept(place))
}

/// Whether every `${` begins a `${env:NAME}`.
fn are_variables(text: &str) -> bool {
    text.split("${").skip(1).all(|rest| {
        rest.strip_prefix("env:")
            .and_then(|rest| rest.split_once('}'))
            .is_some_and(|(name, _)| is_variable_name(name))
    })
}

/// The name of a hook without its number.
fn base_of(id: &str) -> &str {
    id.split_once('#').map_or(id, |(base, _)| base)
}

#[cfg(test)]
mod tests {
    use crate::job::{Job, load};
    use crate::model::SecretPlace;
    use crate::notice::{Event, Payload};

    fn read(notify: &str) -> Result<Job, String> {
        let text = format!(
            "version: 1\nname: a\nbucket: {{ name: logs }}\nrules:\n  - {{ name: all, match: {{ state: any }}, \
             action: delete }}\nnotify:\n{notify}"
        );
        let env = |name: &str| (name == "CHANNEL").then(|| "#night".to_owned());
        load(&text, "job.yaml", &env).map_err(|problems| problems.to_string())
    }

    #[test]
    fn hooks_are_read_and_named_without_their_secrets() {
        let job = read(
            "  - url: https://hooks.example.com/canary?x=canary\n    secret_env: HOOK_SECRET\n\
             \x20 - { url: \"https://hooks.example.com/other\", on: [tripwire, failure] }\n\
             \x20 - { url_env: HOOK_URL, secret_file: /etc/hook, on: tripwire }\n\
             \x20 - { url: \"http://n.example/\", allow_http: true, content_type: text/plain, template: \"{job}\\n\" }\n\
             \x20 - { url_file: f, template: '{\"channel\": \"${env:CHANNEL}\", \"text\": \"{sentence}\"}' }\n",
        )
        .unwrap();
        let ids: Vec<&str> = job.notify.iter().map(|hook| hook.id.as_str()).collect();
        assert_eq!(
            ids,
            [
                "https://hooks.example.com",
                "https://hooks.example.com#2",
                "env:HOOK_URL",
                "http://n.example",
                "file:f"
            ]
        );
        let from: Vec<Event> = job.notify.iter().map(|hook| hook.from).collect();
        assert_eq!(from, [Event::End, Event::Failure, Event::Tripwire, Event::End, Event::End]);
        assert_eq!(job.notify[0].secret, Some(SecretPlace::Environment("HOOK_SECRET".into())));
        assert!(matches!(job.notify[3].payload, Payload::Text(_)));
        assert!(!format!("{job:?}").contains("canary"), "{job:?}");
        assert!(
            !job.fingerprint.semantic_json.contains("hooks"),
            "who hears of a run does not change the run"
        );
    }

    #[test]
    fn every_problem_is_said_and_no_secret_repeated() {
        for (notify, words) in [
            ("  - { on: end }\n", &["notify[0].url is missing", "url_env"][..]),
            ("  - { url: \"https://a.example\", url_env: A }\n", &["more than once"]),
            ("  - { url: \"http://a.example/canary\" }\n", &["unencrypted", "notify[0].allow_http: true"]),
            ("  - { url: \"a.example/canary\" }\n", &["notify[0].url is no URL"]),
            ("  - { url: \"https://canary@a.example/\" }\n", &["user name"]),
            ("  - { url_env: \"https://a.example/canary\" }\n", &["url_env is no name of a variable"]),
            ("  - { url_env: A, secret_env: \"canary!\" }\n", &["secret_env is no name of a variable"]),
            (
                "  - { url_env: A, secret_env: B, secret_file: c }\n",
                &["notify[0].secret_file: secret_env is given too; leave one of them out"],
            ),
            ("  - { url: \"https://a.example/canary/${x}\" }\n", &["names no variable", "${env:NAME}"]),
            ("  - { url: \"https://a.example/canary/${env:NO}\" }\n", &["no variable NO"]),
            ("  - { url: [canary] }\n", &["notify[0].url cannot be a list"]),
            ("  - { url_env: A, secret: canary }\n", &["credentials do not belong in a job file"]),
            ("  - { url_env: A, on: [finish] }\n", &["notify[0].on", "end, failure or tripwire"]),
            (
                "  - { url_env: A, template: '{\"a\": \"{jobb} {dnoe}\"}' }\n",
                &["{jobb}", "\"job\"", "{dnoe}", "\"done\""],
            ),
            (
                "  - { url_env: A, template: '{\"a\": {job}}' }\n",
                &["no JSON once it is filled", "text/plain"],
            ),
            ("  - { url_env: A, content_type: text/plain }\n", &["needs a template"]),
        ] {
            let problems = read(notify).unwrap_err();
            for word in words {
                assert!(problems.contains(word), "{word:?} is not in {problems}");
            }
            assert!(!problems.contains("canary"), "{problems}");
        }
    }
}
