package main

import "github.com/voicory/warehouse/cmd/voicory/internal/licenses"

type licensesCommand struct{}

// Run prints the licences of the software that the program is linked with.
func (c *licensesCommand) Run(m *Main) error { return licenses.WriteTo(m.Stdout) }
