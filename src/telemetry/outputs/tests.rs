use std::fs;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::model::{SecretPlace, Timestamp};
use crate::telemetry::{Format, PageCounts, Quantity, RunBegan, RunState};

/// How the gateway of a test answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mood {
    Fine,
    Refusing,
    Hanging,
}

/// A server that takes what is pushed: each request as it came, head and body.
struct Gateway {
    address: SocketAddr,
    mood: watch::Sender<Mood>,
    /// How many requests arrived, however they are answered.
    asked: Arc<AtomicUsize>,
    taken: Arc<Mutex<Vec<(String, String)>>>,
    _tasks: JoinSet<()>,
}

impl Gateway {
    async fn start(mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (mood, taken) = (watch::Sender::new(mood), Arc::new(Mutex::new(Vec::new())));
        let mut tasks = JoinSet::new();
        let asked = Arc::new(AtomicUsize::new(0));
        let (moods, asks, keeps) = (mood.subscribe(), Arc::clone(&asked), Arc::clone(&taken));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, moods.clone(), Arc::clone(&asks), Arc::clone(&keeps)));
            }
        });
        Self { address, mood, asked, taken, _tasks: tasks }
    }

    fn settings(&self) -> OutputSettings {
        let gateway = GatewaySettings {
            url: format!("http://{}", self.address),
            interval: Duration::from_millis(20),
            username: None,
            password: None,
        };
        OutputSettings { textfile: None, gateway: Some(gateway) }
    }

    fn count(&self) -> usize {
        self.taken.lock().unwrap().len()
    }

    fn last(&self) -> (String, String) {
        self.taken.lock().unwrap().last().cloned().unwrap()
    }
}

async fn serve(
    mut stream: TcpStream,
    mut mood: watch::Receiver<Mood>,
    asked: Arc<AtomicUsize>,
    taken: Arc<Mutex<Vec<(String, String)>>>,
) {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let Ok(n @ 1..) = stream.read(&mut chunk).await else { return };
        bytes.extend_from_slice(&chunk[..n]);
        let text = String::from_utf8(bytes.clone()).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("content-length: ")
                .map(|length| length.parse::<usize>().unwrap())
        });
        if body.len() < length.unwrap() {
            continue;
        }
        asked.fetch_add(1, Ordering::Relaxed);
        mood.wait_for(|mood| *mood != Mood::Hanging).await.unwrap();
        let answer = match *mood.borrow() {
            Mood::Refusing => "HTTP/1.1 503 Unavailable\r\ncontent-length: 9\r\n\r\nfull\u{1b}disk",
            _ => "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        };
        if *mood.borrow() == Mood::Fine {
            taken.lock().unwrap().push((head.to_owned(), body.to_owned()));
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        bytes.clear();
    }
}

fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::new("nightly", &[], Timestamp::default()).unwrap())
}

fn begin(metrics: &Metrics) {
    metrics.emit(&Event::RunBegan(&RunBegan {
        run_id: "r1",
        began: Timestamp::default(),
        now: Timestamp::default(),
        page: PageCounts { listed: 1000, ..PageCounts::default() },
        settled: Vec::new(),
        failed: Vec::new(),
        freed_bytes: 0,
        copied: Quantity::default(),
        deadline: None,
        checkpoint: "/nonexistent/run.db".as_ref(),
    }));
}

fn end(metrics: &Metrics) {
    metrics.emit(&Event::RunEnded { exit_code: 0, word: "done", at: Timestamp::default(), is_success: true });
}

fn troubles(metrics: &Metrics, part: &str) -> u64 {
    let series = format!("s3sweep_troubles_total{{part=\"{part}\",sweep_job=\"nightly\"}} ");
    let text = metrics.render(Format::Text);
    text.lines().find_map(|line| line.strip_prefix(&series)).unwrap().parse().unwrap()
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < Duration::from_secs(30), "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn the_group_of_the_job_is_replaced_from_when_the_run_is_known_to_the_end() {
    let (gateway, metrics) = (Gateway::start(Mood::Fine).await, metrics());
    let mut settings = gateway.settings();
    if let Some(gateway) = &mut settings.gateway {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "hunter2\n").unwrap();
        gateway.url.push_str("/behind/proxy");
        gateway.username = Some("me".into());
        gateway.password = Some(SecretPlace::File(file.into_temp_path().keep().unwrap()));
    }
    let outputs = Outputs::start(settings, &metrics);
    metrics.emit(&Event::StateChanged(RunState::Running));
    // Nothing before: another process may be at work, and the totals of the run are not known.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(gateway.count(), 0);
    begin(&metrics);
    until("three pushes", || gateway.count() > 2).await;
    let (_, first) = gateway.taken.lock().unwrap().first().cloned().unwrap();
    assert!(first.contains("s3sweep_listed_versions_total{sweep_job=\"nightly\"} 1000\n"), "{first}");
    let (head, body) = gateway.last();
    assert!(head.starts_with("PUT /behind/proxy/metrics/job/nightly HTTP/1.1\r\n"), "{head}");
    assert!(head.to_ascii_lowercase().contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(head.contains("Basic bWU6aHVudGVyMg=="), "{head}");
    assert!(body.contains("s3sweep_run_state{state=\"running\",sweep_job=\"nightly\"} 1\n"), "{body}");
    assert!(!body.contains("\nprocess_") && !body.contains("{job=") && !body.contains(",job="), "{body}");
    end(&metrics);
    outputs.end(true);
    outputs.finish(false).await;
    let (_, body) = gateway.last();
    assert!(body.contains("s3sweep_run_exit_code{sweep_job=\"nightly\"} 0\n"), "{body}");
    assert_eq!(troubles(&metrics, "pushgateway"), 0);
}

