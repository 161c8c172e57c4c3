//! Runs.

use std::ffi::c_void;
use std::sync::{Mutex, TryLockError};
use std::time::{Duration, Instant};

use dyrelu::tensor::Storage;
use dyrelu::{DType, InputView, Layout, RunOptions, Session, Tensor};

use crate::arguments::{elements, elements_mut, writable, write};
use crate::cancel::{CancelHandle, TOKENS};
use crate::dtype;
use crate::handles::Handles;
use crate::model::{MODELS, ModelHandle};
use crate::status::{DyreluStatus, Failure, Outcome, call};

/// The memory and threads of one caller's runs.
pub struct SessionHandle {
    _opaque: u8,
}

/// The elements of an input, in row-major order.
#[repr(C)]
pub struct CInput {
    /// As many elements as the product of the sizes, aligned as their type asks.
    pub data: *const c_void,
    /// One of dyrelu_dtype. An input of DYRELU_DTYPE_U8 for a network that takes floating-point numbers is
    /// converted: 255 becomes 255.0.
    pub dtype: i32,
    /// The number of axes.
    pub rank: usize,
    /// The size of each axis, outermost first.
    pub shape: *const usize,
}

/// The place of an output, which is written in row-major order.
#[repr(C)]
pub struct COutput {
    /// Room for `length` elements, aligned as their type asks.
    pub data: *mut c_void,
    /// The type of the output, or DYRELU_DTYPE_F32, to which it is then converted.
    pub dtype: i32,
    /// The number of elements that the output has.
    pub length: usize,
}

/// What may end a run early.
#[repr(C)]
pub struct CRunOptions {
    /// Ends the run when it is cancelled; may be null.
    pub cancel_token: *const CancelHandle,
    /// Ends the run after so many microseconds; 0 for no limit.
    pub timeout_us: u64,
}

static SESSIONS: Handles<Mutex<Session>> = Handles::new("session");

/// Creates a session that runs `model` on `threads` threads: the calling one, and others that it starts. One
/// thread starts none. dyrelu_session_free frees the session, which may outlive the model.
///
/// Any thread may call this, also while others use the model.
///
/// # Safety
///
/// `session` is null or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyrelu_session_new(
    model: *const ModelHandle,
    threads: usize,
    session: *mut *mut SessionHandle,
) -> DyreluStatus {
    call(|| {
        writable(session, "session")?;
        let network = MODELS.get(model)?;
        let new = Session::with_threads(&network.model, threads)?;
        // SAFETY: the caller's promise.
        unsafe { write(session, "session", SESSIONS.insert(Mutex::new(new))) }
    })
}

/// Frees a session. A run on another thread goes on to its end. Null is ignored.
///
/// Any thread may call this.
#[unsafe(no_mangle)]
pub extern "C" fn dyrelu_session_free(session: *mut SessionHandle) -> DyreluStatus {
    call(|| SESSIONS.remove(session))
}

/// Runs the network on `inputs`, in its order, and writes `outputs`. A batch is the first size of a shape.
/// `options` may be null.
///
/// Nothing is copied but the outputs if the network gives and takes DYRELU_DTYPE_F32 only, there are at most
/// eight inputs, each of that type or of DYRELU_DTYPE_U8 with four axes, and outputs are of DYRELU_DTYPE_F32.
/// If the call fails, no output is written.
///
/// Any thread may call this, one at a time for a session: a second call at the same time fails with
/// DYRELU_STATUS_INPUT. Sessions run at the same time.
///
/// # Safety
///
/// `inputs`, `outputs` and `options` are null or point to as many as stated. Each `shape` and `data` in them
/// is null or valid for as many elements as stated, and no other thread writes to inputs, or reads or
/// writes outputs, during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyrelu_session_run(
    session: *const SessionHandle,
    inputs: *const CInput,
    input_count: usize,
    outputs: *const COutput,
    output_count: usize,
    options: *const CRunOptions,
) -> DyreluStatus {
    call(|| {
        let session = SESSIONS.get(session)?;
        // SAFETY: the caller's promise.
        let (inputs, outputs) = unsafe {
            let inputs = elements(inputs, input_count, "inputs")?;
            (inputs, elements(outputs, output_count, "outputs")?)
        };
        // SAFETY: the caller's promise.
        let options = unsafe { run_options(options) }?;
        let inputs: Vec<Given> = inputs
            .iter()
            .enumerate()
            // SAFETY: the caller's promise.
            .map(|(i, input)| unsafe { Given::new(input, &format!("input {i}")) })
            .collect::<Outcome<_>>()?;
        check_overlap(&inputs, outputs)?;
        let mut places: Vec<Place> = outputs
            .iter()
            .enumerate()
            // SAFETY: the caller's promise, and no output shares memory with anything.
            .map(|(i, output)| unsafe { Place::new(output, &format!("output {i}")) })
            .collect::<Outcome<_>>()?;
        let mut session = session.try_lock().map_err(|e| match e {
            TryLockError::WouldBlock => {
                Failure::argument("the session is running: each thread needs a session of its own")
            }
            TryLockError::Poisoned(_) => {
                Failure::argument("a former run of this session met a fault: free the session")
            }
        })?;
        run(&mut session, &inputs, &mut places, &options)
    })
}

