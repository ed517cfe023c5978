//! The execution algorithm (§5.2), one commit at a time: strongly connected components of the committed
//! graph, in dependency order, each in one total order, by (seq, number, owner).
//!
//! Tarjan's algorithm with a stack of its own instead of recursion. A component is executed as soon as
//! its search leaves it: what it depends on came out before. A search that meets an instance that is not
//! committed ends there: all that is on its stack reaches that instance, so it is noted at each, and the
//! search starts again when that one is committed. So an edge is looked at once for each time that its
//! source is blocked, however long the backlog.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use super::deps::Deps;
use super::instances::Rows;
use super::message::InstanceId;

/// Where a search met an instance.
#[derive(Clone, Hash, Debug, Default)]
pub struct Visit {
    /// The order in which it was met, from 1; 0 if it was not, or the search is over.
    index: u32,
    /// The lowest index that it reaches.
    low: u32,
    /// The last search that met it ended at this instance, which was not committed.
    blocked_on: Option<InstanceId>,
}

/// An instance whose dependencies are being looked at.
#[derive(Clone, Hash, Debug)]
struct Frame {
    id: InstanceId,
    next: Cursor,
}

/// A place among the dependencies of an instance.
#[derive(Clone, Copy, Hash, Debug, Default)]
struct Cursor {
    owner: u8,
    number: u64,
    position: usize,
}

/// The executor: what is left to look at between two commits.
#[derive(Clone, Hash, Debug, Default)]
pub struct Executor {
    roots: VecDeque<InstanceId>,
    frames: Vec<Frame>,
    /// Tarjan's stack: met, and not yet in a component that is complete.
    stack: Vec<InstanceId>,
    /// What came out so far.
    pub components: Components,
}

/// How large the components were, for the counters of a run.
#[derive(Clone, Copy, Default, Debug)]
pub struct Components {
    /// How many there were.
    pub count: u64,
    /// Instances in the largest.
    pub max: u64,
    /// Instances in those of more than one.
    pub in_cycles: u64,
}

/// No step looks at it: it does not tell states apart.
impl Hash for Components {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// What a look at the next dependency of an instance shows.
enum Next {
    /// One that was not met yet.
    Unmet(InstanceId),
    /// One that is on the stack.
    OnStack(InstanceId),
    /// One that is not committed.
    Blocked(InstanceId),
    /// There are no more.
    None,
}

impl Components {
    fn add(&mut self, size: u64) {
        self.count += 1;
        self.max = self.max.max(size);
        self.in_cycles += if size > 1 { size } else { 0 };
    }
}

impl Executor {
    /// An instance is final: it, and what waited for it, may be executed now.
    pub fn committed(&mut self, id: InstanceId, rows: &mut Rows) {
        self.roots.push_back(id);
        if let Some(instance) = rows.get_mut(id) {
            self.roots.extend(instance.waiters.drain(..));
        }
    }

    /// Executes all that can be: appends it to `order`.
    pub fn run(&mut self, rows: &mut Rows, order: &mut Vec<InstanceId>) {
        while let Some(root) = self.roots.pop_front() {
            let ready = rows.get(root).is_some_and(|i| i.final_here && !i.executed);
            if ready {
                self.search(root, rows, order);
            }
        }
    }

    fn search(&mut self, root: InstanceId, rows: &mut Rows, order: &mut Vec<InstanceId>) {
        let mut indices = 0;
        self.meet(root, &mut indices, rows);
        while let Some(frame) = self.frames.last_mut() {
            let id = frame.id;
            match look(id, &mut frame.next, rows) {
                Next::Unmet(other) => self.meet(other, &mut indices, rows),
                Next::OnStack(other) => {
                    let index = visit(rows, other).index;
                    lower(rows, id, index);
                }
                Next::Blocked(other) => return self.block(root, other, rows),
                Next::None => self.leave(id, rows, order),
            }
        }
    }

