//! The pictures of the documentation.

use bench::simulate::plots::plots as all;
use serde_json::json;

use super::{Figures, Options};

pub(crate) fn plots(_: Options<'_>) -> Figures {
    for (name, plot) in all()? {
        plot.save(name)?;
    }
    Ok(json!(null))
}
