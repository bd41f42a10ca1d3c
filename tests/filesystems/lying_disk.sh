#!/usr/bin/env bash
# Shows that the power cuts of `power_cut.sh` are real: with syncs that answer and do nothing, a store
# loses what was acknowledged, and `recto torture` says so. Skipped where the cuts cannot be made.
set -euo pipefail

readonly FILE_SYSTEM=$1
output=$(mktemp)
trap 'rm -f "$output"' EXIT

command -v strace >/dev/null || { echo "SKIPPED: a lying disk: no strace"; exit 0; }
status=0
UNDER="strace -D -f -qq -o /dev/null -e inject=fdatasync,fsync:retval=0" \
    "$(dirname "$0")/power_cut.sh" "$FILE_SYSTEM" 40 30 1 >"$output" 2>&1 || status=$?
if grep '^SKIPPED' "$output"; then
    exit 0
fi
if [ "$status" = 0 ] || ! grep '^discrepancy' "$output"; then
    cat "$output"
    echo "a disk that forgets what it was told to sync was not noticed"
    exit 1
fi
sed -n 's/^kept: the device.s image in //p' "$output" | while read -r folder; do rm -r "$folder"; done
echo "$FILE_SYSTEM: a disk that lies about its syncs was noticed"
