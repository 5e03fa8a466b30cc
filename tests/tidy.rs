//! The sources keep their floors: imports go down only, files stay readable.

#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The floor of each module. A module may import modules of lower floors and nothing else.
const FLOORS: &[(&str, u32)] = &[
    ("main", 5),
    ("cli", 4),
    ("engine", 3),
    ("job", 2),
    ("s3", 2),
    ("pace", 2),
    ("checkpoint", 2),
    ("report", 2),
    ("telemetry", 2),
    ("notify", 2),
    ("sandbox", 2),
    ("rules", 1),
    ("retry", 1),
    ("notice", 1),
    ("model", 0),
    ("http", 0),
];

/// Imports within one floor that are wanted, each with its reason.
const SIDEWAYS: &[(&str, &str, &str)] =
    &[("report", "checkpoint", "a report reads its totals, rows and states from the checkpoint's snapshot")];

const LINES_OF_CODE_MAX: usize = 700;
const LINES_OF_FUNCTION_MAX: usize = 70;

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    let mut found = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    found.sort();
    found
}

/// The top-level module that a source file belongs to.
fn module_of(path: &Path) -> String {
    let inside = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// The top-level modules that a line names by `crate::` or `s3sweep::`.
fn imports_of(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    for root in ["crate::", "s3sweep::"] {
        for (at, _) in line.match_indices(root) {
            let rest = &line[at + root.len()..];
            let names = rest.strip_prefix('{').map_or_else(
                || vec![rest],
                |group| group.split('}').next().unwrap_or(group).split(',').map(str::trim).collect(),
            );
            for name in names {
                let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
                found.push(name[..end].to_owned());
            }
        }
    }
    found
}

/// Why `importer` may not import `imported`, or `None` where it may.
fn fault(importer: &str, imported: &str) -> Option<String> {
    let floors: BTreeMap<_, _> = FLOORS.iter().copied().collect();
    let (Some(from), Some(to)) = (floors.get(importer), floors.get(imported)) else {
        return (importer != "lib" && !floors.contains_key(importer))
            .then(|| format!("module `{importer}` has no floor: add it to the table"));
    };
    if importer == imported || to < from {
        return None;
    }
    if SIDEWAYS.iter().any(|(a, b, _)| (*a, *b) == (importer, imported)) {
        return None;
    }
    Some(format!("floor {from} `{importer}` imports floor {to} `{imported}`"))
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

#[test]
fn imports_go_down_only() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let importer = module_of(&path);
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !is_comment(line)) {
            for imported in imports_of(line) {
                if let Some(why) = fault(&importer, &imported) {
                    faults.push(format!("{}:{}: {why}", path.display(), number + 1));
                }
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn the_guard_sees_what_it_is_for() {
    assert_eq!(imports_of("use crate::{engine::Planner, model};"), ["engine", "model"]);
    assert_eq!(imports_of("    let x = crate::cli::run();"), ["cli"]);
    assert!(fault("model", "engine").is_some());
    assert!(fault("s3", "job").is_some());
    assert!(fault("nowhere", "model").is_some());
    assert!(fault("engine", "s3").is_none());
    assert!(fault("report", "checkpoint").is_none());
}

#[test]
fn every_module_has_a_floor() {
    for (path, _) in sources() {
        let module = module_of(&path);
        assert!(
            module == "lib" || FLOORS.iter().any(|(name, _)| *name == module),
            "{}: module `{module}` has no floor",
            path.display()
        );
    }
}

#[test]
fn the_model_needs_the_standard_library_only() {
    for (path, text) in sources().iter().filter(|(path, _)| module_of(path) == "model") {
        for line in text.lines().map(str::trim).filter(|line| line.starts_with("use ")) {
            let root = line.trim_start_matches("use ").split("::").next().unwrap();
            assert!(["std", "super", "crate", "core"].contains(&root), "{}: {line}", path.display());
        }
    }
}

#[test]
fn files_and_functions_stay_readable() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let code = text.lines().filter(|line| !line.trim().is_empty() && !is_comment(line)).count();
        if code > LINES_OF_CODE_MAX {
            faults.push(format!("{}: {code} lines of code, at most {LINES_OF_CODE_MAX}", path.display()));
        }
        let mut start: Option<(usize, String, usize)> = None;
        for (number, line) in text.lines().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let opens = line.trim_start();
            let is_fn = ["fn ", "pub fn ", "async fn ", "pub async fn ", "pub(crate) fn ", "pub(super) fn "]
                .iter()
                .chain(&["pub(crate) async fn ", "pub(super) async fn ", "const fn ", "pub const fn "])
                .any(|head| opens.starts_with(head));
            if is_fn && start.is_none() {
                start = Some((number, opens.chars().take(60).collect(), indent));
            }
            if let Some((first, name, at)) = &start
                && indent == *at
                && line.trim() == "}"
            {
                let lines = number - first + 1;
                if lines > LINES_OF_FUNCTION_MAX {
                    faults.push(format!(
                        "{}:{}: {lines} lines, at most {LINES_OF_FUNCTION_MAX}: {name}",
                        path.display(),
                        first + 1
                    ));
                }
                start = None;
            } else if start.as_ref().is_some_and(|(_, _, at)| indent == *at && line.trim_end().ends_with(';'))
            {
                start = None;
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}
