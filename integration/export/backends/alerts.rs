//! Alerts and dashboards beside faults made for real: a Prometheus scrapes a program for each
//! scene, whose connections have a fault or none, and evaluates the rules.
//!
//! All scenes are played at the same time. The times of the rules are shortened; their thresholds
//! are as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fmt::Write;
use std::thread;
use std::time::{Duration, Instant};

use dashboards::{Query, queries};
use serde_json::Value;

use super::compose::text;
use super::prometheus::Prometheus;
use super::{Scratch, free_address, get, query, root};
use crate::faults::namespace::in_two;
use scenes::{SCENES, Scene};
use stage::Running;
use support::lateness::{Lateness, in_time};

mod draw;
mod scenes;
mod stage;

const RULES: &str = "dashboards/rules.yml";
/// What stands for the five minutes and the hour of rules and panels.
const RANGE: &str = "15s";
/// How long something has to be true before an alert fires.
const FOR: &str = "for: 3s";
/// How often each scene is scraped before it counts as healthy.
const SCRAPES: usize = 40;
/// How long it is waited for alerts.
const LONGEST: Duration = Duration::from_secs(75);
/// By how much a path may be late: more looks like a queue.
const ALLOWED: Duration = Duration::from_millis(60);

/// The rules, with their times shortened.
fn quick_rules() -> String {
    let lines = text(RULES).lines().fold(String::new(), |mut all, line| {
        let waits = line.trim_start().starts_with("for: ");
        let indent = &line[..line.len() - line.trim_start().len()];
        let line = if waits { format!("{indent}{FOR}") } else { line.to_owned() };
        writeln!(all, "{line}").expect("it is a string");
        all
    });
    lines.replace("[5m]", &format!("[{RANGE}]")).replace("[1h]", &format!("[{RANGE}]"))
}

/// Names of the alerts in the rules.
fn alerts() -> BTreeSet<String> {
    let rules = text(RULES);
    let name = |line: &str| Some(line.trim_start().strip_prefix("- alert: ")?.to_owned());
    rules.lines().filter_map(name).collect()
}

#[test]
fn every_alert_has_a_scene_and_a_runbook() {
    let fired: BTreeSet<String> =
        SCENES.iter().flat_map(|scene| scene.fires).map(|it| (*it).to_owned()).collect();
    assert_eq!(fired, alerts());
    let runbooks = text("docs/runbooks.md");
    let headings: BTreeSet<String> = runbooks
        .lines()
        .filter_map(|line| line.strip_prefix("## Tcp"))
        .map(|it| format!("Tcp{it}"))
        .collect();
    assert_eq!(headings, alerts(), "docs/runbooks.md");
    for alert in alerts() {
        let runbook = format!("runbook: \"docs/runbooks.md#{}\"", alert.to_lowercase());
        assert_eq!(text(RULES).matches(&runbook).count(), 1, "{runbook}");
    }
    let names: BTreeSet<&str> = SCENES.iter().map(|scene| scene.name).collect();
    for Query { panel, scene, .. } in queries() {
        assert!(names.contains(scene), "{panel}: no scene {scene}");
    }
    // Every scene that was recorded is one, and the other way round.
    let rows = runbooks.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    assert_eq!(rows.collect::<BTreeSet<_>>(), names, "docs/runbooks.md");
}

#[test]
#[ignore = "needs prometheus, ip and unshare: integration/test.sh"]
fn each_fault_fires_its_alert_and_nothing_healthy_does() {
    in_two(|_| in_time(ALLOWED, play_all));
}

fn play_all(lateness: &Lateness) -> Result<(), String> {
    let is_full = env::var("TCPINFO_ALERTS").as_deref() == Ok("full");
    let chosen: Vec<&Scene> = SCENES.iter().filter(|scene| is_full || scene.is_short).collect();
    let running: Vec<Running> =
        chosen.iter().map(|scene| Running::start(scene, lateness.worst())).collect();
    let address = free_address();
    let mut config = "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n\
                      rule_files: [rules.yml]\nscrape_configs:\n"
        .to_owned();
    for (scene, it) in chosen.iter().zip(&running) {
        let target = it.address;
        writeln!(
            config,
            "  - {{job_name: {}, static_configs: [{{targets: ['{target}']}}]}}",
            scene.name
        )
        .expect("it is a string");
    }
    let scratch = Scratch::new();
    scratch.write("rules.yml", &quick_rules());
    let prometheus = Prometheus::start(scratch, &config, address);
    let played = Played { chosen, prometheus, is_full, begun: Instant::now() };
    let seen = played.watch();
    let judged = played.judge(&seen).and_then(|()| played.ask_panels());
    if judged.is_ok() {
        played.ask_rules();
        if let Some(folder) = env::var_os("TCPINFO_PICTURES") {
            draw::all(played.prometheus.address, folder.as_ref());
        }
    }
    running.into_iter().for_each(Running::end);
    judged
}

