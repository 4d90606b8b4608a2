package openapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
)

// The parts of a document that the page shows. If a part is a reference, Ref is its "$ref" and the other fields are
// empty.
type (
	model struct {
		Info struct{ Title, Version, Description string }
		Tags []struct{ Name, Description string }

		Paths      ordered[*pathItem]
		Components struct {
			Schemas    ordered[*schema]
			Parameters ordered[*parameter]
			Headers    ordered[*header]
			Responses  ordered[*response]
		}
	}
	pathItem struct {
		Get, Post, Delete *operation
		Parameters        []*parameter
	}
	operation struct {
		OperationID, Summary, Description string
		Tags                              []string
		Parameters                        []*parameter
		RequestBody                       *struct {
			Description string
			Content     ordered[*content]
		}
		Responses ordered[*response]
	}
	parameter struct {
		Ref                   string `json:"$ref"`
		Name, In, Description string
		Required              bool
		Schema                *schema
	}
	header struct {
		Description string
		Required    bool
		Schema      *schema
	}
	response struct {
		Ref         string `json:"$ref"`
		Description string
		Headers     ordered[json.RawMessage] // the page lists their names here, and describes them once
		Content     ordered[*content]
	}
	content struct {
		Schema   *schema
		Example  json.RawMessage
		Examples ordered[struct {
			Summary string
			Value   json.RawMessage
		}]
	}
	schema struct {
		Ref                          string `json:"$ref"`
		Type                         string
		Nullable                     bool
		Format, Pattern, Description string
		Properties                   ordered[*schema]
		Items                        *schema
		Enum                         []json.RawMessage
		Known                        []json.RawMessage `json:"x-extensible-enum"`
		Default                      json.RawMessage
		Example                      json.RawMessage
	}
)

// An ordered is a JSON object whose members are in the order of the document, which is the order to display them in.
type ordered[T any] []member[T]

type member[T any] struct {
	Name  string
	Value T
}

func (o *ordered[T]) UnmarshalJSON(text []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	if _, err := decoder.Token(); err != nil {
		return err
	}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return err
		}
		member := member[T]{Name: name.(string)} // always a string in valid JSON
		if err := decoder.Decode(&member.Value); err != nil {
			return err
		}
		*o = append(*o, member)
	}
	return nil
}

// at returns the member that a reference such as "#/components/schemas/Call" names. It returns an error if the member
// does not exist.
func (o ordered[T]) at(ref string) (T, error) {
	for _, member := range o {
		if member.Name == path.Base(ref) {
			return member.Value, nil
		}
	}
	var none T
	return none, fmt.Errorf("%s is not in the document", ref)
}
