//! The numbers that a verdict rests on, kept small: a sweep makes one verdict for each socket.

use crate::info::{Field, Row};

/// One number that a verdict rests on.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Evidence {
    /// The field that was looked at.
    pub field: &'static Field,
    /// What of it.
    pub measure: Measure,
    /// The number: a share from 0 to 1, or in the unit of the field, times in seconds.
    pub value: f64,
    /// From where on the number counts. `None` where it only supports another one.
    pub threshold: Option<f64>,
}

/// What of a field is the evidence.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Measure {
    /// What the later reading said.
    Level,
    /// By how much it grew between the readings.
    Growth,
    /// How much more the later reading said of it than of this field.
    Above(&'static Field),
    /// Its growth as a share of this field's growth.
    ShareOf(&'static Field),
    /// What the later reading said, as a share of this field.
    LevelOf(&'static Field),
    /// Its growth as a share of the time between the readings.
    ShareOfTime,
}

/// A measure without its field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Level,
    Growth,
    Above(Row),
    ShareOf(Row),
    LevelOf(Row),
    ShareOfTime,
}

/// One number, as a verdict keeps it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Finding {
    pub(super) row: Row,
    pub(super) kind: Kind,
    /// Negative where it only supports another one.
    threshold: f64,
    pub(super) value: f64,
}

/// How many numbers a verdict has at most.
const MOST: usize = 5;

/// What rules ask for beside what every kernel since 2.6.24 reports.
pub(super) const WANTED: [Row; 14] = [
    Row::busy_time,
    Row::rwnd_limited,
    Row::sndbuf_limited,
    Row::bytes_sent,
    Row::bytes_retrans,
    Row::dsack_dups,
    Row::data_segs_out,
    Row::data_segs_in,
    Row::min_rtt,
    Row::notsent_bytes,
    Row::delivery_rate_app_limited,
    Row::snd_wnd,
    Row::rcv_wnd,
    Row::rcv_ooopack,
];

/// Why there is nothing to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    None,
    /// Too few segments, in too short a time.
    Quiet,
    /// There is no connection, or none yet.
    NoConnection,
    /// The counters went back: it is not the connection of the earlier reading.
    OtherConnection,
    /// No time passed, or the counters contradict each other.
    Contradiction,
}

/// All numbers of one verdict.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Findings {
    all: [Option<Finding>; MOST],
    len: u8,
    pub(super) doubt: Doubt,
    /// Bit `n` says that `WANTED[n]` is absent.
    pub(super) missing: u16,
}

impl Findings {
    pub(super) const fn new(missing: u16) -> Self {
        Self { all: [None; MOST], len: 0, doubt: Doubt::None, missing }
    }

    /// Adds a number. What finds no room is the least important.
    pub(super) fn add(&mut self, row: Row, kind: Kind, value: f64, threshold: Option<f64>) {
        if let Some(place) = self.all.get_mut(usize::from(self.len)) {
            let threshold = threshold.unwrap_or(-1.0);
            *place = Some(Finding { row, kind, threshold, value });
            self.len += 1;
        }
    }

    /// Adds a number that supports another one, if the kernel said it.
    pub(super) fn support(&mut self, row: Row, kind: Kind, value: Option<f64>) {
        if let Some(value) = value {
            self.add(row, kind, value, None);
        }
    }

    pub(super) fn first(&self) -> Option<&Finding> {
        self.all[0].as_ref()
    }

    /// The number of this field and measure, if it is among them.
    pub(super) fn find(&self, row: Row, kind: Kind) -> Option<f64> {
        let mut all = self.all.iter().flatten();
        all.find(|it| it.row == row && it.kind == kind).map(|it| it.value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Evidence> {
        self.all.iter().flatten().map(|finding| Evidence {
            field: finding.row.field(),
            measure: match finding.kind {
                Kind::Level => Measure::Level,
                Kind::Growth => Measure::Growth,
                Kind::Above(row) => Measure::Above(row.field()),
                Kind::ShareOf(row) => Measure::ShareOf(row.field()),
                Kind::LevelOf(row) => Measure::LevelOf(row.field()),
                Kind::ShareOfTime => Measure::ShareOfTime,
            },
            value: finding.value,
            threshold: (finding.threshold >= 0.0).then_some(finding.threshold),
        })
    }

    pub(super) fn missing(&self) -> impl Iterator<Item = &'static Field> {
        let missing = self.missing;
        let absent = move |(bit, _): &(usize, Row)| missing >> bit & 1 != 0;
        WANTED.into_iter().enumerate().filter(absent).map(|(_, row)| row.field())
    }
}
