package openapitest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"go.yaml.in/yaml/v3"
)

// Contract returns the document of the YAML files as the server must fulfil it: OpenAPI 3.1, in which objects have no
// undescribed fields, x-extensible-enum lists all values, and the keywords of x-contract apply.
func Contract() ([]byte, error) {
	_, file, _, _ := runtime.Caller(0)
	folder := filepath.Join(filepath.Dir(file), "..", "document")
	names, err := fs.Glob(os.DirFS(folder), "*.yaml")
	if err != nil {
		return nil, err
	}
	whole := map[string]any{}
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			return nil, err
		}
		var part map[string]any
		if err := yaml.Unmarshal(text, &part); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		merge(whole, part)
	}
	whole["openapi"] = "3.1.0"
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	err = encoder.Encode(strict(whole))
	return out.Bytes(), err
}

func merge(into, from map[string]any) {
	for name, value := range from {
		present, both := into[name].(map[string]any)
		part, isMap := value.(map[string]any)
		if both && isMap {
			merge(present, part)
			continue
		}
		into[name] = value
	}
}

// strict returns a part of the document with the keywords of OpenAPI 3.0 in the form of 3.1. Its objects allow no
// undescribed fields.
func strict(value any) any {
	switch value := value.(type) {
	case []any:
		for i := range value {
			value[i] = strict(value[i])
		}
		return value
	case map[string]any:
		return strictObject(value)
	}
	return value
}

func strictObject(object map[string]any) map[string]any {
	contract, _ := object["x-contract"].(map[string]any)
	nullable, _ := object["nullable"].(bool)
	delete(object, "x-contract")
	for name, value := range object {
		if properties, ok := value.(map[string]any); ok && name == "properties" {
			for property := range properties { // a property may have the name of a keyword
				properties[property] = strict(properties[property])
			}
		} else if !slices.Contains([]string{"example", "examples", "default", "enum", "required"}, name) {
			object[name] = strict(value)
		}
	}
	if _, ok := object["properties"].(map[string]any); ok && object["additionalProperties"] == nil {
		object["additionalProperties"] = false
	}
	if values, ok := object["x-extensible-enum"].([]any); ok {
		object["enum"] = values
	}
	if nullable {
		delete(object, "nullable")
		if kind, ok := object["type"].(string); ok {
			object["type"] = []any{kind, "null"}
		}
		if values, ok := object["enum"].([]any); ok {
			object["enum"] = append(slices.Clone(values), nil)
		}
	}
	for name, value := range contract {
		object[name] = extend(object[name], value)
	}
	return object
}

// extend returns the value of a keyword with the additions of a contract: more is appended to a list, merged into an
// object, and replaces any other value.
func extend(value, more any) any {
	switch more := more.(type) {
	case []any:
		list, _ := value.([]any)
		return append(slices.Clone(list), more...)
	case map[string]any:
		if object, ok := value.(map[string]any); ok {
			merge(object, more)
			return object
		}
	}
	return more
}
