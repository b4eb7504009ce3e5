package variable

import (
	"fmt"
	"strings"
	"testing"
)

// realistic is a project of a thousand variables and a configuration file of about 20 KB.
func realistic() (*Dictionary, string) {
	d := NewDictionary()
	for i := range 1000 {
		d.Set(fmt.Sprintf("Team%d.Service[%d].Url", i%20, i), fmt.Sprintf("https://#{Host}/%d", i))
	}
	d.Set("Host", "#{Octopus.Environment.Name | ToLower}.example.com")
	d.Set("Octopus.Environment.Name", "Production")
	d.Set("Hosts", "web01,web02,web03")
	var b strings.Builder
	for i := range 200 {
		fmt.Fprintf(&b, "  <add key=\"Service%d\" value=\"#{Team%d.Service[%d].Url}\" description=\"a setting of the application\" />\n", i, i%20, i)
	}
	b.WriteString("#{each h in Hosts}<host>#{h}#{unless Octopus.Template.Each.Last},#{/unless}</host>#{/each}")
	b.WriteString("#{if Octopus.Environment.Name == \"Production\"}<debug>false</debug>#{/if}\n")
	return d, b.String()
}

func BenchmarkEvaluateFile(b *testing.B) {
	d, file := realistic()
	b.SetBytes(int64(len(file)))
	for b.Loop() {
		if _, err := EvaluateFile(file, d); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBind5000(b *testing.B) {
	d := NewDictionary()
	for i := range 5000 {
		d.Set(fmt.Sprintf("Octopus.Action[Step %d].Package[ref].Version", i), "1")
	}
	for b.Loop() {
		d.root = nil
		d.tree()
	}
}

func BenchmarkResolve5000(b *testing.B) {
	var candidates []Candidate
	for i := range 5000 {
		candidates = append(candidates, candidate(fmt.Sprint("V", i/2), "v", Scope{FieldEnvironment: {fmt.Sprint("Environments-", i%2)}}))
	}
	for b.Loop() {
		if d, _ := Resolve(candidates, Context{Environment: "Environments-1"}); d.Len() == 0 {
			b.Fatal("nothing was found")
		}
	}
}
