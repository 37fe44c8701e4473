//! The requests that a table answers.

use std::collections::HashMap;
use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    AttributeValue, CancellationReason, ConditionCheck, Delete, KeysAndAttributes, Put,
    ReturnValuesOnConditionCheckFailure, TransactWriteItem,
};

use futures_util::stream::{self, StreamExt, TryStreamExt};

use crate::backoff::Backoff;
use crate::item::{Attributes, Item, VERSION};
use crate::trouble::Trouble;

/// How many items a table reads in one request.
const MAX_READ: usize = 100;
/// How many items a table writes in one transaction.
pub(crate) const MAX_TRANSACTION: usize = 100;
/// How many requests of one call are under way at once.
pub(crate) const MAX_AT_ONCE: usize = 32;

/// What a key holds.
#[derive(Clone, Debug)]
pub(crate) enum Held {
    /// No item.
    Nothing,
    /// An item that can be read.
    Item(Item),
    /// An item that is none of ours, and why.
    Broken(&'static str),
}

impl Held {
    fn of(attributes: &Attributes) -> Self {
        match Item::read(attributes) {
            Ok(item) => Self::Item(item),
            Err(why) => Self::Broken(why),
        }
    }

    /// The state at `now_ms`; `Err` says why it cannot be read.
    pub(crate) fn state(&self, now_ms: f64) -> Result<Option<String>, &'static str> {
        match self {
            Self::Nothing => Ok(None),
            Self::Item(item) => item.state(now_ms),
            Self::Broken(why) => Err(why),
        }
    }
}

/// What must hold for a write.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Condition {
    /// Nothing.
    None,
    /// There is no item.
    Nothing,
    /// The item has this version.
    Version(u64),
}

/// What becomes of one key.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    Put(Item),
    Delete,
    /// Only the condition is checked.
    Check,
}

/// One key of a write.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) key: Arc<str>,
    pub(crate) condition: Condition,
    pub(crate) action: Action,
}

/// What came of a write.
#[derive(Debug)]
pub(crate) enum Outcome {
    Done,
    /// Somebody else was there, and nothing was written. In the order of the changes.
    Lost(Vec<Fate>),
}

/// What a lost race tells of a key.
#[derive(Debug)]
pub(crate) enum Fate {
    /// Its own condition was not what failed.
    Unknown,
    /// It holds another item now; `None` if it was not told, or if there is none.
    Changed(Option<Item>),
}

/// What a canceled transaction says of a condition that did not hold.
const FAILED: &str = "ConditionalCheckFailed";

/// A table, and how its items are found.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) client: Client,
    pub(crate) name: String,
    pub(crate) hash_key: String,
}

impl Table {
    /// Reads one item as it is after every write that was answered.
    pub(crate) async fn read(&self, key: &str) -> Result<Held, Trouble> {
        let request = self.client.get_item().table_name(&self.name).consistent_read(true);
        let answer = request.key(&self.hash_key, AttributeValue::S(key.to_owned())).send().await;
        let answer = answer.map_err(|error| Trouble::of("GetItem", &error))?;
        Ok(answer.item.map_or(Held::Nothing, |attributes| Held::of(&attributes)))
    }

    /// Reads items, each as it is after every write that was answered.
    pub(crate) async fn read_many(&self, keys: &[Arc<str>], max_retries: u32) -> Result<Vec<Held>, Trouble> {
        if let [key] = keys {
            return Ok(vec![self.read(key).await?]);
        }
        let parts: Vec<_> = keys.chunks(MAX_READ).map(<[_]>::to_vec).collect();
        let parts = parts.into_iter().map(|keys| self.read_some(keys, max_retries));
        let parts: Vec<_> = stream::iter(parts).buffer_unordered(MAX_AT_ONCE).try_collect().await?;
        let mut found: HashMap<_, _> = parts.into_iter().flatten().collect();
        Ok(keys.iter().map(|key| found.remove(key.as_ref()).unwrap_or(Held::Nothing)).collect())
    }

