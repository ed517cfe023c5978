//! The configurations of `multicoordinated`.

use std::hash::Hasher;

use super::{Configuration, Modelled};
use crate::check::invariants::multicoordinated::MulticoordinatedInvariants;
use crate::command::NodeId;
use crate::protocol::multicoordinated::Multicoordinated;
use crate::protocol::multicoordinated::message::MulticoordinatedMessage;

impl Modelled for Multicoordinated {
    type Invariants = MulticoordinatedInvariants;

    fn configurations() -> Vec<Configuration<Self>> {
        Vec::new()
    }

    fn is_left_out(message: &MulticoordinatedMessage) -> bool {
        matches!(message, MulticoordinatedMessage::Heartbeat { .. })
    }

    fn hash_sharing(&self, _: &mut impl Hasher) {}

    fn ignores_for_ever(&self, _: NodeId, _: &MulticoordinatedMessage) -> bool {
        false
    }
}
