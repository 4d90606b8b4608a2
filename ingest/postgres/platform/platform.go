// Package platform provides the platform's database for tests and benchmarks: a PostgreSQL server in a temporary
// folder, the tables that package postgres reads, and synthetic rows. The rows depend only on the numbers in Size.
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

// Schema has the statements that create the tables of a complete deployment.
//
//go:embed schema.sql
var Schema string

//go:embed fill.sql
var fill string

// A Size is the number of rows of all tenants together. Each tenant has an equal share.
type Size struct {
	Tenants, Calls, Customers, Messages int
	Costs                               int       // number of calls with a row in call_costs
	End                                 time.Time // rows are from the year before
}

// Fill returns the statements that insert the rows.
func (s Size) Fill() string {
	return strings.NewReplacer(
		"{{tenants}}", strconv.Itoa(s.Tenants), "{{calls}}", strconv.Itoa(s.Calls),
		"{{customers}}", strconv.Itoa(s.Customers), "{{messages}}", strconv.Itoa(s.Messages),
		"{{costs}}", strconv.Itoa(s.Costs), "{{end}}", "'"+s.End.UTC().Format(time.RFC3339Nano)+"'",
	).Replace(fill)
}

// ErrNotInstalled is returned if PostgreSQL is not installed on this machine.
var ErrNotInstalled = errors.New("PostgreSQL is not installed (apt-get install postgresql)")

// A Server is a running PostgreSQL server that listens on a Unix socket only. Its data do not survive Stop or a crash.
type Server struct {
	dir    string
	binary string // path of pg_ctl
}

// Superuser is the owner of the server. It needs no password; all other users do.
const Superuser = "platform"

// Start creates and starts a server, and waits until it accepts connections. It returns ErrNotInstalled if PostgreSQL
// is missing.
func Start(ctx context.Context) (*Server, error) {
	binary, err := findProgram("pg_ctl")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "platform-") // short, because the path of a socket is limited to about 100 characters
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
	if account, err := serverAccount(); err != nil {
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
	options := "-k " + s.dir + " -c listen_addresses='' -c fsync=off -c max_wal_size=8GB"
	return s.run(ctx, "-l", filepath.Join(s.dir, "log"), "-w", "-o", options, "start")
}

// run runs pg_ctl for the server, as an unprivileged user.
func (s *Server) run(ctx context.Context, args ...string) error {
	account, err := serverAccount()
	if err != nil {
		return err
	}
	log, err := os.CreateTemp("", "platform-") // a pipe would stay open in the server
	if err != nil {
		return err
	}
	defer os.Remove(log.Name())
	defer log.Close()
	command := exec.CommandContext(ctx, s.binary, append([]string{"-D", filepath.Join(s.dir, "data")}, args...)...)
	command.Dir, command.Stdout, command.Stderr = s.dir, log, log
	command.SysProcAttr = &syscall.SysProcAttr{Credential: account}
	if err := command.Run(); err != nil {
		output, _ := os.ReadFile(log.Name()) // without it the message is shorter
		return fmt.Errorf("%s: %w: %s", strings.Join(command.Args, " "), err, output)
	}
	return nil
}

// Stop stops the server and removes its folder.
func (s *Server) Stop() error {
	err := s.run(context.Background(), "-m", "immediate", "stop")
	return errors.Join(err, os.RemoveAll(s.dir))
}

// DSN returns the connection string of the superuser.
func (s *Server) DSN(database string) string { return s.DSNOf(Superuser, "", database) }

// DSNOf returns the connection string of a user.
func (s *Server) DSNOf(user, password, database string) string {
	return fmt.Sprintf("host='%s' user='%s' password='%s' dbname='%s'", s.dir, user, password, database)
}

// findProgram returns the path of a PostgreSQL program, from PATH or of the newest version that Debian installed
// outside of PATH. It returns ErrNotInstalled if neither exists.
func findProgram(program string) (string, error) {
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

// serverAccount returns the account that the server runs as, or nil for the current user. PostgreSQL refuses to run as
// root, so root gets the account postgres.
func serverAccount() (*syscall.Credential, error) {
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
