use super::*;

fn board() -> Board {
    Board::new(About { job: "j".into(), ..About::default() }, Some(PageSettings::default()))
}

fn shown(board: &Board) -> serde_json::Value {
    let frame = Arc::clone(&board.page.as_ref().unwrap().frame.borrow());
    serde_json::from_str(&frame.json).unwrap()
}

#[test]
fn a_stop_is_not_taken_back() {
    let board = board();
    let ended = || Ended { word: "done", exit_code: 0, message: String::new() };
    let mut words = Vec::new();
    for phase in [
        Phase::Planning,
        Phase::Stopping("a".into()),
        Phase::Running,
        Phase::Stopping("b".into()),
        Phase::Ended(ended()),
        Phase::Stopping("c".into()),
    ] {
        board.enter(phase);
        words.push((board.phase().word(), board.obstacle()));
    }
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        words,
        [
            ("planning", None),
            ("stopping", text("stopping")),
            ("stopping", text("stopping")),
            ("stopping", text("stopping")),
            ("ended", text("ended: done")),
            ("ended", text("ended: done")),
        ]
    );
}

#[test]
fn the_last_figures_stay_with_the_end() {
    let board = board();
    board.read_by(|| Vitals { pending: 5, ..Vitals::default() });
    assert_eq!(board.vitals().map(|vitals| vitals.pending), Some(5));
    let counts = Counts { listed: 70, ..Counts::default() };
    board.publish(Snapshot { counts, is_paused: true, ..Snapshot::default() });
    assert_eq!(shown(&board)["is_paused"], true);
    board.ended(Ended { word: "tripwire", exit_code: 76, message: "a marker".into() });
    let last = shown(&board);
    assert_eq!((&last["state"], &last["counts"]["listed"]), (&"ended".into(), &70.into()));
    assert_eq!((&last["ending"]["exit_code"], &last["is_paused"]), (&76.into(), &false.into()));
    assert_eq!(board.vitals(), None, "nobody reads a run that is gone");
}

#[test]
fn keys_cannot_end_a_line_of_the_stream() {
    let board = board();
    let key = visible("a\n\ndata: {}\r\u{2028}".as_bytes());
    let failures = vec![FailureRow { key, message: "x\n\ny".into(), ..FailureRow::default() }];
    board.publish(Snapshot { failures, ..Snapshot::default() });
    let frame = Arc::clone(&board.page.as_ref().unwrap().frame.borrow());
    assert!(!frame.json.contains('\n') && !frame.json.contains('\r') && !frame.json.contains('\u{2028}'));
}

#[test]
fn without_a_page_nothing_is_shown_and_nothing_obeyed() {
    let board = Board::new(About::default(), None);
    board.publish(Snapshot::default());
    assert!(!board.has_page() && !board.is_watched() && board.take_orders().is_none());
}
