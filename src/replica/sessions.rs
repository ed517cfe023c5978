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
        let below = expected.unwrap_or(0).saturating_add(SEQUENCES_AHEAD_MAX);
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
