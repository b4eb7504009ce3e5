#!/usr/bin/env bash
# Installs, upgrades and purges the packages in $1 and $2 in an overlay of this machine's file system, made below $3.
# It is started in mount, network and process namespaces of its own, so the ports of the shipped settings are free.
set -euo pipefail
old=$1 new=$2
fail() { echo "FAILED: $*" >&2; exit 1; }

base=$3 # an empty folder
mount --make-rprivate /
mount -t tmpfs tmpfs "$base"
mkdir "$base/upper" "$base/work" "$base/root"
place=$base/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" "$place"
mount -t proc proc "$place/proc"
mount --rbind /dev "$place/dev"
mkdir -p "$place/packages/new"
cp "$old"/*_amd64.deb "$place/packages/"
cp "$new"/*_amd64.deb "$place/packages/new/"
ip link set lo up

cat >"$place/inside" <<'INSIDE'
set -euo pipefail
fail() { echo "FAILED: $*" >&2; exit 1; }
rm -rf /run/systemd/system
cd /packages
export DEBIAN_FRONTEND=noninteractive
quiet() { "$@" >/tmp/said 2>&1 || { cat /tmp/said; fail "$*"; }; }

quiet dpkg -i octavo_*.deb
[ "$(octavo version)" = "octavo 1.2.3-rc.1" ] || fail "version $(octavo version)"
[ "$(/usr/lib/octavo/tools/linux-amd64/octavo-agent version)" = 1.2.3-rc.1 ] || fail "the agent for others"
[ -x /usr/lib/octavo/tools/linux-arm64/octavo-agent ] || fail "the agent for arm64"
[ "$(stat -c %U:%a /var/lib/octavo)" = octavo:700 ] || fail "state $(stat -c %U:%a /var/lib/octavo)"
[ "$(stat -c %U:%G:%a /etc/octavo/octavo.yaml)" = root:octavo:640 ] || fail "settings"
[ -L /etc/systemd/system/multi-user.target.wants/octavo.service ] || fail "the unit is not enabled"
systemd-analyze verify --man=no octavo.service 2>&1 | grep -i octavo && fail "the unit"

# The unit's command with the shipped settings, as its user.
serve() {
	runuser -u octavo -- $(sed -n 's/^ExecStart=//p' /usr/lib/systemd/system/octavo.service) >/tmp/octavo.log 2>&1 &
	server=$!
	for _ in $(seq 100); do
		curl -fsS http://127.0.0.1:8080/readyz >/dev/null 2>&1 && return
		kill -0 $server 2>/dev/null || break
		sleep 0.2
	done
	cat /tmp/octavo.log
	fail "the server does not come up"
}
serve
runuser -u octavo -- octavo admin --config /etc/octavo/octavo.yaml --api-key API-PACKAGETEST0123456789 >/dev/null
curl -fsS -H 'X-Octopus-ApiKey: API-PACKAGETEST0123456789' http://127.0.0.1:8080/api/users/me | grep -q '"Username":"admin"' || fail "the administrator"

# A machine with systemd becomes a target with the one line. No systemd runs in here, so its part is played: it looks at the
# unit and starts the unit's command as the unit's user.
cat >/usr/local/bin/systemctl <<'SYSTEMCTL'
#!/bin/sh
unit=/etc/systemd/system/octavo-agent.service
case "$*" in
daemon-reload | "enable --quiet octavo-agent.service") ;;
"restart octavo-agent.service")
	systemd-analyze verify --man=no $unit 2>&1 | grep octavo-agent && exit 1
	setsid runuser -u "$(sed -n 's/^User=//p' $unit)" -- $(sed -n 's/^ExecStart=//p' $unit) </dev/null >/tmp/agent.log 2>&1 &
	;;
*) echo "systemctl $*?" >&2; exit 1 ;;
esac
SYSTEMCTL
chmod +x /usr/local/bin/systemctl
mkdir -p /run/systemd/system
api() { curl -fsS -H 'X-Octopus-ApiKey: API-PACKAGETEST0123456789' "$@"; }
api -d '{"Name":"Test"}' http://127.0.0.1:8080/api/environments >/dev/null
curl -fsSL http://127.0.0.1:8080/agent/install.sh | OCTAVO_API_KEY=API-PACKAGETEST0123456789 bash -s -- \
	--server http://127.0.0.1:8080 --environment Test --role web --name here --public-hostname 127.0.0.1 >/tmp/said 2>&1 || { cat /tmp/said; fail "the installer"; }
[ "$(octavo-agent version)" = 1.2.3-rc.1 ] || fail "the downloaded agent"
[ "$(stat -c %U:%a /var/lib/octavo-agent)" = octavo-agent:700 ] || fail "data of the agent"
for try in $(seq 60); do
	api http://127.0.0.1:8080/api/machines/all | grep -qE '"HealthStatus":"(Healthy|HasWarnings)"' && break
	[ "$try" != 60 ] || { cat /tmp/agent.log; api http://127.0.0.1:8080/api/machines/all; fail "the new target is not well"; }
	sleep 0.5
done
[ "$(stat -c %U "/proc/$(pgrep -n -u octavo-agent octavo-agent)")" = octavo-agent ] || fail "the agent is somebody else"
kill -TERM "$(pgrep -n -u octavo-agent octavo-agent)"
rm -rf /run/systemd/system /usr/local/bin/systemctl /usr/local/bin/octavo-agent /etc/systemd/system/octavo-agent.service /var/lib/octavo-agent

quiet dpkg -i octavo-agent_*.deb
[ "$(octavo-agent version)" = 1.2.3-rc.1 ] || fail "agent version"
[ "$(stat -c %U:%a /var/lib/octavo-agent)" = octavo-agent:700 ] || fail "state of the agent"
systemd-analyze verify --man=no octavo-agent.service 2>&1 | grep -i octavo && fail "the agent's unit"
mkdir -p /run/systemd/system
curl -fsSL http://127.0.0.1:8080/agent/install.sh | bash -s -- --server http://127.0.0.1:8080 >/tmp/said 2>&1 && fail "the installer beside the package"
grep -q 'the package octavo-agent is installed' /tmp/said || { cat /tmp/said; fail "why not"; }
rm -rf /run/systemd/system

kill -TERM "$(pgrep -n -u octavo octavo)"
wait $server || { cat /tmp/octavo.log; fail "SIGTERM did not end it well"; }

echo "# mine" >>/etc/octavo/octavo.yaml
quiet dpkg -i new/octavo_*.deb new/octavo-agent_*.deb
[ "$(octavo version)" = "octavo 1.2.3" ] || fail "a release is newer than its candidate: $(octavo version)"
grep -q '^# mine' /etc/octavo/octavo.yaml || fail "the upgrade lost the settings"
[ "$(stat -c %U:%G:%a /etc/octavo/octavo.yaml)" = root:octavo:640 ] || fail "settings after the upgrade"
serve
curl -fsS -H 'X-Octopus-ApiKey: API-PACKAGETEST0123456789' http://127.0.0.1:8080/api/users/me >/dev/null || fail "the upgrade lost the administrator"
kill -TERM "$(pgrep -n -u octavo octavo)"
wait $server || fail "SIGTERM"

quiet dpkg -r octavo octavo-agent
[ -e /var/lib/octavo/octavo.db ] || fail "remove takes the data, which only purge may"
quiet dpkg -P octavo octavo-agent
for left in /etc/octavo /var/lib/octavo /var/lib/octavo-agent /usr/lib/octavo /usr/bin/octavo /usr/bin/octavo-agent \
	/etc/systemd/system/octavo.service /etc/systemd/system/multi-user.target.wants/octavo.service; do
	[ ! -e "$left" ] && [ ! -L "$left" ] || fail "purge leaves $left"
done
! getent passwd octavo octavo-agent || fail "purge leaves the users"
echo "installed, upgraded, purged"
INSIDE
chroot "$place" bash /inside
