#!/bin/bash
# A batch in parts: every task of the array does every n-th scene. Submit with:
#   array=$(sbatch --parsable slurm-array.sh jobs.yaml)
#   sbatch --dependency=afterany:"$array" --wrap "segment-tiles batch jobs.yaml"
# The second one finds the maps finished, tries again what failed, and writes table and collection.
#SBATCH --job-name=segment-tiles
#SBATCH --array=1-8
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-task=1
#SBATCH --ntasks=1
#SBATCH --mem=24G
#SBATCH --time=12:00:00
# Slurm warns five minutes before the end: rows in work are finished, and the part can be submitted again
#SBATCH --signal=INT@300
#SBATCH --output=segment-tiles-%A-%a.log
set -euo pipefail

jobs=${1:?usage: sbatch slurm-array.sh JOBS.yaml}
srun segment-tiles batch "$jobs" --part "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT"
