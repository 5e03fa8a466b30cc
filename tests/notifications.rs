//! Webhooks on the real binary, against a real server of their own: what arrives, what is tried again, what is
//! kept, and that no receiver can keep a run from its end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{JOB, World, mixed, plain, wait_until};
use s3sweep::notify::{PATIENCE, PATIENCE_AFTER_SIGNAL};
use s3sweep::sandbox::{Faults, Operation, RequestErrors, Seed};
use serde_json::Value;

const RULES: &str = "rules:\n  - { name: all, match: { state: any }, action: delete }\n";
const SECRET: &str = "canary-of-the-secret";
/// A path as chat services give it: whoever knows it may post.
const PATH: &str = "/services/canary-of-the-url?token=canary-too";

/// What the receiver does with a request.
#[derive(Clone)]
enum Answer {
    Status(u16, &'static str),
    /// Never answers; the connection stays open.
    Hang,
}

#[derive(Clone, Debug)]
struct Received {
    target: String,
    headers: BTreeMap<String, String>,
    body: String,
}

/// A receiver. Its answers are used up one after the other; then all is well.
struct Receiver {
    port: u16,
    received: Arc<Mutex<Vec<Received>>>,
    answers: Arc<Mutex<Vec<Answer>>>,
}

impl Receiver {
    fn start(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (received, answers) = (Arc::<Mutex<Vec<Received>>>::default(), Arc::new(Mutex::new(answers)));
        let (to, from) = (Arc::clone(&received), Arc::clone(&answers));
        std::thread::spawn(move || {
            let mut open = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let request = read_request(&mut stream);
                let answer = {
                    let mut answers = from.lock().unwrap();
                    if answers.is_empty() { Answer::Status(200, "") } else { answers.remove(0) }
                };
                to.lock().unwrap().push(request);
                match answer {
                    Answer::Status(status, header) => {
                        let head = format!("HTTP/1.1 {status} X\r\n{header}Content-Length: 0\r\n\r\n");
                        // A client that was killed does not read.
                        let _sent = stream.write_all(head.as_bytes());
                    }
                    Answer::Hang => open.push(stream),
                }
            }
        });
        Self { port, received, answers }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}{PATH}", self.port)
    }

    fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    fn answers_next(&self, answers: Vec<Answer>) {
        *self.answers.lock().unwrap() = answers;
    }
}

