//! A dashboard as its author writes it: rows of panels, and what each of them asks and advises.

use crate::Query;
use crate::grafana::{
    self, Colour, DataSource, Element, FieldConfig, FieldConfigs, GridPos, Heat, HeatColour,
    Legend, Lines, Matcher, Options, Override, Property, Row, Stacking, Step, Style, Target,
    Templating, Thresholds, Time, Tooltip, Variable, YAxis,
};

/// A dashboard, of which `uid` also names the file.
pub(crate) struct Dashboard {
    pub(crate) uid: &'static str,
    pub(crate) title: &'static str,
    pub(crate) about: &'static str,
    /// A metric that every series' labels are known by.
    pub(crate) known_by: &'static str,
    /// Whether its user chooses the attribute that groups are told apart by.
    pub(crate) is_by_attribute: bool,
    pub(crate) rows: Vec<(&'static str, Vec<Panel>)>,
}

/// How a panel draws.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Draw {
    Lines,
    Stack,
    Heat,
}

pub(crate) struct Panel {
    pub(crate) title: &'static str,
    pub(crate) about: &'static str,
    /// What to do when it is red.
    pub(crate) advice: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) draw: Draw,
    /// From which value on it is red.
    pub(crate) red: Option<f64>,
    /// Each query with its legend.
    pub(crate) queries: Vec<(String, &'static str)>,
    /// The fault scene in which it has data.
    pub(crate) scene: &'static str,
}

const PROMETHEUS: DataSource = DataSource { kind: "prometheus", uid: "${datasource}" };
const HEIGHT: u32 = 8;
/// Of 24 columns.
const WIDTH: u32 = 8;

/// Verdicts that are complaints, and the colour of each. The others are green or grey.
pub(crate) const COMPLAINTS: [(&str, &str); 9] = [
    ("loss", "red"),
    ("queue", "orange"),
    ("receive_window", "yellow"),
    ("send_buffer", "light-yellow"),
    ("stalled", "dark-red"),
    ("accept_queue", "purple"),
    ("unreachable", "dark-orange"),
    ("refused", "light-red"),
    ("reset", "semi-dark-red"),
];
pub(crate) const CALM: [(&str, &str); 4] = [
    ("healthy", "green"),
    ("application", "light-green"),
    ("network", "blue"),
    ("too_little", "text"),
];

impl Dashboard {
    pub(crate) fn queries(&self) -> Vec<Query> {
        let panels = self.rows.iter().flat_map(|(_, panels)| panels);
        let queries = panels.flat_map(|panel| {
            panel.queries.iter().map(|(expr, _)| Query {
                dashboard: self.uid,
                panel: panel.title,
                expr: expr.clone(),
                scene: panel.scene,
            })
        });
        queries.collect()
    }

    /// As Grafana takes it.
    pub(crate) fn json(self) -> String {
        let (mut y, mut id, mut panels) = (0, 0, Vec::new());
        let known_by = self.known_by;
        for (title, of_row) in self.rows {
            id += 1;
            panels.push(Element::Row(Row {
                kind: "row",
                id,
                title,
                collapsed: false,
                grid_pos: GridPos { h: 1, w: 24, x: 0, y },
                panels: [],
            }));
            y += 1;
            let count = of_row.len() as u32;
            for (at, panel) in of_row.into_iter().enumerate() {
                let at = at as u32;
                id += 1;
                let (x, down) = (at % 3 * WIDTH, at / 3 * HEIGHT);
                let place = GridPos { h: HEIGHT, w: WIDTH, x, y: y + down };
                panels.push(Element::Panel(Box::new(panel.grafana(id, place))));
            }
            y += count.div_ceil(3) * HEIGHT;
        }
        let dashboard = grafana::Dashboard {
            uid: self.uid,
            title: self.title,
            description: self.about,
            tags: vec!["tcpinfo", "tcp"],
            timezone: "browser",
            editable: true,
            graph_tooltip: 1,
            time: Time { from: "now-1h", to: "now" },
            refresh: "30s",
            schema_version: 39,
            templating: Templating { list: variables(known_by, self.is_by_attribute) },
            panels,
        };
        serde_json::to_string_pretty(&dashboard).expect("its keys are text") + "\n"
    }
}

