# Tells the server which program this agent is. Run as it is, without variables.
encode() { printf '%s' "$1" | base64 | tr -d '\n'; }
fact() { echo "##octopus[setVariable name='$(encode "$1")' value='$(encode "$2")']"; }
if [ -z "${OCTAVO_TOOL:-}" ]; then
    echo "This agent does not say which program it is." >&2
    exit 1
fi
case $(uname -s)-$(uname -m) in
Linux-x86_64) fact AgentPlatform linux-amd64 ;;
Linux-aarch64) fact AgentPlatform linux-arm64 ;;
*) fact AgentPlatform "$(uname -s | tr '[:upper:]' '[:lower:]')-$(uname -m)" ;;
esac
fact AgentDigest "$(sha256sum <"$OCTAVO_TOOL" | cut -d ' ' -f 1)"
echo "octavo-agent $("$OCTAVO_TOOL" version)"
