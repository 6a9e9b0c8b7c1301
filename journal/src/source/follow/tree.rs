//! The tree of a stream's shards: which may be read now. Pure; knows no service and no store.
//!
//! A shard may be read when its parent is finished: closed, read to its end, and durable. A parent that nobody knows any
//! more counts as finished; that it is not only missing from one page of a listing must be certain. So a change is never made durable before the changes of the same item that came before it in the
//! stream, and no child is passed over: every shard that was ever listed stays here until it is finished.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::source::stream::ShardId;

/// Where a shard stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// To be read, once its parent is finished.
    Waiting,
    /// Being read.
    Reading,
    /// Closed and durable to its end, since this running time; its children are not listed yet.
    Closed(Duration),
    /// The service did not know it, at this running time.
    Gone(Duration),
    /// Nothing more was found, in a run that ends by itself; or a stop was wished.
    Resting,
    /// Closed, durable to its end, and its children known.
    Finished,
}

/// One shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) parent: Option<ShardId>,
    pub(super) phase: Phase,
    /// Whether the last listing had it.
    pub(super) listed: bool,
    /// Whether anything of it has been made durable.
    pub(super) has_progress: bool,
    /// Whether it is certain that a parent which is not known will not be listed any more.
    pub(super) parent_is_past: bool,
}

/// All shards of a stream that are known.
#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: BTreeMap<ShardId, Node>,
}

impl Tree {
    pub(super) fn insert(&mut self, id: ShardId, node: Node) {
        self.nodes.insert(id, node);
    }

    pub(super) fn get_mut(&mut self, id: &ShardId) -> Option<&mut Node> {
        self.nodes.get_mut(id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = (&ShardId, &Node)> {
        self.nodes.iter()
    }

    /// Forgets what the last listing had, before the next one is entered.
    pub(super) fn unlist_all(&mut self) {
        for node in self.nodes.values_mut() {
            node.listed = false;
        }
    }

    /// Shards that may be read now.
    pub(super) fn startable(&self) -> Vec<ShardId> {
        self.nodes
            .iter()
            .filter(|(_, node)| node.phase == Phase::Waiting && self.parent_is_over(node))
            .map(|(id, _)| id.clone())
            .collect()
    }

    fn parent_is_over(&self, node: &Node) -> bool {
        let Some(parent) = &node.parent else { return true };
        self.nodes.get(parent).map_or(node.parent_is_past, |parent| parent.phase == Phase::Finished)
    }

    /// Unread shards whose parent is not known, and not known to be past.
    pub(super) fn orphans(&self) -> Vec<ShardId> {
        self.nodes
            .iter()
            .filter(|(_, node)| node.phase == Phase::Waiting && !node.parent_is_past)
            .filter(|(_, node)| node.parent.as_ref().is_some_and(|parent| !self.nodes.contains_key(parent)))
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// The shards that came from this one.
    pub(super) fn children(&self, of: &ShardId) -> Vec<ShardId> {
        self.nodes.iter().filter(|(_, node)| node.parent.as_ref() == Some(of)).map(|(id, _)| id.clone()).collect()
    }

    /// Unread shards that may come after `gone`: its children, and those of whose parents nothing is known.
    pub(super) fn heirs(&self, gone: &ShardId) -> Vec<ShardId> {
        let unknown = |node: &Node| node.parent.as_ref().is_some_and(|parent| !self.nodes.contains_key(parent));
        self.nodes
            .iter()
            .filter(|(_, node)| node.phase == Phase::Waiting && !node.has_progress)
            .filter(|(_, node)| node.parent.as_ref() == Some(gone) || unknown(node))
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// Shards without known children that are finished or no longer listed: what a shard of unknown descent may have come from.
    pub(super) fn possible_ancestors(&self) -> Vec<ShardId> {
        let parents: std::collections::BTreeSet<&ShardId> =
            self.nodes.values().filter_map(|node| node.parent.as_ref()).collect();
        self.nodes
            .iter()
            .filter(|(id, node)| (node.phase == Phase::Finished || !node.listed) && !parents.contains(id))
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// Shards in a phase that `wanted` accepts.
    pub(super) fn in_phase(&self, wanted: impl Fn(Phase) -> bool) -> Vec<ShardId> {
        self.nodes.iter().filter(|(_, node)| wanted(node.phase)).map(|(id, _)| id.clone()).collect()
    }

    /// Whether every shard is finished.
    pub(super) fn is_finished(&self) -> bool {
        self.nodes.values().all(|node| node.phase == Phase::Finished)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> ShardId {
        ShardId::parse(text).unwrap()
    }

    fn tree(shards: &[(&str, Option<&str>)]) -> Tree {
        let mut tree = Tree::default();
        for (shard, parent) in shards {
            let node = Node {
                parent: parent.map(id),
                phase: Phase::Waiting,
                listed: true,
                has_progress: false,
                parent_is_past: false,
            };
            tree.insert(id(shard), node);
        }
        tree
    }

    fn set(tree: &mut Tree, shard: &str, phase: Phase) {
        tree.get_mut(&id(shard)).unwrap().phase = phase;
    }

    #[test]
    fn children_wait_until_their_parent_is_finished_and_not_only_closed() {
        let mut tree = tree(&[("a", None), ("b", Some("a")), ("c", Some("a")), ("d", Some("b"))]);
        assert_eq!(tree.startable(), [id("a")]);
        for phase in [Phase::Reading, Phase::Closed(Duration::ZERO), Phase::Gone(Duration::ZERO), Phase::Resting] {
            set(&mut tree, "a", phase);
            assert!(tree.startable().is_empty());
        }
        set(&mut tree, "a", Phase::Finished);
        assert_eq!(tree.startable(), [id("b"), id("c")]);
        assert_eq!(tree.children(&id("a")), [id("b"), id("c")]);
    }

    #[test]
    fn a_parent_that_nobody_knows_counts_as_finished_once_that_is_certain() {
        let mut tree = tree(&[("b", Some("trimmed")), ("c", Some("b"))]);
        assert!(tree.startable().is_empty());
        assert_eq!(tree.orphans(), [id("b")]);
        tree.get_mut(&id("b")).unwrap().parent_is_past = true;
        assert!(tree.orphans().is_empty());
        assert_eq!(tree.startable(), [id("b")]);
    }

    #[test]
    fn heirs_are_unread_children_and_unread_shards_of_unknown_descent() {
        let mut tree = tree(&[
            ("gone", None),
            ("child", Some("gone")),
            ("lost", Some("unknown")),
            ("root", None),
            ("e", Some("root")),
        ]);
        assert_eq!(tree.heirs(&id("gone")), [id("child"), id("lost")]);
        tree.get_mut(&id("lost")).unwrap().has_progress = true;
        assert_eq!(tree.heirs(&id("gone")), [id("child")]);
        set(&mut tree, "e", Phase::Finished);
        set(&mut tree, "root", Phase::Finished);
        assert_eq!(tree.possible_ancestors(), [id("e")]);
    }
}
