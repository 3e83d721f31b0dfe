//! Writes sockets as rows of text or as one object a line.

use std::fmt::Write as _;
use std::io::{self, Write};

use serde::ser::{SerializeMap, Serializer};

use crate::column::{Column, Entry};

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
            table.end_cell(at);
        }
        table
    }

    pub(crate) fn add(&mut self, entry: &Entry<'_>) {
        for (at, column) in self.columns.iter().enumerate() {
            match column.value(entry) {
                Some(value) => write!(self.text, "{value}").expect("a string takes any text"),
                None => self.text.push_str(Self::ABSENT),
            }
            self.end_cell(at);
        }
    }

    fn end_cell(&mut self, column: usize) {
        let begin = self.cells.last().map_or(0, |(end, _)| *end);
        let cell = &self.text[begin..];
        let is_plain = cell.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        let width = if is_plain { cell.len() } else { self.clean(begin) };
        self.widths[column] = self.widths[column].max(width);
        self.cells.push((self.text.len(), width as u32));
    }

    /// A program chooses its own name, and a control character would reach the terminal. Returns how
    /// many letters there are.
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