struct Played {
    chosen: Vec<&'static Scene>,
    prometheus: Prometheus,
    is_full: bool,
    begun: Instant,
}

/// When each alert of each job was first seen to fire.
type Seen = BTreeMap<(String, String), Duration>;

impl Played {
    fn ask(&self, text: &str) -> Vec<Value> {
        query(self.prometheus.address, text)
    }

    /// Waits until every scene was scraped often enough, and every alert fires that should.
    fn watch(&self) -> Seen {
        let mut seen = Seen::new();
        while self.begun.elapsed() < LONGEST {
            let firing = "count by (job, alertname) (ALERTS{alertstate=\"firing\"})";
            for series in self.ask(firing) {
                let label = |name: &str| {
                    series["metric"][name].as_str().expect("it has the label").to_owned()
                };
                let key = (label("job"), label("alertname"));
                seen.entry(key).or_insert_with(|| self.begun.elapsed());
            }
            let often = format!("count_over_time(up[10m]) >= {SCRAPES}");
            let is_scraped = self.ask(&often).len() == self.chosen.len();
            if is_scraped && self.missing(&seen).is_empty() {
                break;
            }
            thread::sleep(Duration::from_millis(500));
        }
        seen
    }

    /// Alerts that should have fired and did not.
    fn missing(&self, seen: &Seen) -> Vec<(&str, &str)> {
        let all = self
            .chosen
            .iter()
            .flat_map(|scene| scene.fires.iter().map(|alert| (scene.name, *alert)));
        all.filter(|(job, alert)| !seen.contains_key(&((*job).into(), (*alert).into()))).collect()
    }

    fn judge(&self, seen: &Seen) -> Result<(), String> {
        println!("| scene | alerts, and after how many seconds |\n| --- | --- |");
        let mut accused = Vec::new();
        for scene in &self.chosen {
            let own = seen.iter().filter(|((job, _), _)| job == scene.name);
            let own: Vec<String> =
                own.map(|((_, alert), after)| format!("{alert} {}", after.as_secs())).collect();
            println!("| `{}` | {} |", scene.name, own.join(", "));
            if scene.fires.is_empty() && !own.is_empty() {
                accused.push(format!("{}: {}", scene.name, own.join(", ")));
            }
        }
        println!("in {:.0?}", self.begun.elapsed());
        let missing = self.missing(seen);
        if missing.is_empty() && accused.is_empty() {
            return Ok(());
        }
        for (job, _) in &missing {
            println!("{:?}", self.ask(&format!("tcp_connection_verdict{{job='{job}'}}")));
        }
        Err(format!("did not fire: {missing:?}; fired without a fault: {accused:?}"))
    }

    /// Every query of every panel has an answer, and data in the scene that it is for.
    fn ask_panels(&self) -> Result<(), String> {
        let (mut asked, mut empty) = (0, Vec::new());
        for it in queries() {
            let is_played = self.chosen.iter().any(|scene| scene.name == it.scene);
            let job = if is_played { it.scene } else { ".*" };
            let found = self.ask(&it.plain(job, "service", RANGE));
            asked += 1;
            if is_played && found.is_empty() {
                empty.push(format!("{} / {} in {}", it.dashboard, it.panel, it.scene));
            }
        }
        println!("{asked} queries of panels");
        if empty.is_empty() { Ok(()) } else { Err(format!("no data: {empty:?}")) }
    }

    /// Every rule was evaluated without an error, and every recorded series has data.
    fn ask_rules(&self) {
        let rules: Value =
            serde_json::from_str(&get(self.prometheus.address, "/api/v1/rules")).expect("JSON");
        let groups = rules["data"]["groups"].as_array().expect("groups");
        let rules = groups.iter().flat_map(|group| group["rules"].as_array()).flatten();
        let mut count = 0;
        for rule in rules {
            assert_eq!(rule["health"], "ok", "{rule}");
            count += 1;
            if rule["type"] == "recording" && self.is_full {
                let name = rule["name"].as_str().expect("it has a name");
                assert!(!self.ask(name).is_empty(), "{name} has no data");
            }
        }
        assert_eq!(count, text(RULES).matches("expr: ").count());
    }
}

/// The one folder that pictures of docs/ are in.
fn pictures() -> std::path::PathBuf {
    root().join("docs/symptoms")
}

#[test]
fn every_picture_is_shown() {
    let there = std::fs::read_dir(pictures()).expect("it is there");
    let there = there.map(|entry| {
        let name = entry.expect("it can be listed").file_name();
        name.into_string().expect("names are text")
    });
    let there: BTreeSet<String> = there.filter(|name| name.ends_with(".svg")).collect();
    let drawn: BTreeSet<String> = draw::names().collect();
    assert_eq!(there, drawn, "drawn by integration/alerts.sh --pictures");
    for name in drawn {
        let page = name.replace(".svg", ".md");
        let page = text(&format!("docs/symptoms/{page}"));
        assert!(page.contains(&format!("({name})")), "{name} is on no page");
    }
}
