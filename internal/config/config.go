// Package config reads a process's settings: defaults, then a YAML file, then the environment, then flags.
// The later source wins. Every mistake of every source is reported at once, with the place it stands in.
//
// A setting is a field of a struct with three tags:
//
//	name     its flag (--name), its key in the file (name), and, upper-cased behind the prefix, its
//	         environment variable (OCTAVO_NAME; dashes become underscores)
//	default  used when no source names it
//	help     one sentence for --help
//
// Types: string, int, bool, time.Duration, and []string, which is written with commas or, in the file, as a list. A secret can be given as a file's content:
// OCTAVO_NAME_FILE names the file.
package config

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/octavo/octavo/internal/fault"
)

// Prefix of the environment variables.
const Prefix = "OCTAVO_"

// Setting describes one field, for help texts and pages.
type Setting struct {
	Name, Env, Default, Help string
	List                     bool // may be given more than once
}

// Settings lists the fields of a settings struct.
func Settings(of any) []Setting {
	var list []Setting
	t := reflect.Indirect(reflect.ValueOf(of)).Type()
	for i := range t.NumField() {
		tag := t.Field(i).Tag
		name := tag.Get("name")
		list = append(list, Setting{name, EnvName(name), tag.Get("default"), tag.Get("help"), t.Field(i).Type.Kind() == reflect.Slice})
	}
	return list
}

// EnvName is a setting's environment variable.
func EnvName(name string) string {
	return Prefix + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// Origin says where a setting's value came from: "default", "environment OCTAVO_X", "file f", "flag --x".
type Origin map[string]string

// Load fills into (a pointer to a settings struct). flags holds the flags that were given, by name;
// file may be empty. The error is one fault that lists every mistake.
func Load(into any, file string, flags map[string]string) (Origin, error) {
	var mistakes fault.List
	lists := map[string]bool{}
	for _, s := range Settings(into) {
		lists[s.Name] = s.List
	}
	fromFile := readFile(file, lists, &mistakes)
	value := reflect.ValueOf(into).Elem()
	origin := Origin{}
	var names []string
	for i := range value.NumField() {
		tag := value.Type().Field(i).Tag
		name := tag.Get("name")
		names = append(names, name)
		text, from := tag.Get("default"), "default"
		if v, ok := fromFile[name]; ok {
			text, from = v, "file "+file
		}
		if v, env, ok := fromEnvironment(name, &mistakes); ok {
			text, from = v, "environment "+env
		}
		if v, ok := flags[name]; ok {
			text, from = v, "flag --"+name
		}
		if err := set(value.Field(i), text); err != nil {
			mistakes.Add("%s: %q is %s (%s).", name, text, err, from)
		}
		origin[name] = from
	}
	for name := range fromFile {
		if !slices.Contains(names, name) {
			mistakes.Add("%s: there is no setting %q in file %s%s.", name, name, file, didYouMean(name, names))
		}
	}
	for _, pair := range os.Environ() {
		env, _, _ := strings.Cut(pair, "=")
		if rest, ok := strings.CutPrefix(env, Prefix); ok {
			name := strings.ToLower(strings.ReplaceAll(strings.TrimSuffix(rest, "_FILE"), "_", "-"))
			if !slices.Contains(names, name) && !strings.HasPrefix(rest, "TEST_") && !slices.Contains(notSettings, rest) {
				mistakes.Add("%s: there is no setting of this name%s.", env, didYouMean(name, names))
			}
		}
	}
	return origin, mistakes.Err()
}

// notSettings are variables of ours that carry no setting of the server.
var notSettings = []string{"CONFIG", "TOOL", "URL", "API_KEY"}

func readFile(file string, lists map[string]bool, mistakes *fault.List) map[string]string {
	if file == "" {
		return nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		mistakes.Add("config: cannot read %s: %s.", file, plain(err))
		return nil
	}
	var raw map[string]any
	if err := yaml.Unmarshal(text, &raw); err != nil {
		mistakes.Add("config: %s is not a YAML map of settings: %s.", file, err)
		return nil
	}
	values := make(map[string]string, len(raw))
	for name, v := range raw {
		switch v := v.(type) {
		case []any:
			if !lists[name] {
				mistakes.Add("%s: has to be one value, not a list or a map (file %s).", name, file)
				continue
			}
			items := make([]string, len(v))
			for i, item := range v {
				items[i] = fmt.Sprint(item)
			}
			values[name] = strings.Join(items, ",")
		case map[string]any:
			mistakes.Add("%s: has to be one value, not a list or a map (file %s).", name, file)
		case nil:
		default:
			values[name] = fmt.Sprint(v)
		}
	}
	return values
}

func fromEnvironment(name string, mistakes *fault.List) (value, env string, ok bool) {
	env = EnvName(name)
	if v, ok := os.LookupEnv(env); ok {
		return v, env, true
	}
	if strings.HasSuffix(env, "_FILE") { // its plain form is the name of a file already
		return "", "", false
	}
	path, ok := os.LookupEnv(env + "_FILE")
	if !ok || isSetting(name+"-file") {
		return "", "", false
	}
	text, err := os.ReadFile(path)
	if err != nil {
		mistakes.Add("%s: cannot read %s: %s.", env+"_FILE", path, plain(err))
		return "", "", false
	}
	return strings.TrimRight(string(text), "\r\n"), env + "_FILE", true
}

// isSetting keeps OCTAVO_MASTER_KEY_FILE, which is the setting master-key-file, from being read as a content.
func isSetting(name string) bool { return name == "master-key-file" }

func set(field reflect.Value, text string) error {
	switch field.Interface().(type) {
	case string:
		field.SetString(text)
	case []string:
		var items []string
		for item := range strings.SplitSeq(text, ",") {
			if item = strings.TrimSpace(item); item != "" {
				items = append(items, item)
			}
		}
		field.Set(reflect.ValueOf(items))
	case bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return errors.New("neither true nor false")
		}
		field.SetBool(b)
	case int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return errors.New("not a whole number")
		}
		field.SetInt(int64(n))
	case time.Duration:
		d, err := time.ParseDuration(text)
		if err != nil {
			return errors.New("not a duration such as 90s or 15m")
		}
		field.SetInt(int64(d))
	default:
		panic("config: no such type of setting: " + field.Type().String())
	}
	return nil
}

// didYouMean finds the name with the smallest edit distance, if it is near.
func didYouMean(name string, names []string) string {
	best, at := "", 4
	for _, n := range names {
		if d := distance(name, n); d < at {
			best, at = n, d
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + best + "?"
}

func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		last := i
		row[0] = i + 1
		for j := range len(b) {
			cost := last
			if a[i] != b[j] {
				cost++
			}
			last = row[j+1]
			row[j+1] = min(row[j]+1, row[j+1]+1, cost)
		}
	}
	return row[len(b)]
}

func plain(err error) string {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err.Error()
	}
	return err.Error()
}
