#!/usr/bin/env bash
# Cuts the power of a real file system under a store, again and again, by the shutdown ioctl, which
# drops what is not on the device, the journal's last part included. `recto torture` verifies after
# each cut. Needs root and loop devices; says so and ends well where they are missing.
#
#   power_cut.sh ext4|xfs CUTS [SECONDS] [SEED]
#
# RECTO names the command, built for release; UNDER what the process that is cut off runs under: with
# syncs that do nothing the cuts must be noticed, and `lying_disk.sh` holds that they are.
set -euo pipefail

readonly FILE_SYSTEM=$1 CUTS=$2 SECONDS_MAX=${3:-1000000} SEED=${4:-$RANDOM$RANDOM}
readonly RECTO=${RECTO:-target/release/recto}
readonly MEGABYTES=320

skip() {
    echo "SKIPPED: power cuts on $FILE_SYSTEM: $1"
    exit 0
}

[ "$(id -u)" = 0 ] || skip "not root"
for tool in "mkfs.$FILE_SYSTEM" losetup mount umount perl; do
    command -v "$tool" >/dev/null || skip "no $tool"
done

folder=$(mktemp -d)
device=
tidy_up() {
    status=$?
    if [ -d "$folder/mnt" ]; then
        umount "$folder/mnt" 2>/dev/null || umount -l "$folder/mnt" 2>/dev/null || true
    fi
    [ -z "$device" ] || losetup -d "$device" || true
    if [ "$status" = 0 ]; then
        rm -r "$folder"
    else
        echo "kept: the device's image in $folder"
    fi
}
trap tidy_up EXIT

truncate -s "${MEGABYTES}M" "$folder/image"
"mkfs.$FILE_SYSTEM" -q "$folder/image" || skip "mkfs.$FILE_SYSTEM failed"
device=$(losetup --find --show "$folder/image" 2>/dev/null) || { device=; skip "no loop device"; }
mkdir "$folder/mnt"
mount -t "$FILE_SYSTEM" "$device" "$folder/mnt" 2>/dev/null || skip "cannot mount it"

# The process is killed after the cut: until then it meets the errors of a device that is gone.
cat >"$folder/cut" <<'CUT'
set -eu
perl -e 'open my $at, "<", $ARGV[0] or die "open: $!";
         my $no_log_flush = pack("L", 2);
         ioctl $at, 0x8004587d, $no_log_flush or die "shutdown: $!"' "$MOUNT"
kill -9 "$RECTO_CHILD_PID"
tries=0
until umount "$MOUNT" 2>/dev/null; do
    tries=$((tries + 1))
    [ "$tries" -lt 2000 ] || { echo "it stays busy" >&2; exit 1; }
    sleep 0.002
done
mount -t "$FILE_SYSTEM" "$DEVICE" "$MOUNT"
CUT

export MOUNT=$folder/mnt DEVICE=$device FILE_SYSTEM
echo "$FILE_SYSTEM: $CUTS power cuts, at most $SECONDS_MAX s"
"$RECTO" torture "$folder/mnt/store" --lives "$CUTS" --seconds "$SECONDS_MAX" --seed "$SEED" \
    --cut "sh '$folder/cut'" ${UNDER:+--under "$UNDER"}
