package warehouse

import (
	"context"
	"fmt"
	"os"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse/journal"
)

// openJournal opens the journal of the folder, and creates a missing one. Damaged lines are logged: the other entries
// count.
func (f *dataFolder) openJournal() (*journal.Journal, error) {
	j, err := journal.Open(func() (*os.File, error) {
		name, err := f.resolve(f.join(journalFile))
		if err != nil {
			return nil, err
		}
		file, err := f.root.OpenFile(name, os.O_RDWR|os.O_CREATE, privateFile)
		if err != nil {
			return nil, err
		}
		if err := f.sync(f.path); err != nil { // the name of a new file
			file.Close()
			return nil, err
		}
		return file, nil
	})
	if err == nil {
		j.OnFailedWrite(func(err error) error { return f.noteWrite(f.join(journalFile), err) })
	}
	if err == nil && len(j.Damaged()) > 0 {
		f.log.Error("journal is damaged; the entries of these lines are lost", "file", f.join(journalFile),
			"lines", j.Damaged())
	}
	return j, err
}

// completeJournal adds the entries that the journal has lost from their copy in the control database, and keeps the
// copy complete. Damaged lines are a condition until a repair removes them.
func (w *Warehouse) completeJournal(ctx context.Context) error {
	damaged := w.journal.Damaged()
	if len(damaged) > 0 {
		w.conditions.set(uuid.Nil, JournalDamaged, journalFile,
			fmt.Errorf("the checksums of lines %s do not match; run `voicory repair`", numbers(damaged)))
	}
	added, err := w.MirrorJournal(ctx, w.journal, func(err error) {
		w.folder.log.Warn("journal has entries that the control database lacks; the next start adds them", "error", err)
	})
	if added > 0 {
		w.folder.log.Warn("entries that the journal lacked are added from the control database", "entries", added,
			"file", w.folder.join(journalFile))
	}
	return err
}
