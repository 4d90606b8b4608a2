package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/voicory/warehouse/httpapi/limit"
	"github.com/voicory/warehouse/warehouse"
)

type keysCommand struct {
	Create createKeyCommand `cmd:"" help:"Make a key and print it, for once."`
	List   listKeysCommand  `cmd:"" help:"List keys (never their text)."`
	Update updateKeyCommand `cmd:"" help:"Give a key another label, other limits, another expiry or other origins, from the next request on."`
	Revoke revokeKeyCommand `cmd:"" help:"End a key, from the next request on."`
}

// keyFlags are the settings of a key; what is not given stays as it is.
type keyFlags struct {
	Label     *string   `help:"A name to recognise the key by."`
	Expires   *expiry   `help:"When the key ends: a date, a date-time or a time from now such as 720h; never takes it back." placeholder:"TIME"`
	RateLimit *keyLimit `help:"Requests that this key has, as 600/1m,50/5s; none lifts it, default is what the server says." placeholder:"N/TIME"`
	Origin    []string  `help:"Web origin whose pages may use the public key (CORS), as https://app.example.com; * is any, none takes them back." placeholder:"ORIGIN"`
	queryLimits
}

// change puts what was given into the settings.
func (k *keyFlags) apply(settings *warehouse.KeySettings) {
	if k.Label != nil {
		settings.Label = *k.Label
	}
	if k.Expires != nil {
		settings.ExpiresAt = k.Expires.at
	}
	if k.RateLimit != nil {
		settings.RateLimit = string(*k.RateLimit)
	}
	if len(k.Origin) > 0 {
		settings.Origins = slices.DeleteFunc(k.Origin, func(origin string) bool { return origin == "none" })
	}
	k.queryLimits.apply(settings)
}

// keyLimit is the text of rules, or "" for those of the server.
type keyLimit string

// UnmarshalText takes rules, none and default.
func (l *keyLimit) UnmarshalText(text []byte) error {
	if *l = ""; string(text) == "default" {
		return nil
	}
	*l = keyLimit(text)
	var rules limit.Rules
	return rules.UnmarshalText(text)
}

// moment is a time, or never.
type expiry struct{ at *time.Time }

// UnmarshalText takes a date (its first moment in UTC), a date-time, a duration from now, and never.
func (m *expiry) UnmarshalText(text []byte) error {
	if m.at = nil; string(text) == "never" {
		return nil
	}
	if wait, err := time.ParseDuration(string(text)); err == nil {
		at := time.Now().Add(wait)
		m.at = &at
		return nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if at, err := time.Parse(layout, string(text)); err == nil {
			m.at = &at
			return nil
		}
	}
	return fmt.Errorf("%q is no time; 2027-01-31, 2027-01-31T12:00:00Z, 720h and never are some", text)
}

type createKeyCommand struct {
	Tenant string `help:"Whose rows the key reads." required:"" placeholder:"UUID"`
	Type   string `help:"secret (sk_, everything) or public (pk_, the six documented endpoints)." required:"" enum:"secret,public" placeholder:"TYPE"`
	keyFlags
}

// Run prints the key alone, so that a script can take it.
func (c *createKeyCommand) Run(ctx context.Context, m *Main, f *flags) (err error) {
	tenant, err := parseUUID(c.Tenant)
	if err != nil {
		return err
	}
	var settings warehouse.KeySettings
	c.apply(&settings)
	return f.withCreated(ctx, func(o operator) error {
		key, err := o.CreateKey(ctx, tenant, warehouse.KeyType(c.Type), settings)
		if err != nil {
			return err
		}
		return m.printResult(f, key, func(w io.Writer) { fmt.Fprintln(w, key.Text) })
	})
}

type updateKeyCommand struct {
	ID string `arg:"" help:"The key's id, as keys list shows it."`
	keyFlags
}

// Run changes what was given and nothing else.
func (c *updateKeyCommand) Run(ctx context.Context, m *Main, f *flags) error {
	id, err := parseUUID(c.ID)
	if err != nil {
		return err
	}
	return f.withAdmin(ctx, func(o operator) error {
		keys, err := o.Keys(ctx)
		if err != nil {
			return err
		}
		var settings warehouse.KeySettings // of a key that is not there: updating says so
		for _, key := range keys {
			if key.ID == id {
				settings = key.KeySettings
			}
		}
		c.apply(&settings)
		key, err := o.UpdateKey(ctx, id, settings)
		if err != nil {
			return err
		}
		return m.printResult(f, key, func(w io.Writer) { fmt.Fprintf(w, "updated %s (%s…)\n", key.ID, key.Prefix) })
	})
}

type listKeysCommand struct{}

// Run lists the keys of all tenants.
func (c *listKeysCommand) Run(ctx context.Context, m *Main, f *flags) error {
	return f.withAdmin(ctx, func(o operator) error {
		keys, err := o.Keys(ctx)
		if err != nil {
			return err
		}
		return m.printResult(f, keys, func(w io.Writer) {
			table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
			fmt.Fprintln(table, "ID\tTENANT\tTYPE\tKEY\tLABEL\tLIMIT\tSQL\tORIGINS\tCREATED\tLAST USED\tEXPIRES\tREVOKED")
			for _, key := range keys {
				fmt.Fprintf(table, "%s\t%s\t%s\t%s…\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", key.ID, key.Tenant, key.Type, key.Prefix, printable(key.Label), key.RateLimit, queryLimitsText(key.KeySettings),
					strings.Join(key.Origins, " "), key.CreatedAt.Format(time.RFC3339), optionalTime(key.LastUsedAt), optionalTime(key.ExpiresAt), optionalTime(key.RevokedAt))
			}
			_ = table.Flush() // like any print: there is nobody left to tell
		})
	})
}

func optionalTime(at *time.Time) string {
	if at == nil {
		return ""
	}
	return at.Format(time.RFC3339)
}

type revokeKeyCommand struct {
	ID string `arg:"" help:"The key's id, as keys list shows it."`
}

// Run revokes; a key that is revoked already stays so.
func (c *revokeKeyCommand) Run(ctx context.Context, m *Main, f *flags) error {
	id, err := parseUUID(c.ID)
	if err != nil {
		return err
	}
	return f.withAdmin(ctx, func(o operator) error {
		key, err := o.RevokeKey(ctx, id)
		if err != nil {
			return err
		}
		return m.printResult(f, key, func(w io.Writer) { fmt.Fprintf(w, "revoked %s (%s…)\n", key.ID, key.Prefix) })
	})
}
