//! Networks.

use std::collections::HashMap;
use std::ffi::{CString, c_char, c_void};
use std::path::PathBuf;
use std::ptr;
use std::sync::Arc;

use dyrelu::{Model, Options, Port};

use crate::arguments::{elements, elements_mut, text, writable, write};
use crate::dtype;
use crate::handles::Handles;
use crate::status::{DyreluStatus, Failure, Outcome, c_string, call};

/// An immutable network, compiled and ready to run. Threads share it.
pub struct ModelHandle {
    _opaque: u8,
}

/// An input or an output of a network. Its memory belongs to the model.
#[repr(C)]
pub struct CPort {
    /// The name in the file.
    pub name: *const c_char,
    /// One of dyrelu_dtype.
    pub dtype: i32,
    /// The number of axes, -1 if it depends on the data.
    pub rank: i32,
    /// The size of each axis, outermost first, -1 for one that is free at run time.
    pub shape: *const i64,
}

/// The shape of an input.
#[repr(C)]
pub struct CShape {
    /// The number of axes.
    pub rank: usize,
    /// The size of each axis, outermost first.
    pub sizes: *const usize,
}

/// A network, with what C reads of it.
pub(crate) struct Network {
    pub model: Arc<Model>,
    inputs: Vec<Described>,
    outputs: Vec<Described>,
    metadata: HashMap<String, CString>,
}

struct Described {
    name: CString,
    dtype: i32,
    shape: Option<Vec<i64>>,
}

pub(crate) static MODELS: Handles<Network> = Handles::new("model");

impl Network {
    fn new(model: Arc<Model>) -> Self {
        let text = |key: &str| c_string(model.metadata(key).unwrap_or_default());
        let metadata = model.metadata_keys().map(|key| (key.to_string(), text(key))).collect();
        let inputs = model.inputs().iter().map(Described::new).collect();
        let outputs = model.outputs().iter().map(Described::new).collect();
        Network { model, inputs, outputs, metadata }
    }
}

impl Described {
    fn new(port: &Port) -> Self {
        let size = |size: Option<usize>| size.and_then(|size| size.try_into().ok()).unwrap_or(-1);
        let shape = port.shape().map(|shape| shape.into_iter().map(size).collect());
        Described { name: c_string(&port.name), dtype: dtype::number(port.dtype()), shape }
    }

    fn port(&self) -> CPort {
        let rank = self.shape.as_ref().and_then(|shape| shape.len().try_into().ok());
        CPort {
            name: self.name.as_ptr(),
            dtype: self.dtype,
            rank: rank.unwrap_or(-1),
            shape: self.shape.as_ref().map_or(ptr::null(), |shape| shape.as_ptr()),
        }
    }
}

/// Opens an ONNX file or a native weight file. dyrelu_model_free frees the model.
///
/// `path` is in the encoding of the file system: bytes on Unix, UTF-8 elsewhere.
///
/// Any thread may call this.
///
/// # Safety
///
/// `path` is null or a text that ends with a null character, `model` is null or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyrelu_model_open(
    path: *const c_char,
    model: *mut *mut ModelHandle,
) -> DyreluStatus {
    call(|| {
        writable(model, "model")?;
        // SAFETY: the caller's promise.
        let path = path_of(unsafe { text(path, "path") }?)?;
        let handle = MODELS.insert(Network::new(Model::open(path)?));
        // SAFETY: the caller's promise.
        unsafe { write(model, "model", handle) }
    })
}

#[cfg(unix)]
fn path_of(text: &std::ffi::CStr) -> Outcome<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    Ok(std::ffi::OsStr::from_bytes(text.to_bytes()).into())
}

#[cfg(not(unix))]
fn path_of(text: &std::ffi::CStr) -> Outcome<PathBuf> {
    let text = text.to_str().map_err(|_| Failure::argument("path is not UTF-8"))?;
    Ok(text.into())
}

/// Opens the network in the bytes of a file, which are copied. External data cannot be had.
///
/// Any thread may call this.
///
/// # Safety
///
/// `bytes` is null or points to `length` bytes, `model` is null or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyrelu_model_from_bytes(
    bytes: *const c_void,
    length: usize,
    model: *mut *mut ModelHandle,
) -> DyreluStatus {
    call(|| {
        writable(model, "model")?;
        // SAFETY: the caller's promise.
        let bytes = unsafe { elements(bytes.cast::<u8>(), length, "bytes") }?;
        let handle = MODELS.insert(Network::new(Model::from_bytes(bytes, Options::default())?));
        // SAFETY: the caller's promise.
        unsafe { write(model, "model", handle) }
    })
}

