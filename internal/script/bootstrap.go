package script

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/octavo/octavo/internal/fault"
)

//go:embed bootstrap.sh
var bootstrapBash string

//go:embed bootstrap.py
var bootstrapPython string

// Language is a script's language in the wire's words (Octopus.Action.Script.Syntax).
type Language string

// The languages this package surrounds.
const (
	Bash   Language = "Bash"
	Python Language = "Python"
)

// Job is one script to run, with what it may ask for.
type Job struct {
	Language   Language
	Text       string     // the script itself
	File       string     // where Text lies already, as seen from the working directory; "" = it is written beside the bootstrap
	Parameters string     // appended as written; quoting is the user's (deployments.md E4)
	Variables  []Variable // evaluated; of equal names the last counts
}

// File is something to write beside the bootstrap, with mode 0600.
type File struct {
	Name    string
	Content []byte
}

// Bundle is a Job made ready for a bash or python that knows nothing of us.
type Bundle struct {
	Program   []string // what runs the bootstrap, as ["bash"]
	Bootstrap File     // holds no value
	Files     []File   // script, modules, and for a sealed bundle the encrypted feed with its password
	Feed      []byte   // what goes to standard input; nil in a sealed bundle
}

// Bundle prepares a job whose feed goes to standard input (variables.md 4.5, without anything secret on disk).
func (j Job) Bundle() (Bundle, error) {
	switch j.Language {
	case Bash, "":
		files, err := j.files(Bash, ".sh")
		return Bundle{[]string{"bash"}, File{"Bootstrap.sh", []byte(bootstrapBash)}, files, j.bashFeed()}, err
	case Python:
		feed, err := j.pythonFeed()
		if err != nil {
			return Bundle{}, err
		}
		files, err := j.files(Python, ".py")
		return Bundle{[]string{"python3", "-u"}, File{"Bootstrap.py", []byte(bootstrapPython)}, files, feed}, err
	}
	return Bundle{}, fault.InvalidField("Octopus.Action.Script.Syntax", "Scripts in %q cannot be run here; use Bash or Python.", string(j.Language))
}

// Sealed prepares a Bash job for an agent that only runs a body with files: Bootstrap.Content is the body.
func (j Job) Sealed() (Bundle, error) {
	if j.Language != Bash && j.Language != "" {
		return Bundle{}, fault.InvalidField("Octopus.Action.Script.Syntax", "Only Bash scripts run without the target tool; %s needs it.", string(j.Language))
	}
	b, err := j.Bundle()
	if err != nil {
		return b, err
	}
	password := NewPassword() + NewPassword()
	sealed, err := sealForOpenSSL(b.Feed, password)
	if err != nil {
		return b, err
	}
	b.Files = append(b.Files, File{"Octopus.vars", sealed}, File{"Octopus.key", []byte(password + "\n")})
	b.Feed = nil
	return b, nil
}

// Write puts bootstrap and files into dir, mode 0600. Nothing there is followed if it is a link.
func (b Bundle) Write(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, f := range append([]File{b.Bootstrap}, b.Files...) {
		if err := root.Remove(f.Name); err != nil && !os.IsNotExist(err) {
			return err
		}
		out, err := root.OpenFile(f.Name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		_, err = out.Write(f.Content)
		if e := out.Close(); err == nil {
			err = e
		}
		if err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	return nil
}

// Command runs a bundle that Write put into dir; the working directory, output and environment are the caller's to set.
// A language the machine lacks is an error that names the tool (deployments.md E2).
func (b Bundle) Command(ctx context.Context, dir string) (*exec.Cmd, error) {
	program, err := exec.LookPath(b.Program[0])
	if err != nil {
		return nil, fault.Because(fault.Invalidf("The tool %s is needed to run this script, but it is not installed on this machine (or not on its PATH).", b.Program[0]), err)
	}
	cmd := exec.CommandContext(ctx, program, append(b.Program[1:len(b.Program):len(b.Program)], filepath.Join(dir, b.Bootstrap.Name))...)
	if b.Feed != nil {
		cmd.Stdin = bytes.NewReader(b.Feed)
	}
	return cmd, nil
}

const (
	modulePrefix   = "octopus.script.module["
	languagePrefix = "octopus.script.module.language["
	buildInfo      = "octopus.deployment.packagebuildinformation"
	quietVariable  = "Octopus.Action.Script.SuppressEnvironmentLogging"
)

// files gives the script and the modules in its language (tentacle-protocol.md 4.5).
func (j Job) files(l Language, ext string) ([]File, error) {
	var files []File
	if j.File == "" {
		files = append(files, File{"Script" + ext, Normalize([]byte(j.Text))})
	}
	languages := map[string]string{}
	for _, v := range j.Variables {
		if name, ok := inBrackets(v.Name, languagePrefix); ok {
			languages[name] = v.Text()
		}
	}
	taken := map[string]int{}
	for _, v := range j.Variables {
		name, ok := inBrackets(v.Name, modulePrefix)
		if !ok || !strings.EqualFold(languages[name], string(l)) {
			continue
		}
		f := File{moduleName(name) + ext, Normalize([]byte(v.Text()))}
		if base := strings.TrimSuffix(f.Name, ext); base == "" || strings.EqualFold(base, "Script") || strings.EqualFold(base, "Bootstrap") {
			return nil, fault.InvalidField(v.Name, "The script module %q cannot be written as %s; give it another name.", name, f.Name)
		}
		if i, twice := taken[f.Name]; twice {
			files[i] = f
			continue
		}
		taken[f.Name] = len(files)
		files = append(files, f)
	}
	return files, nil
}

func inBrackets(name, prefix string) (string, bool) {
	if len(name) <= len(prefix) || !strings.EqualFold(name[:len(prefix)], prefix) || !strings.HasSuffix(name, "]") {
		return "", false
	}
	return name[len(prefix) : len(name)-1], true
}

// moduleName keeps letters, digits and _ (variables.md 4.5).
func moduleName(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return -1
	}, s)
}

