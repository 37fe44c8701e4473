//! Which node of a cluster holds which slots.

use std::collections::HashMap;

use redis::Value;

use crate::link::dial::Address;
use crate::link::node::Node;
use crate::link::slots::SLOTS;

/// A range of slots, ends included, and its master.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) first: u16,
    pub(crate) last: u16,
    pub(crate) master: Address,
}

/// The ranges in an answer to `CLUSTER SLOTS`. Where it leaves out the host, it is that of the node that answered,
/// `asked`. `None` if it is no such answer or holds no range.
pub(crate) fn ranges(answer: &Value, asked: &Address) -> Option<Vec<Range>> {
    let Value::Array(entries) = answer else { return None };
    let ranges: Vec<Range> = entries.iter().filter_map(|entry| range(entry, asked)).collect();
    (!ranges.is_empty() && ranges.len() == entries.len()).then_some(ranges)
}

fn range(entry: &Value, asked: &Address) -> Option<Range> {
    let Value::Array(parts) = entry else { return None };
    let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = parts.as_slice() else { return None };
    let [host, Value::Int(port), ..] = master.as_slice() else { return None };
    let (first, last) = (u16::try_from(*first).ok()?, u16::try_from(*last).ok()?);
    let master = Address::Tcp(host_of(host, asked)?, u16::try_from(*port).ok()?);
    (first <= last && last < SLOTS).then_some(Range { first, last, master })
}

fn host_of(host: &Value, asked: &Address) -> Option<String> {
    let name = match host {
        Value::BulkString(name) => std::str::from_utf8(name).ok()?,
        Value::SimpleString(name) => name,
        Value::Nil => "",
        _ => return None,
    };
    host_or_asked(name, asked)
}

/// A host that a node named; left out or unknown, it is that of the node itself.
fn host_or_asked(name: &str, asked: &Address) -> Option<String> {
    match (name, asked) {
        ("" | "?", Address::Tcp(host, _)) => Some(host.clone()),
        ("" | "?", Address::Unix(_)) => None,
        (name, _) => Some(name.to_owned()),
    }
}

/// Where a redirection points: `slot host:port`, as the node at `asked` wrote it.
pub(crate) fn redirected(details: &str, asked: &Address) -> Option<Address> {
    let (host, port) = details.split_whitespace().nth(1)?.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Some(Address::Tcp(host_or_asked(host, asked)?, port.parse().ok()?))
}

/// The nodes that hold slots.
pub(crate) struct Topology {
    nodes: Vec<(Address, Node)>,
    /// For each slot the position of its node.
    owners: Vec<Option<u16>>,
}

impl Topology {
    /// The topology of these ranges; `node` makes a node or finds the known one.
    pub(crate) fn new(ranges: Vec<Range>, mut node: impl FnMut(&Address) -> Node) -> Self {
        let mut nodes = Vec::new();
        let mut positions = HashMap::new();
        let mut owners = vec![None; usize::from(SLOTS)];
        for range in ranges {
            let position = *positions.entry(range.master).or_insert_with_key(|address| {
                nodes.push((address.clone(), node(address)));
                // There are no more ranges than slots.
                u16::try_from(nodes.len() - 1).ok()
            });
            for owner in owners.iter_mut().take(usize::from(range.last) + 1).skip(usize::from(range.first)) {
                *owner = position;
            }
        }
        Self { nodes, owners }
    }

    /// The position among the [nodes](Self::nodes) of the one that holds a slot.
    pub(crate) fn owner(&self, slot: u16) -> Option<usize> {
        (*self.owners.get(usize::from(slot))?).map(usize::from)
    }

    /// All nodes that hold slots.
    pub(crate) fn nodes(&self) -> &[(Address, Node)] {
        &self.nodes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp(host.to_owned(), port)
    }

    fn entry(first: i64, last: i64, host: Value, port: i64) -> Value {
        let node = Value::Array(vec![host, Value::Int(port), bulk("id"), Value::Array(Vec::new())]);
        let replica = Value::Array(vec![bulk("replica"), Value::Int(1), bulk("id")]);
        Value::Array(vec![Value::Int(first), Value::Int(last), node, replica])
    }

    #[test]
    fn ranges_name_their_masters() {
        let asked = tcp("seed", 7);
        let answer = Value::Array(vec![
            entry(0, 5, bulk("10.0.0.1"), 6379),
            entry(6, 6, bulk(""), 6380),
            entry(7, 16_383, Value::Nil, 6381),
        ]);
        let ranges = ranges(&answer, &asked).unwrap();
        let masters: Vec<_> = ranges.iter().map(|range| (range.first, range.last, range.master.clone())).collect();
        assert_eq!(masters, [(0, 5, tcp("10.0.0.1", 6379)), (6, 6, tcp("seed", 6380)), (7, 16_383, tcp("seed", 6381))]);
    }

    #[test]
    fn what_is_no_topology_is_refused() {
        let asked = tcp("seed", 7);
        for answer in [
            Value::Nil,
            Value::Array(Vec::new()),
            Value::Array(vec![entry(0, 16_384, bulk("a"), 1)]),
            Value::Array(vec![entry(5, 4, bulk("a"), 1)]),
            Value::Array(vec![entry(0, 4, bulk("a"), 70_000)]),
            Value::Array(vec![entry(0, 4, bulk("a"), 1), Value::Int(3)]),
        ] {
            assert_eq!(ranges(&answer, &asked), None, "{answer:?}");
        }
    }

    #[test]
    fn redirections_point_to_an_address() {
        let asked = tcp("seed", 7);
        assert_eq!(redirected("3999 127.0.0.1:6381", &asked), Some(tcp("127.0.0.1", 6381)));
        assert_eq!(redirected("3999 ::1:6381", &asked), Some(tcp("::1", 6381)));
        assert_eq!(redirected("3999 [::1]:6381", &asked), Some(tcp("::1", 6381)));
        assert_eq!(redirected("3999 :6381", &asked), Some(tcp("seed", 6381)));
        for bad in ["", "3999", "3999 host", "3999 host:port"] {
            assert_eq!(redirected(bad, &asked), None, "{bad}");
        }
    }
}
