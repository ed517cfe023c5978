//! What an operator does with a running cluster: sees who its members are, and says who they are to be.
//!
//! Every replica and spare is watched over a connection of its own, which is made anew when it is lost: while members
//! change, some may be down. The change is the replicas' affair. One of them is asked for it; then all are
//! looked at until every new member says that it is settled. Who is interrupted may ask again, any
//! replica: what was begun goes on.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use quinn::Connection;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::cluster::{BadClusterFile, ClusterFile, Member, TransportOptions};
use crate::experiment::units::format_duration;
use crate::net::{Endpoint, Identity, NetError, Purpose, request};
use crate::protocol::quorum::NodeSet;
use crate::replica::DRIVER_NAME;
use crate::replica::control::{Answer, Ask, Members, Status};

/// How long one attempt to connect may take, or one answer, and the pause after a failure.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(200);
/// How often replicas are asked how far they are.
const LOOK_PERIOD: Duration = Duration::from_millis(100);
/// How long a replica that was asked may take to say that it pursues that.
const TAKE_UP_LIMIT: Duration = Duration::from_secs(1);
/// How long one that does not answer is waited for, where only a look is wanted.
const SHOW_LIMIT: Duration = Duration::from_secs(3);

/// Why an operator did not get what was wanted.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// The cluster file cannot be used.
    #[error(transparent)]
    File(#[from] BadClusterFile),
    /// What is wanted cannot be, in this cluster.
    #[error("{0}: {1}")]
    BadWish(String, String),
    /// The network on this side cannot be used.
    #[error(transparent)]
    Net(#[from] NetError),
    /// Nobody was there to be looked at.
    #[error(
        "{path}: no replica answers; {who}; are they running, and is this the file of their cluster?"
    )]
    NobodyAnswers {
        /// The cluster file.
        path: String,
        /// What is known of the first of them.
        who: String,
    },
    /// The replica that was asked says no.
    #[error("{who}: {why}")]
    Refused {
        /// Which.
        who: String,
        /// Why.
        why: String,
    },
    /// Somebody else was faster.
    #[error(
        "{who}: other members were decided meanwhile: {members}; ask again if yours are still wanted"
    )]
    Overtaken {
        /// Who says so.
        who: String,
        /// Which.
        members: String,
    },
    /// The time is over.
    #[error("not settled after {after}: {how_far}; it may be asked again, and goes on where it is")]
    NotDone {
        /// After which time.
        after: String,
        /// What is known.
        how_far: String,
    },
}

impl OperatorError {
    /// Whether the command line or the file is wrong.
    pub fn is_bad_usage(&self) -> bool {
        matches!(self, OperatorError::File(_) | OperatorError::BadWish(..))
    }
}

/// The members that an operator wants.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Their names.
    pub members: Vec<String>,
    /// Which replica is asked; any member, if none.
    pub ask: Option<String>,
    /// How long that may take.
    pub timeout: Duration,
}

/// What is known of a replica.
struct Seen {
    connection: Option<Connection>,
    /// What it said last, or why it says nothing; none before the first attempt has ended.
    said: Option<Result<Status, String>>,
}

impl Seen {
    fn members(&self) -> Option<&Members> {
        self.said.as_ref()?.as_ref().ok()?.membership.as_ref()
    }
}

/// One replica or spare, looked at as long as this lives.
struct Watched {
    name: String,
    address: SocketAddr,
    seen: Rc<RefCell<Seen>>,
    watching: JoinHandle<()>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

/// The replica that was asked, its epoch then, and when that was.
struct Asked {
    index: usize,
    epoch: u64,
    at: Instant,
}

/// An operator at work on one cluster. Must live where [`tokio::task::spawn_local`] works.
pub struct Operator {
    path: String,
    file: ClusterFile,
    endpoint: Endpoint,
    all: Vec<Watched>,
}

impl Operator {
    /// Begins to look at all replicas of a cluster.
    ///
    /// # Errors
    /// If the file, or the identity beside it, cannot be used, or the file's protocol lets nobody choose.
    pub fn begin(path: &Path) -> Result<Operator, OperatorError> {
        let file = ClusterFile::read(path)?;
        let shown = path.display().to_string();
        if !file.protocol.can_choose_members() {
            return Err(OperatorError::BadWish(shown, file.protocol.refuses_members()));
        }
        let identity = Identity::load(&file.certs, DRIVER_NAME)?;
        let any: IpAddr = match file.identities().next().map(|member| member.address) {
            Some(address) if address.is_ipv6() => Ipv6Addr::UNSPECIFIED.into(),
            _ => Ipv4Addr::UNSPECIFIED.into(),
        };
        let endpoint =
            Endpoint::bind(&identity, (any, 0).into(), &TransportOptions::default(), None)?;
        let watch = |member: &Member| {
            let seen = Rc::new(RefCell::new(Seen { connection: None, said: None }));
            let watching = keep_looking(endpoint.clone(), member.clone(), seen.clone());
            let watching = tokio::task::spawn_local(watching);
            Watched { name: member.name.clone(), address: member.address, seen, watching }
        };
        let all = file.identities().map(watch).collect();
        Ok(Operator { path: shown, file, endpoint, all })
    }

