package convention

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const webConfig = `<?xml version="1.0"?>
<configuration>
  <connectionStrings>
    <add name="Db" connectionString="old" />
  </connectionStrings>
  <appSettings>
    <add key="Color" value="red" />
    <add key="NoValue" />
    <add key="Kept" value="as is" />
  </appSettings>
  <applicationSettings>
    <App.Properties.Settings>
      <setting name="Url" serializeAs="String"><value>http://old</value></setting>
      <setting name="Empty" serializeAs="String" />
    </App.Properties.Settings>
  </applicationSettings>
</configuration>
`

func TestConfigVariables(t *testing.T) {
	w := newTarget(t)
	p := w.upload("Web", "1.0", map[string]string{"Web.config": webConfig, "sub/App.Config": `<configuration><appSettings><add key="color" value="x"/></appSettings></configuration>`})
	r := w.run("deploy-package", w.variables(p, varFeatures, "Octopus.Features.ConfigurationVariables",
		"Octopus.Action.Package.AutomaticallyUpdateAppSettingsAndConnectionStrings", "True",
		"color", "green & <blue>", "NoValue", "#{Color}!", "Db", "Server=x;Password='p'", "Url", "http://new", "Empty", "e", "SecretX", "s"))
	r.want(t, 0)
	want := strings.NewReplacer(`"red"`, `"green &amp; &lt;blue&gt;"`, `key="NoValue" />`, `key="NoValue" value="green &amp; &lt;blue&gt;!" />`,
		`"old"`, `"Server=x;Password='p'"`, "http://old", "http://new",
		`<setting name="Empty" serializeAs="String" />`, `<setting name="Empty" serializeAs="String" ><value>e</value></setting>`).Replace(webConfig)
	dir := r.outputs["Package.InstallationDirectoryPath"]
	if diff := cmp.Diff(want, read(t, dir, "Web.config")); diff != "" {
		t.Error(diff)
	}
	if got := read(t, dir, "sub", "App.Config"); !strings.Contains(got, "green") {
		t.Error(got)
	}
}

func TestXDT(t *testing.T) {
	const doc = `<configuration>
  <a k="1" v="x" />
  <a k="2" v="y" />
  <b><c/></b>
</configuration>
`
	for _, tt := range []struct{ title, body, want, warning string }{
		{
			"set all attributes", `<a xdt:Locator="Match(k)" k="2" v="z" n="1" xdt:Transform="SetAttributes" />`,
			strings.Replace(doc, `k="2" v="y"`, `k="2" v="z" n="1"`, 1), "",
		},
		{
			"set some attributes", `<a xdt:Locator="Condition(@k='1')" k="9" v="z" xdt:Transform="SetAttributes(v)" />`,
			strings.Replace(doc, `k="1" v="x"`, `k="1" v="z"`, 1), "",
		},
		{
			"remove attributes", `<a xdt:Transform="RemoveAttributes(v)" />`,
			strings.NewReplacer(` v="x"`, "", ` v="y"`, "").Replace(doc), "",
		},
		{"remove the first", `<a xdt:Transform="Remove" />`, strings.Replace(doc, "\n  <a k=\"1\" v=\"x\" />", "", 1), ""},
		{"remove all", `<a xdt:Transform="RemoveAll" />`, "<configuration>\n  <b><c/></b>\n</configuration>\n", ""},
		{"replace", `<b xdt:Transform="Replace"><d>t</d></b>`, strings.Replace(doc, "<b><c/></b>", "<b><d>t</d></b>", 1), ""},
		{"insert", `<a k="3" xdt:Transform="Insert" />`, strings.Replace(doc, "</b>\n", "</b>\n  <a k=\"3\" />\n", 1), ""},
		{"insert before", `<x xdt:Transform="InsertBefore(/configuration/b)" />`, strings.Replace(doc, "<b>", "<x />\n  <b>", 1), ""},
		{"insert after", `<x xdt:Transform="InsertAfter(/configuration/a[@k='1'])" />`, strings.Replace(doc, `v="x" />`, "v=\"x\" />\n  <x />", 1), ""},
		{"insert if missing: there", `<a k="1" xdt:Locator="Match(k)" xdt:Transform="InsertIfMissing" />`, doc, ""},
		{"insert if missing: missing", `<b><d xdt:Transform="InsertIfMissing" /></b>`, strings.Replace(doc, "<c/>", "<c/><d />", 1), ""},
		{"locator path", `<z v="w" xdt:Locator="XPath(/configuration/a[2])" xdt:Transform="SetAttributes" />`, strings.Replace(doc, `"y"`, `"w"`, 1), ""},
		{"nothing matches", `<q xdt:Transform="Remove" />`, doc, "No element in the source document matches '/configuration/q'"},
	} {
		t.Run(tt.title, func(t *testing.T) {
			target, err := parseXML(doc)
			if err != nil {
				t.Fatal(err)
			}
			rules, err := parseXML(`<configuration xmlns:xdt="` + xdtNamespace + `">` + tt.body + `</configuration>`)
			if err != nil {
				t.Fatal(err)
			}
			said := ""
			err = transformXML(target, rules, func(format string, args ...any) { said = strings.Replace(format, "%s", args[0].(string), 1) })
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, target.String()); diff != "" || said != tt.warning {
				t.Errorf("%s\n%s", diff, said)
			}
		})
	}
	for _, body := range []string{`<a xdt:Transform="Explode" />`, `<a xdt:Locator="Nose(1)" />`, `<a xdt:Locator="Condition(@)" />`, `<a xdt:Locator="Match(no)"/>`} {
		target, _ := parseXML(doc)
		rules, err := parseXML(`<configuration xmlns:xdt="` + xdtNamespace + `">` + body + `</configuration>`)
		if err != nil {
			t.Fatal(err)
		}
		if err := transformXML(target, rules, t.Logf); err == nil {
			t.Errorf("%s was taken", body)
		}
	}
}

