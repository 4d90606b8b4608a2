package main

import (
	"bytes"
	"os"
	"testing"
	"testing/fstest"
)

func TestBundle_IsCurrent(t *testing.T) {
	want, err := bundle(os.DirFS("../document"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("openapi.json differs from the files in document: run `go generate ./httpapi/openapi`")
	}
}

func TestBundle_Values(t *testing.T) {
	const main = "tags: [{name: SQL}]\npaths: {}\n"
	for name, test := range map[string]struct{ part, want string }{
		"order and types": {"b: 1\na: '1'\nn: null\nt: yes\nx: {}\nl: []",
			`"b":1,"a":"1","n":null,"t":"yes","x":{},"l":[]`},
		"without contracts": {"a: {x-contract: {required: [b]}, c: 1}", `"a":{"c":1}`},
		"text":              {`a: "<é> \"q\" \u2028"`, `"a":"<é> \"q\" \u2028"`},
		"declared twice":    {"tags: 1", ""},
		"alias":             {"a: &a 1\nb: *a", ""},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := bundle(fstest.MapFS{
				"openapi.yaml": {Data: []byte(main)}, "sql.yaml": {Data: []byte(test.part)},
			})
			if test.want == "" {
				if err == nil {
					t.Errorf("got %s, want an error", text)
				}
				return
			}
			got := string(bytes.Join(bytes.Fields(text), nil))
			if want := `{"tags":[{"name":"SQL"}],"paths":{},` + test.want + "}"; err != nil ||
				got != string(bytes.Join(bytes.Fields([]byte(want)), nil)) {
				t.Errorf("got %s and %v, want %s", got, err, want)
			}
		})
	}
}
