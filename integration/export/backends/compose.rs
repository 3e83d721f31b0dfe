//! docker-compose.yml: pinned, checked, and made of files that exist and of ports that agree.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use yaml_rust2::yaml::Hash;
use yaml_rust2::{Yaml, YamlLoader};

use super::{root, said};

pub(super) fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A YAML file, in which no key comes twice.
fn yaml(path: &str) -> Yaml {
    let documents = YamlLoader::load_from_str(&text(path));
    let documents = documents.unwrap_or_else(|error| panic!("{path}: {error}"));
    let [document] = <[Yaml; 1]>::try_from(documents).expect("one document");
    document
}

fn compose() -> Yaml {
    yaml("docker-compose.yml")
}

fn hash<'y>(yaml: &'y Yaml, what: &str) -> &'y Hash {
    yaml.as_hash().unwrap_or_else(|| panic!("{what} is {yaml:?}"))
}

fn str<'y>(yaml: &'y Yaml, what: &str) -> &'y str {
    yaml.as_str().unwrap_or_else(|| panic!("{what} is {yaml:?}"))
}

fn strings(yaml: &Yaml, what: &str) -> Vec<String> {
    let list = yaml.as_vec().unwrap_or_else(|| panic!("{what} is {yaml:?}"));
    list.iter().map(|item| str(item, what).to_owned()).collect()
}

/// Names and descriptions of the services.
fn services(compose: &Yaml) -> impl Iterator<Item = (&str, &Yaml)> {
    hash(&compose["services"], "services").iter().map(|(name, of)| (str(name, "a name"), of))
}

/// The command of a service, in words.
pub(super) fn command(service: &str) -> Vec<String> {
    match &compose()["services"][service]["command"] {
        Yaml::String(command) => command.split(' ').map(String::from).collect(),
        list => strings(list, "command"),
    }
}

