//! A YAML file as a tree, with the place of each node.
//!
//! `serde_yaml` gives no places with the values it reads, only with its errors. So the tree is read
//! first, and when something in it is wrong, the text is read once more with a visitor that fails at
//! just that node: the error says the line and the column.

use std::fmt;
use std::str::FromStr;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error as _, IgnoredAny, MapAccess,
    SeqAccess, Visitor,
};

/// A node of the tree.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Node {
    pub(crate) value: Value,
    /// The change that put it here, by its place among them.
    pub(crate) set_by: Option<usize>,
}

/// What a node holds.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    /// In the order of the file; a key that stands there twice is here twice.
    Map(Vec<(String, Node)>),
}

/// A file, read into a tree.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    /// How messages call it.
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) root: Node,
    /// Where the changes came from that were made since.
    pub(crate) changes: Vec<Origin>,
}

/// What is to blame for a value: a place in the file, the file, or a `--set`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Origin {
    /// `FILE:LINE:COLUMN`, `FILE`, or the flag as the user wrote it.
    pub(crate) words: String,
    pub(crate) place: Option<Place>,
}

/// Where in a text: counted from 1, columns in characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// A key path's step: which entry of a map or list, and its name.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Step {
    pub(crate) index: usize,
    pub(crate) name: String,
}

/// A node's key or its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    Key,
    Value,
}

impl Document {
    /// Reads the text; the error says what is not YAML, and where if that is known.
    pub(crate) fn parse(name: &str, text: &str) -> Result<Document, (Option<Place>, String)> {
        let root = parse_node(text).map_err(|e| {
            let (place, message) = (place_of(&e), e.to_string());
            // The caller writes the place in front of the message.
            let said = place.map(|at| format!(" at line {} column {}", at.line, at.column));
            (place, message.replacen(&said.unwrap_or_default(), "", 1))
        })?;
        let (name, text) = (name.to_owned(), text.to_owned());
        Ok(Document { name, text, root, changes: Vec::new() })
    }

    /// Puts a value where the override says; the error says why it cannot be put there.
    pub(crate) fn apply(&mut self, change: &Override) -> Result<(), String> {
        let origin = Origin { words: change.flag(), place: None };
        self.put(&change.path, &change.value, origin)
    }

    /// Puts a value that came from `origin` where `path` leads.
    pub(crate) fn put(
        &mut self,
        path: &[String],
        value: &Value,
        origin: Origin,
    ) -> Result<(), String> {
        let by = Some(self.changes.len());
        expand_short_mode(&mut self.root, path);
        let node = put(&mut self.root, path, 0, by)?;
        node.value = value.clone();
        node.set_by = by;
        self.changes.push(origin);
        Ok(())
    }

    /// What is to blame for the node at `path`.
    pub(crate) fn origin_of(&self, path: &[Step], part: Part) -> Origin {
        if let Some(origin) = self.change_of(path) {
            return origin.clone();
        }
        let place = self.locate(path, part);
        let words = match place {
            Some(at) => format!("{}:{}:{}", self.name, at.line, at.column),
            None => self.name.clone(),
        };
        Origin { words, place }
    }

    /// Where the change came from that put the node at `path` there, if one did.
    fn change_of(&self, path: &[Step]) -> Option<&Origin> {
        let mut node = &self.root;
        let mut by = node.set_by;
        for step in path {
            node = match &node.value {
                Value::List(items) => items.get(step.index)?,
                Value::Map(entries) => &entries.get(step.index)?.1,
                _ => break,
            };
            by = node.set_by.or(by);
        }
        by.and_then(|index| self.changes.get(index))
    }

    /// Where the node at `path` stands in the text.
    pub(crate) fn locate(&self, path: &[Step], part: Part) -> Option<Place> {
        let find = Find { path, part };
        let found = find.deserialize(serde_yaml::Deserializer::from_str(&self.text));
        found.err().as_ref().and_then(place_of)
    }
}

fn parse_node(text: &str) -> Result<Node, serde_yaml::Error> {
    serde_yaml::from_str(text)
}

fn place_of(error: &serde_yaml::Error) -> Option<Place> {
    error.location().map(|at| Place { line: at.line(), column: at.column() })
}

/// `modes: [paxos]` is short for `modes: [{ mode: paxos }]`: makes it long where `path` leads into it.
fn expand_short_mode(root: &mut Node, path: &[String]) {
    let [first, index, _, ..] = path else { return };
    let Value::Map(entries) = &mut root.value else { return };
    let modes = entries.iter_mut().find(|(key, _)| key == "modes" && key == first);
    let Some((_, Node { value: Value::List(modes), .. })) = modes else { return };
    let mode = index.parse::<usize>().ok().and_then(|index| modes.get_mut(index));
    if let Some(mode) = mode
        && matches!(mode.value, Value::Text(_))
    {
        let name = Node { value: mode.value.clone(), set_by: mode.set_by };
        mode.value = Value::Map(vec![("mode".to_owned(), name)]);
    }
}

