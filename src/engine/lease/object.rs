//! The lock object: one look, one write, and the versions that this process made of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::job::LockSpec;
use crate::model::{Class, DeleteOptions, Item, Key, Kind, RuleId, Timestamp, VersionId};
use crate::s3::{Attributes, Expect, Operation, S3Error, Written};
use crate::telemetry::{Event, Part};

use super::super::Stop;
use super::super::caller::Caller;
use super::hold::Hold;
use super::note::{Holder, Note};
use super::state::{Holding, Seen, Terms};

/// The longest that one request for the lock is waited for, however long its time to live is.
const PATIENCE_MAX: Duration = Duration::from_secs(10);
/// Superseded versions that could not be deleted so far and are tried again; what is beyond stays.
const SUPERSEDED_MAX: usize = 16;

/// Everything that requests for the lock need.
pub(super) struct Desk {
    caller: Caller,
    key: Key,
    pub(super) holder: Holder,
    pub(super) terms: Terms,
    pub(super) epoch: u64,
    /// When this process came for the lock, by the server's clock.
    pub(super) since: String,
    pub(super) hold: Arc<Hold>,
    run: Mutex<Option<String>>,
    pub(super) renamed: Notify,
    versions: Mutex<Versions>,
    /// The last renewal succeeded.
    is_well: AtomicBool,
}

/// The versions that this process made.
#[derive(Default)]
struct Versions {
    /// The one that is the lock now.
    current: Option<VersionId>,
    superseded: Vec<VersionId>,
    /// Deleting was refused in a way that stays.
    is_refused: bool,
    /// There were more than are remembered: some stay for good.
    has_lost_some: bool,
}

impl Versions {
    fn made(&mut self, version_id: VersionId) {
        if self.current.as_ref() == Some(&version_id) {
            return;
        }
        if let Some(former) = self.current.replace(version_id) {
            if self.superseded.len() < SUPERSEDED_MAX {
                self.superseded.push(former);
            } else {
                self.has_lost_some = true;
            }
        }
    }

    /// Whether no superseded version is left.
    fn are_tidy(&self) -> bool {
        self.superseded.is_empty() && !self.has_lost_some
    }
}

/// Why a request for the lock brought nothing.
pub(super) enum Trouble {
    /// Another try may help.
    Passing(String),
    /// None will.
    Lasting(S3Error),
}

/// What came of a write.
pub(super) enum Put {
    /// It was carried out.
    Done {
        etag: Box<str>,
        version_id: Option<VersionId>,
        /// When its first attempt was sent.
        sent_at: Duration,
    },
    /// Its condition does not hold, or did not hold any more after an answer was lost.
    Refused,
    /// Nobody knows.
    Open(String),
    /// The server will not have it.
    Failed(Trouble),
}

impl Desk {
    pub(super) fn new(spec: &LockSpec, holder: Holder, caller: Caller, stop: Arc<Stop>) -> Self {
        let terms = Terms { ttl: spec.ttl };
        Self {
            key: spec.key.clone(),
            holder,
            terms,
            epoch: 0,
            since: caller.now().to_string(),
            caller,
            hold: Arc::new(Hold::new(terms, place_of(spec), stop)),
            run: Mutex::default(),
            renamed: Notify::new(),
            versions: Mutex::default(),
            is_well: AtomicBool::new(true),
        }
    }

    /// Time since the start, by the clock of [`Hold`].
    pub(super) fn now(&self) -> Duration {
        self.hold.now()
    }

    /// For messages.
    pub(super) fn place(&self) -> &str {
        self.hold.place()
    }

    fn patience(&self) -> Duration {
        self.terms.patience().min(PATIENCE_MAX)
    }

    pub(super) fn name_run(&self, run_id: &str) {
        *self.run.lock().unwrap_or_else(PoisonError::into_inner) = Some(run_id.to_owned());
        self.renamed.notify_one();
    }

    /// A write is known to have been carried out: the time to live counts anew.
    pub(super) fn confirmed(&self, holding: &Holding) {
        let before = self.hold.confirmed(holding.sent_at());
        // A look that finds the lock as it was is no renewal.
        if before < holding.sent_at() && !self.is_well.swap(true, Ordering::Relaxed) {
            let text = format!("the lock {} is renewed again", self.place());
            self.caller.metrics.emit(&Event::TroubleOver { part: Part::Lock, text: &text });
        }
    }

