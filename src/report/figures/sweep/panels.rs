//! What an operation cost and what the cores counted for it, against what was swept: a panel a measure.

use super::super::axes::{Axis, MARGIN, Panel, grouped};
use super::super::canvas::{Align, Canvas, Type, WIDTH};
use super::{Cell, Figure, NAME, Swept, Value, figure};

/// At the left of a panel, for the labels of its ticks.
const LEFT: f64 = 44.0;
const GAP: f64 = 14.0;
/// Above a panel, for its name.
const HEAD: f64 = 22.0;
const PLOT_HEIGHT: f64 = 130.0;
/// Below a panel, for the values; below the last row for their name as well.
const FOOT: f64 = 24.0;
const NAME_HEIGHT: f64 = 18.0;

/// The counters of a mode's cores that are drawn.
const COUNTERS: [(&str, &[&str]); 2] = [
    ("epaxos", &["slow", "conflicts"]),
    ("multicoordinated", &["collisions", "accepted", "collision_writes", "recoveries"]),
];

/// What a panel shows.
struct Measure {
    name: String,
    value: Box<Value>,
}

impl Measure {
    fn new(name: impl Into<String>, value: impl Fn(&Cell<'_>) -> Option<f64> + 'static) -> Measure {
        Measure { name: name.into(), value: Box::new(value) }
    }
}

/// Messages, bytes, CPU time and writes to the log.
pub(super) fn cost(swept: &Swept<'_>) -> Result<Figure, String> {
    let cpu = |cell: &Cell<'_>| cell.cost(|cost| cost.cpu_replicas_us_per_op);
    let measures = [
        Measure::new("messages", |cell| cell.cost(|cost| Some(cost.messages_per_op))),
        Measure::new("bytes", |cell| cell.cost(|cost| Some(cost.bytes_per_op))),
        Measure::new("CPU time (µs)", cpu),
        Measure::new("writes to the log", |cell| cell.counted("log_records")),
    ];
    let cpu = match swept.cells.iter().any(|cell| cpu(cell).is_some()) {
        true => "CPU time of the replicas' processes.",
        false => "CPU time is not known.",
    };
    let how = "For each operation, of all replicas together; writes to the log since they started.";
    let how = format!("{how} {cpu}");
    draw(swept, "cost", "Cost of an operation", &how, known(swept, measures))
}

/// What the cores counted; none if they count nothing of what is drawn.
pub(super) fn counters(swept: &Swept<'_>) -> Option<Result<Figure, String>> {
    let counters =
        COUNTERS.iter().flat_map(|(mode, names)| names.iter().map(|name| (*mode, *name)));
    let measure = |(mode, name): (&'static str, &'static str)| {
        Measure::new(format!("{mode}: {name}"), move |cell| {
            (cell.mode() == mode).then(|| cell.counted(name))?
        })
    };
    let measures = known(swept, counters.map(measure));
    let how = "For each operation, of all replicas together, since they started.";
    let what = "What the cores counted";
    (!measures.is_empty()).then(|| draw(swept, "counters", what, how, measures))
}

/// Those of which something is known.
fn known(swept: &Swept<'_>, measures: impl IntoIterator<Item = Measure>) -> Vec<Measure> {
    let is_known =
        |measure: &Measure| swept.cells.iter().any(|cell| (measure.value)(cell).is_some());
    measures.into_iter().filter(is_known).collect()
}

fn draw(
    swept: &Swept<'_>,
    name: &str,
    what: &str,
    how: &str,
    measures: Vec<Measure>,
) -> Result<Figure, String> {
    let swept = &swept.only(|cell| measures.iter().any(|it| (it.value)(cell).is_some()));
    let mut heading = swept.heading(what, how);
    for measure in &measures {
        let value = |cell: &Cell<'_>| (measure.value)(cell).map(words);
        heading.values.extend(swept.words(&measure.name, &value));
    }
    let legend = swept.legend([]);
    let columns = if measures.len() > 3 { 2 } else { measures.len().max(1) };
    let rows = measures.len().div_ceil(columns);
    let height = legend.height() + rows as f64 * (HEAD + PLOT_HEIGHT + FOOT) + NAME_HEIGHT;
    figure(format!("{NAME}-{name}"), &heading, height, |canvas, top| {
        legend.draw(canvas, top);
        for (index, measure) in measures.iter().enumerate() {
            let y = Axis::from_zero(swept.highest(&measure.value), 4);
            let panel = panel(index, columns, top + legend.height(), y);
            paint(canvas, &panel, swept, measure);
            if index + columns >= measures.len() {
                panel.name_x(canvas, &swept.name());
            }
        }
    })
}

fn panel(index: usize, columns: usize, top: f64, y: Axis) -> Panel {
    let (row, column) = ((index / columns) as f64, (index % columns) as f64);
    let place = (WIDTH - 2.0 * MARGIN + GAP) / columns as f64;
    Panel {
        left: MARGIN + column * place + LEFT,
        top: top + row * (HEAD + PLOT_HEIGHT + FOOT) + HEAD,
        width: place - LEFT - GAP,
        height: PLOT_HEIGHT,
        x: Axis::exact(0.0, 1.0, 1),
        y,
    }
}

fn paint(canvas: &mut Canvas<'_>, panel: &Panel, swept: &Swept<'_>, measure: &Measure) {
    panel.draw_grid(canvas);
    let set = Type::normal(Align::Left);
    let name = set.fitted(&measure.name, panel.width + LEFT);
    canvas.text((panel.left, panel.top - 11.0), &name, set);
    panel.draw_floor(canvas);
    swept.paint(canvas, panel, &measure.value);
    swept.paint_values(canvas, panel);
}

/// A number as it is told: small ones with more decimals.
fn words(value: f64) -> String {
    let decimals = if value < 1.0 { 4 } else { 2 };
    grouped(&format!("{value:.decimals$}"))
}