/// Variables of a service.
pub(super) fn environment(service: &str) -> Vec<(String, String)> {
    let compose = compose();
    let all = hash(&compose["services"][service]["environment"], "environment");
    let all = all.iter().map(|(name, value)| (str(name, "a name"), str(value, "a variable")));
    all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Source, target and mode of what a service mounts.
fn mounts(service: &Yaml) -> Vec<[String; 3]> {
    let split = |volume: String| {
        let parts: Vec<String> = volume.split(':').map(String::from).collect();
        let mode = parts.get(2).cloned().unwrap_or_default();
        [parts[0].clone(), parts[1].clone(), mode]
    };
    strings(&service["volumes"], "volumes").into_iter().map(split).collect()
}

#[test]
fn images_are_pinned_and_services_checked() {
    const KEYS: [&str; 9] = [
        "image",
        "command",
        "working_dir",
        "init",
        "environment",
        "volumes",
        "ports",
        "healthcheck",
        "depends_on",
    ];
    let compose = compose();
    let names: Vec<&str> = services(&compose).map(|(name, _)| name).collect();
    assert_eq!(names, ["demo", "collector", "prometheus", "grafana"]);
    for (name, service) in services(&compose) {
        for key in hash(service, name).keys() {
            assert!(KEYS.contains(&str(key, "a key")), "{name}: {key:?} is not known here");
        }
        let image = str(&service["image"], "image");
        let (_, tag) = image.rsplit_once(':').unwrap_or_else(|| panic!("{image} has no tag"));
        let version = tag.trim_start_matches('v').split('-').next().unwrap_or_default();
        let numbers: Vec<_> = version.split('.').map(str::parse::<u32>).collect();
        assert!(numbers.len() == 3 && numbers.iter().all(Result::is_ok), "{image}: {tag}");
        let check = &service["healthcheck"];
        assert_eq!(strings(&check["test"], "test")[0], "CMD", "{name}");
        for time in ["interval", "timeout", "start_period"] {
            let time = str(&check[time], time);
            assert!(time.ends_with(['s', 'm']), "{name}: {time}");
        }
        assert!(check["retries"].as_i64() > Some(0), "{name}");
        let needs = &service["depends_on"];
        for (other, how) in needs.as_hash().into_iter().flatten() {
            assert!(names.contains(&str(other, "a name")), "{name} depends on {other:?}");
            assert_eq!(str(&how["condition"], "condition"), "service_healthy");
        }
    }
}

#[test]
fn everything_mounted_exists() {
    let compose = compose();
    let volumes = hash(&compose["volumes"], "volumes").keys();
    let volumes: BTreeSet<&str> = volumes.map(|name| str(name, "a volume")).collect();
    let mut used = BTreeSet::new();
    for (name, service) in services(&compose) {
        for [source, target, mode] in mounts(service) {
            assert!(target.starts_with('/'), "{name}: {target}");
            match source.strip_prefix("./") {
                Some(path) => {
                    assert!(root().join(path).exists(), "{name}: no {path}");
                    // What is ours stays as it is.
                    assert_eq!(mode, "ro", "{name}: {path}");
                }
                None => assert!(used.insert(source.clone()), "{name}: {source} twice"),
            }
        }
    }
    let used: BTreeSet<&str> = used.iter().map(String::as_str).collect();
    assert_eq!(used, volumes);
}

/// What follows the last colon.
fn port(text: &str) -> u16 {
    let port =
        text.rsplit(':').next().unwrap_or_default().trim_end_matches(|c: char| !c.is_ascii_digit());
    port.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn ports_and_paths_agree_with_the_configuration() {
    let compose = compose();
    let ports = |service: &str| -> Vec<u16> {
        let ports = strings(&compose["services"][service]["ports"], "ports");
        // On this machine alone, and the same inside.
        let ports = ports.iter().map(|mapped| {
            let inside = port(mapped);
            assert_eq!(*mapped, format!("127.0.0.1:{inside}:{inside}"));
            inside
        });
        ports.collect()
    };

    let listen = command("demo").pop().expect("a command has words");
    assert_eq!(listen, format!("0.0.0.0:{}", ports("demo")[0]));
    let pushes = environment("demo");
    let pushes = pushes.iter().find(|(name, _)| name == "OTEL_EXPORTER_OTLP_ENDPOINT");
    let pushes = &pushes.expect("it pushes somewhere").1;

    let collector = yaml("integration/demo/collector.yaml");
    let receivers = &collector["receivers"]["otlp"]["protocols"];
    let receivers = ["grpc", "http"].map(|name| port(str(&receivers[name]["endpoint"], name)));
    assert_eq!(ports("collector"), receivers);
    assert_eq!(*pushes, format!("http://collector:{}", receivers[1]));
    let readers = &collector["service"]["telemetry"]["metrics"]["readers"][0];
    let own = &readers["pull"]["exporter"]["prometheus"]["port"];
    let own = str(own, "port").trim_end_matches('}').rsplit('-').next().unwrap_or_default();

    let prometheus = yaml("integration/demo/prometheus.yml");
    let jobs = prometheus["scrape_configs"].as_vec().expect("jobs");
    let targets =
        jobs.iter().flat_map(|job| strings(&job["static_configs"][0]["targets"], "targets"));
    let expected = [
        format!("demo:{}", ports("demo")[0]),
        format!("collector:{own}"),
        format!("localhost:{}", ports("prometheus")[0]),
    ];
    assert_eq!(targets.collect::<Vec<_>>(), expected);

    // Every file that a command or a configuration names is mounted there.
    let target_of = |service: &str, source: &str| {
        let mounts = mounts(&compose["services"][service]);
        let mount = mounts.into_iter().find(|[from, ..]| from == source);
        let [_, target, _] = mount.unwrap_or_else(|| panic!("{service} does not mount {source}"));
        target
    };
    let config = target_of("collector", "./integration/demo/collector.yaml");
    assert_eq!(command("collector"), [format!("--config={config}")]);
    let check = &compose["services"]["collector"]["healthcheck"]["test"];
    assert_eq!(strings(check, "test").pop(), Some(format!("--config={config}")));
    let config = target_of("prometheus", "./integration/demo/prometheus.yml");
    assert_eq!(command("prometheus")[0], format!("--config.file={config}"));
    let data = target_of("prometheus", "metrics");
    assert_eq!(command("prometheus")[1], format!("--storage.tsdb.path={data}"));
    let rules = strings(&prometheus["rule_files"], "rule_files");
    let mounted = target_of("prometheus", "./dashboards/rules.yml");
    assert_eq!(Path::new(&config).with_file_name(&rules[0]), Path::new(&mounted));
    assert_eq!(rules.len(), 1);
}

#[test]
fn grafana_finds_prometheus_and_the_dashboards() {
    let compose = compose();
    let grafana = &compose["services"]["grafana"];
    let mounts = mounts(grafana);
    let target_of = |source: &str| {
        let mount = mounts.iter().find(|[from, ..]| from == source);
        mount.unwrap_or_else(|| panic!("{source} is not mounted"))[1].as_str()
    };
    // Where Grafana looks for them.
    for (file, folder) in [("datasources", "datasources"), ("providers", "dashboards")] {
        let target = target_of(&format!("./dashboards/grafana/{file}.yml"));
        let parent = Path::new(target).parent().expect("it is in a folder");
        assert_eq!(parent, Path::new("/etc/grafana/provisioning").join(folder));
    }
    let source = &yaml("dashboards/grafana/datasources.yml")["datasources"][0];
    let ports = strings(&compose["services"]["prometheus"]["ports"], "ports");
    assert_eq!(str(&source["url"], "url"), format!("http://prometheus:{}", port(&ports[0])));
    assert_eq!(str(&source["type"], "type"), "prometheus");
    let needs = hash(&grafana["depends_on"], "depends_on").keys();
    assert_eq!(needs.map(|name| str(name, "a name")).collect::<Vec<_>>(), ["prometheus"]);
    // Steps of panels are at least as long as a scrape.
    let scrape = &yaml("integration/demo/prometheus.yml")["global"]["scrape_interval"];
    assert_eq!(str(&source["jsonData"]["timeInterval"], "interval"), str(scrape, "interval"));

    let provider = &yaml("dashboards/grafana/providers.yml")["providers"][0];
    assert_eq!(str(&provider["options"]["path"], "path"), target_of("./dashboards"));
    for (name, _) in dashboards::files() {
        assert!(root().join("dashboards").join(&name).is_file(), "{name}");
    }
    let check = strings(&grafana["healthcheck"]["test"], "test").pop().expect("a command");
    let at = format!("http://localhost:{}/", port(&strings(&grafana["ports"], "ports")[0]));
    assert!(check.starts_with(&at), "{check}");
}

/// What the container runs is a program of the repository, which is mounted as a whole.
#[test]
fn cargo_finds_the_program_in_what_is_mounted() {
    let compose = compose();
    let demo = &compose["services"]["demo"];
    let folder = str(&demo["working_dir"], "working_dir");
    assert!(mounts(demo).contains(&["./".into(), folder.into(), "ro".into()]));
    let words = command("demo");
    // What is mounted cannot be written: the lock file has to be right.
    assert_eq!(words[..3], ["cargo", "run", "--locked"]);
    let named = |option: &str| {
        let at = words.iter().position(|word| word == option);
        words[at.unwrap_or_else(|| panic!("no {option}")) + 1].as_str()
    };
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--locked", "--offline", "--no-deps", "--format-version", "1"]);
    let (said, status) = said(cargo.current_dir(root()));
    assert_eq!(status, Some(0), "{said}");
    let json = said.lines().find(|line| line.starts_with('{')).expect("a line of JSON");
    let metadata: Value = serde_json::from_str(json).expect("a line of JSON");
    let find = |all: &Value, name: &str| {
        let found = all.as_array().expect("a list").iter().find(|it| it["name"] == name).cloned();
        found.unwrap_or_else(|| panic!("no {name}"))
    };
    let package = find(&metadata["packages"], named("--package"));
    assert_eq!(find(&package["targets"], named("--bin"))["kind"][0], "bin");
}
