//! `sweep:`: values that are tried one after the other, and the experiment that each makes of the file.
//!
//! A value is put where `--set` would put it, and the whole file is read again. So whatever the file
//! may say is checked as if it stood there, and the value is to blame for what is wrong only with it.

use std::path::Path;

use super::Experiment;
use super::read::{At, Problem, Report};
use super::sections::read_experiment;
use super::tree::{Document, Origin, Override, Value};
use crate::results::Point;

/// More points are a mistake.
const POINTS_MAX: usize = 1000;
const EXAMPLE: &str = "{ workload.keys.conflict: [0%, 2%, 100%] }";
const VALUES_EXAMPLE: &str = "[0%, 2%, 100%]";

/// Below these paths all can be swept. What stands elsewhere is common to all points: the results are
/// named by it, or its defaults depend on each other.
const BELOW: [&str; 2] = ["workload", "transport"];
/// These can be swept as well.
const ALSO: [&str; 4] = ["network.jitter", "network.loss", "network.reorder", "network.bandwidth"];

/// What is varied, and the experiment at each point; neither where nothing is.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Sweep {
    /// What is varied, in the file's order.
    pub paths: Vec<Swept>,
    /// Each value of a path with each of the others; those of the first path change fastest.
    pub points: Vec<SweepPoint>,
}

/// A path of the file and the values that it takes.
#[derive(Clone, PartialEq, Debug)]
pub struct Swept {
    /// As the file has it, such as `workload.keys.conflict`.
    pub path: String,
    /// As the file has them.
    values: Vec<Value>,
}

impl Swept {
    /// The values in words, as the file has them.
    pub fn words(&self) -> Vec<String> {
        self.values.iter().map(words).collect()
    }
}

/// A point of a sweep.
#[derive(Clone, PartialEq, Debug)]
pub struct SweepPoint {
    /// The value of each path.
    pub values: Point,
    /// What the file is with them; nothing is swept in it.
    pub experiment: Experiment,
}

/// A path that was read, and what is to blame for each of its values.
pub(super) struct Read {
    steps: Vec<String>,
    swept: Swept,
    origins: Vec<Origin>,
}

/// Reads `sweep` of the file; `changes` were applied to it.
pub(super) fn read_sweep(root: &At<'_>, changes: &[Override]) -> Option<Vec<Read>> {
    let Some(at) = root.entry("sweep") else { return Some(Vec::new()) };
    if matches!(at.value(), Value::List(items) if items.is_empty()) {
        return Some(Vec::new());
    }
    let entries = at.entries(EXAMPLE)?;
    let mut all = Vec::with_capacity(entries.len());
    for (path, at) in &entries {
        all.push(read_path(path, at, changes));
    }
    let all: Vec<Read> = all.into_iter().collect::<Option<_>>()?;
    for (n, (path, at)) in entries.iter().enumerate() {
        if let Some(outer) = all[..n].iter().chain(&all[n + 1..]).find(|it| it.holds(&all[n])) {
            at.wrong_key(format!("lies within `{}`; remove one", outer.swept.path));
            return None;
        }
        let points = all[..=n].iter().map(|read| read.origins.len());
        let points = points.fold(1, usize::saturating_mul);
        if points > POINTS_MAX {
            return at.wrong(format!(
                "`{path}` brings the sweep to {points} points; remove values until there are at most {POINTS_MAX}"
            ));
        }
    }
    Some(all)
}

impl Read {
    /// Whether it sets what the other lies in.
    fn holds(&self, other: &Read) -> bool {
        other.steps.len() > self.steps.len() && other.steps.starts_with(&self.steps)
    }

    /// How many steps its path and a key have in common.
    fn shares(&self, key: &str) -> usize {
        self.steps.iter().zip(key.split('.')).take_while(|(own, its)| own == its).count()
    }
}

fn read_path(path: &str, at: &At<'_>, changes: &[Override]) -> Option<Read> {
    let steps: Vec<String> = path.split('.').map(str::to_owned).collect();
    if let Some(why) = unfit(path, &steps) {
        at.wrong_key(why);
        return None;
    }
    if let Some(change) = changes.iter().find(|change| change.path().starts_with(&steps)) {
        at.wrong_key(format!(
            "both this and {} set it; remove one, or write --set sweep={{}} as well",
            change.flag()
        ));
        return None;
    }
    let items = at.items(VALUES_EXAMPLE)?;
    if items.is_empty() {
        return at.wrong(format!("has no value; write at least one, such as {VALUES_EXAMPLE}"));
    }
    let mut read = Read {
        steps,
        swept: Swept { path: path.to_owned(), values: Vec::with_capacity(items.len()) },
        origins: Vec::with_capacity(items.len()),
    };
    for item in &items {
        let value = item.value();
        if *value == Value::Null {
            return item.wrong("is empty; write a value or remove it");
        }
        if read.swept.values.iter().any(|known| words(known) == words(value)) {
            return item.wrong(format!("{} stands here twice; remove one", words(value)));
        }
        read.swept.values.push(value.clone());
        read.origins.push(item.origin());
    }
    Some(read)
}

