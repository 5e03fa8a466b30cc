//! What a job must do to a bucket, worked out the slow way: whole keys at once, no pages, no
//! batches, no state. Written from the description of the job file, and using nothing of the
//! program but the types that name an entry.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use s3sweep::model::{Kind, Timestamp, Version};

use super::{Ref, ref_of};

const DAY_MILLIS: i64 = 86_400_000;

/// A rule, written once for the job file and for the oracle.
#[derive(Clone, Copy, Default)]
pub struct Rule {
    pub name: &'static str,
    pub keeps: bool,
    pub prefix: &'static [&'static str],
    pub suffix: &'static [&'static str],
    pub state: &'static [&'static str],
    pub older_than_days: Option<i64>,
    pub noncurrent_for_days: Option<i64>,
    pub beyond_newest: Option<usize>,
    pub min_size: Option<u64>,
    pub max_size: Option<u64>,
    pub storage_class: &'static [&'static str],
}

/// What decides about the versions of a bucket.
#[derive(Clone, Default)]
pub struct Plan {
    pub rules: Vec<Rule>,
    pub allow_promotion: bool,
    pub null_versions_allowed: bool,
    pub prefixes: Vec<String>,
    pub from_key: Option<String>,
    pub to_key: Option<String>,
    pub limit: Option<usize>,
    pub page_size: Option<u16>,
    /// `scope.listing: sequential`.
    pub sequential: bool,
}

/// What must become of an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fate {
    pub deleted: bool,
    /// The rule that had a say.
    pub rule: Option<&'static str>,
    /// Why it is kept; empty where it is not.
    pub reason: &'static str,
}

pub type Fates = BTreeMap<Ref, Fate>;

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

fn list<T: AsRef<str>>(texts: &[T]) -> String {
    format!("[{}]", texts.iter().map(|text| quoted(text.as_ref())).collect::<Vec<_>>().join(", "))
}

impl Rule {
    fn yaml(&self) -> String {
        let mut conditions = Vec::new();
        for (name, values) in [
            ("prefix", self.prefix),
            ("suffix", self.suffix),
            ("state", self.state),
            ("storage_class", self.storage_class),
        ] {
            if !values.is_empty() {
                conditions.push(format!("{name}: {}", list(values)));
            }
        }
        for (name, days) in
            [("older_than", self.older_than_days), ("noncurrent_for", self.noncurrent_for_days)]
        {
            conditions.extend(days.map(|days| format!("{name}: {days}d")));
        }
        conditions.extend(self.beyond_newest.map(|count| format!("beyond_newest: {count}")));
        for (name, bytes) in [("min_size", self.min_size), ("max_size", self.max_size)] {
            conditions.extend(bytes.map(|bytes| format!("{name}: {bytes}B")));
        }
        let action = if self.keeps { "keep" } else { "delete" };
        format!("  - {{ name: {}, match: {{ {} }}, action: {action} }}\n", self.name, conditions.join(", "))
    }

    /// `above` is what is newer of the key, newest first; `survivors` is what stays beneath.
    fn holds(&self, entry: &Version, above: &[Version], survivors: &[&Version], began: Timestamp) -> bool {
        let is_marker = entry.kind == Kind::DeleteMarker;
        let text = entry.key.as_str().expect("these tests use keys of UTF-8");
        let days_since = |at: Timestamp| (began.as_millis() - at.as_millis(), DAY_MILLIS);
        let at_least = |at: Timestamp, days: i64| {
            let (millis, day) = days_since(at);
            millis >= days * day
        };
        let in_state = |state: &&str| match *state {
            "any" => true,
            "current" => entry.is_latest && !is_marker,
            "noncurrent" => !entry.is_latest && !is_marker,
            "delete-marker" => is_marker,
            "latest-marker" => is_marker && entry.is_latest,
            "noncurrent-marker" => is_marker && !entry.is_latest,
            "orphan-marker" => is_marker && entry.is_latest && survivors.is_empty(),
            other => panic!("the oracle does not know the state {other}"),
        };
        let newer_noncurrent =
            above.iter().filter(|newer| newer.kind == Kind::Version && !newer.is_latest).count();
        let successor = above.last().map(|newer| newer.last_modified);
        let class = entry.storage_class.as_deref().unwrap_or("STANDARD");
        (self.prefix.is_empty() || self.prefix.iter().any(|prefix| text.starts_with(prefix)))
            && (self.suffix.is_empty() || self.suffix.iter().any(|suffix| text.ends_with(suffix)))
            && (self.state.is_empty() || self.state.iter().any(in_state))
            && self.older_than_days.is_none_or(|days| at_least(entry.last_modified, days))
            && self
                .noncurrent_for_days
                .is_none_or(|days| successor.is_some_and(|successor| at_least(successor, days)))
            && self.beyond_newest.is_none_or(|count| newer_noncurrent >= count)
            && self.min_size.is_none_or(|bytes| !is_marker && entry.size >= bytes)
            && self.max_size.is_none_or(|bytes| !is_marker && entry.size <= bytes)
            && (self.storage_class.is_empty() || (!is_marker && self.storage_class.contains(&class)))
    }
}

