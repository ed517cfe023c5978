//! Tables, figures, the HTML page.
//!
//! Everything here is made from a finished run's directory, never from the run itself, so that
//! `paxbench report` can redraw what an earlier version measured.

mod cells;
mod counterpart;
mod figures;
mod html;
pub mod table;

use std::path::{Path, PathBuf};

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
    let other = counterpart::of(&results, others);
    // What cannot be read there does not concern this run; a report of that one says what it is.
    let other_cells = other.as_ref().and_then(|other| Cell::all(other).ok()).unwrap_or_default();
    let halves = Halves::all(&cells, &other_cells);
    let figures = figures::all(&results, &cells, &halves, &timeline)?;

    let (mut svg, mut png) = (Vec::new(), Vec::new());
    for figure in &figures {
        svg.push(write_figure(directory, figure, "svg", figure.drawing.svg.as_bytes())?);
        png.push(write_figure(directory, figure, "png", &figure.drawing.png)?);
    }
    let html = directory.join("report.html");
    let page = html::page(&results, &cells, &figures);
    let page = page.map_err(|why| ResultsError::new(&html, why))?;
    write_atomically(&html, page.as_bytes())?;
    Ok(ReportPaths { html, svg, png })
}

fn write_figure(directory: &Path, figure: &Figure, ending: &str, bytes: &[u8]) -> Result<PathBuf> {
    let figures = directory.join("figures");
    std::fs::create_dir_all(&figures).map_err(|e| ResultsError::new(&figures, e))?;
    let path = figures.join(format!("{}.{ending}", figure.name));
    write_atomically(&path, bytes)?;
    Ok(path)
}
