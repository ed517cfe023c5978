//! The tables that a run prints at its end.

use crate::results::{RunSummary, SiteSummary, Summary};

use super::figures::grouped;

const HEAD: [&str; 7] = ["site", "count", "errors", "p50 ms", "p99 ms", "bound ms", "p50 − bound"];

/// A table, to be printed or to stand in the page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Table {
    /// What it is about.
    pub(super) title: String,
    /// How to read it.
    pub(super) note: String,
    pub(super) head: Vec<String>,
    /// So many columns hold words, the others numbers.
    pub(super) words: usize,
    pub(super) rows: Vec<Vec<String>>,
}

impl Table {
    /// As text, which ends with a newline: the title, the note, and a line a row.
    pub(super) fn text(&self) -> String {
        let lines = aligned(&self.head, &self.rows, self.words);
        format!("{}\n{}{lines}", self.title, wrapped(&self.note))
    }
}

/// A text in lines that a terminal holds.
fn wrapped(text: &str) -> String {
    const WIDTH: usize = 100;
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(format!("  {word}")),
        }
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

/// A block a run: what it is, its verdict where it is not good, and a row a site. Numbers are right-
/// aligned; what is not known is `–`. The text ends with a newline.
pub fn summary_table(summary: &Summary) -> String {
    let several = summary.runs.iter().any(|run| run.repeat > 0);
    summary.runs.iter().map(|run| block(run, several)).collect::<Vec<_>>().join("\n")
}

fn block(run: &RunSummary, several: bool) -> String {
    let sites = run.site_names().into_iter();
    let rows: Vec<Vec<String>> = sites.filter_map(|site| run.all_of(site)).map(row).collect();
    title(run, several) + &aligned(&HEAD.map(str::to_owned), &rows, 1)
}

fn title(run: &RunSummary, several: bool) -> String {
    let mut parts = vec![run.label.clone()];
    parts.extend(Some(run.point_words()).filter(|point| !point.is_empty()));
    if several {
        parts.push(format!("repeat {}", run.repeat + 1));
    }
    parts.push(format!("{} ops/s", grouped(&format!("{:.1}", run.throughput_per_s))));
    let objections = run.verdict.objections();
    if objections.is_empty() {
        parts.push("linearizable, converged".to_owned());
    }
    let mut out = parts.join(" · ") + "\n";
    for objection in objections {
        out += "  ! ";
        out += &objection;
        out.push('\n');
    }
    out
}

fn row(site: &SiteSummary) -> Vec<String> {
    let ms = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |ms| format!("{ms:.2}"));
    let (p50, p99) = (site.latency_ms.map(|l| l.p50), site.latency_ms.map(|l| l.p99));
    let over = p50.zip(site.bound_ms).map(|(p50, bound)| p50 - bound);
    let over = over.map_or_else(|| "–".to_owned(), |ms| format!("{ms:+.2}"));
    vec![
        site.site.clone(),
        grouped(&site.count.to_string()),
        grouped(&site.errors.to_string()),
        ms(p50),
        ms(p99),
        ms(site.bound_ms),
        over,
    ]
}

/// The head and the rows, a line each: the first columns to the left, the others to the right.
fn aligned(head: &[String], rows: &[Vec<String>], words: usize) -> String {
    let lines = || std::iter::once(head).chain(rows.iter().map(Vec::as_slice));
    let width = |column: usize| lines().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut out = String::new();
    for line in lines() {
        let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            if column < words { format!("  {cell:<width$}") } else { format!("  {cell:>width$}") }
        });
        out += cells.collect::<String>().trim_end();
        out.push('\n');
    }
    out
}
