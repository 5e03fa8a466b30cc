//! From the tree to a job.

use serde_json::{Value as Json, json};

use crate::model::{DeleteOptions, Key};
use crate::rules::{Conditions, KeyPattern, NullVersions, Rule, Verdict};

use super::fingerprint::{Fingerprint, sha256_hex};
use super::problem::{Problem, Problems};
use super::reader::{Field, Reader, Section};
use super::rule_section::{Around, Compiled};
use super::spec::{Budget, Endpoint, Job, Limits, ListingMode, Metrics, Report, Retry, SandboxSpec, Scope};
use super::yaml::{self, At, Node};
use super::{Action, BucketSpec, FILE_BYTES_MAX};

/// Rises when the same rules would come to mean something else: a run that began under the old
/// meaning is not gone on with.
const RULES_MEANING: u32 = 1;

/// Reads a job file: all of it is right, or every problem is told, in the order of the file.
///
/// `file_name` is what problems call the file. `env` gives the variables of the environment, for
/// `${env:NAME}`.
///
/// # Errors
/// The problems; never an empty list of them.
pub fn load(text: &str, file_name: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Job, Problems> {
    let mut reader = Reader::new(file_name, env);
    let job = if text.len() > FILE_BYTES_MAX {
        let what = format!("the file has {} bytes", text.len());
        reader.problem(At::START, what).expected = Some(format!("at most {FILE_BYTES_MAX}"));
        None
    } else {
        reader.document(text)
    };
    let Reader { mut problems, mut warnings, .. } = reader;
    let place = |problem: &Problem| (problem.line, problem.column);
    problems.sort_by_key(place);
    warnings.sort_by_key(place);
    match job {
        Some(job) if problems.is_empty() => Ok(Job { warnings, ..job }),
        _ => Err(Problems(problems)),
    }
}

impl Reader<'_> {
    fn document(&mut self, text: &str) -> Option<Job> {
        const KNOWN: &[&str] = &[
            "version",
            "name",
            "bucket",
            "scope",
            "rules",
            "limits",
            "budget",
            "retry",
            "report",
            "metrics",
            "lock",
            "notify",
            "sandbox",
            "allow_promotion",
            "null_versions",
            "confirm",
        ];
        let (root, faults) = yaml::parse(text);
        let is_readable = root.as_ref().is_some_and(|root| !root.is_null());
        for fault in faults {
            self.problem(fault.at, fault.what).hint = fault.hint.map(str::to_owned);
        }
        let root: Node = match root {
            Some(root) if is_readable => root,
            _ => {
                if self.problems.is_empty() {
                    self.problem(At::START, "the file is empty").expected = Some("a job".into());
                }
                return None;
            }
        };
        self.refuse_credentials(&root);
        let field = Field { path: String::new(), node: &root };
        if !matches!(root.value, yaml::Value::Map(_)) {
            self.problem(root.at, "the file is no mapping").expected =
                Some("a job: version, name, ...".into());
            return None;
        }
        let section = self.section(&field, KNOWN)?;
        self.job(&section)
    }

    fn job(&mut self, section: &Section<'_>) -> Option<Job> {
        self.version(section);
        let name = self.required(section, "name", "a name for the job", Self::name);
        let bucket = self.required(section, "bucket", "the bucket to work on", Self::bucket);
        let scope = self.optional(section, "scope", Self::scope);
        let compiled = match section.get("rules") {
            Some(field) => {
                let own = bucket.as_ref().filter(|bucket| !bucket.name.is_empty());
                self.rules(&field, Around { own, prefixes: &scope.prefixes })
            }
            None => {
                self.missing(section, "rules", "a list of rules");
                Compiled::default()
            }
        };
        self.lint(&compiled, &scope.prefixes);
        self.warn_of_two_histories(&compiled);
        let allow_promotion = self.optional_flag(section, "allow_promotion", false);
        if let Some(own) = &bucket {
            self.warn_of_repeated_copies(&compiled, own);
            if !allow_promotion {
                self.warn_of_kept_moves(&compiled, own);
            }
        }
        let null_versions = section.get("null_versions").and_then(|field| {
            self.one_of(&field, &[("refuse", NullVersions::Refuse), ("allow", NullVersions::Allow)])
        });
        let confirm = self.optional_flag(section, "confirm", true);
        let limits: Limits = self.optional(section, "limits", Self::limits);
        let budget: Budget = self.optional(section, "budget", Self::budget);
        let retry: Retry = self.optional(section, "retry", Self::retry);
        let report: Report = self.optional(section, "report", Self::report);
        let metrics: Metrics = self.optional(section, "metrics", Self::metrics);
        let notify = self.optional(section, "notify", Self::notify);
        let sandbox = section.get("sandbox").map(|field| (self.sandbox(&field), field.node.at));
        let lock = section
            .get("lock")
            .zip(bucket.as_ref())
            .and_then(|(field, bucket)| self.host_lock(&field, name.as_deref().unwrap_or_default(), bucket));
        let (name, bucket) = (name?, bucket?);
        let sandbox = self.sandbox_of(&bucket, sandbox);
        let mut job = Job {
            name,
            bucket,
            scope,
            rules: compiled.rules,
            actions: compiled.actions,
            allow_promotion,
            null_versions: null_versions.unwrap_or_default(),
            confirm,
            limits,
            budget,
            retry,
            report,
            metrics,
            lock,
            notify,
            sandbox,
            fingerprint: Fingerprint::of(&Json::Null),
            warnings: Vec::new(),
        };
        job.fingerprint = Fingerprint::of(&self.semantic(&job));
        Some(job)
    }

    /// The version of the file's format.
    fn version(&mut self, section: &Section<'_>) {
        match section.get("version") {
            Some(field) => _ = self.count(&field, 1..=1),
            None => self.missing(section, "version", "version: 1"),
        }
    }

    fn required<T>(
        &mut self,
        section: &Section<'_>,
        key: &str,
        expected: &str,
        read: impl FnOnce(&mut Self, &Field<'_>) -> Option<T>,
    ) -> Option<T> {
        match section.get(key) {
            Some(field) => read(self, &field),
            None => {
                self.missing(section, key, expected);
                None
            }
        }
    }

    fn optional<T: Default>(
        &mut self,
        section: &Section<'_>,
        key: &str,
        read: impl FnOnce(&mut Self, &Field<'_>) -> Option<T>,
    ) -> T {
        section.get(key).and_then(|field| read(self, &field)).unwrap_or_default()
    }

    fn optional_flag(&mut self, section: &Section<'_>, key: &str, default: bool) -> bool {
        section.get(key).and_then(|field| self.boolean(&field)).unwrap_or(default)
    }

    fn sandbox_of(
        &mut self,
        bucket: &BucketSpec,
        given: Option<(Option<SandboxSpec>, At)>,
    ) -> Option<SandboxSpec> {
        match (&bucket.endpoint, given) {
            (Endpoint::Sandbox, given) => {
                given.map_or_else(|| Some(SandboxSpec::default()), |(spec, _)| spec)
            }
            (_, Some((_, at))) => {
                self.problem(at, "sandbox is given, but the bucket is elsewhere").hint =
                    Some("say bucket.endpoint: sandbox, or leave the section out".into());
                None
            }
            (_, None) => None,
        }
    }

    /// What the fingerprint is taken of: whatever decides which versions are touched, and how.
    fn semantic(&self, job: &Job) -> Json {
        let endpoint = job.bucket.endpoint.to_string();
        json!({
            "meaning": RULES_MEANING,
            "bucket": {
                "name": self.canonical(&job.bucket.name),
                "endpoint": self.canonical(&endpoint),
                "expected_owner": job.bucket.expected_owner.as_deref().map(|owner| self.canonical(owner)),
            },
            "scope": self.canonical_scope(&job.scope),
            "rules": job.rules.iter().map(|rule| self.canonical_rule(rule, &job.actions)).collect::<Vec<_>>(),
            "allow_promotion": job.allow_promotion,
            "null_versions": match job.null_versions {
                NullVersions::Refuse => "refuse",
                NullVersions::Allow => "allow",
            },
            "sandbox": job.sandbox.as_ref().map(canonical_sandbox),
        })
    }

    /// Text as it goes into the checkpoint: hashed where it came from the environment.
    pub(super) fn canonical(&self, text: &str) -> Json {
        if self.from_env.contains(text) {
            json!(format!("sha256:{}", sha256_hex(text.as_bytes())))
        } else {
            json!(text)
        }
    }

    fn canonical_key(&self, key: &Key) -> Json {
        // Keys of a job file are text.
        self.canonical(key.as_str().unwrap_or_default())
    }

    fn canonical_scope(&self, scope: &Scope) -> Json {
        let mut canonical = json!({
            "prefixes": scope.prefixes.iter().map(|key| self.canonical_key(key)).collect::<Vec<_>>(),
            "from_key": scope.from_key.as_ref().map(|key| self.canonical_key(key)),
            "to_key": scope.to_key.as_ref().map(|key| self.canonical_key(key)),
            "limit": scope.limit,
        });
        // Ranges that were divided by the order of bytes must not be listed in another.
        if scope.listing == ListingMode::Sequential {
            canonical["listing"] = json!("sequential");
        }
        canonical
    }

    /// The token changes every minute; a run that is gone on with has a new one.
    pub(super) fn canonical_deletion(&self, options: &DeleteOptions) -> Json {
        json!({
            "bypass_governance_retention": options.bypass_governance_retention,
            "mfa_serial": options.mfa.as_ref().map(|mfa| self.canonical(&mfa.serial)),
        })
    }

    fn canonical_rule(&self, rule: &Rule, actions: &[Action]) -> Json {
        let action = match rule.verdict {
            Verdict::Keep => json!("keep"),
            Verdict::Act(id) | Verdict::Copy(id) => match actions.get(usize::from(id.0)) {
                None => Json::Null,
                Some(Action::Delete(options)) => {
                    json!({ "number": id.0, "delete": self.canonical_deletion(options) })
                }
                Some(Action::Transfer(transfer)) => {
                    let verb = if transfer.removes_source.is_some() { "move" } else { "copy" };
                    json!({ "number": id.0, verb: self.canonical_transfer(transfer) })
                }
            },
        };
        json!({ "name": rule.name, "match": canonical_conditions(&rule.conditions), "action": action })
    }
}

/// The conditions that are given. What comes from the environment cannot be among them.
fn canonical_conditions(conditions: &Conditions) -> Json {
    let keys = |keys: &[Key]| keys.iter().map(|key| json!(key.as_str())).collect::<Vec<_>>();
    let sources = |patterns: &[KeyPattern]| patterns.iter().map(|p| json!(p.source())).collect::<Vec<_>>();
    let texts = |texts: &[Box<str>]| texts.iter().map(|text| json!(text)).collect::<Vec<_>>();
    let lists = [
        ("prefix", keys(&conditions.prefix)),
        ("suffix", keys(&conditions.suffix)),
        ("key_glob", sources(&conditions.key_glob)),
        ("key_regex", sources(&conditions.key_regex)),
        ("state", conditions.state.iter().map(|state| json!(state.as_str())).collect()),
        ("storage_class", texts(&conditions.storage_class)),
        ("etag", texts(&conditions.etag)),
    ];
    let singles = [
        ("older_than_secs", conditions.older_than.map(|age| json!(age.as_secs()))),
        ("newer_than_secs", conditions.newer_than.map(|age| json!(age.as_secs()))),
        ("noncurrent_for_secs", conditions.noncurrent_for.map(|age| json!(age.as_secs()))),
        ("lifecycle_days", conditions.lifecycle_days.then_some(json!(true))),
        ("beyond_newest", conditions.beyond_newest.map(|count| json!(count))),
        ("min_size_bytes", conditions.min_size_bytes.map(|size| json!(size))),
        ("max_size_bytes", conditions.max_size_bytes.map(|size| json!(size))),
        ("created_before", conditions.created_before.map(|at| json!(at.to_string()))),
        ("created_after", conditions.created_after.map(|at| json!(at.to_string()))),
    ];
    let given =
        lists.into_iter().filter(|(_, list)| !list.is_empty()).map(|(name, list)| (name, json!(list)));
    let given = given.chain(singles.into_iter().filter_map(|(name, value)| Some((name, value?))));
    Json::Object(given.map(|(name, value)| (name.to_owned(), value)).collect())
}

/// What the embedded bucket holds. Its faults change nothing about that.
fn canonical_sandbox(sandbox: &SandboxSpec) -> Json {
    json!({
        "keys": sandbox.keys,
        "versions_per_key": sandbox.versions_per_key,
        "marker_share": sandbox.marker_share,
        "prefixes": sandbox.prefixes,
        "key_shape": format!("{:?}", sandbox.key_shape).to_lowercase(),
        "oldest_secs": sandbox.oldest.as_secs(),
        "newest_secs": sandbox.newest.as_secs(),
        "size_bytes": sandbox.size_bytes,
        "seed": sandbox.seed,
    })
}
