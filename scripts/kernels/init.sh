#!/bin/busybox sh
# The first program in the machine of vm.sh, in its initramfs: mounts its three disks and goes on there.
b=/bin/busybox
$b mount -t devtmpfs dev /dev
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
while read -r module; do $b insmod "/modules/$module"; done </modules/order
fail() { echo "init: $*" >/dev/console; $b sleep 1; $b poweroff -f; }
tries=0
while [ ! -b /dev/vdc ]; do
  tries=$((tries + 1))
  [ $tries -lt 200 ] || fail "no disks"
  $b usleep 50000
done
. /conf/conf
$b mount -t ext4 -o noatime /dev/vda /disk || fail "cannot mount the programs"
$b mount -t ext4 -o ro /dev/vdb /disk/lib/modules || fail "cannot mount the modules"
$b mount -t tmpfs -o mode=1777 tmp /disk/tmp
$b mount -t tmpfs run /disk/run
$b mkdir -p "/disk$project"
$b mount -t ext4 -o noatime /dev/vdc "/disk$project" || fail "cannot mount the project"
$b cp -r /conf /disk/run/
for folder in dev sys proc; do $b mount --move /$folder /disk/$folder; done
exec $b switch_root /disk /bin/bash /run/conf/start.sh
