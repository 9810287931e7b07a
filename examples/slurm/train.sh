#!/bin/bash
#SBATCH --job-name=bitmoji
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8     # one process a GPU: under Slurm, JAX gives each process the GPU of its local rank
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120       # two minutes before the end: the run is saved and exits with 130
#SBATCH --requeue
#SBATCH --open-mode=append

set -u
srun --kill-on-bad-exit=1 python launch.py --exp res5 --data.dir data/mine --workdir runs/res5 \
  --train.batch-size 16 --distributed
code=$?
# Submit again unless the command itself is wrong (2): a process was lost, or the time is up. The run then continues
# from its newest checkpoint.
if [ "$code" -ne 0 ] && [ "$code" -ne 2 ] && [ "${SLURM_RESTART_COUNT:-0}" -lt 20 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
