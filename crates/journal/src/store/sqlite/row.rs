//! Changes to statements, and rows back.

use openmic_model::{CallKey, WallTime};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Statement};

use crate::store::{Change, Row, Unreadable};

/// What a row consists of.
pub(super) const COLUMNS: &str = "call, number, at, operation, scope, body, sum";

/// SQLite's integers have a sign; ours are kept by their bits.
pub(super) const fn signed(number: u64) -> i64 {
    number.cast_signed()
}

/// Whose a row is.
pub(super) fn key(bytes: &[u8]) -> Option<CallKey> {
    Some(CallKey(u128::from_be_bytes(bytes.try_into().ok()?)))
}

/// Text and blob alike, because a damaged row may say the one where it was the other.
pub(super) fn bytes(value: ValueRef<'_>) -> &[u8] {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes,
        _ => &[],
    }
}

/// Reads a row in the order of [`COLUMNS`], as tolerantly as can be: the sum judges.
pub(super) fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Result<Row, Unreadable>> {
    let call = bytes(row.get_ref(0)?);
    let integer = |column| -> rusqlite::Result<Option<u64>> {
        Ok(match row.get_ref(column)? {
            ValueRef::Integer(number) => Some(number.cast_unsigned()),
            _ => None,
        })
    };
    let (number, at, sum) = (integer(1)?, integer(2)?, integer(6)?);
    let Some(call) = key(call) else {
        let mut padded = [0; 16];
        let whole = call.len().min(16);
        padded[..whole].copy_from_slice(&call[..whole]);
        return Ok(Err(Unreadable {
            call: CallKey(u128::from_be_bytes(padded)),
            why: "a row whose call cannot be read".to_owned(),
        }));
    };
    let unreadable = |what: &str| {
        Ok(Err(Unreadable {
            call,
            why: format!("row {}: {what}", number.unwrap_or(0)),
        }))
    };
    let (Some(number), Some(at), Some(sum)) = (number, at, sum) else {
        return unreadable("a number is none");
    };
    let operation = match row.get_ref(3)? {
        ValueRef::Null => None,
        other => match std::str::from_utf8(bytes(other)) {
            Ok(operation) => Some(operation.to_owned()),
            Err(_) => return unreadable("its operation is no text"),
        },
    };
    let scope = match row.get_ref(4)? {
        ValueRef::Null => None,
        other => match bytes(other).try_into() {
            Ok(scope) => Some(scope),
            Err(_) => return unreadable("its scope is no digest"),
        },
    };
    let Ok(sum) = u32::try_from(sum) else {
        return unreadable("its checksum is none");
    };
    Ok(Ok(Row {
        call,
        number,
        at: WallTime(at),
        operation,
        scope,
        body: bytes(row.get_ref(5)?).to_owned(),
        sum,
    }))
}

/// Whether a recent row can take the place of the damaged one that was filed. One whose operation or
/// scope is damaged is found by another in the indexes, and SQLite does not replace it.
pub(super) fn mends(recent: &Row, filed: &Row) -> bool {
    let found_by = |row: &Row| (row.place(), row.operation.clone(), row.scope);
    !filed.is_whole() && recent.is_whole() && found_by(recent) == found_by(filed)
}

/// Puts a row where it is found.
pub(super) const PUT: &str = "INSERT INTO records (call, number, at, operation, scope, body, sum) \
                              VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

/// Runs an insertion of a row in the order of [`COLUMNS`], and of an id where it has one; how many rows
/// came.
pub(super) fn insert(
    statement: &mut Statement<'_>,
    row: &Row,
    id: Option<i64>,
) -> rusqlite::Result<usize> {
    // the body is JSON: text, so that a person can read it in the file
    let body = ToSqlOutput::Borrowed(ValueRef::Text(&row.body));
    statement.raw_bind_parameter(1, row.call.0.to_be_bytes())?;
    statement.raw_bind_parameter(2, signed(row.number))?;
    statement.raw_bind_parameter(3, signed(row.at.0))?;
    statement.raw_bind_parameter(4, &row.operation)?;
    statement.raw_bind_parameter(5, row.scope)?;
    statement.raw_bind_parameter(6, body)?;
    statement.raw_bind_parameter(7, row.sum)?;
    if let Some(id) = id {
        statement.raw_bind_parameter(8, id)?;
    }
    statement.raw_execute()
}

/// Makes a change where rows and answers are found.
pub(super) fn apply(connection: &Connection, change: &Change) -> rusqlite::Result<()> {
    let run = |sql: &str, params: &[&dyn rusqlite::ToSql]| {
        connection.prepare_cached(sql)?.execute(params).map(|_| ())
    };
    match change {
        Change::Put(row) => insert(&mut *connection.prepare_cached(PUT)?, row, None).map(drop),
        Change::Drop { call, numbers } => {
            for number in numbers {
                run(
                    "DELETE FROM records WHERE call = ?1 AND number = ?2",
                    &[&call.0.to_be_bytes(), &signed(*number)],
                )?;
            }
            Ok(())
        }
        Change::DropCall(call) => run(
            "DELETE FROM records WHERE call = ?1",
            &[&call.0.to_be_bytes()],
        ),
        Change::PutAnswer(answer) => run(
            "INSERT OR REPLACE INTO answers (scope, print, at, body, sum) \
             VALUES (?1, ?2, ?3, ?4, ?5)",
            &[
                &answer.scope,
                &answer.print,
                &signed(answer.at.0),
                &answer.body,
                &answer.sum,
            ],
        ),
        Change::DropAnswer(scope) => run("DELETE FROM answers WHERE scope = ?1", &[scope]),
        Change::Incarnation(number) => run(
            "INSERT OR REPLACE INTO facts (name, value) VALUES ('incarnation', ?1)",
            &[&signed(*number)],
        ),
    }
}
