/* dyrelu: CPU inference for convolutional networks with dynamic ReLU.
 *
 * Written by cbindgen from bindings/c/src. Errors, handles and threads: docs/c.md.
 */

#ifndef DYRELU_H
#define DYRELU_H

#include <stddef.h>
#include <stdint.h>

/**
 * What a call returns. Later versions may add statuses.
 */
typedef enum {
  /**
   * The call did what it says.
   */
  DYRELU_STATUS_OK = 0,
  /**
   * The operating system refused to read a file or to start a thread, or has too little memory.
   */
  DYRELU_STATUS_IO = 1,
  /**
   * A file is damaged, truncated or of another kind than expected.
   */
  DYRELU_STATUS_FORMAT = 2,
  /**
   * A network asks for something that this version does not have.
   */
  DYRELU_STATUS_UNSUPPORTED = 3,
  /**
   * A network contradicts itself.
   */
  DYRELU_STATUS_GRAPH = 4,
  /**
   * Shapes or element types do not fit together.
   */
  DYRELU_STATUS_SHAPE = 5,
  /**
   * An argument cannot be used: it is null, out of range, or a handle that was freed.
   */
  DYRELU_STATUS_INPUT = 6,
  /**
   * A run was cancelled.
   */
  DYRELU_STATUS_CANCELLED = 8,
  /**
   * The timeout of a run passed.
   */
  DYRELU_STATUS_DEADLINE_EXCEEDED = 9,
  /**
   * A fault of dyrelu. The handles of the call should be freed; others are not affected.
   */
  DYRELU_STATUS_INTERNAL = 100,
} dyrelu_status;

/**
 * The type of the elements of an input or output.
 */
typedef enum {
  /**
   * The type depends on the data.
   */
  DYRELU_DTYPE_UNKNOWN = 0,
  /**
   * IEEE single precision: float.
   */
  DYRELU_DTYPE_F32 = 1,
  /**
   * IEEE double precision: double.
   */
  DYRELU_DTYPE_F64 = 2,
  /**
   * IEEE half precision.
   */
  DYRELU_DTYPE_F16 = 3,
  /**
   * The upper 16 bits of a float.
   */
  DYRELU_DTYPE_BF16 = 4,
  /**
   * int64_t.
   */
  DYRELU_DTYPE_I64 = 5,
  /**
   * int32_t.
   */
  DYRELU_DTYPE_I32 = 6,
  /**
   * int8_t.
   */
  DYRELU_DTYPE_I8 = 7,
  /**
   * uint8_t.
   */
  DYRELU_DTYPE_U8 = 8,
  /**
   * One byte, 0 or 1.
   */
  DYRELU_DTYPE_BOOL = 9,
  /**
   * int16_t.
   */
  DYRELU_DTYPE_I16 = 10,
} dyrelu_dtype;

/**
 * Cancels runs from any thread.
 */
typedef struct dyrelu_cancel_token dyrelu_cancel_token;

/**
 * An immutable network, compiled and ready to run. Threads share it.
 */
typedef struct dyrelu_model dyrelu_model;

/**
 * The memory and threads of one caller's runs.
 */
typedef struct dyrelu_session dyrelu_session;

/**
 * An input or an output of a network. Its memory belongs to the model.
 */
typedef struct {
  /**
   * The name in the file.
   */
  const char *name;
  /**
   * One of dyrelu_dtype.
   */
  int32_t dtype;
  /**
   * The number of axes, -1 if it depends on the data.
   */
  int32_t rank;
  /**
   * The size of each axis, outermost first, -1 for one that is free at run time.
   */
  const int64_t *shape;
} dyrelu_port;

/**
 * The shape of an input.
 */
typedef struct {
  /**
   * The number of axes.
   */
  size_t rank;
  /**
   * The size of each axis, outermost first.
   */
  const size_t *sizes;
} dyrelu_shape;

/**
 * The elements of an input, in row-major order.
 */
typedef struct {
  /**
   * As many elements as the product of the sizes, aligned as their type asks.
   */
  const void *data;
  /**
   * One of dyrelu_dtype. An input of DYRELU_DTYPE_U8 for a network that takes floating-point numbers is
   * converted: 255 becomes 255.0.
   */
  int32_t dtype;
  /**
   * The number of axes.
   */
  size_t rank;
  /**
   * The size of each axis, outermost first.
   */
  const size_t *shape;
} dyrelu_input;

/**
 * The place of an output, which is written in row-major order.
 */
typedef struct {
  /**
   * Room for `length` elements, aligned as their type asks.
   */
  void *data;
  /**
   * The type of the output, or DYRELU_DTYPE_F32, to which it is then converted.
   */
  int32_t dtype;
  /**
   * The number of elements that the output has.
   */
  size_t length;
} dyrelu_output;

/**
 * What may end a run early.
 */
typedef struct {
  /**
   * Ends the run when it is cancelled; may be null.
   */
  const dyrelu_cancel_token *cancel_token;
  /**
   * Ends the run after so many microseconds; 0 for no limit.
   */
  uint64_t timeout_us;
} dyrelu_run_options;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Returns the message of the last call that failed on this thread, in one line of UTF-8: which file, which
 * node, what was expected and what was found. Empty if none failed.
 *
 * The text is valid until the next call that fails on this thread. Any thread may call this.
 */
const char *dyrelu_last_error(void);

/**
 * Returns the version of the library, such as "0.1.0". The text is valid for ever.
 *
 * Any thread may call this.
 */
