//! Median and 99th percentile over all sites, and the throughput, against what was swept.

use super::super::axes::{Axis, Key, MARGIN, Panel, SECOND};
use super::super::canvas::{Canvas, Stroke, WIDTH};
use super::super::shown;
use super::{Cell, Figure, NAME, Swept, figure, palette};
use crate::results::LatencyMs;

const LEFT: f64 = MARGIN + 52.0;
const LATENCY_HEIGHT: f64 = 240.0;
const THROUGHPUT_HEIGHT: f64 = 84.0;
const GAP: f64 = 20.0;
const FOOT: f64 = 42.0;
/// The axis is logarithmic if the largest is so many times the least.
const LOG_MIN: f64 = 10.0;

pub(super) fn draw(swept: &Swept<'_>) -> Result<Figure, String> {
    let how = format!("All sites merged. {}", shown(&swept.cells));
    let mut heading = swept.heading("Latency and throughput", &how);
    heading.values = swept.words("median and 99th percentile in ms", &|cell| {
        let latency = cell.latency()?;
        Some(format!("{:.1} and {:.1}", latency.p50, latency.p99))
    });
    let rate = |cell: &Cell<'_>| Some(format!("{:.1}", cell.throughput_per_s()));
    heading.values.extend(swept.words("operations a second", &rate));
    let tail = Stroke { dash: SECOND, ..Stroke::solid(palette::FAINT_INK, 1.25) };
    let median = Stroke::solid(palette::FAINT_INK, 1.75);
    let legend = swept.legend([
        (Key::Line(median), "median".to_owned()),
        (Key::Line(tail), "99th percentile".to_owned()),
    ]);
    let height = legend.height() + 10.0 + LATENCY_HEIGHT + GAP + THROUGHPUT_HEIGHT + FOOT;
    figure(format!("{NAME}-latency"), &heading, height, |canvas, top| {
        legend.draw(canvas, top);
        let top = top + legend.height() + 10.0;
        let latency = panel(top, LATENCY_HEIGHT, latency_axis(swept));
        paint_latency(canvas, &latency, swept);
        let rate = Axis::from_zero(swept.highest(|cell| Some(cell.throughput_per_s())), 3);
        let throughput = panel(latency.bottom() + GAP, THROUGHPUT_HEIGHT, rate);
        throughput.draw_y(canvas, "operations (/s)");
        throughput.draw_floor(canvas);
        swept.paint(canvas, &throughput, &|cell| Some(cell.throughput_per_s()));
        swept.paint_values(canvas, &throughput);
        throughput.name_x(canvas, &swept.name());
    })
}

fn panel(top: f64, height: f64, y: Axis) -> Panel {
    let x = Axis::exact(0.0, 1.0, 1);
    Panel { left: LEFT, top, width: WIDTH - LEFT - MARGIN, height, x, y }
}

fn latency_axis(swept: &Swept<'_>) -> Axis {
    let latencies: Vec<LatencyMs> = swept.cells.iter().filter_map(|cell| cell.latency()).collect();
    let least = latencies.iter().map(|latency| latency.p50).fold(f64::INFINITY, f64::min);
    let most = latencies.iter().map(|latency| latency.p99).fold(0.0, f64::max);
    if least > 0.0 && most >= LOG_MIN * least {
        Axis::logarithmic(least, most)
    } else {
        Axis::from_zero(most, 6)
    }
}

fn paint_latency(canvas: &mut Canvas<'_>, panel: &Panel, swept: &Swept<'_>) {
    panel.draw_y(canvas, "latency (ms)");
    panel.draw_floor(canvas);
    let tail = |cell: &Cell<'_>| Some(cell.latency()?.p99);
    for (index, series) in swept.series.iter().enumerate() {
        let stroke = Stroke { dash: SECOND, ..Stroke::solid(series.look.color, 1.25) };
        for piece in swept.pieces(panel, index, &tail) {
            canvas.line(&piece, stroke);
            for at in piece {
                canvas.mark(at, series.look.mark, 4.0, series.look.color);
            }
        }
    }
    swept.paint(canvas, panel, &|cell| Some(cell.latency()?.p50));
}
