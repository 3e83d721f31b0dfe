//! `tcpinfo completions` and `tcpinfo man`: made from the definition of the arguments.

use std::io::{self, Write};

use clap::CommandFactory;

use crate::args::{Arguments, Completions, Man};
use crate::failure::{Failure, Status};

pub(crate) fn completions(completions: &Completions) -> Result<Status, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(completions.shell, &mut Arguments::command(), "tcpinfo", &mut text);
    print(&text)
}

pub(crate) fn man(man: &Man) -> Result<Status, Failure> {
    let mut command = Arguments::command();
    command.build();
    let page = match &man.command {
        None => clap_mangen::Man::new(command),
        Some(name) => {
            let found = command.get_subcommands().find(|command| command.get_name() == name);
            let found = found.ok_or_else(|| Failure::usage(format!("no command {name}")))?;
            clap_mangen::Man::new(found.clone())
        }
    };
    let mut text = Vec::new();
    page.render(&mut text).map_err(|error| Failure::output(&error))?;
    print(&text)
}

fn print(text: &[u8]) -> Result<Status, Failure> {
    let written = io::stdout().write_all(text);
    written.map(|()| Status::Done).map_err(|error| Failure::output(&error))
}
