package clients_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime/multipart"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// call is one recorded request of a client, and what that client needs of the answer.
//
// A need is a path into the answer, its members parted by slashes:
//
//	Steps/0/Id              is there and not null
//	Items/Name=Web Shop/Id  the same, of the item with that name
//	Slug=web-shop           has that value
//	Links/Self == /api/x    the same, for values with slashes
//	Items[]                 is a list, even an empty one, and not null
//	Links{}                 is an object with nothing but strings in it
//	!Errors                 is null or left out
//	Id > project            the value stands for {project} in later calls
type call struct {
	send   string         // method and path
	body   string         // JSON
	again  map[string]any // instead of body: the last answer with these members changed, as clients PUT
	file   string         // instead of body: a form with a package of this name, its length not told beforehand
	status int            // of the answer; 0 is 200
	need   []string
}

// sequence is what one command sends.
type sequence struct {
	command string
	calls   []call
}

// player sends calls and remembers what later ones refer to.
type player struct {
	known map[string]string
	last  map[string]any
}

func (p *player) fill(text string) string {
	for name, value := range p.known {
		text = strings.ReplaceAll(text, "{"+name+"}", value)
	}
	return text
}

func (p *player) play(t *testing.T, c call) {
	t.Helper()
	method, path, _ := strings.Cut(p.fill(c.send), " ")
	var body io.Reader
	contentType := "application/json"
	switch {
	case c.file != "":
		body, contentType = form(t, p.fill(c.file))
	case c.again != nil:
		whole := maps.Clone(p.last)
		maps.Copy(whole, c.again)
		text, err := json.Marshal(whole)
		check(t, err)
		body = bytes.NewReader([]byte(p.fill(string(text))))
	case c.body != "":
		body = strings.NewReader(p.fill(c.body))
	}
	request, err := http.NewRequestWithContext(t.Context(), method, serverURL+path, body)
	check(t, err)
	request.Header.Set("X-Octopus-ApiKey", apiKey)
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "go-octopusdeploy/v2.114.1 (linux; amd64) go/go1.24 octopus/2.x")
	if body != nil {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := http.DefaultTransport.RoundTrip(request) // follows no redirect: the clients need answers
	check(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	check(t, err)
	want := c.status
	if want == 0 {
		want = http.StatusOK
	}
	if response.StatusCode != want {
		t.Fatalf("%s %s: %d, want %d\n%s", method, path, response.StatusCode, want, text)
	}
	var answer any
	if err := json.Unmarshal(text, &answer); err != nil {
		t.Fatalf("%s %s: not JSON: %v\n%s", method, path, err, text)
	}
	for _, need := range c.need {
		if err := p.check(answer, need); err != nil {
			t.Errorf("%s %s: need %q: %v\n%.1500s", method, path, need, err, text)
		}
	}
	if t.Failed() {
		t.FailNow() // what comes next builds on this
	}
	p.last, _ = answer.(map[string]any)
}

// check looks for one need in an answer.
func (p *player) check(answer any, need string) error {
	need, keep, _ := strings.Cut(need, " > ")
	need, exact, exactly := strings.Cut(need, " == ")
	absent, list, object := strings.HasPrefix(need, "!"), strings.HasSuffix(need, "[]"), strings.HasSuffix(need, "{}")
	path := strings.TrimSuffix(strings.TrimSuffix(strings.TrimPrefix(need, "!"), "[]"), "{}")
	value := answer
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "" {
			continue
		}
		name, equal, compared := strings.Cut(p.fill(segment), "=")
		switch at := value.(type) {
		case map[string]any:
			value = at[name]
			if compared && fmt.Sprint(value) != equal {
				return fmt.Errorf("it is %v", value)
			}
		case []any:
			value = nil
			if i, err := strconv.Atoi(name); err == nil && i < len(at) {
				value = at[i]
			}
			for _, item := range at {
				if o, ok := item.(map[string]any); compared && ok && fmt.Sprint(o[name]) == equal {
					value = o
				}
			}
		default:
			value = nil
		}
	}
	switch _, isList := value.([]any); {
	case absent && value != nil:
		return fmt.Errorf("it is %v", value)
	case !absent && value == nil:
		return fmt.Errorf("it is not there, or null")
	case exactly && fmt.Sprint(value) != p.fill(exact):
		return fmt.Errorf("it is %v", value)
	case list && !isList:
		return fmt.Errorf("it is no list")
	case object:
		o, ok := value.(map[string]any)
		if !ok {
			return fmt.Errorf("it is no object")
		}
		for name, v := range o {
			if _, ok := v.(string); !ok {
				return fmt.Errorf("%s is not a string", name)
			}
		}
	}
	if keep != "" {
		p.known[keep] = fmt.Sprint(value)
	}
	return nil
}

// form is a package in a multipart body whose length is not known, as the CLI streams it.
func form(t *testing.T, name string) (io.Reader, string) {
	t.Helper()
	var buffer bytes.Buffer
	writer := multipart.NewWriter(&buffer)
	part, err := writer.CreateFormFile("file", name)
	check(t, err)
	_, err = part.Write(greeterPackage(t))
	check(t, err)
	check(t, writer.Close())
	return io.MultiReader(&buffer), writer.FormDataContentType()
}

// TestReplay sends again what was recorded of the official CLI and the Terraform provider.
func TestReplay(t *testing.T) {
	p := &player{known: map[string]string{
		"package":  "Acme.Replay",
		"S":        "Replay " + strconv.FormatInt(time.Now().Unix(), 36), // of this run alone
		"tomorrow": time.Now().Add(24 * time.Hour).Format(time.RFC3339),
	}}
	for _, s := range append(cliSequences, providerSequences...) {
		calls := s.calls
		if strings.HasPrefix(s.command, "cli ") && p.known["space"] != "" {
			calls = append(fiveGets[:len(fiveGets):len(fiveGets)], calls...)
		}
		if !t.Run(s.command, func(t *testing.T) {
			for _, c := range calls {
				p.play(t, c)
			}
			if strings.HasSuffix(s.command, "task wait") {
				p.wait(t)
			}
		}) {
			return // what comes next builds on this
		}
	}
}

// wait polls as `octopus task wait --progress` does.
func (p *player) wait(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		p.play(t, call{send: "GET /api/tasks?ids={task}", need: []string{
			"Items/0/Id={task}", "Items/0/State", "Items/0/IsCompleted > completed", "Items/0/FinishedSuccessfully > fine", "Items/0/Description", "TotalResults=1",
		}})
		if p.known["completed"] == "true" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("task %s has not ended", p.known["task"])
		}
	}
	p.play(t, call{send: "GET /api/tasks/{task}/details", need: []string{
		"Task/Id={task}", "Task/StartTime", "Task/CompletedTime", "ActivityLogs/0/Id", "ActivityLogs/0/Name", "ActivityLogs/0/Status=Success", "ActivityLogs/0/Started", "ActivityLogs/0/Ended",
		"ActivityLogs/0/Children[]", "ActivityLogs/0/LogElements[]", "ActivityLogs/0/Children/0/LogElements[]", "ActivityLogs/0/Children/0/Children/0/LogElements/0/OccurredAt",
		"ActivityLogs/0/Children/0/Children/0/LogElements/MessageText=said by the server", "ActivityLogs/0/Children/0/Children/0/LogElements/0/Category", "ActivityLogs/0/Children/0/Children/0/LogElements/0/Number",
		"Progress/ProgressPercentage=100", "PhysicalLogSize",
	}})
	if p.known["fine"] != "true" {
		t.Errorf("the task did not succeed: %v", p.last)
	}
}
