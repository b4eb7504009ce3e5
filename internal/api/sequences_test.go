package api_test

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// TestClientSequences replays what clients send, from testdata/sequences.txt; its head says how to read it.
func TestClientSequences(t *testing.T) {
	text, err := os.ReadFile("testdata/sequences.txt")
	must(t, err)
	each(t, func(t *testing.T, c *client) {
		startNode(c)
		kept := map[string]string{}
		fill := func(s string) string {
			for name, value := range kept {
				s = strings.ReplaceAll(s, "$"+name, value)
			}
			return s
		}
		var now, call string
		var got answer
		want := 0
		calls := 0
		settle := func() {
			if call != "" && (want == 0 && (got.status < 200 || got.status > 299) || want != 0 && got.status != want) {
				t.Errorf("%s: %s: %d %s", now, call, got.status, got.body)
			}
			call, want = "", 0
		}
		for number, line := range strings.Split(string(text), "\n") {
			words := strings.SplitN(strings.TrimSpace(line), " ", 3)
			switch {
			case line == "" || line[0] == '#':
			case strings.HasPrefix(line, "== "):
				settle()
				now = line[3:]
			case line[0] != ' ':
				settle()
				call = fill(line)
				parts := strings.SplitN(call, " ", 3)
				var body any
				if len(parts) == 3 {
					body = parts[2]
				}
				calls++
				if parts[0] == "UPLOAD" {
					_, query, _ := strings.Cut(parts[1], "?")
					got = c.upload("file", parts[2], zipOf(t), "?"+query)
				} else {
					got = c.try(parts[0], parts[1], body)
				}
			case words[0] == "=":
				status, err := strconv.Atoi(words[1])
				must(t, err)
				want = status
			case len(words) == 3 && words[1] == "<-":
				kept[words[0]] = got.text(words[2])
			case strings.HasSuffix(words[0], ":"):
				member := strings.TrimSuffix(words[0], ":")
				is, should := got.text(member), fill(strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), words[0])))
				good := is == should
				switch should {
				case "*":
					good = is != "<nil>" && !strings.HasPrefix(is, "<no ")
				case "null":
					good = is == "<nil>"
				}
				if !good {
					t.Errorf("%s: %s: %s is %q, want %q", now, call, member, is, should)
				}
			default:
				t.Fatalf("line %d cannot be read: %s", number+1, line)
			}
		}
		settle()
		if calls < 120 {
			t.Errorf("only %d calls were made", calls)
		}
	})
}
