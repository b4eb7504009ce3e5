//go:build unix

package agent

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/octavo/octavo/internal/tentacle"
)

// record is one line of the file "output".
type record struct {
	Source tentacle.ProcessOutputSource `json:"s"`
	At     int64                        `json:"t"` // Unix milliseconds
	Text   string                       `json:"x"`
}

// place is a line's number and where it begins in the file.
type place struct{ line, offset int64 }

// marks are two places kept in one small file that is written in place, which works on a full disk too.
// The agent writes the first, the supervisor the second.
type marks struct{ f *os.File }

const (
	acknowledged = 0
	dropped      = 16
)

func openMarks(dir string) (*marks, error) {
	f, err := os.OpenFile(filepath.Join(dir, "marks"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err == nil && info.Size() < 32 {
		if _, err := f.WriteAt(make([]byte, 32), 0); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return &marks{f}, nil
}

func (m *marks) get(at int64) place {
	var b, again [16]byte
	for { // until no write came between
		if _, err := m.f.ReadAt(b[:], at); err != nil {
			return place{}
		}
		if _, err := m.f.ReadAt(again[:], at); err == nil && again == b {
			break
		}
	}
	return place{int64(binary.LittleEndian.Uint64(b[:8])), int64(binary.LittleEndian.Uint64(b[8:]))}
}

func (m *marks) set(at int64, p place) error {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:8], uint64(p.line))
	binary.LittleEndian.PutUint64(b[8:], uint64(p.offset))
	_, err := m.f.WriteAt(b[:], at)
	return err
}

func (m *marks) close() error { return m.f.Close() }

// spool appends lines. Only one process at a time has it open: first the agent, which says what a script waits for, then the supervisor.
type spool struct {
	f     *os.File
	marks *marks
	buf   []byte // encoded, not written yet
	lines int64  // with those in buf

	retry time.Duration // between two attempts on a full disk
	limit time.Duration // how long a full disk is waited for
}

func openSpool(dir string) (*spool, error) {
	f, err := os.OpenFile(filepath.Join(dir, "output"), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	m, err := openMarks(dir)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	s := &spool{f: f, marks: m, retry: 200 * time.Millisecond}
	if err := s.recount(); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// recount counts the lines there are, and cuts off a line that was torn by a crash.
func (s *spool) recount() error {
	from := s.marks.get(dropped)
	in := bufio.NewReader(io.NewSectionReader(s.f, from.offset, 1<<62))
	end := from.offset
	s.lines = from.line
	for {
		line, err := in.ReadBytes('\n')
		if err == io.EOF {
			return s.f.Truncate(end)
		}
		if err != nil {
			return err
		}
		end += int64(len(line))
		s.lines++
	}
}

// add encodes a line; flush writes it.
func (s *spool) add(source tentacle.ProcessOutputSource, text string) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(record{source, time.Now().UnixMilli(), text}) // strings and numbers only; ends with a newline
	s.buf = append(s.buf, b.Bytes()...)
	s.lines++
}

// flush writes what was added. On a full disk it drops what a server acknowledged, waits, and at last gives up.
func (s *spool) flush() error {
	var begun time.Time
	for len(s.buf) > 0 {
		n, err := s.f.Write(s.buf)
		s.buf = s.buf[:copy(s.buf, s.buf[n:])]
		switch {
		case err == nil:
			return nil
		case !isFull(err):
			return err
		case n > 0:
			begun = time.Time{}
			continue
		case begun.IsZero():
			begun = time.Now()
		case time.Since(begun) > s.limit:
			return err
		}
		if gone := s.giveBack(); gone > 0 {
			s.add(tentacle.Debug, fmt.Sprintf("The disk of this machine is full. %d lines of output that the server had received already were dropped from it.", gone))
			continue
		}
		time.Sleep(s.retry)
	}
	return nil
}

// lastWord gives up what is not written yet, and says why, in the space that was kept back.
func (s *spool) lastWord(text string) error {
	s.buf = s.buf[:bytes.IndexByte(s.buf, '\n')+1] // the rest of a line that may be half written
	s.add(tentacle.StdErr, text)
	s.limit = 0
	return s.flush()
}

// giveBack frees the part of the file that was acknowledged and tells how many lines that were.
func (s *spool) giveBack() int64 {
	acked, gone := s.marks.get(acknowledged), s.marks.get(dropped)
	const block = 4096 // less than this frees nothing
	if acked.offset/block <= gone.offset/block {
		return 0
	}
	if err := s.marks.set(dropped, acked); err != nil {
		return 0
	}
	if err := punch(s.f, acked.offset/block*block); err != nil {
		return 0
	}
	return acked.line - gone.line
}

func (s *spool) close() error {
	return errors.Join(s.f.Close(), s.marks.close())
}

// reader gives a run's lines by number. It remembers where some of them begin, so that a page costs its own length.
type reader struct {
	dir string

	mu    sync.Mutex
	known []place // every so often, ascending
	last  place   // where the last page ended
}

const (
	pageBytes  = 1 << 20
	pageLines  = 10_000
	knownEvery = 4096
)

// page reads lines after the first `after` ones; next is the number to ask for then; more says that there were further lines.
// With ack, the lines before count as received by a server.
func (r *reader) page(after int64, ack bool) (logs []tentacle.ProcessOutput, next int64, more bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f, err := os.Open(filepath.Join(r.dir, "output"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, after, false, nil
	}
	if err != nil {
		return nil, after, false, err
	}
	defer f.Close()
	m, err := openMarks(r.dir)
	if err != nil {
		return nil, after, false, err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	after = max(after, 0)
	from := m.get(dropped)
	for _, k := range append(r.known, r.last) {
		if k.line <= after && k.line > from.line {
			from = k
		}
	}
	in := bufio.NewReaderSize(io.NewSectionReader(f, from.offset, 1<<62), 64<<10)
	at, size := from, 0
	defer func() { r.last = at }()
	for {
		if ack && at.line == after && at.line > 0 {
			_ = m.set(acknowledged, at) // costs disk space only if it is lost
		}
		raw, e := in.ReadBytes('\n')
		if e == io.EOF { // also a line that is being written right now
			return logs, max(at.line, after), false, nil
		}
		if e != nil {
			return logs, max(at.line, after), false, e
		}
		if at.line >= after {
			if len(logs) > 0 && (size+len(raw) > pageBytes || len(logs) == pageLines) {
				return logs, at.line, true, nil
			}
			var l record
			if e := json.Unmarshal(raw, &l); e != nil {
				return logs, at.line, false, fmt.Errorf("output of the script is damaged at line %d: %w", at.line+1, e)
			}
			logs = append(logs, tentacle.ProcessOutput{Source: l.Source, Occurred: time.UnixMilli(l.At).UTC(), Text: l.Text})
			size += len(raw)
		}
		at = place{at.line + 1, at.offset + int64(len(raw))}
		if last := len(r.known) - 1; at.line%knownEvery == 0 && (last < 0 || r.known[last].line < at.line) {
			r.known = append(r.known, at)
		}
	}
}

// count tells how many lines there are, without keeping them.
func (r *reader) count() (int64, error) {
	n := int64(0)
	for {
		_, next, more, err := r.page(n, false)
		if n = next; err != nil || !more {
			return n, err
		}
	}
}
