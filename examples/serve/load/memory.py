"""Sends requests to a server at a steady rate, and prints its resident memory after each minute.

    python memory.py PID URL PHOTO [--rate 20] [--minutes 10] [--input input]

PID is the process of the server, URL that of a model with an input of 3x224x224. Requests are by turns a run of
one image, as a binary tensor, and the classification of PHOTO, on one connection.
"""

import argparse
import http.client
import json
import re
import time
import urllib.parse


def resident_mib(pid: int) -> float:
    with open(f"/proc/{pid}/status") as status:
        return int(re.search(r"VmRSS:\s*(\d+) kB", status.read())[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pid", type=int)
    parser.add_argument("url", type=urllib.parse.urlsplit)
    parser.add_argument("photo", type=argparse.FileType("rb"))
    parser.add_argument("--rate", type=float, default=20, help="requests per second")
    parser.add_argument("--minutes", type=int, default=10)
    parser.add_argument("--input", default="input", help="the name of the network's input")
    arguments = parser.parse_args()

    shape = [1, 3, 224, 224]
    tensor = b"\0\0\0\x3f" * (3 * 224 * 224)
    head = json.dumps(
        {
            "parameters": {"binary_data_output": True},
            "inputs": [
                {
                    "name": arguments.input,
                    "datatype": "FP32",
                    "shape": shape,
                    "parameters": {"binary_data_size": len(tensor)},
                }
            ],
        }
    ).encode()
    requests = [
        ("/infer", head + tensor, {"Inference-Header-Content-Length": str(len(head))}),
        ("/classify", arguments.photo.read(), {}),
    ]
    connection = http.client.HTTPConnection(arguments.url.hostname, arguments.url.port)

    print("| minute | requests | failed | MiB |\n|---:|---:|---:|---:|")
    sent = failed = 0
    started = time.monotonic()
    for minute in range(arguments.minutes + 1):
        while time.monotonic() < started + 60 * minute:
            path, body, headers = requests[sent % len(requests)]
            connection.request("POST", arguments.url.path + path, body, headers)
            answer = connection.getresponse()
            answer.read()
            sent += 1
            failed += answer.status != 200
            time.sleep(max(0.0, started + sent / arguments.rate - time.monotonic()))
        print(f"| {minute} | {sent} | {failed} | {resident_mib(arguments.pid):.1f} |", flush=True)


if __name__ == "__main__":
    main()
