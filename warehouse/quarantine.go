package warehouse

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
)

// Refusal is a row, or a whole file (line 0), that was not taken in.
type Refusal struct {
	File    string `json:"file"`
	Line    int64  `json:"line"`
	Dataset string `json:"dataset,omitempty"`
	Reason  string `json:"reason"`
	Row     string `json:"row,omitempty"` // as it came
}

// maxRefusals bounds the refusals that are handed back, to be shown; the quarantine holds all.
const maxRefusals = 10

// quarantine writes the refused rows of the staged batch down as NDJSON and returns the first of them.
func (w *Warehouse) quarantine(ctx context.Context, conn *sql.Conn, batch Batch) ([]Refusal, error) {
	query := statements.Fill("merge/refused", "origin", statements.Text(batch.Origin), "dataset", statements.Text(batch.Dataset.Name))
	temp := w.quarantineTemp()
	defer os.Remove(temp)
	if _, err := conn.ExecContext(ctx, "COPY ("+query+") TO "+statements.Text(temp)+" (FORMAT json)"); err != nil {
		return nil, fmt.Errorf("write quarantine: %w", err)
	}
	if err := w.keepRefused(temp, batch.Origin); err != nil {
		return nil, err
	}
	rows, err := conn.QueryContext(ctx, "SELECT line, reason FROM ("+query+" LIMIT $limit)", sql.Named("limit", maxRefusals))
	if err != nil {
		return nil, fmt.Errorf("read refused rows: %w", err)
	}
	defer rows.Close()
	var refusals []Refusal
	for rows.Next() {
		refusal := Refusal{File: batch.Origin, Dataset: batch.Dataset.Name}
		if err := rows.Scan(&refusal.Line, &refusal.Reason); err != nil {
			return nil, fmt.Errorf("read refused rows: %w", err)
		}
		refusals = append(refusals, refusal)
	}
	return refusals, rows.Err()
}

// RefuseFile puts a file that could not be read (to its end) into quarantine, by name and reason.
func (w *Warehouse) RefuseFile(refusal Refusal) error {
	text, err := json.Marshal(refusal)
	if err != nil {
		return err
	}
	temp := w.quarantineTemp()
	defer os.Remove(temp)
	if err := os.WriteFile(temp, append(text, '\n'), 0o600); err != nil {
		return w.diagnose(fmt.Errorf("write quarantine: %w", err))
	}
	return w.diagnose(w.keepRefused(temp, refusal.File))
}

// keepRefused gives a written quarantine file its name: the origin's and a digest of what it holds, so that the same
// refused rows, met again, are the same file.
func (w *Warehouse) keepRefused(temp, origin string) error {
	written, err := os.Open(temp)
	if err != nil {
		return fmt.Errorf("write quarantine: %w", err)
	}
	defer written.Close()
	digest := sha256.New()
	if _, err := io.Copy(digest, written); err != nil {
		return fmt.Errorf("write quarantine: %w", err)
	}
	name := quarantineName(origin) + "." + hex.EncodeToString(digest.Sum(nil))[:16] + ".ndjson"
	path := filepath.Join(w.dir, quarantineDir, name)
	if err := errors.Join(syncPath(temp), os.Rename(temp, path), syncPath(filepath.Dir(path))); err != nil {
		return fmt.Errorf("write quarantine: %w", err)
	}
	return nil
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
	name = strings.TrimLeft(name, ".")
	if name == "" {
		return "rows"
	}
	return name[:min(len(name), 100)]
}