/// # Safety
///
/// `options` is null or points to options.
unsafe fn run_options(options: *const CRunOptions) -> Outcome<RunOptions> {
    let mut chosen = RunOptions::default();
    if options.is_null() {
        return Ok(chosen);
    }
    // SAFETY: it is not null, and the caller vouches for the rest.
    let options = &unsafe { elements(options, 1, "options") }?[0];
    if !options.cancel_token.is_null() {
        chosen = chosen.cancel_token(&*TOKENS.get(options.cancel_token)?);
    }
    if options.timeout_us > 0 {
        // A time that the clock cannot express never comes.
        let deadline = Instant::now().checked_add(Duration::from_micros(options.timeout_us));
        chosen = deadline.map_or(chosen.clone(), |deadline| chosen.deadline(deadline));
    }
    Ok(chosen)
}

/// An input of a caller.
struct Given<'a> {
    dtype: DType,
    shape: &'a [usize],
    bytes: &'a [u8],
}

impl Given<'_> {
    /// # Safety
    ///
    /// As [`dyrelu_session_run`] has it for an input.
    unsafe fn new(input: &CInput, name: &str) -> Outcome<Self> {
        let dtype = dtype::of_number(input.dtype, name)?;
        // SAFETY: the caller's promise.
        let shape = unsafe { elements(input.shape, input.rank, &format!("the shape of {name}")) }?;
        let bytes = shape.iter().try_fold(dtype.size(), |bytes, &size| bytes.checked_mul(size));
        let too_large = || Failure::argument(format!("{name} of shape {shape:?} is too large"));
        let bytes = bytes.ok_or_else(too_large)?;
        let data = input.data.cast::<u8>();
        check_alignment(data, dtype, name)?;
        // SAFETY: the caller's promise.
        let bytes = unsafe { elements(data, bytes, &format!("the data of {name}")) }?;
        Ok(Given { dtype, shape, bytes })
    }

    /// Returns the input as a network borrows it that takes f32, if it can.
    fn view(&self) -> Option<InputView<'_>> {
        match (self.dtype, <[usize; 4]>::try_from(self.shape)) {
            // The order of the axes is the network's, so none is exchanged.
            (DType::U8, Ok(shape)) => Some(InputView::u8(shape, self.bytes, Layout::Nchw)),
            _ => self.as_f32().map(|elements| InputView::f32(self.shape, elements)),
        }
    }

    fn as_f32(&self) -> Option<&[f32]> {
        if self.dtype != DType::F32 {
            return None;
        }
        // SAFETY: every pattern of bits is an f32.
        let (before, elements, after) = unsafe { self.bytes.align_to::<f32>() };
        (before.is_empty() && after.is_empty()).then_some(elements)
    }

    /// Copies the elements, and converts those of u8 to the floating-point type that the network takes.
    fn tensor(&self, declared: Option<DType>) -> Outcome<Tensor> {
        let storage = Storage::from_vec(self.bytes.to_vec());
        let tensor = Tensor::from_storage(self.dtype, self.shape, storage)?;
        match declared {
            Some(declared) if declared.is_float() && self.dtype == DType::U8 => {
                Ok(tensor.cast(declared)?)
            }
            _ => Ok(tensor),
        }
    }
}

/// The place of an output.
struct Place<'a> {
    dtype: DType,
    length: usize,
    bytes: &'a mut [u8],
}

impl Place<'_> {
    /// # Safety
    ///
    /// As [`dyrelu_session_run`] has it for an output, and nothing else is in its memory.
    unsafe fn new(output: &COutput, name: &str) -> Outcome<Self> {
        let dtype = dtype::of_number(output.dtype, name)?;
        let data = output.data.cast::<u8>();
        check_alignment(data, dtype, name)?;
        let too_large = || Failure::argument(format!("{name} is too large"));
        let bytes = output.length.checked_mul(dtype.size()).ok_or_else(too_large)?;
        // SAFETY: the caller's promise.
        let bytes = unsafe { elements_mut(data, bytes, &format!("the data of {name}")) }?;
        Ok(Place { dtype, length: output.length, bytes })
    }

    fn as_f32(&mut self) -> Option<&mut [f32]> {
        if self.dtype != DType::F32 {
            return None;
        }
        // SAFETY: every pattern of bits is an f32.
        let (before, elements, after) = unsafe { self.bytes.align_to_mut::<f32>() };
        (before.is_empty() && after.is_empty()).then_some(elements)
    }

    /// Converts an output to the type that the caller asks for.
    fn converted(&self, output: &Tensor, index: usize) -> Outcome<Tensor> {
        if output.len() != self.length {
            return Err(Failure::argument(format!(
                "output {index} has shape {:?}, there is room for {} elements",
                output.shape(),
                self.length
            )));
        }
        if self.dtype != output.dtype() && self.dtype != DType::F32 {
            return Err(Failure::argument(format!(
                "output {index} has type {}, and can be had as that or as f32, not as {}",
                output.dtype(),
                self.dtype
            )));
        }
        Ok(output.cast(self.dtype)?)
    }
}

