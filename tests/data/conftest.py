import os

os.environ["HF_HUB_OFFLINE"] = "1"

from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from pivot_jax.data.small_tokenizer import build_small_tokenizer, training_texts
from pivot_jax.records import Trajectory
from tests.data.episodes import shop_episode


@pytest.fixture
def shop() -> Trajectory:
    return shop_episode()


@pytest.fixture
def small_tokenizer(shop: Trajectory, tmp_path: Path) -> PreTrainedTokenizerFast:
    return build_small_tokenizer(training_texts([shop]), tmp_path / "tokenizer")