// Normalize gives a shell or Python script the form its interpreter wants: LF, and no byte order mark.
func Normalize(text []byte) []byte {
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	return bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
}

// collection is what the script may read by name: modules and build information are left out.
func (j Job) collection() (names []string, values map[string]string) {
	values = map[string]string{}
	for _, v := range j.Variables {
		lower := strings.ToLower(v.Name)
		if lower == "" || lower == buildInfo || strings.HasPrefix(lower, modulePrefix) || strings.HasPrefix(lower, languagePrefix) {
			continue
		}
		if _, twice := values[v.Name]; !twice {
			names = append(names, v.Name)
		}
		values[v.Name] = v.Text()
	}
	return names, values
}

// bashFeed is Bash source: the look-up function, if asked for the associative array, and the line that runs the script.
func (j Job) bashFeed() []byte {
	var b bytes.Buffer
	names, values := j.collection()
	b.WriteString("get_octopusvariable() {\ncase \"${1-}\" in\n")
	for _, n := range names {
		fmt.Fprintf(&b, "%s) printf '%%s' %s ;;\n", quote(n), quote(values[n]))
	}
	b.WriteString("esac\n}\n")
	if strings.Contains(j.Text, "octopus_parameters") {
		b.WriteString("if ((BASH_VERSINFO[0] > 4 || (BASH_VERSINFO[0] == 4 && BASH_VERSINFO[1] > 2))); then\ndeclare -A octopus_parameters=(\n")
		for _, n := range names {
			fmt.Fprintf(&b, "[%s]=%s\n", quote(n), quote(values[n]))
		}
		b.WriteString(")\nfi\n")
	}
	quiet := ""
	if strings.EqualFold(values[quietVariable], "true") {
		quiet = "yes"
	}
	file := `"$_octavo_dir/Script.sh"`
	if j.File != "" {
		file = quote(j.File)
		if !strings.Contains(j.File, "/") {
			file = quote("./" + j.File) // source looks names without a slash up in PATH
		}
	}
	fmt.Fprintf(&b, "_octavo_quiet=%s\n_octavo_run=%s\n", quote(quiet), quote(strings.TrimSpace("source "+file+" "+j.Parameters)))
	return b.Bytes()
}

// quote makes one Bash word of any text. Bash cannot hold NUL bytes, so they are dropped.
func quote(s string) string {
	s = strings.ReplaceAll(s, "\x00", "")
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func (j Job) pythonFeed() ([]byte, error) {
	_, values := j.collection()
	file := j.File
	if file == "" {
		file = "Script.py"
	}
	return json.Marshal(map[string]any{"variables": values, "script": file, "given": j.File != "", "parameters": j.Parameters})
}

// sealForOpenSSL writes what `openssl enc -d -aes-256-cbc -pbkdf2 -iter 10000 -md sha256` reads.
func sealForOpenSSL(plain []byte, password string) ([]byte, error) {
	salt := make([]byte, 8)
	_, _ = rand.Read(salt) // never fails
	key, err := pbkdf2.Key(sha256.New, password, salt, 10000, 48)
	if err != nil {
		return nil, fmt.Errorf("key derivation: %w", err)
	}
	block, err := aes.NewCipher(key[:32])
	if err != nil {
		return nil, err
	}
	pad := aes.BlockSize - len(plain)%aes.BlockSize
	body := append(bytes.Clone(plain), bytes.Repeat([]byte{byte(pad)}, pad)...)
	cipher.NewCBCEncrypter(block, key[32:]).CryptBlocks(body, body)
	return append(append([]byte("Salted__"), salt...), body...), nil
}
