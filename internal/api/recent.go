package api

import (
	"context"
	"log/slog"
	"strings"
	"sync"

	"github.com/octavo/octavo/internal/resource"
)

// LogLine is one line of a node's own log, in the words of a task's.
type LogLine struct {
	Category    string // Verbose, Info, Warning or Error
	OccurredAt  resource.Time
	MessageText string
	Detail      string // what belongs to it: name=value ...
}

// How much of its log a node remembers.
const (
	recentLines  = 1000
	recentLength = 4096
)

// Recent is a log handler that also remembers the last lines, for GET serverstatus/logs.
type Recent struct {
	next slog.Handler
	text slog.Handler // writes the attributes into ring.line
	ring *ring
}

type ring struct {
	mu    sync.Mutex
	line  strings.Builder
	lines []LogLine
	at    int // where the oldest is, once it is full
}

// NewRecent puts a memory before a handler.
func NewRecent(next slog.Handler) *Recent {
	r := &ring{}
	plain := func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
			return slog.Attr{}
		}
		return a
	}
	return &Recent{next: next, text: slog.NewTextHandler(&r.line, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: plain}), ring: r}
}

// Enabled is as before: what is not logged is not remembered.
func (h *Recent) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

// Handle remembers a line and hands it on.
func (h *Recent) Handle(ctx context.Context, r slog.Record) error {
	h.ring.mu.Lock()
	h.ring.line.Reset()
	_ = h.text.Handle(ctx, r) // a string builder takes everything
	h.ring.add(LogLine{Category: category(r.Level), OccurredAt: resource.Time{Time: r.Time}, MessageText: short(r.Message), Detail: short(strings.TrimSpace(h.ring.line.String()))})
	h.ring.mu.Unlock()
	return h.next.Handle(ctx, r)
}

// WithAttrs is the same memory.
func (h *Recent) WithAttrs(a []slog.Attr) slog.Handler {
	return &Recent{h.next.WithAttrs(a), h.text.WithAttrs(a), h.ring}
}

// WithGroup is the same memory.
func (h *Recent) WithGroup(name string) slog.Handler {
	return &Recent{h.next.WithGroup(name), h.text.WithGroup(name), h.ring}
}

func category(l slog.Level) string {
	switch {
	case l < slog.LevelInfo:
		return "Verbose"
	case l < slog.LevelWarn:
		return "Info"
	case l < slog.LevelError:
		return "Warning"
	}
	return "Error"
}

func short(s string) string {
	if len(s) > recentLength {
		return strings.ToValidUTF8(s[:recentLength], "") + " ..."
	}
	return strings.ToValidUTF8(s, "?")
}

func (r *ring) add(l LogLine) {
	if len(r.lines) < recentLines {
		r.lines = append(r.lines, l)
		return
	}
	r.lines[r.at] = l
	r.at = (r.at + 1) % recentLines
}

// recentOf gives what a logger remembers, the newest first; nothing if it has no memory.
func recentOf(log *slog.Logger) []LogLine {
	h, ok := log.Handler().(*Recent)
	if !ok {
		return nil
	}
	h.ring.mu.Lock()
	defer h.ring.mu.Unlock()
	out := make([]LogLine, 0, len(h.ring.lines))
	for i := range h.ring.lines {
		out = append(out, h.ring.lines[(h.ring.at+len(h.ring.lines)-1-i)%len(h.ring.lines)])
	}
	return out
}
