//! Rows of a Parquet file.
//!
//! | Parquet | JSON |
//! |---|---|
//! | integers of up to 64 bits, signed or not | number |
//! | floats | number; `"NaN"`, `"Infinity"`, `"-Infinity"`, which JSON lacks |
//! | decimals | string with all digits, `"12.50"` |
//! | strings, enums, JSON | string |
//! | other bytes | string if they are UTF-8, else `{"base64": "..."}` |
//! | UUID | string with hyphens |
//! | dates, times, timestamps | strings as ISO 8601 has them, with `Z` where the column is in UTC |
//! | lists, structs | list, object |
//! | maps | object if all keys are strings and none occurs twice, else a list of `{"key", "value"}` |
//!
//! Timestamps in 96 bits, which old writers made, are read to the millisecond.

mod footer;

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{Cursor, Read, Seek};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, NaiveDate, NaiveTime};
use parquet::basic::{ConvertedType, LogicalType, TimeUnit};
use parquet::data_type::Decimal;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Map as ParquetMap, Row};
use parquet::schema::types::Type;
use serde_json::{Map, Number, Value};

use super::fault::{Cause, Extent, held};
use super::source::{Origin, Progress};
use super::{Found, RowReader};
use crate::error::DataError;
use crate::problem::quoted;
use crate::read::MAX_ROW_BYTES;

/// No number that anybody means has more digits behind the point, or more bytes.
const MOST_DECIMAL_PLACES: i32 = 1000;
const LONGEST_DECIMAL_BYTES: usize = 64;

/// A column of a row group may unpack to so many bytes, or to so many times its size. Text that repeats itself shrinks
/// far, but what shrinks further was made to fill the memory.
const UNPACKED_UNQUESTIONED: i64 = 256 << 20;
const LARGEST_EXPANSION: u64 = 1000;

/// Columns may be nested so deep; JSON is bounded alike.
const DEEPEST_COLUMN: usize = 100;

/// The rows of a Parquet file.
pub(crate) struct ParquetRows {
    path: PathBuf,
    rows: RowIter<'static>,
    schema: Arc<Type>,
    /// Rows that the file says it has, and those that were read.
    claimed: u64,
    read: u64,
    /// For the hash, which is of the whole file, while the reading jumps about in it.
    file: Option<File>,
    bytes: u64,
    progress: Option<Arc<Progress>>,
}

impl ParquetRows {
    /// The rows of `origin`, the file `path`. `progress` is told how far the reading is; packed files tell it themselves.
    pub(crate) fn open(path: &Path, origin: Origin, progress: Option<Arc<Progress>>) -> Result<Self, DataError> {
        let path = path.to_path_buf();
        let system = |source| DataError::Read { path: path.clone(), source };
        let (file, bytes, reader): (Option<File>, u64, Result<Box<dyn FileReader>, Failure>) = match origin {
            Origin::File(mut file) => {
                check_depth(&path, &mut file)?;
                let bytes = file.metadata().map_err(system)?.len();
                let again = file.try_clone().map_err(system)?;
                (Some(again), bytes, guarded(|| Ok(Box::new(SerializedFileReader::new(file)?) as _)))
            }
            Origin::Memory(bytes) => {
                check_depth(&path, &mut Cursor::new(&bytes))?;
                let length = bytes.len() as u64;
                (None, length, guarded(|| Ok(Box::new(SerializedFileReader::new(Bytes::from(bytes))?) as _)))
            }
        };
        let reader = reader.map_err(|failure| failure.into_error(&path))?;
        let schema = reader.metadata().file_metadata().schema_descr().root_schema_ptr();
        if expands(reader.metadata()) {
            return Err(DataError::Expansion { path, times: LARGEST_EXPANSION });
        }
        let claimed = check(reader.metadata()).map_err(|reason| DataError::Damaged { path: path.clone(), reason })?;
        check_names(&schema).map_err(|reason| DataError::Unsupported { path: path.clone(), reason })?;
        let rows = guarded(|| Ok(RowIter::from_file_into(reader))).map_err(|failure| failure.into_error(&path))?;
        Ok(Self { path, rows, schema, claimed, read: 0, file, bytes, progress })
    }

