"""How much of its CPUs a process takes: by psutil, by /proc, and by what its cgroup allows."""

import builtins
import os
import time

import psutil
import pytest

from stateful_route.drivers import process_load
from stateful_route.drivers.process_load import ProcessLoad, cpu_reader, read_proc, read_times, usable_cpus


class Machine:
    """A clock and a CPU that a test moves."""

    def __init__(self):
        self.now = self.used = 0.0
        self.cpus = 2.0

    def load(self):
        return ProcessLoad(lambda: self.now, lambda: self.used, lambda: self.cpus)

    def work(self, seconds, cpu_seconds):
        self.now += seconds
        self.used += cpu_seconds


def test_it_is_the_load_since_the_last_reading():
    machine = Machine()
    load = machine.load()
    assert load.read() == 0
    machine.work(10, 5)
    assert load.read() == 250
    machine.work(10, 20)
    assert load.read() == 1000
    machine.work(10, 0)
    assert load.read() == 0


def test_within_a_second_the_last_one_is_given_again():
    machine = Machine()
    load = machine.load()
    machine.work(4, 4)
    assert load.read() == 500
    machine.work(0.5, 0.5)
    assert load.read() == 500
    machine.work(0.5, 0)
    assert load.read() == 250, "over the whole second"


def test_the_cpus_are_asked_each_time():
    machine = Machine()
    load = machine.load()
    machine.work(10, 5)
    machine.cpus = 0.5
    assert load.read() == 1000


def test_a_load_that_cannot_be_read_stops_nothing(caplog):
    machine = Machine()
    load = machine.load()
    machine.work(10, 5)
    assert load.read() == 250

    def broken():
        raise PermissionError("/proc")

    load._cpu_seconds = broken
    machine.work(10, 5)
    assert load.read() == 250
    assert "PermissionError" in caplog.text


def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


@pytest.mark.parametrize("reader", [read_proc, read_times], ids=["proc", "times"])
def test_the_readers_agree_with_psutil(reader):
    by_psutil = cpu_reader()
    before = by_psutil(), reader()
    burn(0.2)
    after = by_psutil(), reader()
    for one, other in zip(before, after, strict=True):
        assert other - one >= 0.15
    assert after[0] == pytest.approx(after[1], abs=0.1)


def test_without_psutil_proc_is_read(monkeypatch):
    without_psutil(monkeypatch)
    assert cpu_reader() is read_proc


def test_without_either_the_system_is_asked(monkeypatch, tmp_path):
    without_psutil(monkeypatch)
    monkeypatch.setattr(process_load, "STAT", tmp_path / "none")
    assert cpu_reader() is read_times


def without_psutil(monkeypatch):
    importing = builtins.__import__

    def imported(name, *args, **options):
        if name == "psutil":
            raise ImportError(name)
        return importing(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", imported)


def test_a_programs_name_with_blanks_and_brackets_is_no_trouble(monkeypatch, tmp_path):
    stat = tmp_path / "stat"
    stat.write_bytes(b"7 (my ) 1 2 \xff(app) S " + b" ".join(b"%d" % number for number in range(4, 53)))
    monkeypatch.setattr(process_load, "STAT", stat)
    assert read_proc() == (14 + 15) / os.sysconf("SC_CLK_TCK")


def test_a_process_that_works_has_a_load():
    load = ProcessLoad(cpus=lambda: 1.0)
    burn(1.05)
    assert load.read() > 0


LIMITS = {
    # sentence: (files of the cgroup, CPUs, of four)
    "none": ({}, 4),
    "version 2, half a CPU": ({"cpu.max": "50000 100000\n"}, 0.5),
    "version 2, no limit": ({"cpu.max": "max 100000\n"}, 4),
    "version 2, more than there are": ({"cpu.max": "800000 100000\n"}, 4),
    "version 1, one and a half": ({"cpu/cpu.cfs_quota_us": "150000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1.5),
    "version 1, no limit": ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
    "nonsense": ({"cpu.max": "0 0\n"}, 4),
    "more nonsense": ({"cpu.max": "x\n"}, 4),
}


@pytest.mark.parametrize("sentence", LIMITS)
def test_the_cpus_that_it_may_use(sentence, monkeypatch, tmp_path):
    files, cpus = LIMITS[sentence]
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert usable_cpus(tmp_path) == cpus


def test_this_process_may_use_some():
    assert 0 < usable_cpus() <= psutil.cpu_count()
