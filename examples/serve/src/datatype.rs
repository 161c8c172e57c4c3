//! Element types of the protocol, and tensors from and to its bytes and its JSON.

use dyrelu::{DType, Element, Port, Tensor, bf16, f16};
use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::failure::Failure;

const NAMES: [(DType, &str); 9] = [
    (DType::F32, "FP32"),
    (DType::F64, "FP64"),
    (DType::F16, "FP16"),
    (DType::BF16, "BF16"),
    (DType::I64, "INT64"),
    (DType::I32, "INT32"),
    (DType::I8, "INT8"),
    (DType::U8, "UINT8"),
    (DType::Bool, "BOOL"),
];

/// Returns the protocol's name of an element type. An output whose type depends on the data has none.
pub fn name(dtype: Option<DType>) -> &'static str {
    NAMES.iter().find(|&&(known, _)| Some(known) == dtype).map_or("", |&(_, name)| name)
}

/// Returns the element type with this name.
pub fn of_name(name: &str) -> Result<DType, Failure> {
    let known = NAMES.iter().find(|&&(_, known)| known == name);
    known.map(|&(dtype, _)| dtype).ok_or_else(|| {
        let names = NAMES.map(|(_, name)| name).join(", ");
        Failure::invalid(format!("there is no datatype {name:?}; the datatypes are {names}"))
    })
}

/// Returns the sizes of an input or output as metadata states them: -1 for one that is free at run time.
pub fn sizes_of(port: &Port) -> Vec<i64> {
    let size = |size: Option<usize>| size.and_then(|size| i64::try_from(size).ok()).unwrap_or(-1);
    port.shape().unwrap_or_default().into_iter().map(size).collect()
}

/// Returns the shape of a tensor whose sizes a client states.
pub fn shape_of(sizes: &[i64]) -> Result<Vec<usize>, Failure> {
    let size = |&size: &i64| usize::try_from(size).ok();
    sizes.iter().map(size).collect::<Option<_>>().ok_or_else(|| {
        Failure::invalid(format!("the shape {sizes:?} of an input has a size below 0"))
    })
}

/// Returns a tensor of the little-endian elements `bytes`, in row-major order.
pub fn from_bytes(dtype: DType, shape: &[usize], bytes: &[u8]) -> Result<Tensor, Failure> {
    fn typed<T: Element>(shape: &[usize], bytes: &[u8]) -> dyrelu::Result<Tensor> {
        Tensor::new::<T>(shape, bytemuck::pod_collect_to_vec(bytes))
    }
    check_length(shape, dtype.size(), bytes.len(), "bytes")?;
    let tensor = match dtype {
        DType::F32 => typed::<f32>(shape, bytes),
        DType::F64 => typed::<f64>(shape, bytes),
        DType::F16 => typed::<f16>(shape, bytes),
        DType::BF16 => typed::<bf16>(shape, bytes),
        DType::I64 => typed::<i64>(shape, bytes),
        DType::I32 => typed::<i32>(shape, bytes),
        DType::I8 => typed::<i8>(shape, bytes),
        DType::U8 => typed::<u8>(shape, bytes),
        DType::Bool => Tensor::from_bools(shape, bytes.iter().map(|&byte| byte != 0)),
        _ => return Err(Failure::invalid(format!("tensors of {dtype} are not transferred"))),
    };
    Ok(tensor?)
}

/// Returns a tensor of the elements of `parts`, which are of the type `dtype`, one after another.
pub fn joined<'a>(
    dtype: DType,
    shape: &[usize],
    parts: impl Iterator<Item = &'a Tensor> + Clone,
) -> Result<Tensor, Failure> {
    let elements: Option<Vec<&[f32]>> = parts.clone().map(|part| part.as_slice().ok()).collect();
    match elements {
        Some(elements) => from_elements(shape, elements.concat()),
        None => from_bytes(dtype, shape, &parts.map(Tensor::bytes).collect::<Vec<_>>().concat()),
    }
}

/// Returns a tensor of `elements`, in row-major order.
pub fn from_elements<T: Element>(shape: &[usize], elements: Vec<T>) -> Result<Tensor, Failure> {
    check_length(shape, size_of::<T>(), size_of_val(&elements[..]), "bytes")?;
    Ok(Tensor::new(shape, elements)?)
}

