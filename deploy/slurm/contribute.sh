#!/bin/sh
# A contribution from a cluster: the login node speaks with the pool, a compute node computes.
#
#   contribute.sh SITE [OPTIONS OF SBATCH...]     for instance: contribute.sh ~/clinic --partition=gpu --gres=gpu:1
#
# SITE is a folder of `genepool site init` with --data, enrolled and approved, on a file system that both nodes see.
set -eu
umask 077
here=$(dirname "$0")
site=$1
shift

export GENEPOOL_CACHE="${GENEPOOL_CACHE:-$site/.cache}"

genepool site fetch "$site"
sbatch --wait --output="$site/train-%j.log" "$@" "$here/train.sbatch" "$site"
genepool site submit "$site"
