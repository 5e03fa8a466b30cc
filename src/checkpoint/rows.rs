//! Rows of the tables as values, for the writer and for readers.

use std::collections::BTreeMap;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::codec::{Codec, RangeState};
use super::error::{CheckpointError, Fault};
use super::values::{
    Amount, Counter, FailureCount, FailureRow, Mode, RangeRow, RunHeader, RunState, Sample, StateRow, Tail,
};
use crate::model::{
    ActionId, Failure, Item, KeepReason, Key, Kind, Marker, Outcome, Phase, RuleId, SkipReason, Timestamp,
    VersionId,
};

/// A count in a column. SQLite's integers are signed; a negative one is damage.
#[derive(Clone, Copy)]
pub(super) struct Count(pub(super) u64);

impl ToSql for Count {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(i64::try_from(self.0).unwrap_or(i64::MAX)))
    }
}

impl FromSql for Count {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let number = value.as_i64()?;
        u64::try_from(number).map(Self).map_err(|_| FromSqlError::OutOfRange(number))
    }
}

/// Milliseconds in a column.
impl ToSql for Timestamp {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.as_millis()))
    }
}

impl FromSql for Timestamp {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_i64().map(Self::from_millis)
    }
}

/// The bytes of a key in a column.
pub(super) struct Bytes(Key);

impl FromSql for Bytes {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_blob().map(|bytes| Self(Key::new(bytes)))
    }
}

pub(super) fn damaged(what: impl Into<String>) -> Fault {
    Fault::Own(CheckpointError::corrupt(what))
}

pub(super) const fn phase_number(phase: Phase) -> i64 {
    match phase {
        Phase::Elders => 0,
        Phase::Latest => 1,
    }
}

pub(super) fn phase_of(number: i64) -> Result<Phase, Fault> {
    match number {
        0 => Ok(Phase::Elders),
        1 => Ok(Phase::Latest),
        other => Err(damaged(format!("there is no phase {other}"))),
    }
}

pub(super) fn count(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    row.get::<_, Count>(at).map(|count| count.0)
}

pub(super) fn key(row: &Row<'_>, at: usize) -> rusqlite::Result<Key> {
    row.get::<_, Bytes>(at).map(|bytes| bytes.0)
}

