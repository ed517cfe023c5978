//! Throughput and latency over time, one figure per mode and sweep point.

use std::collections::BTreeMap;

use super::super::cells::Cell;
use super::axes::{Axis, Key, Legend, MARGIN, Panel};
use super::canvas::{Align, Canvas, Dash, Stroke, Type, WIDTH};
use super::palette::{self, Look, look};
use super::{Figure, at_point, figure, heading};
use crate::results::{
    FaultMark, LatencyHistogram, LatencyMs, Result, Results, RunSummary, SiteSummary, TimelineRow,
    Unit, file_name_part, new_histogram,
};

const LEFT: f64 = MARGIN + 58.0;
const PANEL_HEIGHT: f64 = 108.0;
const GAP: f64 = 18.0;
const STEP: i64 = TimelineRow::STEP_MS;
/// Steps a second.
const PER_S: f64 = 1000.0 / STEP as f64;

const ALL: Stroke = Stroke::solid(palette::INK, 1.5);
const FAILED: Stroke =
    Stroke { color: palette::INK, width: 1.5, alpha: 1.0, dash: Dash(&[1.5, 2.0]) };
/// A fault.
const FAULT: Stroke =
    Stroke { color: palette::FAINT_INK, width: 0.75, alpha: 1.0, dash: Dash(&[3.0, 2.0]) };
/// What it is called, and the room for that.
const NAME: Type = Type { size: 9.0, ..Type::faint(Align::Left) };
const NAME_HEIGHT: f64 = 12.0;
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

    /// The latencies of a site, step by step.
    fn series(&self, site: &str) -> Series {
        let at = |step: i64| {
            let row = self.rows.get(&(site, step));
            let latency = row.and_then(|row| row.p50_ms.zip(row.p99_ms));
            ((step as f64 + 0.5) / PER_S, latency)
        };
        Series(self.steps().map(at).collect())
    }
}

/// Times in s, with the median and the 99th percentile in ms of what completed then; none where
/// nothing did.
struct Series(Vec<(f64, Option<(f64, f64)>)>);

impl Series {
    /// One piece for each stretch in which operations completed.
    fn pieces(&self, value: fn((f64, f64)) -> f64) -> Vec<Vec<(f64, f64)>> {
        let stretches = self.0.split(|(_, latency)| latency.is_none());
        let piece = |stretch: &[(f64, Option<(f64, f64)>)]| -> Vec<(f64, f64)> {
            stretch.iter().filter_map(|(t, latency)| Some((*t, value((*latency)?)))).collect()
        };
        stretches.filter(|stretch| !stretch.is_empty()).map(piece).collect()
    }

    fn highest(&self, value: fn((f64, f64)) -> f64) -> f64 {
        self.0.iter().filter_map(|(_, latency)| *latency).map(value).fold(0.0, f64::max)
    }
}

/// The latencies of a site of a long run, in steps of so many seconds, from its merged logs.
fn coarse_series(results: &Results, run: &RunSummary, site: &str, step_s: u64) -> Result<Series> {
    let mut steps: BTreeMap<u64, LatencyHistogram> = BTreeMap::new();
    let mut unit = Unit::Nanoseconds;
    let logged = |s: &&SiteSummary| s.site == site && s.op != SiteSummary::ALL && s.count > 0;
    for entry in run.sites.iter().filter(logged) {
        let log = results.histogram(&run.histogram_name(entry))?;
        unit = log.unit;
        for (start, _, histogram) in log.intervals() {
            let step = steps.entry(start.as_secs() / step_s).or_insert_with(new_histogram);
            step.add(histogram).expect("a histogram that resizes takes any value");
        }
    }
    let last = steps.keys().next_back().copied().unwrap_or(0);
    let at = |step: u64| {
        let latency = steps.get(&step).and_then(|histogram| LatencyMs::of(histogram, unit));
        ((step as f64 + 0.5) * step_s as f64, latency.map(|l| (l.p50, l.p99)))
    };
    Ok(Series((0..=last).map(at).collect()))
}

