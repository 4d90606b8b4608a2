package atomicfile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var errCreate = errors.New("create fails")

// tree maps the names of files below a root to their contents.
type tree map[string]string

func read(t *testing.T, dir string) tree {
	t.Helper()
	got := tree{}
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		got[name] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// Replace leaves either the new content or the old content, and no temporary name.
func TestReplace_AllOrNothing(t *testing.T) {
	file := func(root *os.Root) func(string) error {
		return func(temp string) error { return root.WriteFile(temp, []byte("new"), 0o600) }
	}
	folder := func(root *os.Root) func(string) error {
		return func(temp string) error {
			return errors.Join(root.Mkdir(temp, 0o700), root.WriteFile(filepath.Join(temp, "f"), []byte("new"), 0o600))
		}
	}
	for name, c := range map[string]struct {
		before tree
		create func(root *os.Root) func(string) error
		fails  bool // after it has created its content
		want   tree // nil: as before, with an error
	}{
		"new file":                {tree{}, file, false, tree{"x": "new"}},
		"old file":                {tree{"x": "old"}, file, false, tree{"x": "new"}},
		"new folder":              {tree{}, folder, false, tree{"x/f": "new"}},
		"failing file":            {tree{"x": "old"}, file, true, nil},
		"failing folder":          {tree{}, folder, true, nil},
		"file at a full folder":   {tree{"x/f": "old"}, file, false, nil},
		"folder at a full folder": {tree{"x/g": "old"}, folder, false, nil},
		"folder at a file":        {tree{"x": "old"}, folder, false, nil},
		"neither file nor folder": {tree{"x": "old"}, func(*os.Root) func(string) error {
			return func(string) error { return nil }
		}, false, nil},
		"failing without any content": {tree{"x": "old"}, func(*os.Root) func(string) error {
			return func(string) error { return nil }
		}, true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			root, err := os.OpenRoot(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = root.Close() }() // the files are checked
			for name, content := range c.before {
				if err := errors.Join(root.MkdirAll(filepath.Dir(name), 0o700),
					root.WriteFile(name, []byte(content), 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			err = Replace(root, "x", func(temp string) error {
				if !IsTemp(filepath.Base(temp)) || filepath.Dir(temp) != "." {
					t.Errorf("got %q, want a temporary name beside x", temp)
				}
				if err := c.create(root)(temp); err != nil || !c.fails {
					return err
				}
				return errCreate
			})
			want := c.want
			if want == nil {
				want = c.before
			}
			if (err != nil) != (c.want == nil) || c.fails && !errors.Is(err, errCreate) {
				t.Errorf("got error %v", err)
			}
			got := read(t, dir)
			if len(got) != len(want) {
				t.Errorf("got %v, want %v", got, want)
			}
			for name, content := range want {
				if got[name] != content {
					t.Errorf("%s: got %q, want %q", name, got[name], content)
				}
			}
			entries, _ := os.ReadDir(dir)
			for _, entry := range entries {
				if IsTemp(entry.Name()) {
					t.Errorf("got the temporary name %s, want none", entry.Name())
				}
			}
		})
	}
}

// A symbolic link at the name is replaced itself, and a folder that is a link cannot lead outside the root.
func TestReplace_StaysBelowTheRoot(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	target := filepath.Join(outside, "target")
	err := errors.Join(os.WriteFile(target, []byte("old"), 0o600), os.Symlink(target, filepath.Join(dir, "link")),
		os.Symlink(outside, filepath.Join(dir, "folder")))
	root, err2 := os.OpenRoot(dir)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }() // the files are checked
	if err := WriteFile(root, "link", []byte("new"), 0o600); err != nil {
		t.Error(err)
	}
	if err := WriteFile(root, "folder/x", []byte("new"), 0o600); err == nil {
		t.Error("got no error for a folder outside of the root")
	}
	if got := read(t, outside); len(got) != 1 || got["target"] != "old" {
		t.Errorf("got %v outside of the root, want only the old target", got)
	}
	if info, err := root.Lstat("link"); err != nil || !info.Mode().IsRegular() {
		t.Errorf("got %v, %v, want a regular file", info, err)
	}
}

// Every name that a file system allows has a temporary name that it allows, too.
func TestTempName_Length(t *testing.T) {
	for _, base := range []string{"x", strings.Repeat("x", 255), strings.Repeat("é", 127),
		"a" + strings.Repeat("é", 127)} {
		temp := TempName(filepath.Join("dir", base))
		if got := filepath.Base(temp); filepath.Dir(temp) != "dir" || len(got) > 255 || !IsTemp(got) ||
			strings.ToValidUTF8(got, "") != got {
			t.Errorf("%s: got %q", base, temp)
		}
	}
	if a, b := TempName("x"), TempName("x"); a == b {
		t.Errorf("got %s twice", a)
	}
}
