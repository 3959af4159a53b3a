"""The executors that need other packages, with stand-ins of these."""

from __future__ import annotations

import subprocess
import sys
import threading
from types import SimpleNamespace
from typing import ClassVar

import pytest

from segkit.study.executors import Job
from segkit.study.executors.base import EXECUTORS
from segkit.study.executors.command import RunCommand
from segkit.study.locks import STUDY_LOCK, acquire
from segkit.utils.errors import SegkitError


def job(folder, code: str) -> Job:
    return Job("a run", (sys.executable, "-c", code), folder / "run", folder)


@pytest.mark.parametrize("name, package", [("slurm", "submitit"), ("ray", "ray")])
def test_a_missing_package_has_the_line_that_installs_it(monkeypatch, name, package):
    monkeypatch.setattr("importlib.util.find_spec", lambda asked, *rest: None)
    with pytest.raises(SegkitError, match=rf"{package}: pip install 'segkit\[{name}\]'"):
        EXECUTORS.build({"name": name}, path="executor", folder="x")


class FakeJob:
    """A job of submitit: done when the test says so."""

    jobs: ClassVar[dict[str, FakeJob]] = {}

    def __init__(self, folder: str, job_id: str) -> None:
        known = FakeJob.jobs.get(job_id)
        self.job_id, self.state = job_id, known.state if known else {"done": False, "cancelled": False}

    def done(self, force_check: bool = False) -> bool:
        return self.state["done"]

    def result(self) -> int:
        if "status" not in self.state:
            raise RuntimeError("the node\nis lost")
        return self.state["status"]

    def cancel(self) -> None:
        self.state["cancelled"] = True


class FakeAuto:
    """Submitit's AutoExecutor, which keeps what it is given."""

    def __init__(self, folder: str, cluster: str) -> None:
        self.folder, self.cluster, self.parameters, self.submitted = folder, cluster, {}, []

    def update_parameters(self, **parameters) -> None:
        self.parameters.update(parameters)

    def submit(self, function) -> FakeJob:
        self.submitted.append(function)
        found = FakeJob(self.folder, str(100 + len(self.submitted)))
        FakeJob.jobs[found.job_id] = found
        return found


@pytest.fixture
def submitit(monkeypatch):
    monkeypatch.setattr("segkit.study.executors.slurm.require", lambda *args: None)
    monkeypatch.setattr(FakeJob, "jobs", {})
    monkeypatch.setitem(
        sys.modules, "submitit", SimpleNamespace(AutoExecutor=FakeAuto, SlurmJob=FakeJob, LocalJob=FakeJob)
    )


def test_slurm_queues_jobs_and_finds_them_again(tmp_path, submitit):
    spec = {
        "name": "slurm",
        "partition": "gpu",
        "gpus": 2,
        "mem_gb": 32,
        "setup": ["module load x"],
        "parameters": {"account": "me"},
    }
    executor = EXECUTORS.build(spec, path="executor", folder=tmp_path)
    one = job(tmp_path, "pass")
    assert executor.running(one) is None
    process = executor.start(one)
    queue = executor._executor
    assert (queue.cluster, queue.folder, queue.parameters["name"]) == ("slurm", str(tmp_path / "slurm"), "a_run")
    assert queue.parameters["slurm_partition"] == "gpu" and queue.parameters["gpus_per_node"] == 2
    assert queue.parameters["slurm_additional_parameters"] == {"account": "me"} and queue.parameters["mem_gb"] == 32
    assert queue.submitted == [RunCommand(one)] and process.poll() is None and process.place == "job 101"
    again = EXECUTORS.build({"name": "slurm"}, path="executor", folder=tmp_path).running(one)
    assert again.place == "job 101" and again.poll() is None and not again.inherited
    again.stop()
    assert FakeJob.jobs["101"].state["cancelled"]
    FakeJob.jobs["101"].state.update(done=True, status=75)
    assert again.poll() == 75 and executor.running(one) is None
    del FakeJob.jobs["101"].state["status"]
    assert process.poll() == 1
    assert "error: job 101 of the queue failed: the node is lost" in one.console.read_text()


def test_a_queue_that_has_no_such_arguments(submitit):
    with pytest.raises(SegkitError, match=r"partiton.*partition"):
        EXECUTORS.build({"name": "slurm", "partiton": "gpu"}, path="executor", folder="x")


class FakeRay(SimpleNamespace):
    """Ray, with tasks that run when they are started."""

    def __init__(self) -> None:
        super().__init__(
            exceptions=SimpleNamespace(RayError=RuntimeError), options=None, cancelled=[], running=True, up=True
        )

    def is_initialized(self) -> bool:
        return False

    def init(self, **settings) -> None:
        self.settings = settings

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 4.0}

    def remote(self, function):
        ray = self

        class Task:
            def options(self, **options):
                ray.options = options
                return self

            def remote(self, *arguments):
                return lambda: function(*arguments)

        return Task()

    def wait(self, references, timeout):
        return ([], references) if self.running else (references, [])

    def get(self, reference):
        return reference()

    def cancel(self, reference) -> None:
        self.cancelled.append(reference)

    def shutdown(self) -> None:
        self.up = False


def test_ray_starts_tasks(tmp_path, monkeypatch):
    ray = FakeRay()
    monkeypatch.setattr("segkit.study.executors.ray.require", lambda *args: None)
    monkeypatch.setitem(sys.modules, "ray", ray)
    with pytest.raises(SegkitError, match=r"executor.gpus: a run asks for 1, the whole cluster has 0"):
        EXECUTORS.build({"name": "ray"}, path="executor", folder=tmp_path)
    executor = EXECUTORS.build(
        {"name": "ray", "gpus": 0, "cpus": 2, "address": "auto"}, path="executor", folder=tmp_path
    )
    process = executor.start(job(tmp_path, "import sys; print('here'); sys.exit(3)"))
    assert ray.settings["address"] == "auto" and ray.options == {
        "name": "a run",
        "num_gpus": 0,
        "num_cpus": 2,
        "max_retries": 3,
    }
    assert process.poll() is None
    process.stop()
    assert len(ray.cancelled) == 1
    ray.running = False
    assert process.poll() == 3 and (tmp_path / "run/console.txt").read_text() == "here\n"
    executor.close()
    assert not ray.up


def test_a_command_waits_for_the_lock_of_its_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("segkit.study.executors.command.POLL", 0.01)
    one = job(tmp_path, "print('ran')")
    one.folder.mkdir()
    with open(one.folder / STUDY_LOCK, "w") as lock:
        assert acquire(lock)
        found: list[int] = []
        thread = threading.Thread(target=lambda: found.append(RunCommand(one)()))
        thread.start()
        thread.join(0.1)
        assert thread.is_alive() and not one.console.read_text()
    thread.join(20)
    assert found == [0] and one.console.read_text() == "ran\n"


def test_a_cancelled_command_gets_sigterm(tmp_path, monkeypatch):
    code = (
        "import signal, sys, time; signal.signal(15, lambda *a: sys.exit(75)); print('up', flush=True); time.sleep(60)"
    )
    one = job(tmp_path, code)
    wait = subprocess.Popen.wait

    def interrupted(self, timeout=None):
        monkeypatch.setattr(subprocess.Popen, "wait", wait)
        while "up" not in one.console.read_text():
            pass
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "wait", interrupted)
    assert RunCommand(one)() == 75
