//! `tcpinfo top`: the live table.

use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event};
use tcpinfo::diag::{Socket, find};

use self::course::Courses;
use self::palette::Palette;
use self::screen::Notes;
use self::table::{Content, name};
use self::terminal::Screen;
use self::view::{Act, Mode, View};
use crate::args::{By, Replay, Top};
use crate::failure::{Failure, Status};
use crate::feed::{Feed, Player};
use crate::flow::Flows;
use crate::judge::words;
use crate::names::Names;
use crate::rows::{Key, Row, rows, sort};
use crate::select::Wanted;

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
    feed: Feed,
    flows: Flows,
    names: Names,
    courses: Courses,
    rows: Vec<Row>,
    /// What only a look at one socket tells: memory and congestion control.
    details: Option<Socket>,
}

pub(crate) fn run(top: &Top) -> Result<Status, Failure> {
    let feed = Feed::live(&Wanted::from(&top.filters))?;
    show(feed, View::new(top.by, top.sort, top.interval))
}

/// Shows a recording.
pub(crate) fn replay(replay: &Replay, player: Player) -> Result<Status, Failure> {
    let mut view = View::new(replay.by, replay.sort, Duration::from_secs(1));
    view.recorded = true;
    show(Feed::Recorded(Box::new(player)), view)
}

fn show(feed: Feed, mut view: View) -> Result<Status, Failure> {
    let mut model = Model {
        feed,
        flows: Flows::default(),
        names: Names::default(),
        courses: Courses::default(),
        rows: Vec::new(),
        details: None,
    };
    // To look up all processes takes longer than the first sample, which is shown without.
    if view.by != By::Process {
        model.names.postpone_processes(view.interval / 2);
    }
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
            model.look(view);
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
            Some(Act::Step(samples)) => model.step(view, samples)?,
            Some(Act::Draw) => {}
        }
        is_drawn = false;
    }
    Ok(())
}

impl Model {
    /// How many samples before the wanted one are played in a step.
    const BEFORE: usize = 12;

    /// Takes a sample, and makes the rows of it. At the end of a recording it pauses.
    fn sample(&mut self, view: &mut View) -> Result<(), Failure> {
        match self.feed.next(&mut self.names)? {
            Some(sample) => self.feed.recycle(self.flows.update(sample)),
            None => view.paused = true,
        }
        self.regroup(view);
        self.courses.note(&self.rows);
        Ok(())
    }

    /// Asks once more about the connection whose pane is open.
    fn look(&mut self, view: &View) {
        let Feed::Live(_) = self.feed else { return };
        let open = match view.selected_key() {
            Some(Key::Connection(cookie)) if view.mode == Mode::Detail => Some(*cookie),
            _ => None,
        };
        let socket = open.and_then(|cookie| self.flows.get(cookie)).map(|flow| &flow.socket);
        // A socket bound to an interface is not found, and has no details.
        let found = socket.and_then(|socket| find(socket.local, socket.peer).ok().flatten());
        self.details = found.filter(|found| Some(found.cookie) == open);
    }

    /// Goes so many samples forward or back in a recording, and stays there.
    fn step(&mut self, view: &mut View, samples: i64) -> Result<(), Failure> {
        let Feed::Recorded(player) = &mut self.feed else { return Ok(()) };
        let now = player.position() as i64 - 1;
        let wanted = (now + samples).clamp(0, player.len() as i64 - 1) as usize;
        // Rates, windows and courses come from the samples before.
        player.seek(wanted.saturating_sub(Self::BEFORE));
        (self.flows, self.courses) = (Flows::default(), Courses::default());
        while let Feed::Recorded(player) = &mut self.feed
            && player.position() <= wanted
        {
            if let Some(sample) = player.next(&mut self.names)? {
                self.flows.update(sample);
            }
        }
        view.paused = true;
        self.regroup(view);
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
        self.rows = sort(std::mem::take(&mut self.rows), view.sort, view.reverse);
        view.follow(&self.rows);
    }

    /// What the search looks at: addresses, process, unit and verdict.
    fn searched(&self, key: &Key) -> String {
        let mut text = name(key, &self.content(), usize::MAX);
        if let Key::Connection(cookie) = key {
            let socket = self.flows.get(*cookie).map(|flow| &flow.socket);
            let process = socket.and_then(|socket| self.names.process(socket));
            text.extend(process.map(|process| format!(" {}/{}", process.command, process.pid)));
            let unit = socket.and_then(|socket| self.names.unit(socket));
            text.extend(unit.map(|unit| format!(" {unit}")));
            let verdict = self.flows.get(*cookie).and_then(|flow| flow.verdict);
            text.extend(verdict.map(|verdict| format!(" {}", words(verdict.cause))));
        }
        text
    }

    fn content(&self) -> Content<'_> {
        let Self { flows, names, courses, rows, details, .. } = self;
        Content { rows, flows, names, courses, details: details.as_ref() }
    }

    fn notes(&self) -> Notes {
        let hidden = self.names.hidden();
        let warning = (hidden > 0).then(|| {
            format!("{hidden} processes of other users have no names here: only root sees them")
        });
        let moment = match &self.feed {
            Feed::Live(_) => None,
            Feed::Recorded(player) => Some(slider(player)),
        };
        Notes { warning, moment }
    }
}

/// Where in a recording one is: time of the day, and a line with a mark.
fn slider(player: &Player) -> String {
    const WIDTH: usize = 20;
    let (position, len) = (player.position().max(1), player.len());
    let mark = (position - 1) * (WIDTH - 1) / (len - 1).max(1);
    let line: String = (0..WIDTH).map(|at| if at == mark { '●' } else { '─' }).collect();
    let seconds = player.wall().as_secs();
    let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02} UTC {line} {position}/{len}", seconds % 60)
}
