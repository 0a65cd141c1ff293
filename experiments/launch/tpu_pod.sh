#!/usr/bin/env bash
# One command on every host of a TPU pod slice (TPU VMs, no cluster manager).
#
#   experiments/launch/tpu_pod.sh NAME ZONE run configs/mine.toml configs/mesh/v5p_64.toml --run.dir /mnt/shared/runs/mine
#
# Before: the repository is installed in ~/pivot_jax/.venv on every host (pip install -e '.[tpu]'), and one file system
# (Filestore, Lustre) is mounted at the same path on all of them; run.dir lies there. Killed, or a host lost: the same
# command continues. REMOTE_DIR is where the repository is on the hosts.
set -euo pipefail
if [ "$#" -lt 4 ]; then
  sed -n '2,8p' "$0" >&2
  exit 2
fi
name="$1" zone="$2"
shift 2
printf -v words ' %q' "$@" --hosts.launch detect
exec gcloud compute tpus tpu-vm ssh "$name" --zone "$zone" --worker all \
  --command "cd ${REMOTE_DIR:-pivot_jax} && exec .venv/bin/pivot-jax$words"
