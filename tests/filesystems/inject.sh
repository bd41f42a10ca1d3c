#!/usr/bin/env bash
# Makes system calls of a store's process fail by strace, and holds what README promises: an error for
# every call that is not done, nothing lost that was acknowledged, reads that go on, and commits again
# once the device has space. Skipped with a notice where there is no strace, or no right to trace.
#
#   inject.sh [LIVES]      of each kind; RECTO names the command, built for release
set -euo pipefail

readonly LIVES=${1:-4}
readonly RECTO=${RECTO:-target/release/recto}

command -v strace >/dev/null || { echo "SKIPPED: injected errors: no strace"; exit 0; }
strace -qq -o /dev/null true 2>/dev/null || { echo "SKIPPED: injected errors: no right"; exit 0; }

output=$(mktemp)
trap 'rm -f "$output"' EXIT

# Calls are counted thread by thread. What is expected to be told: met (an error ended lives), refused
# (commits were, and some lives went on: one whose meta page met the error ends), either, or nothing
# (the call is made again at once).
inject() {
    local told=$1 what=$2
    if ! "$RECTO" torture --seconds 60 --lives "$LIVES" \
        --under "strace -D -f -qq -o /dev/null -e inject=$what" >"$output" 2>&1; then
        cat "$output"
        echo "FAILED under $what"
        exit 1
    fi
    local figures met refused
    figures=$(tail -n 1 "$output")
    met=$(sed -n 's/.* \([0-9]*\) met errors.*/\1/p' <<<"$figures")
    refused=$(sed -n 's/.* \([0-9]*\) refused.*/\1/p' <<<"$figures")
    case $told in
    met) [ "$met" -gt 0 ] ;;
    refused) [ "$refused" -gt 0 ] && [ "$met" -lt "$LIVES" ] ;;
    either) [ $((met + refused)) -gt 0 ] ;;
    nothing) [ $((met + refused)) = 0 ] ;;
    esac || {
        echo "FAILED: $what should have told: $told; $figures"
        exit 1
    }
    printf '%-48s %s\n' "$what" "$figures"
}

# A failed sync: while it opens, in the first commits, later, and for good.
inject met "fdatasync:error=EIO:when=2"
inject either "fdatasync:error=EIO:when=5"
inject either "fdatasync:error=EIO:when=12+"
inject met "fsync:error=EIO:when=1"
# A full disk: for good, for a while, and where the file grows.
inject met "pwrite64:error=ENOSPC:when=3+"
inject refused "pwrite64:error=ENOSPC:when=40..60"
inject either "pwrite64:error=ENOSPC:when=40+"
inject either "fallocate:error=ENOSPC:when=2..30"
# A device that fails to write or read, and writes that take nothing.
inject either "pwrite64:error=EIO:when=20..22"
inject either "pwrite64:retval=0:when=20..30"
# The first two are the loader's, who reads the C library.
inject either "pread64:error=EIO:when=5"
# Interrupted calls.
inject nothing "pwrite64,pread64,fdatasync,fallocate:error=EINTR:when=4..9"
