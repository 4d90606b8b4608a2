package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/cmd/voicory/internal/admin"
	"github.com/voicory/warehouse/warehouse"
)

type verifyCommand struct {
	Tenant *uuid.UUID `help:"Verify the files and rows of this tenant only." placeholder:"ID"`
}

// errFindings is returned if the data folder is not sound. The findings were printed before.
var errFindings = errors.New("the data folder is not sound")

// Run verifies the data folder and prints the findings. It fails if a finding needs a repair.
func (c *verifyCommand) Run(ctx context.Context, m *Main, f *flags) error {
	found, err := admin.Verify(ctx, f.warehouse(false, f.Log), admin.VerifyRequest{Tenant: idOf(c.Tenant)})
	if err != nil {
		return err
	}
	f.nameFolder(found.Findings)
	if err := m.printResult(f, found, func(w io.Writer) {
		printFindings(w, found.Findings)
		for _, skipped := range found.Skipped {
			fmt.Fprintf(w, "not compared: %s of tenant %s: %s\n", skipped.Part, skipped.Tenant.UUID, skipped.Reason)
		}
		checked := found.Checked
		if checked.InBucket > 0 {
			fmt.Fprintf(w, "%s in the bucket of the lake only, with the right length\n",
				count(checked.InBucket, "published file"))
		}
		fmt.Fprintf(w, "verified %s, %s (%s), %s in %s: %s\n", count(checked.Tenants, "tenant"),
			count(checked.Files, "published file"), sizeText(checked.Bytes), count(int(checked.Rows), "row"),
			count(checked.Partitions, "table"), count(len(found.Findings), "finding"))
	}); err != nil {
		return err
	}
	if !found.Sound() {
		return errFindings
	}
	return nil
}

func idOf(tenant *uuid.UUID) uuid.UUID {
	if tenant == nil {
		return uuid.Nil
	}
	return *tenant
}

// nameFolder adds the option of the data folder to the commands of findings, unless it is the default folder.
func (f *flags) nameFolder(findings []warehouse.Finding) {
	if standard, err := filepath.Abs("data"); err != nil || f.Data == standard {
		return
	}
	for i := range findings {
		if findings[i].Repairable() {
			findings[i].Command += " --data " + f.Data
		}
	}
}

func printFindings(w io.Writer, findings []warehouse.Finding) {
	for _, finding := range findings {
		fmt.Fprintf(w, "%s: %s\n", finding.Kind, printable(finding.File))
		if finding.Tenant.Valid {
			fmt.Fprintf(w, "  tenant:  %s\n", finding.Tenant.UUID)
		}
		fmt.Fprintf(w, "  detail:  %s\n  effect:  %s\n  command: %s\n", printable(finding.Detail), finding.Effect,
			finding.Command)
	}
}

type repairCommand struct {
	Tenant *uuid.UUID `help:"Repair the files and rows of this tenant only." placeholder:"ID"`
	DryRun bool       `help:"Only print the repairs that would be made."`
}

// Run repairs the data folder and prints the repairs. It fails if a finding remains.
func (c *repairCommand) Run(ctx context.Context, m *Main, f *flags) error {
	repaired, err := admin.Repair(ctx, f.warehouse(false, f.Log),
		warehouse.RepairOptions{Tenant: idOf(c.Tenant), DryRun: c.DryRun})
	if err != nil {
		return err
	}
	f.nameFolder(repaired.Remaining)
	if err := m.printResult(f, repaired, func(w io.Writer) {
		for _, r := range repaired.Repairs {
			fmt.Fprintf(w, "%s: %s\n  detail:  %s\n", r.Kind, printable(r.File), printable(r.Detail))
			switch {
			case r.Failed != "":
				fmt.Fprintf(w, "  failed:  %s\n", printable(r.Failed))
			case c.DryRun:
				fmt.Fprintf(w, "  would:   %s\n", r.Done)
			default:
				fmt.Fprintf(w, "  done:    %s\n", r.Done)
			}
		}
		if repaired.Kept != "" {
			fmt.Fprintf(w, "replaced files are kept in %s\n", filepath.Join(f.Data, repaired.Kept))
		}
		if len(repaired.Remaining) > 0 {
			fmt.Fprintln(w, "remaining findings:")
			printFindings(w, repaired.Remaining)
		}
		fmt.Fprintf(w, "%s, %s remain\n", count(len(repaired.Repairs), "repair"),
			count(len(repaired.Remaining), "finding"))
	}); err != nil {
		return err
	}
	if len(repaired.Remaining) > 0 {
		return errFindings
	}
	return nil
}
