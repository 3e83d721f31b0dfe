//! The program in a pseudo-terminal: keys go in, and what a terminal would show comes out.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};
use support::loopback::until_every;
use vt100::{Parser, Screen};

/// A terminal of a fixed size with a program in it, which ends with this value.
pub(crate) struct Terminal {
    child: Child,
    master: File,
    /// Kept open, so that it can be asked for its settings.
    slave: OwnedFd,
    parser: Arc<Mutex<Parser>>,
    before: String,
}

impl Terminal {
    /// Runs `tcpinfo` with these arguments in so many columns and lines.
    pub(crate) fn start(size: (u16, u16), arguments: &[&str]) -> Self {
        Self::start_with(size, arguments, &[])
    }

    pub(crate) fn start_with(
        (columns, lines): (u16, u16),
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        Self::run(
            (columns, lines),
            &[&[env!("CARGO_BIN_EXE_tcpinfo")], arguments].concat(),
            environment,
        )
    }

    /// Runs any program with its arguments.
    pub(crate) fn run(
        (columns, lines): (u16, u16),
        words: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
        grantpt(&master).expect("it is ours");
        unlockpt(&master).expect("it is ours");
        let path = ptsname(&master, Vec::new()).expect("it has a name");
        let flags = OFlags::RDWR | OFlags::NOCTTY;
        let slave =
            rustix::fs::open(path.as_c_str(), flags, Mode::empty()).expect("it is unlocked");
        tcsetwinsize(&slave, winsize(columns, lines)).expect("it is a terminal");
        let before = settings(&slave);
        let end = || slave.try_clone().expect("a descriptor is free");
        // A session of its own, whose terminal this is: it gets the signal when the size changes.
        let mut command = Command::new("setsid");
        command.arg("--ctty").args(words);
        command.env("TERM", "xterm-256color").env_remove("NO_COLOR");
        command.envs(environment.iter().copied());
        command.stdin(end()).stdout(end()).stderr(end());
        let child = command.spawn().expect("setsid, of util-linux");
        let parser = Arc::new(Mutex::new(Parser::new(positive(lines), positive(columns), 0)));
        let master = File::from(master);
        let mut output = master.try_clone().expect("a descriptor is free");
        let shown = Arc::clone(&parser);
        thread::spawn(move || {
            let mut bytes = [0; 1 << 16];
            while let Ok(len) = output.read(&mut bytes) {
                if len == 0 {
                    break;
                }
                shown.lock().unwrap_or_else(PoisonError::into_inner).process(&bytes[..len]);
            }
        });
        Self { child, master, slave, parser, before }
    }

    /// Types.
    pub(crate) fn send(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("the terminal takes keys");
    }

    /// The window has another size.
    pub(crate) fn resize(&mut self, columns: u16, lines: u16) {
        let mut parser = self.parser.lock().expect("a thread that reads");
        parser.screen_mut().set_size(positive(lines), positive(columns));
        drop(parser);
        tcsetwinsize(&self.slave, winsize(columns, lines)).expect("it is a terminal");
    }

    /// The lines that are visible.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.with(|screen| {
            let columns = screen.size().1;
            screen.rows(0, columns.get()).map(|line| line.trim_end().to_owned()).collect()
        })
    }

    pub(crate) fn with<T>(&self, ask: impl FnOnce(&Screen) -> T) -> T {
        ask(self.parser.lock().expect("a thread that reads").screen())
    }

    /// Waits until the screen has what is asked for.
    #[track_caller]
    pub(crate) fn until<T>(&self, what: &str, mut ask: impl FnMut(&[String]) -> Option<T>) -> T {
        let pause = std::time::Duration::from_millis(5);
        let begun = std::time::Instant::now();
        until_every(pause, what, || {
            let lines = self.lines();
            let found = ask(&lines);
            if found.is_none() && begun.elapsed() > support::lateness::PATIENCE / 4 {
                panic!("no {what}:\n{}", lines.join("\n"));
            }
            found
        })
    }

    /// Waits for a line with this text, and returns the line.
    #[track_caller]
    pub(crate) fn line(&self, part: &str) -> String {
        self.until(part, |lines| lines.iter().find(|line| line.contains(part)).cloned())
    }

    /// Waits for the end, and checks that the terminal is as it was.
    #[track_caller]
    pub(crate) fn end(&mut self) -> ExitStatus {
        let status = until_every(std::time::Duration::from_millis(5), "the end", || {
            self.child.try_wait().expect("it is our child")
        });
        assert_eq!(settings(&self.slave), self.before, "settings of the terminal");
        // What it wrote last may still be on its way to the parser.
        self.until("the screen as it was", |_| {
            let restored = self.with(|screen| {
                !screen.alternate_screen()
                    && !screen.hide_cursor()
                    && screen.mouse_protocol_mode() == vt100::MouseProtocolMode::None
            });
            restored.then_some(())
        });
        status
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn positive(number: u16) -> NonZero<u16> {
    NonZero::new(number).expect("a terminal has a size")
}

fn winsize(columns: u16, lines: u16) -> Winsize {
    Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

fn settings(terminal: &OwnedFd) -> String {
    format!("{:?}", tcgetattr(terminal).expect("it is a terminal"))
}
