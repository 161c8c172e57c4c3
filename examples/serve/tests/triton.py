"""Triton's clients for HTTP and gRPC against the server."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import threading
import time
import unittest

import numpy as np
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

ROOT = pathlib.Path(__file__).resolve().parents[3]
NETWORK = ROOT / "tests/dialects/leaky-relu-script-free.onnx"


def start(*options):
    """Returns a process of the server, its ports, and its folder, which has two versions of the model `small`."""
    folder = tempfile.TemporaryDirectory()
    for version in "1", "2":
        path = pathlib.Path(folder.name) / "small" / version / "model.onnx"
        path.parent.mkdir(parents=True)
        shutil.copy(NETWORK, path)
    command = [os.environ["DYRELU_SERVE"], "--http-port", "0", "--grpc-port", "0", "--log-format", "json"]
    server = subprocess.Popen([*command, *options, folder.name], stderr=subprocess.PIPE)
    ports = json.loads(server.stderr.readline())
    client = tritonclient.grpc.InferenceServerClient(ports["grpc"])
    while not client.is_server_ready():
        time.sleep(0.01)
    return server, ports, folder


def infer(library, client, rows, **arguments):
    request = library.InferInput("input", rows.shape, "FP32")
    request.set_data_from_numpy(rows)
    return client.infer("small", [request], **arguments)


class BothClients(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server, ports, cls.folder = start("--max-delay", "100000", "--workers", "1")
        cls.log = threading.Thread(target=cls.server.stderr.read)
        cls.log.start()
        cls.libraries = {
            "http": (tritonclient.http, lambda: tritonclient.http.InferenceServerClient(ports["http"])),
            "grpc": (tritonclient.grpc, lambda: tritonclient.grpc.InferenceServerClient(ports["grpc"])),
        }

    @classmethod
    def tearDownClass(cls):
        cls.server.terminate()
        assert cls.server.wait(timeout=30) == 0
        cls.log.join()
        cls.server.stderr.close()
        cls.folder.cleanup()

    def each(self):
        for library, connect in self.libraries.values():
            client = connect()
            yield library, client
            client.close()

    def test_health_and_metadata(self):
        for library, client in self.each():
            self.assertTrue(client.is_server_live())
            self.assertTrue(client.is_server_ready())
            self.assertTrue(client.is_model_ready("small"))
            self.assertTrue(client.is_model_ready("small", "2"))
            self.assertFalse(client.is_model_ready("small", "3"))
            as_json = {"as_json": True} if library is tritonclient.grpc else {}
            self.assertEqual(client.get_server_metadata(**as_json)["name"], "dyrelu-serve")
            metadata = client.get_model_metadata("small", **as_json)
            self.assertEqual(metadata["versions"], ["1", "2"])
            self.assertEqual([int(size) for size in metadata["inputs"][0]["shape"]], [-1, 3, 13, 11])

    def test_both_give_the_same_bits(self):
        rows = np.random.default_rng(0).standard_normal((3, 3, 13, 11), dtype=np.float32)
        results = []
        for library, client in self.each():
            results.append(infer(library, client, rows).as_numpy("logits"))
            alone = infer(library, client, rows[1:2], request_id="7", model_version="1")
            self.assertEqual(alone.as_numpy("logits").tobytes(), results[0][1:2].tobytes())
            response = alone.get_response()
            self.assertEqual(response["id"] if isinstance(response, dict) else response.id, "7")
        self.assertEqual(results[0].shape, (3, 5))
        self.assertEqual(results[0].tobytes(), results[1].tobytes())

    def test_json_tensors(self):
        client = self.libraries["http"][1]()
        rows = np.random.default_rng(1).standard_normal((1, 3, 13, 11), dtype=np.float32)
        request = tritonclient.http.InferInput("input", rows.shape, "FP32")
        request.set_data_from_numpy(rows, binary_data=False)
        output = tritonclient.http.InferRequestedOutput("logits", binary_data=False)
        found = client.infer("small", [request], outputs=[output]).as_numpy("logits")
        binary = infer(tritonclient.http, client, rows).as_numpy("logits")
        self.assertEqual(found.tobytes(), binary.tobytes())

    def test_refusals(self):
        rows = np.zeros((1, 3, 13, 12), dtype=np.float32)
        for library, client in self.each():
            with self.assertRaisesRegex(InferenceServerException, "12"):
                infer(library, client, rows)
            with self.assertRaisesRegex(InferenceServerException, 'no version "9"'):
                infer(library, client, rows, model_version="9")

    def test_timeouts(self):
        rows = np.zeros((1, 3, 13, 11), dtype=np.float32)
        for library, client in self.each():
            # The server lets requests wait for others for 100 ms.
            with self.assertRaisesRegex(InferenceServerException, "deadline"):
                infer(library, client, rows, timeout=1000)

    def test_repository(self):
        for library, client in self.each():
            client.unload_model("small")
            self.assertFalse(client.is_model_ready("small"))
            client.load_model("small")
            self.assertTrue(client.is_model_ready("small"))
            as_json = {"as_json": True} if library is tritonclient.grpc else {}
            index = client.get_model_repository_index(**as_json)
            index = index["models"] if isinstance(index, dict) else index
            self.assertEqual([entry["state"] for entry in index], ["READY", "READY"])
            with self.assertRaisesRegex(InferenceServerException, "no model"):
                client.load_model("large")


class End(unittest.TestCase):
    def test_no_call_is_lost(self):
        server, ports, folder = start()
        rows = np.zeros((1, 3, 13, 11), dtype=np.float32)
        answered, ends = [], []

        def call():
            client = tritonclient.grpc.InferenceServerClient(ports["grpc"])
            try:
                while True:
                    infer(tritonclient.grpc, client, rows)
                    answered.append(1)
            except InferenceServerException as e:
                ends.append(e.status())

        threads = [threading.Thread(target=call) for _ in range(4)]
        for thread in threads:
            thread.start()
        log = []
        reader = threading.Thread(target=lambda: log.extend(server.stderr))
        reader.start()
        time.sleep(0.5)
        server.terminate()
        for thread in threads:
            thread.join()
        self.assertEqual(server.wait(timeout=30), 0)
        reader.join()
        server.stderr.close()
        self.assertEqual(ends, ["StatusCode.UNAVAILABLE"] * 4)
        self.assertGreater(len(answered), 10)
        self.assertEqual(json.loads(log[-1])["received"], len(answered))
        folder.cleanup()


if __name__ == "__main__":
    unittest.main()
