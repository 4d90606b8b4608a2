package warehouse

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
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
	Path    string `json:"path,omitempty"`       // of a refused file that can be read again
	File    string `json:"file"`                 // origin: a file or a source
	Line    int64  `json:"line"`                 // line in the file, from 1; 0 for rows of a source
	Dataset string `json:"dataset,omitempty"`
	Tenant  string `json:"tenant_id,omitempty"` // the tenant of the whole batch; empty if each row names its tenant
	Reason  string `json:"reason"`
	Row     string `json:"row,omitempty"`    // text of the row, unchanged
	Header  string `json:"header,omitempty"` // header line of the CSV file, if the row is a line of CSV
}

// Kind returns the reason without the values of the row, so that rows refused for one reason can be counted together.
func (r Refusal) Kind() string {
	parts := strings.Split(r.Reason, "; ")
	for i, part := range parts {
		parts[i], _, _ = strings.Cut(part, ": ")
	}
	return strings.Join(parts, "; ")
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

// quarantine writes the refused rows of the batch to quarantine files, as NDJSON, one or more for each origin. It
// returns the first refusals, and the number of rows of erased customers, which are not written. dropped is the number
// of refused rows, of this batch and of earlier ones, that were dropped because of the size limit.
func (s *Staged) quarantine(ctx context.Context) (refusals []Refusal, erased, dropped int64, err error) {
	s.w.erasures.gate.RLock()
	defer s.w.erasures.gate.RUnlock()
	rows, err := s.slot.conn.QueryContext(ctx, statements.Get("quarantine/refused"))
	if err != nil {
		return nil, 0, 0, fmt.Errorf("read refused rows: %w", err)
	}
	defer rows.Close()
	origins := s.origins
	if len(origins) == 0 {
		origins = []Origin{{Name: s.batch.Origin}}
	}
	out := refusalWriter{w: s.w}
	for rows.Next() {
		refusal := Refusal{Dataset: s.batch.Dataset.Name}
		var defective bool
		if err := rows.Scan(&refusal.Line, &refusal.Reason, &refusal.Row, &defective); err != nil {
			return nil, 0, 0, fmt.Errorf("read refused rows: %w", err)
		}
		for len(origins) > 1 && origins[1].Before < refusal.Line {
			origins = origins[1:]
		}
		refusal.File = origins[0].Name
		refusal.Line -= origins[0].Before
		if s.batch.NoLineNumbers {
			refusal.Line = 0 // so that the same row, refused again, makes the same file
		}
		if s.batch.Tenant != uuid.Nil {
			refusal.Tenant = s.batch.Tenant.String()
		}
		if defective {
			refusal.Header = origins[0].Header
		}
		if s.erasedRefusal(refusal.Row) {
			erased++
			continue
		}
		if err := out.write(refusal); err != nil {
			return nil, 0, 0, err
		}
		s.countReasons(refusal, 1)
		if len(refusals) < maxRefusals {
			refusal.Row, refusal.Header, refusal.Tenant = "", "", ""
			refusals = append(refusals, refusal)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, 0, 0, fmt.Errorf("read refused rows: %w", err)
	}
	dropped, err = out.end()
	return refusals, erased, dropped, err
}

// maxReasons is the maximum number of reasons that are counted separately.
const maxReasons = 100

// countReasons adds refusals to the counts that Reasons returns.
func (s *Staged) countReasons(refusal Refusal, rows int64) {
	reason := refusal.Dataset + ": " + refusal.Kind()
	if _, ok := s.reasons[reason]; !ok && len(s.reasons) >= maxReasons {
		reason = "other reasons"
	}
	if s.reasons == nil {
		s.reasons = map[string]int64{}
	}
	s.reasons[reason] += rows
}

// Reasons returns the number of rows that Merge has refused, by dataset and reason.
func (s *Staged) Reasons() map[string]int64 { return s.reasons }

// maxQuarantineFile is the number of bytes from which the refused rows of an origin are split into several files.
const maxQuarantineFile = 16 << 20

// A refusalWriter writes refusals to quarantine files. It holds at most one file in memory.
type refusalWriter struct {
	w        *Warehouse
	origin   string
	text     bytes.Buffer
	written  int64 // bytes of all files
	overflow int64 // rows that do not fit into the quarantine
}

// write adds a refusal to the file of its origin.
func (o *refusalWriter) write(refusal Refusal) error {
	if refusal.File != o.origin || o.text.Len() >= maxQuarantineFile {
		if err := o.flush(); err != nil {
			return err
		}
		o.origin = refusal.File
	}
	if o.written += int64(len(refusal.Row) + len(refusal.Reason)); o.written > o.w.refused.maxBytes {
		o.overflow++
		return nil
	}
	encoder := json.NewEncoder(&o.text)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(refusal)
}

// flush writes the rows of the current file.
func (o *refusalWriter) flush() error {
	if o.text.Len() == 0 {
		return nil
	}
	defer o.text.Reset()
	return o.w.writeRefused(o.text.Bytes(), o.origin)
}

// end writes the last file and removes old files beyond the size limit. It returns the number of dropped rows.
func (o *refusalWriter) end() (dropped int64, err error) {
	if err := o.flush(); err != nil {
		return 0, err
	}
	return o.w.pruneQuarantine(o.overflow)
}

// RefuseFile adds a file that could not be read to its end to the quarantine, with its name and the reason.
func (w *Warehouse) RefuseFile(refusal Refusal) error {
	text, err := json.Marshal(refusal)
	if err != nil {
		return err
	}
	if err := w.writeRefused(append(text, '\n'), refusal.File); err != nil {
		return err
	}
	_, err = w.pruneQuarantine(0)
	return err
}

// writeRefused writes a quarantine file. Its name consists of the origin and a digest of the content, so the same rows,
// refused again, make the same file.
func (w *Warehouse) writeRefused(text []byte, origin string) error {
	digest := sha256.Sum256(text)
	name := quarantineName(origin) + "." + hex.EncodeToString(digest[:])[:16] + refusedSuffix
	if err := w.folder.writeFileAtomic(filepath.Join(w.dir, quarantineDir, name), text); err != nil {
		return fmt.Errorf("write quarantine: %w", err)
	}
	return nil
}

// pruneQuarantine removes the oldest files until the remaining files are within the size limit. It keeps the newest
// file and files that are being replayed. It returns lost, a number of rows that were not written, plus the number of
// rows in the removed files.
func (w *Warehouse) pruneQuarantine(lost int64) (dropped int64, err error) {
	w.refused.mu.Lock()
	defer w.refused.mu.Unlock()
	infos, err := w.quarantined()
	if err != nil {
		return 0, err
	}
	size := int64(0)
	for _, info := range infos {
		size += info.Size()
	}
	dropped = lost
	for i, info := range infos {
		if size <= w.refused.maxBytes {
			break
		}
		if i == len(infos)-1 || strings.HasSuffix(info.Name(), replayingSuffix) || !info.Mode().IsRegular() {
			continue
		}
		path := filepath.Join(w.dir, quarantineDir, info.Name())
		rows, err := w.countLines(path)
		if err == nil {
			err = w.folder.remove(path)
		}
		if err != nil {
			return dropped, err
		}
		size -= info.Size()
		dropped += rows
	}
	w.refused.dropped += dropped
	return dropped, nil
}

// countLines returns the number of lines of a file.
func (w *Warehouse) countLines(path string) (lines int64, err error) {
	file, err := w.folder.open(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	for in := bufio.NewReaderSize(file, 64<<10); ; {
		_, err := in.ReadSlice('\n')
		switch {
		case err == nil:
			lines++
		case errors.Is(err, io.EOF):
			return lines, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return lines, err
		}
	}
}

// quarantined returns the files of the quarantine, oldest first.
func (w *Warehouse) quarantined() (infos []fs.FileInfo, err error) {
	entries, err := w.folder.readDir(w.folder.join(quarantineDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // the next refused row creates the folder again
	}
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		if !isQuarantineFile(entry.Name()) {
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

// isQuarantineFile reports whether the name is that of a file of refused rows.
func isQuarantineFile(name string) bool {
	return strings.HasSuffix(strings.TrimSuffix(name, replayingSuffix), refusedSuffix) && !strings.HasPrefix(name, ".")
}

// DroppedRefusals returns the number of refused rows that were dropped since the start because of the size limit of the
// quarantine.
func (w *Warehouse) DroppedRefusals() int64 {
	w.refused.mu.Lock()
	defer w.refused.mu.Unlock()
	return w.refused.dropped
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
