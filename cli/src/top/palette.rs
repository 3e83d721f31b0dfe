//! Colours and emphasis: only those that can be read on a dark and on a light background.

use ratatui::style::{Color, Modifier, Style};

/// How things look. Without colour, emphasis alone tells them apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Palette {
    colour: bool,
}

impl Palette {
    /// As the user wants it: <https://no-color.org>.
    pub(crate) fn of_environment() -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { colour: !set("NO_COLOR") && !dumb }
    }

    fn coloured(self, colour: Color) -> Style {
        if self.colour { Style::new().fg(colour) } else { Style::new() }
    }

    pub(crate) fn plain(self) -> Style {
        Style::new()
    }

    /// Headings, and what can be pressed.
    pub(crate) fn heading(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// The heading of the column that rows are sorted by.
    pub(crate) fn sorted(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED)
    }

    pub(crate) fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// What matters least.
    pub(crate) fn faint(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    pub(crate) fn course(self) -> Style {
        self.coloured(Color::Blue)
    }

    /// Something is wrong.
    pub(crate) fn bad(self) -> Style {
        self.coloured(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// Something is worth a look.
    pub(crate) fn notable(self) -> Style {
        self.coloured(Color::Magenta)
    }

    pub(crate) fn good(self) -> Style {
        self.coloured(Color::Green)
    }
}
