//! What a person sees on the terminal while an experiment runs.

use std::io::Write;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::experiment::file::Experiment;
use crate::results::{Backend, RunSummary};

/// How often the time that a simulation took is shown.
const TICK: Duration = Duration::from_secs(1);

/// A bar on standard error; lines only, where that is no terminal.
pub(super) struct Progress {
    bar: ProgressBar,
    runs: usize,
}

impl Progress {
    /// In real time it is known how long the load takes; in virtual time only how long it took.
    pub(super) fn new(experiment: &Experiment, backend: Backend, runs: usize) -> Self {
        let each = experiment.phases.warmup + experiment.phases.measure;
        let bar = ProgressBar::new(each.as_millis() as u64);
        let style = ProgressStyle::with_template(match backend {
            Backend::Quic => "{prefix} [{bar:30}] {msg}",
            Backend::Sim => "{prefix} [{elapsed}] {msg}",
        });
        if backend == Backend::Sim {
            bar.enable_steady_tick(TICK);
        }
        if let Ok(style) = style {
            bar.set_style(style.progress_chars("=> "));
        }
        Progress { bar, runs }
    }

    /// A run begins.
    pub(super) fn start(&self, index: usize, name: &str) {
        let prefix = format!("run {} of {}: {name}", index + 1, self.runs);
        if self.bar.is_hidden() {
            say_line(&prefix);
        }
        self.bar.set_position(0);
        self.bar.reset_elapsed();
        self.bar.set_prefix(prefix);
        self.say("starting");
    }

    /// Says what is going on.
    pub(super) fn say(&self, what: impl Into<String>) {
        self.bar.set_message(what.into());
    }

    /// Load is applied.
    pub(super) fn load(&self, since_start: Duration, completed: u64, errors: u64, rate_per_s: f64) {
        self.bar.set_position(since_start.as_millis() as u64);
        let failed = if errors > 0 { format!(", {errors} errors") } else { String::new() };
        self.say(format!("{completed} operations, {rate_per_s:.0}/s{failed}"));
    }

    /// A run is over; says what it measured in a line that stays.
    pub(super) fn finished(&self, run: &RunSummary) {
        let objections = run.verdict.objections();
        let verdict = if objections.is_empty() {
            "linearizable, converged".to_owned()
        } else {
            objections.join("; ")
        };
        self.tell(&format!("{}: {:.0} operations/s; {verdict}", run.name(), run.throughput_per_s));
    }

    /// Says something in a line that stays.
    pub(super) fn tell(&self, line: &str) {
        if self.bar.is_hidden() {
            say_line(line);
        } else {
            self.bar.println(line);
        }
    }
}

/// Nobody may be listening, and the run goes on all the same.
fn say_line(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
