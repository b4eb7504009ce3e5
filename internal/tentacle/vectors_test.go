package tentacle

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/octavo/octavo/internal/halibut"
)

// value picks a member out of a document that the real Newtonsoft BSON writer made (tentacle-protocol.md 1.22).
func value(t *testing.T, name string, path ...string) bson.RawValue {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".hex"))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		t.Fatal(err)
	}
	v, err := bson.Raw(doc).LookupErr(append([]string{"Message"}, path...)...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestVectors(t *testing.T) {
	id, err := halibut.ParseGUID("9a4b47b7-7463-4740-842e-eb1da0ade39b")
	if err != nil {
		t.Fatal(err)
	}
	mutex := DefaultMutex
	for _, test := range []struct {
		wire bson.RawValue
		want any
		got  any
	}{
		{
			value(t, "response-capabilities", "result"),
			&CapabilitiesResponseV2{[]string{ScriptServiceV1, FileTransferService, ScriptServiceV2}},
			new(CapabilitiesResponseV2),
		},
		{
			value(t, "response-status", "result"),
			&ScriptStatusResponseV2{
				Ticket: ScriptTicket{"T1"},
				Logs: []ProcessOutput{{
					StdErr, time.Date(2020, 1, 1, 17, 4, 5, 678e6, time.UTC), "oops é",
				}},
				NextLogSequence: 7, State: Complete, ExitCode: ExitCanceled,
			},
			new(ScriptStatusResponseV2),
		},
		{
			value(t, "request-upload", "params", "1"),
			&halibut.DataStream{ID: id, Length: 59},
			new(halibut.DataStream),
		},
		{
			value(t, "request-start", "params", "0"),
			&StartScriptCommandV2{
				ScriptTicket: ScriptTicket{"T1"}, ScriptBody: "echo hi", TaskId: "ServerTasks-1",
				DurationToWaitForScriptToFinish: halibut.Span(1500 * time.Millisecond),
				Isolation:                       FullIsolation,
				ScriptIsolationMutexTimeout:     halibut.TimeSpan(5 * time.Minute),
				IsolationMutexName:              &mutex,
				Scripts:                         map[string]string{Bash: "echo bash"},
				Files:                           []ScriptFile{{"Variables.json", &halibut.DataStream{ID: id, Length: 59}, nil}},
				Arguments:                       []string{"a"},
			},
			new(StartScriptCommandV2),
		},
	} {
		wire, err := halibut.Encode(test.want)
		if err != nil || wire.Type != test.wire.Type || !bytes.Equal(wire.Value, test.wire.Value) {
			t.Errorf("%T is written as\n%s\nnot as\n%s\n%v", test.want, wire, test.wire, err)
		}
		if err := halibut.Decode(test.wire, test.got); err != nil {
			t.Errorf("%T: %v", test.want, err)
		}
		if diff := cmp.Diff(test.want, test.got, cmpopts.IgnoreUnexported(halibut.DataStream{})); diff != "" {
			t.Errorf("%T is read otherwise:\n%s", test.want, diff)
		}
	}
}

// TestEmptyCommand holds what .NET needs of members without setters: empty, not null.
func TestEmptyCommand(t *testing.T) {
	for _, command := range []any{StartScriptCommandV2{}, StartScriptCommand{}, StartKubernetesScriptCommandV1{}} {
		wire, err := halibut.Encode(command)
		if err != nil {
			t.Fatal(err)
		}
		first, err := wire.Document().IndexErr(0)
		if err != nil || first.Key() != "$type" {
			t.Errorf("%T does not begin with its $type", command)
		}
		for member, kind := range map[string]bson.Type{
			"Scripts": bson.TypeEmbeddedDocument, "Files": bson.TypeArray, "Arguments": bson.TypeArray,
			"IsolationMutexName": bson.TypeNull,
		} {
			if got := wire.Document().Lookup(member).Type; got != kind {
				t.Errorf("%T: %s is of type %s, not %s", command, member, got, kind)
			}
		}
	}
}

func TestFenceOrder(t *testing.T) {
	for _, test := range []struct {
		a, b  Fence
		below bool
	}{
		{Fence{"T", 1, 1}, Fence{"T", 1, 1}, false},
		{Fence{"T", 1, 1}, Fence{"T", 1, 2}, true},
		{Fence{"T", 1, 9}, Fence{"T", 2, 1}, true},
		{Fence{"T", 2, 1}, Fence{"T", 1, 9}, false},
	} {
		if got := test.a.Below(test.b); got != test.below {
			t.Errorf("%v below %v: %v", test.a, test.b, got)
		}
	}
}
