//! What the arrays of a source mean: numbers, or labels.

use std::borrow::Cow;
use std::fmt::Display;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowDictionaryKeyType, ArrowPrimitiveType, Date32Type, Date64Type, Decimal32Type, Decimal64Type,
    Decimal128Type, Decimal256Type, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, TimeUnit};

use crate::{Error, Result};

use super::source::Kind;

/// Values of a column in double precision, NaN where one is missing; dates and times in seconds.
///
/// # Errors
/// `Source` where a text is no number; the position in the array is in the message of the caller.
pub fn doubles(array: &ArrayRef) -> Result<Vec<f64>> {
    use DataType as T;
    Ok(match array.data_type() {
        T::Null => vec![f64::NAN; array.len()],
        T::Boolean => collect(array.as_boolean().iter().map(|v| v.map(|v| f64::from(u8::from(v))))),
        T::Int8 => plain::<Int8Type>(array, f64::from),
        T::Int16 => plain::<Int16Type>(array, f64::from),
        T::Int32 => plain::<Int32Type>(array, f64::from),
        T::Int64 => plain::<Int64Type>(array, |v| v as f64),
        T::UInt8 => plain::<UInt8Type>(array, f64::from),
        T::UInt16 => plain::<UInt16Type>(array, f64::from),
        T::UInt32 => plain::<UInt32Type>(array, f64::from),
        T::UInt64 => plain::<UInt64Type>(array, |v| v as f64),
        T::Float16 => plain::<Float16Type>(array, |v| v.to_f64()),
        T::Float32 => plain::<Float32Type>(array, f64::from),
        T::Float64 => plain::<Float64Type>(array, |v| v),
        T::Decimal32(_, scale) => plain::<Decimal32Type>(array, |v| decimal(v.into(), *scale)),
        T::Decimal64(_, scale) => plain::<Decimal64Type>(array, |v| decimal(v.into(), *scale)),
        T::Decimal128(_, scale) => plain::<Decimal128Type>(array, |v| decimal(v, *scale)),
        T::Decimal256(_, scale) => plain::<Decimal256Type>(array, |v| {
            v.to_i128().map_or_else(|| scientific(&v, *scale), |v| decimal(v, *scale))
        }),
        T::Date32 => plain::<Date32Type>(array, |v| f64::from(v) * 86_400.0),
        T::Date64 => plain::<Date64Type>(array, |v| v as f64 / 1e3),
        T::Timestamp(TimeUnit::Second, _) => plain::<TimestampSecondType>(array, |v| v as f64),
        T::Timestamp(TimeUnit::Millisecond, _) => {
            plain::<TimestampMillisecondType>(array, |v| v as f64 / 1e3)
        }
        T::Timestamp(TimeUnit::Microsecond, _) => {
            plain::<TimestampMicrosecondType>(array, |v| v as f64 / 1e6)
        }
        T::Timestamp(TimeUnit::Nanosecond, _) => plain::<TimestampNanosecondType>(array, |v| v as f64 / 1e9),
        T::Time32(TimeUnit::Second) => plain::<Time32SecondType>(array, f64::from),
        T::Time32(_) => plain::<Time32MillisecondType>(array, |v| f64::from(v) / 1e3),
        T::Time64(TimeUnit::Microsecond) => plain::<Time64MicrosecondType>(array, |v| v as f64 / 1e6),
        T::Time64(_) => plain::<Time64NanosecondType>(array, |v| v as f64 / 1e9),
        _ => {
            let mut values = Vec::with_capacity(array.len());
            for text in texts(array)? {
                values.push(text.map_or(Ok(f64::NAN), |text| parse(&text))?);
            }
            values
        }
    })
}

/// Values of a column in single precision, NaN where one is missing.
///
/// # Errors
/// As for `doubles`.
pub fn singles(array: &ArrayRef, out: &mut [f32]) -> Result<()> {
    if let Some(values) = array.as_primitive_opt::<Float32Type>()
        && values.null_count() == 0
    {
        out.copy_from_slice(values.values());
        return Ok(());
    }
    if let Some(values) = array.as_primitive_opt::<Float64Type>()
        && values.null_count() == 0
    {
        values.values().iter().zip(out).for_each(|(&value, out)| *out = value as f32);
        return Ok(());
    }
    doubles(array)?.into_iter().zip(out).for_each(|(value, out)| *out = value as f32);
    Ok(())
}