    /// Hashes the file, now that its rows are read.
    fn finish(&mut self) -> Result<(), DataError> {
        if let (Some(mut file), Some(progress)) = (self.file.take(), &self.progress) {
            file.rewind()
                .and_then(|()| progress.take_in(&mut file))
                .map_err(|source| DataError::Read { path: self.path.clone(), source })?;
        }
        Ok(())
    }
}

impl RowReader for ParquetRows {
    fn next_row(&mut self) -> Result<Option<Found>, DataError> {
        let next = guarded(|| self.rows.next().transpose().map_err(Failure::from));
        let Some(row) = next.map_err(|failure| failure.into_error(&self.path))? else {
            self.finish()?;
            return Ok(None);
        };
        self.read += 1;
        if let Some(progress) = &self.progress {
            let share = u128::from(self.bytes) * u128::from(self.read) / u128::from(self.claimed.max(1));
            progress.set_seen(u64::try_from(share).unwrap_or(self.bytes).min(self.bytes));
        }
        let line = usize::try_from(self.read).unwrap_or(usize::MAX);
        let object = object_of_row(row, &self.schema);
        let length: usize = object.values().map(text_bytes).sum();
        if length <= MAX_ROW_BYTES {
            return Ok(Some(Found::Row { line, object }));
        }
        let raw = serde_json::to_vec(&object).unwrap_or_default();
        let extent = Extent { start: 0, length: raw.len() as u64 };
        let cause = Cause::TooLong { line, limit: MAX_ROW_BYTES };
        Ok(Some(Found::fault(line, held(raw, extent.length), extent, cause)))
    }
}

/// Why the parquet crate stopped.
struct Failure {
    reason: String,
    unsupported: bool,
}

impl From<ParquetError> for Failure {
    fn from(error: ParquetError) -> Self {
        let reason = match &error {
            ParquetError::General(reason) | ParquetError::NYI(reason) | ParquetError::EOF(reason) => reason.clone(),
            other => other.to_string(),
        };
        let unsupported = matches!(error, ParquetError::NYI(_)) || reason.to_lowercase().contains("encrypt");
        Self { reason: first_words(&reason), unsupported }
    }
}

impl Failure {
    fn into_error(self, path: &Path) -> DataError {
        let (path, reason) = (path.to_path_buf(), self.reason);
        if self.unsupported { DataError::Unsupported { path, reason } } else { DataError::Damaged { path, reason } }
    }
}

/// Messages of the crate may hold values of the file, of any length.
fn first_words(reason: &str) -> String {
    reason.chars().take(200).flat_map(char::escape_debug).collect()
}

/// The parquet crate's record reader has `assert!` and `unimplemented!` for schemas and levels that contradict
/// themselves, so a damaged file may make it panic. That is an error of this file and not of the program.
fn guarded<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        let words = payload
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| payload.downcast_ref::<&str>().copied())
            .unwrap_or("its parts contradict each other");
        Err(Failure { reason: first_words(words), unsupported: words.contains("not implemented") })
    })
}

/// Refuses schemas that nest without end, before anything follows them down.
fn check_depth(path: &Path, file: &mut (impl Read + Seek)) -> Result<(), DataError> {
    match footer::look(file, DEEPEST_COLUMN) {
        Ok(footer::Schema::Depth(depth)) if depth > DEEPEST_COLUMN => Err(DataError::Unsupported {
            path: path.into(),
            reason: format!("its columns are nested deeper than {DEEPEST_COLUMN} levels"),
        }),
        Ok(footer::Schema::Unknown) => {
            Err(DataError::Damaged { path: path.into(), reason: "its footer does not hold a schema".into() })
        }
        Ok(footer::Schema::Depth(_) | footer::Schema::Absent) => Ok(()),
        Err(source) => Err(DataError::Read { path: path.into(), source }),
    }
}

/// Bytes of all texts in a value.
fn text_bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(text_bytes).sum(),
        Value::Object(members) => members.values().map(text_bytes).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// Whether a column would fill the memory.
fn expands(metadata: &ParquetMetaData) -> bool {
    metadata.row_groups().iter().flat_map(|group| group.columns()).any(|column| {
        let unpacked = column.uncompressed_size();
        unpacked > UNPACKED_UNQUESTIONED
            && unpacked.unsigned_abs() / LARGEST_EXPANSION > column.compressed_size().max(1).unsigned_abs()
    })
}