fn read_request(stream: &mut TcpStream) -> Received {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let target = line.split(' ').nth(1).unwrap().to_owned();
    assert!(line.starts_with("POST "), "{line}");
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let mut body = vec![0; headers["content-length"].parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    Received { target, headers, body: String::from_utf8(body).unwrap() }
}

/// A world whose programs know the URL and the secret from their environment.
fn world(seed: Seed, faults: Faults, receiver: &Receiver) -> World {
    let mut world = World::with_faults(seed, faults);
    world.env.insert("HOOK_URL".into(), receiver.url());
    world.env.insert("HOOK_SECRET".into(), SECRET.into());
    world
}

fn job(world: &World, hook: &str) -> PathBuf {
    world.job(&format!("{RULES}notify:\n  - {{ url_env: HOOK_URL, secret_env: HOOK_SECRET{hook} }}\n"))
}

fn letters(world: &World) -> Vec<PathBuf> {
    let Ok(dir) = fs::read_dir(world.state_root().join(JOB).join("undelivered")) else { return Vec::new() };
    let mut found: Vec<PathBuf> = dir.map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

/// Runs the function of docs/notifications.md.
fn is_genuine(received: &Received, body: &str, secret: &str) -> bool {
    let docs = include_str!("../docs/notifications.md");
    let example = docs.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let script = format!(
        "{example}\nimport sys\nheader, body, secret = sys.argv[1:]\nprint(is_genuine(header, body.encode(), secret))\n"
    );
    let header = &received.headers["x-s3sweep-signature"];
    let output = Command::new("python3").args(["-c", &script, header, body, secret]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim() == "True"
}

/// Every file that the program left behind holds none of these words.
fn assert_nowhere(dir: &Path, words: &[&str]) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_nowhere(&path, words);
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        for word in words {
            let found = bytes.windows(word.len()).any(|window| window == word.as_bytes());
            assert!(!found, "{word} is in {}", path.display());
        }
    }
}

#[test]
fn an_end_is_told_once_signed_and_with_the_figures_of_the_run() {
    let receiver = Receiver::start(Vec::new());
    let world = world(mixed(30), Faults::default(), &receiver);
    let ended =
        world.call(&["run", job(&world, "").to_str().unwrap(), "--yes", "--output", "json"]).expect(0);
    let summary = ended.json();
    let [received] = &*receiver.received() else { panic!("{:?}", receiver.received()) };
    assert_eq!(received.target, PATH);
    assert_eq!(received.headers["content-type"], "application/json");
    assert_eq!(received.headers["x-s3sweep-event"], "end");
    assert!(is_genuine(received, &received.body, SECRET));
    assert!(!is_genuine(received, &received.body, "another secret"));
    assert!(!is_genuine(received, &received.body.replace("\"done\"", "\"gone\""), SECRET));
    let body: Value = serde_json::from_str(&received.body).unwrap();
    assert_eq!(body["delivery"], received.headers["x-s3sweep-delivery"].as_str());
    assert_eq!((&body["ending"], &body["exit_code"]), (&Value::from("done"), &Value::from(0)));
    assert_eq!((&body["job"], &body["run"]), (&Value::from(JOB), &summary["run_id"]));
    for name in ["listed", "kept", "planned", "done", "gone", "failed", "skipped", "pending"] {
        assert_eq!(body["versions"][name], summary[name], "{name}");
    }
    assert!(body["versions"]["done"].as_u64() > Some(30));
    assert_eq!(
        (&body["bytes"]["freed"], &body["rules"][0]["name"]),
        (&summary["bytes_done"], &Value::from("all"))
    );
    assert_eq!((&body["began"], &body["ended"]), (&summary["began"], &summary["updated"]));
    assert!(letters(&world).is_empty());
}

#[test]
fn an_overloaded_receiver_is_asked_again_with_the_same_id() {
    let busy = vec![Answer::Status(503, ""), Answer::Status(429, "Retry-After: 1\r\n")];
    let receiver = Receiver::start(busy);
    let world = world(plain(5, 1), Faults::default(), &receiver);
    let ended = world.run(&job(&world, "")).expect(0);
    let received = receiver.received();
    let ids: Vec<&String> = received.iter().map(|one| &one.headers["x-s3sweep-delivery"]).collect();
    assert_eq!(received.len(), 3);
    assert!(ids.iter().all(|id| *id == ids[0]) && ids[0].len() == 32, "{ids:?}");
    assert!(received.iter().all(|one| one.body == received[0].body && is_genuine(one, &one.body, SECRET)));
    assert!(ended.took >= Duration::from_secs(1), "Retry-After was not waited for: {:?}", ended.took);
    assert!(letters(&world).is_empty());
}

#[test]
fn a_refusal_and_a_redirect_are_final_and_the_letter_goes_with_the_next_run() {
    let elsewhere = Receiver::start(Vec::new());
    let location: &'static str = format!("Location: {}\r\n", elsewhere.url()).leak();
    let receiver = Receiver::start(vec![Answer::Status(302, location)]);
    let mut world = world(plain(5, 1), Faults::default(), &receiver);
    let args = |world: &World, format: &str| {
        let job = job(world, "");
        let args = ["run", job.to_str().unwrap(), "--yes", "--log-format", format, "--log-level", "trace"];
        world.call(&[&args[..], &["--output", "json"]].concat()).expect(0)
    };
    let ended = args(&world, "json");
    let warnings = ended.stderr.lines().filter(|line| line.contains("was not delivered")).count();
    assert_eq!(warnings, 1, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("answered 302") && ended.stderr.contains("\"part\":\"webhook\""),
        "{}",
        ended.stderr
    );
    assert_eq!((receiver.received().len(), elsewhere.received().len()), (1, 0));
    let [letter] = &*letters(&world) else { panic!("{:?}", letters(&world)) };
    assert_eq!(fs::metadata(letter).unwrap().permissions().mode() & 0o777, 0o600);
    let run = world.files().run_id;
    assert_eq!(letter.file_name().unwrap().to_str().unwrap(), format!("{run}-1.json"));
    assert_nowhere(world.dir.path(), &[SECRET, "canary-of-the-url", "canary-too"]);

    receiver.answers_next(vec![Answer::Status(404, "")]);
    args(&world, "text").says(&["answered 404"]);
    let both = receiver.received();
    assert!(letters(&world).len() == 1 && both.len() == 3, "one was delivered, the other refused: {both:?}");
    receiver.answers_next(Vec::new());
    args(&world, "text").says(&["delivered late"]);
    assert!(letters(&world).is_empty());
    let received = receiver.received();
    let late: Vec<&Received> = received.iter().filter(|one| one.body == received[0].body).collect();
    assert!(late.len() >= 2, "the letter says what the first attempt said");
    assert!(
        late.iter().all(|one| one.headers["x-s3sweep-delivery"] == late[0].headers["x-s3sweep-delivery"])
    );
    assert!(is_genuine(late[1], &late[1].body, SECRET), "signed anew");
    assert_nowhere(world.dir.path(), &[SECRET, "canary-of-the-url", "canary-too"]);
    world.env.remove("HOOK_URL");
    args(&world, "text").says(&["the environment variable HOOK_URL is not set"]);
    assert_eq!(letters(&world).len(), 1);
}

#[test]
fn a_receiver_that_hangs_keeps_no_run_from_its_end_nor_from_its_exit_code() {
    let receiver = Receiver::start(vec![Answer::Hang; 20]);
    let errors = vec![RequestErrors {
        operation: Some(Operation::ListObjectVersions),
        code: "AccessDenied".into(),
        share: 1.0,
        retry_after_secs: None,
    }];
    let world = world(plain(5, 1), Faults { request_errors: errors, ..Faults::default() }, &receiver);
    let ended = world.run(&job(&world, ", on: failure")).expect(77).says(&["in time", "undelivered"]);
    assert!(ended.took < PATIENCE + Duration::from_secs(5), "{:?}", ended.took);
    assert!(receiver.received().len() >= 2, "tried again as long as there was time");
    assert_eq!(letters(&world).len(), 1);
    // The receiver hangs still. It does not want to hear of a success, and its letter keeps nobody.
    world.sandbox.set_faults(Faults::default());
    let ended = world.run(&job(&world, ", on: failure")).expect(0);
    assert!(ended.took < PATIENCE / 2, "{:?}", ended.took);
    assert_eq!(letters(&world).len(), 1);
}

#[test]
fn a_signal_ends_the_wait_and_the_letter_stays() {
    let receiver = Receiver::start(vec![Answer::Hang; 20]);
    let world = world(plain(5, 1), Faults::default(), &receiver);
    let job = job(&world, "");
    let running = world.start_run(&job);
    wait_until("the first attempt", || !receiver.received().is_empty());
    running.signal("INT");
    let ended = running.wait().expect(0);
    assert!(ended.took < Duration::from_secs(10), "{:?}", ended.took);
    assert_eq!(letters(&world).len(), 1);
    let killed = world.start_run(&job);
    wait_until("both attempts", || receiver.received().len() >= 3);
    killed.kill();
    assert_eq!(letters(&world).len(), 2, "a letter is written before it is sent");
}

#[test]
fn each_hook_hears_of_its_events_in_its_own_words() {
    let receivers = [(); 4].map(|()| Receiver::start(Vec::new()));
    let [all, failures, tripwires, chat] = &receivers;
    let ignores = Faults::default();
    let mut world = world(plain(5, 1), ignores, all);
    for (name, receiver) in [("FAILURES", failures), ("TRIPWIRES", tripwires), ("CHAT", chat)] {
        world.env.insert(name.into(), receiver.url());
    }
    let notify = "notify:\n  - { url_env: HOOK_URL }\n  - { url_env: FAILURES, on: [failure] }\n  \
                  - { url_env: TRIPWIRES, on: tripwire }\n  - url_env: CHAT\n    \
                  template: '{\"text\": \"{job}: {sentence} {done} versions, {freed}\", \"code\": {exit_code}}'\n";
    let job = world.job(&format!("{RULES}{notify}"));
    world.run(&job).expect(0);
    let heard = || receivers.each_ref().map(|receiver| receiver.received().len());
    assert_eq!(heard(), [1, 0, 0, 1]);
    let text: Value = serde_json::from_str(&chat.received()[0].body).unwrap();
    assert_eq!(text["code"], 0);
    assert!(
        text["text"].as_str().unwrap().starts_with("sweep: everything that was planned is done 5 versions")
    );

    // No credentials: there is no run yet.
    let missing = world.job_on("no-such-bucket", &world.sandbox.endpoint(), &format!("{RULES}{notify}"));
    world.run(&missing).expect(2);
    assert_eq!(heard(), [2, 1, 0, 2]);
    let body: Value = serde_json::from_str(&failures.received()[0].body).unwrap();
    assert_eq!((&body["event"], &body["ending"]), (&Value::from("failure"), &Value::from("refused")));
    assert_eq!(
        (&body["run"], &body["versions"], &body["exit_code"]),
        (&Value::Null, &Value::Null, &Value::from(2))
    );
    assert!(body["sentence"].as_str().unwrap().contains("no-such-bucket"));
    assert!(!failures.received()[0].headers.contains_key("x-s3sweep-signature"), "this hook has no secret");
}

#[test]
fn a_tripwire_is_told_to_whoever_waits_for_nothing_else() {
    let receiver = Receiver::start(Vec::new());
    let world = world(plain(400, 4), Faults { ignore_version_ids: true, ..Faults::default() }, &receiver);
    let hook = job(&world, ", on: tripwire");
    world.run(&hook).expect(76);
    let [received] = &*receiver.received() else { panic!("{:?}", receiver.received()) };
    let body: Value = serde_json::from_str(&received.body).unwrap();
    assert_eq!((&body["event"], &body["exit_code"]), (&Value::from("tripwire"), &Value::from(76)));
    assert_eq!(body["run"], world.files().run_id);
}

#[test]
fn after_a_signal_the_wait_is_short_and_the_exit_code_that_of_the_run() {
    let receiver = Receiver::start(vec![Answer::Hang; 20]);
    let world = world(plain(150, 3), Faults::default(), &receiver);
    let job = world.job(&format!(
        "limits: {{ versions_per_second: 100, concurrency: 2 }}\n{RULES}notify:\n  - {{ url_env: HOOK_URL }}\n"
    ));
    let running = world.start_run(&job);
    wait_until("the first deletion", || world.requests(Operation::DeleteObjects) > 0);
    running.signal("TERM");
    let ended = running.wait().expect(75);
    assert!(ended.took < PATIENCE_AFTER_SIGNAL + Duration::from_secs(10), "{:?}", ended.took);
    assert_eq!(letters(&world).len(), 1);
}

#[test]
fn an_outage_is_no_signal_and_its_notice_has_all_the_time() {
    let later: &'static str = format!("Retry-After: {}\r\n", PATIENCE_AFTER_SIGNAL.as_secs() + 1).leak();
    let receiver = Receiver::start(vec![Answer::Status(503, later)]);
    let errors = vec![RequestErrors {
        operation: Some(Operation::ListObjectVersions),
        code: "ServiceUnavailable".into(),
        share: 1.0,
        retry_after_secs: None,
    }];
    let world = world(plain(5, 1), Faults { request_errors: errors, ..Faults::default() }, &receiver);
    let job =
        world.job(&format!("retry: {{ give_up_after: 1s }}\n{RULES}notify:\n  - {{ url_env: HOOK_URL }}\n"));
    world.run(&job).expect(75).says(&["could not be listed"]);
    assert_eq!((receiver.received().len(), letters(&world).len()), (2, 0));
}

#[test]
fn a_receiver_that_hangs_does_not_keep_letters_from_another() {
    let (hangs, well) = (
        Receiver::start(vec![Answer::Status(404, "")]),
        Receiver::start(vec![Answer::Status(404, ""), Answer::Status(404, "")]),
    );
    let errors = vec![RequestErrors {
        operation: Some(Operation::ListObjectVersions),
        code: "AccessDenied".into(),
        share: 1.0,
        retry_after_secs: None,
    }];
    let mut world = world(plain(100, 3), Faults { request_errors: errors, ..Faults::default() }, &hangs);
    world.env.insert("WELL".into(), well.url());
    let job = world.job(&format!(
        "limits: {{ versions_per_second: 100 }}\n{RULES}notify:\n  - {{ url_env: HOOK_URL, on: failure }}\n  \
         - {{ url_env: WELL, on: failure }}\n"
    ));
    world.run(&job).expect(77);
    let [first, _second] = &*letters(&world) else { panic!("{:?}", letters(&world)) };
    // That for the one that hangs comes first, and is the older one whatever the clock's steps are.
    let mut letter: Value = serde_json::from_slice(&fs::read(first).unwrap()).unwrap();
    letter["written_ms"] = (letter["written_ms"].as_i64().unwrap() - 1000).into();
    fs::write(first, letter.to_string()).unwrap();
    // Nobody wants to hear of this run.
    hangs.answers_next(vec![Answer::Hang; 20]);
    well.answers_next(Vec::new());
    world.sandbox.set_faults(Faults::default());
    world.run(&job).expect(0).says(&["delivered late"]);
    assert_eq!((hangs.received().len(), well.received().len(), letters(&world).len()), (2, 2, 1));
}

#[test]
fn the_end_of_a_run_does_not_wait_for_letters_of_earlier_runs() {
    let receiver = Receiver::start(vec![Answer::Status(404, "")]);
    let world = world(plain(5, 1), Faults::default(), &receiver);
    let job = job(&world, "");
    world.run(&job).expect(0);
    assert_eq!(letters(&world).len(), 1);
    // What the second run sends first is the letter of the first.
    receiver.answers_next(vec![Answer::Hang]);
    let ended = world.run(&job).expect(0);
    assert!(ended.took < Duration::from_secs(8), "{:?}", ended.took);
    let received = receiver.received();
    assert_eq!(received.len(), 3, "its own was delivered");
    assert_eq!(received[1].body, received[0].body);
    assert_eq!(letters(&world).len(), 1, "the letter stays for the next run");
    world.run(&job).expect(0).says(&["delivered late"]);
    assert!(letters(&world).is_empty());
}
