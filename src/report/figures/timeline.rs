//! Throughput and latency over time, one figure per mode and sweep point.

use std::collections::BTreeMap;

use super::super::cells::Cell;
use super::axes::{Axis, Heading, Key, Legend, MARGIN, Panel};
use super::canvas::{Align, Canvas, Dash, Stroke, Type, WIDTH};
use super::palette::{self, Look, look};
use super::{Figure, at_point, figure};
use crate::experiment::results::{TimelineRow, file_name_part};

const LEFT: f64 = MARGIN + 58.0;
const PANEL_HEIGHT: f64 = 108.0;
const GAP: f64 = 18.0;
const STEP: i64 = TimelineRow::STEP_MS;
/// Steps a second.
const PER_S: f64 = 1000.0 / STEP as f64;

const ALL: Stroke = Stroke::solid(palette::INK, 1.5);
const FAILED: Stroke =
    Stroke { color: palette::INK, width: 1.5, alpha: 1.0, dash: Dash(&[1.5, 2.0]) };
const OTHERS: Stroke =
    Stroke { color: palette::FAINT_INK, width: 0.75, alpha: 0.45, dash: Dash(&[]) };

/// The rows of one repeat, by time and site.
struct Track<'a> {
    first_ms: i64,
    last_ms: i64,
    rows: BTreeMap<(&'a str, i64), &'a TimelineRow>,
}

impl<'a> Track<'a> {
    /// None if the timeline has nothing of this repeat.
    fn of(cell: &Cell<'_>, repeat: usize, timeline: &'a [TimelineRow]) -> Option<Track<'a>> {
        let mine = |row: &&TimelineRow| {
            row.label == cell.label && row.point_index == cell.point_index && row.repeat == repeat
        };
        let rows: BTreeMap<_, _> = timeline
            .iter()
            .filter(mine)
            .map(|row| ((row.site.as_str(), row.t_ms.div_euclid(STEP)), row))
            .collect();
        let steps = || rows.keys().map(|(_, step)| *step);
        let (first, last) = (steps().min()?, steps().max()?);
        Some(Track { first_ms: first * STEP, last_ms: (last + 1) * STEP, rows })
    }

    fn steps(&self) -> std::ops::Range<i64> {
        self.first_ms / STEP..self.last_ms / STEP
    }

    /// A count per second over time, all sites together, as steps; where there is no row it is zero.
    fn rate(&self, count: impl Fn(&TimelineRow) -> u64) -> Vec<(f64, f64)> {
        let mut totals = vec![0_u64; self.steps().count()];
        for ((_, step), row) in &self.rows {
            totals[(step - self.first_ms / STEP) as usize] += count(row);
        }
        let edges = |(step, total): (i64, u64)| {
            let rate = total as f64 * PER_S;
            [(step as f64 / PER_S, rate), ((step + 1) as f64 / PER_S, rate)]
        };
        self.steps().zip(totals).flat_map(edges).collect()
    }

    /// A latency of a site over time: one piece for each stretch in which operations completed.
    fn pieces(
        &self,
        site: &str,
        value: impl Fn(&TimelineRow) -> Option<f64>,
    ) -> Vec<Vec<(f64, f64)>> {
        let mut pieces: Vec<Vec<(f64, f64)>> = vec![Vec::new()];
        for step in self.steps() {
            let ms = self.rows.get(&(site, step)).and_then(|row| value(row));
            match ms {
                Some(ms) => {
                    let at = ((step as f64 + 0.5) / PER_S, ms);
                    pieces.last_mut().expect("there is a first").push(at);
                }
                None => pieces.push(Vec::new()),
            }
        }
        pieces.retain(|piece| !piece.is_empty());
        pieces
    }
}

/// The figure of a cell; none if the timeline has nothing of it.
pub(super) fn draw(
    cell: &Cell<'_>,
    timeline: &[TimelineRow],
    suffix: &str,
) -> Result<Option<Figure>, String> {
    let tracks: Vec<_> =
        cell.runs.iter().filter_map(|run| Track::of(cell, run.repeat, timeline)).collect();
    let Some(first) = tracks.first() else { return Ok(None) };
    let others = match tracks.len() {
        1 => String::new(),
        n => format!(" Repeat 1 of {n}; the throughput of the others is faint."),
    };
    let heading = Heading {
        title: format!("{} over time{}", cell.label, at_point(cell)),
        subtitle: format!("In steps of {STEP} ms; a gap in a latency: nothing completed.{others}"),
        warnings: cell.warnings(),
    };
    let legend = Legend::new(keys(cell, first));
    let height = legend.height() + 3.0 * (PANEL_HEIGHT + GAP) + 36.0;
    let name = file_name_part(cell.label, &['-']);
    figure(format!("timeline-{name}{suffix}"), &heading, height, |canvas, top| {
        legend.draw(canvas, top);
        paint(canvas, cell, &tracks, top + legend.height() + 8.0);
    })
    .map(Some)
}

fn keys(cell: &Cell<'_>, track: &Track<'_>) -> Vec<(Key, String)> {
    let mut keys = vec![(Key::Line(ALL), "all sites".to_owned())];
    if track.rows.values().any(|row| row.failed > 0) {
        keys.push((Key::Line(FAILED), "failed".to_owned()));
    }
    let site = |(i, site): (usize, &super::super::cells::CellSite<'_>)| {
        (Key::Series(Look { dash: Dash(&[]), ..look(i) }), site.site.to_owned())
    };
    keys.extend(cell.sites.iter().enumerate().map(site));
    keys
}