/// Number of rows, if what the file says about itself can be true.
fn check(metadata: &ParquetMetaData) -> Result<u64, String> {
    let schema = metadata.file_metadata().schema_descr();
    if schema.num_columns() == 0 {
        return Err("it has no columns".into());
    }
    let mut rows = 0u64;
    for (index, group) in metadata.row_groups().iter().enumerate() {
        let claimed = group.num_rows();
        // A row without end is the work of a few bytes: every row has a value, or the mark of a missing one, in every
        // column.
        let contradicts = group.num_columns() != schema.num_columns()
            || group.columns().iter().any(|column| {
                let values = column.num_values();
                values < claimed || (column.column_descr().max_rep_level() == 0 && values != claimed)
            });
        let Ok(claimed) = u64::try_from(claimed) else {
            return Err(format!("row group {index} has {claimed} rows"));
        };
        if contradicts {
            return Err(format!("the columns of row group {index} do not have the {claimed} rows it should have"));
        }
        rows = rows.checked_add(claimed).ok_or("its number of rows is beyond all measure")?;
    }
    Ok(rows)
}

/// Two columns of one name would be one key.
fn check_names(group: &Type) -> Result<(), String> {
    if group.is_primitive() {
        return Ok(());
    }
    let mut names = HashSet::new();
    for field in group.get_fields() {
        if !names.insert(field.name()) {
            return Err(format!("the column {} occurs twice", quoted(field.name())));
        }
        if field.is_primitive() && field.get_basic_info().converted_type() == ConvertedType::INTERVAL {
            return Err(format!("the column {} holds intervals, which are not read", quoted(field.name())));
        }
        check_names(field)?;
    }
    Ok(())
}

fn object_of_row(row: Row, schema: &Type) -> Map<String, Value> {
    let mut object = Map::with_capacity(row.len());
    for (index, (name, field)) in row.into_columns().into_iter().enumerate() {
        let value = match field {
            Field::Str(text) => Value::String(text),
            other => value_of(&other, schema.get_fields().get(index).map(Arc::as_ref)),
        };
        object.insert(name, value);
    }
    object
}

/// `field` as JSON. `schema` is its type, where it is known.
fn value_of(field: &Field, schema: Option<&Type>) -> Value {
    let logical = schema.and_then(|schema| schema.get_basic_info().logical_type_ref());
    match field {
        Field::Null => Value::Null,
        Field::Bool(value) => Value::Bool(*value),
        Field::Byte(value) => (*value).into(),
        Field::Short(value) => (*value).into(),
        Field::Int(value) => (*value).into(),
        Field::Long(value) => match logical {
            Some(LogicalType::Timestamp(kind)) if kind.unit == TimeUnit::NANOS => {
                let (secs, nanos) = (value.div_euclid(1_000_000_000), value.rem_euclid(1_000_000_000));
                timestamp(secs, nanos, kind.is_adjusted_to_u_t_c, *value)
            }
            Some(LogicalType::Time(kind)) if kind.unit == TimeUnit::NANOS => time(*value, 1_000_000_000),
            _ => (*value).into(),
        },
        Field::UByte(value) => (*value).into(),
        Field::UShort(value) => (*value).into(),
        Field::UInt(value) => (*value).into(),
        Field::ULong(value) => (*value).into(),
        Field::Float16(value) => float(value.to_f64()),
        Field::Float(value) => float(f64::from(*value)),
        Field::Double(value) => float(*value),
        Field::Decimal(value) => decimal(value),
        Field::Str(text) => Value::String(text.clone()),
        Field::Bytes(bytes) => match (logical, bytes.data()) {
            (Some(LogicalType::Uuid), bytes) if bytes.len() == 16 => uuid(bytes).into(),
            (_, bytes) => text_or_base64(bytes),
        },
        Field::Date(days) => NaiveDate::from_epoch_days(*days)
            .map_or_else(|| (*days).into(), |date| date.format("%Y-%m-%d").to_string().into()),
        Field::TimeMillis(value) => time(i64::from(*value), 1000),
        Field::TimeMicros(value) => time(*value, 1_000_000),
        Field::TimestampMillis(value) => {
            timestamp(value.div_euclid(1000), value.rem_euclid(1000) * 1_000_000, is_utc(logical), *value)
        }
        Field::TimestampMicros(value) => {
            timestamp(value.div_euclid(1_000_000), value.rem_euclid(1_000_000) * 1000, is_utc(logical), *value)
        }
        Field::Group(row) => {
            let types = schema.filter(|schema| !schema.is_primitive()).map_or(&[][..], Type::get_fields);
            let values = row.get_column_iter().enumerate();
            Value::Object(
                values
                    .map(|(index, (name, field))| (name.clone(), value_of(field, types.get(index).map(Arc::as_ref))))
                    .collect(),
            )
        }
        Field::ListInternal(list) => {
            let element = schema.and_then(element_type);
            list.elements().iter().map(|field| value_of(field, element)).collect()
        }
        Field::MapInternal(map) => map_value(map, schema),
    }
}