impl Plan {
    pub fn of(rules: &[Rule]) -> Self {
        Self { rules: rules.to_vec(), ..Self::default() }
    }

    /// The sections of the job file.
    pub fn yaml(&self) -> String {
        let mut scope = Vec::new();
        if !self.prefixes.is_empty() {
            scope.push(format!("prefixes: {}", list(&self.prefixes)));
        }
        scope.extend(self.from_key.as_ref().map(|key| format!("from_key: {}", quoted(key))));
        scope.extend(self.to_key.as_ref().map(|key| format!("to_key: {}", quoted(key))));
        scope.extend(self.limit.map(|limit| format!("limit: {limit}")));
        scope.extend(self.page_size.map(|size| format!("page_size: {size}")));
        scope.extend(self.sequential.then(|| "listing: sequential".to_owned()));
        let mut text = String::new();
        if !scope.is_empty() {
            writeln!(text, "scope: {{ {} }}", scope.join(", ")).unwrap();
        }
        text += "report: { audit: full }\n";
        if self.allow_promotion {
            text += "allow_promotion: true\n";
        }
        if self.null_versions_allowed {
            text += "null_versions: allow\n";
        }
        text += "rules:\n";
        for rule in &self.rules {
            text += &rule.yaml();
        }
        text
    }

    fn in_scope(&self, key: &[u8]) -> bool {
        (self.prefixes.is_empty() || self.prefixes.iter().any(|prefix| key.starts_with(prefix.as_bytes())))
            && self.from_key.as_ref().is_none_or(|from| key > from.as_bytes())
            && self.to_key.as_ref().is_none_or(|to| key <= to.as_bytes())
    }

    /// The fate of every entry that the job lists, in a bucket of these entries: keys in byte order,
    /// newest first.
    pub fn decide(&self, entries: &[Version], is_suspended: bool, began: Timestamp) -> Fates {
        let mut listed: Vec<Version> =
            entries.iter().filter(|entry| self.in_scope(entry.key.as_bytes())).cloned().collect();
        let mut cut_in = None;
        if let Some(limit) = self.limit.filter(|limit| *limit < listed.len()) {
            listed.truncate(limit);
            cut_in = listed.last().map(|entry| entry.key.clone());
        }
        let mut fates = Fates::new();
        for history in listed.chunk_by(|a, b| a.key == b.key) {
            let is_cut = cut_in.as_ref() == Some(&history[0].key);
            self.decide_key(history, is_cut, is_suspended, began, &mut fates);
        }
        fates
    }

    fn decide_key(
        &self,
        history: &[Version],
        is_cut: bool,
        is_suspended: bool,
        began: Timestamp,
        fates: &mut Fates,
    ) {
        assert!(history[0].is_latest, "the newest entry of a key is its latest");
        let kept = |rule, reason| Fate { deleted: false, rule, reason };
        let judge = |at: usize, survivors: &[&Version]| {
            let entry = &history[at];
            // The second in which the run began may hold entries that are newer than the run.
            if entry.last_modified >= began.floor_to_second() {
                return kept(None, "cutoff");
            }
            match self.rules.iter().find(|rule| rule.holds(entry, &history[..at], survivors, began)) {
                None => kept(None, "no-rule"),
                Some(rule) if rule.keeps => kept(Some(rule.name), "rule"),
                Some(rule) if entry.id.is_null() && is_suspended && !self.null_versions_allowed => {
                    kept(Some(rule.name), "null-version")
                }
                Some(rule) => Fate { deleted: true, rule: Some(rule.name), reason: "" },
            }
        };
        let mut survivors = Vec::new();
        for (at, entry) in history.iter().enumerate().skip(1) {
            let fate = judge(at, &[]);
            if !fate.deleted {
                survivors.push(entry);
            }
            fates.insert(ref_of(entry), fate);
        }
        let mut top = judge(0, &survivors);
        let uncovers_data = survivors.first().is_some_and(|newest| newest.kind == Kind::Version);
        if top.deleted && uncovers_data && !self.allow_promotion {
            top = kept(top.rule, "promotion");
        }
        if is_cut {
            top = kept(None, "unfinished");
        }
        fates.insert(ref_of(&history[0]), top);
    }
}
