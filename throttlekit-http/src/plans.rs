//! The plan of a request, as a file says it is found.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use throttlekit::config::{PlanSource, PlansSpec};
use throttlekit::{BuildError, Error, Run};

use crate::door::{Door, Head as _};
use crate::key::only_value;
use crate::terms::{Resolve, Terms};

/// How much is kept of the name of a plan that is not known, in bytes: it is shown to the hook for errors.
const SHOWN_BYTES: usize = 64;

/// Finds the plan of a request.
pub(crate) struct Plans {
    from: PlanSource,
    /// By the plan's name, or by the key of a client.
    known: HashMap<Box<str>, Arc<str>>,
}

impl Plans {
    pub(crate) fn new(spec: &PlansSpec) -> Result<Self, BuildError> {
        let mut known = HashMap::new();
        for plan in &spec.table {
            let name: Arc<str> = plan.name.as_str().into();
            let texts: &[String] = match &spec.from {
                PlanSource::Claim(_) | PlanSource::TrustedHeader(_) => std::slice::from_ref(&plan.name),
                PlanSource::Key => &plan.keys,
                other => {
                    let allowed = "must be one that this build knows";
                    return Err(BuildError::new("http.rules.plans.from", format!("{other:?}"), allowed));
                }
            };
            known.extend(texts.iter().map(|text| (text.as_str().into(), Arc::clone(&name))));
        }
        Ok(Self { from: spec.from.clone(), known })
    }

    /// The plan that is called `name`. One that is not known is named all the same: whoever looks for its limits says so.
    fn named(&self, name: &str) -> Option<Arc<str>> {
        if name.is_empty() {
            return None;
        }
        let unknown = || {
            let mut end = name.len().min(SHOWN_BYTES);
            while !name.is_char_boundary(end) {
                end -= 1;
            }
            let rest = if end < name.len() { "..." } else { "" };
            format!("{}{rest}", &name[..end]).into()
        };
        Some(self.known.get(name).cloned().unwrap_or_else(unknown))
    }
}

impl<D: Door> Resolve<D> for Plans {
    fn resolve(&self, head: &D::Head<'_>, key: &str) -> Run<Result<Terms, Error>> {
        let plan = match &self.from {
            PlanSource::Claim(name) => head.claim(name).and_then(|plan| self.named(&plan)),
            PlanSource::TrustedHeader(name) => {
                only_value(head, name).map(String::from_utf8_lossy).and_then(|plan: Cow<'_, str>| self.named(&plan))
            }
            // A client without a plan is nothing special.
            _ => self.known.get(key).cloned(),
        };
        let mut terms = Terms::new();
        terms.plan = plan;
        Run::ready(Ok(terms))
    }
}
