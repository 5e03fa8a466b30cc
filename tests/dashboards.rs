//! The dashboard, the alerts and the recording rules ask for what the program tells, and for nothing else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use s3sweep::telemetry::{CATALOGUE, JOB_LABEL, LabelValues, MetricKind, MetricSpec};

#[path = "dashboards/promql.rs"]
mod promql;

use promql::{Matcher, Named, named};

/// Metrics that no panel shows, each with its reason.
const NOT_SHOWN: &[(&str, &str)] = &[
    ("process_virtual_memory_bytes", "resident memory says what matters"),
    ("process_threads", "fixed by the configuration"),
    ("process_start_time_seconds", "the start of the run is shown"),
    ("s3sweep_run_ending", "the exit code is shown; alerts tell the ends apart that share one"),
];

/// Series that Prometheus makes itself: name, labels.
const OF_PROMETHEUS: &[(&str, &[&str])] = &[("ALERTS", &["alertname", "alertstate", "severity", "part"])];

/// Grafana's variables that may stand in an expression.
const VARIABLES_OF_GRAFANA: &[&str] = &["__rate_interval", "__range", "__interval"];

#[derive(Deserialize)]
struct RuleFile {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    name: String,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    record: Option<String>,
    alert: Option<String>,
    expr: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn rules(name: &str) -> Vec<Rule> {
    let file: RuleFile = serde_yaml::from_str(&read(name)).unwrap();
    assert!(file.groups.iter().all(|group| !group.name.is_empty()));
    file.groups.into_iter().flat_map(|group| group.rules).collect()
}

fn dashboard() -> Value {
    serde_json::from_str(&read("dashboards/s3sweep.json")).unwrap()
}

fn panels(dashboard: &Value) -> &Vec<Value> {
    dashboard["panels"].as_array().unwrap()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn is_row(panel: &Value) -> bool {
    panel["type"] == "row"
}

/// Every expression of the dashboard, with the place where it stands.
fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for panel in panels(dashboard).iter().filter(|panel| !is_row(panel)) {
        for target in panel["targets"].as_array().unwrap() {
            let place = format!("panel {:?}, query {}", text(panel, "title"), text(target, "refId"));
            found.push((place, text(target, "expr").to_owned()));
        }
    }
    for annotation in dashboard["annotations"]["list"].as_array().unwrap() {
        found.push((
            format!("annotation {:?}", text(annotation, "name")),
            text(annotation, "expr").to_owned(),
        ));
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        if let Some(query) = variable["query"]["query"].as_str() {
            let place = format!("variable {:?}", text(variable, "name"));
            let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')).unwrap();
            let (selector, label) = inner.rsplit_once(',').unwrap();
            // As an expression, so that the label is checked too.
            found.push((place, format!("max by ({}) ({selector})", label.trim())));
        }
    }
    found
}

/// Every expression of all three files.
fn expressions() -> Vec<(String, String)> {
    let mut found = queries(&dashboard());
    for file in ["dashboards/recording.yml", "dashboards/alerts.yml"] {
        for rule in rules(file) {
            let name = rule.record.or(rule.alert).unwrap();
            found.push((format!("{file}, {name}"), rule.expr));
        }
    }
    found
}

/// The series of a metric, with the labels that they can carry.
fn exposed() -> BTreeMap<String, BTreeMap<String, Option<LabelValues>>> {
    let mut series = BTreeMap::new();
    for spec in CATALOGUE {
        let mut labels: BTreeMap<_, _> =
            spec.labels.iter().map(|label| (label.name.to_owned(), Some(label.values))).collect();
        labels.insert(JOB_LABEL.to_owned(), None);
        match spec.kind {
            MetricKind::Histogram => {
                series.insert(format!("{}_sum", spec.name), labels.clone());
                series.insert(format!("{}_count", spec.name), labels.clone());
                labels.insert("le".to_owned(), None);
                series.insert(format!("{}_bucket", spec.name), labels);
            }
            MetricKind::Counter | MetricKind::Gauge => drop(series.insert(spec.name.to_owned(), labels)),
        }
    }
    series
}

/// Everything that may be asked for: what is exposed, what is recorded from it, what Prometheus adds.
fn known() -> BTreeMap<String, BTreeMap<String, Option<LabelValues>>> {
    let mut known = exposed();
    for (name, labels) in OF_PROMETHEUS {
        let labels =
            labels.iter().copied().chain([JOB_LABEL]).map(|label| (label.to_owned(), None)).collect();
        known.insert((*name).to_owned(), labels);
    }
    for rule in rules("dashboards/recording.yml") {
        let asked = named(&rule.expr).unwrap();
        let name = rule.record.unwrap();
        // The first part of a recorded name says what it is grouped by: sweep_job_outcome is sweep_job and outcome.
        let level = name.split(':').next().unwrap().strip_prefix(JOB_LABEL).unwrap();
        let mut labels = BTreeMap::from([(JOB_LABEL.to_owned(), None)]);
        for label in level.split('_').filter(|label| !label.is_empty()) {
            let values =
                asked.selectors.iter().find_map(|selector| known.get(&selector.metric)?.get(label).copied());
            labels.insert(
                label.to_owned(),
                values.unwrap_or_else(|| panic!("{name}: nothing has the label {label}")),
            );
        }
        assert!(known.insert(name.clone(), labels).is_none(), "{name} is recorded twice");
    }
    known
}

/// What is wrong with one condition on a label that takes `values`.
fn fault_of(matcher: &Matcher, values: Option<LabelValues>) -> Option<String> {
    let Some(LabelValues::Closed(words)) = values else { return None };
    if matcher.value.starts_with('$') {
        return None;
    }
    let asked: Vec<&str> = match matcher.operator.as_str() {
        "=" | "!=" => vec![&matcher.value],
        _ => matcher.value.split('|').collect(),
    };
    let strange: Vec<_> = asked.into_iter().filter(|word| !words.contains(word)).collect();
    (!strange.is_empty()).then(|| format!("{} is never {strange:?}", matcher.label))
}

fn faults_of(asked: &Named, known: &BTreeMap<String, BTreeMap<String, Option<LabelValues>>>) -> Vec<String> {
    let mut faults = Vec::new();
    let mut labels: BTreeSet<&String> = asked.made.iter().collect();
    for selector in &asked.selectors {
        let Some(of_metric) = known.get(&selector.metric) else {
            faults.push(format!("no metric {}", selector.metric));
            continue;
        };
        labels.extend(of_metric.keys());
        for matcher in &selector.matchers {
            match of_metric.get(&matcher.label) {
                None => faults.push(format!("{} has no label {}", selector.metric, matcher.label)),
                Some(values) => faults.extend(fault_of(matcher, *values)),
            }
        }
    }
    let strange = asked.grouped_by.iter().filter(|label| !labels.contains(label));
    faults.extend(strange.map(|label| format!("nothing here has the label {label}")));
    faults
}

#[test]
fn only_what_the_catalogue_has_is_asked_for() {
    let known = known();
    let mut faults = Vec::new();
    for (place, expression) in expressions() {
        match named(&expression) {
            Ok(asked) if asked.selectors.is_empty() => faults.push(format!("{place}: asks for nothing")),
            Ok(asked) => {
                faults.extend(faults_of(&asked, &known).iter().map(|fault| format!("{place}: {fault}")))
            }
            Err(error) => faults.push(format!("{place}: {error}")),
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn the_check_sees_what_it_is_for() {
    let known = known();
    for (expression, fault) in [
        ("s3sweep_listed_total", "no metric s3sweep_listed_total"),
        ("s3sweep_listed_versions_total{job=\"a\"}", "has no label job"),
        ("sum by (rule) (s3sweep_listed_versions_total)", "nothing here has the label rule"),
        ("s3sweep_settled_versions_total{outcome=~\"done|lost\"}", "outcome is never [\"lost\"]"),
        ("s3sweep_request_duration_seconds", "no metric s3sweep_request_duration_seconds"),
        ("sweep_job:s3sweep_invented:latest", "no metric sweep_job:s3sweep_invented:latest"),
        (
            "sweep_job_outcome:s3sweep_settled_versions:latest{outcome=\"lost\"}",
            "outcome is never [\"lost\"]",
        ),
    ] {
        let faults = faults_of(&named(expression).unwrap(), &known).join("; ");
        assert!(faults.contains(fault), "{expression}: {faults:?}");
    }
}

/// Whether some series of the metric is in `asked`.
fn is_asked(spec: &MetricSpec, asked: &BTreeSet<String>) -> bool {
    match spec.kind {
        MetricKind::Histogram => asked.contains(&format!("{}_bucket", spec.name)),
        MetricKind::Counter | MetricKind::Gauge => asked.contains(spec.name),
    }
}

#[test]
fn every_metric_is_shown_or_left_out_with_a_reason() {
    let recorded: BTreeMap<String, String> =
        rules("dashboards/recording.yml").into_iter().map(|rule| (rule.record.unwrap(), rule.expr)).collect();
    let mut asked = BTreeSet::new();
    let mut open: Vec<String> = queries(&dashboard()).into_iter().map(|(_, expression)| expression).collect();
    while let Some(expression) = open.pop() {
        for selector in named(&expression).unwrap().selectors {
            if asked.insert(selector.metric.clone()) {
                open.extend(recorded.get(&selector.metric).cloned());
            }
        }
    }
    for spec in CATALOGUE {
        let left_out = NOT_SHOWN.iter().any(|(name, _)| *name == spec.name);
        assert_ne!(is_asked(spec, &asked), left_out, "{}: shown and left out, or neither", spec.name);
    }
    for (name, reason) in NOT_SHOWN {
        assert!(CATALOGUE.iter().any(|spec| spec.name == *name) && !reason.is_empty(), "{name}");
    }
}

#[test]
fn every_recorded_series_is_used() {
    let everything = expressions();
    for rule in rules("dashboards/recording.yml") {
        let name = rule.record.unwrap();
        let users = everything.iter().filter(|(_, expression)| {
            named(expression).unwrap().selectors.iter().any(|selector| selector.metric == name)
        });
        assert!(users.count() > 0, "{name} is recorded and nothing asks for it");
    }
}

/// Every alert says how bad it is, what happened and what to do, and has its cases.
#[test]
fn alerts_say_what_to_do() {
    let tests: String =
        ["schedule", "ends", "progress"].map(|name| read(&format!("dashboards/tests/{name}.yml"))).concat();
    let mut names = BTreeSet::new();
    for rule in rules("dashboards/alerts.yml") {
        let name = rule.alert.unwrap();
        assert!(names.insert(name.clone()), "{name} twice");
        assert!(name.starts_with("S3sweep"), "{name}");
        let severity = rule.labels.get("severity").map(String::as_str);
        assert!(matches!(severity, Some("critical" | "warning" | "info")), "{name}: {severity:?}");
        let summary = &rule.annotations["summary"];
        assert!(summary.len() < 100 && !summary.ends_with('.'), "{name}: {summary}");
        assert!(
            name == "S3sweepNothingSeen" || summary.contains("{{ $labels.sweep_job }}"),
            "{name}: {summary}"
        );
        assert!(rule.annotations["description"].len() > 100, "{name}: says too little");
        assert_eq!(rule.annotations["runbook"], "docs/operations.md", "{name}");
        assert!(tests.contains(&format!("alertname=\"{name}\"")), "{name} has no case in dashboards/tests");
    }
    assert!(!names.is_empty());
}

/// Whoever is woken finds the page: documents that the rules name are there, and each alert is in the table.
#[test]
fn documents_that_alerts_name_exist_and_name_the_alerts() {
    let document = regex::Regex::new(r"docs/[\w-]+\.md").unwrap();
    for file in ["dashboards/alerts.yml", "dashboards/recording.yml"] {
        for found in document.find_iter(&read(file)) {
            assert!(!read(found.as_str()).is_empty(), "{file}: {}", found.as_str());
        }
    }
    let row = regex::Regex::new(r"(?m)^\| `(S3sweep\w+)` \| (\w+) \|").unwrap();
    let page = read("docs/monitoring.md");
    let told: BTreeMap<&str, &str> = row
        .captures_iter(&page)
        .map(|found| found.extract())
        .map(|(_, [name, severity])| (name, severity))
        .collect();
    let alerts = rules("dashboards/alerts.yml");
    let wanted: BTreeMap<&str, &str> = alerts
        .iter()
        .map(|rule| (rule.alert.as_deref().unwrap(), rule.labels["severity"].as_str()))
        .collect();
    assert_eq!(told, wanted);
    for (name, _) in page.match_indices("`S3sweep").map(|(at, _)| page[at + 1..].split_once('`').unwrap()) {
        assert!(wanted.contains_key(name), "there is no alert {name}");
    }
}

#[test]
fn panels_have_an_id_a_place_and_an_explanation() {
    let dashboard = dashboard();
    let (mut ids, mut titles, mut taken) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
    for panel in panels(&dashboard) {
        let title = text(panel, "title");
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id is another's");
        assert!(!title.is_empty() && titles.insert(title), "{title:?}: its title is another's");
        let of = |field: &str| panel["gridPos"][field].as_u64().unwrap();
        assert!(of("w") > 0 && of("h") > 0 && of("x") + of("w") <= 24, "{title}: outside of the grid");
        for x in of("x")..of("x") + of("w") {
            for y in of("y")..of("y") + of("h") {
                assert_eq!(taken.insert((x, y), title), None, "{title} lies on another panel at {x}, {y}");
            }
        }
        if is_row(panel) {
            assert_eq!(
                panel["panels"],
                serde_json::json!([]),
                "{title}: panels of open rows stand behind them"
            );
            continue;
        }
        assert!(text(panel, "description").len() > 30, "{title}: a panel explains itself");
        let defaults = &panel["fieldConfig"]["defaults"];
        for field in ["unit", "noValue"] {
            assert!(!text(defaults, field).is_empty(), "{title}: no {field}");
        }
        assert!(!defaults["thresholds"]["steps"].as_array().unwrap().is_empty(), "{title}: no thresholds");
    }
    assert!(ids.len() > 30);
}

/// Whoever imports the dashboard picks the data source; nothing in it knows one.
#[test]
fn the_data_source_is_a_variable_and_variables_are_used() {
    let dashboard = dashboard();
    let variables: Vec<&str> = dashboard["templating"]["list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|variable| text(variable, "name"))
        .collect();
    assert_eq!(variables, ["datasource", "sweep_job", "rule", "operation"]);
    let mut used = BTreeSet::new();
    for panel in panels(&dashboard).iter().filter(|panel| !is_row(panel)) {
        let targets = panel["targets"].as_array().unwrap();
        for source in targets.iter().map(|target| &target["datasource"]).chain([&panel["datasource"]]) {
            assert_eq!(source["uid"], "${datasource}", "{}", text(panel, "title"));
            assert_eq!(source["type"], "prometheus", "{}", text(panel, "title"));
        }
    }
    for (place, expression) in queries(&dashboard) {
        for (at, _) in expression.match_indices('$') {
            let rest = &expression[at + 1..];
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            let name = &rest[..end];
            assert!(variables.contains(&name) || VARIABLES_OF_GRAFANA.contains(&name), "{place}: ${name}");
            used.insert(name.to_owned());
        }
        let is_of_a_job =
            expression.contains("sweep_job=~\"$sweep_job") || place.starts_with("variable \"sweep_job\"");
        assert!(is_of_a_job, "{place}: shows jobs that were not chosen: {expression}");
    }
    assert!(["sweep_job", "rule", "operation"].iter().all(|name| used.contains(*name)), "{used:?}");
    for variable in &dashboard["templating"]["list"].as_array().unwrap()[1..] {
        assert!(variable["multi"] == true && variable["includeAll"] == true, "{variable}");
    }
}
