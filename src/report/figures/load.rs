//! What each replica had to do for an operation: messages and CPU time, bars side by side in a group
//! for each mode. Whether a leader carries more than the others shows at once.

use plotters::style::RGBColor;

use super::super::cells::Cell;
use super::axes::{Axis, Key, Legend, MARGIN, Panel};
use super::canvas::{Align, Canvas, TEXT, Type, WIDTH};
use super::latency::sites;
use super::{Figure, at_point, figure, heading, palette};
use crate::results::{ReplicaCounters, RunSummary, Traffic};

const LEFT: f64 = MARGIN + 46.0;
const PLOT_HEIGHT: f64 = 130.0;
/// Between two panels.
const GAP: f64 = 20.0;
/// Above the first panel, for the modes.
const HEAD: f64 = 22.0;
/// Below the last panel, for the replicas: at most so much.
const FOOT_MAX: f64 = 92.0;
/// The part of a group's width that its bars take, and of a bar's place that it fills.
const FILLED: f64 = 0.9;
const BAR: f64 = 0.8;
/// How much of the paper is mixed into the colour of messages that were received.
const PALE: f64 = 0.55;
/// Names are not smaller than so many px.
const SIZE_MIN: f64 = 6.0;

/// What one replica had to do for an operation that completed, on average over the repeats.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Load {
    /// Messages to other replicas.
    sent: f64,
    /// Messages from other replicas.
    received: f64,
    /// CPU time of its process, in µs; none where it is not known.
    cpu_us: Option<f64>,
}

impl Load {
    /// None if in no run something completed and the replica was still there at the end.
    fn of(cell: &Cell<'_>, node: &str) -> Option<Load> {
        let (mut operations, mut sent, mut received) = (0.0, 0, 0);
        let mut used_s = Some(0.0);
        for (run, replicas) in cell.runs.iter().zip(&cell.replicas) {
            let counted = replicas.iter().find(|replica| replica.node == node);
            let Some((counted, number)) = counted.zip(completed(run, replicas)) else { continue };
            operations += number;
            sent += messages(counted.sent.values());
            received += messages(counted.received.values());
            used_s = used_s.zip(cpu_s(counted)).map(|(sum, more)| sum + more);
        }
        let each = |total: f64| total / operations;
        (operations > 0.0).then(|| Load {
            sent: each(sent as f64),
            received: each(received as f64),
            cpu_us: used_s.map(|seconds| each(seconds * 1e6)),
        })
    }

    fn messages(&self) -> f64 {
        self.sent + self.received
    }

    fn words(&self, node: &str) -> String {
        let cpu = self.cpu_us.map(|us| format!(", {us:.1} µs of CPU time"));
        let (sent, received) = (self.sent, self.received);
        format!("{node} {sent:.2} messages sent, {received:.2} received{}", cpu.unwrap_or_default())
    }
}

fn messages<'a>(traffic: impl Iterator<Item = &'a Traffic>) -> u64 {
    traffic.map(|kind| kind.messages).sum()
}

fn cpu_s(counted: &ReplicaCounters) -> Option<f64> {
    Some(counted.cpu_user_s? + counted.cpu_system_s?)
}

/// Operations that completed while the replicas counted: the summary has what each of them cost, the
/// replicas what all of them cost. None if there were none.
fn completed(run: &RunSummary, replicas: &[ReplicaCounters]) -> Option<f64> {
    let sent: u64 = replicas.iter().map(|replica| messages(replica.sent.values())).sum();
    let by_messages = sent as f64 / run.cost.messages_per_op;
    // A single replica sends nothing.
    let used_s: Option<f64> = replicas.iter().map(cpu_s).sum();
    let by_cpu = used_s.zip(run.cost.cpu_replicas_us_per_op).map(|(all_s, us)| all_s * 1e6 / us);
    let mut known = [Some(by_messages), by_cpu].into_iter().flatten();
    known.find(|operations| operations.is_normal())
}

/// The loads of a mode's replicas, in the order of `nodes`.
struct Group<'a> {
    label: &'a str,
    /// What to say where there is none.
    why_none: &'static str,
    color: RGBColor,
    loads: Vec<Option<Load>>,
}

/// A measure of load: its axis's name, and its value for a replica.
struct Measure {
    name: &'static str,
    value: fn(&Load) -> Option<f64>,
    /// The lower part of a bar that has two.
    lower: fn(&Load) -> Option<f64>,
}

