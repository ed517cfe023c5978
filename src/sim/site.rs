//! One simulated site: the clients themselves ([`Clients`]), when they ask, and what they record.

use std::cell::RefCell;
use std::iter::Peekable;
use std::rc::Rc;

use rustc_hash::FxHashMap;

use crate::check::history::{Completion, Event, History, OperationRecord, Stage};
use crate::command::{Command, NodeId};
use crate::load::client::Clients;
use crate::load::history::{HistorySink, completion, first_part, invocation};
use crate::load::output::{Begun, Continued, Ended, Output};
use crate::load::recorder::Recorder;

/// When a site's operations are scheduled, in ns, in order.
pub type Schedule = Box<dyn Iterator<Item = u64> + Send>;

/// A site's clients and where their outputs go.
pub(super) struct Site {
    pub(super) index: usize,
    pub(super) clients: Clients,
    pub(super) schedule: Peekable<Schedule>,
    pub(super) tick_period_ns: u64,
    /// By the replica's number.
    pub(super) links: Vec<Link>,
    pub(super) outputs: Outputs,
}

/// A connection of a site with a replica, among all that there were between them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Connection {
    pub(super) site: usize,
    number: u32,
}

/// Whether a site is connected with a replica, and for the how manieth time.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Link {
    number: u32,
    up: bool,
    /// Which life of the replica it is with.
    life: u32,
}

impl Site {
    /// The connection with a replica, while there is one.
    pub(super) fn connection(&self, node: NodeId) -> Option<Connection> {
        let Link { number, up, .. } = self.links[usize::from(node.0)];
        up.then_some(Connection { site: self.index, number })
    }

    /// A connection is made with this life of a replica.
    pub(super) fn connect(&mut self, node: NodeId, life: u32) {
        let link = &mut self.links[usize::from(node.0)];
        *link = Link { number: link.number + 1, up: true, life };
    }

    /// Whether what is sent over a connection still gets to this life of a replica.
    pub(super) fn reaches(&self, connection: Connection, node: NodeId, life: u32) -> bool {
        let same_life = self.links[usize::from(node.0)].life == life;
        same_life && self.connection(node) == Some(connection)
    }

    /// It is lost.
    pub(super) fn disconnect(&mut self, node: NodeId) {
        self.links[usize::from(node.0)].up = false;
    }
}

/// Where the clients' outputs go.
pub(super) struct Outputs {
    pub(super) commands: Vec<(NodeId, Command)>,
    pub(super) history: Option<Box<dyn HistorySink>>,
    pub(super) history_error: Option<std::io::Error>,
    pub(super) recorder: Option<Recorder>,
}

impl Outputs {
    fn write(&mut self, event: &Event) {
        if let Some(history) = &mut self.history
            && let Err(error) = history.write(event)
        {
            self.history_error = Some(error);
            self.history = None;
        }
    }
}

impl Output for Outputs {
    fn send(&mut self, to: NodeId, command: &Command) {
        self.commands.push((to, command.clone()));
    }

    fn began(&mut self, begun: &Begun) {
        self.write(&invocation(begun));
    }

    fn continued(&mut self, continued: &Continued<'_>) {
        if let Some(recorder) = &mut self.recorder {
            recorder.continued(continued);
        }
        self.write(&first_part(continued));
    }

    fn ended(&mut self, ended: &Ended<'_>) {
        if let Some(recorder) = &mut self.recorder {
            recorder.ended(ended);
        }
        if let Some(event) = completion(ended) {
            self.write(&event);
        }
    }
}

/// The operations of all sites, paired as they happen: a history in memory.
#[derive(Clone, Default)]
pub(super) struct Operations(Rc<RefCell<Paired>>);

#[derive(Default)]
struct Paired {
    history: History,
    open: FxHashMap<u64, usize>,
}

impl Operations {
    /// What one site writes to.
    pub(super) fn sink(&self, site: &str) -> Box<dyn HistorySink> {
        let site = self.0.borrow_mut().history.site(site).expect("few sites");
        Box::new(Sink { site, operations: self.clone() })
    }

    /// The history so far.
    pub(super) fn history(&self) -> std::cell::Ref<'_, History> {
        std::cell::Ref::map(self.0.borrow(), |paired| &paired.history)
    }
}

struct Sink {
    site: u16,
    operations: Operations,
}

impl HistorySink for Sink {
    fn write(&mut self, event: &Event) -> std::io::Result<()> {
        let paired = &mut *self.operations.0.borrow_mut();
        if event.stage == Stage::Invoke {
            paired.open.insert(event.process, paired.history.operations.len());
            paired.history.operations.push(OperationRecord {
                process: event.process,
                site: self.site,
                key: event.key,
                call: event.call,
                invoke_ns: event.time_ns,
                response_ns: None,
                completion: Completion::Unknown,
            });
            return Ok(());
        }
        let open = paired.open.remove(&event.process).expect("an operation ends once");
        if let Stage::Ok(reply) = &event.stage {
            let operation = &mut paired.history.operations[open];
            operation.response_ns = Some(event.time_ns);
            operation.completion = Completion::Ok(reply.clone());
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> std::io::Result<()> {
        Ok(())
    }
}
