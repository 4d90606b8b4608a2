package main

import (
	"io"
	"time"

	"github.com/alecthomas/kong"
	mangokong "github.com/alecthomas/mango-kong"
	"github.com/muesli/roff"
)

type manCommand struct{}

// Run prints the manual page in the roff format of man(7).
func (c *manCommand) Run(m *Main, program *kong.Kong) error {
	page := mangokong.NewManPage(1, program.Model).WithLongDescription(program.Model.Help)
	_, err := io.WriteString(m.Stdout, page.Build(manDocument{roff.NewDocument()}))
	return err
}

// A manDocument is a roff document whose title line has a short name of the manual, because a long one overlaps the
// title of the page.
type manDocument struct{ *roff.Document }

// Heading writes the title line.
func (d manDocument) Heading(section uint, title, _ string, at time.Time) {
	d.Document.Heading(section, title, "Voicory Manual", at)
}
