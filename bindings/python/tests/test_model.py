"""Networks: what they are, how they run, and what they refuse."""

import threading

import numpy as np
import pytest

import dyrelu
from conftest import SMALL


class OnlyDlpack:
    """An array that offers nothing but DLPack."""

    def __init__(self, array):
        self._array = array

    def __dlpack__(self, **kwargs):
        return self._array.__dlpack__(**kwargs)

    def __dlpack_device__(self):
        return self._array.__dlpack_device__()


def test_a_model_describes_itself(model):
    (image,) = model.inputs
    assert (image.dtype, image.shape[1]) == ("float32", 3)
    assert model.outputs[0].shape[-1] == 10
    assert len(model.metadata["labels"].splitlines()) == 10
    assert {activation.form for activation in model.dynamic_activations} == {"B"}
    assert image.name in repr(model)


def test_an_image_alone_has_the_bits_that_it_has_in_a_batch(model, images):
    (both,) = model.run(images)
    assert (both.shape, both.dtype) == ((2, 10), np.float32)
    for i in range(2):
        (alone,) = model.run(images[i : i + 1])
        assert np.array_equal(alone[0], both[i])
    (on_two,) = dyrelu.Model(SMALL, threads=2).run(images)
    assert np.array_equal(on_two, both)


def test_every_kind_of_array_gives_the_same(model, images):
    expected = model.run(images)[0]
    name = model.inputs[0].name
    backwards = images[:, :, :, ::-1].copy()[:, :, :, ::-1]
    kinds = [
        {name: images},
        np.asfortranarray(images),
        backwards,
        images.astype(">f4"),
        memoryview(images),
        OnlyDlpack(images),
    ]
    for kind in kinds:
        assert np.array_equal(model.run(kind)[0], expected), type(kind)
    read_only = images.copy()
    read_only.flags.writeable = False
    assert np.array_equal(model.run(read_only)[0], expected)


def test_threads_share_a_model(model, images):
    expected = model.run(images)[0]
    found = [None] * 4

    def run(i):
        found[i] = [model.run(images)[0] for _ in range(3)]

    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(scores, expected) for results in found for scores in results)


def test_the_interpreter_lock_is_released(model):
    batch = np.zeros((64, 3, 128, 128), np.float32)
    running, done = threading.Event(), threading.Event()

    def run():
        running.set()
        model.run(batch)
        done.set()

    thread = threading.Thread(target=run)
    thread.start()
    running.wait()
    steps = 0
    while not done.is_set():
        steps += 1
    thread.join()
    # With the lock held, this thread would come to its turn once or twice.
    assert steps > 1000


@pytest.mark.parametrize(
    "inputs, words",
    [
        (np.zeros((1, 4, 128, 128), np.float32), "4"),
        (np.zeros((3, 128, 128), np.float32), "3"),
        (np.zeros((1, 3, 128, 128), np.float64), "f64"),
        (np.zeros((1, 3, 128, 128), np.int16), "i16"),
        (np.zeros((1, 3, 128, 128), np.uint16), "uint16"),
        ({"no such input": np.zeros(1, np.float32)}, "no such input"),
        (object(), "cannot be read as an array|object"),
        ({}, "takes inputs"),
    ],
)
def test_what_does_not_fit_is_refused(model, inputs, words):
    with pytest.raises(dyrelu.InputError, match=words) as caught:
        model.run(inputs)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, dyrelu.Error)


def test_a_timeout_ends_a_run_and_the_model_runs_again(model, images):
    with pytest.raises(dyrelu.DeadlineExceededError) as caught:
        model.run(images, timeout=0)
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.kind == "deadline_exceeded"
    assert model.run(images, timeout=600)[0].shape == (2, 10)
    with pytest.raises(dyrelu.InputError, match="number of seconds"):
        model.run(images, timeout=float("nan"))


def test_another_thread_cancels_runs_and_the_model_runs_again(model, images):
    token = dyrelu.CancelToken()
    caught, started = [], threading.Event()

    def run():
        # Ends with the error only.
        while True:
            try:
                model.run(images, cancel_token=token)
            except dyrelu.CancelledError as e:
                caught.append(e)
                return
            started.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(60)
    assert not token.is_cancelled()
    token.cancel()
    thread.join(60)
    assert token.is_cancelled()
    assert [e.kind for e in caught] == ["cancelled"]
    assert model.run(images, timeout=600, cancel_token=dyrelu.CancelToken())[0].shape == (2, 10)
    with pytest.raises(TypeError):
        model.run(images, cancel_token=True)


def test_files_that_hold_no_network_are_refused(tmp_path):
    with pytest.raises(dyrelu.FileError) as caught:
        dyrelu.Model(tmp_path / "absent.onnx")
    assert isinstance(caught.value, OSError)
    assert caught.value.file.endswith("absent.onnx")
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(dyrelu.ModelError, match="text.onnx"):
        dyrelu.Model(tmp_path / "text.onnx")
    with pytest.raises(dyrelu.ModelError):
        dyrelu.Model.from_bytes(b"no network")
    with pytest.raises(dyrelu.InputError, match="at least one thread"):
        dyrelu.Model(SMALL, threads=0)


def test_a_model_opens_from_bytes(model, images):
    again = dyrelu.Model.from_bytes(SMALL.read_bytes())
    assert np.array_equal(again.run(images)[0], model.run(images)[0])


def test_coefficients_are_those_of_each_image(model, images):
    found = dyrelu.coefficients(model, images)
    assert list(found) == [activation.name for activation in model.dynamic_activations]
    for activation in model.dynamic_activations:
        coefficients = found[activation.name]
        assert coefficients.shape == (2, 2 * activation.k, activation.channels)
        assert not np.array_equal(coefficients[0], coefficients[1])
    alone = dyrelu.coefficients(model, images[1:])
    for name, coefficients in found.items():
        assert np.array_equal(alone[name][0], coefficients[1])
