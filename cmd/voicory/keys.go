package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/voicory/warehouse/warehouse"
)

type keysCommand struct {
	Create createKeyCommand `cmd:"" help:"Make a key and print it, for once."`
	List   listKeysCommand  `cmd:"" help:"List keys (never their text)."`
	Revoke revokeKeyCommand `cmd:"" help:"End a key, from the next request on."`
}

type createKeyCommand struct {
	Tenant string `help:"Whose rows the key reads." required:"" placeholder:"UUID"`
	Type   string `help:"secret (sk_, everything) or public (pk_, the six documented endpoints)." required:"" enum:"secret,public" placeholder:"TYPE"`
	Label  string `help:"A name to recognise the key by."`
}

// Run prints the key alone, so that a script can take it.
func (c *createKeyCommand) Run(ctx context.Context, m *Main, f *flags) (err error) {
	tenant, err := requiredUUID(c.Tenant)
	if err != nil {
		return err
	}
	return f.withOperator(ctx, func(o operator) error {
		key, err := o.CreateKey(ctx, tenant, warehouse.KeyType(c.Type), c.Label)
		if err != nil {
			return err
		}
		return m.print(f, key, func(w io.Writer) { fmt.Fprintln(w, key.Text) })
	})
}

type listKeysCommand struct{}

// Run lists the keys of all tenants.
func (c *listKeysCommand) Run(ctx context.Context, m *Main, f *flags) error {
	return f.withOperator(ctx, func(o operator) error {
		keys, err := o.Keys(ctx)
		if err != nil {
			return err
		}
		return m.print(f, keys, func(w io.Writer) {
			table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
			fmt.Fprintln(table, "ID\tTENANT\tTYPE\tKEY\tLABEL\tCREATED\tREVOKED")
			for _, key := range keys {
				revoked := ""
				if key.RevokedAt != nil {
					revoked = key.RevokedAt.Format(time.RFC3339)
				}
				fmt.Fprintf(table, "%s\t%s\t%s\t%s…\t%s\t%s\t%s\n", key.ID, key.Tenant, key.Type, key.Prefix, key.Label, key.CreatedAt.Format(time.RFC3339), revoked)
			}
			_ = table.Flush() // like any print: there is nobody left to tell
		})
	})
}

type revokeKeyCommand struct {
	ID string `arg:"" help:"The key's id, as keys list shows it."`
}

// Run revokes; a key that is revoked already stays so.
func (c *revokeKeyCommand) Run(ctx context.Context, m *Main, f *flags) error {
	id, err := requiredUUID(c.ID)
	if err != nil {
		return err
	}
	return f.withOperator(ctx, func(o operator) error {
		key, err := o.RevokeKey(ctx, id)
		if err != nil {
			return err
		}
		return m.print(f, key, func(w io.Writer) { fmt.Fprintf(w, "revoked %s (%s…)\n", key.ID, key.Prefix) })
	})
}

type tenantsCommand struct {
	List listTenantsCommand `cmd:"" help:"List tenants."`
}

type listTenantsCommand struct{}

// Run lists the tenants, oldest first.
func (c *listTenantsCommand) Run(ctx context.Context, m *Main, f *flags) error {
	return f.withOperator(ctx, func(o operator) error {
		tenants, err := o.Tenants(ctx)
		if err != nil {
			return err
		}
		return m.print(f, tenants, func(w io.Writer) {
			for _, tenant := range tenants {
				fmt.Fprintf(w, "%s  since %s\n", tenant.ID, tenant.CreatedAt.Format(time.RFC3339))
			}
		})
	})
}

// withOperator runs do with the operator of the data folder.
func (f *flags) withOperator(ctx context.Context, do func(operator) error) error {
	o, err := f.operate(ctx)
	if err != nil {
		return err
	}
	return errors.Join(do(o), o.Close())
}