    /// Up to [`MAX_READ`] items; the service may leave some out, which are then asked for again.
    async fn read_some(&self, keys: Vec<Arc<str>>, max_retries: u32) -> Result<Vec<(String, Held)>, Trouble> {
        let mut found = Vec::with_capacity(keys.len());
        let key = |key: &Arc<str>| HashMap::from([(self.hash_key.clone(), AttributeValue::S(key.to_string()))]);
        let mut left: Vec<_> = keys.iter().map(key).collect();
        let mut backoff = Backoff::new(max_retries);
        loop {
            let wanted = KeysAndAttributes::builder().set_keys(Some(left)).consistent_read(true).build();
            let wanted = wanted.map_err(|_| Trouble::unavailable("DynamoDB BatchGetItem: no keys"))?;
            let request = self.client.batch_get_item().request_items(&self.name, wanted);
            let answer = request.send().await.map_err(|error| Trouble::of("BatchGetItem", &error))?;
            for attributes in answer.responses.into_iter().flat_map(HashMap::into_values).flatten() {
                if let Some(AttributeValue::S(key)) = attributes.get(&self.hash_key) {
                    found.push((key.clone(), Held::of(&attributes)));
                }
            }
            let unread = answer.unprocessed_keys.unwrap_or_default();
            left = unread.into_values().flat_map(|keys| keys.keys).collect();
            if left.is_empty() {
                return Ok(found);
            }
            if !backoff.wait().await {
                return Err(Trouble::unavailable("DynamoDB BatchGetItem: too much is asked for"));
            }
        }
    }

    /// Makes one change, or all of several or none.
    pub(crate) async fn write(&self, changes: Vec<Change>) -> Result<Outcome, Trouble> {
        match <[Change; 1]>::try_from(changes) {
            Ok([change]) => self.write_one(change).await,
            Err(changes) => self.write_all(changes).await,
        }
    }

    async fn write_one(&self, change: Change) -> Result<Outcome, Trouble> {
        let condition = Expression::of(change.condition, &self.hash_key);
        let old = ReturnValuesOnConditionCheckFailure::AllOld;
        match change.action {
            Action::Put(item) => {
                let request =
                    self.client.put_item().table_name(&self.name).return_values_on_condition_check_failure(old);
                let request = request.set_item(Some(item.write(&self.hash_key, &change.key)));
                let request = request.set_condition_expression(condition.text);
                let request = request.set_expression_attribute_names(condition.names);
                let sent = request.set_expression_attribute_values(condition.values).send().await;
                one_outcome("PutItem", sent.err(), put_lost)
            }
            Action::Delete => {
                let request = self.client.delete_item().table_name(&self.name);
                let request = request.return_values_on_condition_check_failure(old);
                let request = request.key(&self.hash_key, AttributeValue::S(change.key.to_string()));
                let request = request.set_condition_expression(condition.text);
                let request = request.set_expression_attribute_names(condition.names);
                let sent = request.set_expression_attribute_values(condition.values).send().await;
                one_outcome("DeleteItem", sent.err(), delete_lost)
            }
            // A condition alone is only asked for beside writes.
            Action::Check => Ok(Outcome::Done),
        }
    }

    async fn write_all(&self, changes: Vec<Change>) -> Result<Outcome, Trouble> {
        if changes.len() > MAX_TRANSACTION {
            let text = format!("{} keys in one joint call: DynamoDB takes at most {MAX_TRANSACTION}", changes.len());
            return Err(Trouble::unsupported(text));
        }
        let count = changes.len();
        let items = changes.into_iter().map(|change| self.transact_item(change)).collect::<Option<Vec<_>>>();
        let items = items.ok_or_else(|| Trouble::unavailable("DynamoDB TransactWriteItems: cannot be built"))?;
        let Err(error) = self.client.transact_write_items().set_transact_items(Some(items)).send().await else {
            return Ok(Outcome::Done);
        };
        let SdkError::ServiceError(failure) = &error else {
            return Err(Trouble::of("TransactWriteItems", &error));
        };
        let TransactWriteItemsError::TransactionCanceledException(canceled) = failure.err() else {
            return Err(Trouble::of("TransactWriteItems", &error));
        };
        let reasons = canceled.cancellation_reasons();
        if let Some(other) = reasons.iter().filter_map(CancellationReason::code).find(|code| !is_lost(code)) {
            return Err(Trouble::unavailable(format!("DynamoDB TransactWriteItems: canceled, {other}")));
        }
        let fate = |at: usize| match reasons.get(at) {
            Some(reason) if reason.code() == Some(FAILED) => Fate::Changed(readable(reason.item())),
            _ => Fate::Unknown,
        };
        Ok(Outcome::Lost((0..count).map(fate).collect()))
    }

