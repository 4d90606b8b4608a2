package warehouse

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
)

// Refusal is a row, or a whole file (line 0, without a row), that was not taken in.
type Refusal struct {
	Name    string `json:"quarantine,omitempty"` // of the file of the quarantine that keeps it, where that was asked
	File    string `json:"file"`                 // where it came from: a file, or a source
	Line    int64  `json:"line"`                 // there; 0 for rows of a source
	Dataset string `json:"dataset,omitempty"`
	Tenant  string `json:"tenant_id,omitempty"` // whose it is, unless that was for the row itself to say
	Reason  string `json:"reason"`
	Row     string `json:"row,omitempty"` // as it came
}

// quarantine is what is kept of refused rows: files of the folder quarantine/, within a limit.
type quarantine struct {
	replaying sync.Mutex // one replay at a time

	mu      sync.Mutex
	room    int64 // bytes
	dropped int64 // rows since the start
}

const (
	// maxRefusals bounds the refusals that are handed back, to be shown; the quarantine holds all.
	maxRefusals   = 10
	refusedSuffix = ".ndjson"
	// replayingSuffix marks a file that is being taken in again. After a crash it still is there, to be taken in by the next replay.
	replayingSuffix = ".replaying"
)

// quarantine writes the refused rows of the staged batch down as NDJSON, and returns the first of them and how many refused rows,
// of this batch or before, there was no room for.
func (w *Warehouse) quarantine(ctx context.Context, conn *sql.Conn, batch Batch, refused int64) (refusals []Refusal, dropped int64, err error) {
	tenant, line := "NULL", "line"
	if batch.Tenant != uuid.Nil {
		tenant = statements.Text(batch.Tenant.String())
	}
	if batch.NoLineNumbers {
		line = "0" // it would make other rows of what was refused before
	}
	query := statements.Fill("quarantine/refused", "origin", statements.Text(batch.Origin), "dataset", statements.Text(batch.Dataset.Name), "tenant", tenant, "line", line,
		"room", fmt.Sprint(w.refused.room))
	temp := w.quarantineTemp()
	defer func() { _ = w.folder.removeIfThere(temp) }() // start-up removes it, too
	if err := w.folder.forDuckDB(temp); err != nil {
		return nil, 0, err
	}
	result, err := conn.ExecContext(ctx, "COPY ("+query+") TO "+statements.Text(temp)+" (FORMAT json)")
	if err != nil {
		return nil, 0, fmt.Errorf("write quarantine: %w", err)
	}
	kept, err := result.RowsAffected()
	if err != nil {
		return nil, 0, fmt.Errorf("write quarantine: %w", err)
	}
	if dropped, err = w.keepRefused(temp, batch.Origin, refused-kept); err != nil {
		return nil, 0, err
	}
	rows, err := conn.QueryContext(ctx, "SELECT line, reason FROM ("+query+" LIMIT $limit)", sql.Named("limit", maxRefusals))
	if err != nil {
		return nil, 0, fmt.Errorf("read refused rows: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		refusal := Refusal{File: batch.Origin, Dataset: batch.Dataset.Name}
		if err := rows.Scan(&refusal.Line, &refusal.Reason); err != nil {
			return nil, 0, fmt.Errorf("read refused rows: %w", err)
		}
		refusals = append(refusals, refusal)
	}
	return refusals, dropped, rows.Err()
}

// RefuseFile puts a file that could not be read (to its end) into quarantine, by name and reason.
func (w *Warehouse) RefuseFile(refusal Refusal) error {
	text, err := json.Marshal(refusal)
	if err != nil {
		return err
	}
	temp := w.quarantineTemp()
	defer func() { _ = w.folder.removeIfThere(temp) }() // start-up removes it, too
	if err := w.folder.writeFile(temp, append(text, '\n')); err != nil {
		return w.diagnose(fmt.Errorf("write quarantine: %w", err))
	}
	_, err = w.keepRefused(temp, refusal.File, 0)
	return w.diagnose(err)
}

// keepRefused gives a written quarantine file its name: the origin's and a digest of what it holds, so that the same
// refused rows, met again, are the same file. It returns how many rows were dropped to make room for it, and lost before.
func (w *Warehouse) keepRefused(temp, origin string, lost int64) (dropped int64, err error) {
	written, err := w.folder.open(temp)
	if err != nil {
		return 0, fmt.Errorf("write quarantine: %w", err)
	}
	defer written.Close()
	digest := sha256.New()
	if _, err := io.Copy(digest, written); err != nil {
		return 0, fmt.Errorf("write quarantine: %w", err)
	}
	name := quarantineName(origin) + "." + hex.EncodeToString(digest.Sum(nil))[:16] + refusedSuffix
	path := filepath.Join(w.dir, quarantineDir, name)
	w.refused.mu.Lock()
	defer w.refused.mu.Unlock()
	err = errors.Join(w.folder.sync(temp), w.folder.rename(temp, path))
	if err == nil {
		dropped, err = w.makeRoom(name)
	}
	if err = errors.Join(err, w.folder.sync(filepath.Dir(path))); err != nil {
		return 0, fmt.Errorf("write quarantine: %w", err)
	}
	w.refused.dropped += lost + dropped
	return lost + dropped, nil
}

// makeRoom removes the oldest files, but never the newest, until the others fit; it returns how many rows they had.
func (w *Warehouse) makeRoom(newest string) (dropped int64, err error) {
	infos, err := w.quarantined()
	if err != nil {
		return 0, err
	}
	size := int64(0)
	for _, info := range infos {
		size += info.Size()
	}
	for _, info := range infos {
		if size <= w.refused.room {
			break
		}
		if info.Name() == newest || strings.HasSuffix(info.Name(), replayingSuffix) {
			continue
		}
		path := filepath.Join(w.dir, quarantineDir, info.Name())
		rows, _, err := w.measureLines(path)
		if err == nil {
			err = w.folder.remove(path)
		}
		if err != nil {
			return dropped, err
		}
		size -= info.Size()
		dropped += rows
	}
	return dropped, nil
}

// measureLines counts the lines of a file, and the bytes of the longest.
func (w *Warehouse) measureLines(path string) (lines, longest int64, err error) {
	file, err := w.folder.open(path)
	if err != nil {
		return 0, 0, err
	}
	defer file.Close()
	length, in := int64(0), bufio.NewReaderSize(file, 64<<10)
	for {
		part, err := in.ReadSlice('\n')
		length += int64(len(part))
		longest = max(longest, length)
		switch {
		case err == nil:
			lines++
			length = 0
		case errors.Is(err, io.EOF):
			return lines, longest, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return lines, longest, err
		}
	}
}

// quarantined lists the files of the quarantine, oldest first.
func (w *Warehouse) quarantined() (infos []fs.FileInfo, err error) {
	entries, err := w.folder.readDir(w.folder.join(quarantineDir))
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		if !strings.HasSuffix(strings.TrimSuffix(entry.Name(), replayingSuffix), refusedSuffix) || strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		infos = append(infos, info)
	}
	slices.SortFunc(infos, func(a, b fs.FileInfo) int {
		return cmp.Or(a.ModTime().Compare(b.ModTime()), strings.Compare(a.Name(), b.Name()))
	})
	return infos, nil
}

// DroppedRefusals counts the refused rows that the quarantine had no room for since the start.
func (w *Warehouse) DroppedRefusals() int64 {
	w.refused.mu.Lock()
	defer w.refused.mu.Unlock()
	return w.refused.dropped
}

func (w *Warehouse) quarantineTemp() string {
	return filepath.Join(w.dir, quarantineDir, "."+uuid.NewString()+tempMark)
}

// quarantineName is the origin's base name, of a length and an alphabet that every file system takes.
func quarantineName(origin string) string {
	name := strings.Map(func(r rune) rune {
		if r == '.' || r == '-' || r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' {
			return r
		}
		return '_'
	}, filepath.Base(origin))
	name = strings.TrimLeft(name, ".-") // neither hidden nor a flag
	if name == "" {
		return "rows"
	}
	return name[:min(len(name), 100)]
}
