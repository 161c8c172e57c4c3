"""ONNX Runtime behind a front that does no more than it must: the counterpart of the server under load.

Takes the body of infer.lua, on two threads that share a session of one thread each run, and answers the bytes of
the first output. Needs aiohttp, numpy and onnxruntime.
"""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
from aiohttp import web

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
name = session.get_inputs()[0].name
threads = ThreadPoolExecutor(2)


def run(image):
    return session.run(None, {name: image})[0].tobytes()


async def infer(request):
    body = await request.read()
    head = int(request.headers["Inference-Header-Content-Length"])
    image = np.frombuffer(body[head:], np.float32)
    result = await asyncio.get_running_loop().run_in_executor(threads, run, image.reshape(1, 3, 224, 224))
    return web.Response(body=result)


app = web.Application(client_max_size=1 << 26)
app.router.add_post("/{path:.*}", infer)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[2]), access_log=None)
