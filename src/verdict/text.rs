//! A verdict as one line for people, and as JSON.

use std::fmt;

use super::evidence::{Doubt, Kind};
use super::{Cause, Confidence, Side, Verdict};
use crate::info::Row;

macro_rules! display_text {
    ($($name:ident),+) => {
        $(impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.text())
            }
        }

        #[cfg(feature = "serde")]
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.text())
            }
        })+
    };
}

display_text!(Cause, Confidence, Side);

/// A share in percent: `92 %`, `1.4 %`.
struct Percent(f64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = self.0 * 100.0;
        if percent >= 9.95 { write!(f, "{percent:.0} %") } else { write!(f, "{percent:.1} %") }
    }
}

/// A time in milliseconds: `21 ms`, `0.04 ms`.
struct Millis(f64);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0 * 1000.0;
        match millis {
            9.95.. => write!(f, "{millis:.0} ms"),
            0.995.. => write!(f, "{millis:.1} ms"),
            _ => write!(f, "{millis:.2} ms"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.findings.first().map_or(0.0, |first| first.value);
        let receives = self.side == Side::Receiving;
        let row = self.findings.first().map(|first| first.row);
        match self.cause {
            Cause::TooLittle => f.write_str(match self.findings.doubt {
                Doubt::NoConnection => "nothing to judge: there is no connection yet",
                Doubt::OtherConnection => {
                    "nothing to judge: the counters are of another connection"
                }
                Doubt::Contradiction => "nothing to judge: the readings contradict each other",
                Doubt::Quiet | Doubt::None => "nothing to judge: too little was sent or received",
            })?,
            Cause::ReceiveWindow if receives => write!(
                f,
                "this program reads too slowly: its window is {} of what it could be",
                Percent(value)
            )?,
            Cause::ReceiveWindow => write!(
                f,
                "the receiver: its window was closed for {} of the time that data waited",
                Percent(value)
            )?,
            Cause::SendBuffer => write!(
                f,
                "the send buffer: it was too small for {} of the time that data was under way",
                Percent(value)
            )?,
            Cause::Loss => {
                write!(f, "loss: {} of what was sent was lost and sent again", Percent(value))?;
            }
            Cause::Queue => write!(f, "a queue: it adds {} to a round trip", Millis(value))?,
            Cause::Network if row == Some(Row::rcv_ooopack) => write!(
                f,
                "the network: {} of what came here came after a gap, by loss or reordering",
                Percent(value)
            )?,
            Cause::Network if matches!(row, Some(Row::delivered_ce | Row::received_ce)) => write!(
                f,
                "the network: {} of the segments were marked as congestion",
                Percent(value)
            )?,
            Cause::Network => {
                f.write_str("the network: it takes no more, without loss or queue")?
            }
            Cause::Stalled if row == Some(Row::probes) => {
                write!(f, "stalled: {value} probes without an answer")?;
            }
            Cause::Stalled => write!(f, "stalled: {value} timeouts in a row")?,
            Cause::Application => f.write_str("the program: it has little to send")?,
            Cause::AcceptQueue => write!(f, "the program accepts too slowly: {value} wait")?,
            Cause::Healthy if receives => f.write_str("healthy: what comes here comes in order")?,
            Cause::Healthy => f.write_str("healthy")?,
            Cause::Unreachable => {
                write!(f, "nobody answers: the SYN was sent {} times", value + 1.0)?
            }
            Cause::Refused => f.write_str("refused: a reset answered the SYN")?,
            Cause::Reset => f.write_str("cut off by a reset")?,
        }
        self.rest(f)
    }
}

impl Verdict {
    /// The numbers that support the first one.
    fn rest(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let find = |row, kind| self.findings.find(row, kind);
        let mut between = "; ";
        let mut part = |f: &mut fmt::Formatter<'_>, text: fmt::Arguments<'_>| {
            let begin = std::mem::replace(&mut between, ", ");
            write!(f, "{begin}{text}")
        };
        if let Some(backlog) = find(Row::backlog, Kind::Level) {
            part(f, format_args!("backlog {backlog}"))?;
        }
        if let Some(silence) = find(Row::last_ack_recv, Kind::Level) {
            part(f, format_args!("last answer {silence:.1} s ago"))?;
        }
        if let Some(busy) = find(Row::busy_time, Kind::ShareOfTime) {
            part(f, format_args!("data was under way for {} of the time", Percent(busy)))?;
        }
        if let Some(rtt) = find(Row::rtt, Kind::Level) {
            part(f, format_args!("rtt {}", Millis(rtt)))?;
        }
        if let Some(least) = find(Row::min_rtt, Kind::Level) {
            part(f, format_args!("least rtt {}", Millis(least)))?;
        }
        if let Some(again) = find(Row::total_retrans, Kind::Growth) {
            match self.cause {
                Cause::Loss => part(f, format_args!("{again} segments sent again"))?,
                _ if again == 0.0 => part(f, format_args!("nothing lost"))?,
                _ => part(f, format_args!("{again} segments lost"))?,
            }
        }
        if let Some(needless) = find(Row::dsack_dups, Kind::Growth).filter(|count| *count > 0.0) {
            part(f, format_args!("{needless} of them needlessly"))?;
        }
        if let Some(timeouts) = find(Row::total_rto, Kind::Growth).filter(|count| *count > 0.0) {
            part(f, format_args!("{timeouts} timeouts"))?;
        }
        if self.missing().next().is_some() {
            let names = self.missing().map(|field| field.name);
            f.write_str(" (without ")?;
            for (at, name) in names.enumerate() {
                write!(f, "{}{name}", if at == 0 { "" } else { ", " })?;
            }
            f.write_str(")")?;
        }
        Ok(())
    }
}

#[cfg(feature = "serde")]
mod json {
    use serde::ser::{Serialize, SerializeStruct, Serializer};

    use super::super::{Evidence, Measure, Verdict};

    impl Serialize for Verdict {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            struct List<'v>(&'v Verdict, bool);
            impl Serialize for List<'_> {
                fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    if self.1 {
                        serializer.collect_seq(self.0.evidence())
                    } else {
                        serializer.collect_seq(self.0.missing().map(|field| field.name))
                    }
                }
            }
            let mut map = serializer.serialize_struct("Verdict", 5)?;
            map.serialize_field("cause", &self.cause)?;
            map.serialize_field("confidence", &self.confidence)?;
            map.serialize_field("side", &self.side)?;
            map.serialize_field("evidence", &List(self, true))?;
            map.serialize_field("missing", &List(self, false))?;
            map.end()
        }
    }

    impl Serialize for Evidence {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let (measure, of) = match self.measure {
                Measure::Level => ("level", None),
                Measure::Growth => ("growth", None),
                Measure::Above(field) => ("above", Some(field.name)),
                Measure::ShareOf(field) => ("share_of", Some(field.name)),
                Measure::LevelOf(field) => ("level_of", Some(field.name)),
                Measure::ShareOfTime => ("share_of_time", None),
            };
            let mut map = serializer.serialize_struct("Evidence", 5)?;
            map.serialize_field("field", self.field.name)?;
            map.serialize_field("measure", measure)?;
            map.serialize_field("of", &of)?;
            map.serialize_field("value", &self.value)?;
            map.serialize_field("threshold", &self.threshold)?;
            map.end()
        }
    }
}
