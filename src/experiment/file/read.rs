//! Strict reading: every problem of a file is collected, with its place, its key and its remedy.

use std::cell::RefCell;
use std::fmt;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::tree::{Document, Node, Origin, Part, Place, Step, Value};
use crate::experiment::units::{self, BadQuantity};

/// One thing that is wrong with a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// `FILE:LINE:COLUMN`, `FILE`, or the `--set` to blame.
    origin: String,
    place: Option<Place>,
    /// The key path, as `--set` takes it; empty for the whole file.
    pub(super) key: String,
    message: String,
}

impl Problem {
    /// A problem of a file as a whole, or at a place in it.
    pub(crate) fn of_file(file: &str, place: Option<Place>, message: String) -> Problem {
        let origin = match place {
            Some(place) => format!("{file}:{}:{}", place.line, place.column),
            None => file.to_owned(),
        };
        Problem { origin, place, key: String::new(), message }
    }

    /// A problem of a flag, such as `--set a.b=1`, or of what else is to blame.
    pub(crate) fn of_origin(origin: Origin, message: String) -> Problem {
        let Origin { words, place } = origin;
        Problem { origin: words, place, key: String::new(), message }
    }

    /// The same problem, for which something else is to blame.
    pub(crate) fn blamed_on(self, origin: &Origin) -> Problem {
        Problem { origin: origin.words.clone(), place: origin.place, ..self }
    }

    /// Whether both say the same of the same key, whatever is to blame.
    pub(crate) fn says_what(&self, other: &Problem) -> bool {
        (&self.key, &self.message) == (&other.key, &other.message)
    }

    /// Whether this is to blame.
    pub(crate) fn is_of(&self, origin: &Origin) -> bool {
        (&self.origin, self.place) == (&origin.words, origin.place)
    }
}

impl Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// What is wrong with one document, as it is found.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    document: &'a Document,
    problems: RefCell<Vec<Problem>>,
    /// Those of files that this one refers to.
    problems_elsewhere: RefCell<Vec<Problem>>,
}

impl<'a> Report<'a> {
    pub(crate) fn new(document: &'a Document) -> Self {
        Report { document, problems: RefCell::default(), problems_elsewhere: RefCell::default() }
    }

    /// The whole document.
    pub(crate) fn root(&self) -> At<'_> {
        At { report: self, node: &self.document.root, path: Vec::new() }
    }

    /// The problems found, in the order of the file; then those of other files.
    pub(crate) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.place);
        problems.extend(self.problems_elsewhere.into_inner());
        problems
    }

    /// Adds problems of another file that this one refers to.
    pub(crate) fn extend(&self, problems: Vec<Problem>) {
        self.problems_elsewhere.borrow_mut().extend(problems);
    }

    /// Reports a problem of the key `under` below `path`, or of `path` itself.
    fn add(&self, path: &[Step], part: Part, under: Option<&str>, message: String) {
        let Origin { words, place } = self.document.origin_of(path, part);
        let names = path.iter().map(|step| step.name.as_str()).chain(under);
        let key = names.collect::<Vec<_>>().join(".");
        self.problems.borrow_mut().push(Problem { origin: words, place, key, message });
    }
}

/// A node of a document and how to get there.
#[derive(Clone, Debug)]
pub(crate) struct At<'a> {
    report: &'a Report<'a>,
    node: &'a Node,
    path: Vec<Step>,
}

impl<'a> At<'a> {
    pub(crate) fn report(&self) -> &'a Report<'a> {
        self.report
    }

