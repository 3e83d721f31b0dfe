//! `tcpinfo list`: the sockets as a table or as one object a line, once or again and again.

use std::cmp::Ordering;
use std::io::{self, BufWriter, Write};
use std::thread;
use std::time::Instant;

use crate::args::List;
use crate::column::{Column, Entry, Scope, column, columns};
use crate::failure::{Failure, Status};
use crate::names::Names;
use crate::output::{Table, object};
use crate::sample::{Sample, Sampler};
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
        let sample = sampler.sample()?;
        if processes {
            names.read_processes();
        }
        if units {
            names.read_units(&sample.sockets);
        }
        print(&mut out, list, &columns, sort.as_ref(), &sample, &names)
            .and_then(|()| out.flush())
            .map_err(|error| Failure::output(&error))?;
        let Some(pause) = list.watch else {
            complain(list, &sample, &names);
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

fn print(
    to: &mut impl Write,
    list: &List,
    columns: &[Column],
    sort: Option<&Column>,
    sample: &Sample,
    names: &Names,
) -> io::Result<()> {
    let entry = |socket| Entry { socket, names, wall: sample.wall };
    let mut entries: Vec<Entry<'_>> = sample.sockets.iter().map(entry).collect();
    if let Some(column) = sort {
        // Each value once, however often it is compared.
        let mut keyed: Vec<_> = entries.iter().map(|entry| (column.value(entry), *entry)).collect();
        keyed.sort_by(|(one, _), (other, _)| match (one, other) {
            (Some(one), Some(other)) if list.reverse => one.order(other),
            (Some(one), Some(other)) => other.order(one),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        });
        entries = keyed.into_iter().map(|(_, entry)| entry).collect();
    }
    if list.json {
        return entries.iter().try_for_each(|entry| object(to, columns, entry));
    }
    let mut table = Table::new(columns);
    entries.iter().for_each(|entry| table.add(entry));
    table.write(to)?;
    if list.watch.is_some() { to.write_all(b"\n") } else { Ok(()) }
}

/// Says what is missing in the output, beside the output.
fn complain(list: &List, sample: &Sample, names: &Names) {
    if sample.malformed > 0 {
        eprintln!("tcpinfo: {} sockets have replies that make no sense", sample.malformed);
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
