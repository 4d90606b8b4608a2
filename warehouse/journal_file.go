package warehouse

import (
	"os"

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
	if err == nil && len(j.Damaged()) > 0 {
		f.log.Error("journal is damaged; the entries of these lines are lost", "file", f.join(journalFile),
			"lines", j.Damaged())
	}
	return j, err
}
