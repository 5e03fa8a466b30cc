//! What a copy or a move must not do: lose what is required, find its own copies, or turn a key's
//! history around.

use crate::model::{
    AclSource, ActionId, CopySettings, Encryption, History, IfExists, Key, LockSource, MetadataSource,
    Requirement, Route, TagSource,
};
use crate::rules::{Conditions, Rule, State, Verdict};

use super::lint;
use super::reader::{Field, Reader, quoted};
use super::rule_section::{Around, Compiled};
use super::spec::{Action, BucketSpec, Endpoint, Transfer};
use super::yaml::{At, Value};

/// The field of a mapping, or the mapping where it was not given.
fn at(field: &Field<'_>, key: &str) -> At {
    match &field.node.value {
        Value::Map(entries) => entries.iter().find(|entry| entry.key == key).map(|entry| entry.value.at),
        _ => None,
    }
    .unwrap_or(field.node.at)
}

fn is_given(field: &Field<'_>, key: &str) -> bool {
    matches!(&field.node.value, Value::Map(entries) if entries.iter().any(|entry| entry.key == key))
}

impl Transfer {
    /// Whether the copies have the bucket and the keys of their sources.
    pub fn is_in_place(&self, own: &BucketSpec) -> bool {
        self.is_same_bucket(own) && self.settings.key.is_identity()
    }

    /// Whether source and destination have one endpoint and one identity, so that the server can copy.
    pub fn server_can_copy(&self, own: &BucketSpec) -> bool {
        self.to.endpoint == own.endpoint && self.to.profile == own.profile
    }

    /// Whether the bytes pass through this program.
    pub fn is_streamed(&self, own: &BucketSpec) -> bool {
        match self.settings.route {
            Route::Server => false,
            Route::Stream => true,
            Route::Auto => !self.server_can_copy(own),
        }
    }

    fn is_same_bucket(&self, own: &BucketSpec) -> bool {
        self.to.name == own.name && self.to.endpoint.is_same_server(&own.endpoint)
    }
}

