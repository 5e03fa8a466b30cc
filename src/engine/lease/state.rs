//! The lock across hosts as a state machine: values in, decisions out, time passed in.
//!
//! The lock is an object that is only ever written under a condition on what it was: `If-None-Match: *` to
//! make it, `If-Match` with the ETag that was seen to renew it, to take it over and to give it back. So of
//! two writers one is refused, whatever the order in which requests arrive.
//!
//! Two clocks are used, and never compared. A holder counts its own time from the moment it *sent* its last
//! write that is known to have been carried out, and sends nothing any more when five sixths of the time to
//! live have passed. Another host takes the lock over when the object's age, by the server's own Date and
//! Last-Modified, exceeds the time to live and the rounding of both. The server wrote the object after its
//! holder sent it, so the holder has stopped by then, as long as the two clocks run at about the same speed.

use std::time::Duration;

use super::note::Note;

/// Date and Last-Modified are whole seconds: each may be off by almost one.
const ROUNDING: Duration = Duration::from_secs(2);

/// The times that follow from `lock.ttl`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Terms {
    /// How long the lock holds after its last write.
    pub(super) ttl: Duration,
}

impl Terms {
    /// The next write is due so long after the last one was sent.
    pub(super) fn renew_after(self) -> Duration {
        self.ttl / 3
    }

    /// Without a write for so long no new work is begun.
    pub(super) fn drain_after(self) -> Duration {
        self.ttl * 2 / 3
    }

    /// Without a write for so long nothing is sent any more.
    pub(super) fn abort_after(self) -> Duration {
        self.ttl * 5 / 6
    }

    /// How long one request for the lock may take: two fit between a renewal that fails and the drain.
    pub(super) fn patience(self) -> Duration {
        self.ttl / 6
    }

    /// What a holder may do whose last write was sent so long ago.
    pub(super) fn standing(self, silent_for: Duration) -> Standing {
        if silent_for >= self.abort_after() {
            Standing::Over
        } else if silent_for >= self.drain_after() {
            Standing::Wanes
        } else {
            Standing::Firm
        }
    }
}

/// What a holder may do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Standing {
    /// Work.
    Firm,
    /// Finish what is in flight.
    Wanes,
    /// Nothing.
    Over,
}

/// What lies under the lock's key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Seen {
    /// Nothing.
    Absent,
    /// A note.
    Note {
        note: Box<Note>,
        etag: Box<str>,
        /// By the server's clock.
        age: Duration,
    },
    /// Something else.
    Foreign,
}

/// How to get hold of the lock.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Approach {
    /// Write, if nothing is there.
    Create,
    /// Write, if what was seen is still there. `was` held it before.
    Replace { etag: Box<str>, was: Box<Note> },
    /// The write whose outcome was open was carried out.
    Have { etag: Box<str>, beat: u64 },
    /// Stay away: this one holds it.
    Held(Box<Note>),
    /// Stay away: what lies there is not this job's lock. The text says what it is.
    Occupied(String),
}

/// What to do about what was seen.
pub(super) fn approach(seen: Seen, job: &str, holder: &str) -> Approach {
    match seen {
        Seen::Absent => Approach::Create,
        Seen::Foreign => Approach::Occupied("is no lock of this program".into()),
        Seen::Note { note, .. } if note.job != job => {
            Approach::Occupied(format!("is the lock of job {}", note.job.escape_debug()))
        }
        Seen::Note { note, etag, .. } if note.holder == holder && !note.released => {
            Approach::Have { etag, beat: note.beat }
        }
        Seen::Note { note, etag, age } => {
            if note.released || age >= Duration::from_secs(note.ttl_secs).saturating_add(ROUNDING) {
                Approach::Replace { etag, was: note }
            } else {
                Approach::Held(note)
            }
        }
    }
}

/// What a holder has to do next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Duty {
    /// Nothing before this time.
    Rest(Duration),
    /// Write.
    Renew,
    /// Look at what is there: the outcome of a write is open.
    Look,
}

/// What a look at the object tells its holder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Found {
    /// The lock is held.
    Held,
    /// An answer from the past: look again.
    Old,
    /// Somebody else has it, or it is gone. The text says who.
    Lost(String),
}