/// Frees a model. Its sessions live on, and what dyrelu_model_input, dyrelu_model_output and
/// dyrelu_model_metadata returned does not. Null is ignored.
///
/// Any thread may call this.
#[unsafe(no_mangle)]
pub extern "C" fn dyrelu_model_free(model: *mut ModelHandle) -> DyreluStatus {
    call(|| MODELS.remove(model))
}

/// Writes the number of inputs and of outputs. Either place may be null.
///
/// Any thread may call this, also while others use the model.
///
/// # Safety
///
/// `inputs` and `outputs` are null or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyrelu_model_counts(
    model: *const ModelHandle,
    inputs: *mut usize,
    outputs: *mut usize,
) -> DyreluStatus {
    call(|| {
        let network = MODELS.get(model)?;
        let counts = [(inputs, network.inputs.len()), (outputs, network.outputs.len())];
        for (place, count) in counts {
            if !place.is_null() {
                // SAFETY: the caller's promise.
                unsafe { write(place, "the place of a count", count) }?;
            }
        }
        Ok(())
    })
}

/// Describes the input `index`, from 0.
///
/// Any thread may call this, also while others use the model.
///
/// # Safety
///
/// `port` is null or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyrelu_model_input(
    model: *const ModelHandle,
    index: usize,
    port: *mut CPort,
) -> DyreluStatus {
    // SAFETY: the caller's promise.
    call(|| unsafe { write(port, "port", described(&MODELS.get(model)?.inputs, index)?) })
}

/// Describes the output `index`, from 0.
///
/// Any thread may call this, also while others use the model.
///
/// # Safety
///
/// `port` is null or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyrelu_model_output(
    model: *const ModelHandle,
    index: usize,
    port: *mut CPort,
) -> DyreluStatus {
    // SAFETY: the caller's promise.
    call(|| unsafe { write(port, "port", described(&MODELS.get(model)?.outputs, index)?) })
}

fn described(ports: &[Described], index: usize) -> Outcome<CPort> {
    let missing = || {
        Failure::argument(format!("there is no number {index}: the network has {}", ports.len()))
    };
    ports.get(index).map(Described::port).ok_or_else(missing)
}

/// Writes the text that the file holds under `key`, such as "labels", or null if it holds none. The text
/// belongs to the model.
///
/// Any thread may call this, also while others use the model.
///
/// # Safety
///
/// `key` is null or a text that ends with a null character, `value` is null or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyrelu_model_metadata(
    model: *const ModelHandle,
    key: *const c_char,
    value: *mut *const c_char,
) -> DyreluStatus {
    call(|| {
        let network = MODELS.get(model)?;
        // SAFETY: the caller's promise.
        let key = unsafe { text(key, "key") }?;
        let found = key.to_str().ok().and_then(|key| network.metadata.get(key));
        // SAFETY: the caller's promise.
        unsafe { write(value, "value", found.map_or(ptr::null(), |text| text.as_ptr())) }
    })
}

/// Writes the shape that the output `index` has for inputs of these shapes.
///
/// `rank` holds the number of sizes for which there is room at `sizes`, and then the number of axes. If
/// there is too little room, the call fails, and `rank` is still written.
///
/// Any thread may call this, also while others use the model.
///
/// # Safety
///
/// `inputs` is null or points to `input_count` shapes, `rank` is null or valid for reads and writes, `sizes`
/// is null or valid for writes of as many sizes as `rank` holds.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyrelu_model_output_shape(
    model: *const ModelHandle,
    inputs: *const CShape,
    input_count: usize,
    index: usize,
    sizes: *mut usize,
    rank: *mut usize,
) -> DyreluStatus {
    call(|| {
        let network = MODELS.get(model)?;
        writable(rank, "rank")?;
        // SAFETY: the caller's promise.
        let inputs = unsafe { elements(inputs, input_count, "inputs") }?;
        let shape = |input: &CShape| {
            // SAFETY: the caller's promise.
            let sizes = unsafe { elements(input.sizes, input.rank, "the shape of an input") };
            sizes.map(<[usize]>::to_vec)
        };
        let shapes: Vec<Vec<usize>> = inputs.iter().map(shape).collect::<Outcome<_>>()?;
        described(&network.outputs, index)?;
        let shape = network.model.output_shapes(&shapes)?.swap_remove(index);
        let shape = shape.ok_or_else(|| {
            Failure::argument(format!("the sizes of output {index} depend on the data"))
        })?;
        // SAFETY: it is not null, and the caller vouches for the rest.
        let room = unsafe { rank.replace(shape.len()) };
        if room < shape.len() {
            let axes = shape.len();
            return Err(Failure::argument(format!("there is room for {room} of {axes} sizes")));
        }
        // SAFETY: there is room for as many, by the caller's promise.
        let sizes = unsafe { elements_mut(sizes, shape.len(), "sizes") }?;
        sizes.copy_from_slice(&shape);
        Ok(())
    })
}
