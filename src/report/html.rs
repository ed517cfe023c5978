//! The page: one file that needs nothing else.

use std::collections::BTreeMap;

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment};
use serde::Serialize;

use super::Beside;
use super::cells::{Cell, CellSite};
use super::figures::{Figure, grouped};
use super::table::Table;
use crate::results::{
    Backend, LatencyMs, Linearizable, LinkRtt, Manifest, Results, RttMs, RunSummary,
    ShaperLateness, Verdict,
};

/// The page of a run. The error is one line.
pub(super) fn page(
    results: &Results,
    cells: &[Cell<'_>],
    figures: &[Figure],
    beside: &Beside,
) -> Result<String, String> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    environment.add_template("page", include_str!("page.html")).map_err(|e| one_line(&e))?;
    let page = environment.get_template("page").map_err(|e| one_line(&e))?;
    let manifest = serde_json::to_string_pretty(&results.manifest).map_err(|e| e.to_string())?;
    let sweep = cells.iter().any(|cell| cell.point_index > 0);
    let values = Page {
        name: name_of(results),
        facts: facts(&results.manifest),
        predicted: results.manifest.backend == Backend::Sim,
        debug: results.manifest.environment.profile != "release",
        notes: &results.manifest.notes,
        banner: Banner::of(results, cells),
        modes: cells.iter().map(mode).collect(),
        runs: results.summary.runs.iter().map(run).collect(),
        counted: cells.iter().filter_map(counted).collect(),
        silences: beside.silences.as_ref().map(Section::of),
        silence_details: Section::of(&beside.details),
        published: beside.published.iter().map(Section::of).collect(),
        figures: figures.iter().map(|figure| Picture::of(figure, sweep)).collect(),
        links: results.manifest.rtt.iter().map(link).collect(),
        shaper: results.manifest.shaper.iter().map(lateness).collect(),
        experiment: &results.experiment,
        manifest,
    };
    page.render(Serde(values)).map_err(|e| one_line(&e))
}

/// What the template shows.
#[derive(Serialize)]
struct Page<'a> {
    name: String,
    facts: Vec<Fact>,
    /// Whether this was no release build.
    debug: bool,
    /// Whether nothing here was measured.
    predicted: bool,
    notes: &'a [String],
    banner: Banner,
    modes: Vec<Mode>,
    runs: Vec<Run>,
    counted: Vec<Counted>,
    silences: Option<Section<'a>>,
    silence_details: Section<'a>,
    published: Vec<Section<'a>>,
    figures: Vec<Picture<'a>>,
    links: Vec<Vec<String>>,
    shaper: Vec<Vec<String>>,
    experiment: &'a str,
    manifest: String,
}

/// A table with its title and how to read it.
#[derive(Serialize)]
struct Section<'a> {
    title: &'a str,
    note: &'a str,
    head: &'a [String],
    words: usize,
    rows: &'a [Vec<String>],
}

impl Section<'_> {
    fn of(table: &Table) -> Section<'_> {
        let Table { title, note, head, words, rows } = table;
        Section { title, note, head, words: *words, rows }
    }
}

fn one_line(error: &minijinja::Error) -> String {
    format!("{error:#}").replace('\n', "; ")
}

