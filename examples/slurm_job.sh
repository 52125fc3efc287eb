#!/bin/sh
#SBATCH --job-name=fovea
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=32
#SBATCH --time=02:00:00
# A long document read by four machines: sbatch examples/slurm_job.sh MODEL.gguf DOCUMENT.txt. See docs/mpi.md.
#
# One rank a node, whose threads are the node's. --mpi: what `srun --mpi=list` has; pmix for Open MPI, pmi2 for MPICH.
set -eu
model=$1
document=$2

srun --mpi="${FOVEA_PMI:-pmix}" --cpu-bind=none \
    fovea run -m "$model" -f "$document" -n 400 -t "${SLURM_CPUS_PER_TASK:-1}" --timeout 60
