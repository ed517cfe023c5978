//! The network between the sites: round-trip times and where they come from.
//!
//! A matrix stands in a file of its own (`configs/networks/*.yaml`) or in the experiment file:
//!
//! ```yaml
//! source: who measured it, when
//! sites: [virginia, california, oregon]
//! rtt_ms:                            # each pair once, or both ways with the same value
//!   virginia: { california: 60, oregon: 73 }
//!   california: { oregon: 21 }
//! ```

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::file::read::{At, Problem, Report, unknown};
use super::file::tree::{Document, Value};

/// Round-trip times between sites, in ms.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matrix {
    /// Who measured it, and when.
    pub source: String,
    /// The sites, in the order of the rows and columns.
    pub sites: Vec<String>,
    /// Symmetric, positive off the diagonal, zero on it.
    pub rtt_ms: Vec<Vec<f64>>,
}

impl Matrix {
    /// The round trip between two sites by name, in ms; none if one is not in the matrix.
    pub fn between(&self, a: &str, b: &str) -> Option<f64> {
        let place = |name: &str| self.sites.iter().position(|site| site == name);
        Some(self.rtt_ms(place(a)?, place(b)?))
    }

    /// The round-trip time between two sites, by their places, in ms.
    pub fn rtt_ms(&self, a: usize, b: usize) -> f64 {
        self.rtt_ms[a][b]
    }

    /// The longest round trip between any two sites, in ms.
    pub fn longest_ms(&self) -> f64 {
        self.rtt_ms.iter().flatten().copied().fold(0.0, f64::max)
    }

    /// All sites by their places, the nearest to `place` first, so itself; of two that are as near,
    /// the first in the matrix.
    pub fn nearest_first(&self, place: usize) -> Vec<usize> {
        let mut places: Vec<usize> = (0..self.sites.len()).collect();
        places.sort_by(|a, b| self.rtt_ms(place, *a).total_cmp(&self.rtt_ms(place, *b)));
        places
    }

    /// The part of the matrix between `sites`, in their order; the error is a site it does not know.
    pub fn of_sites(&self, sites: &[String]) -> Result<Matrix, String> {
        let place = |site: &String| {
            self.sites.iter().position(|known| known == site).ok_or_else(|| site.clone())
        };
        let places = sites.iter().map(place).collect::<Result<Vec<_>, _>>()?;
        let row = |a: &usize| places.iter().map(|b| self.rtt_ms[*a][*b]).collect();
        let rtt_ms = places.iter().map(row).collect();
        Ok(Matrix { source: self.source.clone(), sites: sites.to_vec(), rtt_ms })
    }
}

/// The matrix of an experiment's `network.rtt`: a path relative to `folder`, or the matrix itself.
pub(crate) fn read_rtt(at: &At<'_>, folder: &Path) -> Option<Matrix> {
    match at.value() {
        Value::Map(_) => read_matrix(at),
        _ => read_file(at, folder),
    }
}

fn read_file(at: &At<'_>, folder: &Path) -> Option<Matrix> {
    let path = folder.join(at.text("networks/aws-2020.yaml")?);
    let name = path.display().to_string();
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let beside = file_names_beside(&path);
            return at.wrong(format!("no file {name}; write the path of a matrix file{beside}"));
        }
        Err(e) => return at.wrong(format!("cannot read {name}: {e}; make it a readable file")),
    };
    let document = match Document::parse(&name, &text) {
        Ok(document) => document,
        Err((place, message)) => {
            at.report().extend(vec![Problem::of_file(&name, place, not_yaml(&message))]);
            return None;
        }
    };
    let report = Report::new(&document);
    let matrix = read_matrix(&report.root());
    at.report().extend(report.into_problems());
    matrix
}

/// What to say of a text that is no YAML.
pub(crate) fn not_yaml(message: &str) -> String {
    format!("not YAML: {message}; mend the indentation, brackets or quotes here")
}

/// The matrix files in the folder where one was looked for, for a message.
fn file_names_beside(path: &Path) -> String {
    let is_matrix = |path: &PathBuf| path.extension().is_some_and(|end| end == "yaml");
    let folder = path.parent().unwrap_or(Path::new("."));
    let Ok(entries) = std::fs::read_dir(folder) else { return String::new() };
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path()).filter(is_matrix);
    let mut names: Vec<_> =
        paths.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect();
    names.sort();
    if names.is_empty() { names.join("") } else { format!(" (there: {})", names.join(", ")) }
}

const EXAMPLE: &str = "{ source: …, sites: [a, b], rtt_ms: { a: { b: 60 } } }";

fn read_matrix(at: &At<'_>) -> Option<Matrix> {
    let fields = at.fields(&["source", "sites", "rtt_ms"], EXAMPLE)?;
    let source = fields.need("source", "who measured it, and when", |at| at.text("a text"));
    let sites = fields.need("sites", "[virginia, tokyo]", read_sites);
    let sites = sites?;
    let rtt_ms = fields.need("rtt_ms", "{ virginia: { tokyo: 152 } }", |at| read_pairs(at, &sites));
    Some(Matrix { source: source?.to_owned(), sites, rtt_ms: rtt_ms? })
}