/// Returns a tensor of the elements `values`, in row-major order, of which gRPC and JSON have fewer types than
/// there are element types.
pub fn from_values<T: Value>(
    dtype: DType,
    shape: &[usize],
    values: &[T],
) -> Result<Tensor, Failure> {
    fn typed<E: Element>(
        shape: &[usize],
        values: impl Iterator<Item = Option<E>>,
    ) -> Option<dyrelu::Result<Tensor>> {
        Some(Tensor::new(shape, values.collect::<Option<Vec<E>>>()?))
    }
    check_length(shape, 1, values.len(), "elements")?;
    let tensor = match dtype {
        DType::F32 => typed(shape, values.iter().map(|v| v.float().map(|v| v as f32))),
        DType::F64 => typed(shape, values.iter().map(Value::float)),
        DType::F16 => typed(shape, values.iter().map(|v| v.float().map(f16::from_f64))),
        DType::BF16 => typed(shape, values.iter().map(|v| v.float().map(bf16::from_f64))),
        DType::I64 => typed(shape, values.iter().map(Value::integer)),
        DType::I32 => typed(shape, values.iter().map(|v| i32::try_from(v.integer()?).ok())),
        DType::I8 => typed(shape, values.iter().map(|v| i8::try_from(v.integer()?).ok())),
        DType::U8 => typed(shape, values.iter().map(|v| u8::try_from(v.integer()?).ok())),
        DType::Bool => {
            let bools: Option<Vec<bool>> = values.iter().map(Value::boolean).collect();
            bools.map(|bools| Tensor::from_bools(shape, bools))
        }
        _ => None,
    };
    let unfit = || Failure::invalid(format!("an element is no {}", name(Some(dtype))));
    Ok(tensor.ok_or_else(unfit)??)
}

/// Returns a tensor of the numbers in a JSON array, flat or nested, in row-major order.
pub fn from_json(dtype: DType, shape: &[usize], json: &RawValue) -> Result<Tensor, Failure> {
    let mut numbers = Vec::new();
    let mut json = serde_json::Deserializer::from_str(json.get());
    let flattened = Flatten(&mut numbers).deserialize(&mut json);
    flattened.map_err(|e| Failure::invalid(format!("the data cannot be read: {e}")))?;
    from_values(dtype, shape, &numbers)
}

/// Checks that `found` bytes or elements are those of `shape`, at `size` each.
fn check_length(shape: &[usize], size: usize, found: usize, unit: &str) -> Result<(), Failure> {
    let expected = shape.iter().try_fold(size, |product, &size| product.checked_mul(size));
    if expected == Some(found) {
        return Ok(());
    }
    let expected = expected.map_or("too many".to_string(), |expected| expected.to_string());
    Err(Failure::invalid(format!("the shape {shape:?} takes {expected} {unit}, found {found}")))
}

/// An element as a client wrote it.
pub trait Value {
    /// Returns a floating-point number.
    fn float(&self) -> Option<f64>;
    /// Returns an integer.
    fn integer(&self) -> Option<i64>;
    /// Returns a boolean.
    fn boolean(&self) -> Option<bool>;
}

/// An element in JSON.
#[derive(Clone, Copy)]
enum Number {
    Float(f64),
    Integer(i64),
    Boolean(bool),
}

impl Value for Number {
    fn float(&self) -> Option<f64> {
        match *self {
            Number::Float(value) => Some(value),
            Number::Integer(value) => Some(value as f64),
            Number::Boolean(_) => None,
        }
    }

    fn integer(&self) -> Option<i64> {
        if let Number::Integer(value) = *self { Some(value) } else { None }
    }

    fn boolean(&self) -> Option<bool> {
        if let Number::Boolean(value) = *self { Some(value) } else { None }
    }
}

macro_rules! value {
    ($($t:ty, $float:expr, $integer:expr, $boolean:expr;)*) => { $(
        impl Value for $t {
            fn float(&self) -> Option<f64> { $float(*self) }
            fn integer(&self) -> Option<i64> { $integer(*self) }
            fn boolean(&self) -> Option<bool> { $boolean(*self) }
        }
    )* };
}
// The fields of a gRPC message that hold elements.
value! {
    f32, |v| Some(f64::from(v)), |_| None, |_| None;
    f64, Some, |_| None, |_| None;
    i32, |_| None, |v| Some(i64::from(v)), |_| None;
    i64, |_| None, Some, |_| None;
    u32, |_| None, |v| Some(i64::from(v)), |_| None;
    bool, |_| None, |_| None, Some;
}

