package warehousetest

import (
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/voicory/warehouse/warehouse"
)

// A Template is a data folder that is created once in a process, and copied for each test. To copy a folder takes a
// tenth of the time that its creation takes.
type Template struct {
	fill    func(testing.TB, *warehouse.Warehouse)
	once    sync.Once
	content fstest.MapFS // regular files; set by once
}

// NewTemplate returns the template of a folder with the rows that fill merges. Files that fill publishes lose their
// second names, which are hard links, and become files of their own.
func NewTemplate(fill func(testing.TB, *warehouse.Warehouse)) *Template { return &Template{fill: fill} }

// Copy returns a copy of the template in a new folder.
func (m *Template) Copy(t testing.TB) (dir string) {
	t.Helper()
	m.once.Do(func() { m.make(t) })
	if m.content == nil {
		t.Fatal("the data folder for all tests was not created")
	}
	dir = filepath.Join(t.TempDir(), "data")
	NoError(t, os.CopyFS(dir, m.content))
	NoError(t, os.Chmod(dir, 0o700)) //nolint:gosec // a folder
	return dir
}

// make creates the folder and reads its files.
func (m *Template) make(t testing.TB) {
	dir := t.TempDir()
	w := Open(t, dir)
	m.fill(t, w)
	NoError(t, w.Close())
	content := fstest.MapFS{}
	NoError(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		name, _ := filepath.Rel(dir, path)
		if err != nil || name == "." {
			return err
		}
		file := &fstest.MapFile{Mode: entry.Type() | 0o700}
		if !entry.IsDir() {
			file.Data, err = os.ReadFile(path)
		}
		content[name] = file
		return err
	}))
	m.content = content
}

var empty = NewTemplate(func(testing.TB, *warehouse.Warehouse) {})

// EmptyFolder returns a new data folder without rows.
func EmptyFolder(t testing.TB) (dir string) {
	t.Helper()
	return empty.Copy(t)
}
