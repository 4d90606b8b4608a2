package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/cmd/voicory/internal/admin"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/backup"
)

type backupCommand struct {
	Create createBackupCommand `cmd:"" default:"withargs" help:"Write a backup of all tenants, or of one."`
	List   listBackupsCommand  `cmd:"" help:"List the backups of a folder."`
	Verify verifyBackupCommand `cmd:"" help:"Read all files of a backup and compare their hashes."`
}

type createBackupCommand struct {
	Dest   string     `arg:"" help:"Folder of backups, which is created, or a file whose name ends in .tar.zst or .tar." type:"path"`
	Tenant *uuid.UUID `help:"Back up this tenant only: its rows and published files." placeholder:"ID"`
	Keep   int        `help:"Backups of this scope to keep in the folder; older ones are removed (default: all)." placeholder:"N"`
}

// errIncomplete is returned if a backup lacks tenants or files. The report, already printed, lists them.
var errIncomplete = errors.New("backup is incomplete")

// Run writes a backup. It fails if a tenant or file is missing in it.
func (c *createBackupCommand) Run(ctx context.Context, m *Main, f *flags) error {
	if c.Keep < 0 {
		return fmt.Errorf("%w: --keep %d is negative", warehouse.ErrInvalid, c.Keep)
	}
	return f.withAdmin(ctx, func(conn *admin.Conn) error {
		o := warehouse.BackupOptions{Dest: c.Dest, Keep: c.Keep}
		if c.Tenant != nil {
			o.Tenant = *c.Tenant
		}
		report, err := admin.Backup.Call(ctx, conn, o)
		if err != nil {
			return err
		}
		if err := m.printResult(f, report, func(out io.Writer) {
			fmt.Fprintf(out, "backup %s: %s (%s unchanged), %s, %s\n", report.Name, count(report.Tenants, "tenant"),
				fmt.Sprint(report.Unchanged), count(report.Files, "file"), sizeText(report.Bytes))
			for _, name := range report.Removed {
				fmt.Fprintf(out, "removed backup %s\n", name)
			}
		}); err != nil {
			return err
		}
		for _, id := range slices.SortedFunc(maps.Keys(report.Failed), compareIDs) {
			fmt.Fprintf(m.Stderr, "tenant %s is not in the backup: %s\n", id, printable(report.Failed[id]))
		}
		for _, path := range slices.Sorted(maps.Keys(report.Missing)) {
			fmt.Fprintf(m.Stderr, "%s is not in the backup, and a restore publishes it again: %s\n", path,
				printable(report.Missing[path]))
		}
		if len(report.Failed)+len(report.Missing) > 0 {
			return errIncomplete
		}
		return nil
	})
}

func compareIDs(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) }

// count returns a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// sizeText returns a number of bytes in the largest unit that it reaches.
func sizeText(bytes int64) string {
	size, unit := float64(bytes), "bytes"
	for _, larger := range []string{"kB", "MB", "GB", "TB"} {
		if size < 1000 {
			break
		}
		size, unit = size/1000, larger
	}
	return fmt.Sprintf("%.4g %s", size, unit)
}

type listBackupsCommand struct {
	Source string `arg:"" help:"Folder of backups, or an archive." type:"path"`
}

// listedBackup is a backup in the list.
type listedBackup struct {
	Name      string     `json:"name"`
	StartedAt time.Time  `json:"started_at"`
	Tenant    *uuid.UUID `json:"tenant_id"` // null: all tenants
	Tenants   int        `json:"tenants"`
	Failed    int        `json:"failed"` // tenants that are not in the backup
	Bytes     int64      `json:"bytes"`
	Program   string     `json:"program"`
}

