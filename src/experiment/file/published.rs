//! What others published, to stand beside what is measured.

use std::time::Duration;

use serde_yaml::{Mapping, Value};

use super::read::{At, Fields, Problem, Report};
use super::tree::Document;
use crate::experiment::network::not_yaml;
use crate::experiment::units::format_duration;

/// What one source says of one thing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Published {
    /// Where it was published.
    pub source: String,
    /// What was measured there, in words.
    pub what: String,
    /// The numbers.
    pub values: PublishedValues,
}

/// The numbers of a source, all of one kind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PublishedValues {
    /// Latencies at sites.
    Latency(Statistic, Vec<PublishedLatency>),
    /// For how long clients got no answer.
    Unavailability(Vec<PublishedUnavailability>),
}

/// Which number of a distribution.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Statistic {
    /// The arithmetic mean.
    Mean,
    /// The median.
    P50,
}

impl Statistic {
    /// What the file and tables call it.
    pub fn name(self) -> &'static str {
        match self {
            Statistic::Mean => "mean",
            Statistic::P50 => "p50",
        }
    }
}

/// A published latency. It names a mode, a system or both.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PublishedLatency {
    /// The label of the mode beside which it stands; none if this file runs nothing like it.
    pub mode: Option<String>,
    /// What was measured there.
    pub system: Option<String>,
    /// The site.
    pub site: String,
    /// The number.
    pub latency: Duration,
}

/// For how long a system's clients got no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PublishedUnavailability {
    /// The system.
    pub system: String,
    /// The protocol that it runs.
    pub protocol: Option<String>,
    /// For how long.
    pub lasts: Duration,
}

/// What published values are read beside.
pub(super) struct Named<'a> {
    pub(super) sites: &'a [String],
    /// The modes' labels.
    pub(super) modes: &'a [String],
}

const EXAMPLE: &str =
    "{ source: SOURCE, what: WHAT, values: [{ system: etcd, site: tokyo, mean: 680ms }] }";
const LATENCY_EXAMPLE: &str = "{ system: etcd, site: tokyo, mean: 680ms }";
const UNAVAILABILITY_EXAMPLE: &str = "{ system: etcd, protocol: Raft, unavailability: 1s }";
const KINDS: [&str; 3] = ["mean", "p50", "unavailability"];
const VALUE_KEYS: [&str; 7] =
    ["mode", "system", "protocol", "site", "mean", "p50", "unavailability"];

impl Published {
    /// What the file of a finished run, `text`, says was published; its runs have these modes and sites.
    /// The rest of the file is not looked at: another version may have written it.
    pub fn stored(
        text: &str,
        modes: &[String],
        sites: &[String],
    ) -> Result<Vec<Published>, Problem> {
        let file = "experiment.yaml";
        let document = Document::parse(file, text)
            .map_err(|(place, message)| Problem::of_file(file, place, not_yaml(&message)))?;
        let report = Report::new(&document);
        let fields = report.root().any_fields("a map");
        let named = Named { sites, modes };
        let read = fields
            .and_then(|fields| fields.or("published", Vec::new(), |at| read_published(at, &named)));
        match report.into_problems().into_iter().next() {
            Some(problem) => Err(problem),
            None => Ok(read.unwrap_or_default()),
        }
    }
}

pub(super) fn read_published(at: &At<'_>, named: &Named<'_>) -> Option<Vec<Published>> {
    let items = at.items(&format!("[{EXAMPLE}]"))?;
    let read: Vec<_> = items.iter().map(|item| read_one(item, named)).collect();
    read.into_iter().collect()
}

fn read_one(item: &At<'_>, named: &Named<'_>) -> Option<Published> {
    let fields = item.fields(&["source", "what", "values"], EXAMPLE)?;
    let source = fields.need("source", "\"CASPaxos (2018), section 3.2\"", words);
    let what = fields.need("what", "a read, an increment and a write back", words);
    let values =
        fields.need("values", &format!("[{LATENCY_EXAMPLE}]"), |at| read_values(at, named));
    Some(Published { source: source?, what: what?, values: values? })
}

/// A text with something in it.
fn words(at: &At<'_>) -> Option<String> {
    match at.text("a text")? {
        text if text.trim().is_empty() => at.wrong("is empty; write some words"),
        text => Some(text.trim().to_owned()),
    }
}