/// A lock in the hands of this process. Times count from the start of the process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Holding {
    terms: Terms,
    id: String,
    /// The last write that is known to have been carried out: its number, its ETag, when it was sent.
    beat: u64,
    etag: Box<str>,
    sent_at: Duration,
    /// Writes since then whose outcome is not known, with the time at which each was sent.
    open: Vec<(u64, Duration)>,
    /// Nothing may be written before the object was looked at.
    must_look: bool,
    /// When the last request ended that brought nothing.
    failed_at: Option<Duration>,
}

impl Holding {
    /// The lock, taken by write number `beat`, which was sent at this time.
    pub(super) fn new(terms: Terms, id: String, beat: u64, etag: Box<str>, sent_at: Duration) -> Self {
        Self { terms, id, beat, etag, sent_at, open: Vec::new(), must_look: false, failed_at: None }
    }

    /// When the last write was sent that is known to have been carried out.
    pub(super) fn sent_at(&self) -> Duration {
        self.sent_at
    }

    /// The number of the last write that is known to have been carried out.
    pub(super) fn beat(&self) -> u64 {
        self.beat
    }

    /// Whether no write is open, so that another may follow.
    pub(super) fn is_certain(&self) -> bool {
        !self.must_look
    }

    /// What may be done at this time.
    pub(super) fn standing(&self, now: Duration) -> Standing {
        self.terms.standing(now.saturating_sub(self.sent_at))
    }

    /// What has to be done at this time. Tries that fail are a twelfth of the time to live apart.
    pub(super) fn duty(&self, now: Duration) -> Duty {
        let again = self.failed_at.map_or(Duration::ZERO, |failed| failed + self.terms.ttl / 12);
        if now < again {
            return Duty::Rest(again);
        }
        if self.must_look {
            return Duty::Look;
        }
        let due = self.sent_at + self.terms.renew_after();
        if now < due { Duty::Rest(due) } else { Duty::Renew }
    }

    /// Begins a write at this time: its number, and the ETag that it has to find.
    pub(super) fn begin(&mut self, now: Duration) -> (u64, Box<str>) {
        let beat = self.open.last().map_or(self.beat, |(beat, _)| *beat) + 1;
        self.open.push((beat, now));
        self.must_look = true;
        (beat, self.etag.clone())
    }

    /// The server says that the write begun last was carried out. It may have waited before it was sent.
    pub(super) fn written(&mut self, etag: Box<str>, sent_at: Duration) {
        if let Some((beat, begun_at)) = self.open.pop() {
            self.confirm(beat, sent_at.max(begun_at), etag);
        }
    }

    /// The request that was under way failed, or came to nothing, at this time.
    pub(super) fn failed(&mut self, now: Duration) {
        self.failed_at = Some(now);
    }

    /// The object was looked at.
    pub(super) fn looked(&mut self, seen: Seen) -> Found {
        let (note, etag) = match seen {
            Seen::Note { note, etag, .. } => (note, etag),
            Seen::Absent => return Found::Lost("the lock object is gone".into()),
            Seen::Foreign => return Found::Lost("the lock object was overwritten".into()),
        };
        if note.holder != self.id {
            return Found::Lost(format!("the lock has another holder: {note}"));
        }
        if note.beat < self.beat {
            return Found::Old;
        }
        if note.beat == self.beat {
            // No open write was carried out so far. One may still arrive; then the next one is refused,
            // and the object is looked at again.
            (self.must_look, self.failed_at) = (false, None);
            return Found::Held;
        }
        match self.open.iter().find(|(beat, _)| *beat == note.beat).copied() {
            Some((beat, sent_at)) => {
                self.confirm(beat, sent_at, etag);
                Found::Held
            }
            None => Found::Lost("the lock object holds a write that this process never made".into()),
        }
    }

    fn confirm(&mut self, beat: u64, sent_at: Duration, etag: Box<str>) {
        (self.beat, self.sent_at, self.etag) = (beat, sent_at, etag);
        self.open.clear();
        (self.must_look, self.failed_at) = (false, None);
    }
}

#[cfg(test)]
mod tests;
