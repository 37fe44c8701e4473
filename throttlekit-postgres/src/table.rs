//! Names of tables, and the texts of all statements over one.

use throttlekit::BuildError;

use crate::Mode;

/// The longest identifier that the server keeps whole, in bytes.
const LONGEST: usize = 63;

/// What the fast mode appends to the name, so that the shared table is never written without its lock.
const FAST: &str = "_fast";

/// What follows the name of the shared table in that of its index.
const INDEX: &str = "_expires_idx";

/// The server's time, in whole milliseconds since the Unix epoch.
const NOW: &str = "floor(extract(epoch FROM clock_timestamp()) * 1000)::float8";

/// The statements over one table. Names cannot be parameters, so the texts are made once.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) name: String,
    /// Creates what is missing.
    pub(crate) ddl: String,
    /// Creates what is missing, one process at a time.
    pub(crate) create: String,
    /// Whether anything is missing.
    pub(crate) exists: String,
    pub(crate) lock_one: String,
    pub(crate) lock_many: String,
    pub(crate) read_one: String,
    pub(crate) read_many: String,
    pub(crate) write_one: String,
    pub(crate) write_many: String,
    pub(crate) delete: String,
    pub(crate) sweep: String,
    /// Only for the table of the fast mode.
    pub(crate) swap_in: String,
    /// The same.
    pub(crate) swap: String,
    /// The same.
    pub(crate) swap_out: String,
    pub(crate) gcra_one: String,
    pub(crate) gcra_many: String,
}

impl Table {
    /// The table of `mode` under `name`.
    ///
    /// # Errors
    ///
    /// A name that is not an identifier, or one with a schema.
    pub(crate) fn new(name: &str, mode: Mode) -> Result<Self, BuildError> {
        let suffix = match mode {
            Mode::Shared => "",
            Mode::Fast => FAST,
        };
        let parts: Vec<&str> = name.split('.').collect();
        let (longest, what) = match mode {
            // Cut by the server, the name of the index may be that of the table or of another index: then there is none.
            Mode::Shared => (LONGEST - INDEX.len(), "in all, which leaves room for the name of its index"),
            Mode::Fast => (LONGEST - FAST.len(), "each"),
        };
        let fits = match mode {
            Mode::Shared => name.len() <= longest,
            Mode::Fast => parts.iter().all(|part| part.len() <= longest),
        };
        if parts.len() > 2 || !fits || !parts.iter().copied().all(is_identifier) {
            let allowed = format!(
                "must be `table` or `schema.table`, each of letters, digits and `_`, not starting with a digit, \
                 of at most {longest} bytes {what}"
            );
            return Err(BuildError::new("postgres.table", format!("{name:?}"), allowed));
        }
        let name = format!("{name}{suffix}");
        Ok(match mode {
            Mode::Shared => Self::shared(name),
            Mode::Fast => Self::fast(name),
        })
    }

    fn shared(name: String) -> Self {
        let index = format!("{}{INDEX}", name.replace('.', "_"));
        let ddl = format!(
            "CREATE TABLE IF NOT EXISTS {name} (\n    \
                 key text PRIMARY KEY,\n    \
                 state text NOT NULL,\n    \
                 expires_at bigint NOT NULL\n\
             );\n\
             CREATE INDEX IF NOT EXISTS {index} ON {name} (expires_at);\n"
        );
        let schema = name.split_once('.').map_or(String::new(), |(schema, _)| format!("{schema}."));
        let exists = format!(
            "SELECT to_regclass('{name}') IS NOT NULL AND to_regclass('{schema}{index}') IS NOT NULL AS complete"
        );
        // The lock is on the key's hash, since the row of a fresh key does not exist. Every process takes the locks of
        // several keys in the order of the hashes.
        let lock_one = "SELECT pg_advisory_xact_lock(hashtextextended($1::text, 0))".to_owned();
        let lock_many = "SELECT pg_advisory_xact_lock(ids.id) FROM (\
                             SELECT DISTINCT hashtextextended(keys.key, 0) AS id \
                             FROM unnest($1::text[]) AS keys(key) ORDER BY 1\
                         ) AS ids"
            .to_owned();
        let gcra = [gcra(&name, Keys::One, Some(&lock_one)), gcra(&name, Keys::Many, Some(&lock_many))];
        Self::with(name, ddl, exists, [lock_one, lock_many], gcra)
    }

    fn fast(name: String) -> Self {
        // There is no index on `expires_at`, and pages keep room: an update then stays on its page and touches no index.
        let ddl = format!(
            "CREATE TABLE IF NOT EXISTS {name} (\n    \
                 key text PRIMARY KEY,\n    \
                 state text NOT NULL,\n    \
                 expires_at bigint NOT NULL\n\
             ) WITH (fillfactor = 50);\n"
        );
        let exists = format!("SELECT to_regclass('{name}') IS NOT NULL AS complete");
        // A row that is not there cannot be locked: one that was never alive is put in its place. Rows are locked in the
        // order of the keys' bytes. `WHERE false` locks a row that is there and leaves it as it is.
        let lock = |keys: &str| {
            format!(
                "INSERT INTO {name} AS t (key, state, expires_at) SELECT keys.key, '0', 0 FROM {keys} AS keys(key) \
                 ORDER BY keys.key COLLATE \"C\" ON CONFLICT (key) DO UPDATE SET key = t.key WHERE false"
            )
        };
        let locks = [lock("(VALUES ($1::text))"), lock("unnest($1::text[])")];
        let gcra = [gcra(&name, Keys::One, None), gcra(&name, Keys::Many, None)];
        Self::with(name, ddl, exists, locks, gcra)
    }

