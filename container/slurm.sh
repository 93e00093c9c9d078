#!/bin/bash
# One run in the Apptainer image on a cluster:  sbatch container/slurm.sh +experiment=cats_ood data.root=DIR
# The image is innflow.sif in the current folder, or INNFLOW_IMAGE. A requeued job resumes its run, because its job id,
# and with it the folder of the run, stays the same.
#SBATCH --job-name=innflow
#SBATCH --gpus=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --time=24:00:00
#SBATCH --requeue
set -euo pipefail

image=${INNFLOW_IMAGE:-innflow.sif}
run=${INNFLOW_RUN:-outputs/slurm-$SLURM_JOB_ID}
resume=()
if [[ -e $run/checkpoints/last.ckpt ]]; then
    resume=(ckpt=last)
fi
srun apptainer run --nv "$image" "$@" "run_dir=$run" "${resume[@]}"