#[tokio::test]
async fn a_gateway_that_hangs_does_not_keep_the_run() {
    let (gateway, metrics) = (Gateway::start(Mood::Hanging).await, metrics());
    let outputs = Outputs::start(gateway.settings(), &metrics);
    begin(&metrics);
    until("a push under way", || gateway.asked.load(Ordering::Relaxed) > 0).await;
    end(&metrics);
    let since = Instant::now();
    outputs.end(true);
    outputs.finish(true).await;
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    assert_eq!((gateway.count(), troubles(&metrics, "pushgateway")), (0, 1));
}

#[tokio::test]
async fn trouble_is_counted_each_time_and_over_when_it_is() {
    let (gateway, metrics) = (Gateway::start(Mood::Refusing).await, metrics());
    let outputs = Outputs::start(gateway.settings(), &metrics);
    begin(&metrics);
    until("troubles", || troubles(&metrics, "pushgateway") > 2).await;
    gateway.mood.send_replace(Mood::Fine);
    until("a push", || gateway.count() > 0).await;
    let counted = troubles(&metrics, "pushgateway");
    let (_, body) = gateway.last();
    assert!(body.contains(&format!("part=\"pushgateway\",sweep_job=\"nightly\"}} {counted}\n")), "{body}");
    outputs.finish(false).await;
}

#[tokio::test]
async fn a_keeper_says_the_first_of_a_row_and_the_recovery() {
    let mut keeper = Keeper::new(Target::Textfile("/nonexistent/x.prom".into()), metrics());
    let mut states = Vec::new();
    for sent in [Ok(()), Err("full".to_owned()), Err("full".to_owned()), Ok(()), Ok(())] {
        keeper.note(sent);
        states.push((keeper.is_well, troubles(&keeper.metrics, "textfile")));
    }
    assert_eq!(states, [(true, 0), (false, 1), (false, 2), (true, 2), (true, 2)]);
}

#[tokio::test]
async fn what_is_there_stays_where_another_process_speaks_for_the_job() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("x.prom");
    fs::write(&target, "theirs").unwrap();
    let settings = OutputSettings { textfile: Some(target.clone()), gateway: None };
    let (quiet, speaking) = (metrics(), metrics());
    let outputs = Outputs::start(settings.clone(), &quiet);
    outputs.end(false);
    outputs.finish(true).await;
    assert_eq!(fs::read_to_string(&target).unwrap(), "theirs");
    // A process that fails before it asks for the lock tells nevertheless, where nobody else is at work.
    let outputs = Outputs::start(settings, &speaking);
    outputs.end(true);
    outputs.finish(false).await;
    assert!(fs::read_to_string(&target).unwrap().contains("s3sweep_run_exit_code"));
}

#[tokio::test]
async fn a_password_that_is_not_there_is_trouble_and_not_the_runs() {
    let (gateway, metrics) = (Gateway::start(Mood::Fine).await, metrics());
    let mut settings = gateway.settings();
    if let Some(gateway) = &mut settings.gateway {
        gateway.username = Some("me".into());
        gateway.password = Some(SecretPlace::Environment("S3SWEEP_NO_SUCH_VARIABLE".into()));
    }
    let outputs = Outputs::start(settings, &metrics);
    outputs.end(true);
    outputs.finish(true).await;
    assert_eq!((gateway.count(), troubles(&metrics, "pushgateway")), (0, 1));
}

#[tokio::test]
async fn the_last_figures_come_first_and_once_more_where_there_was_trouble_since() {
    for (trouble, amend, expected) in [(true, true, 2), (true, false, 1), (false, true, 1)] {
        let (gateway, metrics) = (Gateway::start(Mood::Fine).await, metrics());
        let outputs = Outputs::start(gateway.settings(), &metrics);
        end(&metrics);
        outputs.end(true);
        // Nobody waits for it: whoever sends notices meanwhile may be killed.
        until("the last figures", || gateway.count() == 1).await;
        if trouble {
            metrics.emit(&Event::Trouble { part: Part::Webhook, is_first: true, text: &"away" });
        }
        outputs.finish(amend).await;
        assert_eq!(gateway.count(), expected, "{trouble} {amend}");
        let (_, body) = gateway.last();
        let told = format!("part=\"webhook\",sweep_job=\"nightly\"}} {}\n", expected - 1);
        assert!(body.contains(&told), "{body}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_textfile_that_hangs_takes_one_thread_and_no_more() {
    use rustix::fs::{FileType, Mode};
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("x.prom");
    let mut beside = target.clone().into_os_string();
    beside.push(format!(".{}.tmp", std::process::id()));
    // Whoever opens a FIFO to write waits until somebody reads.
    rustix::fs::mknodat(rustix::fs::CWD, &beside, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let mut keeper = Keeper::new(Target::Textfile(target.clone()), metrics());
    let short = Duration::from_millis(50);
    assert!(keeper.send(short).await.is_err_and(|why| why.contains("longer")));
    for _ in 0..3 {
        assert!(keeper.send(short).await.is_err_and(|why| why.contains("hangs still")));
    }
    let text = tokio::task::spawn_blocking(move || fs::read_to_string(beside).unwrap()).await.unwrap();
    assert_eq!(text.matches("# HELP s3sweep_run_exit_code").count(), 1, "one writer waited: {text}");
    keeper.send(Duration::from_secs(30)).await.unwrap();
    assert!(fs::metadata(&target).unwrap().is_file() && keeper.writing.is_none());
}