/// Labels of a column, None where one is missing. A whole number is written without a fraction, whatever its type.
///
/// # Errors
/// `Source` where the column holds neither text nor numbers.
pub fn texts(array: &ArrayRef) -> Result<Vec<Option<Cow<'_, str>>>> {
    use DataType as T;
    let borrowed = |text| Cow::Borrowed(text);
    let utf8 = |bytes: Option<_>| bytes.map(text_of).transpose();
    Ok(match array.data_type() {
        T::Utf8 => array.as_string::<i32>().iter().map(|v| v.map(borrowed)).collect(),
        T::LargeUtf8 => array.as_string::<i64>().iter().map(|v| v.map(borrowed)).collect(),
        T::Utf8View => array.as_string_view().iter().map(|v| v.map(borrowed)).collect(),
        T::Binary => array.as_binary::<i32>().iter().map(utf8).collect::<Result<_>>()?,
        T::LargeBinary => array.as_binary::<i64>().iter().map(utf8).collect::<Result<_>>()?,
        T::BinaryView => array.as_binary_view().iter().map(utf8).collect::<Result<_>>()?,
        T::Boolean => array.as_boolean().iter().map(|v| v.map(|v| Cow::Owned(v.to_string()))).collect(),
        T::Int64 => written::<Int64Type>(array),
        T::UInt64 => written::<UInt64Type>(array),
        T::Dictionary(key, _) => match key.as_ref() {
            T::Int8 => entries::<Int8Type>(array)?,
            T::Int16 => entries::<Int16Type>(array)?,
            T::Int32 => entries::<Int32Type>(array)?,
            T::Int64 => entries::<Int64Type>(array)?,
            T::UInt8 => entries::<UInt8Type>(array)?,
            T::UInt16 => entries::<UInt16Type>(array)?,
            T::UInt32 => entries::<UInt32Type>(array)?,
            _ => entries::<UInt64Type>(array)?,
        },
        other if matches!(kind(other), Kind::Number | Kind::Integer | Kind::Time) => {
            let shown = |v: f64| (!v.is_nan()).then(|| Cow::Owned(v.to_string()));
            doubles(array)?.into_iter().map(shown).collect()
        }
        other => return Err(Error::Source(format!("values of type {other} are neither numbers nor labels"))),
    })
}

/// What a column of this type holds.
#[must_use]
pub fn kind(data_type: &DataType) -> Kind {
    use DataType as T;
    match data_type {
        T::Boolean => Kind::Boolean,
        T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::UInt8 | T::UInt16 | T::UInt32 | T::UInt64 => {
            Kind::Integer
        }
        // A column of type null has no value at all: reading reports it as missing.
        T::Float16 | T::Float32 | T::Float64 | T::Null => Kind::Number,
        T::Decimal32(..) | T::Decimal64(..) | T::Decimal128(..) | T::Decimal256(..) => Kind::Number,
        T::Utf8 | T::LargeUtf8 | T::Utf8View | T::Binary | T::LargeBinary | T::BinaryView => Kind::Text,
        T::Dictionary(_, values) if matches!(kind(values), Kind::Text) => Kind::Text,
        T::Date32 | T::Date64 | T::Timestamp(..) | T::Time32(_) | T::Time64(_) => Kind::Time,
        T::List(_) | T::LargeList(_) | T::FixedSizeList(..) | T::Struct(_) | T::Map(..) => {
            Kind::Other("nested values".into())
        }
        _ => Kind::Other(format!("values of type {data_type}")),
    }
}

fn text_of(bytes: &[u8]) -> Result<Cow<'_, str>> {
    let text = std::str::from_utf8(bytes);
    text.map(Cow::Borrowed).map_err(|_| Error::Format("a label is not UTF-8 text: convert it".into()))
}

/// A number as it stands in a file: spaces around it do not count.
pub(crate) fn parse(text: &str) -> Result<f64> {
    fast_float2::parse(text.trim()).map_err(|_| Error::Source(format!("the text {text:?} is no number")))
}

/// The double that is nearest to `whole` · 10^-`scale`.
fn decimal(whole: i128, scale: i8) -> f64 {
    match UNITS.get(usize::try_from(scale).unwrap_or(usize::MAX)) {
        Some(unit) if whole.unsigned_abs() <= 1 << f64::MANTISSA_DIGITS => whole as f64 / unit,
        _ => scientific(&whole, scale),
    }
}

/// The powers of ten that are doubles: the quotient of one and a double is rounded once.
const UNITS: [f64; 23] = {
    let (mut units, mut power) = ([1.0; 23], 1);
    while power < units.len() {
        units[power] = units[power - 1] * 10.0;
        power += 1;
    }
    units
};

fn scientific(whole: &impl Display, scale: i8) -> f64 {
    fast_float2::parse(format!("{whole}e{}", -i16::from(scale))).unwrap_or(f64::NAN)
}

fn plain<T: ArrowPrimitiveType>(array: &ArrayRef, number: impl Fn(T::Native) -> f64) -> Vec<f64> {
    let values = array.as_primitive::<T>();
    if values.null_count() == 0 {
        return values.values().iter().map(|&v| number(v)).collect();
    }
    collect(values.iter().map(|v| v.map(&number)))
}

fn collect(values: impl Iterator<Item = Option<f64>>) -> Vec<f64> {
    values.map(|v| v.unwrap_or(f64::NAN)).collect()
}

fn written<T: ArrowPrimitiveType<Native: ToString>>(array: &ArrayRef) -> Vec<Option<Cow<'_, str>>> {
    array.as_primitive::<T>().iter().map(|v| v.map(|v| Cow::Owned(v.to_string()))).collect()
}

fn entries<K: ArrowDictionaryKeyType>(array: &ArrayRef) -> Result<Vec<Option<Cow<'_, str>>>> {
    let dictionary = array.as_dictionary::<K>();
    let labels = texts(dictionary.values())?;
    let label = |key: Option<usize>| match key.map(|key| labels.get(key)) {
        None => Ok(None),
        Some(Some(label)) => Ok(label.clone()),
        Some(None) => Err(Error::Format("a dictionary lacks one of its labels: write the data anew".into())),
    };
    dictionary.keys_iter().map(label).collect()
}
