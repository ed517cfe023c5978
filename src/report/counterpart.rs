//! The other half of a comparison: a finished run of the same experiment by the other backend.

use std::path::{Path, PathBuf};

use crate::results::Results;

/// The counterpart of a finished run: the first of the directories in `others` that is one, else the
/// newest in the directory in which the run's own stands. None if there is none: an experiment that
/// differs in a byte is another experiment.
pub(super) fn of(results: &Results, others: &[PathBuf]) -> Option<Results> {
    let named = others.iter().find_map(|path| read(results, path));
    named.or_else(|| newest_sibling(results))
}

/// The results in `path`, if they are a counterpart. What cannot be read is none; whoever wants a
/// report of it will hear why.
fn read(results: &Results, path: &Path) -> Option<Results> {
    let found = Results::read(path).ok()?;
    let is_counterpart = found.manifest.backend != results.manifest.backend
        && found.experiment == results.experiment;
    is_counterpart.then_some(found)
}

fn newest_sibling(results: &Results) -> Option<Results> {
    let own = std::fs::canonicalize(&results.path).ok()?;
    let entries = std::fs::read_dir(own.parent()?).ok()?;
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    let siblings = paths.iter().filter_map(|path| read(results, path));
    siblings.max_by_key(|sibling| sibling.manifest.started)
}
