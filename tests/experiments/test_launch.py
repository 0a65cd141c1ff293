"""The launch files, as far as they can be run without the systems that they are for."""

from __future__ import annotations

import contextlib
import math
import os
import random
import re
import socket
import subprocess
import sys
from pathlib import Path

import yaml

from pivot_jax.config_files import load

LAUNCH = Path(__file__).parents[2] / "experiments" / "launch"

SRUN = """#!/usr/bin/env bash
# stands in for Slurm's: two tasks on one node
[ "$1" = --kill-on-bad-exit=0 ] || exit 99
shift
export SLURM_STEP_NODELIST=localhost SLURM_NTASKS=2 SLURM_LOCALID=0
SLURM_PROCID=0 "$@" & first=$!
SLURM_PROCID=1 "$@"
code=$?
wait $first || code=$?
exit $code
"""

CONFIG = """
[run]
stages = ["candidates"]
[data]
tasks = 2
domains = ["terminal"]
"""


def executable(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def sbatch(tmp_path: Path, program: str, *words: str) -> subprocess.CompletedProcess[str]:
    """slurm.sbatch with these words, under a stand-in for srun, with `program` in place of pivot-jax."""
    executable(tmp_path / "bin" / "srun", SRUN)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "PIVOT_JAX": str(executable(tmp_path / "bin" / "pivot-jax", f"#!/usr/bin/env bash\n{program}\n")),
        "SLURM_JOB_ID": str(free_slurm_job()),
        "JAX_NUM_CPU_DEVICES": "1",
    }
    script = str(LAUNCH / "slurm.sbatch")
    return subprocess.run(["bash", script, *words], env=environment, capture_output=True, text=True, check=False)


def free_slurm_job() -> int:
    """A job number from which jax derives a free port: it takes one of the last 4,096."""
    for job in random.sample(range(2**12), 2**12):
        with socket.socket() as found, contextlib.suppress(OSError):
            found.bind(("localhost", 65535 - 2**12 + 1 + job))
            return job
    raise OSError("none of the last 4,096 ports is free")


def test_slurm_runs_two_processes_that_find_each_other(tmp_path):
    config = tmp_path / "small.toml"
    config.write_text(CONFIG)
    program = f'exec "{sys.executable}" -m pivot_jax.cli "$@"'
    ended = sbatch(tmp_path, program, "run", str(config), f"--run.dir={tmp_path / 'run'}")
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "run" / "candidates.json").exists()
    assert ended.stdout.count("Trajectories") == 1  # one process speaks


def test_slurm_tries_again_after_a_lost_process_but_not_after_a_fault_of_the_user(tmp_path):
    lost = 'echo "$SLURM_PROCID $@" >> {0}; [ "$(wc -l < {0})" -gt 4 ] || exit 75'
    assert sbatch(tmp_path, lost.format(tmp_path / "tries"), "run", "x.toml").returncode == 0
    tries = (tmp_path / "tries").read_text().splitlines()
    assert len(tries) == 6 and set(tries) == {f"{process} run x.toml --hosts.launch detect" for process in (0, 1)}
    ended = sbatch(tmp_path, f"echo >> {tmp_path / 'faults'}; exit 2")
    assert ended.returncode == 2 and (tmp_path / "faults").read_text() == "\n\n"


def test_slurm_gives_a_process_all_gpus_of_its_node(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_GPUS_ON_NODE", "4")
    ended = sbatch(tmp_path, 'echo "$JAX_LOCAL_DEVICE_IDS"')
    assert ended.stdout == "0,1,2,3\n" * 2


def test_tpu_pod_runs_the_same_words_on_all_workers(tmp_path):
    executable(tmp_path / "gcloud", '#!/usr/bin/env bash\nprintf "%s\\n" "$@"\n')
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    words = [str(LAUNCH / "tpu_pod.sh"), "pod", "us-east5-a", "run", "a b.toml", "--run.dir=/shared/x"]
    ended = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines() == [
        *("compute", "tpus", "tpu-vm", "ssh", "pod", "--zone", "us-east5-a", "--worker", "all", "--command"),
        r"cd pivot_jax && exec .venv/bin/pivot-jax run a\ b.toml --run.dir=/shared/x --hosts.launch detect",
    ]
    refused = subprocess.run(words[:2], env=environment, capture_output=True, text=True, check=False)
    assert refused.returncode == 2 and "tpu_pod.sh NAME ZONE run" in refused.stderr


def test_gke_has_one_pod_a_host_of_the_slice():
    jobset = yaml.safe_load((LAUNCH / "gke_jobset.yaml").read_text())
    assert (jobset["apiVersion"], jobset["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    assert jobset["spec"]["failurePolicy"]["maxRestarts"] > 0
    (slice_,) = jobset["spec"]["replicatedJobs"]
    job = slice_["template"]["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    chips = container["resources"]["limits"]["google.com/tpu"]
    assert container["resources"]["requests"] == container["resources"]["limits"]
    topology = pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"]
    slice_chips = math.prod(map(int, topology.split("x")))
    assert job["parallelism"] == job["completions"] == slice_chips // chips == 8
    assert (job["completionMode"], job["backoffLimit"], pod["restartPolicy"]) == ("Indexed", 0, "Never")
    assert container["command"][:2] == ["pivot-jax", "run"] and "--hosts.launch=detect" in container["command"]
    (mesh,) = (word for word in container["command"] if word.startswith("configs/mesh/"))
    sizes = load([LAUNCH.parents[1] / mesh]).mesh.sizes(slice_chips)  # refuses a number of chips that is not the mesh's
    assert math.prod(sizes) == slice_chips
    (mount,), (volume,) = container["volumeMounts"], pod["volumes"]
    assert mount["name"] == volume["name"] and volume["persistentVolumeClaim"]
    assert any(re.match(f"--run.dir={mount['mountPath']}/", word) for word in container["command"])
    assert {port["containerPort"] for port in container["ports"]} >= {8482}  # what jax's coordinator listens on
