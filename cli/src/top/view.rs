//! What is shown and what keys and clicks change about it. Knows no terminal.

use std::time::Duration;

use ratatui::crossterm::event::{
    KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
};

use crate::args::{By, Sort};
use crate::rows::{Key, Row};

/// What keys mean at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Table,
    /// Letters go to the search.
    Search,
    /// All fields of one connection.
    Detail,
    Help,
}

/// What has to happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Draw what is known.
    Draw,
    /// Make the rows anew from the latest sample.
    Regroup,
    /// Take a sample now.
    Sample,
    /// Step through a recording: so many samples, back if negative.
    Step(i64),
    Suspend,
    Quit,
}

/// Everything that decides what the screen shows, apart from the numbers.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) by: By,
    pub(crate) sort: Sort,
    pub(crate) reverse: bool,
    /// Only rows whose name has this in it.
    pub(crate) search: String,
    pub(crate) mode: Mode,
    pub(crate) paused: bool,
    pub(crate) interval: Duration,
    /// Only the connections of this group.
    pub(crate) within: Option<(By, Key)>,
    /// The row under the cursor: where it is, and which one it was.
    pub(crate) selected: usize,
    selected_key: Option<Key>,
    /// The first row that is visible.
    pub(crate) offset: usize,
    /// The first line of the detail pane that is visible.
    pub(crate) detail_offset: usize,
    /// How many rows fit.
    pub(crate) page: usize,
    /// What the headings of the table sort by: first column, last column.
    pub(crate) headings: Vec<(u16, u16, Sort)>,
    /// Whether it shows a recording.
    pub(crate) recorded: bool,
}

/// The orders in the order in which `<` and `>` go through them.
const SORTS: [Sort; 10] = [
    Sort::Verdict,
    Sort::Rate,
    Sort::Sent,
    Sort::Received,
    Sort::Retransmitted,
    Sort::Queue,
    Sort::Rtt,
    Sort::Stalled,
    Sort::Unsent,
    Sort::Connections,
];

impl View {
    /// Above the rows: the line of totals and the headings.
    pub(crate) const ABOVE: u16 = 2;

    pub(crate) fn new(by: By, sort: Sort, interval: Duration) -> Self {
        Self {
            by,
            sort,
            reverse: false,
            search: String::new(),
            mode: Mode::Table,
            paused: false,
            interval,
            within: None,
            selected: 0,
            selected_key: None,
            offset: 0,
            detail_offset: 0,
            page: 1,
            headings: Vec::new(),
            recorded: false,
        }
    }

    /// The key of the row under the cursor.
    pub(crate) fn selected_key(&self) -> Option<&Key> {
        self.selected_key.as_ref()
    }

    /// The rows changed: the cursor stays on its row, or else where it was.
    pub(crate) fn follow(&mut self, rows: &[Row]) {
        // The first row stays the first one: who did not move the cursor wants to see the top.
        let kept = self.selected_key.as_ref().filter(|_| self.selected > 0);
        let position = kept.and_then(|key| rows.iter().position(|row| row.key == *key));
        self.selected = position.unwrap_or(self.selected).min(rows.len().saturating_sub(1));
        if self.mode != Mode::Detail {
            self.selected_key = rows.get(self.selected).map(|row| row.key.clone());
        }
        self.scroll(rows.len());
    }

    /// Keeps the cursor visible.
    fn scroll(&mut self, rows: usize) {
        let page = self.page.max(1);
        self.offset = self.offset.min(self.selected).max((self.selected + 1).saturating_sub(page));
        self.offset = self.offset.min(rows.saturating_sub(page));
    }

    /// How many rows fit.
    pub(crate) fn resize(&mut self, page: usize, rows: usize) {
        self.page = page;
        self.scroll(rows);
    }

    fn select(&mut self, at: usize, rows: &[Row]) -> Act {
        self.selected = at.min(rows.len().saturating_sub(1));
        self.selected_key = rows.get(self.selected).map(|row| row.key.clone());
        self.scroll(rows.len());
        Act::Draw
    }

    pub(crate) fn key(&mut self, key: KeyEvent, rows: &[Row]) -> Act {
        if key.kind == KeyEventKind::Release {
            return Act::Draw;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            match key.code {
                KeyCode::Char('c') => return Act::Quit,
                KeyCode::Char('z') => return Act::Suspend,
                KeyCode::Char('l') => return Act::Sample,
                _ => {}
            }
        }
        if key.modifiers.contains(KeyModifiers::ALT) {
            return Act::Draw;
        }
        match self.mode {
            Mode::Search => self.key_of_search(key.code),
            Mode::Help => {
                self.mode = Mode::Table;
                if key.code == KeyCode::Char('q') { Act::Quit } else { Act::Draw }
            }
            Mode::Detail => self.key_of_detail(key.code),
            Mode::Table => self.key_of_table(key.code, rows),
        }
    }

    fn key_of_search(&mut self, code: KeyCode) -> Act {
        match code {
            KeyCode::Esc => {
                self.search.clear();
                self.mode = Mode::Table;
            }
            KeyCode::Enter => self.mode = Mode::Table,
            KeyCode::Backspace => {
                self.search.pop();
            }
            KeyCode::Char(letter) => self.search.push(letter),
            _ => return Act::Draw,
        }
        Act::Regroup
    }

