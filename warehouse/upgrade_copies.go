package warehouse

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	statements "github.com/voicory/warehouse/sql"
)

// maxUpgradeCopies bounds the bytes of the copies of one upgrade. The copy of a larger database is kept alone.
const maxUpgradeCopies = 20 << 30

// upgradePrefix begins the names of the folders in repaired/ that hold copies of before an upgrade.
const upgradePrefix = "before-"

// keepBeforeUpgrade copies a database file that no instance has attached, and its logs, before a migration changes it:
// to repaired/before-<kind>-schema-<version>/<path>. The copy stays until the operator removes it, until the copies
// exceed their bound, or until an erasure or the deletion of a tenant removes all copies. A copy that exists is of an
// earlier try, and stays.
func (w *Warehouse) keepBeforeUpgrade(kind, path string) error {
	name, err := w.folder.resolve(path)
	if err != nil {
		return err
	}
	upgrade := fmt.Sprintf("%s%s-schema-%d", upgradePrefix, kind, len(statements.Migrations(kind)))
	to := w.folder.join(filepath.Join(repairedDir, upgrade, name))
	if exists, err := w.folder.exists(to); err != nil || exists {
		return err
	}
	if err := w.folder.mkdir(filepath.Dir(to)); err != nil {
		return err
	}
	info, err := w.folder.root.Lstat(name)
	if err != nil {
		return err
	}
	if err := w.folder.removeOldest(filepath.Dir(to), max(0, maxUpgradeCopies-info.Size())); err != nil {
		return err
	}
	for _, suffix := range append(walSuffixes, "") { // the database last: a copy without it is not complete
		exists, err := w.folder.exists(path + suffix)
		if err == nil && exists {
			err = w.folder.writeAtomic(to+suffix, func(temp string) error { return w.folder.copyTo(path+suffix, temp) })
		}
		if err != nil {
			return err
		}
	}
	w.folder.log.Info("database copied before its upgrade", "file", name,
		"copy", filepath.Join(repairedDir, upgrade, name))
	return nil
}

// copyTo copies a file to a new one.
func (f *dataFolder) copyTo(path, temp string) error {
	from, err := f.open(path)
	if err != nil {
		return err
	}
	defer from.Close()
	name, err := f.resolve(temp)
	if err != nil {
		return err
	}
	file, err := f.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, privateFile)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, from)
	return errors.Join(err, file.Close())
}
