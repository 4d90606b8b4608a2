package server

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/google/uuid"
	"go.yaml.in/yaml/v3"

	"github.com/voicory/warehouse/cmd/voicory/internal/admin"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

// config is the content of the file of `serve --config`. config.example.yaml describes each key.
type config struct {
	Sources map[string]sourceConfig `mapstructure:"sources"`
}

// sourceConfig is a source and its schedule. Exactly one of Postgres, Voicory and Files is set.
type sourceConfig struct {
	Every    time.Duration `mapstructure:"every"`
	Postgres *struct {
		DSN        secret                `mapstructure:"dsn"`
		Window     *time.Duration        `mapstructure:"window"`
		MaxDeleted *schema.DeletionLimit `mapstructure:"max_deleted"`
	} `mapstructure:"postgres"`
	Voicory *struct {
		BaseURL string         `mapstructure:"base_url"`
		APIKey  secret         `mapstructure:"api_key"`
		Tenant  uuid.UUID      `mapstructure:"tenant"`
		Details bool           `mapstructure:"details"`
		Window  *time.Duration `mapstructure:"window"`
	} `mapstructure:"voicory"`
	Files *struct {
		Path    string    `mapstructure:"path"`
		Tenant  uuid.UUID `mapstructure:"tenant"`
		Dataset string    `mapstructure:"dataset"`
	} `mapstructure:"files"`
}

const (
	defaultWindow = 72 * time.Hour
	minEvery      = time.Second // shortest pause between two runs of a source
)

// readConfig reads the file. If the file is invalid, it returns warehouse.ErrInvalid in one line that names the key.
func readConfig(path string) (c config, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return c, fmt.Errorf("%w: --config: %w", warehouse.ErrInvalid, err)
	}
	var raw map[string]any
	if err := yaml.Unmarshal(text, &raw); err != nil {
		return c, fmt.Errorf("%w: %s: %s", warehouse.ErrInvalid, path, oneLine(err))
	}
	decoder, err := mapstructure.NewDecoder(&mapstructure.DecoderConfig{
		Result:      &c,
		ErrorUnused: true,
		MatchName:   func(key, field string) bool { return key == field },
		DecodeHook: mapstructure.ComposeDecodeHookFunc(rejectInlineSecret, mapstructure.StringToTimeDurationHookFunc(),
			mapstructure.TextUnmarshallerHookFunc()),
	})
	if err != nil {
		return c, err
	}
	if err := decoder.Decode(raw); err != nil {
		return c, fmt.Errorf("%w: %s: %s", warehouse.ErrInvalid, path, firstDecodeError(err))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Sources)) {
		if fault := c.Sources[name].fault(); fault != "" {
			return c, fmt.Errorf("%w: %s: sources.%s%s", warehouse.ErrInvalid, path, name, fault)
		}
	}
	return c, nil
}

// fault returns the first error of the source as text that continues the path of its key, or "" if it is valid.
func (s sourceConfig) fault() string {
	errorKinds := 0
	for _, given := range []bool{s.Postgres != nil, s.Voicory != nil, s.Files != nil} {
		if given {
			errorKinds++
		}
	}
	switch {
	case errorKinds != 1:
		return fmt.Sprintf(": want exactly one of %s, %s and %s", admin.Postgres, admin.Voicory, admin.Files)
	case s.Every < minEvery:
		return fmt.Sprintf(".every: want a duration of at least %s, such as 30s", minEvery)
	case s.Voicory != nil && s.Voicory.Tenant == uuid.Nil:
		return ".voicory.tenant: want the UUID of a tenant"
	}
	return ""
}

// spec returns the source with its secrets, which it reads from the environment or from their files.
func (s sourceConfig) spec() (spec admin.SourceSpec, err error) {
	if f := s.Files; f != nil {
		return admin.SourceSpec{Kind: admin.Files, Path: f.Path, Tenant: f.Tenant, Dataset: f.Dataset}, nil
	}
	if p := s.Postgres; p != nil {
		spec = admin.SourceSpec{Kind: admin.Postgres, Window: *cmp.Or(p.Window, new(defaultWindow)),
			MaxDeleted: *cmp.Or(p.MaxDeleted, new(schema.DefaultDeletionLimit))}
		if spec.DSN, err = p.DSN.read(); err != nil {
			return spec, fmt.Errorf("postgres.dsn: %w", err)
		}
		return spec, nil
	}
	v := s.Voicory
	window := *cmp.Or(v.Window, new(defaultWindow))
	spec = admin.SourceSpec{Kind: admin.Voicory, BaseURL: v.BaseURL, Tenant: v.Tenant, Details: v.Details, Window: window}
	if spec.APIKey, err = v.APIKey.read(); err != nil {
		return spec, fmt.Errorf("voicory.api_key: %w", err)
	}
	return spec, nil
}

// secret names the environment variable or the file that holds a secret. It never holds the secret itself.
type secret struct {
	Env  string `mapstructure:"env"`
	File string `mapstructure:"file"`
}

var errInlineSecret = errors.New("want {env: VARIABLE} or {file: PATH}; a secret cannot be written into this file")

// rejectInlineSecret is a decode hook. It returns errInlineSecret for a secret that is a plain value, so that the value
// is not part of the error of the decoder.
func rejectInlineSecret(from, to reflect.Type, value any) (any, error) {
	if to == reflect.TypeFor[secret]() && from.Kind() != reflect.Map {
		return nil, errInlineSecret
	}
	return value, nil
}

// read returns the secret, or warehouse.ErrInvalid if it is missing or empty.
func (s secret) read() (string, error) {
	text, found := "", true
	switch {
	case (s.Env == "") == (s.File == ""):
		return "", fmt.Errorf("%w: %w", warehouse.ErrInvalid, errInlineSecret)
	case s.Env != "":
		text, found = os.LookupEnv(s.Env)
	default:
		content, err := os.ReadFile(s.File)
		if err != nil {
			return "", fmt.Errorf("%w: %w", warehouse.ErrInvalid, err)
		}
		text = strings.TrimSpace(string(content))
	}
	if !found || text == "" {
		return "", fmt.Errorf("%w: %s is empty or not set", warehouse.ErrInvalid, cmp.Or(s.Env, s.File))
	}
	return text, nil
}

// firstDecodeError returns the first error of the decoder after the path of its key.
func firstDecodeError(err error) string {
	if several, ok := err.(interface{ Unwrap() []error }); ok && len(several.Unwrap()) > 0 {
		return firstDecodeError(several.Unwrap()[0])
	}
	if fault := (*mapstructure.DecodeError)(nil); errors.As(err, &fault) {
		return strings.NewReplacer("[", ".", "]", "").Replace(fault.Name()) + ": " + oneLine(fault.Unwrap())
	}
	return oneLine(err)
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