const char *dyrelu_version(void);

/**
 * Opens an ONNX file or a native weight file. dyrelu_model_free frees the model.
 *
 * `path` is in the encoding of the file system: bytes on Unix, UTF-8 elsewhere.
 *
 * Any thread may call this.
 *
 * Memory: `path` is null or a text that ends with a null character, `model` is null or valid for a write.
 */
dyrelu_status dyrelu_model_open(const char *path, dyrelu_model **model);

/**
 * Opens the network in the bytes of a file, which are copied. External data cannot be had.
 *
 * Any thread may call this.
 *
 * Memory: `bytes` is null or points to `length` bytes, `model` is null or valid for a write.
 */
dyrelu_status dyrelu_model_from_bytes(const void *bytes, size_t length, dyrelu_model **model);

/**
 * Frees a model. Its sessions live on, and what dyrelu_model_input, dyrelu_model_output and
 * dyrelu_model_metadata returned does not. Null is ignored.
 *
 * Any thread may call this.
 */
dyrelu_status dyrelu_model_free(dyrelu_model *model);

/**
 * Writes the number of inputs and of outputs. Either place may be null.
 *
 * Any thread may call this, also while others use the model.
 *
 * Memory: `inputs` and `outputs` are null or valid for a write.
 */
dyrelu_status dyrelu_model_counts(const dyrelu_model *model, size_t *inputs, size_t *outputs);

/**
 * Describes the input `index`, from 0.
 *
 * Any thread may call this, also while others use the model.
 *
 * Memory: `port` is null or valid for a write.
 */
dyrelu_status dyrelu_model_input(const dyrelu_model *model, size_t index, dyrelu_port *port);

/**
 * Describes the output `index`, from 0.
 *
 * Any thread may call this, also while others use the model.
 *
 * Memory: `port` is null or valid for a write.
 */
dyrelu_status dyrelu_model_output(const dyrelu_model *model, size_t index, dyrelu_port *port);

/**
 * Writes the text that the file holds under `key`, such as "labels", or null if it holds none. The text
 * belongs to the model.
 *
 * Any thread may call this, also while others use the model.
 *
 * Memory: `key` is null or a text that ends with a null character, `value` is null or valid for a write.
 */
dyrelu_status dyrelu_model_metadata(const dyrelu_model *model,
                                    const char *key,
                                    const char **value);

/**
 * Writes the shape that the output `index` has for inputs of these shapes.
 *
 * `rank` holds the number of sizes for which there is room at `sizes`, and then the number of axes. If
 * there is too little room, the call fails, and `rank` is still written.
 *
 * Any thread may call this, also while others use the model.
 *
 * Memory: `inputs` is null or points to `input_count` shapes, `rank` is null or valid for reads and writes, `sizes`
 * is null or valid for writes of as many sizes as `rank` holds.
 */
dyrelu_status dyrelu_model_output_shape(const dyrelu_model *model,
                                        const dyrelu_shape *inputs,
                                        size_t input_count,
                                        size_t index,
                                        size_t *sizes,
                                        size_t *rank);

/**
 * Creates a token that is not cancelled. dyrelu_cancel_token_free frees it.
 *
 * Any thread may call this.
 *
 * Memory: `token` is null or valid for a write.
 */
dyrelu_status dyrelu_cancel_token_new(dyrelu_cancel_token **token);

/**
 * Cancels all runs that have the token, now and later. A run ends after at most one step of its network.
 *
 * Any thread may call this, also while a run has the token.
 */
dyrelu_status dyrelu_cancel_token_cancel(const dyrelu_cancel_token *token);

/**
 * Frees a token. Runs that have it go on. Null is ignored.
 *
 * Any thread may call this.
 */
dyrelu_status dyrelu_cancel_token_free(dyrelu_cancel_token *token);

/**
 * Creates a session that runs `model` on `threads` threads: the calling one, and others that it starts. One
 * thread starts none. dyrelu_session_free frees the session, which may outlive the model.
 *
 * Any thread may call this, also while others use the model.
 *
 * Memory: `session` is null or valid for a write.
 */
dyrelu_status dyrelu_session_new(const dyrelu_model *model,
                                 size_t threads,
                                 dyrelu_session **session);

/**
 * Frees a session. A run on another thread goes on to its end. Null is ignored.
 *
 * Any thread may call this.
 */
dyrelu_status dyrelu_session_free(dyrelu_session *session);

/**
 * Runs the network on `inputs`, in its order, and writes `outputs`. A batch is the first size of a shape.
 * `options` may be null.
 *
 * Nothing is copied but the outputs if the network gives and takes DYRELU_DTYPE_F32 only, there are at most
 * eight inputs, each of that type or of DYRELU_DTYPE_U8 with four axes, and outputs are of DYRELU_DTYPE_F32.
 * If the call fails, no output is written.
 *
 * Any thread may call this, one at a time for a session: a second call at the same time fails with
 * DYRELU_STATUS_INPUT. Sessions run at the same time.
 *
 * Memory: `inputs`, `outputs` and `options` are null or point to as many as stated. Each `shape` and `data` in them
 * is null or valid for as many elements as stated, and no other thread writes to inputs, or reads or
 * writes outputs, during the call.
 */
dyrelu_status dyrelu_session_run(const dyrelu_session *session,
                                 const dyrelu_input *inputs,
                                 size_t input_count,
                                 const dyrelu_output *outputs,
                                 size_t output_count,
                                 const dyrelu_run_options *options);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* DYRELU_H */