const MESSAGES: Measure = Measure {
    name: "messages an operation",
    value: |load| Some(load.messages()),
    lower: |load| Some(load.sent),
};
const CPU: Measure =
    Measure {
        name: "CPU an operation (µs)", value: |load| load.cpu_us, lower: |load| load.cpu_us
    };

/// The loads of all modes at one sweep point.
pub(super) fn draw(cells: &[&Cell<'_>], suffix: &str) -> Result<Figure, String> {
    let first = cells.first().ok_or("there is no run to draw")?;
    let nodes = sites(cells);
    let groups = Group::all(cells, &nodes);
    let loads = || groups.iter().flat_map(|group| group.loads.iter().flatten());
    let is_known = |measure: &Measure| loads().any(|load| (measure.value)(load).is_some());
    let mut measures = vec![MESSAGES];
    measures.extend(is_known(&CPU).then_some(CPU));

    let subtitle = subtitle(cells, measures.len() > 1, &groups);
    let mut heading = heading(cells, format!("Load of each replica{}", at_point(first)), &subtitle);
    heading.values = groups.iter().map(|group| group.words(&nodes)).collect();
    let legend = Legend::new([
        (Key::Swatch(palette::FAINT_INK), "messages sent".to_owned()),
        (Key::Swatch(pale(palette::FAINT_INK)), "messages received".to_owned()),
    ]);
    let foot = foot(&nodes);
    let height = legend.height() + HEAD + measures.len() as f64 * (PLOT_HEIGHT + GAP) + foot;
    figure(format!("load{suffix}"), &heading, height, |canvas, top| {
        legend.draw(canvas, top);
        let top = top + legend.height() + HEAD;
        for (i, measure) in measures.iter().enumerate() {
            let panel = panel(top + i as f64 * (PLOT_HEIGHT + GAP), &groups, measure);
            paint(canvas, &panel, &groups, measure);
            if i == 0 {
                paint_labels(canvas, &panel, &groups);
            }
            if i + 1 == measures.len() {
                paint_names(canvas, &panel, groups.len(), &nodes, foot);
            }
        }
    })
}

fn subtitle(cells: &[&Cell<'_>], cpu_known: bool, groups: &[Group<'_>]) -> String {
    let repeats = cells.iter().map(|cell| cell.runs.len()).max().unwrap_or(0);
    let runs =
        if repeats == 1 { "one run".to_owned() } else { format!("mean of {repeats} repeats") };
    let cpu =
        if cpu_known { "CPU time of the replica's process." } else { "CPU time is not known." };
    let some_gone = groups.iter().any(|group| !group.is_empty() && group.loads.contains(&None));
    let gone = if some_gone { " –: gone at the end." } else { "" };
    format!("For each operation that completed at any site; {runs}. {cpu}{gone}")
}

impl<'a> Group<'a> {
    fn all(cells: &[&Cell<'a>], nodes: &[&str]) -> Vec<Group<'a>> {
        let group = |(i, cell): (usize, &&Cell<'a>)| Group {
            label: cell.label,
            why_none: if cell.throughput_per_s() > 0.0 { "not known" } else { "nothing completed" },
            color: palette::look(i).color,
            loads: nodes.iter().map(|node| Load::of(cell, node)).collect(),
        };
        cells.iter().enumerate().map(group).collect()
    }

    /// Whether nothing is known of any replica.
    fn is_empty(&self) -> bool {
        self.loads.iter().all(Option::is_none)
    }

    fn words(&self, nodes: &[&str]) -> String {
        let known = nodes.iter().zip(&self.loads);
        let words = known.filter_map(|(node, load)| load.map(|load| load.words(node)));
        let words: Vec<String> = words.collect();
        let words = if words.is_empty() { self.why_none.to_owned() } else { words.join("; ") };
        format!("{}: {words}", self.label)
    }
}

/// The colour on its way to that of the paper.
fn pale(color: RGBColor) -> RGBColor {
    let mix = |ink: u8, paper: u8| {
        (f64::from(ink) + PALE * (f64::from(paper) - f64::from(ink))).round() as u8
    };
    let paper = palette::PAPER;
    RGBColor(mix(color.0, paper.0), mix(color.1, paper.1), mix(color.2, paper.2))
}

/// The room that the names of the replicas need below the last panel.
fn foot(nodes: &[&str]) -> f64 {
    let widest = nodes.iter().map(|node| Type::normal(Align::Right).width_of(node));
    widest.fold(0.0, f64::max).min(FOOT_MAX - 10.0) + 10.0
}

fn panel(top: f64, groups: &[Group<'_>], measure: &Measure) -> Panel {
    let loads = groups.iter().flat_map(|group| group.loads.iter().flatten());
    let highest = loads.filter_map(measure.value).fold(0.0, f64::max);
    Panel {
        left: LEFT,
        top,
        width: WIDTH - LEFT - MARGIN,
        height: PLOT_HEIGHT,
        x: Axis::exact(0.0, groups.len() as f64, 10),
        y: Axis::from_zero(highest, 4),
    }
}

/// Where the bar of a replica begins and ends, in px.
fn bar(panel: &Panel, group: usize, node: usize, nodes: usize) -> (f64, f64) {
    let room = FILLED / nodes as f64;
    let from = group as f64 + (1.0 - FILLED) / 2.0 + room * (node as f64 + (1.0 - BAR) / 2.0);
    (panel.x_at(from), panel.x_at(from + room * BAR))
}

fn paint(canvas: &mut Canvas<'_>, panel: &Panel, groups: &[Group<'_>], measure: &Measure) {
    panel.draw_y(canvas, measure.name);
    for (i, group) in groups.iter().enumerate() {
        if group.is_empty() {
            let at = (panel.x_at(i as f64 + 0.5), panel.top + 0.375 * panel.height);
            canvas.text(at, group.why_none, Type::faint(Align::Center));
            continue;
        }
        for (j, load) in group.loads.iter().enumerate() {
            let place = bar(panel, i, j, group.loads.len());
            match load
                .as_ref()
                .and_then(|load| Some(((measure.value)(load)?, (measure.lower)(load)?)))
            {
                Some(parts) => paint_bar(canvas, panel, place, parts, group.color),
                None => paint_absence(canvas, panel, place),
            }
        }
    }
    panel.draw_floor(canvas);
}

fn paint_bar(
    canvas: &mut Canvas<'_>,
    panel: &Panel,
    (from, to): (f64, f64),
    (value, lower): (f64, f64),
    color: RGBColor,
) {
    let (top, edge) = (panel.y_at(value), panel.y_at(lower));
    canvas.rectangle((from, top), (to, edge), pale(color));
    canvas.rectangle((from, edge), (to, panel.bottom()), color);
    let set = Type { size: 9.0, ..Type::normal(Align::Center) };
    let label = if value < 10.0 { format!("{value:.2}") } else { format!("{value:.1}") };
    let width = set.width_of(&label);
    if width <= (to - from) / BAR - 2.0 {
        let middle = f64::midpoint(from, to);
        // A grid line would cross the number.
        let corners = ((middle - width / 2.0, top - 11.0), (middle + width / 2.0, top - 1.5));
        canvas.rectangle(corners.0, corners.1, palette::PAPER);
        canvas.text((middle, top - 6.0), &label, set);
    }
}

/// The replica was gone at the end of every run, or what it used was not measured.
fn paint_absence(canvas: &mut Canvas<'_>, panel: &Panel, (from, to): (f64, f64)) {
    let set = Type { size: 9.0, ..Type::faint(Align::Center) };
    canvas.text((f64::midpoint(from, to), panel.bottom() - 8.0), "–", set);
}

/// The modes above their groups.
fn paint_labels(canvas: &mut Canvas<'_>, panel: &Panel, groups: &[Group<'_>]) {
    let room = panel.width / groups.len() as f64;
    let set = Type { align: Align::Center, ..Type::bold(TEXT, palette::INK) };
    for (i, group) in groups.iter().enumerate() {
        let at = (panel.x_at(i as f64 + 0.5), panel.top - 14.0);
        canvas.text(at, &set.fitted(group.label, room - 8.0), set);
    }
}

/// The names of the replicas, below their bars, upwards; only some where there is no room for all.
fn paint_names(canvas: &mut Canvas<'_>, panel: &Panel, groups: usize, nodes: &[&str], foot: f64) {
    let place = panel.width / groups as f64 * FILLED / nodes.len() as f64;
    let set = Type { size: (place - 1.0).clamp(SIZE_MIN, TEXT), ..Type::normal(Align::Right) };
    let every = (set.size / place).ceil().max(1.0) as usize;
    for group in 0..groups {
        for (i, node) in nodes.iter().enumerate().step_by(every) {
            let (from, to) = bar(panel, group, i, nodes.len());
            let at = (f64::midpoint(from, to), panel.bottom() + 5.0);
            canvas.upwards(at, &set.fitted(node, foot - 10.0), set);
        }
    }
}