/// What the run is called: the name of the directory above its time.
fn name_of(results: &Results) -> String {
    let absolute = std::fs::canonicalize(&results.path).unwrap_or_else(|_| results.path.clone());
    let parent = absolute.parent().and_then(|parent| parent.file_name());
    parent.map_or_else(|| "run".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// A name and a value, for a line of facts.
type Fact = (&'static str, String);

fn facts(manifest: &Manifest) -> Vec<Fact> {
    let machine = &manifest.environment;
    let cpu = machine.cpu.model.clone().unwrap_or_else(|| "unknown processor".to_owned());
    let count = machine.cpu.count.map_or_else(|| "?".to_owned(), |count| count.to_string());
    let memory =
        machine.memory_bytes.map(|b| format!(", {:.1} GiB", b as f64 / f64::from(1 << 30)));
    let commit = machine.commit.as_ref().map_or(String::new(), |commit| {
        let changed = if machine.dirty == Some(true) { ", changed" } else { "" };
        format!(" ({}{changed})", commit.chars().take(10).collect::<String>())
    });
    vec![
        ("Started", manifest.started.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()),
        ("Backend", backend(manifest.backend).to_owned()),
        ("Version", format!("{}{commit}, {} build", machine.version, machine.profile)),
        ("Machine", format!("{count} × {cpu}{}", memory.unwrap_or_default())),
        ("Kernel", machine.kernel.clone()),
    ]
}

fn backend(backend: Backend) -> &'static str {
    match backend {
        Backend::Quic => "quic: measured in real time",
        Backend::Sim => "sim: predicted in virtual time",
    }
}

/// The verdict over all runs.
#[derive(Serialize)]
struct Banner {
    /// `good`, `doubtful` or `bad`: a class of the page.
    class: &'static str,
    headline: String,
    warnings: Vec<String>,
}

impl Banner {
    fn of(results: &Results, cells: &[Cell<'_>]) -> Banner {
        let warnings: Vec<String> = cells.iter().flat_map(Cell::warnings).collect();
        let verdicts = || results.summary.runs.iter().map(|run| &run.verdict);
        let (class, headline) = if verdicts().any(Verdict::is_violation) {
            ("bad", "A violation of consistency was found. Do not use these numbers.")
        } else if verdicts().any(|verdict| verdict.void.is_some()) {
            ("bad", "Void: the load or the network was not what the file says.")
        } else if warnings.is_empty() {
            ("good", "Every history is linearizable, and all replicas ended in the same state.")
        } else {
            ("doubtful", "Not verified: consistency was not shown for every run.")
        };
        Banner { class, headline: headline.to_owned(), warnings }
    }
}

#[derive(Serialize)]
struct Mode {
    title: String,
    rows: Vec<Vec<String>>,
}

fn mode(cell: &Cell<'_>) -> Mode {
    Mode { title: title(cell), rows: cell.sites.iter().map(site_row).collect() }
}

fn title(cell: &Cell<'_>) -> String {
    let point = if cell.point.is_empty() { String::new() } else { format!(" · {}", cell.point) };
    let repeats = match cell.runs.len() {
        1 => String::new(),
        n => format!(" · {n} repeats merged"),
    };
    format!("{}{point}{repeats}", cell.label)
}

/// Site, count, errors, p50, p90, p99, p99.9, max, bound, p50 − bound.
fn site_row(site: &CellSite<'_>) -> Vec<String> {
    let latency = site.latency();
    let ms = |of: fn(&LatencyMs) -> f64| number(latency.as_ref().map(of), 2);
    let bounds: Vec<_> = site.bounds_ms.iter().map(|bound| format!("{bound:.2}")).collect();
    let bound = if bounds.is_empty() { "–".to_owned() } else { bounds.join(" / ") };
    let over = latency.zip(site.bound_ms()).map(|(latency, bound)| latency.p50 - bound);
    vec![
        site.site.to_owned(),
        grouped(&site.count().to_string()),
        grouped(&site.errors.to_string()),
        ms(|l| l.p50),
        ms(|l| l.p90),
        ms(|l| l.p99),
        ms(|l| l.p99_9),
        ms(|l| l.max),
        bound,
        over.map_or_else(|| "–".to_owned(), |ms| format!("{ms:+.2}").replace('-', "−")),
    ]
}

/// A number with so many decimals, thousands apart; `–` for none.
fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "–".to_owned(), |value| grouped(&format!("{value:.decimals$}")))
}

#[derive(Serialize)]
struct Run {
    /// `good`, `doubtful` or `bad`.
    class: &'static str,
    verdict: String,
    cells: Vec<String>,
}

fn run(run: &RunSummary) -> Run {
    let verdict = &run.verdict;
    let objections = verdict.objections();
    let class = match verdict.linearizable {
        _ if verdict.is_violation() || verdict.void.is_some() => "bad",
        Linearizable::Valid if objections.is_empty() => "good",
        _ => "doubtful",
    };
    let point = run.point_words();
    let name = if point.is_empty() { run.label.clone() } else { format!("{}, {point}", run.label) };
    let cost = run.cost;
    Run {
        class,
        verdict: if objections.is_empty() {
            "linearizable, converged".to_owned()
        } else {
            objections.join("; ")
        },
        cells: vec![
            name,
            (run.repeat + 1).to_string(),
            number(Some(run.throughput_per_s), 1),
            number(cost.cpu_us_per_op, 2),
            number(cost.cpu_replicas_us_per_op, 2),
            number(cost.cpu_clients_us_per_op, 2),
            number(Some(cost.messages_per_op), 2),
            number(Some(cost.bytes_per_op), 0),
            number(Some(cost.syncs_per_op), 3),
            number(verdict.schedule_lag_p99_9_ms, 2),
        ],
    }
}

/// What stands beside the counts of the cores and is none: a place in the list of replicas, how things
/// stood at the end, and what the process that hosts the core counts.
const NO_COUNTS: [&str; 7] = [
    "leader",
    "registers",
    "registers_with_value",
    "commands_under_way",
    "round_trip_us",
    "log_records",
    "frames_dropped",
];

/// What the quotient of some counts is called, whether it is a share, and of which counts: sums of them.
type Quotient = (&'static str, bool, &'static [&'static str], &'static [&'static str]);

/// Quotients of counts that say more than the counts. (Those of CASPaxos.)
const QUOTIENTS: [Quotient; 3] = [
    (
        "attempts that needed one round trip",
        true,
        &["one_round_trip"],
        &["one_round_trip", "two_round_trips"],
    ),
    ("attempts a change", false, &["one_round_trip", "two_round_trips"], &["chosen"]),
    (
        "rounds of clean reads that found the replicas agreed",
        true,
        &["clean_reads"],
        &["clean_reads", "clean_reads_in_vain"],
    ),
];

/// What the cores of a mode's replicas counted.
#[derive(Serialize)]
struct Counted {
    title: String,
    rows: Vec<Vec<String>>,
    quotients: String,
    /// The names of what never happened.
    never: String,
}

/// The quotients of what was counted, as far as it was.
fn quotients<'a>(cores: impl Iterator<Item = &'a BTreeMap<String, u64>> + Clone) -> String {
    let sum = |names: &[&str]| -> u64 {
        cores.clone().flat_map(|core| names.iter().filter_map(|name| core.get(*name))).sum()
    };
    let words = |(name, is_share, part, whole): Quotient| {
        let quotient = sum(part) as f64 / sum(whole) as f64;
        let value = match is_share {
            true => format!("{:.2} %", 100.0 * quotient),
            false => format!("{quotient:.3}"),
        };
        quotient.is_finite().then(|| format!("{name}: {value}"))
    };
    QUOTIENTS.into_iter().filter_map(words).collect::<Vec<_>>().join("; ")
}

/// All repeats together; none if no core counted anything.
fn counted(cell: &Cell<'_>) -> Option<Counted> {
    let cores = || cell.replicas.iter().flatten().map(|replica| &replica.core);
    let mut names: Vec<&str> = cores().flat_map(|core| core.keys()).map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    names.retain(|name| !NO_COUNTS.contains(name));
    let executed = cell.executed();
    let counts = |name: &str| cores().map(|core| core.get(name).copied().unwrap_or(0)).collect();
    let row = |name: &&str| {
        let counts: Vec<u64> = counts(name);
        let whole = |count: Option<u64>| grouped(&count.unwrap_or(0).to_string());
        let sum: u64 = counts.iter().sum();
        let each = (executed > 0).then(|| sum as f64 / executed as f64);
        let (least, most) = (counts.iter().min().copied(), counts.iter().max().copied());
        vec![(*name).to_owned(), whole(Some(sum)), number(each, 4), whole(least), whole(most)]
    };
    let happened = |name: &&str| counts(name).iter().any(|count| *count > 0);
    let (some, never): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| happened(name));
    let rows: Vec<_> = some.iter().map(row).collect();
    (!names.is_empty()).then(|| Counted {
        title: title(cell),
        rows,
        quotients: quotients(cores()),
        never: never.join(", "),
    })
}

/// The SVG goes into the page as it is: it is ours, and what names stand in it were escaped when it
/// was drawn.
#[derive(Serialize)]
struct Picture<'a> {
    name: &'a str,
    title: &'a str,
    /// Whether it is one of the many of a sweep.
    folded: bool,
    svg: &'a str,
}

impl Picture<'_> {
    /// Of a sweep, only what shows all of it is open.
    fn of(figure: &Figure, sweep: bool) -> Picture<'_> {
        let folded = sweep && !figure.is_of_all_points();
        Picture { name: &figure.name, title: &figure.title, folded, svg: &figure.drawing.svg }
    }
}

/// Between, run, asked, then minimum, median and 99th percentile before and after.
fn link(link: &LinkRtt) -> Vec<String> {
    let measured = |rtt: Option<RttMs>| {
        [rtt.map(|r| r.min), rtt.map(|r| r.p50), rtt.map(|r| r.p99)].map(|ms| number(ms, 2))
    };
    let mut row = vec![
        format!("{} – {}", link.from, link.to),
        link.run.clone().unwrap_or_else(|| "all".to_owned()),
        number(link.asked_ms, 2),
    ];
    row.extend(measured(link.before));
    row.extend(measured(link.after));
    row
}

/// Process, run, count, median, 99th percentile, largest.
fn lateness(shaper: &ShaperLateness) -> Vec<String> {
    let mut row = vec![
        shaper.process.clone(),
        shaper.run.clone().unwrap_or_else(|| "all".to_owned()),
        grouped(&shaper.count.to_string()),
    ];
    row.extend([shaper.p50_us, shaper.p99_us, shaper.max_us].map(|us| number(Some(us), 1)));
    row
}