impl Reader<'_> {
    /// Notes what the action must not do with what its rule matches, and settles what one decides for
    /// the other: `history: current` makes a rule without a state one for current versions, and copies
    /// in place are written on top.
    pub(super) fn check_transfer(
        &mut self,
        field: &Field<'_>,
        transfer: &mut Transfer,
        conditions: &mut Conditions,
        around: Around<'_>,
    ) {
        self.check_losses(field, &transfer.settings);
        self.check_history(field, &transfer.settings, conditions);
        let Some(own) = around.own else { return };
        if transfer.settings.route == Route::Server && !transfer.to.endpoint.is_same_server(&own.endpoint) {
            let what = format!("{}.route: no server copies to another endpoint", field.path);
            self.problem(at(field, "route"), what).expected = Some("auto or stream".into());
        }
        if transfer.is_in_place(own) {
            self.check_in_place(field, transfer, conditions);
            return;
        }
        // An embedded server ends with its process, so that no second run finds anything.
        let is_lasting = transfer.to.endpoint != Endpoint::Sandbox;
        if transfer.removes_source.is_none() && is_lasting && !is_given(field, "if_exists") {
            let what = format!(
                "{}: the sources stay, so a second run finds the copies of the first: their versions fail with \
                 DestinationExists, and it ends with 1",
                field.path
            );
            let hint = "say if_exists: skip_same, which takes them for copied; or if_exists: fail, where that is meant";
            self.warning(field.node.at, what, Some(hint.into()));
        }
        if transfer.is_same_bucket(own) {
            self.check_reach(field, &transfer.settings, conditions, around.prefixes);
        }
    }

    /// Notes rules whose moves in place would not be what is meant: a latest version whose elders stay
    /// is kept, as nobody asked for these to come to light.
    pub(super) fn warn_of_kept_moves(&mut self, compiled: &Compiled, own: &BucketSpec) {
        for (rule, place) in compiled.rules.iter().zip(&compiled.places) {
            let Verdict::Act(ActionId(index)) = rule.verdict else { continue };
            let action = compiled.actions.get(usize::from(index));
            if action.and_then(Action::transfer).is_some_and(|transfer| transfer.is_in_place(own)) {
                let what =
                    format!("rule {:?} moves in place: a key with older versions is left alone", rule.name);
                let hint = "say allow_promotion: true: the copy lies above them before its source goes";
                self.warning(*place, what, Some(hint.into()));
            }
        }
    }

    /// Notes rules that copy in place what they made before: the copy is a current version like its source.
    /// Copying once is a use of its own, so this is no problem.
    pub(super) fn warn_of_repeated_copies(&mut self, compiled: &Compiled, own: &BucketSpec) {
        for (at, (rule, place)) in compiled.rules.iter().zip(&compiled.places).enumerate() {
            let (Verdict::Act(id) | Verdict::Copy(id)) = rule.verdict else { continue };
            let action = compiled.actions.get(usize::from(id.0));
            let Some(transfer) = action.and_then(Action::transfer).filter(|to| to.is_in_place(own)) else {
                continue;
            };
            let Some(made) = what_is_made(&rule.conditions, &transfer.settings) else { continue };
            // A rule above that takes all copies leaves none to this one.
            if compiled.rules[..at].iter().any(|above| lint::covers(&above.conditions, &made)) {
                continue;
            }
            let (what, cost) = match transfer.removes_source {
                Some(_) => ("moves", "each run moves it once more"),
                None => ("copies", "each run adds one more version to each key"),
            };
            let what =
                format!("rule {:?} {what} in place, and matches what it made before: {cost}", rule.name);
            let hint = match &transfer.settings.storage_class {
                Some(class) => format!(
                    "say in match which storage_class it takes, other than {class}, or older_than: an age"
                ),
                None => "say in match created_before: the day of the first run, or older_than: an age".into(),
            };
            self.warning(*place, what, Some(hint));
        }
    }

    /// Notes pairs of rules that write to the same keys in different ways: what one rule selects of a
    /// key arrives as one history, and two of them have no order among each other.
    pub(super) fn warn_of_two_histories(&mut self, compiled: &Compiled) {
        let all: Vec<(&Rule, At, ActionId, &Transfer)> = compiled
            .rules
            .iter()
            .zip(&compiled.places)
            .filter_map(|(rule, place)| {
                let (Verdict::Act(id) | Verdict::Copy(id)) = rule.verdict else { return None };
                let action = compiled.actions.get(usize::from(id.0))?;
                Some((rule, *place, id, action.transfer()?))
            })
            .collect();
        for (at, (rule, place, id, transfer)) in all.iter().enumerate() {
            let rival = all[..at].iter().find(|(other, _, other_id, to)| {
                other_id != id
                    && transfer.is_same_bucket(&to.to)
                    && transfer.settings.key == to.settings.key
                    && lint::may_share_keys(&other.conditions, &rule.conditions)
            });
            if let Some((other, ..)) = rival {
                let what = format!(
                    "rules {:?} and {:?} bring versions of a key to the same place as two histories: where \
                     both select some, the later one finds the key taken, or lies on top",
                    other.name, rule.name
                );
                let hint = "give them the same settings, or keys that are not the same";
                self.warning(*place, what, Some(hint.into()));
            }
        }
    }

    fn check_losses(&mut self, field: &Field<'_>, settings: &CopySettings) {
        for requirement in &settings.require {
            let Some((what, cause, hint)) = loss(*requirement, settings) else { continue };
            let place = if is_given(field, cause) { at(field, cause) } else { at(field, "require") };
            self.problem(place, format!("{}.require: {what}", field.path)).hint = Some(hint.into());
        }
    }

    fn check_history(&mut self, field: &Field<'_>, settings: &CopySettings, conditions: &mut Conditions) {
        if settings.history == History::Current {
            if conditions.state.is_empty() {
                conditions.state = vec![State::Current];
            } else if !selects_current_only(conditions) {
                let what = format!("{}.history is current, but the rule's state is not", field.path);
                self.problem(at(field, "history"), what).hint =
                    Some("say state: current in the rule's match, or leave state out".into());
            }
        }
        if !settings.key.is_by_version() {
            return;
        }
        if settings.history == History::All {
            let what = format!("{}.history is all, but the key differs from version to version", field.path);
            self.problem(at(field, "history"), what).hint = Some(
                "leave {version_id} and {last_modified} out of the key, or take history: selected".into(),
            );
        } else if lint::may_select_markers(conditions) {
            let what = format!(
                "{}.key differs from version to version: delete markers have no place in it",
                field.path
            );
            self.problem(at(field, "key"), what).hint =
                Some("say state: [current, noncurrent] in the rule's match".into());
        }
    }

    /// A copy of a version to its own key becomes the key's newest entry.
    fn check_in_place(&mut self, field: &Field<'_>, transfer: &mut Transfer, conditions: &Conditions) {
        if !selects_current_only(conditions) || transfer.settings.history == History::All {
            let what = format!(
                "{}: a copy in place becomes the current version: older versions cannot be changed in place \
                 without turning the history around",
                field.path
            );
            self.problem(field.node.at, what).hint = Some(
                "take current versions only (history: current), or copy to another bucket or prefix".into(),
            );
            return;
        }
        if transfer.removes_source.is_some() && !changes_something(&transfer.settings) {
            let what = format!("{}: moved in place, the versions would be what they were", field.path);
            self.problem(field.node.at, what).expected =
                Some("another bucket, prefix or key, or a storage_class, encryption, ... to change".into());
        }
        if is_given(field, "if_exists") && transfer.settings.if_exists != IfExists::Append {
            let what = format!("{}.if_exists: a copy in place always finds its source", field.path);
            let problem = self.problem(at(field, "if_exists"), what);
            problem.expected = Some("append, which is meant where it is left out".into());
        }
        transfer.settings.if_exists = IfExists::Append;
    }

    /// Copies within the bucket must not be what the next run copies again.
    fn check_reach(
        &mut self,
        field: &Field<'_>,
        settings: &CopySettings,
        conditions: &Conditions,
        prefixes: &[Key],
    ) {
        let literal = settings.key.literal_prefix();
        let meets =
            |prefix: &Key| prefix.as_bytes().starts_with(literal) || literal.starts_with(prefix.as_bytes());
        let is_out_of_reach = !prefixes.iter().any(meets)
            || (!conditions.prefix.is_empty() && !conditions.prefix.iter().any(meets));
        if is_out_of_reach {
            return;
        }
        let what = format!("{}: the next run would find the copies and copy them again", field.path);
        let place = if is_given(field, "prefix") { at(field, "prefix") } else { at(field, "key") };
        let keys = match std::str::from_utf8(literal) {
            Ok(text) if !text.is_empty() => format!("keys that begin with {}", quoted(text)),
            _ => "the copies' keys, which need a beginning of their own".into(),
        };
        self.problem(place, what).hint =
            Some(format!("narrow scope.prefixes or the rule's prefix so that neither meets {keys}"));
    }
}

