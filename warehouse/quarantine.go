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

// A Refusal is a refused row, or a file that could not be read (line 0, without a row).
type Refusal struct {
	Name    string `json:"quarantine,omitempty"` // name of the quarantine file; set only in listings of the quarantine
	File    string `json:"file"`                 // origin: a file or a source
	Line    int64  `json:"line"`                 // line in the file, from 1; 0 for rows of a source
	Dataset string `json:"dataset,omitempty"`
	Tenant  string `json:"tenant_id,omitempty"` // the tenant of the whole batch; empty if each row names its tenant
	Reason  string `json:"reason"`
	Row     string `json:"row,omitempty"` // text of the row, unchanged
}

// A quarantine is the state of the folder quarantine/, which holds the files of refused rows.
type quarantine struct {
	replaying sync.Mutex // held by one replay at a time

	mu       sync.Mutex
	maxBytes int64 // size limit of the folder; constant
	dropped  int64 // rows dropped since the start; guarded by mu
}

const (
	// maxRefusals is the maximum number of refusals that a merge returns. The quarantine holds all.
	maxRefusals   = 10
	refusedSuffix = ".ndjson"
	// replayingSuffix marks a file that is being replayed. If a crash leaves the file, the next replay completes it.
	replayingSuffix = ".replaying"
)

// quarantine writes the refused rows of the staged batch to a quarantine file, as NDJSON. It returns the first
// refusals, and the number of refused rows, of this batch and of earlier ones, that were dropped because of the size
// limit.
func (w *Warehouse) quarantine(ctx context.Context, conn *sql.Conn, batch Batch, refused int64) (
	refusals []Refusal, dropped int64, err error,
) {
	tenant, line := "NULL", "line"
	if batch.Tenant != uuid.Nil {
		tenant = statements.Text(batch.Tenant.String())
	}
	if batch.NoLineNumbers {
		line = "0" // so that the same row, refused again, makes the same file
	}
	query := statements.Fill("quarantine/refused", "origin", statements.Text(batch.Origin),
		"dataset", statements.Text(batch.Dataset.Name), "tenant", tenant, "line", line,
		"room", fmt.Sprint(w.refused.maxBytes))
	temp := w.quarantineTemp()
	defer func() { _ = w.folder.removeIfThere(temp) }() // also removed at the next start
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
	rows, err := conn.QueryContext(ctx, "SELECT line, reason FROM ("+query+" LIMIT $limit)",
		sql.Named("limit", maxRefusals))
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

// RefuseFile adds a file that could not be read to its end to the quarantine, with its name and the reason.
func (w *Warehouse) RefuseFile(refusal Refusal) error {
	text, err := json.Marshal(refusal)
	if err != nil {
		return err
	}
	temp := w.quarantineTemp()
	defer func() { _ = w.folder.removeIfThere(temp) }() // also removed at the next start
	if err := w.folder.writeFile(temp, append(text, '\n')); err != nil {
		return fmt.Errorf("write quarantine: %w", err)
	}
	_, err = w.keepRefused(temp, refusal.File, 0)
	return err
}

// keepRefused renames a written quarantine file to its final name, which consists of the origin and a digest of the
// content. So the same rows, refused again, make the same file. It returns lost, the number of rows that were not
// written, plus the number of rows dropped with older files because of the size limit.
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
		dropped, err = w.pruneQuarantine(name)
	}
	if err = errors.Join(err, w.folder.sync(filepath.Dir(path))); err != nil {
		return 0, fmt.Errorf("write quarantine: %w", err)
	}
	w.refused.dropped += lost + dropped
	return lost + dropped, nil
}

// pruneQuarantine removes the oldest files until the remaining files are within the size limit. It keeps the file
// newest and files that are being replayed. It returns the number of rows in the removed files.
func (w *Warehouse) pruneQuarantine(newest string) (dropped int64, err error) {
	infos, err := w.quarantined()
	if err != nil {
		return 0, err
	}
	size := int64(0)
	for _, info := range infos {
		size += info.Size()
	}
	for _, info := range infos {
		if size <= w.refused.maxBytes {
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

// measureLines returns the number of lines of a file, and the length of the longest line in bytes.
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

// quarantined returns the files of the quarantine, oldest first.
func (w *Warehouse) quarantined() (infos []fs.FileInfo, err error) {
	entries, err := w.folder.readDir(w.folder.join(quarantineDir))
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		if !strings.HasSuffix(strings.TrimSuffix(entry.Name(), replayingSuffix), refusedSuffix) ||
			strings.HasPrefix(entry.Name(), ".") {
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

// DroppedRefusals returns the number of refused rows that were dropped since the start because of the size limit of the
// quarantine.
func (w *Warehouse) DroppedRefusals() int64 {
	w.refused.mu.Lock()
	defer w.refused.mu.Unlock()
	return w.refused.dropped
}

func (w *Warehouse) quarantineTemp() string {
	return filepath.Join(w.dir, quarantineDir, "."+uuid.NewString()+tempMark)
}

// quarantineName returns the origin's base name with at most 100 characters of an alphabet that is valid in every file
// system.
func quarantineName(origin string) string {
	name := strings.Map(func(r rune) rune {
		if r == '.' || r == '-' || r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' {
			return r
		}
		return '_'
	}, filepath.Base(origin))
	name = strings.TrimLeft(name, ".-") // the file must not be hidden or look like a flag
	if name == "" {
		return "rows"
	}
	return name[:min(len(name), 100)]
}
