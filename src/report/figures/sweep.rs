//! Latency against throughput as the sweep goes: one line per mode.

use super::super::cells::Cell;
use super::axes::{Axis, Key, Legend, MARGIN, Panel, SECOND};
use super::canvas::{Align, Canvas, Dash, Stroke, Type, WIDTH};
use super::palette::{Look, look};
use super::{Figure, figure, heading, palette};

const LEFT: f64 = MARGIN + 52.0;
const PLOT_HEIGHT: f64 = 260.0;

/// The figure of all cells of a sweep.
pub(super) fn draw(cells: &[Cell<'_>]) -> Result<Figure, String> {
    let all: Vec<&Cell<'_>> = cells.iter().collect();
    let subtitle = "All sites merged. Numbers: the sweep's points, in their order.";
    let heading = heading(&all, "Latency against throughput".to_owned(), subtitle);
    let mut labels: Vec<&str> = cells.iter().map(|cell| cell.label).collect();
    labels.dedup();
    let series = |(i, label): (usize, &&str)| {
        let line = Stroke { dash: SECOND, ..Stroke::solid(look(i).color, 1.25) };
        let solid = Look { dash: Dash(&[]), ..look(i) };
        [
            (Key::Series(solid), format!("{label}, median")),
            (Key::Line(line), format!("{label}, 99th percentile")),
        ]
    };
    let legend = Legend::new(labels.iter().enumerate().flat_map(series));
    let height = legend.height() + 10.0 + PLOT_HEIGHT + 46.0;
    figure("sweep".to_owned(), &heading, height, |canvas, top| {
        legend.draw(canvas, top);
        paint(canvas, cells, &labels, top + legend.height() + 10.0);
    })
}

fn paint(canvas: &mut Canvas<'_>, cells: &[Cell<'_>], labels: &[&str], top: f64) {
    let rate = cells.iter().map(Cell::throughput_per_s).fold(0.0, f64::max);
    let p99 = cells.iter().filter_map(Cell::latency).map(|l| l.p99).fold(0.0, f64::max);
    let panel = Panel {
        left: LEFT,
        top,
        width: WIDTH - LEFT - MARGIN - 14.0,
        height: PLOT_HEIGHT,
        x: Axis::from_zero(rate, 8),
        y: Axis::from_zero(p99, 6),
    };
    panel.draw_y(canvas, "latency (ms)");
    panel.draw_x(canvas, Some("throughput of all sites (/s)"));
    panel.draw_floor(canvas);
    for (i, label) in labels.iter().enumerate() {
        paint_mode(canvas, &panel, cells, label, i);
    }
}

fn paint_mode(canvas: &mut Canvas<'_>, panel: &Panel, cells: &[Cell<'_>], label: &str, i: usize) {
    let look = look(i);
    let of = |cell: &Cell<'_>| {
        let latency = cell.latency()?;
        Some((cell.point_index, cell.throughput_per_s(), latency.p50, latency.p99))
    };
    let points: Vec<_> = cells.iter().filter(|c| c.label == label).filter_map(of).collect();
    let medians: Vec<_> = points.iter().map(|p| (p.1, p.2)).collect();
    let tails: Vec<_> = points.iter().map(|p| (p.1, p.3)).collect();
    panel.curve(canvas, &tails, Stroke { dash: SECOND, ..Stroke::solid(look.color, 1.25) });
    panel.curve(canvas, &medians, Stroke::solid(look.color, 1.75));
    for (x, y) in &tails {
        canvas.mark(panel.at(*x, *y), look.mark, 4.0, look.color);
    }
    for (index, x, y, _) in &points {
        let (x, y) = panel.at(*x, *y);
        canvas.mark((x, y), look.mark, 8.0, look.color);
        let set = Type { size: 9.0, color: palette::FAINT_INK, bold: false, align: Align::Center };
        canvas.text((x, y + 11.0), &(index + 1).to_string(), set);
    }
}