/// A list of distinct site names.
pub(crate) fn read_sites(at: &At<'_>) -> Option<Vec<String>> {
    let items = at.items("[virginia, tokyo, ireland]")?;
    let mut sites: Vec<String> = Vec::with_capacity(items.len());
    let mut complete = true;
    for item in &items {
        match item.name("virginia") {
            Some(name) if sites.iter().any(|site| site == name) => {
                complete = false;
                item.wrong::<()>(format!("the site `{name}` is listed twice; remove one"));
            }
            Some(name) if name.starts_with("load-") => {
                complete = false;
                let message = "a site's name may not begin with `load-`, as the load generators' \
                               names do; write another name instead";
                item.wrong::<()>(message);
            }
            Some(name) => sites.push(name.to_owned()),
            None => complete = false,
        }
    }
    if items.is_empty() {
        return at.wrong("lists no site; write at least one, such as [virginia]");
    }
    complete.then_some(sites)
}

fn read_pairs(at: &At<'_>, sites: &[String]) -> Option<Vec<Vec<f64>>> {
    let mut pairs = vec![vec![None; sites.len()]; sites.len()];
    let mut complete = true;
    for (from, row) in at.entries("{ virginia: { tokyo: 152 } }")? {
        let Some(a) = place_of(from, &row, sites) else {
            complete = false;
            continue;
        };
        for (to, rtt) in row.entries("{ tokyo: 152 }").unwrap_or_default() {
            let b = place_of(to, &rtt, sites);
            let set = b.and_then(|b| set_pair(&mut pairs, sites, (a, b), &rtt));
            complete &= set.is_some();
        }
    }
    for (b, a) in (0..sites.len()).flat_map(|b| (0..b).map(move |a| (b, a))) {
        if complete && pairs[a][b].is_none() {
            let (a, b) = (&sites[a], &sites[b]);
            let message = format!("has no time between {a} and {b}; write {a}: {{ {b}: … }} in it");
            return at.wrong(message);
        }
    }
    let filled = |row: Vec<Option<f64>>| row.into_iter().map(Option::unwrap_or_default).collect();
    complete.then(|| pairs.into_iter().map(filled).collect())
}

fn place_of(name: &str, at: &At<'_>, sites: &[String]) -> Option<usize> {
    let place = sites.iter().position(|site| site == name);
    if place.is_none() {
        let known: Vec<&str> = sites.iter().map(String::as_str).collect();
        at.wrong_key(unknown("site", name, &known));
    }
    place
}

fn set_pair(
    pairs: &mut [Vec<Option<f64>>],
    sites: &[String],
    (a, b): (usize, usize),
    at: &At<'_>,
) -> Option<()> {
    let rtt_ms = at.number("a time in ms, such as 60,")?;
    if a == b && rtt_ms != 0.0 {
        return at.wrong(format!("`{rtt_ms}` from a site to itself; write 0 or remove it"));
    }
    if a != b && rtt_ms <= 0.0 {
        return at
            .wrong(format!("`{rtt_ms}` is no round-trip time; write the ms, above 0, instead"));
    }
    match pairs[b][a] {
        Some(other) if other.total_cmp(&rtt_ms).is_ne() => at.wrong(format!(
            "`{rtt_ms}` from {} to {}, but {other} back; write the same both ways, or one only",
            sites[a], sites[b]
        )),
        _ => {
            pairs[a][b] = Some(rtt_ms);
            pairs[b][a] = Some(rtt_ms);
            Some(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Matrix, String> {
        let document = Document::parse("m.yaml", text).unwrap();
        let report = Report::new(&document);
        let matrix = read_matrix(&report.root());
        let lines: Vec<String> = report.into_problems().iter().map(ToString::to_string).collect();
        matrix.filter(|_| lines.is_empty()).ok_or(lines.join("\n"))
    }

    #[test]
    fn a_pair_given_once_counts_both_ways() {
        let matrix =
            read("source: s\nsites: [a, b, c]\nrtt_ms: {a: {b: 1, c: 2.5}, c: {b: 3}}").unwrap();
        assert_eq!(matrix.rtt_ms, [[0.0, 1.0, 2.5], [1.0, 0.0, 3.0], [2.5, 3.0, 0.0]]);
    }

    #[test]
    fn a_part_of_a_matrix_follows_the_order_asked_for() {
        let matrix =
            read("source: s\nsites: [a, b, c]\nrtt_ms: {a: {b: 1, c: 2}, c: {b: 3}}").unwrap();
        let part = matrix.of_sites(&["c".to_owned(), "a".to_owned()]).unwrap();
        assert_eq!(part.rtt_ms, [[0.0, 2.0], [2.0, 0.0]]);
        assert_eq!(matrix.of_sites(&["d".to_owned()]), Err("d".to_owned()));
    }

    #[test]
    fn a_missing_pair_and_a_pair_that_differs_both_ways_are_refused() {
        let missing = read("source: s\nsites: [a, b, c]\nrtt_ms:\n  a: {b: 1, c: 2}").unwrap_err();
        assert_eq!(
            missing,
            "m.yaml:4:3: rtt_ms: has no time between b and c; write b: { c: … } in it"
        );
        let differs = read("source: s\nsites: [a, b]\nrtt_ms: {a: {b: 1}, b: {a: 2}}").unwrap_err();
        assert_eq!(
            differs,
            "m.yaml:3:28: rtt_ms.b.a: `2` from b to a, but 1 back; write the same both ways, or one only"
        );
    }
}
