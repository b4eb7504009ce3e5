tool=${OCTAVO_TOOL-}
if [ -z "$tool" ]; then
    case "$(uname -s)-$(uname -m)" in
    Linux-x86_64) platform=linux-amd64 ;;
    Linux-aarch64 | Linux-arm64) platform=linux-arm64 ;;
    Darwin-x86_64) platform=darwin-amd64 ;;
    Darwin-arm64) platform=darwin-arm64 ;;
    *) platform=$(uname -s)-$(uname -m) ;;
    esac
    path="Tools/Octavo/%VERSION%/$platform/octavo-agent"
    tool="${TentacleHome:-.}/$path"
    if [ ! -e "$tool.whole" ]; then
        encode() { printf '%s' "$1" | base64 | tr -d '\n'; }
        echo "##octopus[octavo-tool-missing platform='$(encode "$platform")' path='$(encode "$path")']"
        rm -f Octopus.vars Octopus.key
        exit 174
    fi
    chmod u+x "$tool"
fi
exec "$tool" tool %COMMAND%
