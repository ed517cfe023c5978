//! Latency against throughput as the sweep goes.

use super::super::axes::{Axis, Key, MARGIN, Panel, SECOND};
use super::super::canvas::{Align, Canvas, Stroke, Type, WIDTH};
use super::{Cell, Figure, NAME, Series, Swept, figure, heading, mark, palette};
use crate::results::LatencyMs;

const LEFT: f64 = MARGIN + 52.0;
const PLOT_HEIGHT: f64 = 260.0;

/// The figure of a sweep of the load.
pub(super) fn draw(swept: &Swept<'_>) -> Result<Figure, String> {
    let subtitle =
        format!("All sites merged. Numbers: the values of {}, in their order.", swept.path);
    let heading = heading(&swept.cells, "Latency against throughput".to_owned(), &subtitle);
    let tail = Stroke { dash: SECOND, ..Stroke::solid(palette::FAINT_INK, 1.25) };
    let median = Stroke::solid(palette::FAINT_INK, 1.75);
    let legend = swept.legend([
        (Key::Line(median), "median".to_owned()),
        (Key::Line(tail), "99th percentile".to_owned()),
    ]);
    let height = legend.height() + 10.0 + PLOT_HEIGHT + 46.0;
    figure(format!("{NAME}-load"), &heading, height, |canvas, top| {
        legend.draw(canvas, top);
        paint(canvas, swept, top + legend.height() + 10.0);
    })
}

fn paint(canvas: &mut Canvas<'_>, swept: &Swept<'_>, top: f64) {
    let panel = Panel {
        left: LEFT,
        top,
        width: WIDTH - LEFT - MARGIN - 14.0,
        height: PLOT_HEIGHT,
        x: Axis::from_zero(swept.highest(|cell| Some(cell.throughput_per_s())), 8),
        y: Axis::from_zero(swept.highest(|cell| Some(cell.latency()?.p99)), 6),
    };
    panel.draw_y(canvas, "latency (ms)");
    panel.draw_x(canvas, Some("throughput of all sites (/s)"));
    panel.draw_floor(canvas);
    for series in &swept.series {
        paint_mode(canvas, &panel, series);
    }
}

fn paint_mode(canvas: &mut Canvas<'_>, panel: &Panel, series: &Series<'_>) {
    let look = series.look;
    let cells = || series.cells.iter().flatten();
    let points = |of: fn(&LatencyMs) -> f64| -> Vec<(f64, f64)> {
        let point = |cell: &&Cell<'_>| Some((cell.throughput_per_s(), of(&cell.latency()?)));
        cells().filter_map(point).collect()
    };
    let (medians, tails) = (points(|latency| latency.p50), points(|latency| latency.p99));
    panel.curve(canvas, &tails, Stroke { dash: SECOND, ..Stroke::solid(look.color, 1.25) });
    panel.curve(canvas, &medians, Stroke::solid(look.color, 1.75));
    for (x, y) in tails {
        canvas.mark(panel.at(x, y), look.mark, 4.0, look.color);
    }
    let numbered = series.cells.iter().enumerate().filter_map(|(i, cell)| Some((i, (*cell)?)));
    let shown = numbered.filter(|(_, cell)| cell.latency().is_some());
    for ((index, cell), (x, y)) in shown.zip(medians) {
        let (x, y) = panel.at(x, y);
        mark(canvas, (x, y), look, cell);
        let set = Type { size: 9.0, color: palette::FAINT_INK, bold: false, align: Align::Center };
        canvas.text((x, y + 11.0), &(index + 1).to_string(), set);
    }
}
