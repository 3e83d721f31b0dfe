//! The two formats, and which of them a reader asks for.

/// A format that Prometheus reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PageFormat {
    /// Prometheus' text format, version 0.0.4.
    #[default]
    Text,
    /// OpenMetrics 1.0: with units and the times at which series began.
    OpenMetrics,
}

impl PageFormat {
    /// What to put into the header `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The format that a reader prefers by its header `Accept`: Prometheus' text format where the
    /// header is empty, or names neither format.
    ///
    /// A range with a version that is not written here counts for nothing. `*/*` means text, and
    /// OpenMetrics only where text is refused. Of equal preferences the first counts. Several
    /// headers are one, with commas between.
    ///
    /// ```
    /// use tcpinfo::PageFormat;
    ///
    /// let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,\
    ///                   application/openmetrics-text;version=0.0.1;q=0.4,\
    ///                   text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    /// assert_eq!(PageFormat::negotiate(prometheus), PageFormat::OpenMetrics);
    /// assert_eq!(PageFormat::negotiate("*/*"), PageFormat::Text);
    /// ```
    pub fn negotiate(accept: &str) -> Self {
        let ranges: Vec<_> = accept.split(',').filter_map(Range::parse).collect();
        let refuses_text =
            ranges.iter().any(|range| range.matches == Matches::Text && range.weight <= 0.0);
        let mut best = (Self::Text, 0.0);
        for range in &ranges {
            let format = match range.matches {
                Matches::Text => Self::Text,
                Matches::Any if !refuses_text => Self::Text,
                Matches::OpenMetrics | Matches::Any => Self::OpenMetrics,
            };
            if range.weight > best.1 {
                best = (format, range.weight);
            }
        }
        best.0
    }
}

/// One part of a header `Accept` that a format can match.
struct Range {
    matches: Matches,
    /// From 0, which refuses it, to 1.
    weight: f32,
}

#[derive(Clone, Copy, PartialEq)]
enum Matches {
    Text,
    OpenMetrics,
    Any,
}

impl Range {
    /// `None` where it matches neither format, or is not written as it should be.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let media = parts.next()?.to_ascii_lowercase();
        let (matches, versions): (_, &[&str]) = match media.as_str() {
            "text/plain" => (Matches::Text, &["0.0.4"]),
            "text/*" => (Matches::Text, &[]),
            "application/openmetrics-text" => (Matches::OpenMetrics, &["1.0.0", "1.0"]),
            "application/*" => (Matches::OpenMetrics, &[]),
            "*/*" => (Matches::Any, &[]),
            _ => return None,
        };
        let mut weight = 1.0;
        for part in parts {
            let Some((name, value)) = part.split_once('=') else { continue };
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "q" => weight = value.parse().ok().filter(|q| (0.0..=1.0).contains(q))?,
                "version" if !versions.contains(&value) => return None,
                // A character set, an escaping of names that need none.
                _ => {}
            }
        }
        Some(Self { matches, weight })
    }
}

#[cfg(test)]
mod tests {
    use super::PageFormat::{self, OpenMetrics, Text};

    #[test]
    fn a_reader_gets_what_it_prefers() {
        for (accept, format) in [
            ("", Text),
            ("*/*", Text),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Text),
            ("application/json", Text),
            ("text/plain", Text),
            ("text/*;q=0.1", Text),
            ("application/openmetrics-text", OpenMetrics),
            ("Application/OpenMetrics-Text; Version=\"1.0.0\"; charset=utf-8", OpenMetrics),
            ("application/openmetrics-text;version=0.0.1", Text),
            ("application/openmetrics-text;version=2.0.0, */*;q=0.1", Text),
            ("application/*", OpenMetrics),
            ("text/plain;version=0.0.4, application/openmetrics-text", Text),
            ("application/openmetrics-text, text/plain;version=0.0.4", OpenMetrics),
            ("application/openmetrics-text;q=0.2,text/plain;version=0.0.4;q=0.3", Text),
            ("application/openmetrics-text;q=0,*/*", Text),
            ("text/plain;q=0,*/*;q=0.1", OpenMetrics),
            ("text/plain;q=0", Text),
            ("application/openmetrics-text;q=2,text/plain;q=0.1", Text),
            ("application/openmetrics-text;q=NaN", Text),
            (";,=,;q=,text/plain;q", Text),
            // Prometheus 2.42, and 3.
            (
                "application/openmetrics-text;version=1.0.0,\
                 application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                 application/openmetrics-text;version=0.0.1;q=0.5,\
                 text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                 text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                OpenMetrics,
            ),
            (
                "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                 text/plain;version=0.0.4;q=0.4,*/*;q=0.2",
                Text,
            ),
        ] {
            assert_eq!(PageFormat::negotiate(accept), format, "{accept}");
        }
    }
}
