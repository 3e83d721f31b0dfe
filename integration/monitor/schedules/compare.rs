//! What is exported, and what a snapshot says, beside what the model says.

use std::collections::BTreeMap;
use std::mem;

use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::metrics::Temporality::{self, Delta};
use tcpinfo::{FIELDS, FieldValue};

use super::GROUPS;
use super::model::Totals;
use super::world::{Facts, NAMES, SHARED, World};
use support::reader::{Collected, Reader};

/// One who collects, and what it saw.
pub(super) struct Collector {
    reader: Reader,
    pub(super) provider: SdkMeterProvider,
    temporality: Temporality,
    /// Sums of differences, or the latest totals, by monitor.
    sums: [BTreeMap<String, f64>; 2],
    /// For series of sockets in the last export, by monitor and connection: what was exported so
    /// far, what the account then said, and in which of its lives.
    own: [BTreeMap<usize, (u64, u64, usize)>; 2],
    worst: BTreeMap<String, f64>,
}

impl Collector {
    pub(super) fn new(temporality: Temporality) -> Self {
        let reader = Reader::new(temporality);
        let provider = SdkMeterProvider::builder().with_reader(reader.clone()).build();
        let (sums, own, worst) = Default::default();
        Self { reader, provider, temporality, sums, own, worst }
    }
}

impl World<'_> {
    fn sweep(&mut self, number: usize) {
        let facts = Facts(&self.connections, &self.descriptors);
        self.books[number].sweep(&facts);
    }

    pub(super) fn snapshot(&mut self, number: usize) {
        let Some(monitor) = self.monitors[number].clone() else { return };
        self.sweep(number);
        let snapshot = monitor.snapshot();
        let integer = |value| match value {
            Some(FieldValue::Integer(integer)) => integer,
            _ => 0,
        };
        let fields = ["bytes_sent", "bytes_retrans"]
            .map(|name| FIELDS.iter().find(|field| field.name == name).expect("a row"));
        for (group, expected) in GROUPS.iter().zip(&self.books[number].groups) {
            let found = snapshot.groups.iter().find(|found| {
                let attribute = found.attributes().as_slice().first();
                attribute.is_some_and(|attribute| attribute.value.as_str() == *group)
            });
            let now = found.map_or(Totals::default(), |found| {
                let [sent, again] = fields.map(|field| integer(found.get(field)));
                Totals { opened: found.opened, closed: found.closed, sent: sent - again }
            });
            let monitor = &snapshot.monitor;
            let who = NAMES[number];
            assert_eq!(now, *expected, "group {group} of the {who} snapshot, {monitor:?}");
        }
        let mut own: BTreeMap<String, u64> = BTreeMap::new();
        for socket in &snapshot.sockets {
            let [attribute] = socket.attributes().as_slice() else { continue };
            let [sent, again] = fields.map(|field| integer(socket.get(field)));
            own.insert(format!("{}={}", attribute.key.as_str(), attribute.value), sent - again);
        }
        let expected = self.books[number].own();
        let expected: BTreeMap<_, _> = expected
            .map(|(number, account)| {
                let own = account.total - account.past;
                (self.connections[number].cookie.clone(), own)
            })
            .collect();
        assert_eq!(own, expected, "sockets of the {} snapshot", NAMES[number]);
    }

    pub(super) fn collect(&mut self, reader: usize) {
        for (number, _) in
            NAMES.iter().enumerate().filter(|(n, _)| *n == 0 || SHARED.contains(&reader))
        {
            if self.monitors[number].is_some() {
                self.sweep(number);
            }
        }
        let mut all = self.collectors[reader].reader.collected_by_monitor();
        if all.len() == 1 && self.monitors[1].is_none() {
            // There is but one, whatever its name is.
            let only = all.pop_first().expect("there is one").1;
            return self.compare(reader, 0, &only);
        }
        for (number, name) in NAMES.iter().enumerate() {
            if self.monitors[number].is_some() && (number == 0 || SHARED.contains(&reader)) {
                let names: Vec<_> = all.keys().cloned().collect();
                let one = all.remove(*name).unwrap_or_else(|| panic!("no {name} among {names:?}"));
                self.compare(reader, number, &one);
            }
        }
        assert!(all.is_empty(), "{all:?}");
    }

    /// What one export says of one monitor.
    fn compare(&mut self, reader: usize, number: usize, now: &Collected) {
        let (books, collector) = (&self.books[number], &mut self.collectors[reader]);
        let delta = collector.temporality == Delta;
        let who = format!("reader {reader}, monitor {}", NAMES[number]);
        for (series, value) in &now.counters {
            assert!((0.0..1e12).contains(value), "{who}: {series} is {value}");
        }
        let sums = &mut collector.sums[number];
        for (group, expected) in GROUPS.iter().zip(&books.groups) {
            let mut sum = |metric: &str| {
                let series = format!("{metric}{{group={group}}}");
                let value = now.counters.get(&series).copied().unwrap_or_default();
                let sum = sums.entry(series).or_default();
                *sum = if delta { *sum + value } else { value };
                *sum as u64
            };
            let found = Totals {
                opened: sum("tcp.connection.opened"),
                closed: sum("tcp.connection.closed"),
                sent: sum("tcp.data.sent") - sum("tcp.data.retransmitted"),
            };
            assert_eq!(found, *expected, "{who}: group {group}");
        }

        let sent = |labels: &str| {
            let value = |it| now.counters.get(&format!("tcp.socket.{it}{labels}")).copied();
            Some(value("data.sent")? - value("data.retransmitted")?)
        };
        let last = mem::take(&mut collector.own[number]);
        for (connection, account) in books.own() {
            let last = last.get(&connection).copied();
            let (exported, counted, life) = last.unwrap_or((0, account.before, account.lives));
            // What it did in a life between, this reader did not see.
            let counted = if life == account.lives { counted } else { account.before };
            let more = account.total - counted;
            let expected = if delta { more } else { exported + more };
            let labels = format!("{{{}}}", self.connections[connection].cookie);
            assert_eq!(sent(&labels), Some(expected as f64), "{who}: connection {connection}");
            let told = (exported + more, account.total, account.lives);
            collector.own[number].insert(connection, told);
        }
        let own = now.counters.keys().filter(|it| it.starts_with("tcp.socket.data.sent{tcp."));
        assert_eq!(own.count(), books.own().count(), "{who}: series of sockets");

        if number == 0 {
            let mut worst = BTreeMap::new();
            for (group, name) in GROUPS.iter().enumerate() {
                let all = now.counters.keys();
                let all: Vec<_> = all
                    .filter(|it| it.starts_with(&format!("tcp.socket.data.sent{{group={name},")))
                    .collect();
                assert!(all.len() <= self.shown[group], "{who}: {all:?}");
                for series in all {
                    let mut its = self.connections.iter().enumerate();
                    let it = its.find(|(_, it)| series.ends_with(&format!(",{}}}", it.cookie)));
                    let (connection, it) =
                        it.unwrap_or_else(|| panic!("{who}: whose is {series}?"));
                    assert_eq!(books.group_of(connection), Some(group), "{who}: {series}");
                    let (_, labels) = series.split_once('{').expect("it has labels");
                    let value = sent(&format!("{{{labels}")).expect("both are there");
                    assert!((0.0..=it.sent as f64).contains(&value), "{who}: {series} is {value}");
                    let before = collector.worst.get(series).filter(|_| !delta);
                    assert!(
                        before.is_none_or(|it| *it <= value),
                        "{who}: {series} fell to {value}"
                    );
                    worst.insert(series.clone(), value);
                }
            }
            collector.worst = worst;
        }
    }
}
