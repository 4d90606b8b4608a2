package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/voicory/warehouse/cmd/voicory/internal/admin"
	"github.com/voicory/warehouse/httpapi/limit"
	"github.com/voicory/warehouse/warehouse/control"
)

type keysCommand struct {
	Create createKeyCommand `cmd:"" help:"Create a key and print it. It cannot be printed again."`
	List   listKeysCommand  `cmd:"" help:"List keys, without their text."`
	Update updateKeyCommand `cmd:"" help:"Change the label, limits, expiry or origins of a key, effective with the next request."`
	Revoke revokeKeyCommand `cmd:"" help:"Revoke a key, effective with the next request."`
}

// keyFlags are the settings of a key. A setting without its flag keeps its value.
type keyFlags struct {
	Label     *string   `help:"Name of the key in lists."`
	Expires   *expiry   `help:"Expiry of the key: a date, a date-time, or a duration from now such as 720h; never removes it." placeholder:"TIME"`
	RateLimit *keyLimit `help:"Rate limits of the key, such as 600/1m,50/5s; none removes them, default restores those of the server." placeholder:"N/TIME"`
	Origin    []string  `help:"Web origin whose pages may use the public key, or the signed URLs of the secret key (CORS), such as https://app.example.com; * allows any, none removes all." placeholder:"ORIGIN"`
	queryLimits
	AllowErase *bool `help:"Allow the secret key to erase customers." negatable:""`
}

// apply sets the settings whose flags were given.
func (k *keyFlags) apply(settings *control.KeySettings) {
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
	if k.AllowErase != nil {
		settings.AllowErase = *k.AllowErase
	}
}

// keyLimit is the text of rate limits, or "" for those of the server.
type keyLimit string

// UnmarshalText parses rate limits, none or default.
func (l *keyLimit) UnmarshalText(text []byte) error {
	if *l = ""; string(text) == "default" {
		return nil
	}
	*l = keyLimit(text)
	var rules limit.Rules
	return rules.UnmarshalText(text)
}

// expiry is the time at which a key expires.
type expiry struct{ at *time.Time } // nil: never

// UnmarshalText parses a date (midnight UTC), a date-time, a duration from now, or never.
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
	return fmt.Errorf("invalid time %q (examples: 2027-01-31, 2027-01-31T12:00:00Z, 720h, never)", text)
}

type createKeyCommand struct {
	Tenant string `help:"Tenant whose rows the key can read." required:"" placeholder:"UUID"`
	Type   string `help:"secret (sk_, all endpoints) or public (pk_, the six endpoints of the documented API)." required:"" enum:"secret,public" placeholder:"TYPE"`
	keyFlags
}

// Run creates a key and prints only the key, so that scripts can use the output.
func (c *createKeyCommand) Run(ctx context.Context, m *Main, f *flags) (err error) {
	tenant, err := parseUUID(c.Tenant)
	if err != nil {
		return err
	}
	var settings control.KeySettings
	c.apply(&settings)
	return f.withCreated(ctx, func(conn *admin.Conn) error {
		key, err := admin.CreateKey.Call(ctx, conn, admin.NewKey{
			Tenant: tenant, Type: control.KeyType(c.Type), Settings: settings,
		})
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

// Run changes the settings whose flags were given.
func (c *updateKeyCommand) Run(ctx context.Context, m *Main, f *flags) error {
	id, err := parseUUID(c.ID)
	if err != nil {
		return err
	}
	return f.withAdmin(ctx, func(conn *admin.Conn) error {
		keys, err := admin.ListKeys.Call(ctx, conn, admin.None{})
		if err != nil {
			return err
		}
		var settings control.KeySettings // stays zero for an unknown id: UpdateKey returns an error for it
		for _, key := range keys {
			if key.ID == id {
				settings = key.KeySettings
			}
		}
		c.apply(&settings)
		key, err := admin.UpdateKey.Call(ctx, conn, admin.KeyUpdate{ID: id, Settings: settings})
		if err != nil {
			return err
		}
		return m.printResult(f, key, func(w io.Writer) { fmt.Fprintf(w, "updated %s (%s…)\n", key.ID, key.Prefix) })
	})
}

type listKeysCommand struct{}

// Run prints the keys of all tenants.
func (c *listKeysCommand) Run(ctx context.Context, m *Main, f *flags) error {
	return f.withAdmin(ctx, func(conn *admin.Conn) error {
		keys, err := admin.ListKeys.Call(ctx, conn, admin.None{})
		if err != nil {
			return err
		}
		return m.printResult(f, keys, func(w io.Writer) {
			table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
			fmt.Fprintln(table, "ID\tTENANT\tTYPE\tKEY\tLABEL\tLIMIT\tSQL\tORIGINS\tCREATED\tLAST USED\tEXPIRES\tREVOKED")
			for _, key := range keys {
				fmt.Fprintf(table, "%s\t%s\t%s\t%s…\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
					key.ID, key.Tenant, key.Type, key.Prefix, printable(key.Label),
					key.RateLimit, queryLimitsText(key.KeySettings), strings.Join(key.Origins, " "),
					key.CreatedAt.Format(time.RFC3339), optionalTime(key.LastUsedAt),
					optionalTime(key.ExpiresAt), optionalTime(key.RevokedAt))
			}
			_ = table.Flush() // errors of stdout are ignored, as for every other output
		})
	})
}

// optionalTime returns the time as RFC 3339, or "" if it is nil.
func optionalTime(at *time.Time) string {
	if at == nil {
		return ""
	}
	return at.Format(time.RFC3339)
}

type revokeKeyCommand struct {
	ID string `arg:"" help:"The key's id, as keys list shows it."`
}

// Run revokes a key. A key that is already revoked stays revoked.
func (c *revokeKeyCommand) Run(ctx context.Context, m *Main, f *flags) error {
	id, err := parseUUID(c.ID)
	if err != nil {
		return err
	}
	return f.withAdmin(ctx, func(conn *admin.Conn) error {
		key, err := admin.RevokeKey.Call(ctx, conn, id)
		if err != nil {
			return err
		}
		return m.printResult(f, key, func(w io.Writer) { fmt.Fprintf(w, "revoked %s (%s…)\n", key.ID, key.Prefix) })
	})
}