    /// Ends all connections.
    pub async fn leave(self) {
        drop(self.all);
        self.endpoint.shut_down().await;
    }

    /// What each replica says of the members, a line each.
    ///
    /// # Errors
    /// If none answers.
    pub async fn show(&self) -> Result<String, OperatorError> {
        let deadline = Instant::now() + SHOW_LIMIT;
        let mut looks = tokio::time::interval(LOOK_PERIOD);
        let silent = |it: &Watched| it.seen.borrow().members().is_none();
        while Instant::now() < deadline && self.all.iter().any(silent) {
            looks.tick().await;
        }
        if self.all.iter().all(silent) {
            let who = self.all.first().map_or_else(String::new, |it| {
                let seen = it.seen.borrow();
                let why = seen.said.as_ref().and_then(|said| said.as_ref().err());
                let why = why.map_or("no answer", String::as_str);
                format!("{} at {}: {why}", it.name, it.address)
            });
            return Err(OperatorError::NobodyAnswers { path: self.path.clone(), who });
        }
        let width = self.all.iter().map(|it| it.name.chars().count()).max().unwrap_or(0);
        let line = |it: &Watched| format!("{:width$}  {}\n", it.name, it.in_words());
        Ok(self.all.iter().map(line).collect())
    }

    /// Asks for other members, and waits until all of them say that the change is settled. Meanwhile `tell` is told
    /// how far it is.
    ///
    /// # Errors
    /// If the wish is for what there is not, is refused or overtaken, or the time runs out.
    pub async fn change(&self, wish: &Wish, tell: impl Fn(&str)) -> Result<(), OperatorError> {
        let bad = |why| OperatorError::BadWish(self.path.clone(), why);
        let wanted = self.file.named(&wish.members).map_err(bad)?;
        let preferred = wish.ask.as_ref().map(|name| {
            self.file.identity_index(name).ok_or_else(|| bad(self.file.nobody_is(name)))
        });
        let preferred = preferred.transpose()?;
        let deadline = Instant::now() + wish.timeout;
        let mut looks = tokio::time::interval(LOOK_PERIOD);
        let (mut asked, mut told) = (None, String::new());
        loop {
            looks.tick().await;
            if let Some(epoch) = self.settled_in(wanted) {
                tell(&format!("settled in epoch {epoch}: {}", self.names(wanted)));
                return Ok(());
            }
            if Instant::now() >= deadline {
                let (after, how_far) = (format_duration(wish.timeout), self.how_far(wanted));
                return Err(OperatorError::NotDone { after, how_far });
            }
            if self.must_ask(asked.as_ref(), wanted)?
                && let Some(index) = preferred.or_else(|| self.any_member())
                && let Some(begun) = self.ask(index, wanted).await?
            {
                tell(&format!("asked {}", self.all[index].name));
                asked = Some(begun);
            }
            let how_far = self.how_far(wanted);
            if how_far != told {
                tell(&how_far);
                told = how_far;
            }
        }
    }

    fn names(&self, set: NodeSet) -> String {
        self.file.names_of(set).join(", ")
    }

    /// The first of those that answer, take part and are members.
    fn any_member(&self) -> Option<usize> {
        let is_there = |it: &Watched| {
            let seen = it.seen.borrow();
            let Some(Ok(Status { ready: true, membership: Some(known), .. })) = &seen.said else {
                return false;
            };
            known.includes(&it.name)
        };
        self.all.iter().position(is_there)
    }

    /// Whether a replica is to be asked: none was, or the one that was has gone or given up.
    fn must_ask(&self, asked: Option<&Asked>, wanted: NodeSet) -> Result<bool, OperatorError> {
        let Some(Asked { index, epoch, at }) = asked else { return Ok(true) };
        let it = &self.all[*index];
        let seen = it.seen.borrow();
        let Some(known) = seen.members() else { return Ok(true) };
        let is = |names: &[String]| self.file.named(names) == Ok(wanted);
        if is(&known.wanted) || known.is_changing() || is(&known.members) {
            return Ok(false);
        }
        if at.elapsed() < TAKE_UP_LIMIT || known.epoch == *epoch {
            return Ok(at.elapsed() >= TAKE_UP_LIMIT);
        }
        Err(OperatorError::Overtaken { who: it.name.clone(), members: known.members.join(", ") })
    }