    /// `None` only if a required field were missing; all are set here.
    fn transact_item(&self, change: Change) -> Option<TransactWriteItem> {
        let condition = Expression::of(change.condition, &self.hash_key);
        let key = AttributeValue::S(change.key.to_string());
        let old = ReturnValuesOnConditionCheckFailure::AllOld;
        let item = TransactWriteItem::builder();
        let item = match change.action {
            Action::Put(new) => item.put(
                Put::builder()
                    .table_name(&self.name)
                    .set_item(Some(new.write(&self.hash_key, &change.key)))
                    .set_condition_expression(condition.text)
                    .set_expression_attribute_names(condition.names)
                    .set_expression_attribute_values(condition.values)
                    .return_values_on_condition_check_failure(old)
                    .build()
                    .ok()?,
            ),
            Action::Delete => item.delete(
                Delete::builder()
                    .table_name(&self.name)
                    .key(&self.hash_key, key)
                    .set_condition_expression(condition.text)
                    .set_expression_attribute_names(condition.names)
                    .set_expression_attribute_values(condition.values)
                    .return_values_on_condition_check_failure(old)
                    .build()
                    .ok()?,
            ),
            Action::Check => item.condition_check(
                ConditionCheck::builder()
                    .table_name(&self.name)
                    .key(&self.hash_key, key)
                    .set_condition_expression(condition.text)
                    .set_expression_attribute_names(condition.names)
                    .set_expression_attribute_values(condition.values)
                    .return_values_on_condition_check_failure(old)
                    .build()
                    .ok()?,
            ),
        };
        Some(item.build())
    }
}

/// A condition as the service reads it.
struct Expression {
    text: Option<String>,
    names: Option<HashMap<String, String>>,
    values: Option<HashMap<String, AttributeValue>>,
}

impl Expression {
    fn of(condition: Condition, hash_key: &str) -> Self {
        // Through placeholders, since a name may be a word of the expression language.
        let names = |name: &str| Some(HashMap::from([("#n".to_owned(), name.to_owned())]));
        match condition {
            Condition::None => Self { text: None, names: None, values: None },
            Condition::Nothing => {
                Self { text: Some("attribute_not_exists(#n)".to_owned()), names: names(hash_key), values: None }
            }
            Condition::Version(version) => Self {
                text: Some("#n = :v".to_owned()),
                names: names(VERSION),
                values: Some(HashMap::from([(":v".to_owned(), AttributeValue::N(version.to_string()))])),
            },
        }
    }
}

/// The item that a failed condition told of, if it is one of ours.
fn readable(attributes: Option<&Attributes>) -> Option<Item> {
    attributes.and_then(|attributes| Item::read(attributes).ok())
}

/// Whether a part of a canceled transaction only says that somebody else was there.
fn is_lost(code: &str) -> bool {
    ["None", FAILED, "TransactionConflict"].contains(&code)
}

/// What a request for one item came to: `lost` tells a lost race from a failure.
fn one_outcome<E, R>(
    operation: &str,
    error: Option<SdkError<E, R>>,
    lost: fn(&E) -> Option<Fate>,
) -> Result<Outcome, Trouble>
where
    E: aws_sdk_dynamodb::error::ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug,
{
    let Some(error) = error else { return Ok(Outcome::Done) };
    match error.as_service_error().and_then(lost) {
        Some(fate) => Ok(Outcome::Lost(vec![fate])),
        None => Err(Trouble::of(operation, &error)),
    }
}

fn put_lost(error: &PutItemError) -> Option<Fate> {
    match error {
        PutItemError::ConditionalCheckFailedException(failed) => Some(Fate::Changed(readable(failed.item()))),
        PutItemError::TransactionConflictException(_) | PutItemError::ReplicatedWriteConflictException(_) => {
            Some(Fate::Unknown)
        }
        _ => None,
    }
}

fn delete_lost(error: &DeleteItemError) -> Option<Fate> {
    match error {
        DeleteItemError::ConditionalCheckFailedException(failed) => Some(Fate::Changed(readable(failed.item()))),
        DeleteItemError::TransactionConflictException(_) | DeleteItemError::ReplicatedWriteConflictException(_) => {
            Some(Fate::Unknown)
        }
        _ => None,
    }
}
