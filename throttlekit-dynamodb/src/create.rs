//! Making the table.

use std::time::Duration;

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::operation::describe_table::DescribeTableError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, TableDescription, TableStatus,
    TimeToLiveSpecification, TimeToLiveStatus,
};
use tokio::time::sleep;

use crate::item::EXPIRES_AT;
use crate::table::Table;
use crate::trouble::Trouble;

/// Between two looks at a table that is being made. That takes seconds.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often it is looked at: a minute.
const LOOKS: u32 = 300;

/// Makes the table unless it is there, waits until it can be used, and turns on its expiry.
pub(crate) async fn create(table: &Table) -> Result<(), Trouble> {
    request(table).await?;
    wait(table).await?;
    expire(table).await
}

async fn request(table: &Table) -> Result<(), Trouble> {
    let key = KeySchemaElement::builder().attribute_name(&table.hash_key).key_type(KeyType::Hash).build();
    let attribute = AttributeDefinition::builder().attribute_name(&table.hash_key);
    let attribute = attribute.attribute_type(ScalarAttributeType::S).build();
    let incomplete = |_| Trouble::unavailable("DynamoDB CreateTable: cannot be built");
    let request = table.client.create_table().table_name(&table.name).billing_mode(BillingMode::PayPerRequest);
    let request = request.key_schema(key.map_err(incomplete)?).attribute_definitions(attribute.map_err(incomplete)?);
    match request.send().await {
        Ok(_) => Ok(()),
        Err(error) => match error.as_service_error() {
            // There already, or in the making.
            Some(CreateTableError::ResourceInUseException(_)) => Ok(()),
            _ => Err(Trouble::of("CreateTable", &error)),
        },
    }
}

async fn wait(table: &Table) -> Result<(), Trouble> {
    for _ in 0..LOOKS {
        match table.client.describe_table().table_name(&table.name).send().await {
            Ok(answer) => {
                let Some(description) = answer.table else {
                    return Err(Trouble::unavailable("DynamoDB DescribeTable: describes nothing"));
                };
                match &description.table_status {
                    Some(TableStatus::Active | TableStatus::Updating) => return fits(table, &description),
                    Some(TableStatus::Creating) | None => {}
                    Some(status) => {
                        return Err(Trouble::unavailable(format!("table {} is {}", table.name, status.as_str())));
                    }
                }
            }
            // The description may come after the answer to its making.
            Err(SdkError::ServiceError(failure))
                if matches!(failure.err(), DescribeTableError::ResourceNotFoundException(_)) => {}
            Err(error) => return Err(Trouble::of("DescribeTable", &error)),
        }
        sleep(LOOK_EVERY).await;
    }
    Err(Trouble::unavailable(format!("table {} is not active after {:?}", table.name, LOOK_EVERY * LOOKS)))
}

/// Refuses a table with other keys than the items have.
fn fits(table: &Table, description: &TableDescription) -> Result<(), Trouble> {
    let keys = description.key_schema();
    let is_ours = |key: &KeySchemaElement| key.attribute_name == table.hash_key && key.key_type == KeyType::Hash;
    let is_text = |attribute: &AttributeDefinition| {
        attribute.attribute_name == table.hash_key && attribute.attribute_type == ScalarAttributeType::S
    };
    if keys.len() == 1 && keys.iter().all(is_ours) && description.attribute_definitions().iter().any(is_text) {
        return Ok(());
    }
    let shown: Vec<_> = keys.iter().map(|key| key.attribute_name.as_str()).collect();
    Err(Trouble::invalid(format!(
        "table {} has the keys {shown:?}: must be one text as partition key, {:?}, and no sort key",
        table.name, table.hash_key
    )))
}

/// Turns on the table's own expiry, unless it is on for whatever attribute.
async fn expire(table: &Table) -> Result<(), Trouble> {
    let answer = table.client.describe_time_to_live().table_name(&table.name).send().await;
    let answer = answer.map_err(|error| Trouble::of("DescribeTimeToLive", &error))?;
    let status = answer.time_to_live_description.and_then(|description| description.time_to_live_status);
    if matches!(status, Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)) {
        return Ok(());
    }
    let wanted = TimeToLiveSpecification::builder().enabled(true).attribute_name(EXPIRES_AT).build();
    let wanted = wanted.map_err(|_| Trouble::unavailable("DynamoDB UpdateTimeToLive: cannot be built"))?;
    let request = table.client.update_time_to_live().table_name(&table.name).time_to_live_specification(wanted);
    match request.send().await {
        Ok(_) => Ok(()),
        Err(error) => Err(Trouble::of("UpdateTimeToLive", &error)),
    }
}
