//! The share of operations that completed within a time, by site: one panel per mode.

use super::super::cells::{Cell, CellSite};
use super::axes::{Axis, Key, Legend, MARGIN, Panel, bound_tick};
use super::canvas::{Align, Canvas, Stroke, TEXT, Type, WIDTH};
use super::latency::sites;
use super::palette::{self, Look, look};
use super::{Figure, at_point, figure, heading, shown, took_longer};
use crate::results::{LatencyHistogram, Unit};

const LEFT: f64 = MARGIN + 46.0;
const GAP: f64 = 26.0;
/// Above a panel, for its name; below it, for its ticks and their name.
const NAME: f64 = 22.0;
const FOOT: f64 = 44.0;
/// The axes end at this quantile of the slowest site, or at so many times its 90th percentile.
const LAST_QUANTILE: f64 = 0.999;
const TAIL_MAX: f64 = 3.0;

/// The distributions of all modes at one sweep point.
pub(super) fn draw(cells: &[&Cell<'_>], suffix: &str) -> Result<Figure, String> {
    let first = cells.first().ok_or("there is no run to draw")?;
    let last_ms = last_ms(cells);
    let title = format!("Distribution of latency by site{}", at_point(first));
    let subtitle = format!("{} {}", shown(cells), beyond(cells, last_ms));
    let heading = heading(cells, title, &subtitle);
    let sites = sites(cells);
    let key = |(i, site): (usize, &&str)| (Key::Series(look(i)), (*site).to_owned());
    let mut keys: Vec<_> = sites.iter().enumerate().map(key).collect();
    keys.push((Key::BoundTick, "bound, in the site's colour".to_owned()));
    let legend = Legend::new(keys);
    let columns = cells.len().min(2);
    let rows = cells.len().div_ceil(columns);
    let plot_height = if columns == 1 { 250.0 } else { 190.0 };
    let row_height = NAME + plot_height + FOOT;
    let height = legend.height() + rows as f64 * row_height + 4.0;
    figure(format!("cdf{suffix}"), &heading, height, |canvas, top| {
        legend.draw(canvas, top);
        let width = (WIDTH - LEFT - MARGIN - 8.0 - GAP * (columns - 1) as f64) / columns as f64;
        for (i, cell) in cells.iter().enumerate() {
            let (column, row) = (i % columns, i / columns);
            let panel = Panel {
                left: LEFT + column as f64 * (width + GAP),
                top: top + legend.height() + row as f64 * row_height + NAME,
                width,
                height: plot_height,
                x: Axis::exact(0.0, last_ms, if columns == 1 { 10 } else { 6 }),
                y: Axis::exact(0.0, 1.0, 5),
            };
            paint(canvas, &panel, cell, &sites, column == 0);
        }
    })
}

/// Where the axes end: few operations are beyond, and those do not squeeze the others.
fn last_ms(cells: &[&Cell<'_>]) -> f64 {
    let sites = || cells.iter().flat_map(|cell| &cell.sites);
    let slowest = |quantile: f64| {
        let recorded = sites().filter_map(|site| site.recorded.as_ref());
        recorded
            .map(|(h, unit)| unit.to_ms(h.value_at_quantile(quantile) as f64))
            .fold(0.0, f64::max)
    };
    let bounds = sites().flat_map(|site| site.bounds_ms.iter().copied()).fold(0.0, f64::max);
    slowest(LAST_QUANTILE).min(TAIL_MAX * slowest(0.9)).max(bounds)
}

/// How many operations the axes leave out, in words.
fn beyond(cells: &[&Cell<'_>], last_ms: f64) -> String {
    let share = |site: &CellSite<'_>| {
        let (histogram, unit) = site.recorded.as_ref()?;
        let within = histogram.quantile_below((last_ms * unit.per_ms()).ceil() as u64);
        Some(1.0 - within)
    };
    let most = cells.iter().flat_map(|cell| &cell.sites).filter_map(share).fold(0.0, f64::max);
    took_longer(most)
}

fn paint(canvas: &mut Canvas<'_>, panel: &Panel, cell: &Cell<'_>, sites: &[&str], outer: bool) {
    let name = Type::bold(TEXT, palette::INK);
    canvas.text((panel.left, panel.top - 11.0), &name.fitted(cell.label, panel.width), name);
    if outer {
        panel.draw_y(canvas, "share of operations");
    } else {
        draw_grid(canvas, panel);
    }
    panel.draw_x(canvas, Some("latency (ms)"));
    panel.draw_floor(canvas);
    for (i, name) in sites.iter().enumerate() {
        if let Some(site) = cell.sites.iter().find(|s| s.site == *name) {
            paint_site(canvas, panel, site, look(i), i);
        }
    }
    if cell.sites.iter().all(|site| site.recorded.is_none()) {
        let at = (panel.left + panel.width / 2.0, panel.top + panel.height / 2.0);
        canvas.text(at, "nothing completed", Type::faint(Align::Center));
    }
}

/// The horizontal lines of a panel whose neighbour has the labels.
pub(super) fn draw_grid(canvas: &mut Canvas<'_>, panel: &Panel) {
    for tick in panel.y.ticks() {
        let y = panel.y_at(tick);
        canvas.line(&[(panel.left, y), (panel.right(), y)], Stroke::solid(palette::GRID, 0.75));
    }
}

/// The share of operations that completed within a time, by the time in ms.
pub(super) fn steps(histogram: &LatencyHistogram, unit: Unit) -> Vec<(f64, f64)> {
    let total = histogram.len() as f64;
    let (mut done, mut curve) = (0_u64, Vec::new());
    for step in histogram.iter_recorded() {
        let ms = unit.to_ms(step.value_iterated_to() as f64);
        // a step: the share stays until the value, and rises there
        curve.push((ms, done as f64 / total));
        done += step.count_at_value();
        curve.push((ms, done as f64 / total));
    }
    curve
}

fn paint_site(
    canvas: &mut Canvas<'_>,
    panel: &Panel,
    site: &CellSite<'_>,
    look: Look,
    index: usize,
) {
    if let Some((histogram, unit)) = &site.recorded {
        let mut curve = steps(histogram, *unit);
        curve.retain(|(ms, _)| *ms <= panel.x.to);
        let stroke = Stroke { color: look.color, width: 1.75, alpha: 1.0, dash: look.dash };
        panel.curve(canvas, &curve, stroke);
        // at another height for each site, so that marks of near curves do not cover each other
        for part in [0.2, 0.55, 0.9] {
            let quantile = part + 0.05 * (index % 3) as f64 - 0.05;
            let ms = unit.to_ms(histogram.value_at_quantile(quantile) as f64);
            canvas.mark(panel.at(ms.min(panel.x.to), quantile), look.mark, 7.0, look.color);
        }
    }
    for bound in &site.bounds_ms {
        bound_tick(canvas, panel.at(*bound, 0.0), look.color);
    }
}