fn read_values(at: &At<'_>, named: &Named<'_>) -> Option<PublishedValues> {
    let items = at.items(&format!("[{LATENCY_EXAMPLE}]"))?;
    let kinds: Vec<_> = items.iter().map(kind_of).collect();
    let kinds: Vec<&str> = kinds.into_iter().collect::<Option<_>>()?;
    let Some(kind) = kinds.first() else {
        return at.wrong(format!("is empty; write [{LATENCY_EXAMPLE}] or remove the source"));
    };
    if let Some(other) = kinds.iter().find(|other| *other != kind) {
        return at.wrong(format!(
            "mixes `{kind}` and `{other}`; write an entry of `published` for each"
        ));
    }
    let statistic = match *kind {
        "mean" => Statistic::Mean,
        "p50" => Statistic::P50,
        _ => {
            let read: Vec<_> = items.iter().map(read_unavailability).collect();
            let read = read.into_iter().collect::<Option<_>>()?;
            return Some(PublishedValues::Unavailability(read));
        }
    };
    let read: Vec<_> = items.iter().map(|item| read_latency(item, statistic, named)).collect();
    let read: Vec<PublishedLatency> = read.into_iter().collect::<Option<_>>()?;
    let of = |one: &PublishedLatency| (one.mode.clone(), one.system.clone(), one.site.clone());
    let twice =
        read.iter().enumerate().find(|(n, one)| read[..*n].iter().any(|b| of(b) == of(one)));
    if let Some((index, _)) = twice {
        return items[index].wrong("stands here twice; remove one");
    }
    Some(PublishedValues::Latency(statistic, read))
}

/// Which of the kinds of numbers a value is.
fn kind_of(item: &At<'_>) -> Option<&'static str> {
    let fields = item.any_fields(LATENCY_EXAMPLE)?;
    let mut there = KINDS.iter().filter(|kind| fields.get(kind).is_some());
    match (there.next(), there.next()) {
        (Some(kind), None) => Some(kind),
        (Some(_), Some(_)) => fields.one_of(&KINDS).map(|(kind, _)| kind),
        (None, _) => {
            if !fields.refuse_others(&VALUE_KEYS) {
                item.wrong::<()>(
                    "has no number; write mean: 46ms, p50: 46ms or unavailability: 1s",
                );
            }
            None
        }
    }
}

fn read_latency(
    item: &At<'_>,
    statistic: Statistic,
    named: &Named<'_>,
) -> Option<PublishedLatency> {
    let fields = item.fields(&["mode", "system", "site", statistic.name()], LATENCY_EXAMPLE)?;
    let one_of_names = |what: &'static str, names: &[String], at: &At<'_>| {
        let names: Vec<(&str, &str)> =
            names.iter().map(|name| (name.as_str(), name.as_str())).collect();
        at.word(what, &names).map(str::to_owned)
    };
    let mode = optional(&fields, "mode", |at| one_of_names("mode", named.modes, at));
    let system = optional(&fields, "system", words);
    let example = named.sites.first().map_or("tokyo", String::as_str);
    let site = fields.need("site", example, |at| one_of_names("site", named.sites, at));
    let latency = fields.need(statistic.name(), "46ms", At::positive_duration);
    if (&mode, &system) == (&Some(None), &Some(None)) {
        return item.wrong("is nobody's; write system: NAME, or mode: with a mode of this file");
    }
    Some(PublishedLatency { mode: mode?, system: system?, site: site?, latency: latency? })
}

fn read_unavailability(item: &At<'_>) -> Option<PublishedUnavailability> {
    let fields = item.fields(&["system", "protocol", "unavailability"], UNAVAILABILITY_EXAMPLE)?;
    let system = fields.need("system", "etcd", words);
    let protocol = optional(&fields, "protocol", words);
    let lasts = fields.need("unavailability", "1s", At::duration);
    Some(PublishedUnavailability { system: system?, protocol: protocol?, lasts: lasts? })
}

/// Reads a key that may be left out. The outer none stands for a problem, which was reported.
#[expect(clippy::option_option, reason = "a problem is not the absence of a value")]
fn optional<'a, T>(
    fields: &Fields<'a>,
    key: &str,
    read: impl FnOnce(&At<'a>) -> Option<T>,
) -> Option<Option<T>> {
    fields.or(key, None, |at| read(at).map(Some))
}

pub(super) fn write_published(published: &[Published]) -> Value {
    let one = |published: &Published| {
        let values = match &published.values {
            PublishedValues::Latency(statistic, values) => {
                values.iter().map(|value| write_latency(*statistic, value)).collect()
            }
            PublishedValues::Unavailability(values) => {
                values.iter().map(write_unavailability).collect()
            }
        };
        super::write::map([
            ("source", published.source.as_str().into()),
            ("what", published.what.as_str().into()),
            ("values", Value::Sequence(values)),
        ])
    };
    Value::Sequence(published.iter().map(one).collect())
}

fn write_latency(statistic: Statistic, value: &PublishedLatency) -> Value {
    let latency = format_duration(value.latency);
    present([
        ("mode", value.mode.as_deref()),
        ("system", value.system.as_deref()),
        ("site", Some(&value.site)),
        (statistic.name(), Some(&latency)),
    ])
}

fn write_unavailability(value: &PublishedUnavailability) -> Value {
    let lasts = format_duration(value.lasts);
    present([
        ("system", Some(&value.system)),
        ("protocol", value.protocol.as_deref()),
        ("unavailability", Some(&lasts)),
    ])
}

fn present<const N: usize>(entries: [(&str, Option<&str>); N]) -> Value {
    let entries = entries.into_iter().filter_map(|(key, text)| Some((key.into(), text?.into())));
    Value::Mapping(entries.collect::<Mapping>())
}
