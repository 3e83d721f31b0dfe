//! `tcpinfo top`: the live table.

use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event};

use self::course::Courses;
use self::palette::Palette;
use self::screen::Notes;
use self::table::{Content, name};
use self::terminal::Screen;
use self::view::{Act, View};
use crate::args::Top;
use crate::failure::{Failure, Status};
use crate::flow::Flows;
use crate::names::Names;
use crate::rows::{Key, Row, rows, sort};
use crate::sample::Sampler;
use crate::select::Selection;

// A file uses only files below its own line:
//
//     screen            all of it
//     table  detail     rows; one connection
//     course view       blocks; what keys change
//     palette terminal
mod course;
mod detail;
mod palette;
mod screen;
mod table;
mod terminal;
mod view;

/// How often to look whether a signal asks to end.
const LOOK: Duration = Duration::from_millis(250);

/// The latest sample and what is made of it.
struct Model {
    sampler: Sampler,
    flows: Flows,
    names: Names,
    courses: Courses,
    rows: Vec<Row>,
}

pub(crate) fn run(top: &Top) -> Result<Status, Failure> {
    let selection = Selection::new(&top.filters)?;
    let query = selection.query(false).with_memory().with_congestion();
    let mut model = Model {
        sampler: Sampler::new(selection, query),
        flows: Flows::default(),
        names: Names::default(),
        courses: Courses::default(),
        rows: Vec::new(),
    };
    let mut view = View::new(top.by, top.sort, top.interval);
    // Before the terminal is taken over: what goes wrong here is a plain sentence.
    model.sample(&mut view)?;
    let mut screen = Screen::open()?;
    let ended = watch(&mut screen, &mut view, &mut model);
    drop(screen);
    ended.map(|()| Status::Done)
}

fn watch(screen: &mut Screen, view: &mut View, model: &mut Model) -> Result<(), Failure> {
    let palette = Palette::of_environment();
    let mut sampled = Instant::now();
    let mut is_drawn = false;
    while !screen.is_ended() {
        // For the test that the terminal is given back.
        #[cfg(debug_assertions)]
        assert!(std::env::var_os("TCPINFO_PANIC").is_none(), "a panic that was asked for");
        if !is_drawn {
            let notes = model.notes();
            let drawn = screen.terminal.draw(|frame| {
                let content = model.content();
                screen::draw(frame.buffer_mut(), view, &content, &notes, palette);
            });
            drawn.map_err(|error| Failure::output(&error))?;
            is_drawn = true;
        }
        let due = sampled + view.interval;
        let left = due.saturating_duration_since(Instant::now());
        let wait = if view.paused { LOOK } else { left.min(LOOK) };
        let act = if event::poll(wait).map_err(|error| Failure::output(&error))? {
            match event::read().map_err(|error| Failure::output(&error))? {
                Event::Key(key) => Some(view.key(key, &model.rows)),
                Event::Mouse(mouse) => Some(view.mouse(mouse, &model.rows)),
                Event::Resize(..) => Some(Act::Draw),
                _ => None,
            }
        } else {
            (!view.paused && Instant::now() >= due).then_some(Act::Sample)
        };
        match act {
            None => continue,
            Some(Act::Quit) => return Ok(()),
            Some(Act::Suspend) => screen.suspend().map_err(|error| Failure::output(&error))?,
            Some(Act::Sample) => {
                sampled = Instant::now();
                model.sample(view)?;
            }
            Some(Act::Regroup) => model.regroup(view),
            Some(Act::Draw | Act::Step(_)) => {}
        }
        is_drawn = false;
    }
    Ok(())
}

impl Model {
    /// Takes a sample, and makes the rows of it.
    fn sample(&mut self, view: &mut View) -> Result<(), Failure> {
        let sample = self.sampler.sample()?;
        self.names.read_units(&sample.sockets);
        self.names.refresh_processes(&sample.sockets);
        self.flows.update(sample);
        self.regroup(view);
        self.courses.note(&self.rows);
        Ok(())
    }

    /// Makes the rows of the latest sample.
    fn regroup(&mut self, view: &mut View) {
        self.rows = rows(&self.flows, &self.names, view.by, view.within.as_ref());
        if !view.search.is_empty() {
            let wanted = view.search.to_lowercase();
            let mut all = std::mem::take(&mut self.rows);
            all.retain(|row| self.searched(&row.key).to_lowercase().contains(&wanted));
            self.rows = all;
        }
        sort(&mut self.rows, view.sort, view.reverse);
        view.follow(&self.rows);
    }

    /// What the search looks at: addresses, process and unit.
    fn searched(&self, key: &Key) -> String {
        let mut text = name(key, &self.content(), usize::MAX);
        if let Key::Connection(cookie) = key {
            let socket = self.flows.get(*cookie).map(|flow| &flow.socket);
            let process = socket.and_then(|socket| self.names.process(socket));
            text.extend(process.map(|process| format!(" {}/{}", process.command, process.pid)));
            let unit = socket.and_then(|socket| self.names.unit(socket));
            text.extend(unit.map(|unit| format!(" {unit}")));
        }
        text
    }

    fn content(&self) -> Content<'_> {
        let Self { flows, names, courses, rows, .. } = self;
        Content { rows, flows, names, courses }
    }

    fn notes(&self) -> Notes {
        let hidden = self.names.hidden();
        let warning = (hidden > 0).then(|| {
            format!("{hidden} processes of other users have no names here: only root sees them")
        });
        Notes { warning, moment: None }
    }
}
