//! The kit that every store passes.

use std::sync::Arc;
use std::time::Duration;

use throttlekit::store::DynStore;
use throttlekit::testkit::{Harness, Time, conformance};
use throttlekit::{ManualClock, TokioRuntime};
use throttlekit_dynamodb::DynamoDbStoreBuilder;

use crate::support::{Table, patient};

/// For as long as a case takes on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(240);

/// Two handles of the kit race for one key with up to a hundred calls each.
fn builder(table: &Table) -> DynamoDbStoreBuilder {
    patient(table.client(), &table.name).max_retries(100)
}

#[tokio::test]
async fn passes_at_the_callers_time() {
    let table = Arc::new(Table::new("kit-callers").await);
    let open = move || -> Arc<dyn DynStore> { Arc::new(builder(&table).build().unwrap()) };
    let harness = Harness::new(open, Time::Caller { expires: true }).golden(tests::golden_vectors());
    // As long streams as those of the family would take minutes here, and prove nothing about races.
    let harness = harness.stream_steps(60).time_limit(TokioRuntime, PATIENCE);
    conformance(&harness).await.unwrap();
}

#[tokio::test]
async fn passes_at_its_own_time() {
    let table = Arc::new(Table::new("kit-own").await);
    let clock = ManualClock::new(1_700_000_000_000.0);
    let handle = clock.clone();
    let open = move || -> Arc<dyn DynStore> { Arc::new(builder(&table).clock(handle.clone()).build().unwrap()) };
    let pass = move |span: Duration| -> throttlekit::BoxFuture<()> {
        clock.advance(span.as_secs_f64() * 1_000.0);
        Box::pin(std::future::ready(()))
    };
    let harness = Harness::new(open, Time::Store).wait_with(pass).time_limit(TokioRuntime, PATIENCE);
    conformance(&harness).await.unwrap();
}
