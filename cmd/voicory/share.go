package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"os"
	"path/filepath"

	"github.com/voicory/warehouse/cmd/voicory/internal/admin"
	"github.com/voicory/warehouse/httpapi"
	"github.com/voicory/warehouse/internal/atomicfile"
	"github.com/voicory/warehouse/warehouse/control"
)

type shareCommand struct {
	Profile shareProfileCommand `cmd:"" help:"Create a secret key and print it as a profile of Delta Sharing, for Power BI, Tableau, pandas and other clients. It cannot be printed again."`
}

type shareProfileCommand struct {
	Tenant  string  `help:"Tenant whose tables the profile reads." required:"" placeholder:"UUID"`
	Label   string  `help:"Name of the key in lists (${default})." default:"Delta Sharing"`
	Expires expiry  `help:"Expiry of the key and the profile: a date, a date-time, or a duration from now such as 720h; never." default:"never" placeholder:"TIME"`
	URL     siteURL `help:"Address of the server as clients reach it, such as https://data.example.com; default: the address that the running server listens on." placeholder:"URL"`
	Output  string  `short:"o" help:"Output file, which only its owner can read; default: standard output." type:"path" placeholder:"FILE"`
}

// siteURL is the address of a server: a scheme and a host.
type siteURL string

// UnmarshalText parses an address.
func (s *siteURL) UnmarshalText(text []byte) error {
	u, err := url.Parse(string(text))
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" ||
		u.User != nil {
		return errors.New("invalid address (example: https://data.example.com)") // it may have a password
	}
	*s = siteURL(text)
	return nil
}

// defaultURL is the address of a server with the default flags.
const defaultURL = "http://localhost:8080"

// Run creates a key and prints its profile. If the profile cannot be written, the key is revoked.
func (c *shareProfileCommand) Run(ctx context.Context, m *Main, f *flags) error {
	tenant, err := parseUUID(c.Tenant)
	if err != nil {
		return err
	}
	return f.withCreated(ctx, func(conn *admin.Conn) error {
		address, err := admin.Address.Call(ctx, conn, admin.None{})
		if err != nil {
			return err
		}
		key, err := admin.CreateKey.Call(ctx, conn, admin.NewKey{Tenant: tenant, Type: control.Secret,
			Settings: control.KeySettings{Label: c.Label, ExpiresAt: c.Expires.at}})
		if err != nil {
			return err
		}
		profile, err := json.MarshalIndent(httpapi.NewSharingProfile(
			cmp.Or(string(c.URL), address, defaultURL), key.Text, c.Expires.at), "", "  ")
		if err == nil {
			err = c.write(m, append(profile, '\n'))
		}
		if err != nil {
			_, revoked := admin.RevokeKey.Call(ctx, conn, key.ID)
			return errors.Join(err, revoked)
		}
		return nil
	})
}

// write writes the profile to the output file or to standard output.
func (c *shareProfileCommand) write(m *Main, profile []byte) error {
	if c.Output == "" {
		_, err := m.Stdout.Write(profile)
		return err
	}
	root, err := os.OpenRoot(filepath.Dir(c.Output))
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }() // WriteFile has synced the folder
	return atomicfile.WriteFile(root, filepath.Base(c.Output), profile, 0o600)
}