/// The type of a list's elements, where the schema has the shape that the format asks for.
fn element_type(list: &Type) -> Option<&Type> {
    if list.is_primitive() {
        // A repeated column without a list around it.
        return Some(list);
    }
    let [repeated] = list.get_fields() else { return None };
    match repeated.is_primitive() {
        true => Some(repeated),
        false if repeated.name() == "list" && repeated.get_fields().len() == 1 => {
            repeated.get_fields().first().map(Arc::as_ref)
        }
        false => None,
    }
}

fn map_value(map: &ParquetMap, schema: Option<&Type>) -> Value {
    let types = schema.filter(|schema| !schema.is_primitive()).and_then(|schema| match schema.get_fields() {
        [pair] if !pair.is_primitive() => Some(pair.get_fields()),
        _ => None,
    });
    let [key_type, value_type] = [0, 1].map(|index| types.and_then(|types| types.get(index)).map(Arc::as_ref));
    let entries: Vec<(Value, Value)> =
        map.entries().iter().map(|(key, value)| (value_of(key, key_type), value_of(value, value_type))).collect();
    let mut seen = HashSet::new();
    let plain = entries.iter().all(|(key, _)| key.as_str().is_some_and(|key| seen.insert(key)));
    if plain {
        let text = |key: Value| if let Value::String(key) = key { key } else { String::new() };
        return Value::Object(entries.into_iter().map(|(key, value)| (text(key), value)).collect());
    }
    let pair = |(key, value)| Value::Object(Map::from_iter([("key".to_owned(), key), ("value".to_owned(), value)]));
    entries.into_iter().map(pair).collect()
}

fn float(value: f64) -> Value {
    match Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None if value.is_nan() => "NaN".into(),
        None if value > 0.0 => "Infinity".into(),
        None => "-Infinity".into(),
    }
}

/// Columns that only the older annotation describes are in UTC.
fn is_utc(logical: Option<&LogicalType>) -> bool {
    !matches!(logical, Some(LogicalType::Timestamp(kind)) if !kind.is_adjusted_to_u_t_c)
}

/// The time, or `raw` if it is beyond the calendar.
fn timestamp(secs: i64, nanos: i64, utc: bool, raw: i64) -> Value {
    let time = u32::try_from(nanos).ok().and_then(|nanos| DateTime::from_timestamp(secs, nanos));
    time.map_or_else(
        || raw.into(),
        |time| format!("{}{}", time.format("%Y-%m-%dT%H:%M:%S%.f"), if utc { "Z" } else { "" }).into(),
    )
}

/// A time of day in units of which a second has `per_second`.
fn time(value: i64, per_second: i64) -> Value {
    let secs = u32::try_from(value.div_euclid(per_second)).ok();
    let nanos = u32::try_from(value.rem_euclid(per_second) * (1_000_000_000 / per_second)).ok();
    secs.zip(nanos)
        .and_then(|(secs, nanos)| NaiveTime::from_num_seconds_from_midnight_opt(secs, nanos))
        .map_or_else(|| value.into(), |time| time.format("%H:%M:%S%.f").to_string().into())
}

