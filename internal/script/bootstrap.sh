#!/bin/bash
# Gives a script its variables and helper functions, then runs it. No value is written here: they come from standard
# input, or from Octopus.vars, whose password file is deleted before the script starts.

encode_servicemessagevalue() {
	printf '%s' "${1-}" | base64 | tr -d '\n'
}

decode_servicemessagevalue() {
	printf '%s' "${1-}" | base64 --decode
}

# _octavo_say LEVEL TEXT... prints one line at a level and returns to the default.
_octavo_say() {
	local level=$1
	shift
	printf '##octopus[stdout-%s]\n%s\n##octopus[stdout-default]\n' "$level" "$*"
}

write_verbose() { _octavo_say verbose "$@"; }
write_highlight() { _octavo_say highlight "$@"; }
write_wait() { _octavo_say wait "$@"; }
write_warning() { _octavo_say warning "$@"; }

set_octopusvariable() {
	local message
	message="name='$(encode_servicemessagevalue "${1-}")' value='$(encode_servicemessagevalue "${2-}")'"
	if [ "${3-}" = "-sensitive" ]; then
		message="$message sensitive='$(encode_servicemessagevalue True)'"
	fi
	printf '##octopus[setVariable %s]\n' "$message"
}

new_octopusartifact() {
	local file=${1-} name=${2-} length
	if [ ! -e "$file" ]; then
		printf 'new_octopusartifact: there is no file "%s", so it cannot be collected.\n' "$file" >&2
		return 1
	fi
	if [ -d "$file" ]; then
		printf 'new_octopusartifact: "%s" is a directory; pack it into one file first.\n' "$file" >&2
		return 1
	fi
	file="$(cd -- "$(dirname -- "$file")" && pwd -P)/$(basename -- "$file")"
	[ -n "$name" ] || name=$(basename -- "$file")
	length=$(wc -c <"$file" | tr -d ' ')
	write_verbose "Artifact $name will be collected from $file when this script has ended."
	printf "##octopus[createArtifact path='%s' name='%s' length='%s']\n" "$(encode_servicemessagevalue "$file")" \
		"$(encode_servicemessagevalue "$name")" "$(encode_servicemessagevalue "$length")"
}

update_progress() {
	printf "##octopus[progress percentage='%s' message='%s']\n" "$(encode_servicemessagevalue "${1-}")" "$(encode_servicemessagevalue "${2-}")"
}

fail_step() {
	if [ -n "${1-}" ]; then
		printf "##octopus[resultMessage message='%s']\n" "$(encode_servicemessagevalue "$1")"
	fi
	exit 1
}

new_octopustarget() {
	local attributes='' name
	while [ $# -gt 0 ]; do
		case $1 in
		--name | --target-id | --inputs | --roles | --worker-pool)
			name=${1#--}
			if [ $# -lt 2 ]; then
				printf 'new_octopustarget: %s needs a value.\n' "$1" >&2
				return 1
			fi
			case $name in
			target-id) name=targetId ;;
			roles) name=octopusRoles ;;
			worker-pool) name=octopusDefaultWorkerPoolIdOrName ;;
			esac
			attributes="$attributes $name='$(encode_servicemessagevalue "$2")'"
			shift 2
			;;
		--update-if-existing)
			attributes="$attributes updateIfExisting='$(encode_servicemessagevalue True)'"
			shift
			;;
		*)
			printf 'new_octopustarget: unknown argument %s; known are --name --target-id --inputs --roles --worker-pool --update-if-existing.\n' "$1" >&2
			return 1
			;;
		esac
	done
	printf '##octopus[createStepPackageTarget%s]\n' "$attributes"
}

remove-octopustarget() {
	printf "##octopus[delete-target machine='%s']\n" "$(encode_servicemessagevalue "${1-}")"
}
remove_octopustarget() { remove-octopustarget "$@"; }

set_environmentstate() {
	local sensitive=''
	[ "${4-}" != "-sensitive" ] || sensitive=" sensitive='$(encode_servicemessagevalue True)'"
	printf "##octopus[set-environmentstate key='%s' value='%s' type='%s'%s]\n" "$(encode_servicemessagevalue "${1-}")" \
		"$(encode_servicemessagevalue "${2-}")" "$(encode_servicemessagevalue "${3-}")" "$sensitive"
}

set_environmenturl() { set_environmentstate url "${1-}" url; }

report_kubernetes_manifest() {
	local namespace=''
	[ -z "${2-}" ] || namespace=" ns='$(encode_servicemessagevalue "$2")'"
	printf "##octopus[k8s-manifest-applied manifest='%s'%s]\n" "$(encode_servicemessagevalue "${1-}")" "$namespace"
}

report_kubernetes_manifest_file() {
	if [ ! -f "${1-}" ]; then
		printf 'report_kubernetes_manifest_file: there is no file "%s".\n' "${1-}" >&2
		return 1
	fi
	report_kubernetes_manifest "$(cat -- "$1")" "${2-}"
}

_octavo_environment() {
	printf '##octopus[stdout-verbose]\nBash environment\n'
	printf '  System: %s\n  User: %s\n  Host: %s\n  Processors: %s\n  Directory: %s\n  Bash: %s\n' "$(uname -a 2>/dev/null)" "$(id -un 2>/dev/null)" \
		"${HOSTNAME-}" "$(getconf _NPROCESSORS_ONLN 2>/dev/null)" "$PWD" "$BASH_VERSION"
	printf '##octopus[stdout-default]\n'
}

_octavo_dir=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
if [ -f "$_octavo_dir/Octopus.key" ]; then
	if ! command -v openssl >/dev/null 2>&1; then
		rm -f "$_octavo_dir/Octopus.key"
		echo "The tool openssl is needed on this machine to read the script's variables; install it." >&2
		exit 127
	fi
	_octavo_feed=$(openssl enc -d -aes-256-cbc -pbkdf2 -iter 10000 -md sha256 -pass "file:$_octavo_dir/Octopus.key" -in "$_octavo_dir/Octopus.vars") || _octavo_feed=
	rm -f "$_octavo_dir/Octopus.key" "$_octavo_dir/Octopus.vars"
else
	_octavo_feed=$(cat)
fi
exec </dev/null
if [ -z "$_octavo_feed" ]; then
	echo "The script's variables did not arrive, so the script was not started." >&2
	exit 126
fi
set --
eval "$_octavo_feed"
unset _octavo_feed
[ -n "$_octavo_quiet" ] || _octavo_environment
eval "$_octavo_run"