fn maybe_key(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Key>> {
    Ok(row.get::<_, Option<Bytes>>(at)?.map(|bytes| bytes.0))
}

fn version_id(row: &Row<'_>, at: usize) -> Result<VersionId, Fault> {
    VersionId::new(row.get::<_, Box<str>>(at)?).ok_or_else(|| damaged("an empty version id"))
}

const fn kind(marker: bool) -> Kind {
    if marker { Kind::DeleteMarker } else { Kind::Version }
}

pub(super) fn insert_header(connection: &Connection, header: &RunHeader) -> rusqlite::Result<()> {
    let state = match header.mode {
        Mode::Plan => RunState::Planning,
        Mode::Stream => RunState::Running,
    };
    let rule_names = serde_json::Value::from(header.rule_names.clone()).to_string();
    let sql = "INSERT INTO run (id, run_id, job_name, fingerprint, semantic_json, bucket, endpoint, region, owner, \
               rule_names, mode, began_ms, audit_file, tool_version, versioning, state, state_ms, updated_ms, \
               epoch, clean, audit_bytes) \
               VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?11, ?11, 1, 0, 0)";
    let values = params![
        header.run_id,
        header.job_name,
        header.fingerprint,
        header.semantic_json,
        header.bucket,
        header.endpoint,
        header.region,
        header.owner,
        rule_names,
        header.mode.as_str(),
        header.began,
        header.audit_file,
        header.tool_version,
        header.versioning,
        state.as_str(),
    ];
    connection.execute(sql, values).map(drop)
}

pub(super) fn header(connection: &Connection) -> Result<RunHeader, Fault> {
    let sql = "SELECT run_id, job_name, fingerprint, semantic_json, bucket, endpoint, region, owner, rule_names, \
               mode, began_ms, audit_file, tool_version, versioning FROM run";
    let found = connection
        .query_row(sql, [], |row| {
            let header = RunHeader {
                run_id: row.get(0)?,
                job_name: row.get(1)?,
                fingerprint: row.get(2)?,
                semantic_json: row.get(3)?,
                bucket: row.get(4)?,
                endpoint: row.get(5)?,
                region: row.get(6)?,
                owner: row.get(7)?,
                rule_names: Vec::new(),
                mode: if row.get_ref(9)?.as_str()? == "plan" { Mode::Plan } else { Mode::Stream },
                began: row.get(10)?,
                audit_file: row.get(11)?,
                tool_version: row.get(12)?,
                versioning: row.get(13)?,
            };
            Ok((header, row.get::<_, String>(8)?))
        })
        .optional()?;
    let (mut header, names) = found.ok_or_else(|| damaged("the file describes no run"))?;
    header.rule_names =
        serde_json::from_str(&names).map_err(|_| damaged("the rule names are not a JSON array"))?;
    Ok(header)
}

pub(super) fn state(connection: &Connection) -> Result<StateRow, Fault> {
    let sql = "SELECT state, reason, exit_code, state_ms FROM run";
    let (word, row) = connection.prepare_cached(sql)?.query_row([], |row| {
        let state = StateRow {
            state: RunState::Stopped,
            reason: row.get(1)?,
            exit_code: row.get(2)?,
            at: row.get(3)?,
        };
        Ok((row.get::<_, String>(0)?, state))
    })?;
    let state = RunState::ALL.into_iter().find(|state| state.as_str() == word);
    Ok(StateRow { state: state.ok_or_else(|| damaged(format!("there is no state `{word}`")))?, ..row })
}

pub(super) fn ranges(connection: &Connection, codec: &mut Codec) -> Result<Vec<RangeRow>, Fault> {
    let sql = "SELECT id, prefix, lo, hi, cursor_key, cursor_version, state, next_seq, key_seq, done, listed, \
               kept, planned, undecided, pages FROM range ORDER BY id";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(range(row, codec)?);
    }
    for range in &mut found {
        range.tails = tails(connection, codec, range.id)?;
    }
    Ok(found)
}

fn range(row: &Row<'_>, codec: &mut Codec) -> Result<RangeRow, Fault> {
    let id = row.get(0)?;
    let cursor = match (maybe_key(row, 4)?, row.get::<_, Option<Box<str>>>(5)?) {
        (None, _) => None,
        (Some(key), None) => Some(Marker { key, version_id: None }),
        (Some(key), Some(_)) => Some(Marker { key, version_id: Some(version_id(row, 5)?) }),
    };
    let state = match row.get_ref(6)?.as_blob_or_null().map_err(rusqlite::Error::from)? {
        Some(data) => codec.decode_state(data, id).map_err(Fault::Own)?,
        None => RangeState::default(),
    };
    Ok(RangeRow {
        id,
        prefix: key(row, 1)?,
        lo: maybe_key(row, 2)?,
        hi: maybe_key(row, 3)?,
        cursor,
        recent: state.recent,
        fold: state.fold,
        held: state.held,
        tails: Vec::new(),
        next_seq: count(row, 7)?,
        key_seq: row.get::<_, Option<Count>>(8)?.map(|seq| seq.0),
        done: row.get(9)?,
        listed: count(row, 10)?,
        kept: count(row, 11)?,
        planned: count(row, 12)?,
        undecided: count(row, 13)?,
        pages: count(row, 14)?,
    })
}

fn tails(connection: &Connection, codec: &mut Codec, range: i64) -> Result<Vec<Tail>, Fault> {
    let sql = "SELECT phase, action, seq, after_seq, n, payload FROM tail WHERE range_id = ?1 ORDER BY place";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([range])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let data = row.get_ref(5)?.as_blob().map_err(rusqlite::Error::from)?;
        let items = codec.decode_items(data, count(row, 4)?, || format!("a tail of range {range}"));
        found.push(Tail {
            phase: phase_of(row.get(0)?)?,
            action: ActionId(row.get(1)?),
            seq: count(row, 2)?,
            after_seq: row.get::<_, Option<Count>>(3)?.map(|seq| seq.0),
            items: items.map_err(Fault::Own)?.into(),
        });
    }
    Ok(found)
}

