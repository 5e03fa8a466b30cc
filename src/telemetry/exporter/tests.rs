use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::model::Timestamp;
use crate::telemetry::live::{About, Ended, Errand, Obeyed, Order, PageSettings, Phase, Snapshot, Token};

const TOKEN: &str = "a-token-that-is-long";

struct World {
    exporter: Exporter,
    board: Arc<Board>,
}

fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::new("nightly", &[], Timestamp::default()).unwrap())
}

async fn world(page: Option<PageSettings>) -> World {
    let about = About { job: "nightly".into(), ..About::default() };
    let board = Arc::new(Board::new(about, page));
    let address = "127.0.0.1:0".parse().unwrap();
    let exporter = Exporter::start(address, metrics(), Arc::clone(&board)).await.unwrap();
    World { exporter, board }
}

fn steered() -> PageSettings {
    PageSettings { token: Token::new(TOKEN), hosts: vec!["sweep.example".into()] }
}

impl World {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.exporter.address()).await.unwrap()
    }

    /// One request; the whole answer.
    async fn ask(&self, head: &str, body: &str) -> String {
        let mut stream = self.connect().await;
        let length =
            if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let host = if head.contains("Host:") { "" } else { "Host: 127.0.0.1\r\n" };
        let text = format!("{head}\r\n{host}{length}Connection: close\r\n\r\n{body}");
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    async fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1"), "").await
    }

    async fn order(&self, token: &str, body: &str) -> String {
        let head = format!(
            "POST /control HTTP/1.1\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json"
        );
        self.ask(&head, body).await
    }

    /// Opens the stream of events.
    async fn listen(&self) -> TcpStream {
        let mut stream = self.connect().await;
        stream.write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        stream
    }
}

/// Reads until the text has come, and returns all that was read.
async fn read_until(stream: &mut TcpStream, wanted: &str) -> String {
    let mut text = String::new();
    while !text.contains(wanted) {
        let mut piece = [0; 4096];
        let n =
            tokio::time::timeout(Duration::from_secs(10), stream.read(&mut piece)).await.unwrap().unwrap();
        assert!(n > 0, "the stream ended before {wanted:?}:\n{text}");
        text.push_str(std::str::from_utf8(&piece[..n]).unwrap());
    }
    text
}

fn status(answer: &str) -> u16 {
    answer[9..12].parse().unwrap()
}

#[tokio::test]
async fn metrics_and_probes() {
    let world = world(None).await;
    let text = world.get("/metrics").await;
    assert!(text.starts_with("HTTP/1.1 200") && text.contains("text/plain; version=0.0.4"), "{text}");
    assert!(text.contains("s3sweep_in_flight_requests{sweep_job=\"nightly\"} 0"), "{text}");
    let open = world.ask("GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text", "").await;
    assert!(open.contains("application/openmetrics-text") && open.ends_with("# EOF\n"), "{open}");
    assert!(world.get("/healthz").await.ends_with("ok\n"));
    let not_found = world.get("/nothing").await;
    assert!(status(&not_found) == 404 && not_found.ends_with("there is /metrics, /healthz, /readyz\n"));
    let refused = world.ask("DELETE /metrics HTTP/1.1", "").await;
    assert!(status(&refused) == 405 && refused.contains("allow: GET, HEAD"), "{refused}");
    let head = world.ask("HEAD /healthz HTTP/1.1", "").await;
    assert!(
        status(&head) == 200 && head.ends_with("\r\n\r\n") && head.contains("content-length: 3"),
        "{head}"
    );
}

#[tokio::test]
async fn ready_while_the_run_is_under_way() {
    let world = world(None).await;
    let mut seen = Vec::new();
    let ended = Ended { word: "interrupted", exit_code: 75, message: "SIGTERM".into() };
    for phase in [
        Phase::Starting("the checkpoint is not open yet"),
        Phase::Running,
        Phase::Stopping("a delete marker appeared on secret/key".into()),
        Phase::Ended(ended),
        Phase::Running,
    ] {
        world.board.enter(phase);
        let answer = world.get("/readyz").await;
        seen.push((status(&answer), answer.rsplit("\r\n").next().unwrap().trim().to_owned()));
    }
    let wanted = [
        (503, "starting: the checkpoint is not open yet"),
        (200, "ok"),
        (503, "stopping"),
        (503, "ended: interrupted"),
        (503, "ended: interrupted"),
    ];
    assert_eq!(seen, wanted.map(|(code, text)| (code, text.to_owned())));
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let first = world(None).await;
    let second = Exporter::start(first.exporter.address(), metrics(), Arc::clone(&first.board)).await;
    assert!(second.unwrap_err().to_string().contains(&first.exporter.address().to_string()));
}

