/* What a C program does with dyrelu. Arguments: a network, the file to which the scores go. */
#include <dyrelu.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                         \
  do {                                                                                           \
    if (!(condition)) {                                                                          \
      fprintf(stderr, "line %d: %s: %s\n", __LINE__, #condition, dyrelu_last_error());           \
      exit(1);                                                                                   \
    }                                                                                            \
  } while (0)

/* The call fails with DYRELU_STATUS_INPUT and a message that has the words. */
#define REFUSED(call, words)                                                                     \
  do {                                                                                           \
    CHECK((call) == DYRELU_STATUS_INPUT);                                                        \
    CHECK(strstr(dyrelu_last_error(), words) != NULL);                                           \
  } while (0)

enum { BATCH = 2 };

static dyrelu_input input_of(const void *data, dyrelu_dtype dtype, size_t rank, const size_t *shape) {
  dyrelu_input input = {data, dtype, rank, shape};
  return input;
}

static void describe(dyrelu_model *model) {
  size_t inputs = 0, outputs = 0;
  CHECK(dyrelu_model_counts(model, &inputs, &outputs) == DYRELU_STATUS_OK);
  CHECK(inputs == 1 && outputs == 1);
  dyrelu_port port;
  CHECK(dyrelu_model_input(model, 0, &port) == DYRELU_STATUS_OK);
  CHECK(port.dtype == DYRELU_DTYPE_F32 && port.rank == 4 && port.name[0] != '\0');
  CHECK(dyrelu_model_output(model, 0, &port) == DYRELU_STATUS_OK);
  REFUSED(dyrelu_model_input(model, 1, &port), "the network has 1");
  const char *value = "";
  CHECK(dyrelu_model_metadata(model, "no such key", &value) == DYRELU_STATUS_OK && value == NULL);
}

static void refuse(dyrelu_model *model, dyrelu_session *session, const dyrelu_input *input,
                   const dyrelu_output *output) {
  dyrelu_model *other = NULL;
  dyrelu_session *another = NULL;
  dyrelu_cancel_token *token = NULL;
  dyrelu_port port;
  size_t rank = 0;
  REFUSED(dyrelu_model_open(NULL, &other), "path is null");
  REFUSED(dyrelu_model_open("net.onnx", NULL), "model is null");
  CHECK(dyrelu_model_open("no such file", &other) == DYRELU_STATUS_IO);
  CHECK(strstr(dyrelu_last_error(), "no such file") != NULL);
  CHECK(dyrelu_model_from_bytes("text", 4, &other) == DYRELU_STATUS_FORMAT);
  REFUSED(dyrelu_model_from_bytes(NULL, 4, &other), "bytes is null");
  CHECK(other == NULL);
  REFUSED(dyrelu_model_counts(NULL, NULL, NULL), "the model is null");
  REFUSED(dyrelu_model_input(model, 0, NULL), "port is null");
  REFUSED(dyrelu_model_input((dyrelu_model *)session, 0, &port), "another kind");
  REFUSED(dyrelu_model_output_shape(model, NULL, 1, 0, NULL, &rank), "inputs is null");
  REFUSED(dyrelu_session_new(model, 0, &another), "thread");
  REFUSED(dyrelu_session_new(model, 1, NULL), "session is null");
  REFUSED(dyrelu_session_run(NULL, input, 1, output, 1, NULL), "the session is null");
  REFUSED(dyrelu_session_run(session, NULL, 1, output, 1, NULL), "inputs is null");
  REFUSED(dyrelu_session_run(session, input, 1, NULL, 1, NULL), "outputs is null");
  CHECK(dyrelu_session_run(session, NULL, 0, output, 1, NULL) != DYRELU_STATUS_OK);
  CHECK(dyrelu_session_run(session, input, 1, NULL, 0, NULL) == DYRELU_STATUS_INPUT);
  REFUSED(dyrelu_cancel_token_cancel(token), "cancel token is null");
  REFUSED(dyrelu_cancel_token_new(NULL), "token is null");

  dyrelu_input wrong = *input;
  wrong.dtype = 77;
  REFUSED(dyrelu_session_run(session, &wrong, 1, output, 1, NULL), "element type 77");
  wrong = *input;
  wrong.data = NULL;
  REFUSED(dyrelu_session_run(session, &wrong, 1, output, 1, NULL), "the data of input 0 is null");
  wrong.data = (const char *)input->data + 1;
  REFUSED(dyrelu_session_run(session, &wrong, 1, output, 1, NULL), "aligned");
  const size_t vast[4] = {(size_t)-1, 3, 8, 8};
  wrong = input_of(input->data, DYRELU_DTYPE_F32, 4, vast);
  REFUSED(dyrelu_session_run(session, &wrong, 1, output, 1, NULL), "too large");
  wrong = *input;
  wrong.shape = NULL;
  REFUSED(dyrelu_session_run(session, &wrong, 1, output, 1, NULL), "the shape of input 0 is null");
  dyrelu_output bad = *output;
  bad.data = (void *)input->data;
  REFUSED(dyrelu_session_run(session, input, 1, &bad, 1, NULL), "shares memory");
  bad = *output;
  bad.length -= 1;
  CHECK(dyrelu_session_run(session, input, 1, &bad, 1, NULL) != DYRELU_STATUS_OK);
  bad.length = (size_t)-1;
  CHECK(dyrelu_session_run(session, input, 1, &bad, 1, NULL) != DYRELU_STATUS_OK);
}

static void cancel(dyrelu_session *session, const dyrelu_input *input, const dyrelu_output *output) {
  dyrelu_run_options options = {NULL, 0};
  dyrelu_cancel_token *token = NULL;
  CHECK(dyrelu_cancel_token_new(&token) == DYRELU_STATUS_OK);
  options.cancel_token = token;
  CHECK(dyrelu_session_run(session, input, 1, output, 1, &options) == DYRELU_STATUS_OK);
  CHECK(dyrelu_cancel_token_cancel(token) == DYRELU_STATUS_OK);
  CHECK(dyrelu_session_run(session, input, 1, output, 1, &options) == DYRELU_STATUS_CANCELLED);
  CHECK(dyrelu_cancel_token_free(token) == DYRELU_STATUS_OK);
  REFUSED(dyrelu_session_run(session, input, 1, output, 1, &options), "cancel token was freed");
  options.cancel_token = NULL;
  options.timeout_us = 600000000;
  CHECK(dyrelu_session_run(session, input, 1, output, 1, &options) == DYRELU_STATUS_OK);
}

int main(int argc, char **argv) {
  CHECK(argc == 3);
  dyrelu_model *model = NULL;
  CHECK(dyrelu_model_open(argv[1], &model) == DYRELU_STATUS_OK);
  describe(model);

  dyrelu_port port;
  CHECK(dyrelu_model_input(model, 0, &port) == DYRELU_STATUS_OK);
  size_t shape[4], elements = 1;
  for (int axis = 0; axis < 4; axis++) {
    shape[axis] = port.shape[axis] < 0 ? (axis == 0 ? BATCH : 9) : (size_t)port.shape[axis];
    elements *= shape[axis];
  }
  float *images = malloc(elements * sizeof *images);
  unsigned char *pixels = malloc(elements);
  CHECK(images != NULL && pixels != NULL);
  for (size_t i = 0; i < elements; i++) {
    pixels[i] = (unsigned char)(i * 37 % 251);
    images[i] = (float)pixels[i];
  }

  dyrelu_shape known = {4, shape};
  size_t sizes[8], rank = 1;
  REFUSED(dyrelu_model_output_shape(model, &known, 1, 0, sizes, &rank), "there is room for 1");
  rank = 8;
  CHECK(dyrelu_model_output_shape(model, &known, 1, 0, sizes, &rank) == DYRELU_STATUS_OK);
  size_t length = 1;
  for (size_t axis = 0; axis < rank; axis++) length *= sizes[axis];
  float *scores = malloc(length * sizeof *scores), *again = malloc(length * sizeof *again);
  CHECK(scores != NULL && again != NULL);

  dyrelu_session *session = NULL, *on_two = NULL;
  CHECK(dyrelu_session_new(model, 1, &session) == DYRELU_STATUS_OK);
  CHECK(dyrelu_session_new(model, 2, &on_two) == DYRELU_STATUS_OK);
  dyrelu_input input = input_of(images, DYRELU_DTYPE_F32, 4, shape);
  dyrelu_output output = {scores, DYRELU_DTYPE_F32, length};
  refuse(model, session, &input, &output);
  CHECK(dyrelu_session_run(session, &input, 1, &output, 1, NULL) == DYRELU_STATUS_OK);

  /* Bytes, another number of threads, and one image at a time give the same bits. */
  output.data = again;
  dyrelu_input bytes = input_of(pixels, DYRELU_DTYPE_U8, 4, shape);
  CHECK(dyrelu_session_run(session, &bytes, 1, &output, 1, NULL) == DYRELU_STATUS_OK);
  CHECK(memcmp(scores, again, length * sizeof *scores) == 0);
  memset(again, 0, length * sizeof *again);
  CHECK(dyrelu_session_run(on_two, &input, 1, &output, 1, NULL) == DYRELU_STATUS_OK);
  CHECK(memcmp(scores, again, length * sizeof *scores) == 0);
  size_t one[4] = {1, shape[1], shape[2], shape[3]};
  for (size_t i = 0; i < shape[0]; i++) {
    dyrelu_input image = input_of(images + i * elements / shape[0], DYRELU_DTYPE_F32, 4, one);
    dyrelu_output alone = {again, DYRELU_DTYPE_F32, length / shape[0]};
    CHECK(dyrelu_session_run(session, &image, 1, &alone, 1, NULL) == DYRELU_STATUS_OK);
    CHECK(memcmp(scores + i * alone.length, again, alone.length * sizeof *again) == 0);
  }
  cancel(session, &input, &output);

  FILE *file = fopen(argv[2], "wb");
  CHECK(file != NULL);
  CHECK(fwrite(scores, sizeof *scores, length, file) == length && fclose(file) == 0);

  /* A session outlives its model, and handles that were freed are told. */
  CHECK(dyrelu_model_free(model) == DYRELU_STATUS_OK);
  REFUSED(dyrelu_model_free(model), "the model was freed");
  REFUSED(dyrelu_model_counts(model, NULL, NULL), "the model was freed");
  REFUSED(dyrelu_session_new(model, 1, &session), "the model was freed");
  CHECK(dyrelu_session_run(session, &input, 1, &output, 1, NULL) == DYRELU_STATUS_OK);
  CHECK(dyrelu_session_free(session) == DYRELU_STATUS_OK);
  CHECK(dyrelu_session_free(on_two) == DYRELU_STATUS_OK);
  REFUSED(dyrelu_session_run(session, &input, 1, &output, 1, NULL), "the session was freed");
  CHECK(dyrelu_session_free(NULL) == DYRELU_STATUS_OK);
  free(images);
  free(pixels);
  free(scores);
  free(again);
  return 0;
}