    pub(crate) fn value(&self) -> &'a Value {
        &self.node.value
    }

    /// What is to blame for the value.
    pub(crate) fn origin(&self) -> Origin {
        self.report.document.origin_of(&self.path, Part::Value)
    }

    /// Reports `message`; returns nothing, as the reader that found it does.
    pub(crate) fn wrong<T>(&self, message: impl Into<String>) -> Option<T> {
        self.report.add(&self.path, Part::Value, None, message.into());
        None
    }

    /// Reports that the value is not what was expected.
    fn not_a<T>(&self, expected: &str, instead: &str) -> Option<T> {
        if *self.value() == Value::Null {
            return self.wrong(format!("is empty; write {instead} or remove the key"));
        }
        self.wrong(format!(
            "{} is not {expected}; write {instead} instead",
            self.value().describe()
        ))
    }

    fn child(&self, index: usize, name: String, node: &'a Node) -> At<'a> {
        let mut path = self.path.clone();
        path.push(Step { index, name });
        At { report: self.report, node, path }
    }

    /// The entries of a list.
    pub(crate) fn items(&self, example: &str) -> Option<Vec<At<'a>>> {
        let Value::List(items) = self.value() else { return self.not_a("a list", example) };
        let item = |(index, node)| self.child(index, usize::to_string(&index), node);
        Some(items.iter().enumerate().map(item).collect())
    }

    /// The entries of a map whose keys are names that the file chose; each once.
    pub(crate) fn entries(&self, example: &str) -> Option<Vec<(&'a str, At<'a>)>> {
        let Value::Map(entries) = self.value() else { return self.not_a("a map", example) };
        let mut read: Vec<(&str, At<'a>)> = Vec::with_capacity(entries.len());
        for (index, (key, node)) in entries.iter().enumerate() {
            let at = self.child(index, key.clone(), node);
            if read.iter().any(|(known, _)| known == key) {
                at.wrong_key("stands here twice; remove one");
            } else {
                read.push((key, at));
            }
        }
        Some(read)
    }

    /// An entry of a map, if it is one and has it; reports nothing.
    pub(crate) fn entry(&self, key: &str) -> Option<At<'a>> {
        let Value::Map(entries) = self.value() else { return None };
        let mut entries = entries.iter().enumerate();
        let (index, (_, node)) = entries.find(|(_, (name, _))| name == key)?;
        Some(self.child(index, key.to_owned(), node))
    }

    /// Reports a problem of the node's key rather than of its value.
    pub(crate) fn wrong_key(&self, message: impl Into<String>) {
        self.report.add(&self.path, Part::Key, None, message.into());
    }

    /// A map with the keys `known`; any other is reported.
    pub(crate) fn fields(&self, known: &[&str], example: &str) -> Option<Fields<'a>> {
        self.fields_beside(known, &[], example)
    }

    /// As [`At::fields`], with keys that are let pass but not suggested.
    pub(crate) fn fields_beside(
        &self,
        known: &[&str],
        silent: &[&str],
        example: &str,
    ) -> Option<Fields<'a>> {
        let fields = self.any_fields(example)?;
        fields.refuse_but(known, silent);
        Some(fields)
    }

    /// A map, whatever keys it has: which ones are known depends on what is in it.
    pub(crate) fn any_fields(&self, example: &str) -> Option<Fields<'a>> {
        Some(Fields { at: self.clone(), entries: self.entries(example)? })
    }

    /// What a map without keys would be, for what stands for one.
    pub(crate) fn no_fields(&self) -> Fields<'a> {
        Fields { at: self.clone(), entries: Vec::new() }
    }

    /// A text.
    pub(crate) fn text(&self, example: &str) -> Option<&'a str> {
        match self.value() {
            Value::Text(text) => Some(text),
            other => match other.scalar_text() {
                Some(text) => self.not_a("a text", &format!("\"{text}\", in quotes,")),
                None => self.not_a("a text", example),
            },
        }
    }

    /// A name that becomes part of file names and certificates.
    pub(crate) fn name(&self, example: &str) -> Option<&'a str> {
        let text = self.text(example)?;
        let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let start = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if start && text.len() <= 60 && text.chars().all(fits) {
            return Some(text);
        }
        let expected = "a name of up to 60 letters, digits, dots, dashes and underscores, \
                        the first a letter or digit";
        self.not_a(expected, example)
    }

    /// One of a few words.
    pub(crate) fn word<T: Copy>(&self, what: &str, words: &[(&str, T)]) -> Option<T> {
        let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
        let Value::Text(text) = self.value() else {
            return self.not_a(&format!("a {what}"), &one_of(&names));
        };
        match words.iter().find(|(name, _)| name == text) {
            Some((_, meaning)) => Some(*meaning),
            None => self.wrong(unknown(what, text, &names)),
        }
    }

    /// `true` or `false`.
    pub(crate) fn flag(&self) -> Option<bool> {
        match self.value() {
            Value::Bool(flag) => Some(*flag),
            _ => self.not_a("true or false", "true or false"),
        }
    }

    /// A whole number within a range.
    pub(crate) fn count(&self, range: RangeInclusive<u64>, example: u64) -> Option<u64> {
        let (min, max) = range.into_inner();
        let Value::Integer(n) = *self.value() else {
            return self.not_a("a whole number", &example.to_string());
        };
        match u64::try_from(n) {
            Ok(n) if (min..=max).contains(&n) => Some(n),
            _ if n < i128::from(min) => {
                self.wrong(format!("`{n}` is less than {min}; write {example} instead"))
            }
            _ => self.wrong(format!("`{n}` is more than {max}; write {max} or less instead")),
        }
    }

    /// A number of any kind.
    pub(crate) fn number(&self, example: &str) -> Option<f64> {
        match *self.value() {
            Value::Integer(n) => Some(n as f64),
            Value::Float(x) if x.is_finite() => Some(x),
            _ => self.not_a("a number", example),
        }
    }

    /// A quantity with its unit.
    fn quantity<T>(
        &self,
        parse: impl Fn(&str) -> Result<T, BadQuantity>,
        expected: &str,
        example: &str,
    ) -> Option<T> {
        match self.value().scalar_text() {
            Some(text) => parse(&text).map_or_else(|bad| self.wrong(bad.to_string()), Some),
            None => self.not_a(expected, example),
        }
    }

    /// A duration, such as `5s`.
    pub(crate) fn duration(&self) -> Option<Duration> {
        self.quantity(units::parse_duration, "a duration", "5s")
    }

    /// A duration above zero.
    pub(crate) fn positive_duration(&self) -> Option<Duration> {
        match self.duration()? {
            Duration::ZERO => self.wrong("must be longer than nothing; write 1s or more instead"),
            duration => Some(duration),
        }
    }

    /// A duration of whole milliseconds, at least one.
    pub(crate) fn whole_ms(&self) -> Option<u64> {
        let duration = self.positive_duration()?;
        let ms = duration.as_millis() as u64;
        if Duration::from_millis(ms) == duration {
            return Some(ms);
        }
        self.wrong(format!("must be whole milliseconds; write {}ms instead", ms.max(1)))
    }

    /// A rate, such as `200/s`.
    pub(crate) fn rate(&self) -> Option<f64> {
        self.quantity(units::parse_rate, "a rate", "200/s")
    }

    /// A percentage as a share from 0 to 1.
    pub(crate) fn share(&self) -> Option<f64> {
        self.quantity(units::parse_share, "a percentage", "2%")
    }

    /// A size in bytes within a range.
    pub(crate) fn bytes(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let (min, max) = range.into_inner();
        let show = units::format_bytes;
        match self.quantity(units::parse_bytes, "a size", &show(min))? {
            n if n < min => self.wrong(format!(
                "{} is less than {}; write {} or more instead",
                show(n),
                show(min),
                show(min)
            )),
            n if n > max => self.wrong(format!(
                "{} is more than {}; write {} or less instead",
                show(n),
                show(max),
                show(max)
            )),
            n => Some(n),
        }
    }

    /// A bandwidth in bits a second.
    pub(crate) fn bandwidth(&self) -> Option<u64> {
        self.quantity(units::parse_bandwidth, "a bandwidth", "100Mbit/s")
    }
}

