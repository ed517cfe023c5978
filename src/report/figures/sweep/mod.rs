//! Figures of a sweep: what was measured against what was varied, a line a mode.

mod latency;
mod load;
mod panels;

use super::super::cells::Cell;
use super::axes::{Heading, Key, Legend, Panel};
use super::canvas::{Align, Canvas, Dash, Mark, Stroke, Type};
use super::palette::{self, Look, look};
use super::{Figure, figure, heading};
use crate::results::Point;

/// What the names of these figures begin with.
pub(super) const NAME: &str = "sweep";
/// Values are placed by their logarithms if the last is so many times the first.
const LOG_MIN: f64 = 4.0;
/// What is free at either end of a logarithmic axis, as a part of it.
const FREE: f64 = 0.06;
/// Lines that lie on each other are moved apart by so many px.
const APART: f64 = 3.0;
/// Between the labels of two values, in px.
const LABEL_GAP: f64 = 5.0;
/// Across the mark of a point, in px.
const MARK: f64 = 7.0;

/// All figures of a sweep.
pub(super) fn all(cells: &[Cell<'_>]) -> Result<Vec<Figure>, String> {
    let swept = Swept::of(cells);
    let mut figures = vec![latency::draw(&swept)?, panels::cost(&swept)?];
    figures.extend(panels::counters(&swept).transpose()?);
    if swept.is_of_load() {
        figures.push(load::draw(&swept)?);
    }
    Ok(figures)
}

/// A number that a cell has, or has not.
type Value = dyn Fn(&Cell<'_>) -> Option<f64>;

/// A sweep's cells as they are drawn.
struct Swept<'a> {
    cells: Vec<&'a Cell<'a>>,
    /// The path whose values stand below the figures; empty if several change from point to point.
    path: String,
    /// Its values, in the order of the points.
    values: Vec<String>,
    /// Where they stand: 0 at the left of a panel, 1 at its right.
    places: Vec<f64>,
    series: Vec<Series<'a>>,
}

/// Paths that set how much load there is.
const LOAD: [&str; 2] = ["workload.arrival", "workload.clients_per_site"];

/// A line: a mode, where more than one path is swept at one value of each of the others.
#[derive(Clone)]
struct Series<'a> {
    name: String,
    look: Look,
    /// One for each value; none where there was no run.
    cells: Vec<Option<&'a Cell<'a>>>,
}