impl Panel {
    fn grafana(self, id: u32, grid_pos: GridPos) -> grafana::Panel {
        let is_heat = self.draw == Draw::Heat;
        let steps = [(None, "green"), (self.red, "red")];
        let steps = steps.into_iter().filter(|(value, color)| *color == "green" || value.is_some());
        let thresholds = Thresholds {
            mode: "absolute",
            steps: steps.map(|(value, color)| Step { value, color }).collect(),
        };
        let is_stack = self.draw == Draw::Stack;
        let lines = Lines {
            fill_opacity: if is_stack { 60 } else { 10 },
            show_points: "never",
            stacking: Stacking { mode: if is_stack { "normal" } else { "none" }, group: "A" },
            thresholds_style: Style { mode: if self.red.is_some() { "line+area" } else { "off" } },
        };
        let names_verdicts = self.queries.iter().any(|(_, legend)| *legend == "{{tcp_verdict}}");
        let coloured = CALM.iter().chain(&COMPLAINTS).filter(|_| names_verdicts);
        let targets = self.queries.into_iter().zip('A'..).map(|((expr, legend), letter)| Target {
            ref_id: letter.to_string(),
            datasource: PROMETHEUS,
            expr,
            legend_format: legend.to_owned(),
            format: if is_heat { "heatmap" } else { "time_series" },
            instant: false,
            range: true,
        });
        grafana::Panel {
            kind: if is_heat { "heatmap" } else { "timeseries" },
            id,
            title: self.title,
            description: format!("{} When it is red: {}", self.about, self.advice),
            datasource: PROMETHEUS,
            grid_pos,
            targets: targets.collect(),
            field_config: FieldConfigs {
                defaults: FieldConfig {
                    unit: self.unit,
                    min: 0,
                    thresholds: (!is_heat).then_some(thresholds),
                    custom: (!is_heat).then_some(lines),
                },
                overrides: coloured.map(|(name, colour)| coloured_by(name, colour)).collect(),
            },
            options: if is_heat { heat(self.unit) } else { legend() },
        }
    }
}

fn coloured_by(options: &'static str, fixed_color: &'static str) -> Override {
    let value = Colour { mode: "fixed", fixed_color };
    let properties = vec![Property { id: "color", value }];
    Override { matcher: Matcher { id: "byName", options }, properties }
}

fn legend() -> Options {
    Options::Lines {
        legend: Legend {
            display_mode: "list",
            placement: "bottom",
            show_legend: true,
            calcs: Vec::new(),
        },
        tooltip: Tooltip { mode: "multi", sort: "desc" },
    }
}

fn heat(unit: &'static str) -> Options {
    Options::Heat(Heat {
        calculate: false,
        color: HeatColour {
            mode: "scheme",
            scheme: "Oranges",
            scale: "exponential",
            exponent: 0.5,
            fill: "dark-orange",
            reverse: false,
            steps: 64,
        },
        y_axis: YAxis { unit, axis_placement: "left" },
    })
}

/// What a user chooses.
fn variables(known_by: &'static str, is_by_attribute: bool) -> Vec<Variable> {
    let name = crate::promql::series(known_by, "");
    let name = name.split('{').next().unwrap_or_default();
    let empty = |kind, name, label, description| Variable {
        kind,
        name,
        label,
        description,
        query: None,
        datasource: None,
        regex: None,
        multi: None,
        include_all: None,
        all_value: None,
        refresh: None,
        sort: None,
    };
    let asked = |variable: Variable, query: String| Variable {
        query: Some(query),
        datasource: Some(PROMETHEUS),
        refresh: Some(2),
        sort: Some(1),
        ..variable
    };
    let any = |variable: Variable| Variable {
        multi: Some(true),
        include_all: Some(true),
        all_value: Some(".*"),
        ..variable
    };
    let source = empty("datasource", "datasource", "Data source", "A Prometheus.");
    let mut all = vec![
        Variable { query: Some("prometheus".to_owned()), ..source },
        any(asked(
            empty("query", "job", "Job", "What Prometheus scrapes."),
            format!("label_values({name}, job)"),
        )),
        any(asked(
            empty("query", "instance", "Instance", "One process of a job."),
            format!("label_values({name}{{job=~\"$job\"}}, instance)"),
        )),
    ];
    if is_by_attribute {
        let by = empty("query", "by", "Group by", "The attribute that tells groups apart.");
        let query = format!("label_names({name}{{job=~\"$job\"}})");
        let regex = "/^(?!__name__|job|instance|le|otel_.*|tcp_monitor_.*)(.*)$/";
        all.push(Variable { regex: Some(regex), ..asked(by, query) });
    }
    let filters = empty("adhoc", "filters", "Filters", "More labels, for every panel.");
    all.push(Variable { datasource: Some(PROMETHEUS), ..filters });
    all
}