pub(super) fn amounts(connection: &Connection) -> Result<BTreeMap<Counter, Amount>, Fault> {
    let mut statement =
        connection.prepare_cached("SELECT name, rule, reason, versions, bytes, keys FROM total")?;
    let mut rows = statement.query([])?;
    let mut found = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let (name, rule, reason): (String, i64, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let counter = counter(&name, u16::try_from(rule).ok().map(RuleId), &reason)
            .ok_or_else(|| damaged(format!("there is no counter `{name}`, rule {rule}, `{reason}`")))?;
        let amount = Amount { versions: count(row, 3)?, bytes: count(row, 4)?, keys: count(row, 5)? };
        found.insert(counter, amount);
    }
    Ok(found)
}

fn counter(name: &str, rule: Option<RuleId>, reason: &str) -> Option<Counter> {
    Some(match name {
        "listed" => Counter::Listed,
        "kept" => Counter::Kept(keep_reason(rule, reason)?),
        "planned" => Counter::Planned(rule?),
        "done" => Counter::Done(rule?),
        "gone" => Counter::Gone(rule?),
        "failed" => Counter::Failed(rule?),
        "skipped" => Counter::Skipped(rule?, skip_reason(reason)?),
        _ => return None,
    })
}

fn keep_reason(rule: Option<RuleId>, word: &str) -> Option<KeepReason> {
    let plain =
        [KeepReason::NoRule, KeepReason::Cutoff, KeepReason::Unfinished, KeepReason::LockObject].into_iter();
    let ruled = rule.into_iter().flat_map(|rule| {
        [
            KeepReason::Rule(rule),
            KeepReason::Promotion(rule),
            KeepReason::NullVersion(rule),
            KeepReason::Ambiguous(rule),
            KeepReason::ChainTooLong(rule),
        ]
    });
    plain.chain(ruled).find(|reason| reason.as_str() == word)
}

fn skip_reason(word: &str) -> Option<SkipReason> {
    [SkipReason::ElderRemains, SkipReason::PlanAbandoned, SkipReason::ChainBroken, SkipReason::NeedsRestore]
        .into_iter()
        .find(|reason| reason.as_str() == word)
}

pub(super) fn counters(connection: &Connection) -> Result<BTreeMap<String, u64>, Fault> {
    let mut statement = connection.prepare_cached("SELECT name, n FROM counter")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, count(row, 1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The planned items by place, summed from the rows themselves.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Places {
    pub(super) undecided: u64,
    pub(super) waiting: Amount,
    pub(super) pending: Amount,
    pub(super) in_flight: Amount,
    pub(super) open_batches: u64,
}

pub(super) fn places(connection: &Connection) -> Result<Places, Fault> {
    let amount = |row: &Row<'_>, at| -> rusqlite::Result<Amount> {
        Ok(Amount { versions: count(row, at)?, bytes: count(row, at + 1)?, keys: 0 })
    };
    let one = |sql| -> rusqlite::Result<Amount> {
        connection.prepare_cached(sql)?.query_row([], |row| amount(row, 0))
    };
    let tails = one("SELECT ifnull(sum(n), 0), ifnull(sum(bytes), 0) FROM tail")?;
    let held = one("SELECT ifnull(sum(held), 0), ifnull(sum(held_bytes), 0) FROM range")?;
    let mut places = Places { waiting: tails + held, ..Places::default() };
    places.undecided = connection
        .prepare_cached("SELECT ifnull(sum(undecided), 0) FROM range")?
        .query_row([], |row| count(row, 0))?;
    let sql = "SELECT state = 1, count(*), sum(n), sum(bytes) FROM batch GROUP BY state = 1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        places.open_batches += count(row, 1)?;
        let place = if row.get(0)? { &mut places.in_flight } else { &mut places.pending };
        *place = amount(row, 2)?;
    }
    Ok(places)
}

pub(super) fn failures(connection: &Connection, limit: u64, offset: u64) -> Result<Vec<FailureRow>, Fault> {
    let sql = "SELECT range_id, key, version_id, marker, latest, size, last_modified_ms, rule, outcome, code, \
               message, request_id, attempt, at_ms FROM failure ORDER BY outcome, id LIMIT ?1 OFFSET ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![Count(limit), Count(offset)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(failure(row)?);
    }
    Ok(found)
}