    fn key_of_detail(&mut self, code: KeyCode) -> Act {
        let page = self.page.max(1);
        self.detail_offset = match code {
            KeyCode::Esc | KeyCode::Enter | KeyCode::Backspace => {
                self.mode = Mode::Table;
                0
            }
            KeyCode::Up | KeyCode::Char('k') => self.detail_offset.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.detail_offset + 1,
            KeyCode::PageUp => self.detail_offset.saturating_sub(page),
            KeyCode::PageDown => self.detail_offset + page,
            KeyCode::Home => 0,
            code => return self.key_of_both(code),
        };
        Act::Draw
    }

    /// Keys that mean the same in the table and in the detail pane.
    fn key_of_both(&mut self, code: KeyCode) -> Act {
        match code {
            KeyCode::Char('q') => return Act::Quit,
            KeyCode::Char(' ' | 'p') => {
                self.paused = !self.paused;
                return if self.paused { Act::Draw } else { Act::Sample };
            }
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.mode = Mode::Help,
            KeyCode::Char('+') => self.interval = (self.interval * 2).min(Duration::from_secs(60)),
            KeyCode::Char('-') => {
                self.interval = (self.interval / 2).max(Duration::from_millis(125));
            }
            KeyCode::Left | KeyCode::Char('[') if self.recorded => return Act::Step(-1),
            KeyCode::Right | KeyCode::Char(']') if self.recorded => return Act::Step(1),
            KeyCode::Char('{') if self.recorded => return Act::Step(-60),
            KeyCode::Char('}') if self.recorded => return Act::Step(60),
            _ => {}
        }
        Act::Draw
    }

    fn key_of_table(&mut self, code: KeyCode, rows: &[Row]) -> Act {
        let page = self.page.max(1);
        match code {
            KeyCode::Up | KeyCode::Char('k') => self.select(self.selected.saturating_sub(1), rows),
            KeyCode::Down | KeyCode::Char('j') => self.select(self.selected + 1, rows),
            KeyCode::PageUp => self.select(self.selected.saturating_sub(page), rows),
            KeyCode::PageDown => self.select(self.selected + page, rows),
            KeyCode::Home | KeyCode::Char('g') => self.select(0, rows),
            KeyCode::End | KeyCode::Char('G') => self.select(rows.len(), rows),
            KeyCode::Tab => self.show(By::ALL[(self.by as usize + 1) % 4]),
            KeyCode::BackTab => self.show(By::ALL[(self.by as usize + 3) % 4]),
            KeyCode::Char(digit @ '1'..='4') => self.show(By::ALL[digit as usize - '1' as usize]),
            KeyCode::Char('<') => self.sort_by(-1),
            KeyCode::Char('>') => self.sort_by(1),
            KeyCode::Char('r') => {
                self.reverse = !self.reverse;
                Act::Regroup
            }
            KeyCode::Char('/') => {
                self.mode = Mode::Search;
                Act::Draw
            }
            KeyCode::Esc => self.back(),
            KeyCode::Enter => self.open(),
            code => self.key_of_both(code),
        }
    }

    /// Other rows, from the top.
    fn show(&mut self, by: By) -> Act {
        (self.by, self.within) = (by, None);
        self.restart()
    }

    fn restart(&mut self) -> Act {
        (self.selected, self.offset, self.selected_key) = (0, 0, None);
        Act::Regroup
    }

    fn sort_by(&mut self, step: isize) -> Act {
        let now = SORTS.iter().position(|sort| *sort == self.sort).unwrap_or_default();
        let next = (now as isize + step).rem_euclid(SORTS.len() as isize) as usize;
        (self.sort, self.reverse) = (SORTS[next], false);
        self.restart()
    }

    /// One step back: out of a search, or out of a group.
    fn back(&mut self) -> Act {
        if !self.search.is_empty() {
            self.search.clear();
        } else if let Some((by, _)) = self.within.take() {
            self.by = by;
        }
        self.restart()
    }

    /// Into the row under the cursor.
    fn open(&mut self) -> Act {
        match self.selected_key.clone() {
            Some(Key::Connection(_)) => {
                (self.mode, self.detail_offset) = (Mode::Detail, 0);
                Act::Draw
            }
            Some(key) => {
                self.within = Some((self.by, key));
                self.by = By::Connection;
                self.search.clear();
                self.restart()
            }
            None => Act::Draw,
        }
    }

    pub(crate) fn mouse(&mut self, mouse: MouseEvent, rows: &[Row]) -> Act {
        let down = match mouse.kind {
            MouseEventKind::ScrollUp => -3,
            MouseEventKind::ScrollDown => 3,
            MouseEventKind::Down(MouseButton::Left) => {
                return self.click(mouse.column, mouse.row, rows);
            }
            _ => return Act::Draw,
        };
        if self.mode == Mode::Detail {
            self.detail_offset = self.detail_offset.saturating_add_signed(down);
            return Act::Draw;
        }
        self.select(self.selected.saturating_add_signed(down), rows)
    }

    /// A heading sorts, and again the other way; a row is selected, and a selected one opened.
    fn click(&mut self, column: u16, line: u16, rows: &[Row]) -> Act {
        if self.mode != Mode::Table {
            self.mode = Mode::Table;
            return Act::Draw;
        }
        if line + 1 == Self::ABOVE {
            let hit = self.headings.iter().find(|(first, end, _)| (*first..*end).contains(&column));
            let Some((.., sort)) = hit.copied() else { return Act::Draw };
            self.reverse = sort == self.sort && !self.reverse;
            self.sort = sort;
            return self.restart();
        }
        let at = usize::from(line.wrapping_sub(Self::ABOVE)) + self.offset;
        if line < Self::ABOVE || at >= rows.len() || at >= self.offset + self.page {
            return Act::Draw;
        }
        if at == self.selected {
            return self.open();
        }
        self.select(at, rows)
    }
}

#[cfg(test)]
mod tests;
