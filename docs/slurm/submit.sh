#!/usr/bin/env bash
# Submits the steps of an example, each to begin when the one before it has succeeded:
#   docs/slurm/submit.sh docs/slurm/temporal_shape.sbatch make merge
#   docs/slurm/submit.sh docs/slurm/diving48.sbatch segment merge-instances build merge
# SHARDS (4) is the number of array tasks of every step whose name does not begin with merge. The site's own settings
# are SLURM's variables: SBATCH_ACCOUNT, SBATCH_PARTITION, SBATCH_TIMELIMIT, SBATCH_GPUS, ... Prints the job's numbers.
# When a task failed the later steps are cancelled; mend it and submit all again: finished slices are not made again.
set -euo pipefail
[ $# -ge 2 ] || { echo "usage: submit.sh FILE.sbatch STEP..." >&2; exit 2; }
export SHARDS=${SHARDS:-4}
script=$1
shift

after=()
for step in "$@"; do
  case $step in
    # The examples' own name for a log is an array's: without one it would end in _4294967294.
    merge*) how=(--output="${SBATCH_OUTPUT:-%x-%j.log}") ;;
    *) how=(--array="0-$((SHARDS - 1))") ;;
  esac
  # ${after[@]+...}: an empty array is an unset variable to bash before 4.4.
  job=$(sbatch --parsable --kill-on-invalid-dep=yes "${how[@]}" ${after[@]+"${after[@]}"} "$script" "$step")
  job=${job%%;*} # sites with several clusters add the cluster's name
  after=(--dependency="afterok:$job")
  echo "$step $job"
done
