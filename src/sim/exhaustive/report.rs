//! What `paxbench model` prints: a table, a line a configuration, and the way to what went wrong.

use std::fmt::Write as _;
use std::time::Duration;

use super::{Configuration, Modelled, Outcome, Verdict};
use crate::cli::ExitCode;

/// The configurations to explore: all of a protocol's, or the one of that name.
///
/// # Errors
///
/// Says which names there are, if none is that one.
pub fn chosen<P: Modelled>(name: Option<&str>) -> Result<Vec<Configuration<P>>, String> {
    let mut all = P::configurations();
    let Some(name) = name else { return Ok(all) };
    let names: Vec<_> =
        all.iter().map(|one| format!("\n  {:<28}{}", one.name, one.about)).collect();
    all.retain(|one| one.name == name);
    if all.is_empty() {
        return Err(format!("no configuration `{name}`: there are{}", names.concat()));
    }
    Ok(all)
}

/// The table's head, with a newline.
pub fn head() -> String {
    line(["configuration", "states", "transitions", "depth", "s", "states/s", "verdict"])
}

/// A configuration's line; below it what went wrong and the way there, if something did.
pub fn row(name: &str, outcome: &Outcome, took: Duration) -> String {
    let verdict = match &outcome.verdict {
        Verdict::Exhausted => "exhausted, all is well",
        Verdict::Unfinished => "NOT EXHAUSTED: more states than --states-max",
        Verdict::Violated { .. } => "VIOLATED",
    };
    let mut out = line([
        name,
        &outcome.states.to_string(),
        &outcome.transitions.to_string(),
        &outcome.depth.to_string(),
        &format!("{:.1}", took.as_secs_f64()),
        &format!("{:.0}", outcome.states as f64 / took.as_secs_f64().max(1e-9)),
        verdict,
    ]);
    if let Verdict::Violated { violation, path } = &outcome.verdict {
        let _ = writeln!(out, "  ! {violation}");
        for (step, action) in (1..).zip(path) {
            let _ = writeln!(out, "  {step:>3}  {action}");
        }
    }
    out
}

/// What a verdict means to a script.
pub fn exit_code(verdict: &Verdict) -> ExitCode {
    match verdict {
        Verdict::Exhausted => ExitCode::Done,
        Verdict::Unfinished => ExitCode::CouldNotRun,
        Verdict::Violated { .. } => ExitCode::Violation,
    }
}

fn line([name, states, transitions, depth, time_s, speed, verdict]: [&str; 7]) -> String {
    format!("{name:<28}{states:>10}{transitions:>13}{depth:>7}{time_s:>8}{speed:>10}  {verdict}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::invariants::Violation;
    use crate::protocol::paxos::Paxos;

    fn outcome(verdict: Verdict) -> Outcome {
        Outcome { states: 10, transitions: 20, depth: 3, verdict }
    }

    #[test]
    fn an_unknown_configuration_is_answered_with_the_names_of_all() {
        let Err(why) = chosen::<Paxos>(Some("nothing")) else { panic!("there is none") };
        assert!(why.contains("`nothing`") && why.contains("stable-multi"), "{why}");
        assert_eq!(chosen::<Paxos>(Some("stable-multi")).map(|found| found.len()), Ok(1));
        assert!(chosen::<Paxos>(None).is_ok_and(|all| all.len() > 3));
    }

    #[test]
    fn only_an_exhausted_model_is_a_success() {
        let violation = Violation { invariant: "agreement", what: "two values".to_owned() };
        let path = vec!["p0: crashes".to_owned()];
        let violated = Verdict::Violated { violation, path };
        assert_eq!(exit_code(&Verdict::Exhausted), ExitCode::Done);
        assert_eq!(exit_code(&Verdict::Unfinished), ExitCode::CouldNotRun);
        assert_eq!(exit_code(&violated), ExitCode::Violation);
        let row = row("stable", &outcome(violated), Duration::from_secs(2));
        assert!(
            row.ends_with("VIOLATED\n  ! agreement: two values\n    1  p0: crashes\n"),
            "{row}"
        );
    }

    #[test]
    fn the_columns_stand_below_their_heads() {
        let row = row("stable", &outcome(Verdict::Exhausted), Duration::from_secs(2));
        let ends = |text: &str, word: &str| text.find(word).map(|start| start + word.len());
        assert_eq!(ends(&row, " 20"), ends(&head(), "transitions"));
        assert_eq!(ends(&row, " 5"), ends(&head(), "states/s"));
    }
}
