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

quiet dpkg -i octavo_*.deb octavo-agent_*.deb
[ "$(octavo version)" = "octavo 1.2.3-rc.1" ] || fail "version $(octavo version)"
[ "$(octavo-agent version)" = 1.2.3-rc.1 ] || fail "agent version"
[ "$(/usr/lib/octavo/tools/linux-amd64/octavo-agent version)" = 1.2.3-rc.1 ] || fail "the agent for others"
[ -x /usr/lib/octavo/tools/linux-arm64/octavo-agent ] || fail "the agent for arm64"
[ "$(stat -c %U:%a /var/lib/octavo)" = octavo:700 ] || fail "state $(stat -c %U:%a /var/lib/octavo)"
[ "$(stat -c %U:%G:%a /etc/octavo/octavo.yaml)" = root:octavo:640 ] || fail "settings"
[ "$(stat -c %U:%a /var/lib/octavo-agent)" = octavo-agent:700 ] || fail "state of the agent"
[ -L /etc/systemd/system/multi-user.target.wants/octavo.service ] || fail "the unit is not enabled"
systemd-analyze verify --man=no octavo.service octavo-agent.service 2>&1 | grep -i octavo && fail "the units"

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

# An agent from that server, with the one line.
curl -fsSL http://127.0.0.1:8080/agent/install.sh | bash -s -- --server http://127.0.0.1:8080 --no-service --bin /opt/agent --data /opt/agent/data >/dev/null
[ "$(/opt/agent/octavo-agent version)" = 1.2.3-rc.1 ] || fail "the downloaded agent"

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
