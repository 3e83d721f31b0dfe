//! Keys and clicks, and what they change.

use ratatui::crossterm::event::{
    KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
};

use super::*;

fn rows(cookies: impl IntoIterator<Item = u64>) -> Vec<Row> {
    let row = |cookie| Row {
        key: Key::Connection(cookie),
        connections: 1,
        verdict: None,
        rtt: None,
        queueing_delay: None,
        stalled: None,
        retransmitted: None,
        sent: None,
        received: None,
        unsent: None,
    };
    cookies.into_iter().map(row).collect()
}

fn view() -> View {
    let mut view = View::new(By::Connection, Sort::Rate, Duration::from_secs(1));
    view.resize(5, 0);
    view
}

fn press(view: &mut View, code: KeyCode, rows: &[Row]) -> Act {
    view.key(KeyEvent::new(code, KeyModifiers::NONE), rows)
}

fn click(view: &mut View, column: u16, row: u16, rows: &[Row]) -> Act {
    let kind = MouseEventKind::Down(MouseButton::Left);
    view.mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE }, rows)
}

#[test]
fn the_cursor_moves_within_the_rows_and_stays_visible() {
    let (mut view, rows) = (view(), rows(0..12));
    view.follow(&rows);
    for (code, selected, offset) in [
        (KeyCode::Up, 0, 0),
        (KeyCode::Down, 1, 0),
        (KeyCode::PageDown, 6, 2),
        (KeyCode::End, 11, 7),
        (KeyCode::Down, 11, 7),
        (KeyCode::Up, 10, 7),
        (KeyCode::PageUp, 5, 5),
        (KeyCode::Home, 0, 0),
    ] {
        assert_eq!(press(&mut view, code, &rows), Act::Draw);
        assert_eq!((view.selected, view.offset), (selected, offset), "{code:?}");
    }
    view.follow(&[]);
    assert_eq!((view.selected, view.offset, view.selected_key()), (0, 0, None));
    press(&mut view, KeyCode::Down, &[]);
    assert_eq!(view.selected, 0);
}

#[test]
fn the_cursor_follows_its_row_but_stays_at_the_top() {
    let mut view = view();
    view.follow(&rows([1, 2, 3]));
    view.follow(&rows([3, 1, 2]));
    assert_eq!(view.selected_key(), Some(&Key::Connection(3)));
    press(&mut view, KeyCode::Down, &rows([3, 1, 2]));
    view.follow(&rows([3, 2, 4, 1]));
    assert_eq!((view.selected, view.selected_key()), (3, Some(&Key::Connection(1))));
    // Its row has ended.
    view.follow(&rows([3, 2]));
    assert_eq!((view.selected, view.selected_key()), (1, Some(&Key::Connection(2))));
}

#[test]
fn searching_takes_letters_until_enter_or_escape() {
    let (mut view, rows) = (view(), rows([1]));
    assert_eq!(press(&mut view, KeyCode::Char('/'), &rows), Act::Draw);
    for letter in "quit".chars() {
        assert_eq!(press(&mut view, KeyCode::Char(letter), &rows), Act::Regroup);
    }
    press(&mut view, KeyCode::Backspace, &rows);
    press(&mut view, KeyCode::Enter, &rows);
    assert_eq!((view.mode, view.search.as_str()), (Mode::Table, "qui"));
    press(&mut view, KeyCode::Esc, &rows);
    assert_eq!(view.search, "");
    press(&mut view, KeyCode::Char('/'), &rows);
    press(&mut view, KeyCode::Char('x'), &rows);
    press(&mut view, KeyCode::Esc, &rows);
    assert_eq!((view.mode, view.search.as_str()), (Mode::Table, ""));
}

#[test]
fn enter_opens_a_group_or_a_connection_and_escape_goes_back() {
    let (mut view, connections) = (view(), rows([7]));
    let groups = vec![Row { key: Key::Server(80), ..connections[0].clone() }];
    assert_eq!(press(&mut view, KeyCode::Char('2'), &connections), Act::Regroup);
    view.follow(&groups);
    assert_eq!(press(&mut view, KeyCode::Enter, &groups), Act::Regroup);
    assert_eq!((view.by, &view.within), (By::Connection, &Some((By::Group, Key::Server(80)))));
    view.follow(&connections);
    assert_eq!(press(&mut view, KeyCode::Enter, &connections), Act::Draw);
    assert_eq!(view.mode, Mode::Detail);
    // The connection stays while its pane is open, also when it ends.
    view.follow(&rows([8]));
    assert_eq!(view.selected_key(), Some(&Key::Connection(7)));
    press(&mut view, KeyCode::Esc, &connections);
    assert_eq!(view.mode, Mode::Table);
    press(&mut view, KeyCode::Esc, &connections);
    assert_eq!((view.by, &view.within), (By::Group, &None));
}

#[test]
fn sorts_and_groups_go_round() {
    let (mut view, rows) = (view(), rows([1]));
    for _ in 0..SORTS.len() {
        press(&mut view, KeyCode::Char('>'), &rows);
    }
    assert_eq!(view.sort, Sort::Rate);
    press(&mut view, KeyCode::Char('<'), &rows);
    assert_eq!(view.sort, Sort::Verdict);
    press(&mut view, KeyCode::Char('<'), &rows);
    assert_eq!(view.sort, SORTS[SORTS.len() - 1]);
    press(&mut view, KeyCode::BackTab, &rows);
    assert_eq!(view.by, By::Unit);
    press(&mut view, KeyCode::Tab, &rows);
    assert_eq!(view.by, By::Connection);
    press(&mut view, KeyCode::Char('r'), &rows);
    assert!(view.reverse);
}

#[test]
fn clicks_sort_select_and_open() {
    let (mut view, rows) = (view(), rows(0..12));
    view.headings = vec![(10, 16, Sort::Rtt), (17, 20, Sort::Sent)];
    view.follow(&rows);
    assert_eq!(click(&mut view, 12, 1, &rows), Act::Regroup);
    assert_eq!((view.sort, view.reverse), (Sort::Rtt, false));
    click(&mut view, 12, 1, &rows);
    assert_eq!((view.sort, view.reverse), (Sort::Rtt, true));
    assert_eq!(click(&mut view, 16, 1, &rows), Act::Draw);
    click(&mut view, 0, 4, &rows);
    assert_eq!((view.selected, view.mode), (2, Mode::Table));
    click(&mut view, 0, 4, &rows);
    assert_eq!((view.selected, view.mode), (2, Mode::Detail));
    for (column, line) in [(0, 0), (0, 200), (u16::MAX, u16::MAX - 1)] {
        view.mode = Mode::Table;
        click(&mut view, column, line, &rows);
        assert_eq!((view.selected, view.mode), (2, Mode::Table));
    }
}

#[test]
fn pausing_stops_and_continuing_samples_at_once() {
    let (mut view, rows) = (view(), rows([1]));
    assert_eq!(press(&mut view, KeyCode::Char(' '), &rows), Act::Draw);
    assert!(view.paused);
    assert_eq!(press(&mut view, KeyCode::Char(' '), &rows), Act::Sample);
    assert!(!view.paused);
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    for mode in [Mode::Table, Mode::Search, Mode::Detail, Mode::Help] {
        view.mode = mode;
        assert_eq!(view.key(control_c, &rows), Act::Quit, "{mode:?}");
    }
    view.mode = Mode::Table;
    assert_eq!(press(&mut view, KeyCode::Char('q'), &rows), Act::Quit);
}