/// Why a path cannot be swept, if it cannot.
fn unfit(path: &str, steps: &[String]) -> Option<String> {
    let below = steps.len() > 1 && BELOW.contains(&steps[0].as_str());
    if steps.iter().any(String::is_empty) {
        Some("the path has an empty step; write a path such as workload.keys.conflict".to_owned())
    } else if below || ALSO.contains(&path) {
        None
    } else if BELOW.contains(&path) {
        Some(
            "is swept part by part; write a path below it, such as workload.keys.conflict"
                .to_owned(),
        )
    } else if steps[0] == "modes" {
        Some(
            "options of a mode are not swept; write a mode with a label of its own for each value instead"
                .to_owned(),
        )
    } else {
        Some(format!(
            "is common to all points and cannot be swept; write a path below {}, or one of {}, instead",
            BELOW.join(" or "),
            ALSO.join(", ")
        ))
    }
}

/// The value as the file has it, in a line.
fn words(value: &Value) -> String {
    match value {
        Value::List(items) => {
            let items: Vec<_> = items.iter().map(|item| words(&item.value)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Map(entries) => {
            let entry = |(key, node): &(String, super::tree::Node)| {
                format!("{key}: {}", words(&node.value))
            };
            let entries: Vec<_> = entries.iter().map(entry).collect();
            format!("{{ {} }}", entries.join(", "))
        }
        scalar => scalar.scalar_text().unwrap_or_default(),
    }
}

/// The experiment at each point, and the problems that there are at some point. `known` are those of
/// the file as it stands: where they remain, no value is to blame.
pub(super) fn points(
    document: &Document,
    read: &[Read],
    known: &[Problem],
    folder: &Path,
) -> (Vec<SweepPoint>, Vec<Problem>) {
    let (mut points, mut problems) = (Vec::new(), Vec::new());
    let count = read.iter().map(|path| path.origins.len()).product();
    for index in 0..count {
        let chosen = choice(read, index);
        let values = read
            .iter()
            .zip(&chosen)
            .map(|(path, value)| (path.swept.path.clone(), words(&path.swept.values[*value])));
        let values = values.collect();
        match at_point(document, read, &chosen, folder) {
            Ok(experiment) => points.push(SweepPoint { values, experiment }),
            Err(found) => add_new(&mut problems, found, known, read, &chosen),
        }
    }
    (points, problems)
}

/// Which value each path has at a point.
fn choice(read: &[Read], mut index: usize) -> Vec<usize> {
    let next = |path: &Read| {
        let value = index % path.origins.len();
        index /= path.origins.len();
        value
    };
    read.iter().map(next).collect()
}

fn at_point(
    document: &Document,
    read: &[Read],
    chosen: &[usize],
    folder: &Path,
) -> Result<Experiment, Vec<Problem>> {
    let mut document = document.clone();
    for (path, value) in read.iter().zip(chosen) {
        let origin = &path.origins[*value];
        let put = document.put(&path.steps, &path.swept.values[*value], origin.clone());
        put.map_err(|why| vec![Problem::of_origin(origin.clone(), why)])?;
    }
    let report = Report::new(&document);
    let experiment = read_experiment(&report.root(), folder);
    let problems = report.into_problems();
    experiment.filter(|_| problems.is_empty()).ok_or(problems)
}

/// Adds what was found at a point and was not found before.
fn add_new(
    problems: &mut Vec<Problem>,
    found: Vec<Problem>,
    known: &[Problem],
    read: &[Read],
    chosen: &[usize],
) {
    let origins = || read.iter().zip(chosen).map(|(path, value)| &path.origins[*value]);
    for problem in found {
        if known.contains(&problem) {
            if !problems.contains(&problem) {
                problems.push(problem);
            }
            continue;
        }
        let blamed = origins().any(|origin| problem.is_of(origin));
        let nearest = read.iter().zip(origins()).max_by_key(|(path, _)| path.shares(&problem.key));
        let problem = match nearest {
            Some((_, origin)) if !blamed => problem.blamed_on(origin),
            _ => problem,
        };
        if !problems.iter().any(|other| other.says_what(&problem)) {
            problems.push(problem);
        }
    }
}

/// What was read, without the places.
pub(super) fn paths(read: Vec<Read>) -> Vec<Swept> {
    read.into_iter().map(|path| path.swept).collect()
}

pub(super) fn write_sweep(sweep: &Sweep) -> serde_yaml::Value {
    let path = |swept: &Swept| {
        let values = swept.values.iter().map(written).collect();
        (swept.path.as_str().into(), serde_yaml::Value::Sequence(values))
    };
    serde_yaml::Value::Mapping(sweep.paths.iter().map(path).collect())
}

/// The value as it was read.
fn written(value: &Value) -> serde_yaml::Value {
    match value {
        Value::Null => serde_yaml::Value::Null,
        Value::Bool(flag) => (*flag).into(),
        Value::Integer(n) => match (i64::try_from(*n), u64::try_from(*n)) {
            (Ok(n), _) => n.into(),
            (_, Ok(n)) => n.into(),
            _ => n.to_string().into(),
        },
        Value::Float(x) => (*x).into(),
        Value::Text(text) => text.as_str().into(),
        Value::List(items) => {
            serde_yaml::Value::Sequence(items.iter().map(|item| written(&item.value)).collect())
        }
        Value::Map(entries) => {
            let entries =
                entries.iter().map(|(key, node)| (key.as_str().into(), written(&node.value)));
            serde_yaml::Value::Mapping(entries.collect())
        }
    }
}
