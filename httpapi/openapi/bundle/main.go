// Command bundle writes openapi.json from the YAML files in document. Run it with `go generate ./httpapi/openapi`.
//
// openapi.yaml has the parts that several tags share; its list of tags names the other files. Members keep their order.
// The vendor extension x-contract holds rules for tests that OpenAPI 3.0 and generators of clients cannot express. The
// bundle omits it.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"log"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

func main() {
	text, err := bundle(os.DirFS("document"))
	if err == nil {
		err = os.WriteFile("openapi.json", text, 0o644)
	}
	if err != nil {
		log.Fatalf("bundle: %v", err)
	}
}

// bundle returns the document in a folder as JSON, without x-contract.
func bundle(folder fs.FS) ([]byte, error) {
	whole, err := parse(folder, "openapi.yaml")
	if err != nil {
		return nil, err
	}
	for _, tag := range member(whole, "tags").Content {
		name := strings.ToLower(member(tag, "name").Value) + ".yaml"
		part, err := parse(folder, name)
		if err == nil {
			err = merge(whole, part)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	compact, err := toJSON(whole)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = json.Indent(&out, append(compact, '\n'), "", "  ")
	return out.Bytes(), err
}

func parse(folder fs.FS, name string) (*yaml.Node, error) {
	text, err := fs.ReadFile(folder, name)
	if err != nil {
		return nil, err
	}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, err
	}
	return document.Content[0], nil
}

// member returns the value of a name in a mapping. It returns an empty node if the mapping has no such name.
func member(mapping *yaml.Node, name string) *yaml.Node {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == name {
			return mapping.Content[i+1]
		}
	}
	return &yaml.Node{}
}

// merge adds the members of the mapping from to the mapping into. Members of the same name are merged if both are
// mappings. It returns an error for other members of the same name, except for the parameters that all operations of a
// path share.
func merge(into, from *yaml.Node) error {
	for i := 0; i+1 < len(from.Content); i += 2 {
		name, value := from.Content[i], from.Content[i+1]
		present := member(into, name.Value)
		switch {
		case present.Kind == 0:
			into.Content = append(into.Content, name, value)
		case present.Kind == yaml.MappingNode && value.Kind == yaml.MappingNode:
			if err := merge(present, value); err != nil {
				return fmt.Errorf("%s: %w", name.Value, err)
			}
		case name.Value != "parameters":
			return fmt.Errorf("line %d: %s is declared twice", name.Line, name.Value)
		}
	}
	return nil
}

// toJSON returns a node as compact JSON.
func toJSON(node *yaml.Node) ([]byte, error) {
	var parts [][]byte
	switch node.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			name := node.Content[i].Value
			if name == "x-contract" {
				continue
			}
			value, err := toJSON(node.Content[i+1])
			if err != nil {
				return nil, err
			}
			parts = append(parts, fmt.Appendf(nil, "%s:%s", quoted(name), value))
		}
		return slices.Concat([]byte("{"), bytes.Join(parts, []byte(",")), []byte("}")), nil
	case yaml.SequenceNode:
		for _, element := range node.Content {
			value, err := toJSON(element)
			if err != nil {
				return nil, err
			}
			parts = append(parts, value)
		}
		return slices.Concat([]byte("["), bytes.Join(parts, []byte(",")), []byte("]")), nil
	case yaml.ScalarNode:
		if node.Tag == "!!str" {
			return quoted(node.Value), nil
		}
		var value any
		if err := node.Decode(&value); err != nil {
			return nil, fmt.Errorf("line %d: %w", node.Line, err)
		}
		return json.Marshal(value)
	}
	return nil, fmt.Errorf("line %d: aliases are not supported", node.Line)
}

// quoted returns text as a JSON string, with <, > and & as they are.
func quoted(text string) []byte {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(text); err != nil {
		panic(err) // a string always has a JSON form
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}
