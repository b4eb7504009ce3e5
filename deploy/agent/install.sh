#!/usr/bin/env bash
# Installs the Octavo agent on this machine from a server, and registers it there:
#
#   export OCTAVO_API_KEY=API-...
#   curl -fsSL https://octavo.example.com/agent/install.sh | sudo --preserve-env=OCTAVO_API_KEY bash -s -- \
#       --server https://octavo.example.com --environment Production --role web
#
# Without --environment, --role and --worker-pool it only installs the program, or upgrades it: scripts that run go on.
set -euo pipefail

usage() {
	cat <<-'END'
		usage: install.sh --server URL [options]
		  --server URL             address of the server
		  --api-key KEY            key of a user who may create machines (better: OCTAVO_API_KEY in the environment)
		  --environment NAME       register as a deployment target there; can be repeated
		  --role NAME              with this role; can be repeated
		  --worker-pool NAME       register as a worker instead; can be repeated
		  --name NAME              how the server shall call this machine (its host name)
		  --space NAME             space (the default one)
		  --polling                this machine calls the server; without it the server calls this machine
		  --server-comms-address U where it calls, as https://octavo.example.com:10943
		  --public-hostname NAME   where the server reaches this machine (its host name)
		  --port PORT              where it listens (10933)
		  --force                  replace a machine of the same name
		  --user NAME              who runs scripts here (octavo-agent; made if missing)
		  --no-service             no user and no systemd unit: start `octavo-agent run` yourself
		  --bin DIR                where the program goes (/usr/local/bin)
		  --data DIR               its settings, certificate and scripts (/var/lib/octavo-agent)
	END
}
fail() { echo "install.sh: $*" >&2; exit 1; }

# All is one function, so that half a download does nothing.
main() {
	local server= key=${OCTAVO_API_KEY:-} user=octavo-agent bin=/usr/local/bin data=/var/lib/octavo-agent service=1 port=10933 polling= verb=
	local -a register=() style=()
	while [ $# -gt 0 ]; do
		case $1 in
		--help) usage; exit 0 ;;
		--polling) polling=1; shift; continue ;;
		--no-service) service=; shift; continue ;;
		--force) register+=(--force); shift; continue ;;
		esac
		[ $# -gt 1 ] || { usage >&2; fail "$1 is unknown, or needs a value"; }
		case $1 in
		--server) server=${2%/} ;;
		--api-key | --apiKey) key=$2 ;;
		--environment | --role) [ "$verb" != register-worker ] || fail "--worker-pool does not go with $1"; verb=register-with register+=("$1" "$2") ;;
		--worker-pool) [ "$verb" != register-with ] || fail "--worker-pool does not go with --environment or --role"; verb=register-worker register+=("$1" "$2") ;;
		--name | --space) register+=("$1" "$2") ;;
		--server-comms-address | --public-hostname) style+=("$1" "$2") ;;
		--port) port=$2 ;;
		--user) user=$2 ;;
		--bin) bin=$2 ;;
		--data) data=$2 ;;
		*) usage >&2; fail "there is no option $1" ;;
		esac
		shift 2
	done
	case $server in http://* | https://*) ;; *) usage >&2; fail "--server is the server's address, as https://octavo.example.com" ;; esac
	[ -z "$verb" ] || [ -n "$key" ] || fail "to register this machine, give an API key: OCTAVO_API_KEY=API-... or --api-key"
	if [ -n "$service" ]; then
		[ "$(id -u)" = 0 ] || fail "run it as root (sudo), or with --no-service, --bin and --data of your own"
		[ -d /run/systemd/system ] || fail "systemd does not run here; use --no-service, and start the agent yourself"
		[ ! -e /usr/lib/systemd/system/octavo-agent.service ] || fail "the package octavo-agent is installed; upgrade it as a package, and register with: octavo-agent register-with"
	fi
	command -v bash >/dev/null || fail "the agent needs bash"

	local platform
	case $(uname -s)-$(uname -m) in
	Linux-x86_64) platform=linux-amd64 ;;
	Linux-aarch64 | Linux-arm64) platform=linux-arm64 ;;
	*) fail "there is no agent for $(uname -s) on $(uname -m)" ;;
	esac
	get() { # get URL FILE
		if command -v curl >/dev/null; then
			curl -fsSL --retry 3 -o "$2" "$1" || fail "cannot get $1"
		elif command -v wget >/dev/null; then
			wget -q -O "$2" "$1" || fail "cannot get $1"
		else
			fail "needs curl or wget"
		fi
	}
	mkdir -p "$bin" "$data"
	temporary=$(mktemp -d "$bin/.octavo-agent.XXXXXX") # beside its place, so that the move is one step
	trap 'rm -rf "$temporary"' EXIT
	get "$server/agent/$platform/octavo-agent" "$temporary/octavo-agent"
	get "$server/agent/$platform/octavo-agent.sha256" "$temporary/octavo-agent.sha256"
	(cd "$temporary" && sha256sum -c --quiet octavo-agent.sha256) || fail "the download is not what the server sent; nothing was changed"
	chmod 755 "$temporary/octavo-agent"
	local version
	version=$("$temporary/octavo-agent" version) || fail "the program does not run on this machine; nothing was changed"
	mv -f "$temporary/octavo-agent" "$bin/octavo-agent"
	echo "Installed $bin/octavo-agent $version."

	as() { "$@"; }
	if [ -n "$service" ]; then
		getent passwd "$user" >/dev/null || useradd --system --user-group --home-dir "$data" --no-create-home --shell /usr/sbin/nologin "$user"
		chown "$user:" "$data"
		as() { runuser -u "$user" -- "$@"; }
	fi
	chmod 700 "$data"
	if [ -n "$verb" ]; then
		if [ -n "$polling" ]; then
			as "$bin/octavo-agent" configure --data "$data" --no-listen
			style+=(--comms-style TentacleActive)
		else
			as "$bin/octavo-agent" configure --data "$data" --port "$port"
			style+=(--comms-style TentaclePassive --port "$port")
		fi
	fi
	if [ -n "$service" ]; then
		get "$server/agent/octavo-agent.service" "$temporary/octavo-agent.service"
		sed -e "s|^ExecStart=.*|ExecStart=$bin/octavo-agent run --data $data|" -e "s|^User=.*|User=$user|" -e "s|^Group=.*|Group=$(id -gn "$user")|" \
			-e "s|^WorkingDirectory=.*|WorkingDirectory=$data|" -e '/^StateDirectory/d' "$temporary/octavo-agent.service" >/etc/systemd/system/octavo-agent.service
		systemctl daemon-reload
		systemctl enable --quiet octavo-agent.service
		systemctl restart octavo-agent.service # its scripts go on
	fi
	if [ -n "$verb" ]; then # after it listens, because the server checks at once
		export OCTAVO_API_KEY=$key
		as "$bin/octavo-agent" "$verb" --data "$data" --server "$server" "${register[@]}" "${style[@]}"
	fi
	[ -n "$service" ] || echo "Start it with: $bin/octavo-agent run --data $data"
}

main "$@"
