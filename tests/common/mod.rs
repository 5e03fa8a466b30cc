//! What the tests of the whole program share: an embedded server in this process, the real binary
//! beside it, and an oracle that works out by itself what a job must do.

#![allow(dead_code, reason = "each test file uses a part of this")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

pub mod checks;
pub mod histories;
pub mod oracle;
pub mod scrape;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use s3sweep::checkpoint::{RunFiles, StateDir};
use s3sweep::model::{Key, Timestamp, Version, VersionId};
use s3sweep::report::{AuditLine, read_audit};
use s3sweep::sandbox::{Config, Faults, Operation, Sandbox, Seed};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

pub const BUCKET: &str = "bucket";
/// The job's name, and so the name of its directory below the state directory.
pub const JOB: &str = "sweep";
/// No program that these tests start works longer.
const PATIENCE: Duration = Duration::from_secs(90);

/// A name for one entry of a bucket.
pub type Ref = (Key, VersionId);

pub fn ref_of(version: &Version) -> Ref {
    (version.key.clone(), version.id.clone())
}

/// A bucket of some hundred entries with everything in it: markers on top, between and alone, two
/// storage classes, three prefixes.
pub fn mixed(keys: u64) -> Seed {
    Seed {
        bucket: BUCKET.into(),
        seed: 7,
        keys,
        versions_per_key: 5,
        latest_marker_share: 0.3,
        noncurrent_marker_share: 0.2,
        orphan_marker_share: 0.1,
        prefixes: ["data/", "logs/", "tmp/"].map(String::from).to_vec(),
        oldest_days: 300.0,
        newest_days: 1.0,
        size_bytes_max: 10_000,
        storage_classes: ["STANDARD", "GLACIER"].map(String::from).to_vec(),
        ..Seed::default()
    }
}

/// Many versions and nothing else, for runs that take their time.
pub fn plain(keys: u64, versions_per_key: u32) -> Seed {
    Seed { bucket: BUCKET.into(), seed: 3, keys, versions_per_key, newest_days: 1.0, ..Seed::default() }
}

/// A server, a directory for everything a program leaves behind, and the program.
pub struct World {
    pub sandbox: Sandbox,
    pub dir: TempDir,
    /// Environment of the program beside its credentials.
    pub env: BTreeMap<String, String>,
    runs: AtomicU64,
    // Last, so that the server's tasks end before their runtime.
    _runtime: Runtime,
}

impl World {
    pub fn new(seed: Seed) -> Self {
        Self::with(Config { seeds: vec![seed], ..Config::default() })
    }

    pub fn with_faults(seed: Seed, faults: Faults) -> Self {
        Self::with(Config { seeds: vec![seed], faults, ..Config::default() })
    }

