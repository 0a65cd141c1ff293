"""The arms of two results files of the same seeds in one, where both saw the same runs.

Arms can be measured on several days. What belongs to a seed (demonstrations, profile, evaluation tasks) follows from
its config; the arms that are in both files say whether it is still so: they must have come out alike, episode counts
and all, or nothing is joined.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SAME = ("candidates", "uninformative", "pivots")
"""Of a run, beside the scores of the arms that are in both."""

SOURCE = ("command", "commit", "dirty", "machine", "seconds")


def joined(new: Mapping[str, Any], earlier: Mapping[str, Any]) -> dict[str, Any]:
    """The record `new` with the arms of `earlier`, where it has them not; `earlier`'s source is kept under `joined`.

    Raises:
        ValueError: other configs, domains or seeds; no arm beside the base in both; one that came out otherwise.
    """
    for name in ("config", "domains", "seeds"):
        if new[name] != earlier[name]:
            raise ValueError(f"{name}: {new[name]} here, {earlier[name]} there")
    runs = [_one_run(*pair) for pair in zip(new["runs"], earlier["runs"], strict=True)]
    sources = [*earlier.get("joined", []), {name: earlier[name] for name in SOURCE}]
    return {**new, "joined": sources, "runs": runs}


def _one_run(new: Mapping[str, Any], earlier: Mapping[str, Any]) -> dict[str, Any]:
    where = f"seed {new['seed']}, {' '.join(new['domains'])}"
    if (new["seed"], new["domains"]) != (earlier["seed"], earlier["domains"]):
        raise ValueError(f"{where}: stands where seed {earlier['seed']}, {' '.join(earlier['domains'])} does there")
    shared = new["arms"].keys() & earlier["arms"].keys()
    if not shared - {"base"}:
        raise ValueError(f"{where}: no arm beside the base is in both, so nothing shows that they are comparable")
    for name in SAME:
        if new[name] != earlier[name]:
            raise ValueError(f"{where}: {name} differ: {new[name]} here, {earlier[name]} there")
    for arm in sorted(shared):
        for score in ("in_domain", "other_domains", "ood"):
            if new["arms"][arm].get(score, {}) != earlier["arms"][arm].get(score, {}):
                raise ValueError(f"{where}: {arm} came out otherwise ({score})")
    return {
        **new,
        "starts": [*earlier["starts"], *new["starts"]],
        "seconds": earlier["seconds"] + new["seconds"],
        "selections": {**earlier["selections"], **new["selections"]},
        "arms": {**earlier["arms"], **new["arms"]},
    }
