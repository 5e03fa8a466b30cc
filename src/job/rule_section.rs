//! The rules of a job file.

use std::time::Duration;

use crate::model::{ActionId, DeleteOptions, Key, Mfa};
use crate::rules::{Conditions, KeyPattern, PatternError, Rule, State, Verdict};

use super::RULES_MAX;
use super::lint;
use super::reader::{Field, Reader, Section};
use super::spec::{Action, BucketSpec, Endpoint};
use super::units;
use super::yaml::{At, Value};

const DAY_SECS: u64 = 86_400;
const MATCH_KEYS: &[&str] = &[
    "prefix",
    "suffix",
    "key_glob",
    "key_regex",
    "state",
    "older_than",
    "newer_than",
    "noncurrent_for",
    "lifecycle_days",
    "beyond_newest",
    "min_size",
    "max_size",
    "storage_class",
    "etag",
    "created_before",
    "created_after",
];

/// What rules are read amid.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    /// The job's own bucket, where it could be read.
    pub(super) own: Option<&'a BucketSpec>,
    /// The prefixes of the scope.
    pub(super) prefixes: &'a [Key],
}

/// What the rules of a file come to.
#[derive(Default)]
pub(super) struct Compiled {
    pub(super) rules: Vec<Rule>,
    /// Where each rule stands.
    pub(super) places: Vec<At>,
    pub(super) actions: Vec<Action>,
}

/// What a rule wants, before it has a number.
enum Wish {
    Keep,
    Action(Action),
}

impl Wish {
    /// Equal actions share a number.
    fn verdict(self, actions: &mut Vec<Action>) -> Option<Verdict> {
        let Self::Action(action) = self else { return Some(Verdict::Keep) };
        let verdict = if action.delete_options().is_some() { Verdict::Act } else { Verdict::Copy };
        let index = actions.iter().position(|known| *known == action).unwrap_or_else(|| {
            actions.push(action);
            actions.len() - 1
        });
        // RULES_MAX rules have no more actions than that.
        u16::try_from(index).ok().map(|index| verdict(ActionId(index)))
    }
}