/// What the figure of a cell shows.
pub(super) struct Tracks<'a> {
    /// What was done to the replicas in the first repeat.
    faults: &'a [FaultMark],
    /// The repeats.
    repeats: Vec<Track<'a>>,
    /// The latencies of the first, in the order of the cell's sites.
    latencies: Vec<Series>,
    /// The steps of the latencies, in words.
    steps: String,
}

/// A run with more steps than this shows its latencies in longer ones.
const STEPS_MAX: usize = 600;
/// Steps of long runs, in s: the first that gives at most [`COARSE_MAX`].
const COARSE_S: [u64; 9] = [1, 2, 5, 10, 20, 30, 60, 300, 3600];
const COARSE_MAX: u64 = 300;

impl<'a> Tracks<'a> {
    /// None if the timeline has nothing of this cell.
    pub(super) fn of(
        results: &Results,
        cell: &Cell<'a>,
        timeline: &'a [TimelineRow],
    ) -> Result<Option<Tracks<'a>>> {
        let mut recorded = Vec::new();
        for run in &cell.runs {
            recorded.extend(Track::of(cell, run.repeat, timeline).map(|track| (*run, track)));
        }
        let Some((run, first)) = recorded.first() else { return Ok(None) };
        let count = first.steps().count();
        let sites = cell.sites.iter().map(|site| site.site);
        let (latencies, steps) = if count <= STEPS_MAX {
            (sites.map(|site| first.series(site)).collect(), format!("{STEP} ms"))
        } else {
            let seconds = count as u64 * STEP as u64 / 1000;
            let step_s = COARSE_S.into_iter().find(|step| seconds / step <= COARSE_MAX);
            let step_s = step_s.unwrap_or(3600);
            let all: Result<_> = sites.map(|s| coarse_series(results, run, s, step_s)).collect();
            (all?, format!("{step_s} s"))
        };
        let faults = &run.faults;
        let repeats = recorded.into_iter().map(|(_, track)| track).collect();
        Ok(Some(Tracks { faults, repeats, latencies, steps }))
    }
}

