//! What the program `connections` made and counted, as one line of text.

use std::fmt;
use std::str::FromStr;

/// Connections, bytes sent and bytes received of either side.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Made {
    /// How long it took.
    pub seconds: f64,
    /// Of those that connected.
    pub client: [u64; 3],
    /// Of those that accepted.
    pub server: [u64; 3],
}

impl Made {
    /// Connections per second.
    pub fn rate(&self) -> f64 {
        self.client[0].max(self.server[0]) as f64 / self.seconds
    }
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "made seconds {:.3}", self.seconds)?;
        for (name, [connections, sent, received]) in
            [("client", self.client), ("server", self.server)]
        {
            write!(f, " {name} {connections} sent {sent} received {received}")?;
        }
        Ok(())
    }
}

impl FromStr for Made {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let words: Vec<&str> = line.split(' ').collect();
        let after = |word: &str, from: usize| {
            let at = words[from..].iter().position(|it| *it == word).map(|at| from + at + 1);
            at.filter(|at| *at < words.len()).ok_or_else(|| format!("no {word} in {line}"))
        };
        let number = |at: usize| words[at].parse().map_err(|error| format!("{line}: {error}"));
        let side = |name| {
            let at = after(name, 0)?;
            Ok::<_, String>([
                number(at)?,
                number(after("sent", at)?)?,
                number(after("received", at)?)?,
            ])
        };
        let seconds = words[after("seconds", 0)?].parse();
        Ok(Self {
            seconds: seconds.map_err(|error| format!("{line}: {error}"))?,
            client: side("client")?,
            server: side("server")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let made = Made { seconds: 1.5, client: [1, 2, 3], server: [4, 5, 6] };
        assert_eq!(made.to_string().parse(), Ok(made));
        assert!("made nothing".parse::<Made>().is_err());
    }
}