fn paint(canvas: &mut Canvas<'_>, cell: &Cell<'_>, tracks: &[Track<'_>], top: f64) {
    let first = &tracks[0];
    let x = Axis::exact(first.first_ms as f64 / 1e3, first.last_ms as f64 / 1e3, 10);
    let panel = |index: usize, highest: f64| Panel {
        left: LEFT,
        top: top + index as f64 * (PANEL_HEIGHT + GAP),
        width: WIDTH - LEFT - MARGIN - 10.0,
        height: PANEL_HEIGHT,
        x: x.clone(),
        y: Axis::from_zero(highest, 4),
    };
    let rates: Vec<_> = tracks.iter().map(|track| track.rate(|row| row.completed)).collect();
    let failed = first.rate(|row| row.failed);
    let highest = rates.iter().flatten().chain(&failed).map(|p| p.1).fold(0.0, f64::max);
    let throughput = panel(0, highest);
    shade_warm_up(canvas, &throughput, true);
    throughput.draw_y(canvas, "throughput (/s)");
    for other in rates.iter().skip(1) {
        let until = |(t, _): &&(f64, f64)| *t <= throughput.x.to;
        let seen: Vec<_> = other.iter().filter(until).copied().collect();
        throughput.curve(canvas, &seen, OTHERS);
    }
    throughput.curve(canvas, &rates[0], ALL);
    if failed.iter().any(|(_, rate)| *rate > 0.0) {
        throughput.curve(canvas, &failed, FAILED);
    }
    throughput.draw_x(canvas, None);
    throughput.draw_floor(canvas);
    let p50 = |row: &TimelineRow| row.p50_ms;
    let p99 = |row: &TimelineRow| row.p99_ms;
    let top_of = |value: &dyn Fn(&TimelineRow) -> Option<f64>| {
        first.rows.values().filter_map(|row| value(row)).fold(0.0, f64::max)
    };
    latency(canvas, &panel(1, top_of(&p50)), cell, first, ("median (ms)", None), &p50);
    let last = ("p99 (ms)", Some("time in the measured phase (s)"));
    latency(canvas, &panel(2, top_of(&p99)), cell, first, last, &p99);
}

fn latency(
    canvas: &mut Canvas<'_>,
    panel: &Panel,
    cell: &Cell<'_>,
    track: &Track<'_>,
    (name, x_name): (&str, Option<&str>),
    value: &dyn Fn(&TimelineRow) -> Option<f64>,
) {
    shade_warm_up(canvas, panel, false);
    panel.draw_y(canvas, name);
    panel.draw_x(canvas, x_name);
    panel.draw_floor(canvas);
    for (i, site) in cell.sites.iter().enumerate() {
        let pieces = track.pieces(site.site, value);
        paint_pieces(canvas, panel, &pieces, look(i), i);
    }
}

fn paint_pieces(
    canvas: &mut Canvas<'_>,
    panel: &Panel,
    pieces: &[Vec<(f64, f64)>],
    look: Look,
    index: usize,
) {
    let stroke = Stroke { color: look.color, width: 1.25, alpha: 1.0, dash: Dash(&[]) };
    for piece in pieces {
        match piece.as_slice() {
            // a line of one point cannot be seen
            [(t, ms)] => canvas.mark(panel.at(*t, *ms), look.mark, 3.0, look.color),
            _ => panel.curve(canvas, piece, stroke),
        }
    }
    // a few marks, at other times for each site
    let points: Vec<_> = pieces.iter().flatten().collect();
    let every = (points.len() / 6).max(1);
    for (t, ms) in points.iter().skip(every / 2 + index * every / 8).step_by(every) {
        canvas.mark(panel.at(*t, *ms), look.mark, 6.0, look.color);
    }
}

/// The time before the measured phase is grey.
fn shade_warm_up(canvas: &mut Canvas<'_>, panel: &Panel, named: bool) {
    if panel.x.from >= 0.0 {
        return;
    }
    let right = panel.x_at(panel.x.to.min(0.0));
    canvas.rectangle((panel.left, panel.top), (right, panel.bottom()), palette::SHADE);
    if named {
        let at = (f64::midpoint(panel.left, right), panel.top - 7.0);
        canvas.text(at, "warm-up", Type { size: 9.0, ..Type::faint(Align::Center) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(t_ms: i64, site: &str, completed: u64) -> TimelineRow {
        TimelineRow {
            t_ms,
            mode: "paxos".to_owned(),
            label: "paxos".to_owned(),
            point_index: 0,
            repeat: 0,
            site: site.to_owned(),
            completed,
            failed: 0,
            p50_ms: (completed > 0).then_some(5.0),
            p99_ms: None,
            max_ms: None,
        }
    }

    #[test]
    fn a_gap_is_zero_throughput_and_no_latency() {
        let rows = [row(0, "a", 2), row(0, "b", 3), row(100, "a", 0), row(300, "a", 4)];
        let cell = Cell {
            label: "paxos",
            point_index: 0,
            point: String::new(),
            runs: Vec::new(),
            sites: Vec::new(),
        };
        let track = Track::of(&cell, 0, &rows).unwrap();
        let rates: Vec<_> = track.rate(|r| r.completed).iter().step_by(2).map(|p| p.1).collect();
        assert_eq!(rates, [50.0, 0.0, 0.0, 40.0]);
        let pieces = track.pieces("a", |r| r.p50_ms);
        assert_eq!(pieces, [vec![(0.05, 5.0)], vec![(0.35, 5.0)]]);
    }
}
