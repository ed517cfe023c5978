//! Tables, figures, the HTML page.
//!
//! Everything here is made from a finished run's directory, never from the run itself, so that
//! `paxbench report` can redraw what an earlier version measured.

mod cells;
mod counterpart;
mod figures;
mod html;
mod published;
mod silences;
pub mod table;

use std::path::{Path, PathBuf};

use crate::experiment::file::Published;
use crate::results::{Result, Results, ResultsError, write_atomically};
use cells::Cell;
use figures::{Figure, Halves};

/// Where a report was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReportPaths {
    /// The page.
    pub html: PathBuf,
    /// The figures as SVG, in the page's order.
    pub svg: Vec<PathBuf>,
    /// The figures as PNG, in the same order.
    pub png: Vec<PathBuf>,
}

/// Draws the figures of a finished run and writes its page: `figures/*.svg`, `figures/*.png` and
/// `report.html` in its directory. What was there is replaced; nothing else is touched.
///
/// Where the other backend has run the same experiment, byte for byte, what was measured is shown
/// beside what was predicted. That run is the first such directory in `others`, else the newest
/// beside `directory`.
///
/// An error names the file and is one line.
pub fn write_report(directory: &Path, others: &[PathBuf]) -> Result<ReportPaths> {
    let results = Results::read(directory)?;
    let cells = Cell::all(&results)?;
    let timeline = results.timeline()?;
    let published = published_of(&results)?;
    let other = counterpart::of(&results, others);
    // What cannot be read there does not concern this run; a report of that one says what it is.
    let other_cells = other.as_ref().and_then(|other| Cell::all(other).ok()).unwrap_or_default();
    let halves = Halves::all(&cells, &other_cells);
    let mut figures = figures::all(&results, &cells, &halves, &timeline)?;
    figures.extend(figures::published(&results, &cells, &published)?);

    let (mut svg, mut png) = (Vec::new(), Vec::new());
    for figure in &figures {
        svg.push(write_figure(directory, figure, "svg", figure.drawing.svg.as_bytes())?);
        png.push(write_figure(directory, figure, "png", &figure.drawing.png)?);
    }
    let html = directory.join("report.html");
    let tables = Beside::of(&cells, &published);
    let page = html::page(&results, &cells, &figures, &tables);
    let page = page.map_err(|why| ResultsError::new(&html, why))?;
    write_atomically(&html, page.as_bytes())?;
    Ok(ReportPaths { html, svg, png })
}

/// The tables that a finished run prints at its end, from what its directory holds.
pub fn tables(directory: &Path) -> Result<String> {
    let results = Results::read(directory)?;
    let cells = Cell::all(&results)?;
    let beside = Beside::of(&cells, &published_of(&results)?);
    let more = beside.silences.iter().chain(&beside.published).map(table::Table::text);
    let all = std::iter::once(table::summary_table(&results.summary)).chain(more);
    Ok(all.collect::<Vec<_>>().join("\n"))
}

/// What the run's file says was published.
fn published_of(results: &Results) -> Result<Vec<Published>> {
    let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let (modes, sites) = (owned(results.summary.labels()), owned(results.summary.site_names()));
    Published::stored(&results.experiment, &modes, &sites)
        .map_err(|problem| ResultsError::new(&results.path, problem))
}

/// What stands beside the latencies of a run.
struct Beside {
    /// For how long clients got no answer; none if there was no fault.
    silences: Option<table::Table>,
    /// The stretches behind that.
    details: table::Table,
    /// One for each source of latencies.
    published: Vec<table::Table>,
}

impl Beside {
    fn of(cells: &[Cell<'_>], published: &[Published]) -> Beside {
        Beside {
            silences: silences::table(cells, published),
            details: silences::details(cells),
            published: published::tables(cells, published),
        }
    }
}

fn write_figure(directory: &Path, figure: &Figure, ending: &str, bytes: &[u8]) -> Result<PathBuf> {
    let figures = directory.join("figures");
    std::fs::create_dir_all(&figures).map_err(|e| ResultsError::new(&figures, e))?;
    let path = figures.join(format!("{}.{ending}", figure.name));
    write_atomically(&path, bytes)?;
    Ok(path)
}