    /// A renewal failed; the log has the first of a row.
    pub(super) fn not_renewed(&self, why: &str) {
        let is_first = self.is_well.swap(false, Ordering::Relaxed);
        let text = format!("the lock {} was not renewed: {why}", self.place());
        self.caller.metrics.emit(&Event::Trouble { part: Part::Lock, is_first, text: &text });
    }

    /// The lock stays behind, or was another's already, when the run has ended.
    pub(super) fn not_given_back(&self, text: &str) {
        self.caller.metrics.emit(&Event::Trouble { part: Part::Lock, is_first: true, text: &text });
    }

    /// What the object holds when it is written now.
    pub(super) fn note(&self, beat: u64) -> Note {
        let progress = self.caller.metrics.progress();
        let mut note = Note::new(&self.holder, self.epoch, beat, self.since.clone());
        note.run = self.run.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (note.listed, note.planned, note.settled) = (progress.listed, progress.planned, progress.settled());
        note
    }

    /// Looks at what lies under the key, and which version it is.
    pub(super) async fn look(&self) -> Result<(Seen, Option<VersionId>), Trouble> {
        let client = &self.caller.client;
        let call =
            self.caller.call(Operation::GetObject, 0, None, || self.in_time(client.get_latest(&self.key)));
        let found = match tokio::time::timeout(self.terms.abort_after(), call).await {
            Ok(Ok(Some(Some(found)))) => found,
            Ok(Ok(_)) | Err(_) => return Err(Trouble::Passing("no answer in time".into())),
            Ok(Err(error)) => return Err(trouble(error)),
        };
        Ok(match found {
            None => (Seen::Absent, None),
            Some(object) => match Note::read(&object.body) {
                Some(note) => (
                    Seen::Note { note: Box::new(note), etag: object.etag, age: object.age },
                    object.version_id,
                ),
                None => (Seen::Foreign, object.version_id),
            },
        })
    }

    /// Writes the object if the condition holds; see [`Desk::write`].
    pub(super) async fn put(&self, note: &Note, expect: Expect<'_>) -> Put {
        self.write(note, expect, false).await
    }

    /// As [`Desk::put`], under a condition that does not hold: that it is refused is no error of the server, and
    /// not counted as one.
    pub(super) async fn probe(&self, note: &Note, expect: Expect<'_>) -> Put {
        self.write(note, expect, true).await
    }

    /// Writes the object if the condition holds. Attempts whose answers were lost are repeated: where the
    /// first was carried out, the condition refuses the second.
    async fn write(&self, note: &Note, expect: Expect<'_>, is_probe: bool) -> Put {
        let client = &self.caller.client;
        let body = bytes::Bytes::from(note.to_bytes());
        let metadata = [("content-type".to_owned(), "application/json".to_owned())].into();
        let attributes = Attributes { metadata: Some(&metadata), ..Attributes::default() };
        // A request may wait long for its turn where the job allows few of them.
        let sent_at = OnceLock::new();
        let call = self.caller.call(Operation::PutObject, 0, None, || async {
            sent_at.get_or_init(|| self.now());
            let write = client.put_version(&self.key, body.clone(), &attributes, expect);
            match self.in_time(write).await {
                Err(error) if is_probe && is_refusal(&error) => Ok(Some(None)),
                answer => answer.map(|written| written.map(Some)),
            }
        });
        match tokio::time::timeout(self.terms.abort_after(), call).await {
            Ok(Ok(Some(Some(None)))) => Put::Refused,
            Ok(Ok(Some(Some(Some(Written { etag: Some(etag), version_id, .. }))))) => {
                let sent_at = sent_at.get().copied().unwrap_or_default();
                Put::Done { etag, version_id, sent_at }
            }
            Ok(Ok(_)) | Err(_) => Put::Open("no answer in time".into()),
            Ok(Err(error)) if is_refusal(&error) => Put::Refused,
            Ok(Err(error)) => match trouble(error) {
                Trouble::Passing(why) => Put::Open(why),
                lasting @ Trouble::Lasting(_) => Put::Failed(lasting),
            },
        }
    }

