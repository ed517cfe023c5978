//! Median and 99th percentile at each site, beside the bound.

use super::super::cells::{Cell, CellSite};
use super::axes::{Axis, Key, Legend, MARGIN, Panel, bound_bar, grouped, whisker};
use super::canvas::{Align, Canvas, Stroke, Type, WIDTH};
use super::{Figure, at_point, figure, heading, palette, shown};

const PLOT_HEIGHT: f64 = 250.0;
/// Whiskers beyond so many times the highest bar are cut, and say where they end.
const WHISKER_MAX: f64 = 3.0;
/// The mark of a bound reaches beyond its bar by this part of the bar, and at least so many px.
const OVERHANG: f64 = 0.07;
const OVERHANG_MIN: f64 = 1.0;
/// The width of the rim of such a mark, in px.
const RIM: f64 = 4.0;

/// Bars of all modes at one sweep point, side by side at each site.
pub(super) fn draw(cells: &[&Cell<'_>], suffix: &str) -> Result<Figure, String> {
    let first = cells.first().ok_or("there is no run to draw")?;
    let heading = heading(cells, format!("Latency by site{}", at_point(first)), &shown(cells));
    let swatch = |(i, cell): (usize, &&Cell<'_>)| {
        (Key::Swatch(palette::look(i).color), format!("{}, median", cell.label))
    };
    let mut keys: Vec<_> = cells.iter().enumerate().map(swatch).collect();
    keys.push((Key::Whisker, "99th percentile".to_owned()));
    keys.push((Key::BoundBar, "bound: the least latency that the network allows".to_owned()));
    let legend = Legend::new(keys);
    let height = legend.height() + 12.0 + PLOT_HEIGHT + 36.0;
    figure(format!("latency{suffix}"), &heading, height, |canvas, top| {
        legend.draw(canvas, top);
        paint(canvas, cells, top + legend.height() + 12.0);
    })
}

/// The sites of all cells, each once.
pub fn sites<'a>(cells: &[&Cell<'a>]) -> Vec<&'a str> {
    let mut found = Vec::new();
    for site in cells.iter().flat_map(|cell| cell.sites.iter().map(|s| s.site)) {
        if !found.contains(&site) {
            found.push(site);
        }
    }
    found
}

/// The highest value to show.
fn highest(cells: &[&Cell<'_>]) -> f64 {
    let sites = || cells.iter().flat_map(|cell| &cell.sites);
    let bounds = sites().flat_map(|site| site.bounds_ms.iter().copied());
    let latencies = || sites().filter_map(CellSite::latency);
    let bar = latencies().map(|l| l.p50).chain(bounds).fold(0.0, f64::max);
    latencies().map(|l| l.p99).fold(bar, f64::max).min(WHISKER_MAX * bar)
}

fn paint(canvas: &mut Canvas<'_>, cells: &[&Cell<'_>], top: f64) {
    let sites = sites(cells);
    let left = MARGIN + 46.0;
    let panel = Panel {
        left,
        top,
        width: WIDTH - left - MARGIN,
        height: PLOT_HEIGHT,
        x: Axis::exact(0.0, sites.len() as f64, 10),
        y: Axis::from_zero(highest(cells), 6),
    };
    panel.draw_y(canvas, "latency (ms)");
    let slot = panel.width / sites.len() as f64;
    let bar = (slot * 0.84 / cells.len() as f64).min(54.0);
    let gap = (bar * 0.08).max(OVERHANG_MIN + 0.5);
    for (i, site) in sites.iter().enumerate() {
        let middle = panel.x_at(i as f64 + 0.5);
        let start = middle - bar * cells.len() as f64 / 2.0;
        for (j, cell) in cells.iter().enumerate() {
            let from = start + bar * j as f64;
            if let Some(here) = cell.sites.iter().find(|s| s.site == *site) {
                paint_bar(canvas, &panel, here, (from + gap, from + bar - gap), j);
            }
        }
    }
    paint_names(canvas, &panel, &sites);
    panel.draw_floor(canvas);
}

/// The names of the sites, below their bars; every other one lower where they need more room.
pub(super) fn paint_names(canvas: &mut Canvas<'_>, panel: &Panel, sites: &[&str]) {
    let set = Type::normal(Align::Center);
    let room = panel.width / sites.len() as f64 - 6.0;
    let rows = if sites.iter().any(|site| set.width_of(site) > room) { 2 } else { 1 };
    for (i, site) in sites.iter().enumerate() {
        let at = (panel.x_at(i as f64 + 0.5), panel.bottom() + 14.0 + 13.0 * (i % rows) as f64);
        let to_edge = at.0.min(WIDTH - at.0) - 2.0;
        canvas.text(at, &set.fitted(site, (room * rows as f64).min(2.0 * to_edge)), set);
    }
}

fn paint_bar(
    canvas: &mut Canvas<'_>,
    panel: &Panel,
    site: &CellSite<'_>,
    (from, to): (f64, f64),
    index: usize,
) {
    let middle = f64::midpoint(from, to);
    let latency = site.latency();
    let top = latency.map_or(panel.bottom(), |latency| panel.y_at(latency.p50.min(panel.y.to)));
    canvas.rectangle((from, top), (to, panel.bottom()), palette::look(index).color);
    for bound in &site.bounds_ms {
        let y = panel.y_at(bound.min(panel.y.to));
        if y > top + RIM {
            // inside a dark bar, a black line needs a rim; at its top, a rim would shorten the bar
            canvas.line(&[(from, y), (to, y)], Stroke::solid(palette::PAPER, RIM));
        }
        let beyond = (OVERHANG * (to - from)).max(OVERHANG_MIN);
        bound_bar(canvas, (from - beyond, to + beyond), y);
    }
    if let Some(latency) = latency {
        if latency.p99 <= panel.y.to {
            whisker(canvas, middle, (top, panel.y_at(latency.p99)));
        } else {
            cut_whisker(canvas, middle, (top, panel.top), latency.p99);
        }
    } else {
        let set = Type { size: 9.0, ..Type::faint(Align::Center) };
        canvas.text((middle, panel.bottom() - 8.0), "none", set);
    }
}

/// A whisker that leaves the panel: an arrow, and where it would end.
fn cut_whisker(canvas: &mut Canvas<'_>, x: f64, (from, top): (f64, f64), p99_ms: f64) {
    canvas.line(&[(x, from), (x, top + 5.0)], Stroke::solid(palette::INK, 1.25));
    canvas.polygon(&[(x, top), (x + 4.0, top + 7.0), (x - 4.0, top + 7.0)], palette::INK, 1.0);
    let set = Type { size: 9.0, ..Type::normal(Align::Center) };
    canvas.text((x, top - 6.0), &grouped(&format!("{p99_ms:.0}")), set);
}
