//! The whole screen: totals, the table or a pane, and what can be pressed.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::palette::Palette;
use super::table::Content;
use super::view::{Mode, View};
use super::{detail, table};
use crate::rows::Key;
use crate::text;

/// What the line of totals says beside the numbers.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// What is hidden and why, or what went wrong.
    pub(crate) warning: Option<String>,
    /// Which moment of a recording is shown.
    pub(crate) moment: Option<String>,
}

/// Draws everything.
pub(crate) fn draw(
    buffer: &mut Buffer,
    view: &mut View,
    content: &Content<'_>,
    notes: &Notes,
    palette: Palette,
) {
    let area = buffer.area;
    if area.width == 0 || area.height == 0 {
        return;
    }
    totals(buffer, view, content, notes, palette);
    // The last lines only where there is room for rows as well.
    let footer = area.height > 4;
    let warning = notes.warning.as_ref().filter(|_| area.height > 6);
    let below = u16::from(footer) + u16::from(warning.is_some());
    let height = area.height.saturating_sub(1 + below);
    let middle = Rect::new(area.x, area.y + 1, area.width, height);
    match view.mode {
        Mode::Detail => {
            let flow = match view.selected_key() {
                Some(Key::Connection(cookie)) => content.flows.get(*cookie),
                _ => None,
            };
            detail::draw(buffer, middle, view, flow, content, palette);
        }
        Mode::Help => help(buffer, middle, palette),
        Mode::Table | Mode::Search => table::draw(buffer, middle, view, content, palette),
    }
    let width = usize::from(area.width);
    if let Some(warning) = warning {
        let y = area.bottom() - 1 - u16::from(footer);
        buffer.set_stringn(area.x, y, warning, width, palette.notable());
    }
    if footer {
        let y = area.bottom() - 1;
        buffer.set_stringn(area.x, y, keys(view), width, palette.faint());
    }
}

fn totals(
    buffer: &mut Buffer,
    view: &View,
    content: &Content<'_>,
    notes: &Notes,
    palette: Palette,
) {
    let connections: usize = content.rows.iter().map(|row| row.connections).sum();
    let sum = |of: fn(&crate::rows::Row) -> Option<f64>| {
        let known: Vec<f64> = content.rows.iter().filter_map(of).collect();
        (!known.is_empty()).then(|| known.iter().sum::<f64>())
    };
    let mut parts = vec![match connections {
        1 => "1 connection".to_owned(),
        count => format!("{count} connections"),
    }];
    parts.extend(sum(|row| row.sent).map(|rate| format!("sent {}", text::rate(rate))));
    parts.extend(sum(|row| row.received).map(|rate| format!("received {}", text::rate(rate))));
    if view.paused {
        parts.insert(0, "PAUSED".into());
    }
    if let Some(moment) = &notes.moment {
        parts.insert(0, moment.clone());
    }
    if !view.search.is_empty() {
        parts.push(format!("search: {}", view.search));
    }
    let line = parts.join("  ");
    buffer.set_stringn(0, 0, line, usize::from(buffer.area.width), palette.heading());
}

/// The line of keys.
fn keys(view: &View) -> String {
    match view.mode {
        Mode::Search => format!("search: {}_  Enter keeps it, Esc clears it", view.search),
        Mode::Help => "any key goes back".into(),
        Mode::Detail => "Esc back  Up Down scroll  Space pause  ? help  q quit".into(),
        Mode::Table => {
            let slider = if view.recorded { "[ ] step  " } else { "" };
            let by = view.by.name();
            format!(
                "? help  q quit  Tab by {by}  < > sort  / search  Enter open  {slider}Space pause"
            )
        }
    }
}

const HELP: &[(&str, &str)] = &[
    ("Up Down PgUp PgDn Home End", "move"),
    ("Enter", "all fields of a connection, or the connections of a group"),
    ("Esc", "back"),
    ("Tab, 1 2 3 4", "by connection, group, process, unit"),
    ("< >", "sort by another column; r turns the order"),
    ("/", "only rows with this in their names or addresses"),
    ("Space", "pause"),
    ("+ -", "sample less or more often"),
    ("[ ] { }", "step through a recording, by 1 or 60 samples"),
    ("mouse", "a heading sorts, a row is selected, once more opens it"),
    ("Ctrl-Z, q, Ctrl-C", "to the shell for a while; quit"),
    ("", ""),
    ("VERDICT", "what limits it; Enter shows the evidence"),
    ("RTT", "round-trip time, smoothed by the kernel; of a group the median"),
    ("QUEUE", "what queues add to it: less the least of the last minutes"),
    ("RETRANS", "part of the bytes sent that were sent again, of the last seconds"),
    ("SENT RECV", "bytes each second"),
    ("UNSENT", "bytes that wait in the send buffer"),
    ("STALLED", "time since the peer answered, while a timeout has passed"),
];

fn help(buffer: &mut Buffer, area: Rect, palette: Palette) {
    let width = usize::from(area.width);
    for (y, (keys, meaning)) in (area.y..area.bottom()).zip(HELP) {
        buffer.set_stringn(area.x, y, keys, width, palette.heading());
        if area.width > 28 {
            buffer.set_stringn(area.x + 28, y, meaning, width - 28, palette.plain());
        }
    }
}
