package server

import (
	"os"
	"reflect"
	"regexp"
	"testing"
)

// config.example.yaml is valid and contains every key.
func TestConfig_ExampleHasEveryKey(t *testing.T) {
	const path = "../../../../config.example.yaml"
	c, err := readConfig(path)
	noError(t, err)
	if c.Sources["platform"].Postgres == nil || c.Sources["acme"].Voicory == nil {
		t.Errorf("%+v", c)
	}
	text, err := os.ReadFile(path)
	noError(t, err)
	var shown func(reflect.Type)
	shown = func(typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Map {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct {
			return
		}
		for field := range typ.Fields() {
			if key := field.Tag.Get("mapstructure"); !regexp.MustCompile(`\b` + key + `:`).Match(text) {
				t.Errorf("key %s is missing", key)
			}
			shown(field.Type)
		}
	}
	shown(reflect.TypeOf(c))
}