/// The keys of a map and their values.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    at: At<'a>,
    entries: Vec<(&'a str, At<'a>)>,
}

impl<'a> Fields<'a> {
    /// Reports all keys but the `known` ones; whether there were any.
    pub(crate) fn refuse_others(&self, known: &[&str]) -> bool {
        self.refuse_but(known, &[]);
        self.entries.iter().any(|(key, _)| !known.contains(key))
    }

    /// Reports all keys but these; those to be let pass silently are not suggested.
    fn refuse_but(&self, known: &[&str], silent: &[&str]) {
        for (key, at) in &self.entries {
            if !known.contains(key) && !silent.contains(key) {
                at.wrong_key(unknown("key", key, known));
            }
        }
    }

    /// The map itself.
    pub(crate) fn at(&self) -> &At<'a> {
        &self.at
    }

    /// The value of a key, if it is there.
    pub(crate) fn get(&self, key: &str) -> Option<&At<'a>> {
        self.entries.iter().find(|(name, _)| *name == key).map(|(_, at)| at)
    }

    /// Reads a key that must be there.
    pub(crate) fn need<T>(
        &self,
        key: &str,
        example: &str,
        read: impl FnOnce(&At<'a>) -> Option<T>,
    ) -> Option<T> {
        if let Some(at) = self.get(key) {
            return read(at);
        }
        let message = format!("is missing; write {key}: {example}");
        self.at.report.add(&self.at.path, Part::Value, Some(key), message);
        None
    }

    /// Reads a key that has a default. None stands for a problem, which was reported.
    pub(crate) fn or<T>(
        &self,
        key: &str,
        default: T,
        read: impl FnOnce(&At<'a>) -> Option<T>,
    ) -> Option<T> {
        self.get(key).map_or(Some(default), read)
    }

    /// Which one of a few keys that exclude each other is there.
    pub(crate) fn one_of(&self, keys: &[&'static str]) -> Option<(&'static str, &At<'a>)> {
        let mut there = keys.iter().filter_map(|key| Some((*key, self.get(key)?)));
        match (there.next(), there.next()) {
            (Some(only), None) => Some(only),
            (Some((one, _)), Some((other, at))) => {
                at.wrong_key(format!("excludes `{one}`; remove `{one}` or `{other}`"));
                None
            }
            // An unknown key was reported already.
            (None, _) if !self.entries.is_empty() => None,
            (None, _) => self.at.wrong(format!("says nothing; write {} in it", one_of(keys))),
        }
    }
}

/// "unknown key; write X instead", with the nearest of the known ones, or all of them.
pub(crate) fn unknown(what: &str, given: &str, known: &[&str]) -> String {
    match nearest(given, known) {
        Some(name) => format!("unknown {what} `{given}`; write {name} instead"),
        None => format!("unknown {what} `{given}`; write {} instead", one_of(known)),
    }
}

/// "a", "a or b", "one of a, b, c".
pub(crate) fn one_of(names: &[&str]) -> String {
    match names {
        [one] => (*one).to_owned(),
        [one, other] => format!("{one} or {other}"),
        _ => format!("one of {}", names.join(", ")),
    }
}

/// The name that was probably meant.
pub(crate) fn nearest<'a>(given: &str, names: &[&'a str]) -> Option<&'a str> {
    let given = given.to_lowercase().replace('-', "_");
    // Another number means another thing: who writes p95 does not mean p99.
    let digits = |name: &str| name.matches(|c: char| c.is_ascii_digit()).collect::<String>();
    let alike = names.iter().copied().filter(|name| digits(name) == digits(&given));
    let best = alike.min_by_key(|name| edit_distance(&given, name))?;
    (edit_distance(&given, best) <= (best.len() / 3).max(1)).then_some(best)
}

/// How many letters must be added, removed, replaced or swapped with the next (Damerau,
/// optimal string alignment).
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let differs = usize::from(a[i - 1] != b[j - 1]);
                let edit =
                    (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + differs);
                let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                if swapped { edit.min(rows[i - 2][j - 2] + 1) } else { edit }
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_and_a_far_one_is_not_suggested() {
        let names = ["clients_per_site", "arrival", "operations", "keys", "value"];
        assert_eq!(nearest("client_per_site", &names), Some("clients_per_site"));
        assert_eq!(nearest("clients-per-site", &names), Some("clients_per_site"));
        assert_eq!(nearest("valeu", &names), Some("value"));
        assert_eq!(nearest("Keys", &names), Some("keys"));
        assert_eq!(nearest("colour", &names), None);
    }

    #[test]
    fn edits_are_counted_with_swaps_as_one() {
        for (a, b, edits) in [("", "abc", 3), ("abc", "abc", 0), ("abc", "acb", 1), ("ab", "ba", 1)]
        {
            assert_eq!(edit_distance(a, b), edits, "{a} {b}");
        }
        assert_eq!(edit_distance("kitten", "sitting"), 3);
    }
}
