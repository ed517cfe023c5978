//! Which identity of the cluster file a replica takes, in whose place, and whether it may.

use std::path::Path;

use super::ReplicaError;
use crate::cluster::{ClusterFile, IDENTITIES_MAX, Member, ProtocolChoice};
use crate::command::NodeId;

/// Who a replica is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) me: NodeId,
    /// In whose place it joins, if it is no member at first.
    pub(super) replaces: Option<NodeId>,
}

/// The place of the replica called `name`, which is to join in place of `replaces`, if that is said.
pub(super) fn find(
    path: &Path,
    file: &ClusterFile,
    name: &str,
    replaces: Option<&str>,
) -> Result<Place, ReplicaError> {
    let shown = || path.display().to_string();
    let Some(index) = file.identity_index(name) else {
        let (name, known) = (name.to_owned(), names(file.identities()));
        return Err(ReplicaError::Unknown { file: shown(), name, known });
    };
    check_options(path, file)?;
    let wrong = |why: String| Err(ReplicaError::BadReplaces(shown(), why));
    let others = || names(file.identities().filter(|member| member.name != name));
    let me = NodeId(index as u8);
    if replaces.is_some() && !file.protocol.can_change_members() {
        let mode = file.protocol.name();
        return wrong(format!(
            "mode {mode} cannot change its members; remove --replaces, or write mode epaxos or \
             caspaxos"
        ));
    }
    match replaces {
        None if index < file.replicas.len() => Ok(Place { me, replaces: None }),
        // It waits for an operator who wants it.
        None if file.protocol.can_choose_members() => Ok(Place { me, replaces: None }),
        None => wrong(format!(
            "`{name}` is a spare and joins in place of another; add --replaces with one of: {}",
            others()
        )),
        Some(_) if file.spares.is_empty() => wrong(format!(
            "`{name}` is a member at first, and only a spare joins in place of another; remove \
             --replaces, or add `spares` to the file"
        )),
        Some(_) if index < file.replicas.len() => wrong(format!(
            "`{name}` is a member at first, and only a spare joins in place of another; remove \
             --replaces, or write --node with one of: {}",
            names(file.spares.iter())
        )),
        Some(leaver) => match file.identity_index(leaver).filter(|other| *other != index) {
            Some(leaver) => Ok(Place { me, replaces: Some(NodeId(leaver as u8)) }),
            None => wrong(format!(
                "`{leaver}` is no other replica that `{name}` could replace; write --replaces with \
                 one of: {}",
                others()
            )),
        },
    }
}

fn names<'a>(members: impl Iterator<Item = &'a Member>) -> String {
    members.map(|member| member.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// Whether the protocol can run on so many replicas, and with so many spares.
fn check_options(path: &Path, file: &ClusterFile) -> Result<(), ReplicaError> {
    let (path, size) = (path.display().to_string(), file.replicas.len());
    if !file.spares.is_empty() && !file.protocol.can_change_members() {
        let mode = file.protocol.name();
        let why = format!(
            "mode {mode} cannot change its members, and the file has `spares`; remove them, or \
             write mode epaxos or caspaxos"
        );
        return Err(ReplicaError::BadOptions(path, why));
    }
    if file.identity_count() > IDENTITIES_MAX {
        let count = file.identity_count();
        let why =
            format!("{count} replicas and spares are too many; write {IDENTITIES_MAX} or fewer");
        return Err(ReplicaError::BadOptions(path, why));
    }
    match &file.protocol {
        ProtocolChoice::Paxos(options) if usize::from(options.leader) >= size => {
            Err(ReplicaError::NoLeader(path, options.leader))
        }
        ProtocolChoice::Paxos(_) => Ok(()),
        ProtocolChoice::Epaxos(options) => {
            options.check(size).map_err(|why| ReplicaError::BadOptions(path, why))
        }
        ProtocolChoice::Multicoordinated(options) if usize::from(options.leader) >= size => {
            Err(ReplicaError::NoLeader(path, options.leader))
        }
        ProtocolChoice::Multicoordinated(options) => {
            check_coordinators(&options.coordinators, size)
                .and_then(|()| options.check(size))
                .map_err(|why| ReplicaError::BadOptions(path, why))
        }
        ProtocolChoice::Caspaxos(options) => {
            options.check(size).map_err(|why| ReplicaError::BadOptions(path, why))
        }
    }
}

/// Whether there are these coordinators, each once.
fn check_coordinators(coordinators: &[u8], size: usize) -> Result<(), String> {
    for (n, place) in coordinators.iter().enumerate() {
        if usize::from(*place) >= size {
            return Err(format!(
                "there is no coordinator {place}; write the places of replicas, each below {size}"
            ));
        }
        if coordinators[..n].contains(place) {
            return Err(format!("coordinator {place} is named twice; write it once"));
        }
    }
    Ok(())
}

/// What somebody may do about a replica that may not take part again.
pub(super) fn instead_of(file: &ClusterFile, me: NodeId) -> String {
    let name = &file.identity(usize::from(me.0)).name;
    let others = names(file.spares.iter().filter(|spare| spare.name != *name));
    if others.is_empty() {
        return "restart all replicas together".to_owned();
    }
    format!(
        "start a spare that was never started before ({others}) with --replaces {name}, or restart all \
         replicas together"
    )
}

/// A text of a core, which knows its peers by their numbers only, with their names.
pub(super) fn with_names(file: &ClusterFile, text: &str) -> String {
    let named = |word: &str| {
        let mut identities = (0u8..).map(NodeId).zip(file.identities());
        let found = identities.find(|(node, _)| node.to_string() == word);
        found.map_or_else(|| word.to_owned(), |(_, member)| member.name.clone())
    };
    text.split(' ').map(named).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinators_are_replicas_each_once() {
        assert_eq!(check_coordinators(&[], 3), Ok(()));
        assert_eq!(check_coordinators(&[2, 0, 1], 3), Ok(()));
        let why = check_coordinators(&[0, 3], 3).unwrap_err();
        assert_eq!(why, "there is no coordinator 3; write the places of replicas, each below 3");
        let why = check_coordinators(&[0, 1, 0], 3).unwrap_err();
        assert_eq!(why, "coordinator 0 is named twice; write it once");
    }
}
