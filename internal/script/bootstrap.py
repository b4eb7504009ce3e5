# Gives a script its variables and helper functions, then runs it. The values come from standard input as JSON.
import base64, json, os, runpy, shlex, sys


def encode_servicemessagevalue(value):
    return base64.b64encode(str(value).encode("utf-8")).decode("ascii")


def decode_servicemessagevalue(value):
    return base64.b64decode(value).decode("utf-8")


def _message(kind, **attributes):
    said = "".join(" %s='%s'" % (k, encode_servicemessagevalue(v)) for k, v in attributes.items())
    print("##octopus[%s%s]" % (kind, said), flush=True)


def _say(level, text):
    print("##octopus[stdout-%s]\n%s\n##octopus[stdout-default]" % (level, text), flush=True)


def printverbose(message):
    _say("verbose", message)


def printhighlight(message):
    _say("highlight", message)


def printwait(message):
    _say("wait", message)


def printwarning(message):
    _say("warning", message)


def get_octopusvariable(name):
    return octopusvariables.get(name, "")


def set_octopusvariable(name, value, sensitive=False):
    octopusvariables[name] = str(value)
    if sensitive:
        _message("setVariable", name=name, value=value, sensitive="True")
    else:
        _message("setVariable", name=name, value=value)


def createartifact(path, fileName=None):
    path = os.path.abspath(path)
    length = os.path.getsize(path)
    _message("createArtifact", path=path, name=fileName or os.path.basename(path), length=length)


def updateprogress(percentage, message=None):
    _message("progress", percentage=percentage, message=message or "")


def failstep(message=None):
    if message:
        _message("resultMessage", message=message)
    sys.exit(-1)


_feed = json.loads(sys.stdin.buffer.read().decode("utf-8") or "{}")
if "script" not in _feed:
    sys.stderr.write("The script's variables did not arrive, so the script was not started.\n")
    sys.exit(126)
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
octopusvariables = _feed["variables"]
_here = os.path.dirname(os.path.abspath(__file__))
_file = _feed["script"] if _feed["given"] else os.path.join(_here, _feed["script"])
sys.argv = [_file] + shlex.split(_feed["parameters"])
sys.path.insert(0, _here)
_names = ["encode_servicemessagevalue", "decode_servicemessagevalue", "printverbose", "printhighlight", "printwait", "printwarning",
          "get_octopusvariable", "set_octopusvariable", "createartifact", "updateprogress", "failstep", "octopusvariables"]
runpy.run_path(_file, init_globals={n: globals()[n] for n in _names}, run_name="__main__")
