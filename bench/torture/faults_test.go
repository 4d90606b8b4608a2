package torture

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

// A fault is an event that the server must survive.
type fault struct {
	name string
	// stop ends the server while requests are in progress: SIGKILL, SIGTERM, or 0 to leave it running.
	stop syscall.Signal
	// harm damages the data folder. It returns errNothing if the folder has nothing of this kind. nil: nothing.
	harm func(m *machine, d draw) error
	// loses says whose unpublished rows the fault may destroy.
	loses loss
	// before begins the fault before the requests, and after ends it. The server runs on and recovers by itself.
	before, after func(m *machine, d draw) error
	// atOnce is done at the drawn moment, before the server is stopped.
	atOnce func(m *machine, d draw) error
	// forgets says that idempotency records may expire.
	forgets bool
	power   bool // harm changes what was written before, as a power cut does
	failing bool // needs a place that fails on demand
	// needs reports whether the place of the data folder allows the fault. nil: every place does.
	needs func(p *place) bool
}

type loss int

const (
	losesNothing   loss = iota
	losesTenant         // the rows of the drawn tenant
	losesTenants        // the rows of all tenants
	losesFilesOnly      // nothing, but published files may be unavailable for a moment
)

var errNothing = errors.New("nothing to damage")

// A draw is what a seed determines of a fault.
type draw struct {
	Tenant int
	Delay  time.Duration // from the begin of the requests to the end of the process
	Which  int           // of several files
	Where  float64       // position in the file, as a part of its length
	Bit    int
}

func drawFault(t *rapid.T) draw {
	return draw{
		Tenant: rapid.IntRange(0, tenantsPerHistory-1).Draw(t, "damaged tenant"),
		Delay:  time.Duration(rapid.IntRange(0, 120).Draw(t, "delay")) * time.Millisecond,
		Which:  rapid.IntRange(0, 1000).Draw(t, "file"),
		Where:  float64(rapid.IntRange(0, 9999).Draw(t, "position")) / 10000,
		Bit:    rapid.IntRange(0, 7).Draw(t, "bit"),
	}
}

// A damage changes a file.
type damage struct {
	name string
	do   func(path string, d draw) error
}

var damages = []damage{
	{"a flipped bit", flip},
	{"cut", func(path string, d draw) error {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		return os.Truncate(path, int64(d.Where*float64(info.Size())))
	}},
	{"deleted", func(path string, _ draw) error { return os.Remove(path) }},
}

func flip(path string, d draw) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	at := int64(d.Where * float64(info.Size()))
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		return err
	}
	b[0] ^= 1 << d.Bit
	_, err = f.WriteAt(b[:], at)
	return err
}

// A target is a kind of file of the data folder.
type target struct {
	name    string
	pattern string // {tenant} is the drawn tenant
	stop    syscall.Signal
	loses   loss
}

var targets = []target{
	{"store", "warehouse/{tenant}.duckdb", syscall.SIGTERM, losesTenant},
	{"log of a store", "warehouse/{tenant}.duckdb.wal", syscall.SIGKILL, losesTenant},
	{"control database", "control.duckdb", syscall.SIGTERM, losesNothing},
	{"log of the control database", "control.duckdb.wal", syscall.SIGKILL, losesNothing},
	{"list of last commits", "commits", syscall.SIGKILL, losesNothing},
	{"journal", "journal.ndjson", syscall.SIGKILL, losesNothing},
	{"quarantine", "quarantine/*{tenant}*.ndjson", syscall.SIGKILL, losesNothing},
	{"published file", "published/{tenant}/*.parquet", syscall.SIGTERM, losesFilesOnly},
	{"published file, server running", "published/{tenant}/*.parquet", 0, losesFilesOnly},
	{"file of the lake", "lake/tenant_id={tenant}/*/*/*.parquet", syscall.SIGKILL, losesFilesOnly},
	{"signing key", "signing.key", syscall.SIGTERM, losesNothing},
	{"mark of the folder", "voicory.json", syscall.SIGTERM, losesNothing},
}

const killName = "kill -9"