fn check_alignment(data: *const u8, dtype: DType, name: &str) -> Outcome {
    let wanted = dtype.size();
    if data.addr().is_multiple_of(wanted) {
        return Ok(());
    }
    Err(Failure::argument(format!("the data of {name} is not aligned to {wanted} bytes")))
}

/// Checks that no output shares memory with an input or another output.
fn check_overlap(inputs: &[Given], outputs: &[COutput]) -> Outcome {
    let place = |output: &COutput| {
        let size = dtype::of_number(output.dtype, "an output")?.size();
        let start = output.data.addr();
        Ok(start..start.saturating_add(output.length.saturating_mul(size)))
    };
    let places: Vec<_> = outputs.iter().map(place).collect::<Outcome<_>>()?;
    let given = inputs.iter().map(|input| {
        let start = input.bytes.as_ptr().addr();
        start..start + input.bytes.len()
    });
    let mut all: Vec<_> = given.collect();
    for (i, place) in places.into_iter().enumerate() {
        if all.iter().any(|other| place.start < other.end && other.start < place.end) {
            return Err(Failure::argument(format!(
                "output {i} shares memory with an input or another output"
            )));
        }
        all.push(place);
    }
    Ok(())
}

fn run(
    session: &mut Session,
    inputs: &[Given],
    places: &mut [Place],
    options: &RunOptions,
) -> Outcome {
    if let Some(done) = run_borrowed(session, inputs, places, options) {
        return done;
    }
    let declared = session.model().inputs().iter().map(|port| port.dtype());
    let declared = declared.chain(std::iter::repeat(None));
    let tensors: Vec<Tensor> = inputs
        .iter()
        .zip(declared)
        .map(|(input, dtype)| input.tensor(dtype))
        .collect::<Outcome<_>>()?;
    let outputs = session.run_with(&tensors, options)?;
    if outputs.len() != places.len() {
        let (gives, found) = (outputs.len(), places.len());
        return Err(Failure::argument(format!("the network gives {gives} outputs, found {found}")));
    }
    let converted: Vec<Tensor> = outputs
        .iter()
        .zip(places.iter())
        .enumerate()
        .map(|(i, (output, place))| place.converted(output, i))
        .collect::<Outcome<_>>()?;
    for (place, tensor) in places.iter_mut().zip(&converted) {
        place.bytes.copy_from_slice(tensor.bytes());
    }
    Ok(())
}

/// Runs on the memory of the caller, if the network takes and gives f32, and all of it is of that type or
/// images of bytes.
fn run_borrowed(
    session: &mut Session,
    inputs: &[Given],
    places: &mut [Place],
    options: &RunOptions,
) -> Option<Outcome> {
    const MOST_BORROWED: usize = 8;
    let model = session.model();
    let mut ports = model.inputs().iter().chain(model.outputs());
    if inputs.len() > MOST_BORROWED || ports.any(|port| port.dtype() != Some(DType::F32)) {
        return None;
    }
    let views: Vec<_> = inputs.iter().map(Given::view).collect::<Option<_>>()?;
    if let Err(e) = check_lengths(session, inputs, places) {
        return Some(Err(e));
    }
    let mut outputs: Vec<_> = places.iter_mut().map(Place::as_f32).collect::<Option<_>>()?;
    Some(session.run_views(&views, &mut outputs, options).map_err(Failure::from))
}

/// Checks that there is room for each of several outputs, before the first is written.
fn check_lengths(session: &Session, inputs: &[Given], places: &[Place]) -> Outcome {
    if places.len() < 2 {
        return Ok(());
    }
    let shapes: Vec<Vec<usize>> = inputs.iter().map(|input| input.shape.to_vec()).collect();
    let outputs = session.model().output_shapes(&shapes)?;
    for (i, (shape, place)) in outputs.iter().zip(places).enumerate() {
        // One that depends on the data is checked when it is known.
        let Some(shape) = shape else { continue };
        if shape.iter().product::<usize>() != place.length {
            let length = place.length;
            return Err(Failure::argument(format!(
                "output {i} has shape {shape:?}, there is room for {length} elements"
            )));
        }
    }
    Ok(())
}