    fn meet(&mut self, id: InstanceId, indices: &mut u32, rows: &mut Rows) {
        *indices += 1;
        let visit = visit_mut(rows, id);
        *visit = Visit { index: *indices, low: *indices, blocked_on: None };
        self.stack.push(id);
        self.frames.push(Frame { id, next: Cursor::default() });
    }

    /// All dependencies of an instance were looked at.
    fn leave(&mut self, id: InstanceId, rows: &mut Rows, order: &mut Vec<InstanceId>) {
        self.frames.pop();
        let Visit { index, low, .. } = *visit(rows, id);
        if let Some(parent) = self.frames.last() {
            lower(rows, parent.id, low);
        }
        if low != index {
            return;
        }
        let first = self.stack.iter().rposition(|other| *other == id).expect("it was met");
        let mut component = self.stack.split_off(first);
        let seq =
            |id: &InstanceId| rows.get(*id).and_then(|i| i.attributes.as_ref()).map(|a| a.seq);
        component.sort_unstable_by_key(|id| (seq(id), id.number, id.owner));
        self.components.add(component.len() as u64);
        for id in component {
            *visit_mut(rows, id) = Visit::default();
            rows.of_mut(id.owner).set_executed(id.number);
            order.push(id);
        }
    }

    /// The search of `root` ends at an instance that is not committed.
    fn block(&mut self, root: InstanceId, on: InstanceId, rows: &mut Rows) {
        self.frames.clear();
        for id in self.stack.drain(..) {
            *visit_mut(rows, id) = Visit { blocked_on: Some(on), ..Visit::default() };
        }
        rows.get_mut(on).expect("it was made for this").waiters.push(root);
    }
}

fn visit(rows: &Rows, id: InstanceId) -> &Visit {
    &rows.get(id).expect("what is met has a record").visit
}

fn visit_mut(rows: &mut Rows, id: InstanceId) -> &mut Visit {
    &mut rows.get_mut(id).expect("what is met has a record").visit
}

fn lower(rows: &mut Rows, id: InstanceId, to: u32) {
    let visit = visit_mut(rows, id);
    visit.low = visit.low.min(to);
}

/// Looks at the dependencies of an instance from where the cursor stands to the first that matters.
fn look(id: InstanceId, cursor: &mut Cursor, rows: &mut Rows) -> Next {
    let since = rows.get(id).map(|i| i.since).unwrap_or_default();
    while let Some(other) = step(deps(id, rows), cursor, rows) {
        let Some(record) = rows.make(other, since) else { return Next::Blocked(id) };
        if record.executed || other == id {
            continue;
        }
        if !record.final_here {
            return Next::Blocked(other);
        }
        if record.visit.index > 0 {
            return Next::OnStack(other);
        }
        let Some(on) = record.visit.blocked_on else { return Next::Unmet(other) };
        if rows.get(on).is_some_and(|i| !i.final_here && !i.executed) {
            return Next::Blocked(on);
        }
        return Next::Unmet(other);
    }
    Next::None
}

fn deps(id: InstanceId, rows: &Rows) -> &Deps {
    let attributes = rows.get(id).and_then(|i| i.attributes.as_ref());
    &attributes.expect("what is committed has attributes").deps
}

/// The dependency at the cursor, which moves on; none at the end. Passes over what is executed.
fn step(deps: &Deps, cursor: &mut Cursor, rows: &Rows) -> Option<InstanceId> {
    while let Some(below) = deps.prefix.get(usize::from(cursor.owner)) {
        let owner = crate::command::NodeId(cursor.owner);
        let number = cursor.number.max(rows.of(owner).executed_below());
        if number < *below {
            cursor.number = number + 1;
            return Some(InstanceId { owner, number });
        }
        *cursor = Cursor { owner: cursor.owner + 1, ..Cursor::default() };
    }
    while let Some(id) = deps.ids.get(cursor.position) {
        cursor.position += 1;
        if !rows.is_executed(*id) {
            return Some(*id);
        }
    }
    None
}
