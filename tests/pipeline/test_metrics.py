"""metrics.jsonl survives kills and resumes; TensorBoard sees the same numbers."""

import json
import math
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c

from pivot_jax.pipeline.metrics import MetricLine, MetricsWriter, read_metrics


def write_steps(run_dir: Path, stage: str, steps: range) -> None:
    with MetricsWriter(run_dir) as writer:
        for step in steps:
            writer.write(stage, step, {"train/reward_mean": step / 7, "policy/kl_to_reference": 0.1 * step})


def read_events(folder: Path) -> list[Event]:
    """Every event under `folder`, read from the record format itself: length, its checksum, data, its checksum."""
    events = []
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        while data:
            length = int.from_bytes(data[:8], "little")
            body = data[12 : 12 + length]
            assert int.from_bytes(data[12 + length : 16 + length], "little") == masked_crc32c(body)
            events.append(Event.FromString(body))
            data = data[16 + length :]
    return events


def test_every_line_is_valid_json_and_read_back(tmp_path: Path) -> None:
    values = {"train/reward_mean": 0.25, "train/loss": math.inf, "rollout/behavior_gap": -math.inf, "pivot/a": math.nan}
    with MetricsWriter(tmp_path) as writer:
        writer.write("train", 3, values)
        # Flushed by each write: another process sees it before the writer is closed.
        text = (tmp_path / "metrics.jsonl").read_text()
    fields = json.loads(text, parse_constant=pytest.fail)
    assert (fields["stage"], fields["step"], fields["pivot/a"]) == ("train", 3, "nan")
    (line,) = read_metrics(tmp_path)
    assert line.metrics.keys() == values.keys()
    assert math.isnan(line.metrics["pivot/a"])
    assert [line.metrics[name] for name in list(values)[:3]] == [0.25, math.inf, -math.inf]


def test_names_outside_the_form_are_refused(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path) as writer, pytest.raises(ValueError, match="stage, Train/Loss"):
        writer.write("train", 0, {"stage": 1.0, "Train/Loss": 1.0, "train/loss": 1.0})
    assert read_metrics(tmp_path) == ()


def test_resumed_file_equals_the_uninterrupted_one(tmp_path: Path) -> None:
    write_steps(tmp_path / "whole", "sft", range(3))
    write_steps(tmp_path / "whole", "train", range(10))
    write_steps(tmp_path / "resumed", "sft", range(3))
    write_steps(tmp_path / "resumed", "train", range(8))
    with (tmp_path / "resumed" / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "train", "step": 8, "train/rew')
    with MetricsWriter(tmp_path / "resumed") as writer:
        writer.truncate_after("train", 5)
        kept = read_metrics(tmp_path / "resumed")
        assert [(line.stage, line.step) for line in kept] == [("sft", s) for s in range(3)] + [
            ("train", s) for s in range(6)
        ]
    write_steps(tmp_path / "resumed", "train", range(6, 10))
    assert (tmp_path / "resumed" / "metrics.jsonl").read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()


def test_one_torn_last_line_is_left_out_and_dropped_on_opening(tmp_path: Path) -> None:
    write_steps(tmp_path, "train", range(2))
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write('{"stage": "train", "name": "\u00e9'.encode()[:-1])
    assert [line.step for line in read_metrics(tmp_path)] == [0, 1]
    write_steps(tmp_path, "train", range(2, 3))
    assert [line.step for line in read_metrics(tmp_path)] == [0, 1, 2]


@pytest.mark.parametrize(
    "damage", ['{"stage": "train", "st', "[1]", '{"step": 1}', '{"stage": "a", "step": 1, "b/c": "x"}']
)
def test_damaged_inner_line_is_an_error_with_file_and_line(tmp_path: Path, damage: str) -> None:
    lines = [MetricLine("train", step, {"train/loss": 1.0}).to_text() for step in range(3)]
    (tmp_path / "metrics.jsonl").write_text("\n".join([lines[0], damage, lines[2], ""]))
    with pytest.raises(ValueError, match=r"metrics\.jsonl:2: "):
        read_metrics(tmp_path)
    with pytest.raises(ValueError, match=r"metrics\.jsonl:2: "):
        MetricsWriter(tmp_path)


def test_no_metrics_yet_is_an_error_not_an_empty_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"metrics\.jsonl"):
        read_metrics(tmp_path)


def test_tensorboard_holds_the_same_numbers_and_forgets_on_resume(tmp_path: Path) -> None:
    write_steps(tmp_path, "train", range(4))
    with MetricsWriter(tmp_path) as writer:
        writer.truncate_after("train", 1)
    events = read_events(tmp_path / "tensorboard" / "train")
    scalars = [(event.step, v.tag, v.simple_value) for event in events for v in event.summary.value]
    assert [(step, tag) for step, tag, _ in scalars] == [
        (step, tag) for step in range(4) for tag in ("train/reward_mean", "policy/kl_to_reference")
    ]
    assert [value for _, tag, value in scalars if tag == "train/reward_mean"] == pytest.approx(
        [s / 7 for s in range(4)]
    )
    starts = [event.step for event in events if event.session_log.status == event.session_log.START]
    assert starts == [2]
