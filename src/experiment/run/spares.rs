//! Spares: a person starts them, or a fault of the file does. The driver connects to those that appear.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use quinn::Connection;
use tokio::task::JoinHandle;

use super::session::Line;
use crate::cluster::Member;
use crate::net::{Endpoint, Purpose, is_open};

/// How long one attempt to connect may take, and the pause after it.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(500);

/// The spares of a run, looked for as long as one of the clones lives.
#[derive(Clone)]
pub(super) struct Spares(Rc<Vec<Spare>>);

struct Spare {
    name: String,
    connection: Rc<RefCell<Option<Connection>>>,
    looking: JoinHandle<()>,
}

impl Drop for Spare {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

impl Spares {
    pub(super) fn look_for(endpoint: &Endpoint, members: &[Member]) -> Spares {
        let look = |member: &Member| {
            let connection = Rc::<RefCell<_>>::default();
            let looking = keep_looking(endpoint.clone(), member.clone(), connection.clone());
            let looking = tokio::task::spawn_local(looking);
            Spare { name: member.name.clone(), connection, looking }
        };
        Spares(Rc::new(members.iter().map(look).collect()))
    }

    /// Those that are there.
    pub(super) fn lines(&self) -> impl Iterator<Item = Line> {
        self.0.iter().filter_map(|spare| {
            let connection = spare.connection.borrow().clone();
            let connection = connection.filter(|connection| is_open(Some(connection)))?;
            Some(Line { name: spare.name.clone(), connection })
        })
    }
}

async fn keep_looking(
    endpoint: Endpoint,
    member: Member,
    connection: Rc<RefCell<Option<Connection>>>,
) {
    loop {
        let attempt = endpoint.connect(member.address, &member.name, Purpose::Control);
        if let Ok(Ok(found)) = tokio::time::timeout(ATTEMPT_LIMIT, attempt).await {
            connection.replace(Some(found.clone()));
            found.closed().await;
        }
        tokio::time::sleep(PAUSE).await;
    }
}
