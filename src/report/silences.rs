//! For how long clients got no answer, fault by fault, beside what was published of other systems.

use super::cells::Cell;
use super::table::Table;
use crate::experiment::file::{Published, PublishedUnavailability, PublishedValues};
use crate::results::{RunSummary, SiteSilence, Unavailability};

/// How the numbers are to be read.
const NOTE: &str = "The longest time without a completed operation at a site, from a fault to the next one or to the \
     end of the measured phase; 0 where it is not longer than the longest before the first fault by more than \
     0.1 s and the network's longest round trip, which it takes to be answered by a farther quorum. ≥: nothing had \
     completed again by then. Of several repeats, the longest. A change of members befalls no site.";

/// A row a mode and fault, then a row a published value; none if no run looked.
pub(super) fn table(cells: &[Cell<'_>], published: &[Published]) -> Option<Table> {
    let mut rows: Vec<Vec<String>> = cells.iter().flat_map(rows).collect();
    if rows.is_empty() {
        return None;
    }
    let values: Vec<_> = published.iter().flat_map(published_rows).collect();
    let mut head = vec!["mode", "fault", "clients at the faulted site", "worst of the other sites"];
    if !values.is_empty() {
        head.push("published");
        for row in &mut rows {
            row.push(none());
        }
    }
    rows.extend(values);
    let sources = published.iter().filter(|one| is_unavailability(one));
    let sources: Vec<_> = sources.map(|one| one.source.as_str()).collect();
    let from = match sources[..] {
        [] => String::new(),
        _ => format!(" Published: {}.", sources.join("; ")),
    };
    Some(Table {
        title: "Unavailability".to_owned(),
        note: format!("{NOTE}{from}"),
        head: head.into_iter().map(str::to_owned).collect(),
        words: 2,
        rows,
    })
}

/// Every stretch behind the table: a row a run, fault and site.
pub(super) fn details(cells: &[Cell<'_>]) -> Table {
    let of_run = |run: &RunSummary, name: &str| -> Vec<Vec<String>> {
        let faults = run.unavailability.iter();
        let sites = faults.flat_map(|it| it.sites.iter().map(move |silence| (it, silence)));
        let row = |(it, silence): (&Unavailability, &SiteSilence)| {
            let exactly = if silence.resolution_ms == 0.0 { "history" } else { "timeline" };
            vec![
                name.to_owned(),
                (run.repeat + 1).to_string(),
                it.fault.clone(),
                silence.site.clone(),
                stretch(silence.longest_ms, silence.cut_short),
                silence.usual_ms.map_or_else(none, seconds),
                silence.unavailable_ms.map_or_else(none, |ms| stretch(ms, silence.cut_short)),
                exactly.to_owned(),
            ]
        };
        sites.map(row).collect()
    };
    let of_cell = |cell: &Cell<'_>| -> Vec<Vec<String>> {
        cell.runs.iter().flat_map(|run| of_run(run, &cell.name())).collect()
    };
    let head = ["mode", "repeat", "fault", "site", "longest", "usual", "counts", "from the"];
    Table {
        title: "Each site".to_owned(),
        note: String::new(),
        head: head.map(str::to_owned).to_vec(),
        words: 4,
        rows: cells.iter().flat_map(of_cell).collect(),
    }
}

fn none() -> String {
    "–".to_owned()
}

fn rows(cell: &Cell<'_>) -> Vec<Vec<String>> {
    let faults = cell.runs.iter().map(|run| run.unavailability.len()).max().unwrap_or(0);
    let row = |index: usize| {
        let repeats = || cell.runs.iter().filter_map(move |run| run.unavailability.get(index));
        let here = worst(repeats().filter_map(Unavailability::at_the_fault));
        let elsewhere = worst(repeats().flat_map(Unavailability::elsewhere));
        let at = |silence: &SiteSilence| {
            let named = silence.unavailable_ms.is_some_and(|ms| ms > 0.0);
            if named { format!(" ({})", silence.site) } else { String::new() }
        };
        vec![
            cell.name(),
            repeats().next().map_or_else(String::new, |it| it.fault.clone()),
            here.map_or_else(none, counted),
            elsewhere.map_or_else(none, |silence| counted(silence) + &at(silence)),
        ]
    };
    (0..faults).map(row).collect()
}

/// The longest of those that are known.
fn worst<'a>(silences: impl Iterator<Item = &'a SiteSilence>) -> Option<&'a SiteSilence> {
    let known = silences.filter(|silence| silence.unavailable_ms.is_some());
    known.max_by(|a, b| a.unavailable_ms.unwrap_or(0.0).total_cmp(&b.unavailable_ms.unwrap_or(0.0)))
}

fn counted(silence: &SiteSilence) -> String {
    silence.unavailable_ms.map_or_else(none, |ms| stretch(ms, silence.cut_short))
}

fn stretch(ms: f64, cut_short: bool) -> String {
    match (ms > 0.0, cut_short) {
        (false, _) => "0".to_owned(),
        (true, false) => seconds(ms),
        (true, true) => format!("≥ {}", seconds(ms)),
    }
}

fn seconds(ms: f64) -> String {
    format!("{:.2} s", ms / 1e3)
}

fn is_unavailability(published: &Published) -> bool {
    matches!(published.values, PublishedValues::Unavailability(_))
}

fn published_rows(published: &Published) -> Vec<Vec<String>> {
    let PublishedValues::Unavailability(values) = &published.values else { return Vec::new() };
    let row = |value: &PublishedUnavailability| {
        let protocol = value.protocol.as_ref().map(|protocol| format!(" ({protocol})"));
        let system = format!("{}{}", value.system, protocol.unwrap_or_default());
        // with the digits that were published, and no more
        let lasts = format!("{} s", value.lasts.as_secs_f64());
        vec![system, published.what.clone(), none(), none(), lasts]
    };
    values.iter().map(row).collect()
}