impl Reader<'_> {
    pub(super) fn rules(&mut self, field: &Field<'_>, around: Around<'_>) -> Compiled {
        const EXPECTED: &str = "a list of rules, each with name, match and action";
        let mut compiled = Compiled::default();
        let Value::Seq(_) = field.node.value else {
            self.unfit(field, EXPECTED);
            return compiled;
        };
        let items = self.items(field, EXPECTED);
        if items.len() > RULES_MAX {
            self.problem(field.node.at, format!("rules: more than {RULES_MAX} rules"));
            return compiled;
        }
        for item in items {
            if let Some(rule) = self.rule(&item, &mut compiled, around) {
                compiled.rules.push(rule);
                compiled.places.push(item.node.at);
            }
        }
        compiled
    }

    fn rule(&mut self, field: &Field<'_>, compiled: &mut Compiled, around: Around<'_>) -> Option<Rule> {
        let section = self.section(field, &["name", "match", "action"])?;
        let name = match section.get("name") {
            Some(name_field) => {
                let name = self.rule_name(&name_field);
                if let Some(name) = &name
                    && compiled.rules.iter().any(|other| other.name == *name)
                {
                    self.problem(name_field.node.at, format!("two rules are named {name:?}"));
                }
                name
            }
            None => {
                self.missing(&section, "name", "a name for the rule, as reports show it");
                None
            }
        };
        let mut conditions = match section.get("match") {
            Some(field) => self.conditions(&field, around.own.map(|own| &own.endpoint)),
            None => {
                self.missing(&section, "match", "conditions; `match: { state: any }` is every entry");
                None
            }
        };
        let verdict = match section.get("action") {
            Some(field) => match self.action(&field, conditions.as_mut(), around) {
                Some(wish) => wish.verdict(&mut compiled.actions),
                None => None,
            },
            None => {
                self.missing(&section, "action", "keep, delete, copy or move");
                None
            }
        };
        Some(Rule { name: name?, conditions: conditions?, verdict: verdict? })
    }

    fn rule_name(&mut self, field: &Field<'_>) -> Option<String> {
        self.literal(field, "a name")?;
        self.name(field)
    }

    fn conditions(&mut self, field: &Field<'_>, endpoint: Option<&Endpoint>) -> Option<Conditions> {
        let problems_before = self.problems.len();
        let section = self.section(field, MATCH_KEYS)?;
        if section.is_empty() && self.problems.len() == problems_before {
            self.problem(section.at, format!("{} has no condition", field.path)).hint =
                Some("`state: any` is every entry".into());
        }
        let states: Vec<(&str, State)> = State::ALL.iter().map(|state| (state.as_str(), *state)).collect();
        let conditions = Conditions {
            prefix: self.keys_of(&section, "prefix"),
            suffix: self.keys_of(&section, "suffix"),
            key_glob: self.patterns(&section, "key_glob", KeyPattern::glob),
            key_regex: self.patterns(&section, "key_regex", KeyPattern::regex),
            state: self.each(&section, "state", |reader, item| reader.one_of(item, &states)),
            older_than: self.age(&section, "older_than"),
            newer_than: self.age(&section, "newer_than"),
            noncurrent_for: self.age(&section, "noncurrent_for"),
            lifecycle_days: section.get("lifecycle_days").and_then(|field| self.boolean(&field))
                == Some(true),
            beyond_newest: section.get("beyond_newest").and_then(|field| self.count(&field, 1..=u64::MAX)),
            min_size_bytes: section.get("min_size").and_then(|field| self.size(&field)),
            max_size_bytes: section.get("max_size").and_then(|field| self.size(&field)),
            storage_class: self.classes(&section, endpoint),
            etag: self.words(&section, "etag", "an ETag"),
            created_before: self.point(&section, "created_before"),
            created_after: self.point(&section, "created_after"),
        };
        self.check_lifecycle(&section, &conditions);
        (self.problems.len() == problems_before).then_some(conditions)
    }

    /// S3 Lifecycle counts whole days, so `lifecycle_days` means nothing for anything else.
    fn check_lifecycle(&mut self, section: &Section<'_>, conditions: &Conditions) {
        let Some(field) = section.get("lifecycle_days").filter(|_| conditions.lifecycle_days) else { return };
        match (section.get("noncurrent_for"), conditions.noncurrent_for) {
            (None, _) => {
                self.problem(
                    field.node.at,
                    format!("{} rounds noncurrent_for, which is missing", field.path),
                );
            }
            (Some(rounded), Some(duration)) if duration.as_secs() % DAY_SECS != 0 => {
                self.unfit(&rounded, "whole days, as lifecycle_days rounds to days");
            }
            _ => {}
        }
    }

    pub(super) fn each<T>(
        &mut self,
        section: &Section<'_>,
        key: &str,
        mut read: impl FnMut(&mut Self, &Field<'_>) -> Option<T>,
    ) -> Vec<T> {
        let Some(field) = section.get(key) else { return Vec::new() };
        let items = self.items(&field, "at least one value, or leave the key out");
        items.iter().filter_map(|item| read(self, item)).collect()
    }

    fn keys_of(&mut self, section: &Section<'_>, key: &str) -> Vec<Key> {
        let expected = format!("the bytes that keys have as their {key}");
        self.each(section, key, |reader, item| reader.literal(item, &expected).map(Key::from))
    }

    fn words(&mut self, section: &Section<'_>, key: &str, expected: &str) -> Vec<Box<str>> {
        self.each(section, key, |reader, item| reader.literal(item, expected).map(Box::from))
    }

    fn classes(&mut self, section: &Section<'_>, endpoint: Option<&Endpoint>) -> Vec<Box<str>> {
        self.each(section, "storage_class", |reader, item| {
            let word = reader.literal(item, "a storage class such as STANDARD")?;
            reader.warn_of_class(item, word, endpoint);
            Some(Box::from(word))
        })
    }

    fn patterns(
        &mut self,
        section: &Section<'_>,
        key: &str,
        compile: fn(&str) -> Result<KeyPattern, PatternError>,
    ) -> Vec<KeyPattern> {
        self.each(section, key, |reader, item| match compile(reader.literal(item, "a pattern")?) {
            Ok(pattern) => Some(pattern),
            Err(error) => {
                reader.problem(item.node.at, format!("{}: {error}", item.path));
                None
            }
        })
    }

    fn age(&mut self, section: &Section<'_>, key: &str) -> Option<Duration> {
        section.get(key).and_then(|field| self.duration(&field, Duration::ZERO))
    }

    fn point(&mut self, section: &Section<'_>, key: &str) -> Option<crate::model::Timestamp> {
        const EXPECTED: &str =
            "a day such as 2024-01-31 (from 00:00 UTC) or a time such as 2024-01-31T12:00:00Z";
        let field = section.get(key)?;
        let read = units::timestamp(self.literal(&field, EXPECTED)?);
        if read.is_none() {
            self.unfit(&field, EXPECTED);
        }
        read
    }

    fn action(
        &mut self,
        field: &Field<'_>,
        conditions: Option<&mut Conditions>,
        around: Around<'_>,
    ) -> Option<Wish> {
        const EXPECTED: &str = "keep, delete, or a mapping with delete, copy or move";
        match &field.node.value {
            Value::Scalar { text, .. } if text == "keep" => Some(Wish::Keep),
            Value::Scalar { text, .. } if text == "delete" => {
                Some(Wish::Action(Action::Delete(DeleteOptions::default())))
            }
            Value::Scalar { text, .. } if matches!(&**text, "move" | "copy") => {
                self.no_destination(field, &format!("{}: {text}", field.path));
                None
            }
            Value::Map(_) => self.action_mapping(field, conditions, around).map(Wish::Action),
            _ => {
                self.unfit(field, EXPECTED);
                None
            }
        }
    }

    fn action_mapping(
        &mut self,
        field: &Field<'_>,
        conditions: Option<&mut Conditions>,
        around: Around<'_>,
    ) -> Option<Action> {
        const VERBS: [&str; 3] = ["delete", "copy", "move"];
        let problems_before = self.problems.len();
        let section = self.section(field, &VERBS)?;
        let given: Vec<_> = VERBS.iter().filter_map(|verb| Some((*verb, section.get(verb)?))).collect();
        match &given[..] {
            [("delete", field)] => self.delete_options(field).map(Action::Delete),
            [(verb, field)] => {
                let mut transfer = self.transfer(field, *verb == "move", around)?;
                self.check_transfer(field, &mut transfer, conditions?, around);
                Some(Action::Transfer(Box::new(transfer)))
            }
            [] => {
                if self.problems.len() == problems_before {
                    let what = format!("{} names no action", field.path);
                    self.problem(section.at, what).expected = Some("delete, copy or move".into());
                }
                None
            }
            [.., (verb, second)] => {
                let what = format!("{} has two actions: a rule has one, and {verb} is too many", field.path);
                self.problem(second.node.at, what).hint =
                    Some("the first rule that matches decides; move both copies and deletes".into());
                None
            }
        }
    }

    fn delete_options(&mut self, field: &Field<'_>) -> Option<DeleteOptions> {
        if field.node.is_null() {
            return Some(DeleteOptions::default());
        }
        let section = self.section(field, &["bypass_governance_retention", "mfa"])?;
        let bypass = section.get("bypass_governance_retention").map(|field| self.boolean(&field));
        let mfa = section.get("mfa").map(|field| self.mfa(&field));
        Some(DeleteOptions {
            bypass_governance_retention: bypass.unwrap_or(Some(false))?,
            mfa: match mfa {
                Some(read) => Some(read?),
                None => None,
            },
        })
    }

    /// The one place inside rules where the environment is asked: a token is good for a minute and
    /// selects nothing.
    pub(super) fn mfa(&mut self, field: &Field<'_>) -> Option<Mfa> {
        let section = self.section(field, &["serial", "token"])?;
        let mut part = |key: &str, expected: &str| match section.get(key) {
            Some(field) => {
                let text = self.text(&field, expected)?;
                if text.contains(char::is_whitespace) || !text.is_ascii() {
                    self.unfit(&field, expected);
                    return None;
                }
                Some(text)
            }
            None => {
                self.missing(&section, key, expected);
                None
            }
        };
        let serial = part("serial", "the serial number or ARN of the device, without spaces");
        let token = part("token", "the token that the device shows, best as ${env:NAME}");
        Some(Mfa { serial: serial?, token: token? })
    }

    /// Notes rules that can do nothing.
    pub(super) fn lint(&mut self, compiled: &Compiled, scope_prefixes: &[Key]) {
        for (at, rule) in compiled.rules.iter().enumerate() {
            let place = compiled.places.get(at).copied().unwrap_or(At::START);
            if let Some(why) = lint::never_matches(&rule.conditions, scope_prefixes) {
                self.warning(place, format!("rule {:?} can never match: {why}", rule.name), None);
                continue;
            }
            let above = &compiled.rules[..at];
            if let Some(hiding) = above.iter().find(|above| lint::covers(&above.conditions, &rule.conditions))
            {
                let what = format!("rule {:?} is hidden by rule {:?} above it", rule.name, hiding.name);
                let hint = "whatever it matches is decided before it: move it up, or drop it";
                self.warning(place, what, Some(hint.into()));
            }
        }
    }
}
