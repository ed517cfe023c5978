//! The figures of a run. Each says in itself what speaks against the runs that it shows.

mod axes;
mod canvas;
mod cdf;
mod latency;
mod load;
mod palette;
mod prediction;
mod published;
mod sweep;
mod timeline;

pub use axes::grouped;
pub use canvas::Drawing;
pub use latency::sites;
pub use prediction::Halves;

use super::cells::Cell;
use super::published::Source;
use crate::experiment::file::Published;
use crate::results::{Result, Results, ResultsError, TimelineRow};
use axes::Heading;
use canvas::Canvas;

/// A figure.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Its file's name, without an ending.
    pub name: String,
    /// Its title.
    pub title: String,
    /// The picture.
    pub drawing: Drawing,
}

impl Figure {
    /// Whether it shows all points of a sweep.
    pub fn is_of_all_points(&self) -> bool {
        self.name.starts_with(sweep::NAME)
    }
}

/// Draws all figures of a run; `halves` has what there is to compare with its counterpart.
pub fn all(
    results: &Results,
    cells: &[Cell<'_>],
    halves: &[Halves<'_>],
    timeline: &[TimelineRow],
) -> Result<Vec<Figure>> {
    let bad = |why: String| ResultsError::new(&results.path.join("figures"), why);
    let mut points: Vec<usize> = cells.iter().map(|cell| cell.point_index).collect();
    points.sort_unstable();
    points.dedup();
    let mut figures = Vec::new();
    if points.len() > 1 {
        figures.extend(sweep::all(cells).map_err(bad)?);
    }
    for point in &points {
        let here: Vec<&Cell<'_>> = cells.iter().filter(|c| c.point_index == *point).collect();
        let suffix = if points.len() > 1 { format!("-{point}") } else { String::new() };
        figures.push(latency::draw(&here, &suffix).map_err(bad)?);
        figures.push(cdf::draw(&here, &suffix).map_err(bad)?);
        for halves in halves.iter().filter(|halves| halves.measured.point_index == *point) {
            figures.push(prediction::draw(halves, &suffix).map_err(bad)?);
        }
        figures.push(load::draw(&here, &suffix).map_err(bad)?);
        for cell in here {
            let tracks = timeline::Tracks::of(results, cell, timeline)?;
            if let Some(tracks) = tracks {
                figures.push(timeline::draw(cell, &tracks, &suffix).map_err(bad)?);
            }
        }
    }
    Ok(figures)
}

/// A figure for each source of published latencies; of a sweep, of its first point alone.
pub fn published(
    results: &Results,
    cells: &[Cell<'_>],
    published: &[Published],
) -> Result<Vec<Figure>> {
    let bad = |why: String| ResultsError::new(&results.path.join("figures"), why);
    let first: Vec<&Cell<'_>> = cells.iter().filter(|cell| cell.point_index == 0).collect();
    let sources = published.iter().filter_map(Source::of).enumerate();
    sources.map(|(n, source)| published::draw(n, &source, &first).map_err(bad)).collect()
}

/// Draws one figure: its heading, then what `paint` draws below it from a height on.
fn figure(
    name: String,
    heading: &Heading,
    body_height: f64,
    paint: impl FnOnce(&mut Canvas<'_>, f64),
) -> std::result::Result<Figure, String> {
    let top = heading.height();
    let drawing = canvas::draw(top + body_height, &heading.title, &heading.words(), |canvas| {
        heading.draw(canvas);
        paint(canvas, top);
    });
    let drawing = drawing.map_err(|why| format!("{name}: {why}"))?;
    Ok(Figure { name, title: heading.title.clone(), drawing })
}

/// The heading of a figure of these cells: it says what speaks against their runs, and whether they
/// were measured at all.
fn heading(cells: &[&Cell<'_>], title: String, subtitle: &str) -> Heading {
    let caution = cells.first().map_or("", |cell| cell.caution());
    Heading {
        title,
        subtitle: format!("{caution}{subtitle}"),
        warnings: cells.iter().flat_map(|cell| cell.warnings()).collect(),
        values: Vec::new(),
    }
}

/// How many operations a figure leaves out, in words: the largest share of a site.
fn took_longer(share: f64) -> String {
    if share < 1e-9 {
        return "None took longer than shown.".to_owned();
    }
    format!("At most {:.2} % of a site's took longer than shown.", (share * 1e4).ceil() / 100.0)
}

/// ` · POINT` where there is a sweep.
fn at_point(cell: &Cell<'_>) -> String {
    if cell.point.is_empty() { String::new() } else { format!(" · {}", cell.point) }
}

/// Which operations a figure shows: all that completed, of how many runs, and how many did not.
fn shown(cells: &[&Cell<'_>]) -> String {
    let repeats = cells.iter().map(|cell| cell.runs.len()).max().unwrap_or(0);
    let runs =
        if repeats == 1 { "one run".to_owned() } else { format!("{repeats} repeats merged") };
    let errors: u64 = cells.iter().flat_map(|cell| &cell.sites).map(|site| site.errors).sum();
    match errors {
        0 => format!("All operations, {runs}."),
        _ => format!("Completed operations, {runs}; {} failed.", grouped(&errors.to_string())),
    }
}