    /// Asks a replica; none if it does not answer.
    async fn ask(&self, index: usize, wanted: NodeSet) -> Result<Option<Asked>, OperatorError> {
        let (connection, epoch) = {
            let seen = self.all[index].seen.borrow();
            let Some(known) = seen.members() else { return Ok(None) };
            let Some(connection) = seen.connection.clone() else { return Ok(None) };
            (connection, known.epoch)
        };
        let ask = Ask::ChangeMembers { members: self.file.names_of(wanted) };
        let answer = request::<_, Answer>(&connection, &ask);
        match tokio::time::timeout(ATTEMPT_LIMIT, answer).await {
            Ok(Err(NetError::Remote(why))) => {
                Err(OperatorError::Refused { who: self.all[index].name.clone(), why })
            }
            Ok(Ok(_)) => Ok(Some(Asked { index, epoch, at: Instant::now() })),
            Ok(Err(_)) | Err(_) => Ok(None),
        }
    }

    /// The epoch in which all these say that they, and no others, are the members.
    fn settled_in(&self, wanted: NodeSet) -> Option<u64> {
        let mut epochs =
            wanted.iter().map(|node| self.all[usize::from(node.0)].settled(self, wanted));
        let first = epochs.next()??;
        epochs.all(|epoch| epoch == Some(first)).then_some(first)
    }

    /// What the furthest says, and who is waited for.
    fn how_far(&self, wanted: NodeSet) -> String {
        let known: Vec<Members> =
            self.all.iter().filter_map(|it| it.seen.borrow().members().cloned()).collect();
        let furthest = known.iter().max_by_key(|known| known.epoch);
        let furthest = furthest.map_or_else(|| "no replica answers".to_owned(), in_words);
        let of_wanted = wanted.iter().map(|node| &self.all[usize::from(node.0)]);
        let waited: Vec<String> = of_wanted
            .filter(|it| it.settled(self, wanted).is_none())
            .map(|it| match &it.seen.borrow().said {
                Some(Ok(_)) => it.name.clone(),
                Some(Err(why)) => format!("{} (no answer: {why})", it.name),
                None => format!("{} (no answer yet)", it.name),
            })
            .collect();
        format!("{furthest}; waiting for {}", waited.join(", "))
    }
}

impl Watched {
    /// The epoch in which it says that these are the members.
    fn settled(&self, operator: &Operator, wanted: NodeSet) -> Option<u64> {
        let seen = self.seen.borrow();
        let known = seen.members().filter(|known| !known.is_changing())?;
        (operator.file.named(&known.members) == Ok(wanted)).then_some(known.epoch)
    }

    fn in_words(&self) -> String {
        let seen = self.seen.borrow();
        match (&seen.said, seen.members()) {
            (_, Some(known)) if known.includes(&self.name) => in_words(known),
            (_, Some(known)) => format!("{}; is none of them", in_words(known)),
            (Some(Err(why)), None) => format!("no answer: {why}"),
            (_, None) => "no answer".to_owned(),
        }
    }
}

fn in_words(known: &Members) -> String {
    let members = known.members.join(", ");
    let mut words = match known.is_changing() {
        true => format!("epoch {}: from {} to {members}", known.epoch, known.before.join(", ")),
        false => format!("epoch {}: {members}", known.epoch),
    };
    if !known.wanted.is_empty() && known.wanted != known.members {
        let _ = write!(words, "; asked for {}", known.wanted.join(", "));
    }
    words
}

/// Asks a replica again and again how far it is, over a connection that is made anew when it is lost.
async fn keep_looking(endpoint: Endpoint, member: Member, seen: Rc<RefCell<Seen>>) {
    loop {
        let attempt = endpoint.connect(member.address, &member.name, Purpose::Operator);
        let why = match tokio::time::timeout(ATTEMPT_LIMIT, attempt).await {
            Ok(Ok(connection)) => look_at(connection, &seen).await,
            Ok(Err(NetError::Connect { what, .. })) => what,
            Ok(Err(NetError::Refused { reason, .. })) => reason,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("nothing after {}", format_duration(ATTEMPT_LIMIT)),
        };
        *seen.borrow_mut() = Seen { connection: None, said: Some(Err(why)) };
        tokio::time::sleep(PAUSE).await;
    }
}

/// Notes what a replica says for as long as it answers; says why it does no more.
async fn look_at(connection: Connection, seen: &RefCell<Seen>) -> String {
    loop {
        let answer = request::<_, Answer>(&connection, &Ask::Status);
        match tokio::time::timeout(ATTEMPT_LIMIT, answer).await {
            Ok(Ok(Answer::Status(status))) => {
                let connection = Some(connection.clone());
                *seen.borrow_mut() = Seen { connection, said: Some(Ok(status)) };
            }
            Ok(Ok(_)) => return "it did not say its status".to_owned(),
            Ok(Err(error)) => return error.to_string(),
            Err(_) => return format!("nothing after {}", format_duration(ATTEMPT_LIMIT)),
        }
        tokio::time::sleep(LOOK_PERIOD).await;
    }
}
