use proptest::prelude::*;

use super::*;
use crate::engine::lease::note::Holder;

const SECOND: Duration = Duration::from_secs(1);
const TTL: Duration = Duration::from_secs(60);
const TERMS: Terms = Terms { ttl: TTL };

fn holder(id: &str) -> Holder {
    Holder { job: "j".into(), id: id.into(), host: "h".into(), pid: 1, ttl_secs: TTL.as_secs() }
}

fn note(id: &str, beat: u64) -> Note {
    Note::new(&holder(id), 1, beat, String::new())
}

fn seen(note: Note, age: Duration) -> Seen {
    Seen::Note { note: Box::new(note), etag: "e".into(), age }
}

fn held() -> Holding {
    Holding::new(TERMS, "a".into(), 1, "e1".into(), SECOND)
}

#[test]
fn a_lock_is_free_where_it_was_given_back_or_its_holder_is_silent_for_too_long() {
    assert_eq!(approach(Seen::Absent, "j", "b"), Approach::Create);
    let live = seen(note("a", 4), TTL + SECOND);
    assert_eq!(approach(live, "j", "b"), Approach::Held(Box::new(note("a", 4))), "a second may be rounding");
    let dead = seen(note("a", 4), TTL + ROUNDING);
    assert!(matches!(approach(dead, "j", "b"), Approach::Replace { was, .. } if was.beat == 4));
    let released = Note { released: true, ..note("a", 4) };
    assert!(matches!(
        approach(seen(released, Duration::ZERO), "j", "b"),
        Approach::Replace { was, .. } if was.released
    ));
    let patient = Note { ttl_secs: 3600, ..note("a", 4) };
    assert!(
        matches!(approach(seen(patient, 10 * TTL), "j", "b"), Approach::Held(_)),
        "the holder's own time to live counts"
    );
    assert!(matches!(approach(seen(note("b", 9), SECOND), "j", "b"), Approach::Have { beat: 9, .. }));
}

#[test]
fn what_is_no_lock_of_this_job_is_left_alone() {
    assert!(matches!(approach(Seen::Foreign, "j", "b"), Approach::Occupied(_)));
    let other = Note { job: "other".into(), ..note("a", 1) };
    let Approach::Occupied(why) = approach(seen(other, 100 * TTL), "j", "b") else { panic!() };
    assert!(why.contains("other"));
}

#[test]
fn renewing_counts_from_the_moment_of_sending() {
    let mut held = held();
    assert_eq!(held.duty(SECOND), Duty::Rest(21 * SECOND));
    assert_eq!(held.duty(21 * SECOND), Duty::Renew);
    assert_eq!(held.begin(21 * SECOND), (2, "e1".into()));
    held.written("e2".into(), 21 * SECOND);
    assert_eq!((held.sent_at(), held.duty(40 * SECOND)), (21 * SECOND, Duty::Rest(41 * SECOND)));
    assert_eq!(held.begin(41 * SECOND), (3, "e2".into()));
    assert_eq!(held.standing(61 * SECOND), Standing::Wanes);
    assert_eq!(held.standing(60 * SECOND), Standing::Firm);
    assert_eq!(held.standing(71 * SECOND), Standing::Over);
}

#[test]
fn after_an_open_write_the_object_is_looked_at() {
    let mut held = held();
    held.begin(21 * SECOND);
    held.failed(22 * SECOND);
    assert_eq!(held.duty(22 * SECOND), Duty::Rest(27 * SECOND));
    assert_eq!(held.duty(27 * SECOND), Duty::Look);
    let mut applied = held.clone();
    assert_eq!(applied.looked(seen(note("a", 2), SECOND)), Found::Held);
    assert_eq!((applied.sent_at(), applied.duty(30 * SECOND)), (21 * SECOND, Duty::Rest(41 * SECOND)));
    assert_eq!(held.looked(seen(note("a", 1), SECOND)), Found::Held);
    assert_eq!((held.sent_at(), held.duty(27 * SECOND)), (SECOND, Duty::Renew), "it was not carried out");
    assert_eq!(held.begin(27 * SECOND).0, 3, "no number is used twice");
    held.failed(28 * SECOND);
    let mut late = held.clone();
    assert_eq!(late.looked(seen(note("a", 2), SECOND)), Found::Held);
    assert_eq!(late.sent_at(), 21 * SECOND, "the first write arrived late, and counts from its own sending");
}