/// All digits of a decimal number.
fn decimal(value: &Decimal) -> Value {
    let (bytes, places) = (value.data(), value.scale());
    if bytes.len() > LONGEST_DECIMAL_BYTES || !(0..=MOST_DECIMAL_PLACES).contains(&places) {
        return base64_value(bytes);
    }
    let negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
    let mut magnitude: Vec<u8> = bytes.to_vec();
    if negative {
        // Two's complement: turned around, plus one.
        let mut carry = true;
        for byte in magnitude.iter_mut().rev() {
            let (sum, over) = (!*byte).overflowing_add(u8::from(carry));
            (*byte, carry) = (sum, over);
        }
    }
    let mut digits: Vec<u8> = Vec::new();
    while magnitude.iter().any(|&byte| byte != 0) {
        let mut remainder = 0u32;
        for byte in &mut magnitude {
            let current = remainder * 256 + u32::from(*byte);
            *byte = u8::try_from(current / 10).unwrap_or_default();
            remainder = current % 10;
        }
        digits.push(b'0' + u8::try_from(remainder).unwrap_or_default());
    }
    let places = usize::try_from(places).unwrap_or_default();
    while digits.len() <= places {
        digits.push(b'0');
    }
    let mut text = String::from(if negative { "-" } else { "" });
    for (index, digit) in digits.iter().enumerate().rev() {
        text.push(char::from(*digit));
        if index == places && places > 0 {
            text.push('.');
        }
    }
    text.into()
}

fn uuid(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn text_or_base64(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => text.into(),
        _ => base64_value(bytes),
    }
}

fn base64_value(bytes: &[u8]) -> Value {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0u32, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - chunk.len()));
        for index in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * index)) as usize & 63];
            text.push(if index <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    Value::Object(Map::from_iter([("base64".to_owned(), Value::String(text))]))
}

#[cfg(test)]
mod tests {
    use parquet::data_type::ByteArray;
    use serde_json::json;

    use super::*;

    #[test]
    fn decimals_keep_their_digits() {
        let of = |bytes: &[u8], scale| decimal(&Decimal::from_bytes(ByteArray::from(bytes.to_vec()), 38, scale));
        assert_eq!(of(&[0x04, 0xD2], 2), json!("12.34"));
        assert_eq!(of(&[0xFB, 0x2E], 2), json!("-12.34"));
        assert_eq!(of(&[5], 3), json!("0.005"));
        assert_eq!(of(&[0xFF], 3), json!("-0.001"));
        assert_eq!(of(&[0], 2), json!("0.00"));
        assert_eq!(of(&[], 0), json!("0"));
        assert_eq!(of(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0], 0), json!("-2361183241434822606848"));
        assert_eq!(of(&[1; 65], 0)["base64"].as_str().map(str::len), Some(88));
        assert!(of(&[1], i32::MAX).is_object());
    }

    #[test]
    fn times_are_written_as_iso_8601_has_them() {
        assert_eq!(timestamp(0, 0, true, 0), json!("1970-01-01T00:00:00Z"));
        assert_eq!(timestamp(-1, 999_000_000, false, 0), json!("1969-12-31T23:59:59.999"));
        assert_eq!(timestamp(i64::MAX, 0, true, 7), json!(7));
        assert_eq!(time(3_600_001, 1000), json!("01:00:00.001"));
        assert_eq!(time(-1, 1000), json!(-1));
        assert_eq!(value_of(&Field::Date(-1), None), json!("1969-12-31"));
        assert_eq!(value_of(&Field::Date(i32::MAX), None), json!(i32::MAX));
    }

    #[test]
    fn bytes_are_text_or_base64() {
        assert_eq!(text_or_base64("ä".as_bytes()), json!("ä"));
        for (bytes, text) in [(&b"\xFF"[..], "/w=="), (b"\xFF\x00", "/wA="), (b"\xFF\x00\x01", "/wAB"), (b"\0", "AA==")]
        {
            assert_eq!(text_or_base64(bytes), json!({"base64": text}));
        }
        assert_eq!(uuid(&[0x12; 16]), "12121212-1212-1212-1212-121212121212");
        assert_eq!(float(f64::NAN), json!("NaN"));
        assert_eq!(float(f64::NEG_INFINITY), json!("-Infinity"));
        assert_eq!(first_words("a\u{1b}"), "a\\u{1b}");
    }
}
