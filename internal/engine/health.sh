# Tells the server what this machine is. Run as it is, without variables.
encode() { printf '%s' "$1" | base64 | tr -d '\n'; }
fact() { echo "##octopus[setVariable name='$(encode "$1")' value='$(encode "$2")']"; }
write_warning() { echo "##octopus[stdout-warning]"; echo "$1"; echo "##octopus[stdout-default]"; }
fail_healthcheck() { echo "##octopus[resultMessage message='$(encode "$1")']"; exit 1; }
for command in df ls grep mkdir tar base64; do
    command -v "$command" >/dev/null || write_warning "The command $command is not on the PATH; scripts may need it."
done
system=$(uname -s)
if [ -r /etc/os-release ]; then
    system=$(. /etc/os-release && echo "${PRETTY_NAME:-$system}")
fi
fact OperatingSystem "$system"
fact Architecture "$(uname -m)"
fact ShellName Bash
fact ShellVersion "$BASH_VERSION"
echo "$system, $(uname -m), bash $BASH_VERSION, as $(id -un)"
free=$(df -Pk "${TentacleHome:-.}" | awk 'NR == 2 { print $4 }')
echo "Free disk space: $((free / 1024)) MB"
if [ "${free:-0}" -lt 5242880 ]; then
    write_warning "Less than 5 GB of disk space are free."
fi
