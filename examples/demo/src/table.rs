//! The monitor's snapshots as a table: plain data, no SDK.

use std::io::{self, IsTerminal, Write};
use std::thread;
use std::time::Duration;

use tcpinfo::{Attributes, FIELDS, Field, FieldValue, GroupSnapshot, Monitor, Snapshot, State};

/// Shows a table until nobody looks any more: every second in place on a terminal, else one below
/// the other and less often.
pub(crate) fn show(monitor: &Monitor) -> io::Result<()> {
    let mut out = io::stdout();
    let in_place = out.is_terminal();
    let mut lines = 0;
    // The first after the connections had time to do something.
    thread::sleep(Duration::from_secs(1));
    loop {
        let table = table(&monitor.snapshot());
        if in_place {
            // Up to where the last one began. No line may wrap; what is left of old ones goes.
            let up = if lines > 0 { format!("\x1b[{lines}A") } else { String::new() };
            let rows = table.replace('\n', "\x1b[K\n");
            out.write_all(format!("{up}\x1b[?7l{rows}\x1b[?7h\x1b[J").as_bytes())?;
            lines = table.lines().count();
        } else {
            out.write_all(table.as_bytes())?;
        }
        out.flush()?;
        thread::sleep(Duration::from_secs(if in_place { 1 } else { 5 }));
    }
}

/// What groups and connections show alike.
const TRAFFIC: [&str; 5] = ["sent", "received", "retransmitted", "unsent", "limited by"];

fn table(snapshot: &Snapshot) -> String {
    let mut groups = vec![header(["group", "open", "closed", "queue", "median rtt"])];
    groups.extend(snapshot.groups.iter().map(|group| {
        let get = |name: &str| group.get(field(name));
        let own = [
            label(group.attributes(), "service"),
            connections(group).to_string(),
            group.closed.to_string(),
            text(get("accept_queue")),
            median_rtt(group),
        ];
        own.into_iter().chain(traffic(get)).collect()
    }));
    let mut sockets = vec![header(["connection", "state", "cwnd", "min_rtt", "rtt"])];
    sockets.extend(snapshot.sockets.iter().map(|socket| {
        let get = |name: &str| socket.get(field(name));
        let own = ["state", "snd_cwnd", "min_rtt", "rtt"].map(|name| text(get(name)));
        let name = label(socket.attributes(), "client");
        [name].into_iter().chain(own).chain(traffic(get)).collect()
    }));
    let (watched, duration) = (snapshot.monitor.watched, snapshot.monitor.sweep_duration);
    let read = format!("{watched} sockets, read in {:.0} us", duration.as_secs_f64() * 1e6);
    format!("\n{}\n{}\n{read}\n", aligned(&groups), aligned(&sockets))
}

fn header(own: [&str; 5]) -> Vec<String> {
    own.into_iter().chain(TRAFFIC).map(String::from).collect()
}

fn traffic(get: impl Fn(&str) -> Option<FieldValue>) -> [String; 5] {
    let amounts = ["bytes_sent", "bytes_received", "bytes_retrans", "notsent_bytes"];
    let [sent, received, retransmitted, unsent] = amounts.map(|name| bytes(get(name)));
    [sent, received, retransmitted, unsent, limited_by(get)]
}

/// What the sender waited for, as a share of the time it had something to send.
fn limited_by(get: impl Fn(&str) -> Option<FieldValue>) -> String {
    let time = |name| get(name).and_then(FieldValue::as_f64);
    let Some(busy) = time("busy_time").filter(|busy| *busy > 0.0) else { return "-".into() };
    let share = |name| time(name).unwrap_or_default() / busy * 100.0;
    let (window, buffer) = (share("rwnd_limited"), share("sndbuf_limited"));
    match () {
        _ if window >= 1.0 && window >= buffer => format!("receive window {window:.0} %"),
        _ if buffer >= 1.0 => format!("send buffer {buffer:.0} %"),
        _ => "network".into(),
    }
}

/// Live connections; the group's listener is none.
fn connections(group: &GroupSnapshot) -> u64 {
    let connections = group.states().filter(|(state, _)| *state != State::Listen);
    connections.map(|(_, count)| count).sum()
}

fn median_rtt(group: &GroupSnapshot) -> String {
    let rtt = field("rtt");
    let mut samples: Vec<f64> = group.samples.iter().filter_map(|sample| sample.get(rtt)).collect();
    samples.sort_by(f64::total_cmp);
    let median = samples.get(samples.len() / 2);
    text(median.map(|median| FieldValue::Duration(Duration::from_secs_f64(*median))))
}

fn field(name: &str) -> &'static Field {
    FIELDS.iter().find(|field| field.name == name).expect("the table has every field named here")
}

fn label(attributes: &Attributes, key: &str) -> String {
    let attribute = attributes.as_slice().iter().find(|attribute| attribute.key.as_str() == key);
    attribute.map_or("-".into(), |attribute| attribute.value.to_string())
}

/// A dash is "nothing to report"; zero is a measurement.
fn text(value: Option<FieldValue>) -> String {
    value.map_or("-".into(), |value| value.to_string())
}

fn bytes(value: Option<FieldValue>) -> String {
    let Some(FieldValue::Integer(bytes)) = value else { return "-".into() };
    match bytes as f64 {
        bytes if bytes >= 1e9 => format!("{:.2} GB", bytes / 1e9),
        bytes if bytes >= 1e6 => format!("{:.2} MB", bytes / 1e6),
        bytes if bytes >= 1e3 => format!("{:.1} kB", bytes / 1e3),
        bytes => format!("{bytes} B"),
    }
}

/// The first and the last column start at the left, the others end at the right.
fn aligned(rows: &[Vec<String>]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or_default();
    let line = |row: &Vec<String>| {
        let last = row.len() - 1;
        let cells = row.iter().enumerate().map(|(column, cell)| match column {
            0 => format!("{cell:<11}"),
            _ if column == last => format!("  {cell}\n"),
            // Wide enough for what comes, or the columns would jump.
            _ => format!("{cell:>width$}", width = 2 + width(column).max(9)),
        });
        cells.collect::<String>()
    };
    rows.iter().map(line).collect()
}
