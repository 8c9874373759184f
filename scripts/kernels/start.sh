# Goes on after init.sh: mounts what a distribution mounts, runs the command, and hands its status over.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb
. /run/conf/conf
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tracefs tracefs /sys/kernel/tracing
mount -t debugfs debugfs /sys/kernel/debug
mount -t securityfs securityfs /sys/kernel/security
mount -t bpf -o mode=700 bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ln -s /proc/self/fd /dev/fd
mkdir -p /boot
cp "/lib/modules/$(uname -r)/config" "/boot/config-$(uname -r)" 2>/dev/null
ifconfig lo 127.0.0.1 netmask 255.0.0.0 up
for port in /sys/class/virtio-ports/*; do
  read -r name <"$port/name"
  ln -s "/dev/${port##*/}" "/run/$name"
done
exec </dev/null
mkfifo /run/pipe
cat /run/pipe >/run/output &
cd "$project" && setsid bash -c "exec $command" >/run/pipe 2>&1
status=$?
# What the command has written must be through; a process that it left behind may hold the pipe.
for _ in $(seq 40); do kill -0 $! 2>/dev/null || break; usleep 50000; done
echo $status >/run/status
sync
poweroff -f