    /// The statements that come in two forms are given for one key, then for many.
    fn with(name: String, ddl: String, exists: String, locks: [String; 2], gcra: [String; 2]) -> Self {
        let ([lock_one, lock_many], [gcra_one, gcra_many]) = (locks, gcra);
        // Two processes that create a table at once disturb each other, so they take turns.
        let create = format!(
            "BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('throttlekit create {name}', 0)); {ddl} COMMIT"
        );
        let upsert = "ON CONFLICT (key) DO UPDATE SET state = excluded.state, expires_at = excluded.expires_at";
        Self {
            create,
            exists,
            lock_one,
            lock_many,
            read_one: format!(
                "SELECT n.now, t.state, t.expires_at FROM (SELECT {NOW} AS now OFFSET 0) AS n \
                 LEFT JOIN {name} AS t ON t.key = $1::text"
            ),
            read_many: format!(
                "WITH n AS MATERIALIZED (SELECT {NOW} AS now) \
                 SELECT n.now, t.state, t.expires_at \
                 FROM n CROSS JOIN unnest($1::text[]) WITH ORDINALITY AS keys(key, place) \
                 LEFT JOIN {name} AS t ON t.key = keys.key ORDER BY keys.place"
            ),
            write_one: format!(
                "INSERT INTO {name} (key, state, expires_at) VALUES ($1::text, $2::text, $3::bigint) {upsert}"
            ),
            write_many: format!(
                "INSERT INTO {name} (key, state, expires_at) \
                 SELECT w.key, w.state, w.expires_at \
                 FROM unnest($1::text[], $2::text[], $3::bigint[]) AS w(key, state, expires_at) {upsert}"
            ),
            delete: format!("DELETE FROM {name} WHERE key = ANY ($1::text[])"),
            // Rows that somebody is at are left for the next time, so the sweep waits for nobody and is in no deadlock.
            sweep: format!(
                "DELETE FROM {name} WHERE key IN (\
                     SELECT key FROM {name} WHERE expires_at <= (SELECT coalesce($1::float8, {NOW})::bigint) \
                     LIMIT $2::bigint FOR UPDATE SKIP LOCKED\
                 )"
            ),
            swap_in: format!(
                "INSERT INTO {name} (key, state, expires_at) VALUES ($1::text, $2::text, $3::bigint) \
                 ON CONFLICT (key) DO NOTHING"
            ),
            swap: format!(
                "UPDATE {name} SET state = $2::text, expires_at = $3::bigint \
                 WHERE key = $1::text AND state = $4::text AND expires_at = $5::bigint"
            ),
            swap_out: format!(
                "DELETE FROM {name} WHERE key = $1::text AND state = $2::text AND expires_at = $3::bigint"
            ),
            gcra_one,
            gcra_many,
            ddl,
            name,
        }
    }
}

/// How many keys a statement is about.
#[derive(Clone, Copy)]
enum Keys {
    One,
    Many,
}

/// Checks by the generic cell rate algorithm, in one statement: distinct keys, increment, tolerance, and the time if it is
/// not the server's. Answers with each admitted key, the time, and the state afterwards, which tell the reply. Keys that
/// are denied are left alone and not answered.
///
/// `lock` is taken first, and the time is read when it is held. The row that conflicts is the newest, whatever the
/// statement's snapshot shows, so no transaction is needed around it.
fn gcra(name: &str, keys: Keys, lock: Option<&str>) -> String {
    let (keys, order) = match keys {
        Keys::One => ("(SELECT $1::text AS key) AS keys", ""),
        // Rows are locked in the order of the keys' bytes.
        Keys::Many => ("unnest($1::text[]) AS keys(key)", "ORDER BY keys.key COLLATE \"C\""),
    };
    let held = lock.map(|lock| format!("FROM (SELECT count(*) FROM ({lock} OFFSET 0) AS l OFFSET 0) AS held"));
    let held = held.unwrap_or_default();
    let now = "(SELECT now FROM n)";
    // The number of a row that is alive; the text of another is not looked at.
    let tat = format!("greatest(CASE WHEN t.expires_at > {now} THEN t.state::float8 END, {now})");
    let ttl = |now: &str, new: &str| format!("({now} + greatest(1, ceil({new} - {now})))::bigint");
    let allowed =
        |tat: &str, now: &str| format!("{tat} + $2::float8 > {tat} AND {now} >= ({tat} + $2::float8) - $3::float8");
    format!(
        "WITH n AS MATERIALIZED (SELECT coalesce($4::float8, {NOW}) AS now {held}) \
         INSERT INTO {name} AS t (key, state, expires_at) \
         SELECT keys.key, (n.now + $2::float8)::text, {cold_ttl} FROM n CROSS JOIN {keys} WHERE {cold} {order} \
         ON CONFLICT (key) DO UPDATE SET state = ({tat} + $2::float8)::text, expires_at = {warm_ttl} WHERE {warm} \
         RETURNING t.key, {now}, t.state",
        cold = allowed("n.now", "n.now"),
        cold_ttl = ttl("n.now", "(n.now + $2::float8)"),
        warm = allowed(&tat, now),
        warm_ttl = ttl(now, &format!("({tat} + $2::float8)")),
    )
}

fn is_identifier(text: &str) -> bool {
    let plain = |c: char| c == '_' || c.is_ascii_alphanumeric();
    text.starts_with(|c: char| plain(c) && !c.is_ascii_digit()) && text.chars().all(plain)
}