/// Appends all numbers of a JSON array, however deep it is nested.
struct Flatten<'a>(&'a mut Vec<Number>);

impl<'de> DeserializeSeed<'de> for Flatten<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Flatten<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of numbers or booleans")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        while array.next_element_seed(Flatten(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.0.push(Number::Float(value));
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.0.push(Number::Integer(value));
        Ok(())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        let value = i64::try_from(value).map_err(|_| E::custom("an integer is too large"))?;
        self.visit_i64(value)
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.0.push(Number::Boolean(value));
        Ok(())
    }
}

/// A tensor as a flat JSON array. NaN and infinities are `null`.
pub struct Flat(pub Tensor);

impl Serialize for Flat {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        fn slice<T: Element>(tensor: &Tensor) -> &[T] {
            tensor.as_slice().expect("the type has been matched")
        }
        let tensor = &self.0;
        match tensor.dtype() {
            DType::F32 => serializer.collect_seq(slice::<f32>(tensor)),
            DType::F64 => serializer.collect_seq(slice::<f64>(tensor)),
            DType::F16 => serializer.collect_seq(slice::<f16>(tensor).iter().map(|v| v.to_f32())),
            DType::BF16 => serializer.collect_seq(slice::<bf16>(tensor).iter().map(|v| v.to_f32())),
            DType::I64 => serializer.collect_seq(slice::<i64>(tensor)),
            DType::I32 => serializer.collect_seq(slice::<i32>(tensor)),
            DType::I8 => serializer.collect_seq(slice::<i8>(tensor)),
            DType::U8 => serializer.collect_seq(slice::<u8>(tensor)),
            DType::Bool => serializer.collect_seq(tensor.bytes().iter().map(|&byte| byte != 0)),
            other => Err(serde::ser::Error::custom(format!("{other} has no form in JSON"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(dtype: DType, shape: &[usize], text: &str) -> Result<Tensor, Failure> {
        from_json(dtype, shape, &RawValue::from_string(text.to_string()).unwrap())
    }

    #[test]
    fn json_goes_both_ways_in_every_type() {
        for (dtype, _) in NAMES {
            let text = if dtype == DType::Bool { "[true,false,true]" } else { "[1,0,7]" };
            let tensor = json(dtype, &[3], text).unwrap();
            assert_eq!((tensor.dtype(), tensor.shape()), (dtype, &[3][..]));
            let written = serde_json::to_string(&Flat(tensor.clone())).unwrap();
            assert_eq!(written.replace(".0", ""), text);
            let again = from_bytes(dtype, &[3], tensor.bytes()).unwrap();
            assert_eq!(again.bytes(), tensor.bytes());
        }
    }

    #[test]
    fn nested_arrays_are_flattened() {
        let tensor = json(DType::F32, &[2, 2], "[[1.5, 2], [-3, 4e1]]").unwrap();
        assert_eq!(tensor.as_f32().unwrap(), [1.5, 2.0, -3.0, 40.0]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (dtype, text, message) in [
            (DType::F32, "[1, 2]", "the shape [3] takes 3 elements, found 2"),
            (DType::I8, "[1, 2, 128]", "an element is no INT8"),
            (DType::I64, "[1, 2, 3.5]", "an element is no INT64"),
            (DType::Bool, "[1, 0, 1]", "an element is no BOOL"),
            (DType::F32, r#"["1", 2, 3]"#, "expected an array of numbers or booleans"),
            (DType::F32, "[null, 2, 3]", "expected an array of numbers or booleans"),
        ] {
            let found = json(dtype, &[3], text).unwrap_err().message;
            assert!(found.contains(message), "{found}");
        }
        let huge = from_bytes(DType::F32, &[usize::MAX, 2], &[]).unwrap_err().message;
        assert!(huge.contains("takes too many bytes, found 0"), "{huge}");
        assert!(of_name("BYTES").unwrap_err().message.contains("the datatypes are FP32, FP64"));
        assert!(shape_of(&[1, -1]).is_err());
    }
}
