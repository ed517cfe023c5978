//! What must hold of `multicoordinated`.

use super::{Held, Invariants};
use crate::command::NodeId;
use crate::protocol::multicoordinated::Multicoordinated;
use crate::protocol::multicoordinated::message::{MulticoordinatedMessage, MulticoordinatedRecord};
use crate::protocol::{Batch, Cluster};

/// What was seen of a run.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct MulticoordinatedInvariants {
    cluster: Cluster,
}

impl Invariants<Multicoordinated> for MulticoordinatedInvariants {
    fn new(cluster: Cluster) -> Self {
        MulticoordinatedInvariants { cluster }
    }

    fn on_record(&mut self, _: NodeId, _: &MulticoordinatedRecord) -> Held {
        Ok(())
    }

    fn on_durable(&mut self, _: NodeId, _: &MulticoordinatedRecord) -> Held {
        Ok(())
    }

    fn on_crash<'a>(
        &mut self,
        _: NodeId,
        _: impl Iterator<Item = &'a MulticoordinatedRecord>,
    ) -> Held {
        Ok(())
    }

    fn on_sent(&mut self, _: NodeId, _: &MulticoordinatedMessage, _: usize) -> Held {
        Ok(())
    }

    fn on_executed(&mut self, _: NodeId, _: u64, _: &Batch) -> Held {
        Ok(())
    }

    fn on_step(&mut self, _: NodeId, _: &Multicoordinated) -> Held {
        Ok(())
    }

    fn owes(&self, _: NodeId, core: &Multicoordinated) -> Option<String> {
        core.undone()
    }
}