    /// One attempt; `None` where its answer takes too long.
    async fn in_time<T>(
        &self,
        attempt: impl Future<Output = Result<T, S3Error>>,
    ) -> Result<Option<T>, S3Error> {
        match tokio::time::timeout(self.patience(), attempt).await {
            Ok(answer) => answer.map(Some),
            Err(_) => Ok(None),
        }
    }

    /// This process made a version, which is the current one. Where the bucket keeps no versions there is
    /// none to delete, and `null` may come to name somebody else's.
    pub(super) fn made(&self, version_id: Option<VersionId>) {
        let Some(version_id) = version_id.filter(|id| !id.is_null()) else { return };
        self.versions.lock().unwrap_or_else(PoisonError::into_inner).made(version_id);
    }

    /// Deletes the versions that this process made and superseded. Whether none of them is left; an error
    /// where the server did something else than what was asked for.
    pub(super) async fn tidy(&self) -> Result<bool, S3Error> {
        let superseded = {
            let versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
            if versions.is_refused {
                return Ok(versions.are_tidy());
            }
            versions.superseded.clone()
        };
        for version_id in superseded {
            if !self.delete(version_id.clone()).await? {
                return Ok(false);
            }
            let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
            versions.superseded.retain(|other| *other != version_id);
        }
        Ok(self.versions.lock().unwrap_or_else(PoisonError::into_inner).are_tidy())
    }

    /// Deletes every version that this process made, the current one last.
    pub(super) async fn give_up_versions(&self) {
        let is_tidy = self.tidy().await.unwrap_or(false);
        let current = self.versions.lock().unwrap_or_else(PoisonError::into_inner).current.take();
        if let Some(version_id) = current.filter(|_| is_tidy)
            && let Err(error) = self.delete(version_id).await
        {
            tracing::error!("deleting a version of the lock: {error}");
        }
    }

    /// Deletes one version; `false` where it may still be there.
    async fn delete(&self, version_id: VersionId) -> Result<bool, S3Error> {
        let item = Item {
            key: self.key.clone(),
            version_id,
            kind: Kind::Version,
            is_latest: false,
            size: 0,
            last_modified: Timestamp::default(),
            rule: RuleId(0),
            copy: None,
        };
        let (client, options) = (&self.caller.client, DeleteOptions::default());
        let call =
            self.caller.call(Operation::DeleteObject, 0, None, || client.delete_version(&item, &options));
        match tokio::time::timeout(self.patience(), call).await {
            Ok(Ok(deleted)) => Ok(deleted.is_some()),
            Ok(Err(error)) if error.tripwire().is_some() => Err(error),
            Ok(Err(error)) => {
                if let Trouble::Lasting(error) = trouble(error) {
                    tracing::warn!("superseded versions of the lock stay: {error}");
                    self.versions.lock().unwrap_or_else(PoisonError::into_inner).is_refused = true;
                }
                Ok(false)
            }
            Err(_) => Ok(false),
        }
    }
}

fn place_of(spec: &LockSpec) -> String {
    format!("object {} in bucket {}", spec.key, spec.bucket.name)
}

/// Whether a write was refused because its condition does not hold.
fn is_refusal(error: &S3Error) -> bool {
    error.is_precondition() || error.is_absent()
}

fn trouble(error: S3Error) -> Trouble {
    match error.class {
        Class::Transient | Class::Throttled | Class::ClockSkew => Trouble::Passing(error.to_string()),
        _ => Trouble::Lasting(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_were_not_remembered_are_not_said_to_be_gone() {
        let made = |count: usize| {
            let mut versions = Versions::default();
            (0..count).for_each(|number| versions.made(VersionId::new(format!("v{number}")).unwrap()));
            versions
        };
        let mut versions = made(SUPERSEDED_MAX + 1);
        assert!(!versions.are_tidy());
        versions.superseded.clear();
        assert!(versions.are_tidy());
        versions = made(SUPERSEDED_MAX + 2);
        versions.superseded.clear();
        assert!(
            !versions.are_tidy(),
            "without the note that the lock is given back, one of them would be it"
        );
    }
}