func TestTransforms(t *testing.T) {
	set := func(v string) string {
		return `<configuration xmlns:xdt="` + xdtNamespace + `"><a v="` + v + `" xdt:Transform="SetAttributes"/></configuration>`
	}
	const plain = `<configuration><a v="0"/></configuration>`
	for _, tt := range []struct {
		title, more string
		auto        bool
		files       map[string]string
		want        map[string]string
	}{
		{"automatic, the last wins", "", true, map[string]string{"Web.config": plain, "Web.Release.config": set("r"), "web.dev.config": set("d")}, map[string]string{"Web.config": "d"}},
		{"tenant last", "", true, map[string]string{"d/App.config": plain, "d/App.Acme.config": set("t"), "d/App.Dev.config": set("d")}, map[string]string{"d/App.config": "t"}},
		{"additional suffix before automatic", "Foo", true, map[string]string{"Web.config": plain, "Web.Foo.config": set("f"), "Web.Release.config": set("r")}, map[string]string{"Web.config": "r"}},
		{"additional suffix alone", "Foo.config", false, map[string]string{"Web.config": plain, "Web.Foo.config": set("f"), "Web.Release.config": set("r")}, map[string]string{"Web.config": "f"}},
		{"explicit", "T.xml => Web.xml", false, map[string]string{"Web.xml": plain, "T.xml": set("x"), "s/Web.xml": plain, "s/T.xml": set("y")}, map[string]string{"Web.xml": "x", "s/Web.xml": "y"}},
		{"explicit path", `conf\T.config => Web.config`, false, map[string]string{"Web.config": plain, "conf/T.config": set("x")}, map[string]string{"Web.config": "x"}},
		{"both wild", "*.Prod.config => *.config", false, map[string]string{"A.config": plain, "A.Prod.config": set("a"), "B.config": plain, "B.Prod.config": set("b")}, map[string]string{"A.config": "a", "B.config": "b"}},
		{"left wild", "*.Prod.config => Web.config", false, map[string]string{"Web.config": plain, "Z.Prod.config": set("z")}, map[string]string{"Web.config": "z"}},
		{"right wild in a folder", `T.config => conf\*.config`, false, map[string]string{"T.config": set("x"), "conf/A.config": plain, "conf/B.config": plain, "C.config": plain}, map[string]string{"conf/A.config": "x", "conf/B.config": "x", "C.config": "0"}},
	} {
		t.Run(tt.title, func(t *testing.T) {
			w := newTarget(t)
			r := w.run("deploy-package", w.variables(w.upload("Web", "1.0", tt.files), varFeatures, "Octopus.Features.ConfigurationTransforms",
				"Octopus.Action.Package.AutomaticallyRunConfigurationTransformationFiles", title(tt.auto),
				"Octopus.Action.Package.AdditionalXmlConfigurationTransforms", tt.more, "Octopus.Deployment.Tenant.Name", "Acme"))
			r.want(t, 0)
			for name, v := range tt.want {
				if got := read(t, r.outputs["Package.InstallationDirectoryPath"], name); !strings.Contains(got, `v="`+v+`"`) {
					t.Errorf("%s is %s, want %s", name, got, v)
				}
			}
		})
	}
	w := newTarget(t)
	p := w.upload("Web", "1.0", map[string]string{"Web.config": plain, "Web.Release.config": strings.Replace(set("x"), "<a ", "<q ", 1)})
	auto := []string{varFeatures, "Octopus.Features.ConfigurationTransforms", "Octopus.Action.Package.AutomaticallyRunConfigurationTransformationFiles", "True"}
	if r := w.run("deploy-package", w.variables(p, auto...)); r.code == 0 || !strings.Contains(r.message, "matches '/configuration/q'") {
		t.Errorf("a warning is an error, got %d %s", r.code, r.message)
	}
	w.run("deploy-package", w.variables(p, append(auto, "Octopus.Action.Package.TreatConfigTransformationWarningsAsErrors", "False")...)).want(t, 0)
	w.run("deploy-package", w.variables(p, append(auto, "Octopus.Action.Package.IgnoreConfigTransformationErrors", "True")...)).want(t, 0)
}