/// How many items failed or were skipped, by code: the failed ones first, of each the most frequent first.
pub(super) fn failure_counts(connection: &Connection) -> Result<Vec<FailureCount>, Fault> {
    let sql = "SELECT outcome, code, count(*) AS n FROM failure GROUP BY outcome, code \
               ORDER BY outcome, n DESC, code";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([], |row| {
        let is_failed = row.get_ref(0)?.as_str()? == "failed";
        Ok(FailureCount { is_failed, code: row.get(1)?, versions: row.get::<_, Count>(2)?.0 })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Versions of batches under way that arrived at their destination, by the number of their action.
pub(super) fn copied_steps(connection: &Connection) -> Result<BTreeMap<u16, u64>, Fault> {
    // Files of runs that ended before there were copies are read as they are.
    let is_known = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'step')";
    if !connection.query_row(is_known, [], |row| row.get::<_, bool>(0))? {
        return Ok(BTreeMap::new());
    }
    let sql = "SELECT batch.action, count(*) FROM step JOIN batch ON batch.id = step.batch_id \
               WHERE step.copied_version_id IS NOT NULL GROUP BY batch.action";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, Count>(1)?.0)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn failure(row: &Row<'_>) -> Result<FailureRow, Fault> {
    let code: Box<str> = row.get(9)?;
    let outcome = if row.get_ref(8)?.as_str().map_err(rusqlite::Error::from)? == "failed" {
        Outcome::Failed(Failure { code, message: row.get(10)? })
    } else {
        Outcome::Skipped(skip_reason(&code).ok_or_else(|| damaged(format!("there is no reason `{code}`")))?)
    };
    let item = Item {
        key: key(row, 1)?,
        version_id: version_id(row, 2)?,
        kind: kind(row.get(3)?),
        is_latest: row.get(4)?,
        size: count(row, 5)?,
        last_modified: row.get(6)?,
        rule: RuleId(row.get(7)?),
        copy: None,
    };
    let (range, request_id, attempt, at) = (row.get(0)?, row.get(11)?, row.get(12)?, row.get(13)?);
    Ok(FailureRow { range, item, outcome, request_id, attempt, at })
}

pub(super) fn samples(connection: &Connection) -> Result<Vec<Sample>, Fault> {
    let sql = "SELECT rule, key, version_id, marker, size, last_modified_ms FROM sample ORDER BY rule, id";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(Sample {
            rule: RuleId(row.get(0)?),
            key: key(row, 1)?,
            version_id: version_id(row, 2)?,
            kind: kind(row.get(3)?),
            size: count(row, 4)?,
            last_modified: row.get(5)?,
        });
    }
    Ok(found)
}

pub(super) fn note(connection: &Connection, name: &str) -> Result<Option<String>, Fault> {
    let mut statement = connection.prepare_cached("SELECT text FROM note WHERE name = ?1")?;
    Ok(statement.query_row([name], |row| row.get(0)).optional()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every reason, by a match that does not compile when one is added and left out here.
    fn following(reason: KeepReason) -> Option<KeepReason> {
        let rule = RuleId(7);
        Some(match reason {
            KeepReason::NoRule => KeepReason::Rule(rule),
            KeepReason::Rule(_) => KeepReason::Cutoff,
            KeepReason::Cutoff => KeepReason::Promotion(rule),
            KeepReason::Promotion(_) => KeepReason::NullVersion(rule),
            KeepReason::NullVersion(_) => KeepReason::Ambiguous(rule),
            KeepReason::Ambiguous(_) => KeepReason::Unfinished,
            KeepReason::Unfinished => KeepReason::ChainTooLong(rule),
            KeepReason::ChainTooLong(_) => KeepReason::LockObject,
            KeepReason::LockObject => return None,
        })
    }

    #[test]
    fn every_reason_for_keeping_comes_back_from_its_word() {
        let mut next = Some(KeepReason::NoRule);
        while let Some(reason) = next {
            assert_eq!(keep_reason(reason.rule(), reason.as_str()), Some(reason));
            next = following(reason);
        }
    }
}
