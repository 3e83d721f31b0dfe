//! The table: which columns fit, and what stands in them.

use std::collections::VecDeque;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use tcpinfo::diag::Socket;
use tcpinfo::{Cause, State};

use super::course::{Courses, blocks};
use super::palette::Palette;
use super::view::View;
use crate::args::{By, Sort};
use crate::flow::{Flow, Flows, Point};
use crate::judge::{is_wrong, words};
use crate::names::Names;
use crate::rows::{Key, Row};
use crate::text;

/// What the rows are made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Content<'c> {
    pub(crate) rows: &'c [Row],
    pub(crate) flows: &'c Flows,
    pub(crate) names: &'c Names,
    pub(crate) courses: &'c Courses,
    /// More of the connection whose pane is open.
    pub(crate) details: Option<&'c Socket>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    Name,
    Verdict,
    Process,
    Connections,
    Rtt,
    RttCourse,
    Queue,
    Retransmitted,
    Sent,
    Received,
    RateCourse,
    Unsent,
    Stalled,
}

impl Cell {
    /// Whether it stands at the left side of its column.
    fn is_text(self) -> bool {
        matches!(self, Self::Name | Self::Verdict | Self::Process)
    }
}

/// A column of the table.
#[derive(Debug)]
struct Heading {
    cell: Cell,
    title: &'static str,
    width: u16,
    /// Those with a low number are there first.
    priority: u8,
    sort: Option<Sort>,
}

const fn heading(
    cell: Cell,
    title: &'static str,
    width: u16,
    priority: u8,
    sort: Option<Sort>,
) -> Heading {
    Heading { cell, title, width, priority, sort }
}

/// From left to right.
const HEADINGS: &[Heading] = &[
    heading(Cell::Name, "", 24, 0, None),
    heading(Cell::Verdict, "VERDICT", 14, 1, Some(Sort::Verdict)),
    heading(Cell::Process, "PROCESS", 20, 8, None),
    heading(Cell::Connections, "CONNS", 6, 2, Some(Sort::Connections)),
    heading(Cell::Rtt, "RTT", 6, 3, Some(Sort::Rtt)),
    heading(Cell::RttCourse, "RTT COURSE", 12, 10, None),
    heading(Cell::Queue, "QUEUE", 6, 7, Some(Sort::Queue)),
    heading(Cell::Retransmitted, "RETRANS", 7, 4, Some(Sort::Retransmitted)),
    heading(Cell::Sent, "SENT", 7, 5, Some(Sort::Sent)),
    heading(Cell::Received, "RECV", 7, 6, Some(Sort::Received)),
    heading(Cell::RateCourse, "RATE COURSE", 12, 11, Some(Sort::Rate)),
    heading(Cell::Unsent, "UNSENT", 6, 12, Some(Sort::Unsent)),
    heading(Cell::Stalled, "STALLED", 7, 9, Some(Sort::Stalled)),
];

/// The columns that fit, with their widths. The name gets what is left.
fn layout(by: By, width: u16) -> Vec<(&'static Heading, u16)> {
    let mut wanted: Vec<&Heading> = HEADINGS.iter().collect();
    wanted.retain(|heading| match heading.cell {
        Cell::Process => by == By::Connection,
        Cell::Connections => by != By::Connection,
        _ => true,
    });
    wanted.sort_by_key(|heading| heading.priority);
    let own_width = |heading: &Heading| match heading.cell {
        // A group also says how many connections have it.
        Cell::Verdict if by != By::Connection => heading.width + 3,
        _ => heading.width,
    };
    let mut used = 0;
    // One column between two.
    let fits = |heading: &&Heading| {
        used += own_width(heading) + u16::from(used > 0);
        heading.cell == Cell::Name || used <= width
    };
    let fitting: Vec<&Heading> = wanted.into_iter().take_while(fits).collect();
    let others: u16 = fitting.iter().skip(1).map(|heading| own_width(heading) + 1).sum();
    let place = |heading: &&Heading| {
        HEADINGS.iter().position(|other| other.cell == heading.cell).unwrap_or_default()
    };
    let mut fitting = fitting;
    fitting.sort_by_key(place);
    let width_of = |heading: &Heading| match heading.cell {
        Cell::Name => width.saturating_sub(others),
        _ => own_width(heading),
    };
    fitting.into_iter().map(|heading| (heading, width_of(heading))).collect()
}