// allFaults returns the faults in the order in which histories try them.
func allFaults() (faults []*fault) {
	faults = placeFaults()
	kill := &fault{name: killName, stop: syscall.SIGKILL}
	faults = append(faults, kill, &fault{name: "stop (SIGTERM)", stop: syscall.SIGTERM})
	for _, damage := range damages {
		for _, target := range targets {
			faults = append(faults, &fault{
				name: target.name + ": " + damage.name, stop: target.stop, loses: target.loses,
				harm: func(m *machine, d draw) error {
					files := m.files(strings.ReplaceAll(target.pattern, "{tenant}", m.tenants[d.Tenant].id.String()))
					if len(files) == 0 {
						return errNothing
					}
					return damage.do(files[d.Which%len(files)], d)
				},
			})
		}
		faults = append(faults, kill)
	}
	remove := func(patterns ...string) func(*machine, draw) error {
		return func(m *machine, d draw) error {
			for _, pattern := range patterns {
				for _, path := range m.files(strings.ReplaceAll(pattern, "{tenant}", m.tenants[d.Tenant].id.String())) {
					if err := os.RemoveAll(path); err != nil {
						return err
					}
				}
			}
			return nil
		}
	}
	return append(faults,
		&fault{name: "store and its log: deleted", stop: syscall.SIGKILL, loses: losesTenant,
			harm: remove("warehouse/{tenant}.duckdb*")},
		&fault{name: "store: deleted, server running", loses: losesTenant, harm: remove("warehouse/{tenant}.duckdb")},
		&fault{name: "store: replaced by another tenant's", stop: syscall.SIGTERM, loses: losesTenant,
			harm: func(m *machine, d draw) error {
				path := func(number int) string {
					return filepath.Join(m.srv.data, "warehouse", m.tenants[number%tenantsPerHistory].id.String()+".duckdb")
				}
				return copyFile(path(d.Tenant+1), path(d.Tenant))
			}},
		&fault{name: "all stores: deleted", stop: syscall.SIGTERM, loses: losesTenants, harm: remove("warehouse/*")},
		&fault{name: "control database and its log: deleted", stop: syscall.SIGKILL, harm: remove("control.duckdb*")},
		&fault{name: "lake/: deleted", stop: syscall.SIGKILL, loses: losesFilesOnly, harm: remove("lake")},
		&fault{name: "published/: deleted", stop: syscall.SIGKILL, loses: losesFilesOnly, harm: remove("published")},
		&fault{name: "lake/ and published/: deleted", stop: syscall.SIGTERM, loses: losesFilesOnly,
			harm: remove("lake", "published")},
		&fault{name: "lake/ and published/: deleted, server running", loses: losesFilesOnly,
			harm: remove("lake/*", "published/*")},
		kill,
	)
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// promises that are checked after each fault. Each is a column of the table.
const (
	startsAlone  = "starts by itself"
	startsNamed  = "starts after the named command"
	healsPromise = "heals without a restart"
	rowsPromise  = "acknowledged rows, once"
	feedPromise  = "change feed"
	pushPromise  = "repeated pushes"
	filesPromise = "files and SQL"
	tornPromise  = "no torn file"
	keysPromise  = "keys"
	otherPromise = "other tenants served"
	verifyAlone  = "verified as it is"
	verifyNamed  = "verified after repair"
)

// suffer lets the tasks run, applies the fault, brings the server back, and checks all promises.
func (m *machine) suffer(f *fault, d draw, tasks []task) error {
	m.crashing.Store(true)
	defer m.crashing.Store(false)
	if f.before != nil {
		if err := f.before(m, d); err != nil {
			return err
		}
	}
	wait := m.start(tasks)
	if f.stop != 0 {
		<-time.After(d.Delay) // the moment of the fault
		if f.atOnce != nil {
			if err := f.atOnce(m, d); err != nil {
				return errors.Join(err, wait())
			}
		}
		if err := m.srv.stop(f.stop); err != nil && f.stop != syscall.SIGKILL {
			return errors.Join(fmt.Errorf("stop: %w", err), wait())
		}
	}
	if err := wait(); err != nil {
		return err
	}
	if f.after != nil {
		if err := f.after(m, d); errors.Is(err, errNothing) {
			m.crashing.Store(false)
			m.settleUnanswered()
			return nil
		} else if err != nil {
			return err
		}
	}
	m.crashing.Store(false)
	if !m.srv.running() && !f.power {
		if err := m.check(f, tornPromise, m.checkTorn()); err != nil {
			return err
		}
	}
	if f.harm != nil {
		if err := f.harm(m, d); errors.Is(err, errNothing) {
			f = &fault{name: killName, stop: f.stop}
		} else if err != nil {
			return fmt.Errorf("damage: %w", err)
		}
		if err := m.sync(); err != nil {
			return err
		}
	}
	m.results.tried(f)
	if f.power {
		if err := m.check(f, tornPromise, m.checkTorn()); err != nil {
			return err
		}
	}
	if err := m.recover(f); err != nil {
		return err
	}
	if f.before != nil {
		if err := m.check(f, healsPromise, m.heal()); err != nil {
			return err
		}
	}
	m.settleUnanswered()
	return m.checkPromises(f, d)
}

// sync makes the damage durable, so that a later power cut does not undo it.
func (m *machine) sync() error {
	return filepath.WalkDir(m.srv.data, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && !entry.IsDir() && !entry.Type().IsRegular() {
			return nil // a running server may remove files
		}
		if err != nil {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}

// check counts a try of a promise, and returns err.
func (m *machine) check(f *fault, promise string, err error) error {
	m.results.count(f, promise, err == nil)
	if err != nil {
		return fmt.Errorf("%s: %s: %w", f.name, promise, err)
	}
	return nil
}

var namedCommand = regexp.MustCompile("voicory (repair|verify)[a-z0-9 -]*")

// recover starts the server if it is stopped, and runs the command that it or voicory verify names.
func (m *machine) recover(f *fault) error {
	if !m.srv.running() {
		err := m.srv.start(m.ctx)
		var exit *exitError
		if errors.As(err, &exit) {
			if !namedCommand.MatchString(exit.output) {
				return m.check(f, startsAlone, fmt.Errorf("the server names no command: %w", err))
			}
			if repaired, status, err := m.srv.document(m.ctx, "repair"); err != nil || status != 0 {
				return m.check(f, startsNamed, errors.Join(err, fmt.Errorf("%w; repair: exit status %d: %+v", exit, status,
					repaired)))
			}
			if err := m.check(f, startsNamed, m.srv.start(m.ctx)); err != nil {
				return err
			}
		} else if err := m.check(f, startsAlone, err); err != nil {
			return err
		}
	}
	return nil
}

const (
	healTimeout = 2 * time.Minute
	healPause   = 200 * time.Millisecond // between two looks
)

// heal waits until the server serves and has published everything again, without a restart, a push or a command.
func (m *machine) heal() (err error) {
	for deadline := time.Now().Add(healTimeout); time.Now().Before(deadline); time.Sleep(healPause) {
		if err = m.readAllTenants(); err == nil || errors.Is(err, errWrong) {
			return err
		}
	}
	return fmt.Errorf("%v after the last error of the disk: %w", healTimeout, err)
}

// readAllTenants reads all rows, and compares the published ones with them. Rows that are not published yet are an
// error, but not errWrong.
func (m *machine) readAllTenants() (err error) {
	for _, one := range m.tenants {
		all := map[rowKey]int64{}
		for _, dataset := range datasets {
			rows, failed := m.readAll(one, dataset, "export")
			if failed != nil {
				return failed
			}
			maps.Copy(all, rows)
		}
		if failed := m.checkPublished(one, all); failed != nil {
			return fmt.Errorf("not published: %v", failed) //nolint:errorlint // the publisher may need some time
		}
	}
	return nil
}

// readBefore reads everything before a repair. Each answer must be right or an error, and tenants that the fault does
// not concern must be served.
func (m *machine) readBefore(f *fault, d draw) error {
	var others error
	for number, one := range m.tenants {
		for _, dataset := range datasets {
			_, err := m.readAll(one, dataset, "export")
			if errors.Is(err, errWrong) {
				return m.check(f, rowsPromise, err)
			}
			if err != nil && (f.loses != losesTenant || number != d.Tenant) && f.loses != losesTenants &&
				f.loses != losesFilesOnly {
				others = errors.Join(others, err)
			}
			if _, err := m.client(one).files(m.ctx, dataset); errors.Is(err, errWrong) {
				return m.check(f, filesPromise, err)
			}
		}
		if _, err := m.sqlVersions(one); errors.Is(err, errWrong) {
			return m.check(f, filesPromise, err)
		}
	}
	if err := m.check(f, otherPromise, others); err != nil {
		return err
	}
	if err := m.hist.check(); err != nil {
		return m.check(f, rowsPromise, fmt.Errorf("%w: %w", errWrong, err))
	}
	return nil
}

// checkPromises checks all promises on the server that runs after the fault.
func (m *machine) checkPromises(f *fault, d draw) error {
	if err := m.readBefore(f, d); err != nil {
		return err
	}
	damaged, err := m.repair(f)
	if err != nil {
		return err
	}
	if f.loses == losesTenant || f.loses == losesTenants || f.forgets {
		m.forget(f, d)
	}
	if err := m.publish(); err != nil {
		return m.check(f, filesPromise, err)
	}
	found := map[rowKey]int64{}
	lossy := func(one *tenant) bool {
		return damaged[one.id.String()] && (f.loses == losesTenants || f.loses == losesTenant && one == m.tenants[d.Tenant])
	}
	for _, one := range m.tenants {
		rows := map[rowKey]int64{}
		for _, dataset := range datasets {
			var part map[rowKey]int64
			if lossy(one) {
				items, err := m.client(one).export(m.ctx, dataset)
				if err == nil {
					part, err = m.versions(one, dataset, items)
				}
				if err != nil {
					return m.check(f, rowsPromise, err)
				}
			} else {
				part, err = m.readAll(one, dataset, "export")
				if err != nil {
					return m.check(f, rowsPromise, err)
				}
			}
			for key, version := range part {
				rows[key], found[key] = version, version
			}
		}
		if lossy(one) {
			lost, err := m.hist.lose(rows)
			if err != nil {
				return m.check(f, rowsPromise, err)
			}
			m.results.lost(f, lost)
		}
		if err := m.checkPublished(one, rows); err != nil {
			return m.check(f, filesPromise, err)
		}
	}
	m.results.count(f, filesPromise, true)
	if err := m.check(f, rowsPromise, m.hist.check()); err != nil {
		return err
	}
	m.hist.settle(found, true)
	for _, one := range m.tenants {
		for _, dataset := range datasets {
			if err := m.followAgain(f, one, dataset); err != nil {
				return m.check(f, feedPromise, err)
			}
		}
	}
	if err := m.check(f, feedPromise, m.hist.check()); err != nil {
		return err
	}
	if err := m.check(f, pushPromise, m.checkPushesAgain()); err != nil {
		return err
	}
	return m.check(f, keysPromise, m.checkKeys())
}

// repair verifies the folder and runs the commands that the findings name, until it is sound. It returns the tenants
// with findings.
func (m *machine) repair(f *fault) (damaged map[string]bool, err error) {
	damaged = map[string]bool{}
	promise := verifyAlone
	for range 4 {
		found, status, err := m.srv.document(m.ctx, "verify")
		if err != nil {
			return nil, m.check(f, promise, err)
		}
		if status == 0 {
			if err := m.check(f, promise, nil); err != nil {
				return nil, err
			}
			return damaged, m.startAgain()
		}
		promise = verifyNamed
		stopped := false
		for _, one := range found.Findings {
			damaged[one.Tenant] = true
			if !one.Information && !strings.HasPrefix(one.Command, "voicory repair") {
				return nil, m.check(f, promise, fmt.Errorf("verify names no repair: %+v", one))
			}
			stopped = stopped || strings.HasPrefix(one.Kind, "control_") || one.Kind == "journal_damaged" ||
				one.Kind == "mark_damaged"
		}
		if stopped { // repaired only while no server runs
			if err := m.srv.stop(syscall.SIGTERM); err != nil {
				return nil, m.check(f, promise, err)
			}
		}
		repaired, status, err := m.srv.document(m.ctx, "repair")
		if err != nil || status != 0 {
			return nil, m.check(f, promise, errors.Join(err, fmt.Errorf("repair: exit status %d: %+v", status, repaired)))
		}
		for _, one := range repaired.Repairs {
			damaged[one.Tenant] = true
		}
		if err := m.startAgain(); err != nil {
			return nil, m.check(f, startsNamed, err)
		}
	}
	return nil, m.check(f, promise, errors.New("findings remain after four repairs"))
}

func (m *machine) startAgain() error {
	if m.srv.running() {
		return nil
	}
	return m.srv.start(m.ctx)
}

// forget drops the pushes whose idempotency records a rebuilt store may have lost.
func (m *machine) forget(f *fault, d draw) {
	m.pushes = slices.DeleteFunc(m.pushes, func(p *repeatedPush) bool {
		return f.loses == losesTenants || f.forgets || p.tenant == d.Tenant
	})
}

// followAgain follows the change feed from where the follower was. If the store has a new history, or the signing key
// is new, the server must say so, and the follower begins again.
func (m *machine) followAgain(f *fault, one *tenant, dataset string) error {
	err := m.follow(one, dataset)
	var got *answerError
	if errors.As(err, &got) && got.status == http.StatusBadRequest && got.code() == "INVALID_CURSOR" && m.newHistory(f) {
		known := m.followers[one.id.String()+dataset]
		known.mu.Lock()
		known.cursor, known.view = "", map[rowKey]int64{}
		known.mu.Unlock()
		return m.follow(one, dataset)
	}
	return err
}

// newHistory reports whether cursors may be refused after the fault.
func (m *machine) newHistory(f *fault) bool {
	return f.loses == losesTenant || f.loses == losesTenants || strings.HasPrefix(f.name, "signing key")
}

// checkPushesAgain repeats the newest pushes and checks the histories of all.
func (m *machine) checkPushesAgain() error {
	for _, p := range m.pushes[max(0, len(m.pushes)-3):] {
		if err := m.push(p.body, p); err != nil {
			return err
		}
	}
	if err := m.checkPushes(); err != nil {
		return err
	}
	for _, one := range m.tenants {
		for _, dataset := range datasets {
			if _, err := m.readAll(one, dataset, "pages"); err != nil {
				return err
			}
		}
	}
	return m.hist.check()
}

func (m *machine) checkKeys() error {
	for _, one := range m.tenants {
		for _, key := range one.keys {
			var p page
			if err := (client{m.srv.address, key.Key}).get(m.ctx, "/api/v1/calls?limit=1", &p); err != nil {
				return fmt.Errorf("valid key %s: %w", key.ID, err)
			}
		}
		for _, key := range one.gone {
			if err := m.checkRevoked(key); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkTorn reads the files of a stopped folder. Each file of the lake has the bytes that its published name says.
func (m *machine) checkTorn() error {
	hashes := map[string]bool{}
	for _, path := range m.files("published/*/*.parquet") {
		sum, err := fileHash(path)
		if err != nil {
			return err
		}
		name := strings.TrimSuffix(filepath.Base(path), ".parquet")
		if _, err := uuid.Parse(filepath.Base(filepath.Dir(path))); err == nil && !strings.HasSuffix(name, sum[:16]) {
			return fmt.Errorf("%s has SHA-256 %s", path, sum)
		}
		hashes[sum] = true
	}
	for _, path := range append(m.files("lake/*/*/*.parquet"), m.files("lake/*/*/*/*.parquet")...) {
		sum, err := fileHash(path)
		if err != nil {
			return err
		}
		if !hashes[sum] {
			return fmt.Errorf("%s has SHA-256 %s, which no published file has", path, sum)
		}
	}
	return nil
}