#[tokio::test]
async fn without_a_page_there_is_none() {
    let world = world(None).await;
    for path in ["/live", "/live.js", "/events", "/control"] {
        assert_eq!(status(&world.get(path).await), 404, "{path}");
    }
    assert_eq!(status(&world.order(TOKEN, r#"{"action":"pause"}"#).await), 404);
}

#[tokio::test]
async fn the_page_is_guarded() {
    let world = world(Some(steered())).await;
    for (path, kind) in [("/live", "text/html"), ("/live.css", "text/css"), ("/live.js", "text/javascript")] {
        let answer = world.get(path).await;
        assert!(status(&answer) == 200 && answer.contains(kind), "{path}");
        for header in [
            "content-security-policy: default-src 'none'",
            "x-content-type-options: nosniff",
            "cache-control: no-store",
            "referrer-policy: no-referrer",
        ] {
            assert!(answer.contains(header), "{path}: {header}");
        }
    }
    let page = world.get("/live").await;
    assert!(
        !page.contains(" style=") && !page.contains("<script>") && !page.contains("onclick"),
        "nothing inline"
    );
    for (host, code) in [
        ("localhost:9464", 200),
        ("127.0.0.1", 200),
        ("[::1]:9464", 200),
        ("10.1.2.3:80", 200),
        ("Sweep.Example:9464", 200),
        ("attacker.example", 421),
        ("localhost.attacker.example", 421),
        ("127.0.0.1.attacker.example:9464", 421),
        ("", 421),
    ] {
        let answer = world.ask(&format!("GET /live HTTP/1.1\r\nHost: {host}"), "").await;
        assert_eq!(status(&answer), code, "{host}");
    }
    assert_eq!(status(&world.ask("POST /live HTTP/1.1", "").await), 405);
    assert_eq!(status(&world.get("/control").await), 405);
    assert!(world.get("/nothing").await.ends_with("/readyz, /live\n"));
}

#[tokio::test]
async fn orders_need_the_token_and_the_page() {
    let world = world(Some(steered())).await;
    let pause = r#"{"action":"pause"}"#;
    assert_eq!(status(&world.order(TOKEN, pause).await), 409, "nobody takes orders yet");
    let mut errands = world.board.take_orders().unwrap();
    let obedient = tokio::spawn(async move {
        let mut orders = Vec::new();
        while let Some(Errand { order, done }) = errands.recv().await {
            orders.push(order);
            done.send(Obeyed { is_paused: true, ceiling_per_second: Some(7) }).unwrap();
        }
        orders
    });
    let answer = world.order(TOKEN, pause).await;
    assert!(status(&answer) == 200 && answer.contains(r#""is_paused":true"#), "{answer}");
    assert_eq!(status(&world.order(TOKEN, r#"{"action":"pace","versions_per_second":40}"#).await), 200);
    assert_eq!(status(&world.order(TOKEN, r#"{"action":"pace"}"#).await), 200);
    for bad in [
        "",
        "{}",
        r#"{"action":"stop"}"#,
        r#"{"action":"pace","versions_per_second":0}"#,
        r#"{"action":"pace","versions_per_second":-1}"#,
        r#"{"action":"pause","versions_per_second":5}"#,
        r#"{"action":"pause","extra":1}"#,
    ] {
        assert_eq!(status(&world.order(TOKEN, bad).await), 400, "{bad}");
    }
    let huge = format!(r#"{{"action":"{}"}}"#, "x".repeat(5_000));
    assert_eq!(status(&world.order(TOKEN, &huge).await), 413);
    let bearer = format!("POST /control HTTP/1.1\r\nAuthorization: Bearer {TOKEN}");
    assert_eq!(status(&world.ask(&bearer, pause).await), 415, "what a form of another page could send");
    let origin = format!("{bearer}\r\nContent-Type: application/json\r\nOrigin: http://attacker.example");
    assert_eq!(status(&world.ask(&origin, pause).await), 403);
    let own = format!("{bearer}\r\nContent-Type: application/json\r\nOrigin: http://127.0.0.1");
    assert_eq!(status(&world.ask(&own, r#"{"action":"resume"}"#).await), 200);
    world.board.ended(Ended::default());
    assert_eq!(status(&world.order(TOKEN, pause).await), 409);
    assert_eq!(
        obedient.await.unwrap(),
        [Order::Pause, Order::Pace(Some(40)), Order::Pace(None), Order::Resume]
    );
}

#[tokio::test]
async fn wrong_tokens_are_refused_and_slowed_down() {
    let world = world(Some(steered())).await;
    let pause = r#"{"action":"pause"}"#;
    let head = "POST /control HTTP/1.1\r\nContent-Type: application/json";
    let mut seen = vec![status(&world.ask(head, pause).await)];
    for wrong in
        ["a-token-that-is-lonf", "", "a-token-that-is-long-er", "A-TOKEN-THAT-IS-LONG", "x", "y", "z"]
    {
        seen.push(status(&world.order(wrong, pause).await));
    }
    assert_eq!(seen, [401, 401, 401, 401, 401, 429, 429, 429]);
    assert_eq!(status(&world.order(TOKEN, pause).await), 409, "they shut nobody out who has the right one");
    assert_eq!(status(&world.order("x", pause).await), 429);
    let silent = self::world(Some(PageSettings::default())).await;
    assert_eq!(status(&silent.order(TOKEN, pause).await), 403, "a page without a token has no buttons");
    assert!(silent.board.take_orders().is_none());
}

#[tokio::test]
async fn events_tell_what_is_new_and_how_it_ended() {
    let world = world(Some(PageSettings::default())).await;
    assert!(!world.board.is_watched());
    let mut stream = world.listen().await;
    let first = read_until(&mut stream, "\n\n\r\n").await;
    assert!(first.contains("text/event-stream") && first.contains("retry: 2000\n\n"), "{first}");
    assert!(first.contains("event: snapshot\ndata: {\"state\":\"starting\""), "{first}");
    assert!(world.board.is_watched());
    world.board.enter(Phase::Running);
    read_until(&mut stream, "\"state\":\"running\"").await;
    let snapshot = |now_ms, listed| {
        let mut snapshot = Snapshot { now_ms, ..Snapshot::default() };
        snapshot.counts.listed = listed;
        snapshot
    };
    world.board.publish(snapshot(1, 10));
    read_until(&mut stream, "\"listed\":10").await;
    // Time alone is no news.
    world.board.publish(snapshot(2, 10));
    world.board.publish(snapshot(3, 11));
    let next = read_until(&mut stream, "\"listed\":11").await;
    assert!(!next.contains("\"now_ms\":2"), "{next}");
    let board = Arc::clone(&world.board);
    let ended = Ended { word: "budget", exit_code: 78, message: "budget.max_versions is reached".into() };
    board.ended(ended);
    let late = world.get("/events").await;
    assert!(
        late.contains("event: end\n") && late.contains("\"exit_code\":78") && late.contains("\"listed\":11"),
        "{late}"
    );
    world.exporter.close(Duration::from_secs(10)).await;
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(rest.contains("event: end\n") && !board.is_watched(), "{rest}");
}

#[tokio::test]
async fn only_so_many_pages_are_served() {
    let world = world(Some(PageSettings::default())).await;
    let mut pages = Vec::new();
    for _ in 0..live::LISTENERS_MAX {
        let mut page = world.listen().await;
        read_until(&mut page, "event: snapshot").await;
        pages.push(page);
    }
    assert_eq!(status(&world.get("/events").await), 503);
    assert_eq!(status(&world.get("/metrics").await), 200, "others are served");
    pages.clear();
    world.board.enter(Phase::Running);
    let until = Instant::now() + Duration::from_secs(10);
    while world.board.is_watched() {
        assert!(Instant::now() < until, "those who left are still counted");
        // What is sent finds out who left.
        world.board.publish(Snapshot {
            now_ms: 0,
            run_id: Some(format!("{until:?}")),
            ..Snapshot::default()
        });
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut page = world.listen().await;
    read_until(&mut page, "event: snapshot").await;
}

#[tokio::test]
async fn slow_and_greedy_heads_are_let_go() {
    let world = world(None).await;
    let mut greedy = world.connect().await;
    let long = format!("GET /metrics HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(HEAD_BYTES_MAX));
    let _written = greedy.write_all(long.as_bytes()).await;
    let mut answer = String::new();
    let _read = greedy.read_to_string(&mut answer).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    let mut slow: Vec<TcpStream> = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        let mut stream = world.connect().await;
        stream.write_all(b"GET /met").await.unwrap();
        slow.push(stream);
    }
    let began = Instant::now();
    assert_eq!(status(&world.get("/metrics").await), 200, "who is slow makes room");
    assert!(began.elapsed() < HEAD_PATIENCE * 2, "{:?}", began.elapsed());
}