/// Draws the headings and the rows that fit below.
pub(crate) fn draw(
    buffer: &mut Buffer,
    area: Rect,
    view: &mut View,
    content: &Content<'_>,
    palette: Palette,
) {
    let columns = layout(view.by, area.width);
    view.headings.clear();
    let mut x = area.x;
    for (heading, width) in &columns {
        let title = match heading.cell {
            Cell::Name => title_of(view),
            _ => heading.title.to_owned(),
        };
        let is_sorted = heading.sort == Some(view.sort);
        let style = if is_sorted { palette.sorted() } else { palette.heading() };
        put(buffer, (x, area.y), *width, &title, !heading.cell.is_text(), style);
        if let Some(sort) = heading.sort {
            view.headings.push((x, x + width, sort));
        }
        x += width + 1;
    }
    let page = usize::from(area.height.saturating_sub(1));
    view.resize(page, content.rows.len());
    let visible = content.rows.iter().enumerate().skip(view.offset).take(page);
    for (line, (at, row)) in visible.enumerate() {
        let y = area.y + 1 + line as u16;
        let mut x = area.x;
        for (heading, width) in &columns {
            let (text, style) = cell(heading.cell, row, content, usize::from(*width), palette);
            let right = !heading.cell.is_text();
            put(buffer, (x, y), *width, &text, right, style);
            x += width + 1;
        }
        if at == view.selected {
            buffer.set_style(Rect::new(area.x, y, area.width, 1), palette.selected());
        }
    }
}

fn title_of(view: &View) -> String {
    match &view.within {
        Some((by, key)) => format!("CONNECTIONS OF {}", group_name(key, *by).to_uppercase()),
        None => ["CONNECTION", "GROUP", "PROCESS", "UNIT"][view.by as usize].into(),
    }
}

/// Writes text into a cell, cut off at its end.
fn put(buffer: &mut Buffer, at: (u16, u16), width: u16, text: &str, right: bool, style: Style) {
    if !buffer.area.contains(at.into()) {
        return;
    }
    let len = text.chars().count().min(usize::from(width)) as u16;
    let x = if right { at.0 + width - len } else { at.0 };
    buffer.set_stringn(x, at.1, text, usize::from(width), style);
}

fn cell(
    cell: Cell,
    row: &Row,
    content: &Content<'_>,
    width: usize,
    palette: Palette,
) -> (String, Style) {
    let faint = |text: Option<String>| match text {
        Some(text) => (text, palette.plain()),
        None => ("-".to_owned(), palette.faint()),
    };
    let rate = |rate: Option<f64>| match rate {
        Some(0.0) => ("0".to_owned(), palette.faint()),
        rate => faint(rate.map(text::rate)),
    };
    match cell {
        Cell::Name => (name(&row.key, content, width), palette.plain()),
        Cell::Process => {
            let flow = flow(&row.key, content);
            let process = flow.and_then(|flow| content.names.process(&flow.socket));
            faint(process.map(|process| {
                // The number is never cut off.
                let pid = format!("/{}", process.pid);
                let room = width.saturating_sub(pid.len());
                process.command.chars().take(room).chain(pid.chars()).collect()
            }))
        }
        Cell::Verdict => verdict(row, palette),
        Cell::Connections => faint(Some(row.connections.to_string())),
        Cell::Rtt => faint(row.rtt.map(text::time)),
        Cell::Queue => faint(row.queueing_delay.map(text::time)),
        Cell::Retransmitted => {
            let share = row.retransmitted;
            let style = match share {
                Some(share) if share > 0.01 => palette.bad(),
                Some(share) if share > 0.0 => palette.notable(),
                _ => palette.faint(),
            };
            (faint(share.map(text::share)).0, style)
        }
        Cell::Sent => rate(row.sent),
        Cell::Received => rate(row.received),
        Cell::Unsent => faint(row.unsent.map(|bytes| text::bytes(bytes as f64))),
        Cell::Stalled => match row.stalled {
            Some(stalled) if !stalled.is_zero() => (text::time(stalled), palette.bad()),
            stalled => (faint(stalled.map(text::time)).0, palette.faint()),
        },
        Cell::RttCourse => (course(row, content, |point| point.rtt, width), palette.course()),
        Cell::RateCourse => {
            (course(row, content, |point| point.throughput, width), palette.course())
        }
    }
}

