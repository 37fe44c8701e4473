//! Which keys are connected.

/// Sets of numbers that grow together: each number points to another of its set, or to itself if it stands for the set.
#[derive(Debug)]
pub(crate) struct Groups {
    parents: Vec<usize>,
}

impl Groups {
    /// The numbers below `len`, each on its own.
    pub(crate) fn new(len: usize) -> Self {
        Self { parents: (0..len).collect() }
    }

    /// Puts all of `numbers` in one set.
    pub(crate) fn connect(&mut self, numbers: &[usize]) {
        for pair in numbers.windows(2) {
            if let [a, b] = *pair {
                let (a, b) = (self.root(a), self.root(b));
                self.parents[b] = a;
            }
        }
    }

    /// The sets of those numbers that `pick` picks, each in order.
    pub(crate) fn list(mut self, pick: impl Fn(usize) -> bool) -> Vec<Vec<usize>> {
        let mut sets = vec![Vec::new(); self.parents.len()];
        for number in (0..self.parents.len()).filter(|number| pick(*number)) {
            let root = self.root(number);
            sets[root].push(number);
        }
        sets.retain(|set| !set.is_empty());
        sets
    }

    fn root(&mut self, mut number: usize) -> usize {
        while self.parents[number] != number {
            // Halves the way for the next one.
            self.parents[number] = self.parents[self.parents[number]];
            number = self.parents[number];
        }
        number
    }
}

#[cfg(test)]
mod tests {
    use super::Groups;

    #[test]
    fn what_is_connected_by_steps_is_one_set() {
        let mut groups = Groups::new(7);
        groups.connect(&[5, 1]);
        groups.connect(&[2, 3]);
        groups.connect(&[3, 1]);
        groups.connect(&[6]);
        let mut sets = groups.list(|_| true);
        sets.sort();
        assert_eq!(sets, [vec![0], vec![1, 2, 3, 5], vec![4], vec![6]]);
    }

    #[test]
    fn only_what_is_picked_is_listed() {
        let mut groups = Groups::new(4);
        groups.connect(&[0, 1, 2]);
        assert_eq!(groups.list(|number| number != 1), [vec![0, 2], vec![3]]);
    }
}