impl<'a> Swept<'a> {
    fn of(cells: &'a [Cell<'a>]) -> Swept<'a> {
        let path = first_path(cells);
        let parts = |cell: &Cell<'_>| split(&cell.values(), path.as_deref());
        let mut by_point: Vec<&Cell<'_>> = cells.iter().collect();
        by_point.sort_by_key(|cell| cell.point_index);
        let values = distinct(by_point.iter().map(|cell| parts(cell).0));
        let others = distinct(by_point.iter().map(|cell| parts(cell).1));
        let labels = distinct(cells.iter().map(|cell| cell.label.to_owned()));
        let mut series = Vec::new();
        for label in &labels {
            for other in &others {
                let at = |value: &String| {
                    let same = (value.clone(), other.clone());
                    cells.iter().find(|cell| cell.label == label && parts(cell) == same)
                };
                series.push(Series {
                    name: match others.len() {
                        1 => label.clone(),
                        _ => format!("{label}, {other}"),
                    },
                    look: look(series.len()),
                    cells: values.iter().map(at).collect(),
                });
            }
        }
        let (cells, places) = (cells.iter().collect(), places(&values));
        Swept { cells, path: path.unwrap_or_default(), values, places, series }
    }

    /// The same without the lines in which nothing is to be seen.
    fn only(&self, shows: impl Fn(&Cell<'_>) -> bool) -> Swept<'a> {
        let any = |series: &&Series<'_>| series.cells.iter().flatten().any(|cell| shows(cell));
        Swept {
            cells: self.cells.clone(),
            path: self.path.clone(),
            values: self.values.clone(),
            places: self.places.clone(),
            series: self.series.iter().filter(any).cloned().collect(),
        }
    }

    /// Whether it goes from little load to much.
    fn is_of_load(&self) -> bool {
        let is_it =
            |load: &str| self.path.strip_prefix(load).is_some_and(|rest| !rest.starts_with('_'));
        LOAD.into_iter().any(is_it)
    }

    /// What figures call the path: its last part, where that says enough.
    fn name(&self) -> String {
        match self.path.strip_prefix("workload.arrival.") {
            Some(kind) => format!("arrival, {kind}"),
            None => last_part(&self.path).to_owned(),
        }
    }

    /// A heading, which says what may not be believed.
    fn heading(&self, what: &str, how: &str) -> Heading {
        let doubtful = self.cells.iter().any(|cell| !cell.warnings().is_empty());
        let hollow = if doubtful { " Hollow: void or not verified." } else { "" };
        let (against, path) = match self.path.as_str() {
            "" => ("the points of the sweep".to_owned(), String::new()),
            path => (self.name(), format!("Swept: {path}. ")),
        };
        let subtitle = format!("{path}{how}{hollow}");
        heading(&self.cells, format!("{what} against {against}"), &subtitle)
    }

    /// The mode of each line; `more` stands behind them.
    fn legend(&self, more: impl IntoIterator<Item = (Key, String)>) -> Legend {
        let solid = |look: Look| Look { dash: Dash(&[]), ..look };
        let key = |series: &Series<'_>| (Key::Series(solid(series.look)), series.name.clone());
        Legend::new(self.series.iter().map(key).chain(more))
    }

    /// The largest of what there is to show.
    fn highest(&self, value: impl Fn(&Cell<'_>) -> Option<f64>) -> f64 {
        self.cells.iter().filter_map(|cell| value(cell)).fold(0.0, f64::max)
    }

    /// How far a line is moved to the right, in px.
    fn shift(&self, series: usize) -> f64 {
        APART * (series as f64 - (self.series.len() - 1) as f64 / 2.0)
    }

    /// Where a line goes, piece by piece: it has a gap where there is nothing to show.
    fn pieces(&self, panel: &Panel, index: usize, value: &Value) -> Vec<Vec<(f64, f64)>> {
        let mut pieces = vec![Vec::new()];
        for (cell, place) in self.series[index].cells.iter().zip(&self.places) {
            match (cell.and_then(value), pieces.last_mut()) {
                (Some(value), Some(piece)) => {
                    piece.push((panel.x_at(*place) + self.shift(index), panel.y_at(value)));
                }
                _ => pieces.push(Vec::new()),
            }
        }
        pieces
    }

    /// A line a mode, with a mark at each value.
    fn paint(&self, canvas: &mut Canvas<'_>, panel: &Panel, value: &Value) {
        for (index, series) in self.series.iter().enumerate() {
            for piece in self.pieces(panel, index, value) {
                canvas.line(&piece, Stroke::solid(series.look.color, 1.75));
            }
        }
        for (index, series) in self.series.iter().enumerate() {
            for (cell, place) in series.cells.iter().zip(&self.places) {
                let Some((cell, value)) = cell.and_then(|cell| Some((cell, value(cell)?))) else {
                    continue;
                };
                let at = (panel.x_at(*place) + self.shift(index), panel.y_at(value));
                mark(canvas, at, series.look, cell);
            }
        }
    }

    /// The values below a panel, as many as there is room for; the last one in any case.
    fn paint_values(&self, canvas: &mut Canvas<'_>, panel: &Panel) {
        let set = Type::normal(Align::Center);
        let bottom = panel.bottom();
        let label = |(value, place): (&String, &f64)| {
            let (x, half) = (panel.x_at(*place), set.width_of(value) / 2.0);
            (x, x - half, x + half)
        };
        let labels: Vec<_> = self.values.iter().zip(&self.places).map(label).collect();
        let (mut free, end) = (f64::NEG_INFINITY, labels.len().saturating_sub(1));
        for (i, (value, (x, from, to))) in self.values.iter().zip(&labels).enumerate() {
            canvas.line(&[(*x, bottom), (*x, bottom + 4.0)], Stroke::solid(palette::INK, 1.0));
            let before_last = i == end || to + LABEL_GAP <= labels[end].1;
            if *from >= free && before_last {
                canvas.text((*x, bottom + 13.0), value, set);
                free = to + LABEL_GAP;
            }
        }
    }

    /// What each line shows, in words.
    fn words(&self, what: &str, value: &dyn Fn(&Cell<'_>) -> Option<String>) -> Vec<String> {
        let line = |series: &Series<'_>| {
            let at = |(cell, name): (Option<&Cell<'_>>, &String)| {
                Some(format!("{name} {}", value(cell?)?))
            };
            let cells = series.cells.iter().copied();
            let all: Vec<_> = cells.zip(&self.values).filter_map(at).collect();
            (!all.is_empty()).then(|| format!("{}, {what}: {}", series.name, all.join(", ")))
        };
        self.series.iter().filter_map(line).collect()
    }
}

/// The mark of a cell: only its frame, where something speaks against the cell.
fn mark(canvas: &mut Canvas<'_>, at: (f64, f64), look: Look, cell: &Cell<'_>) {
    canvas.mark(at, look.mark, MARK, look.color);
    if !cell.warnings().is_empty() {
        let smaller = if look.mark == Mark::Cross { 5.5 } else { 4.5 };
        canvas.mark(at, look.mark, MARK - smaller, palette::PAPER);
    }
}

/// The path that alone differs between the first two points: of several its values change fastest.
fn first_path(cells: &[Cell<'_>]) -> Option<String> {
    let values =
        |index: usize| cells.iter().find(|cell| cell.point_index == index).map(Cell::values);
    let (first, second) = (values(0)?, values(1)?);
    let mut differing = first.iter().filter(|(path, value)| second.get(*path) != Some(value));
    let (path, _) = differing.next()?;
    differing.next().is_none().then(|| path.clone())
}

/// The value of the path, and those of the others in words; all of them without a path.
fn split(point: &Point, path: Option<&str>) -> (String, String) {
    let words = |except: Option<&str>| {
        let others = point.iter().filter(|(path, _)| Some(path.as_str()) != except);
        let others = others.map(|(path, value)| format!("{} {value}", last_part(path)));
        others.collect::<Vec<_>>().join(", ")
    };
    match path {
        Some(path) => (point.get(path).cloned().unwrap_or_default(), words(Some(path))),
        None => (words(None), String::new()),
    }
}

fn last_part(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

fn distinct(words: impl Iterator<Item = String>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for word in words {
        if !found.contains(&word) {
            found.push(word);
        }
    }
    found
}

/// Where values stand on an axis: by their logarithms where that spreads them, else side by side.
fn places(values: &[String]) -> Vec<f64> {
    let side_by_side = || (0..values.len()).map(|i| (i as f64 + 0.5) / values.len() as f64);
    let Some(numbers) = numbers(values) else { return side_by_side().collect() };
    let rising = numbers.windows(2).all(|pair| pair[0] < pair[1]);
    match (numbers.first(), numbers.last()) {
        (Some(first), Some(last)) if rising && *first > 0.0 && last / first >= LOG_MIN => {
            let part = |number: &f64| (number / first).ln() / (last / first).ln();
            numbers.iter().map(|number| FREE + (1.0 - 2.0 * FREE) * part(number)).collect()
        }
        _ => side_by_side().collect(),
    }
}

/// The values as numbers, if all are and have one unit.
fn numbers(values: &[String]) -> Option<Vec<f64>> {
    let parts = values.iter().map(|value| {
        let end = value.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(value.len());
        let (number, unit) = value.split_at(end);
        Some((number.parse::<f64>().ok()?, unit.trim()))
    });
    let parts: Vec<_> = parts.collect::<Option<_>>()?;
    let alike = parts.windows(2).all(|pair| pair[0].1 == pair[1].1);
    alike.then(|| parts.into_iter().map(|(number, _)| number).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(values: &[&str]) -> Vec<f64> {
        places(&values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn values_stand_by_their_logarithms_where_they_have_one() {
        assert_eq!(placed(&["10/s", "100/s", "1000/s"]), [0.06, 0.5, 0.94]);
        let spread = placed(&["1%", "2%", "100%"]);
        assert!(spread[1] < 0.25, "{spread:?}");
    }

    #[test]
    fn values_stand_side_by_side_where_one_is_zero_or_no_number_or_they_are_near() {
        for values in
            [["0%", "2%", "100%"], ["put", "get", "cas"], ["16B", "1KiB", "64KiB"], ["4", "2", "1"]]
        {
            assert_eq!(placed(&values), [1.0 / 6.0, 0.5, 5.0 / 6.0], "{values:?}");
        }
        assert_eq!(placed(&["100/s", "200/s"]), [0.25, 0.75]);
    }
}