/// Finds or makes the node that `path` leads to from `node`, which its first `depth` steps led to.
fn put<'a>(
    node: &'a mut Node,
    path: &[String],
    depth: usize,
    by: Option<usize>,
) -> Result<&'a mut Node, String> {
    let Some(step) = path.get(depth) else { return Ok(node) };
    if node.value == Value::Null {
        node.value = Value::Map(Vec::new());
    }
    match &mut node.value {
        Value::List(items) => {
            let count = items.len();
            let item = step.parse::<usize>().ok().and_then(|index| items.get_mut(index));
            put(item.ok_or_else(|| no_entry(step, count))?, path, depth + 1, by)
        }
        Value::Map(entries) => {
            let index = entries.iter().position(|(key, _)| key == step).unwrap_or_else(|| {
                entries.push((step.clone(), Node { value: Value::Null, set_by: by }));
                entries.len() - 1
            });
            put(&mut entries[index].1, path, depth + 1, by)
        }
        other => Err(format!(
            "the file has {} there, which has no `{step}`; write {}={{ {step}: … }} instead",
            other.describe(),
            path[..depth].join(".")
        )),
    }
}

fn no_entry(step: &str, count: usize) -> String {
    match count {
        0 => format!("the list there is empty and has no `{step}`; write the whole list instead"),
        1 => format!("the list there has no `{step}`; write 0, its only entry, instead"),
        _ => format!("the list there has no `{step}`; write 0 to {} instead", count - 1),
    }
}

impl Value {
    /// What it is, for a message.
    pub(crate) fn describe(&self) -> String {
        match self {
            Value::Null => "nothing".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
            scalar => format!("`{}`", scalar.scalar_text().unwrap_or_default()),
        }
    }

    /// A scalar as text; none for nothing, lists and maps.
    pub(crate) fn scalar_text(&self) -> Option<String> {
        match self {
            Value::Bool(b) => Some(b.to_string()),
            Value::Integer(n) => Some(n.to_string()),
            Value::Float(x) => Some(x.to_string()),
            Value::Text(text) => Some(text.clone()),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }
}

/// A `--set path=value`: changes one value of the file before it is read.
#[derive(Clone, PartialEq, Debug)]
pub struct Override {
    text: String,
    path: Vec<String>,
    value: Value,
}

impl Override {
    /// The flag as the user wrote it.
    pub(crate) fn flag(&self) -> String {
        format!("--set {}", self.text)
    }

    /// Where it puts its value, step by step.
    pub(crate) fn path(&self) -> &[String] {
        &self.path
    }
}

impl FromStr for Override {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let usage = "write a path and a value such as phases.repeat=1";
        let (path, value) = text.split_once('=').ok_or(format!("no `=` in `{text}`; {usage}"))?;
        let path: Vec<String> = path.split('.').map(|step| step.trim().to_owned()).collect();
        if path.iter().any(String::is_empty) {
            return Err(format!("the path of `{text}` has an empty step; {usage}"));
        }
        let node = parse_node(value).map_err(|e| format!("the value of `{text}`: {e}; {usage}"))?;
        Ok(Override { text: text.to_owned(), path, value: node.value })
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Node, D::Error> {
        let value = from.deserialize_any(ReadValue)?;
        Ok(Node { value, set_by: None })
    }
}

struct ReadValue;

impl<'de> Visitor<'de> for ReadValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, a list or a map")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, b: bool) -> Result<Value, E> {
        Ok(Value::Bool(b))
    }

    fn visit_i64<E>(self, n: i64) -> Result<Value, E> {
        Ok(Value::Integer(n.into()))
    }

    fn visit_u64<E>(self, n: u64) -> Result<Value, E> {
        Ok(Value::Integer(n.into()))
    }

    fn visit_i128<E>(self, n: i128) -> Result<Value, E> {
        Ok(Value::Integer(n))
    }

    fn visit_u128<E>(self, n: u128) -> Result<Value, E> {
        Ok(i128::try_from(n).map_or(Value::Text(n.to_string()), Value::Integer))
    }

    fn visit_f64<E>(self, x: f64) -> Result<Value, E> {
        Ok(Value::Float(x))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = from.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = from.next_key::<Node>()? {
            let none = || A::Error::custom("a key must be a word");
            let key = key.value.scalar_text().ok_or_else(none)?;
            entries.push((key, from.next_value()?));
        }
        Ok(Value::Map(entries))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<Value, A::Error> {
        Err(A::Error::custom("YAML tags (`!word`) have no meaning here"))
    }
}

/// Fails at the node that it looks for.
struct Find<'a> {
    path: &'a [Step],
    part: Part,
}

/// A visitor that takes nothing, so that the reader reports where it is.
struct Here;

impl Visitor<'_> for Here {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing")
    }
}

impl<'de> DeserializeSeed<'de> for Here {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(Here)
    }
}

impl<'de> DeserializeSeed<'de> for Find<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        if self.path.is_empty() { from.deserialize_any(Here) } else { from.deserialize_any(self) }
    }
}

impl<'de> Visitor<'de> for Find<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list or a map")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<(), A::Error> {
        let Some((step, path)) = self.path.split_first() else { return Ok(()) };
        for _ in 0..step.index {
            from.next_element::<IgnoredAny>()?;
        }
        from.next_element_seed(Find { path, ..self })?;
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<(), A::Error> {
        let Some((step, path)) = self.path.split_first() else { return Ok(()) };
        for _ in 0..step.index {
            from.next_entry::<IgnoredAny, IgnoredAny>()?;
        }
        if path.is_empty() && self.part == Part::Key {
            from.next_key_seed(Here)?;
        } else {
            from.next_key::<IgnoredAny>()?;
        }
        from.next_value_seed(Find { path, ..self })
    }
}
