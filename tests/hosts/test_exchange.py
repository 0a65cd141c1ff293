"""Agreement over a real coordination service."""

from __future__ import annotations

import time

import numpy as np
import pytest

from pivot_jax.hosts import exchange, processes
from pivot_jax.hosts.folder import check_shared
from tests.hosts.conftest import COUNT


def test_everyone_gets_what_each_passed_in_the_order_of_the_processes(together):
    def work(process: int):
        time.sleep(0.05 * (COUNT - process))  # the last one comes first
        return exchange.gather("bytes", bytes([process])), exchange.all_say("values", {"of": process})

    assert together(work) == [([b"\0", b"\1", b"\2"], [{"of": 0}, {"of": 1}, {"of": 2}])] * COUNT


def test_the_first_one_decides_and_any_one_can_stop(together):
    def work(process: int):
        return (
            exchange.first_says("which", f"process {process}"),
            exchange.any_says("none", False),
            exchange.any_says("one", process == 2),
        )

    assert together(work) == [("process 0", False, True)] * COUNT


@pytest.mark.parametrize("items", [0, 1, 2, 3, 7])
def test_each_item_is_one_processs_work_and_the_order_is_that_of_the_items(together, items):
    done: list[tuple[int, int]] = []

    def work(process: int):
        def judge(item: int):
            done.append((item, process))
            return {"rewards": np.full(4, item, np.float32), "status": np.array([item, 1], np.int8)}

        return exchange.each_its_own("verdicts", range(items), judge)

    for results in together(work):
        assert [result["rewards"].tolist() for result in results] == [[item] * 4 for item in range(items)]
        assert [result["status"].tolist() for result in results] == [[item, 1] for item in range(items)]
        assert all(result["status"].dtype == np.int8 for result in results)
    assert sorted(done) == [(item, item % COUNT) for item in range(items)]


def test_processes_that_went_different_ways_say_so(together):
    errors = together(lambda process: exchange.wait("step 3" if process < 2 else "step 4"))
    assert "process 0 is at 'step 3', process 2 at 'step 4'" in str(errors[0])
    assert "process 2 is at 'step 4', process 0 at 'step 3'" in str(errors[2])


def test_a_process_that_does_not_come_is_named(together, monkeypatch):
    monkeypatch.setattr(exchange, "_wait_seconds", 1)
    errors = together(lambda process: exchange.wait("verdicts") if process != 1 else None)
    assert errors[1] is None
    for process in (0, 2):
        assert "waited 1 s at 'verdicts' for process [1]" in str(errors[process])


def test_what_was_read_by_all_is_removed_from_the_service(together, clients):
    def work(process: int):
        for turn in range(4):
            exchange.gather("large", bytes(1000) + bytes([turn]))

    together(work)
    left = [value for _, value in clients[0].key_value_dir_get_bytes(f"{exchange.FOLDER}/") if b"large" in value]
    assert [value[-1] for value in left] == [3] * COUNT  # of the last turn, which a process may still be reading


def test_a_folder_that_not_all_see_is_refused(together, tmp_path):
    assert together(lambda process: check_shared(tmp_path / "run", 0.2)) == [None] * COUNT
    assert list((tmp_path / "run").iterdir()) == []


def test_a_folder_of_one_host_is_refused_with_its_name(together, tmp_path):
    errors = together(lambda process: check_shared(tmp_path / str(process), 0.2))
    for error in errors:
        assert "run.dir: process [1, 2] does not see what process 0 writes in" in str(error)


def test_one_process_exchanges_nothing():
    assert exchange.gather("alone", b"x") == [b"x"] and exchange.all_say("alone", 3) == [3]
    assert processes.count() == 1 and processes.is_first()
    exchange.wait("alone")