    pub fn with(config: Config) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let env = BTreeMap::from([
            ("AWS_ACCESS_KEY_ID".to_owned(), config.access_key.clone()),
            ("AWS_SECRET_ACCESS_KEY".to_owned(), config.secret_key.clone()),
            ("AWS_REGION".to_owned(), config.region.clone()),
        ]);
        let sandbox = runtime.block_on(Sandbox::start(config)).unwrap();
        let dir = tempfile::tempdir().unwrap();
        Self { sandbox, dir, env, runs: AtomicU64::new(0), _runtime: runtime }
    }

    /// Every entry of the bucket, as a listing would show it.
    pub fn entries(&self) -> Vec<Version> {
        self.sandbox.store().versions(BUCKET).unwrap()
    }

    pub fn count(&self) -> usize {
        self.sandbox.store().count(BUCKET).unwrap()
    }

    /// How often an operation was asked for.
    pub fn requests(&self, operation: Operation) -> u64 {
        self.sandbox.counters().get(&operation).map_or(0, |count| count.requests)
    }

    /// Writes the job file: the given sections, on this world's bucket.
    pub fn job(&self, sections: &str) -> PathBuf {
        self.job_on(BUCKET, &self.sandbox.endpoint(), sections)
    }

    pub fn job_on(&self, bucket: &str, endpoint: &str, sections: &str) -> PathBuf {
        let text = format!(
            "version: 1\nname: {JOB}\nbucket: {{ name: {bucket}, endpoint: \"{endpoint}\" }}\n{sections}\n"
        );
        let path = self.dir.path().join("job.yaml");
        fs::write(&path, text).unwrap();
        path
    }

    pub fn state_root(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub fn state_dir(&self) -> StateDir {
        StateDir::existing(&self.state_root().join(JOB))
    }

    /// The files of the run that the state directory calls current.
    pub fn files(&self) -> RunFiles {
        self.state_dir().current().unwrap().expect("a current run")
    }

    /// The program with its environment and state directory, not started yet.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_s3sweep"));
        command.args(args).arg("--state-dir").arg(self.state_root());
        self.prepare(&mut command);
        command
    }

    /// The environment of the program: nothing of this machine's credentials reaches it.
    pub fn prepare(&self, command: &mut Command) {
        let path = std::env::var_os("PATH").unwrap_or_default();
        command
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.dir.path())
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .envs(&self.env)
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
    }

    /// Starts a command; what it prints goes to files, so that it never waits for a reader.
    pub fn spawn(&self, mut command: Command) -> Running {
        let number = self.runs.fetch_add(1, Ordering::Relaxed);
        let [stdout, stderr] =
            ["stdout", "stderr"].map(|stream| self.dir.path().join(format!("{number}.{stream}")));
        command.stdout(File::create(&stdout).unwrap()).stderr(File::create(&stderr).unwrap());
        Running { child: command.spawn().unwrap(), stdout, stderr, since: Instant::now() }
    }

    pub fn start(&self, args: &[&str]) -> Running {
        self.spawn(self.command(args))
    }

    /// `s3sweep ARGS` to its end.
    pub fn call(&self, args: &[&str]) -> Ended {
        self.start(args).wait()
    }

    /// `s3sweep run JOB --yes` to its end.
    pub fn run(&self, job: &Path) -> Ended {
        self.call(&["run", job.to_str().unwrap(), "--yes"])
    }

    pub fn start_run(&self, job: &Path) -> Running {
        self.start(&["run", job.to_str().unwrap(), "--yes"])
    }

    /// What `status` says of the current run.
    pub fn status(&self) -> Value {
        self.call(&["status", JOB, "--output", "json"]).expect(0).json()
    }

    /// When the current run began, by the server's clock.
    pub fn began(&self) -> Timestamp {
        let status = self.status();
        let text = status["began"].as_str().unwrap().to_owned();
        Timestamp::from_millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }

    /// The number of ranges that the current run listed: one for each prefix, and one for each split.
    pub fn ranges(&self) -> u32 {
        let checkpoint = rusqlite::Connection::open(self.files().checkpoint).unwrap();
        checkpoint.query_row("SELECT count(*) FROM range", [], |row| row.get(0)).unwrap()
    }

    /// All lines of the current run's audit. The file must be whole from its first byte to its last.
    pub fn audit(&self) -> Vec<AuditLine<'static>> {
        let path = self.files().audit;
        read_audit(&path, None)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
            .map(|line| line.unwrap_or_else(|error| panic!("a line of the audit: {error}")))
            .collect()
    }
}

/// A program at work.
pub struct Running {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
    since: Instant,
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// What it has written to stderr so far.
    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap()
    }

    /// Sends a signal, such as `INT`.
    pub fn signal(&self, name: &str) {
        let line = format!("kill -{name} {}", self.pid());
        assert!(Command::new("sh").args(["-c", &line]).status().unwrap().success(), "{line}");
    }

    /// SIGKILL, and its end.
    pub fn kill(mut self) -> Ended {
        // It may have ended by itself a moment ago.
        let _sent = self.child.kill();
        self.wait()
    }

    pub fn wait(mut self) -> Ended {
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if self.since.elapsed() > PATIENCE => {
                    self.child.kill().unwrap();
                    self.child.wait().unwrap();
                    panic!("the program did not end; stderr:\n{}", self.stderr());
                }
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        let text = |path: &Path| String::from_utf8(fs::read(path).unwrap()).unwrap();
        Ended { status, stdout: text(&self.stdout), stderr: text(&self.stderr), took: self.since.elapsed() }
    }
}

/// A program that has ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl Ended {
    /// The exit code; `None` where a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    pub fn was_killed(&self) -> bool {
        self.status.signal() == Some(9)
    }

    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code(), Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// The message on stderr must hold all of these.
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in:\n{}", self.stderr);
        }
        self
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}:\n{}", self.stdout))
    }
}

/// Waits for a condition.
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
