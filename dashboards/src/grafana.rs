//! Grafana's own model of a dashboard, as far as ours have it: what is serialised.

use serde::Serialize;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Dashboard {
    pub(crate) uid: &'static str,
    pub(crate) title: &'static str,
    pub(crate) description: &'static str,
    pub(crate) tags: Vec<&'static str>,
    pub(crate) timezone: &'static str,
    pub(crate) editable: bool,
    pub(crate) graph_tooltip: u8,
    pub(crate) time: Time,
    pub(crate) refresh: &'static str,
    pub(crate) schema_version: u32,
    pub(crate) templating: Templating,
    pub(crate) panels: Vec<Element>,
}

#[derive(Serialize)]
pub(crate) struct Time {
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
}

#[derive(Serialize)]
pub(crate) struct Templating {
    pub(crate) list: Vec<Variable>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Variable {
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) name: &'static str,
    pub(crate) label: &'static str,
    pub(crate) description: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) query: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) datasource: Option<DataSource>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) regex: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) multi: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) include_all: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) all_value: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refresh: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sort: Option<u8>,
}

#[derive(Serialize, Clone, Copy)]
pub(crate) struct DataSource {
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) uid: &'static str,
}

#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Element {
    Row(Row),
    Panel(Box<Panel>),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) id: u32,
    pub(crate) title: &'static str,
    pub(crate) collapsed: bool,
    pub(crate) grid_pos: GridPos,
    pub(crate) panels: [(); 0],
}

#[derive(Serialize, Clone, Copy)]
pub(crate) struct GridPos {
    pub(crate) h: u32,
    pub(crate) w: u32,
    pub(crate) x: u32,
    pub(crate) y: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Panel {
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) id: u32,
    pub(crate) title: &'static str,
    pub(crate) description: String,
    pub(crate) datasource: DataSource,
    pub(crate) grid_pos: GridPos,
    pub(crate) targets: Vec<Target>,
    pub(crate) field_config: FieldConfigs,
    pub(crate) options: Options,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Target {
    pub(crate) ref_id: String,
    pub(crate) datasource: DataSource,
    pub(crate) expr: String,
    pub(crate) legend_format: String,
    pub(crate) format: &'static str,
    pub(crate) instant: bool,
    pub(crate) range: bool,
}

#[derive(Serialize)]
pub(crate) struct FieldConfigs {
    pub(crate) defaults: FieldConfig,
    pub(crate) overrides: Vec<Override>,
}

#[derive(Serialize)]
pub(crate) struct FieldConfig {
    pub(crate) unit: &'static str,
    pub(crate) min: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) thresholds: Option<Thresholds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) custom: Option<Lines>,
}

#[derive(Serialize)]
pub(crate) struct Thresholds {
    pub(crate) mode: &'static str,
    pub(crate) steps: Vec<Step>,
}

#[derive(Serialize)]
pub(crate) struct Step {
    pub(crate) value: Option<f64>,
    pub(crate) color: &'static str,
}

/// How a time series is drawn.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Lines {
    pub(crate) fill_opacity: u8,
    pub(crate) show_points: &'static str,
    pub(crate) stacking: Stacking,
    pub(crate) thresholds_style: Style,
}

#[derive(Serialize)]
pub(crate) struct Stacking {
    pub(crate) mode: &'static str,
    pub(crate) group: &'static str,
}

#[derive(Serialize)]
pub(crate) struct Style {
    pub(crate) mode: &'static str,
}

/// What one series has that the others have not.
#[derive(Serialize)]
pub(crate) struct Override {
    pub(crate) matcher: Matcher,
    pub(crate) properties: Vec<Property>,
}

#[derive(Serialize)]
pub(crate) struct Matcher {
    pub(crate) id: &'static str,
    pub(crate) options: &'static str,
}

#[derive(Serialize)]
pub(crate) struct Property {
    pub(crate) id: &'static str,
    pub(crate) value: Colour,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Colour {
    pub(crate) mode: &'static str,
    pub(crate) fixed_color: &'static str,
}

#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Options {
    Lines { legend: Legend, tooltip: Tooltip },
    Heat(Heat),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Legend {
    pub(crate) display_mode: &'static str,
    pub(crate) placement: &'static str,
    pub(crate) show_legend: bool,
    pub(crate) calcs: Vec<&'static str>,
}

#[derive(Serialize)]
pub(crate) struct Tooltip {
    pub(crate) mode: &'static str,
    pub(crate) sort: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Heat {
    pub(crate) calculate: bool,
    pub(crate) color: HeatColour,
    pub(crate) y_axis: YAxis,
}

#[derive(Serialize)]
pub(crate) struct HeatColour {
    pub(crate) mode: &'static str,
    pub(crate) scheme: &'static str,
    pub(crate) scale: &'static str,
    pub(crate) exponent: f32,
    pub(crate) fill: &'static str,
    pub(crate) reverse: bool,
    pub(crate) steps: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct YAxis {
    pub(crate) unit: &'static str,
    pub(crate) axis_placement: &'static str,
}
