//! Pictures of what Prometheus has of the scenes, as SVG: on a background of their own, so that
//! they can be read on a light page and on a dark one.

use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;

use super::super::{escaped, get, number_of};

/// One picture, and the page of docs/symptoms/ that it is on.
struct Picture {
    page: &'static str,
    title: &'static str,
    query: &'static str,
    /// The label that names a line.
    label: &'static str,
    draw: Draw,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Draw {
    Connections,
    Seconds,
    Share,
}

const PICTURES: &[Picture] = &[
    Picture {
        page: "slow-downloads",
        title: "share of the sending time that waits for the receiver",
        query: "job:tcp_receive_window_limited:ratio_rate5m{job=~\"slow_reader|good_bulk\"}",
        label: "job",
        draw: Draw::Share,
    },
    Picture {
        page: "spiky-latency",
        title: "queueing delay, 99 %",
        query: "job:tcp_queueing_delay_seconds:p99_5m{job=~\"deep_queue|good_bulk\"}",
        label: "job",
        draw: Draw::Seconds,
    },
    Picture {
        page: "stuck-uploads",
        title: "connections by verdict: the path becomes a black hole",
        query: "tcp_connection_verdict{job=\"black_hole\"}",
        label: "tcp_verdict",
        draw: Draw::Connections,
    },
    Picture {
        page: "resets",
        title: "connections by verdict: the peer cuts them off",
        query: "tcp_connection_verdict{job=\"reset\"}",
        label: "tcp_verdict",
        draw: Draw::Connections,
    },
    Picture {
        page: "refused-or-slow-accepts",
        title: "fullness of the accept queue",
        query: "tcp_listener_accept_queue{job=~\"nobody_accepts|somebody_accepts\"} \
                / tcp_listener_backlog",
        label: "job",
        draw: Draw::Share,
    },
    Picture {
        page: "is-it-the-network",
        title: "connections by verdict: the path begins to lose 5 %",
        query: "tcp_connection_verdict{job=\"random_loss\"}",
        label: "tcp_verdict",
        draw: Draw::Connections,
    },
];

const SIZE: (f64, f64) = (640.0, 220.0);
/// Where the curves are: left, top, right, bottom.
const INSIDE: (f64, f64, f64, f64) = (58.0, 40.0, 500.0, 190.0);
/// What is well is green, blue or grey.
const WELL: [(&str, &str); 6] = [
    ("good_bulk", "#7ee787"),
    ("somebody_accepts", "#7ee787"),
    ("healthy", "#7ee787"),
    ("application", "#d2a8ff"),
    ("network", "#79c0ff"),
    ("too_little", "#8b949e"),
];
const WRONG: &str = "#ff7b72";
const SHOWN: f64 = 45.0;

/// Names of the files.
pub(super) fn names() -> impl Iterator<Item = String> {
    PICTURES.iter().map(|it| format!("{}.svg", it.page))
}

/// Draws all of them into a folder.
pub(super) fn all(prometheus: SocketAddr, folder: &Path) {
    for picture in PICTURES {
        let path = folder.join(format!("{}.svg", picture.page));
        fs::write(&path, picture.svg(&picture.lines(prometheus))).expect("the folder is there");
        println!("{}", path.display());
    }
}

/// A curve: its name, and values by time in seconds from the picture's left side.
type Line = (String, Vec<(f64, f64)>);

impl Picture {
    fn lines(&self, prometheus: SocketAddr) -> Vec<Line> {
        let time: Value =
            serde_json::from_str(&get(prometheus, "/api/v1/query?query=time()")).expect("JSON");
        let now = number_of(&time["data"]["result"][1]);
        let path = format!(
            "/api/v1/query_range?query={}&start={}&end={now}&step=1",
            escaped(self.query),
            now - SHOWN
        );
        let answer: Value = serde_json::from_str(&get(prometheus, &path)).expect("JSON");
        let all = answer["data"]["result"].as_array().expect("series");
        let line = |series: &Value| {
            let name = series["metric"][self.label].as_str().expect("it has the label");
            let values = series["values"].as_array().expect("values").iter();
            let values = values.map(|pair| {
                let at = pair[0].as_f64().expect("a time");
                (at - (now - SHOWN), number_of(&pair[1]))
            });
            (name.to_owned(), values.filter(|(_, value)| value.is_finite()).collect())
        };
        let mut lines: Vec<Line> = all.iter().map(line).collect();
        lines.retain(|(_, values)| values.iter().any(|(_, value)| *value > 0.0));
        assert!(!lines.is_empty(), "{} has no data", self.query);
        lines
    }

    fn svg(&self, lines: &[Line]) -> String {
        let values = lines.iter().flat_map(|(_, values)| values).map(|(_, value)| *value);
        let most = values.fold(0.0, f64::max);
        // Half of it is a round number too.
        let step = match self.draw {
            Draw::Connections => 4.0,
            Draw::Seconds => 0.2,
            Draw::Share => 0.5,
        };
        let most = (most.max(step / 2.0) / step).ceil() * step;
        let (left, top, right, bottom) = INSIDE;
        let place = |(at, value): (f64, f64)| {
            let x = left + (right - left) * at / SHOWN;
            let y = bottom - (bottom - top) * value / most;
            format!("{x:.1},{y:.1}")
        };
        let (width, height) = SIZE;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             width=\"{width}\" height=\"{height}\" role=\"img\">\n<title>{0}</title>\n\
             <style>text{{font:12px system-ui,sans-serif;fill:#c9d1d9}}</style>\n\
             <rect x=\".5\" y=\".5\" width=\"{1}\" height=\"{2}\" rx=\"8\" fill=\"#0d1117\" \
             stroke=\"#30363d\"/>\n<text x=\"16\" y=\"24\" font-weight=\"bold\">{0}</text>\n",
            self.title,
            width - 1.0,
            height - 1.0
        );
        let mut add = |line: String| writeln!(svg, "{line}").expect("it is a string");
        for part in [0.0, 0.5, 1.0] {
            let y = bottom - (bottom - top) * part;
            let value = most * part;
            let value = match self.draw {
                Draw::Connections => format!("{value:.0}"),
                Draw::Seconds => format!("{:.0} ms", value * 1000.0),
                Draw::Share => format!("{:.0} %", value * 100.0),
            };
            add(format!("<path d=\"M{left} {y}H{right}\" stroke=\"#30363d\"/>"));
            add(format!(
                "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{value}</text>",
                left - 6.0,
                y + 4.0
            ));
        }
        for seconds in [0.0, 15.0, 30.0, 45.0] {
            let x = left + (right - left) * seconds / SHOWN;
            add(format!("<text x=\"{x}\" y=\"208\" text-anchor=\"middle\">{seconds} s</text>"));
        }
        for (at, (name, values)) in lines.iter().enumerate() {
            let well = WELL.iter().find(|(it, _)| it == name).map(|(_, colour)| *colour);
            let colour = well.unwrap_or(WRONG);
            let points: Vec<String> = values.iter().map(|pair| place(*pair)).collect();
            add(format!(
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
                points.join(" ")
            ));
            let y = top + 10.0 + 20.0 * at as f64;
            add(format!(
                "<rect x=\"512\" y=\"{}\" width=\"10\" height=\"10\" fill=\"{colour}\"/>",
                y - 9.0
            ));
            add(format!("<text x=\"528\" y=\"{y}\">{name}</text>"));
        }
        svg + "</svg>\n"
    }
}