/// Why what is required would be lost: the cause in words, the setting, and what to do.
fn loss(
    requirement: Requirement,
    settings: &CopySettings,
) -> Option<(&'static str, &'static str, &'static str)> {
    let s = settings;
    let is_foreign = matches!(s.encryption, Encryption::Kms { .. } | Encryption::Customer(_));
    match requirement {
        Requirement::Acl if s.acl != AclSource::Copy => {
            Some(("access control lists are not copied", "acl", "say acl: copy"))
        }
        Requirement::Tags if s.tags != TagSource::Copy => {
            Some(("tags are not copied", "tags", "say tags: copy, or leave tags out"))
        }
        Requirement::Lock if s.lock != LockSource::Copy => {
            Some(("retention and legal hold are not copied", "lock", "say lock: copy"))
        }
        Requirement::Metadata if s.metadata != MetadataSource::Copy => {
            Some(("metadata is not copied", "metadata", "say metadata: copy, or leave metadata out"))
        }
        Requirement::Etag if is_foreign => Some((
            "with keys of KMS or of a customer no ETag stays the same",
            "encryption",
            "take encryption: AES256 or default, or leave etag out of require",
        )),
        Requirement::Etag if s.source_key.is_some() => Some((
            "the ETag of a version under a customer's key does not stay the same",
            "source_customer_key",
            "leave etag out of require",
        )),
        Requirement::Etag if s.part_bytes.is_some() => Some((
            "with parts of another size the ETag does not stay the same",
            "part_size",
            "leave part_size out: the parts of the source are kept",
        )),
        _ => None,
    }
}

/// What those of a rule's copies in place fulfil that the rule itself selects again at once; `None` where
/// it selects none. A copy is new, and has the storage class that the rule gives it.
fn what_is_made(conditions: &Conditions, settings: &CopySettings) -> Option<Conditions> {
    let is_old = conditions.older_than.is_some_and(|age| !age.is_zero());
    // Copies come after whatever day was known when the job was written.
    if is_old || conditions.created_before.is_some() {
        return None;
    }
    let mut made = conditions.clone();
    if let Some(class) = &settings.storage_class {
        let is_taken = |wanted: &[Box<str>]| wanted.is_empty() || wanted.iter().any(|one| **one == **class);
        if !is_taken(&conditions.storage_class) {
            return None;
        }
        made.storage_class = vec![class.as_str().into()];
    }
    Some(made)
}

fn selects_current_only(conditions: &Conditions) -> bool {
    !conditions.state.is_empty() && conditions.state.iter().all(|state| *state == State::Current)
}

/// Whether a copy in place is anything else than its source.
fn changes_something(settings: &CopySettings) -> bool {
    settings.storage_class.is_some()
        || settings.metadata != MetadataSource::Copy
        || settings.tags != TagSource::Copy
        || settings.encryption != Encryption::Default
        || settings.checksum.is_some()
        || matches!(settings.acl, AclSource::Canned(_))
        || matches!(settings.lock, LockSource::Set { .. })
}
