//! Whose commands a replica takes, and where each client's replies go. Knows no network: the
//! simulator's replicas use it too.

use rustc_hash::FxHashMap;

use crate::command::{ClientId, CommandId, SESSION_WINDOW};
use crate::kv::{Replicated, SESSIONS_MAX};
use crate::mutants::mutant;

/// How far a command may run ahead of what its session has executed here: a replica that lags falls
/// behind a client's own window, but what the store keeps for the gap must stay bounded.
const SEQUENCES_AHEAD_MAX: u64 = 4 * SESSION_WINDOW;

/// Where a client's replies go, and up to where its commands are taken without a further look.
#[derive(Clone, Copy, Debug)]
struct Here<C> {
    connection: C,
    below: u64,
}

/// The clients of this replica: each is answered over the connection that it last used.
#[derive(Debug)]
pub struct Sessions<C> {
    here: FxHashMap<ClientId, Here<C>>,
    /// Commands that were not let in.
    refused: u64,
}

impl<C> Default for Sessions<C> {
    fn default() -> Self {
        Sessions { here: FxHashMap::default(), refused: 0 }
    }
}

impl<C: Copy + Eq> Sessions<C> {
    /// Notes where a client's replies go; refuses more clients than a replica remembers, and commands
    /// too far ahead of those that their session has executed.
    pub fn admit(&mut self, from: C, id: CommandId, state: &dyn Replicated) -> bool {
        let known = self.here.get(&id.client).copied();
        if known.is_some_and(|known| known.connection == from && id.sequence < known.below) {
            return true;
        }
        let (held, client) = (self.here.len().max(state.session_count()), id.client);
        let expected = state.next_expected(client);
        let room = held < SESSIONS_MAX || known.is_some() || expected.is_some();
        let first = if state.begins_anywhere() { id.sequence } else { 0 };
        let below = expected.unwrap_or(first).saturating_add(SEQUENCES_AHEAD_MAX);
        let admitted = room && id.sequence < below;
        if admitted {
            let connection = match known {
                Some(known) if mutant!(FirstConnectionKept) => known.connection,
                _ => from,
            };
            self.here.insert(client, Here { connection, below });
        } else {
            self.refused += 1;
            if self.refused.is_power_of_two() {
                let refused = self.refused;
                tracing::warn!(refused, room, "a client's commands are refused");
            }
        }
        admitted
    }

    /// Where a client's replies go, if it asked here.
    pub fn connection_of(&self, client: ClientId) -> Option<C> {
        self.here.get(&client).map(|here| here.connection)
    }

    /// A connection is gone, and with it the clients that used it.
    pub fn forget(&mut self, connection: C) {
        self.here.retain(|_, here| here.connection != connection);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::NodeId;
    use crate::kv::Store;
    use crate::protocol::caspaxos::Caspaxos;
    use crate::protocol::{Cluster, Protocol};

    fn admitted(state: &dyn Replicated, sequence: u64) -> bool {
        Sessions::default().admit(1, CommandId { client: ClientId(7), sequence }, state)
    }

    #[test]
    fn who_is_not_known_may_be_no_further_ahead_than_the_state_keeps_room_for() {
        let store = Store::default();
        assert!(admitted(&store, SEQUENCES_AHEAD_MAX - 1));
        assert!(!admitted(&store, SEQUENCES_AHEAD_MAX));
    }

    /// A client that has asked another replica a million times goes on here when that one fails.
    #[test]
    fn where_commands_stay_with_the_replica_that_was_asked_a_client_may_come_at_any_time() {
        let (cluster, options) = (Cluster::of(3), <Caspaxos as Protocol>::Options::default());
        let core = Caspaxos::recover(NodeId(0), cluster, options, std::iter::empty());
        assert!(admitted(&core, 1_000_000));
    }
}