/// The figure of a cell.
pub(super) fn draw(
    cell: &Cell<'_>,
    shown: &Tracks<'_>,
    suffix: &str,
) -> std::result::Result<Figure, String> {
    let tracks = &shown.repeats;
    let others = match tracks.len() {
        1 => String::new(),
        n => format!(" Repeat 1 of {n}; faint: throughput of the others."),
    };
    let latency_steps = match shown.steps.as_str() {
        same if same == format!("{STEP} ms") => String::new(),
        longer => format!(", of latency {longer}"),
    };
    let subtitle = format!(
        "In steps of {STEP} ms{latency_steps}. A gap in a latency: nothing completed.{others}"
    );
    let title = format!("{} over time{}", cell.label, at_point(cell));
    let heading = heading(&[cell], title, &subtitle);
    let legend = Legend::new(keys(cell, &tracks[0]));
    let names = Names::of(shown);
    let above = legend.height() + names.height();
    let height = above + 3.0 * (PANEL_HEIGHT + GAP) + 36.0;
    let name = file_name_part(cell.label, &['-']);
    figure(format!("timeline-{name}{suffix}"), &heading, height, |canvas, top| {
        legend.draw(canvas, top);
        paint(canvas, shown, &names, top + above + 8.0);
    })
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

/// One of the three panels, below `top`.
fn panel(shown: &Tracks<'_>, top: f64, index: usize, highest: f64) -> Panel {
    let first = &shown.repeats[0];
    Panel {
        left: LEFT,
        top: top + index as f64 * (PANEL_HEIGHT + GAP),
        width: WIDTH - LEFT - MARGIN - 10.0,
        height: PANEL_HEIGHT,
        x: Axis::exact(first.first_ms as f64 / 1e3, first.last_ms as f64 / 1e3, 10),
        y: Axis::from_zero(highest, 4),
    }
}

/// Where the names of faults stand: above the panels, in as many rows as they need.
struct Names<'a> {
    /// The name, where it begins, and in which row from below.
    placed: Vec<(&'a FaultMark, f64, usize)>,
    rows: usize,
}

impl<'a> Names<'a> {
    fn of(shown: &Tracks<'a>) -> Names<'a> {
        let axes = panel(shown, 0.0, 0, 1.0);
        let mut ends: Vec<f64> = Vec::new();
        let mut placed = Vec::new();
        for fault in shown.faults {
            let width = NAME.width_of(&fault.what);
            let x = axes.x_at(fault.t_ms as f64 / 1e3).min(axes.right() - width);
            let free = ends.iter().position(|end| *end < x - 4.0);
            let row = free.unwrap_or_else(|| {
                ends.push(0.0);
                ends.len() - 1
            });
            ends[row] = x + width;
            placed.push((fault, x, row));
        }
        Names { placed, rows: ends.len() }
    }

    fn height(&self) -> f64 {
        self.rows as f64 * NAME_HEIGHT
    }

    /// The names, and a line through all panels at each.
    fn draw(&self, canvas: &mut Canvas<'_>, first: &Panel, bottom: f64) {
        for (fault, x, row) in &self.placed {
            let at = first.x_at(fault.t_ms as f64 / 1e3);
            let y = first.top - 7.0 - *row as f64 * NAME_HEIGHT;
            canvas.line(&[(at, y + NAME_HEIGHT / 2.0), (at, bottom)], FAULT);
            canvas.text((*x, y), &fault.what, NAME);
        }
    }
}

fn paint(canvas: &mut Canvas<'_>, shown: &Tracks<'_>, names: &Names<'_>, top: f64) {
    let first = &shown.repeats[0];
    let panel = |index, highest| panel(shown, top, index, highest);
    let rates: Vec<_> = shown.repeats.iter().map(|track| track.rate(|row| row.completed)).collect();
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
    let (p50, p99): (Value, Value) = (|latency| latency.0, |latency| latency.1);
    let highest =
        |value: Value| shown.latencies.iter().map(|s| s.highest(value)).fold(0.0, f64::max);
    latency(canvas, &panel(1, highest(p50)), &shown.latencies, ("median (ms)", None), p50);
    let last = ("p99 (ms)", Some("time in the measured phase (s)"));
    let lowest = panel(2, highest(p99));
    latency(canvas, &lowest, &shown.latencies, last, p99);
    names.draw(canvas, &throughput, lowest.bottom());
}

/// Which of the median and the 99th percentile.
type Value = fn((f64, f64)) -> f64;

fn latency(
    canvas: &mut Canvas<'_>,
    panel: &Panel,
    sites: &[Series],
    (name, x_name): (&str, Option<&str>),
    value: Value,
) {
    shade_warm_up(canvas, panel, false);
    panel.draw_y(canvas, name);
    panel.draw_x(canvas, x_name);
    panel.draw_floor(canvas);
    for (i, series) in sites.iter().enumerate() {
        paint_pieces(canvas, panel, &series.pieces(value), look(i), i);
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
            p99_ms: (completed > 0).then_some(9.0),
            max_ms: None,
        }
    }

    #[test]
    fn a_gap_is_zero_throughput_and_no_latency() {
        let rows = [row(0, "a", 2), row(0, "b", 3), row(100, "a", 0), row(300, "a", 4)];
        let cell = Cell {
            backend: crate::results::Backend::Quic,
            directory: String::new(),
            label: "paxos",
            point_index: 0,
            point: String::new(),
            runs: Vec::new(),
            replicas: Vec::new(),
            sites: Vec::new(),
        };
        let track = Track::of(&cell, 0, &rows).unwrap();
        let rates: Vec<_> = track.rate(|r| r.completed).iter().step_by(2).map(|p| p.1).collect();
        assert_eq!(rates, [50.0, 0.0, 0.0, 40.0]);
        let pieces = track.series("a").pieces(|latency| latency.0);
        assert_eq!(pieces, [vec![(0.05, 5.0)], vec![(0.35, 5.0)]]);
    }
}
