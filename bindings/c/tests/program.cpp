// The header in C++, with handles that free themselves, on several threads. Argument: a network.
#include <dyrelu.h>

#include <cstdlib>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

struct Free {
  void operator()(dyrelu_model *model) const { dyrelu_model_free(model); }
  void operator()(dyrelu_session *session) const { dyrelu_session_free(session); }
};

static void check(dyrelu_status status) {
  if (status != DYRELU_STATUS_OK) throw std::runtime_error(dyrelu_last_error());
}

static std::vector<float> run(const dyrelu_model *model) {
  dyrelu_session *handle = nullptr;
  check(dyrelu_session_new(model, 1, &handle));
  std::unique_ptr<dyrelu_session, Free> session(handle);
  dyrelu_port port;
  check(dyrelu_model_input(model, 0, &port));
  std::vector<size_t> shape;
  size_t elements = 1;
  for (int axis = 0; axis < port.rank; axis++) {
    shape.push_back(port.shape[axis] < 0 ? (axis == 0 ? 1 : 9) : size_t(port.shape[axis]));
    elements *= shape.back();
  }
  dyrelu_shape known{shape.size(), shape.data()};
  size_t sizes[8], rank = 8, length = 1;
  check(dyrelu_model_output_shape(model, &known, 1, 0, sizes, &rank));
  for (size_t axis = 0; axis < rank; axis++) length *= sizes[axis];
  std::vector<float> image(elements, 0.5f), scores(length);
  dyrelu_input input{image.data(), DYRELU_DTYPE_F32, shape.size(), shape.data()};
  dyrelu_output output{scores.data(), DYRELU_DTYPE_F32, scores.size()};
  for (int i = 0; i < 3; i++) check(dyrelu_session_run(session.get(), &input, 1, &output, 1, nullptr));
  return scores;
}

int main(int, char **argv) {
  dyrelu_model *handle = nullptr;
  check(dyrelu_model_open(argv[1], &handle));
  std::unique_ptr<dyrelu_model, Free> model(handle);
  std::vector<std::vector<float>> results(4);
  std::vector<std::thread> threads;
  for (auto &result : results) threads.emplace_back([&] { result = run(model.get()); });
  for (auto &thread : threads) thread.join();
  for (auto &result : results)
    if (result != results[0]) throw std::runtime_error("threads differ");
  std::cout << "dyrelu " << dyrelu_version() << "\n";
}
