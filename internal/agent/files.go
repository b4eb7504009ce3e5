//go:build unix

package agent

import (
	"crypto/sha1" //nolint:gosec // the protocol's check of a transfer, not a security measure
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/halibut"
	"github.com/octavo/octavo/internal/script"
	"github.com/octavo/octavo/internal/tentacle"
)

// saveFile puts a script's file into its workspace; the name may hold sub-folders, but never leads out.
func saveFile(work *os.Root, f tentacle.ScriptFile) error {
	name := filepath.FromSlash(strings.ReplaceAll(f.Name, `\`, "/"))
	if !filepath.IsLocal(name) {
		return fault.InvalidField("Files.Name", "The file name %q does not stay inside the script's directory.", f.Name)
	}
	if f.Contents == nil {
		return fault.InvalidField("Files.Contents", "The file %q has no contents.", f.Name)
	}
	from, err := f.Contents.Open()
	if err != nil {
		return err
	}
	defer from.Close()
	if dir := filepath.Dir(name); dir != "." {
		if err := work.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	var content io.Reader = from
	if f.EncryptionPassword != nil && *f.EncryptionPassword != "" {
		plain, err := io.ReadAll(from)
		if err != nil {
			return err
		}
		sealed, err := script.Seal(plain, *f.EncryptionPassword, 16)
		if err != nil {
			return err
		}
		content = strings.NewReader(string(sealed))
	}
	to, err := work.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, content)
	return errors.Join(err, to.Close())
}

// splitArguments reads a command line as .NET does off Windows: blanks separate, double quotes group, \" is a quote.
func splitArguments(s string) ([]string, error) {
	var (
		all    []string
		one    strings.Builder
		inside bool // double quotes
		some   bool // one holds an argument, perhaps an empty one
	)
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			n := 1
			for i+n < len(s) && s[i+n] == '\\' {
				n++
			}
			some = true
			if i+n < len(s) && s[i+n] == '"' { // each pair is one backslash; an odd one escapes the quote
				one.WriteString(strings.Repeat(`\`, n/2))
				if n%2 == 1 {
					one.WriteByte('"')
					n++
				}
			} else {
				one.WriteString(strings.Repeat(`\`, n))
			}
			i += n - 1
		case c == '"':
			inside, some = !inside, true
		case (c == ' ' || c == '\t') && !inside:
			if some {
				all = append(all, one.String())
				one.Reset()
				some = false
			}
		case c == 0:
			return nil, fault.InvalidField("Arguments", "An argument holds a NUL character.")
		default:
			one.WriteByte(c)
			some = true
		}
	}
	if some {
		all = append(all, one.String())
	}
	return all, nil
}

// resolve finds the file a server means: relative to the data directory, or absolute (tentacle-protocol.md 2.6).
func (a *Agent) resolve(remote string) (string, error) {
	p := strings.ReplaceAll(remote, `\`, "/")
	if p == "" || strings.ContainsRune(p, 0) {
		return "", fault.InvalidField("remotePath", "A path is needed; %q is none.", remote)
	}
	if !filepath.IsAbs(p) {
		p = filepath.Join(a.config.Data, p)
	}
	return filepath.Clean(p), nil
}

const keepFree = 16 << 20 // bytes an upload leaves, so that output of scripts still fits

// upload stores a file and tells what it stored. It is safe to repeat: the new file replaces the old one at once.
func (a *Agent) upload(remote string, content *halibut.DataStream) (result tentacle.UploadResult, err error) {
	defer content.Close()
	path, err := a.resolve(remote)
	if err != nil {
		return result, err
	}
	if content == nil {
		return result, fault.InvalidField("upload", "The upload of %s has no content.", remote)
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return result, err
	}
	if free, err := freeBytes(dir); err == nil && free < content.Length+keepFree {
		return result, fault.Busyf("There is not enough room on this machine for %s: it has %d bytes, and %d are free in %s.", remote, content.Length, free, dir)
	}
	from, err := content.Open()
	if err != nil {
		return result, err
	}
	defer from.Close()
	temp, err := os.CreateTemp(dir, ".octavo-upload-*")
	if err != nil {
		return result, err
	}
	defer os.Remove(temp.Name()) // gone already when all went well
	hash := sha1.New()           //nolint:gosec // see above
	n, err := io.Copy(io.MultiWriter(temp, hash), from)
	err = errors.Join(err, temp.Chmod(0o644), temp.Sync(), temp.Close())
	if err != nil {
		return result, fmt.Errorf("store %s: %w", remote, err)
	}
	if err := os.Rename(temp.Name(), path); err != nil {
		return result, err
	}
	return tentacle.UploadResult{FullPath: path, Hash: hex.EncodeToString(hash.Sum(nil)), Length: n}, syncDir(dir)
}

// download offers a file; nil when there is none.
func (a *Agent) download(remote string) (*halibut.DataStream, error) {
	path, err := a.resolve(remote)
	if err != nil {
		return nil, err
	}
	stream, err := halibut.FileStream(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return stream, err
}