#[test]
fn a_lock_that_another_has_is_lost() {
    for seen in [seen(note("b", 7), SECOND), Seen::Absent, Seen::Foreign, seen(note("a", 9), SECOND)] {
        assert!(matches!(held().looked(seen.clone()), Found::Lost(_)), "{seen:?}");
    }
    let mut held = held();
    held.begin(21 * SECOND);
    held.written("e2".into(), 21 * SECOND);
    assert_eq!(held.looked(seen(note("a", 1), SECOND)), Found::Old, "an answer from the past tells nothing");
}

/// The object on a server that keeps conditions, and the writes that are still on their way to it.
#[derive(Default)]
struct Server {
    object: Option<(Note, u64, u64)>,
    writes: u64,
    /// When each arrives, by the server's clock in milliseconds.
    late: Vec<(u64, Note, Option<Box<str>>)>,
}

impl Server {
    fn etag(&self) -> Option<Box<str>> {
        self.object.as_ref().map(|(_, n, _)| format!("e{n}").into())
    }

    fn put(&mut self, now: u64, note: Note, expects: Option<&str>) -> Option<Box<str>> {
        if self.etag().as_deref() != expects {
            return None;
        }
        self.writes += 1;
        self.object = Some((note, self.writes, now));
        self.etag()
    }

    /// Whole seconds on both sides, as HTTP dates are.
    fn get(&self, now: u64) -> Seen {
        match &self.object {
            None => Seen::Absent,
            Some((note, n, at)) => Seen::Note {
                note: Box::new(note.clone()),
                etag: format!("e{n}").into(),
                age: Duration::from_secs((now / 1000).saturating_sub(at / 1000)),
            },
        }
    }

    fn arrive(&mut self, now: u64) {
        let (due, late): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.late).into_iter().partition(|(at, ..)| *at <= now);
        self.late = late;
        for (at, note, expects) in due {
            self.put(at, note, expects.as_deref());
        }
    }
}

/// One process: its clock runs up to 2 % fast or slow.
struct Process {
    id: String,
    per_mille: u64,
    holding: Option<Holding>,
    epoch: u64,
    is_dead: bool,
}

impl Process {
    fn clock(&self, now: u64) -> Duration {
        Duration::from_millis(now * self.per_mille / 1000 + 77_777)
    }

    fn may_work(&self, now: u64) -> bool {
        self.holding.as_ref().is_some_and(|held| held.standing(self.clock(now)) < Standing::Over)
    }
}

/// What becomes of a write: answered, answer lost, never arrives, arrives late.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Fine,
    AnswerLost,
    Lost,
    Late(u64),
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// So many milliseconds pass, then this process does what it has to.
    Act(usize, Fate),
    Dies(usize),
    Releases(usize),
}

fn steps() -> impl Strategy<Value = Vec<(u64, Step)>> {
    let fate = prop_oneof![
        6 => Just(Fate::Fine), 2 => Just(Fate::AnswerLost), 2 => Just(Fate::Lost),
        1 => (1..200_000u64).prop_map(Fate::Late),
    ];
    let step = prop_oneof![
        30 => (0..3usize, fate).prop_map(|(who, fate)| Step::Act(who, fate)),
        1 => (0..3usize).prop_map(Step::Dies),
        1 => (0..3usize).prop_map(Step::Releases),
    ];
    prop::collection::vec((prop_oneof![4 => 0..9_000u64, 1 => 0..90_000u64], step), 1..250)
}

