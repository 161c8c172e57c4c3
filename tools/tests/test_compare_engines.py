"""The comparison with fake workers, and its tables."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dyrelu_tools.activations import DyReLU
from dyrelu_tools.compare_engines import __main__ as program
from dyrelu_tools.compare_engines import cell, contenders, table
from dyrelu_tools.compare_engines.engines import Job
from dyrelu_tools.compare_engines.networks import interleaved, networks, operations
from dyrelu_tools.compare_engines.protocol import Worker, WorkerFailed
from dyrelu_tools.compare_engines.results import Cell, Cpu, Results
from dyrelu_tools.compare_engines.rounds import MIN_RUNS, MIN_SLOW_RUNS, take_turns

TOOLS = Path(__file__).parents[1]
# A fake engine: writes its output, then sleeps for a given time in each run.
FAKE = f"""
import sys, time
sys.path.insert(0, {str(TOOLS)!r})
import numpy as np
from dyrelu_tools.compare_engines.protocol import serve
seconds, output = float(sys.argv[1]), sys.argv[2]
np.save(output, np.array([[1.0, -4.0]]))
serve(lambda: time.sleep(seconds), sys.stdin, sys.stdout)
"""


def python(code: str, *words: object) -> list[str]:
    return [sys.executable, "-c", code, *map(str, words)]


class Fake(contenders.Contender):
    def __init__(self, code: str = FAKE, seconds: float = 0.001, checked: bool = True) -> None:
        self.code, self.seconds, self.checked = code, seconds, checked

    def command(self, job: Job, output: Path) -> list[str]:
        return python(self.code, self.seconds, output)


def test_a_worker_answers_with_a_time_for_each_run(tmp_path: Path) -> None:
    worker = Worker(python(FAKE, 0.01, tmp_path / "y.npy"), tmp_path / "log", 1)
    worker.wait_until_ready()
    first, second = worker.run(2), worker.run(1)
    worker.end()
    assert len(first) == 2 and len(second) == 1
    assert all(0.01 <= seconds < 1 for seconds in first + second)
    assert worker.process.returncode == 0


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise ValueError('no such operator')", "ValueError: no such operator (exit code 1)"),
        ("import sys; print('Error: bad file\\nSee the manual', file=sys.stderr); sys.exit(2)", "Error: bad file (exit code 2)"),
        ("import os; os.kill(os.getpid(), 11)", "signal SIGSEGV"),
        ("print('hello')", "answered 'hello' instead of ready"),
    ],
)
def test_a_worker_that_fails_to_load_reports_the_reason(code: str, reason: str, tmp_path: Path) -> None:
    worker = Worker(python(code), tmp_path / "log", 1)
    with pytest.raises(WorkerFailed) as failure:
        worker.wait_until_ready()
    worker.end()
    assert str(failure.value) == reason


def test_engines_run_in_turns_and_a_failure_is_an_entry(tmp_path: Path) -> None:
    np.save(tmp_path / "y2.npy", np.array([[1.0, -4.002]]))
    breaks = "print('ready', flush=True); input(); print('1 2 soon', flush=True); input()"
    wrong = FAKE.replace("-4.0", "-4.1")
    fakes = {
        "fast": Fake(),
        "slow": Fake(seconds=0.02),
        "wrong": Fake(wrong),
        "yardstick": Fake(wrong, checked=False),
        "absent": Fake("import nothing_of_that_name"),
        "breaks": Fake(FAKE.split("serve(")[0] + breaks),
    }
    entries = cell.measure(Job(tmp_path, threads=1, batch=2), fakes, seconds=0.5)
    assert entries["fast"]["runs"] > entries["slow"]["runs"] >= MIN_RUNS
    assert 10 <= entries["slow"]["best_ms"] <= entries["slow"]["median_ms"] < 100
    assert entries["fast"]["error"] == 5e-4
    assert "median_ms" in entries["yardstick"]
    assert "relative error of 2.4e-02" in entries["wrong"]["does not run"]
    assert "nothing_of_that_name" in entries["absent"]["does not run"]
    assert "instead of times" in entries["breaks"]["does not run"]


def test_the_order_rotates_from_round_to_round() -> None:
    order: list[str] = []

    class Recorder:
        def __init__(self, name: str) -> None:
            self.name = name

        def run(self, count: int) -> list[float]:
            order.append(self.name)
            return [0.0] * count

    times, failed = take_turns({name: Recorder(name) for name in "abc"}, seconds=0)
    assert "".join(order) == "abcbcacab" and not failed
    assert {name: len(runs) for name, runs in times.items()} == dict.fromkeys("abc", 9)


def test_a_slow_engine_has_fewer_runs_and_a_failing_one_has_none() -> None:
    class Slow:
        def run(self, count: int) -> list[float]:
            return [2.0] * count

    class Failing:
        def run(self, count: int) -> list[float]:
            raise WorkerFailed("signal SIGSEGV")

    times, failed = take_turns({"slow": Slow(), "failing": Failing()}, seconds=0)
    assert times == {"slow": [2.0] * MIN_SLOW_RUNS} and failed == {"failing": "signal SIGSEGV"}


def test_measured_cells_are_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[Job] = []

    def measure(job: Job, engines: dict, seconds: float) -> dict[str, dict]:
        measured.append(job)
        return {name: {"median_ms": 1.0} for name in engines}

    def run(*words: str) -> int:
        measured.clear()
        arguments = ["--work", tmp_path, "--only", "resnet18,resnet50", "--threads", "1,2", *words]
        monkeypatch.setattr(sys, "argv", ["compare", *map(str, arguments)])
        program.main()
        return len(measured)

    monkeypatch.setattr(program.cell, "measure", measure)
    monkeypatch.setattr(program, "prepare", lambda *_: None)
    monkeypatch.setattr(contenders.Python, "version", lambda _: "1")
    assert run("--engines", "mnn") == 4
    assert run("--engines", "mnn") == 0
    assert run("--engines", "mnn,ncnn", "--batch", "1,8") == 8
    assert run("--engines", "mnn", "--again", "--only", "resnet18") == 2
    cells = Results.read(tmp_path / "results.json").cells
    assert len(cells) == 8 and all(set(entries) == {"mnn", "ncnn"} for entries in cells.values())
    with pytest.raises(SystemExit, match="unknown network 'resnet19'"):
        run("--only", "resnet19")
    with pytest.raises(SystemExit, match="unknown engine 'rten'"):
        run("--engines", "rten")


def test_engines_in_rust_have_a_command_and_a_version() -> None:
    engine = contenders.contenders(["rten"], None, Path("/peers"))["rten"]
    command = engine.command(Job(Path("/job"), threads=2, batch=8), Path("/job/output.npy"))
    assert command == ["/peers", "rten", "/job/network.onnx", "2", "8", "/job/x8.npy", "/job/output.npy"]
    assert engine.version().startswith("0.")


def some_results() -> Results:
    def at(*medians: float | None) -> dict[str, dict]:
        names = ("dyrelu", "openvino", "ncnn")
        return {
            name: {"does not run": "why"} if value is None else {"median_ms": value}
            for name, value in zip(names, medians)
        }

    results = Results(Cpu("A CPU", "avx2 fma", 2))
    results.merge(Cell("net", 1, 1), at(10.0, 8.0, 123.4), {"dyrelu": "0.1", "openvino": "7"}, 9.5)
    results.merge(Cell("net-b", 1, 1), at(12.5, 16.0, None), {}, 9.5)
    results.measured_on = "2026-11-24"
    return results


def write(results: Results, threads: int = 1) -> str:
    titles, plain = {"net": "Net", "net-b": "Net, dynamic", "other": "Other"}, {"net-b": "net"}
    columns = {"dyrelu": "dyrelu", "openvino": "OpenVINO", "ncnn": "ncnn", "rten": "rten"}
    return table.document(results, titles, plain, columns, [(threads, 1)], {"op": "Activation"})


def test_tables_have_times_and_ratios() -> None:
    assert write(some_results()).splitlines() == [
        "1 thread, batch 1:",
        "",
        "| ms per image | dyrelu | OpenVINO | ncnn | dyrelu / best other |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| Net | 10.0 | 8.00 | 123 | 1.25 |",
        "| Net, dynamic | 12.5 | 16.0 | ✗ | 0.78 |",
        "",
        "| time over that of the plain network | dyrelu | OpenVINO | ncnn |",
        "| --- | ---: | ---: | ---: |",
        "| Net, dynamic | 1.25 | 2.00 | – |",
        "",
        "Measured on 2026-11-24: A CPU with avx2 fma, 2 cores. f32; medians of runs that took turns; ✗ does not run, or is wrong.",
        "dyrelu 0.1, OpenVINO 7. Command, in `tools/` (its README says how to prepare):",
        "",
        "```sh",
        "python -m dyrelu_tools.compare_engines --work DIR --dyrelu ../target/release/dyrelu \\",
        "    --peers-rust peers-rust/target/release/peers-rust \\",
        "    --threads 1 --batch 1 --seconds 9.5",
        "```",
    ]
    assert "|" not in write(some_results(), threads=2)


def test_further_settings_are_folded() -> None:
    assert table.section("2 threads, batch 8", ["| 1 |", ""], is_open=False) == [
        "<details>",
        "<summary>2 threads, batch 8</summary>",
        "",
        "| 1 |",
        "",
        "</details>",
        "",
    ]


def test_the_short_table_compares_with_all_engines() -> None:
    text = table.summary(some_results(), {"net": "Net", "other": "Other"}, {"dyrelu": "dyrelu", "ncnn": "ncnn"})
    assert text.splitlines() == [
        "| ms per image | dyrelu | ncnn | dyrelu / best other |",
        "| --- | ---: | ---: | ---: |",
        "| Net | 10.0 | 123 | 1.25 |",
        "",
        "One thread, measured on 2026-11-24: A CPU.",
    ]


def test_operations_are_compared_with_memcpy() -> None:
    results = some_results()
    entries = {"memcpy": {"median_ms": 0.1}, "dyrelu": {"median_ms": 0.12345}, "openvino": {"does not run": "why"}}
    results.merge(Cell("op", 1, 1), entries, {}, 1)
    columns = {"memcpy": "memcpy", "dyrelu": "dyrelu", "openvino": "OpenVINO"}
    assert table.operations(results, {"op": "Activation", "other": "Other"}, columns, 1) == [
        "| µs | memcpy | dyrelu | OpenVINO | dyrelu / memcpy |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| Activation | 100 | 123 | ✗ | 1.23 |",
    ]
    assert "The activation alone, NCHW in and out, 1 thread:" in write(results).splitlines()


def test_results_are_merged_and_read_back_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    some_results().write(path)
    results = Results.read(path)
    assert results == some_results()
    results.merge(Cell("net", 1, 1), {"rten": {"median_ms": 5.0}}, {"rten": "2"}, 3)
    assert set(results.of(Cell("net", 1, 1))) == {"dyrelu", "openvino", "ncnn", "rten"}
    assert results.of(Cell("net", 1, 2)) == {}
    assert results.seconds == 3 and results.measured_on > "2026"


def test_this_cpu_has_a_name_and_cores() -> None:
    here = Cpu.here()
    assert here.name and here.cores > 0
    assert str(Cpu("A CPU", "", 1)) == "A CPU with no known vector instructions, 1 cores"
