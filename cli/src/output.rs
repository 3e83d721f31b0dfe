//! Writes sockets as rows of text or as one object a line.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::SocketAddr;

use serde::ser::{SerializeMap, Serializer};
use tcpinfo::FieldValue;

use crate::column::{Column, Entry, Value};

/// One object of these columns; null where nothing was reported.
pub(crate) fn object(to: &mut impl Write, columns: &[Column], entry: &Entry<'_>) -> io::Result<()> {
    let mut json = serde_json::Serializer::new(&mut *to);
    let mut map = json.serialize_map(Some(columns.len()))?;
    for column in columns {
        map.serialize_entry(column.name, &column.value(entry))?;
    }
    map.end()?;
    to.write_all(b"\n")
}

/// A table: every cell in one string, and where each ends, with its width.
#[derive(Debug)]
pub(crate) struct Table<'c> {
    columns: &'c [Column],
    text: String,
    cells: Vec<(usize, u32)>,
    widths: Vec<usize>,
}

impl<'c> Table<'c> {
    /// What stands where nothing was reported.
    const ABSENT: &'static str = "-";

    /// A table that has its headings.
    pub(crate) fn new(columns: &'c [Column]) -> Self {
        let widths = vec![0; columns.len()];
        let mut table = Self { columns, text: String::new(), cells: Vec::new(), widths };
        for (at, column) in columns.iter().enumerate() {
            table.text.push_str(column.name);
            table.end_cell(at, false);
        }
        table
    }

    pub(crate) fn add(&mut self, entry: &Entry<'_>) {
        for (at, column) in self.columns.iter().enumerate() {
            let is_text = match column.value(entry) {
                Some(value) => {
                    push(&mut self.text, &value);
                    matches!(value, Value::Text(_))
                }
                None => {
                    self.text.push_str(Self::ABSENT);
                    false
                }
            };
            self.end_cell(at, is_text);
        }
    }

    /// Only what a program chose itself can be anything but plain letters.
    fn end_cell(&mut self, column: usize, is_text: bool) {
        let begin = self.cells.last().map_or(0, |(end, _)| *end);
        let width = if is_text { self.clean(begin) } else { self.text.len() - begin };
        self.widths[column] = self.widths[column].max(width);
        self.cells.push((self.text.len(), width as u32));
    }

    /// A control character would reach the terminal. Returns how many letters there are.
    fn clean(&mut self, begin: usize) -> usize {
        let letters = self.text[begin..].chars();
        let clean: String = letters.map(|c| if c.is_control() { '?' } else { c }).collect();
        self.text.replace_range(begin.., &clean);
        clean.chars().count()
    }

    /// Writes it: quantities at the right side of their column, the last column without padding.
    pub(crate) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        const SPACES: &str = "                                                                ";
        let mut begin = 0;
        for (cell, (end, width)) in self.cells.iter().enumerate() {
            let at = cell % self.columns.len();
            let text = &self.text[begin..*end];
            begin = *end;
            let mut padding = self.widths[at] - *width as usize;
            let is_last = at + 1 == self.columns.len();
            let right = self.columns[at].is_quantity();
            if !right {
                to.write_all(text.as_bytes())?;
            }
            while padding > 0 && (right || !is_last) {
                let part = padding.min(SPACES.len());
                to.write_all(&SPACES.as_bytes()[..part])?;
                padding -= part;
            }
            if right {
                to.write_all(text.as_bytes())?;
            }
            to.write_all(if is_last { b"\n" } else { b"  " })?;
        }
        Ok(())
    }
}

/// Appends a value. The standard formatter takes twice as long for what is in every row.
fn push(text: &mut String, value: &Value<'_>) {
    match value {
        Value::Integer(number) | Value::Field(FieldValue::Integer(number)) => {
            integer(text, *number)
        }
        Value::State(state) if state.text().is_some() => {
            text.push_str(state.text().unwrap_or_default());
        }
        Value::Address(SocketAddr::V4(address)) => {
            for (at, byte) in address.ip().octets().into_iter().enumerate() {
                if at > 0 {
                    text.push('.');
                }
                integer(text, byte.into());
            }
            text.push(':');
            integer(text, address.port().into());
        }
        value => write!(text, "{value}").expect("a string takes any text"),
    }
}

fn integer(text: &mut String, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    text.push_str(std::str::from_utf8(&digits[at..]).expect("digits are text"));
}

#[cfg(test)]
mod tests {
    use tcpinfo::State;

    use super::*;

    #[test]
    fn what_is_pushed_is_what_is_displayed() {
        let address = |text: &str| Value::Address(text.parse().expect("an address"));
        for value in [
            Value::Integer(0),
            Value::Integer(1_000_000_009),
            Value::Field(FieldValue::Integer(u64::MAX)),
            Value::State(State::FinWait2),
            Value::State(State::Unknown(77)),
            address("0.0.0.0:0"),
            address("192.0.2.255:65535"),
            address("[2001:db8::1]:80"),
            Value::Share(0.5),
        ] {
            let mut text = String::from("a ");
            push(&mut text, &value);
            assert_eq!(text, format!("a {value}"));
        }
    }
}
