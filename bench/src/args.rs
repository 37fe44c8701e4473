//! The options that every program takes.

use std::path::PathBuf;

use lexopt::Arg;

/// The command line.
#[derive(Clone, Debug, Default)]
pub struct Args {
    /// Fewer and shorter rounds, smaller tables: for trying a change, not for figures.
    pub quick: bool,
    /// Only rows and rivals whose names contain one of these, if any is given.
    pub filters: Vec<String>,
    /// Numbers of threads; empty for the program's own choice.
    pub threads: Vec<usize>,
    /// For programs that start themselves: the part to play.
    pub part: Option<String>,
    /// How many keys, where a program asks.
    pub keys: Option<usize>,
    /// A file of requests that were made, where a program asks.
    pub trace: Option<PathBuf>,
}

impl Args {
    /// The process's own. A bad one is said on standard error and ends the process with status 2.
    pub fn from_env() -> Self {
        match Self::parse(lexopt::Parser::from_env()) {
            Ok(args) => args,
            Err(error) => {
                eprintln!("{error}\nusage: [--quick] [--threads 1,2] [--keys N] [--trace FILE] [FILTER]...");
                #[allow(clippy::exit)] // a program's own wrong usage, before it started anything
                std::process::exit(2);
            }
        }
    }

    fn parse(mut parser: lexopt::Parser) -> Result<Self, lexopt::Error> {
        let mut args = Self::default();
        while let Some(arg) = parser.next()? {
            match arg {
                Arg::Long("quick") => args.quick = true,
                // Cargo adds it.
                Arg::Long("bench") => {}
                Arg::Long("threads") => args.threads = numbers(&parser.value()?.into_string()?)?,
                Arg::Long("part") => args.part = Some(parser.value()?.into_string()?),
                Arg::Long("keys") => args.keys = numbers(&parser.value()?.into_string()?)?.first().copied(),
                Arg::Long("trace") => args.trace = Some(parser.value()?.into()),
                Arg::Value(value) => args.filters.push(value.into_string()?),
                other => return Err(other.unexpected()),
            }
        }
        Ok(args)
    }

    /// Refuses a filter that lets none of `names` through: it would choose nothing, and look as if all was well.
    ///
    /// # Errors
    ///
    /// If there is one.
    pub fn choose_among<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<(), String> {
        let names: Vec<&str> = names.into_iter().collect();
        match self.filters.iter().find(|filter| !names.iter().any(|name| name.contains(filter.as_str()))) {
            None => Ok(()),
            Some(filter) => Err(format!("{filter:?} is part of no name; there are: {}", names.join("; "))),
        }
    }

    /// Whether the filters let `name` through.
    pub fn wants(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| name.contains(filter.as_str()))
    }
}

fn numbers(list: &str) -> Result<Vec<usize>, lexopt::Error> {
    let number = |text: &str| match text.parse() {
        Ok(0) | Err(_) => Err(lexopt::Error::Custom(format!("{text:?} is no whole number above 0").into())),
        Ok(number) => Ok(number),
    };
    list.split(',').map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::Args;

    #[test]
    fn a_filter_that_chooses_nothing_is_refused() {
        let args =
            |filters: &[&str]| Args { filters: filters.iter().map(|&word| word.into()).collect(), ..Args::default() };
        let choose = |filters: &[&str]| args(filters).choose_among(["hot key", "10k keys"]);
        assert_eq!(choose(&[]), Ok(()));
        assert_eq!(choose(&["hot", "keys"]), Ok(()));
        assert_eq!(choose(&["hot", "cold"]).unwrap_err(), "\"cold\" is part of no name; there are: hot key; 10k keys");
    }
}
