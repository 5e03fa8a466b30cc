//! What is written inside the lock object, for the other hosts and for people.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The form of the note; another one is not understood, and left alone.
const FORM: u32 = 1;

/// Who holds a job's lock, since when, and how far that run is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Note {
    /// The form of the note.
    pub(super) s3sweep_lock: u32,
    /// The job.
    pub(super) job: String,
    /// Tells this holder from every other: 128 random bits.
    pub(super) holder: String,
    /// The run; absent before it is known.
    pub(super) run: Option<String>,
    /// The holder's host, for people.
    pub(super) host: String,
    /// The holder's process, for people.
    pub(super) pid: u32,
    /// Rises by one with each holder.
    pub(super) epoch: u64,
    /// Rises by one with each write of a holder, so that no two writes have the same ETag.
    pub(super) beat: u64,
    /// The holder's `lock.ttl`: by this its silence is judged, whatever another host's job file says.
    pub(super) ttl_secs: u64,
    /// When the holder took the lock, by the server's clock, as RFC 3339.
    pub(super) since: String,
    /// The holder has given the lock back.
    pub(super) released: bool,
    /// Versions listed, planned and settled by the run, when this was written.
    pub(super) listed: u64,
    pub(super) planned: u64,
    pub(super) settled: u64,
}

/// What does not change while one process holds the lock.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Holder {
    pub(super) job: String,
    pub(super) id: String,
    pub(super) host: String,
    pub(super) pid: u32,
    pub(super) ttl_secs: u64,
}

impl Note {
    /// The first note of a holder.
    pub(super) fn new(holder: &Holder, epoch: u64, beat: u64, since: String) -> Self {
        let Holder { job, id, host, pid, ttl_secs } = holder.clone();
        Self {
            s3sweep_lock: FORM,
            job,
            holder: id,
            run: None,
            host,
            pid,
            epoch,
            beat,
            ttl_secs,
            since,
            released: false,
            listed: 0,
            planned: 0,
            settled: 0,
        }
    }

    /// As bytes for the object.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        // Text, numbers and flags: there is nothing in it that JSON cannot hold.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads an object; `None` where it is no note of this form.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok().filter(|note: &Self| note.s3sweep_lock == FORM)
    }
}

/// For the message of a run that has to stay away.
impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |text: &str| text.escape_debug().to_string();
        let run = self.run.as_deref().map_or_else(|| "starting".to_owned(), text);
        let Self { pid, listed, planned, settled, .. } = self;
        write!(
            f,
            "pid={pid} host={} run={run} since={}; when last heard of, it had listed {listed}, planned {planned} and \
             settled {settled}",
            text(&self.host),
            text(&self.since)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_comes_back_whole_and_nothing_else_is_one() {
        let holder =
            Holder { job: "n".into(), id: "ab".into(), host: "h\u{1b}".into(), pid: 7, ttl_secs: 120 };
        let note = Note::new(&holder, 3, 9, "2024-01-01T00:00:00.000Z".into());
        assert_eq!(Note::read(&note.to_bytes()), Some(note.clone()));
        assert!(note.to_string().contains("pid=7 host=h\\u{1b} run=starting since=2024"), "{note}");
        for other in [&b"{}"[..], b"", b"<Error/>", b"\xff", br#"{"s3sweep_lock":1}"#] {
            assert_eq!(Note::read(other), None);
        }
        let newer = String::from_utf8(note.to_bytes()).unwrap().replace("lock\":1", "lock\":2");
        assert_eq!(Note::read(newer.as_bytes()), None, "a form that is not known is not guessed at");
    }
}