fn write(
    server: &mut Server,
    now: u64,
    fate: Fate,
    note: Note,
    expects: Option<Box<str>>,
) -> Option<Box<str>> {
    match fate {
        Fate::Fine => return server.put(now, note, expects.as_deref()),
        Fate::AnswerLost => _ = server.put(now, note, expects.as_deref()),
        Fate::Late(by) => server.late.push((now + by, note, expects)),
        Fate::Lost => {}
    }
    None
}

fn act(server: &mut Server, process: &mut Process, now: u64, fate: Fate) {
    let clock = process.clock(now);
    if process.holding.as_ref().is_some_and(|held| held.standing(clock) == Standing::Over) {
        // The run ends; the program is started again.
        process.holding = None;
        process.id.push('+');
    }
    let id = process.id.clone();
    let Some(held) = &mut process.holding else {
        let (expects, epoch) = match approach(server.get(now), "j", &id) {
            Approach::Create => (None, 1),
            Approach::Replace { etag, was } => (Some(etag), was.epoch + 1),
            // Its write was carried out, but when it was sent is not known any more: another start.
            Approach::Have { .. } => return process.id.push('+'),
            Approach::Held(_) | Approach::Occupied(_) => return,
        };
        let taken = Note::new(&holder(&id), epoch, 1, String::new());
        if let Some(etag) = write(server, now, fate, taken, expects) {
            process.epoch = epoch;
            process.holding = Some(Holding::new(TERMS, id, 1, etag, clock));
        }
        return;
    };
    match held.duty(clock) {
        Duty::Rest(_) => {}
        Duty::Look => {
            if let Found::Lost(_) = held.looked(server.get(now)) {
                process.holding = None;
                process.id.push('+');
            }
        }
        Duty::Renew => {
            let (beat, expects) = held.begin(clock);
            let renewed = Note::new(&holder(&id), process.epoch, beat, String::new());
            match write(server, now, fate, renewed, Some(expects)) {
                Some(etag) => held.written(etag, clock),
                None => held.failed(clock),
            }
        }
    }
}

fn release(server: &mut Server, process: &mut Process, now: u64) {
    let clock = process.clock(now);
    let Some(mut held) = process.holding.take() else { return };
    if held.standing(clock) == Standing::Over {
        return;
    }
    let (beat, expects) = held.begin(clock);
    let given_back =
        Note { released: true, ..Note::new(&holder(&process.id), process.epoch, beat, String::new()) };
    server.put(now, given_back, Some(&expects));
    process.id.push('+');
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever is lost, late or dead: never do two processes work at the same time, and when everybody
    /// else is dead the lock can be had.
    #[test]
    fn one_at_a_time_and_never_nobody(steps in steps(), rates in prop::array::uniform3(980..1020u64)) {
        let mut server = Server::default();
        let mut processes: Vec<Process> = ["a", "b", "c"].into_iter().zip(rates).map(|(id, per_mille)| Process {
            id: id.to_owned(), per_mille, holding: None, epoch: 0, is_dead: false,
        }).collect();
        let mut now = 1_000_000u64;
        for (pause, step) in steps {
            now += pause;
            server.arrive(now);
            match step {
                Step::Act(who, _) | Step::Dies(who) | Step::Releases(who) if processes[who].is_dead => {}
                Step::Act(who, fate) => act(&mut server, &mut processes[who], now, fate),
                Step::Dies(who) => {
                    processes[who].is_dead = true;
                    processes[who].holding = None;
                }
                Step::Releases(who) => release(&mut server, &mut processes[who], now),
            }
            let working = processes.iter().filter(|process| process.may_work(now)).count();
            prop_assert!(working <= 1, "{working} work at {now}");
        }
        server.late.clear();
        let mut last = Process { id: "z".into(), per_mille: 1000, holding: None, epoch: 0, is_dead: false };
        act(&mut server, &mut last, now + 63_000, Fate::Fine);
        prop_assert!(last.holding.is_some(), "a lock of the dead is taken over");
    }
}
