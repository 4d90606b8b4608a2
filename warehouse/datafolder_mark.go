package warehouse

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/voicory/warehouse/internal/atomicfile"
)

// folderMark is the content of the mark file.
type folderMark struct {
	Format   int      `json:"format"`
	LakeMode LakeMode `json:"lake_mode"`
	// Published is the format of all published files, see publishedFormat; 0: files may have an older format.
	Published int `json:"published_format,omitempty"`
}

// recognize reads the mark. It writes one into an empty folder, sets adopted for a folder of the layout without a
// mark, and refuses any other folder. Nothing else is created, changed or deleted.
func (f *dataFolder) recognize(opts Options) error {
	if err := f.checkParts(); err != nil {
		return err
	}
	mark, err := f.readMark()
	if err == nil {
		f.mark = mark
		if f.mark.Format > folderFormat {
			return fmt.Errorf("%w: it was written by a newer version (format %d, this binary knows %d); upgrade voicory",
				ErrInvalid, f.mark.Format, folderFormat)
		}
		f.setLake, f.marked = opts.LakeMode, true
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	entries, err := f.readDir(f.path)
	if err != nil {
		return err
	}
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool {
		return e.Name() == lostAndFound || atomicfile.IsTemp(e.Name())
	})
	switch {
	case len(entries) > 0:
		if f.adopted = f.hasEarlierLayout(); !f.adopted {
			return fmt.Errorf("%w: it is not a data folder of voicory and not empty (it contains %q); name another with --data",
				ErrInvalid, entries[0].Name())
		}
		f.mark = folderMark{Format: folderFormat, LakeMode: cmp.Or(opts.LakeMode, f.presentLakeMode())}
		return nil
	case opts.MustExist:
		return errNoFolder
	}
	f.mark = folderMark{folderFormat, cmp.Or(opts.LakeMode, LakePrivate), publishedFormat}
	return f.writeMark()
}

// readMark reads the mark. It returns ErrInvalid if the mark is damaged.
func (f *dataFolder) readMark() (mark folderMark, err error) {
	text, err := f.readFile(f.join(markFile))
	if err != nil {
		return mark, err
	}
	if err := json.Unmarshal(text, &mark); err != nil || mark.Format < 1 || lakeAccess[mark.LakeMode].dir == 0 {
		return mark, fmt.Errorf("%w: %s is damaged; run `voicory repair`", ErrInvalid, markFile)
	}
	return mark, nil
}

// writeMark writes the mark. Processes that write the mark at the same time write the same content.
func (f *dataFolder) writeMark() error {
	text, err := json.Marshal(f.mark)
	if err != nil {
		return err
	}
	return f.writeFileAtomic(f.join(markFile), append(text, '\n'))
}

// hasEarlierLayout reports whether the folder was written by a version that wrote no mark: everything that such a
// version created before its first answer is there, and control.duckdb is a DuckDB file.
func (f *dataFolder) hasEarlierLayout() bool {
	for _, dir := range []string{warehouseDir, lakeDir, quarantineDir, tempDir} {
		if info, err := f.root.Lstat(dir); err != nil || !info.IsDir() {
			return false
		}
	}
	if info, err := f.root.Lstat(lockFile); err != nil || !info.Mode().IsRegular() {
		return false
	}
	file, err := f.open(f.join(controlFile))
	if err != nil {
		return false
	}
	defer file.Close()
	magic := make([]byte, 12) // 8 bytes of checksum before it
	_, err = file.ReadAt(magic, 0)
	return err == nil && string(magic[8:]) == "DUCK"
}

// presentLakeMode returns the widest lake mode that lake/ has the permissions of, so that adoption takes access from
// no reader.
func (f *dataFolder) presentLakeMode() LakeMode {
	info, err := f.root.Lstat(lakeDir)
	switch {
	case err == nil && info.Mode().Perm()&0o005 == 0o005:
		return LakeWorld
	case err == nil && info.Mode().Perm()&0o050 == 0o050:
		return LakeGroup
	}
	return LakePrivate
}

// adopt writes the mark into a folder that had none, once its control database was opened.
func (f *dataFolder) adopt() error {
	if !f.adopted {
		return nil
	}
	if err := f.writeMark(); err != nil {
		return err
	}
	f.adopted = false
	f.log.Warn("data folder of an earlier version adopted", "data", f.path, "lake_mode", string(f.mark.LakeMode))
	return nil
}
