//! One connection: its recent course and every field.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use tcpinfo::FieldValue;
use tcpinfo::diag::Socket;

use super::course::blocks;
use super::palette::Palette;
use super::table::Content;
use super::view::View;
use crate::flow::Flow;
use crate::judge::advice;
use crate::text;

/// Draws the pane in place of the table.
pub(crate) fn draw(
    buffer: &mut Buffer,
    area: Rect,
    view: &mut View,
    flow: Option<&Flow>,
    content: &Content<'_>,
    palette: Palette,
) {
    let Some(flow) = flow else {
        let text = "This connection has ended. Esc goes back.";
        buffer.set_stringn(area.x, area.y, text, area.width.into(), palette.heading());
        return;
    };
    let lines = lines(flow, content, usize::from(area.width));
    view.page = usize::from(area.height).max(1);
    view.detail_offset = view.detail_offset.min(lines.len().saturating_sub(view.page));
    for (y, (is_title, line)) in (area.y..area.bottom()).zip(&lines[view.detail_offset..]) {
        let style = if *is_title { palette.heading() } else { palette.plain() };
        buffer.set_stringn(area.x, y, line, area.width.into(), style);
    }
}

/// Every line, with whether it is a title.
fn lines(flow: &Flow, content: &Content<'_>, width: usize) -> Vec<(bool, String)> {
    let (socket, names) = (&flow.socket, content.names);
    let mut lines = vec![(true, format!("{} - {}", socket.local, socket.peer))];
    let mut about = vec![format!("{}", socket.state), format!("cookie {}", socket.cookie)];
    about.extend(names.process(socket).map(|it| format!("{}/{}", it.command, it.pid)));
    about.extend(names.unit(socket).map(|unit| unit.to_string()));
    about.extend(socket.uid.map(|uid| format!("user {uid}")));
    lines.push((false, about.join("  ")));
    let verdict = flow.verdict.map_or_else(|| "no verdict yet".into(), |it| it.to_string());
    lines.push((false, format!("Verdict: {verdict}")));
    lines.extend(flow.verdict.as_ref().and_then(advice).map(|it| (false, format!("Next: {it}"))));
    let room = width.saturating_sub(24).min(Flow::COURSE);
    let rtts = flow.history.iter().map(|point| point.rtt);
    let rates = flow.history.iter().map(|point| point.throughput);
    let rtt = flow.rtt().map_or("-".into(), text::time);
    let total = flow.rates.sent.zip(flow.rates.received).map(|(sent, received)| sent + received);
    let rate = total.map_or("-".into(), text::rate);
    lines.push((false, format!("round trip {rtt:>8}  {}", blocks(rtts, room))));
    lines.push((false, format!("throughput {rate:>8}  {}", blocks(rates, room))));
    let cells = fields(&flow.socket, content.details.unwrap_or(&flow.socket));
    let widest = cells.iter().map(|(name, value)| name.len().max(10) + value.len()).max();
    let cell = widest.unwrap_or_default() + 4;
    let columns = (width / cell).max(1);
    let height = cells.len().div_ceil(columns);
    lines.push((false, String::new()));
    for line in 0..height {
        let inside = (0..columns).filter_map(|column| cells.get(column * height + line));
        let texts = inside.map(|(name, value)| {
            let gap = cell.saturating_sub(name.len() + value.len() + 3);
            format!("{name} {}{value}  ", " ".repeat(gap))
        });
        lines.push((false, texts.collect()));
    }
    lines
}

/// Name and value of every field that is present, zeros too.
fn fields(socket: &Socket, details: &Socket) -> Vec<(String, String)> {
    let mut cells = vec![
        ("receive_queue".to_owned(), socket.receive_queue.to_string()),
        ("send_queue".to_owned(), socket.send_queue.to_string()),
    ];
    if let Some(congestion) = &details.congestion {
        cells.push(("congestion".into(), congestion.algorithm.clone()));
    }
    if let Some(memory) = &details.memory {
        let drops = memory.drops.map(|drops| ("drops".to_owned(), drops.to_string()));
        cells.extend(drops);
        cells.push(("rmem_alloc".into(), format!("{}/{}", memory.rmem_alloc, memory.rcvbuf)));
        cells.push(("wmem_queued".into(), format!("{}/{}", memory.wmem_queued, memory.sndbuf)));
    }
    let info = socket.info.iter().flat_map(|info| info.fields()).skip(1);
    cells.extend(info.map(|(field, value)| (field.name.to_owned(), short(field.unit, value))));
    cells
}

/// Large numbers of bytes in short.
fn short(unit: &str, value: FieldValue) -> String {
    match (unit, value) {
        ("By", FieldValue::Integer(bytes)) if bytes >= 1_000_000 => text::bytes(bytes as f64),
        ("By/s", FieldValue::Integer(rate)) => text::rate(rate as f64),
        (_, FieldValue::Duration(time)) => text::time(time),
        (_, value) => value.to_string(),
    }
}
