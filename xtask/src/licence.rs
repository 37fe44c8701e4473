//! Licence expressions: `MIT OR (Apache-2.0 AND Unicode-3.0)`.

use std::collections::BTreeSet;

/// Whether `expression` can be met by `allowed` licences alone. What does not parse is not allowed.
///
/// `OR` needs one side, `AND` both and binds closer; `A WITH exception` is looked up as those three words. The slash of
/// old manifests means `OR`.
pub(crate) fn allows(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut reader = Reader { words: &words, allowed };
    reader.any() == Some(true) && reader.words.is_empty()
}

struct Reader<'a> {
    words: &'a [&'a str],
    allowed: &'a BTreeSet<&'a str>,
}

impl<'a> Reader<'a> {
    fn any(&mut self) -> Option<bool> {
        let mut met = self.all()?;
        while self.take("OR") {
            met |= self.all()?;
        }
        Some(met)
    }

    fn all(&mut self) -> Option<bool> {
        let mut met = self.one()?;
        while self.take("AND") {
            met &= self.one()?;
        }
        Some(met)
    }

    fn one(&mut self) -> Option<bool> {
        if self.take("(") {
            let met = self.any()?;
            return self.take(")").then_some(met);
        }
        let name = self.next()?;
        if self.take("WITH") {
            let with = format!("{name} WITH {}", self.next()?);
            return Some(self.allowed.contains(with.as_str()));
        }
        Some(self.allowed.contains(name))
    }

    fn next(&mut self) -> Option<&'a str> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        Some(first)
    }

    fn take(&mut self, word: &str) -> bool {
        let there = self.words.first() == Some(&word);
        if there {
            self.words = &self.words[1..];
        }
        there
    }
}

#[cfg(test)]
mod tests {
    use super::allows;

    #[test]
    fn or_needs_one_side_and_both() {
        let allowed = ["MIT", "Apache-2.0 WITH LLVM-exception", "Unicode-3.0"].into();
        for expression in [
            "MIT",
            "GPL-3.0 OR MIT",
            "GPL-3.0/MIT",
            "(GPL-3.0 OR MIT) AND Unicode-3.0",
            "GPL-3.0 AND GPL-3.0 OR MIT",
            "Apache-2.0 WITH LLVM-exception OR GPL-3.0",
        ] {
            assert!(allows(expression, &allowed), "{expression}");
        }
        for expression in ["GPL-3.0", "MIT AND GPL-3.0", "Apache-2.0", "MIT AND (GPL-3.0 OR Apache-2.0)"] {
            assert!(!allows(expression, &allowed), "{expression}");
        }
    }

    #[test]
    fn what_does_not_parse_is_not_allowed() {
        let allowed = ["MIT"].into();
        for expression in ["", "OR", "(MIT", "MIT)", "MIT MIT", "MIT OR", "MIT WITH"] {
            assert!(!allows(expression, &allowed), "{expression:?}");
        }
    }
}
