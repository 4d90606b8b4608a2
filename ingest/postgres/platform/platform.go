// Package platform invents the platform's own database: a PostgreSQL server that lives in a temporary folder, the tables
// that are read from it, and rows for them, always the same for the same numbers. It is for tests and for measuring.
package platform

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Schema creates the tables of a deployment that lacks nothing.
//
//go:embed schema.sql
var Schema string

//go:embed fill.sql
var fill string

// Size says how many rows there are, of all tenants together, each of which has an equal share.
type Size struct {
	Tenants, Calls, Customers, Messages int
	Costs                               int       // so many of the calls have a row of call_costs
	End                                 time.Time // all rows are of the year before
}

// Fill returns the statements that make the rows.
func (s Size) Fill() string {
	return strings.NewReplacer("{{tenants}}", strconv.Itoa(s.Tenants), "{{calls}}", strconv.Itoa(s.Calls), "{{customers}}", strconv.Itoa(s.Customers),
		"{{messages}}", strconv.Itoa(s.Messages), "{{costs}}", strconv.Itoa(s.Costs), "{{end}}", "'"+s.End.UTC().Format(time.RFC3339Nano)+"'").Replace(fill)
}

// ErrNotInstalled is that there is no PostgreSQL on this machine.
var ErrNotInstalled = errors.New("there is no PostgreSQL here (apt-get install postgresql)")

// Server is a running PostgreSQL, reached over a Unix socket only. Nothing in it survives Stop or a crash.
type Server struct {
	dir    string
	binary string // pg_ctl
}

// Superuser owns the server and needs no password; any other user needs one.
const Superuser = "platform"

// Start makes a server and returns when it answers.
func Start(ctx context.Context) (*Server, error) {
	binary, err := find("pg_ctl")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "platform-") // short: the path of a socket has about 100 characters at most
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, binary: binary}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

func (s *Server) start(ctx context.Context) error {
	if account, err := unprivileged(); err != nil {
		return err
	} else if account != nil {
		if err := os.Chown(s.dir, int(account.Uid), int(account.Gid)); err != nil {
			return err
		}
	}
	if err := s.run(ctx, "-o", "-U "+Superuser+" -A trust --no-sync -E UTF8 --locale=C", "init"); err != nil {
		return err
	}
	access := "local all " + Superuser + " trust\nlocal all all scram-sha-256\n"
	if err := os.WriteFile(filepath.Join(s.dir, "data", "pg_hba.conf"), []byte(access), 0o600); err != nil {
		return err
	}
	return s.run(ctx, "-l", filepath.Join(s.dir, "log"), "-w", "-o", "-k "+s.dir+" -c listen_addresses='' -c fsync=off -c max_wal_size=8GB", "start")
}

// run runs pg_ctl on the server, as a user that PostgreSQL agrees to run as.
func (s *Server) run(ctx context.Context, args ...string) error {
	account, err := unprivileged()
	if err != nil {
		return err
	}
	output, err := os.CreateTemp("", "platform-") // a pipe would stay open in the server
	if err != nil {
		return err
	}
	defer os.Remove(output.Name())
	defer output.Close()
	command := exec.CommandContext(ctx, s.binary, append([]string{"-D", filepath.Join(s.dir, "data")}, args...)...)
	command.Dir, command.Stdout, command.Stderr = s.dir, output, output
	command.SysProcAttr = &syscall.SysProcAttr{Credential: account}
	if err := command.Run(); err != nil {
		said, _ := os.ReadFile(output.Name()) // what is not there is not said
		return fmt.Errorf("%s: %w: %s", strings.Join(command.Args, " "), err, said)
	}
	return nil
}

// Stop ends the server and removes all of it.
func (s *Server) Stop() error {
	err := s.run(context.Background(), "-m", "immediate", "stop")
	return errors.Join(err, os.RemoveAll(s.dir))
}

// DSN is where the database is, for the superuser.
func (s *Server) DSN(database string) string { return s.DSNOf(Superuser, "", database) }

// DSNOf is where the database is, for a user.
func (s *Server) DSNOf(user, password, database string) string {
	return fmt.Sprintf("host='%s' user='%s' password='%s' dbname='%s'", s.dir, user, password, database)
}

// find finds a program of PostgreSQL, the newest where there are several: Debian keeps them out of the path.
func find(program string) (string, error) {
	if path, err := exec.LookPath(program); err == nil {
		return path, nil
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + program) // the pattern is good
	newest, version := "", 0
	for _, path := range found {
		if v, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path)))); v > version {
			newest, version = path, v
		}
	}
	if newest == "" {
		return "", ErrNotInstalled
	}
	return newest, nil
}

// unprivileged is who the server runs as where we are root, which PostgreSQL refuses; nil where we are not.
func unprivileged() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotInstalled, err)
	}
	uid, err := strconv.ParseUint(account.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(account.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}