/// The cause in words; of a group the worst, with how many have it.
fn verdict(row: &Row, palette: Palette) -> (String, Style) {
    let Some((cause, count)) = row.verdict else { return ("-".into(), palette.faint()) };
    let style = match cause {
        cause if is_wrong(cause) => palette.bad(),
        Cause::Healthy => palette.good(),
        Cause::TooLittle => palette.faint(),
        _ => palette.plain(),
    };
    let words = match matches!(row.key, Key::Connection(_)) {
        true => words(cause),
        false => format!("{count} {}", words(cause)),
    };
    (words, style)
}

fn flow<'c>(key: &Key, content: &Content<'c>) -> Option<&'c Flow> {
    match key {
        Key::Connection(cookie) => content.flows.get(*cookie),
        _ => None,
    }
}

fn course(row: &Row, content: &Content<'_>, of: fn(&Point) -> Option<f32>, width: usize) -> String {
    let points: Option<&VecDeque<Point>> = match flow(&row.key, content) {
        Some(flow) => Some(&flow.history),
        None => content.courses.of(&row.key),
    };
    points.map_or_else(String::new, |points| blocks(points.iter().map(of), width))
}

/// What a row is called, in so many columns if that can be done.
pub(crate) fn name(key: &Key, content: &Content<'_>, width: usize) -> String {
    let Some(flow) = flow(key, content) else { return group_name(key, By::Group) };
    let socket = &flow.socket;
    let arrow = if content.flows.is_server(socket) { '<' } else { '>' };
    let state = match socket.state {
        State::Established => String::new(),
        State::Listen => return format!("{} listen", socket.local),
        state => format!(" {state}"),
    };
    let whole = format!("{} {arrow} {}{state}", socket.local, socket.peer);
    if whole.len() <= width {
        return whole;
    }
    format!(":{} {arrow} {}{state}", socket.local.port(), socket.peer)
}

/// What a group is called.
pub(crate) fn group_name(key: &Key, by: By) -> String {
    match key {
        Key::Connection(cookie) => format!("{cookie}"),
        Key::Server(port) => format!("server :{port}"),
        Key::Client(peer) => format!("to {peer}"),
        Key::Process(process) => format!("{}/{}", process.command, process.pid),
        Key::Unit(unit) => unit.to_string(),
        Key::Nobody if by == By::Unit => "no unit".into(),
        Key::Nobody => "not known".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(by: By, width: u16) -> Vec<(&'static str, u16)> {
        layout(by, width).into_iter().map(|(heading, width)| (heading.title, width)).collect()
    }

    #[test]
    fn columns_fill_the_width_and_never_exceed_it() {
        for by in By::ALL {
            for width in 0..=300 {
                let columns = titles(by, width);
                let sum: u16 = columns.iter().map(|(_, width)| width + 1).sum();
                assert_eq!(sum, width + 1, "{by:?} {width}: {columns:?}");
            }
        }
    }

    #[test]
    fn the_most_important_columns_are_there_at_80_and_all_at_200() {
        let names = |by, width| -> Vec<&str> {
            titles(by, width).into_iter().map(|(title, _)| title).collect()
        };
        let narrow = ["", "VERDICT", "RTT", "QUEUE", "RETRANS", "SENT", "RECV"];
        assert_eq!(names(By::Connection, 80), narrow);
        assert_eq!(names(By::Connection, 200).len(), HEADINGS.len() - 1);
        assert_eq!(names(By::Unit, 80)[1..3], ["VERDICT", "CONNS"]);
        assert_eq!(titles(By::Connection, 10), [("", 10)]);
    }
}
