//! `tcpinfo list`: the sockets as a table or as one object a line, once or again and again.

use std::cmp::Ordering;
use std::io::{self, BufWriter, Write};
use std::thread;
use std::time::{Instant, SystemTime};

use crate::args::List;
use crate::column::{Column, Entry, Scope, column, columns};
use crate::failure::{Failure, Status};
use crate::names::Names;
use crate::output::{Table, object};
use crate::sample::Sampler;
use crate::select::{Selection, Wanted};

/// The columns of the table if none are asked for.
const USUAL: &[&str] = &[
    "state",
    "local",
    "peer",
    "rtt",
    "queueing_delay",
    "retransmitted_share",
    "bytes_sent",
    "bytes_received",
    "receive_queue",
    "send_queue",
];

pub(crate) fn run(list: &List) -> Result<Status, Failure> {
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    if list.fields.iter().any(|field| field == "help") {
        explain_fields(&mut out).map_err(|error| Failure::output(&error))?;
        return Ok(Status::Done);
    }
    let columns = chosen(list)?;
    let sort = list.sort.as_deref().map(named).transpose()?;
    let selection = Selection::new(&Wanted::from(&list.filters))?;
    let uses = |name: &str| columns.iter().chain(&sort).any(|column| column.name == name);
    let mut query = selection.query(list.all);
    if ["memory", "drops", "fwd_alloc"].into_iter().any(uses) {
        query = query.with_memory();
    }
    if ["congestion", "algorithm"].into_iter().any(uses) {
        query = query.with_congestion();
    }
    let processes = columns.iter().chain(&sort).any(Column::needs_processes);
    let units = uses("unit");
    let sampler = Sampler::new(selection, query);
    let mut names = Names::default();
    loop {
        let begun = Instant::now();
        let wall = SystemTime::now();
        if processes {
            names.read_processes();
        }
        let mut report = Report::new(list, &columns, &mut out);
        // Without an order, nothing is kept: a page of memory costs more than what is done with it.
        let mut kept = Vec::new();
        let malformed = sampler.each(|socket| {
            if units {
                names.read_units([&socket]);
            }
            match sort {
                Some(_) => kept.push(socket),
                None => report.add(&Entry { socket: &socket, names: &names, wall }),
            }
        })?;
        if let Some(column) = &sort {
            let entries = kept.iter().map(|socket| Entry { socket, names: &names, wall });
            for entry in sorted(entries, column, list.reverse) {
                report.add(&entry);
            }
        }
        report.end().and_then(|()| out.flush()).map_err(|error| Failure::output(&error))?;
        let Some(pause) = list.watch else {
            complain(list, malformed, &names);
            return Ok(Status::Done);
        };
        thread::sleep(pause.saturating_sub(begun.elapsed()));
    }
}

/// Which columns to print.
fn chosen(list: &List) -> Result<Vec<Column>, Failure> {
    if !list.fields.is_empty() {
        return list.fields.iter().map(|name| named(name)).collect();
    }
    if list.json {
        let all = columns().filter(|column| match column.scope {
            Scope::Always => true,
            Scope::Processes => list.processes,
            Scope::Asked => false,
        });
        return Ok(all.collect());
    }
    let more: &[&str] = if list.processes { &["pid", "command"] } else { &[] };
    USUAL.iter().chain(more).map(|name| named(name)).collect()
}

fn named(name: &str) -> Result<Column, Failure> {
    column(name).ok_or_else(|| {
        let close = columns().map(|column| column.name).filter(|other| other.contains(name));
        let close: Vec<_> = close.take(5).collect();
        let hint = match &close[..] {
            [] => String::new(),
            close => format!(", there is {}", close.join(", ")),
        };
        Failure::usage(format!("no field {name}{hint}; `tcpinfo list --fields help` lists all"))
    })
}

/// Greatest first, or least first, and absent ones last.
fn sorted<'e>(
    entries: impl Iterator<Item = Entry<'e>>,
    column: &Column,
    reverse: bool,
) -> impl Iterator<Item = Entry<'e>> {
    // Each value once, however often it is compared.
    let mut keyed: Vec<_> = entries.map(|entry| (column.value(&entry), entry)).collect();
    keyed.sort_by(|(one, _), (other, _)| match (one, other) {
        (Some(one), Some(other)) if reverse => one.order(other),
        (Some(one), Some(other)) => other.order(one),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    });
    keyed.into_iter().map(|(_, entry)| entry)
}

/// One round of output.
struct Report<'r, W> {
    columns: &'r [Column],
    out: &'r mut W,
    /// `None` for objects.
    table: Option<Table<'r>>,
    /// An empty line tells one table from the next.
    watches: bool,
    written: io::Result<()>,
}

impl<'r, W: Write> Report<'r, W> {
    fn new(list: &List, columns: &'r [Column], out: &'r mut W) -> Self {
        let table = (!list.json).then(|| Table::new(columns));
        Self { columns, out, table, watches: list.watch.is_some(), written: Ok(()) }
    }

    fn add(&mut self, entry: &Entry<'_>) {
        match &mut self.table {
            Some(table) => table.add(entry),
            None if self.written.is_ok() => {
                self.written = object(self.out, self.columns, entry);
            }
            None => {}
        }
    }

    fn end(self) -> io::Result<()> {
        self.written?;
        let Some(table) = self.table else { return Ok(()) };
        table.write(self.out)?;
        if self.watches { self.out.write_all(b"\n") } else { Ok(()) }
    }
}

/// Says what is missing in the output, beside the output.
fn complain(list: &List, malformed: usize, names: &Names) {
    if malformed > 0 {
        eprintln!("tcpinfo: {malformed} sockets have replies that make no sense");
    }
    if list.processes && names.hidden() > 0 {
        let hidden = names.hidden();
        eprintln!("tcpinfo: {hidden} processes of other users are hidden: only root sees them");
    }
}

/// Every field that can be asked for.
fn explain_fields(to: &mut impl Write) -> io::Result<()> {
    let width = columns().map(|column| column.name.len()).max().unwrap_or_default();
    for column in columns() {
        writeln!(to, "{:<width$}  {:<12}  {}", column.name, column.unit, column.about)?;
    }
    to.flush()
}