// Run prints the backups, oldest first. It fails if a manifest is damaged.
func (c *listBackupsCommand) Run(ctx context.Context, m *Main, f *flags) error {
	source, err := backup.Open(ctx, c.Source)
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }() // it was only read
	backups, damaged, err := source.List()
	if err != nil {
		return err
	}
	list := make([]listedBackup, len(backups))
	for i, b := range backups {
		list[i] = listedBackup{b.Name, b.StartedAt, b.Only, len(b.Tenants), len(b.Failed), b.Bytes(), b.Program}
	}
	err = m.printResult(f, list, func(out io.Writer) {
		table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "NAME\tTENANTS\tFAILED\tSIZE\tVOICORY")
		for _, b := range list {
			tenants := fmt.Sprint(b.Tenants)
			if b.Tenant != nil {
				tenants = b.Tenant.String()
			}
			fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%s\n", b.Name, tenants, b.Failed, sizeText(b.Bytes), b.Program)
		}
		_ = table.Flush() // errors of stdout are ignored, as for every other output
	})
	return errors.Join(append(damaged, err)...)
}

type verifyBackupCommand struct {
	Source string `arg:"" help:"Folder of backups, or an archive." type:"path"`
	At     string `help:"Name of one backup (default: all)." placeholder:"NAME"`
}

// verifiedBackup is a backup that was read.
type verifiedBackup struct {
	Name    string   `json:"name"`
	Damaged []string `json:"damaged"`
}

// Run reads the backups. It fails if a part of one is damaged.
func (c *verifyBackupCommand) Run(ctx context.Context, m *Main, f *flags) error {
	source, err := backup.Open(ctx, c.Source)
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }() // it was only read
	backups, failures, err := source.List()
	if err != nil {
		return err
	}
	if c.At != "" {
		backups = slices.DeleteFunc(backups, func(b backup.Manifest) bool { return b.Name != c.At })
		if len(backups) == 0 {
			return fmt.Errorf("%w: no backup %q; `voicory backup list` shows the names", warehouse.ErrNotFound, c.At)
		}
	}
	list := []verifiedBackup{}
	for _, b := range backups {
		damaged, err := backup.Verify(ctx, source, b)
		if err != nil {
			return err
		}
		one := verifiedBackup{b.Name, []string{}}
		for _, failure := range damaged {
			one.Damaged = append(one.Damaged, failure.Error())
		}
		list, failures = append(list, one), append(failures, damaged...)
	}
	err = m.printResult(f, list, func(out io.Writer) {
		for _, one := range list {
			state := "sound"
			if len(one.Damaged) > 0 {
				state = count(len(one.Damaged), "damaged file")
			}
			fmt.Fprintf(out, "%s  %s\n", one.Name, state)
		}
	})
	return errors.Join(append(failures, err)...)
}

type restoreCommand struct {
	Source string     `arg:"" help:"Folder of backups, or an archive." type:"path"`
	At     string     `help:"Name of the backup, or a time (default: the newest)." placeholder:"NAME|TIME"`
	Tenant *uuid.UUID `help:"Restore this tenant only, also into a running server." placeholder:"ID"`
}

// Run restores a backup into the data folder.
func (c *restoreCommand) Run(ctx context.Context, m *Main, f *flags) (err error) {
	o := warehouse.RestoreOptions{Source: c.Source, At: c.At}
	var outcome admin.Restored
	if c.Tenant == nil {
		outcome, err = admin.RestoreFolder(ctx, f.warehouse(true, f.Log), o)
	} else {
		o.Tenant = *c.Tenant
		err = f.withCreated(ctx, func(conn *admin.Conn) (err error) {
			outcome, err = admin.RestoreTenant.Call(ctx, conn, o)
			return err
		})
	}
	if err != nil {
		return err
	}
	return m.printResult(f, outcome, func(out io.Writer) {
		fmt.Fprintf(out, "restored %s from backup %s\n", count(len(outcome.Tenants), "tenant"), outcome.Backup)
		for _, id := range outcome.Deleted {
			fmt.Fprintf(out, "tenant %s was deleted after the backup and is not restored\n", id)
		}
		for _, id := range outcome.Unrestored {
			fmt.Fprintf(out, "tenant %s is not in the backup and stays as it is\n", id)
		}
		if outcome.Kept != "" {
			fmt.Fprintf(out, "the replaced files are in %s\n", outcome.Kept)
		}
		for _, failure := range outcome.Published.Failed {
			fmt.Fprintf(out, "publish tenant %s: %s\n", failure.Tenant, printable(failure.Error))
		}
	})
}
